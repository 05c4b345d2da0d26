use std::collections::VecDeque;
use std::net::SocketAddr;

use super::{Connection, Response, WebSocket, request, sid};

/// A client on HTTP long-polling, with a connection for its polls and one for its posts.
pub(crate) struct Polling {
    address: SocketAddr,
    pub(crate) sid: String,
    polls: Connection,
    /// The node closed it: the next poll takes another, if there is a next one.
    polls_ended: bool,
    posts: Connection,
    packets: VecDeque<String>,
}

impl Polling {
    pub(crate) async fn open(address: SocketAddr) -> Self {
        Self::open_with(address, "").await
    }

    /// With further headers in the handshake, each with its line's end.
    pub(crate) async fn open_with(address: SocketAddr, headers: &str) -> Self {
        let handshake = Self::handshake_with(address, headers).await;
        assert_eq!(handshake.status, 200, "{handshake:?}");
        Self {
            address,
            sid: sid(&handshake.body),
            polls: Connection::open(address).await,
            polls_ended: false,
            posts: Connection::open(address).await,
            packets: VecDeque::new(),
        }
    }

    pub(crate) async fn handshake(address: SocketAddr) -> Response {
        Self::handshake_with(address, "").await
    }

    /// With further headers, each with its line's end.
    pub(crate) async fn handshake_with(address: SocketAddr, headers: &str) -> Response {
        let mut connection = Connection::open(address).await;
        let head = "GET /socket.io/?EIO=4&transport=polling";
        connection.send_with(head, headers, "").await;
        connection.response().await
    }

    pub(crate) fn target(&self) -> String {
        format!("/socket.io/?EIO=4&transport=polling&sid={}", self.sid)
    }

    /// Joins `/` and returns the socket's id.
    pub(crate) async fn connect(&mut self) -> String {
        self.send("40").await;
        sid(&self.next().await)
    }

    pub(crate) async fn post(&mut self, body: &str) -> Response {
        self.posts
            .send(&format!("POST {}", self.target()), body)
            .await;
        self.posts.response().await
    }

    pub(crate) async fn send(&mut self, packets: &str) {
        let response = self.post(packets).await;
        assert_eq!((response.status, response.body.as_str()), (200, "ok"));
    }

    /// Begins a poll that waits; its answer is read with [`polled`](Self::polled). Both shards
    /// answer something that came later, so the poll was seen.
    pub(crate) async fn park(&mut self) {
        self.begin_poll().await;
        for _ in 0..2 {
            let nothing = request(self.address, "GET /nothing", "").await;
            assert_eq!(nothing.status, 404);
        }
    }

    async fn begin_poll(&mut self) {
        if std::mem::take(&mut self.polls_ended) {
            self.polls = Connection::open(self.address).await;
        }
        self.polls.send(&format!("GET {}", self.target()), "").await;
    }

    pub(crate) async fn polled(&mut self) -> Response {
        let response = self.polls.response().await;
        self.polls_ended = response.header("connection") == Some("close");
        response
    }

    pub(crate) async fn poll(&mut self) -> Response {
        self.begin_poll().await;
        self.polled().await
    }

    /// The next packet.
    pub(crate) async fn next(&mut self) -> String {
        loop {
            if let Some(packet) = self.packets.pop_front() {
                return packet;
            }
            let response = self.poll().await;
            assert_eq!(response.status, 200, "{response:?}");
            self.packets
                .extend(response.body.split('\x1e').map(str::to_owned));
        }
    }

    pub(crate) async fn expect(&mut self, packet: &str) {
        assert_eq!(self.next().await, packet);
    }

    /// A WebSocket that probes for this session and was answered.
    pub(crate) async fn probe(&self) -> WebSocket {
        let query = format!("&sid={}", self.sid);
        let mut websocket = WebSocket::handshake(self.address, &query).await.unwrap();
        websocket.send("2probe").await;
        websocket.expect("3probe").await;
        websocket
    }
}
