//! What comes from other nodes.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use adapter::{
    Answer, ArgumentsBuf, Broadcast as Published, ClusterMessage, EventBuf, Inbox, Incoming,
    NodeId, ReplyTo, Response,
};
use protocol::Encoded;
use tokio::sync::mpsc;

use crate::cluster::Cluster;
use crate::count::{Origin, PacketType};
use crate::engine::node::Node;
use crate::recovery::{Order, Recovery};
use crate::show::{self, Call};
use crate::socketio::acks::{AckRequest, Progress, Tally};
use crate::socketio::application::{Application, ServerSideAck, ServerSideEvent};
use crate::socketio::arguments::OwnedArguments;
use crate::socketio::blocks::sync::NOT_HEARD;
use crate::socketio::broadcast::Broadcast;
use crate::socketio::gateway::Gateway;
use crate::socketio::layer::SocketIo;
use crate::socketio::ordered::Unlogged;
use crate::socketio::spans::Delivery;
use crate::top::Wanted;
use crate::users::is_told;

mod answers;

use answers::Asked;

/// How long acknowledgements are awaited for a node that does not say for how long.
const DEFAULT_ACK_TIMEOUT: Duration = Duration::from_secs(60);

/// The longest that a node may have us wait for acknowledgements.
const MAX_ACK_TIMEOUT: Duration = Duration::from_secs(300);

/// Most binary values of an event that admin pages are shown.
const MAX_SHOWN_ATTACHMENTS: usize = 10;

/// Where an adapter puts what comes in.
pub(crate) struct Arrivals(Weak<Node>);

impl Arrivals {
    pub(crate) fn new(node: &Arc<Node>) -> Self {
        Self(Arc::downgrade(node))
    }
}

impl Inbox for Arrivals {
    fn handle(&self, incoming: Incoming) {
        let Some(node) = self.0.upgrade() else {
            return;
        };
        let Some(cluster) = node.cluster() else {
            return;
        };
        match incoming {
            Incoming::Message {
                namespace,
                message,
                reply_to,
            } => handle_message(&node, cluster, namespace, message, reply_to),
            Incoming::Response {
                response:
                    Response {
                        request,
                        node: from,
                        answer: Answer::Lines(lines),
                    },
                ..
            } => node.handle_lines(&request, from.as_ref(), lines),
            Incoming::Response { response, .. } => cluster.handle_response(response),
            Incoming::Members(members) => cluster.handle_members(&members),
            Incoming::Up(up) => {
                cluster.handle_up(up, Instant::now());
                if !up {
                    node.users().set_waits(Some(NOT_HEARD.to_owned()));
                }
                node.users().wake.notify_one();
            }
            Incoming::Store { namespace, told } => {
                if let Some(recovery) = &SocketIo::of(&node).recovery {
                    recovery.tell(&namespace, told);
                }
            }
        }
    }

    fn is_full(&self) -> bool {
        self.0.upgrade().is_some_and(|node| {
            let recovery = SocketIo::of(&node).recovery.as_ref();
            node.is_congested() || recovery.is_some_and(Recovery::is_behind)
        })
    }
}

fn handle_message(
    node: &Arc<Node>,
    cluster: &Arc<Cluster>,
    namespace: Arc<str>,
    message: ClusterMessage,
    reply_to: Option<ReplyTo>,
) {
    let asked = |reply_to: Option<ReplyTo>| {
        Some(Asked {
            node: Arc::clone(node),
            cluster: Arc::clone(cluster),
            namespace: Arc::clone(&namespace),
            to: reply_to?,
        })
    };
    match message {
        ClusterMessage::Broadcast(published)
            if node.show().is_configured() && &*namespace == show::NAMESPACE =>
        {
            show_page(node, namespace, &published);
        }
        ClusterMessage::Broadcast(published) => match reply_to {
            None => match SocketIo::of(node).order(&namespace) {
                Some(order) => deliver_unlogged(node, order, published),
                None => deliver(node, namespace, &published, None),
            },
            Some(to) => deliver_and_answer(node, cluster, namespace, &published, to),
        },
        ClusterMessage::Join { .. }
        | ClusterMessage::Leave { .. }
        | ClusterMessage::Disconnect { .. } => {
            change_and_answer(node, cluster, namespace, message, reply_to);
        }
        ClusterMessage::FetchSockets { selection } => {
            if let Some(asked) = asked(reply_to) {
                asked.answer_sockets(selection);
            }
        }
        ClusterMessage::SocketIds { selection } => {
            if let Some(asked) = asked(reply_to) {
                asked.answer_ids(selection);
            }
        }
        ClusterMessage::AllRooms => {
            if let Some(asked) = asked(reply_to) {
                asked.answer_rooms();
            }
        }
        ClusterMessage::List(request) => {
            if let Some(asked) = asked(reply_to) {
                asked.answer_list(request);
            }
        }
        ClusterMessage::Trace(words) => {
            if let Some(to) = reply_to {
                if let Some(call) = Call::parse(&words) {
                    let from = to.node.as_ref().map_or("", NodeId::as_str);
                    node.show().handle_call(call, from, Instant::now());
                } else if is_told(&words) {
                    node.hear_users(cluster, to, &words);
                } else if let Some(wanted) = Wanted::read(&words) {
                    node.tell_top(cluster, to, wanted);
                } else {
                    node.trace_for(cluster, to, &words);
                }
            }
        }
        ClusterMessage::ServerSideEmit(event) => server_side(node, namespace, event, reply_to),
    }
}

/// An event that another server tells all admin pages. Nobody acknowledges it.
fn show_page(node: &Node, namespace: Arc<str>, published: &Published) {
    let EventBuf { name, arguments } = &published.event;
    // Pages take no more than ten attachments, and would disconnect.
    let is_fit = arguments.attachments.len() <= MAX_SHOWN_ATTACHMENTS;
    if is_fit && node.show().admits(name, &arguments.json) {
        deliver(node, namespace, published, None);
    }
}

