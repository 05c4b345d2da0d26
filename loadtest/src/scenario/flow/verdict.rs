//! What became of every message, from both ends' memories.

use super::findings::{Fault, Findings};
use super::member::Gap;
use super::{Message, Part, Receiver};
use crate::crew::Mark;
use crate::stats::{Count, Series, Times};
use crate::summary::Summary;

/// The sums over all clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// Deliveries that acknowledged messages should have had.
    pub(crate) due: u64,
    /// Of these, never seen, though the receiver was connected.
    pub(crate) lost_connected: u64,
    /// Of these, never seen, and the receiver was away.
    pub(crate) lost_away: u64,
    /// Of these, never seen, and the receiver was told so: it was not recovered.
    pub(crate) missed: u64,
    /// Seen more than once.
    pub(crate) duplicated: u64,
    /// Seen behind a later one.
    pub(crate) out_of_order: u64,
    /// Of these, messages that no ack ever came for.
    pub(crate) out_of_order_unsure: u64,
    /// Messages that no ack ever came for.
    pub(crate) unsure: u64,
    /// Clients.
    pub(crate) clients: u64,
    /// Of these, never came back.
    pub(crate) missing: u64,
}

impl Verdict {
    /// Puts all threads' memories together.
    pub(crate) fn of(parts: &[Part], findings: &mut Findings) -> Self {
        let streams = parts.iter().map(|part| part.published.len()).max();
        let mut published: Vec<&[Message]> = vec![&[]; streams.unwrap_or(0)];
        for part in parts {
            // Each stream is published by one thread.
            for (stream, messages) in part.published.iter().enumerate() {
                if !messages.is_empty() {
                    published[stream] = messages;
                }
            }
        }
        let mut verdict = Self::default();
        for messages in &published {
            let unsure = messages.iter().filter(|message| message.acked.is_none());
            verdict.unsure += unsure.count() as u64;
        }
        for receiver in parts.iter().flat_map(|part| &part.receivers) {
            verdict.add(&published, receiver, findings);
        }
        verdict
    }

    fn add(&mut self, published: &[&[Message]], receiver: &Receiver, findings: &mut Findings) {
        let Receiver {
            streams, member, ..
        } = receiver;
        self.clients += 1;
        self.missing += u64::from(member.is_away());
        let messages = streams.map(|stream| match stream {
            Some(stream) => published[stream as usize],
            None => &[],
        });
        let spans: Vec<Span<'_>> = member
            .gaps
            .iter()
            .map(|gap| Span::of(gap, messages))
            .collect();
        for (track, messages) in messages.into_iter().enumerate() {
            let got = &member.tracks[track];
            self.duplicated += got.duplicated.len() as u64;
            self.out_of_order += got.overtaken.len() as u64;
            let numbered = |sequence: &u32| Some((*sequence, messages.get(*sequence as usize)?));
            for message in got.duplicated.iter().filter_map(numbered) {
                findings.note(Fault::Duplicated, receiver, track, message);
            }
            for message in got.overtaken.iter().filter_map(numbered) {
                self.out_of_order_unsure += u64::from(message.1.acked.is_none());
                findings.note(Fault::OutOfOrder, receiver, track, message);
            }
            for (sequence, message) in messages.iter().enumerate() {
                let Some(acked) = message.acked else {
                    continue;
                };
                self.due += 1;
                if !got.has(sequence) {
                    let told = spans
                        .iter()
                        .any(|span| span.covers(track, sequence, message.sent, acked));
                    if told {
                        self.missed += 1;
                        continue;
                    }
                    let numbered = (sequence as u32, message);
                    findings.note(Fault::Lost, receiver, track, numbered);
                    if member.missed(message.sent) {
                        self.lost_away += 1;
                    } else {
                        self.lost_connected += 1;
                    }
                }
            }
        }
    }

    /// The part of the clients that came back.
    pub(crate) fn brought_back(&self) -> f64 {
        1.0 - self.missing as f64 / self.clients.max(1) as f64
    }

