//! Events' arguments as backends see them: one JSON array, in which binary is
//! `{"$binary":"<base64>"}`. Text without binary is passed on as it came.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use protocol::socketio::{Arguments, MAX_ATTACHMENTS, MAX_DEPTH, json as json_text};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::socketio::event::OwnedArguments;

/// The key of an object that stands for bytes.
const MARKER: &str = "$binary";

/// Why a backend's arguments are none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadArguments {
    #[error("arguments are a JSON array")]
    NoArray,
    /// Text that no parser of JSON takes, such as half of a surrogate pair.
    #[error("the arguments cannot be read: {0}")]
    Json(String),
    /// Deeper than clients and other nodes take.
    #[error("the arguments are nested more than {MAX_DEPTH} deep")]
    TooDeep,
    #[error("the value of $binary is not base64")]
    NoBase64,
    #[error("more than {MAX_ATTACHMENTS} binary values")]
    TooMany,
}

/// Arguments for a backend: the text of a JSON array.
pub(crate) fn to_backend(arguments: Arguments<'_>) -> Box<RawValue> {
    let mark = |out: &mut String, bytes: &Bytes| {
        let bytes = STANDARD.encode(bytes);
        out.extend(["{\"", MARKER, "\":\"", &bytes, "\"}"]);
    };
    let has_binary = !arguments.attachments().is_empty();
    let marked = has_binary.then(|| arguments.replaced(mark)).flatten();
    let text = marked.as_deref().unwrap_or(arguments.json());
    RawValue::from_string(format!("[{text}]")).unwrap_or_else(|_| RawValue::NULL.to_owned())
}

/// An acknowledgement's arguments from a backend: a list, or one that is none. What is absent or null
/// is an empty list.
pub(crate) fn ack_from_backend(ack: Option<&RawValue>) -> Result<OwnedArguments, BadArguments> {
    match ack.map(RawValue::get) {
        None | Some("null") => Ok(OwnedArguments::default()),
        Some(list) if list.starts_with('[') => from_backend(ack),
        Some(value) => {
            let list = RawValue::from_string(format!("[{value}]"));
            from_backend(Some(&*list.map_err(|_| BadArguments::NoArray)?))
        }
    }
}

/// Arguments from a backend.
pub(crate) fn from_backend(array: Option<&RawValue>) -> Result<OwnedArguments, BadArguments> {
    let text = array.map_or("[]", RawValue::get);
    let inner = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'))
        .ok_or(BadArguments::NoArray)?;
    // Its syntax was checked when it was read, so that only the depth can be wrong.
    if !json_text::is_value(text) {
        return Err(BadArguments::TooDeep);
    }
    if !text.contains(MARKER) && !text.contains("_placeholder") && !text.contains("\\u") {
        return Ok(Arguments::from_raw(inner.trim(), &[]).into());
    }
    let parsed = serde_json::from_str(text);
    let mut value: Value = parsed.map_err(|error| BadArguments::Json(error.to_string()))?;
    let mut attachments = Vec::new();
    unmark(&mut value, &mut attachments)?;
    if attachments.len() > MAX_ATTACHMENTS {
        return Err(BadArguments::TooMany);
    }
    let text = value.to_string();
    let inner = &text[1..text.len() - 1];
    Ok(Arguments::from_raw(inner, &attachments).into())
}

/// Takes the binary out. What looks like a placeholder of the wire is not one: it gets no
/// attachment and is refused by no one, so its marker is renamed.
fn unmark(value: &mut Value, attachments: &mut Vec<Bytes>) -> Result<(), BadArguments> {
    match value {
        Value::Object(map) => {
            if map.len() == 1
                && let Some(Value::String(text)) = map.get(MARKER)
            {
                let bytes = STANDARD.decode(text).map_err(|_| BadArguments::NoBase64)?;
                attachments.push(bytes.into());
                *value = json!({"_placeholder": true, "num": attachments.len() - 1});
                return Ok(());
            }
            if let Some(marker) = map.remove("_placeholder") {
                map.insert("placeholder".to_owned(), marker);
            }
            map.values_mut()
                .try_for_each(|value| unmark(value, attachments))
        }
        Value::Array(values) => values
            .iter_mut()
            .try_for_each(|value| unmark(value, attachments)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn there(json: &str, attachments: &[&'static [u8]]) -> String {
        let attachments: Vec<_> = attachments
            .iter()
            .map(|it| Bytes::from_static(it))
            .collect();
        to_backend(Arguments::from_raw(json, &attachments))
            .get()
            .to_owned()
    }

    fn back(json: &str) -> Result<OwnedArguments, BadArguments> {
        from_backend(Some(&RawValue::from_string(json.to_owned()).unwrap()))
    }

    #[test]
    fn text_without_binary_passes_as_it_is() {
        let text = r#"1.10, 12345678901234567890123 ,{"b":1,"a":2}"#;
        assert_eq!(there(text, &[]), format!("[{text}]"));
        assert_eq!(back(&format!("[{text}]")).unwrap().as_ref().json(), text);
        assert_eq!(back("[]").unwrap().as_ref().json(), "");
        assert_eq!(from_backend(None).unwrap(), OwnedArguments::default());
    }

    #[test]
    fn binary_is_marked_at_any_depth() {
        let wire = r#"{"a":[{"_placeholder":true,"num":1}]},{"_placeholder":true,"num":0}"#;
        let marked = r#"[{"a":[{"$binary":"aGk="}]},{"$binary":"AAE="}]"#;
        assert_eq!(there(wire, &[&[0, 1], b"hi"]), marked);
        let arguments = back(marked).unwrap();
        let arguments = arguments.as_ref();
        assert_eq!(
            arguments.json(),
            r#"{"a":[{"_placeholder":true,"num":0}]},{"_placeholder":true,"num":1}"#
        );
        assert_eq!(arguments.attachments(), [&b"hi"[..], &[0, 1]]);
    }

    #[test]
    fn beside_binary_all_else_stays_as_it_is_written() {
        let placeholder = r#"{"_placeholder":true,"num":0}"#;
        let wire = format!(r#"1E400,12345678901234567890123,{{"b":1,"a":{placeholder}}}"#);
        let marked = r#"[1E400,12345678901234567890123,{"b":1,"a":{"$binary":"aGk="}}]"#;
        assert_eq!(there(&wire, &[b"hi"]), marked);
        let deep = |inner: &str| format!("{}{inner}{}", "[".repeat(250), "]".repeat(250));
        let expected = format!("[{}]", deep(r#"{"$binary":"aGk="}"#));
        assert_eq!(there(&deep(placeholder), &[b"hi"]), expected);
    }

    #[test]
    fn what_is_no_argument_list_is_refused() {
        assert_eq!(back("{}"), Err(BadArguments::NoArray));
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(back(&nested(MAX_DEPTH)).is_ok());
        assert_eq!(back(&nested(MAX_DEPTH + 1)), Err(BadArguments::TooDeep));
        assert_eq!(back(r#"[{"$binary":"?"}]"#), Err(BadArguments::NoBase64));
        let many = [r#"{"$binary":""}"#; MAX_ATTACHMENTS + 1].join(",");
        assert_eq!(back(&format!("[{many}]")), Err(BadArguments::TooMany));
    }

    #[test]
    fn a_backend_cannot_forge_a_placeholder() {
        let forged = back(r#"[{"_placeholder":true,"num":9}]"#).unwrap();
        assert_eq!(forged.as_ref().json(), r#"{"num":9,"placeholder":true}"#);
    }
}
