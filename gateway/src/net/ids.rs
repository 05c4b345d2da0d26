//! The ids of nodes, sessions and sockets.
//!
//! A [`Sid`] and a [`SocketId`] have the same shape, 20 characters of the URL-safe alphabet: four
//! for the node, one for the shard, fifteen for the rest. The one is a secret bearer that names a
//! session's home: its rest is drawn at random (90 bits). The other is public and names a socket's.
//! Ten characters are drawn at random (60 bits), and five are a checksum. By it every node knows
//! such an id from any other name, also one of a node that it never met.
//!
//! ```
//! use gateway::ids::{is_id_shaped, is_private, user_of_room, user_room};
//!
//! let room = user_room("ann");
//! assert_eq!(user_of_room(&room), Some("ann"));
//! assert!(is_private(&room));
//! assert!(!is_private("news"));
//! assert!(is_id_shaped("0123456789abcdefghij"));
//! ```

use std::cell::RefCell;
use std::fmt;

pub use adapter::NodeTag;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Characters of an id.
pub const ID_LENGTH: usize = 20;

const TAG_LENGTH: usize = NodeTag::LENGTH;

/// Characters at the end of a socket id that are a checksum of those before: 30 bits.
const SEAL_LENGTH: usize = 5;

/// Most shards of a node: an id has one character for it.
pub const MAX_SHARDS: usize = 64;

/// A tag that was drawn at random.
pub(crate) fn random_tag() -> NodeTag {
    tag_of(&random_characters::<TAG_LENGTH>())
}

