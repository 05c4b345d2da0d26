//! The application that leaves to a backend who may connect and what an event does.
//!
//! A backend is asked over HTTP, or reads what happened from a Redis Stream ([`EventStream`]), or
//! both. What goes into the stream does so when it happens. For HTTP each socket has a lane, which keeps its order:
//!
//! ```text
//!              event                      taken: one, or a batch
//!   Idle ---------------> Waiting ---------------------------------> Under way
//!    ^                      ^  |  more come: they wait in the lane       |
//!    |                      |  +--> full: the session is read no further |
//!    |   nothing waits      |                                            |
//!    +----------------------+----- answered: ack, data, actions ---------+
//!                           |                                            |
//!                           +----- failed: ack with an error ------------+
//!
//!   gone: the disconnect is the last in the lane
//! ```
//!
//! A request ([`client`]) waits for one of `backend.concurrency` places, is tried, and tried again
//! if that can do no harm. Behind it stands a circuit breaker ([`breaker`]) for each backend: while
//! it is open everything fails at once, so that nothing piles up.

use std::rc::Rc;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use adapter::TraceContext;
use serde_json::json;
use serde_json::value::RawValue;
use tokio::sync::oneshot;
use tracing::{debug, warn};

use crate::apps::relay::Relay;
use crate::backend::api::emitter;
use crate::backend::binary::to_backend;
use crate::backend::event_stream::{EventStream, Full, StreamEntry};
use crate::backend::words::{List, SharedRoomName};
use crate::config::{Backend, Config, Pattern};
use crate::net::outbound::Outbound;
use crate::otel::{self, Ended, Kind};
use crate::socketio::application::{Application, Connect, DisconnectReason, Flow, Refusal};
use crate::socketio::event::{Ack, Event};
use crate::socketio::socket::Socket;

pub(crate) mod breaker;
mod call;
pub(crate) mod client;
mod directions;
mod lane;
mod presence;
mod reply;

use call::{Call, CallKind};
use client::{Backend as HttpBackend, Backends, CallFailure, Carried, Repeat};
use directions::{Destination, Directions};
use lane::{Lane, Queued};
use reply::{Action, Reply};

/// How long it is waited for a join to hold on every node.
const JOIN_PATIENCE: Duration = Duration::from_secs(5);

/// The application of `backend.url` and `backend.stream`. One for all shards.
#[derive(Clone)]
pub(crate) struct WebhookApplication(Arc<Shared>);

struct Shared {
    namespaces: Vec<Pattern>,
    directions: RwLock<Arc<Directions>>,
    /// If there is somebody to be asked over HTTP.
    backends: Option<Arc<Backends>>,
    stream: Option<Arc<EventStream>>,
    relay: Relay,
}

impl WebhookApplication {
    pub(crate) fn new(
        config: &Config,
        outbound: Arc<Outbound>,
        stream: Option<Arc<EventStream>>,
    ) -> Self {
        let webhook = config.backend.webhook.as_ref();
        let backends = webhook.map(|_| Arc::new(Backends::new(outbound)));
        let directions = Directions::new(&config.backend, backends.as_deref());
        Self(Arc::new(Shared {
            namespaces: config.namespaces.clone(),
            directions: RwLock::new(Arc::new(directions)),
            backends,
            stream,
            relay: Relay::new(config),
        }))
    }

    pub(crate) fn backends(&self) -> Option<&Arc<Backends>> {
        self.0.backends.as_ref()
    }

    /// Has events that come from now on go where another configuration says. What waits, or is under way,
    /// goes where it was to go.
    pub(crate) fn take_over(&self, config: &Backend) {
        let new = Directions::new(config, self.0.backends.as_deref());
        let current = self.0.directions.write();
        *current.unwrap_or_else(PoisonError::into_inner) = Arc::new(new);
    }
}

impl Shared {
    fn directions(&self) -> Arc<Directions> {
        let current = self.directions.read();
        Arc::clone(&current.unwrap_or_else(PoisonError::into_inner))
    }

