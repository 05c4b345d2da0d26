//! `gateway healthcheck`: asks the node of the same configuration whether it is ready, or lives.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::time::Duration;

use gateway::config::{Endpoint, Listen};

use crate::cli::complain;
use crate::cli::status::Status;

/// How long each part of the exchange may take.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Most bytes of an answer that are read.
const MAX_ANSWER: u64 = 16 * 1024;

/// Ends with 0 if the node at its `internal_listen` answers `path` with 200. The first place of several
/// is asked.
pub(crate) fn run(internal_listen: &Listen, path: &str) -> ExitCode {
    let answer = internal_listen.iter().next();
    let answer = answer.ok_or_else(|| io::Error::from(io::ErrorKind::AddrNotAvailable));
    match answer.and_then(|endpoint| ask(endpoint, path)) {
        Ok(answer) => {
            let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
            complain(&body);
            if head.starts_with("HTTP/1.1 200 ") {
                Status::Done.into()
            } else {
                Status::Failed.into()
            }
        }
        Err(error) => {
            complain(&format_args!("{internal_listen}: {error}"));
            Status::Failed.into()
        }
    }
}

/// Who listens everywhere is asked by the loopback interface.
pub(crate) fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => ip,
    };
    SocketAddr::new(ip, listen.port())
}

fn ask(endpoint: &Endpoint, path: &str) -> io::Result<String> {
    let addresses = match endpoint {
        Endpoint::Unix(socket) => {
            let stream = UnixStream::connect(socket.path())?;
            stream.set_read_timeout(Some(TIMEOUT))?;
            stream.set_write_timeout(Some(TIMEOUT))?;
            return exchange(stream, path);
        }
        Endpoint::Port(port) => vec![(Ipv4Addr::LOCALHOST, *port).into()],
        Endpoint::Name(name) => (name.host(), name.port()).to_socket_addrs()?.collect(),
        Endpoint::Address(address) => vec![reachable(*address)],
        other => return Err(io::Error::other(format!("{other} cannot be asked"))),
    };
    let mut failed = io::ErrorKind::AddrNotAvailable.into();
    for address in addresses {
        match TcpStream::connect_timeout(&address, TIMEOUT) {
            Ok(stream) => {
                stream.set_read_timeout(Some(TIMEOUT))?;
                stream.set_write_timeout(Some(TIMEOUT))?;
                return exchange(stream, path);
            }
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

fn exchange(mut stream: impl Read + Write, path: &str) -> io::Result<String> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
