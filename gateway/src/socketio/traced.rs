//! What traces are told of sockets and rooms, and how they begin and end on a node.
//!
//! A call of the API opens a trace here and reads it ([`Reader`]). Its node tells the others every few
//! seconds that the trace goes on ([`remote`]), and they send their lines as answers. If they hear nothing
//! any more, because the node died, they end the trace.

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use adapter::Selection;
use protocol::Encoded;
use protocol::socketio::Arguments;

use crate::engine::node::Node;
use crate::engine::session::Session;
use crate::engine::session::masked;
use crate::engine::shard::Shard;
use crate::engine::turns::Turns;
use crate::net::ids::{SocketId, user_of_room, user_room};
use crate::socketio::application::Refusal;
use crate::socketio::namespace::Namespace;
use crate::socketio::reason::DisconnectReason;
use crate::socketio::socket::Socket;
use crate::trace::{Line, Sent, Subject, Trace, What, cut};

mod reader;
mod remote;

pub(crate) use reader::Reader;

impl Node {
    /// Has the shards tell a trace what happens from now on, and what is there.
    fn begin_trace(&self, trace: &Arc<Trace>) {
        let trace = Arc::clone(trace);
        self.run_everywhere(move |shard| shard.begin_trace(&trace));
    }

    /// Ends a trace on this node. Its place is free for others once no session has anything to do with it any more.
    fn end_trace(self: &Arc<Self>, trace: &Arc<Trace>) {
        let place = Arc::new(TracePlace {
            node: Arc::clone(self),
            trace: Arc::clone(trace),
        });
        self.run_everywhere(move |shard| {
            let (shard, place) = (Rc::clone(shard), Arc::clone(&place));
            tokio::task::spawn_local(async move { shard.end_trace(&place.trace).await });
        });
    }
}

/// The place of a trace that ends. It is free once no shard has this any more.
struct TracePlace {
    node: Arc<Node>,
    trace: Arc<Trace>,
}

impl Drop for TracePlace {
    fn drop(&mut self) {
        self.node.traces().free(&self.trace);
    }
}

impl Shard {
    fn begin_trace(self: &Rc<Self>, trace: &Arc<Trace>) {
        self.traces().add(trace);
        match &trace.words.of {
            Subject::Address(address) => {
                let (shard, address, trace) = (Rc::clone(self), *address, Arc::clone(trace));
                tokio::task::spawn_local(async move {
                    shard.begin_trace_of_address(address, &trace).await;
                });
            }
            Subject::User(user) => {
                let selection = Selection::room(user_room(user));
                self.begin_trace_of_sockets(trace.mask(), |namespace| namespace.select(&selection));
            }
            Subject::Socket(id) => {
                let id = SocketId::parse(id);
                self.begin_trace_of_sockets(trace.mask(), |namespace| {
                    let found = id.as_ref().and_then(|id| namespace.socket(id));
                    found.into_iter().collect()
                });
            }
            Subject::Room(room) => {
                for namespace in self.all_namespaces() {
                    if let Some(members) = namespace.members(room) {
                        let line = Line::with(What::Present, |more| {
                            more.namespace = Some(namespace.name().to_owned());
                            more.room = Some(cut(room));
                            more.sockets = Some(members as u64);
                        });
                        self.traces().write(trace.mask(), &line);
                    }
                }
            }
        }
    }

    /// Who comes meanwhile has to do with it from the begin.
    async fn begin_trace_of_address(&self, address: IpAddr, trace: &Arc<Trace>) {
        let (address, mask) = (address.to_canonical(), trace.mask());
        let begin = |session: &Session| {
            let of = session.handshake().address();
            if of.ip().to_canonical() == address
                && self.traces().has(trace)
                && session.begin_traces(mask)
            {
                let mut line = Line::with(What::Present, |more| {
                    more.transport = Some(session.transport().name());
                    more.address = Some(of.to_string());
                });
                line.more.session = Some(session.log_name().to_string());
                self.traces().write(mask, &line);
            }
        };
        self.visit_sessions(&mut Turns::default(), begin).await;
    }

