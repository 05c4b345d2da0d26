//! The figures of the page, as JSON.

use std::sync::Arc;
use std::time::Instant;

use adapter::{Counters, Member};
use serde_json::{Value, json};

use super::remedies::{self, Remedy};
use crate::cluster::rebalance::mean;
use crate::config::{InternalPage, Rebalancing};
use crate::count::{Export, Refused, TokenReason};
use crate::engine::drain::Purpose;
use crate::engine::node::Node;
use crate::net::time::now_text;
use crate::socketio::SocketIo;
use crate::socketio::top::Top;
use crate::top::{Counted, MAX_LARGEST, NodeRates, NodeStatus, RoomRates, largest, summed};
use crate::users::UserRefusal;
use protocol::engineio::CloseReason;

/// Most bytes of a name or a text of others.
const MAX_TEXT: usize = 256;

/// Most of the busiest rooms.
const MAX_BUSIEST: usize = 20;

/// Everything that the page shows.
pub(super) fn of(node: &Arc<Node>, exports: &[Arc<dyn Export>], ready: Value, top: Top) -> Value {
    let told = || top.statuses.iter().flatten();
    let closed = summed(told().flat_map(|it| &it.closed));
    let refused = summed(told().flat_map(|it| &it.refused));
    let tokens = summed(told().flat_map(|it| &it.tokens));
    let users = summed(told().flat_map(|it| &it.users));
    let rooms = largest(
        told().flat_map(|it| it.largest.iter().cloned()),
        MAX_LARGEST,
    );
    let rooms: Vec<_> = rooms
        .into_iter()
        .map(|it| json!({"namespace": it.namespace, "name": it.name, "members": it.members}))
        .collect();
    let own = top.nodes.iter().find(|it| it.is_self);
    let mut figures = json!({
        "at": now_text(),
        "node": node.name(),
        "version": env!("CARGO_PKG_VERSION"),
        "ready": ready,
        "nodes": nodes(node, &top),
        "node_servers": top.missing_others,
        "largest_rooms": rooms,
        "busiest_rooms": top.rooms.iter().take(MAX_BUSIEST).map(room).collect::<Vec<_>>(),
        "closed": reasons::<CloseReason>(closed),
        "refused": reasons::<Refused>(refused),
        "tokens_refused": reasons::<TokenReason>(tokens),
        "users_refused": reasons::<UserRefusal>(users),
        "drain": drain(node),
        "rebalance": rebalance(node),
        "redis": redis(node, own),
        "recovery": recovery(node),
        "backends": Value::Null,
        "stream": Value::Null,
    });
    if node.config().internal_page == InternalPage::NoRooms {
        figures["largest_rooms"] = Value::Null;
        figures["busiest_rooms"] = Value::Null;
    }
    for (name, status) in exports.iter().filter_map(|it| it.status()) {
        figures[name] = status;
    }
    figures
}

/// The nodes that answered, and those that did not.
fn nodes(node: &Node, top: &Top) -> Vec<Value> {
    let members = node.cluster().map(|it| it.adapter().members());
    let members: &[Member] = members.as_deref().unwrap_or_default();
    let answered = top.nodes.iter().zip(&top.statuses);
    let mut nodes: Vec<Value> = answered
        .map(|(rates, status)| told(rates, status.as_ref()))
        .collect();
    for name in &top.missing_nodes {
        // What its last heartbeat said.
        let member = members.iter().find(|it| it.id.as_str() == name);
        nodes.push(json!({
            "id": short(name),
            "self": false,
            "answers": false,
            "version": member.map(|it| short(&it.version)),
            "connections": member.map(|it| it.state.connections),
            "draining": member.is_some_and(|it| it.state.is_draining),
        }));
    }
    nodes
}

