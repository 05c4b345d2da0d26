//! Emitting to many.

use std::sync::Arc;
use std::time::{Duration, Instant};

use adapter::recovery::Generation;
use adapter::{
    Answer, Broadcast as Published, ClusterMessage, EventBuf, List, Question, Selection,
    TraceContext,
};
use protocol::Encoded;
use tokio::sync::{mpsc, oneshot};

use crate::cluster::{Asked, Gathered, ask};
use crate::count::{Origin, PacketType};
use crate::recovery::Unpublished;
use crate::socketio::acks::{AckRequest, Progress, Tally};
use crate::socketio::arguments::{EmitError, IntoArguments, OwnedArguments, check_name};
use crate::socketio::broadcast::Broadcast;
use crate::socketio::gateway::Gateway;
use crate::socketio::layer::SocketIo;
use crate::socketio::list::{Count, Entry, MAX_ENTRIES, Page, Walk, names};
use crate::socketio::ordered::Unlogged;
use crate::socketio::socket::{Socket, SocketInfo};
use crate::socketio::spans::{Delivery, publishing};

/// Emits to a namespace, or to some of its sockets: `gateway.of("/").to("room").emit("hi", ())?`.
///
/// Each method returns another emitter; one can be kept and used again. It can be used on any
/// thread.
///
/// ```
/// use std::time::Duration;
///
/// use gateway::Gateway;
///
/// async fn close_bar(gateway: &Gateway) -> Result<(), Box<dyn std::error::Error>> {
///     let bar = gateway.of("/").to("bar").except("staff");
///     bar.emit("last orders", (10,))?;
///     let answers = bar.emit_with_ack("another one?", (), Duration::from_secs(2))?;
///     match answers.await {
///         Ok(answers) => println!("{} answered", answers.len()),
///         Err(missing) => println!("{missing}"),
///     }
///     bar.disconnect(false);
///     Ok(())
/// }
/// ```
#[derive(Clone)]
pub struct Emitter {
    gateway: Gateway,
    namespace: Arc<str>,
    selection: Selection,
    /// Whether fetched sockets tell what their requests said.
    handshakes: bool,
    /// The socket that emits, in a namespace with recovery, and how often its session was claimed.
    sender: Option<(Arc<str>, Generation)>,
}

/// Bytes of what is fetched at once, at most.
const MAX_FETCHED: usize = 64 * 1024 * 1024;

/// Not every recipient acknowledged.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
#[error("{} of {expected} recipients acknowledged in time", answers.len())]
pub struct MissingAcks {
    /// The answers that came.
    pub answers: Vec<OwnedArguments>,
    /// How many sockets were asked, as far as their nodes told.
    pub expected: usize,
    /// The gateway nodes that did not answer, or not in full.
    pub missing_nodes: Vec<String>,
}

impl Gateway {
    /// An emitter to a namespace.
    pub fn of(&self, namespace: &str) -> Emitter {
        Emitter::new(self.clone(), namespace.into())
    }
}

impl Socket {
    /// An emitter to a room's members, on every node, except this socket.
    pub fn to(&self, room: impl Into<String>) -> Emitter {
        self.broadcast().to(room)
    }

    /// An emitter to everybody in the namespace, on every node, except this socket.
    pub fn broadcast(&self) -> Emitter {
        let everybody = Emitter::new(self.gateway(), self.shared_namespace());
        Emitter {
            sender: self.sender(),
            ..everybody.except(self.id().as_str())
        }
    }
}

impl Emitter {
    pub(crate) fn new(gateway: Gateway, namespace: Arc<str>) -> Self {
        Self {
            gateway,
            namespace,
            selection: Selection::everybody(),
            handshakes: false,
            sender: None,
        }
    }

    /// Also to the members of this room. Who is in several gets one copy.
    pub fn to(mut self, room: impl Into<String>) -> Self {
        self.selection = self.selection.to(room);
        self
    }

    /// Not to the members of this room, or to the socket of this id.
    pub fn except(mut self, room: impl Into<String>) -> Self {
        self.selection = self.selection.except(room);
        self
    }

