//! Events that wait because the application is busy with one before them.

use std::collections::VecDeque;
use std::rc::Rc;

use protocol::socketio::{Arguments, Event as Received};

use super::Client;
use crate::engine::session::Session;
use crate::otel::{self, Begun};
use crate::socketio::application::{Application, Flow, LocalFuture};
use crate::socketio::arguments::OwnedArguments;
use crate::socketio::event::{Ack, Event};
use crate::socketio::reason::DisconnectReason;
use crate::socketio::socket::Socket;

/// Bytes of waiting events above which a session is read no further.
const MAX_BACKLOG_BYTES: usize = 256 * 1024;

/// What one waiting event takes beside its text.
const EVENT_OVERHEAD: usize = 128;

/// The session's events that wait for the application.
#[derive(Default)]
pub(super) struct Backlog {
    busy: bool,
    bytes: usize,
    waiting: VecDeque<Waiting>,
}

enum Waiting {
    Event {
        socket: Socket,
        id: Option<u64>,
        name: Box<str>,
        arguments: OwnedArguments,
    },
    Disconnect {
        socket: Socket,
        reason: DisconnectReason,
    },
}

impl Waiting {
    fn size(&self) -> usize {
        match self {
            Self::Event {
                name, arguments, ..
            } => EVENT_OVERHEAD + name.len() + arguments.size(),
            Self::Disconnect { .. } => EVENT_OVERHEAD,
        }
    }
}

/// An event that takes time, with its name if that is sure to be needed.
struct Spanned {
    begun: Begun,
    socket: Socket,
    name: Option<Box<str>>,
}

impl Backlog {
    /// Whether so much waits for the application that the client should not be read.
    pub(super) fn is_long(&self) -> bool {
        self.bytes > MAX_BACKLOG_BYTES
    }
}

impl Client {
    /// Hands an event to the application, now or in its turn.
    pub(super) fn dispatch(
        &self,
        session: &Rc<Session>,
        socket: Socket,
        id: Option<u64>,
        event: &Received<'_>,
    ) {
        if self.backlog.borrow().busy {
            let (name, arguments) = (event.name.as_ref().into(), event.arguments.into());
            self.wait(Waiting::Event {
                socket,
                id,
                name,
                arguments,
            });
        } else {
            self.call(session, &socket, id, &event.name, event.arguments);
        }
    }

    /// Tells the application that a socket is gone, after the events that it sent.
    pub(super) fn disconnected(&self, socket: Socket, reason: DisconnectReason) {
        if self.backlog.borrow().busy {
            self.wait(Waiting::Disconnect { socket, reason });
        } else {
            self.socket_io.application.disconnect(&socket, reason);
        }
    }

    fn wait(&self, waiting: Waiting) {
        let mut backlog = self.backlog.borrow_mut();
        backlog.bytes += waiting.size();
        backlog.waiting.push_back(waiting);
    }

    fn call(
        &self,
        session: &Rc<Session>,
        socket: &Socket,
        id: Option<u64>,
        name: &str,
        arguments: Arguments<'_>,
    ) {
        let ack = id.map(|id| Ack::new(socket.clone(), id));
        let event = Event::new(name, arguments, ack);
        let begun = session.begin_event(socket.namespace());
        let application = &self.socket_io.application;
        let flow = otel::during(begun.as_ref(), || application.event(socket, event));
        match (flow, begun) {
            (Flow::Done, None) => {}
            (Flow::Done, Some(begun)) => {
                session.finish_event(begun, socket.namespace(), Some(name));
            }
            (Flow::Pending(work), begun) => {
                let spanned = begun.map(|begun| Spanned {
                    name: begun.context.is_sampled.then(|| name.into()),
                    socket: socket.clone(),
                    begun,
                });
                self.work(session, work, spanned);
            }
        }
    }

    /// Lets the session's next event wait until `work` is done or has panicked.
    fn work(&self, session: &Rc<Session>, work: LocalFuture<()>, spanned: Option<Spanned>) {
        struct Resume(Rc<Session>);

        impl Drop for Resume {
            fn drop(&mut self) {
                Client::of(&self.0).resume(&self.0);
            }
        }

        self.backlog.borrow_mut().busy = true;
        let resume = Resume(Rc::clone(session));
        tokio::task::spawn_local(async move {
            let resume = resume;
            let context = spanned.as_ref().map(|it| it.begun.context);
            otel::in_context(context, work).await;
            if let Some(Spanned {
                begun,
                socket,
                name,
            }) = spanned
            {
                let session = &resume.0;
                session.finish_event(begun, socket.namespace(), name.as_deref());
            }
        });
    }

    fn resume(&self, session: &Rc<Session>) {
        self.backlog.borrow_mut().busy = false;
        while let Some(next) = self.next_waiting() {
            match next {
                Waiting::Event {
                    socket,
                    id,
                    name,
                    arguments,
                } => self.call(session, &socket, id, &name, arguments.as_ref()),
                Waiting::Disconnect { socket, reason } => self.disconnected(socket, reason),
            }
        }
        if !self.backlog.borrow().is_long() {
            session.resume();
        }
    }

    /// What the application gets next, unless it is busy again.
    fn next_waiting(&self) -> Option<Waiting> {
        let mut backlog = self.backlog.borrow_mut();
        if backlog.busy {
            return None;
        }
        let next = backlog.waiting.pop_front()?;
        backlog.bytes -= next.size();
        Some(next)
    }
}
