//! Clients of Socket.IO 1 and 2, which speak Engine.IO 3.
//!
//! Such a client is in `/` without asking, joins other namespaces with a query in place of a payload, and makes the
//! ids of its sockets itself, from the sid. The gateway does not: a sid is a secret, and its sockets have ids like all
//! others.

use std::rc::Rc;

use protocol::Encoded;
use protocol::engineio::Revision;
use protocol::socketio::Packet;
use serde_json::{Map, Value};
use tracing::debug;

use super::Client;
use super::packets::Violation;
use crate::count::{Label, ParserName, RevisionName};
use crate::engine::session::Session;
use crate::net::query;
use crate::socketio::application::Refusal;

impl Client {
    /// The client is in `/`, if it may be.
    pub(super) fn open_old(&self, session: &Rc<Session>) {
        session.hear();
        self.meet(session, true);
        // Nothing is joined yet, so that nothing can be out of place.
        let _joined = self.connect(session, "/", None);
    }

    /// It shows by now what the client speaks, if the gateway understood it.
    pub(super) fn meet(&self, session: &Session, understood: bool) {
        let revision = RevisionName::of(session.revision());
        let parser = match (understood, session.dialect().is_msgpack()) {
            (false, _) => ParserName::Unknown,
            (true, false) => ParserName::Json,
            (true, true) => ParserName::Msgpack,
        };
        let met = &session.shard().counters().clients;
        met.of((parser, revision, session.transport())).increment();
        debug!(target: "gateway::session",
            session = %session.log_name(),
            revision = session.revision().name(),
            parser = parser.label(),
            transport = session.transport().name(),
            address = %session.handshake().address(),
            agent = session.handshake().agent(),
            "client speaks"
        );
    }

    /// Handles a packet of a client that speaks this revision.
    pub(super) fn handle_packet_of(
        &self,
        revision: Revision,
        session: &Rc<Session>,
        packet: Packet<'_>,
    ) -> Result<(), Violation> {
        if revision == Revision::Four {
            return self.handle_packet(session, &packet);
        }
        match packet.split_query() {
            (Packet::Connect { namespace, .. }, Some(query)) => {
                let auth = auth_of_query(query);
                let auth = Some(auth.as_str());
                self.handle_packet(session, &Packet::Connect { namespace, auth })
            }
            (packet, _) => self.handle_packet(session, &packet),
        }
    }
}

/// The query of a namespace as the payload of a `CONNECT`: an object of texts, of which the last of a name counts.
fn auth_of_query(query: &str) -> String {
    let pairs = query::pairs(query).map(|(name, value)| (name, Value::from(value)));
    Value::Object(pairs.collect::<Map<_, _>>()).to_string()
}

/// How a client is refused that speaks this revision.
pub(super) fn refusal(revision: Revision, namespace: &str, refusal: &Refusal) -> Encoded {
    let (message, data) = (&refusal.message, refusal.data.as_deref());
    match revision {
        Revision::Three => Encoded::connect_error_old(namespace, message, data),
        Revision::Four => Encoded::connect_error(namespace, message, data),
    }
}

/// The refusal of a namespace, by the gateway itself. Node tells old clients of it by an object.
pub(super) fn refused_namespace(revision: Revision, message: &str) -> Refusal {
    let refusal = Refusal::new(message);
    match revision {
        Revision::Three => Refusal {
            data: Some(serde_json::json!({ "message": message }).to_string()),
            ..refusal
        },
        Revision::Four => refusal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_query_of_a_namespace_is_the_payload() {
        for (query, expected) in [
            ("token=x%20y&n=1", r#"{"n":"1","token":"x y"}"#),
            ("a=1&a=2&b", r#"{"a":"2","b":""}"#),
            ("p=100%", r#"{"p":"100%"}"#),
            ("", "{}"),
        ] {
            assert_eq!(auth_of_query(query), expected);
        }
    }
}
