//! The busiest of many names, in little memory.

use std::rc::Rc;

use rustc_hash::FxHashMap;

/// Most names of which a shard counts, rooms and users each.
const MAX_NAMES: usize = 128;

/// Most bytes of a name; what is longer is cut.
const MAX_NAME: usize = 256;

/// Counts of the busiest names (Space-Saving of Metwally, Agrawal and El Abbadi). A name that is new takes
/// the place of the one with the least weight, and takes over that weight, so that the next new name has
/// another place. Its counts are its own since then: never more than there was. A name that has more
/// than one in [`MAX_NAMES`] of everything is always there.
#[derive(Debug, Default)]
pub(super) struct Sketch {
    places: FxHashMap<Rc<str>, usize>,
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    name: Rc<str>,
    weight: f64,
    counts: [f64; 2],
}

impl Sketch {
    pub(super) fn add(&mut self, name: &str, counts: [f64; 2]) {
        let name = beginning(name);
        let place = match self.places.get(name) {
            Some(place) => *place,
            None => self.take_place(name),
        };
        let entry = &mut self.entries[place];
        for (count, more) in entry.counts.iter_mut().zip(counts) {
            *count += more;
            entry.weight += more;
        }
    }

    fn take_place(&mut self, name: &str) -> usize {
        let name: Rc<str> = name.into();
        let place = if self.entries.len() < MAX_NAMES {
            self.entries.push(Entry {
                name: Rc::clone(&name),
                weight: 0.0,
                counts: [0.0; 2],
            });
            self.entries.len() - 1
        } else {
            let places = 0..self.entries.len();
            let weight = |place: &usize| self.entries[*place].weight;
            let least = places.min_by(|a, b| weight(a).total_cmp(&weight(b)));
            let place = least.unwrap_or_default();
            let entry = &mut self.entries[place];
            let gone = std::mem::replace(&mut entry.name, Rc::clone(&name));
            entry.counts = [0.0; 2];
            self.places.remove(&gone);
            place
        };
        self.places.insert(name, place);
        place
    }

    /// What was counted until now weighs half as much from now on.
    pub(super) fn fade(&mut self) {
        for entry in &mut self.entries {
            entry.weight /= 2.0;
            entry.counts = entry.counts.map(|count| count / 2.0);
        }
    }

    /// The busiest, at most so many.
    pub(super) fn busiest(&self, most: usize) -> Vec<(&str, [f64; 2])> {
        let entries = self.entries.iter();
        let mut all: Vec<_> = entries.map(|it| (&*it.name, it.counts)).collect();
        let total = |counts: &[f64; 2]| counts.iter().sum::<f64>();
        all.retain(|(_, counts)| total(counts) > 0.0);
        all.sort_by(|a, b| total(&b.1).total_cmp(&total(&a.1)).then(a.0.cmp(b.0)));
        all.truncate(most);
        all
    }
}

fn beginning(name: &str) -> &str {
    &name[..name.floor_char_boundary(MAX_NAME)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_busiest_are_found_among_many_and_never_overstated() {
        let mut sketch = Sketch::default();
        let mut busy = [0.0; 10];
        for round in 0_usize..20_000 {
            // One event in twenty is of a busy room, the others of rooms that are never seen again.
            if round.is_multiple_of(20) {
                let room = (round / 20) % busy.len();
                sketch.add(&format!("busy {room}"), [1.0, 2.0]);
                busy[room] += 1.0;
            } else {
                sketch.add(&format!("once {round}"), [0.0, 0.1]);
            }
        }
        assert!(sketch.entries.len() <= MAX_NAMES && sketch.places.len() <= MAX_NAMES);
        let found = sketch.busiest(busy.len());
        for (room, events) in busy.into_iter().enumerate() {
            let name = format!("busy {room}");
            let (_, [least, sent]) = found.iter().find(|(it, _)| *it == name).unwrap();
            assert!(
                *least <= events && *least > events * 0.9,
                "{least} {events}"
            );
            assert_eq!(*sent, least * 2.0);
        }
    }

    #[test]
    fn what_is_long_ago_fades_and_names_are_cut() {
        let mut sketch = Sketch::default();
        sketch.add("before", [0.0, 8.0]);
        sketch.fade();
        sketch.fade();
        sketch.add("now", [1.0, 2.0]);
        let long = "é".repeat(1000);
        sketch.add(&long, [0.5, 0.0]);
        let cut = beginning(&long);
        assert_eq!(cut.len(), MAX_NAME);
        let expected = [
            ("now", [1.0, 2.0]),
            ("before", [0.0, 2.0]),
            (cut, [0.5, 0.0]),
        ];
        assert_eq!(sketch.busiest(3), expected);
        assert_eq!(sketch.busiest(1).len(), 1);
    }
}
