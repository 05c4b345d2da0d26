//! A socket that joins with history: what comes for it is held until the past went out.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use adapter::recovery::{Entry, Held, Offset, Passed, Position, Rewind, Rewound, RewoundRooms};
use protocol::engineio::CloseReason;
use tokio::sync::oneshot;
use tracing::debug;

use super::Socket;
use crate::count::PacketType;
use crate::engine::outbox::Parcel;
use crate::socketio::offset::encode_past;

/// What a socket has while the past of rooms that it joins is read. It gets no event in order meanwhile: the offsets
/// that its client sees would not rise, so it could come back with one that is wrong.
pub(super) struct Rewinding {
    number: u64,
    rooms: RewoundRooms,
    /// Everything up to here that is for it in its other rooms went out.
    have: Position,
    held: Vec<Held<Packet>>,
    bytes: usize,
    done: oneshot::Sender<Told>,
}

/// What is held of an event.
struct Packet {
    parcel: Rc<Parcel>,
    kind: PacketType,
    is_volatile: bool,
}

/// What the client is told of the past that it got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Told {
    /// Whether nothing is missing.
    pub(crate) is_whole: bool,
    /// Up to where it has everything.
    pub(crate) offset: Offset,
}

/// A join with history, from before the join to the end of its past. Dropped before, it lets out what was held.
pub(crate) struct Rewinds {
    socket: Socket,
    number: u64,
    rooms: Arc<[Arc<str>]>,
    told: oneshot::Receiver<Told>,
}

/// Joins with history so far.
static NUMBERS: AtomicU64 = AtomicU64::new(1);

impl Socket {
    /// Begins to hold what comes, for a join with history. `None` if its namespace keeps none.
    pub(crate) fn begin_rewind(&self, rooms: &[String]) -> Option<Rewinds> {
        let (order, _) = self.place()?;
        self.catch_up();
        let new = self.not_in(rooms.iter().map(String::as_str));
        let new = new.into_iter().map(Arc::from).collect();
        let rooms: Arc<[Arc<str>]> = rooms.iter().map(|it| Arc::from(&**it)).collect();
        let handed = order.handed(self.0.session.shard().index());
        let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
        let (done, told) = oneshot::channel();
        let before = {
            let mut extra = self.0.extra.borrow_mut();
            let seating = extra.seating.as_mut()?;
            let handed = handed.map_or(Position::ZERO, |it| it.position);
            let have = handed.max(seating.from);
            seating.passing_mut().rewinding.replace(Box::new(Rewinding {
                number,
                rooms: RewoundRooms {
                    all: rooms.to_vec(),
                    new,
                },
                have,
                held: Vec::new(),
                bytes: 0,
                done,
            }))
        };
        // The events of a client come one at a time.
        debug_assert!(before.is_none());
        if let Some(before) = before {
            self.let_out(before.held.into_iter().map(|it| it.packet));
        }
        Some(Rewinds {
            socket: self.clone(),
            number,
            rooms,
            told,
        })
    }

    /// Holds an event, if it is to come behind the past.
    pub(super) fn hold_back(
        &self,
        packet: &Rc<Parcel>,
        kind: PacketType,
        volatile: bool,
        (place, entry): (Position, Option<&Arc<Entry>>),
    ) -> bool {
        let limit = self.replay_bytes();
        let is_too_much = {
            let mut extra = self.0.extra.borrow_mut();
            let passing = extra.seating.as_mut().and_then(|it| it.passing.as_mut());
            let rewinding = passing.and_then(|it| it.rewinding.as_mut());
            let Some(rewinding) = rewinding else {
                return false;
            };
            rewinding.held.push(Held {
                position: place,
                entry: entry.cloned(),
                packet: Packet {
                    parcel: Rc::clone(packet),
                    kind,
                    is_volatile: volatile,
                },
            });
            let before = rewinding.bytes;
            rewinding.bytes += packet.packet().frames().len();
            before <= limit && rewinding.bytes > limit
        };
        if is_too_much {
            // It comes back, and gets it all. Its namespace is being walked through now, so it leaves later.
            let socket = self.clone();
            tokio::task::spawn_local(async move {
                debug!(target: "gateway::recovery",
                    socket = %socket.id(),
                    reason = "too much came while it joined with history",
                    "client closed"
                );
                socket.close_session(CloseReason::TransportClose);
            });
        }
        true
    }

    fn replay_bytes(&self) -> usize {
        let node = self.0.session.shard().node();
        node.config().recovery.replay_bytes
    }

    /// The past is read: it goes out, and then what was held.
    pub(crate) fn rewound(&self, number: u64, rewound: Rewound) {
        // What is on its way is held, too.
        self.catch_up();
        let Some(rewinding) = self.take_rewinding(number) else {
            return;
        };
        let Rewinding {
            rooms,
            have,
            held,
            done,
            ..
        } = *rewinding;
        let told = Told {
            is_whole: rewound.is_whole,
            offset: rewound.mark,
        };
        let merged = rewound.merge(held, &rooms, |room| self.is_in(room));
        let packets = merged.into_iter().filter_map(|passed| match passed {
            Passed::Past(entry) => self.encoded(&entry, told.offset, have),
            Passed::Held(held) => Some(held.packet),
        });
        self.let_out(packets);
        let _gone = done.send(told);
    }

    fn encoded(&self, entry: &Entry, mark: Offset, have: Position) -> Option<Packet> {
        let offset = Offset {
            position: entry.position,
            ..mark
        };
        let (packet, kind) = encode_past(self.namespace(), &entry.body, offset, have)?;
        Some(Packet {
            parcel: self.0.session.parcel(packet),
            kind,
            is_volatile: false,
        })
    }

    fn let_out(&self, packets: impl Iterator<Item = Packet>) {
        for packet in packets {
            self.push(&packet.parcel, packet.kind, packet.is_volatile);
        }
    }

    fn take_rewinding(&self, number: u64) -> Option<Box<Rewinding>> {
        let mut extra = self.0.extra.borrow_mut();
        let passing = extra.seating.as_mut()?.passing.as_mut()?;
        passing.rewinding.take_if(|it| it.number == number)
    }
}

impl Rewinds {
    /// Once the join is in force: waits until the past went out. `None` if it does not.
    pub(crate) async fn read(&mut self, wants: Rewind) -> Option<Told> {
        let (order, seat) = self.socket.place()?;
        order.rewind(seat, self.number, Arc::clone(&self.rooms), wants);
        (&mut self.told).await.ok()
    }
}

impl Drop for Rewinds {
    fn drop(&mut self) {
        self.socket.catch_up();
        if let Some(rewinding) = self.socket.take_rewinding(self.number) {
            let held = rewinding.held.into_iter();
            self.socket.let_out(held.map(|it| it.packet));
            if let Some((order, seat)) = self.socket.place() {
                order.end_rewind(seat);
            }
        }
    }
}
