use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use adapter::{Answer, ArgumentsBuf, EventBuf, ReplyTo};
use protocol::socketio::Arguments;
use serde::de::DeserializeOwned;

use crate::socketio::arguments::{EmitError, IntoArguments, OwnedArguments};
use crate::socketio::gateway::Gateway;

/// An event that another server of the cluster emitted to the servers themselves.
///
/// ```
/// use gateway::application::ServerSideEvent;
///
/// fn reload(mut event: ServerSideEvent<'_>) {
///     if event.name() == "reload" {
///         let done = event.parse::<(String,)>().is_ok();
///         if let Some(ack) = event.take_ack() {
///             ack.send((done,)).ok();
///         }
///     }
/// }
/// ```
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

    /// Its arguments as a tuple, as [`Event::parse`](crate::socketio::event::Event::parse) does.
    ///
    /// # Errors
    ///
    /// Arguments that are missing, or of other types than the tuple has.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        OwnedArguments::from(self.arguments()).parse()
    }

    /// The answer that the other server waits for, if it does.
    pub fn take_ack(&mut self) -> Option<ServerSideAck> {
        self.ack.take()
    }
}

/// The answer that another server waits for. Dropped, it says that there is no value: servers wait
/// for as many answers as there are servers, so that one that has nothing to say must say so.
#[derive(Clone)]
pub struct ServerSideAck(Arc<Awaited>);

/// An answer that is sent once, at the latest when nobody can give another one any more.
struct Awaited {
    gateway: Gateway,
    namespace: Arc<str>,
    to: ReplyTo,
    is_sent: AtomicBool,
}

impl ServerSideAck {
    pub(crate) fn new(gateway: Gateway, namespace: Arc<str>, to: ReplyTo) -> Self {
        Self(Arc::new(Awaited {
            gateway,
            namespace,
            to,
            is_sent: AtomicBool::new(false),
        }))
    }

    /// Sends the answer: one value, or none.
    ///
    /// # Errors
    ///
    /// The value cannot be written as JSON, or is nested too deep.
    pub fn send(self, value: impl IntoArguments) -> Result<(), EmitError> {
        self.0.send(value.into_arguments()?.into());
        Ok(())
    }
}

impl Awaited {
    fn send(&self, value: ArgumentsBuf) {
        if self.is_sent.swap(true, Ordering::Relaxed) {
            return;
        }
        if let Some(cluster) = self.gateway.node().cluster() {
            let answer = Answer::ServerSide(value);
            cluster
                .adapter()
                .respond(&self.namespace, &self.to, &answer);
        }
    }
}

impl Drop for Awaited {
    fn drop(&mut self) {
        self.send(ArgumentsBuf::default());
    }
}