    fn destination(&self, namespace: &str, event: &str) -> Destination {
        self.directions().of(namespace, event)
    }

    /// Tells consumer groups what happens.
    fn record(&self, call: &Call<'_>, done: Option<oneshot::Sender<()>>) -> Result<(), Full> {
        match &self.stream {
            Some(stream) => stream.append(StreamEntry::of(call), done),
            None => Ok(()),
        }
    }

    /// The same for what no client waits for.
    fn tell(&self, socket: &Socket, call: &Call<'_>) {
        if self.record(call, None).is_err() {
            debug!(target: "gateway::webhook", socket = %socket.id(), "disconnect not written: the stream takes no more entries");
        }
    }

    /// Lets a client know that its event is in the stream.
    async fn confirm(&self, ack: Ack, written: oneshot::Receiver<()>) {
        match tokio::time::timeout(self.directions().timeout, written).await {
            Ok(Ok(())) => ack.accept(),
            Ok(Err(_)) | Err(_) => {
                let message = "the event was taken and is not written yet";
                ack.refuse("backend_timeout", message);
            }
        }
    }
}

impl Shared {
    /// Asks whether the socket may connect, and does what has to be done before it is.
    async fn ask(
        &self,
        backend: &Arc<HttpBackend>,
        socket: &Socket,
        lane: &Lane,
    ) -> Result<(), Refusal> {
        let id = call::id();
        let call = Call::connect(socket, lane, &id);
        let began = Instant::now();
        let traces = (otel::current(), std::iter::empty());
        let called = self.call(socket, backend, &call, Repeat::Always, traces);
        let (result, trace) = called.await;
        if let Ok(Reply {
            user: Some(user),
            refuse: None,
            ..
        }) = &result
        {
            socket.set_user(&user.0);
        }
        trace_call(socket, &call, began, result.as_ref().err());
        let reply = match result {
            Ok(reply) => reply,
            Err(failure) => {
                debug!(target: "gateway::webhook", socket = %socket.id(), %failure, "the backend did not decide about a connect");
                let refusal = Refusal::new(failure.to_string());
                let refusal = refusal.with_data(&json!({"code": failure.code()}));
                return Err(if failure.passes() {
                    refusal.for_now()
                } else {
                    refusal
                });
            }
        };
        if let Some(refuse) = reply.refuse {
            let data = refuse.data.map(|data| data.get().to_owned());
            return Err(Refusal {
                data,
                ..Refusal::new(refuse.message)
            });
        }
        keep_data(socket, lane, reply.data);
        for action in reply.actions {
            match action {
                // In force on every node before the client is told that it is connected.
                Action::Join(rooms) => socket.join(rooms.0.iter().map(|room| &*room.0)),
                later @ (Action::Emit(..) | Action::Leave(_) | Action::Disconnect(_)) => {
                    lane.postpone(later, trace);
                }
            }
        }
        Ok(())
    }

    /// Makes a request as a part of the first of the traces. Returns what the reply leads to is a part of, too.
    async fn call(
        &self,
        socket: &Socket,
        backend: &Arc<HttpBackend>,
        call: &Call<'_>,
        repeat: Repeat,
        (parent, links): (Option<TraceContext>, impl Iterator<Item = TraceContext>),
    ) -> (Result<Reply, CallFailure>, Option<TraceContext>) {
        let session = socket.session();
        let Some(otel) = session.shard().node().otel() else {
            return (self.request(backend, call, repeat, None).await, None);
        };
        let begun = otel.begin(parent);
        let context = begun.context;
        let state = session.trace_state(&context);
        let carried = Some(Carried {
            context,
            state,
            otel: Arc::clone(otel),
        });
        let result = self.request(backend, call, repeat, carried).await;
        let ended = match &result {
            Ok(_) => Ended::Well,
            Err(failure) => Ended::Badly(failure.code()),
        };
        otel.finish(begun, ended, call.span_name(), Kind::Client, |span| {
            let (host, port) = backend.host();
            span.text("http.request.method", "POST");
            span.text("server.address", host);
            if let Some(port) = port {
                span.number("server.port", port.into());
            }
            span.text("gateway.namespace", socket.namespace());
            span.number("gateway.events", call.size().unwrap_or(1) as u64);
            links.for_each(|it| span.link(&it));
        });
        (result, Some(context))
    }

