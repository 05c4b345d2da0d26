//! What was promised to whom, and whether it is kept. It knows nothing of how.

mod past;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use adapter::recovery::{Epoch, NotClaimed, NotRecovered, Offset, Position, Rewind};

use self::past::Past;

use crate::plan::{Knobs, SECOND, WINDOW};

/// The number of an event.
pub type EventId = u64;

/// A promise that was not kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Which.
    pub rule: Rule,
    /// When, in microseconds.
    pub at: u64,
    /// What happened.
    pub what: String,
}

/// What is promised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Rule {
    /// A promised event did not come.
    Lost,
    /// An event came twice.
    Twice,
    /// An event came behind a later one.
    Order,
    /// An event came to somebody whom it was not for.
    Stray,
    /// A client was not recovered without a cause.
    Refused,
    /// A client was told that it is recovered, and is another.
    Impostor,
    /// The data of a recovered session is older than what was written, or nobody's.
    Data,
    /// Something holds more than it may.
    Bound,
    /// A client does not get connected although all is well.
    Stuck,
    /// Something is left after everybody went.
    Left,
}

/// What was promised.
#[derive(Debug, Default)]
pub struct Model {
    events: Vec<Event>,
    chains: Vec<Chain>,
    /// The chain of each client.
    current: BTreeMap<usize, usize>,
    seeds: BTreeMap<usize, u64>,
    /// When something was lost for which nobody can be blamed.
    excused: Option<u64>,
    /// Until when the server was away last: no heartbeat could be made.
    pub absent: u64,
    /// Until when nodes may have to tell a new server what they know.
    pub unsettled: u64,
    /// Until when nodes may have talked to an old master while others talked to the new one.
    pub divided: u64,
    /// The first that was found.
    pub finding: Option<Finding>,
    /// What happened, counted.
    pub counts: BTreeMap<String, u64>,
}

#[derive(Debug)]
struct Event {
    chain: usize,
    number: u64,
    rooms: Vec<String>,
    except: Option<String>,
    submitted: u64,
    acked: Option<u64>,
    /// Once it is acknowledged.
    place: Option<(Epoch, Position)>,
    is_logged: bool,
}

/// A session, as its client knows it: through all its recoveries.
#[derive(Debug)]
struct Chain {
    client: usize,
    sid: String,
    since: u64,
    /// When its client was recovered last, and when it had wanted to be.
    recovered: u64,
    wanted: u64,
    is_alive: bool,
    was_refused: bool,
    stays: Vec<Stay>,
    got: BTreeSet<EventId>,
    /// Events of the past that it lacks, although it was told that it has them.
    owed: BTreeSet<EventId>,
    last: Position,
    by_sender: BTreeMap<usize, u64>,
    sent: u64,
    /// The last data that it wanted kept.
    asked: u64,
    /// The last of which it was told that it is kept.
    kept: u64,
}

#[derive(Debug)]
struct Stay {
    room: String,
    asked: u64,
    joined: Option<u64>,
    leaving: Option<u64>,
    left: Option<u64>,
    /// What it wants of the past of the room.
    past: Option<Past>,
    /// It was told that it does not get the past: the join may be written or not.
    is_refused: bool,
}

/// After so long everybody who is connected has what was acknowledged: nodes that stand still, or hear nothing, are
/// noticed, and what they missed is read.
const PATIENCE: u64 = 30 * SECOND;

impl Model {
    /// Counts something.
    pub fn count(&mut self, what: impl Into<String>) {
        *self.counts.entry(what.into()).or_default() += 1;
    }

    /// A promise is not kept. Only the first counts.
    pub fn find(&mut self, rule: Rule, at: u64, what: String) {
        self.finding.get_or_insert(Finding { rule, at, what });
    }

    /// Something is lost that Redis had confirmed.
    pub fn excuse(&mut self, now: u64) {
        self.excused = Some(now);
    }

    /// A node begins a life.
    pub fn set_seed(&mut self, node: usize, seed: u64) {
        self.seeds.insert(node, seed);
    }

    /// The present life of a node.
    pub fn seed_of(&self, node: usize) -> u64 {
        self.seeds.get(&node).copied().unwrap_or_default()
    }

