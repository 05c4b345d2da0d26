//! Who is there, as one process knows it: of nodes that are joined within it, or of the only node.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::records::now;
use crate::presence::{Found, Ledger, Lookup, Notices, PresenceStore, Receipt, Statement, Take};
use crate::{RecordsError, RecordsFuture};

/// A [`Ledger`] in memory. Cloning shares it.
#[derive(Debug, Clone, Default)]
pub struct MemoryPresence(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    ledger: Ledger,
    is_away: bool,
}

impl MemoryPresence {
    /// Loses everything, as a server does that is emptied.
    pub(super) fn clear(&self) {
        self.state().ledger = Ledger::default();
    }

    /// Cannot be reached from now on, or can again.
    pub(super) fn set_away(&self, is_away: bool) {
        self.state().is_away = is_away;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer<T: Send + 'static>(&self, answer: impl FnOnce(&mut Ledger) -> T) -> RecordsFuture<T> {
        let mut state = self.state();
        let answer = match state.is_away {
            true => Err(RecordsError::Away("no connection".to_owned())),
            false => Ok(answer(&mut state.ledger)),
        };
        Box::pin(std::future::ready(answer))
    }
}

impl PresenceStore for MemoryPresence {
    fn call(&self, call: Statement) -> RecordsFuture<Receipt> {
        self.answer(|ledger| ledger.call(&call, now()))
    }

    fn take(&self, take: Take) -> RecordsFuture<Option<Notices>> {
        self.answer(|ledger| ledger.take(&take, now()))
    }

    fn page(&self, page: Lookup) -> RecordsFuture<Found> {
        self.answer(|ledger| ledger.page(&page))
    }
}
