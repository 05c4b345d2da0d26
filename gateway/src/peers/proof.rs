//! How two nodes show each other that they know the secret of their cluster, without telling it.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use hyper::header::HeaderName;
use ring::hmac;

use crate::config::Secret;
use crate::net::ids::random_characters;

/// What is asked for.
pub(crate) const PATH: &str = "/cluster/v1/forward";

/// What the connection is to speak, with the version of all this.
pub(crate) const PROTOCOL: &str = "gateway-forward/1";

/// The node that is meant.
pub(crate) const TAG: HeaderName = HeaderName::from_static("gateway-tag");

/// The shard that is meant.
pub(crate) const SHARD: HeaderName = HeaderName::from_static("gateway-shard");

/// How many shards the node that is meant has; the ids of its sessions name no others.
pub(crate) const SHARDS: HeaderName = HeaderName::from_static("gateway-shards");

/// What the node that asks drew.
pub(crate) const NONCE: HeaderName = HeaderName::from_static("gateway-nonce");

/// What the node that welcomes drew.
pub(crate) const CHALLENGE: HeaderName = HeaderName::from_static("gateway-challenge");

/// The proof of either side.
pub(crate) const PROOF: HeaderName = HeaderName::from_static("gateway-proof");

/// Who proves itself; the one's proof is worth nothing as the other's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Asking,
    Welcoming,
}

/// What one connection is about. Each side drew a part of it, so that no proof can be used again.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms<'a> {
    /// Drawn by the side that asks.
    pub(crate) nonce: &'a str,
    /// Drawn by the side that welcomes.
    pub(crate) challenge: &'a str,
    /// The node that is meant.
    pub(crate) tag: &'a str,
    pub(crate) shard: usize,
}

/// A text that nobody can guess.
pub(crate) fn draw() -> String {
    String::from_utf8_lossy(&random_characters::<24>()).into_owned()
}

impl Terms<'_> {
    pub(crate) fn prove(&self, side: Side, secret: &Secret) -> String {
        let tag = hmac::sign(&key(secret), self.text(side).as_bytes());
        BASE64_URL_SAFE_NO_PAD.encode(tag)
    }

    /// Whether the proof is right; takes the same time for all that are wrong.
    pub(crate) fn verify(&self, side: Side, secret: &Secret, proof: &[u8]) -> bool {
        let text = self.text(side);
        BASE64_URL_SAFE_NO_PAD
            .decode(proof)
            .is_ok_and(|proof| hmac::verify(&key(secret), text.as_bytes(), &proof).is_ok())
    }

    /// No part holds a line break: they come from headers.
    fn text(&self, side: Side) -> String {
        let Self {
            nonce,
            challenge,
            tag,
            shard,
        } = self;
        format!("gateway-forward/1 {side:?}\n{nonce}\n{challenge}\n{tag}\n{shard}")
    }
}

fn key(secret: &Secret) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, secret.expose())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;

    fn secret(text: &str) -> Secret {
        let toml =
            format!("[redis]\nurl = \"redis://127.0.0.1\"\n[cluster]\nsecret = \"{text}\"\n");
        Config::from_toml(&toml).unwrap().cluster.secret.unwrap()
    }

    #[test]
    fn a_proof_holds_for_its_terms_its_side_and_its_secret_alone() {
        let (ours, theirs) = (secret("0123456789abcdef"), secret("0123456789abcdeg"));
        let terms = Terms {
            nonce: "n",
            challenge: "c",
            tag: "abcd",
            shard: 1,
        };
        let proof = terms.prove(Side::Asking, &ours);
        let proof = proof.as_bytes();
        assert!(terms.verify(Side::Asking, &ours, proof));
        assert!(!terms.verify(Side::Welcoming, &ours, proof));
        assert!(!terms.verify(Side::Asking, &theirs, proof));
        for other in [
            Terms {
                nonce: "m",
                ..terms
            },
            Terms {
                challenge: "d",
                ..terms
            },
            Terms {
                tag: "abce",
                ..terms
            },
            Terms { shard: 2, ..terms },
        ] {
            assert!(!other.verify(Side::Asking, &ours, proof));
        }
        for wrong in [&b""[..], b"no base64!", &proof[..8]] {
            assert!(!terms.verify(Side::Asking, &ours, wrong));
        }
    }

    #[test]
    fn no_two_draws_are_equal() {
        assert_ne!(draw(), draw());
        assert_eq!(draw().len(), 24);
    }
}
