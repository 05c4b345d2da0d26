//! `gateway trace`: prints what a node tells of a trace, line by line.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::time::Duration;

use gateway::config::{Endpoint, Listen};
use serde_json::{Map, Value};

use crate::cli::complain;
use crate::cli::status::Status;
use crate::healthcheck::reachable;

/// How long connecting and asking may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Most bytes of a line, and of the head of an answer.
const MAX_LINE: u64 = 64 * 1024;

/// A request to a node.
pub(crate) struct Order {
    pub(crate) place: Place,
    /// A key of `api.key`.
    pub(crate) key: String,
    /// The query of the call.
    pub(crate) query: String,
    /// Whether lines are printed as they come.
    pub(crate) json: bool,
}

/// Where the internal port is.
pub(crate) enum Place {
    /// Host and port, as `--url` has them.
    Named(String),
    /// As the configuration has it.
    Configured(Listen),
}

/// Prints lines until the trace ends, or nobody reads any more.
pub(crate) fn run(order: &Order) -> ExitCode {
    let connected = match &order.place {
        Place::Named(name) => connect_to(name.to_socket_addrs()),
        Place::Configured(listen) => connect(listen),
    };
    match connected.and_then(|stream| read(stream, order)) {
        Ok(()) => Status::Done.into(),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Status::Done.into(),
        Err(error) => {
            complain(&error);
            Status::Failed.into()
        }
    }
}

/// A connection to a node.
trait Stream: Read + Write {
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

/// Asks, and prints what comes. The request is of HTTP 1.0, whose answers end with the connection.
fn read(mut stream: Box<dyn Stream>, order: &Order) -> io::Result<()> {
    let Order { key, query, .. } = order;
    let request = format!(
        "GET /api/v1/trace?{query} HTTP/1.0\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\n\r\n"
    );
    stream.write_all(request.as_bytes())?;
    let mut answer = BufReader::new(stream);
    let status = line(&mut answer)?.unwrap_or_default();
    let is_ok = status.split(' ').nth(1) == Some("200");
    while line(&mut answer)?.is_some_and(|header| !header.is_empty()) {}
    if !is_ok {
        let mut body = String::new();
        answer.take(MAX_LINE).read_to_string(&mut body)?;
        return Err(io::Error::other(refusal(&status, &body)));
    }
    answer.get_ref().wait_for_ever()?;
    let mut out = io::stdout().lock();
    let mut has_ended = false;
    while let Some(line) = line(&mut answer)? {
        let parsed: Option<Map<String, Value>> = serde_json::from_str(&line).ok();
        has_ended |= parsed
            .as_ref()
            .is_some_and(|it| it.get("what") == Some(&"ended".into()));
        match parsed {
            Some(fields) if !order.json => writeln!(out, "{}", readable(&fields))?,
            Some(_) | None => writeln!(out, "{line}")?,
        }
        out.flush()?;
    }
    if has_ended {
        return Ok(());
    }
    Err(io::Error::other(
        "the node closed the connection before the trace was over",
    ))
}

/// A line without its end; `None` at the end of all.
fn line(answer: &mut BufReader<Box<dyn Stream>>) -> io::Result<Option<String>> {
    let mut line = Vec::new();
    let count = answer.take(MAX_LINE).read_until(b'\n', &mut line)?;
    let text = String::from_utf8_lossy(&line);
    Ok((count > 0).then(|| text.trim_end().to_owned()))
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

/// `12:34:56.789 gw-1 sent event=said bytes=12 ..`: what there is to say, in the order of the line.
fn readable(fields: &Map<String, Value>) -> String {
    let text = |name| fields.get(name).and_then(Value::as_str).unwrap_or_default();
    let at = text("at");
    let time = at.split_once('T').map_or(at, |(_, time)| time);
    let time = time.trim_end_matches('Z');
    let mut readable = format!("{time} {} {}", text("node"), text("what"));
    for (name, value) in fields {
        if ["at", "node", "what"].contains(&name.as_str()) {
            continue;
        }
        // Quotes keep control characters and blanks of clients from looking like something else.
        let plain = value.as_str().filter(|text| is_plain(text));
        let shown = plain.map_or_else(|| value.to_string(), str::to_owned);
        readable += &format!(" {name}={shown}");
    }
    readable
}

fn is_plain(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b'"')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_readable_and_hides_nothing() {
        let line = r#"{"at":"2026-11-29T12:34:56.789Z","node":"gw-1","what":"sent","event":"a b\n","bytes":7,"reason":""}"#;
        let fields = serde_json::from_str(line).unwrap();
        let shown = readable(&fields);
        assert!(shown.starts_with("12:34:56.789 gw-1 sent "), "{shown}");
        for part in [r#" event="a b\n""#, " bytes=7", r#" reason="""#] {
            assert!(shown.contains(part), "{shown}");
        }
    }
}
