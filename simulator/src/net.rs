//! Time, connections and what is on its way.

use std::collections::{BTreeMap, VecDeque};

use adapter::recovery::{Call, Heard, LogName, NotRecovered, Offset, Reply, Rewind};

use crate::model::{EventId, Model};
use crate::plan::{Knobs, Plan, Planted};

/// What everybody uses: the clock, the dice, the network and the model.
pub struct Net {
    /// Microseconds since the beginning.
    pub now: u64,
    /// Everything is drawn from it.
    pub rng: fastrand::Rng,
    /// What was promised.
    pub model: Model,
    /// The sizes of the run.
    pub knobs: Knobs,
    /// The plan.
    pub plan: Plan,
    /// Clients that were not recovered just now.
    pub refused: Vec<(usize, NotRecovered)>,
    queue: BTreeMap<(u64, u64), Due>,
    connections: BTreeMap<Line, Connection>,
    last: u64,
}

/// The name of a connection.
pub type Line = u64;

/// Something that is due.
#[derive(Debug)]
pub enum Due {
    /// Something arrives at an end of a connection.
    Arrive(Line, Payload),
    /// An end is told that its connection is gone.
    Closed(Line, Ends, End),
    /// A node looks at its clocks.
    NodeTick(usize, u64),
    /// A node goes on after it stood still.
    Thaw(usize, u64),
    /// A node starts.
    Start(usize),
    /// A node starts on the server's machine, which is about to fail.
    StartDoomed(usize, u64),
    /// A drained node ends.
    EndDrain(usize, u64),
    /// A client looks at its clocks.
    ClientTick(usize),
    /// A client does something.
    ClientAct(usize),
    /// Something goes wrong.
    Trouble,
    /// A slow connection is fast again.
    Faster(Line),
    /// The server is back.
    RedisBack,
    /// The old master of a split is gone.
    Heal(usize),
    /// The machine of the server does not fail after all.
    Doom,
}

/// Who is at its ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ends {
    /// A client and a node.
    Client(usize, usize),
    /// A node and a server, for commands.
    Commands(usize, usize),
    /// A node and a server, for what is heard.
    Subscription(usize, usize),
}

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The first: whoever opened it.
    Near,
    /// The second.
    Far,
}

struct Connection {
    ends: Ends,
    /// When the last thing arrives, by direction.
    last: [u64; 2],
    latency: u64,
    is_dumb: bool,
}

/// What is carried.
#[derive(Debug)]
pub enum Payload {
    /// From a node to a server.
    ToRedis(Call),
    /// From a node to a server.
    Subscribe(LogName),
    /// From a node to a server.
    Unsubscribe(LogName),
    /// From a server to a node.
    Reply(Reply),
    /// From a server to a node.
    Subscribed(LogName),
    /// From a server to a node.
    Heard(Heard),
    /// From a client to a node.
    Up(Up),
    /// From a node to a client.
    Down(Down),
}

/// What a client sends.
#[derive(Debug)]
pub enum Up {
    /// It connects, perhaps with what it has of its session.
    Connect {
        /// Its pid.
        pid: Option<String>,
        /// The last offset that it saw.
        offset: Option<String>,
    },
    /// It wants an event published.
    Publish(EventId),
    /// It wants to join a room, perhaps with something of its past.
    Join(String, Option<Rewind>),
    /// It wants to leave a room, and has wanted to join so often.
    Leave(String, usize),
    /// It wants something kept with its session.
    Keep(u64),
    /// It goes for good.
    End,
    /// The answer to a ping.
    Pong,
}

/// What a client is sent.
#[derive(Debug)]
pub enum Down {
    /// It is connected.
    Connected {
        /// Its socket.
        sid: String,
        /// Its pid.
        pid: String,
        /// Whether it was recovered.
        recovered: bool,
        /// What is kept with its session.
        data: u64,
    },
    /// An event, and the offset as its last argument.
    Event(EventId, String),
    /// An event is acknowledged.
    Published(EventId),
    /// It is in the room.
    Joined(String),
    /// The same, and it got the past: whether nothing of it is missing, and up to where it goes.
    Rewound(String, bool, Offset),
    /// It does not get the past of the room.
    NotRewound(String),
    /// This is kept with its session.
    Kept(u64),
    /// A ping.
    Ping,
}

