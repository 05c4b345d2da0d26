//! Arguments as they were written, for messages in msgpack that cannot say it.
//!
//! Node reads msgpack, in which `1E400`, `1.0` or 30 digits are another number, and an escape or a
//! space is none. Where that changes the text, the text travels beside it, and gateway nodes take
//! that. So a client gets the same whatever node it is connected to.

use adapter::ArgumentsBuf;
use bytes::Bytes;
use protocol::msgpack::Fidelity;
use protocol::socketio::Arguments;

use super::Writer;
use super::raw::Raw;

const TEXT: &str = "json";
const ATTACHMENTS: &str = "attachments";

impl Writer {
    /// Writes `arguments` as they are, if msgpack did not say it; what does not fit `limit` is left
    /// out. `false` if nothing was written. `key` stands in front of it.
    pub(crate) fn original(
        &mut self,
        key: Option<&str>,
        arguments: &ArgumentsBuf,
        fidelity: Fidelity,
        limit: usize,
    ) -> bool {
        let attachments = match fidelity {
            Fidelity::Exact => return false,
            Fidelity::Text => &[],
            Fidelity::Neither => arguments.attachments.as_slice(),
        };
        // Heads of the map and what is around it are small.
        const HEADS: usize = 1024;
        let bytes = attachments.iter().map(Bytes::len).sum::<usize>() + arguments.json.len();
        if self.len() + bytes + HEADS > limit {
            return false;
        }
        if let Some(key) = key {
            self.text(key);
        }
        self.map(if attachments.is_empty() { 1 } else { 2 });
        self.entry(TEXT, &arguments.json);
        if !attachments.is_empty() {
            self.text(ATTACHMENTS);
            self.array(attachments.len());
            attachments.iter().for_each(|bytes| self.binary(bytes));
        }
        true
    }
}

/// The arguments as they were written, if the message tells, else as they are in msgpack.
pub(crate) fn original(read: ArgumentsBuf, told: Option<Raw<'_>>) -> ArgumentsBuf {
    let Some((json, attachments)) = told.and_then(text_and_attachments) else {
        return read;
    };
    let attachments = attachments.unwrap_or_else(|| read.attachments.clone());
    if Arguments::from_raw(&json, &attachments).are_legal() {
        ArgumentsBuf { json, attachments }
    } else {
        read
    }
}

fn text_and_attachments(told: Raw<'_>) -> Option<(String, Option<Vec<Bytes>>)> {
    let mut json = None;
    let mut attachments = None;
    told.entries(|key, value| match key {
        TEXT => json = value.text(),
        ATTACHMENTS => attachments = value.items(),
        _ => {}
    })?;
    let attachments = attachments.map(|items| items.map(Raw::binary).collect::<Option<_>>());
    Some((json?.into_owned(), attachments.flatten()))
}
