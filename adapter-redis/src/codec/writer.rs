use std::ops::{Deref, DerefMut};

use protocol::msgpack;

/// A writer of msgpack that knows what the messages on Redis are made of.
#[derive(Debug, Default)]
pub(crate) struct Writer(msgpack::Packer);

impl Writer {
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.0.into_bytes()
    }
}

impl Deref for Writer {
    type Target = msgpack::Packer;

    fn deref(&self) -> &msgpack::Packer {
        &self.0
    }
}

impl DerefMut for Writer {
    fn deref_mut(&mut self) -> &mut msgpack::Packer {
        &mut self.0
    }
}
