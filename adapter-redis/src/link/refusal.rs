//! What Redis' error replies mean, by the word that they begin with.

/// What follows from an error reply. A command that got one was not executed, whichever it is.
///
/// | reply | |
/// |---|---|
/// | `BUSY` (a script runs), `LOADING`, `CLUSTERDOWN`, `TRYAGAIN`, `ERR max number of clients` | later |
/// | `MISCONF`, `OOM`, `NOREPLICAS` | writes later; reads and pub/sub go on |
/// | `READONLY`, `MASTERDOWN` | no master |
/// | `MOVED`, `ASK`, `REDIRECT` | elsewhere |
/// | `NOAUTH`, `WRONGPASS`, `DENIED`, `NOPROTO` | the login is wrong |
/// | `NOPERM` and everything else: `ERR`, `WRONGTYPE`, `CROSSSLOT`, `UNKILLABLE` .. | never |
///
/// `EXECABORT` means what made the transaction fail, if it says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// The same server takes it later.
    Later,
    /// The same server takes what writes later.
    WritesLater,
    /// The server is a replica.
    NoMaster,
    /// Another server of the cluster takes it.
    Elsewhere,
    /// Nothing is taken until the login is another.
    Login,
    /// The same command never works, until somebody changes permissions or data.
    Never,
}

/// Most characters of a reply that are told.
const MAX_WORDS: usize = 300;

impl Meaning {
    pub(crate) fn of(text: &str) -> Self {
        let word = text.split(' ').next().unwrap_or_default();
        match word {
            "BUSY" | "LOADING" | "CLUSTERDOWN" | "TRYAGAIN" => Self::Later,
            "MISCONF" | "OOM" | "NOREPLICAS" => Self::WritesLater,
            "READONLY" | "MASTERDOWN" => Self::NoMaster,
            "MOVED" | "ASK" | "REDIRECT" => Self::Elsewhere,
            "NOAUTH" | "WRONGPASS" | "DENIED" | "NOPROTO" => Self::Login,
            "EXECABORT" => match text.split_once("because of: ") {
                Some((_, cause)) => Self::of(cause),
                None => Self::Never,
            },
            "ERR" if text.starts_with("ERR max number of clients") => Self::Later,
            _ => Self::Never,
        }
    }

    /// Whether a message that was refused so is kept and sent again.
    pub(crate) fn is_kept(self) -> bool {
        match self {
            Self::Later | Self::WritesLater | Self::NoMaster | Self::Elsewhere | Self::Login => {
                true
            }
            Self::Never => false,
        }
    }
}

/// What a server said, fit for logs and for one line of JSON.
pub(crate) fn words(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let clean = text.trim().chars().map(|character| match character {
        character if character.is_control() => ' ',
        character => character,
    });
    clean.take(MAX_WORDS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_prefix_has_its_meaning() {
        let table = [
            (
                "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
                Meaning::Later,
            ),
            (
                "BUSY Redis is busy running a script. You can only call FUNCTION KILL or SHUTDOWN NOSAVE.",
                Meaning::Later,
            ),
            (
                "LOADING Redis is loading the dataset in memory",
                Meaning::Later,
            ),
            ("CLUSTERDOWN The cluster is down", Meaning::Later),
            ("CLUSTERDOWN Hash slot not served", Meaning::Later),
            (
                "TRYAGAIN Multiple keys request during rehashing of slot",
                Meaning::Later,
            ),
            ("ERR max number of clients reached", Meaning::Later),
            (
                "ERR max number of clients + cluster connections reached",
                Meaning::Later,
            ),
            (
                "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk.",
                Meaning::WritesLater,
            ),
            (
                "OOM command not allowed when used memory > 'maxmemory'.",
                Meaning::WritesLater,
            ),
            (
                "NOREPLICAS Not enough good replicas to write.",
                Meaning::WritesLater,
            ),
            (
                "EXECABORT Transaction discarded because of: MISCONF Errors writing to the AOF file: No space left",
                Meaning::WritesLater,
            ),
            (
                "EXECABORT Transaction discarded because of: BUSY Redis is busy running a script.",
                Meaning::Later,
            ),
            (
                "EXECABORT Transaction discarded because of previous errors.",
                Meaning::Never,
            ),
            (
                "READONLY You can't write against a read only replica.",
                Meaning::NoMaster,
            ),
            (
                "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
                Meaning::NoMaster,
            ),
            ("MOVED 3999 127.0.0.1:6381", Meaning::Elsewhere),
            ("ASK 3999 127.0.0.1:6381", Meaning::Elsewhere),
            ("REDIRECT 127.0.0.1:6381", Meaning::Elsewhere),
            ("NOAUTH Authentication required.", Meaning::Login),
            (
                "WRONGPASS invalid username-password pair or user is disabled.",
                Meaning::Login,
            ),
            (
                "DENIED Redis is running in protected mode because ..",
                Meaning::Login,
            ),
            ("NOPROTO unsupported protocol version", Meaning::Login),
            (
                "NOPERM User gateway has no permissions to run the 'publish' command",
                Meaning::Never,
            ),
            ("ERR unknown command 'SPUBLISH'", Meaning::Never),
            ("ERR DB index is out of range", Meaning::Never),
            (
                "WRONGTYPE Operation against a key holding the wrong kind of value",
                Meaning::Never,
            ),
            (
                "CROSSSLOT Keys in request don't hash to the same slot",
                Meaning::Never,
            ),
            (
                "UNKILLABLE Sorry the script already executed write commands",
                Meaning::Never,
            ),
            ("NOTBUSY No scripts in execution right now.", Meaning::Never),
            (
                "BUSYGROUP Consumer Group name already exists",
                Meaning::Never,
            ),
            ("BUSYKEY Target key name already exists.", Meaning::Never),
            ("NOSCRIPT No matching script.", Meaning::Never),
            ("UNBLOCKED force unblock", Meaning::Never),
            ("", Meaning::Never),
        ];
        for (text, meaning) in table {
            assert_eq!(Meaning::of(text), meaning, "{text}");
        }
    }

    #[test]
    fn words_fit_on_a_line() {
        assert_eq!(words(b"ERR a\tb\xff\r\n"), "ERR a b\u{fffd}");
        assert_eq!(words(&[b'x'; 1000]).len(), MAX_WORDS);
    }
}
