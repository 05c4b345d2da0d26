use adapter::NodeTag;

/// How the sharded format uses channels of rooms; all nodes have to agree.
#[expect(clippy::exhaustive_enums, reason = "Node's adapter has these")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SubscriptionMode {
    /// Never: everything goes by the namespace's channel.
    Static,
    /// For rooms whose name has not the 20 characters of a socket id. Node's default.
    Dynamic,
    /// For all rooms, those of socket ids too.
    DynamicPrivate,
}

/// The names of a namespace's channels.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Channels {
    /// `prefix#/namespace#`: broadcasts; in the sharded format everything but answers.
    pub main: String,
    /// `prefix-request#/namespace#` of the classic format.
    pub requests: String,
    /// `prefix-response#/namespace#` of the classic format.
    pub responses: String,
}

/// Characters of a socket id; Node takes each room with a name of that length for one.
pub(crate) const SOCKET_ID_LENGTH: usize = 20;

impl Channels {
    /// The channels of `namespace`.
    pub fn new(prefix: &str, namespace: &str) -> Self {
        Self {
            main: format!("{prefix}#{namespace}#"),
            requests: format!("{prefix}-request#{namespace}#"),
            responses: format!("{prefix}-response#{namespace}#"),
        }
    }

    /// The channel of a room.
    pub fn room(&self, room: &str) -> String {
        format!("{}{room}#", self.main)
    }

    /// The channel of answers to the node `uid`, in the classic format.
    pub fn responses_to(&self, uid: &str) -> String {
        format!("{}{uid}#", self.responses)
    }

    /// The pattern that matches the channels of the namespace and of all its rooms.
    pub fn all_rooms(&self) -> String {
        format!("{}*", escape_pattern(&self.main))
    }

    /// The pattern that matches the channels of all rooms whose names begin with `tag`.
    pub fn private_rooms(&self, tag: NodeTag) -> String {
        format!("{}{tag}*#", escape_pattern(&self.main))
    }
}

impl SubscriptionMode {
    /// Whether broadcasts to `room` go by a channel of its own.
    pub(crate) fn has_channel(self, room: &str) -> bool {
        match self {
            Self::Static => false,
            // JavaScript counts UTF-16 code units.
            Self::Dynamic => room.encode_utf16().count() != SOCKET_ID_LENGTH,
            Self::DynamicPrivate => true,
        }
    }
}

/// `text` as a pattern that matches only it.
pub fn escape_pattern(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len());
    for character in text.chars() {
        if matches!(character, '*' | '?' | '[' | ']' | '\\') {
            pattern.push('\\');
        }
        pattern.push(character);
    }
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_are_named_as_in_node() {
        let channels = Channels::new("socket.io", "/chat");
        assert_eq!(channels.main, "socket.io#/chat#");
        assert_eq!(channels.room("a#b"), "socket.io#/chat#a#b#");
        assert_eq!(channels.requests, "socket.io-request#/chat#");
        assert_eq!(channels.responses, "socket.io-response#/chat#");
        assert_eq!(
            channels.responses_to("CpMBke"),
            "socket.io-response#/chat#CpMBke#"
        );
    }

    #[test]
    fn patterns_are_escaped() {
        let channels = Channels::new("a*", "/[x]?\\");
        let tag = NodeTag::new("ab_-").unwrap();
        assert_eq!(channels.private_rooms(tag), "a\\*#/\\[x\\]\\?\\\\#ab_-*#");
    }

    #[test]
    fn rooms_as_long_as_a_socket_id_have_no_channel_in_dynamic_mode() {
        let (short, id, emoji) = ("x".repeat(19), "x".repeat(20), "\u{1f600}".repeat(10));
        assert!(SubscriptionMode::Dynamic.has_channel(&short));
        assert!(!SubscriptionMode::Dynamic.has_channel(&id));
        assert!(!SubscriptionMode::Dynamic.has_channel(&emoji));
        assert!(SubscriptionMode::DynamicPrivate.has_channel(&id));
        assert!(!SubscriptionMode::Static.has_channel(&short));
    }
}
