//! The thread that accepts clients and hands each connection to the next shard.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use mio::event::Source;
use mio::{Events, Interest, Poll, Token, Waker};
use tracing::warn;

use crate::engine::mail::Mail;
use crate::engine::node::Node;
use crate::engine::shard::Shard;
use crate::http;
use crate::net::listener::{Listener, Listening, Placed, UNIX_PEER, like_tcp};

/// A connection that was accepted, and where it came from.
type Accepted = (TcpStream, SocketAddr);

/// What wakes it to stop. The listeners have their places in the list.
const STOP: Token = Token(usize::MAX);

/// How long it waits after an error that every `accept` would meet, such as too many open files.
const PAUSE: Duration = Duration::from_millis(100);

/// How long it waits for clients to leave, when they hold as many descriptors as they may.
const ROOM_PAUSE: Duration = Duration::from_millis(5);

/// Connections without a session that each shard then sends away at a time, if others wait.
const SENT_AWAY: usize = 16;

/// Most connections that a shard is handed in one piece of mail.
const HANDFUL: usize = 32;

/// How long it rests after a connection. The next one may have to wait so long; to be told of each
/// of many costs more than they do themselves.
const BREATH: Duration = Duration::from_millis(1);

/// The acceptor. Dropped, it stops and closes its listeners.
///
/// It is not a task of Tokio's, which would register each connection with its own reactor only for
/// the shard to register it again.
pub(crate) struct Acceptor {
    stop: Waker,
    stopped: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Acceptor {
    pub(crate) fn start(listening: Vec<Listening>, node: Arc<Node>) -> io::Result<Self> {
        let poll = Poll::new()?;
        let stop = Waker::new(poll.registry(), STOP)?;
        let mut entrances: Vec<_> = listening.into_iter().map(Entrance::from).collect();
        for (index, entrance) in entrances.iter_mut().enumerate() {
            let registry = poll.registry();
            registry.register(entrance.source(), Token(index), Interest::READABLE)?;
        }
        let stopped = Arc::new(AtomicBool::new(false));
        let thread = thread::Builder::new().name("acceptor".to_owned()).spawn({
            let stopped = Arc::clone(&stopped);
            let part = node.vitals().part("acceptor");
            move || {
                accept(poll, &mut entrances, &node, &stopped);
                drop(entrances);
                drop(part);
            }
        })?;
        Ok(Self {
            stop,
            stopped,
            thread: Some(thread),
        })
    }
}

impl Drop for Acceptor {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
        if self.stop.wake().is_ok()
            && let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            warn!(target: "gateway::acceptor", "the acceptor panicked");
        }
    }
}

/// What clients come in by.
enum Entrance {
    Tcp(mio::net::TcpListener),
    Unix {
        /// Goes before the socket does.
        _placed: Option<Placed>,
        listener: mio::net::UnixListener,
    },
}

impl From<Listening> for Entrance {
    fn from(listening: Listening) -> Self {
        match listening.socket {
            Listener::Tcp(listener) => Self::Tcp(mio::net::TcpListener::from_std(listener)),
            Listener::Unix(listener) => Self::Unix {
                _placed: listening.placed,
                listener: mio::net::UnixListener::from_std(listener),
            },
        }
    }
}

impl Entrance {
    fn source(&mut self) -> &mut dyn Source {
        match self {
            Self::Tcp(listener) => listener,
            Self::Unix { listener, .. } => listener,
        }
    }

    fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, address) = listener.accept()?;
                Ok((stream.into(), address))
            }
            Self::Unix { listener, .. } => {
                let (stream, _) = listener.accept()?;
                Ok((like_tcp(stream), UNIX_PEER))
            }
        }
    }
}

