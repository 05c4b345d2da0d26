//! Load generator for Socket.IO servers.

fn main() {}
