use std::fmt;

/// A place in the order of a namespace: microseconds since 1970 at the server that puts in order, or one more
/// than the last place, whichever is later. So it goes on to rise after another server took over.
///
/// As text it has a fixed length, and is ordered as the number is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Position(u64);

/// Names one life of a namespace's log: positions of two epochs say nothing about each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Epoch([u8; Self::LENGTH]);

/// What a client shows of the last event that it got: everything up to there it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Offset {
    /// The life of the log.
    pub epoch: Epoch,
    /// The place in it.
    pub position: Position,
}

/// Text that is no [`Offset`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadOffset {
    /// It has another length.
    #[error("an offset has {} characters", Offset::LENGTH)]
    Length,
    /// It does not begin with an epoch and a point.
    #[error("an offset begins with 8 characters of A-Z a-z 0-9 _ - and a point")]
    Epoch,
    /// It does not end with digits.
    #[error("an offset ends with 16 digits")]
    Position,
}

/// The characters of epochs and secrets, six bits each.
pub(super) const ALPHABET: &[u8; 64] =
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

impl Position {
    /// Characters of its text. With so many digits a script in Lua counts exactly (2^53), until the year 2255.
    pub const LENGTH: usize = 16;
    /// Before everything.
    pub const ZERO: Self = Self(0);
    /// Behind everything.
    pub const MAX: Self = Self(9_007_199_254_740_991);

    /// The last place that somebody else may show: the year 2200. A place that is made up leaves as many behind it as
    /// ever are needed.
    pub const LATEST: Self = Self(7_258_118_400_000_000);

    /// The place of this number; what exceeds [`MAX`](Self::MAX) is that.
    pub fn new(number: u64) -> Self {
        Self(number.min(Self::MAX.0))
    }

    /// Its number.
    pub fn number(self) -> u64 {
        self.0
    }

    /// The next place, when the server's clock says `now`, in microseconds.
    pub fn after(self, now: u64) -> Self {
        Self::new(now.max(self.0.saturating_add(1)))
    }

    /// So many microseconds before.
    pub fn back(self, microseconds: u64) -> Self {
        Self(self.0.saturating_sub(microseconds))
    }

    /// The place of a number that somebody else shows; `None` if it is behind [`LATEST`](Self::LATEST).
    pub fn shown(number: u64) -> Option<Self> {
        (number <= Self::LATEST.0).then_some(Self(number))
    }

    /// Reads its text; `None` if it is none, or behind [`LATEST`](Self::LATEST).
    pub fn parse(text: &str) -> Option<Self> {
        let is_legal = text.len() == Self::LENGTH && text.bytes().all(|it| it.is_ascii_digit());
        Self::shown(text.parse().ok().filter(|_| is_legal)?)
    }
}

impl Epoch {
    /// Characters of its text.
    pub const LENGTH: usize = 8;

    /// An epoch of random bits, of which 48 count.
    pub fn new(random: u64) -> Self {
        let digit = |index: usize| ALPHABET[(random >> (6 * index)) as usize % ALPHABET.len()];
        Self(std::array::from_fn(digit))
    }

    /// Reads its text; `None` if it is none.
    pub fn parse(text: &str) -> Option<Self> {
        let epoch: [u8; Self::LENGTH] = text.as_bytes().try_into().ok()?;
        let is_legal = epoch.iter().all(|it| ALPHABET.contains(it));
        is_legal.then_some(Self(epoch))
    }
}

impl Offset {
    /// Characters of its text.
    pub const LENGTH: usize = Epoch::LENGTH + 1 + Position::LENGTH;

    /// Its text with an event of the past. A client shows the offset of the last event when it comes back; if it has
    /// what is behind that, the text says so.
    pub fn text_of_past(self, have: Position) -> String {
        match have > self.position {
            true => format!("{self}{HAVE}{have}"),
            false => self.to_string(),
        }
    }

    /// The offset of an event that a client shows, as it is in the log.
    pub fn in_log(text: &str) -> &str {
        text.split_once(HAVE).map_or(text, |(offset, _)| offset)
    }

