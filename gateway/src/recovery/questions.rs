//! Questions about the past of rooms, on their way to the store and back.

use std::collections::VecDeque;

use adapter::recovery::{LogName, Past, PastPage};
use tokio::sync::oneshot;

use super::Seat;

/// Most questions that are asked at a time: each brings at most [`READ_BYTES`](super::READ_BYTES) and one event.
const AT_ONCE: usize = 4;

/// Most questions of callers that wait for their turn. Who comes then gets no answer.
const MAX_WAITING: usize = 1000;

/// Something of the past that somebody wants to know.
pub(super) struct Question {
    pub(super) log: LogName,
    pub(super) past: Past,
    pub(super) asker: Asker,
}

/// Who wants to know.
pub(super) enum Asker {
    Caller(oneshot::Sender<PastPage>),
    /// A socket that joins with history: that rewind of it.
    Rewind(Seat, u64),
}

/// Those of a keeper.
#[derive(Default)]
pub(super) struct Questions {
    waiting: VecDeque<Question>,
    under_way: usize,
}

impl Questions {
    /// A question whose asker went away is forgotten, and so is one of too many: its asker gets no answer.
    pub(super) fn push(&mut self, question: Question) {
        if self.waiting.len() >= MAX_WAITING && matches!(question.asker, Asker::Caller(_)) {
            self.waiting.retain(|it| !it.is_vain());
            if self.waiting.len() >= MAX_WAITING {
                return;
            }
        }
        self.waiting.push_back(question);
    }

    /// One that goes on with what was begun: it is asked before the others, so that few are begun and not ended.
    pub(super) fn push_first(&mut self, question: Question) {
        self.waiting.push_front(question);
    }

    /// The next one to ask, if another may be asked now.
    pub(super) fn next(&mut self) -> Option<Question> {
        while self.under_way < AT_ONCE {
            let question = self.waiting.pop_front()?;
            if !question.is_vain() {
                self.under_way += 1;
                return Some(question);
            }
        }
        None
    }

    /// One was answered, whatever the answer was.
    pub(super) fn handle_answered(&mut self) {
        self.under_way = self.under_way.saturating_sub(1);
    }

    /// The connection broke. Callers are told by getting no answer; what joins wait for is asked again.
    pub(super) fn handle_broken(&mut self, lost: impl DoubleEndedIterator<Item = Question>) {
        self.under_way = 0;
        for question in lost.rev() {
            if matches!(question.asker, Asker::Rewind(..)) {
                self.waiting.push_front(question);
            }
        }
    }
}

impl Question {
    /// Whether nobody waits for the answer any more.
    fn is_vain(&self) -> bool {
        match &self.asker {
            Asker::Caller(answer) => answer.is_closed(),
            Asker::Rewind(..) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use adapter::recovery::Position;

    use super::*;

    fn question(asker: Asker) -> Question {
        Question {
            log: LogName::Everybody,
            past: Past::Last {
                count: 1,
                until: Position::MAX,
            },
            asker,
        }
    }

    #[test]
    fn few_are_under_way_and_not_too_many_wait() {
        let mut questions = Questions::default();
        let mut answers = Vec::new();
        for _ in 0..MAX_WAITING + 5 {
            let (asker, answer) = oneshot::channel();
            questions.push(question(Asker::Caller(asker)));
            answers.push(answer);
        }
        assert_eq!(questions.waiting.len(), MAX_WAITING);
        assert!(matches!(
            answers.last_mut().unwrap().try_recv(),
            Err(oneshot::error::TryRecvError::Closed)
        ));
        // Those that nobody waits for make room.
        drop(answers);
        let (asker, _answer) = oneshot::channel();
        questions.push(question(Asker::Caller(asker)));
        assert_eq!(questions.waiting.len(), 1);
        let seat = Seat::new(0, 1);
        for number in 0..5 {
            questions.push(question(Asker::Rewind(seat, number)));
        }
        let asked: Vec<_> = std::iter::from_fn(|| questions.next()).collect();
        assert_eq!(asked.len(), AT_ONCE);
        questions.handle_answered();
        assert!(questions.next().is_some());
    }

    #[test]
    fn what_joins_wait_for_is_asked_again_in_its_order() {
        let mut questions = Questions::default();
        let seat = Seat::new(0, 1);
        let (asker, mut answer) = oneshot::channel();
        questions.push(question(Asker::Rewind(seat, 1)));
        questions.push(question(Asker::Caller(asker)));
        questions.push(question(Asker::Rewind(seat, 2)));
        questions.push(question(Asker::Rewind(seat, 3)));
        let lost: Vec<_> = std::iter::from_fn(|| questions.next()).take(3).collect();
        questions.handle_broken(lost.into_iter());
        assert!(matches!(
            answer.try_recv(),
            Err(oneshot::error::TryRecvError::Closed)
        ));
        let numbers = std::iter::from_fn(|| questions.next()).map(|it| match it.asker {
            Asker::Rewind(_, number) => number,
            Asker::Caller(_) => 0,
        });
        assert_eq!(numbers.collect::<Vec<_>>(), [1, 2, 3]);
    }
}
