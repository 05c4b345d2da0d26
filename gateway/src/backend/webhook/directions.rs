//! Where events go, as the settings in force say.

use std::sync::Arc;
use std::time::Duration;

use super::client::{Backend, Backends};
use crate::config::{self, HttpUrl, Route, Target};

/// Where events go. A reload makes others.
pub(crate) struct Directions {
    routes: Vec<(Route, Destination)>,
    /// Where those go that no route takes.
    main: Destination,
    /// How long a client waits for the stream.
    pub(super) timeout: Duration,
    /// Events of one socket that may share a request.
    pub(super) batch: usize,
}

/// Where an event goes.
#[derive(Clone)]
pub(super) enum Destination {
    /// To the stream, and to this backend, as far as there are any.
    Backend(Option<Arc<Backend>>),
    Relay,
    Nowhere,
}

impl Directions {
    /// `backends` if there is somebody to be asked over HTTP.
    pub(super) fn new(config: &config::Backend, backends: Option<&Backends>) -> Self {
        let asked = backends.zip(config.webhook.as_ref());
        let backend = |url: &HttpUrl| asked.map(|(backends, webhook)| backends.at(url, webhook));
        let of = |route: &Route| match &route.target {
            Target::Backend(url) => Destination::Backend(backend(url)),
            Target::Relay => Destination::Relay,
            Target::Nowhere => Destination::Nowhere,
        };
        let url = config.webhook.as_ref().map(|webhook| &webhook.url);
        let routes = config.routes.iter();
        Self {
            main: Destination::Backend(url.and_then(backend)),
            routes: routes.map(|route| (route.clone(), of(route))).collect(),
            timeout: config.timeout,
            batch: config.webhook.as_ref().map_or(1, |it| it.batch.get()),
        }
    }

    /// Where an event of a namespace goes.
    pub(super) fn of(&self, namespace: &str, event: &str) -> Destination {
        let mut routes = self.routes.iter();
        let taken = routes.find(|(route, _)| route.matches(namespace, event));
        taken.map_or(&self.main, |(_, to)| to).clone()
    }

    /// Where an event goes that concerns all namespaces: to all that get one of this name from any.
    pub(super) fn all_of(&self, event: &str) -> Vec<Destination> {
        let routes = self.routes.iter();
        let taken = routes.filter(|(route, _)| route.events.matches(event));
        let taken = taken.map(|(_, to)| to.clone());
        taken.chain([self.main.clone()]).collect()
    }
}
