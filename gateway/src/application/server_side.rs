use std::sync::Arc;

use adapter::{Answer, ArgumentsBuf, EventBuf, ReplyTo};
use protocol::socketio::Arguments;
use serde::de::DeserializeOwned;

use crate::event::{EmitError, IntoArguments, OwnedArguments};
use crate::node::Gateway;

/// An event that another server of the cluster emitted to the servers themselves.
pub struct ServerSideEvent<'a> {
    namespace: &'a str,
    event: &'a EventBuf,
    ack: Option<ServerSideAck>,
}

impl<'a> ServerSideEvent<'a> {
    pub(crate) fn new(namespace: &'a str, event: &'a EventBuf, ack: Option<ServerSideAck>) -> Self {
        Self {
            namespace,
            event,
            ack,
        }
    }

    /// The namespace that it was emitted in.
    pub fn namespace(&self) -> &'a str {
        self.namespace
    }

    /// Its name.
    pub fn name(&self) -> &'a str {
        &self.event.name
    }

    /// Its arguments as they came.
    pub fn arguments(&self) -> Arguments<'a> {
        self.event.arguments.as_arguments()
    }

    /// Its arguments as a tuple, as [`Event::parse`](crate::event::Event::parse) does.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        OwnedArguments::from(self.arguments()).parse()
    }

    /// The answer that the other server waits for, if it does.
    pub fn take_ack(&mut self) -> Option<ServerSideAck> {
        self.ack.take()
    }
}

/// The answer that another server waits for. Dropped, it is never sent, and the other waits in vain
/// until its limit.
pub struct ServerSideAck {
    gateway: Gateway,
    namespace: Arc<str>,
    to: ReplyTo,
}

impl ServerSideAck {
    pub(crate) fn new(gateway: Gateway, namespace: Arc<str>, to: ReplyTo) -> Self {
        Self {
            gateway,
            namespace,
            to,
        }
    }

    /// Sends the answer: one value, or none.
    pub fn send(self, value: impl IntoArguments) -> Result<(), EmitError> {
        let value = ArgumentsBuf::from(value.into_arguments()?);
        if let Some(cluster) = self.gateway.node().cluster() {
            let answer = Answer::ServerSide(value);
            cluster
                .adapter()
                .respond(&self.namespace, &self.to, &answer);
        }
        Ok(())
    }
}
