//! The admin page of Socket.IO: who may open it, what it is shown, and what it may do.
//!
//! [`Admin`] wraps any application, and keeps the namespace `/admin` to itself. A page logs in there with a user and a
//! password, and gets the id of a session, with which it comes back to any node. What pages are shown is decided in
//! [`crate::show`].
//!
//! ```text
//!                 right password, or a session
//! Connecting ----------------------------------> connected: `session`, `config`, numbers, lists, events
//!      |
//!      +--wrong, too many, too many wait, too many pages--> connect_error
//! ```

use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Instant, SystemTime};

use adapter::Counter;
use prometheus::proto::MetricFamily;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tracing::{debug, info};

use crate::config::{AdminMode, Config, PasswordHash, Secret};
use crate::count::families::{counters, gauge};
use crate::count::{Export, Family, Label, label};
use crate::engine::handshake::Handshake;
use crate::engine::node::Node;
use crate::net::ids::random_bytes;
use crate::show::{Bounds, NAMESPACE};
use crate::socketio::Gateway;
use crate::socketio::application::{
    Admission, Application, Connect, DisconnectReason, Flow, Refusal, ServerSideEvent,
};
use crate::socketio::event::Event;
use crate::socketio::socket::Socket;
use logins::{Attempt, Logins};
use operations::{Operation, Order, Outcome};
use sessions::Sessions;

mod logins;
mod operations;
mod sessions;
mod showing;
mod stats;

/// Most pages of one node.
const MAX_PAGES: usize = 32;

/// What a page is told that may not log in. By this text alone it shows its form again when it comes back.
const INVALID: &str = "invalid credentials";

/// An application beside which there is an admin page.
#[derive(Clone)]
pub(crate) struct Admin(Arc<Shared>);

struct Shared {
    application: Arc<dyn Application>,
    logins: Logins,
    /// Drawn at the start, for a node that stands alone.
    own: [u8; 32],
    rules: RwLock<Arc<Rules>>,
    counts: Counts,
    /// Set when the node is there.
    node: std::sync::OnceLock<std::sync::Weak<Node>>,
}

/// What a reload changes.
pub(crate) struct Rules {
    user: Secret,
    shown_user: String,
    password: PasswordHash,
    sessions: Sessions,
    read_only: bool,
    bounds: Bounds,
}

#[derive(Default)]
struct Counts {
    logins: Family<LoginResult, Counter>,
    operations: Family<(Operation, Outcome), Counter>,
}

label! {
    /// How a login ended.
    enum LoginResult: "result" {
        /// By the password.
        Accepted = "accepted",
        /// By a session.
        Resumed = "resumed",
        /// The user, the password or the session is wrong, or there is none.
        Refused = "refused",
        /// Its address tried too many passwords.
        TooMany = "too_many",
        /// Too many passwords wait, or too many pages are open.
        Busy = "busy",
    }
}

/// What a page shows when it connects.
#[derive(Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[derive(Default)]
struct Shown {
    username: Option<String>,
    password: Option<String>,
    session_id: Option<String>,
}

/// What is kept with the socket of a page, for all to see.
#[derive(Serialize)]
struct Page {
    user: String,
    #[serde(skip)]
    by: LoginResult,
}

impl Admin {
    /// Wraps an application, if the configuration wants an admin page.
    pub(crate) fn wrap(
        application: &Arc<dyn Application>,
        config: &Config,
    ) -> std::io::Result<Option<Self>> {
        let own = random_bytes();
        let Some(rules) = Rules::new(config, &own) else {
            return Ok(None);
        };
        Ok(Some(Self(Arc::new(Shared {
            application: Arc::clone(application),
            logins: Logins::start()?,
            own,
            rules: RwLock::new(Arc::new(rules)),
            counts: Counts::default(),
            node: std::sync::OnceLock::new(),
        }))))
    }

    /// The rules of another configuration; `None` if it wants no admin page.
    pub(crate) fn prepare(&self, config: &Config) -> Option<Rules> {
        Rules::new(config, &self.0.own)
    }

    /// Has other rules. Who is logged in by a user or a password that are others now is disconnected.
    pub(crate) fn take_over(&self, rules: Rules) {
        let mut current = self.0.rules.write().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *current, Arc::new(rules));
        let now = Arc::clone(&current);
        drop(current);
        let Some(node) = self.0.node.get().and_then(std::sync::Weak::upgrade) else {
            return;
        };
        node.show().configure(now.bounds);
        if before.user != now.user || before.password != now.password {
            let pages = Gateway::of_node(node).of(NAMESPACE).local();
            pages.disconnect(false);
        }
    }

    /// Shows pages what there is, for as long as the node lives.
    pub(crate) fn run(&self, node: &Arc<Node>) -> impl Future<Output = ()> + Send + use<> {
        let _is_first = self.0.node.set(Arc::downgrade(node));
        node.show().configure(self.0.rules().bounds);
        showing::run(Arc::clone(node))
    }
}

