//! The buffer that all connections of a shard are read into, one after the other.

use std::cell::Cell;

/// Bytes of it.
const SCRATCH_BYTES: usize = 64 * 1024;

/// A place for the buffer while nobody reads.
#[derive(Default)]
pub(crate) struct Scratch(Cell<Option<Box<[u8]>>>);

impl Scratch {
    /// The buffer; to be given back.
    pub(crate) fn take(&self) -> Box<[u8]> {
        self.0
            .take()
            .unwrap_or_else(|| vec![0; SCRATCH_BYTES].into())
    }

    pub(crate) fn give_back(&self, buffer: Box<[u8]>) {
        self.0.set(Some(buffer));
    }
}
