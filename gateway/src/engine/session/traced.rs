//! A session that somebody traces.

use protocol::engineio::{CloseReason, ProbeFailure, Transport};

use super::Session;
use crate::count::{Label, Upgraded};
use crate::trace::{Line, What};

impl Session {
    /// Whether a trace has to do with it: all that a session pays which nobody traces.
    pub(crate) fn is_traced(&self) -> bool {
        self.traced.get() != 0
    }

    /// The traces that have to do with it.
    pub(crate) fn traces(&self) -> u16 {
        self.traced.get()
    }

    /// These traces have to do with it from now on. Returns whether some of them had not before.
    pub(crate) fn begin_traces(&self, mask: u16) -> bool {
        let before = self.traced.get();
        self.traced.set(before | mask);
        before | mask != before
    }

    /// These traces have nothing to do with it any more.
    pub(crate) fn end_traces(&self, mask: u16) {
        self.traced.set(self.traced.get() & !mask);
    }

    /// Writes a line for each trace that has to do with it.
    #[cold]
    pub(crate) fn trace(&self, mut line: Line) {
        line.more.session = Some(self.log_name().to_string());
        self.shard.traces().write(self.traced.get(), &line);
    }

    #[cold]
    pub(super) fn trace_opened(&self) {
        let address = self.handshake.address();
        self.begin_traces(self.shard.traces().of_address(address.ip()));
        self.trace(Line::with(What::Opened, |more| {
            more.transport = Some(self.transport().name());
            more.address = Some(address.to_string());
        }));
    }

    #[cold]
    pub(super) fn trace_upgrade(&self, failure: Option<ProbeFailure>) {
        let what = match failure {
            None => What::Upgraded,
            Some(_) => What::UpgradeFailed,
        };
        self.trace(Line::with(what, |more| {
            more.transport = Some(self.transport().name());
            let reason = failure.map(|failure| Upgraded::Failed(failure).label());
            more.reason = reason.map(str::to_owned);
        }));
    }

    #[cold]
    pub(super) fn trace_closed(&self, transport: Transport, reason: CloseReason) {
        self.trace(Line::with(What::Closed, |more| {
            more.transport = Some(transport.name());
            more.address = Some(self.handshake.address().to_string());
            more.reason = Some(reason.label().to_owned());
        }));
    }
}
