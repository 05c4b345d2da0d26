//! Spans of what clients, emitters and broadcasts do.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use adapter::TraceContext;

use crate::count::{Label, Origin};
use crate::engine::node::Node;
use crate::engine::session::Session;
use crate::engine::shard::Shard;
use crate::otel::{self, Begun, Ended, Kind, Latency, Otel, SpanBytes};
use crate::socketio::application::Refusal;
use crate::socketio::arguments::EmitError;

/// What the messaging conventions call us.
const SYSTEM: &str = "socket.io";

/// A broadcast that a node delivers, in a trace that is sampled. Its span ends with the last shard.
pub(crate) struct Delivery {
    otel: Arc<Otel>,
    begun: Begun,
    namespace: Arc<str>,
    origin: Origin,
    recipients: AtomicU64,
}

impl Delivery {
    /// `trace` is what the broadcast carries. `None` if no span of it is wanted beforehand.
    pub(crate) fn of(
        node: &Node,
        trace: Option<TraceContext>,
        namespace: &Arc<str>,
        origin: Origin,
        since: Instant,
    ) -> Option<Box<Self>> {
        let otel = node.otel()?;
        let parent = trace.filter(|it| it.is_sampled)?;
        Some(Box::new(Self {
            begun: otel.begin_at(Some(parent), since),
            otel: Arc::clone(otel),
            namespace: Arc::clone(namespace),
            origin,
            recipients: AtomicU64::new(0),
        }))
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        let recipients = *self.recipients.get_mut();
        let of = (&*self.namespace, self.origin, recipients);
        self.otel.finish(
            self.begun,
            Ended::Patiently,
            "deliver",
            Kind::Consumer,
            |span| {
                describe_delivery(span, of);
            },
        );
    }
}

fn describe_delivery(
    span: &mut SpanBytes<'_>,
    (namespace, origin, recipients): (&str, Origin, u64),
) {
    span.text("messaging.system", SYSTEM);
    span.text("messaging.operation.type", "process");
    span.text("messaging.operation.name", "deliver");
    span.text("messaging.destination.name", namespace);
    span.text("gateway.origin", origin.label());
    span.number("gateway.recipients", recipients);
}

/// A shard has delivered a broadcast to so many, which took it so long.
#[inline]
pub(crate) fn delivered(
    shard: &Shard,
    delivery: Option<&Delivery>,
    of: (&str, Origin, u64),
    since: Instant,
    took: Duration,
) {
    let Some(otel) = shard.otel() else {
        return;
    };
    if let Some(delivery) = delivery {
        delivery.recipients.fetch_add(of.2, Ordering::Relaxed);
        otel.exemplify(Latency::Deliver, took, &delivery.begun.context);
    } else if since.elapsed() > otel.slow() {
        let begun = otel.begin_at(None, since);
        otel.finish(begun, Ended::Well, "deliver", Kind::Consumer, |span| {
            describe_delivery(span, of);
        });
    }
}

/// Publishes something as a part of what the calling code is a part of. `publish` gets what the event is to carry, if
/// its trace is sampled.
pub(crate) fn publishing<T>(
    node: &Node,
    (namespace, event): (&str, &str),
    publish: impl FnOnce(Option<TraceContext>) -> Result<T, EmitError>,
) -> Result<T, EmitError> {
    let Some(otel) = node.otel() else {
        return publish(None);
    };
    let begun = otel.begin(otel::current());
    let published = publish(Some(begun.context).filter(|it| it.is_sampled));
    let ended = match &published {
        Err(EmitError::Overloaded) => Ended::Badly("overloaded"),
        Ok(_) | Err(_) => Ended::Well,
    };
    otel.finish(begun, ended, "publish", Kind::Producer, |span| {
        span.text("messaging.system", SYSTEM);
        span.text("messaging.operation.type", "send");
        span.text("messaging.operation.name", "publish");
        span.text("messaging.destination.name", namespace);
        span.text("gateway.event", event);
    });
    published
}

/// What became of a connect.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Connected<'a> {
    Accepted,
    Refused(&'a Refusal),
    /// The client went before the application decided.
    Gone,
}

impl Connected<'_> {
    fn name(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Refused(_) => "refused",
            Self::Gone => "gone",
        }
    }
}

impl Session {
    /// The application decided about a connect, or there is nothing to decide any more.
    pub(crate) fn finish_connect(&self, begun: Begun, namespace: &str, outcome: Connected<'_>) {
        let Some(otel) = self.shard().otel() else {
            return;
        };
        // Any client can have itself refused, but not for now.
        let ended = match outcome {
            Connected::Refused(Refusal { for_now: true, .. }) => Ended::Badly("refused_for_now"),
            Connected::Refused(_) | Connected::Accepted | Connected::Gone => Ended::Well,
        };
        otel.finish(begun, ended, "connect", Kind::Server, |span| {
            span.text("gateway.namespace", namespace);
            span.text("gateway.transport", self.transport().name());
            span.text("gateway.outcome", outcome.name());
        });
    }

    /// The application handled an event; its name may be known no more.
    #[inline]
    pub(crate) fn finish_event(&self, begun: Begun, namespace: &str, event: Option<&str>) {
        let Some(otel) = self.shard().otel() else {
            return;
        };
        otel.finish(begun, Ended::Well, "event", Kind::Server, |span| {
            span.text("gateway.namespace", namespace);
            span.text("gateway.transport", self.transport().name());
            if let Some(event) = event {
                span.text("gateway.event", event);
            }
        });
    }
}
