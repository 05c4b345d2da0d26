//! A node: the pure machines, and what drives them.

mod past;
mod sockets;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use adapter::NodeId;
use adapter::recovery::{
    Act, Bounds, Call, Change, Comeback, Done, Effect, Entry, Epoch, Floors, Generation, Heard,
    LogName, NotRecovered, Pid, PidSecret, Position, Process, Reads, Receiver, Reply, Request,
    Span, State, Taken, Ticket, Why, Write, Writer, WriterLimits,
};

use self::past::{Joining, Question};
use crate::model::{EventId, Rule};
use crate::net::{Down, End, Ends, Line, Net, Payload, Up};
use crate::plan::{COMEBACK, HEARTBEAT, PROVEN, Planted, SECOND};
use crate::redis::node_name;

/// One life of a node.
pub struct Node {
    /// Its place among the nodes.
    pub index: usize,
    /// Told apart from the lives before.
    pub life: u64,
    /// It takes no more clients.
    pub is_draining: bool,
    writer: Writer,
    receiver: Receiver,
    reads: Reads<Waiter>,
    floors: Floors,
    commands: Option<Line>,
    /// What was asked, and when.
    asked: VecDeque<(u64, Asked)>,
    /// What is to be asked of the past.
    questions: VecDeque<Question>,
    /// That of the last answer.
    epoch: Option<Epoch>,
    subscription: Option<Line>,
    /// When the last mark came.
    marked: u64,
    is_up: bool,
    interests: BTreeMap<LogName, Interest>,
    /// Subscriptions that are asked for and not confirmed.
    unconfirmed: BTreeMap<LogName, u32>,
    sockets: BTreeMap<Line, Socket>,
    tickets: BTreeMap<Ticket, Pending>,
    beat_due: u64,
    /// When it made a heartbeat last.
    beaten: u64,
    /// A heartbeat is wanted once none is under way, and one more behind that.
    is_mark_wanted: bool,
    is_nudged: bool,
    /// The store knows that it ends.
    is_retired: bool,
    zero: Instant,
    /// What was delivered before its time, if that is the broken rule.
    delivered: BTreeSet<EventId>,
}

enum Asked {
    Beat,
    Acts,
    Read(Vec<Span>),
    History(Question),
}

#[derive(Default)]
struct Interest {
    wants: usize,
    in_force: bool,
}

/// Who reads.
#[derive(Debug, Clone, PartialEq)]
enum Waiter {
    Receiver,
    Comeback(Line),
}

/// What an act was for.
enum Pending {
    Publish(Line, EventId),
    Open(Line),
    Join(Line, String),
    Keep(Line, u64),
    /// With how often the client had wanted to join.
    Leave(String, String, usize),
    Claim(Line, PidSecret),
    Retire,
    Nothing,
}

/// One client's connection, and its socket.
struct Socket {
    client: usize,
    stage: Stage,
    sid: String,
    secret: Option<PidSecret>,
    generation: Generation,
    data: u64,
    /// With the place behind which it is a member, once that is known.
    rooms: BTreeMap<String, Position>,
    /// Joins that wait for their interest.
    joining: Vec<String>,
    /// A join with history that is under way.
    past: Option<Box<Joining>>,
    /// Interests that are kept for it.
    kept: Vec<LogName>,
    /// It gets only what is behind.
    from: Position,
    held: Vec<(EventId, Position)>,
    pinged: u64,
    ponged: u64,
    since: u64,
}

enum Stage {
    /// The connection is there, and the client said nothing yet.
    New,
    /// A session is about to be claimed, again at some time.
    Claiming(Box<Comeback>, Option<u64>),
    /// Its interests are not in force yet.
    Returning(Box<Comeback>),
    /// It waits for its mark, or reads.
    Reading(Box<Comeback>),
    /// Everything is read; the application has not accepted it yet.
    Deciding(Deciding),
    /// A new session: its interests are not in force yet.
    Opening,
    /// It is being written.
    Writing,
    /// The client is told.
    Connected,
}

struct Deciding {
    until: u64,
    pid: Pid,
    /// What it missed, and what came since.
    events: Vec<Arc<Entry>>,
    through: Position,
}

