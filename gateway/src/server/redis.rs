//! Joins the nodes by Redis.

use std::num::NonZeroUsize;
use std::sync::Arc;

use adapter::{Adapter, Inbox, NodeId, NodeTag};
use adapter_redis::wire::Format;
use adapter_redis::{RedisAdapter, RoomInterest, Servers, StreamWriter};

use super::StartError;
use crate::backend::event_stream::{Append, Appending, NotAppended, StreamEntry};
use crate::config::{Config, Redis, RedisInterest, RedisMode, StreamName};
use crate::net::trust::{client_config, without_tls};

/// What entries of `backend.stream` are written to.
pub(crate) type StreamTarget = StreamWriter;

fn wrong(error: impl std::fmt::Display) -> StartError {
    StartError::Redis(error.to_string())
}

fn servers(redis: &Redis) -> Result<Servers, StartError> {
    let servers: Servers = redis.url.expose().parse().map_err(wrong)?;
    if !servers.is_encrypted() {
        without_tls(&redis.trust, "redis", "rediss")?;
        return Ok(servers);
    }
    Ok(servers.trusting(Arc::new(client_config(&redis.trust, "redis")?)))
}

/// Whether a node can be joined to others by these settings, as far as that shows without a
/// connection.
pub(crate) fn check(redis: &Redis) -> Result<(), StartError> {
    RedisAdapter::check(&servers(redis)?).map_err(wrong)
}

/// Connects when the first entry is written.
pub(crate) fn stream(
    redis: &Redis,
    key: &StreamName,
    length: NonZeroUsize,
) -> Result<StreamTarget, StartError> {
    StreamWriter::new(&servers(redis)?, key.as_str(), length.get()).map_err(wrong)
}

impl Append for StreamWriter {
    fn append<'a>(&'a self, entries: &'a [StreamEntry]) -> Appending<'a> {
        let fields: Vec<_> = entries.iter().map(StreamEntry::fields).collect();
        Box::pin(async move {
            let appended = Self::append(self, &fields).await;
            appended.map_err(|error| NotAppended {
                reason: error.to_string(),
                is_refusal: error.is_refusal(),
            })
        })
    }
}

/// Starts to connect; that Redis is away now is no error.
pub(crate) fn start(
    config: &Config,
    redis: &Redis,
    (node, tag): (NodeId, NodeTag),
    address: String,
    inbox: Arc<dyn Inbox>,
) -> Result<Arc<dyn Adapter>, StartError> {
    let mut settings = adapter_redis::Config::new(servers(redis)?, node, tag);
    settings.prefix.clone_from(&redis.prefix);
    settings.format = match redis.mode {
        RedisMode::PubSub => Format::Classic {
            specific_responses: redis.specific_responses,
        },
        RedisMode::Sharded => Format::Sharded(redis.subscription_mode),
    };
    settings.address = address;
    settings.version = env!("CARGO_PKG_VERSION").to_owned();
    settings.private_patterns = redis.private_patterns;
    settings.interest = match redis.interest {
        RedisInterest::Rooms => RoomInterest::Members,
        RedisInterest::All => RoomInterest::All,
    };
    settings.limits.queue_bytes = redis.buffer_bytes;
    settings.limits.message_bytes = settings
        .limits
        .message_bytes
        .max(config.engine.max_payload.saturating_mul(2));
    let adapter = RedisAdapter::start(settings, inbox).map_err(wrong)?;
    Ok(Arc::new(adapter))
}