    fn begin_trace_of_sockets(&self, mask: u16, of: impl Fn(&Namespace) -> Vec<Socket>) {
        for namespace in self.all_namespaces() {
            for socket in of(&namespace) {
                socket.session().begin_traces(mask);
                let mut line = socket.line(What::Present);
                socket.tell_session(&mut line);
                self.traces().write(mask, &line);
            }
        }
    }

    async fn end_trace(&self, trace: &Arc<Trace>) {
        self.traces().remove(trace);
        match trace.words.of {
            Subject::Room(_) => {}
            Subject::Address(_) | Subject::User(_) | Subject::Socket(_) => {
                let end = |session: &Session| session.end_traces(trace.mask());
                self.visit_sessions(&mut Turns::default(), end).await;
            }
        }
    }

    /// Tells the traces of the rooms that an event was for.
    #[cold]
    pub(crate) fn trace_broadcast(
        &self,
        namespace: &str,
        selection: &Selection,
        packet: &Encoded,
        recipients: u64,
    ) {
        for room in &selection.rooms {
            let mask = self.traces().of_room(room);
            if mask == 0 || recipients == 0 {
                continue;
            }
            let Some(sent) = Sent::parse(packet) else {
                return;
            };
            let mut line = sent_line(What::Broadcast, &sent);
            line.more.namespace = Some(namespace.to_owned());
            line.more.room = Some(cut(room));
            line.more.sockets = Some(recipients);
            self.traces().write(mask, &line);
        }
    }
}

impl Socket {
    /// Whether a trace has to do with its session. Its user may be known only since a moment.
    pub(crate) fn is_traced_by_now(&self) -> bool {
        if self.session().shard().traces().is_any() {
            self.trace_arrival();
        }
        self.session().is_traced()
    }

    fn line(&self, what: What) -> Line {
        Line::with(what, |more| {
            more.namespace = Some(self.namespace().to_owned());
            more.socket = Some(self.id().to_string());
            more.user = self.traced_user();
        })
    }

    /// Its user. One that goes is in no room any more, and its token still says whose it is.
    fn traced_user(&self) -> Option<String> {
        let user = self.user().map(|user| cut(&user));
        user.or_else(|| self.claims()?.user().map(cut))
    }

    fn tell_session(&self, line: &mut Line) {
        let session = self.session();
        line.more.session = Some(session.log_name().to_string());
        line.more.transport = Some(session.transport().name());
        line.more.address = Some(session.handshake().address().to_string());
    }

    /// Its user and its id are known, so that traces of them have to do with its session.
    #[cold]
    pub(crate) fn trace_arrival(&self) {
        let (session, traces) = (self.session(), self.session().shard().traces());
        if traces.has_clients() {
            let user = self.user();
            session.begin_traces(traces.of_client(user.as_deref(), self.id().as_str()));
        }
    }

    #[cold]
    pub(crate) fn trace_connected(&self) {
        self.trace_arrival();
        if self.session().is_traced() {
            let mut line = self.line(What::Connected);
            self.tell_session(&mut line);
            self.session().trace(line);
        }
    }

    #[cold]
    pub(crate) fn trace_disconnected(&self, reason: DisconnectReason) {
        let mut line = self.line(What::Disconnected);
        line.more.reason = Some(reason.as_node().to_owned());
        self.session().trace(line);
    }

    /// Its client sent an event.
    #[cold]
    pub(crate) fn trace_event(&self, event: &str, id: Option<u64>, arguments: Arguments<'_>) {
        let mut line = self.line(What::Received);
        line.more.event = Some(cut(event));
        line.more.ack = id;
        line.more.bytes = Some(size(arguments));
        line.more.arguments = Some(masked::arguments(event, arguments.json()).to_string());
        self.session().trace(line);
    }

