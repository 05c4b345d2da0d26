//! A node's clients.

use std::sync::Arc;

use adapter::recovery::{
    Act, Change, Comeback, Done, Entry, Epoch, LogName, Mark, Next, NotClaimed, Offset, Open, Part,
    Pid, PidSecret, Position, Publication,
};
use adapter::{Flags, Selection};
use bytes::Bytes;

use super::{Deciding, MAX_HELD, Node, Pending, Socket, Stage, Waiter};
use crate::model::{EventId, Rule};
use crate::net::{Down, End, Line, Net, Payload};
use crate::plan::{COMEBACK, PING_INTERVAL, PING_TIMEOUT, Planted, SECOND};

/// How long an unsettled store is asked again.
const SETTLING: u64 = 10 * SECOND;

impl Node {
    pub(super) fn tick_sockets(&mut self, net: &mut Net) {
        let lines: Vec<_> = self.sockets.keys().copied().collect();
        for line in lines {
            self.tick_past(line, net);
            let Some(socket) = self.sockets.get_mut(&line) else {
                continue;
            };
            let is_returning = matches!(
                socket.stage,
                Stage::Returning(_) | Stage::Reading(_) | Stage::Deciding(_)
            );
            let is_late = is_returning && net.now > socket.since + COMEBACK;
            if is_late && !net.is_planted(Planted::SlowComeback) {
                net.model.count("came back too slowly");
                self.disconnect(line, Some(Change::Away), net);
                continue;
            }
            // A ping that was answered is the last one; the next goes out an interval later.
            let is_answered = socket.ponged >= socket.pinged;
            if !is_answered && net.now > socket.pinged + PING_TIMEOUT {
                net.model.count("ping timeout");
                self.disconnect(line, Some(Change::Away), net);
                continue;
            }
            if is_answered && net.now >= socket.pinged + PING_INTERVAL {
                socket.pinged = net.now;
                net.send(line, End::Far, Payload::Down(Down::Ping));
            }
            if let Stage::Deciding(deciding) = &socket.stage
                && net.now >= deciding.until
            {
                self.let_in(line, net);
                continue;
            }
            if let Stage::Claiming(comeback, again) = &mut socket.stage
                && again.is_some_and(|at| net.now >= at)
            {
                *again = None;
                let claim = comeback.claim().clone();
                let pending = Pending::Claim(line, *claim.pid.secret());
                self.push(Act::Claim(claim), pending, net);
            }
        }
    }

    pub(super) fn handle_connect(
        &mut self,
        line: Line,
        pid: Option<String>,
        offset: Option<String>,
        net: &mut Net,
    ) {
        let Some(socket) = self.sockets.get_mut(&line) else {
            return;
        };
        let Some(pid) = pid else {
            return self.open(line, net);
        };
        let client = socket.client;
        let limit = net.knobs.replay_bytes;
        let offset = offset.map(|text| match net.is_planted(Planted::PastTakenForAll) {
            true => Offset::in_log(&text).to_owned(),
            false => Offset::to_come_back_with(&text),
        });
        match Comeback::new(&pid, offset.as_deref(), user(client), limit) {
            Ok(comeback) => {
                let claim = comeback.claim().clone();
                socket.secret = Some(*claim.pid.secret());
                socket.stage = Stage::Claiming(Box::new(comeback), None);
                let pending = Pending::Claim(line, *claim.pid.secret());
                self.push(Act::Claim(claim), pending, net);
            }
            Err(refusal) => self.refuse(line, refusal, net),
        }
    }

