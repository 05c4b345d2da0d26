//! Requests that are being forwarded, and how a node that stops takes leave of them.
//!
//! A poll may be parked at its session's owner for as long as nothing happens. If the node that it
//! goes through ended meanwhile, the owner would take the client for gone, and close the session. So
//! the node asks the owner to answer such polls now; the client polls again, through another node.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use http_body_util::BodyExt;
use hyper::Uri;
use slab::Slab;

use super::headers::{self, Client};
use super::links::Owner;
use crate::shard::Shard;

/// How often the owners are asked: a poll may arrive there later than the request to answer it.
const ASK_AGAIN: Duration = Duration::from_millis(100);

/// How often somebody who waits for the end looks whether it is there.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// A request on its way.
pub(super) struct Passage {
    pub(super) owner: Owner,
    pub(super) client: Client,
    /// What a poll asks for; other requests are answered by themselves.
    pub(super) poll: Option<Uri>,
}

/// The requests that a shard forwards.
#[derive(Default)]
pub(super) struct Passages(RefCell<Slab<Passage>>);

impl Passages {
    pub(super) fn add(&self, passage: Passage) -> usize {
        self.0.borrow_mut().insert(passage)
    }

    pub(super) fn remove(&self, key: usize) {
        self.0.borrow_mut().try_remove(key);
    }

    pub(super) fn len(&self) -> usize {
        self.0.borrow().len()
    }

    /// The polls, with who has to answer them.
    fn polls(&self) -> Vec<(Owner, Client, Uri)> {
        let passages = self.0.borrow();
        let polls = passages.iter().filter_map(|(_, passage)| {
            let target = passage.poll.clone()?;
            Some((passage.owner.clone(), passage.client, target))
        });
        polls.collect()
    }
}

/// Has the owners answer the polls that go through this shard, and waits until nothing does any more,
/// at most `patience`.
pub(crate) async fn take_leave(shard: Rc<Shard>, patience: Duration) {
    let links = shard.links();
    let deadline = Instant::now() + patience;
    let mut asked = None::<Instant>;
    while links.passage_count() > 0 && Instant::now() < deadline {
        if asked.is_none_or(|asked| asked.elapsed() >= ASK_AGAIN) {
            asked = Some(Instant::now());
            for (owner, client, target) in links.passages().polls() {
                tokio::task::spawn_local(release(Rc::clone(&shard), owner, client, target));
            }
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// Asks one owner. A failure shows by the poll that stays, and it is asked again.
async fn release(shard: Rc<Shard>, owner: Owner, client: Client, target: Uri) {
    let links = shard.links();
    let request = headers::release(&target, client);
    if let Ok((link, answer)) = links.send(&shard, &owner, request).await
        && answer.into_body().collect().await.is_ok()
    {
        links.give_back(owner.seat(), link);
    }
}
