//! Events that wait because the application is busy with one before them.

use std::collections::VecDeque;
use std::rc::Rc;

use protocol::socketio::Event as Received;

use super::Session;
use crate::engine::node::Layer;
use crate::socketio::application::{DisconnectReason, Flow, LocalFuture};
use crate::socketio::event::{Ack, Event, OwnedArguments};
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

impl Session {
    /// Whether so much waits for the application that the client should not be read.
    pub(crate) fn is_behind(&self) -> bool {
        self.backlog.borrow().bytes > MAX_BACKLOG_BYTES
    }

    /// Hands an event to the application, now or in its turn.
    pub(super) fn dispatch(self: &Rc<Self>, socket: Socket, id: Option<u64>, event: &Received<'_>) {
        if self.backlog.borrow().busy {
            let (name, arguments) = (event.name.as_ref().into(), event.arguments.into());
            self.wait(Waiting::Event {
                socket,
                id,
                name,
                arguments,
            });
        } else {
            self.call(&socket, id, &event.name, event.arguments);
        }
    }

    /// Tells the application that a socket is gone, after the events that it sent.
    pub(super) fn disconnected(self: &Rc<Self>, socket: Socket, reason: DisconnectReason) {
        if self.backlog.borrow().busy {
            self.wait(Waiting::Disconnect { socket, reason });
        } else if let Layer::SocketIo(application) = self.layer() {
            application.disconnect(&socket, reason);
        }
    }

    fn wait(&self, waiting: Waiting) {
        let mut backlog = self.backlog.borrow_mut();
        backlog.bytes += waiting.size();
        backlog.waiting.push_back(waiting);
    }

    fn call(
        self: &Rc<Self>,
        socket: &Socket,
        id: Option<u64>,
        name: &str,
        arguments: protocol::socketio::Arguments<'_>,
    ) {
        let Layer::SocketIo(application) = self.layer() else {
            return;
        };
        let ack = id.map(|id| Ack::new(socket.clone(), id));
        match application.event(socket, Event::new(name, arguments, ack)) {
            Flow::Done => {}
            Flow::Pending(work) => self.work(work),
        }
    }

    /// Lets the session's next event wait until `work` is done, be it by a panic.
    fn work(self: &Rc<Self>, work: LocalFuture<()>) {
        struct Resume(Rc<Session>);

        impl Drop for Resume {
            fn drop(&mut self) {
                self.0.resume();
            }
        }

        self.backlog.borrow_mut().busy = true;
        let resume = Resume(Rc::clone(self));
        tokio::task::spawn_local(async move {
            let _resume = resume;
            work.await;
        });
    }

    fn resume(self: &Rc<Self>) {
        self.backlog.borrow_mut().busy = false;
        loop {
            let next = {
                let mut backlog = self.backlog.borrow_mut();
                if backlog.busy {
                    break;
                }
                let next = backlog.waiting.pop_front();
                if let Some(next) = &next {
                    backlog.bytes -= next.size();
                }
                next
            };
            match next {
                Some(Waiting::Event {
                    socket,
                    id,
                    name,
                    arguments,
                }) => {
                    self.call(&socket, id, &name, arguments.as_ref());
                }
                Some(Waiting::Disconnect { socket, reason }) => self.disconnected(socket, reason),
                None => break,
            }
        }
        if !self.is_behind() {
            self.wake_link();
            if self.is_open() {
                self.answer_post_late();
            }
        }
    }
}
