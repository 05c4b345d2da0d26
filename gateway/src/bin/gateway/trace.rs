//! `gateway trace`: prints what a node tells of a trace, line by line.

use std::io::{self, Write};
use std::process::ExitCode;

use serde_json::{Map, Value};

use crate::internal_port::{InternalPort, ended};

/// What is traced, and where that is asked.
pub(crate) struct Order {
    pub(crate) port: InternalPort,
    /// The query of the call.
    pub(crate) query: String,
    /// Whether lines are printed as they come.
    pub(crate) json: bool,
}

/// Prints lines until the trace ends, or nobody reads any more.
pub(crate) fn run(order: &Order) -> ExitCode {
    ended(print(order))
}

fn print(order: &Order) -> io::Result<()> {
    let mut answer = order.port.get(&target(&order.query))?;
    answer.wait_for_ever()?;
    let mut out = io::stdout().lock();
    let mut has_ended = false;
    while let Some(line) = answer.line()? {
        let parsed: Option<Map<String, Value>> = serde_json::from_str(&line).ok();
        has_ended |= parsed
            .as_ref()
            .is_some_and(|it| it.get("what") == Some(&"ended".into()));
        match parsed {
            Some(fields) if !order.json => writeln!(out, "{}", readable(&fields))?,
            Some(_) | None => writeln!(out, "{line}")?,
        }
        out.flush()?;
    }
    if has_ended {
        return Ok(());
    }
    Err(io::Error::other(
        "the node closed the connection before the trace was over",
    ))
}

/// The call with this query.
pub(crate) fn target(query: &str) -> String {
    format!("/api/v1/trace?{query}")
}

/// `12:34:56.789 gw-1 sent event=said bytes=12 ..`: what there is to say, in the order of the line.
pub(crate) fn readable(fields: &Map<String, Value>) -> String {
    let text = |name| fields.get(name).and_then(Value::as_str).unwrap_or_default();
    let at = text("at");
    let time = at.split_once('T').map_or(at, |(_, time)| time);
    let time = time.trim_end_matches('Z');
    let mut readable = format!("{time} {} {}", text("node"), text("what"));
    for (name, value) in fields {
        if ["at", "node", "what"].contains(&name.as_str()) {
            continue;
        }
        // Quotes keep control characters and blanks of clients from looking like something else.
        let plain = value.as_str().filter(|text| is_plain(text));
        let shown = plain.map_or_else(|| value.to_string(), str::to_owned);
        readable += &format!(" {name}={shown}");
    }
    readable
}

fn is_plain(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b'"')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_readable_and_hides_nothing() {
        let line = r#"{"at":"2026-11-29T12:34:56.789Z","node":"gw-1","what":"sent","event":"a b\n","bytes":7,"reason":""}"#;
        let fields = serde_json::from_str(line).unwrap();
        let shown = readable(&fields);
        assert!(shown.starts_with("12:34:56.789 gw-1 sent "), "{shown}");
        for part in [r#" event="a b\n""#, " bytes=7", r#" reason="""#] {
            assert!(shown.contains(part), "{shown}");
        }
    }
}