    pub(super) fn handle_claim(
        &mut self,
        line: Line,
        secret: PidSecret,
        done: &Done,
        net: &mut Net,
    ) {
        let Some(socket) = self.sockets.get_mut(&line) else {
            // Nobody waits for it any more: its client is away.
            if let Done::Claimed(claimed) = done {
                net.model.count("claimed in vain");
                let generation = claimed.generation;
                self.write_of(secret, generation, Change::Away, Pending::Nothing, net);
            }
            return;
        };
        let Stage::Claiming(comeback, again) = &mut socket.stage else {
            return;
        };
        let is_early = net.now < socket.since + SETTLING;
        if matches!(done, Done::NotClaimed(NotClaimed::Unsettled)) && is_early {
            *again = Some(net.now + SECOND / 5);
            return;
        }
        let next = comeback.handle_claim(done);
        if let Some(claimed) = comeback.claimed() {
            socket.sid = claimed.sid.to_string();
            socket.generation = claimed.generation;
            socket.data = claimed.data.as_deref().map_or(0, number);
            socket.rooms = claimed
                .rooms()
                .map(|room| (room.to_string(), Position::ZERO))
                .collect();
        } else {
            socket.secret = None;
        }
        self.follow(line, next, net);
    }

    /// Does what a comeback wants done next.
    fn follow(&mut self, line: Line, next: Next, net: &mut Net) {
        match next {
            Next::Wait => {}
            Next::Open(_) => {
                self.sockets.entry(line).and_modify(|socket| {
                    if let Stage::Claiming(comeback, _) =
                        std::mem::replace(&mut socket.stage, Stage::New)
                    {
                        socket.stage = Stage::Returning(comeback);
                    }
                });
                self.keep_all(line, net);
                self.go_on(net);
            }
            Next::Read(spans) => {
                for span in spans {
                    self.reads.want(Waiter::Comeback(line), span);
                }
            }
            Next::Refuse(refusal) => self.refuse(line, refusal, net),
            Next::Welcome(welcome) => {
                let Some(socket) = self.sockets.get_mut(&line) else {
                    return;
                };
                let Stage::Reading(comeback) =
                    std::mem::replace(&mut socket.stage, Stage::Connected)
                else {
                    return;
                };
                // It may look somewhere else first.
                let (slow, longest) = match net.is_planted(Planted::SlowComeback) {
                    true => (50, 6 * COMEBACK),
                    false => (10, 2 * COMEBACK),
                };
                let until = match net.chance(slow) {
                    true => net.now + net.between(0, longest),
                    false => net.now,
                };
                socket.stage = Stage::Deciding(Deciding {
                    until,
                    pid: comeback.claim().pid,
                    events: welcome.events,
                    through: welcome.through,
                });
                if until == net.now {
                    self.let_in(line, net);
                }
            }
        }
    }

    /// The application accepted a client that came back.
    fn let_in(&mut self, line: Line, net: &mut Net) {
        let Some(socket) = self.sockets.get_mut(&line) else {
            return;
        };
        let stage = std::mem::replace(&mut socket.stage, Stage::Connected);
        let Stage::Deciding(Deciding {
            pid,
            events,
            through,
            ..
        }) = stage
        else {
            socket.stage = stage;
            return;
        };
        socket.from = through;
        net.model.count("welcome");
        let connected = Down::Connected {
            sid: socket.sid.clone(),
            pid: pid.expose(),
            recovered: true,
            data: socket.data,
        };
        net.send(line, End::Far, Payload::Down(connected));
        for entry in events {
            net.model.count("replayed");
            send(line, event_of(&entry), entry.position, pid.start.epoch, net);
        }
    }

    /// Wants to hear of everything that a socket is in.
    fn keep_all(&mut self, line: Line, net: &mut Net) {
        let Some(socket) = self.sockets.get_mut(&line) else {
            return;
        };
        let rooms = socket.rooms.keys().chain([&socket.sid]);
        let mut logs: Vec<_> = rooms.map(|room| LogName::room(room)).collect();
        logs.push(LogName::Everybody);
        socket.kept.extend(logs.iter().cloned());
        logs.into_iter().for_each(|log| self.keep(log, net));
    }

