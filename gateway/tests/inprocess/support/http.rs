use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::soon;

/// What came back, headers in lower case.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
    /// The body as it came.
    pub(crate) bytes: Vec<u8>,
}

impl Response {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        let found = headers.find(|(candidate, _)| candidate == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// One request on a connection of its own; `head` is method and target.
pub(crate) async fn request(address: SocketAddr, head: &str, body: &str) -> Response {
    let mut connection = Connection::open(address).await;
    connection.send(head, body).await;
    connection.response().await
}

/// The same with headers, each ending with a line break.
pub(crate) async fn request_with(
    address: SocketAddr,
    head: &str,
    headers: &str,
    body: &str,
) -> Response {
    let mut connection = Connection::open(address).await;
    connection.send_with(head, headers, body).await;
    connection.response().await
}

/// A connection that is kept alive.
pub(crate) struct Connection {
    pub(super) stream: TcpStream,
    pub(super) read: Vec<u8>,
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> Self {
        Self::of(TcpStream::connect(address).await.unwrap())
    }

    pub(crate) fn of(stream: TcpStream) -> Self {
        Self {
            stream,
            read: Vec::new(),
        }
    }

    pub(crate) async fn send(&mut self, head: &str, body: &str) {
        self.send_with(head, "", body).await;
    }

    /// With further headers, each with its line's end.
    pub(crate) async fn send_with(&mut self, head: &str, headers: &str, body: &str) {
        let length = body.len();
        let request = format!(
            "{head} HTTP/1.1\r\nHost: gateway\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
        );
        self.write(request.as_bytes()).await;
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        soon(self.stream.write_all(bytes)).await.unwrap();
    }

    /// The head of an answer that has no body.
    pub(crate) async fn head(&mut self) -> String {
        while find(&self.read, b"\r\n\r\n").is_none() {
            assert!(self.fill().await, "closed amid a head");
        }
        String::from_utf8(std::mem::take(&mut self.read)).unwrap()
    }

    pub(crate) async fn response(&mut self) -> Response {
        let head = loop {
            if let Some(end) = find(&self.read, b"\r\n\r\n") {
                break self.take(end + 4).await;
            }
            assert!(self.fill().await, "the connection ended before the answer");
        };
        let head = String::from_utf8(head).unwrap();
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap();
        let mut response = Response {
            status: status.parse().unwrap(),
            headers: lines
                .filter_map(|line| line.split_once(": "))
                .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
                .collect(),
            body: String::new(),
            bytes: Vec::new(),
        };
        let length = response.header("content-length").unwrap_or("0");
        response.bytes = self.take(length.parse().unwrap()).await;
        response.body = String::from_utf8_lossy(&response.bytes).into_owned();
        response
    }

    /// Reads what there is; `false` at the end.
    pub(crate) async fn fill(&mut self) -> bool {
        soon(self.stream.read_buf(&mut self.read))
            .await
            .is_ok_and(|count| count > 0)
    }

    /// The next bytes.
    pub(super) async fn take(&mut self, count: usize) -> Vec<u8> {
        while self.read.len() < count {
            assert!(self.fill().await, "the connection ended");
        }
        let rest = self.read.split_off(count);
        std::mem::replace(&mut self.read, rest)
    }
}

fn find(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).position(|window| window == part)
}
