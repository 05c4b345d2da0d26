//! What WebTransport costs beside WebSocket: starts a gateway and tells memory and CPU time of it for each transport.
//!
//! `webtransport_load --gateway target/release/gateway`, on Linux. Figures are the gateway's alone; compare those of one run.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::{Parser, ValueEnum};
use gateway::websocket::frame::{OpCode, ServerFrame, push_masked_frame};
use protocol::webtransport::{StreamFrame, StreamReader};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use wtransport::Endpoint;

const CERTIFICATES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/certificates");

/// The kernel's unit of CPU time, as every Linux has it.
const TICK: Duration = Duration::from_millis(10);

/// Bytes of an event's argument.
const PAYLOAD: usize = 128;

#[derive(Parser)]
struct Arguments {
    /// The program.
    #[arg(long)]
    gateway: PathBuf,
    /// Idle sessions, and members of the room.
    #[arg(long, default_value_t = 500)]
    sessions: usize,
    /// Sessions that echo.
    #[arg(long, default_value_t = 100)]
    echoes: usize,
    /// Events in a second to the room.
    #[arg(long, default_value_t = 40)]
    rate: u32,
    /// How long each measurement takes.
    #[arg(long, default_value_t = 4)]
    seconds: u64,
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    #[arg(long, default_value_t = 2)]
    shards: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Transport {
    Ws,
    Wss,
    Webtransport,
}

#[expect(clippy::print_stdout, reason = "it is what it is for")]
#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    for round in 0..arguments.rounds {
        for transport in [Transport::Ws, Transport::Wss, Transport::Webtransport] {
            let memory = idle(&arguments, transport).await?;
            let echoes = echo(&arguments, transport).await?;
            let deliveries = fan_out(&arguments, transport).await?;
            println!(
                "round {round} {transport:?}: {memory} bytes a session, {echoes:.0} echoes and {deliveries:.0} deliveries a CPU second"
            );
        }
    }
    Ok(())
}

/// Resident bytes of a session in `/` that has said 20 things.
async fn idle(arguments: &Arguments, transport: Transport) -> anyhow::Result<u64> {
    let gateway = Gateway::start(arguments, transport).await?;
    let mut warm = gateway.client(transport).await?;
    warm.call("echo", "warm").await?;
    let before = gateway.resident()?;
    let mut clients = Vec::new();
    for _ in 0..arguments.sessions {
        let mut client = gateway.client(transport).await?;
        for _ in 0..20 {
            client.call("echo", &"x".repeat(64)).await?;
        }
        clients.push(client);
    }
    Ok(gateway.resident()?.saturating_sub(before) / arguments.sessions as u64)
}

/// Echoes for each second of the gateway's CPU time; each client has one under way.
async fn echo(arguments: &Arguments, transport: Transport) -> anyhow::Result<f64> {
    let gateway = Gateway::start(arguments, transport).await?;
    let mut clients = Vec::new();
    for _ in 0..arguments.echoes {
        clients.push(gateway.client(transport).await?);
    }
    let end = Instant::now() + Duration::from_secs(arguments.seconds);
    let before = gateway.cpu()?;
    let text = "x".repeat(PAYLOAD);
    let all = clients.into_iter().map(|mut client| {
        let text = text.clone();
        async move {
            let mut count = 0_u64;
            while Instant::now() < end {
                client.call("echo", &text).await?;
                count += 1;
            }
            anyhow::Ok(count)
        }
    });
    let counts = futures_util::future::join_all(all).await;
    let cpu = gateway.cpu()? - before;
    let total = counts.into_iter().sum::<anyhow::Result<u64>>()?;
    Ok(total as f64 / cpu.as_secs_f64())
}