    async fn request(
        &self,
        backend: &Arc<HttpBackend>,
        call: &Call<'_>,
        repeat: Repeat,
        carried: Option<Carried>,
    ) -> Result<Reply, CallFailure> {
        let Some(backends) = &self.backends else {
            return Err(CallFailure::Down);
        };
        let body = call.to_json();
        let answered = backends.call(backend, call.id(), body, repeat, carried);
        let answer = answered.await?;
        let reply = Reply::read(&answer, call.size());
        reply.map_err(|error| {
            let url = backend.url();
            warn!(target: "gateway::webhook", event = call.about(), id = call.id(), url, %error, "the backend's reply cannot be read; nothing of it is done");
            backends.counters().bad_replies.increment();
            CallFailure::BadReply
        })
    }

    /// Sends what waits in a lane, until nothing does.
    async fn work(self: Arc<Self>, socket: Socket, lane: Rc<Lane>) {
        while let Some(taken) = lane.take(self.directions().batch) {
            let repeat = match taken.kind() {
                CallKind::Disconnect => Repeat::Always,
                CallKind::Connect | CallKind::Event | CallKind::Batch => Repeat::Harmless,
            };
            let (result, trace) = {
                let call = Call::of(&socket, &lane, &taken);
                let began = Instant::now();
                let called = self.call(&socket, &taken.backend, &call, repeat, taken.traces());
                let (result, trace) = called.await;
                trace_call(&socket, &call, began, result.as_ref().err());
                (result, trace)
            };
            match result {
                Ok(mut reply) if taken.queued.len() > 1 => {
                    keep_data(&socket, &lane, reply.data.take());
                    let actions = std::mem::take(&mut reply.actions);
                    otel::in_context(trace, perform(&socket, actions)).await;
                    for (queued, reply) in taken.queued.into_iter().zip(reply.replies) {
                        let answered = answered(&socket, &lane, queued, reply);
                        otel::in_context(trace, answered).await;
                    }
                }
                Ok(reply) => {
                    if let Some(queued) = taken.queued.into_iter().next() {
                        let answered = answered(&socket, &lane, queued, reply);
                        otel::in_context(trace, answered).await;
                    }
                }
                Err(failure) => {
                    debug!(target: "gateway::webhook", socket = %socket.id(), %failure, "the backend did not take an event");
                    let lost = taken.queued.len() as u64;
                    if let Some(backends) = &self.backends {
                        backends.counters().lost.add(lost);
                    }
                    for queued in taken.queued {
                        refuse(queued.ack(), failure.code(), &failure.to_string());
                    }
                }
            }
        }
    }

    /// Puts something into a socket's lane and sees to it that the lane is worked on.
    fn queue(self: &Arc<Self>, socket: &Socket, lane: &Rc<Lane>, queued: Queued) {
        if lane.push(queued) {
            let work = Arc::clone(self).work(socket.clone(), Rc::clone(lane));
            tokio::task::spawn_local(work);
        }
    }
}

impl Application for WebhookApplication {
    fn has_namespace(&self, namespace: &str) -> bool {
        let mut patterns = self.0.namespaces.iter();
        patterns.any(|pattern| pattern.matches(namespace))
    }

