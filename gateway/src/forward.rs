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
//! A node that stops asks the owners to answer the polls that it has forwarded (`release`).
//!
//! The owner never forwards what came by such a connection, so there are no loops. A request is sent
//! a second time only if nothing of it was written to the first connection, so nothing is delivered
//! twice.

use std::rc::Rc;

use http_body_util::Either;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use tracing::debug;

use crate::count::{Kind, Label, Outcome, Unknown};
use crate::engine::shard::Shard;
use crate::net::ids::Sid;
use crate::otel::{Ended, Kind as SpanKind};
use crate::peers::{Client, Failure, ForwardBody, InFlightGuard, Link, Owner, Passage, Tunnel};

pub(crate) use headers::{is_release, span_name, take_client, told_by_node};
pub(crate) use relayed::Relayed;
pub(crate) use release::take_leave;
pub(crate) use welcome::{IDLE_LIMIT, PeerHandshake};

mod headers;
mod relayed;
mod release;
mod welcome;

/// What the owner of a session answered.
pub(crate) enum Forwarded {
    /// What comes as it comes.
    Answer(Response<Relayed>),
    /// It switches protocols: behind this head bytes go both ways.
    Tunnel(Response<Relayed>, Tunnel),
}

/// Why a request was not answered by the owner of its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotForwarded {
    /// The session cannot be known, or not be reached.
    Unknown(Unknown),
    /// There are as many connections to its node as there may be.
    Limit,
}

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

/// Has the owner of a session answer a request.
pub(crate) async fn forward(
    shard: &Rc<Shard>,
    mut request: Request<Incoming>,
    client: Client,
    (kind, sid): (Kind, Sid),
) -> Result<Forwarded, NotForwarded> {
    let member = match shard.node().cluster() {
        Some(cluster) => cluster.member_or_newcomer(sid.node()).await,
        None => None,
    };
    let Some(member) = member else {
        return Err(NotForwarded::Unknown(why_unknown(shard, sid)));
    };
    let owner = Owner {
        member,
        shard: sid.shard(),
    };
    if shard.links().lacks(&owner) {
        return Err(NotForwarded::Unknown(Unknown::NeverIssued));
    }
    let mut counted = Counted {
        shard,
        kind,
        outcome: Outcome::GivenUp,
    };
    headers::address_to_owner(&mut request, kind, client);
    let begun = shard.otel().map(|otel| {
        let told = request.headers().get(headers::TRACE);
        otel.begin(otel.told_by_client(told.map(HeaderValue::as_bytes)))
    });
    if let Some(begun) = begun {
        headers::set_trace(request.headers_mut(), begun.context);
    }
    let passage = Passage {
        owner: owner.clone(),
        client,
        poll: (kind == Kind::Poll).then(|| request.uri().clone()),
    };
    let passing = shard.links().pass(passage);
    let request = request.map(Either::Left);
    let answered = answer(shard, &owner, request, passing).await;
    if let Some((otel, begun)) = shard.otel().zip(begun) {
        let ended = match &answered {
            Err(failure) => Ended::Badly(failure.outcome().label()),
            // It waits for packets as long as it may.
            Ok(_) if kind == Kind::Poll => Ended::Patiently,
            Ok(_) => Ended::Well,
        };
        otel.finish(begun, ended, span_name(kind), SpanKind::Client, |span| {
            span.text("gateway.owner", &owner.member.id.to_string());
        });
    }
    match answered {
        Ok(answer) => {
            counted.outcome = Outcome::Answered;
            Ok(answer)
        }
        Err(failure) => {
            counted.outcome = failure.outcome();
            debug!(target: "gateway::forward", node = %owner.member.id, address = %client.address, reason = failure.outcome().label(), "request not forwarded");
            Err(failure.into())
        }
    }
}

async fn answer(
    shard: &Rc<Shard>,
    owner: &Owner,
    request: Request<ForwardBody>,
    passing: InFlightGuard,
) -> Result<Forwarded, Failure> {
    let links = shard.links();
    let (link, answer) = links.send(owner, request).await?;
    if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
        let (head, _) = answer.into_parts();
        let head = Response::from_parts(head, Relayed::nothing());
        return Ok(Forwarded::Tunnel(head, link.into_tunnel().await?));
    }
    let closes = answer
        .headers()
        .get(CONNECTION)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"close"));
    let seat = owner.seat();
    let timeout = shard.limits().body_timeout;
    Ok(Forwarded::Answer(answer.map(|body| {
        let done = Box::new(move |link: Link| {
            if closes {
                link.finish_within(timeout);
            } else {
                links.give_back(seat, link);
            }
        });
        Relayed::new(body, link, done, passing)
    })))
}

impl From<Failure> for NotForwarded {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Unreachable | Failure::Lost => Self::Unknown(Unknown::Unreachable),
            Failure::Gone => Self::Unknown(Unknown::Gone),
            Failure::NeverIssued => Self::Unknown(Unknown::NeverIssued),
            Failure::Limit => Self::Limit,
        }
    }
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