    /// A client sends an event.
    pub fn submit(
        &mut self,
        client: usize,
        (rooms, except_self): (Vec<String>, bool),
        is_logged: bool,
        now: u64,
    ) -> EventId {
        let chain = self.current[&client];
        let sender = &mut self.chains[chain];
        sender.sent += 1;
        let event = Event {
            chain,
            number: sender.sent,
            rooms,
            except: except_self.then(|| sender.sid.clone()),
            submitted: now,
            acked: None,
            place: None,
            is_logged,
        };
        self.events.push(event);
        self.events.len() as EventId - 1
    }

    /// Whom an event is for: rooms, who is excepted, and whether it is logged.
    pub fn event(&self, event: EventId) -> (Vec<String>, Option<String>, bool) {
        let event = &self.events[event as usize];
        (event.rooms.clone(), event.except.clone(), event.is_logged)
    }

    /// Its sender is told that it is in the log.
    pub fn acknowledge(&mut self, event: EventId, now: u64, place: Option<(Epoch, Position)>) {
        self.count("published");
        let event = &mut self.events[event as usize];
        event.acked.get_or_insert(now);
        event.place = event.place.or(place);
    }

    /// A client is told that it is connected, with a new session.
    pub fn begin(&mut self, client: usize, sid: String, now: u64) {
        self.end(client);
        self.chains.push(Chain {
            client,
            sid,
            since: now,
            recovered: now,
            wanted: now,
            is_alive: true,
            was_refused: false,
            stays: Vec::new(),
            got: BTreeSet::new(),
            owed: BTreeSet::new(),
            last: Position::ZERO,
            by_sender: BTreeMap::new(),
            sent: 0,
            asked: 0,
            kept: 0,
        });
        self.current.insert(client, self.chains.len() - 1);
        self.count("connected");
    }

    /// A client is told that it is recovered, as it `wanted`, and what was kept with its session.
    pub fn recover(&mut self, client: usize, sid: &str, data: u64, wanted: u64, now: u64) {
        self.count("recovered");
        let Some(chain) = self.chain(client).filter(|it| it.sid == sid) else {
            return self.find(Rule::Impostor, now, format!("client {client} became {sid}"));
        };
        chain.forget_past();
        (chain.recovered, chain.wanted) = (now, wanted);
        let legal = chain.kept..=chain.asked;
        // It was seen, so it does not go back behind it.
        chain.kept = data;
        if !legal.contains(&data) {
            let what = format!("client {client} has data {data}, and not of {legal:?}");
            self.find(Rule::Data, now, what);
        }
    }

    /// A client wants the next data kept.
    pub fn ask_keep(&mut self, client: usize) -> Option<u64> {
        let chain = self.chain(client)?;
        chain.asked += 1;
        Some(chain.asked)
    }

    /// A client is told that data is kept.
    pub fn kept(&mut self, client: usize, data: u64) {
        self.count("data kept");
        if let Some(chain) = self.chain(client) {
            chain.kept = chain.kept.max(data);
        }
    }

    /// The session of a client is over for good.
    pub fn end(&mut self, client: usize) {
        if let Some(chain) = self.chain(client) {
            chain.is_alive = false;
        }
        self.current.remove(&client);
    }

    fn chain(&mut self, client: usize) -> Option<&mut Chain> {
        let chain = self.current.get(&client)?;
        self.chains.get_mut(*chain)
    }

    /// A client wants to join, perhaps with something of the past.
    pub fn ask_join(&mut self, client: usize, room: &str, wants: Option<Rewind>, now: u64) {
        if let Some(chain) = self.chain(client) {
            chain.stays.push(Stay {
                room: room.to_owned(),
                asked: now,
                joined: None,
                leaving: None,
                left: None,
                past: wants.map(Past::new),
                is_refused: false,
            });
        }
    }

    /// A client does not get the past that it asked for.
    pub fn forget_past(&mut self, client: usize) {
        if let Some(chain) = self.chain(client) {
            chain.forget_past();
        }
    }

    /// A client is told that it is in a room.
    pub fn joined(&mut self, client: usize, room: &str, now: u64) {
        for stay in self.stays(client, room).filter(|it| !it.is_refused) {
            stay.joined.get_or_insert(now);
        }
    }

