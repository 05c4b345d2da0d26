//! What decides about the clients of a node, layer above layer.
//!
//! ```text
//! guard      admits nobody while an application that panicked is away (`SocketIo`)
//! admin      `Admin`, which has the namespace `/admin`, if the configuration wants an admin page
//! tokens     `Authenticated`, if the configuration wants tokens
//! innermost  the application that the library's user gives; else the backends of the
//!            configuration; else the relay
//! ```

use std::sync::Arc;

use super::StartError;
use super::error::keep;
use super::redis::{self, StreamTarget};
use crate::apps::admin::{self, Admin};
use crate::apps::auth::{Authenticated, Rules};
use crate::apps::relay::Relay;
use crate::backend::event_stream::EventStream;
use crate::backend::webhook::WebhookApplication;
use crate::backend::webhook::client::Backends;
use crate::config::Config;
use crate::count::Export;
use crate::net::outbound::{Clients, Outbound};
use crate::socketio::SocketIo;
use crate::socketio::application::Application;

/// The layers, and what some of them need beside the shards.
pub(super) struct Layers {
    pub(super) outermost: SocketIo,
    backends: Option<Arc<Backends>>,
    pub(super) stream: Option<StreamQueue>,
    pub(super) changing: Changing,
}

/// The layers that a reload changes.
#[derive(Default)]
pub(super) struct Changing {
    outbound: Option<Arc<Outbound>>,
    webhook: Option<WebhookApplication>,
    tokens: Option<Authenticated>,
    admin: Option<Admin>,
}

/// What the layers become by a reload; nothing can fail any more.
pub(super) struct Changed {
    clients: Option<Clients>,
    rules: Option<Rules>,
    admin: Option<admin::Rules>,
}

impl Changing {
    /// The thread for requests to others, if there is one.
    pub(super) fn outbound(&self) -> Option<&Arc<Outbound>> {
        self.outbound.as_ref()
    }

    /// Who asks backends, if anybody does.
    pub(super) fn webhook(&self) -> Option<&WebhookApplication> {
        self.webhook.as_ref()
    }

    /// Makes all that other settings need.
    pub(super) fn prepare(&self, config: &Config) -> Result<Changed, StartError> {
        let clients = |_| Clients::new(Some(&config.backend), &config.auth, config.otel.as_ref());
        let clients = self.outbound.as_ref().map(clients).transpose()?;
        let rules = |it: &Authenticated| it.prepare(config, self.outbound.as_ref());
        let rules = self.tokens.as_ref().map(rules).transpose()?.flatten();
        let admin = self.admin.as_ref().and_then(|it| it.prepare(config));
        Ok(Changed {
            clients,
            rules,
            admin,
        })
    }

    /// Has them count from now on.
    pub(super) fn take_over(&self, config: &Config, changed: Changed) {
        if let Some((outbound, clients)) = self.outbound.as_ref().zip(changed.clients) {
            outbound.take_over(clients);
        }
        if let Some((tokens, rules)) = self.tokens.as_ref().zip(changed.rules) {
            tokens.take_over(rules);
        }
        if let Some((admin, rules)) = self.admin.as_ref().zip(changed.admin) {
            admin.take_over(rules);
        }
        if let Some(webhook) = &self.webhook {
            webhook.take_over(&config.backend);
        }
    }
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
        let (innermost, webhook) = innermost(config, own, outbound.as_ref(), queue);
        let tokens = Authenticated::wrap(&innermost, config, outbound.as_ref());
        let tokens = keep(errors, tokens.map_err(StartError::from))?;
        let authenticated = match tokens.clone() {
            Some(tokens) => Arc::new(tokens),
            None => innermost,
        };
        let admin = Admin::wrap(&authenticated, config).map_err(StartError::Thread);
        let admin = keep(errors, admin)?;
        let outermost: Arc<dyn Application> = match admin.clone() {
            Some(admin) => Arc::new(admin),
            None => authenticated,
        };
        Some(Self {
            outermost: SocketIo::new(outermost, config),
            backends: webhook.as_ref().and_then(|it| it.backends().cloned()),
            stream,
            changing: Changing {
                outbound,
                webhook,
                tokens,
                admin,
            },
        })
    }

    /// The admin page, if there is one.
    pub(super) fn admin(&self) -> Option<&Admin> {
        self.changing.admin.as_ref()
    }

    /// What has metrics of its own.
    pub(super) fn exports(&self) -> Arc<[Arc<dyn Export>]> {
        let backends = self.backends.iter().map(|it| Arc::clone(it) as _);
        let stream = self.stream.iter().map(|it| Arc::clone(&it.queue) as _);
        let admin = self.admin().map(|it| Arc::new(it.clone()) as _);
        backends.chain(stream).chain(admin).collect()
    }
}

/// The application that asks none of the others.
fn innermost(
    config: &Config,
    own: Option<Arc<dyn Application>>,
    outbound: Option<&Arc<Outbound>>,
    queue: Option<Arc<EventStream>>,
) -> (Arc<dyn Application>, Option<WebhookApplication>) {
    if let Some(own) = own {
        return (own, None);
    }
    match outbound.filter(|_| has_backend(config)) {
        Some(outbound) => {
            let application = WebhookApplication::new(config, Arc::clone(outbound), queue);
            (Arc::new(application.clone()), Some(application))
        }
        None => (Arc::new(Relay::new(config)), None),
    }
}

/// The thread for requests to backends, to the issuer of tokens, and to the collector of spans.
fn outbound(config: &Config) -> Result<Option<Arc<Outbound>>, StartError> {
    let is_needed = has_backend(config) || config.auth.jwks_url.is_some() || config.otel.is_some();
    let start = || Outbound::start(Some(&config.backend), &config.auth, config.otel.as_ref());
    let outbound = is_needed.then(start);
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