impl Socket {
    fn new(client: usize, now: u64) -> Self {
        Self {
            client,
            stage: Stage::New,
            sid: String::new(),
            secret: None,
            generation: 0,
            data: 0,
            rooms: BTreeMap::new(),
            joining: Vec::new(),
            past: None,
            kept: Vec::new(),
            from: Position::MAX,
            held: Vec::new(),
            pinged: now,
            ponged: now,
            since: now,
        }
    }
}

/// What a client may hold while it is not told.
const MAX_HELD: usize = 10_000;

impl Node {
    /// A node that starts.
    pub fn new(index: usize, life: u64, net: &mut Net) -> Self {
        let seed = net.random();
        net.model.set_seed(index, seed);
        let process = Process {
            node: NodeId::new(&node_name(index)).expect("a legal name"),
            seed,
        };
        let limits = WriterLimits {
            queue_bytes: 10_000_000,
            call_bytes: 4_000,
            call_acts: 1 + net.rng.usize(..30),
        };
        let bounds = Bounds {
            held_bytes: net.knobs.held_bytes,
            fill_bytes: net.knobs.held_bytes * 20,
        };
        let comeback = match net.is_planted(Planted::SlowComeback) {
            true => 0,
            false => COMEBACK,
        };
        let proven = Duration::from_micros(PROVEN + comeback);
        let pause = Duration::from_micros(2 * HEARTBEAT);
        let mut interests = BTreeMap::new();
        interests.insert(
            LogName::Everybody,
            Interest {
                wants: 1,
                in_force: false,
            },
        );
        Self {
            index,
            life,
            is_draining: false,
            writer: Writer::new(process, limits),
            receiver: Receiver::new(bounds),
            reads: Reads::default(),
            floors: Floors::new(proven, pause),
            commands: None,
            asked: VecDeque::new(),
            questions: VecDeque::new(),
            epoch: None,
            subscription: None,
            marked: net.now,
            is_up: false,
            interests,
            unconfirmed: BTreeMap::new(),
            delivered: BTreeSet::new(),
            sockets: BTreeMap::new(),
            tickets: BTreeMap::new(),
            beat_due: 0,
            beaten: 0,
            is_mark_wanted: false,
            is_nudged: false,
            is_retired: false,
            zero: Instant::now(),
        }
    }

    /// Whether nothing waits and nobody is connected.
    pub fn is_idle(&self) -> bool {
        self.writer.is_idle() && self.sockets.is_empty()
    }

    /// What is left of interests, followed logs, held bytes and readers.
    pub fn left(&self) -> Option<String> {
        let interests = self.interests.len() - 1;
        let is_clean = interests == 0
            && self.receiver.rooms() <= 1
            && self.receiver.bytes() == 0
            && self.reads.is_empty()
            && self.questions.is_empty()
            && self.tickets.is_empty();
        (!is_clean).then(|| {
            format!(
                "node {}: {interests} interests, {} logs followed, {} bytes held, {} acts",
                self.index,
                self.receiver.rooms(),
                self.receiver.bytes(),
                self.tickets.len()
            )
        })
    }

    /// When it made a heartbeat last.
    pub fn beaten(&self) -> u64 {
        self.beaten
    }

    /// Whether clients may come.
    pub fn is_ready(&self) -> bool {
        !self.is_draining && matches!(self.receiver.state(), State::Live)
    }

    /// Something arrives.
    pub fn handle(&mut self, line: Line, payload: Payload, net: &mut Net) {
        match payload {
            Payload::Reply(reply) => self.handle_reply(line, &reply, net),
            Payload::Subscribed(log) => self.handle_subscribed(line, &log, net),
            Payload::Heard(heard) => {
                if self.subscription == Some(line) {
                    if let Heard::Mark(process, _) = &heard {
                        if process != self.writer.process() {
                            // The second one tells what the store answers to the first.
                            self.is_mark_wanted = true;
                            self.is_nudged = true;
                            return self.pump(net);
                        }
                        self.marked = net.now;
                    }
                    let heard = match net.is_planted(Planted::NoResync) {
                        true => without_predecessors(heard),
                        false => heard,
                    };
                    self.receiver.handle(heard);
                }
            }
            Payload::Up(up) => self.handle_up(line, up, net),
            Payload::ToRedis(_)
            | Payload::Subscribe(_)
            | Payload::Unsubscribe(_)
            | Payload::Down(_) => {}
        }
        self.pump(net);
    }