fn told(rates: &NodeRates, status: Option<&NodeStatus>) -> Value {
    let mut told = json!({
        "id": short(&rates.id),
        "self": rates.is_self,
        "answers": true,
        "version": short(&rates.version),
        "up": rates.up,
        "draining": rates.draining,
        "connections": rates.connections,
        "events_in": rates.events_in,
        "events_out": rates.events_out,
        "opened": rates.opened,
        "closed": rates.closed,
        "refused": rates.refused,
        "bytes_in": rates.bytes_in,
        "bytes_out": rates.bytes_out,
        "cpu": rates.cpu,
        "outbox_bytes": rates.outbox_bytes,
        "heartbeat_p50_ms": rates.heartbeat_p50_ms,
        "heartbeat_p99_ms": rates.heartbeat_p99_ms,
        "lag_p99_ms": rates.lag_p99_ms,
    });
    if let Some(status) = status {
        told["transports"] = json!({
            "polling": status.polling,
            "websocket": status.websocket,
            "webtransport": status.webtransport,
        });
        told["late_p99_ms"] = json!(status.late_p99_ms);
        told["heartbeat_timeouts"] = status.heartbeat_timeouts.into();
        told["rebalancing"] = status.rebalancing.into();
        told["trouble"] = json!(status.trouble);
        told["look"] = json!(status.look);
    }
    told
}

fn room(room: &RoomRates) -> Value {
    json!({
        "namespace": short(&room.namespace),
        "name": room.name.as_deref().map(short),
        "events": room.events,
        "deliveries": room.deliveries,
    })
}

/// The reasons, each with what to do about it.
fn reasons<R: Remedy>(counted: Vec<Counted>) -> Vec<Value> {
    let remedy = |reason: &str| {
        let mut all = R::ALL.iter();
        all.find(|it| it.label() == reason).map(|it| it.remedy())
    };
    let reasons = counted.into_iter().map(|it| {
        json!({
            "reason": it.reason,
            "count": it.count,
            "ago_ms": it.ago_ms,
            "remedy": remedy(&it.reason),
        })
    });
    reasons.collect()
}

fn drain(node: &Node) -> Value {
    let Some((period, purpose)) = node.drain().under_way() else {
        return Value::Null;
    };
    let left = period.end().saturating_duration_since(Instant::now());
    json!({
        "ends": purpose == Purpose::End,
        "refuses": node.drain().refuses(),
        "remaining": node.session_count(),
        "seconds_left": left.as_secs(),
    })
}

/// Of a node that stands alone there is nothing to say.
fn rebalance(node: &Node) -> Value {
    let Some(cluster) = node.cluster() else {
        return Value::Null;
    };
    let members = cluster.adapter().members();
    let others = members
        .iter()
        .filter(|it| it.id != *cluster.adapter().node());
    let others: u64 = others.map(|it| it.state.connections).sum();
    let own = node.session_count() as u64;
    let settings = node.current();
    json!({
        "auto": settings.cluster.rebalance == Rebalancing::Auto,
        "per_second": settings.cluster.rebalance_per_second,
        "under_way": node.spreading().is_under_way(),
        "connections": own,
        "mean": mean(own + others, members.len()),
    })
}

fn redis(node: &Node, own: Option<&NodeRates>) -> Value {
    let Some(cluster) = node.cluster() else {
        return Value::Null;
    };
    let adapter = cluster.adapter();
    let counters: &Counters = adapter.counters();
    json!({
        "up": adapter.is_up(),
        "trouble": adapter.trouble().as_deref().map(short),
        "concern": adapter.concern().as_deref().map(short),
        "lag_p99_ms": own.and_then(|it| it.lag_p99_ms),
        "reconnects": counters.reconnects.value(),
        "gaps": counters.gaps.value(),
        "queued": counters.queued.value(),
        "queued_bytes": counters.queued_bytes.value(),
        "subscriptions": counters.subscriptions.value(),
        "dropped": counters.out_dropped.value(),
        "unconfirmed": counters.out_unconfirmed.value(),
        "refused": counters.out_refused.value(),
    })
}

fn recovery(node: &Node) -> Value {
    let Some(recovery) = &SocketIo::of(node).recovery else {
        return Value::Null;
    };
    let counters = recovery.counters();
    let results = counters.results().into_iter();
    let results = results.filter(|(_, count)| *count > 0);
    let results = results.map(|(result, count)| {
        json!({"reason": result, "count": count, "remedy": remedies::of_recovery(result)})
    });
    json!({
        "results": results.collect::<Vec<_>>(),
        "replayed": counters.replayed.value(),
        "waiting": counters.waiting.value(),
        "refused": counters.refused.value(),
        "given_up": counters.given_up.value(),
        "renewed": counters.renewed.value(),
        "logs": counters.logs.value(),
        "entries": counters.entries.value(),
        "bytes": counters.bytes.value(),
    })
}

fn short(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_TEXT)]
}
