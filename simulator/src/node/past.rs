//! Joins with history: what comes for the client is held until the past of its room went out.

use std::sync::Arc;

use adapter::recovery::{
    Call, Change, Entry, Held, LogName, Mark, Offset, Passed, Past, PastPage, Position, Request,
    Rewind, RewindLimits, RewindNext, Rewinding, Rewound, RewoundRooms,
};

use super::sockets::event_of;
use super::{Asked, Node, Stage};
use crate::model::EventId;
use crate::net::{Down, End, Line, Net, Payload};
use crate::plan::{HOLDING, Planted};

/// A client's join with history that is under way.
pub(super) struct Joining {
    number: u64,
    room: String,
    wants: Rewind,
    /// Whether it was not in the room before.
    is_new: bool,
    /// Once the join is written.
    machine: Option<Rewinding>,
    /// Everything up to here that is for it in its other rooms went out.
    have: Position,
    held: Vec<Held<EventId>>,
    bytes: usize,
    until: u64,
}

/// What is asked of the past, and for which join.
pub(super) struct Question {
    line: Line,
    number: u64,
    log: LogName,
    past: Past,
}

impl Node {
    /// A client joins a room and wants its past.
    pub(super) fn join_with_past(
        &mut self,
        line: Line,
        room: String,
        wants: Rewind,
        net: &mut Net,
    ) {
        let released = self.receiver.released();
        let released = released.map(|it| it.position).unwrap_or_default();
        let number = net.random();
        let Some(socket) = self.sockets.get_mut(&line) else {
            return;
        };
        if !matches!(socket.stage, Stage::Connected) {
            return;
        }
        let joining = Joining {
            number,
            is_new: !socket.rooms.contains_key(&room),
            room: room.clone(),
            wants,
            machine: None,
            have: released.max(socket.from),
            held: Vec::new(),
            bytes: 0,
            until: net.now + HOLDING,
        };
        self.let_out(line, net);
        if let Some(socket) = self.sockets.get_mut(&line) {
            socket.past = Some(Box::new(joining));
        }
        self.join(line, room, net);
    }

    /// A join is written. Whether it is one with history, which waits for its past.
    pub(super) fn wants_past(&mut self, line: Line, room: &str, net: &mut Net) -> bool {
        let limits = RewindLimits {
            events: net.knobs.messages,
            bytes: net.knobs.replay_bytes,
        };
        let next_beat = self.writer.next_beat();
        let Some(socket) = self.sockets.get_mut(&line) else {
            return false;
        };
        let Some(joining) = socket.past.as_mut() else {
            return false;
        };
        if joining.room != room || joining.machine.is_some() {
            return false;
        }
        let room = Arc::from(&*joining.room);
        let machine = Rewinding::new(joining.wants, [room], limits);
        let machine = joining.machine.insert(machine);
        machine.wants_beat(next_beat);
        if net.is_planted(Planted::PastWithoutMark)
            && let Some(known) = self.receiver.released()
        {
            let mark = Mark {
                number: next_beat,
                known,
                previous: Position::ZERO,
                heads: Vec::new(),
            };
            let next = machine.handle_mark(&mark);
            self.go_on_with_past(line, next, net);
            return true;
        }
        self.beat(net);
        true
    }

    pub(super) fn handle_mark_of_past(&mut self, mark: &Mark, net: &mut Net) {
        let lines: Vec<_> = self.sockets.keys().copied().collect();
        for line in lines {
            let joining = self.sockets.get_mut(&line).and_then(|it| it.past.as_mut());
            if let Some(machine) = joining.and_then(|it| it.machine.as_mut()) {
                let next = machine.handle_mark(mark);
                self.go_on_with_past(line, next, net);
            }
        }
    }

    pub(super) fn handle_page(&mut self, question: &Question, page: &PastPage, net: &mut Net) {
        let socket = self.sockets.get_mut(&question.line);
        let joining = socket.and_then(|it| it.past.as_mut());
        let joining = joining.filter(|it| it.number == question.number);
        if let Some(machine) = joining.and_then(|it| it.machine.as_mut()) {
            let next = machine.handle_page(page);
            self.go_on_with_past(question.line, next, net);
        }
    }