    /// Only to clients that can be written to at once.
    pub fn volatile(mut self) -> Self {
        self.selection.flags.volatile = true;
        self
    }

    /// Only to clients of this node, and for what else is done to sockets, only to theirs.
    pub fn local(mut self) -> Self {
        self.selection.flags.local = true;
        self
    }

    /// Emits.
    ///
    /// # Errors
    ///
    /// A reserved name, arguments that clients do not take, or too many broadcasts that wait for a shard: see
    /// [`EmitError`]. Then nobody gets the event.
    pub fn emit(&self, event: &str, arguments: impl IntoArguments) -> Result<(), EmitError> {
        self.publish(event, arguments).map(drop)
    }

    /// Emits, and tells when the event is promised to arrive. In a namespace with recovery that is once it is in the
    /// log: every recipient then gets it, at once or when it comes back. Elsewhere, and for volatile and local events,
    /// nothing more is promised than that it was emitted, and the future is ready at once.
    ///
    /// # Errors
    ///
    /// At once as [`emit`](Self::emit). Later [`Unpublished`], if nobody gets the event.
    pub fn publish(
        &self,
        event: &str,
        arguments: impl IntoArguments,
    ) -> Result<impl Future<Output = Result<(), Unpublished>> + Send + 'static, EmitError> {
        let arguments = arguments.into_arguments()?;
        let published = self.clone().publish_or_emit(event, arguments)?;
        Ok(async move {
            match published {
                Some(published) => published.await.unwrap_or(Err(Unpublished::Ended)),
                None => Ok(()),
            }
        })
    }

    /// The same; `None` if nothing has to be waited for.
    pub(crate) fn publish_or_emit(
        self,
        event: &str,
        arguments: OwnedArguments,
    ) -> Result<Option<oneshot::Receiver<Result<(), Unpublished>>>, EmitError> {
        let (node, namespace) = (Arc::clone(self.gateway.node()), Arc::clone(&self.namespace));
        publishing(&node, (&namespace, event), |trace| {
            self.publish_within(event, arguments, trace)
        })
    }

    /// Who is selected goes on into the broadcast, and is copied for other nodes alone.
    fn publish_within(
        mut self,
        event: &str,
        arguments: OwnedArguments,
        trace: Option<TraceContext>,
    ) -> Result<Option<oneshot::Receiver<Result<(), Unpublished>>>, EmitError> {
        let mut selection = std::mem::take(&mut self.selection);
        selection.flags.trace = trace;
        let node = self.gateway.node();
        let Some(order) = SocketIo::of(node).order(&self.namespace) else {
            let elsewhere = node.cluster().map(|cluster| (cluster, selection.clone()));
            node.deliver(self.broadcast(selection, event, &arguments, None)?)?;
            if let Some((cluster, selection)) = elsewhere {
                let message = self.message(selection, event, arguments);
                cluster.publish(&self.namespace, &message);
            }
            return Ok(None);
        };
        check_name(event)?;
        let event = EventBuf {
            name: event.to_owned(),
            arguments: arguments.into(),
        };
        if self.selection.flags.local {
            let since = Instant::now();
            node.deliver_unlogged(Unlogged {
                delivery: Delivery::of(node, trace, &self.namespace, Origin::Local, since),
                order,
                selection,
                event,
                origin: Origin::Local,
                since,
            });
            return Ok(None);
        }
        let published = order.publish(selection, &event, self.sender.clone());
        published.map(Some).ok_or(EmitError::Overloaded)
    }

    /// Emits and waits until all recipients have acknowledged, at most for `timeout`. Of recipients
    /// of other nodes the first value of each acknowledgement comes back. Recipients of this node
    /// that disconnect are not waited for.
    ///
    /// # Errors
    ///
    /// The future's error holds the answers that came in time.
    pub fn emit_with_ack(
        &self,
        event: &str,
        arguments: impl IntoArguments,
        timeout: Duration,
    ) -> Result<
        impl Future<Output = Result<Vec<OwnedArguments>, MissingAcks>> + Send + 'static,
        EmitError,
    > {
        let arguments = arguments.into_arguments()?;
        let (answers, tally) = mpsc::unbounded_channel();
        let node = self.gateway.node();
        let socket_io = SocketIo::of(node);
        let place = socket_io.acks.begin().ok_or(EmitError::Overloaded)?;
        let ack = AckRequest {
            id: socket_io.next_ack_id(),
            timeout,
            answers,
        };
        let mut selection = publishing(node, (&*self.namespace, event), |trace| {
            let selection = self.selected(trace);
            node.deliver(self.broadcast(selection.clone(), event, &arguments, Some(ack))?)?;
            Ok(selection)
        })?;
        let here = gather(tally, node.shard_count(), timeout);
        selection.flags.timeout = Some(timeout);
        let message = self.message(selection, event, arguments);
        let elsewhere = ask(
            node.cluster(),
            &self.namespace,
            Question::Broadcast,
            &message,
            timeout,
        );
        Ok(async move {
            let _place = place;
            let (mut here, elsewhere) = tokio::join!(here, elsewhere);
            let before = here.answers.len();
            for (_, answer) in elsewhere.answers {
                if let Answer::Ack(value) = answer {
                    here.answers.push(value.into());
                }
            }
            here.expected += here.answers.len() - before + elsewhere.missing_acks as usize;
            here.missing_nodes = elsewhere.missing_nodes;
            let is_complete = here.answers.len() == here.expected
                && here.missing_nodes.is_empty()
                && elsewhere.missing_others == 0;
            if is_complete {
                Ok(here.answers)
            } else {
                Err(here)
            }
        })
    }

    /// Has [`fetch_sockets`](Self::fetch_sockets) also tell what the clients' requests said: headers,
    /// query and `auth`, with their cookies and tokens.
    pub fn with_handshakes(mut self) -> Self {
        self.handshakes = true;
        self
    }

    /// The selected sockets of all nodes, as they are now, by their ids. It holds 64 MiB of them at
    /// most, and tells whether there are more; [`fetch_sockets_page`](Self::fetch_sockets_page) comes
    /// to all.
    pub async fn fetch_sockets(&self) -> Gathered<Vec<SocketInfo>> {
        let mut walk = self.walk_sockets(None, MAX_ENTRIES).await;
        let found = walk.all(MAX_FETCHED).await;
        walk.into_gathered(found)
    }

    /// The first `limit` of the selected sockets behind the id `after`, or from the beginning.
    pub async fn fetch_sockets_page(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Gathered<Page<SocketInfo>> {
        let after = after.map(str::to_owned);
        let mut walk = self.walk_sockets(after, limit.saturating_add(1)).await;
        let page = walk.page(limit, |_| true).await;
        walk.into_gathered(page)
    }

    async fn walk_sockets(&self, after: Option<String>, limit: usize) -> Walk<SocketInfo> {
        let handshakes = self.handshakes;
        self.walk(List::Sockets { handshakes }, after, limit).await
    }

    /// Walks through a list of the selected sockets on all nodes.
    pub(crate) async fn walk<E: Entry>(
        &self,
        list: List,
        after: Option<String>,
        limit: usize,
    ) -> Walk<E> {
        let what = (list, self.selection.clone());
        Walk::begin(self.gateway.node(), &self.namespace, what, after, limit).await
    }

    /// The rooms of the namespace on all nodes, private ones among them, sorted; 64 MiB of them at
    /// most. The selection of the emitter does not matter.
    pub async fn rooms(&self) -> Gathered<Vec<String>> {
        let list = List::Rooms { private: true };
        let mut walk: Walk<Count> = self.walk(list, None, MAX_ENTRIES).await;
        let found = names(walk.all(MAX_FETCHED).await);
        walk.into_gathered(found)
    }

    /// Makes the selected sockets of all nodes join rooms: few of this node at once, many some at a time. What this node
    /// emits to these rooms afterwards reaches all of them. What others emit may be missed until the
    /// members' nodes have subscribed to the rooms: see [`join_everywhere`](Self::join_everywhere).
    pub fn join(&self, rooms: impl IntoIterator<Item = impl Into<String>>) {
        self.change(self.to_join(rooms));
    }

    /// The same; the future tells when what any node emits to the rooms reaches those who joined, or
    /// which nodes did not say so in time. Node servers do not tell.
    pub fn join_everywhere(
        &self,
        rooms: impl IntoIterator<Item = impl Into<String>>,
    ) -> impl Future<Output = Gathered<()>> + Send + 'static {
        self.change_everywhere(self.to_join(rooms))
    }

    /// Makes the selected sockets of all nodes leave rooms. What this node emits to these rooms afterwards does not
    /// reach them.
    pub fn leave(&self, rooms: impl IntoIterator<Item = impl Into<String>>) {
        self.change(self.to_leave(rooms));
    }

    /// The same; the future tells when it is done on every node, or which did not say so in time.
    pub fn leave_everywhere(
        &self,
        rooms: impl IntoIterator<Item = impl Into<String>>,
    ) -> impl Future<Output = Gathered<()>> + Send + 'static {
        self.change_everywhere(self.to_leave(rooms))
    }

    /// Disconnects the selected sockets of all nodes; with `close` their sessions as well.
    pub fn disconnect(&self, close: bool) {
        self.change(self.to_disconnect(close));
    }

    /// The same; the future tells when it is done on every node, or which did not say so in time.
    pub fn disconnect_everywhere(
        &self,
        close: bool,
    ) -> impl Future<Output = Gathered<()>> + Send + 'static {
        self.change_everywhere(self.to_disconnect(close))
    }

    /// Emits an event to the other servers of the cluster themselves, not to clients: their
    /// [`server_side_event`](crate::socketio::application::Application::server_side_event) is called.
    ///
    /// # Errors
    ///
    /// A reserved name, or arguments that clients do not take: see [`EmitError`].
    pub fn server_side_emit(
        &self,
        event: &str,
        arguments: impl IntoArguments,
    ) -> Result<(), EmitError> {
        let message = server_side(event, arguments)?;
        if let Some(cluster) = self.gateway.node().cluster() {
            cluster.publish(&self.namespace, &message);
        }
        Ok(())
    }

    /// The same, and waits for an answer of each of them.
    ///
    /// # Errors
    ///
    /// A reserved name, or arguments that clients do not take: see [`EmitError`].
    pub fn server_side_emit_with_ack(
        &self,
        event: &str,
        arguments: impl IntoArguments,
    ) -> Result<impl Future<Output = Gathered<Vec<OwnedArguments>>> + Send + 'static, EmitError>
    {
        let message = server_side(event, arguments)?;
        let asked = self.ask(Question::ServerSide, &message);
        Ok(async move {
            let mut asked = asked.await;
            let answers = std::mem::take(&mut asked.answers).into_iter();
            let answers = answers.filter_map(|(_, answer)| match answer {
                Answer::ServerSide(value) => Some(value.into()),
                Answer::ClientCount(_)
                | Answer::Ack(_)
                | Answer::Sockets(_)
                | Answer::SocketIds(_)
                | Answer::Rooms(_)
                | Answer::Piece(_)
                | Answer::Lines(_)
                | Answer::Done => None,
            });
            let answers = answers.collect();
            asked.into_gathered(answers)
        })
    }

    fn ask(
        &self,
        question: Question,
        message: &ClusterMessage,
    ) -> impl Future<Output = Asked> + Send + use<> {
        let node = self.gateway.node();
        let patience = node.cluster().map_or(Duration::ZERO, |it| it.patience());
        ask(node.cluster(), &self.namespace, question, message, patience)
    }

    fn to_join(&self, rooms: impl IntoIterator<Item = impl Into<String>>) -> ClusterMessage {
        ClusterMessage::Join {
            selection: self.selection.clone(),
            rooms: rooms.into_iter().map(Into::into).collect(),
        }
    }

    fn to_leave(&self, rooms: impl IntoIterator<Item = impl Into<String>>) -> ClusterMessage {
        ClusterMessage::Leave {
            selection: self.selection.clone(),
            rooms: rooms.into_iter().map(Into::into).collect(),
        }
    }

    fn to_disconnect(&self, close: bool) -> ClusterMessage {
        let selection = self.selection.clone();
        ClusterMessage::Disconnect { selection, close }
    }

    /// Changes sockets of this node, and tells the others.
    fn change(&self, message: ClusterMessage) {
        let node = self.gateway.node();
        let message = Arc::new(message);
        node.change(&self.namespace, Arc::clone(&message));
        if let Some(cluster) = node.cluster() {
            cluster.publish(&self.namespace, &message);
        }
    }

    /// The same, and waits until it is done.
    fn change_everywhere(
        &self,
        message: ClusterMessage,
    ) -> impl Future<Output = Gathered<()>> + Send + 'static {
        let node = Arc::clone(self.gateway.node());
        let message = Arc::new(message);
        let here = node.change_and_tell(&self.namespace, Arc::clone(&message));
        let elsewhere = self.ask(Question::Change, &message);
        let patience = node.cluster().map_or(Duration::MAX, |it| it.patience());
        async move {
            let here = tokio::time::timeout(patience, here);
            let (here, elsewhere) = tokio::join!(here, elsewhere);
            let mut gathered = elsewhere.into_gathered(());
            if here.is_err() {
                gathered.missing_nodes.push(node.name());
                gathered.missing_nodes.sort_unstable();
            }
            gathered
        }
    }

    /// Who is selected, by something that is a part of a trace.
    fn selected(&self, trace: Option<TraceContext>) -> Selection {
        let mut selection = self.selection.clone();
        selection.flags.trace = trace;
        selection
    }

    fn broadcast(
        &self,
        selection: Selection,
        event: &str,
        arguments: &OwnedArguments,
        ack: Option<AckRequest>,
    ) -> Result<Broadcast, EmitError> {
        check_name(event)?;
        let arguments = arguments.as_ref();
        let id = ack.as_ref().map(|ack| ack.id);
        let (node, since) = (self.gateway.node(), Instant::now());
        let trace = selection.flags.trace;
        Ok(Broadcast {
            delivery: Delivery::of(node, trace, &self.namespace, Origin::Local, since),
            namespace: Arc::clone(&self.namespace),
            selection,
            packet: node.outbox_memory().share(Encoded::event(
                &self.namespace,
                id,
                event,
                arguments,
            )),
            kind: PacketType::event(!arguments.attachments().is_empty()),
            origin: Origin::Local,
            ack,
            since,
        })
    }

    /// The same for the other nodes.
    fn message(
        &self,
        selection: Selection,
        event: &str,
        arguments: OwnedArguments,
    ) -> ClusterMessage {
        ClusterMessage::Broadcast(Published {
            selection,
            event: EventBuf {
                name: event.to_owned(),
                arguments: arguments.into(),
            },
        })
    }
}

fn server_side(event: &str, arguments: impl IntoArguments) -> Result<ClusterMessage, EmitError> {
    check_name(event)?;
    Ok(ClusterMessage::ServerSideEmit(EventBuf {
        name: event.to_owned(),
        arguments: arguments.into_arguments()?.into(),
    }))
}

/// What the shards of this node report, at the latest when `timeout` is over.
async fn gather(
    mut tally: mpsc::UnboundedReceiver<Tally>,
    shards: usize,
    timeout: Duration,
) -> MissingAcks {
    let (mut answers, mut shares) = (Vec::new(), Vec::new());
    let mut progress = Progress::new(shards);
    let all = async {
        while !progress.is_over() {
            let Some(told) = tally.recv().await else {
                break;
            };
            progress.note(&told);
            if let Tally::Ack(answer, share) = told {
                answers.push(answer);
                shares.push(share);
            }
        }
    };
    let _complete_or_late = tokio::time::timeout(timeout, all).await;
    MissingAcks {
        answers,
        expected: progress.recipients,
        missing_nodes: Vec::new(),
    }
}
