//! The statuses that the program ends with: the one table of them, for the code, the help, the manual
//! and docs/command-line.md.

use std::process::ExitCode;

/// How the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Status {
    /// It did what it was asked for, and nothing is wrong.
    Done = 0,
    /// It could not do, or go on doing, what it was asked for; or the answer to a question is no.
    Failed = 1,
    /// It was told something wrong: a flag, a setting, a file that a setting names. The next start
    /// ends in the same way. clap's own status is the same.
    Wrong = 2,
}

impl Status {
    pub(crate) fn code(self) -> u8 {
        self as u8
    }
}

impl From<Status> for ExitCode {
    fn from(status: Status) -> Self {
        status.code().into()
    }
}

/// What the three statuses of a command mean.
pub(super) struct Row {
    pub(super) command: &'static str,
    pub(super) meanings: [&'static str; 3],
}

const UNPRINTED: &str = "standard output cannot be written";

/// Every command, in the order of the help.
pub(super) const STATUSES: &[Row] = &[
    Row {
        command: "serve",
        meanings: [
            "a signal stopped the node",
            "it cannot listen at an address, or lost a part without which it is none",
            "the configuration is wrong",
        ],
    },
    Row {
        command: "check-config",
        meanings: ["nothing is wrong", UNPRINTED, "the configuration is wrong"],
    },
    Row {
        command: "default-config",
        meanings: ["printed", UNPRINTED, "the command line is wrong"],
    },
    Row {
        command: "token",
        meanings: [
            "printed; with --verify: the token is taken",
            "with --verify: the token is refused",
            "the command line or the configuration is wrong, or has no key",
        ],
    },
    Row {
        command: "healthcheck",
        meanings: [
            "the node is ready; with --live: it lives",
            "it is not, or does not answer",
            "the configuration is wrong",
        ],
    },
    Row {
        command: "doctor",
        meanings: [
            "nothing is wrong; there may be warnings",
            "something is wrong",
            "the command line is wrong, or a file that it names",
        ],
    },
    Row {
        command: "trace",
        meanings: [
            "the trace is over, or nobody reads it any more",
            "the node does not answer, refuses, or went before the trace was over",
            "the command line or the configuration is wrong, or has no key",
        ],
    },
    Row {
        command: "top",
        meanings: [
            "printed, or left by a key",
            "the node does not answer or refuses, or this program has no terminal view",
            "the command line or the configuration is wrong, or has no key",
        ],
    },
    Row {
        command: "runbook",
        meanings: ["printed", UNPRINTED, "there is no such alert"],
    },
    Row {
        command: "completions",
        meanings: ["printed", UNPRINTED, "there is no such shell"],
    },
    Row {
        command: "man",
        meanings: [
            "printed or written",
            "it cannot be written",
            "there is no such command",
        ],
    },
    Row {
        command: "version",
        meanings: ["printed", UNPRINTED, "the command line is wrong"],
    },
];

impl Row {
    pub(super) fn of(command: &str) -> Option<&'static Self> {
        STATUSES.iter().find(|row| row.command == command)
    }
}