/// Deliveries for each second of the gateway's CPU time, of a publisher on a WebSocket.
async fn fan_out(arguments: &Arguments, transport: Transport) -> anyhow::Result<f64> {
    let gateway = Gateway::start(arguments, transport).await?;
    let mut members = Vec::new();
    for _ in 0..arguments.sessions {
        let mut client = gateway.client(transport).await?;
        client.call("join", "room").await?;
        members.push(client);
    }
    let publisher = match transport {
        Transport::Ws => Transport::Ws,
        Transport::Wss | Transport::Webtransport => Transport::Wss,
    };
    let mut publisher = gateway.client(publisher).await?;
    let events = arguments.rate as u64 * arguments.seconds;
    let before = gateway.cpu()?;
    let hearing = members.into_iter().map(|mut member| async move {
        for _ in 0..events {
            member.next().await?;
        }
        anyhow::Ok(())
    });
    let publishing = async {
        let mut ticks = tokio::time::interval(Duration::from_secs(1) / arguments.rate);
        let text = "x".repeat(PAYLOAD);
        for _ in 0..events {
            ticks.tick().await;
            let event = format!(r#"42["publish","room","tick","{text}"]"#);
            publisher.send(&event).await?;
        }
        anyhow::Ok(())
    };
    let (heard, published) = tokio::join!(futures_util::future::join_all(hearing), publishing);
    published?;
    heard.into_iter().collect::<anyhow::Result<()>>()?;
    let cpu = gateway.cpu()? - before;
    Ok((events * arguments.sessions as u64) as f64 / cpu.as_secs_f64())
}

/// A gateway that ends with this.
struct Gateway {
    child: Child,
    address: SocketAddr,
    tls: Arc<ClientConfig>,
    endpoint: Endpoint<wtransport::endpoint::endpoint_side::Client>,
}

impl Gateway {
    async fn start(arguments: &Arguments, transport: Transport) -> anyhow::Result<Self> {
        let free = std::net::TcpListener::bind("127.0.0.1:0")?;
        let address = free.local_addr()?;
        let internal = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        drop(free);
        let mut command = Command::new(&arguments.gateway);
        command
            .args(["--listen", &address.to_string()])
            .args(["--internal-listen", &internal.to_string()])
            .args(["--shards", &arguments.shards.to_string()])
            .args(["--shutdown-drain", "0s", "--log-level", "warn"]);
        if transport != Transport::Ws {
            command
                .args(["--tls-cert", &format!("{CERTIFICATES}/one.crt")])
                .args(["--tls-key", &format!("{CERTIFICATES}/one.key")])
                .args(["--webtransport-listen", &address.to_string()]);
        }
        let child = command.stdout(Stdio::null()).spawn()?;
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(format!(
            "{CERTIFICATES}/one.crt"
        ))?)?;
        let tls = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut quic = tls.clone();
        quic.alpn_protocols = vec![b"h3".to_vec()];
        let config = wtransport::ClientConfig::builder()
            .with_bind_address(([127, 0, 0, 1], 0).into())
            .with_custom_tls(quic)
            .build();
        let gateway = Self {
            child,
            address,
            tls: Arc::new(tls),
            endpoint: Endpoint::client(config)?,
        };
        let patience = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(internal).await.is_err() {
            if Instant::now() > patience {
                bail!("the gateway does not start");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(gateway)
    }

    /// A client in `/`.
    async fn client(&self, transport: Transport) -> anyhow::Result<Peer> {
        let mut client = match transport {
            Transport::Ws => Peer::websocket(TcpStream::connect(self.address).await?).await?,
            Transport::Wss => {
                let stream = TcpStream::connect(self.address).await?;
                stream.set_nodelay(true)?;
                let connector = TlsConnector::from(Arc::clone(&self.tls));
                let name = ServerName::try_from("localhost")?;
                Peer::websocket(connector.connect(name, stream).await?).await?
            }
            Transport::Webtransport => {
                let url = format!("https://127.0.0.1:{}/socket.io/", self.address.port());
                let connection = self.endpoint.connect(url).await?;
                let (send, receive) = connection.open_bi().await?.await?;
                let mut client = Peer::on(receive, send, Frames::WebTransport(StreamReader::new()));
                client.keep = Some(connection);
                client.send("0").await?;
                client
            }
        };
        client.next().await?;
        client.send("40").await?;
        client.next().await?;
        Ok(client)
    }

    fn resident(&self) -> anyhow::Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|it| it.strip_prefix("VmRSS:"));
        let kilobytes = line.and_then(|it| it.trim().strip_suffix(" kB"));
        Ok(kilobytes.context("no VmRSS")?.parse::<u64>()? * 1024)
    }

    fn cpu(&self) -> anyhow::Result<Duration> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let (_, rest) = stat.rsplit_once(") ").context("no stat")?;
        let fields: Vec<_> = rest.split(' ').collect();
        let ticks = |index: usize| fields.get(index).and_then(|it| it.parse::<u32>().ok());
        let (user, system) = ticks(11).zip(ticks(12)).context("no times")?;
        Ok(TICK * (user + system))
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ended_by_itself = self.child.kill();
        let _status = self.child.wait();
    }
}

