use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use protocol::webtransport::{StreamFrame, StreamReader};
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use wtransport::endpoint::ConnectOptions;
use wtransport::endpoint::endpoint_side::Client;
use wtransport::error::ConnectingError;
use wtransport::{Connection, Endpoint, RecvStream, SendStream, VarInt};

use super::sid;

const CERTIFICATES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/certificates");

/// A client on a connection and a stream of its own.
pub(crate) struct WebTransport {
    pub(crate) connection: Connection,
    send: SendStream,
    receive: RecvStream,
    reader: StreamReader,
    frames: VecDeque<Frame>,
    pub(crate) sid: String,
    _endpoint: Endpoint<Client>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Frame {
    Text(String),
    Binary(Vec<u8>),
    /// The stream or the connection is over.
    End,
}

impl WebTransport {
    /// A connection without a stream, or why there is none.
    pub(crate) async fn dial(
        address: SocketAddr,
        path: &str,
        origin: Option<&str>,
    ) -> Result<(Endpoint<Client>, Connection), ConnectingError> {
        let mut roots = RootCertStore::empty();
        for name in ["one", "two"] {
            let certificate = CertificateDer::from_pem_file(format!("{CERTIFICATES}/{name}.crt"));
            roots.add(certificate.unwrap()).unwrap();
        }
        let mut tls = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.alpn_protocols = vec![b"h3".to_vec()];
        let config = wtransport::ClientConfig::builder()
            .with_bind_address(([127, 0, 0, 1], 0).into())
            .with_custom_tls(tls)
            .build();
        let endpoint = Endpoint::client(config).unwrap();
        let url = format!("https://127.0.0.1:{}{path}", address.port());
        let options = ConnectOptions::builder(url);
        let options = match origin {
            Some(origin) => options.add_header("origin", origin),
            None => options,
        };
        let connection = endpoint.connect(options).await?;
        Ok((endpoint, connection))
    }

    /// A stream on which nothing was sent.
    pub(crate) async fn stream(address: SocketAddr) -> Self {
        let (endpoint, connection) = Self::dial(address, "/socket.io/", None).await.unwrap();
        let (send, receive) = connection.open_bi().await.unwrap().await.unwrap();
        Self {
            connection,
            send,
            receive,
            reader: StreamReader::new(),
            frames: VecDeque::new(),
            sid: String::new(),
            _endpoint: endpoint,
        }
    }

    /// Opens a session.
    pub(crate) async fn open(address: SocketAddr) -> Self {
        let mut client = Self::stream(address).await;
        client.send("0").await;
        let open = client.next().await;
        assert!(open.contains("\"upgrades\":[]"), "{open}");
        client.sid = sid(&open);
        client
    }

    /// Comes with the sid of a session and probes.
    pub(crate) async fn probe(address: SocketAddr, sid: &str) -> Self {
        let mut client = Self::stream(address).await;
        client.send(&format!("0{{\"sid\":\"{sid}\"}}")).await;
        client.send("2probe").await;
        client
    }

    /// Connects to `/` and returns the id of the socket.
    pub(crate) async fn connect(&mut self) -> String {
        self.send("40").await;
        sid(&self.next().await)
    }

    pub(crate) async fn send(&mut self, text: &str) {
        self.write(&head(0, text.len())).await;
        self.write(text.as_bytes()).await;
    }

    pub(crate) async fn send_binary(&mut self, data: &[u8]) {
        self.write(&head(0x80, data.len())).await;
        self.write(data).await;
    }

    /// Sends bytes as they are, as far as they can be.
    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        let _closed_meanwhile = self.send.write_all(bytes).await;
    }

    /// Ends the stream, and not the connection.
    pub(crate) async fn finish(&mut self) {
        let _closed_meanwhile = self.send.finish().await;
    }

    /// Closes the connection.
    pub(crate) fn close(self) {
        self.connection.close(VarInt::from_u32(0x100), b"");
    }

    pub(crate) async fn frame(&mut self) -> Frame {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            if let Some(frame) = self.frames.pop_front() {
                return frame;
            }
            let read = self.receive.read(&mut buffer);
            let read = tokio::time::timeout(Duration::from_secs(10), read).await;
            let Ok(Some(count)) = read.expect("nothing came within 10 seconds") else {
                return Frame::End;
            };
            let mut input = &buffer[..count];
            while let Some(received) = self.reader.next(&mut input, usize::MAX).unwrap() {
                self.frames.push_back(match received {
                    StreamFrame::Text(text) => Frame::Text(text.into_owned()),
                    StreamFrame::Binary(data) => Frame::Binary(data.into_owned()),
                });
            }
        }
    }

    /// The next text, other than a ping, which it answers.
    pub(crate) async fn next(&mut self) -> String {
        loop {
            match self.frame().await {
                Frame::Text(text) if text == "2" => self.send("3").await,
                Frame::Text(text) => return text,
                other @ (Frame::Binary(_) | Frame::End) => panic!("{other:?} instead of text"),
            }
        }
    }

    pub(crate) async fn expect(&mut self, text: &str) {
        assert_eq!(self.next().await, text);
    }

    /// The stream ends, and nothing comes before.
    pub(crate) async fn expect_end(&mut self) {
        assert_eq!(self.frame().await, Frame::End);
        let closed = tokio::time::timeout(Duration::from_secs(10), self.connection.closed());
        closed.await.expect("the connection is still there");
    }
}

fn head(binary: u8, length: usize) -> Vec<u8> {
    match length {
        ..126 => vec![binary | length as u8],
        126..=0xffff => [&[binary | 126][..], &(length as u16).to_be_bytes()].concat(),
        _ => [&[binary | 127][..], &(length as u64).to_be_bytes()].concat(),
    }
}
