use bytes::Bytes;

use super::scanner::find_special;
use super::{MAX_ATTACHMENTS, json, placeholders};

/// The arguments of an event or of an acknowledgement: JSON values, checked but not parsed, with
/// the attachments that their placeholders point at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Arguments<'a> {
    json: &'a str,
    attachments: &'a [Bytes],
}

impl<'a> Arguments<'a> {
    /// Arguments from `json`, a comma-separated list of JSON values without the brackets around
    /// it, that the caller vouches for.
    pub fn from_raw(json: &'a str, attachments: &'a [Bytes]) -> Self {
        Self { json, attachments }
    }

    /// Whether they are what a client may send, and so what every client and every node takes. They
    /// are JSON values, nested so deep at most that the packet's [`MAX_DEPTH`](super::MAX_DEPTH) is
    /// kept. They have not too many attachments or placeholders, and no placeholder that points at none.
    pub fn are_legal(&self) -> bool {
        let count = self.attachments.len();
        json::are_values(self.json)
            && count <= MAX_ATTACHMENTS
            && (count == 0 || placeholders::are_legal(self.json, count))
    }

    /// [`json`](Self::json) with what `write` appends in place of each placeholder, which gets the bytes
    /// that it points at. Everything else stays as it is written. `None` if a placeholder points at none.
    pub fn replaced(&self, mut write: impl FnMut(&mut String, &Bytes)) -> Option<String> {
        let attachments = self.attachments;
        placeholders::replaced(self.json, attachments.len(), |out, num| {
            if let Some(bytes) = attachments.get(num) {
                write(out, bytes);
            }
        })
    }

    /// The comma-separated JSON values, without the brackets around them.
    pub fn json(&self) -> &'a str {
        self.json
    }

    /// What the placeholders in [`json`](Self::json) point at.
    pub fn attachments(&self) -> &'a [Bytes] {
        self.attachments
    }

    /// The JSON text of each argument, without whitespace around it.
    pub fn iter(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let mut rest = *self;
        std::iter::from_fn(move || {
            let (first, after) = rest.split_first()?;
            rest = after;
            Some(first)
        })
    }

    /// The first `count` arguments, or all if there are fewer, with the same attachments.
    pub fn take(&self, count: usize) -> Self {
        let end = self.iter().take(count).last().map_or(0, |last| {
            last.as_ptr().addr() - self.json.as_ptr().addr() + last.len()
        });
        Self {
            json: &self.json[..end],
            attachments: self.attachments,
        }
    }

    /// The first argument's JSON text, and the arguments after it (with the same attachments).
    pub fn split_first(&self) -> Option<(&'a str, Self)> {
        let json = json::trim(self.json);
        if json.is_empty() {
            return None;
        }
        let (first, rest) = match comma(json) {
            Some(at) => (&json[..at], &json[at + 1..]),
            None => (json, ""),
        };
        let rest = Self::from_raw(json::trim(rest), self.attachments);
        Some((json::trim(first), rest))
    }
}

/// Where the first comma is that is in no string, array or object.
fn comma(json: &str) -> Option<usize> {
    let bytes = json.as_bytes();
    let mut depth = 0usize;
    let mut at = 0;
    loop {
        match bytes.get(at)? {
            b',' if depth == 0 => return Some(at),
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            b'"' => at = closing_quote(bytes, at + 1)?,
            _ => {}
        }
        at += 1;
    }
}

/// Where the string ends whose content starts at `at`.
fn closing_quote(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        at = find_special(bytes, at);
        match bytes.get(at)? {
            b'"' => return Some(at),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_split_at_the_commas_between_them() {
        let table: [(&str, &[&str]); 9] = [
            ("", &[]),
            (" ", &[]),
            ("1", &["1"]),
            ("1,2,3", &["1", "2", "3"]),
            (" 1 ,\n\"a\" , null ", &["1", "\"a\"", "null"]),
            (
                "[1,2],{\"a\":[3,4],\"b\":5}",
                &["[1,2]", "{\"a\":[3,4],\"b\":5}"],
            ),
            (
                r#""a,b","[","\",",1"#,
                &[r#""a,b""#, r#""[""#, r#""\",""#, "1"],
            ),
            (r#"{"a,]":"}"},"\\",2"#, &[r#"{"a,]":"}"}"#, r#""\\""#, "2"]),
            (
                "\"é,€\",\"long enough for two words, really\"",
                &["\"é,€\"", "\"long enough for two words, really\""],
            ),
        ];
        for (json, expected) in table {
            let arguments: Vec<_> = Arguments::from_raw(json, &[]).iter().collect();
            assert_eq!(arguments, expected, "{json:?}");
        }
    }

    #[test]
    fn the_first_leaves_the_others_with_the_attachments() {
        let attachments = [Bytes::from_static(b"a")];
        let arguments = Arguments::from_raw("\"room\" , {\"a\":1}, 2", &attachments);

        let (first, rest) = arguments.split_first().unwrap();

        assert_eq!(first, "\"room\"");
        assert_eq!(rest, Arguments::from_raw("{\"a\":1}, 2", &attachments));
        assert_eq!(Arguments::default().split_first(), None);
    }

    #[test]
    fn text_that_is_no_list_does_not_panic() {
        for json in [",", ",,1", "\"a", "\"\\", "]]],1", "[[,", "é,\\"] {
            assert!(Arguments::from_raw(json, &[]).iter().count() <= 3);
        }
    }
}
