//! `gateway doctor URL`: tries all that a client does, through whatever stands in front, and says
//! what is wrong in words.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::{Method, StatusCode};
use serde::Deserialize;

use gateway::config::{TlsVerify, Trust};
use line::{Reply, STEP_TIMEOUT, Socket, Target, Trouble, USUAL_PATH};
use words::Complaint;

use crate::cli::status::Status;

mod line;
mod words;

/// Requests of one session on connections of their own, so that a balancer that spreads them over
/// nodes is found out.
const REQUESTS: usize = 8;

/// An answer that takes longer than this was held up.
const HELD_UP: Duration = Duration::from_secs(2);

/// What a patient is asked before the examination.
pub(crate) struct Order {
    pub(crate) url: String,
    /// The namespace to connect to, if it is not in the URL.
    pub(crate) namespace: Option<String>,
    /// The token to show.
    pub(crate) token: Option<String>,
    /// The page that the client runs in.
    pub(crate) origin: Option<String>,
    pub(crate) trust: Trust,
    /// How long open connections are watched.
    pub(crate) idle_timeout: Duration,
}

/// Examines, prints what it finds, and ends with 1 if something is wrong.
pub(crate) fn run(order: &Order) -> anyhow::Result<ExitCode> {
    let target = Target::parse(&order.url, &order.trust, order.origin.as_deref())?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (complaints, warnings) = runtime.block_on(async {
        let mut examination = Examination {
            target,
            namespace: order.namespace.clone(),
            token: order.token.clone(),
            complaints: 0,
            warnings: 0,
        };
        examination.run(order.idle_timeout).await;
        (examination.complaints, examination.warnings)
    });
    Ok(match (complaints, warnings) {
        (0, 0) => {
            say("nothing is wrong");
            Status::Done.into()
        }
        (0, _) => {
            say(&format!("nothing is wrong, {warnings} to look at"));
            Status::Done.into()
        }
        (_, _) => {
            say(&format!("{complaints} wrong"));
            Status::Failed.into()
        }
    })
}

/// What the open packet says.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Opened {
    sid: String,
    upgrades: Vec<String>,
    ping_interval: u64,
    ping_timeout: u64,
}

impl Opened {
    fn parse(packet: &str) -> Option<Self> {
        serde_json::from_str(packet.strip_prefix('0')?).ok()
    }

    fn query(&self) -> String {
        format!("&sid={}", self.sid)
    }

    fn ping_interval(&self) -> Duration {
        Duration::from_millis(self.ping_interval)
    }

    /// How long a poll may wait, until the ping at the latest.
    fn patience(&self) -> Duration {
        self.ping_interval() + STEP_TIMEOUT
    }
}

struct Examination {
    target: Target,
    namespace: Option<String>,
    token: Option<String>,
    complaints: usize,
    warnings: usize,
}

/// What is said about a step.
enum Told {
    Good(String),
    /// Some clients may have trouble, or what was looked at says little.
    Doubtful(Complaint),
}

type Finding = Result<Told, Complaint>;

impl From<String> for Told {
    fn from(found: String) -> Self {
        Self::Good(found)
    }
}

impl Examination {
    async fn run(&mut self, idle_timeout: Duration) {
        if let Some(url) = self.target.completed() {
            say(&format!("..     url         taken for {url}"));
        }
        if !self.tell("connection", self.connection().await) {
            return;
        }
        self.read_path().await;
        let (polling, opened) = match self.polling().await {
            Ok((found, opened, reply)) => (Ok(found.into()), Some((opened, reply))),
            Err(complaint) => (Err(complaint), None),
        };
        self.tell("polling", polling);
        if let (Some(origin), Some((_, reply))) = (self.target.origin(), &opened) {
            let found = words::origin(origin, self.target.is_own(origin), reply);
            self.tell("origin", found.map(Told::from));
        }
        let opened = opened.map(|(opened, _)| opened);
        if let Some(opened) = &opened {
            self.tell("session", self.session(opened).await);
        }
        let websocket = match self.websocket().await {
            Ok((found, answer)) => {
                self.tell("websocket", Ok(found.into()));
                let found = words::namespace(self.namespace(), self.token.is_some(), &answer);
                self.tell("namespace", found);
                true
            }
            Err(complaint) => self.tell("websocket", Err(complaint)),
        };
        if websocket && opened.is_some_and(|opened| !opened.upgrades.is_empty()) {
            self.tell("upgrade", self.upgrade().await);
        }
        if !idle_timeout.is_zero() && self.complaints == 0 {
            say(&format!("..     idle        watching for {idle_timeout:?}"));
            let found = self.idle(idle_timeout).await;
            self.tell("idle", found);
        }
    }

