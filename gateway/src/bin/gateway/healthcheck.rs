//! `gateway healthcheck`: asks the node of the same configuration whether it is ready, or lives.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

use crate::cli::complain;
use crate::cli::status::Status;

/// How long each part of the exchange may take.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Most bytes of an answer that are read.
const MAX_ANSWER: u64 = 16 * 1024;

/// Ends with 0 if the node at its `internal_listen` answers `path` with 200.
pub(crate) fn run(internal_listen: SocketAddr, path: &str) -> ExitCode {
    match ask(reachable(internal_listen), path) {
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
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => ip,
    };
    SocketAddr::new(ip, listen.port())
}

fn ask(address: SocketAddr, path: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
