//! Requests for sessions of other nodes.
//!
//! A session's id names its node and shard. A request that lands elsewhere is forwarded there, so
//! that no balancer has to keep a client on one node. Each shard keeps connections to the shards of
//! other nodes. One of them lives like this:
//!
//! ```text
//!    this node                                            the owner
//!
//!    connecting --- TCP ----------------------------->    internal port
//!               --- which node and shard are meant -->
//!               <-- 401 and a challenge --------------    (only with cluster.secret)
//!               --- the same and a proof ------------>    checks it
//!               <-- 101 and a proof in return --------    hands the connection to the shard
//!        |                                                     |
//!        v                                                     v
//!      idle <------------------------------------------+     idle
//!        |  a request with a session's id              |       |
//!        v                                             |       v
//!      busy ---- the request, the client's address -->      serves it like a client's
//!        |  <--- its answer, passed on as it comes ----|       |
//!        +----- the answer is whole -------------------+       |
//!        +----- the answer is 101 --> tunnel: bytes go both ways until one side ends
//!        +----- the client left, or anything went wrong --> closed, which tells the owner
//! ```
//!
//! A node that stops asks the owners to answer the polls that it has forwarded (`passage`).
//!
//! The owner never forwards what came by such a connection, so there are no loops. A request is sent
//! a second time only if nothing of it was written to the first connection, so nothing is delivered
//! twice.

use std::cell::RefCell;
use std::rc::Rc;

use http_body_util::Either;
use hyper::body::Incoming;
use hyper::header::CONNECTION;
use hyper::{Method, Request, Response, StatusCode};
use tracing::debug;

use crate::http::{Next, Refusal};
use crate::ids::Sid;
use crate::shard::Shard;
use link::Passed;
use links::{Failure, Owner, Passing};
use passage::Passage;

pub(crate) use headers::{Client, is_release, take_client};
pub(crate) use links::Links;
pub(crate) use outcome::{Kind, Outcome, Unknown};
pub(crate) use passage::take_leave;
pub(crate) use relayed::Relayed;
pub(crate) use roll::Roll;
pub(crate) use tunnel::{Tunnel, run as run_tunnel};
pub(crate) use welcome::{Door, IDLE_LIMIT, PATH, let_in};

mod headers;
mod link;
mod links;
mod outcome;
mod passage;
mod proof;
mod relayed;
mod roll;
mod tunnel;
mod welcome;

/// Why this node knows no session of that id.
pub(crate) fn why_unknown(shard: &Shard, sid: Sid) -> Unknown {
    let node = shard.node();
    if sid.node() == node.tag() {
        return if sid.shard() < node.shard_count() {
            Unknown::Closed
        } else {
            Unknown::NeverIssued
        };
    }
    match node.cluster() {
        Some(cluster) if cluster.has_known(sid.node()) => Unknown::Gone,
        Some(_) | None => Unknown::NeverIssued,
    }
}

/// Has the owner of a session answer a request. `next` is set when the connection becomes a tunnel.
pub(crate) async fn forward(
    shard: &Rc<Shard>,
    mut request: Request<Incoming>,
    client: Client,
    (kind, sid): (Kind, Sid),
    next: &RefCell<Option<Next>>,
) -> Result<Response<Relayed>, Refusal> {
    let member = match shard.node().cluster() {
        Some(cluster) => cluster.member_or_newcomer(sid.node()).await,
        None => None,
    };
    let Some(member) = member else {
        return Err(Refusal::UnknownSid(why_unknown(shard, sid)));
    };
    let owner = Owner {
        member,
        shard: sid.shard(),
    };
    if shard.links().lacks(&owner) {
        return Err(Refusal::UnknownSid(Unknown::NeverIssued));
    }
    let mut counted = Counted {
        shard,
        kind,
        outcome: Outcome::GivenUp,
    };
    headers::address_to_owner(&mut request, kind, client);
    let passage = Passage {
        owner: owner.clone(),
        client,
        poll: (kind == Kind::Poll).then(|| request.uri().clone()),
    };
    let passing = shard.links().pass(shard, passage);
    let request = request.map(Either::Left);
    match answer(shard, &owner, request, passing, next).await {
        Ok(answer) => {
            counted.outcome = Outcome::Answered;
            Ok(answer)
        }
        Err(failure) => {
            counted.outcome = failure.outcome();
            debug!(target: "gateway::forward", node = %owner.member.id, address = %client.address, reason = failure.outcome().label(), "not forwarded");
            Err(failure.refusal())
        }
    }
}

async fn answer(
    shard: &Rc<Shard>,
    owner: &Owner,
    request: Request<Passed>,
    passing: Passing,
    next: &RefCell<Option<Next>>,
) -> Result<Response<Relayed>, Failure> {
    let links = shard.links();
    let (link, answer) = links.send(shard, owner, request).await?;
    if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
        let (head, _) = answer.into_parts();
        *next.borrow_mut() = Some(Next::Tunnel(link.into_tunnel().await?));
        return Ok(Response::from_parts(head, Relayed::nothing()));
    }
    let closes = answer
        .headers()
        .get(CONNECTION)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"close"));
    let seat = owner.seat();
    let timeout = shard.node().config().limits.body_timeout;
    Ok(answer.map(|body| {
        let done = Box::new(move |link: link::Link| {
            if closes {
                link.finish_within(timeout);
            } else {
                links.give_back(seat, link);
            }
        });
        Relayed::new(body, link, done, passing)
    }))
}

impl Kind {
    pub(crate) fn of<B>(request: &Request<B>, websocket: bool) -> Self {
        if websocket {
            Self::Upgrade
        } else if *request.method() == Method::GET {
            Self::Poll
        } else {
            Self::Post
        }
    }
}

/// Counts a forwarded request at its end. One whose client leaves ends without a word.
struct Counted<'a> {
    shard: &'a Shard,
    kind: Kind,
    outcome: Outcome,
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        let counters = self.shard.counters();
        counters.forwarded.of((self.kind, self.outcome)).increment();
    }
}
