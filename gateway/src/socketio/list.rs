//! Lists of sockets, rooms and users, in parts.
//!
//! Every list has an order, that of its names. A request for a part says behind which name it begins.
//! Each shard collects the first so many names there, and so does each node. The answers of several
//! are merged up to where the first of them ends, and the next part begins behind that. So a list of
//! any length takes the memory of a few parts.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use adapter::{Entries, List, ListRequest, Piece, SocketDetails};
use futures_util::future::{LocalBoxFuture, join_all};
use rustc_hash::FxHashSet;
use tokio::sync::oneshot;

use crate::engine::mail::Mail;
use crate::engine::node::Node;
use crate::engine::shard::Shard;
use crate::engine::turns::Turns;
use crate::net::ids::{SocketId, is_private, user_of_room};
use crate::socketio::socket::{Socket, SocketInfo};

mod budget;
mod walk;

pub(crate) use budget::Lists;
pub use walk::Page;
pub(crate) use walk::{Walk, names};

/// Most entries of a part.
pub(crate) const MAX_ENTRIES: usize = 5000;

/// Most bytes of a part from one node, about.
pub(crate) const PIECE_BYTES: usize = 256 * 1024;

/// Most bytes of one entry; of what is larger something is left out.
const ENTRY_BYTES: usize = 4 * 1024 * 1024;

/// Sockets that are looked at before others of the shard get their turn.
const SLICE: usize = 500;

/// What a list is made of: [`SocketInfo`], or [`Count`].
pub(crate) trait Entry: Clone + Send + Sync + Sized + 'static {
    /// Its place in the list.
    fn name(&self) -> &str;

    /// Bytes held, about.
    fn size(&self) -> usize;

    /// Another entry has the same name.
    fn add(&mut self, same: Self);

    /// What a shard has.
    fn collect(
        shard: Rc<Shard>,
        namespace: Arc<str>,
        request: Arc<ListRequest>,
    ) -> LocalBoxFuture<'static, Run<Self>>;

    /// What another gateway node has; `None` if it answered something else.
    fn read(namespace: &str, entries: Entries) -> Option<Vec<Self>>;

    /// What the sockets of a server come to that only tells all of them.
    fn of_sockets(namespace: &str, list: List, sockets: Vec<SocketDetails>) -> Vec<Self>;

    /// What the names of rooms come to.
    fn of_names(names: Vec<String>) -> Vec<Self>;

    /// The same for another node.
    fn write(run: Vec<Self>) -> Entries;
}

/// A name, and how many there are of it.
pub(crate) type Count = (String, u64);

/// A part of a list: entries in order, each name once.
#[derive(Debug, Clone)]
pub(crate) struct Run<E> {
    pub(crate) entries: Vec<E>,
    /// Whether there is more behind the last of them.
    pub(crate) more: bool,
    /// Whether something within an entry was left out.
    pub(crate) cut: bool,
}

impl<E: Entry> Run<E> {
    /// Of entries in any order.
    pub(crate) fn sorted(mut entries: Vec<E>) -> Self {
        entries.sort_by(|a, b| a.name().cmp(b.name()));
        let mut distinct: Vec<E> = Vec::with_capacity(entries.len());
        for entry in entries {
            match distinct.last_mut() {
                Some(last) if last.name() == entry.name() => last.add(entry),
                _ => distinct.push(entry),
            }
        }
        Self {
            entries: distinct,
            more: false,
            cut: false,
        }
    }

    /// Those of several, as far as nothing can be missing between them.
    pub(crate) fn merge(mut runs: Vec<Self>) -> Self {
        let unfinished = runs.iter().filter(|run| run.more);
        let ends = unfinished.map(|run| run.entries.last().map_or("", E::name));
        let end = ends.min().map(str::to_owned);
        if let Some(end) = &end {
            for run in &mut runs {
                let within = run.entries.partition_point(|it| it.name() <= &**end);
                run.entries.truncate(within);
            }
        }
        let cut = runs.iter().any(|run| run.cut);
        let entries = runs.into_iter().flat_map(|run| run.entries).collect();
        Self {
            more: end.is_some(),
            cut,
            ..Self::sorted(entries)
        }
    }

