//! The places that settings are given in: the file, the environment, the command line.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::check::Given;
use super::error::{Error, Place};
use super::from_file;
use super::setting::{self, Setting};
use super::table::{SETTINGS, names, nearest, setting};
use super::value::Shape;

/// The variable that names the file.
const FILE_VARIABLE: &str = "GATEWAY_CONFIG";

/// The variables that name the commit and its date at build time; they may still be there when the program
/// runs.
const COMMIT_VARIABLES: [&str; 2] = ["GATEWAY_COMMIT", "GATEWAY_COMMIT_DATE"];

/// The setting that names a file with variables.
const ENV_FILE: &str = "config.env_file";

/// The file that is read without being named.
const USUAL_FILE: &str = "gateway.toml";

/// Where a configuration is read from: the file, the environment, the flags.
///
/// Without any of them the configuration has the defaults, or what `gateway.toml` says in the working
/// directory. A flag counts more than the environment, and that more than the file.
///
/// ```
/// use gateway::config::{Config, Sources};
///
/// let sources = Sources {
///     environment: vec![("GATEWAY_ENGINE_PING_TIMEOUT".into(), "5s".into())],
///     ..Sources::default()
/// };
/// assert_eq!(Config::load(&sources)?.engine.ping_timeout.as_secs(), 5);
/// # Ok::<(), gateway::config::Errors>(())
/// ```
#[expect(
    clippy::exhaustive_structs,
    reason = "its users make it, field by field"
)]
#[derive(Default)]
pub struct Sources {
    /// The file that was named on the command line.
    pub file: Option<PathBuf>,
    /// The environment. Variables that do not begin with `GATEWAY_` are ignored.
    pub environment: Vec<(OsString, OsString)>,
    /// The flags for settings, each at most once.
    pub flags: Vec<(&'static Setting, String)>,
    /// The flags that name files with secrets, each at most once.
    pub secret_files: Vec<(&'static Setting, String)>,
}

impl Sources {
    /// Returns the file that is read: the one named on the command line, else by `GATEWAY_CONFIG`, else
    /// `gateway.toml` in the working directory if it exists.
    #[must_use]
    pub fn path(&self) -> Option<PathBuf> {
        let named = || {
            let (_, path) = self
                .environment
                .iter()
                .find(|(name, path)| name == FILE_VARIABLE && !path.is_empty())?;
            Some(PathBuf::from(path))
        };
        let usual = || Some(PathBuf::from(USUAL_FILE)).filter(|path| path.exists());
        self.file.clone().or_else(named).or_else(usual)
    }

    /// Returns the variables of the environment that look like settings and are none, for a warning.
    #[must_use]
    pub fn foreign(&self) -> Vec<Foreign> {
        let environment = self.environment.iter();
        environment
            .filter_map(|(name, value)| foreign(name, value))
            .collect()
    }

    /// Tells all that is given, or what is wrong with it, to what makes a fingerprint.
    pub(crate) fn print(&self, to: &mut impl Hasher) {
        let mut errors = Vec::new();
        for given in self.read(&mut errors) {
            (given.setting.name, given.text).hash(to);
        }
        errors.iter().for_each(|it| it.to_string().hash(to));
    }

    /// All that is given, what counts less before what counts more.
    pub(super) fn read(&self, errors: &mut Vec<Error>) -> Vec<Given> {
        let mut given = Vec::new();
        if let Some(path) = self.path() {
            match std::fs::read_to_string(&path) {
                Ok(text) => given = walk(&path, &text, &self.environment, errors),
                Err(error) => errors.push(Error::Unreadable {
                    path,
                    problem: error.to_string(),
                }),
            }
        }
        if let Some(path) = self.env_file(&given) {
            given.extend(self.variables_of(&path, errors));
        }
        let mut seen = BTreeSet::new();
        for (name, value) in &self.environment {
            let place = Place::Variable(name.to_string_lossy().into_owned());
            let variable = (name.as_os_str(), value.as_os_str(), place);
            given.extend(self.variable(variable, &mut seen, errors));
        }
        given.extend(self.flags.iter().map(|(setting, text)| Given {
            setting,
            text: text.clone(),
            place: Place::Flag(format!("--{}", setting.flag())),
        }));
        for (setting, path) in &self.secret_files {
            let place = Place::Flag(format!("--{}-file", setting.flag()));
            if self.flags.iter().any(|(flag, _)| flag.name == setting.name) {
                let setting = setting.name;
                errors.push(Error::Twice { setting, place });
                continue;
            }
            given.extend(secret(setting, path, &place, &self.environment, errors));
        }
        given
    }

    /// The file with variables: the one that the flag names, else the environment, else the file.
    fn env_file(&self, given: &[Given]) -> Option<PathBuf> {
        let named = |setting: &Setting| setting.name == ENV_FILE;
        let flag = self.flags.iter().find(|(setting, _)| named(setting));
        let flag = flag.map(|(_, path)| path.clone());
        let variable = || {
            let value = from_file::set(&self.environment, &setting::variable(ENV_FILE))?;
            value.to_str().map(str::to_owned)
        };
        let file = || {
            let given = given.iter().find(|given| named(given.setting))?;
            Some(given.text.clone())
        };
        let path = flag.or_else(variable).or_else(file)?;
        (path != "none").then(|| path.into())
    }

    /// What the file with variables gives.
    fn variables_of(&self, path: &Path, errors: &mut Vec<Error>) -> Vec<Given> {
        let mut given = Vec::new();
        let mut seen = BTreeSet::new();
        for from_file::Variable { name, value, place } in from_file::read_variables(path, errors) {
            if [FILE_VARIABLE, &setting::variable(ENV_FILE)].contains(&&*name) {
                let problem =
                    format!("{name} has no effect here: it counts in the environment alone");
                errors.push(Error::Syntax { place, problem });
            } else if of_variable(&name).is_none() {
                let nearest = name
                    .strip_prefix("GATEWAY_")
                    .and_then(|it| nearest(it, names()));
                errors.push(Error::Unknown {
                    nearest: nearest.map(setting::variable),
                    key: name,
                    place,
                });
            } else {
                let variable = (name.as_ref(), value.as_ref(), place);
                given.extend(self.variable(variable, &mut seen, errors));
            }
        }
        given
    }

    /// What a variable gives. An empty one gives nothing, since that is how Compose and Kubernetes
    /// spell one that is not there.
    fn variable(
        &self,
        (name, value, place): (&OsStr, &OsStr, Place),
        seen: &mut BTreeSet<&'static str>,
        errors: &mut Vec<Error>,
    ) -> Option<Given> {
        let (setting, spelling) = of_variable(name.to_str()?)?;
        if value.is_empty() {
            return None;
        }
        if !seen.insert(setting.name) {
            let setting = setting.name;
            errors.push(Error::Twice { setting, place });
            return None;
        }
        match (value.to_str(), spelling) {
            (Some(text), Spelling::Value) => Some(Given {
                setting,
                text: text.to_owned(),
                place,
            }),
            (Some(path), Spelling::File) => {
                secret(setting, path, &place, &self.environment, errors)
            }
            (None, _) => {
                errors.push(place.wrong(setting, "is not UTF-8".to_owned()));
                None
            }
        }
    }
}

/// What stands where a setting is given.
#[derive(Clone, Copy)]
enum Spelling {
    /// The value.
    Value,
    /// The path of a file with the value.
    File,
}

fn of_variable(name: &str) -> Option<(&'static Setting, Spelling)> {
    let plain = SETTINGS.iter().find(|it| it.variable() == name);
    let plain = plain.map(|setting| (setting, Spelling::Value));
    plain.or_else(|| Some((from_file::secret_of_variable(name)?, Spelling::File)))
}

/// What a file with a secret gives.
fn secret(
    setting: &'static Setting,
    path: &str,
    place: &Place,
    environment: &[(OsString, OsString)],
    errors: &mut Vec<Error>,
) -> Option<Given> {
    match from_file::read_secret(setting, path, place, environment) {
        Ok((text, place)) => Some(Given {
            setting,
            text,
            place,
        }),
        Err(error) => {
            errors.push(error);
            None
        }
    }
}

/// What the text of a file gives, where there is no environment.
pub(super) fn file(path: &Path, text: &str, errors: &mut Vec<Error>) -> Vec<Given> {
    walk(path, text, &[], errors)
}

fn walk(
    path: &Path,
    text: &str,
    environment: &[(OsString, OsString)],
    errors: &mut Vec<Error>,
) -> Vec<Given> {
    let (table, faults) = DeTable::parse_recoverable(text);
    let mut walk = Walk {
        path,
        text,
        environment,
        seen: BTreeSet::new(),
        given: Vec::new(),
        errors,
    };
    for fault in &faults {
        let place = walk.place(fault.span().map_or(0, |span| span.start));
        walk.errors.push(Error::Syntax {
            place,
            problem: fault.message().to_owned(),
        });
    }
    if faults.is_empty() {
        walk.table(table.get_ref(), "");
    }
    walk.given
}

/// The way through a file.
struct Walk<'a> {
    path: &'a Path,
    text: &'a str,
    environment: &'a [(OsString, OsString)],
    seen: BTreeSet<&'static str>,
    given: Vec<Given>,
    errors: &'a mut Vec<Error>,
}

impl Walk<'_> {
    fn place(&self, offset: usize) -> Place {
        let before = self.text.as_bytes().iter().take(offset);
        Place::Line {
            path: self.path.to_owned(),
            line: 1 + before.filter(|byte| **byte == b'\n').count(),
        }
    }

