//! Asks the gateway in this container how it is; for the image, which has no shell and no curl.
//!
//! `healthcheck [/live|/ready]` ends with status 0 if the internal port answers 200. The port is that
//! of `GATEWAY_INTERNAL_LISTEN`.

use std::error::Error;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

/// The default of `internal_listen`.
const DEFAULT: &str = "127.0.0.1:3001";

const TIMEOUT: Duration = Duration::from_secs(2);

/// More than the answer's first line.
const ANSWER_BYTES: u64 = 64;

fn main() -> ExitCode {
    let path = std::env::args().nth(1).unwrap_or_else(|| "/live".into());
    match ask(&path) {
        Ok(answer) if answer.starts_with("HTTP/1.1 200 ") => ExitCode::SUCCESS,
        Ok(answer) => fail(answer.lines().next().unwrap_or("no answer")),
        Err(error) => fail(&error.to_string()),
    }
}

fn ask(path: &str) -> Result<String, Box<dyn Error>> {
    let mut stream = TcpStream::connect_timeout(&address()?, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES).read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// Where the internal port is reached from within.
fn address() -> Result<SocketAddr, Box<dyn Error>> {
    let listen = std::env::var("GATEWAY_INTERNAL_LISTEN").unwrap_or_default();
    let listen = if listen.is_empty() { DEFAULT } else { &listen };
    let mut address: SocketAddr = listen.parse()?;
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        IpAddr::V4(_) | IpAddr::V6(_) => {}
    }
    Ok(address)
}

fn fail(why: &str) -> ExitCode {
    eprintln!("{why}");
    ExitCode::FAILURE
}
