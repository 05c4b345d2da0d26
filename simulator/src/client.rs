//! A client, after the official one's rules: it remembers its pid, and the last argument of the last event.

use adapter::recovery::{Offset, Rewind};

use crate::net::{Down, Due, End, Ends, Line, Net, Payload, Up};
use crate::plan::{PING_INTERVAL, PING_TIMEOUT, SECOND};

/// One client.
#[derive(Debug)]
pub struct Client {
    index: usize,
    line: Option<Line>,
    is_connected: bool,
    pid: Option<String>,
    offset: Option<String>,
    sid: Option<String>,
    /// Since when it has no connection that works, as far as it knows.
    away: u64,
    /// When it tries again, or gives a try up.
    due: u64,
    heard: u64,
    /// When it connected last.
    wanted: u64,
    rooms: Vec<String>,
    /// Joins that are not answered. Nodes handle those of a client one after the other, so one with history waits.
    joining: usize,
    /// It waits for the past of a room.
    is_rewinding: bool,
    /// Some of the offsets that it saw.
    offsets: Vec<Offset>,
    /// Some only listen.
    is_quiet: bool,
    is_resting: bool,
    is_over: bool,
}

/// Offsets that it remembers.
const OFFSETS: usize = 8;

/// How long a try may take.
const PATIENCE: u64 = 12 * SECOND;

impl Client {
    /// A client that is about to connect.
    pub fn new(index: usize, net: &mut Net) -> Self {
        let mut client = Self {
            index,
            line: None,
            is_connected: false,
            pid: None,
            offset: None,
            sid: None,
            away: net.now,
            due: net.now,
            heard: net.now,
            wanted: net.now,
            rooms: Vec::new(),
            joining: 0,
            is_rewinding: false,
            offsets: Vec::new(),
            is_quiet: net.chance(25),
            is_resting: false,
            is_over: false,
        };
        client.due += net.between(0, SECOND);
        net.after(SECOND, Due::ClientTick(index));
        net.after(2 * SECOND, Due::ClientAct(index));
        client
    }

    /// Since when it is away.
    pub fn away(&self) -> u64 {
        self.away
    }

    /// Whether it is connected.
    pub fn is_connected(&self) -> bool {
        self.is_connected
    }

    /// Looks at its clocks. `nodes` take clients.
    pub fn tick(&mut self, nodes: &[usize], net: &mut Net) {
        if self.is_over {
            return;
        }
        if self.line.is_some() {
            let silent = net.now.saturating_sub(self.heard);
            let is_late = !self.is_connected && net.now > self.due;
            if silent > PING_INTERVAL + PING_TIMEOUT || is_late {
                self.drop_connection(net, &[End::Far]);
            }
        } else if net.now >= self.due && !nodes.is_empty() {
            let node = nodes[net.rng.usize(..nodes.len())];
            let line = net.connect(Ends::Client(self.index, node));
            self.line = Some(line);
            self.due = net.now + PATIENCE;
            self.heard = net.now;
            self.wanted = net.now;
            let (pid, offset) = (self.pid.clone(), self.offset.clone());
            net.say(|| {
                format!(
                    "client {}: connects to node {node} with {offset:?}",
                    self.index
                )
            });
            self.send(net, Up::Connect { pid, offset });
        }
        net.after(200_000, Due::ClientTick(self.index));
    }

    fn drop_connection(&mut self, net: &mut Net, told: &[End]) {
        if let Some(line) = self.line.take() {
            net.cut(line, told);
        }
        self.handle_gone(net);
    }

    fn handle_gone(&mut self, net: &mut Net) {
        if std::mem::take(&mut self.is_connected) {
            self.away = net.now;
        }
        // Most are back at once, some after a while.
        let pause = match net.rng.u32(..10) {
            0 => net.between(5 * SECOND, 25 * SECOND),
            1 => net.between(SECOND, 5 * SECOND),
            _ => net.between(10_000, SECOND),
        };
        self.due = net.now + pause;
    }

    /// It is told that its connection is gone.
    pub fn handle_closed(&mut self, line: Line, net: &mut Net) {
        if self.line == Some(line) {
            self.line = None;
            self.handle_gone(net);
        }
    }

