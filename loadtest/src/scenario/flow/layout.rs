//! Who does what: members in their rooms, a publisher for each active room, and one client that speaks to everyone.

/// Clients by number: first all members, room by room in turn, then the publishers, then the one that broadcasts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    /// How many rooms.
    pub(crate) rooms: usize,
    /// Members of each.
    pub(crate) members: usize,
    /// The first so many rooms have a publisher; the others are quiet.
    pub(crate) active: usize,
    /// Whether a client broadcasts to the whole namespace.
    pub(crate) broadcasts: bool,
}

/// What a client is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// It is in a room.
    Member(u32),
    /// It publishes to a room and is in none.
    Publisher(u32),
    /// It broadcasts, and is in no room.
    Broadcaster,
}

impl Layout {
    /// All of them.
    pub(crate) fn clients(&self) -> usize {
        self.in_rooms() + self.active + usize::from(self.broadcasts)
    }

    /// Members of all rooms.
    pub(crate) fn in_rooms(&self) -> usize {
        self.rooms * self.members
    }

    /// What a client does.
    pub(crate) fn role(&self, client: usize) -> Role {
        match client.checked_sub(self.in_rooms()) {
            None => Role::Member((client % self.rooms) as u32),
            Some(publisher) if publisher < self.active => Role::Publisher(publisher as u32),
            Some(_) => Role::Broadcaster,
        }
    }

    /// The number of the stream of messages to everyone; those to a room have the room's.
    pub(crate) fn everyone(&self) -> u32 {
        self.rooms as u32
    }

    /// All streams that somebody publishes.
    pub(crate) fn streams(&self) -> impl Iterator<Item = u32> + use<> {
        let everyone = self.broadcasts.then_some(self.everyone());
        (0..self.active as u32).chain(everyone)
    }

    /// The client that publishes a stream.
    pub(crate) fn publisher(&self, stream: u32) -> usize {
        self.in_rooms() + (stream as usize).min(self.active)
    }

    /// The stream that a client publishes.
    pub(crate) fn published_by(&self, client: usize) -> Option<u32> {
        match self.role(client) {
            Role::Member(_) => None,
            Role::Publisher(room) => Some(room),
            Role::Broadcaster => Some(self.everyone()),
        }
    }

    /// The streams that a client receives: its room's, and those to everyone.
    pub(crate) fn received_by(&self, client: usize) -> [Option<u32>; 2] {
        let everyone = self.broadcasts.then_some(self.everyone());
        match self.role(client) {
            Role::Member(room) => [Some(room), everyone],
            Role::Publisher(_) => [None, everyone],
            Role::Broadcaster => [None, None],
        }
    }

    /// How many clients receive a stream.
    pub(crate) fn receivers(&self, stream: u32) -> usize {
        if stream == self.everyone() {
            self.clients() - 1
        } else {
            self.members
        }
    }

    /// Spreads every room's members over the nodes.
    pub(crate) fn node(&self, client: usize) -> usize {
        match self.role(client) {
            Role::Member(room) => client / self.rooms + room as usize,
            Role::Publisher(_) | Role::Broadcaster => client - self.in_rooms(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAYOUT: Layout = Layout {
        rooms: 3,
        members: 4,
        active: 2,
        broadcasts: true,
    };

    #[test]
    fn every_client_has_one_role() {
        let roles: Vec<_> = (0..LAYOUT.clients())
            .map(|client| LAYOUT.role(client))
            .collect();
        assert_eq!(roles.len(), 15);
        for room in 0..3 {
            let members = roles.iter().filter(|&&role| role == Role::Member(room));
            assert_eq!(members.count(), 4);
        }
        let others = [Role::Publisher(0), Role::Publisher(1), Role::Broadcaster];
        assert_eq!(roles[12..], others);
    }

    #[test]
    fn each_stream_has_its_publisher_and_its_receivers() {
        assert_eq!(LAYOUT.streams().collect::<Vec<_>>(), [0, 1, 3]);
        for stream in LAYOUT.streams() {
            assert_eq!(LAYOUT.published_by(LAYOUT.publisher(stream)), Some(stream));
            let clients = 0..LAYOUT.clients();
            let receiving =
                clients.filter(|&client| LAYOUT.received_by(client).contains(&Some(stream)));
            assert_eq!(receiving.count(), LAYOUT.receivers(stream));
        }
    }

    #[test]
    fn members_of_a_room_are_on_all_nodes() {
        let mut nodes: Vec<_> = (0..12)
            .filter(|&client| LAYOUT.role(client) == Role::Member(1))
            .map(|client| LAYOUT.node(client) % 4)
            .collect();
        nodes.sort_unstable();
        assert_eq!(nodes, [0, 1, 2, 3]);
    }
}