    /// Interests came into force.
    pub(super) fn go_on(&mut self, net: &mut Net) {
        let lines: Vec<_> = self.sockets.keys().copied().collect();
        let mut is_mark_wanted = false;
        for line in lines {
            let Some(socket) = self.sockets.get(&line) else {
                continue;
            };
            let is_ready = socket.kept.iter().all(|log| self.is_in_force(log, net));
            let joining: Vec<_> = socket
                .joining
                .iter()
                .filter(|room| self.is_in_force(&LogName::room(room), net))
                .cloned()
                .collect();
            let next_beat = self.writer.next_beat();
            let Some(socket) = self.sockets.get_mut(&line) else {
                continue;
            };
            socket.joining.retain(|room| !joining.contains(room));
            match &mut socket.stage {
                Stage::Opening if is_ready => {
                    socket.stage = Stage::Writing;
                    let mut random = [0; PidSecret::LENGTH];
                    net.rng.fill(&mut random);
                    let open = Open {
                        secret: PidSecret::new(random),
                        sid: socket.sid.as_str().into(),
                        user: user(socket.client),
                        data: None,
                        rooms: Vec::new(),
                    };
                    socket.secret = Some(open.secret);
                    socket.generation = 1;
                    self.push(Act::Open(open), Pending::Open(line), net);
                }
                Stage::Returning(_) if is_ready => {
                    if let Stage::Returning(mut comeback) =
                        std::mem::replace(&mut socket.stage, Stage::New)
                    {
                        comeback.handle_in_force(next_beat);
                        socket.stage = Stage::Reading(comeback);
                        is_mark_wanted = true;
                    }
                }
                Stage::New
                | Stage::Claiming(..)
                | Stage::Returning(_)
                | Stage::Reading(_)
                | Stage::Deciding(_)
                | Stage::Opening
                | Stage::Writing
                | Stage::Connected => {}
            }
            for room in joining {
                let change = Change::Join(vec![room.as_str().into()]);
                self.write(line, change, Pending::Join(line, room), net);
            }
        }
        if is_mark_wanted {
            self.beat(net);
        }
    }

    pub(super) fn handle_mark(&mut self, mark: &Mark, net: &mut Net) {
        let lines: Vec<_> = self.sockets.keys().copied().collect();
        for line in lines {
            if let Some(Socket {
                stage: Stage::Reading(comeback),
                ..
            }) = self.sockets.get_mut(&line)
            {
                let mut position = mark.known.position;
                if net.is_planted(Planted::NoMark) {
                    position = Position::new(position.number() + 400_000);
                }
                let next = comeback.handle_mark(mark.number, mark.known.epoch, position);
                self.follow(line, next, net);
            }
        }
    }

    pub(super) fn handle_piece(&mut self, line: Line, epoch: Epoch, piece: &Part, net: &mut Net) {
        if let Some(Socket {
            stage: Stage::Reading(comeback),
            ..
        }) = self.sockets.get_mut(&line)
        {
            let next = comeback.handle_piece(epoch, piece);
            if comeback.bytes() > 3 * net.knobs.replay_bytes + net.knobs.read_bytes {
                let what = format!("a comeback holds {} bytes", comeback.bytes());
                net.model.find(Rule::Bound, net.now, what);
            }
            self.follow(line, next, net);
        }
    }

    /// A new session.
    pub(super) fn open(&mut self, line: Line, net: &mut Net) {
        self.let_go(line, net);
        let sid = format!("sid-{:x}", net.random());
        let Some(socket) = self.sockets.get_mut(&line) else {
            return;
        };
        socket.sid = sid;
        socket.secret = None;
        socket.generation = 0;
        socket.data = 0;
        socket.rooms.clear();
        socket.from = Position::MAX;
        socket.stage = Stage::Opening;
        self.keep_all(line, net);
        self.go_on(net);
    }

    pub(super) fn handle_opened(&mut self, line: Line, pid: &Pid, net: &mut Net) {
        let Some(socket) = self.sockets.get_mut(&line) else {
            return;
        };
        socket.stage = Stage::Connected;
        socket.from = pid.start.position;
        let held = std::mem::take(&mut socket.held);
        let connected = Down::Connected {
            sid: socket.sid.clone(),
            pid: pid.expose(),
            recovered: false,
            data: 0,
        };
        net.send(line, End::Far, Payload::Down(connected));
        for (event, position) in held {
            if position > pid.start.position {
                send(line, event, position, pid.start.epoch, net);
            }
        }
    }

