use bytes::Bytes;

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

    /// The comma-separated JSON values, without the brackets around them.
    pub fn json(&self) -> &'a str {
        self.json
    }

    /// What the placeholders in [`json`](Self::json) point at.
    pub fn attachments(&self) -> &'a [Bytes] {
        self.attachments
    }

    /// The JSON text of each argument.
    pub fn iter(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        std::iter::from_fn(move || todo!())
    }

    /// The first argument's JSON text, and the arguments after it (with the same attachments).
    pub fn split_first(&self) -> Option<(&'a str, Self)> {
        todo!()
    }
}