    fn go_on_with_past(&mut self, line: Line, next: RewindNext, net: &mut Net) {
        match next {
            RewindNext::Wait | RewindNext::GiveUp => {}
            RewindNext::Ask(log, past) => {
                let socket = self.sockets.get(&line);
                if let Some(joining) = socket.and_then(|it| it.past.as_ref()) {
                    self.questions.push_back(Question {
                        line,
                        number: joining.number,
                        log,
                        past,
                    });
                }
            }
            RewindNext::Done(rewound) => self.give_past(line, rewound, net),
        }
    }

    /// Asks what is to be asked of the past.
    pub(super) fn ask_past(&mut self, line: Line, net: &mut Net) {
        while let Some(question) = self.questions.pop_front() {
            let call = Call {
                process: self.writer.process().clone(),
                request: Request::History {
                    log: question.log.clone(),
                    past: question.past,
                },
                random: net.random(),
            };
            self.ask(line, call, Asked::History(question), net);
        }
    }

    /// The past is read: it goes out, and then what was held.
    fn give_past(&mut self, line: Line, rewound: Rewound, net: &mut Net) {
        let Some(socket) = self.sockets.get_mut(&line) else {
            return;
        };
        let Some(joining) = socket.past.take() else {
            return;
        };
        let Joining {
            room,
            is_new,
            have,
            held,
            ..
        } = *joining;
        let (mark, is_whole) = (rewound.mark, rewound.is_whole);
        let all = vec![Arc::from(&*room)];
        let new = if is_new { all.clone() } else { Vec::new() };
        let is_in = |it: &str| *it == *socket.sid || socket.rooms.contains_key(it);
        let merged = rewound.merge(held, &RewoundRooms { all, new }, is_in);
        net.model.count("joins with history");
        for passed in merged {
            let (event, text) = match passed {
                Passed::Past(entry) => {
                    net.model.count("events of the past");
                    let position = entry.position;
                    let text = Offset { position, ..mark }.text_of_past(have);
                    (event_of(&entry), text)
                }
                Passed::Held(held) => {
                    let position = held.position;
                    (held.packet, Offset { position, ..mark }.to_string())
                }
            };
            net.send(line, End::Far, Payload::Down(Down::Event(event, text)));
        }
        let told = Down::Rewound(room, is_whole, mark);
        net.send(line, End::Far, Payload::Down(told));
    }

    /// Holds an event behind the past, if one is to come. `Err` if too much is held.
    pub(super) fn hold_behind_past(
        joining: &mut Joining,
        entry: &Arc<Entry>,
        limit: usize,
    ) -> Result<(), ()> {
        joining.held.push(Held {
            position: entry.position,
            entry: Some(Arc::clone(entry)),
            packet: event_of(entry),
        });
        joining.bytes += entry.size();
        match joining.bytes > limit {
            true => Err(()),
            false => Ok(()),
        }
    }

    /// A join with history that takes too long is one without.
    pub(super) fn tick_past(&mut self, line: Line, net: &mut Net) {
        let socket = self.sockets.get(&line);
        let joining = socket.and_then(|it| it.past.as_ref());
        if joining.is_some_and(|it| net.now > it.until) {
            net.model.count("joins whose history took too long");
            self.let_out(line, net);
        }
    }

    /// Gives up the past: what was held goes out.
    fn let_out(&mut self, line: Line, net: &mut Net) {
        let Some(epoch) = self.receiver.released().map(|it| it.epoch) else {
            return;
        };
        let socket = self.sockets.get_mut(&line);
        let Some(joining) = socket.and_then(|it| it.past.take()) else {
            return;
        };
        for held in joining.held {
            let position = held.position;
            let text = Offset { epoch, position }.to_string();
            let event = Down::Event(held.packet, text);
            net.send(line, End::Far, Payload::Down(event));
        }
        let told = Down::NotRewound(joining.room);
        net.send(line, End::Far, Payload::Down(told));
    }

    /// Closes a client that holds too much while the past is read: it comes back, and gets it all.
    pub(super) fn close_behind(&mut self, line: Line, net: &mut Net) {
        net.model.count("too much came during a join with history");
        self.disconnect(line, Some(Change::Away), net);
    }
}
