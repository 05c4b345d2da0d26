//! Requests that are being forwarded.

use std::cell::RefCell;
use std::net::SocketAddr;

use hyper::Uri;
use slab::Slab;

use super::pool::Owner;

/// The client that a forwarded request comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Client {
    pub(crate) address: SocketAddr,
    pub(crate) secure: bool,
}

/// A request on its way.
pub(crate) struct Passage {
    pub(crate) owner: Owner,
    pub(crate) client: Client,
    /// What a poll asks for; other requests are answered by themselves.
    pub(crate) poll: Option<Uri>,
}

/// The requests that a shard forwards.
#[derive(Default)]
pub(crate) struct Passages(RefCell<Slab<Passage>>);

impl Passages {
    pub(crate) fn add(&self, passage: Passage) -> usize {
        self.0.borrow_mut().insert(passage)
    }

    pub(crate) fn remove(&self, key: usize) {
        self.0.borrow_mut().try_remove(key);
    }

    pub(crate) fn len(&self) -> usize {
        self.0.borrow().len()
    }

    /// The polls, with who has to answer them.
    pub(crate) fn polls(&self) -> Vec<(Owner, Client, Uri)> {
        let passages = self.0.borrow();
        let polls = passages.iter().filter_map(|(_, passage)| {
            let target = passage.poll.clone()?;
            Some((passage.owner.clone(), passage.client, target))
        });
        polls.collect()
    }
}