    /// Its client acknowledged an event.
    #[cold]
    pub(crate) fn trace_ack(&self, id: u64, arguments: Arguments<'_>) {
        let mut line = self.line(What::AckReceived);
        line.more.ack = Some(id);
        line.more.bytes = Some(size(arguments));
        line.more.arguments = Some(masked::Masked(arguments.json()).to_string());
        self.session().trace(line);
    }

    #[cold]
    pub(crate) fn trace_refused_event(&self, event: &str, reason: &str) {
        let mut line = self.line(What::EventRefused);
        line.more.event = Some(cut(event));
        line.more.reason = Some(reason.to_owned());
        self.session().trace(line);
    }

    /// Its client is sent something, or is not.
    #[cold]
    pub(crate) fn trace_push(&self, packet: &Encoded, pushed: bool) {
        let Some(sent) = Sent::parse(packet) else {
            return;
        };
        let what = match (pushed, &sent.event) {
            (false, _) => What::NotSent,
            (true, Some(_)) => What::Sent,
            (true, None) => What::AckSent,
        };
        let mut line = sent_line(what, &sent);
        line.more.namespace = Some(self.namespace().to_owned());
        line.more.socket = Some(self.id().to_string());
        line.more.user = self.traced_user();
        if !pushed {
            let open = self.session().is_open();
            let reason = if open { "volatile" } else { "closed" };
            line.more.reason = Some(reason.to_owned());
        }
        self.session().trace(line);
    }

    /// It joins a room, or leaves one. What it leaves because it goes only the room's traces are told.
    #[cold]
    pub(crate) fn trace_room(&self, what: What, room: &str) {
        if user_of_room(room).is_some() {
            return;
        }
        let (session, traces) = (self.session(), self.session().shard().traces());
        let own = match self.is_present() {
            true => session.traces(),
            false => 0,
        };
        let mask = own | traces.of_room(room);
        if mask != 0 {
            let mut line = self.line(what);
            line.more.session = Some(session.log_name().to_string());
            line.more.room = Some(cut(room));
            traces.write(mask, &line);
        }
    }

    /// A backend was asked because of it.
    #[cold]
    pub(crate) fn trace_webhook(&self, about: &str, took: Duration, outcome: &str) {
        let mut line = self.line(What::Webhook);
        line.more.event = Some(cut(about));
        line.more.milliseconds = Some((took.as_micros() as f64) / 1000.0);
        line.more.reason = Some(outcome.to_owned());
        self.session().trace(line);
    }
}

/// Tells those who trace a session that it may not connect to a namespace.
#[cold]
pub(crate) fn trace_refusal(session: &Rc<Session>, namespace: &str, refusal: &Refusal) {
    #[derive(serde::Deserialize)]
    struct Data {
        code: String,
    }
    let data = refusal.data.as_deref();
    let code = data.and_then(|data| serde_json::from_str::<Data>(data).ok());
    session.trace(Line::with(What::ConnectRefused, |more| {
        more.namespace = Some(cut(namespace));
        more.address = Some(session.handshake().address().to_string());
        more.reason = Some(match code {
            Some(Data { code }) => cut(&format!("{code}: {}", refusal.message)),
            None => cut(&refusal.message),
        });
    }));
}

fn sent_line(what: What, sent: &Sent<'_>) -> Line {
    Line::with(what, |more| {
        more.event = sent.event.as_deref().map(cut);
        more.ack = sent.id;
        more.bytes = Some(sent.bytes);
        let event = sent.event.as_deref().unwrap_or_default();
        more.arguments = Some(masked::arguments(event, sent.arguments).to_string());
    })
}

/// Of the arguments as JSON, and of what is binary.
fn size(arguments: Arguments<'_>) -> usize {
    let binary: usize = arguments.attachments().iter().map(bytes::Bytes::len).sum();
    arguments.json().len() + binary
}
