//! `floor`: a server that does nothing but send ready frames to its sockets, one `send` each. What a real server costs
//! on top of it is its own doing. One thread, WebSocket only, and no heartbeats: for runs shorter than their interval.

mod wire;

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::SocketAddr;

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use socket2::{Domain, Socket, Type};

use crate::descriptors;
use wire::{Request, Unmasker};

/// Serves until the process is ended.
pub(crate) fn serve(address: SocketAddr) -> io::Result<()> {
    descriptors::secure(100_000)?;
    let mut floor = Floor::listen(address)?;
    writeln!(
        io::stdout(),
        "listening {}",
        floor.listener.local_addr()?.port()
    )?;
    let mut events = Events::with_capacity(1024);
    loop {
        match floor.poll.poll(&mut events, None) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            polled => polled?,
        }
        for event in &events {
            match event.token() {
                LISTENER => floor.accept()?,
                Token(socket) => floor.handle(socket, event.is_writable()),
            }
        }
    }
}

const LISTENER: Token = Token(usize::MAX);

struct Floor {
    poll: Poll,
    listener: TcpListener,
    sockets: Vec<Option<Peer>>,
    free: Vec<usize>,
    rooms: HashMap<Vec<u8>, Vec<usize>>,
    scratch: Vec<u8>,
}

struct Peer {
    tcp: TcpStream,
    unmasker: Unmasker,
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

impl Floor {
    fn listen(address: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(4096)?;
        let mut listener = TcpListener::from_std(socket.into());
        let poll = Poll::new()?;
        poll.registry()
            .register(&mut listener, LISTENER, Interest::READABLE)?;
        Ok(Self {
            poll,
            listener,
            sockets: Vec::new(),
            free: Vec::new(),
            rooms: HashMap::new(),
            scratch: vec![0; 64 << 10],
        })
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            let mut tcp = match self.listener.accept() {
                Ok((tcp, _)) => tcp,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
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
                unmasker: Unmasker::default(),
                waiting: Vec::new(),
            });
        }
    }

    fn handle(&mut self, socket: usize, writable: bool) {
        loop {
            let Some(Some(peer)) = self.sockets.get_mut(socket) else {
                return;
            };
            if writable {
                peer.flush();
            }
            let read = match peer.tcp.read(&mut self.scratch) {
                Ok(0) => return self.close(socket),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => return self.close(socket),
            };
            let Some(requests) = peer.unmasker.take(&self.scratch[..read]) else {
                return self.close(socket);
            };
            for request in requests {
                self.answer(socket, request);
            }
        }
    }

    fn answer(&mut self, socket: usize, request: Request) {
        match request {
            Request::Reply(bytes) => self.send(socket, &bytes),
            Request::Join { room, ack } => {
                self.rooms.entry(room).or_default().push(socket);
                self.send(socket, &ack);
            }
            Request::Publish { room, frame } => {
                let members = self.rooms.get(&room).map(Vec::as_slice).unwrap_or_default();
                for &member in members {
                    if let Some(Some(peer)) = self.sockets.get_mut(member) {
                        peer.send(&frame);
                    }
                }
            }
        }
    }

    fn send(&mut self, socket: usize, frame: &[u8]) {
        if let Some(Some(peer)) = self.sockets.get_mut(socket) {
            peer.send(frame);
        }
    }

    fn close(&mut self, socket: usize) {
        self.sockets[socket] = None;
        self.free.push(socket);
        for members in self.rooms.values_mut() {
            members.retain(|&member| member != socket);
        }
    }
}