impl Rules {
    fn new(config: &Config, own: &[u8; 32]) -> Option<Self> {
        let admin = config.admin.as_ref()?;
        Some(Self {
            user: Secret::of(admin.user.as_bytes()),
            shown_user: admin.user.clone(),
            password: admin.password.clone(),
            sessions: Sessions::new(config, own),
            read_only: admin.read_only,
            bounds: Bounds {
                details: admin.mode == AdminMode::Development,
                sockets: admin.sockets.get(),
                events_per_second: admin.events_per_second,
            },
        })
    }

    /// What the page is told that it may do.
    fn features(&self) -> Value {
        let mut features = vec![];
        if !self.read_only {
            features.extend(["EMIT", "JOIN", "LEAVE", "DISCONNECT"]);
            features.extend(["MJOIN", "MLEAVE", "MDISCONNECT"]);
        }
        features.push("AGGREGATED_EVENTS");
        if self.bounds.details {
            features.push("ALL_EVENTS");
        }
        json!({"supportedFeatures": features})
    }
}

impl Shared {
    fn rules(&self) -> Arc<Rules> {
        let rules = self.rules.read();
        Arc::clone(&rules.unwrap_or_else(PoisonError::into_inner))
    }

    /// Who wants to open a page?
    fn log_in(self: &Arc<Self>, socket: &Socket) -> Connect {
        let rules = self.rules();
        let shown: Shown = socket.auth().unwrap_or_default();
        let gateway = socket.gateway();
        if gateway.node().show().pages() >= MAX_PAGES {
            let refused = self.refuse(socket, LoginResult::Busy, "too many pages are open");
            return Connect::Refuse(refused);
        }
        if let Some(id) = &shown.session_id {
            if rules.sessions.verify(id, SystemTime::now()) {
                self.let_in(socket, &rules, LoginResult::Resumed);
                return Connect::Accept;
            }
            if shown.password.is_none() {
                return Connect::Refuse(self.refuse(socket, LoginResult::Refused, INVALID));
            }
        }
        let (Some(user), Some(password)) = (shown.username, shown.password) else {
            return Connect::Refuse(self.refuse(socket, LoginResult::Refused, INVALID));
        };
        let is_user = rules.user.verify(user.as_bytes());
        let address = socket.handshake().address().ip();
        // A wrong user costs as much as a wrong password, and does not say that it is one.
        let attempt = self.logins.attempt(address, &rules.password, &password);
        let (shared, socket) = (Arc::clone(self), socket.clone());
        Connect::Pending(Box::pin(async move {
            let (result, message) = match attempt.await {
                Attempt::Right if is_user => {
                    shared.let_in(&socket, &rules, LoginResult::Accepted);
                    return Ok(());
                }
                Attempt::Right | Attempt::Wrong => (LoginResult::Refused, INVALID),
                Attempt::TooMany => (
                    LoginResult::TooMany,
                    "too many attempts; try again in a minute",
                ),
                Attempt::Busy => (LoginResult::Busy, "too many logins at once; try again"),
            };
            Err(shared.refuse(&socket, result, message))
        }))
    }

    fn let_in(&self, socket: &Socket, rules: &Rules, by: LoginResult) {
        self.counts.logins.of(by).increment();
        let address = socket.handshake().address();
        info!(target: "gateway::admin", user = rules.shown_user, %address, socket = %socket.id(), by = by.label(), "admin page opened");
        socket.set_data(Page {
            user: rules.shown_user.clone(),
            by,
        });
    }

    fn refuse(&self, socket: &Socket, result: LoginResult, message: &'static str) -> Refusal {
        self.counts.logins.of(result).increment();
        let address = socket.handshake().address();
        // Anybody can be refused: no client may fill the log.
        debug!(target: "gateway::admin", %address, result = result.label(), reason = message, "admin page refused");
        Refusal::new(message)
    }

    /// A page is there. What it is sent here goes out behind the answer to its `CONNECT`: before it, the page would
    /// not remember its session.
    fn welcome(&self, socket: &Socket) {
        let rules = self.rules();
        let gateway = socket.gateway();
        let by = socket.data::<Page>().map(|page| page.by);
        if by == Some(LoginResult::Accepted) {
            let id = rules.sessions.issue(SystemTime::now());
            let _shown_again = socket.emit("session", (id,));
        }
        let _told_again = socket.emit("config", (rules.features(),));
        let id = socket.id().to_string();
        gateway.node().show().came(&id);
        if rules.bounds.details {
            tokio::task::spawn_local(showing::send_list(gateway, Some(id)));
        }
    }

    /// A page does something.
    fn operate(&self, socket: &Socket, operation: Operation, event: &Event<'_>) {
        let rules = self.rules();
        let count = |outcome| self.counts.operations.of((operation, outcome)).increment();
        let user = &*rules.shown_user;
        let (address, page) = (socket.handshake().address(), socket.id());
        let operation_name = operation.label();
        let refuse = |outcome: Outcome, reason: &str| {
            count(outcome);
            info!(target: "gateway::admin", user, %address, %page, operation = operation_name, reason, "admin operation refused");
        };
        if rules.read_only {
            return refuse(Outcome::ReadOnly, "admin.read_only is set");
        }
        let order = match Order::read(operation, event.arguments()) {
            Ok(order) => order,
            Err(reason) => return refuse(Outcome::Refused, reason),
        };
        let gateway = socket.gateway();
        if !self.knows(&gateway, &order, operation) {
            return refuse(Outcome::Refused, "there is no such namespace");
        }
        let (namespace, what) = (order.namespace.to_string(), order.what.to_string());
        let filter = order.filter.as_deref().unwrap_or("(everybody)").to_owned();
        if let Err(reason) = order.run(&gateway) {
            return refuse(Outcome::Refused, reason);
        }
        count(Outcome::Done);
        info!(target: "gateway::admin", user, %address, %page, operation = operation_name, namespace, on = filter, what, "admin operation");
    }