    pub(super) fn publish(&mut self, line: Line, event: EventId, net: &mut Net) {
        let Some(socket) = self.sockets.get(&line) else {
            return;
        };
        let (rooms, except, is_logged) = net.model.event(event);
        let selection = Selection {
            rooms,
            except: except.into_iter().collect(),
            flags: Flags {
                volatile: !is_logged,
                ..Flags::default()
            },
        };
        let mut body = event.to_le_bytes().to_vec();
        body.resize(8 + net.rng.usize(..120), 0);
        let publish = Publication {
            selection,
            body: Bytes::from(body),
            is_logged,
            sender: (!net.is_planted(Planted::SenderNotFenced))
                .then(|| (socket.sid.as_str().into(), socket.generation)),
        };
        if net.is_planted(Planted::DeliverBeforeTheScript)
            && let Some(known) = self.receiver.released()
        {
            let entry = Entry {
                position: Position::new(known.position.number() + 1),
                selection: publish.selection.clone(),
                body: publish.body.clone(),
            };
            self.deliver(&Arc::new(entry), net);
            self.delivered.insert(event);
        }
        if net.is_planted(Planted::AckBeforeWritten) {
            self.acknowledge(line, event, None, net);
        }
        self.push(Act::Publish(publish), Pending::Publish(line, event), net);
    }

    pub(super) fn acknowledge(
        &mut self,
        line: Line,
        event: EventId,
        place: Option<(Epoch, Position)>,
        net: &mut Net,
    ) {
        net.model.acknowledge(event, net.now, place);
        net.send(line, End::Far, Payload::Down(Down::Published(event)));
    }

    pub(super) fn join(&mut self, line: Line, room: String, net: &mut Net) {
        let Some(socket) = self.sockets.get_mut(&line) else {
            return;
        };
        if !matches!(socket.stage, Stage::Connected) {
            return;
        }
        let is_new = !socket.rooms.contains_key(&room);
        if is_new {
            socket.rooms.insert(room.clone(), Position::ZERO);
            socket.kept.push(LogName::room(&room));
        }
        socket.joining.push(room.clone());
        if is_new {
            self.keep(LogName::room(&room), net);
        }
        self.go_on(net);
    }

    pub(super) fn handle_joined(
        &mut self,
        line: Line,
        room: String,
        since: Position,
        net: &mut Net,
    ) {
        if let Some(socket) = self.sockets.get_mut(&line)
            && let Some(begin) = socket.rooms.get_mut(&room)
        {
            // What was before is not for it, although it may come late.
            *begin = since;
            if self.wants_past(line, &room, net) {
                return;
            }
            net.send(line, End::Far, Payload::Down(Down::Joined(room)));
        }
    }

    pub(super) fn keep_data(&mut self, line: Line, data: u64, net: &mut Net) {
        let Some(socket) = self.sockets.get_mut(&line) else {
            return;
        };
        if !matches!(socket.stage, Stage::Connected) {
            return;
        }
        socket.data = data;
        if net.is_planted(Planted::DataBeforeWritten) {
            net.send(line, End::Far, Payload::Down(Down::Kept(data)));
        }
        let change = Change::Data(Some(Bytes::copy_from_slice(&data.to_le_bytes())));
        self.write(line, change, Pending::Keep(line, data), net);
    }

    pub(super) fn leave(&mut self, line: Line, room: &str, joins: usize, net: &mut Net) {
        let until = self
            .receiver
            .released()
            .map(|it| it.position)
            .unwrap_or_default();
        let Some(socket) = self.sockets.get_mut(&line) else {
            return;
        };
        if socket.rooms.remove(room).is_none() {
            return;
        }
        socket.joining.retain(|it| it != room);
        let log = LogName::room(room);
        socket.kept.retain(|it| *it != log);
        let sid = socket.sid.clone();
        let change = Change::Leave {
            rooms: vec![room.into()],
            until,
        };
        self.write(
            line,
            change,
            Pending::Leave(sid, room.to_owned(), joins),
            net,
        );
        self.release(&log, net);
    }