    /// `above` is the name of the table with a dot behind it.
    fn table(&mut self, table: &DeTable<'_>, above: &str) {
        let mut entries: Vec<_> = table.iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        for (key, value) in entries {
            let name = format!("{above}{}", key.get_ref());
            let secret = from_file::secret_of_key(&name);
            match (setting(&name), value.get_ref()) {
                (Some(setting), value) => self.value((setting, Spelling::Value), key, value),
                (None, value) if secret.is_some() => {
                    let secret = secret.map(|setting| (setting, Spelling::File));
                    secret.into_iter().for_each(|it| self.value(it, key, value));
                }
                (None, DeValue::Table(inner)) if !inner.is_empty() => {
                    self.table(inner, &format!("{name}."));
                }
                (None, DeValue::Table(_)) if is_section(&name) => {}
                (None, _) if is_section(&name) => self.errors.push(Error::Section {
                    place: self.place(key.span().start),
                    section: name,
                }),
                (None, _) => self.errors.push(Error::Unknown {
                    nearest: nearest(&name, names()).map(str::to_owned),
                    place: self.place(key.span().start),
                    key: name,
                }),
            }
        }
    }

    fn value(
        &mut self,
        (setting, spelling): (&'static Setting, Spelling),
        key: &Spanned<impl Sized>,
        value: &DeValue<'_>,
    ) {
        let place = self.place(key.span().start);
        if !self.seen.insert(setting.name) {
            let setting = setting.name;
            self.errors.push(Error::Twice { setting, place });
            return;
        }
        if let Spelling::File = spelling {
            match value.as_str() {
                Some(path) => {
                    let given = secret(setting, path, &place, self.environment, self.errors);
                    self.given.extend(given);
                }
                None => self.errors.push(Error::SecretFile {
                    setting: setting.name,
                    path: PathBuf::new(),
                    problem: format!("should be the path of a file, not {}", value.type_str()),
                    place,
                }),
            }
            return;
        }
        match text_of(setting, value) {
            Ok(text) => self.given.push(Given {
                setting,
                text,
                place,
            }),
            Err(problem) => self.errors.push(place.wrong(setting, problem)),
        }
    }
}

fn is_section(name: &str) -> bool {
    SETTINGS
        .iter()
        .any(|setting| setting.section() == Some(name))
}

/// The value as it would stand in a variable or a flag.
fn text_of(setting: &Setting, value: &DeValue<'_>) -> Result<String, String> {
    match (setting.shape, value) {
        (
            Shape::Text | Shape::TextOrList | Shape::Places | Shape::Measure,
            DeValue::String(text),
        ) => Ok(text.to_string()),
        (_, DeValue::String(text)) if setting.is_absent(text) => Ok(text.to_string()),
        (Shape::Number | Shape::Places | Shape::Measure, DeValue::Integer(number)) => {
            match u128::from_str_radix(number.as_str(), number.radix()) {
                Ok(number) => Ok(number.to_string()),
                Err(_) => Err(format!("{} is not a whole number", number.as_str())),
            }
        }
        (Shape::Decimal, DeValue::Integer(number)) => Ok(number.as_str().to_owned()),
        (Shape::Decimal, DeValue::Float(number)) => Ok(number.as_str().to_owned()),
        (Shape::Boolean, DeValue::Boolean(value)) => Ok(value.to_string()),
        (Shape::List | Shape::TextOrList | Shape::Places, DeValue::Array(items)) => {
            list(setting, items)
        }
        (_, value) => Err(format!(
            "should be of type {}, not {}",
            setting.kind,
            value.type_str()
        )),
    }
}

fn list(setting: &Setting, items: &DeArray<'_>) -> Result<String, String> {
    let mut texts = Vec::new();
    for item in items {
        match item.get_ref().as_str() {
            Some("") => return Err("an item of the list is empty".to_owned()),
            Some(text) if text.contains(',') && setting.secret => {
                return Err("an item of the list has a comma, which separates secrets".to_owned());
            }
            Some(text) if text.contains(',') => {
                return Err(format!("{text:?} has a comma; write an item for each part"));
            }
            Some(text) => texts.push(text),
            None => {
                let found = item.get_ref().type_str();
                return Err(format!("the list's items should be strings, not {found}"));
            }
        }
    }
    Ok(texts.join(","))
}

/// A variable of the environment that looks like a setting and is none.
///
/// Other programs have such names as well: CGI has a `GATEWAY_INTERFACE`. So this is no error, while an
/// unknown flag or key is one.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Foreign {
    /// Its name.
    pub name: String,
    /// The nearest that a setting has, if one is near.
    pub nearest: Option<String>,
}

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, nearest } = self;
        write!(f, "{name}: ignored, since no setting has this name")?;
        match nearest {
            Some(nearest) => write!(f, "; the nearest known one is {nearest}"),
            None => Ok(()),
        }
    }
}

