//! Against rustls' own client, by either version of TLS.

use std::path::PathBuf;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio_rustls::client;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tokio_rustls::{TlsAcceptor, TlsConnector, rustls};

use super::*;
use crate::config::Tls;
use crate::net::tls::{Certificate, Files};

const VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];

type Client = client::TlsStream<TcpStream>;

fn file(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/certificates")).join(name)
}

fn server() -> Arc<ServerConfig> {
    let files = Files::of_clients(&Tls {
        cert: file("one.crt"),
        key: file("one.key"),
    });
    Certificate::load(files).unwrap().acceptor().unwrap()
}

fn connector(version: &'static SupportedProtocolVersion) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    let root = CertificateDer::from_pem_file(file("one.crt")).unwrap();
    roots.add(root).unwrap();
    let config = ClientConfig::builder_with_protocol_versions(&[version])
        .with_root_certificates(roots)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}

async fn plain_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap());
    let (near, far) = tokio::join!(near, listener.accept());
    (near.unwrap(), far.unwrap().0)
}

async fn connected(connector: &TlsConnector, server: &Arc<ServerConfig>) -> (Client, TlsStream) {
    let (near, far) = plain_pair().await;
    let name = ServerName::try_from("localhost").unwrap();
    let accepted = TlsStream::accept(Arc::clone(server), far);
    let (client, server) = tokio::join!(connector.connect(name, near), accepted);
    (client.unwrap(), server.unwrap())
}

async fn pair(version: &'static SupportedProtocolVersion) -> (Client, TlsStream) {
    connected(&connector(version), &server()).await
}

/// Bytes of what it keeps beside itself and rustls.
fn kept(stream: &TlsStream) -> usize {
    stream.partial.capacity() + stream.plain.capacity() + stream.unsent.capacity()
}

/// Different ones, so that it shows if some are lost or come twice.
fn bytes(count: usize) -> Vec<u8> {
    (0..count).map(|at| (at % 251) as u8).collect()
}

#[tokio::test]
async fn an_idle_connection_keeps_no_buffer() {
    for version in VERSIONS {
        let (mut client, mut server) = pair(version).await;
        assert_eq!(kept(&server), 0, "after the handshake");
        for count in [1, 20_000, 100_000] {
            let sent = bytes(count);
            let mut received = vec![0; count];
            let (written, read) =
                tokio::join!(client.write_all(&sent), server.read_exact(&mut received));
            written.unwrap();
            read.unwrap();
            assert_eq!(kept(&server), 0, "{count} bytes came");
            let (written, read) = tokio::join!(
                async { server.write_all(&sent).await.and(server.flush().await) },
                client.read_exact(&mut received)
            );
            written.unwrap();
            read.unwrap();
            assert!(received == sent);
            assert_eq!(kept(&server), 0, "{count} bytes went");
        }
    }
}

#[tokio::test]
async fn nothing_is_lost_however_little_is_read_at_a_time() {
    for version in VERSIONS {
        for most in [1, 7, 5000, 100_000] {
            let (mut client, mut server) = pair(version).await;
            let sent = bytes(100_000);
            let sending = async {
                client.write_all(&sent).await.unwrap();
                client.shutdown().await.unwrap();
            };
            let reading = async {
                let (mut received, mut some) = (Vec::new(), vec![0; most]);
                loop {
                    let count = server.read(&mut some).await.unwrap();
                    received.extend_from_slice(&some[..count]);
                    if count == 0 {
                        break received;
                    }
                }
            };
            let ((), received) = tokio::join!(sending, reading);
            assert!(received == sent, "{most} at a time");
        }
    }
}

