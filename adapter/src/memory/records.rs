//! Records that nodes of one process keep together.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::{Draft, Record, Records, RecordsError, RecordsFuture, RecordsMark};

/// Records in memory.
#[derive(Debug, Clone, Default)]
pub(super) struct MemoryRecords(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    records: BTreeMap<String, Record>,
    newest: u64,
    is_away: bool,
}

impl MemoryRecords {
    /// Loses all records, as a server does that is emptied.
    pub(super) fn clear(&self) {
        let mut state = self.state();
        state.records.clear();
        state.newest = 0;
    }

    /// Cannot be reached from now on, or can again.
    pub(super) fn set_away(&self, is_away: bool) {
        self.state().is_away = is_away;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer<T: Send + 'static>(&self, answer: impl FnOnce(&mut State) -> T) -> RecordsFuture<T> {
        let mut state = self.state();
        let answer = match state.is_away {
            true => Err(RecordsError::Away("no connection".to_owned())),
            false => Ok(answer(&mut state)),
        };
        Box::pin(std::future::ready(answer))
    }
}

impl Records for MemoryRecords {
    fn write(&self, draft: Draft) -> RecordsFuture<(Record, u64)> {
        self.answer(|state| {
            let now = now();
            state.newest = now.max(state.newest + 1).max(draft.above + 1);
            let lasts = |it: std::time::Duration| u64::try_from(it.as_millis()).unwrap_or(u64::MAX);
            let record = Record {
                name: draft.name,
                stamp: state.newest,
                until: draft.lasts.map(|it| now.saturating_add(lasts(it))),
                body: draft.body,
            };
            state.records.insert(record.name.clone(), record.clone());
            (record, now)
        })
    }

    fn mark(&self) -> RecordsFuture<RecordsMark> {
        self.answer(|state| RecordsMark {
            newest: state.newest,
            count: state.records.len(),
            now: now(),
        })
    }

    fn read(&self) -> RecordsFuture<Vec<Record>> {
        self.answer(|state| state.records.values().cloned().collect())
    }

    fn restore(&self, records: Vec<Record>) -> RecordsFuture<()> {
        self.answer(|state| {
            for record in records {
                let known = state.records.get(&record.name);
                if known.is_none_or(|it| it.stamp < record.stamp) {
                    state.newest = state.newest.max(record.stamp);
                    state.records.insert(record.name.clone(), record);
                }
            }
        })
    }

    fn strike(&self, names: Vec<String>) -> RecordsFuture<()> {
        self.answer(|state| {
            let now = now();
            for name in names {
                let over = |it: &Record| it.until.is_some_and(|until| until <= now);
                if state.records.get(&name).is_some_and(over) {
                    state.records.remove(&name);
                }
            }
        })
    }
}

pub(super) fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |it| u64::try_from(it.as_millis()).unwrap_or(u64::MAX))
}
