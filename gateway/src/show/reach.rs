//! How far the lists of pages go.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

use super::NAMESPACE;

/// The last socket that pages show, where there are more than they show. A list has the first sockets in the order of
/// namespaces, the pages' own last, and of ids. So nobody need tell of what comes behind this one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Reach {
    #[serde(rename = "n")]
    namespace: String,
    #[serde(rename = "i")]
    id: String,
}

impl Reach {
    pub(crate) fn new(namespace: &str, id: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            id: id.to_owned(),
        }
    }

    /// Whether pages show this socket, or have a place for it.
    pub(crate) fn has(&self, namespace: &str, id: &str) -> bool {
        place(namespace, id) <= place(&self.namespace, &self.id)
    }
}

impl Ord for Reach {
    fn cmp(&self, other: &Self) -> Ordering {
        place(&self.namespace, &self.id).cmp(&place(&other.namespace, &other.id))
    }
}

impl PartialOrd for Reach {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Where a socket is in a list.
fn place<'a>(namespace: &'a str, id: &'a str) -> (bool, &'a str, &'a str) {
    (namespace == NAMESPACE, namespace, id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_behind_the_last_socket_of_a_list_is_not_within() {
        let reach = Reach::new("/chat", "m");
        for (namespace, id) in [("/", "z"), ("/a", "z"), ("/chat", "a"), ("/chat", "m")] {
            assert!(reach.has(namespace, id), "{namespace} {id}");
        }
        for (namespace, id) in [("/chat", "n"), ("/d", "a"), (NAMESPACE, "a")] {
            assert!(!reach.has(namespace, id), "{namespace} {id}");
        }
        assert!(Reach::new(NAMESPACE, "m").has("/z", "z"));
        assert!(Reach::new("/", "z") < reach && reach < Reach::new(NAMESPACE, "a"));
    }
}
