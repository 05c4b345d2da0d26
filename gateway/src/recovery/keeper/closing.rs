//! What a keeper closes, since it cannot be made whole.

use adapter::recovery::{Change, LogName, Why};
use tracing::{info, warn};

use super::Keeper;
use crate::recovery::seats::Sitting;
use crate::recovery::{Seat, Whom};

impl Keeper {
    pub(super) fn give_up(&mut self, log: &LogName, why: Why) {
        let is_in = |sitting: &Sitting| match log {
            LogName::Everybody => true,
            LogName::Room(_) => sitting.keeps(log),
        };
        let seats = self.seats.iter().filter(|it| is_in(it.1));
        let seats: Vec<_> = seats.map(|it| *it.0).collect();
        self.counters.given_up.add(seats.len() as u64);
        let reason = match why {
            Why::Trimmed => "what its node missed is not kept any more",
            Why::TooLarge => "what its node missed is too much",
            Why::Late => "what its node missed comes too late",
        };
        warn!(target: "gateway::recovery",
            namespace = %self.order.namespace(),
            clients = seats.len(),
            reason,
            "clients are closed, since this node cannot give them what it missed"
        );
        for seat in seats {
            let change = match why {
                Why::Trimmed | Why::TooLarge => Change::Away,
                Why::Late => Change::End,
            };
            self.leave_seat(seat, Some(change));
            self.close_whom(Whom::Seat(seat), reason);
        }
    }

    /// What was promised of the log before is gone: nobody here is told that he is whole.
    pub(super) fn handle_renewed(&mut self) {
        self.counters.renewed.increment();
        info!(target: "gateway::recovery",
            namespace = %self.order.namespace(),
            clients = self.seats.len(),
            "Redis lost what it had confirmed, or was empty: all clients of the namespace begin anew"
        );
        let seats: Vec<_> = self.seats.keys().copied().collect();
        for seat in seats {
            self.leave_seat(seat, Some(Change::Away));
        }
        self.close_whom(Whom::Everybody, "the log of the namespace is another one");
    }

    pub(in crate::recovery) fn close_seat(&mut self, seat: Seat, why: &'static str) {
        self.leave_seat(seat, None);
        self.close_whom(Whom::Seat(seat), why);
    }

    pub(in crate::recovery) fn close_whom(&self, whom: Whom, why: &'static str) {
        self.outlet.close(self.order.namespace(), whom, why);
    }
}
