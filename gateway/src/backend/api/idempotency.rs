//! Calls that carry an `Idempotency-Key` are done once; who repeats one gets the first answer.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use ring::digest::{SHA256, digest};

use super::ApiError;
use crate::count::Code;

/// How long an answer is remembered.
const TTL: Duration = Duration::from_secs(600);

/// Most answers that are remembered.
const MAX_ANSWERS: usize = 10_000;

/// Most bytes of them.
const MAX_BYTES: usize = 16 * 1024 * 1024;

/// What an answer takes beside its text.
const OVERHEAD: usize = 256;

/// Longest key.
const MAX_KEY: usize = 255;

/// The answers of a node.
#[derive(Default)]
pub(super) struct Memory(Mutex<Answers>);

#[derive(Default)]
struct Answers {
    by_key: HashMap<Box<[u8]>, Entry>,
    /// Keys from the oldest on, with their entry's number.
    order: VecDeque<(Box<[u8]>, u64)>,
    bytes: usize,
    last: u64,
}

struct Entry {
    number: u64,
    /// Of path and body.
    digest: Box<[u8]>,
    /// `None` while the call is under way.
    answer: Option<Bytes>,
    since: Instant,
}

/// What is known about a key.
pub(super) enum Claim<'a> {
    Known(Bytes),
    New(Turn<'a>),
}

/// The right to do a call. Dropped, the key is free again.
pub(super) struct Turn<'a> {
    memory: &'a Memory,
    key: Box<[u8]>,
    number: u64,
}

impl Memory {
    pub(super) fn claim(&self, key: &[u8], path: &str, body: &[u8]) -> Result<Claim<'_>, ApiError> {
        let plain = key.iter().all(u8::is_ascii_graphic);
        if key.is_empty() || key.len() > MAX_KEY || !plain {
            let message = format!("an idempotency key has 1 to {MAX_KEY} visible ASCII characters");
            return Err(ApiError::bad(message));
        }
        let of = [path.as_bytes(), b"\n", body].concat();
        let digest: Box<[u8]> = digest(&SHA256, &of).as_ref().into();
        let now = Instant::now();
        let mut answers = self.lock();
        answers.forget_old(now);
        match answers.by_key.get(key) {
            Some(entry) if entry.digest != digest => Err(ApiError::new(
                Code::IdempotencyConflict,
                "the idempotency key was used for another call",
            )),
            Some(Entry { answer: None, .. }) => Err(ApiError::new(
                Code::InProgress,
                "the call of this idempotency key is under way",
            )),
            Some(Entry {
                answer: Some(answer),
                ..
            }) => Ok(Claim::Known(answer.clone())),
            None => {
                let number = answers.begin(key, digest, now);
                Ok(Claim::New(Turn {
                    memory: self,
                    key: key.into(),
                    number,
                }))
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Answers> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Answers {
    fn begin(&mut self, key: &[u8], digest: Box<[u8]>, now: Instant) -> u64 {
        self.last += 1;
        let entry = Entry {
            number: self.last,
            digest,
            answer: None,
            since: now,
        };
        self.bytes += OVERHEAD;
        self.by_key.insert(key.into(), entry);
        self.order.push_back((key.into(), self.last));
        self.last
    }

    fn forget_old(&mut self, now: Instant) {
        while let Some((key, number)) = self.order.front() {
            let entry = self.by_key.get(key).filter(|entry| entry.number == *number);
            let full = self.order.len() > MAX_ANSWERS || self.bytes > MAX_BYTES;
            let old = entry.is_none_or(|entry| now.duration_since(entry.since) >= TTL);
            if !full && !old {
                return;
            }
            if let Some((key, number)) = self.order.pop_front() {
                self.remove(&key, number);
            }
        }
    }

    fn remove(&mut self, key: &[u8], number: u64) {
        if self
            .by_key
            .get(key)
            .is_some_and(|entry| entry.number == number)
            && let Some(entry) = self.by_key.remove(key)
        {
            self.bytes -= OVERHEAD + entry.answer.map_or(0, |answer| answer.len());
        }
    }
}

impl Turn<'_> {
    /// Remembers the answer.
    pub(super) fn keep(self, answer: Bytes) {
        let mut answers = self.memory.lock();
        if let Some(entry) = answers.by_key.get_mut(&self.key)
            && entry.number == self.number
        {
            let size = answer.len();
            entry.answer = Some(answer);
            answers.bytes += size;
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut answers = self.memory.lock();
        let unanswered = |entry: &Entry| entry.number == self.number && entry.answer.is_none();
        if answers.by_key.get(&self.key).is_some_and(unanswered) {
            answers.remove(&self.key, self.number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(claimed: Result<Claim<'_>, ApiError>) -> Option<Code> {
        claimed.err().map(|error| error.code())
    }

    #[test]
    fn a_call_is_done_once() {
        let memory = Memory::default();
        let Ok(Claim::New(turn)) = memory.claim(b"k", "emit", b"{}") else {
            panic!("the key is new");
        };
        assert_eq!(
            code(memory.claim(b"k", "emit", b"{}")),
            Some(Code::InProgress)
        );
        turn.keep(Bytes::from_static(b"done"));
        let again = memory.claim(b"k", "emit", b"{}");
        assert!(matches!(again, Ok(Claim::Known(answer)) if answer == "done"));
        let other = memory.claim(b"k", "emit", b"{ }");
        assert_eq!(code(other), Some(Code::IdempotencyConflict));
        assert_eq!(code(memory.claim(b"", "emit", b"")), Some(Code::BadRequest));
    }

    #[test]
    fn a_call_that_failed_can_be_tried_again() {
        let memory = Memory::default();
        drop(memory.claim(b"k", "emit", b"1").ok());
        assert!(matches!(
            memory.claim(b"k", "emit", b"2"),
            Ok(Claim::New(_))
        ));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let memory = Memory::default();
        for number in 0..MAX_ANSWERS + 100 {
            let key = number.to_string();
            let Ok(Claim::New(turn)) = memory.claim(key.as_bytes(), "emit", b"") else {
                panic!("the key is new");
            };
            turn.keep(Bytes::from_static(b"{}"));
        }
        let answers = memory.lock();
        assert!(answers.by_key.len() <= MAX_ANSWERS + 1 && answers.order.len() <= MAX_ANSWERS + 1);
        let bytes = answers.by_key.len() * (OVERHEAD + 2);
        assert_eq!(answers.bytes, bytes);
    }
}
