//! One Socket.IO client without any I/O: bytes in, bytes and events out. The major parts are
//! [`engine`] and [`packet`] (packets of both transports), [`websocket`], [`polling`] with [`http`], and the [`target`]
//! to reach.

pub(crate) mod engine;
pub(crate) mod http;
pub(crate) mod packet;
pub(crate) mod polling;
pub(crate) mod target;
pub(crate) mod websocket;

pub(crate) use engine::{Event, Failure};
pub(crate) use packet::Namespace;
pub(crate) use target::Target;

/// How a client's bytes travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    /// WebSocket from the start.
    WebSocket,
    /// HTTP long-polling, never upgraded.
    Polling,
}

/// Which of a client's TCP connections: polling has two, WebSocket only the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    /// The WebSocket, or the polling client's GET requests.
    Main,
    /// The polling client's POST requests.
    Post,
}

impl Lane {
    /// Both, in the order of their index.
    pub(crate) const ALL: [Self; 2] = [Self::Main, Self::Post];

    /// Index into a client's pair of connections.
    pub(crate) fn index(self) -> usize {
        match self {
            Self::Main => 0,
            Self::Post => 1,
        }
    }
}

/// Bytes that wait for a client's connections, one buffer per [`Lane`].
pub(crate) type Outputs = [Vec<u8>; 2];

/// One Engine.IO session, from the first byte to the last.
#[derive(Debug)]
pub(crate) enum Session {
    /// Over a WebSocket.
    WebSocket(websocket::Session),
    /// Over long-polling.
    Polling(polling::Session),
}

impl Session {
    /// A new session and its first request. `connect` is the payload of the Socket.IO CONNECT, empty or JSON.
    pub(crate) fn open(
        transport: Transport,
        target: &Target,
        connect: &[u8],
        outs: &mut Outputs,
    ) -> Self {
        match transport {
            Transport::WebSocket => {
                let [out, _] = outs;
                Self::WebSocket(websocket::Session::open(target, connect, out))
            }
            Transport::Polling => Self::Polling(polling::Session::open(target, connect, outs)),
        }
    }

    /// Takes what a connection has received.
    pub(crate) fn handle_bytes(
        &mut self,
        lane: Lane,
        bytes: &[u8],
        target: &Target,
        outs: &mut Outputs,
        on: &mut impl FnMut(Event<'_>),
    ) -> Result<(), Failure> {
        match self {
            Self::WebSocket(session) => {
                let [out, _] = outs;
                session.handle_bytes(bytes, target, out, on)
            }
            Self::Polling(session) => session.handle_bytes(lane, bytes, target, outs, on),
        }
    }

    /// Whether the server may close this connection without ending the session: nothing is in flight on it.
    pub(crate) fn spares(&self, lane: Lane) -> bool {
        match self {
            Self::WebSocket(_) => false,
            Self::Polling(session) => session.spares(lane),
        }
    }

    /// Sends an event as scenarios write it, such as `42["hi"]`.
    pub(crate) fn send(&mut self, packet: &[u8], target: &Target, outs: &mut Outputs) {
        match self {
            Self::WebSocket(session) => {
                let [out, _] = outs;
                session.send(packet, target, out);
            }
            Self::Polling(session) => session.send(packet, target, outs),
        }
    }
}
