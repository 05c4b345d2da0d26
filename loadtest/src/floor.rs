//! `floor`: a server that does nothing but send ready frames to its sockets, one `send` each. What a real server costs
//! on top of it is its own doing. WebSocket only, and no heartbeats: for runs shorter than their interval.

mod wire;

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token, Waker};
use socket2::{Domain, Socket, Type};

use crate::descriptors;
use wire::{Request, Requests};

/// Serves until the process is ended. With several threads each owns its share of the sockets, and all of them send a
/// message at the same time, as servers do. What comes for rooms within `join` after a thread wrote is written together.
pub(crate) fn serve(address: SocketAddr, threads: NonZeroUsize, join: Duration) -> io::Result<()> {
    descriptors::secure(100_000)?;
    let listener = listen(address)?;
    writeln!(io::stdout(), "listening {}", listener.local_addr()?.port())?;
    let mut floors = Vec::new();
    let mut letterboxes = Vec::new();
    for _ in 0..threads.get() {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), MAIL)?;
        let (sender, letterbox) = mpsc::channel();
        letterboxes.push(Letterbox { sender, waker });
        floors.push((poll, letterbox));
    }
    let letterboxes: Arc<[Letterbox]> = letterboxes.into();
    let mut running = Vec::new();
    let mut listener = Some(listener);
    for (index, (poll, letterbox)) in floors.into_iter().enumerate() {
        let floor = Floor::new(
            index,
            poll,
            listener.take(),
            letterbox,
            Arc::clone(&letterboxes),
            Joining::new(join),
        )?;
        running.push(thread::spawn(move || floor.run()));
    }
    for thread in running {
        thread
            .join()
            .map_err(|_| io::Error::other("a thread of the floor panicked"))??;
    }
    Ok(())
}

const LISTENER: Token = Token(usize::MAX);
const MAIL: Token = Token(usize::MAX - 1);

/// What a thread is told by another.
enum Mail {
    Socket(TcpStream),
    Publish { room: Vec<u8>, frame: Arc<[u8]> },
}

struct Letterbox {
    sender: mpsc::Sender<Mail>,
    waker: Waker,
}

impl Letterbox {
    fn post(&self, mail: Mail) -> io::Result<()> {
        self.sender.send(mail).map_err(io::Error::other)?;
        self.waker.wake()
    }
}

/// One thread.
struct Floor {
    index: usize,
    poll: Poll,
    /// The first thread accepts.
    listener: Option<TcpListener>,
    accepted: usize,
    letterbox: mpsc::Receiver<Mail>,
    all: Arc<[Letterbox]>,
    sockets: Vec<Option<Peer>>,
    free: Vec<usize>,
    rooms: HashMap<Vec<u8>, Vec<usize>>,
    joining: Joining,
    scratch: Vec<u8>,
}

/// Frames of rooms that wait for others.
struct Joining {
    time: Duration,
    /// When what waits is written.
    until: Instant,
    frames: HashMap<Vec<u8>, Vec<u8>>,
}

impl Joining {
    fn new(time: Duration) -> Self {
        Self {
            time,
            until: Instant::now(),
            frames: HashMap::new(),
        }
    }

    /// Whether the frame waits.
    fn takes(&mut self, room: &[u8], frame: &[u8]) -> bool {
        let takes = !self.frames.is_empty() || Instant::now() < self.until;
        if takes {
            let frames = self.frames.entry(room.to_vec()).or_default();
            frames.extend_from_slice(frame);
        }
        takes
    }

    /// How long what waits still does; `None` if nothing waits.
    fn left(&self) -> Option<Duration> {
        let left = || self.until.saturating_duration_since(Instant::now());
        (!self.frames.is_empty()).then(left)
    }
}

struct Peer {
    tcp: TcpStream,
    requests: Requests,
    /// What the socket did not take; empty unless the reader is slow.
    waiting: Vec<u8>,
}

impl Peer {
    fn send(&mut self, frame: &[u8]) {
        if !self.waiting.is_empty() {
            self.waiting.extend_from_slice(frame);
            return;
        }
        // A dead socket is noticed by its reader.
        let sent = self.tcp.write(frame).unwrap_or(0);
        self.waiting.extend_from_slice(&frame[sent..]);
    }

    fn flush(&mut self) {
        while !self.waiting.is_empty() {
            let Ok(sent) = self.tcp.write(&self.waiting) else {
                return;
            };
            self.waiting.drain(..sent);
        }
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(4096)?;
    Ok(TcpListener::from_std(socket.into()))
}

impl Floor {
    fn new(
        index: usize,
        poll: Poll,
        mut listener: Option<TcpListener>,
        letterbox: mpsc::Receiver<Mail>,
        all: Arc<[Letterbox]>,
        joining: Joining,
    ) -> io::Result<Self> {
        if let Some(listener) = &mut listener {
            poll.registry()
                .register(listener, LISTENER, Interest::READABLE)?;
        }
        Ok(Self {
            index,
            poll,
            listener,
            accepted: 0,
            letterbox,
            all,
            sockets: Vec::new(),
            free: Vec::new(),
            rooms: HashMap::new(),
            joining,
            scratch: vec![0; 64 << 10],
        })
    }

    fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(1024);
        loop {
            match self.poll.poll(&mut events, self.joining.left()) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                polled => polled?,
            }
            for event in &events {
                match event.token() {
                    LISTENER => self.accept()?,
                    MAIL => self.take_mail()?,
                    Token(socket) => self.handle(socket, event.is_writable())?,
                }
            }
            if self.joining.left() == Some(Duration::ZERO) {
                for (room, frames) in std::mem::take(&mut self.joining.frames) {
                    self.send_to_room(&room, &frames);
                }
            }
        }
    }

    fn accept(&mut self) -> io::Result<()> {
        while let Some(listener) = &self.listener {
            let tcp = match listener.accept() {
                Ok((tcp, _)) => tcp,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            let turn = self.accepted % self.all.len();
            self.accepted += 1;
            if turn == self.index {
                self.own(tcp)?;
            } else {
                self.all[turn].post(Mail::Socket(tcp))?;
            }
        }
        Ok(())
    }

    fn take_mail(&mut self) -> io::Result<()> {
        while let Ok(mail) = self.letterbox.try_recv() {
            match mail {
                Mail::Socket(tcp) => self.own(tcp)?,
                Mail::Publish { room, frame } => self.publish(&room, &frame),
            }
        }
        Ok(())
    }

    fn own(&mut self, mut tcp: TcpStream) -> io::Result<()> {
        tcp.set_nodelay(true)?;
        let socket = self.free.pop().unwrap_or_else(|| {
            self.sockets.push(None);
            self.sockets.len() - 1
        });
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll
            .registry()
            .register(&mut tcp, Token(socket), interest)?;
        self.sockets[socket] = Some(Peer {
            tcp,
            requests: Requests::new(),
            waiting: Vec::new(),
        });
        Ok(())
    }

    fn handle(&mut self, socket: usize, writable: bool) -> io::Result<()> {
        loop {
            let Some(Some(peer)) = self.sockets.get_mut(socket) else {
                return Ok(());
            };
            if writable {
                peer.flush();
            }
            let read = match peer.tcp.read(&mut self.scratch) {
                Ok(0) => return self.close(socket),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(_) => return self.close(socket),
            };
            let Some(requests) = peer.requests.take(&mut self.scratch[..read]) else {
                return self.close(socket);
            };
            for request in requests {
                self.answer(socket, request)?;
            }
        }
    }

    fn answer(&mut self, socket: usize, request: Request) -> io::Result<()> {
        match request {
            Request::Reply(bytes) => self.send(socket, &bytes),
            Request::Join { room, ack } => {
                self.rooms.entry(room).or_default().push(socket);
                self.send(socket, &ack);
            }
            Request::Publish { room, frame } => {
                let frame: Arc<[u8]> = frame.into();
                for (index, letterbox) in self.all.iter().enumerate() {
                    if index != self.index {
                        let (room, frame) = (room.clone(), Arc::clone(&frame));
                        letterbox.post(Mail::Publish { room, frame })?;
                    }
                }
                self.publish(&room, &frame);
            }
        }
        Ok(())
    }

    fn publish(&mut self, room: &[u8], frame: &[u8]) {
        if !self.joining.takes(room, frame) {
            self.send_to_room(room, frame);
        }
    }

    fn send_to_room(&mut self, room: &[u8], frame: &[u8]) {
        let members = self.rooms.get(room).map(Vec::as_slice).unwrap_or_default();
        for &member in members {
            if let Some(Some(peer)) = self.sockets.get_mut(member) {
                peer.send(frame);
            }
        }
        self.joining.until = Instant::now() + self.joining.time;
    }

    fn send(&mut self, socket: usize, frame: &[u8]) {
        if let Some(Some(peer)) = self.sockets.get_mut(socket) {
            peer.send(frame);
        }
    }

    fn close(&mut self, socket: usize) -> io::Result<()> {
        self.sockets[socket] = None;
        self.free.push(socket);
        for members in self.rooms.values_mut() {
            members.retain(|&member| member != socket);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_soon_after_a_write_waits_for_what_follows() {
        let mut joining = Joining::new(Duration::from_secs(3600));
        assert!(!joining.takes(b"r1", b"a"), "nothing was written yet");
        assert_eq!(joining.left(), None);
        joining.until = Instant::now() + joining.time;
        for frame in [b"b", b"c"] {
            assert!(joining.takes(b"r1", frame));
        }
        assert_eq!(joining.frames[&b"r1"[..]], b"bc");
        assert!(joining.left().is_some_and(|left| !left.is_zero()));
    }

    #[test]
    fn nothing_overtakes_what_waits() {
        let mut joining = Joining::new(Duration::from_secs(3600));
        joining.until = Instant::now() + joining.time;
        assert!(joining.takes(b"r1", b"a"));
        joining.until = Instant::now();
        assert!(joining.takes(b"r1", b"b"));
        assert_eq!(joining.left(), Some(Duration::ZERO));
    }

    #[test]
    fn without_a_time_nothing_waits() {
        let mut joining = Joining::new(Duration::ZERO);
        joining.until = Instant::now() + joining.time;
        assert!(!joining.takes(b"r1", b"a"));
        assert_eq!(joining.left(), None);
    }
}
