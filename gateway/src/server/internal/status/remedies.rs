//! What to do about each reason that metrics know, a sentence each: for the page, and for docs/operations.md.

use protocol::engineio::CloseReason;

use crate::count::{Label, Refused, TokenReason};
#[cfg(test)]
use crate::recovery::RESULTS;
use crate::users::UserRefusal;

/// A reason with something to do about it.
pub(super) trait Remedy: Label {
    fn remedy(self) -> &'static str;
}

impl Remedy for CloseReason {
    fn remedy(self) -> &'static str {
        match self {
            Self::TransportError => {
                "Look for proxies that cut connections or polls, and for clients that send more than engine.max_payload."
            }
            Self::TransportClose => {
                "Nothing if clients leave; many at once point to a network, a proxy or a new version of the client."
            }
            Self::ForcedClose => {
                "Nothing if your backend or an API call disconnects; otherwise look for clients that send wrong packets."
            }
            Self::PingTimeout => {
                "Nothing for phones that lose their network; if lateness rises too, the node has too much to do."
            }
            Self::ParseError => {
                "Look which client or proxy sends what is no Engine.IO; gateway trace by its address shows it."
            }
            Self::ConnectTimeout => {
                "Look for clients that open a connection and join no namespace: scanners, health checks, or a client of another protocol."
            }
            Self::SlowConsumer => {
                "Send less to these clients, or raise limits.outbox_bytes and limits.outbox_patience if they may be behind for longer."
            }
            Self::ServerShuttingDown => {
                "Nothing: the node drained, and its clients went elsewhere."
            }
            Self::TokenExpired => {
                "Have clients send a fresh token before the old one expires, or raise auth.grace."
            }
            Self::Rebalanced => "Nothing: these clients went to nodes that have fewer connections.",
            Self::Blocked => {
                "Nothing: somebody blocked the user, or revoked the token, by the API."
            }
        }
    }
}

impl Remedy for Refused {
    fn remedy(self) -> &'static str {
        match self {
            Self::UnknownTransport => {
                "Have the client use a transport that engine.transports allows; requests without any come from scanners."
            }
            Self::Jsonp => {
                "Set jsonp to false in the client; no browser of the last ten years needs it."
            }
            Self::UnknownSid => {
                "After a restart this passes; otherwise look whether nodes reach each other at cluster.advertise and whether all share one Redis."
            }
            Self::BadMethod => "Look for a proxy that changes methods, or for a scanner.",
            Self::BadRequest => {
                "Look whether the proxy in front passes Upgrade and Connection on, and passes whole bodies."
            }
            Self::Forbidden => {
                "Ask the application that refused: its log, or that of the library's user, says why."
            }
            Self::UnsupportedVersion => {
                "Update the client to Socket.IO 3 or later, or set engine.allow_eio3 for old ones."
            }
            Self::Overlap => {
                "Look for a proxy that repeats requests; a client has one poll and one post at a time."
            }
            Self::BodyTooLarge => {
                "Raise engine.max_payload, or have clients send less in one event."
            }
            Self::BodyTimeout => {
                "Look for clients on slow networks or for slow attacks; limits.body_timeout is the time that they have."
            }
            Self::OctetStream => {
                "Look for a client of Socket.IO 2 that shares a session with one of version 4."
            }
            Self::ConnectionLimit => {
                "Add a node, or raise limits.connections if the node has memory left."
            }
            Self::AddressLimit => {
                "If many users share an address, raise limits.connections_per_ip; if all have one address, set proxy.trusted."
            }
            Self::HandshakeRate => {
                "Nothing if it passes; clients try again. Otherwise raise limits.handshakes_per_second or add a node."
            }
            Self::Draining => {
                "Have the balancer ask GET /ready, so that it sends no clients to a node that drains."
            }
            Self::UpgradeDraining => {
                "Nothing: these clients stay on polling until they are closed."
            }
            Self::ProxyProtocol => {
                "Have the proxy send the PROXY protocol, or set proxy.protocol to false; health checks need it too."
            }
            Self::Tls => {
                "Look whether tls.cert is valid for the name that clients use, and whether something speaks plain HTTP to this port."
            }
            Self::Http => {
                "Look for scanners, or for something that speaks another protocol to this port."
            }
            Self::Silent => {
                "Look for clients or health checks that connect and say nothing; raise the limit of open files if it is low."
            }
        }
    }
}

