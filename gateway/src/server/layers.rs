//! What decides about the clients of a node, layer above layer.
//!
//! ```text
//! guard      admits nobody while an application that panicked is away (`SocketIo`)
//! tokens     `Authenticated`, if the configuration wants tokens
//! innermost  the application that the library's user gives; else the backends of the
//!            configuration; else the relay
//! ```

use std::sync::Arc;

use super::StartError;
use super::error::keep;
use super::redis::{self, StreamTarget};
use crate::apps::auth::Authenticated;
use crate::apps::relay::Relay;
use crate::backend::event_stream::EventStream;
use crate::backend::webhook::WebhookApplication;
use crate::backend::webhook::client::Backends;
use crate::config::Config;
use crate::count::Export;
use crate::net::outbound::Outbound;
use crate::socketio::SocketIo;
use crate::socketio::application::Application;

/// The layers, and what some of them need beside the shards.
pub(super) struct Layers {
    pub(super) outermost: SocketIo,
    backends: Option<Arc<Backends>>,
    pub(super) stream: Option<StreamQueue>,
}

/// The queue of `backend.stream`, and who writes it to what.
pub(super) struct StreamQueue {
    pub(super) queue: Arc<EventStream>,
    pub(super) target: StreamTarget,
    pub(super) outbound: Arc<Outbound>,
}

impl Layers {
    /// Builds them from the innermost to the outermost. What is wrong goes to the errors; whatever can
    /// be looked at beside it is.
    pub(super) fn build(
        config: &Config,
        own: Option<Arc<dyn Application>>,
        errors: &mut Vec<StartError>,
    ) -> Option<Self> {
        let outbound = keep(errors, outbound(config)).flatten();
        // What is wrong with Redis is said already, and would be said once more.
        let is_wanted = own.is_none() && errors.is_empty();
        let stream = is_wanted.then(|| stream(config, outbound.as_ref()));
        let stream = stream.and_then(|stream| keep(errors, stream)).flatten();
        let queue = stream.as_ref().map(|stream| Arc::clone(&stream.queue));
        let (innermost, backends) = innermost(config, own, outbound.as_ref(), queue);
        let wrapped = Authenticated::wrap(innermost, config, outbound.as_ref());
        let authenticated = keep(errors, wrapped.map_err(StartError::from))?;
        Some(Self {
            outermost: SocketIo::new(authenticated, config),
            backends,
            stream,
        })
    }

    /// What has metrics of its own.
    pub(super) fn exports(&self) -> Arc<[Arc<dyn Export>]> {
        let backends = self.backends.iter().map(|it| Arc::clone(it) as _);
        let stream = self.stream.iter().map(|it| Arc::clone(&it.queue) as _);
        backends.chain(stream).collect()
    }
}

/// The application that asks none of the others.
fn innermost(
    config: &Config,
    own: Option<Arc<dyn Application>>,
    outbound: Option<&Arc<Outbound>>,
    queue: Option<Arc<EventStream>>,
) -> (Arc<dyn Application>, Option<Arc<Backends>>) {
    if let Some(own) = own {
        return (own, None);
    }
    match outbound.filter(|_| has_backend(config)) {
        Some(outbound) => {
            let application = WebhookApplication::new(config, Arc::clone(outbound), queue);
            let backends = application.backends().cloned();
            (Arc::new(application), backends)
        }
        None => (Arc::new(Relay::new(config)), None),
    }
}

/// The thread for requests to backends and to the issuer of tokens.
fn outbound(config: &Config) -> Result<Option<Arc<Outbound>>, StartError> {
    let is_needed = has_backend(config) || config.auth.jwks_url.is_some();
    let outbound = is_needed.then(|| Outbound::start(Some(&config.backend), &config.auth));
    Ok(outbound.transpose()?)
}

fn has_backend(config: &Config) -> bool {
    config.backend.webhook.is_some() || config.backend.stream.is_some()
}

fn stream(
    config: &Config,
    outbound: Option<&Arc<Outbound>>,
) -> Result<Option<StreamQueue>, StartError> {
    let (Some(redis), Some(key), Some(outbound)) =
        (&config.redis, &config.backend.stream, outbound)
    else {
        return Ok(None);
    };
    Ok(Some(StreamQueue {
        queue: Arc::default(),
        target: redis::stream(redis, key, config.backend.stream_length)?,
        outbound: Arc::clone(outbound),
    }))
}
