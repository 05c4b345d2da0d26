use crate::engineio::Revision;

/// How a session's client wants packets: what is encoded once for all sessions that have it in common.
#[expect(
    clippy::exhaustive_enums,
    reason = "who encodes does something for each"
)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// JSON and attachments, of Engine.IO 4.
    Json,
    /// The same without binary frames (`b64=1`).
    JsonBase64,
    /// JSON and attachments, of Engine.IO 3.
    Old,
    /// The same without binary frames (`b64=1`).
    OldBase64,
    /// msgpack, of Engine.IO 4: each packet is one binary message.
    Msgpack,
    /// The same without binary frames (`b64=1`).
    MsgpackBase64,
}

impl Dialect {
    /// All but [`Json`](Self::Json), in the order of [`index`](Self::index).
    pub const OTHERS: [Self; 5] = [
        Self::JsonBase64,
        Self::Old,
        Self::OldBase64,
        Self::Msgpack,
        Self::MsgpackBase64,
    ];

    /// That of a client of this revision, before it has sent anything.
    pub fn of(revision: Revision, base64: bool) -> Self {
        match (revision, base64) {
            (Revision::Four, false) => Self::Json,
            (Revision::Four, true) => Self::JsonBase64,
            (Revision::Three, false) => Self::Old,
            (Revision::Three, true) => Self::OldBase64,
        }
    }

    /// The revision of Engine.IO that it is of.
    pub fn revision(self) -> Revision {
        match self {
            Self::Json | Self::JsonBase64 | Self::Msgpack | Self::MsgpackBase64 => Revision::Four,
            Self::Old | Self::OldBase64 => Revision::Three,
        }
    }

    /// That of a client of which a first message in msgpack came.
    pub fn with_msgpack(self) -> Self {
        match self {
            Self::Json | Self::Msgpack => Self::Msgpack,
            Self::JsonBase64 | Self::MsgpackBase64 => Self::MsgpackBase64,
            Self::Old | Self::OldBase64 => self,
        }
    }

    /// Whether its packets are msgpack.
    pub fn is_msgpack(self) -> bool {
        matches!(self, Self::Msgpack | Self::MsgpackBase64)
    }

    /// Its place among [`OTHERS`](Self::OTHERS); `None` for [`Json`](Self::Json), in which every packet is made.
    pub fn index(self) -> Option<usize> {
        Self::OTHERS.into_iter().position(|other| other == self)
    }
}