fn foreign(name: &OsStr, value: &OsStr) -> Option<Foreign> {
    let name = name.to_string_lossy();
    let rest = name.strip_prefix("GATEWAY_")?;
    let is_ours =
        name == FILE_VARIABLE || COMMIT_VARIABLES.contains(&&*name) || of_variable(&name).is_some();
    if is_ours || value.is_empty() || is_service_link(&name, &value.to_string_lossy()) {
        return None;
    }
    let known = nearest(rest, names().chain(["config"]));
    Some(Foreign {
        nearest: known.map(setting::variable),
        name: name.into_owned(),
    })
}

/// Whether a variable is one of those that Kubernetes puts into every pod for a Service whose
/// name begins with `gateway`.
fn is_service_link(name: &str, value: &str) -> bool {
    let addressed = |(_, port): (&str, &str)| {
        let mut parts = port.split('_');
        let number = parts.next().is_some_and(|part| part.parse::<u16>().is_ok());
        let protocol = matches!(parts.next(), Some("TCP" | "UDP" | "SCTP"));
        let detail = matches!(parts.next(), None | Some("PROTO" | "PORT" | "ADDR"));
        number && protocol && detail && parts.next().is_none()
    };
    name.ends_with("_SERVICE_HOST")
        || name.ends_with("_SERVICE_PORT")
        || name.contains("_SERVICE_PORT_")
        || (name.ends_with("_PORT") && value.contains("://"))
        || name.split_once("_PORT_").is_some_and(addressed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_of_kubernetes_services_are_not_ours() {
        for (name, value) in [
            ("GATEWAY_SERVICE_HOST", "10.0.0.1"),
            ("GATEWAY_SERVICE_PORT", "3000"),
            ("GATEWAY_SERVICE_PORT_HTTP", "3000"),
            ("GATEWAY_PORT", "tcp://10.0.0.1:3000"),
            ("GATEWAY_PORT_3000_TCP", "tcp://10.0.0.1:3000"),
            ("GATEWAY_PORT_3000_TCP_PROTO", "tcp"),
            ("GATEWAY_PORT_3000_TCP_PORT", "3000"),
            ("GATEWAY_PORT_3000_TCP_ADDR", "10.0.0.1"),
            ("GATEWAY_REDIS_SERVICE_HOST", "10.0.0.2"),
        ] {
            assert!(is_service_link(name, value), "{name}");
        }
        for (name, value) in [
            ("GATEWAY_PORT", "3000"),
            ("GATEWAY_PORT_3000", "x"),
            ("GATEWAY_LISTEN_HOST", "10.0.0.1"),
        ] {
            assert!(!is_service_link(name, value), "{name}");
        }
        let ours = |setting: &Setting| is_service_link(&setting.variable(), "tcp://10.0.0.1:1");
        assert!(!SETTINGS.iter().any(ours));
    }
}
