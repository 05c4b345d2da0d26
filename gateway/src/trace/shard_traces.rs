//! The traces as a shard knows them.

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::sync::Arc;

use super::{Line, MAX_TRACES, Subject, Trace};

/// The traces that a shard has to do with. What asks whether there are any reads one number.
#[derive(Default)]
pub(crate) struct ShardTraces {
    /// The places of all traces.
    any: Cell<u16>,
    addresses: Cell<u16>,
    rooms: Cell<u16>,
    /// Those of users and of sockets.
    clients: Cell<u16>,
    table: RefCell<[Option<Arc<Trace>>; MAX_TRACES]>,
}

impl ShardTraces {
    pub(crate) fn add(&self, trace: &Arc<Trace>) {
        self.table.borrow_mut()[trace.place] = Some(Arc::clone(trace));
        let kind = self.kind(trace);
        for masks in [&self.any, kind] {
            masks.set(masks.get() | trace.mask());
        }
    }

    pub(crate) fn remove(&self, trace: &Trace) {
        self.table.borrow_mut()[trace.place] = None;
        let kind = self.kind(trace);
        for masks in [&self.any, kind] {
            masks.set(masks.get() & !trace.mask());
        }
    }

    /// Whether a trace goes on.
    pub(crate) fn has(&self, trace: &Arc<Trace>) -> bool {
        let table = self.table.borrow();
        table[trace.place]
            .as_ref()
            .is_some_and(|it| Arc::ptr_eq(it, trace))
    }

    fn kind(&self, trace: &Trace) -> &Cell<u16> {
        match trace.words.of {
            Subject::Address(_) => &self.addresses,
            Subject::Room(_) => &self.rooms,
            Subject::User(_) | Subject::Socket(_) => &self.clients,
        }
    }

    pub(crate) fn is_any(&self) -> bool {
        self.any.get() != 0
    }

    pub(crate) fn has_addresses(&self) -> bool {
        self.addresses.get() != 0
    }

    pub(crate) fn has_rooms(&self) -> bool {
        self.rooms.get() != 0
    }

    pub(crate) fn has_clients(&self) -> bool {
        self.clients.get() != 0
    }

    /// The traces of an address.
    #[cold]
    pub(crate) fn of_address(&self, address: IpAddr) -> u16 {
        let address = address.to_canonical();
        self.of(|it| matches!(it, Subject::Address(traced) if traced.to_canonical() == address))
    }

    /// The traces of a room.
    #[cold]
    pub(crate) fn of_room(&self, room: &str) -> u16 {
        self.of(|it| matches!(it, Subject::Room(traced) if traced == room))
    }

    /// The traces of a user, and of a socket.
    #[cold]
    pub(crate) fn of_client(&self, user: Option<&str>, socket: &str) -> u16 {
        self.of(|it| match it {
            Subject::User(traced) => user == Some(traced),
            Subject::Socket(traced) => traced == socket,
            Subject::Room(_) | Subject::Address(_) => false,
        })
    }

    fn of(&self, concerns: impl Fn(&Subject) -> bool) -> u16 {
        let table = self.table.borrow();
        let concerned = table.iter().flatten();
        let concerned = concerned.filter(|trace| concerns(&trace.words.of));
        concerned.fold(0, |mask, trace| mask | trace.mask())
    }

    /// Writes a line for each of these traces.
    #[cold]
    pub(crate) fn write(&self, mask: u16, line: &Line) {
        let table = self.table.borrow();
        for trace in table.iter().flatten() {
            if trace.mask() & mask != 0 {
                let arguments = trace.words.arguments;
                trace.lines.put(line.to_json(&trace.node, arguments));
            }
        }
    }
}
