//! Clients of namespaces with recovery: how they come, and come back.
//!
//! ```text
//!                 no pid, or not recovered
//!  identified ────────────────────────────────► the application decides ──► its session is written ──► opened
//!      │                                                    ▲
//!      └── shows a pid ──► claimed, all it missed is read ──┘ ──► entered ──► came back
//! ```
//!
//! The session of a client that waits for the store for too long closes, and the client comes again.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use adapter::recovery::{Entry, Offset, Pid, Position};
use protocol::engineio::{CloseReason, Revision};
use serde::Deserialize;
use serde_json::{Map, Value};
use tracing::debug;

use super::Client;
use crate::engine::session::Session;
use crate::otel::{self, Begun};
use crate::recovery::{Order, Seat, Shown};
use crate::socketio::application::{Application, Connect};
use crate::socketio::socket::{Socket, State};

/// How long a client waits for the store before its session is closed, so that it tries again.
const STORE_PATIENCE: Duration = Duration::from_secs(15);

/// What a client adds to its `auth`.
#[derive(Deserialize)]
struct Payload {
    pid: Value,
    #[serde(default)]
    offset: Value,
}

/// What a client shows in its `auth` to come back, and the rest of it: nobody else has use for the secret.
fn shown(auth: Option<&str>) -> (Option<Shown>, Option<String>) {
    let none = || (None, auth.map(str::to_owned));
    let Some(text) = auth else {
        return none();
    };
    let Ok(Payload { pid, offset }) = serde_json::from_str(text) else {
        return none();
    };
    let Ok(mut rest) = serde_json::from_str::<Map<String, Value>>(text) else {
        return none();
    };
    rest.remove("pid");
    rest.remove("offset");
    let rest = (!rest.is_empty()).then(|| Value::Object(rest).to_string());
    let Value::String(pid) = pid else {
        return (None, rest);
    };
    let offset = match offset {
        Value::String(offset) => Some(Offset::to_come_back_with(&offset)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            None
        }
    };
    (Some(Shown { pid, offset }), rest)
}

impl Client {
    pub(super) fn begin_recoverable(
        &self,
        session: &Rc<Session>,
        namespace: &str,
        auth: Option<&str>,
        order: Arc<Order>,
        begun: Option<Begun>,
    ) {
        let (shown, auth) = match session.revision() {
            // Events have no position for it, so that it has nothing to come back with.
            Revision::Three => (None, auth.map(str::to_owned)),
            Revision::Four => shown(auth),
        };
        let shard = session.shard();
        let namespace = shard.namespace(namespace, true);
        let socket = Socket::new(Rc::clone(session), namespace, auth.as_deref());
        let seat = socket.sit(Arc::clone(&order));
        shard.seat(seat, &socket);
        self.sockets.borrow_mut().push(socket.clone());
        let application = &self.socket_io.application;
        let identified = otel::during(begun.as_ref(), || application.identify(&socket));
        if let Connect::Refuse(refusal) = identified {
            return self.decided(session, &socket, Err(refusal), begun);
        }
        let (socket_io, decided) = (Arc::clone(&self.socket_io), socket.clone());
        let pending = Box::pin(async move {
            identified.decided().await?;
            // Whether its user has too many is counted by the id that it gets in the end.
            decided.denied().map_or(Ok(()), Err)?;
            if let Some(shown) = shown
                && !come_back(&decided, &order, seat, shown).await
            {
                decided.session().close(CloseReason::TransportError);
                // Its socket is gone, and this task with it.
                return std::future::pending().await;
            }
            if decided.recovered() && !socket_io.asks_about_recovered() {
                socket_io.application.recovered(&decided);
                return Ok(());
            }
            socket_io.application.connect(&decided).decided().await
        });
        self.decide_later(session, &socket, pending, begun);
    }