    /// The first of them, so many and so large as they may be.
    pub(crate) fn bounded(mut self, limit: usize, bytes: usize) -> Self {
        let mut size = 0;
        let mut fits = |entry: &E| {
            size += entry.size();
            size <= bytes
        };
        let entries = self.entries.iter().take(limit);
        let count = entries.take_while(|it| fits(it)).count().max(1);
        self.more |= count < self.entries.len();
        self.entries.truncate(count);
        self
    }

    /// The same for another node.
    pub(crate) fn into_piece(self) -> Piece {
        Piece {
            entries: E::write(self.entries),
            more: self.more,
            cut: self.cut,
        }
    }

    /// What another node said behind `after`, whatever it is. `None` if it said something else.
    pub(crate) fn of_piece(namespace: &str, after: Option<&str>, piece: Piece) -> Option<Self> {
        let mut entries = E::read(namespace, piece.entries)?;
        entries.retain(|entry| after.is_none_or(|after| entry.name() > after));
        Some(Self {
            more: piece.more && !entries.is_empty(),
            cut: piece.cut || (piece.more && entries.is_empty()),
            ..Self::sorted(entries)
        })
    }
}

impl Node {
    /// What this node has of a list.
    pub(crate) fn list_here<E: Entry>(
        &self,
        namespace: &Arc<str>,
        request: &Arc<ListRequest>,
    ) -> impl Future<Output = Run<E>> + Send + use<E> {
        let mut parts = Vec::with_capacity(self.shard_count());
        for shard in self.shards() {
            let (sender, part) = oneshot::channel();
            let (namespace, request) = (Arc::clone(namespace), Arc::clone(request));
            shard.post(Mail::Run(Box::new(move |shard| {
                let part = E::collect(Rc::clone(shard), namespace, request);
                tokio::task::spawn_local(async move {
                    let _gone = sender.send(part.await);
                });
            })));
            parts.push(part);
        }
        let (limit, bytes) = (request.limit, request.bytes);
        async move {
            let parts = join_all(parts).await.into_iter().flatten().collect();
            Run::merge(parts).bounded(limit, bytes)
        }
    }
}

impl Entry for SocketInfo {
    fn name(&self) -> &str {
        &self.id
    }

    fn size(&self) -> usize {
        self.bytes()
    }

    fn add(&mut self, _: Self) {}

    fn collect(
        shard: Rc<Shard>,
        namespace: Arc<str>,
        request: Arc<ListRequest>,
    ) -> LocalBoxFuture<'static, Run<Self>> {
        let handshakes = request.list == List::Sockets { handshakes: true };
        Box::pin(async move {
            shard.changes_end().await;
            let node = shard
                .node()
                .cluster()
                .map(|it| it.adapter().node().to_string());
            let (ids, mut more) = first_ids(&shard, &namespace, &request).await;
            let (mut entries, mut bytes, mut cut) = (Vec::new(), 0, false);
            for (number, id) in ids.iter().enumerate() {
                if number % SLICE == SLICE - 1 {
                    tokio::task::yield_now().await;
                }
                let mut entry = match shard.socket(&namespace, id) {
                    Some(socket) => socket.snapshot(handshakes),
                    // It went meanwhile. Without the last one there would be no place to go on behind.
                    None if !(more && number == ids.len() - 1) => continue,
                    None => Self::gone(id, &namespace),
                };
                entry.node.clone_from(&node);
                cut |= entry.cut_to(ENTRY_BYTES);
                bytes += entry.bytes();
                if bytes > request.bytes && !entries.is_empty() {
                    more = true;
                    break;
                }
                entries.push(entry);
            }
            Run { entries, more, cut }
        })
    }

    fn read(namespace: &str, entries: Entries) -> Option<Vec<Self>> {
        match entries {
            Entries::Sockets(sockets) => Some(from_details(namespace, sockets)),
            Entries::Counts(_) => None,
        }
    }

    fn of_sockets(namespace: &str, _: List, sockets: Vec<SocketDetails>) -> Vec<Self> {
        from_details(namespace, sockets)
    }

    fn of_names(_: Vec<String>) -> Vec<Self> {
        Vec::new()
    }

    fn write(run: Vec<Self>) -> Entries {
        Entries::Sockets(run.iter().map(Self::to_details).collect())
    }
}

