use std::sync::Arc;

/// One Redis server that channels are spread over, with a connection to publish and one to
/// subscribe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct LaneId(pub(crate) u32);

/// Which lane carries a channel.
#[derive(Debug, Clone)]
pub(crate) enum Route {
    /// There is only one.
    Single(LaneId),
    /// Each slot of a cluster has its own; `None` while nobody serves it.
    Slots(Arc<[Option<LaneId>]>),
}

/// Slots of a Redis cluster.
pub(crate) const SLOTS: usize = 16_384;

impl Route {
    /// The lane of `channel`.
    pub(crate) fn lane(&self, channel: &str) -> Option<LaneId> {
        match self {
            Self::Single(lane) => Some(*lane),
            Self::Slots(slots) => slots.get(slot(channel.as_bytes())).copied().flatten(),
        }
    }

    /// The first of `prefix#0`, `prefix#1`.. that `lane` carries.
    pub(crate) fn channel_of(&self, lane: LaneId, prefix: &str) -> Option<String> {
        let candidates = (0..SLOTS * 8).map(|number| format!("{prefix}#{number}"));
        candidates
            .into_iter()
            .find(|channel| self.lane(channel) == Some(lane))
    }
}

/// The slot of a key or channel: of what is in its first pair of braces, if there is something.
pub(crate) fn slot(key: &[u8]) -> usize {
    let tag = key.iter().position(|byte| *byte == b'{').and_then(|open| {
        let rest = &key[open + 1..];
        let close = rest.iter().position(|byte| *byte == b'}')?;
        (close > 0).then(|| &rest[..close])
    });
    usize::from(crc16(tag.unwrap_or(key))) % SLOTS
}

/// CRC16 of the XMODEM kind.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(*byte) << 8), |crc, _| match crc & 0x8000 {
            0 => crc << 1,
            _ => (crc << 1) ^ 0x1021,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_redis() {
        // As CLUSTER KEYSLOT tells them.
        let table = [
            ("123456789", 12_739),
            ("foo", 12_182),
            ("{user1000}.following", 3443),
            ("foo{}{bar}", 8363),
            ("foo{{bar}}zap", 4015),
            ("foo{bar}{zap}", 5061),
            ("", 0),
        ];
        for (key, expected) in table {
            assert_eq!(slot(key.as_bytes()), expected, "{key}");
        }
    }

    #[test]
    fn a_channel_is_found_for_every_lane() {
        let slots = (0..SLOTS).map(|slot| Some(LaneId((slot * 100 / SLOTS) as u32)));
        let route = Route::Slots(slots.collect());
        for lane in (0..100).map(LaneId) {
            let channel = route.channel_of(lane, "socket.io-gateway").unwrap();
            assert_eq!(route.lane(&channel), Some(lane));
        }
        assert_eq!(route.channel_of(LaneId(100), "x"), None);
    }
}
