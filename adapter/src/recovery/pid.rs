use std::fmt;

use super::position::ALPHABET;
use super::{BadOffset, Offset};

/// What a client shows to get its session back: a secret, and where its session begins, for those that got no
/// event yet. It is a bearer, so it stands in no log: its `Debug` hides it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pid {
    secret: PidSecret,
    /// Where the session begins.
    pub start: Offset,
}

/// The secret of a [`Pid`]: 132 random bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PidSecret([u8; Self::LENGTH]);

/// Text that is no [`Pid`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadPid {
    /// It has another length, or does not begin with a secret and a point.
    #[error("malformed pid")]
    Malformed,
    /// It does not end with an offset.
    #[error("a pid ends with an offset: {0}")]
    Start(BadOffset),
}

impl PidSecret {
    /// Characters of its text, and random bytes that it is made of.
    pub const LENGTH: usize = 22;

    /// A secret of random bytes, of which six bits each count.
    pub fn new(random: [u8; Self::LENGTH]) -> Self {
        Self(random.map(|byte| ALPHABET[usize::from(byte) % ALPHABET.len()]))
    }

    /// As text: for the wire and the store, and for nobody's eyes.
    pub fn expose(&self) -> &str {
        std::str::from_utf8(&self.0).expect("made of ASCII")
    }
}

impl Pid {
    /// Characters of its text.
    pub const LENGTH: usize = PidSecret::LENGTH + 1 + Offset::LENGTH;

    /// The pid of a session.
    pub fn new(secret: PidSecret, start: Offset) -> Self {
        Self { secret, start }
    }

    /// Its secret, by which the store finds the session.
    pub fn secret(&self) -> &PidSecret {
        &self.secret
    }

    /// As text: for the client, and for nobody else's eyes.
    pub fn expose(&self) -> String {
        format!("{}.{}", self.secret.expose(), self.start)
    }

    /// Reads what a client shows.
    ///
    /// # Errors
    ///
    /// It is none, for this reason.
    pub fn parse(text: &str) -> Result<Self, BadPid> {
        if text.len() != Self::LENGTH {
            return Err(BadPid::Malformed);
        }
        let (secret, start) = text.split_once('.').ok_or(BadPid::Malformed)?;
        let secret: [u8; PidSecret::LENGTH] = secret
            .as_bytes()
            .try_into()
            .map_err(|_| BadPid::Malformed)?;
        if !secret.iter().all(|it| ALPHABET.contains(it)) {
            return Err(BadPid::Malformed);
        }
        Ok(Self {
            secret: PidSecret(secret),
            start: Offset::parse(start).map_err(BadPid::Start)?,
        })
    }
}

impl fmt::Debug for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pid")
            .field("start", &self.start)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for PidSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PidSecret")
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Epoch, Position};
    use super::*;

    #[test]
    fn a_pid_is_read_back_and_hides_its_secret() {
        let pid = pid([200; PidSecret::LENGTH]);
        let text = pid.expose();
        assert_eq!(text.len(), Pid::LENGTH);
        assert_eq!(Pid::parse(&text), Ok(pid));
        let shown = format!("{pid:?} {:?}", pid.secret());
        assert!(!shown.contains(pid.secret().expose()), "{shown}");
        const { assert!(PidSecret::LENGTH * 6 >= 120) }
    }

    #[test]
    fn hostile_pids_are_refused_with_a_reason() {
        let text = pid([1; PidSecret::LENGTH]).expose();
        for bad in [
            "",
            "J2ul0LkVwDBp18O-AAAB",
            &text[1..],
            &text.replace('.', "-"),
            &text.replacen('B', "*", 1),
            &format!("{}é", &text[2..]),
        ] {
            assert_eq!(Pid::parse(bad), Err(BadPid::Malformed), "{bad}");
        }
        let bad = format!("{}x", &text[..text.len() - 1]);
        assert_eq!(Pid::parse(&bad), Err(BadPid::Start(BadOffset::Position)));
    }

    fn pid(random: [u8; PidSecret::LENGTH]) -> Pid {
        let start = Offset {
            epoch: Epoch::new(7),
            position: Position::new(5),
        };
        Pid::new(PidSecret::new(random), start)
    }
}