fn from_details(namespace: &str, sockets: Vec<SocketDetails>) -> Vec<SocketInfo> {
    let sockets = sockets.into_iter();
    let read = sockets.map(|it| SocketInfo::from_details(namespace, it));
    read.collect()
}

/// The first ids of a shard behind `after` in order, and whether there are more.
async fn first_ids(shard: &Shard, namespace: &str, request: &ListRequest) -> (Vec<SocketId>, bool) {
    let after = request.after.as_deref().unwrap_or_default();
    let mut first = FirstIds::new(after, request.limit);
    let selection = &request.selection;
    if let Some(namespace) = shard.found_namespace(namespace) {
        let mut turns = Turns::default();
        if selection.rooms.is_empty() && selection.except.is_empty() {
            // No socket is touched.
            namespace.visit_ids(&mut turns, |id| first.put(id)).await;
        } else {
            let visit = |socket: &Socket| first.put(socket.id());
            namespace.visit_selected(selection, &mut turns, visit).await;
        }
    }
    first.sorted()
}

/// The first so many ids of those that come in any order, each once or more.
struct FirstIds<'a> {
    after: &'a str,
    limit: usize,
    ids: Vec<SocketId>,
    /// None behind this one is among the first.
    last: Option<SocketId>,
    more: bool,
}

impl<'a> FirstIds<'a> {
    fn new(after: &'a str, limit: usize) -> Self {
        Self {
            after,
            limit,
            ids: Vec::new(),
            last: None,
            more: false,
        }
    }

    fn put(&mut self, id: SocketId) {
        let last = self.last.as_ref();
        if id.as_str() > self.after && last.is_none_or(|last| id.as_str() <= last.as_str()) {
            self.ids.push(id);
            if self.ids.len() >= self.limit.saturating_mul(2).saturating_add(SLICE) {
                self.cut();
            }
        }
    }

    fn cut(&mut self) {
        self.ids.sort_unstable_by(|a, b| a.as_str().cmp(b.as_str()));
        self.ids.dedup();
        if self.ids.len() > self.limit {
            self.ids.truncate(self.limit);
            self.last = self.ids.last().copied();
            self.more = true;
        }
    }

    /// In order, and whether there are more.
    fn sorted(mut self) -> (Vec<SocketId>, bool) {
        self.cut();
        (self.ids, self.more)
    }
}

impl Entry for Count {
    fn name(&self) -> &str {
        &self.0
    }

    fn size(&self) -> usize {
        self.0.len() + 32
    }

    fn add(&mut self, same: Self) {
        self.1 = self.1.saturating_add(same.1);
    }

