//! What the store answers a keeper.

use std::collections::VecDeque;

use adapter::recovery::{Act, Done, PastPage, Reply, State};

use super::{Asked, Keeper, Pending, Reader};
use crate::recovery::Unpublished;
use crate::recovery::questions::{Asker, Question};

impl Keeper {
    pub(super) fn lose_connection(&mut self) {
        self.connection = None;
        self.writer.handle_broken();
        self.lose_questions();
        for asked in std::mem::take(&mut self.asked) {
            if let Asked::Read(spans) = asked {
                self.reads.handle_failed(&spans);
            }
        }
    }

    /// Questions about the past that this connection does not answer any more.
    pub(super) fn lose_questions(&mut self) {
        let (questions, others): (VecDeque<_>, _) = std::mem::take(&mut self.asked)
            .into_iter()
            .partition(|it| matches!(it, Asked::History(_)));
        self.asked = others;
        let questions = questions.into_iter().filter_map(|it| match it {
            Asked::History(question) => Some(question),
            Asked::Beat | Asked::Acts | Asked::Read(_) => None,
        });
        self.questions.handle_broken(questions);
    }

    pub(super) fn handle_reply(&mut self, reply: &Reply) {
        let asked = self.asked.pop_front();
        if let Reply::Beaten { known, sizes, .. } = reply {
            self.receiver.begin(*known);
            self.share.set_sizes(*sizes);
        }
        if let Some(Asked::Read(spans)) = &asked {
            match reply {
                Reply::Pieces { epoch, pieces } if pieces.len() == spans.len() => {
                    for piece in pieces {
                        for (reader, piece) in self.reads.handle(piece.clone()) {
                            match reader {
                                Reader::Receiver => {
                                    self.counters.filled.add(piece.entries.len() as u64);
                                    self.receiver.handle_piece(*epoch, &piece);
                                }
                                Reader::Comeback(seat) => self.handle_piece(seat, *epoch, &piece),
                            }
                        }
                    }
                }
                Reply::Pieces { .. }
                | Reply::Beaten { .. }
                | Reply::Done { .. }
                | Reply::BeatFirst
                | Reply::Outdated
                | Reply::Page(_) => self.reads.handle_failed(spans),
            }
        }
        if let Some(Asked::History(question)) = asked {
            self.questions.handle_answered();
            if let Reply::Page(page) = reply {
                self.handle_page(question, page);
            }
        }
        let resolved = self.writer.handle(reply);
        for taken in &resolved.taken {
            self.handle_taken(taken);
        }
        for (ticket, done) in resolved.done {
            if let Some(pending) = self.tickets.remove(&ticket) {
                self.handle_done(pending, &done);
            }
        }
        let is_beating = self.asked.iter().any(|it| matches!(it, Asked::Beat));
        if self.writer.must_beat() && !is_beating {
            self.beat();
        }
    }

    fn handle_page(&mut self, question: Question, page: &PastPage) {
        match question.asker {
            Asker::Caller(answer) => {
                let _gone = answer.send(page.clone());
            }
            Asker::Rewind(seat, number) => self.handle_page_of_rewind(seat, number, page),
        }
    }

    pub(super) fn handle_done(&mut self, pending: Pending, done: &Done) {
        match (pending, done) {
            (Pending::Publish { size, done, since }, outcome) => {
                self.order.settled(size);
                let result = match outcome {
                    Done::Published(_) => {
                        self.counters.published.increment();
                        self.counters.publish_duration.observe(since.elapsed());
                        Ok(())
                    }
                    Done::Opened(_)
                    | Done::Written(_)
                    | Done::NotOwned
                    | Done::Claimed(_)
                    | Done::NotClaimed(_)
                    | Done::Retired
                    | Done::Retiring => Err(Unpublished::NotOwned),
                };
                if let Some(done) = done {
                    let _nobody_waits = done.send(result);
                }
            }
            (Pending::Open(seat), Done::Opened(pid)) => self.handle_opened(seat, *pid),
            (
                Pending::Join {
                    seat,
                    rooms,
                    written,
                },
                Done::Written(since),
            ) => {
                self.counters.session_writes.increment();
                let is_live = matches!(self.receiver.state(), State::Live);
                let is_behind = self
                    .receiver
                    .released()
                    .is_none_or(|it| it.position < *since);
                if !is_live && is_behind {
                    self.outlet.joined(seat, rooms, *since);
                }
                written.open();
            }
            (Pending::Join { seat, .. }, Done::NotOwned) => {
                self.close_seat(seat, "its session is another node's");
            }
            (Pending::Claim(seat, secret), done) => self.handle_claim(seat, secret, done),
            (Pending::Retire, Done::Retiring) => self.push(Act::Retire, Pending::Retire),
            (Pending::Retire, _) => {
                // Whatever is to be done after that, it is a new process for it.
                self.is_retired = self.writer.is_idle();
                for retired in self.retiring.drain(..) {
                    let _gone = retired.send(());
                }
            }
            (Pending::Nothing, Done::Written(_)) => self.counters.session_writes.increment(),
            (Pending::Open(_) | Pending::Join { .. } | Pending::Nothing, _) => {}
        }
    }
}