fn deliver(
    node: &Node,
    namespace: Arc<str>,
    Published { selection, event }: &Published,
    ack: Option<AckRequest>,
) {
    let id = ack.as_ref().map(|ack| ack.id);
    let arguments = event.arguments.as_arguments();
    let (since, trace) = (Instant::now(), selection.flags.trace);
    let _never_refused = node.deliver(Broadcast {
        packet: node
            .outbox_memory()
            .share(Encoded::event(&namespace, id, &event.name, arguments)),
        kind: PacketType::event(!arguments.attachments().is_empty()),
        delivery: Delivery::of(node, trace, &namespace, Origin::Cluster, since),
        namespace,
        selection: selection.clone(),
        origin: Origin::Cluster,
        ack,
        since,
    });
}

/// An event of a Node server or an emitter, in a namespace with recovery.
fn deliver_unlogged(node: &Node, order: Arc<Order>, published: Published) {
    if let Some(recovery) = &SocketIo::of(node).recovery {
        recovery.counters().unlogged.increment();
    }
    let (since, trace) = (Instant::now(), published.selection.flags.trace);
    node.deliver_unlogged(Unlogged {
        delivery: Delivery::of(node, trace, order.namespace(), Origin::Cluster, since),
        order,
        selection: published.selection,
        event: published.event,
        origin: Origin::Cluster,
        since,
    });
}

/// Changes sockets and tells when it is done. If a join cannot be in force in time, nothing is
/// answered: who asks then names this node as missing.
fn change_and_answer(
    node: &Arc<Node>,
    cluster: &Cluster,
    namespace: Arc<str>,
    message: ClusterMessage,
    reply_to: Option<ReplyTo>,
) {
    let Some(to) = reply_to else {
        return node.change(&namespace, Arc::new(message));
    };
    let changed = node.change_and_tell(&namespace, Arc::new(message));
    let node = Arc::clone(node);
    let patience = cluster.patience();
    cluster.spawn(async move {
        let is_done = tokio::time::timeout(patience, changed).await.is_ok();
        if is_done && let Some(cluster) = node.cluster() {
            cluster.adapter().respond(&namespace, &to, &Answer::Done);
        }
    });
}

/// Delivers, tells how many sockets got it, then passes each acknowledgement on. If too many are
/// awaited already it delivers and tells, and none follows.
fn deliver_and_answer(
    node: &Arc<Node>,
    cluster: &Cluster,
    namespace: Arc<str>,
    published: &Published,
    to: ReplyTo,
) {
    let timeout = ack_timeout(published.selection.flags.timeout);
    let (answers, mut tally) = mpsc::unbounded_channel();
    let socket_io = SocketIo::of(node);
    let place = socket_io.acks.begin();
    let ack = AckRequest {
        id: socket_io.next_ack_id(),
        timeout: if place.is_some() {
            timeout
        } else {
            Duration::ZERO
        },
        answers,
    };
    deliver(node, Arc::clone(&namespace), published, Some(ack));
    let node = Arc::clone(node);
    cluster.spawn(async move {
        let _place = place;
        let Some(cluster) = node.cluster() else {
            return;
        };
        let respond = |answer: Answer| {
            cluster.adapter().respond(&namespace, &to, &answer);
        };
        let mut progress = Progress::new(node.shard_count());
        let mut early = Vec::new();
        let answering = async {
            while !progress.is_over() {
                let Some(told) = tally.recv().await else {
                    break;
                };
                progress.note(&told);
                match told {
                    Tally::Recipients(_) if progress.is_counted() => {
                        respond(Answer::ClientCount(progress.recipients as u64));
                        early.drain(..).for_each(|(ack, _)| respond(ack));
                    }
                    Tally::Ack(values, share) => {
                        let ack = Answer::Ack(first(&values));
                        if progress.is_counted() {
                            respond(ack);
                        } else {
                            early.push((ack, share));
                        }
                    }
                    Tally::Recipients(_) | Tally::Gone => {}
                }
            }
        };
        let _over = tokio::time::timeout(timeout, answering).await;
    });
}

/// How long acknowledgements are awaited for a node that says so, or does not.
fn ack_timeout(named: Option<Duration>) -> Duration {
    named.unwrap_or(DEFAULT_ACK_TIMEOUT).min(MAX_ACK_TIMEOUT)
}

/// Node passes on the first value of an acknowledgement.
fn first(values: &OwnedArguments) -> ArgumentsBuf {
    let values = values.as_ref();
    ArgumentsBuf {
        json: values.iter().next().unwrap_or_default().to_owned(),
        attachments: values.attachments().to_vec(),
    }
}

/// Runs where broadcasts of the same sender run, so that order is kept.
fn server_side(node: &Arc<Node>, namespace: Arc<str>, event: EventBuf, reply_to: Option<ReplyTo>) {
    let gateway = Gateway::of_node(Arc::clone(node));
    let ack = reply_to.map(|to| ServerSideAck::new(gateway.clone(), Arc::clone(&namespace), to));
    node.run_on_one(move |shard| {
        let event = ServerSideEvent::new(&namespace, &event, ack);
        let application = &SocketIo::of(shard.node()).application;
        application.server_side_event(&gateway, event);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_node_has_acknowledgements_awaited_for_an_hour() {
        let hour = Duration::from_secs(3600);
        assert_eq!(ack_timeout(Some(hour)), Duration::from_secs(300));
        assert_eq!(ack_timeout(None), Duration::from_secs(60));
        let second = Duration::from_secs(1);
        assert_eq!(ack_timeout(Some(second)), second);
    }
}
