//! Which messages of one stream a client has got.

/// A client's memory of one stream: the numbered messages of one publisher to one room, or to everyone.
#[derive(Debug, Default)]
pub(crate) struct Track {
    /// Messages that it had already.
    pub(crate) duplicated: Vec<u32>,
    /// Messages that came behind a later one.
    pub(crate) overtaken: Vec<u32>,
    received: Vec<u64>,
    next: u32,
}

impl Track {
    /// Notes a delivery; whether it is a new one.
    pub(crate) fn deliver(&mut self, sequence: u32) -> bool {
        let (word, bit) = (sequence as usize / 64, 1 << (sequence % 64));
        if self.received.len() <= word {
            self.received.resize(word + 1, 0);
        }
        if self.received[word] & bit != 0 {
            self.duplicated.push(sequence);
            return false;
        }
        self.received[word] |= bit;
        if sequence < self.next {
            self.overtaken.push(sequence);
        } else {
            self.next = sequence + 1;
        }
        true
    }

    /// Whether it has got a message.
    pub(crate) fn has(&self, sequence: usize) -> bool {
        let word = self.received.get(sequence / 64).copied();
        word.unwrap_or_default() & (1 << (sequence % 64)) != 0
    }

    /// The number behind the highest that it has got.
    pub(crate) fn next(&self) -> u32 {
        self.next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deliveries_are_told_apart() {
        let mut track = Track::default();
        let news = [0, 2, 2, 1, 70].map(|sequence| track.deliver(sequence));
        assert_eq!(news, [true, true, false, true, true]);
        assert_eq!(track.duplicated, [2]);
        assert_eq!(track.overtaken, [1]);
        assert_eq!(track.next(), 71);
        assert!(track.has(70));
        assert!(!track.has(69));
        assert!(!track.has(700));
    }
}
