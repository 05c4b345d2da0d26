//! What forwarding is counted under.

use super::Label;

/// What a forwarded request is, as a metric label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Poll,
    Post,
    Upgrade,
}

/// What became of a forwarded request, as a metric label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The owner answered, whatever it said.
    Answered,
    /// The client left before the owner answered.
    GivenUp,
    /// The connection broke after the owner may have read the request.
    Lost,
    /// No connection to the owner could be had, or it did not prove who it is.
    Unreachable,
    /// Another node, or another life of the owner, answers at its address.
    Gone,
    /// There are as many connections to the owner as there may be.
    Limit,
}

/// Why nobody knows a session, as a metric label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unknown {
    /// It was of this node and is closed, or somebody made its id up.
    Closed,
    /// It was of a node that has left the cluster.
    Gone,
    /// It is of a node of the cluster that does not answer.
    Unreachable,
    /// No node that this one has known issues such ids.
    NeverIssued,
}

impl Label for (Kind, Outcome) {
    const ALL: &'static [Self] = &{
        let mut all = [(Kind::Poll, Outcome::Answered); KINDS.len() * OUTCOMES.len()];
        let mut index = 0;
        while index < all.len() {
            all[index] = (
                KINDS[index / OUTCOMES.len()],
                OUTCOMES[index % OUTCOMES.len()],
            );
            index += 1;
        }
        all
    };

    fn index(self) -> usize {
        self.0 as usize * OUTCOMES.len() + self.1 as usize
    }

    fn label(self) -> &'static str {
        self.1.label()
    }
}

const KINDS: [Kind; 3] = [Kind::Poll, Kind::Post, Kind::Upgrade];

const OUTCOMES: [Outcome; 6] = [
    Outcome::Answered,
    Outcome::GivenUp,
    Outcome::Lost,
    Outcome::Unreachable,
    Outcome::Gone,
    Outcome::Limit,
];

impl Kind {
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Poll => "poll",
            Self::Post => "post",
            Self::Upgrade => "upgrade",
        }
    }
}

impl Outcome {
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::GivenUp => "given_up",
            Self::Lost => "lost",
            Self::Unreachable => "unreachable",
            Self::Gone => "gone",
            Self::Limit => "limit",
        }
    }
}

impl Label for Unknown {
    const ALL: &'static [Self] = &[
        Self::Closed,
        Self::Gone,
        Self::Unreachable,
        Self::NeverIssued,
    ];

    fn index(self) -> usize {
        self as usize
    }

    fn label(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Gone => "gone",
            Self::Unreachable => "unreachable",
            Self::NeverIssued => "never_issued",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_stand_where_their_index_says() {
        for (index, label) in <(Kind, Outcome)>::ALL.iter().enumerate() {
            assert_eq!(label.index(), index);
        }
        for (index, label) in Unknown::ALL.iter().enumerate() {
            assert_eq!(label.index(), index);
        }
    }
}
