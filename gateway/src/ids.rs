//! The ids of nodes, sessions and sockets.
//!
//! A [`Sid`] and a [`SocketId`] have the same shape, 20 characters of the URL-safe alphabet: four
//! for the node, one for the shard, fifteen (90 bits) at random. The one is a secret bearer that
//! names a session's home, the other is public and names a socket's.

use std::cell::RefCell;
use std::fmt;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Characters of an id.
pub const ID_LENGTH: usize = 20;

const TAG_LENGTH: usize = 4;

/// Most shards of a node: an id has one character for it.
pub const MAX_SHARDS: usize = 64;

/// The four characters by which ids name their node.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct NodeTag([u8; TAG_LENGTH]);

impl NodeTag {
    /// A tag that was drawn at random.
    pub fn random() -> Self {
        Self(random_characters())
    }

    /// The tag as text.
    pub fn as_str(&self) -> &str {
        as_text(&self.0)
    }
}

impl fmt::Debug for NodeTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The id of a session: whoever has it is the client. It has no `Debug` and no `Display`, so that
/// it cannot be logged.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Sid([u8; ID_LENGTH]);

impl Sid {
    /// A new id for a session of this node and shard.
    pub(crate) fn random(tag: NodeTag, shard: usize) -> Self {
        Self(random_id(tag, shard))
    }

    /// Reads what a client sent; `None` if no node can have issued it.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        is_id_shaped(text).then(|| text.as_bytes().try_into().ok().map(Self))?
    }

    /// The id, for the client that it belongs to.
    pub(crate) fn reveal(&self) -> &str {
        as_text(&self.0)
    }

    /// The node that issued it.
    pub(crate) fn node(&self) -> NodeTag {
        node_of(&self.0)
    }

    /// The shard that issued it.
    pub(crate) fn shard(&self) -> usize {
        shard_of(&self.0)
    }
}

/// The public id of a socket.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SocketId([u8; ID_LENGTH]);

impl SocketId {
    pub(crate) fn random(tag: NodeTag, shard: usize) -> Self {
        Self(random_id(tag, shard))
    }

    /// Reads an id; `None` if it has another shape.
    pub fn parse(text: &str) -> Option<Self> {
        is_id_shaped(text).then(|| text.as_bytes().try_into().ok().map(Self))?
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        as_text(&self.0)
    }

    /// The node whose socket it is, if it is one of a gateway node.
    pub fn node(&self) -> NodeTag {
        node_of(&self.0)
    }
}

impl fmt::Display for SocketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for SocketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether `text` has the shape of a socket id, of ours or of a Node server: no client may enter
/// such a room.
pub fn is_id_shaped(text: &str) -> bool {
    text.len() == ID_LENGTH
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

/// What the room of a user's sockets begins with.
const USER_ROOM: &str = "$user:";

/// The room that all sockets of a user are in.
pub fn user_room(user: &str) -> String {
    format!("{USER_ROOM}{user}")
}

/// The user whose sockets are in a room, if it is one of those.
pub fn user_of_room(room: &str) -> Option<&str> {
    room.strip_prefix(USER_ROOM)
}

/// Whether `room` belongs to one socket or one user: no client may enter it.
pub fn is_private(room: &str) -> bool {
    is_id_shaped(room) || user_of_room(room).is_some()
}

fn random_id(tag: NodeTag, shard: usize) -> [u8; ID_LENGTH] {
    let mut id = [0; ID_LENGTH];
    let (head, random) = id.split_at_mut(TAG_LENGTH + 1);
    head[..TAG_LENGTH].copy_from_slice(&tag.0);
    head[TAG_LENGTH] = ALPHABET[shard % MAX_SHARDS];
    random.copy_from_slice(&random_characters::<{ ID_LENGTH - TAG_LENGTH - 1 }>());
    id
}

fn node_of(id: &[u8; ID_LENGTH]) -> NodeTag {
    let mut tag = [0; TAG_LENGTH];
    tag.copy_from_slice(&id[..TAG_LENGTH]);
    NodeTag(tag)
}

fn shard_of(id: &[u8; ID_LENGTH]) -> usize {
    let character = id[TAG_LENGTH];
    ALPHABET
        .iter()
        .position(|candidate| *candidate == character)
        .unwrap_or(usize::MAX)
}

fn as_text(characters: &[u8]) -> &str {
    std::str::from_utf8(characters).unwrap_or_default()
}

/// Characters drawn from the operating system's random numbers, six bits each.
pub(crate) fn random_characters<const N: usize>() -> [u8; N] {
    POOL.with_borrow_mut(|pool| std::array::from_fn(|_| ALPHABET[usize::from(pool.next() & 63)]))
}

thread_local! {
    static POOL: RefCell<Pool> = const { RefCell::new(Pool { bytes: [0; Pool::SIZE], left: 0 }) };
}

/// Random bytes fetched ahead, since an id per system call is what connecting costs otherwise.
struct Pool {
    bytes: [u8; Self::SIZE],
    left: usize,
}

impl Pool {
    const SIZE: usize = 512;

    fn next(&mut self) -> u8 {
        if self.left == 0 {
            getrandom::fill(&mut self.bytes).expect("the operating system has random numbers");
            self.left = Self::SIZE;
        }
        self.left -= 1;
        std::mem::take(&mut self.bytes[self.left])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_names_its_node_and_shard() {
        let tag = NodeTag::random();
        for shard in 0..MAX_SHARDS {
            let sid = Sid::random(tag, shard);
            let read = Sid::parse(sid.reveal()).unwrap();
            assert!(read == sid);
            assert_eq!(read.node(), tag);
            assert_eq!(read.shard(), shard);
        }
    }

    #[test]
    fn ids_differ() {
        let tag = NodeTag::random();
        let ids: std::collections::HashSet<_> =
            (0..10_000).map(|_| SocketId::random(tag, 0)).collect();
        assert_eq!(ids.len(), 10_000);
    }

    #[test]
    fn other_shapes_are_no_ids() {
        for text in [
            "",
            "abc",
            "AAAAAAAAAAAAAAAAAAA",
            "AAAAAAAAAAAAAAAAAAAAA",
            "AAAAAAAAAA AAAAAAAAA",
            "äAAAAAAAAAAAAAAAAAA",
        ] {
            assert!(Sid::parse(text).is_none(), "{text}");
        }
    }
}
