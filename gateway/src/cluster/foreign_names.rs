//! Names of the shape of a socket id, and whether one is the id of a socket of a Node server.
//!
//! An id of ours carries a checksum. One of a Node server is drawn at random, but for a running number
//! that takes each value in time, so its form tells nothing: the Node servers are asked. A name that is
//! no id today will not be one tomorrow, since nobody knows what a server will draw; so each name is
//! asked about once.

use std::collections::HashSet;

use adapter::Peers;

use super::*;

/// Most names of which this node remembers that they are no ids: the last half of them at least.
const MAX_FOREIGN_NAMES: usize = 20_000;

/// How long Node servers may take to find back to a Redis that was away.
const RETURN: Duration = Duration::from_secs(10);

/// How long the first questions take at most. Gateway nodes that come or go are taken for Node servers
/// that do not answer, until they are members or gone: then it is counted anew who is there.
const SHORT: Duration = Duration::from_secs(1);

/// How often it is counted anew.
const SHORT_QUESTIONS: usize = 2;

/// Names that are no ids of sockets.
#[derive(Debug, Default)]
pub(super) struct ForeignNames {
    recent: HashSet<String>,
    /// Those before, to be forgotten next.
    older: HashSet<String>,
    was_up: bool,
    /// Since when the other nodes are heard again, if they were not for a while.
    back: Option<Instant>,
}

impl ForeignNames {
    fn has(&self, key: &str) -> bool {
        self.recent.contains(key) || self.older.contains(key)
    }

    fn add(&mut self, key: String) {
        if self.recent.len() >= MAX_FOREIGN_NAMES / 2 {
            self.older = std::mem::take(&mut self.recent);
        }
        self.recent.insert(key);
    }

    /// The other nodes are heard again, or not any more.
    pub(super) fn handle_up(&mut self, up: bool, now: Instant) {
        if up && self.was_up {
            self.back = Some(now);
        }
        self.was_up |= up;
    }

    /// Whether Node servers may be about to come back.
    fn are_others_returning(&self, now: Instant) -> bool {
        self.back.is_some_and(|back| now < back + RETURN)
    }
}

impl Cluster {
    /// Whether one of `names` is the room of a socket of a Node server. `Away` if one of those that are
    /// there does not say.
    pub(crate) async fn has_own_room(
        &self,
        namespace: &str,
        names: &[String],
    ) -> Result<bool, Away> {
        // A name of that shape has no space, so no two pairs have the same key.
        let key = |name: &str| format!("{namespace} {name}");
        let unknown: Vec<String> = {
            let foreign = lock(&self.foreign_names);
            let unknown = names.iter().filter(|name| !foreign.has(&key(name)));
            unknown.cloned().collect()
        };
        if unknown.is_empty() {
            return Ok(false);
        }
        let returning = lock(&self.foreign_names).are_others_returning(Instant::now());
        if returning || !self.adapter.is_up() {
            return Err(Away);
        }
        let patience = [SHORT; SHORT_QUESTIONS].into_iter().chain([self.patience]);
        for patience in patience {
            match self
                .ask_for_own_rooms(namespace, &unknown, patience)
                .await?
            {
                Some(true) => return Ok(true),
                Some(false) => {
                    let mut foreign = lock(&self.foreign_names);
                    unknown.iter().for_each(|name| foreign.add(key(name)));
                    return Ok(false);
                }
                None => {}
            }
        }
        Err(Away)
    }

    /// The same, asked once; `None` if somebody did not answer.
    async fn ask_for_own_rooms(
        &self,
        namespace: &str,
        names: &[String],
        patience: Duration,
    ) -> Result<Option<bool>, Away> {
        let peers = self.adapter.peers(namespace, Question::Sockets).await?;
        if peers.others == 0 {
            return Ok(Some(false));
        }
        let others = Peers {
            others: peers.others,
            ..Peers::default()
        };
        let selection = names.iter().fold(Selection::everybody(), Selection::to);
        let message = ClusterMessage::SocketIds { selection };
        let asked = self
            .ask_peers(
                namespace,
                Question::Sockets,
                (None, Some(&message)),
                others,
                patience,
            )
            .await;
        let names: HashSet<&str> = names.iter().map(|name| &**name).collect();
        let is_own = |(_, answer): &(Option<NodeId>, Answer)| match answer {
            Answer::SocketIds(ids) => ids.iter().any(|id| names.contains(&**id)),
            Answer::Sockets(sockets) => sockets.iter().any(|it| names.contains(&*it.id)),
            Answer::ClientCount(_)
            | Answer::Ack(_)
            | Answer::Rooms(_)
            | Answer::Piece(_)
            | Answer::Lines(_)
            | Answer::ServerSide(_)
            | Answer::Done => false,
        };
        if asked.answers.iter().any(is_own) {
            return Ok(Some(true));
        }
        if asked.truncated {
            return Err(Away);
        }
        Ok((asked.missing_others == 0).then_some(false))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_remembered_up_to_a_bound() {
        let mut foreign = ForeignNames::default();
        for number in 0..MAX_FOREIGN_NAMES * 2 {
            foreign.add(number.to_string());
            assert!(foreign.has(&number.to_string()));
        }
        assert!(foreign.recent.len() + foreign.older.len() <= MAX_FOREIGN_NAMES);
        assert!(foreign.has(&(MAX_FOREIGN_NAMES * 2 - MAX_FOREIGN_NAMES / 2).to_string()));
        assert!(!foreign.has("0"));
    }

    #[test]
    fn after_an_outage_others_get_time_to_return() {
        let mut foreign = ForeignNames::default();
        let start = Instant::now();
        foreign.handle_up(true, start);
        assert!(!foreign.are_others_returning(start));
        foreign.handle_up(false, start);
        foreign.handle_up(true, start);
        assert!(foreign.are_others_returning(start));
        assert!(!foreign.are_others_returning(start + RETURN));
    }
}