    /// A connection is gone.
    pub fn handle_closed(&mut self, line: Line, net: &mut Net) {
        if self.commands == Some(line) {
            self.lose_commands(net);
        } else if self.subscription == Some(line) {
            self.lose_subscription(net);
        } else {
            self.disconnect(line, Some(Change::Away), net);
        }
        self.pump(net);
    }

    /// Looks at its clocks.
    pub fn tick(&mut self, master: Option<usize>, net: &mut Net) {
        self.connect(master, net);
        if net.now >= self.beat_due {
            self.beat(net);
        }
        self.tick_sockets(net);
        self.pump(net);
        if self.receiver.bytes() > net.knobs.held_bytes * 22 + 2 * net.knobs.read_bytes + 8_000 {
            let what = format!("node {} holds {} bytes", self.index, self.receiver.bytes());
            net.model.find(Rule::Bound, net.now, what);
        }
    }

    fn connect(&mut self, master: Option<usize>, net: &mut Net) {
        let is_late = self
            .asked
            .front()
            .is_some_and(|(at, _)| at + 3 * SECOND < net.now);
        if let Some(line) = self
            .commands
            .filter(|line| is_late || net.ends(*line).is_none())
        {
            net.cut(line, &[]);
            self.lose_commands(net);
        }
        let is_silent = self.marked + 4 * SECOND < net.now;
        if let Some(line) = self
            .subscription
            .filter(|line| is_silent || net.ends(*line).is_none())
        {
            net.cut(line, &[]);
            self.lose_subscription(net);
        }
        let Some(server) = master else {
            return;
        };
        if self.commands.is_none() {
            self.commands = Some(net.connect(Ends::Commands(self.index, server)));
            self.beat(net);
        }
        if self.subscription.is_none() {
            let line = net.connect(Ends::Subscription(self.index, server));
            self.subscription = Some(line);
            self.marked = net.now;
            let logs: Vec<_> = self.interests.keys().cloned().collect();
            logs.into_iter().for_each(|log| self.subscribe(log, net));
        }
    }

    fn subscribe(&mut self, log: LogName, net: &mut Net) {
        if let Some(line) = self.subscription {
            *self.unconfirmed.entry(log.clone()).or_default() += 1;
            net.send(line, End::Near, Payload::Subscribe(log));
        }
    }

    fn lose_commands(&mut self, net: &mut Net) {
        self.commands = None;
        self.writer.handle_broken();
        for (_, asked) in std::mem::take(&mut self.asked) {
            match asked {
                Asked::Read(spans) => self.reads.handle_failed(&spans),
                Asked::History(question) => self.questions.push_back(question),
                Asked::Beat | Asked::Acts => {}
            }
        }
        net.model.count("commands lost");
    }

    fn lose_subscription(&mut self, net: &mut Net) {
        self.subscription = None;
        self.is_up = false;
        self.unconfirmed.clear();
        for interest in self.interests.values_mut() {
            interest.in_force = false;
        }
        if !net.is_planted(Planted::NoResync) {
            self.receiver.handle_down();
            self.reads.forget(&Waiter::Receiver);
        }
        net.model.count("subscription lost");
    }

    fn handle_subscribed(&mut self, line: Line, log: &LogName, net: &mut Net) {
        if self.subscription != Some(line) {
            return;
        }
        if let Some(unconfirmed) = self.unconfirmed.get_mut(log) {
            *unconfirmed -= 1;
            // It was given up and wanted again meanwhile: only the last one counts.
            if *unconfirmed > 0 {
                return;
            }
            self.unconfirmed.remove(log);
        }
        if let Some(interest) = self.interests.get_mut(log) {
            interest.in_force = true;
            self.receiver.open(log.clone(), self.writer.next_beat());
        }
        if !self.is_up && self.interests.values().all(|it| it.in_force) {
            self.is_up = true;
            if !net.is_planted(Planted::NoResync) || !matches!(self.receiver.state(), State::Live) {
                self.receiver.handle_up();
            }
        }
        self.go_on(net);
    }