    /// Something arrives.
    pub fn handle(&mut self, line: Line, down: Down, net: &mut Net) {
        if self.line != Some(line) {
            return;
        }
        self.heard = net.now;
        if !matches!(down, Down::Ping) {
            net.say(|| format!("client {}: {down:?}", self.index));
        }
        match down {
            Down::Connected {
                sid,
                pid,
                recovered,
                data,
            } => {
                self.is_connected = true;
                (self.joining, self.is_rewinding) = (0, false);
                // It takes itself for recovered exactly if the pid is the same.
                let is_same = self.pid.as_ref() == Some(&pid);
                if is_same && recovered {
                    net.model
                        .recover(self.index, &sid, data, self.wanted, net.now);
                } else {
                    net.model.begin(self.index, sid.clone(), net.now);
                    self.rooms.clear();
                }
                self.sid = Some(sid);
                self.pid = Some(pid);
            }
            Down::Event(event, offset) => {
                net.model.deliver(self.index, event, &offset, net.now);
                if let Ok(seen) = Offset::parse(Offset::in_log(&offset)) {
                    match self.offsets.len() < OFFSETS {
                        true => self.offsets.push(seen),
                        false => self.offsets[net.rng.usize(..OFFSETS)] = seen,
                    }
                }
                self.offset = Some(offset);
            }
            Down::Kept(data) => net.model.kept(self.index, data),
            Down::Joined(room) => {
                self.joining = self.joining.saturating_sub(1);
                net.model.joined(self.index, &room, net.now);
            }
            Down::Rewound(room, is_whole, mark) => {
                self.is_rewinding = false;
                let told = (is_whole, mark);
                let is_ample = net.knobs.messages >= 1000 && net.knobs.replay_bytes >= 1_000_000;
                net.model
                    .rewound(self.index, &room, told, is_ample, net.now);
            }
            Down::NotRewound(_) => {
                self.is_rewinding = false;
                net.model.forget_past(self.index);
            }
            Down::Published(_) => {}
            Down::Ping => self.send(net, Up::Pong),
        }
    }

    /// Does something.
    pub fn act(&mut self, net: &mut Net) {
        if self.is_over {
            return;
        }
        let pause = if self.is_quiet { 3 * SECOND } else { SECOND };
        let pause = net.between(20_000, pause);
        net.after(pause, Due::ClientAct(self.index));
        if !self.is_connected || self.is_resting {
            return;
        }
        let room = format!("room-{}", net.rng.usize(..net.knobs.rooms));
        match net.rng.u32(..100) {
            0..60 if !self.is_quiet => {
                let rooms = match net.rng.u32(..10) {
                    0..2 => Vec::new(),
                    2 => self.sid.iter().cloned().collect(),
                    3 => vec![room, "room-0".to_owned()],
                    _ => vec![room],
                };
                let except_self = net.chance(40);
                let is_logged = !net.chance(15);
                let target = (rooms, except_self);
                let event = net.model.submit(self.index, target, is_logged, net.now);
                self.send(net, Up::Publish(event));
            }
            60..85 if !self.rooms.contains(&room) && !self.is_rewinding => {
                let wants = match self.joining {
                    0 => self.draw_past(net),
                    _ => None,
                };
                net.model.ask_join(self.index, &room, wants, net.now);
                match wants {
                    Some(_) => self.is_rewinding = true,
                    None => self.joining += 1,
                }
                self.rooms.push(room.clone());
                self.send(net, Up::Join(room, wants));
            }
            85..93 if !self.is_quiet && self.rooms.contains(&room) && !self.is_rewinding => {
                let joins = net.model.ask_leave(self.index, &room, net.now);
                self.rooms.retain(|it| *it != room);
                self.send(net, Up::Leave(room, joins));
            }
            94..97 => {
                if let Some(data) = net.model.ask_keep(self.index) {
                    self.send(net, Up::Keep(data));
                }
            }
            93 if net.chance(10) => {
                self.send(net, Up::End);
                net.model.end(self.index);
                (self.pid, self.offset, self.sid) = (None, None, None);
                self.line = None;
                self.handle_gone(net);
            }
            _ => {}
        }
    }

    /// What of the past of a room it wants when it joins, if anything.
    fn draw_past(&self, net: &mut Net) -> Option<Rewind> {
        match net.rng.u32(..10) {
            0..3 => Some(Rewind::Last(net.rng.usize(..12))),
            3..5 if !self.offsets.is_empty() => {
                let offset = self.offsets[net.rng.usize(..self.offsets.len())];
                Some(Rewind::After(offset))
            }
            _ => None,
        }
    }

    /// Does nothing any more, but stays.
    pub fn rest(&mut self) {
        self.is_resting = true;
    }

    /// Goes for good.
    pub fn leave(&mut self, net: &mut Net) {
        self.is_over = true;
        if self.is_connected {
            self.send(net, Up::End);
        }
        net.model.end(self.index);
    }

    fn send(&mut self, net: &mut Net, up: Up) {
        if let Some(line) = self.line {
            net.send(line, End::Near, Payload::Up(up));
        }
    }
}