    fn tell(&mut self, step: &str, finding: Finding) -> bool {
        match finding {
            Ok(Told::Good(found)) => {
                say(&format!("ok     {step:<11} {found}"));
                true
            }
            Ok(Told::Doubtful(Complaint { problem, advice })) => {
                self.warnings += 1;
                say(&format!("warn   {step:<11} {problem}"));
                say(&format!("       {:<11} -> {advice}", ""));
                true
            }
            Err(Complaint { problem, advice }) => {
                self.complaints += 1;
                say(&format!("WRONG  {step:<11} {problem}"));
                say(&format!("       {:<11} -> {advice}", ""));
                false
            }
        }
    }

    fn namespace(&self) -> &str {
        self.namespace.as_deref().unwrap_or("/")
    }

    /// The packet that asks for the namespace.
    fn connect_packet(&self) -> String {
        let namespace = match self.namespace() {
            "/" => String::new(),
            name => format!("{name},"),
        };
        let auth = self.token.as_ref();
        let auth = auth.map(|token| serde_json::json!({"token": token}).to_string());
        format!("40{namespace}{}", auth.unwrap_or_default())
    }

    /// The path of a URL that clients are given is the namespace, and Engine.IO's is an option of its own.
    /// So a path that Engine.IO is not at is taken for a namespace, if it is at the usual one.
    async fn read_path(&mut self) {
        let path = self.target.path().to_owned();
        if path == USUAL_PATH || self.namespace.is_some() || !self.is_missing(&self.target).await {
            return;
        }
        let usual = self.target.at_usual_path();
        if self.is_missing(&usual).await {
            return;
        }
        let namespace = path.strip_suffix('/').unwrap_or(&path).to_owned();
        say(&format!(
            "..     url         {namespace} is taken for a namespace, as clients take it; Engine.IO is at {USUAL_PATH}"
        ));
        self.namespace = Some(namespace);
        self.target = usual;
    }

    /// Whether nothing answers a handshake there.
    async fn is_missing(&self, target: &Target) -> bool {
        let reply = target.request(Method::GET, "", "", STEP_TIMEOUT).await;
        match reply {
            Ok(reply) => match Opened::parse(&reply.body) {
                Some(opened) => {
                    // Nobody needs this session.
                    let query = opened.query();
                    let close = target.request(Method::POST, &query, "1", STEP_TIMEOUT);
                    let _either_way = close.await;
                    false
                }
                None => reply.status == StatusCode::NOT_FOUND,
            },
            Err(_) => false,
        }
    }

    async fn connection(&self) -> Finding {
        let began = Instant::now();
        let address = self.target.reach().await.map_err(unreachable)?;
        let took = began.elapsed();
        if let Some(error) = self.target.certificate_error() {
            // The rest is examined all the same: clients may trust what this machine does not.
            return Err(Complaint::new(
                format!("{address} shows a certificate that is not valid: {error}"),
                "Clients will refuse it. Renew it, have it name this host, send the intermediate \
                 certificates with it, or name the authority that signed it by --ca.",
            ));
        }
        let tls = match self.target.checked() {
            None => "",
            Some(TlsVerify::Full | TlsVerify::Ca) if self.target.is_authority() => {
                return Ok(Told::Doubtful(Complaint::new(
                    format!(
                        "{address} shows a certificate that is marked as an authority (CA:TRUE), which clients \
                         that are built with Rust's rustls refuse (CaUsedAsEndEntity)"
                    ),
                    "Browsers, Node and Python take it if they trust who signed it. For the others have one \
                     made with basicConstraints=CA:FALSE (openssl req -x509 makes authorities if it is not \
                     told otherwise).",
                )));
            }
            Some(TlsVerify::Full) => ", TLS and certificate are good",
            Some(TlsVerify::Ca) => ", TLS is good, the certificate too, whatever its name",
            Some(TlsVerify::None) => ", TLS is good; nobody looked at the certificate",
        };
        Ok(format!("{address} answers in {took:.1?}{tls}").into())
    }

