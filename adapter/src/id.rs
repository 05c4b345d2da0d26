use std::fmt;
use std::sync::Arc;

/// The name of a node, unique in its cluster. Cloning shares it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(Arc<str>);

/// Four characters that begin the id of every socket of a node, so that one pattern covers the
/// private rooms of all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeTag([u8; Self::LENGTH]);

/// What a request and its answers have in common. Text, since other implementations choose theirs.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(Box<str>);

/// A [`NodeId`] or [`NodeTag`] that cannot be one.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadId {
    /// Not 1 to [`NodeId::MAX_LENGTH`] characters of `A-Z a-z 0-9 . _ : -`.
    #[error("a node id has 1 to 64 characters of A-Z a-z 0-9 . _ : -")]
    NodeId,
    /// Not [`NodeTag::LENGTH`] characters of `A-Z a-z 0-9 _ -`.
    #[error("a node tag has 4 characters of A-Z a-z 0-9 _ -")]
    NodeTag,
}

impl NodeId {
    /// Most characters of a node id.
    pub const MAX_LENGTH: usize = 64;

    /// Checks `text`: it becomes part of Redis keys and of metrics.
    ///
    /// # Errors
    ///
    /// If `text` is empty, longer than [`MAX_LENGTH`](Self::MAX_LENGTH), or has other characters than
    /// `A-Z a-z 0-9 . _ : -`.
    pub fn new(text: &str) -> Result<Self, BadId> {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte);
        if text.is_empty() || text.len() > Self::MAX_LENGTH || !text.bytes().all(legal) {
            return Err(BadId::NodeId);
        }
        Ok(Self(text.into()))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl NodeTag {
    /// Characters of a tag.
    pub const LENGTH: usize = 4;

    /// Checks `text`.
    ///
    /// # Errors
    ///
    /// If `text` has not [`LENGTH`](Self::LENGTH) characters of `A-Z a-z 0-9 _ -`.
    pub fn new(text: &str) -> Result<Self, BadId> {
        let tag: [u8; Self::LENGTH] = text.as_bytes().try_into().map_err(|_| BadId::NodeTag)?;
        let legal = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-".contains(byte);
        if !tag.iter().all(legal) {
            return Err(BadId::NodeTag);
        }
        Ok(Self(tag))
    }

    /// The tag as text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("checked to be ASCII by new")
    }
}

impl RequestId {
    /// Takes any text.
    pub fn new(text: impl Into<Box<str>>) -> Self {
        Self(text.into())
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for NodeTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_ids_are_short_and_plain() {
        assert_eq!(
            NodeId::new("gw-0.eu:3001").unwrap().as_str(),
            "gw-0.eu:3001"
        );
        for bad in ["", "a b", "a#b", "é", "{a}", &"x".repeat(65)] {
            assert_eq!(NodeId::new(bad), Err(BadId::NodeId), "{bad}");
        }
    }

    #[test]
    fn tags_have_four_url_safe_characters() {
        assert_eq!(NodeTag::new("aZ_-").unwrap().as_str(), "aZ_-");
        for bad in ["", "abc", "abcde", "ab*d", "aé1"] {
            assert_eq!(NodeTag::new(bad), Err(BadId::NodeTag), "{bad}");
        }
    }
}
