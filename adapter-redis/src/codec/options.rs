use std::time::Duration;

use adapter::{Flags, Selection, TraceContext};

use super::DecodeError;
use super::Writer;
use super::json::JsonWriter;
use super::raw::Raw;

/// The key under which a gateway node tells what a message is a part of; Node does not look at it.
const TRACE: &str = "traceparent";

/// The selection that `opts` is. Keys that are missing or unknown do no harm.
pub(crate) fn options(opts: Raw<'_>) -> Result<Selection, DecodeError> {
    let mut rooms = None;
    let mut except = None;
    let mut flags = Flags::default();
    let mut trace = None;
    opts.entries(|key, value| match key {
        "rooms" => rooms = Some(value),
        "except" => except = Some(value),
        "flags" => flags = self::flags(value),
        TRACE => trace = value.text(),
        _ => {}
    })
    .ok_or(DecodeError::WrongShape)?;
    flags.trace = trace.and_then(|text| TraceContext::parse(text.as_bytes()));
    Ok(Selection {
        rooms: rooms.map_or(Ok(Vec::new()), names)?,
        except: except.map_or(Ok(Vec::new()), names)?,
        flags,
    })
}

/// Rooms: an array of names, one name, or nothing.
pub(crate) fn names(value: Raw<'_>) -> Result<Vec<String>, DecodeError> {
    if let Some(items) = value.items() {
        return Ok(items.map(Raw::name).collect());
    }
    if value.is_null() {
        return Ok(Vec::new());
    }
    if value.text().is_some() || value.number().is_some() {
        return Ok(vec![value.name()]);
    }
    Err(DecodeError::WrongShape)
}

fn flags(value: Raw<'_>) -> Flags {
    let mut flags = Flags::default();
    let _ = value.entries(|key, value| match key {
        "volatile" => flags.volatile = value.is_truthy(),
        "compress" => flags.compress = (!value.is_null()).then(|| value.is_truthy()),
        "timeout" => flags.timeout = value.count().map(Duration::from_millis),
        "expectSingleResponse" => flags.expect_single_response = value.is_truthy(),
        _ => {}
    });
    flags
}

impl Writer {
    /// Rooms, except and flags, as Node's adapter orders them.
    pub(crate) fn options(&mut self, selection: &Selection) {
        let trace = selection.flags.trace;
        self.map(3 + usize::from(trace.is_some()));
        self.text("rooms");
        self.names(&selection.rooms);
        self.text("except");
        self.names(&selection.except);
        self.text("flags");
        let flags = set_flags(&selection.flags);
        self.map(flags.iter().flatten().count());
        for (name, value) in flags.into_iter().flatten() {
            self.text(name);
            match value {
                Flag::Is(value) => self.boolean(value),
                Flag::Milliseconds(value) => self.unsigned(value),
            }
        }
        if let Some(trace) = trace {
            self.entry(TRACE, &trace.to_string());
        }
    }

    fn names(&mut self, names: &[String]) {
        self.array(names.len());
        for name in names {
            self.text(name);
        }
    }
}

impl JsonWriter {
    /// Rooms and except, as Node's classic adapter orders them in requests.
    pub(crate) fn selection(&mut self, selection: &Selection) {
        self.object(|json| {
            json.key("rooms").strings(&selection.rooms);
            json.key("except").strings(&selection.except);
        });
    }

    /// Rooms, except and flags.
    pub(crate) fn options(&mut self, selection: &Selection) {
        self.object(|json| {
            json.key("rooms").strings(&selection.rooms);
            json.key("except").strings(&selection.except);
            json.key("flags").object(|json| {
                for (name, value) in set_flags(&selection.flags).into_iter().flatten() {
                    match value {
                        Flag::Is(value) => json.key(name).display(value),
                        Flag::Milliseconds(value) => json.key(name).display(value),
                    }
                }
            });
            if let Some(trace) = selection.flags.trace {
                json.key(TRACE).string(&trace.to_string());
            }
        });
    }
}

enum Flag {
    Is(bool),
    Milliseconds(u64),
}

/// The flags that are set, under Node's names. `local` never leaves the node.
fn set_flags(flags: &Flags) -> [Option<(&'static str, Flag)>; 4] {
    let timeout = flags.timeout.map(|timeout| {
        let milliseconds = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        ("timeout", Flag::Milliseconds(milliseconds))
    });
    [
        flags.compress.map(|value| ("compress", Flag::Is(value))),
        flags.volatile.then_some(("volatile", Flag::Is(true))),
        flags
            .expect_single_response
            .then_some(("expectSingleResponse", Flag::Is(true))),
        timeout,
    ]
}
