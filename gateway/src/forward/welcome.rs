//! The owner's end: other nodes ask at the internal port to forward requests.

use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONNECTION, HeaderMap, HeaderName, HeaderValue, UPGRADE};
use hyper::{Request, Response, StatusCode};
use tracing::{debug, warn};

use crate::engine::node::Node;
use crate::peers::proof::{
    CHALLENGE, NONCE, PROOF, PROTOCOL, SHARD, SHARDS, Side, TAG, Terms, draw,
};

/// How long a connection may be idle; longer than the other node keeps it so.
pub(crate) const IDLE_LIMIT: Duration = Duration::from_secs(60);

/// What one connection to the internal port is asked and told.
pub(crate) struct PeerHandshake {
    peer: SocketAddr,
    challenge: String,
    /// The shard that it goes to, once it was let in.
    opened: OnceLock<usize>,
}

impl PeerHandshake {
    pub(crate) fn new(peer: SocketAddr) -> Self {
        Self {
            peer,
            challenge: draw(),
            opened: OnceLock::new(),
        }
    }

    /// Who connected.
    pub(crate) fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// The shard that the connection goes to now that it switches protocols.
    pub(crate) fn opened(&self) -> Option<usize> {
        self.opened.get().copied()
    }

    /// Answers a node that asks to forward requests.
    pub(crate) fn answer<B>(&self, node: &Node, request: &Request<B>) -> Response<Full<Bytes>> {
        let mut answer = Response::new(Full::new(Bytes::new()));
        *answer.status_mut() = self.judge(node, request.headers(), answer.headers_mut());
        answer
    }

    fn judge(&self, node: &Node, asked: &HeaderMap, told: &mut HeaderMap) -> StatusCode {
        if node.cluster().is_none() {
            return StatusCode::NOT_FOUND;
        }
        let of = |name: HeaderName| asked.get(name).and_then(|value| value.to_str().ok());
        let (Some(PROTOCOL), Some(tag), Some(shard), Some(nonce)) = (
            of(UPGRADE),
            of(TAG),
            of(SHARD).and_then(|shard| shard.parse().ok()),
            of(NONCE),
        ) else {
            return StatusCode::BAD_REQUEST;
        };
        if tag != node.tag().as_str() {
            return StatusCode::MISDIRECTED_REQUEST;
        }
        // Ids of sessions can be made up, and so can the shards that they name.
        told.insert(SHARDS, HeaderValue::from(node.shard_count()));
        if shard >= node.shard_count() {
            return StatusCode::MISDIRECTED_REQUEST;
        }
        let terms = Terms {
            nonce,
            challenge: &self.challenge,
            tag,
            shard,
        };
        match (&node.config().cluster.secret, of(PROOF)) {
            (None, _) if self.peer.ip().is_loopback() => {}
            (Some(_), None) => {
                insert(told, CHALLENGE, &self.challenge);
                return StatusCode::UNAUTHORIZED;
            }
            (Some(secret), Some(proof)) if terms.verify(Side::Asking, secret, proof.as_bytes()) => {
                insert(told, PROOF, &terms.prove(Side::Welcoming, secret));
            }
            (Some(_), Some(_)) | (None, _) => {
                refuse_stranger(node, self.peer);
                insert(told, CONNECTION, "close");
                return StatusCode::FORBIDDEN;
            }
        }
        insert(told, CONNECTION, "Upgrade");
        insert(told, UPGRADE, PROTOCOL);
        let _once = self.opened.set(shard);
        StatusCode::SWITCHING_PROTOCOLS
    }
}

/// Anybody who reaches the internal port can cause this, so that only the first is told loudly.
fn refuse_stranger(node: &Node, peer: SocketAddr) {
    if node.counters().secret_mismatches.is_first() {
        warn!(
            target: "gateway::forward::welcome",
            %peer,
            "node refused: its cluster.secret differs. Another cluster on the same redis.prefix? \
             Further ones are logged at debug"
        );
    } else {
        debug!(target: "gateway::forward::welcome", %peer, "node refused: its cluster.secret differs");
    }
}

fn insert(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}
