//! Ports of loopback that nobody listens on.

use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};

/// A port that nobody listens on, nor on the port 10,000 above it, which a Redis cluster needs. It is
/// below those that the system gives to outgoing connections, so that none takes it while its server
/// is down.
pub fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = 10_000 + (std::process::id() * 101 + step) % 12_000;
        let port = u16::try_from(port).unwrap();
        let is_free = |port| TcpListener::bind(("127.0.0.1", port)).is_ok();
        if is_free(port) && is_free(port + 10_000) {
            return port;
        }
    }
}

/// An address of loopback at which nobody answers.
pub fn free_address() -> SocketAddr {
    ([127, 0, 0, 1], free_port()).into()
}