    async fn open(&self) -> Result<(Opened, Reply), Complaint> {
        let reply = self.get("").await?;
        let opened = (reply.status == StatusCode::OK)
            .then(|| Opened::parse(&reply.body))
            .flatten();
        match opened {
            Some(opened) => Ok((opened, reply)),
            None if self.is_internal_port().await => Err(words::internal_port(&reply)),
            None => Err(words::handshake(&self.target, &reply)),
        }
    }

    /// Whether the port answers what only the internal one does.
    async fn is_internal_port(&self) -> bool {
        let live = self.target.fetch("/live").await;
        live.is_ok_and(|live| live.body == "{\"live\":true}")
    }

    async fn polling(&self) -> Result<(String, Opened, Reply), Complaint> {
        let (opened, reply) = self.open().await?;
        let found = format!(
            "handshake answered in {:.1?}; a ping every {:?}, to be answered within {:?}",
            reply.took,
            opened.ping_interval(),
            Duration::from_millis(opened.ping_timeout),
        );
        Ok((found, opened, reply))
    }

    /// A poll that waits until something is posted, then many requests.
    async fn session(&self, opened: &Opened) -> Finding {
        let query = opened.query();
        let poll = self.poll_past_pings(&query, opened.patience());
        let post = async {
            // The poll has to be there first; if it is not, nothing is learnt of how long it waits.
            tokio::time::sleep(Duration::from_millis(200)).await;
            let posted = Instant::now();
            let packet = self.connect_packet();
            self.post(&query, packet).await.map(|()| posted)
        };
        let (poll, posted) = tokio::join!(poll, post);
        let posted = posted?;
        let reply = poll?;
        let held = posted.elapsed();
        if !reply.body.starts_with("40") && !reply.body.starts_with("44") {
            return Err(words::request(&reply));
        }
        if held > HELD_UP {
            let problem = format!("an answer arrived {held:.1?} after what it answers");
            return Err(Complaint::new(problem, words::DO_NOT_BUFFER));
        }
        for _ in 0..REQUESTS {
            self.post(&query, "6").await?;
        }
        self.post(&query, "1").await?;
        Ok(format!(
            "{} requests on connections of their own found it; a waiting poll was answered in {:.1?}",
            REQUESTS + 3,
            held
        )
        .into())
    }

    /// What is said, and what was answered to the connect.
    async fn websocket(&self) -> Result<(String, String), Complaint> {
        let began = Instant::now();
        let (mut socket, _) = self.open_websocket().await?;
        let answer = self.connect(&mut socket).await?;
        let took = began.elapsed();
        socket.send("1").await.map_err(no_messages)?;
        let found = format!("opened, and a message answered, in {took:.1?}");
        Ok((found, answer))
    }

    async fn open_websocket(&self) -> Result<(Socket, Opened), Complaint> {
        let answer = self.target.websocket("").await.map_err(unreachable)?;
        let mut socket = answer.map_err(|reply| words::no_websocket(&self.target, &reply))?;
        let packet = socket.next(STEP_TIMEOUT).await.map_err(no_messages)?;
        let opened = Opened::parse(&packet).ok_or_else(|| {
            Complaint::new(
                format!("a WebSocket opened, but its first message is {packet:.80}"),
                "Something else than a gateway answers.",
            )
        })?;
        Ok((socket, opened))
    }