fn accept(mut poll: Poll, entrances: &mut [Entrance], node: &Node, stopped: &AtomicBool) {
    let mut events = Events::with_capacity(4);
    let mut hands = Hands::new(node);
    let mut accepted = false;
    let mut was_full = false;
    loop {
        // Who has just accepted looks again a moment later, for many connections in one go, before
        // it waits to be told of the next one.
        let waiting = if std::mem::take(&mut accepted) {
            thread::sleep(BREATH);
            Ok(())
        } else {
            poll.poll(&mut events, None)
        };
        match waiting {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                warn!(target: "gateway::acceptor", %error, "cannot wait for connections");
                thread::sleep(PAUSE);
            }
            Ok(()) | Err(_) => {}
        }
        if stopped.load(Ordering::Relaxed) {
            return;
        }
        // One of each entrance at a time, so that many at one keep nobody out at another.
        let mut waiting_at = entrances.len();
        let mut next_entrances = (0..entrances.len()).cycle();
        while waiting_at > 0 {
            if node.descriptors().are_taken() {
                hands.give_all();
                if !std::mem::replace(&mut was_full, true) {
                    let most = node.descriptors().most();
                    warn!(target: "gateway::acceptor",
                        most,
                        "clients hold all file descriptors that they may: raise the limit of open files"
                    );
                }
                if let Err(error) = make_room(&mut poll, entrances, &mut events, node) {
                    warn!(target: "gateway::acceptor", %error, "cannot wait for connections");
                    thread::sleep(PAUSE);
                }
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                waiting_at = entrances.len();
                continue;
            }
            let Some(entrance) = next_entrances.next() else {
                return;
            };
            match entrances[entrance].accept() {
                Ok(connection) => {
                    accepted = true;
                    waiting_at = entrances.len();
                    node.descriptors().count();
                    hands.take(connection);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => waiting_at -= 1,
                Err(error) => {
                    hands.give_all();
                    warn!(target: "gateway::acceptor", %error, "cannot accept");
                    thread::sleep(PAUSE);
                    if stopped.load(Ordering::Relaxed) {
                        return;
                    }
                }
            }
        }
        hands.give_all();
        was_full = false;
    }
}

/// Connections on their way to the shards, which take turns. One piece of mail brings a shard several: to wake it for
/// each costs more than they do.
struct Hands<'a> {
    node: &'a Node,
    /// Of each shard.
    accepted: Vec<Vec<Accepted>>,
    turn: usize,
}

impl<'a> Hands<'a> {
    fn new(node: &'a Node) -> Self {
        Self {
            node,
            accepted: node.shards().iter().map(|_| Vec::new()).collect(),
            turn: 0,
        }
    }

    /// Takes one, for the next shard in turn.
    fn take(&mut self, connection: Accepted) {
        let shard = self.turn;
        self.turn = (shard + 1) % self.accepted.len();
        self.accepted[shard].push(connection);
        if self.accepted[shard].len() == HANDFUL {
            self.give(shard);
        }
    }

    fn give_all(&mut self) {
        (0..self.accepted.len()).for_each(|shard| self.give(shard));
    }

    fn give(&mut self, shard: usize) {
        let accepted = std::mem::take(&mut self.accepted[shard]);
        if accepted.is_empty() {
            return;
        }
        let serve = move |shard: &Rc<Shard>| {
            for (stream, address) in accepted {
                http::serve(shard, stream, address);
            }
        };
        self.node.shards()[shard].post(Mail::Run(Box::new(serve)));
    }
}

/// Waits until a client connects that there is no descriptor for, and has connections without a
/// session make room.
fn make_room(
    poll: &mut Poll,
    entrances: &mut [Entrance],
    events: &mut Events,
    node: &Node,
) -> io::Result<()> {
    // Asked again, it tells of those that wait already.
    for (index, entrance) in entrances.iter_mut().enumerate() {
        let registry = poll.registry();
        registry.reregister(entrance.source(), Token(index), Interest::READABLE)?;
    }
    match poll.poll(events, None) {
        Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
        Ok(()) | Err(_) => {}
    }
    if events.iter().any(|event| event.token() != STOP) {
        for shard in node.shards() {
            let job = |shard: &Rc<Shard>| shard.strangers().send_away(SENT_AWAY);
            shard.post(Mail::Run(Box::new(job)));
        }
        thread::sleep(ROOM_PAUSE);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::start::connects::{connection, node};

    #[test]
    fn a_piece_of_mail_brings_several_connections() {
        let (node, letterboxes) = node(2);
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let mut clients = Vec::new();
        let mut hands = Hands::new(&node);
        let mut take = |count| {
            for _ in 0..count {
                let (client, server) = connection(&listener);
                hands.take((server, client.local_addr().unwrap()));
                clients.push(client);
            }
            let before = letterboxes.iter().map(|it| it.len()).sum();
            hands.give_all();
            hands.give_all();
            let after: Vec<usize> = letterboxes.iter().map(|it| it.len()).collect();
            (before, after)
        };
        assert_eq!(take(10), (0, vec![1, 1]));
        // The next one is for the first of them.
        assert_eq!(take(1), (2, vec![2, 1]));
        // More of them do not wait for others.
        assert_eq!(take(2 * HANDFUL + 1), (5, vec![3, 3]));
    }
}