    fn collect(
        shard: Rc<Shard>,
        namespace: Arc<str>,
        request: Arc<ListRequest>,
    ) -> LocalBoxFuture<'static, Run<Self>> {
        Box::pin(async move {
            shard.changes_end().await;
            let mut first = First::new(&request);
            match request.list {
                List::Rooms { private } => {
                    let mut turns = Turns::default();
                    let Some(namespace) = shard.found_namespace(&namespace) else {
                        return first.into_run();
                    };
                    if private {
                        let visit = |id: SocketId| first.put(id.as_str(), 1);
                        namespace.visit_ids(&mut turns, visit).await;
                    }
                    // Others may be in the room of a socket.
                    let is_there = |id: SocketId| namespace.socket(&id).is_some();
                    let visit = |room: &str, members| {
                        let own = private && SocketId::parse(room).is_some_and(is_there);
                        if private || !is_private(room) {
                            first.put(room, members as u64 + u64::from(own));
                        }
                    };
                    namespace.visit_rooms(&mut turns, visit).await;
                }
                List::Users | List::Sockets { .. } => {
                    let Some(namespace) = shard.found_namespace(&namespace) else {
                        return first.into_run();
                    };
                    let (mut turns, mut seen) = (Turns::default(), FxHashSet::default());
                    let visit = |socket: &Socket| {
                        if seen.insert(socket.id()) {
                            first.count(socket.user().as_deref().unwrap_or_default(), 1);
                        }
                    };
                    let selection = &request.selection;
                    namespace.visit_selected(selection, &mut turns, visit).await;
                }
            }
            first.into_run().bounded(request.limit, request.bytes)
        })
    }

    fn read(_: &str, entries: Entries) -> Option<Vec<Self>> {
        match entries {
            Entries::Counts(counts) => Some(counts),
            Entries::Sockets(_) => None,
        }
    }

    fn of_sockets(_: &str, list: List, sockets: Vec<SocketDetails>) -> Vec<Self> {
        let mut counts: BTreeMap<String, u64> = BTreeMap::new();
        let ids: FxHashSet<_> = sockets.iter().map(|socket| socket.id.clone()).collect();
        for SocketDetails { rooms, .. } in sockets {
            match list {
                List::Rooms { private } => {
                    let rooms = rooms
                        .into_iter()
                        .filter(|room| private || !(is_private(room) || ids.contains(room)));
                    rooms.for_each(|room| *counts.entry(room).or_default() += 1);
                }
                List::Users | List::Sockets { .. } => {
                    let user = rooms.iter().find_map(|room| user_of_room(room));
                    *counts
                        .entry(user.unwrap_or_default().to_owned())
                        .or_default() += 1;
                }
            }
        }
        counts.into_iter().collect()
    }

    fn of_names(names: Vec<String>) -> Vec<Self> {
        names.into_iter().map(|name| (name, 1)).collect()
    }

    fn write(run: Vec<Self>) -> Entries {
        Entries::Counts(run)
    }
}

/// The first names in order, and how many there are of each.
struct First {
    after: Option<String>,
    limit: usize,
    counts: BTreeMap<String, u64>,
    more: bool,
}

impl First {
    fn new(request: &ListRequest) -> Self {
        Self {
            after: request.after.clone(),
            limit: request.limit,
            counts: BTreeMap::new(),
            more: false,
        }
    }

    /// There is one of this name, with so many. It may have been told already.
    fn put(&mut self, name: &str, count: u64) {
        match self.counts.get_mut(name) {
            Some(known) => *known = count,
            None => self.count(name, count),
        }
    }

    fn count(&mut self, name: &str, count: u64) {
        if self.after.as_deref().is_some_and(|after| name <= after) {
            return;
        }
        if let Some(known) = self.counts.get_mut(name) {
            *known += count;
            return;
        }
        if self.counts.len() >= self.limit {
            self.more = true;
            // Whoever is put out once stays out: from here on the last name only comes nearer.
            match self.counts.last_key_value() {
                Some((last, _)) if name < &**last => drop(self.counts.pop_last()),
                _ => return,
            }
        }
        self.counts.insert(name.to_owned(), count);
    }

