//! TLS: the same clients through a tunnel, and certificates that change.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gateway::{Config, Server};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::support::{Connection, Polling, TestGateway, WebSocket, config, until};

const FILES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/certificates");

#[tokio::test]
async fn polling_and_websocket_and_upgrades_work() {
    let files = Files::of("one", "all-transports");
    let gateway = TestGateway::configured(files.config(), |main| {
        main.on("secure", |socket, event| {
            event.ack((socket.handshake().secure(),)).ok();
        })
        .on("echo", |_, event| {
            let arguments = event.arguments();
            event.ack(arguments).ok();
        })
    })
    .await;
    let tunnel = Tunnel::to(gateway.address()).await;
    let mut websocket = WebSocket::open(tunnel.address).await;
    websocket.connect().await;
    websocket.send(r#"421["secure"]"#).await;
    websocket.expect("431[true]").await;
    // Half of the WebSockets come to another shard than the session that they probe for.
    for _ in 0..8 {
        let mut polling = Polling::open(tunnel.address).await;
        polling.connect().await;
        let mut upgraded = polling.probe().await;
        upgraded.send("5").await;
        upgraded.send(r#"421["secure"]"#).await;
        upgraded.expect("431[true]").await;
        upgraded.sync().await;
    }
    let mut polling = Polling::open(tunnel.address).await;
    polling.connect().await;
    polling.send(r#"421["echo","hello"]"#).await;
    polling.expect(r#"431["hello"]"#).await;
    let upgrades = r#"gateway_upgrades_total{result="completed"}"#;
    assert_eq!(gateway.metric(upgrades).await, 8.0);
}

#[tokio::test]
async fn what_is_large_passes_and_the_close_is_in_order() {
    let files = Files::of("one", "large");
    let gateway = TestGateway::start(Server::new(files.config())).await;
    let tunnel = Tunnel::to(gateway.address()).await;
    let mut client = WebSocket::open(tunnel.address).await;
    client.connect().await;
    let text = "x".repeat(900_000);
    for _ in 0..3 {
        client.send(&format!(r#"421["echo","{text}"]"#)).await;
        assert!(client.answer().await == format!(r#"431["{text}"]"#));
    }
    let stopping = tokio::spawn(gateway.stop());
    client.expect_close().await;
    stopping.await.unwrap();
}

#[tokio::test]
async fn a_new_certificate_is_taken_while_clients_are_connected() {
    let files = Files::of("one", "renewed");
    let gateway = TestGateway::start(Server::new(files.config())).await;
    let tunnel = Tunnel::to(gateway.address()).await;
    let mut old = WebSocket::open(tunnel.address).await;
    old.connect().await;
    assert_eq!(tunnel.last_shown(), certificate("one"));

    // The files change one after the other and do not fit together meanwhile.
    files.put("two", "crt");
    gateway.running().reload().await.unwrap();
    assert_eq!(tunnel.shown().await, certificate("one"));
    files.put("two", "key");
    until(async || tunnel.shown().await == certificate("two")).await;
    old.send(r#"421["echo",1]"#).await;
    assert_eq!(old.answer().await, "431[1]");

    std::fs::write(&files.cert, "nonsense").unwrap();
    std::fs::remove_file(&files.key).unwrap();
    gateway.running().reload().await.unwrap();
    assert_eq!(tunnel.shown().await, certificate("two"));
    files.put("one", "crt");
    files.put("one", "key");
    until(async || tunnel.shown().await == certificate("one")).await;
    old.send(r#"421["echo",2]"#).await;
    assert_eq!(old.answer().await, "431[2]");
}

#[tokio::test]
async fn what_is_no_tls_is_closed_and_counted() {
    let files = Files::of("one", "no-tls");
    let mut config = files.config();
    config.limits.header_timeout = Duration::from_millis(200);
    let gateway = TestGateway::start(Server::new(config)).await;
    let refused = r#"gateway_handshakes_rejected_total{reason="tls"}"#;
    let mut plain = Connection::open(gateway.address()).await;
    plain.send("GET /", "").await;
    while plain.fill().await {}
    gateway.until_metric(refused, 1.0).await;
    let mut silent = Connection::open(gateway.address()).await;
    assert!(!silent.fill().await);
    gateway.until_metric(refused, 2.0).await;
}

#[tokio::test]
async fn a_node_does_not_start_with_a_certificate_that_it_cannot_use() {
    let start = async |files: &Files| {
        let failed = Server::new(files.config()).start().await.err();
        failed.expect("it started").to_string()
    };
    let files = Files::of("one", "unusable");
    files.put("two", "key");
    let said = start(&files).await;
    let expected = "the certificate of tls.cert cannot be used with the key of tls.key: ";
    assert!(said.starts_with(expected), "{said}");
    std::fs::write(&files.key, "nonsense").unwrap();
    let said = start(&files).await;
    assert!(
        said.contains("unusable.key (tls.key) is no PEM file of a private key"),
        "{said}"
    );
    std::fs::write(&files.cert, "nonsense").unwrap();
    let said = start(&files).await;
    assert!(
        said.contains("unusable.crt (tls.cert) is no PEM file of certificates"),
        "{said}"
    );
    std::fs::remove_file(&files.cert).unwrap();
    let said = start(&files).await;
    assert!(said.starts_with("cannot read "), "{said}");
}

/// Files of one's own.
struct Files {
    cert: PathBuf,
    key: PathBuf,
}

impl Files {
    fn of(name: &str, test: &str) -> Self {
        let scratch = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let files = Self {
            cert: scratch.join(format!("{test}.crt")),
            key: scratch.join(format!("{test}.key")),
        };
        files.put(name, "crt");
        files.put(name, "key");
        files
    }

    fn put(&self, name: &str, kind: &str) {
        let to = if kind == "crt" { &self.cert } else { &self.key };
        std::fs::copy(format!("{FILES}/{name}.{kind}"), to).unwrap();
    }

    fn config(&self) -> Config {
        Config {
            tls: Some(gateway::config::Tls {
                cert: self.cert.clone(),
                key: self.key.clone(),
            }),
            ..config()
        }
    }
}

fn certificate(name: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(format!("{FILES}/{name}.crt")).unwrap()
}

/// Takes plain connections and makes TLS of them.
struct Tunnel {
    address: SocketAddr,
    shown: Arc<Mutex<Option<CertificateDer<'static>>>>,
}

impl Tunnel {
    async fn to(gateway: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shown = Arc::new(Mutex::new(None));
        let mut roots = RootCertStore::empty();
        roots.add(certificate("one")).unwrap();
        roots.add(certificate("two")).unwrap();
        let mut config = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        // A resumed session shows the certificate that it began with.
        config.resumption = Resumption::disabled();
        let connector = TlsConnector::from(Arc::new(config));
        let last = Arc::clone(&shown);
        tokio::spawn(async move {
            while let Ok((mut plain, _)) = listener.accept().await {
                let (connector, last) = (connector.clone(), Arc::clone(&last));
                tokio::spawn(async move {
                    let stream = TcpStream::connect(gateway).await.unwrap();
                    stream.set_nodelay(true).unwrap();
                    plain.set_nodelay(true).unwrap();
                    let name = ServerName::try_from("localhost").unwrap();
                    let mut tls = connector.connect(name, stream).await.unwrap();
                    let (_, session) = tls.get_ref();
                    let chain = session.peer_certificates().unwrap();
                    *last.lock().unwrap() = Some(chain[0].clone());
                    let _over = tokio::io::copy_bidirectional(&mut plain, &mut tls).await;
                });
            }
        });
        Self { address, shown }
    }

    /// The certificate that a new connection is shown.
    async fn shown(&self) -> CertificateDer<'static> {
        let handshake = Polling::handshake(self.address).await;
        assert_eq!(handshake.status, 200);
        self.last_shown()
    }

    fn last_shown(&self) -> CertificateDer<'static> {
        self.shown.lock().unwrap().clone().unwrap()
    }
}