    /// A client wants to leave. Returns how often it wanted to join rooms until then.
    pub fn ask_leave(&mut self, client: usize, room: &str, now: u64) -> usize {
        for stay in self.stays(client, room) {
            stay.leaving.get_or_insert(now);
        }
        self.chain(client).map_or(0, |chain| chain.stays.len())
    }

    /// It is written that a client left, who had wanted to join `joins` times. A wish of later may be lost on the way.
    pub fn left(&mut self, sid: &str, room: &str, joins: usize, now: u64) {
        let chains = self.chains.iter_mut().filter(|chain| chain.sid == sid);
        for stay in chains.flat_map(|chain| chain.stays.iter_mut().take(joins)) {
            if stay.room == room && stay.leaving.is_some() {
                stay.left.get_or_insert(now);
            }
        }
    }

    fn stays(&mut self, client: usize, room: &str) -> impl Iterator<Item = &mut Stay> {
        let stays = self.chain(client).map(|chain| &mut chain.stays);
        let stays = stays.into_iter().flatten();
        stays.filter(move |stay| stay.room == room && stay.leaving.is_none())
    }

    /// A client gets an event.
    pub fn deliver(&mut self, client: usize, id: EventId, text: &str, now: u64) {
        let whole = Offset::to_come_back_with(text);
        let (Ok(offset), Ok(whole)) = (Offset::parse(Offset::in_log(text)), Offset::parse(&whole))
        else {
            return self.find(Rule::Order, now, format!("client {client}: offset {text}"));
        };
        let Some(chain) = self.current.get(&client) else {
            return self.find(Rule::Stray, now, format!("client {client} has no session"));
        };
        let chain = &mut self.chains[*chain];
        let event = &self.events[id as usize];
        let place = offset.position;
        if whole != offset || chain.has_come_back_to(id, place) {
            let found = chain.take_past((id, event), place, whole.position);
            if let Some(rule) = found {
                let what = format!("event {id} of the past at {text} to client {client}");
                self.find(rule, now, what);
            }
            return;
        }
        chain.note_live(event, place);
        let sent = chain.by_sender.insert(event.chain, event.number);
        let who = format!("event {id} at {place} to client {client}");
        let found = if !chain.got.insert(id) {
            Some((Rule::Twice, who))
        } else if place <= chain.last {
            Some((Rule::Order, format!("{who}, behind {}", chain.last)))
        } else if sent.is_some_and(|sent| sent >= event.number) {
            Some((
                Rule::Order,
                format!("{who}, behind a later one of its sender"),
            ))
        } else if event.except.as_ref() == Some(&chain.sid) || !chain.may_get(event) {
            Some((Rule::Stray, who))
        } else {
            None
        };
        chain.last = place;
        self.count("delivered");
        if let Some((rule, what)) = found {
            self.find(rule, now, what);
        }
    }

    /// A client that came back is not recovered.
    pub fn refuse(
        &mut self,
        (client, refusal): (usize, NotRecovered),
        away: u64,
        knobs: &Knobs,
        now: u64,
    ) {
        self.count(format!("refused: {}", refusal.as_str()));
        let is_absent = self.absent + WINDOW > now;
        let excused = self.excused;
        let Some(chain) = self.chain(client) else {
            return;
        };
        let was_refused = std::mem::replace(&mut chain.was_refused, true);
        let is_excused = was_refused || excused.is_some_and(|at| at + WINDOW > chain.since);
        let is_short = away < WINDOW / 2 && !is_absent;
        let is_wrong = match refusal {
            NotRecovered::Malformed => true,
            NotRecovered::Trimmed | NotRecovered::NotClaimed(NotClaimed::Trimmed) => {
                is_short && knobs.messages >= 1000
            }
            NotRecovered::TooLarge => knobs.replay_bytes >= 1_000_000,
            NotRecovered::NotClaimed(NotClaimed::WrongUser) => true,
            NotRecovered::NotClaimed(_) => is_short,
            NotRecovered::Superseded | NotRecovered::Renewed | NotRecovered::Unreachable => false,
        };
        let is_unsettled = refusal == NotRecovered::NotClaimed(NotClaimed::Unsettled);
        if is_wrong && !is_excused && !is_unsettled {
            let away = away / SECOND;
            let what = format!("client {client}: {}, away {away} s", refusal.as_str());
            self.find(Rule::Refused, now, what);
        }
    }