    fn keep(&mut self, log: LogName, net: &mut Net) {
        let interest = self.interests.entry(log.clone()).or_default();
        interest.wants += 1;
        if interest.wants == 1 {
            self.subscribe(log, net);
        }
    }

    fn release(&mut self, log: &LogName, net: &mut Net) {
        let Some(interest) = self.interests.get_mut(log) else {
            return;
        };
        interest.wants -= 1;
        if interest.wants > 0 {
            return;
        }
        self.interests.remove(log);
        self.receiver.close(log);
        if let Some(line) = self.subscription {
            net.send(line, End::Near, Payload::Unsubscribe(log.clone()));
        }
    }

    fn is_in_force(&self, log: &LogName, net: &Net) -> bool {
        net.is_planted(Planted::JoinBeforeInForce)
            || self.interests.get(log).is_some_and(|it| it.in_force)
    }

    fn beat(&mut self, net: &mut Net) {
        let is_due = net.now >= self.beat_due;
        if is_due {
            self.beat_due = net.now + HEARTBEAT;
        }
        let Some(line) = self.commands else {
            return;
        };
        if self.is_retired && self.writer.is_idle() {
            return;
        }
        self.beaten = net.now;
        let released = self.receiver.released();
        let floor = match released {
            Some(known) => {
                self.writer.note(known);
                let now = self.zero + Duration::from_micros(net.now);
                self.floors.beat(now, known.position)
            }
            None => Position::ZERO,
        };
        let heads = is_due.then(|| self.receiver.heads(20));
        let call = self.writer.beat(floor, heads, net.random());
        self.ask(line, call, Asked::Beat, net);
    }

    fn ask(&mut self, line: Line, call: Call, asked: Asked, net: &mut Net) {
        self.asked.push_back((net.now, asked));
        net.send(line, End::Near, Payload::ToRedis(call));
    }

    fn handle_reply(&mut self, line: Line, reply: &Reply, net: &mut Net) {
        if self.commands != Some(line) {
            return;
        }
        let asked = self.asked.pop_front().map(|it| it.1);
        if let Reply::Beaten { known, .. } = reply {
            self.receiver.begin(*known);
        }
        if let Reply::Beaten { known, .. } | Reply::Done { known, .. } = reply {
            self.epoch = Some(known.epoch);
        }
        if let (Reply::Page(page), Some(Asked::History(question))) = (reply, &asked) {
            self.handle_page(question, page, net);
        }
        if matches!(reply, Reply::BeatFirst) {
            net.model.count("told to beat first");
        }
        if let (Reply::Pieces { epoch, pieces }, Some(Asked::Read(spans))) = (reply, &asked) {
            if pieces.len() != spans.len() {
                self.reads.handle_failed(spans);
            }
            for piece in pieces {
                for (waiter, piece) in self.reads.handle(piece.clone()) {
                    match waiter {
                        Waiter::Receiver => self.receiver.handle_piece(*epoch, &piece),
                        Waiter::Comeback(line) => self.handle_piece(line, *epoch, &piece, net),
                    }
                }
            }
        }
        let resolved = self.writer.handle(reply);
        for taken in resolved.taken {
            self.handle_taken(&taken, net);
        }
        for (ticket, done) in resolved.done {
            if let Some(pending) = self.tickets.remove(&ticket) {
                self.handle_done(pending, &done, net);
            }
        }
        if self.writer.must_beat() && !self.asked.iter().any(|it| matches!(it.1, Asked::Beat)) {
            self.beat(net);
        }
    }

