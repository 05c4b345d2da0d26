use std::io::Write;

use protocol::socketio::json;

/// Writes JSON without whitespace, as `JSON.stringify` does.
#[derive(Debug, Default)]
pub(crate) struct JsonWriter {
    bytes: Vec<u8>,
}

impl JsonWriter {
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// An object whose entries `fill` writes.
    pub(crate) fn object(&mut self, fill: impl FnOnce(&mut Self)) {
        self.bytes.push(b'{');
        fill(self);
        self.bytes.push(b'}');
    }

    /// The key of the entry that the caller writes next.
    pub(crate) fn key(&mut self, name: &str) -> &mut Self {
        if self.bytes.last() != Some(&b'{') {
            self.bytes.push(b',');
        }
        json::push_string(&mut self.bytes, name);
        self.bytes.push(b':');
        self
    }

    pub(crate) fn string(&mut self, text: &str) {
        json::push_string(&mut self.bytes, text);
    }

    pub(crate) fn strings(&mut self, texts: &[String]) {
        self.array(texts, |json, text| json.string(text));
    }

    pub(crate) fn array<T>(&mut self, values: &[T], write: impl Fn(&mut Self, &T)) {
        self.bytes.push(b'[');
        for (index, value) in values.iter().enumerate() {
            if index > 0 {
                self.bytes.push(b',');
            }
            write(self, value);
        }
        self.bytes.push(b']');
    }

    /// An array of a text and a number.
    pub(crate) fn pair(&mut self, text: &str, number: impl std::fmt::Display) {
        self.bytes.push(b'[');
        self.string(text);
        self.bytes.push(b',');
        self.display(number);
        self.bytes.push(b']');
    }

    /// A number or a boolean.
    pub(crate) fn display(&mut self, value: impl std::fmt::Display) {
        write!(self.bytes, "{value}").expect("a Vec takes everything");
    }

    /// JSON that the caller vouches for.
    pub(crate) fn raw(&mut self, json: &str) {
        self.bytes.extend_from_slice(json.as_bytes());
    }
}
