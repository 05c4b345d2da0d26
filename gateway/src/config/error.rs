//! What can be wrong with a configuration.

use std::fmt;
use std::path::PathBuf;

use super::setting::{Default as Fallback, Setting, flag};
use super::table::{names, nearest};

/// Everything that is wrong with a configuration, one line each.
#[derive(Debug, PartialEq, Eq)]
pub struct Errors(Vec<Error>);

impl Errors {
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

impl From<Vec<Error>> for Errors {
    fn from(errors: Vec<Error>) -> Self {
        Self(errors)
    }
}

/// One thing that is wrong with a configuration. Never holds the value of a secret.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A key, variable or flag that is none of ours.
    #[error("{key}: unknown {}{}", kind(place), hint(nearest.as_deref(), place))]
    Unknown {
        /// As it was written.
        key: String,
        /// Where it was written.
        place: Place,
        /// The nearest that exists, in the same spelling, if one is near.
        nearest: Option<String>,
    },
    /// A section of the file that is used as if it were a setting.
    #[error("{section}: is a section of settings, not a setting ({place})")]
    Section {
        /// Its name.
        section: String,
        /// Where it was written.
        place: Place,
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
    /// A file that is to hold a secret, and does not.
    #[error("{setting}: {path} {problem} ({place})", path = path.display())]
    SecretFile {
        /// Name of the setting.
        setting: &'static str,
        /// Where the file was named.
        place: Place,
        /// The file.
        path: PathBuf,
        /// What is wrong with it; never its content.
        problem: String,
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
    /// A setting whose feature this program was built without.
    #[error(
        "{setting}: this program was built without the feature `{feature}` ({place}); the image and the packages have \
         it, and so has what `cargo build --release --features {feature}` makes"
    )]
    Without {
        /// Name of the setting.
        setting: &'static str,
        /// The feature of the build.
        feature: &'static str,
        /// Where it was written.
        place: Place,
    },
    /// A setting that would be ignored without another.
    #[error("{setting}: has no effect without {other}, which is not set ({place})")]
    Alone {
        /// Name of the setting.
        setting: &'static str,
        /// Name of the missing one.
        other: String,
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

impl Error {
    /// A flag that does not exist. It may be meant for one of `others`, or for one of a setting. All of
    /// them are without the dashes before them.
    #[must_use]
    pub fn unknown_flag(name: &str, others: &[&str], or_setting: bool) -> Self {
        let settings = names().filter(|_| or_setting);
        let known = others
            .iter()
            .copied()
            .chain(settings.map(|it| -> &str { it }));
        let nearest = nearest(name, known);
        Self::Unknown {
            key: format!("--{name}"),
            place: Place::Flag(format!("--{name}")),
            nearest: nearest.map(|nearest| format!("--{}", flag(nearest))),
        }
    }
}

/// Where a value comes from.
#[non_exhaustive]
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
    /// A file that holds a secret.
    Content {
        /// The file.
        path: PathBuf,
        /// Where it was named.
        named: Box<Self>,
    },
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line { path, line } => write!(f, "{}, line {line}", path.display()),
            Self::Variable(name) => f.write_str(name),
            Self::Flag(name) => f.write_str(name),
            Self::Content { path, named } => {
                write!(f, "in {}, the file of {named}", path.display())
            }
        }
    }
}

impl Place {
    /// The error about a value here that the setting cannot have.
    pub(super) fn wrong(self, setting: &'static Setting, problem: String) -> Error {
        let right = match &self {
            Self::Line { .. } => setting.toml(setting.example),
            Self::Variable(name) => format!("{name}={}", setting.example),
            Self::Flag(name) => format!("{name}={}", setting.example),
            Self::Content { .. } => setting.example.to_owned(),
        };
        let example = match setting.default {
            Fallback::Text(_) => right,
            Fallback::Absent(absence) => format!("{right}, or none: {absence}"),
        };
        Error::Wrong {
            setting: setting.name,
            place: self,
            problem,
            example,
        }
    }
}

/// What is unknown.
fn kind(place: &Place) -> &'static str {
    match place {
        Place::Line { .. } | Place::Variable(_) | Place::Content { .. } => "setting",
        Place::Flag(_) => "flag",
    }
}

/// Where in the file, since other places are told by the key itself, and what may be meant.
fn hint(nearest: Option<&str>, place: &Place) -> String {
    let (place, all) = match place {
        Place::Line { .. } => (format!(" ({place})"), "gateway default-config prints all"),
        Place::Variable(_) | Place::Content { .. } => {
            (String::new(), "gateway default-config prints all")
        }
        Place::Flag(_) => (String::new(), "--help lists them"),
    };
    match nearest {
        Some(nearest) => format!("{place}; the nearest known one is {nearest}"),
        None => format!("{place}; {all}"),
    }
}
