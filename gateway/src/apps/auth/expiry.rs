//! When tokens are over. A shard keeps the deadlines of its sockets in one table and has one task
//! for the earliest.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::time::{Duration, Instant};

use protocol::engineio::CloseReason;
use serde_json::json;
use tokio::sync::Notify;
use tracing::debug;

use super::TOKEN_EVENT;
use crate::net::ids::SocketId;
use crate::socketio::socket::Socket;

/// Has a socket told at `expires` and its session closed `grace` later, in place of what was set
/// before.
pub(super) fn watch(socket: &Socket, expires: Instant, grace: Duration) {
    let watch = WATCH.with(Rc::clone);
    watch.deadlines.borrow_mut().set(
        socket,
        expires,
        Due {
            socket: socket.clone(),
            step: Step::Tell(grace),
        },
    );
    if !watch.running.replace(true) {
        let vitals = socket.gateway().node().vitals().clone();
        tokio::task::spawn_local(vitals.watch("token expiry", Rc::clone(&watch).run()));
    }
    watch.changed.notify_one();
}

/// The socket goes.
pub(super) fn forget(socket: &Socket) {
    WATCH.with(|watch| watch.deadlines.borrow_mut().remove(&socket.id()));
}

thread_local! {
    static WATCH: Rc<Watch> = Rc::default();
}

/// The deadlines of a shard, and the task that waits for them.
#[derive(Default)]
struct Watch {
    deadlines: RefCell<Deadlines>,
    running: Cell<bool>,
    changed: Notify,
}

impl Watch {
    async fn run(self: Rc<Self>) {
        loop {
            let next = self.deadlines.borrow().next();
            match next {
                None => self.changed.notified().await,
                Some(at) => tokio::select! {
                    () = self.changed.notified() => {}
                    () = tokio::time::sleep_until(at.into()) => self.fire(),
                },
            }
        }
    }

    fn fire(&self) {
        let now = Instant::now();
        loop {
            let due = self.deadlines.borrow_mut().pop(now);
            match due {
                Some(due) => self.perform(due, now),
                None => return,
            }
        }
    }

    fn perform(&self, due: Due, now: Instant) {
        let Due { socket, step } = due;
        match step {
            Step::Tell(grace) => {
                let told = json!({
                    "code": "token_expired",
                    "closes_in": grace.as_secs_f64(),
                });
                if let Err(error) = socket.emit(TOKEN_EVENT, (told,)) {
                    debug!(target: "gateway::auth::expiry", socket = %socket.id(), %error, "cannot tell the client that its token expired");
                }
                let close = Due {
                    socket: socket.clone(),
                    step: Step::Close,
                };
                self.deadlines.borrow_mut().set(&socket, now + grace, close);
            }
            Step::Close => {
                debug!(target: "gateway::auth::expiry", socket = %socket.id(), "token expired");
                socket
                    .gateway()
                    .node()
                    .counters()
                    .tokens_expired
                    .increment();
                socket.close_session(CloseReason::TokenExpired);
            }
        }
    }
}

/// What is due when, at most one thing for each socket.
#[derive(Default)]
struct Deadlines {
    due: BTreeMap<(Instant, u64), Due>,
    places: HashMap<SocketId, (Instant, u64)>,
    last: u64,
}

struct Due {
    socket: Socket,
    step: Step,
}

/// What comes next for a socket.
enum Step {
    /// Tell it that its token has expired; close it so much later.
    Tell(Duration),
    Close,
}

impl Deadlines {
    fn set(&mut self, socket: &Socket, at: Instant, due: Due) {
        self.remove(&socket.id());
        self.last += 1;
        let place = (at, self.last);
        self.due.insert(place, due);
        self.places.insert(socket.id(), place);
    }

    fn remove(&mut self, socket: &SocketId) {
        if let Some(place) = self.places.remove(socket) {
            self.due.remove(&place);
        }
        if self.places.len() * 4 < self.places.capacity() {
            self.places.shrink_to_fit();
        }
    }

    fn next(&self) -> Option<Instant> {
        self.due.first_key_value().map(|((at, _), _)| *at)
    }

    fn pop(&mut self, now: Instant) -> Option<Due> {
        let entry = self.due.first_entry()?;
        if entry.key().0 > now {
            return None;
        }
        let due = entry.remove();
        self.places.remove(&due.socket.id());
        Some(due)
    }
}