    fn connect(&self, socket: &Socket) -> Connect {
        open_lane(socket);
        let Some(lane) = socket.data::<Lane>() else {
            return Connect::Accept;
        };
        match self.0.destination(socket.namespace(), "connect") {
            Destination::Relay | Destination::Nowhere => Connect::Accept,
            Destination::Backend(_) if self.0.stream.as_ref().is_some_and(|it| !it.has_room()) => {
                let refusal = Refusal::new("the backend has too much to do");
                Connect::Refuse(refusal.with_data(&json!({"code": "backend_overloaded"})))
            }
            Destination::Backend(None) => Connect::Accept,
            Destination::Backend(Some(backend)) => {
                let (shared, socket) = (Arc::clone(&self.0), socket.clone());
                Connect::Pending(Box::pin(async move {
                    shared.ask(&backend, &socket, &lane).await
                }))
            }
        }
    }

    fn recovered(&self, socket: &Socket) {
        open_lane(socket);
    }

    fn connected(&self, socket: &Socket) {
        let Some(lane) = socket.data::<Lane>() else {
            return;
        };
        if let Destination::Backend(_) = self.0.destination(socket.namespace(), "connect") {
            let id = call::id();
            self.0.tell(socket, &Call::connected(socket, &lane, &id));
        }
        let (actions, trace) = lane.postponed();
        if !actions.is_empty() {
            let socket = socket.clone();
            tokio::task::spawn_local(async move {
                otel::in_context(trace, perform(&socket, actions)).await
            });
        }
    }

    fn event(&self, socket: &Socket, mut event: Event<'_>) -> Flow {
        let Some(lane) = socket.data::<Lane>() else {
            return Flow::Done;
        };
        let backend = match self.0.destination(socket.namespace(), event.name()) {
            Destination::Backend(backend) => backend,
            Destination::Relay => return self.0.relay.event(socket, event),
            Destination::Nowhere => {
                let ack = event.take_ack();
                refuse(ack, "unknown_event", "there is no such event");
                return Flow::Done;
            }
        };
        let claims = socket.claims();
        if claims.is_some_and(|claims| !claims.allows_event(event.name())) {
            let ack = event.take_ack();
            refuse(ack, "forbidden", "the token does not allow it");
            return Flow::Done;
        }
        let args = to_backend(event.arguments());
        let id = call::id();
        let ack = event.take_ack();
        let (done, written) = match (&backend, &ack) {
            (None, Some(_)) => {
                let (done, written) = oneshot::channel();
                (Some(done), Some(written))
            }
            (Some(_), _) | (None, None) => (None, None),
        };
        if self.0.stream.is_some() {
            let said = (event.name(), &*args);
            let call = Call::event(socket, &lane, &id, said, ack.is_some());
            if self.0.record(&call, done).is_err() {
                debug!(target: "gateway::webhook", socket = %socket.id(), "event refused: the stream takes no more entries");
                let message = "the backend has too much to do";
                refuse(ack, "backend_overloaded", message);
                return Flow::Done;
            }
        }
        let Some(backend) = backend else {
            if let Some((ack, written)) = ack.zip(written) {
                let shared = Arc::clone(&self.0);
                tokio::task::spawn_local(async move { shared.confirm(ack, written).await });
            }
            return Flow::Done;
        };
        let queued = Queued::Event {
            backend,
            id,
            name: event.name().into(),
            args,
            ack,
            trace: otel::current(),
        };
        self.0.queue(socket, &lane, queued);
        if lane.is_full() {
            Flow::Pending(Box::pin(async move { lane.until_roomy().await }))
        } else {
            Flow::Done
        }
    }

    fn rate_limited(&self, _: &Socket, mut event: Event<'_>) {
        let message = "the socket sends more events than it may";
        refuse(event.take_ack(), "rate_limited", message);
    }

    fn disconnecting(&self, socket: &Socket, _reason: DisconnectReason) {
        if let Some(lane) = socket.data::<Lane>() {
            lane.set_last_rooms(socket.rooms());
        }
    }