    /// As figures, with all that was counted between two marks.
    pub(crate) fn report(&self, summary: &mut Summary, begin: &Mark, end: &Mark, times: &Times) {
        let since = |count| end.totals.since(&begin.totals, count);
        let lost = self.lost_connected + self.lost_away;
        summary.add("due", self.due as f64);
        summary.add("lost", lost as f64);
        summary.add("lost_part", lost as f64 / self.due.max(1) as f64);
        summary.add("lost_connected", self.lost_connected as f64);
        summary.add("lost_away", self.lost_away as f64);
        summary.add("missed", self.missed as f64);
        summary.add("duplicated", self.duplicated as f64);
        summary.add("out_of_order", self.out_of_order as f64);
        summary.add("out_of_order_unsure", self.out_of_order_unsure as f64);
        summary.add("unsure", self.unsure as f64);
        summary.add("strays", since(Count::Strays) as f64);
        self.report_returns(summary, begin, end, times);
        let skipped = since(Count::Skipped);
        if skipped > 0 {
            summary.notes.push(format!(
                "{skipped} messages were not sent, since their publisher was away."
            ));
        }
        if self.missing > 0 {
            summary
                .notes
                .push("Not all clients were back at the end.".to_owned());
        }
    }

    fn report_returns(&self, summary: &mut Summary, begin: &Mark, end: &Mark, times: &Times) {
        let since = |count| end.totals.since(&begin.totals, count);
        let (returns, recovered) = (since(Count::Returns), since(Count::Recovered));
        summary.add("brought_back", self.brought_back());
        summary.add("returns", returns as f64);
        if returns > 0 {
            summary.add("recovered", recovered as f64 / returns as f64);
        }
        summary.add("not_recovered", returns.saturating_sub(recovered) as f64);
        summary.add("renamed", since(Count::Renamed) as f64);
        summary.add("replayed", since(Count::Replayed) as f64);
        let names = ["replay_p50", "replay_p99", "replay_max"];
        summary.add_series(times, Series::Replay, names);
        let names = ["recovery_p50", "recovery_p99", "recovery_max"];
        summary.add_series(times, Series::Recovery, names);
        let turned_away = end.totals.turned_away() - begin.totals.turned_away();
        summary.add(
            "refused",
            (end.totals.refused() - begin.totals.refused()) as f64,
        );
        summary.add("turned_away", turned_away as f64);
        summary.add("publishes_refused", since(Count::PublishesRefused) as f64);
        if end.totals.of_count(Count::Offers) == 0 {
            let note = "The server offers no recovery: its answers to CONNECT have no pid. \
                        What clients missed while they were away counts as lost.";
            summary.notes.push(note.to_owned());
        }
    }
}

/// What a client need not have got, since it was told that it is not recovered.
struct Span<'a> {
    gap: &'a Gap,
    /// When the latest message was sent that it had got until then. What was acknowledged before came before it.
    from: u64,
}

impl<'a> Span<'a> {
    fn of(gap: &'a Gap, messages: [&[Message]; 2]) -> Self {
        let latest = messages
            .iter()
            .zip(gap.next)
            .filter_map(|(messages, next)| {
                let latest = messages.get((next as usize).checked_sub(1)?)?;
                Some(latest.sent)
            });
        Self {
            gap,
            from: latest.max().unwrap_or(0),
        }
    }

    fn covers(&self, track: usize, sequence: usize, sent: u64, acked: u64) -> bool {
        let overtaken = sequence < self.gap.next[track] as usize || acked < self.from;
        !overtaken && self.gap.until.is_none_or(|until| sent <= until)
    }
}

#[cfg(test)]
mod tests {
    use super::super::layout::Layout;
    use super::super::member::Member;
    use super::super::ticket::Welcome;
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn sent(seconds: &[u64]) -> Vec<Message> {
        let message = |&second: &u64| Message {
            sent: second * SECOND,
            acked: Some(second * SECOND + SECOND / 2),
        };
        seconds.iter().map(message).collect()
    }

    fn verdict(published: Vec<Vec<Message>>, member: Member) -> Verdict {
        let publisher = Part {
            published,
            receivers: Vec::new(),
        };
        let other = Part {
            published: vec![Vec::new(), Vec::new()],
            receivers: vec![Receiver {
                client: 0,
                streams: [Some(0), Some(1)],
                member,
            }],
        };
        let mut findings = Findings::new(Layout {
            rooms: 1,
            members: 1,
            active: 1,
            broadcasts: true,
        });
        let verdict = Verdict::of(&[publisher, other], &mut findings);
        let found = verdict.lost_connected + verdict.lost_away;
        let found = found + verdict.duplicated + verdict.out_of_order;
        assert_eq!(findings.into_found().len() as u64, found);
        verdict
    }

    fn take(member: &mut Member, track: usize, sequences: &[u32]) {
        for &sequence in sequences {
            member.deliver(track, sequence, 0, 0);
        }
    }

