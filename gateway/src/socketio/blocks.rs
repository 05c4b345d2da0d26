//! Who may not connect: where sockets are held against what the node knows of [users](crate::users), and how a
//! change comes to be in force on every node.
//!
//! ```text
//!  API ──► the store takes it ──► this node's table ──► the other nodes are told ──► the answer
//!                                       │                        │
//!                                       ▼                        ▼
//!                                  its sockets go       table, sockets, "done"
//! ```
//!
//! A table changes before the shards look at their sockets. A socket is held against the table before the
//! application is asked, when it is accepted, and once it is in its namespace. So none slips through between.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use adapter::{Answer, ClusterMessage, Draft, Question, Record, RecordsError, ReplyTo};
use protocol::engineio::CloseReason;
use serde_json::json;
use tokio::sync::mpsc;
use tracing::{debug, info};

use crate::cluster::{Cluster, ask};
use crate::count::Label;
use crate::engine::node::Node;
use crate::engine::shard::Shard;
use crate::engine::turns::Backwards;
use crate::net::ids::user_room;
use crate::net::spell::Spell;
use crate::net::time::timestamp;
use crate::socketio::application::Refusal;
use crate::socketio::claims::Claims;
use crate::socketio::namespace::Place;
use crate::socketio::socket::Socket;
use crate::users::{Body, Cause, Denial, Subject, Taken, UserRefusal, told, untold};

pub(crate) mod sync;

/// For how long it is remembered that something is not kept out any more, so that nobody brings it back who
/// did not hear of that.
const LIFTED: Duration = Duration::from_secs(30 * 24 * 3600);

/// Most users whose sockets are looked up one by one; for more, all sockets are looked at.
const MAX_LOOKED_UP: usize = 100;

/// Sockets that are taken out of a namespace at a time to be looked at.
const SOME: usize = 64;

/// What is to be in force.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Change {
    pub(crate) subject: Subject,
    /// For how long; `None`: until somebody lifts it.
    pub(crate) lasts: Option<Duration>,
    pub(crate) body: Body,
}

/// Why a change is not in force everywhere.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChangeError {
    /// The store did not say that it took it. It may have done so all the same.
    #[error(
        "Redis did not confirm it, so that it is not in force; it may come to be, so call again: {0}"
    )]
    Store(RecordsError),
    /// It is kept and in force here, and these nodes did not say so.
    #[error(
        "it is kept, and in force on all nodes but these, which did not confirm it: {}; a node that is cut off \
         follows when it hears the others again. Call again to know",
        .0.join(", ")
    )]
    NotEverywhere(Vec<String>),
}

impl Change {
    /// Nobody is kept out any more.
    pub(crate) fn lift(subject: Subject) -> Self {
        Self {
            subject,
            lasts: Some(LIFTED),
            body: Body {
                lifted: true,
                ..Body::default()
            },
        }
    }
}

impl Denial {
    /// What a client is told.
    pub(crate) fn refusal(&self) -> Refusal {
        let (message, code) = match self.cause {
            Cause::Blocked => ("the user is blocked", "user_blocked"),
            Cause::Revoked => ("the token is revoked", "token_revoked"),
        };
        let mut data = json!({"code": code});
        if let Some(until) = self.until {
            data["until"] = timestamp(until).into();
        }
        if let Some(reason) = &self.reason {
            data["reason"] = reason.as_str().into();
        }
        Refusal::new(message).with_data(&data)
    }
}

impl Node {
    /// Has a change be in force on every node. Returns when it ends, in milliseconds since 1970.
    pub(crate) async fn change_users(
        self: &Arc<Self>,
        change: Change,
    ) -> Result<Option<u64>, ChangeError> {
        let users = self.users();
        let draft = Draft {
            name: change.subject.to_name(),
            lasts: change.lasts,
            body: change.body.to_json(),
            above: users.known().0,
        };
        let store = self.cluster().and_then(|it| it.adapter().records());
        let record = match store {
            Some(store) => {
                let written = store.write(draft).await;
                let (record, now) = written.map_err(ChangeError::Store)?;
                users.set_clock(now);
                record
            }
            None => users.record_here(draft),
        };
        let records = [record];
        let words = ClusterMessage::Trace(told(&records));
        let carrier = self.cluster().map_or("/", |it| it.carrier());
        let patience = self.cluster().map_or(Duration::ZERO, |it| it.patience());
        let here = self.enforce(&records);
        let asked = ask(self.cluster(), carrier, Question::Change, &words, patience);
        let (_, asked) = tokio::join!(here, asked);
        let [record] = records;
        info!(target: "gateway::users",
            kind = kind(&change.subject), lifted = change.body.lifted, missing = asked.missing_nodes.len(),
            "who may connect was changed by the API"
        );
        match asked.missing_nodes.is_empty() {
            true => Ok(record.until),
            false => Err(ChangeError::NotEverywhere(asked.missing_nodes)),
        }
    }