    /// Ends the connection; what is to be written of the session is.
    pub(super) fn disconnect(&mut self, line: Line, change: Option<Change>, net: &mut Net) {
        if let Some(change) = change {
            self.write(line, change, Pending::Nothing, net);
        }
        self.reads.forget(&Waiter::Comeback(line));
        self.let_go(line, net);
        self.sockets.remove(&line);
        net.close(line);
    }

    fn let_go(&mut self, line: Line, net: &mut Net) {
        let Some(socket) = self.sockets.get_mut(&line) else {
            return;
        };
        socket.joining.clear();
        let kept = std::mem::take(&mut socket.kept);
        kept.iter().for_each(|log| self.release(log, net));
    }

    pub(super) fn deliver(&mut self, entry: &Arc<Entry>, net: &mut Net) {
        let event = event_of(entry);
        if self.delivered.contains(&event) {
            return;
        }
        let Some(known) = self.receiver.released() else {
            return;
        };
        let (mut next, mut behind) = (Vec::new(), Vec::new());
        for (line, socket) in &mut self.sockets {
            if !socket.is_selected(entry) {
                continue;
            }
            match &mut socket.stage {
                Stage::Reading(comeback) => {
                    if net.is_planted(Planted::NoHold) {
                        send(*line, event, entry.position, known.epoch, net);
                        continue;
                    }
                    next.push((*line, comeback.hold(entry)));
                }
                Stage::Deciding(deciding) if entry.position > deciding.through => {
                    deciding.events.push(Arc::clone(entry));
                    deciding.through = entry.position;
                    if deciding.events.len() > MAX_HELD {
                        let what = "a client that comes back holds too much".to_owned();
                        net.model.find(Rule::Bound, net.now, what);
                    }
                }
                Stage::Opening | Stage::Writing => {
                    socket.held.push((event, entry.position));
                    if socket.held.len() > MAX_HELD {
                        let what = "a client that connects holds too much".to_owned();
                        net.model.find(Rule::Bound, net.now, what);
                    }
                }
                Stage::Connected if entry.position > socket.from => {
                    if let Some(joining) = &mut socket.past
                        && !net.is_planted(Planted::PastNotHeld)
                    {
                        let limit = net.knobs.replay_bytes;
                        if Self::hold_behind_past(joining, entry, limit).is_err() {
                            behind.push(*line);
                        }
                        continue;
                    }
                    send(*line, event, entry.position, known.epoch, net);
                }
                Stage::New
                | Stage::Claiming(..)
                | Stage::Returning(_)
                | Stage::Deciding(_)
                | Stage::Connected => {}
            }
        }
        for (line, next) in next {
            self.follow(line, next, net);
        }
        for line in behind {
            self.close_behind(line, net);
        }
    }
}

impl Socket {
    fn is_selected(&self, entry: &Entry) -> bool {
        let selection = &entry.selection;
        let is_in = |room: &String| {
            let since = self.rooms.get(room);
            *room == self.sid || since.is_some_and(|since| *since < entry.position)
        };
        let is_selected = selection.rooms.is_empty() || selection.rooms.iter().any(is_in);
        is_selected && !selection.except.iter().any(is_in)
    }
}

fn user(client: usize) -> Option<Arc<str>> {
    Some(format!("user-{client}").into())
}

pub(super) fn event_of(entry: &Entry) -> EventId {
    number(&entry.body)
}

/// The number that some bytes begin with.
fn number(bytes: &[u8]) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&bytes[..8]);
    u64::from_le_bytes(number)
}

fn send(line: Line, event: EventId, position: Position, epoch: Epoch, net: &mut Net) {
    let offset = Offset { epoch, position }.to_string();
    net.send(line, End::Far, Payload::Down(Down::Event(event, offset)));
}
