//! What comes in by a subscription: thrown away, or handed over.

use std::sync::Arc;
use std::time::Instant;

use adapter::Incoming;
use adapter::recovery::Ordered;

use crate::bus::shared::Shared;
use crate::cluster::interests::Purpose;
use crate::codec::DecodeError;
use crate::link::resp::Family;
use crate::recovery::stores::Store;
use crate::wire::{Content, Format, Kind, Wire};

/// Handles a message. `pattern` is the pattern that matched, if it came by one.
pub(crate) fn message(shared: &Shared, pattern: Option<&[u8]>, channel: &[u8], payload: &[u8]) {
    let counters = &shared.cluster.counters;
    let (Ok(channel), Ok(pattern)) = (
        std::str::from_utf8(channel),
        pattern.map(std::str::from_utf8).transpose(),
    ) else {
        return counters.in_ignored.increment();
    };
    match purpose(shared, pattern, channel) {
        Some(Subscribed::For(Purpose::Messages(kind, namespace))) => {
            let namespace = namespace.as_deref();
            match read(shared, kind, namespace, pattern.is_some(), channel, payload) {
                Ok(Read::Incoming(incoming)) => {
                    counters.in_ok.increment();
                    shared.cluster.inbox.handle(incoming);
                }
                Ok(Read::Ordered(store, ordered)) => {
                    counters.in_ok.increment();
                    store.handle_ordered(ordered);
                }
                Err(Dropped::Own) => counters.in_own.increment(),
                Err(Dropped::Ignored) => counters.in_ignored.increment(),
                Err(Dropped::Undecodable(error)) => {
                    tracing::debug!(target: "adapter_redis::receive", channel, %error, "undecodable message from Redis");
                    counters.in_undecodable.increment();
                }
            }
        }
        Some(Subscribed::For(Purpose::Probe(lane))) => {
            let number = std::str::from_utf8(payload).ok();
            let Some(number) = number.and_then(|number| number.parse().ok()) else {
                return;
            };
            let now = Instant::now();
            let was_up = shared.is_up();
            let lag = shared.status().handle_probe_heard(lane, number, now);
            if let Some(lag) = lag {
                counters.lag.observe(lag);
                if !was_up || !shared.status().settling().is_empty() {
                    shared.handle_status_change();
                }
            }
        }
        Some(Subscribed::For(Purpose::Mark(namespace))) => {
            let store = shared.stores.of(&namespace);
            match store.is_some_and(|store| store.handle_mark(payload)) {
                true => counters.in_own.increment(),
                false => counters.in_ignored.increment(),
            }
        }
        Some(Subscribed::For(Purpose::Presence)) => shared.announced.notify_one(),
        None => counters.in_ignored.increment(),
        Some(Subscribed::Twice) => counters.in_duplicate.increment(),
    }
}

/// Why a message came.
enum Subscribed {
    For(Purpose),
    /// By a pattern, and by an exact subscription as well: that one counts.
    Twice,
}

fn purpose(shared: &Shared, pattern: Option<&str>, channel: &str) -> Option<Subscribed> {
    let interests = shared.cluster.interests();
    let family = match shared.cluster.config.format {
        Format::Classic { .. } => Family::Exact,
        Format::Sharded(_) => Family::Sharded,
    };
    let exact = interests.purpose(family, channel);
    let purpose = match (pattern, exact) {
        (None, exact) => exact,
        (Some(_), Some(_)) => return Some(Subscribed::Twice),
        (Some(pattern), None) => interests.purpose(Family::Pattern, pattern),
    };
    purpose.cloned().map(Subscribed::For)
}

/// What is handed over.
enum Read {
    Incoming(Incoming),
    /// What a store put in order, which this node may have published itself.
    Ordered(Arc<Store>, Ordered),
}

/// Why a message is not handed over.
enum Dropped {
    Own,
    Ignored,
    Undecodable(DecodeError),
}

impl From<DecodeError> for Dropped {
    fn from(error: DecodeError) -> Self {
        Self::Undecodable(error)
    }
}

/// Reads a message of which `namespace` is told by its subscription. Broadcasts tell theirs: the
/// same channel may be that of a room in one namespace and of another namespace.
fn read(
    shared: &Shared,
    kind: Kind,
    namespace: Option<&str>,
    by_pattern: bool,
    channel: &str,
    payload: &[u8],
) -> Result<Read, Dropped> {
    let mut text = String::new();
    let envelope = shared
        .cluster
        .config
        .format
        .open(kind, payload, &mut text)?;
    let Some(name) = envelope.namespace.as_deref().or(namespace) else {
        return Err(Dropped::Ignored);
    };
    let Some(wire) = shared.cluster.open_wire(name) else {
        return Err(Dropped::Ignored);
    };
    if kind == Kind::Broadcast && !belongs(&wire, namespace, by_pattern, channel) {
        return Err(Dropped::Ignored);
    }
    if let Some(ordered) = envelope.ordered()
        && let Some(store) = shared.stores.of(&wire.namespace)
    {
        return Ok(Read::Ordered(store, ordered?));
    }
    if envelope.uid == wire.uid.as_str() {
        return Err(Dropped::Own);
    }
    let namespace = wire.namespace.clone();
    let incoming = match envelope.content()? {
        Content::Message(message, reply_to) => Incoming::Message {
            namespace,
            message,
            reply_to,
        },
        Content::Response(response) => Incoming::Response {
            namespace,
            response,
        },
        Content::Ignored => return Err(Dropped::Ignored),
    };
    Ok(Read::Incoming(incoming))
}

/// Whether a broadcast in the namespace of `wire` may come by `channel`. With several patterns that
/// match, only the one of its own namespace counts.
fn belongs(wire: &Arc<Wire>, subscribed: Option<&str>, by_pattern: bool, channel: &str) -> bool {
    let is_pattern_of_another = by_pattern && subscribed != Some(&*wire.namespace);
    channel.starts_with(&wire.channels.main) && !is_pattern_of_another
}