impl Net {
    /// An empty one.
    pub fn new(plan: &Plan) -> Self {
        let mut rng = fastrand::Rng::with_seed(plan.seed);
        let knobs = Knobs::draw(&mut rng);
        Self {
            now: 0,
            rng,
            model: Model::default(),
            knobs,
            plan: plan.clone(),
            refused: Vec::new(),
            queue: BTreeMap::new(),
            connections: BTreeMap::new(),
            last: 0,
        }
    }

    /// Whether this rule is broken on purpose.
    pub fn is_planted(&self, planted: Planted) -> bool {
        self.plan.planted == Some(planted)
    }

    /// Tells what happens, if it is to be told.
    pub fn say(&self, what: impl FnOnce() -> String) {
        if self.plan.trace {
            eprintln!("{:>12} {}", self.now, what());
        }
    }

    /// Between these, both ends included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        self.rng.u64(low..=high)
    }

    /// So often of a hundred times.
    pub fn chance(&mut self, percent: u32) -> bool {
        self.rng.u32(..100) < percent
    }

    /// Something random.
    pub fn random(&mut self) -> u64 {
        self.rng.u64(..)
    }

    /// Lets something be due later.
    pub fn after(&mut self, delay: u64, due: Due) {
        self.at(self.now + delay, due);
    }

    fn at(&mut self, time: u64, due: Due) {
        self.last += 1;
        self.queue.insert((time, self.last), due);
    }

    /// What is due next.
    pub fn take_next(&mut self) -> Option<Due> {
        let ((time, _), due) = self.queue.pop_first()?;
        self.now = time;
        Some(due)
    }

    /// When that is.
    pub fn next_time(&self) -> Option<u64> {
        self.queue.first_key_value().map(|((time, _), _)| *time)
    }

    /// Opens a connection.
    pub fn connect(&mut self, ends: Ends) -> Line {
        let latency = match ends {
            Ends::Client(..) => self.between(5_000, 60_000),
            Ends::Commands(..) | Ends::Subscription(..) => self.between(200, 3_000),
        };
        self.last += 1;
        let connection = Connection {
            ends,
            last: [self.now; 2],
            latency,
            is_dumb: false,
        };
        self.connections.insert(self.last, connection);
        self.last
    }

    /// Who is at the ends of a connection that is open.
    pub fn ends(&self, line: Line) -> Option<Ends> {
        self.connections.get(&line).map(|it| it.ends)
    }

    /// Sends something from one end to the other.
    pub fn send(&mut self, line: Line, from: End, payload: Payload) {
        let jitter = self.between(0, 1_000);
        let Some(connection) = self.connections.get_mut(&line) else {
            return;
        };
        if connection.is_dumb {
            return;
        }
        let direction = &mut connection.last[usize::from(from == End::Near)];
        let time = (self.now + connection.latency + jitter).max(*direction + 1);
        *direction = time;
        self.at(time, Due::Arrive(line, payload));
    }

    /// Closes a connection. What is on its way is lost; these ends are told.
    pub fn cut(&mut self, line: Line, told: &[End]) {
        let Some(connection) = self.connections.remove(&line) else {
            return;
        };
        let delay = self.between(0, connection.latency);
        for end in told {
            self.after(delay, Due::Closed(line, connection.ends, *end));
        }
    }

    /// Closes a connection in an orderly way: what was sent to the near end still arrives.
    pub fn close(&mut self, line: Line) {
        let Some(connection) = self.connections.get_mut(&line) else {
            return;
        };
        if connection.is_dumb {
            return;
        }
        let (time, ends) = (connection.last[0].max(self.now) + 1, connection.ends);
        self.at(time, Due::Closed(line, ends, End::Near));
    }

    /// Forgets a connection that was closed.
    pub fn forget(&mut self, line: Line) {
        self.connections.remove(&line);
    }

    /// Lets a connection carry nothing any more.
    pub fn make_dumb(&mut self, line: Line) {
        if let Some(connection) = self.connections.get_mut(&line) {
            connection.is_dumb = true;
        }
    }

    /// Makes a connection slow or fast.
    pub fn set_latency(&mut self, line: Line, latency: u64) {
        if let Some(connection) = self.connections.get_mut(&line) {
            connection.latency = latency;
        }
    }

    /// The connections with such ends.
    pub fn find(&self, filter: impl Fn(Ends) -> bool) -> Vec<Line> {
        let found = self.connections.iter().filter(|(_, it)| filter(it.ends));
        found.map(|(line, _)| *line).collect()
    }
}

/// What waits for a node that stands still.
pub type Mailbox = VecDeque<Due>;