    /// Another node has the session now: its half here goes without a word.
    fn handle_taken(&mut self, taken: &Taken, net: &mut Net) {
        net.model.count("taken by another");
        let sockets = self.sockets.iter();
        let of =
            sockets.filter(|(_, it)| *it.sid == *taken.sid && it.generation < taken.generation);
        let lines: Vec<_> = of.map(|(line, _)| *line).collect();
        for line in lines {
            self.disconnect(line, None, net);
        }
    }

    fn push(&mut self, act: Act, pending: Pending, net: &mut Net) {
        self.is_retired = false;
        match self.writer.push(act) {
            Ok(ticket) => {
                self.tickets.insert(ticket, pending);
            }
            Err(_) => net
                .model
                .find(Rule::Bound, net.now, "the queue is full".to_owned()),
        }
    }

    fn write(&mut self, line: Line, change: Change, pending: Pending, net: &mut Net) {
        if let Some(socket) = self.sockets.get(&line)
            && let Some(secret) = socket.secret
        {
            self.write_of(secret, socket.generation, change, pending, net);
        }
    }

    fn write_of(
        &mut self,
        secret: PidSecret,
        generation: Generation,
        change: Change,
        pending: Pending,
        net: &mut Net,
    ) {
        let write = Write {
            secret,
            generation,
            changes: vec![change],
        };
        self.push(Act::Write(write), pending, net);
    }

    fn handle_done(&mut self, pending: Pending, done: &Done, net: &mut Net) {
        match (pending, done) {
            (Pending::Publish(line, event), Done::Published(position)) => {
                let place = self.epoch.map(|epoch| (epoch, *position));
                self.acknowledge(line, event, place, net);
            }
            (Pending::Open(line), Done::Opened(pid)) => match self.sockets.contains_key(&line) {
                true => self.handle_opened(line, pid, net),
                false => self.write_of(*pid.secret(), 1, Change::End, Pending::Nothing, net),
            },
            (Pending::Join(line, room), Done::Written(since)) => {
                self.handle_joined(line, room, *since, net);
            }
            (Pending::Leave(sid, room, joins), Done::Written(_)) => {
                net.model.left(&sid, &room, joins, net.now);
            }
            (Pending::Retire, Done::Retiring) => self.push(Act::Retire, Pending::Retire, net),
            (Pending::Retire, _) => self.is_retired = self.writer.is_idle(),
            (Pending::Claim(line, secret), done) => self.handle_claim(line, secret, done, net),
            (Pending::Keep(line, data), Done::Written(_)) => {
                net.send(line, End::Far, Payload::Down(Down::Kept(data)));
            }
            (Pending::Join(line, _) | Pending::Keep(line, _), Done::NotOwned) => {
                self.disconnect(line, None, net);
            }
            (
                Pending::Publish(..)
                | Pending::Open(_)
                | Pending::Join(..)
                | Pending::Keep(..)
                | Pending::Leave(..)
                | Pending::Nothing,
                _,
            ) => {}
        }
    }

    /// Does what the machines want done.
    fn pump(&mut self, net: &mut Net) {
        while let Some(output) = self.receiver.poll() {
            if !matches!(output, Effect::Beat | Effect::Marked(_)) {
                net.say(|| format!("node {}: {output:?}", self.index));
            }
            match output {
                Effect::Release(entry) => self.deliver(&entry, net),
                Effect::Marked(mark) => {
                    self.handle_mark(&mark, net);
                    self.handle_mark_of_past(&mark, net);
                }
                Effect::Beat => self.beat(net),
                Effect::Read(span) => self.reads.want(Waiter::Receiver, span),
                Effect::GiveUp(gave_up) => {
                    net.model.count(format!("gave up: {:?}", gave_up.why));
                    self.give_up(&gave_up.log, gave_up.why, net);
                }
                Effect::Renewed(_) => {
                    net.model.count("renewed");
                    if !net.is_planted(Planted::EpochIgnored) {
                        let lines: Vec<_> = self.sockets.keys().copied().collect();
                        let away = || Some(Change::Away);
                        lines
                            .into_iter()
                            .for_each(|it| self.disconnect(it, away(), net));
                    }
                }
            }
        }
        let Some(line) = self.commands else {
            return;
        };
        let is_beating = self.asked.iter().any(|it| matches!(it.1, Asked::Beat));
        if self.is_mark_wanted && !is_beating {
            self.is_mark_wanted = std::mem::take(&mut self.is_nudged);
            self.beat(net);
        }
        if let Some(call) = self.writer.next_call(net.random()) {
            self.ask(line, call, Asked::Acts, net);
        }
        self.ask_past(line, net);
        let is_reading = self.asked.iter().any(|it| matches!(it.1, Asked::Read(_)));
        if !is_reading {
            let spans = self.reads.next(8);
            if !spans.is_empty() {
                let call = Call {
                    process: self.writer.process().clone(),
                    request: Request::Read(spans.clone()),
                    random: net.random(),
                };
                self.ask(line, call, Asked::Read(spans), net);
            }
        }
    }