    /// Connects to the namespace; a refusal is an answer, too.
    async fn connect(&self, socket: &mut Socket) -> Result<String, Complaint> {
        socket
            .send(&self.connect_packet())
            .await
            .map_err(no_messages)?;
        loop {
            let packet = socket.next(STEP_TIMEOUT).await.map_err(no_messages)?;
            if packet.starts_with("40") || packet.starts_with("44") {
                return Ok(packet);
            }
        }
    }

    /// As a client does it: a poll waits while the WebSocket probes.
    async fn upgrade(&self) -> Finding {
        let (opened, _) = self.open().await?;
        let query = opened.query();
        let began = Instant::now();
        let poll = self.poll_past_pings(&query, opened.patience());
        let probe = async {
            let answer = self.target.websocket(&query).await.map_err(unreachable)?;
            let mut socket = answer.map_err(|reply| match reply.status {
                // That a WebSocket opens was seen before.
                StatusCode::BAD_REQUEST => {
                    Complaint::new("the session is not found", words::JOIN_THE_NODES)
                }
                _ => words::no_websocket(&self.target, &reply),
            })?;
            socket.send("2probe").await.map_err(no_messages)?;
            match socket.next(STEP_TIMEOUT).await {
                Ok(answer) if answer == "3probe" => Ok(socket),
                Ok(_) | Err(_) => Err(Complaint::new(
                    "the probe of the upgrade was not answered",
                    words::JOIN_THE_NODES,
                )),
            }
        };
        let (poll, socket) = tokio::join!(poll, probe);
        let mut socket = socket?;
        let poll = poll?;
        if poll.body != "6" {
            return Err(words::request(&poll));
        }
        socket.send("5").await.map_err(no_messages)?;
        self.connect(&mut socket).await?;
        socket.send("1").await.map_err(no_messages)?;
        Ok(format!("polling became WebSocket in {:.1?}", began.elapsed()).into())
    }

    /// Watches a WebSocket and a poll that carry nothing but the gateway's pings.
    async fn idle(&self, bound: Duration) -> Finding {
        let (socket, polls) = tokio::join!(self.idle_websocket(bound), self.idle_polls(bound));
        let ping_interval = socket?;
        polls?;
        Ok(if bound > ping_interval {
            format!(
                "WebSocket and polls lasted {bound:?}; no idle timeout is shorter than the \
                 {ping_interval:?} between two pings, and longer ones do no harm"
            )
        } else {
            format!(
                "WebSocket and polls lasted {bound:?} in silence; to see whether they last the \
                 {ping_interval:?} between two pings, give a longer --idle-timeout"
            )
        }
        .into())
    }

