//! QUIC on UDP: the sockets, and what a connection may take.

use std::io;
use std::net::{Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio_rustls::rustls;
use wtransport::config::QuicTransportConfig;
use wtransport::endpoint::endpoint_side::Server;
use wtransport::quinn::{IdleTimeout, VarInt};
use wtransport::{Endpoint, ServerConfig};

/// The protocol that clients are offered.
pub(crate) const ALPN: &[u8] = b"h3";

/// Bytes of one client that wait to be read, and of one of its streams.
const RECEIVE_WINDOW: u32 = 256 * 1024;

/// Bytes that QUIC takes for one client before they are acknowledged. What is more waits in the outbox, where it
/// counts.
const SEND_WINDOW: u64 = 256 * 1024;

/// Streams in both directions that a client may have at a time: its request, and that of its session.
const STREAMS: u32 = 4;

/// Streams in one direction that a client may have at a time. HTTP/3 has three.
const ONE_WAY_STREAMS: u32 = 8;

/// Bytes of datagrams that wait, which nobody reads. Browsers want them to be possible.
const DATAGRAMS: usize = 2 * 1024;

/// How long nothing may pass before a packet is sent, so that browsers, which give up after 30 seconds, stay. Pings
/// of Engine.IO come earlier unless `engine.ping_interval` is longer.
const KEEP_ALIVE: Duration = Duration::from_secs(27);

/// How much longer than the heartbeat QUIC waits for a sign of the client.
const BEYOND_HEARTBEAT: Duration = Duration::from_secs(10);

/// Connections of a shard that wait to be accepted or refused, and bytes of them.
const INCOMING: usize = 256;
const INCOMING_BYTES: u64 = 4 * 1024;

/// Bytes that the kernel keeps of each socket, if it allows that many.
const SOCKET_BYTES: usize = 4 * 1024 * 1024;

/// Makes `count` sockets at one address, among which the kernel shares clients out by their addresses.
pub(crate) fn bind(address: SocketAddr, count: usize) -> io::Result<Vec<UdpSocket>> {
    // Alone first: sockets that share an address would also share it with those of another program.
    let alone = bind_one(address, false)?;
    let address = alone.local_addr()?;
    if count == 1 {
        return Ok(vec![alone]);
    }
    drop(alone);
    (0..count).map(|_| bind_one(address, true)).collect()
}

fn bind_one(address: SocketAddr, shared: bool) -> io::Result<UdpSocket> {
    let domain = Domain::for_address(address);
    let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
    if address.ip() == Ipv6Addr::UNSPECIFIED {
        // Whatever the system's default is.
        socket.set_only_v6(false)?;
    }
    #[cfg(target_os = "linux")]
    socket.set_reuse_port(shared)?;
    #[cfg(not(target_os = "linux"))]
    let _ = shared;
    socket.set_nonblocking(true)?;
    let _as_much_as_allowed = socket.set_recv_buffer_size(SOCKET_BYTES);
    let _as_much_as_allowed = socket.set_send_buffer_size(SOCKET_BYTES);
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// Serves QUIC at a socket. To be called on the thread that is to do it, in its runtime. `silence` is how long a
/// client may be silent for Engine.IO.
pub(crate) fn endpoint(
    socket: UdpSocket,
    tls: rustls::ServerConfig,
    silence: Duration,
) -> io::Result<Endpoint<Server>> {
    let mut transport = QuicTransportConfig::default();
    let idle = IdleTimeout::try_from(silence + BEYOND_HEARTBEAT).map_err(io::Error::other)?;
    transport
        .max_concurrent_bidi_streams(STREAMS.into())
        .max_concurrent_uni_streams(ONE_WAY_STREAMS.into())
        .stream_receive_window(RECEIVE_WINDOW.into())
        .receive_window(VarInt::from_u32(2 * RECEIVE_WINDOW))
        .send_window(SEND_WINDOW)
        .datagram_receive_buffer_size(Some(DATAGRAMS))
        .datagram_send_buffer_size(DATAGRAMS)
        .keep_alive_interval(Some(KEEP_ALIVE))
        .max_idle_timeout(Some(idle));
    let mut config = ServerConfig::builder()
        .with_bind_socket(socket)
        .with_custom_tls_and_transport(tls, transport)
        .build();
    config
        .quic_config_mut()
        .max_incoming(INCOMING)
        .incoming_buffer_size(INCOMING_BYTES)
        .incoming_buffer_size_total(INCOMING as u64 * INCOMING_BYTES);
    Endpoint::server(config)
}