impl Remedy for TokenReason {
    fn remedy(self) -> &'static str {
        match self {
            Self::Missing => "Have the client show a token: io(url, { auth: { token } }).",
            Self::Malformed => {
                "Look what the client sends as a token; gateway token shows what is wrong with one."
            }
            Self::Algorithm => "Configure a key for the algorithm that the issuer signs with.",
            Self::Key => {
                "Look whether auth.jwks_url is that of the issuer, and whether it publishes the key."
            }
            Self::Signature => {
                "Look whether auth.jwt_secret or auth.jwt_public_key is that of the issuer."
            }
            Self::Expired => {
                "Have the client fetch a fresh token when connect_error says token_expired."
            }
            Self::NotYetValid => "Set the clocks of the issuer and of the nodes.",
            Self::Issuer => "Set auth.issuer to what the issuer writes as iss.",
            Self::Audience => "Set auth.audience to what the issuer writes as aud.",
            Self::Claim => {
                "Have the issuer write exp, and the other claims in the types that docs/tokens.md names."
            }
            Self::Namespace => {
                "Have the issuer add the namespace to the claim namespaces, if the user may use it."
            }
            Self::User => "Have the client open a new connection for another user.",
            Self::Revoked => {
                "Nothing: somebody blocked the user, or revoked the token, by the API."
            }
            Self::Unverifiable => "Look whether the nodes reach auth.jwks_url.",
        }
    }
}

impl Remedy for UserRefusal {
    fn remedy(self) -> &'static str {
        match self {
            Self::Blocked => {
                "Nothing: somebody blocked the user by the API. GET /api/v1/blocks says until when, and why."
            }
            Self::Revoked => {
                "Have the client fetch a fresh token: somebody revoked the one that it shows, by the API."
            }
            Self::TooMany => {
                "Look whether a client of the user forgets to close connections, or raise limits.connections_per_user."
            }
        }
    }
}

/// What to do about what became of a client that came back.
pub(super) fn of_recovery(result: &str) -> Option<&'static str> {
    Some(match result {
        "recovered" => "Nothing: the client missed nothing.",
        "epoch" => {
            "Nothing if you emptied or replaced Redis; otherwise look why it lost what it had."
        }
        "expired" => "Raise recovery.window if clients are away for longer.",
        "lost" => "Set min-replicas-to-write in Redis, and look whether it evicts keys.",
        "malformed" => "Look for clients that make up what they show.",
        "superseded" => "Nothing: the client came back twice, and the later connection counts.",
        "too_large" => "Raise recovery.replay_bytes, or send less to clients that are away.",
        "trimmed" => "Raise recovery.max_messages or recovery.max_bytes.",
        "unknown" => {
            "Raise recovery.window if clients are away for longer, and look whether all nodes share one Redis."
        }
        "unreachable" => {
            "Look at Redis, which did not answer within 15 seconds; the client comes back once more."
        }
        "unsettled" => {
            "Nothing if a node died together with Redis; otherwise look which node does not reach Redis."
        }
        "wrong_user" => {
            "Nothing: another user showed what belongs to somebody else, and got nothing."
        }
        _ => return None,
    })
}

/// All of them by the heading of docs/operations.md: reasons, and what to do.
#[cfg(test)]
fn all() -> [(&'static str, Vec<(&'static str, &'static str)>); 5] {
    fn of<R: Remedy>() -> Vec<(&'static str, &'static str)> {
        let reasons = R::ALL.iter();
        reasons.map(|it| (it.label(), it.remedy())).collect()
    }
    let recoveries = RESULTS.iter();
    let recoveries = recoveries.map(|it| (*it, of_recovery(it).unwrap_or_default()));
    [
        ("### Connections closed", of::<CloseReason>()),
        ("### Requests refused", of::<Refused>()),
        ("### Tokens refused", of::<TokenReason>()),
        ("### Users refused", of::<UserRefusal>()),
        ("### Clients that came back", recoveries.collect()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_one_sentence_or_two_that_are_short() {
        for (heading, reasons) in all() {
            for (reason, remedy) in reasons {
                assert!(remedy.ends_with('.'), "{heading} {reason}: {remedy:?}");
                for sentence in remedy.split(". ") {
                    let words = sentence.split(' ').count();
                    assert!((2..=25).contains(&words), "{heading} {reason}: {words}");
                }
            }
        }
    }

    /// UPDATE_PAGES=1 writes them into the page.
    #[test]
    fn the_page_of_operators_says_the_same() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/operations.md");
        let mut page = std::fs::read_to_string(path).unwrap();
        for (heading, reasons) in all() {
            let rows = reasons.iter();
            let rows = rows.map(|(reason, remedy)| format!("| `{reason}` | {remedy} |\n"));
            let table: String = ["\n\n| reason | what to do |\n|---|---|\n".to_owned()]
                .into_iter()
                .chain(rows)
                .collect();
            let (before, rest) = page.split_once(heading).expect(heading);
            let end = rest.find("\n#").unwrap_or(rest.len());
            if std::env::var_os("UPDATE_PAGES").is_some() {
                page = format!("{before}{heading}{table}{}", &rest[end..]);
                continue;
            }
            assert_eq!(&rest[..end], table, "{heading}");
        }
        if std::env::var_os("UPDATE_PAGES").is_some() {
            std::fs::write(path, page).unwrap();
        }
    }
}
