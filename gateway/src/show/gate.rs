//! What of all that nodes tell the pages of this node are shown.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::time::Instant;

use indexmap::{IndexMap, IndexSet};
use protocol::socketio::{Arguments, json};
use serde::Deserialize;

use super::Bounds;
use crate::net::rate::{Due, Rate};

/// Most bytes of an event that another server tells.
const MAX_BYTES: usize = 64 * 1024;

/// Most namespaces that are remembered from what others tell.
pub(crate) const MAX_NAMESPACES: usize = 100;

/// Most sockets that come while a list is made and are told behind it.
const MAX_MEANWHILE: usize = 1000;

/// What becomes of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Shown,
    /// It is about a socket that the pages do not show.
    Beyond,
    /// Too many come.
    TooMany,
    /// It is none that a server tells all pages.
    Odd,
}

/// Which sockets the pages of this node show, and how many events they still take. All pages of a node share it.
///
/// A page keeps each socket that it is told of. So events of others would make it grow without a bound.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    bounds: Option<(Bounds, Rate)>,
    due: Due,
    /// The sockets that are shown, and whether they are gone: what is told of a socket that goes comes before and
    /// behind that.
    sockets: IndexMap<Box<str>, Gone>,
    open: usize,
    /// Lists that are being made.
    listing: usize,
    /// Sockets that came while a list was made, with what was told of them.
    came: IndexMap<Box<str>, String>,
    /// Sockets that went while a list was made.
    went: IndexSet<Box<str>>,
    /// Something was left out since the last list, so that pages may be wrong.
    is_short: bool,
    namespaces: BTreeSet<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gone {
    No,
    Yes,
}

