//! Opening connections: how fast, to where, and from which addresses.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::client::{Lane, Target};

/// How fast a thread may connect.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ramp {
    /// Attempts in flight.
    pub(crate) concurrency: usize,
    /// Time between two attempts.
    pub(crate) interval: Option<Duration>,
    /// When an attempt is given up.
    pub(crate) attempt_timeout: Duration,
}

/// What every attempt of the run has in common.
#[derive(Clone, Debug)]
pub(crate) struct Dialler {
    /// All clients of the run, not only this thread's.
    pub(crate) clients: usize,
    /// Part of the clients that use long-polling, 0 to 1.
    pub(crate) polling_share: f64,
    /// The servers.
    pub(crate) targets: Vec<Target>,
    /// Payload of CONNECT, empty or JSON.
    pub(crate) payload: Vec<u8>,
    /// Where connections come from.
    pub(crate) sources: Sources,
}

impl Dialler {
    /// Begins to connect. Whenever the socket is dropped the connection is reset, without a word: that is what a lost
    /// network looks like, and no port is left waiting.
    pub(crate) fn open(
        &self,
        registry: &Registry,
        token: Token,
        target: &Target,
        (client, lane, attempt): (usize, Lane, u32),
    ) -> io::Result<TcpStream> {
        let domain = Domain::for_address(target.address);
        let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        let nth = client + lane.index() * self.clients;
        if let Some(source) = self.sources.address(nth, attempt, target.address) {
            let any_port = SocketAddr::new(source.ip(), 0);
            socket
                .bind(&source.into())
                .or_else(|_taken| socket.bind(&any_port.into()))?;
        }
        let mut stream = TcpStream::from_std(socket.into());
        SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
        match SockRef::from(&stream).connect(&target.address.into()) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(IN_PROGRESS) => {}
            Err(error) => return Err(error),
        }
        registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
        Ok(stream)
    }
}

/// How long the servers may take to take a first connection.
const REACHED_WITHIN: Duration = Duration::from_millis(4500);
/// How long a server that starts may refuse connections.
const STARTS_WITHIN: Duration = Duration::from_secs(3);
const TRIED_EVERY: Duration = Duration::from_millis(50);

/// Returns an error if no server takes a connection. Without this the clients would try until they give up.
pub(crate) fn reach(targets: &[Target]) -> io::Result<()> {
    let (sender, receiver) = mpsc::channel();
    for address in targets.iter().map(|target| target.address) {
        let sender = sender.clone();
        std::thread::spawn(move || {
            // Nobody listens any more once one was reached.
            let _unheard = sender.send(knock(address));
        });
    }
    drop(sender);
    let mut faults = Vec::new();
    for tried in receiver {
        match tried {
            Ok(()) => return Ok(()),
            Err(fault) => faults.push(fault),
        }
    }
    let faults = faults.join(", ");
    Err(io::Error::other(format!(
        "no server takes connections: {faults}"
    )))
}

fn knock(address: SocketAddr) -> Result<(), String> {
    let began = Instant::now();
    loop {
        match std::net::TcpStream::connect_timeout(&address, REACHED_WITHIN) {
            Ok(_) => return Ok(()),
            Err(_) if began.elapsed() < STARTS_WITHIN => std::thread::sleep(TRIED_EVERY),
            Err(error) => return Err(format!("{address}: {error}")),
        }
    }
}

/// `EINPROGRESS` on Linux, where `/proc` makes this tool at home.
const IN_PROGRESS: i32 = 115;

/// Addresses to connect from: a port pair is unique per address, and there are fewer than 30,000 ports to choose from.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sources {
    /// Given by the user; otherwise the loopback range serves when the server is on it.
    pub(crate) given: Vec<IpAddr>,
}

impl Sources {
    /// Where the `nth` connection comes from; `None` leaves it to the system, which is quick as long as few ports are
    /// taken. Then it searches through them one by one, so from the second address on the port is chosen here.
    fn address(&self, nth: usize, attempt: u32, target: SocketAddr) -> Option<SocketAddr> {
        let block = nth / PER_ADDRESS;
        let ip = match self.given.get(block % self.given.len().max(1)) {
            Some(&given) => given,
            None if block == 0 || !is_loopback_v4(target) => return None,
            None => {
                let [_, a, b, c] = (block as u32 + 1).to_be_bytes();
                Ipv4Addr::new(127, a, b, c).into()
            }
        };
        // Two ports per connection, in turn: the one left last may still be remembered by the server's system.
        let port = FIRST_PORT as usize + nth % PER_ADDRESS * 2 + attempt as usize % 2;
        Some(SocketAddr::new(ip, port as u16))
    }
}

fn is_loopback_v4(target: SocketAddr) -> bool {
    matches!(target.ip(), IpAddr::V4(address) if address.is_loopback())
}

/// Below the 28,232 ports of the system's default range.
const PER_ADDRESS: usize = 25_000;

/// The lowest port chosen here; the highest is 59,999.
const FIRST_PORT: u16 = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_server_is_said_and_one_of_several_is_enough() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let alive = format!("http://{}", listener.local_addr().unwrap());
        // Nobody listens where somebody did a moment ago.
        let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let dead = format!("http://{}", gone.local_addr().unwrap());
        drop(gone);
        let targets = |urls: &[&String]| -> Vec<Target> {
            let parse = |url: &&String| Target::parse(url, "/socket.io/").unwrap();
            urls.iter().map(parse).collect()
        };
        assert!(reach(&targets(&[&dead, &alive])).is_ok());
        let said = reach(&targets(&[&dead])).unwrap_err().to_string();
        let address = dead.trim_start_matches("http://");
        let expected = format!("no server takes connections: {address}: ");
        assert!(said.starts_with(&expected), "{said}");
    }

    #[test]
    fn the_loopback_range_is_used_block_by_block() {
        let target = "127.0.0.1:3000".parse().unwrap();
        let at = |nth| Sources::default().address(nth, 0, target);
        assert_eq!(at(24_999), None);
        assert_eq!(at(25_000), Some("127.0.0.2:10000".parse().unwrap()));
        assert_eq!(at(49_999), Some("127.0.0.2:59998".parse().unwrap()));
        assert_eq!(at(999_999), Some("127.0.0.40:59998".parse().unwrap()));
    }

    #[test]
    fn two_attempts_in_a_row_use_different_ports() {
        let target = "127.0.0.1:3000".parse().unwrap();
        let at = |attempt| Sources::default().address(30_000, attempt, target);
        assert_ne!(at(1), at(2));
        assert_eq!(at(1), at(3));
    }

    #[test]
    fn another_host_is_reached_from_the_given_addresses_only() {
        let target = "192.0.2.1:3000".parse().unwrap();
        assert_eq!(Sources::default().address(70_000, 0, target), None);
        let given: Vec<IpAddr> = vec!["192.0.2.7".parse().unwrap(), "192.0.2.8".parse().unwrap()];
        let sources = Sources { given };
        let at = |nth| sources.address(nth, 0, target).unwrap();
        assert_eq!(at(0), "192.0.2.7:10000".parse().unwrap());
        assert_eq!(at(25_000), "192.0.2.8:10000".parse().unwrap());
    }
}
