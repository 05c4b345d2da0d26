//! The contract between the nodes of a cluster.