    /// The offset up to which a client has everything, that shows this one. What is none stays as it is.
    pub fn to_come_back_with(text: &str) -> String {
        let parts = text.split_once(HAVE);
        let parts = parts.and_then(|(offset, have)| Some((offset.split_once('.')?.0, have)));
        match parts {
            Some((epoch, have)) => format!("{epoch}.{have}"),
            None => text.to_owned(),
        }
    }

    /// Reads what a client shows.
    ///
    /// # Errors
    ///
    /// It is none, for this reason.
    pub fn parse(text: &str) -> Result<Self, BadOffset> {
        if text.len() != Self::LENGTH {
            return Err(BadOffset::Length);
        }
        let (epoch, position) = text.split_once('.').ok_or(BadOffset::Epoch)?;
        Ok(Self {
            epoch: Epoch::parse(epoch).ok_or(BadOffset::Epoch)?,
            position: Position::parse(position).ok_or(BadOffset::Position)?,
        })
    }
}

/// Between the offset of an event of the past, and the place up to which the client has everything.
const HAVE: char = '~';

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016}", self.0)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.0).expect("made of ASCII"))
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.epoch, self.position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_ordered_as_the_number_is() {
        let numbers = [0, 9, 10, 1_795_837_030_159_000, Position::LATEST.number()];
        let places = numbers.map(Position::new);
        let texts = places.map(|place| place.to_string());
        assert!(texts.is_sorted() && texts.iter().all(|it| it.len() == Position::LENGTH));
        assert_eq!(texts.map(|it| Position::parse(&it).unwrap()), places);
        assert_eq!(Position::new(u64::MAX), Position::MAX);
    }

    #[test]
    fn a_position_rises_when_the_clock_does_not() {
        let place = Position::new(1000);
        assert_eq!(place.after(5000), Position::new(5000));
        assert_eq!(place.after(1000), Position::new(1001));
        assert_eq!(place.after(3), Position::new(1001));
        assert_eq!(Position::MAX.after(u64::MAX), Position::MAX);
    }

    #[test]
    fn an_offset_is_read_back() {
        for random in [0, 1, u64::MAX, 0x1234_5678_9abc_def0] {
            let offset = Offset {
                epoch: Epoch::new(random),
                position: Position::new(1_795_837_030_159_000),
            };
            let text = offset.to_string();
            assert_eq!(text.len(), Offset::LENGTH);
            assert_eq!(Offset::parse(&text), Ok(offset));
        }
    }

    #[test]
    fn the_past_tells_how_far_the_client_is_whole() {
        let offset = Offset {
            epoch: Epoch::new(0),
            position: Position::new(7),
        };
        for (have, text, to_come_back_with) in [
            (
                9,
                "AAAAAAAA.0000000000000007~0000000000000009",
                "AAAAAAAA.0000000000000009",
            ),
            (7, "AAAAAAAA.0000000000000007", "AAAAAAAA.0000000000000007"),
            (0, "AAAAAAAA.0000000000000007", "AAAAAAAA.0000000000000007"),
        ] {
            assert_eq!(offset.text_of_past(Position::new(have)), text);
            assert_eq!(Offset::in_log(text), offset.to_string());
            assert_eq!(Offset::to_come_back_with(text), to_come_back_with);
        }
        assert_eq!(Offset::to_come_back_with("no offset"), "no offset");
    }

    #[test]
    fn hostile_offsets_are_refused_with_a_reason() {
        use BadOffset::{Epoch, Length, Position};
        for (text, reason) in [
            ("", Length),
            ("AAAAAAAA.000000000000001", Length),
            ("1795837030159-0", Length),
            ("AAAAAAAA-0000000000000001", Epoch),
            ("AAAA*AAA.0000000000000001", Epoch),
            ("AAAAAAA.00000000000000010", Epoch),
            ("AAAAAAAA.+000000000000001", Position),
            ("AAAAAAAA.00000000000000 1", Position),
            ("AAAAAAAA.9999999999999999", Position),
            ("AAAAAAAA.7258118400000001", Position),
            ("éAAAAAA.0000000000000001", Epoch),
        ] {
            assert_eq!(Offset::parse(text), Err(reason), "{text}");
        }
    }
}