/// An event of the admin namespace as far as it matters here.
enum Event<'a> {
    Numbers,
    Came(Cow<'a, str>),
    Went(Cow<'a, str>),
    /// Something else about a socket.
    Of(Cow<'a, str>),
}

impl Gate {
    pub(super) fn set_bounds(&mut self, bounds: Bounds) {
        let rate = Rate::begun(Instant::now(), bounds.events_per_second);
        self.bounds = Some((bounds, rate));
        self.due = 0;
    }

    /// No page is left.
    pub(super) fn forget(&mut self) {
        *self = Self {
            bounds: self.bounds.take(),
            listing: self.listing,
            ..Self::default()
        };
    }

    /// Decides about an event.
    pub(super) fn admit(&mut self, event: &str, arguments: &str) -> Verdict {
        let Some((bounds, rate)) = self.bounds else {
            return Verdict::Odd;
        };
        if arguments.len() > MAX_BYTES {
            return Verdict::TooMany;
        }
        let Some(read) = read(event, arguments) else {
            return Verdict::Odd;
        };
        let id = match &read {
            Event::Numbers => {
                self.read_numbers(arguments);
                return Verdict::Shown;
            }
            Event::Came(id) | Event::Went(id) | Event::Of(id) => id,
        };
        let known = self.sockets.get(&**id).copied();
        let is_shown = match (&read, known) {
            (Event::Came(_), Some(Gone::No)) | (Event::Of(_), Some(_)) => true,
            (Event::Came(_), _) => self.open < bounds.sockets,
            (Event::Went(_), Some(Gone::No)) => true,
            (Event::Went(_) | Event::Of(_) | Event::Numbers, _) => false,
        };
        if self.listing > 0 {
            self.note_meanwhile(&read, arguments);
        }
        if !is_shown {
            return Verdict::Beyond;
        }
        // That a socket went is told in any case: there is one such event for each that is shown.
        if !matches!(read, Event::Went(_)) {
            match rate.take(self.due, rate.now()) {
                Some(due) => self.due = due,
                None => {
                    self.is_short = true;
                    return Verdict::TooMany;
                }
            }
        }
        match read {
            Event::Came(id) => self.add(&id),
            Event::Went(id) => self.remove(&id),
            Event::Of(_) | Event::Numbers => {}
        }
        Verdict::Shown
    }

    fn add(&mut self, id: &str) {
        if self.sockets.insert(id.into(), Gone::No) != Some(Gone::No) {
            self.open += 1;
        }
        if self.sockets.len() > self.open * 2 + MAX_MEANWHILE {
            self.sockets.retain(|_, gone| *gone == Gone::No);
        }
    }

    fn remove(&mut self, id: &str) {
        if let Some(gone) = self.sockets.get_mut(id) {
            *gone = Gone::Yes;
            self.open -= 1;
        }
    }

    fn note_meanwhile(&mut self, event: &Event<'_>, arguments: &str) {
        match event {
            Event::Came(id) if self.came.len() < MAX_MEANWHILE => {
                self.came.insert(id.as_ref().into(), arguments.to_owned());
            }
            Event::Went(id) => {
                self.came.shift_remove(&**id);
                if self.went.len() < MAX_MEANWHILE {
                    self.went.insert(id.as_ref().into());
                } else {
                    self.is_short = true;
                }
            }
            Event::Came(_) => self.is_short = true,
            Event::Of(_) | Event::Numbers => {}
        }
    }

    fn read_numbers(&mut self, arguments: &str) {
        #[derive(Deserialize)]
        struct Stats {
            #[serde(default)]
            namespaces: Vec<Counted>,
            /// Lines that the node did not tell lately; Node's servers have no such number.
            #[serde(default, rename = "notTold")]
            not_told: u64,
        }
        #[derive(Deserialize)]
        struct Counted {
            name: String,
        }
        let Ok(stats) = serde_json::from_str::<Stats>(arguments) else {
            return;
        };
        self.is_short |= stats.not_told > 0;
        for Counted { name } in stats.namespaces {
            let is_fit = name.starts_with('/') && name.len() <= 256;
            if is_fit && self.namespaces.len() < MAX_NAMESPACES {
                self.namespaces.insert(name);
            }
        }
    }

    /// Sockets that are shown and not gone.
    pub(super) fn open(&self) -> usize {
        self.open
    }

    /// Namespaces that other servers told of.
    pub(crate) fn namespaces(&self) -> &BTreeSet<String> {
        &self.namespaces
    }

    /// Whether the pages may be wrong because something was left out.
    pub(crate) fn is_short(&self) -> bool {
        self.is_short
    }

    /// A list of sockets is being made from now on.
    pub(crate) fn begin_list(&mut self) {
        self.listing += 1;
        self.is_short = false;
    }

    /// The list is there, with these sockets: which of them are gone by now, and what is to be told behind it of
    /// those that came meanwhile.
    pub(crate) fn end_list<'a>(
        &mut self,
        ids: impl Iterator<Item = &'a str>,
        is_for_all: bool,
    ) -> (IndexSet<Box<str>>, Vec<String>) {
        self.listing = self.listing.saturating_sub(1);
        if is_for_all {
            self.sockets.clear();
            self.open = 0;
        }
        let went = self.went.clone();
        let mut listed = IndexSet::new();
        for id in ids.filter(|id| !went.contains(*id)) {
            self.add(id);
            listed.insert(id);
        }
        let behind = self.came.iter();
        let behind = behind.filter(|(id, _)| !listed.contains(&***id));
        let most = self.bounds.map_or(0, |(bounds, _)| bounds.sockets);
        let behind = behind.take(most.saturating_sub(listed.len()));
        let behind: Vec<_> = behind
            .map(|(id, told)| (id.clone(), told.clone()))
            .collect();
        behind.iter().for_each(|(id, _)| self.add(id));
        if self.listing == 0 {
            self.came.clear();
            self.went.clear();
        }
        (went, behind.into_iter().map(|(_, told)| told).collect())
    }
}

/// `None` if no server tells this to all pages, or not in this form.
fn read<'a>(event: &str, arguments: &'a str) -> Option<Event<'a>> {
    let mut values = Arguments::from_raw(arguments, &[]).iter();
    match event {
        "server_stats" => values.next()?.starts_with('{').then_some(Event::Numbers),
        "socket_connected" => id_of(values.next()?).map(Event::Came),
        "socket_updated" => id_of(values.next()?).map(Event::Of),
        "socket_disconnected" => json::as_string(values.nth(1)?).map(Event::Went),
        "room_joined" | "room_left" => json::as_string(values.nth(2)?).map(Event::Of),
        "event_received" | "event_sent" => json::as_string(values.nth(1)?).map(Event::Of),
        _ => None,
    }
}