/// Passes on what one end sends, a few bytes at a time.
async fn pass_slowly(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
) {
    let mut some = [0; 3];
    while let Ok(count @ 1..) = from.read(&mut some).await {
        if to.write_all(&some[..count]).await.is_err() {
            break;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn records_may_come_in_pieces() {
    for version in VERSIONS {
        let (near, between_near) = plain_pair().await;
        let (between_far, far) = plain_pair().await;
        between_far.set_nodelay(true).unwrap();
        let ((near_read, near_write), (far_read, far_write)) =
            (between_near.into_split(), between_far.into_split());
        tokio::spawn(pass_slowly(near_read, far_write));
        tokio::spawn(pass_slowly(far_read, near_write));
        let name = ServerName::try_from("localhost").unwrap();
        let (client, server) = tokio::join!(
            connector(version).connect(name, near),
            TlsStream::accept(server(), far)
        );
        let (mut client, mut server) = (client.unwrap(), server.unwrap());
        let sent = bytes(3000);
        let mut received = vec![0; sent.len()];
        let (written, read) =
            tokio::join!(client.write_all(&sent), server.read_exact(&mut received));
        written.and(read.map(drop)).unwrap();
        assert!(received == sent);
        assert_eq!(kept(&server), 0);
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_up_the_writer() {
    for version in VERSIONS {
        let (mut client, mut server) = pair(version).await;
        let sent = bytes(30_000);
        let slices = [
            IoSlice::new(&sent),
            IoSlice::new(&sent),
            IoSlice::new(&sent),
        ];
        let mut taken = 0;
        loop {
            let write = poll_fn(|context| {
                Poll::Ready(Pin::new(&mut server).poll_write_vectored(context, &slices))
            });
            match write.await {
                Poll::Ready(count) => taken += count.unwrap(),
                Poll::Pending => break,
            }
        }
        assert!(kept(&server) > 0 && server.unsent.len() < 2 * MAX_WRITE);
        let mut received = vec![0; taken];
        let (flushed, read) = tokio::join!(server.flush(), client.read_exact(&mut received));
        flushed.and(read.map(drop)).unwrap();
        // Each write took what comes first of the slices.
        let all: Vec<u8> = slices.iter().flat_map(|it| it.to_vec()).collect();
        for part in received.chunks(MAX_WRITE) {
            assert!(all.starts_with(part));
        }
        assert_eq!(kept(&server), 0);
    }
}

#[tokio::test]
async fn an_end_is_told_from_a_connection_that_breaks() {
    for version in VERSIONS {
        let (mut client, mut server) = pair(version).await;
        client.shutdown().await.unwrap();
        assert_eq!(server.read(&mut [0; 10]).await.unwrap(), 0);
        // The other way is still open.
        server.write_all(b"bye").await.unwrap();
        server.shutdown().await.unwrap();
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b"bye");

        // One that has read all, so that it does not reset the connection.
        let (mut client, mut server) = pair(version).await;
        server.write_all(b"x").await.unwrap();
        client.read_exact(&mut [0]).await.unwrap();
        drop(client.into_inner().0);
        let broken = server.read(&mut [0; 10]).await.unwrap_err();
        assert_eq!(broken.kind(), io::ErrorKind::UnexpectedEof);
    }
}

#[tokio::test]
async fn what_is_no_tls_is_refused_with_an_alert() {
    let (mut near, far) = plain_pair().await;
    near.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let refused = TlsStream::accept(server(), far).await.err().unwrap();
    assert_eq!(refused.kind(), io::ErrorKind::InvalidData);
    let mut alert = Vec::new();
    near.read_to_end(&mut alert).await.unwrap();
    assert_eq!(alert.first(), Some(&21));
}

#[tokio::test]
async fn a_record_that_was_changed_ends_it_for_good() {
    for version in VERSIONS {
        let (mut client, mut server) = pair(version).await;
        // A part of a record, which then does not hold.
        let record = [&[23, 3, 3, 0, 40][..], &[7; 40]].concat();
        let raw = client.get_mut().0;
        raw.write_all(&record[..20]).await.unwrap();
        poll_fn(|context| {
            let mut some = [0; 10];
            let polled = Pin::new(&mut server).poll_read(context, &mut ReadBuf::new(&mut some));
            assert!(polled.is_pending());
            match server.partial.len() {
                20 => Poll::Ready(()),
                _ => Poll::Pending,
            }
        })
        .await;
        raw.write_all(&record[20..]).await.unwrap();
        let refused = server.read(&mut [0; 10]).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::InvalidData);
        for _ in 0..2 {
            assert!(server.read(&mut [0; 10]).await.is_err());
            assert!(server.write(b"x").await.is_err());
        }
        assert!(server.shutdown().await.is_err());
    }
}

#[tokio::test]
async fn a_session_is_resumed() {
    for version in VERSIONS {
        let (connector, server) = (connector(version), server());
        let mut kinds = Vec::new();
        for _ in 0..2 {
            let (mut client, mut there) = connected(&connector, &server).await;
            // The ticket comes with the first bytes.
            there.write_all(b"x").await.unwrap();
            client.read_exact(&mut [0]).await.unwrap();
            kinds.push(client.get_ref().1.handshake_kind().unwrap());
        }
        let full = rustls::HandshakeKind::Full;
        assert_eq!(kinds, [full, rustls::HandshakeKind::Resumed], "{version:?}");
    }
}

/// Bytes that a connection takes, itself included.
const MOST_BYTES: u64 = 3600;

fn runtime() -> Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().unwrap()
}

/// Bytes that are kept for a connection that `accept` makes of one of TCP, once each end got a message.
fn bytes_of<S, A>(
    version: &'static SupportedProtocolVersion,
    accept: impl Fn(TcpStream) -> A,
) -> u64
where
    S: AsyncRead + AsyncWrite + Unpin,
    A: Future<Output = io::Result<S>>,
{
    let runtime = runtime();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    // The other end has a thread of its own, whose allocations are not counted.
    let clients = std::thread::spawn(move || {
        self::runtime().block_on(async {
            for _ in 0..2 {
                let near = TcpStream::connect(address).await.unwrap();
                let name = ServerName::try_from("localhost").unwrap();
                let mut client = connector(version).connect(name, near).await.unwrap();
                client.write_all(b"hello").await.unwrap();
                client.read_exact(&mut [0; 5]).await.unwrap();
                let _closed = client.read(&mut [0]).await;
            }
        });
    });
    let mut taken = 0;
    // The first one makes the buffers of the thread.
    for _ in 0..2 {
        let mut kept = None;
        let far = runtime.block_on(listener.accept()).unwrap().0;
        let found = allocation_counter::measure(|| {
            kept = Some(Box::new(runtime.block_on(async {
                let mut stream = accept(far).await.unwrap();
                stream.read_exact(&mut [0; 5]).await.unwrap();
                stream.write_all(b"hello").await.unwrap();
                stream.flush().await.unwrap();
                stream
            })));
        });
        taken = u64::try_from(found.bytes_current).unwrap();
    }
    clients.join().unwrap();
    taken
}

#[test]
fn an_idle_connection_takes_few_bytes() {
    for version in VERSIONS {
        let server = server();
        let taken = bytes_of(version, |far| TlsStream::accept(Arc::clone(&server), far));
        assert!((500..=MOST_BYTES).contains(&taken), "{version:?}: {taken}");
        // With buffers of its own it takes more, and the counter sees that.
        let buffered = TlsAcceptor::from(Arc::clone(&server));
        let buffered = bytes_of(version, |far| buffered.accept(far));
        assert!(buffered > MOST_BYTES, "{version:?}: {buffered}");
    }
}
