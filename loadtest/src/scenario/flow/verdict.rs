//! What became of every message, from both ends' memories.

use super::Part;
use super::member::Member;
use crate::summary::Summary;

/// The sums over all members.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// Deliveries that acknowledged messages should have had.
    pub(crate) due: u64,
    /// Of these, never seen, though the receiver was connected.
    pub(crate) lost_connected: u64,
    /// Of these, never seen, and the receiver was away.
    pub(crate) lost_away: u64,
    /// Seen more than once.
    pub(crate) duplicated: u64,
    /// Seen behind a later one.
    pub(crate) out_of_order: u64,
    /// Messages that no ack ever came for.
    pub(crate) unsure: u64,
    /// Members that never came back.
    pub(crate) missing: u64,
}

impl Verdict {
    /// Puts all threads' memories together.
    pub(crate) fn of(parts: &[Part]) -> Self {
        let rooms = parts
            .iter()
            .map(|part| part.published.len())
            .max()
            .unwrap_or(0);
        let mut messages: Vec<&[(u64, bool)]> = vec![&[]; rooms];
        for published in parts.iter().flat_map(|part| &part.published) {
            if !published.messages.is_empty() {
                messages[published.room as usize] = &published.messages;
            }
        }
        let mut verdict = Self::default();
        for room in &messages {
            verdict.unsure += room.iter().filter(|(_, acked)| !acked).count() as u64;
        }
        for (room, member) in parts.iter().flat_map(|part| &part.members) {
            verdict.add(messages[*room as usize], member);
        }
        verdict
    }

    fn add(&mut self, messages: &[(u64, bool)], member: &Member) {
        self.duplicated += member.duplicated;
        self.out_of_order += member.out_of_order;
        self.missing += u64::from(member.is_away());
        for (sequence, &(at, acked)) in messages.iter().enumerate() {
            if !acked {
                continue;
            }
            self.due += 1;
            if member.has(sequence) {
                continue;
            }
            if member.missed(at) {
                self.lost_away += 1;
            } else {
                self.lost_connected += 1;
            }
        }
    }

    /// As figures.
    pub(crate) fn report(&self, summary: &mut Summary) {
        let lost = self.lost_connected + self.lost_away;
        summary.add("due", self.due as f64);
        summary.add("lost", lost as f64);
        summary.add("lost_part", lost as f64 / self.due.max(1) as f64);
        summary.add("lost_connected", self.lost_connected as f64);
        summary.add("lost_away", self.lost_away as f64);
        summary.add("duplicated", self.duplicated as f64);
        summary.add("out_of_order", self.out_of_order as f64);
        summary.add("unsure", self.unsure as f64);
    }
}

#[cfg(test)]
mod tests {
    use super::super::Published;
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn only_acknowledged_messages_can_be_lost() {
        let mut present = Member::default();
        for sequence in [0, 1, 1] {
            present.delivered(sequence, b"");
        }
        let mut absent = Member::default();
        absent.leave(2 * SECOND);
        absent.back(4 * SECOND);
        absent.delivered(0, b"");
        let publisher = Part {
            published: vec![Published {
                room: 0,
                messages: vec![
                    (SECOND, true),
                    (3 * SECOND, true),
                    (6 * SECOND, true),
                    (7 * SECOND, false),
                ],
            }],
            members: vec![(0, present)],
        };
        let other = Part {
            published: vec![Published::default()],
            members: vec![(0, absent)],
        };
        let expected = Verdict {
            due: 6,
            lost_connected: 2,
            lost_away: 1,
            duplicated: 1,
            out_of_order: 0,
            unsure: 1,
            missing: 0,
        };
        assert_eq!(Verdict::of(&[publisher, other]), expected);
    }
}