    fn into_run(self) -> Run<Count> {
        Run {
            entries: self.counts.into_iter().collect(),
            more: self.more,
            cut: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(names: &[&str], more: bool) -> Run<Count> {
        Run {
            entries: names.iter().map(|name| ((*name).to_owned(), 1)).collect(),
            more,
            cut: false,
        }
    }

    fn names(run: &Run<Count>) -> Vec<&str> {
        run.entries.iter().map(|(name, _)| &**name).collect()
    }

    #[test]
    fn runs_are_merged_up_to_where_the_first_of_them_ends() {
        let merged = Run::merge(vec![
            run(&["a", "c", "e"], true),
            run(&["b", "d", "f"], true),
            run(&["c", "z"], false),
        ]);
        assert_eq!(names(&merged), ["a", "b", "c", "d", "e"]);
        assert_eq!(merged.entries[2].1, 2);
        assert!(merged.more);
        let merged = Run::merge(vec![run(&["b"], false), run(&["a"], false)]);
        assert_eq!((names(&merged), merged.more), (vec!["a", "b"], false));
        assert!(!Run::<Count>::merge(vec![]).more);
    }

    #[test]
    fn a_part_is_bounded_and_has_one_entry_at_least() {
        let all = || run(&["a", "b", "c"], false);
        assert_eq!(names(&all().bounded(2, 1000)), ["a", "b"]);
        assert!(all().bounded(2, 1000).more && !all().bounded(3, 1000).more);
        assert_eq!(names(&all().bounded(3, 70)), ["a", "b"]);
        assert_eq!(names(&all().bounded(3, 1)), ["a"]);
        assert!(run(&[], false).bounded(3, 1).entries.is_empty());
    }

    #[test]
    fn the_first_names_are_counted_in_full_whatever_order_they_come_in() {
        let names = ["d", "b", "e", "a", "b", "c", "a", "e", "b", "d"];
        let expected = BTreeMap::from([("a", 2), ("b", 3), ("c", 1), ("d", 2), ("e", 2)]);
        for turn in 0..names.len() {
            for limit in 1..=6 {
                for after in ["", "a", "c"] {
                    let request = ListRequest {
                        list: List::Users,
                        selection: adapter::Selection::everybody(),
                        after: Some(after.to_owned()),
                        limit,
                        bytes: 1000,
                    };
                    let mut first = First::new(&request);
                    let turned = names.iter().cycle().skip(turn).take(names.len());
                    turned.for_each(|name| first.count(name, 1));
                    let run = first.into_run();
                    let behind = expected.iter().filter(|(name, _)| **name > after);
                    let all = behind.clone().count();
                    let behind = behind.map(|(name, count)| ((*name).to_owned(), *count));
                    assert_eq!(run.entries, behind.take(limit).collect::<Vec<_>>());
                    assert_eq!(run.more, all > limit);
                }
            }
        }
    }

    #[test]
    fn the_first_ids_are_told_once_however_they_come() {
        let tag = crate::net::ids::random_tag();
        let mut all: Vec<SocketId> = (0..3000).map(|_| SocketId::random(tag, 0)).collect();
        let mut sorted = all.clone();
        sorted.sort_unstable_by(|a, b| a.as_str().cmp(b.as_str()));
        let after = sorted[100].as_str();
        for limit in [1, 10, 700, 2898, 2899, 5000] {
            for _ in 0..3 {
                all.rotate_left(977);
                let mut first = FirstIds::new(after, limit);
                let most = 2 * limit + SLICE;
                for id in all.iter().chain(&all[..2000]) {
                    first.put(*id);
                    assert!(first.ids.len() <= most);
                }
                let (ids, more) = first.sorted();
                let expected: Vec<_> = sorted[101..].iter().take(limit).copied().collect();
                assert!(ids == expected, "{limit}");
                assert_eq!(more, limit < 2899, "{limit}");
            }
        }
    }

    #[test]
    fn what_another_node_says_brings_the_list_on_or_ends_it() {
        let piece = |names: &[&str], more| Piece {
            entries: Entries::Counts(names.iter().map(|it| ((*it).to_owned(), 1)).collect()),
            more,
            cut: false,
        };
        let read = |piece| Run::<Count>::of_piece("/", Some("b"), piece).unwrap();
        let run = read(piece(&["d", "a", "c", "c", "b"], true));
        assert_eq!(names(&run), ["c", "d"]);
        assert!(run.more && !run.cut);
        let run = read(piece(&["a", "b"], true));
        assert!(run.entries.is_empty() && !run.more && run.cut);
        let sockets = Piece {
            entries: Entries::Sockets(Vec::new()),
            more: false,
            cut: false,
        };
        assert!(Run::<Count>::of_piece("/", None, sockets).is_none());
    }
}