    #[test]
    fn only_acknowledged_messages_can_be_lost() {
        let mut messages = sent(&[1, 3, 6, 7]);
        messages[3].acked = None;
        let mut member = Member::default();
        member.back(0);
        member.leave(2 * SECOND);
        member.back(4 * SECOND);
        take(&mut member, 0, &[0]);
        let expected = Verdict {
            due: 3,
            lost_connected: 1,
            lost_away: 1,
            unsure: 1,
            clients: 1,
            ..Verdict::default()
        };
        assert_eq!(verdict(vec![messages], member), expected);
    }

    #[test]
    fn what_came_late_or_again_is_told_also_if_it_was_not_acknowledged() {
        let mut messages = sent(&[1, 2, 3, 4]);
        messages[2].acked = None;
        let mut member = Member::default();
        take(&mut member, 0, &[1, 0, 3, 2, 2]);
        let expected = Verdict {
            due: 3,
            duplicated: 1,
            out_of_order: 2,
            out_of_order_unsure: 1,
            unsure: 1,
            clients: 1,
            ..Verdict::default()
        };
        assert_eq!(verdict(vec![messages], member), expected);
    }

    /// In its room from 0 to 5 s, told at 8 s that it is not recovered, in its room again at 9 s.
    fn told(before: [&[u32]; 2], after: [&[u32]; 2]) -> Member {
        let mut member = Member::default();
        member.answered(br#"{"pid":"P"}"#, 0);
        member.back(0);
        for (track, sequences) in before.into_iter().enumerate() {
            take(&mut member, track, sequences);
        }
        member.leave(5 * SECOND);
        let welcome = member.answered(br#"{"pid":"Q"}"#, 8 * SECOND);
        assert_eq!(welcome, Welcome::Anew);
        member.back(9 * SECOND);
        for (track, sequences) in after.into_iter().enumerate() {
            take(&mut member, track, sequences);
        }
        member
    }

    #[test]
    fn what_is_missed_before_a_new_session_is_told_and_not_lost() {
        let room = sent(&[1, 2, 4, 6, 8, 10]);
        let everyone = sent(&[3, 7, 11]);
        let member = told([&[0, 1], &[0]], [&[5], &[2]]);
        let expected = Verdict {
            due: 9,
            missed: 4,
            clients: 1,
            ..Verdict::default()
        };
        assert_eq!(verdict(vec![room, everyone], member), expected);
    }

    #[test]
    fn a_hole_before_a_new_session_is_lost() {
        // The one of 1 s is behind one of 2 s in its own stream; the one of 1 s to everyone was acknowledged before
        // that was sent.
        let member = told([&[1], &[]], [&[], &[]]);
        let expected = Verdict {
            due: 3,
            lost_connected: 2,
            clients: 1,
            ..Verdict::default()
        };
        let published = vec![sent(&[1, 2]), sent(&[1])];
        assert_eq!(verdict(published, member), expected);
    }

    #[test]
    fn what_a_new_session_does_not_get_is_lost() {
        let member = told([&[0], &[]], [&[], &[]]);
        let expected = Verdict {
            due: 3,
            missed: 1,
            lost_connected: 1,
            clients: 1,
            ..Verdict::default()
        };
        assert_eq!(verdict(vec![sent(&[1, 7, 10])], member), expected);
    }

    #[test]
    fn who_is_recovered_has_to_have_all() {
        let mut member = Member::default();
        member.answered(br#"{"pid":"P"}"#, 0);
        member.back(0);
        take(&mut member, 0, &[0]);
        member.leave(5 * SECOND);
        let welcome = member.answered(br#"{"pid":"P"}"#, 8 * SECOND);
        assert_eq!(welcome, Welcome::Recovered);
        member.back(8 * SECOND);
        take(&mut member, 0, &[2]);
        let expected = Verdict {
            due: 3,
            lost_away: 1,
            clients: 1,
            ..Verdict::default()
        };
        assert_eq!(verdict(vec![sent(&[1, 7, 10])], member), expected);
    }

    #[test]
    fn who_never_comes_back_is_missing() {
        let mut member = Member::default();
        member.back(0);
        member.leave(SECOND);
        let verdict = verdict(vec![sent(&[2])], member);
        assert_eq!((verdict.missing, verdict.lost_away), (1, 1));
        assert!(verdict.brought_back().abs() < 1e-9);
    }
}
