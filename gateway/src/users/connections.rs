//! How many connections each user has on this node.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, PoisonError};

/// How many parts the table has, so that shards seldom wait for each other.
const PARTS: usize = 16;

/// The connections of users while they are counted.
#[derive(Debug, Clone, Default)]
pub(crate) struct Connections(Arc<Parts>);

#[derive(Debug, Default)]
struct Parts {
    parts: [Mutex<HashMap<Box<str>, usize>>; PARTS],
    hasher: RandomState,
}

/// One connection of a user. Dropped, it does not count any more.
#[derive(Debug)]
pub(crate) struct Permit {
    user: Box<str>,
    parts: Arc<Parts>,
}

impl Connections {
    /// One more connection of a user; `None` if there are `most` already.
    pub(crate) fn enter(&self, user: &str, most: usize) -> Option<Permit> {
        let mut part = self.0.part(user);
        match part.get_mut(user) {
            Some(count) if *count >= most => return None,
            Some(count) => *count += 1,
            None => drop(part.insert(user.into(), 1)),
        }
        drop(part);
        Some(Permit {
            user: user.into(),
            parts: Arc::clone(&self.0),
        })
    }
}

impl Permit {
    /// Whose connection it is.
    pub(crate) fn user(&self) -> &str {
        &self.user
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut part = self.parts.part(&self.user);
        if let Some(count) = part.get_mut(&self.user) {
            *count -= 1;
            if *count == 0 {
                part.remove(&self.user);
            }
        }
    }
}

impl Parts {
    fn part(&self, user: &str) -> std::sync::MutexGuard<'_, HashMap<Box<str>, usize>> {
        let place = self.hasher.hash_one(user) as usize % PARTS;
        self.parts[place]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_has_as_many_connections_as_it_may_and_one_that_ends_makes_room() {
        let connections = Connections::default();
        let first = connections.enter("ann", 2).unwrap();
        let _second = connections.enter("ann", 2).unwrap();
        assert!(connections.enter("ann", 2).is_none());
        assert!(connections.enter("bob", 2).is_some());
        drop(first);
        let _third = connections.enter("ann", 2).unwrap();
        assert!(connections.enter("ann", 2).is_none());
        assert!(connections.0.part("bob").get("bob").is_none());
    }
}
