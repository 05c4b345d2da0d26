use std::net::SocketAddr;
use std::time::Duration;

use socket2::SockRef;
use tokio::net::{TcpSocket, TcpStream};

use super::{Connection, Response, sid};

const MASK: [u8; 4] = [1, 2, 3, 4];

/// A client on a WebSocket of its own.
pub(crate) struct WebSocket {
    connection: Connection,
    pub(crate) sid: String,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    Text(String),
    Binary(Vec<u8>),
    /// The close frame and its code.
    Close(Option<u16>),
    /// The connection is over.
    End,
}

impl WebSocket {
    /// Opens a session.
    pub(crate) async fn open(address: SocketAddr) -> Self {
        let mut websocket = Self::handshake(address, "").await.unwrap();
        websocket.sid = sid(&websocket.next().await);
        websocket
    }

    /// Opens a session whose client takes but a few bytes while it does not read.
    pub(crate) async fn open_narrow(address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        let stream = socket.connect(address).await.unwrap();
        Self::open_on(stream).await
    }

    /// Opens a session on a connection that is there.
    pub(crate) async fn open_on(stream: TcpStream) -> Self {
        let mut websocket = Self::handshake_on(stream, "").await.unwrap();
        websocket.sid = sid(&websocket.next().await);
        websocket
    }

    /// The HTTP handshake alone, or the refusal.
    pub(crate) async fn handshake(address: SocketAddr, query: &str) -> Result<Self, Response> {
        Self::handshake_on(TcpStream::connect(address).await.unwrap(), query).await
    }