    fn give_up(&mut self, log: &LogName, why: Why, net: &mut Net) {
        let is_in = |socket: &Socket| match log {
            LogName::Everybody => true,
            LogName::Room(room) => *socket.sid == **room || socket.rooms.contains_key(&**room),
        };
        let sockets = self.sockets.iter().filter(|it| is_in(it.1));
        let lines: Vec<_> = sockets.map(|it| *it.0).collect();
        for line in lines {
            let change = match why {
                Why::Trimmed | Why::TooLarge => Change::Away,
                Why::Late => Change::End,
            };
            if why == Why::Late
                && let Some(socket) = self.sockets.get(&line)
            {
                net.model.void(&socket.sid);
            }
            self.disconnect(line, Some(change), net);
        }
    }

    /// Takes no more clients, and lets those that it has go.
    pub fn drain(&mut self, net: &mut Net) {
        self.is_draining = true;
        let lines: Vec<_> = self.sockets.keys().copied().collect();
        for line in lines {
            self.disconnect(line, Some(Change::Away), net);
        }
        self.push(Act::Retire, Pending::Retire, net);
        self.pump(net);
    }

    /// A connection of a client that came.
    fn handle_up(&mut self, line: Line, up: Up, net: &mut Net) {
        let Some(Ends::Client(client, _)) = net.ends(line) else {
            return;
        };
        if self.is_draining {
            net.close(line);
            return;
        }
        if let Up::Connect { pid, offset } = up {
            self.sockets.insert(line, Socket::new(client, net.now));
            return self.handle_connect(line, pid, offset, net);
        }
        let Some(socket) = self.sockets.get_mut(&line) else {
            return;
        };
        match up {
            Up::Connect { .. } => {}
            Up::Pong => socket.ponged = net.now,
            Up::Publish(event) => self.publish(line, event, net),
            Up::Join(room, None) => self.join(line, room, net),
            Up::Join(room, Some(wants)) => self.join_with_past(line, room, wants, net),
            Up::Leave(room, joins) => self.leave(line, &room, joins, net),
            Up::Keep(data) => self.keep_data(line, data, net),
            Up::End => self.disconnect(line, Some(Change::End), net),
        }
    }

    /// The secrets of its sessions.
    pub fn secrets(&self) -> impl Iterator<Item = PidSecret> {
        self.sockets.values().filter_map(|socket| socket.secret)
    }

    fn refuse(&mut self, line: Line, refusal: NotRecovered, net: &mut Net) {
        let Some(socket) = self.sockets.get(&line) else {
            return;
        };
        net.refused.push((socket.client, refusal));
        self.reads.forget(&Waiter::Comeback(line));
        self.write(line, Change::End, Pending::Nothing, net);
        self.open(line, net);
    }
}

/// What is heard, without what would show that something before it is missing.
fn without_predecessors(heard: Heard) -> Heard {
    match heard {
        Heard::Ordered(ordered) => {
            let mut ordered = Arc::unwrap_or_clone(ordered);
            for (_, before) in &mut ordered.before {
                *before = Position::ZERO;
            }
            Heard::Ordered(Arc::new(ordered))
        }
        Heard::Mark(process, mark) => {
            let mut mark = Arc::unwrap_or_clone(mark);
            mark.heads.clear();
            Heard::Mark(process, Arc::new(mark))
        }
    }
}
