//! Requests that are being forwarded, and how a node that stops takes leave of them.
//!
//! A poll may be parked at its session's owner for as long as nothing happens. If the node that it
//! goes through ended meanwhile, the owner would take the client for gone, and close the session. So
//! the node asks the owner to answer such polls now; the client polls again, through another node.

use std::rc::Rc;
use std::time::{Duration, Instant};

use http_body_util::BodyExt;
use hyper::Uri;

use super::headers;
use crate::peers::{Client, Links, Owner};

/// How often the owners are asked: a poll may arrive there later than the request to answer it.
const ASK_AGAIN: Duration = Duration::from_millis(100);

/// How often somebody who waits for the end looks whether it is there.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// Has the owners answer the polls that go through this shard, and waits until nothing does any more,
/// at most `patience`.
pub(crate) async fn take_leave(links: Rc<Links>, patience: Duration) {
    let deadline = Instant::now() + patience;
    let mut asked = None::<Instant>;
    while links.passage_count() > 0 && Instant::now() < deadline {
        if asked.is_none_or(|asked| asked.elapsed() >= ASK_AGAIN) {
            asked = Some(Instant::now());
            for (owner, client, target) in links.passages().polls() {
                tokio::task::spawn_local(release(Rc::clone(&links), owner, client, target));
            }
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// Asks one owner. A failure shows by the poll that stays, and it is asked again.
async fn release(links: Rc<Links>, owner: Owner, client: Client, target: Uri) {
    let request = headers::release(&target, client);
    if let Ok((link, answer)) = links.send(&owner, request).await
        && answer.into_body().collect().await.is_ok()
    {
        links.give_back(owner.seat(), link);
    }
}
