use std::fmt;

use super::Format;

/// A node's name on the wire in one namespace: 6 characters of `A-Z a-z 0-9 _ -` in the classic
/// format, 16 hexadecimal digits in the sharded one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Uid {
    bytes: [u8; 16],
    length: u8,
}

impl Uid {
    /// The name of the node with `seed` in `namespace`. Every node can compute it, so that members
    /// need only tell their seed, however many namespaces there are.
    pub fn new(format: Format, seed: u64, namespace: &str) -> Self {
        const ALPHABET: &[u8; 64] =
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let hash = hash(seed, namespace.as_bytes());
        let mut bytes = [0; 16];
        let digit = |index: usize, bits: usize| (hash >> (index * bits)) as usize;
        let length = match format {
            Format::Classic { .. } => {
                for (index, byte) in bytes[..6].iter_mut().enumerate() {
                    *byte = ALPHABET[digit(index, 6) & 63];
                }
                6
            }
            Format::Sharded(_) => {
                for (index, byte) in bytes.iter_mut().enumerate() {
                    *byte = HEX[digit(index, 4) & 15];
                }
                16
            }
        };
        Self { bytes, length }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.length.into()]).expect("only ASCII is put in")
    }
}

impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// FNV-1a over `bytes`, begun with `seed` and mixed at the end as SplitMix64 does. All nodes have to
/// agree on it, whatever version they are of.
fn hash(seed: u64, bytes: &[u8]) -> u64 {
    let mut hash = seed ^ 0xcbf2_9ce4_8422_2325;
    for byte in bytes {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::SubscriptionMode;

    const CLASSIC: Format = Format::Classic {
        specific_responses: false,
    };

    #[test]
    fn uids_have_the_form_that_node_gives_them() {
        let classic = Uid::new(CLASSIC, 7, "/");
        assert_eq!(classic.as_str().len(), 6);
        let sharded = Uid::new(Format::Sharded(SubscriptionMode::Dynamic), 7, "/");
        assert_eq!(sharded.as_str().len(), 16);
        assert!(sharded.as_str().bytes().all(|it| it.is_ascii_hexdigit()));
    }

    #[test]
    fn uids_differ_by_node_and_by_namespace_and_never_change() {
        assert_eq!(Uid::new(CLASSIC, 1, "/").as_str(), "1huIcZ");
        let uids = [(1, "/"), (2, "/"), (1, "/chat"), (1, "/chau")];
        let uids = uids.map(|(seed, namespace)| Uid::new(CLASSIC, seed, namespace));
        for (index, uid) in uids.iter().enumerate() {
            assert!(!uids[..index].contains(uid));
        }
    }
}