    /// Takes records. When it is done, no shard has a socket that they keep out. Returns whether they were
    /// understood.
    fn enforce(&self, records: &[Record]) -> impl Future<Output = bool> + Send + use<> {
        let taken = self.users().take(records);
        let is_odd = taken.contains(&Taken::Odd);
        let denied = records.iter().zip(taken);
        let denied = denied.filter(|(_, taken)| *taken == Taken::Denies);
        let subjects = denied.filter_map(|(record, _)| Subject::of_name(&record.name));
        let gone = self.shut_out(subjects.collect());
        async move {
            gone.await;
            !is_odd
        }
    }

    /// Another node tells of records.
    pub(crate) fn hear_users(self: &Arc<Self>, cluster: &Arc<Cluster>, to: ReplyTo, words: &str) {
        let Some(records) = untold(words) else {
            self.users().counters.odd.increment();
            return;
        };
        let enforced = self.enforce(&records);
        let carrying = Arc::clone(cluster);
        cluster.spawn(async move {
            if enforced.await {
                let carrier = carrying.carrier();
                carrying.adapter().respond(carrier, &to, &Answer::Done);
            }
        });
    }

    /// Has those sockets go that are kept out, of these subjects alone. When it is done, none is left.
    fn shut_out(&self, subjects: Vec<Subject>) -> impl Future<Output = ()> + Send + use<> {
        let (sender, mut done) = mpsc::unbounded_channel::<()>();
        if !subjects.is_empty() {
            let subjects = Arc::new(subjects);
            self.run_everywhere(move |shard| {
                let sweeping = sweep(Rc::clone(shard), Arc::clone(&subjects));
                let sender = sender.clone();
                tokio::task::spawn_local(async move {
                    sweeping.await;
                    drop(sender);
                });
            });
        } else {
            drop(sender);
        }
        // It ends when every shard has dropped its sender.
        async move { while done.recv().await.is_some() {} }
    }
}

/// Has those sockets of a shard go that are kept out, some in each turn. Who comes meanwhile was looked at before.
async fn sweep(shard: Rc<Shard>, subjects: Arc<Vec<Subject>>) {
    let rooms = subjects.iter().map(|subject| match subject {
        Subject::User(user) | Subject::TokensOf(user) => Some(user_room(user)),
        // Nothing finds a socket by its token.
        Subject::Token(_) => None,
    });
    let rooms: Option<Vec<String>> = match subjects.len() <= MAX_LOOKED_UP {
        true => rooms.collect(),
        false => None,
    };
    let rooms = rooms.unwrap_or_default();
    let (mut namespaces, mut spell) = (Backwards::default(), Spell::begin());
    while let Some(namespace) = shard.next_namespace(&mut namespaces) {
        let mut place = Place::default();
        while !place.is_behind(rooms.len()) {
            // Who goes leaves its rooms.
            let mut some = Vec::new();
            let visit = |socket: &Socket| some.push(Some(socket.clone()));
            namespace.visit_some(&rooms, &mut place, SOME, visit);
            // To find none is work, too.
            some.push(None);
            for socket in some {
                if let Some(socket) = socket.filter(Socket::is_present) {
                    socket.go_if_denied();
                }
                if spell.is_over() {
                    tokio::task::yield_now().await;
                    spell = Spell::begin();
                }
            }
        }
    }
}

impl Socket {
    /// Why its user, or its token, is kept out, if that is so. If nobody is, it costs a look at a number.
    pub(crate) fn denial(&self) -> Option<Denial> {
        let users = self.session().shard().node().users();
        if users.are_all_welcome() {
            return None;
        }
        let (user, claims) = (self.user(), self.claims());
        let token = claims.as_ref().filter(|_| users.are_tokens_revoked());
        let token = token.map(|claims| claims.issue());
        let of_token = claims.as_ref().and_then(|claims| claims.user());
        let user = user.as_deref().or(of_token);
        users.denial(user, token.as_ref())
    }

    /// Whether it would be kept out with another token.
    pub(crate) fn is_denied_with(&self, claims: &Claims) -> bool {
        let users = self.session().shard().node().users();
        !users.are_all_welcome() && users.denial(claims.user(), Some(&claims.issue())).is_some()
    }

    /// Says why it may not connect, or go on.
    pub(crate) fn denied(&self) -> Option<Refusal> {
        let denial = self.denial()?;
        let refused = &self.session().shard().node().users().counters.refused;
        refused.now(denial.cause.into()).increment();
        Some(denial.refusal())
    }

    /// Closes its session if it is kept out; whether it did.
    pub(crate) fn go_if_denied(&self) -> bool {
        let Some(denial) = self.denial() else {
            return false;
        };
        let refusal = UserRefusal::from(denial.cause);
        let shut_out = &self.session().shard().node().users().counters.shut_out;
        shut_out.of(refusal).increment();
        debug!(target: "gateway::users", socket = %self.id(), reason = refusal.label(), "the session closes: its user or its token is kept out");
        self.leave_with_session(CloseReason::Blocked);
        true
    }
}

fn kind(subject: &Subject) -> &'static str {
    match subject {
        Subject::User(_) => "user",
        Subject::Token(_) => "token",
        Subject::TokensOf(_) => "tokens of a user",
    }
}