/// The id of a socket that is told of as a whole.
fn id_of<'a>(socket: &'a str) -> Option<Cow<'a, str>> {
    #[derive(Deserialize)]
    struct Socket<'a> {
        #[serde(borrow)]
        id: Cow<'a, str>,
        #[serde(rename = "nsp")]
        _namespace: Cow<'a, str>,
    }
    let socket: Socket<'a> = serde_json::from_str(socket).ok()?;
    Some(socket.id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroU32;

    fn gate(sockets: usize, events: u32) -> Gate {
        let mut gate = Gate::default();
        gate.set_bounds(Bounds {
            details: true,
            sockets,
            events_per_second: NonZeroU32::new(events).unwrap(),
        });
        gate
    }

    fn came(gate: &mut Gate, id: &str) -> Verdict {
        let told = format!(r#"{{"id":"{id}","nsp":"/","rooms":["{id}"]}},"d""#);
        gate.admit("socket_connected", &told)
    }

    fn went(gate: &mut Gate, id: &str) -> Verdict {
        let told = format!(r#""/","{id}","transport close","d""#);
        gate.admit("socket_disconnected", &told)
    }

    fn left(gate: &mut Gate, id: &str) -> Verdict {
        let told = format!(r#""/","r","{id}","d""#);
        gate.admit("room_left", &told)
    }

    #[test]
    fn a_page_is_told_of_so_many_sockets_and_of_those_alone() {
        let mut gate = gate(2, 1000);
        assert_eq!(left(&mut gate, "a"), Verdict::Beyond);
        assert_eq!(came(&mut gate, "a"), Verdict::Shown);
        assert_eq!(came(&mut gate, "b"), Verdict::Shown);
        assert_eq!(came(&mut gate, "a"), Verdict::Shown);
        assert_eq!(came(&mut gate, "c"), Verdict::Beyond);
        assert_eq!(left(&mut gate, "c"), Verdict::Beyond);
        assert_eq!(went(&mut gate, "c"), Verdict::Beyond);
        assert_eq!(went(&mut gate, "a"), Verdict::Shown);
        // Its rooms follow.
        assert_eq!(left(&mut gate, "a"), Verdict::Shown);
        assert_eq!(went(&mut gate, "a"), Verdict::Beyond);
        assert_eq!(came(&mut gate, "c"), Verdict::Shown);
        assert_eq!(came(&mut gate, "d"), Verdict::Beyond);
    }

    #[test]
    fn sockets_that_came_and_went_are_forgotten() {
        let mut gate = gate(10, u32::MAX);
        for number in 0..10_000 {
            let id = number.to_string();
            assert_eq!(came(&mut gate, &id), Verdict::Shown);
            assert_eq!(went(&mut gate, &id), Verdict::Shown);
        }
        assert!(gate.sockets.len() <= 2 * MAX_MEANWHILE);
        assert_eq!(gate.open, 0);
    }

    #[test]
    fn what_is_too_much_for_a_second_makes_a_list_necessary() {
        let mut gate = gate(1000, 5);
        let mut shown = 0;
        for number in 0..100 {
            let verdict = came(&mut gate, &number.to_string());
            assert!(matches!(verdict, Verdict::Shown | Verdict::TooMany));
            shown += usize::from(verdict == Verdict::Shown);
        }
        // A slow machine may have had time for some more.
        assert!((5..50).contains(&shown), "{shown}");
        assert!(gate.is_short());
        // Who is shown and goes is told in any case.
        assert_eq!(went(&mut gate, "0"), Verdict::Shown);
        gate.begin_list();
        assert!(!gate.is_short());
        gate.end_list(["7", "8"].into_iter(), true);
        assert_eq!(gate.open, 2);
        assert_eq!(went(&mut gate, "8"), Verdict::Shown);
    }

    #[test]
    fn what_happens_while_a_list_is_made_is_in_it_or_told_behind_it() {
        let mut gate = gate(10, 1000);
        gate.begin_list();
        came(&mut gate, "new");
        came(&mut gate, "short");
        came(&mut gate, "listed");
        went(&mut gate, "short");
        went(&mut gate, "old");
        let (gone, behind) = gate.end_list(["listed", "old", "there"].into_iter(), false);
        assert!(gone.contains("old") && gone.contains("short") && gone.len() == 2);
        assert_eq!(behind.len(), 1);
        assert!(behind[0].contains("new"));
        assert_eq!(went(&mut gate, "there"), Verdict::Shown);
        assert_eq!(went(&mut gate, "old"), Verdict::Beyond);
    }

    #[test]
    fn only_what_servers_tell_all_pages_goes_to_them() {
        let mut gate = gate(10, 1000);
        for (event, arguments) in [
            ("session", r#""x""#),
            ("config", "{}"),
            ("all_sockets", "[]"),
            ("hello", ""),
            ("server_stats", "7"),
            ("server_stats", ""),
            ("socket_connected", r#"{"id":7,"nsp":"/"}"#),
            ("socket_connected", r#"{"id":"a"}"#),
            ("socket_disconnected", r#""/""#),
            ("event_sent", r#""/",{}"#),
        ] {
            assert_eq!(gate.admit(event, arguments), Verdict::Odd, "{event}");
        }
        let large = format!(r#"{{"id":"a","nsp":"{}"}}"#, "x".repeat(MAX_BYTES));
        let verdict = gate.admit("socket_connected", &large);
        assert_eq!(verdict, Verdict::TooMany);
    }

    #[test]
    fn namespaces_of_others_are_remembered_up_to_a_bound() {
        let mut gate = gate(10, 1);
        let names = (0..200).map(|number| format!(r#"{{"name":"/{number}","socketsCount":1}}"#));
        let names = names.collect::<Vec<_>>().join(",");
        let stats = format!(r#"{{"serverId":"n","namespaces":[{{"name":"odd"}},{names}]}}"#);
        for _ in 0..10 {
            let verdict = gate.admit("server_stats", &stats);
            assert_eq!(verdict, Verdict::Shown);
        }
        assert!(!gate.is_short());
        assert_eq!(gate.namespaces().len(), MAX_NAMESPACES);
        assert!(!gate.namespaces().contains("odd"));
        gate.admit("server_stats", r#"{"serverId":"n","notTold":1}"#);
        assert!(gate.is_short());
    }
}