/// The id of a session, a secret: a program that has it can act as the client. It has no `Debug`
/// and no `Display`, so that it cannot be logged.
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
        let mut id = random_id(tag, shard);
        let (head, seal) = id.split_at_mut(ID_LENGTH - SEAL_LENGTH);
        seal.copy_from_slice(&seal_of(head));
        Self(id)
    }

    /// Reads an id. Returns `None` if the text has another shape.
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

    /// The shard whose socket it is, if it is one of a gateway node.
    pub(crate) fn shard(&self) -> usize {
        shard_of(&self.0)
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

/// Whether `text` has the shape of a socket id, of ours or of a Node server, as other names have
/// it, too: Firestore's, Firebase's, xid's.
pub fn is_id_shaped(text: &str) -> bool {
    text.len() == ID_LENGTH
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

/// What the room of a user's sockets begins with.
const USER_ROOM: &str = "$user:";

/// Returns the name of the room that all sockets of a user are in.
pub fn user_room(user: &str) -> String {
    format!("{USER_ROOM}{user}")
}

/// Returns the user that a room belongs to, if it is a room of one user.
pub fn user_of_room(room: &str) -> Option<&str> {
    room.strip_prefix(USER_ROOM)
}

/// Whether `room` belongs to one socket of a gateway node, of the past or of now, or to one user: no
/// client may enter it.
pub fn is_private(room: &str) -> bool {
    user_of_room(room).is_some() || is_sealed(room)
}

/// Whether `text` is a socket id of a gateway node. Of a billion other names of that shape one is
/// taken for such an id.
fn is_sealed(text: &str) -> bool {
    let Some((head, seal)) = text.as_bytes().split_at_checked(ID_LENGTH - SEAL_LENGTH) else {
        return false;
    };
    seal == seal_of(head) && is_id_shaped(text)
}

/// The checksum in a socket id. It is no secret: it need only be one that other names do not have.
/// All versions have to agree on it.
fn seal_of(head: &[u8]) -> [u8; SEAL_LENGTH] {
    // FNV-1a of 64 bits, and its upper half mixed into the lower.
    let hash = head.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mixed = (hash ^ (hash >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    std::array::from_fn(|place| {
        let shift = 64 - 6 * (place + 1);
        ALPHABET[usize::try_from(mixed >> shift & 63).unwrap_or_default()]
    })
}

fn random_id(tag: NodeTag, shard: usize) -> [u8; ID_LENGTH] {
    let mut id = [0; ID_LENGTH];
    let (head, random) = id.split_at_mut(TAG_LENGTH + 1);
    head[..TAG_LENGTH].copy_from_slice(tag.as_str().as_bytes());
    head[TAG_LENGTH] = ALPHABET[shard % MAX_SHARDS];
    random.copy_from_slice(&random_characters::<{ ID_LENGTH - TAG_LENGTH - 1 }>());
    id
}

fn node_of(id: &[u8; ID_LENGTH]) -> NodeTag {
    tag_of(&id[..TAG_LENGTH])
}

/// The tag of these characters, which stand in an id or were drawn for one.
fn tag_of(characters: &[u8]) -> NodeTag {
    NodeTag::new(as_text(characters)).expect("ids are made of the characters of tags, and read so")
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
    random_bytes().map(|byte| ALPHABET[usize::from(byte & 63)])
}

/// Bytes of the operating system's random numbers.
pub(crate) fn random_bytes<const N: usize>() -> [u8; N] {
    POOL.with_borrow_mut(Pool::next)
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

    /// Takes some, which nobody gets again.
    fn next<const N: usize>(&mut self) -> [u8; N] {
        const { assert!(N <= Self::SIZE) };
        if self.left < N {
            getrandom::fill(&mut self.bytes).expect("the operating system has random numbers");
            self.left = Self::SIZE;
        }
        self.left -= N;
        let mut taken = [0; N];
        taken.swap_with_slice(&mut self.bytes[self.left..self.left + N]);
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_names_its_node_and_shard() {
        let tag = random_tag();
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
        let tag = random_tag();
        let ids: std::collections::HashSet<_> =
            (0..10_000).map(|_| SocketId::random(tag, 0)).collect();
        assert_eq!(ids.len(), 10_000);
    }

    #[test]
    fn every_node_knows_the_id_of_a_socket() {
        for shard in 0..1000 {
            let id = SocketId::random(random_tag(), shard);
            assert!(is_private(id.as_str()), "{id}");
            assert_eq!(SocketId::parse(id.as_str()), Some(id));
        }
        // What it is made of must not change: nodes of all versions have to agree.
        assert_eq!(&seal_of(b"abcdAzyxwvutsrq"), b"gf5pd");
    }

    const MANY: u64 = 1_000_000;

    type Make<'a> = &'a dyn Fn(&mut Random, u64) -> String;

    const ALPHANUMERIC: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

    #[test]
    fn names_that_others_make_are_not_private() {
        let mut random = Random(1);
        let kinds: [(&str, Make<'_>); 4] = [
            ("Firestore", &|random, _| random.text(ALPHANUMERIC, 20)),
            ("Firebase", &firebase),
            ("xid", &|random, number| {
                let mut id = random.text(b"0123456789abcdefghijklmnopqrstuv", 16);
                id.extend((0..4).rev().map(|place| {
                    char::from(
                        b"0123456789abcdefghijklmnopqrstuv"[(number >> (5 * place)) as usize & 31],
                    )
                }));
                id
            }),
            ("Node", &|random, number| {
                let mut id = random.text(ALPHABET, 16);
                id.extend(
                    (0..4)
                        .rev()
                        .map(|place| char::from(ALPHABET[(number >> (6 * place)) as usize & 63])),
                );
                id
            }),
        ];
        for (kind, make) in kinds {
            let taken = (0..MANY).filter(|number| is_private(&make(&mut random, *number)));
            assert_eq!(taken.count(), 0, "{kind}");
        }
        assert!(!is_private("AAAAAAAAAAAAAAAAAAAA"));
    }

    /// A push id of Firebase: the time in eight characters, then twelve at random.
    fn firebase(random: &mut Random, number: u64) -> String {
        const SORTED: &[u8] = b"-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz";
        let time = 1_780_000_000_000 + number * 1000;
        let digits = (0..8).rev();
        let digits = digits.map(|place| char::from(SORTED[(time >> (6 * place)) as usize & 63]));
        digits.collect::<String>() + &random.text(SORTED, 12)
    }

    /// The same numbers each time: SplitMix64.
    struct Random(u64);

    impl Random {
        fn next(&mut self) -> u64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        }

        fn text(&mut self, alphabet: &[u8], length: usize) -> String {
            let mut text = String::with_capacity(ID_LENGTH);
            while text.len() < length {
                for byte in self.next().to_le_bytes().iter().take(length - text.len()) {
                    text.push(char::from(alphabet[usize::from(*byte) % alphabet.len()]));
                }
            }
            text
        }
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