    /// Its session was ended on purpose, since it could not be made whole.
    pub fn void(&mut self, sid: &str) {
        for chain in self.chains.iter_mut().filter(|chain| chain.sid == sid) {
            chain.was_refused = true;
        }
    }

    /// Of what was acknowledged before a client came back nothing may be missing a while later, and nothing at all of
    /// what was acknowledged long ago, unless the server was away.
    pub fn look_back(&mut self, is_connected: impl Fn(usize) -> bool, now: u64) {
        if now < self.unsettled {
            return;
        }
        let looked = self
            .events
            .partition_point(|it| it.submitted + 2 * WINDOW < now);
        let long_ago = match self.absent + PATIENCE < now {
            true => now.saturating_sub(PATIENCE),
            false => 0,
        };
        let chains = self.chains.iter().filter(|it| it.is_alive);
        let chains = chains.filter(|it| it.recovered + 2 * SECOND < now && is_connected(it.client));
        let missing = chains.flat_map(|chain| {
            let events = self.events.iter().enumerate().skip(looked);
            let missing = events.filter(|(id, event)| {
                let is_due = event
                    .acked
                    .is_some_and(|at| at < chain.wanted || at < long_ago);
                is_due && chain.must_get(event) && !chain.got.contains(&(*id as EventId))
            });
            missing.map(|it| (chain.client, it.0))
        });
        if let Some((client, event)) = missing.take(1).next() {
            let what =
                format!("event {event} to client {client}, which came back since, or is there");
            self.find(Rule::Lost, now, what);
        }
    }

    /// Everybody had time: what was promised has to be there.
    pub fn settle(&mut self, now: u64) {
        let mut missing = Vec::new();
        for chain in self.chains.iter().filter(|chain| chain.is_alive) {
            for (id, event) in self.events.iter().enumerate() {
                let id = id as EventId;
                let is_due =
                    chain.must_get(event) || chain.was_told_of(event) || chain.owed.contains(&id);
                if is_due && !chain.got.contains(&id) {
                    let (client, submitted) = (chain.client, event.submitted);
                    missing.push(format!(
                        "event {id} to {:?} of {submitted} us to client {client}",
                        event.rooms
                    ));
                }
            }
        }
        if let Some(first) = missing.first() {
            let what = format!("{first} ({} in all)", missing.len());
            self.find(Rule::Lost, now, what);
        }
    }

    /// How many sessions live on.
    pub fn alive(&self) -> usize {
        self.chains.iter().filter(|chain| chain.is_alive).count()
    }
}

impl Chain {
    /// Whether an event may be for it.
    fn may_get(&self, event: &Event) -> bool {
        let acked = event.acked.unwrap_or(u64::MAX);
        let may = |room: &String| {
            *room == self.sid
                || self.stays.iter().any(|stay| {
                    let is_over = stay.left.is_some_and(|left| left < event.submitted);
                    // What was on its way may come until the client is told that it joined.
                    let is_early =
                        stay.joined.is_some() && acked < stay.asked && stay.past.is_none();
                    stay.room == *room && !is_early && !is_over
                })
        };
        event.rooms.is_empty() || event.rooms.iter().any(may)
    }

    /// Whether an event was promised to it.
    fn must_get(&self, event: &Event) -> bool {
        let submitted = event.submitted;
        let must = |room: &String| {
            *room == self.sid
                || self.stays.iter().any(|stay| {
                    let is_in = stay.joined.is_some_and(|joined| joined <= submitted);
                    stay.room == *room && is_in && stay.leaving.is_none()
                })
        };
        event.acked.is_some()
            && event.is_logged
            && self.since <= submitted
            && event.except.as_ref() != Some(&self.sid)
            && (event.rooms.is_empty() || event.rooms.iter().any(must))
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} at {} us: {}", self.rule, self.at, self.what)
    }
}
