//! Calls of the API of a node, for commands.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, ToSocketAddrs};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::time::Duration;

use gateway::config::{Endpoint, Listen};
use serde_json::Value;

use crate::cli::complain;
use crate::cli::status::Status;
use crate::healthcheck::reachable;

/// How long connecting may take, and each part of an answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Most bytes of a line, and of the head of an answer.
const MAX_LINE: u64 = 64 * 1024;

/// Most bytes of an answer that is read as a whole.
const MAX_ANSWER: u64 = 64 * 1024 * 1024;

/// A node, and a key of its `api.key`.
#[derive(Clone)]
pub(crate) struct InternalPort {
    pub(crate) place: Place,
    pub(crate) key: String,
}

/// Where the internal port is.
#[derive(Clone)]
pub(crate) enum Place {
    /// Host and port, as `--url` has them.
    Named(String),
    /// As the configuration has it.
    Configured(Listen),
}

/// An answer whose head was read.
pub(crate) struct Answer(BufReader<Box<dyn Stream>>);

/// A connection to a node.
trait Stream: Read + Write + Send + AsFd {
    /// Lines may be far apart from now on.
    fn wait_for_ever(&self) -> io::Result<()>;
}

impl Stream for TcpStream {
    fn wait_for_ever(&self) -> io::Result<()> {
        self.set_read_timeout(None)
    }
}

impl Stream for UnixStream {
    fn wait_for_ever(&self) -> io::Result<()> {
        self.set_read_timeout(None)
    }
}

impl InternalPort {
    /// Asks. The request is of HTTP 1.0, whose answers end with the connection.
    ///
    /// # Errors
    ///
    /// Also what the node says is wrong.
    pub(crate) fn get(&self, target: &str) -> io::Result<Answer> {
        let mut stream = match &self.place {
            Place::Named(name) => connect_to(name.to_socket_addrs()),
            Place::Configured(listen) => connect(listen),
        }?;
        let key = &self.key;
        let request = format!(
            "GET {target} HTTP/1.0\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\n\r\n"
        );
        stream.write_all(request.as_bytes())?;
        let mut answer = Answer(BufReader::new(stream));
        let status = answer.line()?.unwrap_or_default();
        let is_ok = status.split(' ').nth(1) == Some("200");
        while answer.line()?.is_some_and(|header| !header.is_empty()) {}
        if !is_ok {
            let mut body = String::new();
            answer.0.take(MAX_LINE).read_to_string(&mut body)?;
            return Err(io::Error::other(refusal(&status, &body)));
        }
        Ok(answer)
    }
}

impl Answer {
    /// A line without its end; `None` at the end of all.
    pub(crate) fn line(&mut self) -> io::Result<Option<String>> {
        let mut line = Vec::new();
        let from = &mut self.0;
        let count = from.take(MAX_LINE).read_until(b'\n', &mut line)?;
        let text = String::from_utf8_lossy(&line);
        Ok((count > 0).then(|| text.trim_end().to_owned()))
    }

    /// All of it.
    pub(crate) fn whole(self) -> io::Result<String> {
        let mut text = String::new();
        self.0.take(MAX_ANSWER).read_to_string(&mut text)?;
        Ok(text)
    }

    /// Lines may be far apart from now on.
    pub(crate) fn wait_for_ever(&self) -> io::Result<()> {
        self.0.get_ref().wait_for_ever()
    }

    /// The same connection, by which it can be shut down while another thread reads.
    #[cfg(any(feature = "top", test))]
    pub(crate) fn connection(&self) -> io::Result<TcpStream> {
        let socket = self.0.get_ref().as_fd().try_clone_to_owned()?;
        Ok(socket.into())
    }
}

fn connect(listen: &Listen) -> io::Result<Box<dyn Stream>> {
    let nowhere = || io::Error::from(io::ErrorKind::AddrNotAvailable);
    match listen.iter().next().ok_or_else(nowhere)? {
        Endpoint::Unix(socket) => {
            let stream = UnixStream::connect(socket.path())?;
            stream.set_read_timeout(Some(TIMEOUT))?;
            Ok(Box::new(stream))
        }
        Endpoint::Port(port) => {
            let local = SocketAddr::from((Ipv4Addr::LOCALHOST, *port));
            connect_to(Ok(std::iter::once(local)))
        }
        Endpoint::Name(name) => connect_to((name.host(), name.port()).to_socket_addrs()),
        Endpoint::Address(address) => connect_to(Ok(std::iter::once(reachable(*address)))),
        other => Err(io::Error::other(format!("{other} cannot be asked"))),
    }
}

fn connect_to(
    addresses: io::Result<impl Iterator<Item = SocketAddr>>,
) -> io::Result<Box<dyn Stream>> {
    let mut failed = io::ErrorKind::AddrNotAvailable.into();
    for address in addresses? {
        match TcpStream::connect_timeout(&address, TIMEOUT) {
            Ok(stream) => {
                stream.set_read_timeout(Some(TIMEOUT))?;
                return Ok(Box::new(stream));
            }
            Err(error) => failed = io::Error::new(error.kind(), format!("{address}: {error}")),
        }
    }
    Err(failed)
}

/// What the API says is wrong.
fn refusal(status: &str, body: &str) -> String {
    let parsed: Option<Value> = serde_json::from_str(body).ok();
    let message = parsed
        .as_ref()
        .and_then(|it| it["error"]["message"].as_str());
    match message {
        Some(message) => message.to_owned(),
        None if status.split(' ').nth(1) == Some("404") => {
            "the node has no API: it is on if api.key is set".to_owned()
        }
        None => format!("the answer is {status:?}"),
    }
}

/// How a command ends that shows what a node tells: well too if nobody reads any more.
pub(crate) fn ended(shown: io::Result<()>) -> ExitCode {
    match shown {
        Ok(()) => Status::Done.into(),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Status::Done.into(),
        Err(error) => {
            complain(&error);
            Status::Failed.into()
        }
    }
}

/// A value of a query.
pub(crate) fn escaped(value: &str) -> String {
    let byte = |byte: u8| match byte.is_ascii_alphanumeric() {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    value.bytes().map(byte).collect()
}
