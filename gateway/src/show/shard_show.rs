//! What a shard tells while a page is open somewhere.

use std::cell::{Cell, RefCell};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::mpsc;

use super::{Line, Reach, ShowCounters};
use crate::net::rate::{Due, Rate};

/// Where a shard tells what happens. What asks whether it does reads one flag.
#[derive(Debug, Default)]
pub(crate) struct ShardShow {
    is_on: Cell<bool>,
    out: RefCell<Option<Out>>,
}

#[derive(Debug)]
struct Out {
    lines: mpsc::Sender<Line>,
    counters: Arc<ShowCounters>,
    rate: Rate,
    due: Due,
    /// The last socket that a page shows, if that is not all.
    reach: Option<Reach>,
}

impl ShardShow {
    /// Tells so many lines a second from now on, of sockets up to this one.
    pub(crate) fn begin(
        &self,
        lines: mpsc::Sender<Line>,
        counters: Arc<ShowCounters>,
        per_second: NonZeroU32,
        reach: Option<Reach>,
    ) {
        self.out.replace(Some(Out {
            lines,
            counters,
            rate: Rate::begun(Instant::now(), per_second),
            due: 0,
            reach,
        }));
        self.is_on.set(true);
    }

    pub(crate) fn end(&self) {
        self.is_on.set(false);
        self.out.replace(None);
    }

    pub(crate) fn is_on(&self) -> bool {
        self.is_on.get()
    }

    /// Whether a page may show this socket. What happens to others is counted alone.
    pub(crate) fn reaches(&self, namespace: &str, id: &str) -> bool {
        let out = self.out.borrow();
        let Some(out) = &*out else {
            return false;
        };
        let is_within = out.reach.as_ref().is_none_or(|it| it.has(namespace, id));
        if !is_within {
            out.counters.beyond.increment();
        }
        is_within
    }

    /// Tells a line, which is made only if there is room for it in this second. The application may be asked for it,
    /// and do something that is told as well.
    pub(crate) fn tell(&self, line: impl FnOnce() -> Option<Line>) {
        if self.has_room()
            && let Some(line) = line()
            && let Some(out) = &*self.out.borrow()
            && out.lines.try_send(line).is_err()
        {
            out.counters.not_told.increment();
        }
    }

    /// Takes the room of one line.
    fn has_room(&self) -> bool {
        let mut out = self.out.borrow_mut();
        let Some(out) = &mut *out else {
            return false;
        };
        match out.rate.take(out.due, out.rate.now()) {
            Some(due) => out.due = due,
            None => {
                out.counters.not_told.increment();
                return false;
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_tells_so_many_lines_and_makes_no_others() {
        let show = ShardShow::default();
        show.tell(|| panic!("nobody looks"));
        let (lines, mut told) = mpsc::channel(8);
        let counters = Arc::<ShowCounters>::default();
        let per_second = NonZeroU32::new(3).unwrap();
        let reach = Some(Reach::new("/", "m"));
        show.begin(lines, Arc::clone(&counters), per_second, reach);
        assert!(show.reaches("/", "m") && !show.reaches("/", "n"));
        assert_eq!(counters.beyond.value(), 1);
        let mut made = 0;
        for _ in 0..10 {
            show.tell(|| {
                made += 1;
                Some(Line::new("room_left", String::new()))
            });
        }
        // A slow machine may have had time for one more.
        assert!((3..=4).contains(&made), "{made}");
        assert_eq!(counters.not_told.value(), 10 - made);
        while told.try_recv().is_ok() {
            made -= 1;
        }
        assert_eq!(made, 0);
        show.end();
        assert!(!show.is_on() && !show.reaches("/", "a"));
        show.tell(|| panic!("nobody looks any more"));
    }

    #[test]
    fn lines_that_nobody_fetches_are_left_out() {
        let show = ShardShow::default();
        let (lines, _told) = mpsc::channel(1);
        let counters = Arc::<ShowCounters>::default();
        show.begin(lines, Arc::clone(&counters), NonZeroU32::MAX, None);
        assert!(show.reaches("/z", "z"));
        for _ in 0..3 {
            show.tell(|| Some(Line::new("room_left", String::new())));
        }
        assert_eq!(counters.not_told.value(), 2);
    }
}