    /// Whether there is this namespace. Of pages' own sockets a page can only disconnect some.
    fn knows(&self, gateway: &Gateway, order: &Order<'_>, operation: Operation) -> bool {
        let namespace = &*order.namespace;
        if namespace == NAMESPACE {
            return operation == Operation::Disconnect && order.filter.is_some();
        }
        let is_of_others = || {
            gateway
                .node()
                .show()
                .gate()
                .namespaces()
                .contains(namespace)
        };
        self.application.has_namespace(namespace) || is_of_others()
    }
}

impl Application for Admin {
    fn admit(&self, handshake: &Handshake) -> Admission {
        self.0.application.admit(handshake)
    }

    fn has_namespace(&self, namespace: &str) -> bool {
        namespace == NAMESPACE || self.0.application.has_namespace(namespace)
    }

    fn identify(&self, socket: &Socket) -> Connect {
        match socket.namespace() {
            NAMESPACE => self.0.log_in(socket),
            _ => self.0.application.identify(socket),
        }
    }

    fn connect(&self, socket: &Socket) -> Connect {
        match socket.namespace() {
            NAMESPACE => Connect::Accept,
            _ => self.0.application.connect(socket),
        }
    }

    fn recovered(&self, socket: &Socket) {
        if socket.namespace() != NAMESPACE {
            self.0.application.recovered(socket);
        }
    }

    fn connected(&self, socket: &Socket) {
        match socket.namespace() {
            NAMESPACE => self.0.welcome(socket),
            _ => self.0.application.connected(socket),
        }
    }

    fn event(&self, socket: &Socket, event: Event<'_>) -> Flow {
        if socket.namespace() != NAMESPACE {
            return self.0.application.event(socket, event);
        }
        if let Some(operation) = Operation::of(event.name()) {
            self.0.operate(socket, operation, &event);
        }
        Flow::Done
    }

    fn rate_limited(&self, socket: &Socket, event: Event<'_>) {
        if socket.namespace() != NAMESPACE {
            self.0.application.rate_limited(socket, event);
        }
    }

    fn disconnecting(&self, socket: &Socket, reason: DisconnectReason) {
        if socket.namespace() != NAMESPACE {
            self.0.application.disconnecting(socket, reason);
        }
    }

    fn disconnect(&self, socket: &Socket, reason: DisconnectReason) {
        match socket.namespace() {
            NAMESPACE => {
                let (gateway, id) = (socket.gateway(), socket.id());
                gateway.node().show().went(id.as_str());
                info!(target: "gateway::admin", socket = %id, reason = reason.as_node(), "admin page closed");
            }
            _ => self.0.application.disconnect(socket, reason),
        }
    }

    fn server_side_event(&self, gateway: &Gateway, event: ServerSideEvent<'_>) {
        if event.namespace() != NAMESPACE {
            self.0.application.server_side_event(gateway, event);
        }
    }
}

impl Export for Admin {
    fn families(&self) -> Vec<MetricFamily> {
        let node = self.0.node.get().and_then(std::sync::Weak::upgrade);
        let show = node.as_ref().map(|node| node.show());
        let wanted = show.map(|show| show.wanted(Instant::now()));
        let wanted = wanted.unwrap_or_default();
        let count = |of: fn(&crate::show::ShowCounters) -> &Counter| {
            show.map_or(0, |show| of(show.counters()).value())
        };
        let result = |name: &str, value| (vec![("result", name.to_owned())], value);
        let events = [
            result("beyond", count(|it| &it.beyond)),
            result("left_out", count(|it| &it.left_out)),
            result("not_told", count(|it| &it.not_told)),
            result("shown", count(|it| &it.shown)),
        ];
        vec![
            gauge(
                "gateway_admin_pages",
                "Admin pages that are connected to this node.",
                wanted.here as u64,
            ),
            gauge(
                "gateway_admin_watched",
                "Whether this node tells admin pages what happens to sockets (0 or 1).",
                u64::from(wanted.details),
            ),
            counters(
                "gateway_admin_logins_total",
                "Attempts to open an admin page, by how they ended.",
                &self.0.counts.logins.values(),
            ),
            counters(
                "gateway_admin_operations_total",
                "What admin pages did, by operation and by what became of it.",
                &self.0.counts.operations.values(),
            ),
            counters(
                "gateway_admin_events_total",
                "Events for admin pages, by what became of them.",
                &events,
            ),
        ]
    }
}
