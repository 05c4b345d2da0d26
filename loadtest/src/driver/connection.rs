//! A client's place in the driver: its session, its sockets, and what waits to be written.

use mio::Registry;

use super::stream::{Received, Scratch, Stream};
use crate::client::{Failure, Lane, Outputs, Session};

/// One client; connected, connecting or away.
#[derive(Debug, Default)]
pub(crate) struct Connection {
    /// The session, unless the client is away.
    pub(crate) session: Option<Session>,
    /// Bytes that the sockets have not taken yet.
    pub(crate) outs: Outputs,
    /// When things happened.
    pub(crate) pace: Pace,
    /// Index of the URL in use.
    pub(crate) target: usize,
    /// Attempts so far.
    pub(crate) attempt: u32,
    /// CONNECT payload of the next attempt, when it is not that of the run.
    pub(crate) payload: Option<Box<[u8]>>,
    streams: [Option<Stream>; 2],
    /// Left open behind the client; nobody reads them any more.
    parked: [Option<Stream>; 2],
}

impl Connection {
    /// Counts an attempt.
    pub(crate) fn begin(&mut self, now: u64) -> u32 {
        self.attempt += 1;
        self.pace = Pace {
            dialled: Some(now),
            ..Pace::default()
        };
        self.attempt
    }

    /// Whether an attempt is under way.
    pub(crate) fn dialling(&self) -> bool {
        self.pace.dialled.is_some()
    }

    /// Drops session and sockets.
    pub(crate) fn end(&mut self) {
        self.session = None;
        self.streams = [None, None];
        self.outs = Outputs::default();
        self.pace = Pace::default();
    }

    /// Leaves the sockets open until the next time, and looks at them no more.
    pub(crate) fn park(&mut self, registry: &Registry) {
        for (place, stream) in self.parked.iter_mut().zip(&mut self.streams) {
            if let Some(mut stream) = stream.take() {
                stream.deregister(registry);
                *place = Some(stream);
            }
        }
    }

    /// Whether bytes wait for a socket that does not exist.
    pub(crate) fn needs_stream(&self, lane: Lane) -> bool {
        self.streams[lane.index()].is_none() && !self.outs[lane.index()].is_empty()
    }

    /// Takes a socket that is still connecting.
    pub(crate) fn set_stream(&mut self, lane: Lane, stream: Stream) {
        self.streams[lane.index()] = Some(stream);
    }

    /// The socket is connected, or takes bytes again.
    pub(crate) fn handle_writable(&mut self, lane: Lane) -> Result<(), Failure> {
        let Some(stream) = &mut self.streams[lane.index()] else {
            return Ok(());
        };
        stream.handle_writable()?;
        self.flush(lane)
    }

    /// Writes what the socket takes.
    pub(crate) fn flush(&mut self, lane: Lane) -> Result<(), Failure> {
        match &mut self.streams[lane.index()] {
            Some(stream) => stream.flush(&mut self.outs[lane.index()]),
            None => Ok(()),
        }
    }

    /// Reads once. An end that means nothing is the end of the socket, and of nothing else.
    pub(crate) fn receive(
        &mut self,
        lane: Lane,
        scratch: &mut Scratch,
    ) -> Result<Received, Failure> {
        let Some(stream) = &mut self.streams[lane.index()] else {
            return Ok(Received::Nothing);
        };
        let received = stream.read(scratch)?;
        if received == Received::End {
            let session = self.session.as_ref();
            if !session.is_some_and(|session| session.spares(lane)) {
                return Err(Failure::Closed);
            }
            self.streams[lane.index()] = None;
            return Ok(Received::Nothing);
        }
        // What came may be part of a handshake, which has an answer and lets others go.
        self.flush(lane)?;
        Ok(received)
    }
}

/// When things happened in the life of a session.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// Start of the attempt, until it has joined.
    dialled: Option<u64>,
    heartbeat_due: u64,
    heartbeat_interval: u64,
    /// How late a heartbeat may be before the client believes the connection dead.
    heartbeat_grace: u64,
}

impl Pace {
    /// The server has told its interval and its timeout, in milliseconds.
    pub(crate) fn handle_opened(&mut self, interval: u64, timeout: u64, now: u64) {
        self.heartbeat_interval = interval.saturating_mul(1_000_000);
        self.heartbeat_grace = timeout.saturating_mul(1_000_000);
        self.heartbeat_due = now.saturating_add(self.heartbeat_interval);
    }

    /// When the connection is dead, unless a heartbeat comes until then.
    pub(crate) fn dead_at(&self) -> u64 {
        self.heartbeat_due.saturating_add(self.heartbeat_grace)
    }

    /// The first time, tells when the attempt began.
    pub(crate) fn handle_joined(&mut self) -> Option<u64> {
        self.dialled.take()
    }

    /// How late this heartbeat is.
    pub(crate) fn handle_ping(&mut self, now: u64) -> u64 {
        let late = now.saturating_sub(self.heartbeat_due);
        self.heartbeat_due = now.saturating_add(self.heartbeat_interval);
        late
    }
}