/// What frames are of, and what is left of the last read.
enum Frames {
    WebSocket,
    WebTransport(StreamReader),
}

/// A client.
struct Peer {
    reader: Box<dyn AsyncRead + Unpin + Send>,
    writer: Box<dyn AsyncWrite + Unpin + Send>,
    frames: Frames,
    texts: std::collections::VecDeque<String>,
    rest: Vec<u8>,
    keep: Option<wtransport::Connection>,
}

impl Peer {
    fn on(
        reader: impl AsyncRead + Unpin + Send + 'static,
        writer: impl AsyncWrite + Unpin + Send + 'static,
        frames: Frames,
    ) -> Self {
        Self {
            reader: Box::new(reader),
            writer: Box::new(writer),
            frames,
            texts: Default::default(),
            rest: Vec::new(),
            keep: None,
        }
    }

    async fn websocket(
        mut stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    ) -> anyhow::Result<Self> {
        let request = "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: gateway\r\n\
             Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        stream.write_all(request.as_bytes()).await?;
        stream.flush().await?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await?);
        }
        let (reader, writer) = tokio::io::split(stream);
        Ok(Self::on(reader, writer, Frames::WebSocket))
    }

    async fn send(&mut self, text: &str) -> anyhow::Result<()> {
        let mut frame = Vec::with_capacity(text.len() + 16);
        match self.frames {
            Frames::WebSocket => {
                push_masked_frame(&mut frame, OpCode::Text, text.as_bytes(), [1, 2, 3, 4]);
            }
            Frames::WebTransport(_) => {
                protocol::Encoded::engine_text(text)
                    .pieces(|piece| frame.extend_from_slice(&piece));
            }
        }
        self.writer.write_all(&frame).await?;
        self.writer.flush().await?;
        Ok(())
    }

    /// The next text other than a ping.
    async fn next(&mut self) -> anyhow::Result<String> {
        loop {
            match self.texts.pop_front() {
                Some(text) if text == "2" => self.send("3").await?,
                Some(text) => return Ok(text),
                None => self.fill().await?,
            }
        }
    }

    async fn fill(&mut self) -> anyhow::Result<()> {
        let mut buffer = [0; 16 * 1024];
        let count = self.reader.read(&mut buffer).await?;
        if count == 0 {
            bail!("the gateway closed");
        }
        let mut read = &buffer[..count];
        match &mut self.frames {
            Frames::WebTransport(reader) => {
                while let Some(frame) = reader.next(&mut read, usize::MAX)? {
                    if let StreamFrame::Text(text) = frame {
                        self.texts.push_back(text.into_owned());
                    }
                }
            }
            Frames::WebSocket => {
                self.rest.extend_from_slice(read);
                let mut left = &self.rest[..];
                while let Some((frame, rest)) = ServerFrame::decode(left, usize::MAX)? {
                    let text = String::from_utf8_lossy(frame.payload);
                    self.texts.push_back(text.into_owned());
                    left = rest;
                }
                self.rest = left.to_vec();
            }
        }
        Ok(())
    }

    /// Emits an event and waits for its acknowledgement.
    async fn call(&mut self, event: &str, argument: &str) -> anyhow::Result<()> {
        self.send(&format!(r#"421["{event}","{argument}"]"#))
            .await?;
        while !self.next().await?.starts_with("431") {}
        Ok(())
    }
}
