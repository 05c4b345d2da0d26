/// The revision of Engine.IO that a client speaks, and with it that of Socket.IO.
#[expect(
    clippy::exhaustive_enums,
    reason = "clients of these two exist, and each has rules of its own"
)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Revision {
    /// Engine.IO 3, of Socket.IO 1 and 2: the client sends the pings.
    Three,
    /// Engine.IO 4, of Socket.IO 3 and 4: the server sends the pings.
    Four,
}

impl Revision {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Three, Self::Four];

    /// Its number in queries and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Three => "3",
            Self::Four => "4",
        }
    }

    /// The revision that the parameter `EIO` of a request names. Clients that name none speak the third.
    pub fn of_query(parameter: Option<&str>) -> Option<Self> {
        match parameter {
            Some("4") => Some(Self::Four),
            Some("3") | None => Some(Self::Three),
            Some(_) => None,
        }
    }
}