    fn disconnect(&self, socket: &Socket, reason: DisconnectReason) {
        let Some(lane) = socket.data::<Lane>() else {
            return;
        };
        if let Destination::Backend(backend) = self.0.destination(socket.namespace(), "disconnect")
        {
            let id = call::id();
            if self.0.stream.is_some() {
                let call = Call::disconnect(socket, &lane, &id, reason.as_node());
                self.0.tell(socket, &call);
            }
            if let Some(backend) = backend {
                let queued = Queued::Disconnect {
                    backend,
                    id,
                    reason: reason.as_node(),
                };
                self.0.queue(socket, &lane, queued);
            }
        }
    }
}

/// Tells those who trace the socket what a backend was asked, and for how long.
fn trace_call(socket: &Socket, call: &Call<'_>, began: Instant, failure: Option<&CallFailure>) {
    if socket.is_traced_by_now() {
        let outcome = failure.map_or("ok", |failure| failure.code());
        socket.trace_webhook(call.about(), began.elapsed(), outcome);
    }
}

/// Keeps what the backend wants kept with a socket; `None` leaves what there is.
fn keep_data(socket: &Socket, lane: &Lane, data: Data) {
    if data.is_some() {
        lane.set_data(data);
        socket.tell_data();
    }
}

/// Gives a socket its lane, with the data that a client that came back had.
fn open_lane(socket: &Socket) {
    let restored = socket.restored();
    let lane = Lane::default();
    let text = restored.and_then(|it| String::from_utf8(it.to_vec()).ok());
    lane.set_data(text.and_then(|it| RawValue::from_string(it).ok()));
    socket.set_data(lane);
}

async fn answered(socket: &Socket, lane: &Lane, queued: Queued, reply: Reply) {
    keep_data(socket, lane, reply.data);
    let joined = perform(socket, reply.actions).await;
    let Some(ack) = queued.ack() else {
        return;
    };
    if joined == Joins::Late {
        let message = "the join does not hold on every node now";
        return ack.refuse("unavailable", message);
    }
    ack.send_arguments(reply.ack.as_ref());
}

/// Whether what was joined is in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Joins {
    InForce,
    /// Redis did not confirm it in time.
    Late,
}

/// Does what the backend wants done.
async fn perform(socket: &Socket, actions: Vec<Action>) -> Joins {
    let mut joins = Joins::InForce;
    for action in actions {
        match action {
            Action::Emit(emit, arguments) => {
                if let Some(to) = emitter(&socket.gateway(), &emit)
                    && let Err(error) = to.emit(&emit.event.0, arguments)
                {
                    warn!(target: "gateway::webhook", event = emit.event.0, %error, "the backend's emit failed");
                }
            }
            Action::Join(rooms) if joins == Joins::InForce => joins = join(socket, &rooms).await,
            // It was waited long enough.
            Action::Join(rooms) => socket.join(rooms.0.iter().map(|room| &*room.0)),
            Action::Leave(rooms) => socket.leave_all(rooms.0.iter().map(|room| &*room.0)),
            Action::Disconnect(true) => socket.disconnect(false),
            Action::Disconnect(false) => {}
        }
    }
    joins
}

/// Joins, and waits until what any node publishes to the rooms arrives.
async fn join(socket: &Socket, rooms: &List<SharedRoomName>) -> Joins {
    let joined = socket.join_everywhere(rooms.0.iter().map(|room| &*room.0));
    if tokio::time::timeout(JOIN_PATIENCE, joined).await.is_ok() {
        return Joins::InForce;
    }
    warn!(target: "gateway::webhook", socket = %socket.id(), "the socket joined on this node only: the node cannot reach the others now");
    Joins::Late
}

/// Tells a client that waits for it why its event has no effect.
fn refuse(ack: Option<Ack>, code: &str, message: &str) {
    if let Some(ack) = ack {
        ack.refuse(code, message);
    }
}

/// What a backend keeps with a socket: JSON.
type Data = Option<Box<RawValue>>;
