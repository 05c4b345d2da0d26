//! The numbers of this node, as `@socket.io/admin-ui` takes them.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use protocol::engineio::{CloseReason, Transport};
use serde_json::{Value, json};

use crate::config::Pattern;
use crate::count::{Series, ShardCounters, Upgraded};
use crate::engine::node::Node;
use crate::engine::shard::Shard;
use crate::engine::turns::{Backwards, Turns};
use crate::show::MAX_NAMESPACES;

/// What the shards had counted at a moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Totals {
    opened: u64,
    packets_in: u64,
    bytes_in: u64,
    packets_out: u64,
    bytes_out: u64,
    closed: [u64; CloseReason::ALL.len()],
    /// Lines for pages that were too many to be told.
    not_told: u64,
}

/// Tells the numbers of a node again and again.
pub(super) struct Stats {
    began: Instant,
    host: String,
    /// At the last time.
    told: Totals,
}

impl Stats {
    /// What was counted until now is never told.
    pub(super) fn begin(node: &Node) -> Self {
        let host = rustix::system::uname();
        Self {
            began: Instant::now(),
            host: host.nodename().to_string_lossy().into_owned(),
            told: Totals::of(node),
        }
    }

    /// Nobody looked for a while: what was counted meanwhile is never told.
    pub(super) fn skip(&mut self, node: &Node) {
        self.told = Totals::of(node);
    }

    /// The numbers now, and what was counted since the last time.
    pub(super) async fn tell(&mut self, node: &Arc<Node>) -> Value {
        let totals = Totals::of(node);
        let since = totals.since(&self.told);
        let not_told = totals.not_told.saturating_sub(self.told.not_told);
        self.told = totals;
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let second = now.unwrap_or_default().as_secs() * 1000;
        let event = |(kind, reason, count): (&str, Option<&str>, u64)| {
            let mut event = json!({"timestamp": second, "type": kind, "count": count});
            if let Some(reason) = reason {
                event["subType"] = reason.into();
            }
            event
        };
        let events = since.into_iter().filter(|(.., count)| *count > 0);
        json!({
            "serverId": node.name(),
            "hostname": self.host,
            "pid": std::process::id(),
            "uptime": self.began.elapsed().as_secs_f64(),
            "clientsCount": node.session_count(),
            "pollingClientsCount": polling(node),
            "aggregatedEvents": events.map(event).collect::<Vec<_>>(),
            "namespaces": namespaces(node).await,
            // Pages ignore it, and gateway nodes send theirs a list anew.
            "notTold": not_told,
        })
    }
}

impl Totals {
    fn of(node: &Node) -> Self {
        let mut totals = Self {
            not_told: node.show().counters().not_told.value(),
            ..Self::default()
        };
        for shard in node.shards() {
            let shard = &*shard.counters;
            totals.opened += shard.opened.total();
            totals.packets_in += shard.packets_received.total();
            totals.bytes_in += shard.received_bytes.total();
            totals.packets_out += shard.packets_sent.total();
            totals.bytes_out += shard.sent_bytes.total();
            for (transport, reason) in <(Transport, CloseReason)>::all() {
                totals.closed[reason as usize] +=
                    shard.closed.family().of((transport, reason)).value();
            }
        }
        totals
    }

    /// Kinds of events, reasons, and how many there were since.
    fn since(&self, before: &Self) -> Vec<(&'static str, Option<&'static str>, u64)> {
        let less = |of: fn(&Self) -> u64| of(self).saturating_sub(of(before));
        let mut since = vec![
            ("rawConnection", None, less(|it| it.opened)),
            ("packetsIn", None, less(|it| it.packets_in)),
            ("bytesIn", None, less(|it| it.bytes_in)),
            ("packetsOut", None, less(|it| it.packets_out)),
            ("bytesOut", None, less(|it| it.bytes_out)),
        ];
        // Several reasons of ours have one name of Node's.
        let mut closed = BTreeMap::<_, u64>::new();
        for reason in CloseReason::ALL {
            let count = self.closed[reason as usize].saturating_sub(before.closed[reason as usize]);
            *closed.entry(reason.as_node()).or_default() += count;
        }
        let closed = closed.into_iter();
        since.extend(closed.map(|(reason, count)| ("rawDisconnection", Some(reason), count)));
        since
    }
}

/// Sessions that poll, by what was counted: walking all of them every two seconds would cost more than it tells.
fn polling(node: &Node) -> u64 {
    let shards = node.shards().iter();
    let of = |shard: &ShardCounters| {
        let closed = CloseReason::ALL.map(|reason| (Transport::Polling, reason));
        let closed = closed.map(|series| shard.closed.family().of(series).value());
        let upgraded = shard.upgrades.of(Upgraded::Completed).value();
        let gone = closed.iter().sum::<u64>() + upgraded;
        shard
            .opened
            .of(Transport::Polling)
            .value()
            .saturating_sub(gone)
    };
    let polling: u64 = shards.clone().map(|shard| of(&shard.counters)).sum();
    // The counters are read one after another.
    let sessions = shards.map(|shard| shard.counters.sessions.load(Ordering::Relaxed));
    polling.min(sessions.sum::<usize>() as u64)
}

/// The namespaces of a shard with most sockets.
async fn largest(shard: Rc<Shard>) -> Vec<(Arc<str>, usize)> {
    let (mut walk, mut turns) = (Backwards::default(), Turns::default());
    let mut largest = BTreeSet::new();
    while let Some(namespace) = shard.next_namespace(&mut walk) {
        largest.insert((namespace.len(), namespace.shared_name()));
        if largest.len() > MAX_NAMESPACES {
            largest.pop_first();
        }
        drop(namespace);
        turns.took(1).await;
    }
    // One that came twice has the larger number.
    let by_name: BTreeMap<Arc<str>, usize> = largest.into_iter().map(|(n, it)| (it, n)).collect();
    by_name.into_iter().collect()
}

/// The namespaces with most sockets, and those that the configuration names.
async fn namespaces(node: &Arc<Node>) -> Value {
    let of_shards = node.query_in_turns(largest);
    let named = node.config().namespaces.iter().filter_map(Pattern::as_name);
    let mut counts: BTreeMap<String, usize> = named.map(|name| (name.to_owned(), 0)).collect();
    for (name, sockets) in of_shards.await.into_iter().flatten() {
        *counts.entry(name.to_string()).or_default() += sockets;
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|(_, sockets)| Reverse(*sockets));
    counts.truncate(MAX_NAMESPACES);
    let counts = counts.into_iter();
    counts
        .map(|(name, sockets)| json!({"name": name, "socketsCount": sockets}))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_what_came_since() {
        let mut before = Totals {
            opened: 5,
            ..Totals::default()
        };
        before.closed[CloseReason::PingTimeout as usize] = 2;
        let mut now = before.clone();
        assert!(now.since(&before).iter().all(|(.., count)| *count == 0));
        now.opened += 3;
        now.closed[CloseReason::PingTimeout as usize] += 1;
        let since = now.since(&before);
        let told: Vec<_> = since.into_iter().filter(|(.., count)| *count > 0).collect();
        let expected = [
            ("rawConnection", None, 3),
            ("rawDisconnection", Some("ping timeout"), 1),
        ];
        assert_eq!(told, expected);
    }
}
