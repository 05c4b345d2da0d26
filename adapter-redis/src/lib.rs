//! The Redis wire between nodes.
