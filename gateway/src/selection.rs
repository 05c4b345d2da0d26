/// Which sockets of a namespace something concerns: the members of `rooms`, or all when there are
/// none, without those that are in a room of `except`. The room of a socket's own id is that socket.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    rooms: Vec<String>,
    except: Vec<String>,
}

impl Selection {
    /// Everybody.
    pub fn all() -> Self {
        Self::default()
    }

    /// Adds a room to those that are meant.
    pub fn to(mut self, room: impl Into<String>) -> Self {
        self.rooms.push(room.into());
        self
    }

    /// Adds a room to those that are left out.
    pub fn except(mut self, room: impl Into<String>) -> Self {
        self.except.push(room.into());
        self
    }

    /// The rooms that are meant; all sockets when there are none.
    pub fn rooms(&self) -> &[String] {
        &self.rooms
    }

    /// The rooms that are left out.
    pub fn excepted(&self) -> &[String] {
        &self.except
    }
}
