//! A span as OTLP has it: `opentelemetry.proto.trace.v1.Span`, in protobuf.

use std::fmt::Display;
use std::io::Write;
use std::time::Duration;

use adapter::TraceContext;

use super::protobuf::{bytes, close, fixed32, fixed64, message, number, open};

/// Most bytes of a text of an attribute.
const MAX_TEXT: usize = 128;

/// The field of `ScopeSpans` that a span is.
const SPANS: u32 = 2;

/// What a span is to the programs beside this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Server = 2,
    Client = 3,
    Producer = 4,
    Consumer = 5,
}

/// When a span was.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    pub(super) took: Duration,
    /// From 1970 on.
    pub(super) end: Duration,
}

/// A span that is being written.
pub(crate) struct SpanBytes<'a> {
    to: &'a mut Vec<u8>,
    start: usize,
}

impl<'a> SpanBytes<'a> {
    pub(super) fn begin(
        to: &'a mut Vec<u8>,
        context: &TraceContext,
        parent: Option<[u8; 8]>,
        Times { took, end }: Times,
    ) -> Self {
        let start = open(to, SPANS);
        let nanos = |it: Duration| u64::try_from(it.as_nanos()).unwrap_or(u64::MAX);
        bytes(to, 1, &context.trace);
        bytes(to, 2, &context.span);
        if let Some(parent) = parent {
            bytes(to, 4, &parent);
        }
        fixed64(to, 7, nanos(end.saturating_sub(took)));
        fixed64(to, 8, nanos(end));
        fixed32(to, 16, u32::from(context.is_sampled));
        Self { to, start }
    }

    pub(super) fn named(&mut self, name: &dyn Display, kind: Kind, failure: Option<&str>) {
        message(self.to, 5, |to| {
            write!(to, "{name}").expect("a Vec takes everything");
        });
        number(self.to, 6, kind as u64);
        if let Some(reason) = failure {
            const ERROR: u64 = 2;
            self.text("error.type", reason);
            message(self.to, 15, |to| number(to, 3, ERROR));
        }
    }

    pub(super) fn end(self) {
        close(self.to, self.start);
    }

    /// An attribute that is a text; what is too much of it is left out.
    pub(crate) fn text(&mut self, name: &str, value: &str) {
        let end = value.floor_char_boundary(MAX_TEXT);
        attribute(self.to, 9, name, |to| {
            bytes(to, 1, &value.as_bytes()[..end])
        });
    }

    /// An attribute that is a number.
    pub(crate) fn number(&mut self, name: &str, value: u64) {
        attribute(self.to, 9, name, |to| number(to, 3, value));
    }

    /// It also has to do with another span.
    pub(crate) fn link(&mut self, context: &TraceContext) {
        message(self.to, 13, |to| {
            bytes(to, 1, &context.trace);
            bytes(to, 2, &context.span);
            fixed32(to, 6, u32::from(context.is_sampled));
        });
    }
}

fn attribute(to: &mut Vec<u8>, field: u32, name: &str, value: impl FnOnce(&mut Vec<u8>)) {
    message(to, field, |to| {
        bytes(to, 1, name.as_bytes());
        message(to, 2, value);
    });
}

/// `Resource`: the program, and the node.
pub(super) fn resource(node: &str) -> Vec<u8> {
    let mut resource = Vec::new();
    for (name, value) in [
        ("service.name", "gateway"),
        ("service.version", env!("CARGO_PKG_VERSION")),
        ("service.instance.id", node),
        ("telemetry.sdk.name", "gateway"),
        ("telemetry.sdk.language", "rust"),
        ("telemetry.sdk.version", env!("CARGO_PKG_VERSION")),
    ] {
        attribute(&mut resource, 1, name, |to| bytes(to, 1, value.as_bytes()));
    }
    resource
}

/// `InstrumentationScope`.
pub(super) fn scope() -> Vec<u8> {
    let mut scope = Vec::new();
    bytes(&mut scope, 1, b"gateway");
    bytes(&mut scope, 2, env!("CARGO_PKG_VERSION").as_bytes());
    scope
}
