//! What is read from files beside `gateway.toml`: secrets, and variables.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::error::{Error, Place};
use super::setting::Setting;
use super::table::{SETTINGS, setting};

/// Most bytes of a file with a secret.
const MAX_SECRET: usize = 64 * 1024;

/// Most bytes of a file with variables.
const MAX_VARIABLES: usize = 1024 * 1024;

/// What the path of a secret may begin with, in place of the directory of systemd's `LoadCredential`.
const CREDENTIALS: [&str; 2] = ["$CREDENTIALS_DIRECTORY/", "${CREDENTIALS_DIRECTORY}/"];

/// What is behind the name of a secret where a file is named that holds it.
const SUFFIX: &str = "_file";

impl Setting {
    /// Returns the name by which a file is named that holds the value, for a secret: `api.key_file`. In
    /// the environment it is `GATEWAY_API_KEY_FILE`, and `--api-key-file` among the flags.
    ///
    /// ```
    /// use gateway::config::setting;
    ///
    /// assert_eq!(setting("api.key").unwrap().file_name().as_deref(), Some("api.key_file"));
    /// assert_eq!(setting("listen").unwrap().file_name(), None);
    /// ```
    #[must_use]
    pub fn file_name(&self) -> Option<String> {
        self.secret.then(|| format!("{}{SUFFIX}", self.name))
    }
}

/// The secret that a file with this key holds: `api.key_file` is that of `api.key`.
pub(super) fn secret_of_key(name: &str) -> Option<&'static Setting> {
    setting(name.strip_suffix(SUFFIX)?).filter(|setting| setting.secret)
}

/// The secret that a file named by this variable holds.
pub(super) fn secret_of_variable(name: &str) -> Option<&'static Setting> {
    let name = name.strip_suffix("_FILE")?;
    let mut secrets = SETTINGS.iter().filter(|setting| setting.secret);
    secrets.find(|setting| setting.variable() == name)
}

/// The secret in a file, without line breaks at its end.
///
/// `place` is where the file was named. The error never holds what is in the file.
pub(super) fn read_secret(
    setting: &'static Setting,
    path: &str,
    place: &Place,
    environment: &[(OsString, OsString)],
) -> Result<(String, Place), Error> {
    let wrong = |path: &Path, problem: String| Error::SecretFile {
        setting: setting.name,
        place: place.clone(),
        path: path.to_owned(),
        problem,
    };
    let full = full_path(path, environment).map_err(|problem| wrong(Path::new(path), problem))?;
    let text = read(&full, MAX_SECRET).map_err(|problem| wrong(&full, problem))?;
    let secret = text.trim_end_matches(['\r', '\n']);
    if secret.is_empty() {
        return Err(wrong(&full, "is empty".to_owned()));
    }
    if secret.contains(['\r', '\n']) {
        return Err(wrong(&full, "has more than one line".to_owned()));
    }
    let content = Place::Content {
        path: full,
        named: Box::new(place.clone()),
    };
    Ok((secret.to_owned(), content))
}

fn full_path(path: &str, environment: &[(OsString, OsString)]) -> Result<PathBuf, String> {
    let Some(rest) = CREDENTIALS.iter().find_map(|it| path.strip_prefix(it)) else {
        return Ok(path.into());
    };
    let directory = environment
        .iter()
        .find(|(name, _)| name == "CREDENTIALS_DIRECTORY");
    match directory {
        Some((_, directory)) => Ok(Path::new(directory).join(rest)),
        None => Err("cannot be found: systemd sets no CREDENTIALS_DIRECTORY".to_owned()),
    }
}

fn read(path: &Path, most: usize) -> Result<String, String> {
    let unreadable = |error: std::io::Error| format!("cannot be read: {error}");
    let file = File::open(path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    let mut bounded = file.take(most as u64 + 1);
    bounded.read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() > most {
        return Err(format!("has more than {most} bytes"));
    }
    String::from_utf8(bytes).map_err(|_| "is not UTF-8".to_owned())
}

/// A variable of a file, and where it stands.
pub(super) struct Variable {
    pub(super) name: String,
    pub(super) value: String,
    pub(super) place: Place,
}

/// The variables in a file: lines of `NAME=VALUE`, with comments behind `#` at their beginning, and
/// quotes around values if wanted. Those that do not begin with `GATEWAY_` are left out.
pub(super) fn read_variables(path: &Path, errors: &mut Vec<Error>) -> Vec<Variable> {
    let text = match read(path, MAX_VARIABLES) {
        Ok(text) => text,
        Err(problem) => {
            errors.push(Error::Unreadable {
                path: path.to_owned(),
                problem: format!("{problem} (config.env_file)"),
            });
            return Vec::new();
        }
    };
    let mut variables = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        let place = Place::Line {
            path: path.to_owned(),
            line: index + 1,
        };
        let line = line.strip_prefix("export ").unwrap_or(line);
        let Some((name, value)) = line.split_once('=') else {
            errors.push(Error::Syntax {
                place,
                problem: "is not NAME=VALUE".to_owned(),
            });
            continue;
        };
        let name = name.trim();
        if name.starts_with("GATEWAY_") {
            variables.push(Variable {
                name: name.to_owned(),
                value: unquoted(value.trim()),
                place,
            });
        }
    }
    variables
}

/// A value without its quotes. Between double quotes a backslash stands before `"` and `\`.
fn unquoted(value: &str) -> String {
    let between = |quote| value.strip_prefix(quote)?.strip_suffix(quote);
    if let Some(plain) = between('\'') {
        return plain.to_owned();
    }
    match between('"') {
        Some(escaped) => escaped.replace("\\\"", "\"").replace("\\\\", "\\"),
        None => value.to_owned(),
    }
}

/// The value of a variable that is set to something.
pub(super) fn set<'a>(environment: &'a [(OsString, OsString)], name: &str) -> Option<&'a OsStr> {
    let mut found = environment.iter().filter(|(known, _)| known == name);
    found
        .find(|(_, value)| !value.is_empty())
        .map(|(_, value)| value.as_os_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_may_stand_between_quotes() {
        for (written, value) in [
            ("a", "a"),
            ("'a \"b'", "a \"b"),
            ("\"a b\"", "a b"),
            (r#""a \"b\" \\""#, r#"a "b" \"#),
            ("\"", "\""),
            ("'a", "'a"),
            ("", ""),
        ] {
            assert_eq!(unquoted(written), value, "{written}");
        }
    }
}