    /// The application accepted: the session is written, or the client that came back enters.
    pub(super) fn admit_recoverable(
        &self,
        session: &Rc<Session>,
        socket: &Socket,
        order: &Order,
        seat: Seat,
    ) {
        session.set_used();
        socket.set_accepted_by_application();
        match socket.recovered() {
            true => order.enter(seat),
            false => order.open(seat, socket.arrival()),
        }
        let (session, waiting) = (Rc::clone(session), socket.clone());
        let task = tokio::task::spawn_local(async move {
            tokio::time::sleep(STORE_PATIENCE).await;
            if waiting.state() == State::Connecting {
                debug!(target: "gateway::session::packets",
                    session = %session.log_name(),
                    namespace = waiting.namespace(),
                    "the session could not be written in time; it closes, so that the client comes back"
                );
                session.close(CloseReason::TransportError);
            }
        });
        socket.set_waiting(task.abort_handle());
    }

    /// The session of a new client is written.
    pub(in crate::socketio) fn opened(socket: &Socket, pid: Pid) {
        if socket.state() != State::Connecting {
            return;
        }
        let session = Rc::clone(socket.session());
        socket.set_opened(Some(pid), pid.start.position);
        Self::of(&session).let_in(&session, socket);
    }

    /// A client is recovered: it is sent what it missed, and has everything up to `through` then.
    pub(in crate::socketio) fn came_back(
        socket: &Socket,
        events: &[Arc<Entry>],
        through: Position,
    ) {
        if socket.state() != State::Connecting {
            return;
        }
        let session = Rc::clone(socket.session());
        socket.set_opened(None, through);
        let epoch = socket.epoch();
        socket.welcome();
        if let Some(epoch) = epoch {
            socket.replay(epoch, events);
        }
        Self::of(&session).let_in(&session, socket);
    }

    /// A socket is gone.
    pub(super) fn unseat(&self, session: &Session, socket: &Socket, for_good: bool) {
        if let Some((_, seat)) = socket.place() {
            session.shard().unseat(seat);
            socket.unseat(for_good);
        }
    }
}

/// Gives a client its session back, if it can be had. `false` if the store did not say whether it can.
async fn come_back(socket: &Socket, order: &Order, seat: Seat, shown: Shown) -> bool {
    let Ok(pid) = Pid::parse(&shown.pid) else {
        // Counted by the keeper.
        let _refused = order.claim(seat, shown, None).await;
        return true;
    };
    let claimed = order.claim(seat, shown, socket.token_user());
    let outcome = tokio::time::timeout(STORE_PATIENCE, claimed).await;
    let reason = match outcome {
        Ok(Ok(Ok(returned))) if socket.restore(pid, &returned) => {
            debug!(target: "gateway::session::packets",
                socket = %socket.id(),
                namespace = socket.namespace(),
                "client came back"
            );
            return true;
        }
        Ok(Ok(Ok(_))) => {
            order.gone(seat, true);
            "malformed"
        }
        Ok(Ok(Err(reason))) => reason.as_str(),
        Ok(Err(_)) | Err(_) => {
            order.note_unreachable();
            debug!(target: "gateway::session::packets",
                session = %socket.session().log_name(),
                namespace = socket.namespace(),
                "the session could not be claimed in time; its connection closes, so that the client comes back"
            );
            return false;
        }
    };
    debug!(target: "gateway::session::packets",
        namespace = socket.namespace(),
        reason,
        "client not recovered; it gets a new session"
    );
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_shows_is_taken_out_of_its_auth() {
        let rest = |text| {
            let (shown, rest) = shown(Some(text));
            let shown = shown.map(|it| (it.pid, it.offset));
            (shown, rest.unwrap_or_default())
        };
        let shows =
            |pid: &str, offset: Option<&str>| Some((pid.to_owned(), offset.map(str::to_owned)));
        for (auth, expected) in [
            (
                r#"{"pid":"p","offset":"o","token":"t"}"#,
                (shows("p", Some("o")), r#"{"token":"t"}"#),
            ),
            (r#"{"pid":"p"}"#, (shows("p", None), "")),
            (
                r#"{"pid":"p","offset":"e.1~2"}"#,
                (shows("p", Some("e.2")), ""),
            ),
            (r#"{"pid":"p","offset":null}"#, (shows("p", None), "")),
            (r#"{"pid":1,"token":"t"}"#, (None, r#"{"token":"t"}"#)),
            (r#"{"token":"t"}"#, (None, r#"{"token":"t"}"#)),
            (r#"[1]"#, (None, "[1]")),
        ] {
            assert_eq!(rest(auth), (expected.0, expected.1.to_owned()), "{auth}");
        }
    }
}
