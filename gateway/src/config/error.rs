//! What can be wrong with a configuration.

use std::fmt;
use std::path::PathBuf;

use super::setting::Setting;

/// Everything that is wrong with a configuration, one line each.
#[derive(Debug, PartialEq, Eq)]
pub struct Errors(Vec<Error>);

impl Errors {
    pub(super) fn new(errors: Vec<Error>) -> Self {
        Self(errors)
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &Error> {
        self.0.iter()
    }
}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Errors {}

/// One thing that is wrong with a configuration. Never holds the value of a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A key, variable or flag that is none of ours.
    #[error("{key}: unknown setting ({place}); the nearest known one is {nearest}")]
    Unknown {
        /// As it was written.
        key: String,
        /// Where it was written.
        place: Place,
        /// The nearest that exists, in the same spelling.
        nearest: String,
    },
    /// A value that its setting cannot have.
    #[error("{setting}: {problem} ({place}); for example {example}")]
    Wrong {
        /// Name of the setting.
        setting: &'static str,
        /// Where it was written.
        place: Place,
        /// What is wrong with it.
        problem: String,
        /// A right one, as it would stand at that place.
        example: String,
    },
    /// A setting that was given twice in one place.
    #[error("{setting}: set twice ({place})")]
    Twice {
        /// Name of the setting.
        setting: &'static str,
        /// Where it was written the second time.
        place: Place,
    },
    /// A setting whose feature does not exist yet.
    #[error("{setting}: not built yet ({place})")]
    Unbuilt {
        /// Name of the setting.
        setting: &'static str,
        /// Where it was written.
        place: Place,
    },
    /// A setting that would be ignored without another.
    #[error("{setting}: has no effect without {other}, which is not set ({place})")]
    Alone {
        /// Name of the setting.
        setting: &'static str,
        /// Name of the missing one.
        other: &'static str,
        /// Where it was written.
        place: Place,
    },
    /// A setting that does not go with another.
    #[error("{setting}: {problem}")]
    Contradiction {
        /// Name of the setting.
        setting: &'static str,
        /// What is wrong, with what to do about it.
        problem: String,
    },
    /// A file that is not TOML.
    #[error("{place}: {problem}")]
    Syntax {
        /// Where the fault is.
        place: Place,
        /// What is wrong there.
        problem: String,
    },
    /// A file that cannot be read.
    #[error("{path}: {problem}", path = path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        problem: String,
    },
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A line of the file.
    Line {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
    },
    /// An environment variable.
    Variable(String),
    /// A flag, with its dashes.
    Flag(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line { path, line } => write!(f, "{}, line {line}", path.display()),
            Self::Variable(name) => f.write_str(name),
            Self::Flag(name) => f.write_str(name),
        }
    }
}

impl Place {
    /// How a value of a setting would be written here.
    pub(super) fn spell(&self, setting: &Setting, text: &str) -> String {
        match self {
            Self::Line { .. } => setting.toml(text),
            Self::Variable(_) => format!("{}={text}", setting.variable()),
            Self::Flag(_) => format!("--{} {text}", setting.flag()),
        }
    }
}
