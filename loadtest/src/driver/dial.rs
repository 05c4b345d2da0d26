//! Opening connections: how fast, to where, and from which addresses.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use rustls::{ClientConnection, Stream as TlsStream};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::client::{Failure, Lane, Target};
use crate::tls::Tls;

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
    /// How TLS is spoken with those that want it.
    pub(crate) tls: Option<Tls>,
    /// Payload of CONNECT, empty or JSON.
    pub(crate) payload: Vec<u8>,
    /// Where connections come from.
    pub(crate) sources: Sources,
    /// What went wrong first.
    pub(crate) faults: Faults,
}

/// The first fault of a run that comes with words of its own; all threads share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults {
    first: Arc<OnceLock<String>>,
}

impl Faults {
    /// Notes a fault, unless there was one before. Servers may say what they like, so it is cut short and made printable.
    pub(crate) fn note(&self, words: &str) {
        let shown = || words.chars().take(LONGEST_FAULT).collect::<String>();
        self.first
            .get_or_init(|| shown().escape_debug().to_string());
    }

    /// In a sentence.
    pub(crate) fn describe(&self) -> Option<String> {
        let first = self.first.get()?;
        Some(format!(
            "The first of them: {}",
            first.replace("\\\"", "\"")
        ))
    }
}

/// Characters.
const LONGEST_FAULT: usize = 300;

impl Dialler {
    /// What is to be said on a socket first, if the server wants TLS.
    pub(crate) fn begin_tls(&self, target: &Target) -> Result<Option<ClientConnection>, Failure> {
        let Some((tls, name)) = self.tls.as_ref().zip(target.name.as_ref()) else {
            return Ok(None);
        };
        let begun = tls.connect(name);
        begun.map(Some).map_err(|error| {
            self.faults.note(&error.to_string());
            Failure::Tls
        })
    }

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

/// How long servers may take to take a first connection.
const PATIENCE: Patience = Patience {
    refusals: Duration::from_secs(3),
    all: Duration::from_millis(4500),
};
const TRIED_EVERY: Duration = Duration::from_millis(50);

/// How long a server is given that does not answer yet.
#[derive(Clone, Copy, Debug)]
struct Patience {
    /// How long one that starts may refuse connections.
    refusals: Duration,
    /// How long everything may take together.
    all: Duration,
}

impl Patience {
    /// What a step may take that begins now; `None` if the time is over.
    fn left(self, elapsed: Duration) -> Option<Duration> {
        let left = self.all.saturating_sub(elapsed);
        (!left.is_zero()).then_some(left)
    }
}

/// Longer than all steps of [`PATIENCE`], for a server that answers byte by byte.
const HARD_LIMIT: Duration = Duration::from_millis(4900);

/// Returns an error if no server answers. Without this the clients would try until they give up.
pub(crate) fn reach(dialler: &Dialler) -> io::Result<()> {
    let (sender, receiver) = mpsc::channel();
    let began = Instant::now();
    for target in &dialler.targets {
        let (sender, target, tls) = (sender.clone(), target.clone(), dialler.tls.clone());
        std::thread::spawn(move || {
            let knocked = knock(&target, tls.as_ref(), PATIENCE, || began.elapsed());
            // Nobody listens any more once one was reached.
            let _unheard = sender.send(knocked);
        });
    }
    drop(sender);
    let mut faults = Vec::new();
    loop {
        let left = HARD_LIMIT.saturating_sub(began.elapsed());
        match receiver.recv_timeout(left) {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(fault)) => faults.push(fault),
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                faults.push("no answer is whole in time".to_owned());
                break;
            }
        }
    }
    let faults = faults.join(", ");
    Err(io::Error::other(format!("no server answers: {faults}")))
}

/// Connects once, TLS included, and tries again as long as the server is given.
fn knock(
    target: &Target,
    tls: Option<&Tls>,
    patience: Patience,
    elapsed: impl Fn() -> Duration,
) -> Result<(), String> {
    let address = target.address;
    let mut last = io::Error::from(io::ErrorKind::TimedOut);
    while let Some(left) = patience.left(elapsed()) {
        match std::net::TcpStream::connect_timeout(&address, left) {
            Ok(tcp) => {
                let greeted = greet(tcp, target, tls, patience.left(elapsed()));
                return greeted.map_err(|error| format!("{address}: {error}"));
            }
            Err(error) if elapsed() < patience.refusals => {
                last = error;
                std::thread::sleep(TRIED_EVERY);
            }
            Err(error) => return Err(format!("{address}: {error}")),
        }
    }
    Err(format!("{address}: {last}"))
}

/// Shakes hands, if the server wants TLS, and waits for an answer to a request: a process that is frozen takes
/// connections, too. The request opens no session, and no server counts it as a bad one. A certificate that is not
/// trusted does not get better by waiting.
fn greet(
    mut tcp: std::net::TcpStream,
    target: &Target,
    tls: Option<&Tls>,
    left: Option<Duration>,
) -> io::Result<()> {
    let Target { path, host, .. } = target;
    let folder = path.trim_end_matches('/');
    let request =
        format!("HEAD {folder}/socket.io.js HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    let silent = || {
        io::Error::new(
            io::ErrorKind::TimedOut,
            "it takes connections, and says nothing",
        )
    };
    let left = left.ok_or_else(silent)?;
    tcp.set_read_timeout(Some(left))?;
    tcp.set_write_timeout(Some(left))?;
    let answered = match tls.zip(target.name.as_ref()) {
        None => ask(&mut tcp, &request),
        Some((tls, name)) => {
            let mut connection = tls.connect(name).map_err(io::Error::other)?;
            ask(&mut TlsStream::new(&mut connection, &mut tcp), &request)
        }
    };
    answered.map_err(|error| {
        if error.kind() == io::ErrorKind::WouldBlock {
            silent()
        } else {
            error
        }
    })
}