    async fn idle_websocket(&self, bound: Duration) -> Result<Duration, Complaint> {
        let (mut socket, opened) = self.open_websocket().await?;
        self.connect(&mut socket).await?;
        let end = Instant::now() + bound;
        let mut silent_since = Instant::now();
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match socket.next(left).await {
                Ok(packet) => {
                    silent_since = Instant::now();
                    if packet == "2" {
                        socket.send("3").await.map_err(no_messages)?;
                    }
                }
                Err(Trouble::Late(_)) => break,
                Err(
                    trouble @ (Trouble::Broken(_)
                    | Trouble::Name(..)
                    | Trouble::Unreachable(..)
                    | Trouble::Tls(_)),
                ) => {
                    return Err(cut(
                        "a WebSocket",
                        silent_since.elapsed(),
                        &opened,
                        &trouble,
                    ));
                }
            }
        }
        let _gone_either_way = socket.send("1").await;
        Ok(opened.ping_interval())
    }

    async fn idle_polls(&self, bound: Duration) -> Result<(), Complaint> {
        let (opened, _) = self.open().await?;
        let query = opened.query();
        self.post(&query, "40").await?;
        let end = Instant::now() + bound;
        while Instant::now() < end {
            let began = Instant::now();
            let left = end.saturating_duration_since(began);
            let polled = self
                .target
                .request(Method::GET, &query, "", left.min(opened.patience()))
                .await;
            match polled {
                Ok(reply) if reply.status == StatusCode::OK => {
                    if reply.body.split('\x1e').any(|packet| packet == "2") {
                        self.post(&query, "3").await?;
                    }
                }
                Ok(reply) => {
                    let Complaint { problem, advice } = words::request(&reply);
                    let problem = format!("a poll that waited for {:.1?} {problem}", reply.took);
                    return Err(Complaint::new(problem, advice));
                }
                Err(Trouble::Late(_)) if left < opened.patience() => break,
                Err(trouble) => {
                    return Err(cut("a poll that waits", began.elapsed(), &opened, &trouble));
                }
            }
        }
        Ok(())
    }

    async fn get(&self, query: &str) -> Result<Reply, Complaint> {
        let reply = self.target.request(Method::GET, query, "", STEP_TIMEOUT);
        reply.await.map_err(unreachable)
    }

    async fn poll(&self, query: &str, patience: Duration) -> Result<Reply, Complaint> {
        let reply = self.target.request(Method::GET, query, "", patience).await;
        let reply = reply.map_err(unreachable)?;
        match reply.status {
            StatusCode::OK => Ok(reply),
            _ => Err(words::request(&reply)),
        }
    }

    /// Polls until something else than a ping comes. Pings are answered, as a client does, and left out of the reply.
    async fn poll_past_pings(&self, query: &str, patience: Duration) -> Result<Reply, Complaint> {
        let end = Instant::now() + patience;
        loop {
            let mut reply = self.poll(query, patience).await?;
            let packets = reply.body.split('\x1e');
            let (pings, others): (Vec<_>, Vec<_>) = packets.partition(|packet| *packet == "2");
            if pings.is_empty() || Instant::now() >= end {
                return Ok(reply);
            }
            let rest = others.join("\x1e");
            self.post(query, "3").await?;
            if !rest.is_empty() {
                reply.body = rest;
                return Ok(reply);
            }
        }
    }

    async fn post(&self, query: &str, body: impl Into<Bytes>) -> Result<(), Complaint> {
        let reply = self.target.request(Method::POST, query, body, STEP_TIMEOUT);
        let reply = reply.await.map_err(unreachable)?;
        match reply.status {
            StatusCode::OK => Ok(()),
            _ => Err(words::request(&reply)),
        }
    }
}

fn unreachable(trouble: Trouble) -> Complaint {
    let advice = match &trouble {
        Trouble::Name(..) => "Look at the host's name.",
        Trouble::Unreachable(..) => {
            "Look whether the gateway or the balancer listens there, and at firewalls in between."
        }
        Trouble::Tls(_) => {
            "Look whether this port speaks TLS at all (http:// if not), and which versions."
        }
        Trouble::Broken(_) => {
            "Something closes connections before it answers: look at the log of the balancer, and \
             whether it wants TLS or the PROXY protocol."
        }
        Trouble::Late(_) => "Look whether the balancer reaches the gateway, and at its log.",
    };
    Complaint::new(trouble.to_string(), advice)
}

fn no_messages(trouble: Trouble) -> Complaint {
    Complaint::new(
        format!("the WebSocket opened, but messages do not pass: {trouble}"),
        "Something in front answers the upgrade and does not pass messages on: look at its log, and \
         at filters that look into WebSockets.",
    )
}

/// A connection was cut while nothing travelled on it.
fn cut(what: &str, silence: Duration, opened: &Opened, trouble: &Trouble) -> Complaint {
    let ping_interval = opened.ping_interval();
    Complaint::new(
        format!("{what} was cut after {silence:.1?} of silence ({trouble})"),
        format!(
            "Something in front has an idle timeout of about {silence:.0?}. It must be longer than the \
             {ping_interval:?} between two pings (engine.ping_interval): raise it (nginx: \
             proxy_read_timeout and proxy_send_timeout; HAProxy: timeout tunnel, client and server; \
             a cloud's balancer: idle timeout), or lower engine.ping_interval."
        ),
    )
}

fn say(line: &str) {
    use std::io::Write;
    // A reader that has seen enough is no error.
    let _ = writeln!(std::io::stdout(), "{line}");
}
