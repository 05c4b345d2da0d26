//! An event of the admin namespace.

use crate::net::time::now_text;

/// Most bytes of the arguments of an event that are shown as they are.
const MAX_ARGUMENTS: usize = 1024;

/// Most characters of an event's name.
const MAX_NAME: usize = 128;

/// Most bytes of what an application keeps with a socket that are shown.
const MAX_DATA: usize = 2048;

/// What every JSON Web Token begins with, and what stands before the secret of a client that comes back.
const SECRETS: [&str; 2] = ["eyJ", "\"pid\":\""];

/// An event of the admin namespace, and its arguments: JSON values with commas between them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) event: &'static str,
    pub(crate) arguments: String,
}

impl Line {
    pub(crate) fn new(event: &'static str, arguments: String) -> Self {
        Self { event, arguments }
    }

    /// One whose arguments are texts, and then the time.
    pub(crate) fn dated(event: &'static str, texts: &[&str]) -> Self {
        let mut arguments = String::new();
        for text in texts {
            arguments.push_str(&quoted(text));
            arguments.push(',');
        }
        arguments.push_str(&date());
        Self { event, arguments }
    }

    /// One about an event of a socket.
    pub(crate) fn about(event: &'static str, namespace: &str, socket: &str, args: &str) -> Self {
        let (namespace, socket, date) = (quoted(namespace), quoted(socket), date());
        Self {
            event,
            arguments: format!("{namespace},{socket},{args},{date}"),
        }
    }
}

/// Now, as JSON.
pub(crate) fn date() -> String {
    quoted(&now_text())
}

/// What is binary in arguments.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Binary {
    pub(crate) count: usize,
    pub(crate) bytes: usize,
}

impl Binary {
    /// Of values of these sizes.
    pub(crate) fn of(sizes: impl Iterator<Item = usize>) -> Self {
        sizes.fold(Self::default(), |sum, bytes| Self {
            count: sum.count + 1,
            bytes: sum.bytes + bytes,
        })
    }
}

/// An event's name and arguments as a JSON array. What is long, binary or looks like a secret becomes a text; `shown`
/// is the beginning of the arguments without secrets.
pub(crate) fn args(name: &str, json: &str, binary: Binary, shown: &str) -> String {
    let name = quoted(&cut(name));
    if json.is_empty() {
        return format!("[{name}]");
    }
    // What is masked is no beginning of the arguments.
    let is_beginning = json.starts_with(shown.trim_end_matches('…'));
    let is_short = json.len() <= MAX_ARGUMENTS && binary.count == 0;
    if is_short && is_beginning && !has_secrets(json) {
        return format!("[{name},{json}]");
    }
    let Binary { count, bytes } = binary;
    let all = json.len() + bytes;
    let text = match count {
        0 => format!("{shown} ({all} bytes)"),
        _ => format!("{shown} ({all} bytes, {bytes} of them in {count} binary values)"),
    };
    format!("[{name},{}]", quoted(&text))
}

/// What an application keeps with a socket, as the pages take it: an object.
pub(crate) fn data(json: Option<&str>) -> serde_json::Value {
    use serde_json::{Value, json};
    let shown = json.filter(|it| it.len() <= MAX_DATA && !has_secrets(it));
    let value = shown.and_then(|it| serde_json::from_str(it).ok());
    match value {
        Some(Value::Object(mut fields)) => {
            // Node's servers keep there what pages want to know.
            fields.remove("_admin");
            Value::Object(fields)
        }
        Some(Value::Null) | None => json!({}),
        Some(value) => json!({"value": value}),
    }
}

/// The beginning of a name, which clients may make as long as a packet.
fn cut(name: &str) -> String {
    match name.char_indices().nth(MAX_NAME) {
        Some((end, _)) => format!("{}…", &name[..end]),
        None => name.to_owned(),
    }
}

fn has_secrets(json: &str) -> bool {
    SECRETS.iter().any(|secret| json.contains(secret))
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(name: &str, json: &str, shown: &str) -> String {
        args(name, json, Binary::default(), shown)
    }

    #[test]
    fn short_arguments_are_shown_as_they_are() {
        assert_eq!(plain("say", "", ""), r#"["say"]"#);
        let json = r#""x",{"y":1}"#;
        assert_eq!(plain("say", json, json), r#"["say","x",{"y":1}]"#);
        let long = format!("\"{}\"", "x".repeat(500));
        let shown = plain("say", &long, "\"xxx…");
        assert_eq!(shown, format!("[\"say\",{long}]"));
    }

    #[test]
    fn what_is_long_secret_or_binary_becomes_a_text() {
        let long = format!("\"{}\"", "x".repeat(2000));
        let shown = plain("say", &long, "\"xxx…");
        assert_eq!(shown, r#"["say","\"xxx… (2002 bytes)"]"#);
        let shown = plain("token", "\"opaque\"", "(token)");
        assert_eq!(shown, r#"["token","(token) (8 bytes)"]"#);
        let token = r#""eyJhbGciOi""#;
        let shown = plain("say", token, "\"(token)\"");
        assert_eq!(shown, r#"["say","\"(token)\" (12 bytes)"]"#);
        let placeholder = r#"{"_placeholder":true,"num":0}"#;
        let binary = Binary::of([3].into_iter());
        let shown = args("say", placeholder, binary, placeholder);
        let end = r#"(32 bytes, 3 of them in 1 binary values)"]"#;
        assert!(shown.ends_with(end), "{shown}");
        serde_json::from_str::<Vec<String>>(&shown).unwrap();
    }

    #[test]
    fn data_is_an_object_without_secrets() {
        for (json, expected) in [
            (None, "{}"),
            (Some("null"), "{}"),
            (Some("7"), r#"{"value":7}"#),
            (
                Some(r#"{"user":"ann","_admin":{"clientId":"x"}}"#),
                r#"{"user":"ann"}"#,
            ),
            (Some(r#"{"token":"eyJhbGciOi"}"#), "{}"),
            (Some("{"), "{}"),
        ] {
            assert_eq!(data(json).to_string(), expected);
        }
        let long = format!("{{\"a\":\"{}\"}}", "x".repeat(3000));
        assert_eq!(data(Some(&long)).to_string(), "{}");
    }

    #[test]
    fn texts_are_written_as_json() {
        let line = Line::dated("room_joined", &["/", "a \"room\"", "id"]);
        let start = r#""/","a \"room\"","id",""#;
        assert!(line.arguments.starts_with(start), "{}", line.arguments);
        let values: Vec<String> = serde_json::from_str(&format!("[{}]", line.arguments)).unwrap();
        assert_eq!(values.len(), 4);
    }
}
