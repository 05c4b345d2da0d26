//! What spans of a session are a part of.
//!
//! If its client told a trace when it opened the session, the spans of its first minutes are in that trace:
//!
//! ```text
//!   the client's span <- connect <- event, and what that leads to
//! ```
//!
//! The id of `connect` follows from what else is known of the session, so that nothing has to be kept for it.
//! Otherwise each connect and each event begins a trace of its own.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use adapter::{TraceContext, trace_state};

use super::Session;
use crate::otel::Begun;

/// For how long after the session was opened events are in the trace that its client told. Traces without an end are
/// of no use to anybody.
const TOLD_TRACE: Duration = Duration::from_secs(300);

impl Session {
    /// What its client told when it opened the session.
    fn told_context(&self) -> Option<TraceContext> {
        let is_sampled = self.told_trace?;
        let told = TraceContext::parse(self.handshake.header("traceparent")?)?;
        Some(TraceContext { is_sampled, ..told })
    }

    /// What its client told beside that, for those that `context` is passed on to.
    pub(crate) fn trace_state(&self, context: &TraceContext) -> Option<String> {
        let told = self.told_context()?;
        if told.trace != context.trace {
            return None;
        }
        let headers = self.handshake.headers();
        trace_state(headers.filter_map(|(name, value)| (name == "tracestate").then_some(value)))
    }

    /// The span of its connect to a namespace, as a part of what its client told.
    fn connect_context(&self, told: TraceContext, namespace: &str) -> TraceContext {
        let (name, tag) = (self.log_name(), self.shard.node().tag());
        let known = [
            &told.trace[..],
            &told.span,
            tag.as_str().as_bytes(),
            &name.shard.to_be_bytes(),
            &name.number.to_be_bytes(),
            namespace.as_bytes(),
        ];
        // FNV-1a of 64 bits.
        let bytes = known.into_iter().flatten();
        let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
        TraceContext {
            span: hash.max(1).to_be_bytes(),
            ..told
        }
    }

    /// Its client asks to connect to a namespace. `None` if there are no spans.
    pub(crate) fn begin_connect(&self, namespace: &str) -> Option<Begun> {
        let otel = self.shard.otel()?;
        Some(match self.told_context() {
            Some(told) => otel.begin_as(self.connect_context(told, namespace), told),
            None => otel.begin(None),
        })
    }

    /// Its client sent an event to a namespace. `None` if there are no spans.
    #[inline]
    pub(crate) fn begin_event(&self, namespace: &str) -> Option<Begun> {
        let otel = self.shard.otel()?;
        let told = self.told_trace.and_then(|_| self.fresh_context());
        Some(otel.begin(told.map(|told| self.connect_context(told, namespace))))
    }

    /// What its client told, if that was not long ago.
    fn fresh_context(&self) -> Option<TraceContext> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
        let opened = Duration::from_millis(self.handshake.issued());
        let told = self.told_context()?;
        (now.saturating_sub(opened) < TOLD_TRACE).then_some(told)
    }
}
