//! A program without the feature `webtransport`, whose configuration cannot ask for it.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use super::error::StartError;
use crate::config::Config;
use crate::engine::node::Node;
use crate::net::tls::Certificate;

pub(super) fn certificate(_config: &Config) -> Result<Option<Certificate>, StartError> {
    Ok(None)
}

pub(super) struct Entrance(Infallible);

impl Entrance {
    pub(super) fn open(
        _config: &Config,
        _certificate: &Certificate,
    ) -> Result<Option<Self>, StartError> {
        Ok(None)
    }

    pub(super) async fn serve(self, _node: &Arc<Node>) -> Result<Serving, StartError> {
        match self.0 {}
    }
}

pub(super) struct Serving(Infallible);

impl Serving {
    pub(super) fn address(&self) -> SocketAddr {
        match self.0 {}
    }

    pub(super) async fn end(self) {
        match self.0 {}
    }
}
