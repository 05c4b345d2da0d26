//! The two ports of a node.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use socket2::{Domain, Protocol, Socket as RawSocket, Type};
use tokio::net::TcpListener;

use super::StartError;
use crate::config::Config;

/// Bytes that the kernel keeps for a client beside those that are on their way. A client that takes
/// less than half of it within `limits.outbox_patience` counts as one that takes nothing.
#[cfg(target_os = "linux")]
const UNSENT_BYTES: u32 = 128 * 1024;

/// Connections that the kernel keeps until they are accepted; it may keep fewer.
const BACKLOG: i32 = 4096;

/// The same for connections to the internal port, of which other nodes make many at a time.
const INTERNAL_BACKLOG: i32 = 1024;

/// What a node listens on.
pub(super) struct Ports {
    /// Of clients; the thread that accepts takes it.
    pub(super) clients: std::net::TcpListener,
    pub(super) address: SocketAddr,
    pub(super) internal: TcpListener,
    pub(super) internal_address: SocketAddr,
}

impl Ports {
    /// Listens on both. To be called in a Tokio runtime.
    pub(super) fn open(config: &Config) -> Result<Self, StartError> {
        let failed = |setting, address| {
            move |error| StartError::Listen {
                setting,
                address,
                error,
            }
        };
        let clients = listen_to_clients(config).map_err(failed("listen", config.listen))?;
        leave_unsent_to_outboxes(&clients);
        let internal = listen(config.internal_listen, INTERNAL_BACKLOG)
            .and_then(TcpListener::from_std)
            .map_err(failed("internal_listen", config.internal_listen))?;
        Ok(Self {
            address: clients.local_addr().map_or(config.listen, |bound| {
                SocketAddr::new(config.listen.ip(), bound.port())
            }),
            internal_address: internal.local_addr().unwrap_or(config.internal_listen),
            clients,
            internal,
        })
    }
}

/// Has the kernel take no more for a client than it can send soon. It copies what it takes, for each
/// client anew, and nobody sees how much of it the client took. Accepted connections inherit it.
fn leave_unsent_to_outboxes(listener: &std::net::TcpListener) {
    #[cfg(target_os = "linux")]
    if let Err(error) = socket2::SockRef::from(listener).set_tcp_notsent_lowat(UNSENT_BYTES) {
        tracing::debug!(target: "gateway::server", %error, "cannot bound the unsent bytes of a connection; the kernel buffers more");
    }
    #[cfg(not(target_os = "linux"))]
    let _ = listener;
}

/// What `listen` is if nothing is set.
const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 3000);

/// Listens on the port of clients: at its default also for IPv6, with one socket for both, where the
/// system has it.
fn listen_to_clients(config: &Config) -> std::io::Result<std::net::TcpListener> {
    let address = config.listen;
    if address == DEFAULT_LISTEN {
        let both = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), address.port());
        match listen(both, BACKLOG) {
            Ok(listener) => return Ok(listener),
            Err(error) => {
                tracing::debug!(target: "gateway::server", %error, "cannot listen on IPv6; the node listens on IPv4 alone")
            }
        }
    }
    listen(address, BACKLOG)
}

/// What connections are accepted from. They inherit that small packets are not delayed.
fn listen(address: SocketAddr, backlog: i32) -> std::io::Result<std::net::TcpListener> {
    let domain = Domain::for_address(address);
    let socket = RawSocket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    if address.ip() == Ipv6Addr::UNSPECIFIED {
        // Whatever the system's default is.
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    socket.listen(backlog)?;
    Ok(socket.into())
}
