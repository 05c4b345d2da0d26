//! The application made of Rust closures, in the manner of Socket.IO's own API.
//!
//! What a namespace does is said before the node starts, so that no event can come before its
//! handler is there.
//!
//! ```
//! use gateway::handlers::Handlers;
//!
//! let chat = Handlers::new().namespace("/", |namespace| {
//!     namespace.on("chat message", |socket, event| {
//!         if let Ok((text,)) = event.parse::<(String,)>() {
//!             let sent = socket.broadcast().emit("chat message", (text,));
//!             event.ack((sent.is_ok(),)).ok();
//!         }
//!     })
//! });
//! let server = gateway::Server::new(gateway::Config::default()).application(chat);
//! # let _ = server;
//! ```

use std::collections::HashMap;

use crate::config::Pattern;
use crate::engine::handshake::Handshake;
use crate::socketio::Gateway;
use crate::socketio::application::{
    Admission, Application, Connect, DisconnectReason, Flow, LocalFuture, Refusal, ServerSideEvent,
};
use crate::socketio::event::{Ack, Event, OwnedArguments};
use crate::socketio::socket::Socket;

type Admit = Box<dyn Fn(&Handshake) -> Admission + Send + Sync>;
type Middleware = Box<dyn Fn(&Socket) -> Connect + Send + Sync>;
type OnConnected = Box<dyn Fn(&Socket) + Send + Sync>;
type OnEvent = Box<dyn Fn(&Socket, &mut Event<'_>) + Send + Sync>;
type OnEventAsync = Box<dyn Fn(Socket, OwnedEvent) -> LocalFuture<()> + Send + Sync>;
type OnDisconnect = Box<dyn Fn(&Socket, DisconnectReason) + Send + Sync>;
type OnServerSide = Box<dyn Fn(&Gateway, &mut ServerSideEvent<'_>) + Send + Sync>;

/// Handlers for some namespaces; clients are told of others that they are invalid.
#[derive(Default)]
pub struct Handlers {
    admit: Option<Admit>,
    namespaces: Vec<(Pattern, Namespace)>,
}

/// The handlers of one namespace, or of all that a pattern matches.
#[derive(Default)]
pub struct Namespace {
    middlewares: Vec<Middleware>,
    connected: Vec<OnConnected>,
    any: Vec<OnEvent>,
    events: HashMap<String, Handler>,
    disconnecting: Vec<OnDisconnect>,
    disconnect: Vec<OnDisconnect>,
    server_side: HashMap<String, OnServerSide>,
}

enum Handler {
    Now(OnEvent),
    Later(OnEventAsync),
}

/// An event that is handled by a future.
pub struct OwnedEvent {
    name: Box<str>,
    arguments: OwnedArguments,
    ack: Option<Ack>,
}

impl OwnedEvent {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its arguments as they came.
    pub fn arguments(&self) -> &OwnedArguments {
        &self.arguments
    }

    /// Its arguments as a tuple, as [`Event::parse`] does.
    ///
    /// # Errors
    ///
    /// Arguments that are missing, or of other types than the tuple has.
    pub fn parse<T: serde::de::DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        self.arguments.parse()
    }

    /// The acknowledgement that the client waits for.
    pub fn take_ack(&mut self) -> Option<Ack> {
        self.ack.take()
    }
}

impl Handlers {
    /// Handlers for no namespace.
    pub fn new() -> Self {
        Self::default()
    }

    /// Decides whether a session may be opened at all, before any namespace.
    ///
    /// ```
    /// use gateway::application::Admission;
    /// use gateway::handlers::Handlers;
    ///
    /// let handlers = Handlers::new().admit(|handshake| match handshake.header("user-agent") {
    ///     Some(_) => Admission::Admit,
    ///     None => Admission::Forbid("who are you?".into()),
    /// });
    /// # let _ = handlers;
    /// ```
    pub fn admit(
        mut self,
        decide: impl Fn(&Handshake) -> Admission + Send + Sync + 'static,
    ) -> Self {
        self.admit = Some(Box::new(decide));
        self
    }

    /// Adds a namespace. In its name `*` stands for any run of characters. Of several that match
    /// the one that was added first serves.
    ///
    /// ```
    /// use gateway::handlers::Handlers;
    ///
    /// let handlers = Handlers::new()
    ///     .namespace("/", |main| main.on("hi", |socket, _| drop(socket.emit("hi", ()))))
    ///     .namespace("/tenant-*", |tenant| tenant.connected(|socket| println!("{}", socket.namespace())));
    /// # let _ = handlers;
    /// ```
    pub fn namespace(mut self, pattern: &str, define: impl FnOnce(Namespace) -> Namespace) -> Self {
        self.namespaces
            .push((Pattern::new(pattern), define(Namespace::default())));
        self
    }

    fn find(&self, namespace: &str) -> Option<&Namespace> {
        self.namespaces
            .iter()
            .find(|(pattern, _)| pattern.matches(namespace))
            .map(|(_, found)| found)
    }
}

impl Namespace {
    /// Decides whether a client may connect. Several are asked in their order; the first refusal
    /// counts.
    ///
    /// ```
    /// use gateway::application::Refusal;
    /// use gateway::handlers::Handlers;
    ///
    /// #[derive(serde::Deserialize)]
    /// struct Auth {
    ///     token: String,
    /// }
    ///
    /// let handlers = Handlers::new().namespace("/", |namespace| {
    ///     namespace.middleware(|socket| match socket.auth::<Auth>() {
    ///         Ok(auth) if auth.token == "open sesame" => Ok(()),
    ///         _ => Err(Refusal::new("not authorized").with_data(&"try again")),
    ///     })
    /// });
    /// # let _ = handlers;
    /// ```
    pub fn middleware(
        mut self,
        decide: impl Fn(&Socket) -> Result<(), Refusal> + Send + Sync + 'static,
    ) -> Self {
        self.middlewares
            .push(Box::new(move |socket| match decide(socket) {
                Ok(()) => Connect::Accept,
                Err(refusal) => Connect::Refuse(refusal),
            }));
        self
    }

    /// The same with a decision that takes time. Its future is dropped when the client goes.
    ///
    /// ```
    /// use gateway::handlers::Handlers;
    ///
    /// let handlers = Handlers::new().namespace("/", |namespace| {
    ///     namespace.middleware_async(|socket| async move {
    ///         socket.set_data("looked up elsewhere");
    ///         Ok(())
    ///     })
    /// });
    /// # let _ = handlers;
    /// ```
    pub fn middleware_async<F>(
        mut self,
        decide: impl Fn(Socket) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Result<(), Refusal>> + 'static,
    {
        self.middlewares.push(Box::new(move |socket| {
            Connect::Pending(Box::pin(decide(socket.clone())))
        }));
        self
    }

    /// Is called for each client that was accepted. The client is told that it is connected once the
    /// rooms that are joined here are in force on every node; what is emitted to it here follows that.
    ///
    /// ```
    /// use gateway::handlers::Handlers;
    ///
    /// let handlers = Handlers::new().namespace("/", |namespace| {
    ///     namespace.connected(|socket| {
    ///         socket.join(["lobby"]);
    ///         socket.to("lobby").except("muted").volatile().emit("joined", (socket.id().as_str(),)).ok();
    ///         socket.emit("welcome", (socket.rooms(),)).ok();
    ///     })
    /// });
    /// # let _ = handlers;
    /// ```
    pub fn connected(mut self, handle: impl Fn(&Socket) + Send + Sync + 'static) -> Self {
        self.connected.push(Box::new(handle));
        self
    }

    /// Handles an event, at once and in the order of the client's packets. One handler an event:
    /// the last one given.
    ///
    /// ```
    /// use gateway::handlers::Handlers;
    ///
    /// let handlers = Handlers::new().namespace("/", |namespace| {
    ///     namespace.on("add", |_, event| match event.parse::<(f64, f64)>() {
    ///         Ok((a, b)) => drop(event.ack((a + b,))),
    ///         Err(error) => drop(event.ack((serde_json::json!({"error": error.to_string()}),))),
    ///     })
    /// });
    /// # let _ = handlers;
    /// ```
    pub fn on(
        mut self,
        event: &str,
        handle: impl Fn(&Socket, &mut Event<'_>) + Send + Sync + 'static,
    ) -> Self {
        self.events
            .insert(event.to_owned(), Handler::Now(Box::new(handle)));
        self
    }

    /// Handles an event with a future. The session's next event waits for it.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use gateway::handlers::Handlers;
    ///
    /// let handlers = Handlers::new().namespace("/", |namespace| {
    ///     namespace.on_async("ask everybody", |socket, mut event| async move {
    ///         let asked = socket.broadcast().emit_with_ack("question", (), Duration::from_secs(2));
    ///         let answers = match asked {
    ///             Ok(answers) => answers.await.map_or_else(|missing| missing.answers, |all| all),
    ///             Err(_) => Vec::new(),
    ///         };
    ///         if let Some(ack) = event.take_ack() {
    ///             ack.send((answers.len(),)).ok();
    ///         }
    ///     })
    /// });
    /// # let _ = handlers;
    /// ```
    pub fn on_async<F>(
        mut self,
        event: &str,
        handle: impl Fn(Socket, OwnedEvent) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + 'static,
    {
        let handle = Handler::Later(Box::new(move |socket, event| {
            Box::pin(handle(socket, event))
        }));
        self.events.insert(event.to_owned(), handle);
        self
    }

    /// Is called for each event, before its handler.
    ///
    /// ```
    /// use gateway::handlers::Handlers;
    ///
    /// let handlers = Handlers::new().namespace("/", |namespace| {
    ///     namespace.on_any(|socket, event| println!("{} emitted {}", socket.id(), event.name()))
    /// });
    /// # let _ = handlers;
    /// ```
    pub fn on_any(
        mut self,
        handle: impl Fn(&Socket, &mut Event<'_>) + Send + Sync + 'static,
    ) -> Self {
        self.any.push(Box::new(handle));
        self
    }

    /// Is called for a socket that goes, while it still is in its rooms.
    pub fn disconnecting(
        mut self,
        handle: impl Fn(&Socket, DisconnectReason) + Send + Sync + 'static,
    ) -> Self {
        self.disconnecting.push(Box::new(handle));
        self
    }

    /// Is called for a socket that is gone.
    ///
    /// ```
    /// use gateway::handlers::Handlers;
    ///
    /// let handlers = Handlers::new().namespace("/", |namespace| {
    ///     namespace.disconnect(|socket, reason| {
    ///         println!("{} is gone: {}", socket.id(), reason.as_node());
    ///     })
    /// });
    /// # let _ = handlers;
    /// ```
    pub fn disconnect(
        mut self,
        handle: impl Fn(&Socket, DisconnectReason) + Send + Sync + 'static,
    ) -> Self {
        self.disconnect.push(Box::new(handle));
        self
    }

    /// Handles an event that another server of the cluster emits to the servers themselves.
    ///
    /// ```
    /// use gateway::handlers::Handlers;
    ///
    /// let handlers = Handlers::new().namespace("/", |namespace| {
    ///     namespace.on_server_side("how many?", |gateway, event| {
    ///         if let Some(ack) = event.take_ack() {
    ///             ack.send((gateway.connections(),)).ok();
    ///         }
    ///     })
    /// });
    /// # let _ = handlers;
    /// ```
    pub fn on_server_side(
        mut self,
        event: &str,
        handle: impl Fn(&Gateway, &mut ServerSideEvent<'_>) + Send + Sync + 'static,
    ) -> Self {
        self.server_side.insert(event.to_owned(), Box::new(handle));
        self
    }

    /// Asks the middlewares in turn; those behind one that takes time are asked when it has
    /// decided.
    fn decide(&self, socket: &Socket) -> Connect {
        let mut pending: Vec<LocalFuture<Result<(), Refusal>>> = Vec::new();
        for middleware in &self.middlewares {
            match middleware(socket) {
                Connect::Accept => {}
                Connect::Refuse(refusal) if pending.is_empty() => return Connect::Refuse(refusal),
                Connect::Refuse(refusal) => {
                    pending.push(Box::pin(std::future::ready(Err(refusal))));
                    break;
                }
                Connect::Pending(decision) => pending.push(decision),
            }
        }
        if pending.is_empty() {
            return Connect::Accept;
        }
        Connect::Pending(Box::pin(async move {
            for decision in pending {
                decision.await?;
            }
            Ok(())
        }))
    }
}

impl Application for Handlers {
    fn admit(&self, handshake: &Handshake) -> Admission {
        self.admit
            .as_ref()
            .map_or(Admission::Admit, |decide| decide(handshake))
    }

    fn has_namespace(&self, namespace: &str) -> bool {
        self.find(namespace).is_some()
    }

    fn connect(&self, socket: &Socket) -> Connect {
        self.find(socket.namespace())
            .map_or(Connect::Accept, |namespace| namespace.decide(socket))
    }

    fn connected(&self, socket: &Socket) {
        let namespace = self.find(socket.namespace());
        namespace
            .into_iter()
            .flat_map(|it| &it.connected)
            .for_each(|handle| handle(socket));
    }

    fn event(&self, socket: &Socket, mut event: Event<'_>) -> Flow {
        let Some(namespace) = self.find(socket.namespace()) else {
            return Flow::Done;
        };
        namespace
            .any
            .iter()
            .for_each(|handle| handle(socket, &mut event));
        match namespace.events.get(event.name()) {
            Some(Handler::Now(handle)) => {
                handle(socket, &mut event);
                Flow::Done
            }
            Some(Handler::Later(handle)) => {
                let owned = OwnedEvent {
                    name: event.name().into(),
                    arguments: event.arguments().into(),
                    ack: event.take_ack(),
                };
                Flow::Pending(handle(socket.clone(), owned))
            }
            None => Flow::Done,
        }
    }

    fn disconnecting(&self, socket: &Socket, reason: DisconnectReason) {
        let namespace = self.find(socket.namespace());
        namespace
            .into_iter()
            .flat_map(|it| &it.disconnecting)
            .for_each(|handle| handle(socket, reason));
    }

    fn disconnect(&self, socket: &Socket, reason: DisconnectReason) {
        let namespace = self.find(socket.namespace());
        namespace
            .into_iter()
            .flat_map(|it| &it.disconnect)
            .for_each(|handle| handle(socket, reason));
    }

    fn server_side_event(&self, gateway: &Gateway, mut event: ServerSideEvent<'_>) {
        let namespace = self.find(event.namespace());
        if let Some(handle) = namespace.and_then(|it| it.server_side.get(event.name())) {
            handle(gateway, &mut event);
        }
    }
}