/// Any answer will do, and so will an end.
fn ask(stream: &mut (impl Read + Write), request: &str) -> io::Result<()> {
    stream.write_all(request.as_bytes())?;
    let ended = [io::ErrorKind::UnexpectedEof, io::ErrorKind::ConnectionReset];
    match stream.read(&mut [0]) {
        Err(error) if !ended.contains(&error.kind()) => Err(error),
        Ok(_) | Err(_) => Ok(()),
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
    use crate::tls::Check;

    #[test]
    fn a_dead_server_is_said_and_one_of_several_is_enough() {
        let alive = format!("http://{}", answering("HTTP/1.1 400 Bad Request\r\n\r\n"));
        // Nobody listens where somebody did a moment ago.
        let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let dead = format!("http://{}", gone.local_addr().unwrap());
        drop(gone);
        assert!(reach(&dialler(&[&dead, &alive])).is_ok());
        let said = reach(&dialler(&[&dead])).unwrap_err().to_string();
        let address = dead.trim_start_matches("http://");
        let expected = format!("no server answers: {address}: ");
        assert!(said.starts_with(&expected), "{said}");
    }

    fn dialler(urls: &[&str]) -> Dialler {
        let parse = |url: &&str| Target::parse(url, "/socket.io/").unwrap();
        Dialler {
            clients: 1,
            polling_share: 0.0,
            targets: urls.iter().map(parse).collect(),
            tls: Some(Tls::new(None, Check::Full).unwrap()),
            payload: Vec::new(),
            sources: Sources::default(),
            faults: Faults::default(),
        }
    }

    /// A clock that only moves when it is asked, `step` at a time, so that the time of all connects is known.
    fn ticking(step: Duration) -> impl Fn() -> Duration {
        let now = std::cell::Cell::new(Duration::ZERO);
        move || now.replace(now.get() + step)
    }

    #[test]
    fn all_that_is_tried_fits_into_the_time() {
        let second = Duration::from_secs(1);
        assert_eq!(PATIENCE.left(Duration::ZERO), Some(PATIENCE.all));
        // One that refused for so long and now swallows connections is not given its whole time again.
        let late = PATIENCE.refusals - Duration::from_millis(1);
        let left = PATIENCE.left(late).unwrap();
        assert!(late + left <= PATIENCE.all, "{left:?}");
        assert_eq!(PATIENCE.left(PATIENCE.all + second), None);
        // A clock that jumps over the end ends it, too.
        let target = Target::parse("http://127.0.0.1:1", "/socket.io/").unwrap();
        let said = knock(&target, None, PATIENCE, ticking(2 * second)).unwrap_err();
        assert!(said.starts_with("127.0.0.1:1: "), "{said}");
    }

    #[test]
    fn a_server_without_tls_is_told_from_one_that_is_dead() {
        let address = answering("HTTP/1.1 400 Bad Request\r\n\r\n");
        let said = reach(&dialler(&[&format!("https://{address}")])).unwrap_err();
        let said = said.to_string();
        assert!(said.contains("received corrupt message"), "{said}");
    }

    #[test]
    fn a_server_that_takes_connections_and_says_nothing_is_dead() {
        // The system takes the connection; nobody reads it.
        let frozen = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", frozen.local_addr().unwrap());
        let target = Target::parse(&url, "/socket.io/").unwrap();
        let patience = Patience {
            refusals: Duration::ZERO,
            all: Duration::from_millis(300),
        };
        let said = knock(&target, None, patience, ticking(Duration::ZERO)).unwrap_err();
        assert!(
            said.ends_with("it takes connections, and says nothing"),
            "{said}"
        );
        // One that ends connections is somebody.
        let address = answering("");
        let target = Target::parse(&format!("http://{address}"), "/socket.io/").unwrap();
        assert_eq!(
            knock(&target, None, PATIENCE, ticking(Duration::ZERO)),
            Ok(())
        );
    }

    /// A server that says the same to everybody, and ends the connection.
    fn answering(words: &'static str) -> SocketAddr {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for tcp in listener.incoming() {
                tcp.unwrap().write_all(words.as_bytes()).unwrap();
            }
        });
        address
    }

    #[test]
    fn the_first_fault_is_kept_short_and_printable() {
        let faults = Faults::default();
        assert_eq!(faults.describe(), None);
        faults.note(&format!(
            "{{\"message\":\"no\"}}\x1b[2J{}",
            "x".repeat(1000)
        ));
        faults.note("another");
        let said = faults.describe().unwrap();
        assert!(
            said.starts_with("The first of them: {\"message\":\"no\"}\\u{1b}[2Jxxx"),
            "{said}"
        );
        assert!(said.len() < 400, "{said}");
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
