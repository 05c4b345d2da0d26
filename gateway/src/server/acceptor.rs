//! The thread that accepts clients and hands each connection to the next shard.

use std::io;
use std::net::TcpListener;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use mio::{Events, Interest, Poll, Token, Waker};
use tracing::warn;

use crate::engine::mail::Mail;
use crate::engine::node::Node;
use crate::engine::shard::Shard;
use crate::http;

const LISTENER: Token = Token(0);
const STOP: Token = Token(1);

/// How long it waits after an error that every `accept` would meet, such as too many open files.
const PAUSE: Duration = Duration::from_millis(100);

/// How long it waits for clients to leave, when they hold as many descriptors as they may.
const ROOM_PAUSE: Duration = Duration::from_millis(5);

/// Connections without a session that each shard then sends away at a time, if others wait.
const SENT_AWAY: usize = 16;

/// How long it rests after a connection. The next one may have to wait so long; to be told of each
/// of many costs more than they do themselves.
const BREATH: Duration = Duration::from_micros(200);

/// The acceptor. Dropped, it stops and closes its listener.
///
/// It is not a task of Tokio's, which would register each connection with its own reactor only for
/// the shard to register it again.
pub(crate) struct Acceptor {
    stop: Waker,
    stopped: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Acceptor {
    pub(crate) fn start(listener: TcpListener, node: Arc<Node>) -> io::Result<Self> {
        let poll = Poll::new()?;
        let stop = Waker::new(poll.registry(), STOP)?;
        let mut listener = mio::net::TcpListener::from_std(listener);
        poll.registry()
            .register(&mut listener, LISTENER, Interest::READABLE)?;
        let stopped = Arc::new(AtomicBool::new(false));
        let thread = thread::Builder::new().name("acceptor".to_owned()).spawn({
            let stopped = Arc::clone(&stopped);
            let part = node.vitals().part("acceptor");
            move || {
                accept(poll, &mut listener, &node, &stopped);
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

fn accept(mut poll: Poll, listener: &mut mio::net::TcpListener, node: &Node, stopped: &AtomicBool) {
    let mut events = Events::with_capacity(4);
    let mut turns = (0..node.shard_count()).cycle();
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
        loop {
            if node.descriptors().are_taken() {
                if !std::mem::replace(&mut was_full, true) {
                    let most = node.descriptors().most();
                    warn!(target: "gateway::acceptor",
                        most,
                        "clients hold all file descriptors that they may: raise the limit of open files"
                    );
                }
                if let Err(error) = make_room(&mut poll, listener, &mut events, node) {
                    warn!(target: "gateway::acceptor", %error, "cannot wait for connections");
                    thread::sleep(PAUSE);
                }
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                continue;
            }
            match listener.accept() {
                Ok((stream, address)) => {
                    accepted = true;
                    let Some(turn) = turns.next() else {
                        return;
                    };
                    node.descriptors().count();
                    let stream = stream.into();
                    let serve = move |shard: &Rc<Shard>| http::serve(shard, stream, address);
                    node.shards()[turn].post(Mail::Run(Box::new(serve)));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    was_full = false;
                    break;
                }
                Err(error) => {
                    warn!(target: "gateway::acceptor", %error, "cannot accept");
                    thread::sleep(PAUSE);
                    if stopped.load(Ordering::Relaxed) {
                        return;
                    }
                }
            }
        }
    }
}

/// Waits until a client connects that there is no descriptor for, and has connections without a
/// session make room.
fn make_room(
    poll: &mut Poll,
    listener: &mut mio::net::TcpListener,
    events: &mut Events,
    node: &Node,
) -> io::Result<()> {
    // Asked again, it tells of those that wait already.
    let registry = poll.registry();
    registry.reregister(listener, LISTENER, Interest::READABLE)?;
    match poll.poll(events, None) {
        Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
        Ok(()) | Err(_) => {}
    }
    if events.iter().any(|event| event.token() == LISTENER) {
        for shard in node.shards() {
            let job = |shard: &Rc<Shard>| shard.strangers().send_away(SENT_AWAY);
            shard.post(Mail::Run(Box::new(job)));
        }
        thread::sleep(ROOM_PAUSE);
    }
    Ok(())
}