    /// Opens a session with more in its query and its headers, each of which ends with a line break.
    pub(crate) async fn open_with(address: SocketAddr, query: &str, headers: &str) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        Self::opened(stream, query, headers).await
    }

    /// The same on a connection that is there.
    pub(crate) async fn open_on_with(stream: TcpStream, headers: &str) -> Self {
        Self::opened(stream, "", headers).await
    }

    async fn opened(stream: TcpStream, query: &str, headers: &str) -> Self {
        let opened = Self::handshake_with(stream, query, headers).await;
        let mut websocket = opened.unwrap();
        websocket.sid = sid(&websocket.next().await);
        websocket
    }

    /// On a connection whose handshake was answered.
    pub(crate) fn on(connection: Connection) -> Self {
        Self {
            connection,
            sid: String::new(),
        }
    }

    /// Opens a session with texts that are sent in one piece with the request.
    pub(crate) async fn open_with_frames(address: SocketAddr, texts: &[&str]) -> Self {
        let mut websocket = Self::on(Connection::open(address).await);
        let mut bytes = "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: gateway\r\n\
             Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            .as_bytes()
            .to_vec();
        for text in texts {
            bytes.extend([0x81, 0x80 | text.len() as u8]);
            bytes.extend(MASK);
            bytes.extend(
                text.bytes()
                    .zip(MASK.iter().cycle())
                    .map(|(byte, mask)| byte ^ mask),
            );
        }
        websocket.connection.write(&bytes).await;
        assert_eq!(websocket.connection.response().await.status, 101);
        websocket.sid = sid(&websocket.next().await);
        websocket
    }

    pub(crate) async fn handshake_on(stream: TcpStream, query: &str) -> Result<Self, Response> {
        Self::handshake_with(stream, query, "").await
    }

    async fn handshake_with(
        stream: TcpStream,
        query: &str,
        headers: &str,
    ) -> Result<Self, Response> {
        let mut connection = Connection::of(stream);
        let request = format!(
            "GET /socket.io/?EIO=4&transport=websocket{query} HTTP/1.1\r\nHost: gateway\r\n{headers}\
             Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        connection.write(request.as_bytes()).await;
        let response = connection.response().await;
        if response.status != 101 {
            return Err(response);
        }
        Ok(Self {
            connection,
            sid: String::new(),
        })
    }

    /// Joins `/` and returns the socket's id.
    pub(crate) async fn connect(&mut self) -> String {
        self.send("40").await;
        sid(&self.answer().await)
    }

    pub(crate) async fn send(&mut self, text: &str) {
        self.send_frame(1, text.as_bytes()).await;
    }

    pub(crate) async fn send_binary(&mut self, data: &[u8]) {
        self.send_frame(2, data).await;
    }

    pub(crate) async fn send_close(&mut self) {
        self.send_frame(8, &[]).await;
    }

    /// The beginning of a frame whose end does not come.
    pub(crate) async fn send_half_a_frame(&mut self) {
        let head = [0x81, 0x80 | 100, 1, 2, 3, 4, b'4'];
        self.connection.write(&head).await;
    }

    async fn send_frame(&mut self, opcode: u8, payload: &[u8]) {
        let mut frame = vec![0x80 | opcode];
        match u16::try_from(payload.len()) {
            Ok(length @ 0..126) => frame.push(0x80 | length as u8),
            Ok(length) => {
                frame.push(0x80 | 126);
                frame.extend(length.to_be_bytes());
            }
            Err(_) => {
                frame.push(0x80 | 127);
                frame.extend((payload.len() as u64).to_be_bytes());
            }
        }
        frame.extend(MASK);
        let masked = payload.iter().zip(MASK.iter().cycle());
        frame.extend(masked.map(|(byte, mask)| byte ^ mask));
        self.connection.write(&frame).await;
    }

    pub(crate) async fn frame(&mut self) -> Frame {
        if self.connection.read.is_empty() && !self.connection.fill().await {
            return Frame::End;
        }
        let head = self.connection.take(2).await;
        let length = match head[1] {
            126 => {
                let length = self.connection.take(2).await;
                usize::from(u16::from_be_bytes(length.try_into().unwrap()))
            }
            127 => {
                let length = self.connection.take(8).await;
                u64::from_be_bytes(length.try_into().unwrap()) as usize
            }
            length => usize::from(length),
        };
        let payload = self.connection.take(length).await;
        match head[0] {
            0x81 => Frame::Text(String::from_utf8(payload).unwrap()),
            0x82 => Frame::Binary(payload),
            0x88 => Frame::Close(payload.first_chunk().map(|code| u16::from_be_bytes(*code))),
            other => panic!("frame {other:#x}"),
        }
    }

    /// The next text.
    pub(crate) async fn next(&mut self) -> String {
        match self.frame().await {
            Frame::Text(text) => text,
            other @ (Frame::Binary(_) | Frame::Close(_) | Frame::End) => {
                panic!("{other:?} in place of a text")
            }
        }
    }

    pub(crate) async fn expect(&mut self, text: &str) {
        assert_eq!(self.next().await, text);
    }

    pub(crate) async fn expect_binary(&mut self, data: &[u8]) {
        assert_eq!(self.frame().await, Frame::Binary(data.to_vec()));
    }

    /// A close frame without a code, then the end.
    pub(crate) async fn expect_close(&mut self) {
        assert_eq!(self.frame().await, Frame::Close(None));
        self.send_close().await;
        assert_eq!(self.frame().await, Frame::End);
    }

    /// Has the gateway handle all that was sent before: its application has the event `echo`.
    pub(crate) async fn sync(&mut self) {
        self.send("42999[\"echo\"]").await;
        assert_eq!(self.answer().await, "43999[]");
    }

    /// All bytes that are left, until the gateway closes.
    pub(crate) async fn rest(&mut self) -> Vec<u8> {
        while self.connection.fill().await {}
        std::mem::take(&mut self.connection.read)
    }

    /// The next text that is no ping; pings are answered.
    pub(crate) async fn answer(&mut self) -> String {
        loop {
            match self.next().await {
                ping if ping == "2" => self.send("3").await,
                packet => return packet,
            }
        }
    }

    /// Goes without a word: the peer sees a reset.
    pub(crate) fn vanish(self) {
        let socket = SockRef::from(&self.connection.stream);
        socket.set_linger(Some(Duration::ZERO)).unwrap();
    }
}
