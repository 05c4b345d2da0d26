//! What puts a namespace in order. With Redis a script does the same, on keys of one hash tag.

mod eras;
mod newcomers;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use self::eras::Era;
use super::call::Beat;
use super::log::Log;
use super::session::{Owner, Sessions};
use super::{
    Act, Call, Claim, Claimed, Done, Entry, Epoch, Generation, Handled, Heard, Keep, Known,
    LogName, Mark, NotClaimed, Offset, Ordered, PastPage, Pid, PidSecret, Position, Process,
    Publication, Reply, Request, ServerId, Sizes, Span, Taken, Write,
};

/// The order, the logs and the sessions of one namespace.
///
/// ```text
///            first call
///   empty ───────────────► settled ◄──────────────────── unsettled
///                           │   ▲   all processes told        ▲ │
///     another server calls  │   │   what they know: nothing   │ │ one knows of something that is
///                           │   │   of it is missing          │ │ missing, or does not tell in time
///                           └───┼─────────────────────────────┘ │
///                               └────────── new epoch ◄─────────┘
/// ```
///
/// A server that took over, or restarted, may lack what was confirmed. Positions do not tell: they come from its
/// clock, which went on. So with each server a new *era* begins, and each process tells first what it knows of
/// the era before. While one that was alive has not told, nobody is told that he is whole.
/// If nobody of before is left, there is a new epoch at once.
#[derive(Debug, Clone)]
pub struct Store {
    settings: Settings,
    life: Option<Life>,
    may_silent_act: bool,
}

#[derive(Debug, Clone)]
struct Life {
    epoch: Epoch,
    /// Where the epoch begins.
    begin: Position,
    last: Position,
    server: ServerId,
    /// The last of them is the present one.
    eras: Vec<Era>,
    awaited: BTreeSet<Process>,
    /// Until when they are awaited, in microseconds.
    settle_until: u64,
    processes: BTreeMap<Process, Peer>,
    logs: BTreeMap<LogName, Log>,
    /// Logs that are gone had nothing behind this place.
    forgotten: Position,
    /// The log that was swept last.
    swept: Option<LogName>,
    /// Entries and bytes of the logs that were swept since the first one.
    passed: (u64, u64),
    /// The same of all, when the last one was swept last.
    summed: (u64, u64),
    sessions: Sessions,
}

#[derive(Debug, Clone)]
struct Peer {
    /// When it was heard last, in microseconds of the log's clock, which does not go backwards when a server's does.
    beat: u64,
    /// The round of its last heartbeat.
    round: u64,
    is_retired: bool,
    /// In which era it told what it knows; none while it may not act.
    era: Position,
    /// While no other process knows of it: since when it is here.
    since: Option<Position>,
    /// The number of its last call, and what was answered.
    number: u64,
    done: Arc<[Done]>,
    floor: Position,
    taken: Vec<Taken>,
}

/// How a store works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// How much of each log is kept; as far back as somebody may come back for it.
    pub keep: Keep,
    /// For how long a client may be away, in microseconds.
    pub window: u64,
    /// How long after its last heartbeat a process counts as alive, in microseconds.
    pub lease: u64,
    /// For how many rounds of heartbeats after its last one a process counts as alive, whatever the clock says.
    pub rounds: u64,
    /// How long processes are awaited after another server took over, in microseconds.
    pub settle: u64,
    /// Most bytes that one read brings, or one entry.
    pub read_bytes: usize,
    /// Rooms that a session left and that are remembered.
    pub stays: usize,
    /// How many sessions and logs a heartbeat looks at to clear away.
    pub sweep: usize,
    /// Processes that are remembered after they died.
    pub departed: usize,
    /// Sessions that one call puts away when a process ends.
    pub retire: usize,
}

impl Store {
    /// An empty one.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            life: None,
            may_silent_act: false,
        }
    }

    /// Processes that were silent for long act at once: the simulator breaks the rule with it on purpose.
    #[doc(hidden)]
    pub fn let_silent_act(&mut self) {
        self.may_silent_act = true;
    }

    /// Handles a call at a server, whose clock says `now`, in microseconds since 1970.
    pub fn handle(&mut self, call: &Call, server: ServerId, now: u64) -> Handled {
        let settings = self.settings;
        let life = self
            .life
            .get_or_insert_with(|| Life::new(call.random, server, now));
        if life.server != server {
            life.begin_era(server, now, &settings);
            if life.awaited.is_empty() {
                // Nobody is left who could tell what is missing. One that came and went may be missing itself.
                life.renew(call.random, now, None);
            }
        }
        if !life.awaited.is_empty() && now > life.settle_until {
            life.awaited.clear();
            life.renew(call.random, now, None);
        }
        let (mut heard, mut nudged) = (Vec::new(), Vec::new());
        let reply = match &call.request {
            Request::Beat(beat) => {
                let (reply, mark, others) = life.beat(call, beat, now, &settings);
                heard.push(mark);
                nudged = others;
                reply
            }
            Request::Acts { number, acts, seen } => {
                let turn = Turn {
                    process: &call.process,
                    now,
                    settings: &settings,
                    may_silent_act: self.may_silent_act,
                };
                life.acts(&turn, *number, acts, *seen, &mut heard)
            }
            Request::Read(spans) => life.read(spans, settings.read_bytes),
            Request::History { log, past } => {
                let log = life.logs.get(log).cloned();
                let log = log.unwrap_or_else(|| Log::new(life.forgotten));
                let page = PastPage::read(&log, life.epoch, past, settings.read_bytes);
                Reply::Page(PastPage {
                    is_settled: life.awaited.is_empty(),
                    ..page
                })
            }
        };
        Handled {
            reply,
            heard,
            nudged,
        }
    }

    /// The life of the log, once there was a call.
    pub fn epoch(&self) -> Option<Epoch> {
        self.life.as_ref().map(|life| life.epoch)
    }

    /// Sessions, logs, and the entries and bytes in all of these.
    pub fn sizes(&self) -> (usize, usize, usize, usize) {
        let Some(life) = &self.life else {
            return (0, 0, 0, 0);
        };
        let entries = life.logs.values().map(Log::len).sum();
        let bytes = life.logs.values().map(Log::bytes).sum();
        (life.sessions.len(), life.logs.len(), entries, bytes)
    }

    /// Most entries and most bytes of one log.
    pub fn largest(&self) -> (usize, usize) {
        let logs = || self.life.iter().flat_map(|life| life.logs.values());
        let entries = logs().map(Log::len).max();
        let bytes = logs().map(Log::bytes).max();
        (entries.unwrap_or(0), bytes.unwrap_or(0))
    }

    /// Whether there is an entry at this place.
    pub fn has_entry(&self, position: Position) -> bool {
        let mut logs = self.life.iter().flat_map(|life| life.logs.values());
        logs.any(|log| log.has(position))
    }

    /// What an owner could do whose writes were not refused by its generation: the simulator breaks the rule with
    /// it on purpose.
    #[doc(hidden)]
    pub fn write_unfenced(&mut self, write: &Write, now: u64) {
        if let Some(life) = &mut self.life
            && let Some(owner) = life.sessions.owner(&write.secret).cloned()
            && let Some(generation) = life.sessions.generation(&write.secret)
        {
            let write = Write {
                generation,
                ..write.clone()
            };
            let at = (life.last, now);
            life.sessions
                .write(&write, &owner, at, (Position::ZERO, usize::MAX));
        }
    }

    /// What a process could do that acts although no other one knows of it: the simulator breaks the rule with it on
    /// purpose.
    #[doc(hidden)]
    pub fn let_act(&mut self, process: &Process) {
        if let Some(life) = &mut self.life {
            let era = life.era();
            let peer = life.peer(process);
            (peer.since, peer.era) = (None, era);
        }
    }

    /// The generation of a session.
    pub fn generation(&self, secret: &PidSecret) -> Option<Generation> {
        self.life.as_ref()?.sessions.generation(secret)
    }

    /// The owner of a session.
    pub fn owner(&self, secret: &PidSecret) -> Option<&Process> {
        self.life.as_ref()?.sessions.owner(secret)
    }

    /// The number of the last call of a process.
    pub fn number(&self, process: &Process) -> Option<u64> {
        let life = self.life.as_ref()?;
        life.processes.get(process).map(|peer| peer.number)
    }
}

/// Who calls, and when.
struct Turn<'a> {
    process: &'a Process,
    now: u64,
    settings: &'a Settings,
    may_silent_act: bool,
}

impl Life {
    fn new(random: u64, server: ServerId, now: u64) -> Self {
        let start = Position::ZERO.after(now);
        let first = Era::first(start);
        Self {
            epoch: Epoch::new(random),
            begin: start,
            last: start,
            server,
            eras: vec![first],
            awaited: BTreeSet::new(),
            settle_until: 0,
            processes: BTreeMap::new(),
            logs: BTreeMap::new(),
            forgotten: Position::ZERO,
            swept: None,
            passed: (0, 0),
            summed: (0, 0),
            sessions: Sessions::default(),
        }
    }

    fn advance(&mut self, now: u64) -> Position {
        self.last = self.last.after(now);
        self.last
    }

    fn known(&self) -> Known {
        Known {
            epoch: self.epoch,
            era: self.era(),
            position: self.last,
        }
    }

    fn beat(
        &mut self,
        call: &Call,
        beat: &Beat,
        now: u64,
        settings: &Settings,
    ) -> (Reply, Heard, Vec<Process>) {
        let process = &call.process;
        let is_of_now = beat.known.is_some_and(|it| it.epoch == self.epoch);
        let number = self.processes.get(process).map_or(0, |it| it.number);
        let is_missing = beat.known.is_some_and(|it| !self.has(&it));
        let is_renewed = is_missing || is_of_now && number < beat.acknowledged;
        if is_renewed {
            self.renew(call.random, now, beat.known);
        }
        let previous = self.last;
        self.advance(now);
        self.awaited.remove(process);
        let (era, heard_at) = (self.era(), self.last.number());
        let has_lived = self.has_lived(process, settings);
        let round = self.round_of_beat(process, beat.sweeps);
        let since = self.last;
        let peer = self.peer(process);
        if !has_lived || peer.is_retired {
            (peer.since, peer.is_retired) = (Some(since), false);
        }
        peer.number = peer.number.max(beat.acknowledged);
        (peer.beat, peer.round) = (heard_at, round);
        let knows = beat.known.filter(|_| is_of_now && !is_renewed);
        let nudged = self.introduce(process, knows, settings);
        let peer = self.peer(process);
        let may_act = peer.since.is_none();
        peer.era = if may_act { era } else { Position::ZERO };
        peer.floor = peer.floor.max(beat.floor);
        peer.taken.retain(|it| it.at > beat.seen);
        let taken = peer.taken.clone();
        let head = |log: &LogName| self.logs.get(log).map(Log::last).unwrap_or_default();
        let heads = beat.heads.iter().map(|log| (log.clone(), head(log)));
        let mark = Mark {
            number: beat.number,
            known: self.known(),
            previous,
            heads: heads.collect(),
        };
        let known = mark.known;
        let heard = Heard::Mark(process.clone(), Arc::new(mark));
        if beat.sweeps {
            self.sweep(now, settings);
        }
        let (entries, bytes) = self.summed;
        let reply = Reply::Beaten {
            number: beat.number,
            known,
            taken,
            may_act,
            sizes: Sizes {
                logs: self.logs.len() as u64,
                entries,
                bytes,
            },
        };
        (reply, heard, nudged)
    }

    fn peer(&mut self, process: &Process) -> &mut Peer {
        let peers = &mut self.processes;
        peers.entry(process.clone()).or_insert_with(|| Peer {
            beat: 0,
            round: 0,
            is_retired: false,
            era: Position::ZERO,
            since: None,
            number: 0,
            done: Arc::new([]),
            floor: Position::ZERO,
            taken: Vec::new(),
        })
    }

    fn acts(
        &mut self,
        turn: &Turn<'_>,
        number: u64,
        acts: &[Act],
        seen: Position,
        heard: &mut Vec<Heard>,
    ) -> Reply {
        let era = self.era();
        let Some(peer) = self.processes.get_mut(turn.process) else {
            return Reply::BeatFirst;
        };
        // Of one that was silent for long a new server would not know that it lived.
        let is_silent = self.last.back(turn.settings.lease).number() > peer.beat;
        let is_silent = is_silent && !turn.may_silent_act;
        if peer.era != era || is_silent || number > peer.number + 1 {
            return Reply::BeatFirst;
        }
        if number < peer.number {
            return Reply::Outdated;
        }
        if number > peer.number {
            if peer.is_retired {
                return Reply::BeatFirst;
            }
            peer.taken.retain(|it| it.at > seen);
            let done = acts.iter().map(|act| self.act(turn, act, heard));
            let done = done.collect();
            self.relieve(acts, turn.settings.keep);
            let peer = self.peer(turn.process);
            peer.number = number;
            peer.done = done;
        }
        let peer = self.peer(turn.process);
        let (done, taken) = (peer.done.clone(), peer.taken.clone());
        Reply::Done {
            number,
            known: self.known(),
            done,
            taken,
        }
    }

    fn act(&mut self, turn: &Turn<'_>, act: &Act, heard: &mut Vec<Heard>) -> Done {
        self.peer(turn.process).is_retired = false;
        match act {
            Act::Publish(publish) => self.publish(turn, publish, heard),
            Act::Open(open) => {
                let position = self.advance(turn.now);
                self.sessions.open(open, turn.process, position);
                let epoch = self.epoch;
                Done::Opened(Pid::new(open.secret, Offset { epoch, position }))
            }
            Act::Write(write) => {
                let position = self.advance(turn.now);
                let floor = self.peer(turn.process).floor;
                let remembered = turn.settings.stays;
                let at = (position, turn.now);
                let sessions = &mut self.sessions;
                match sessions.write(write, turn.process, at, (floor, remembered)) {
                    true => Done::Written(position),
                    false => Done::NotOwned,
                }
            }
            Act::Claim(claim) => match self.claim(turn, claim) {
                Ok(claimed) => Done::Claimed(claimed),
                Err(reason) => Done::NotClaimed(reason),
            },
            Act::Retire => {
                let floor = self.peer(turn.process).floor;
                let at_once = turn.settings.retire;
                let is_over = self.sessions.retire(turn.process, turn.now, floor, at_once);
                self.peer(turn.process).is_retired = is_over;
                match is_over {
                    true => Done::Retired,
                    false => Done::Retiring,
                }
            }
        }
    }

    fn publish(&mut self, turn: &Turn<'_>, publish: &Publication, heard: &mut Vec<Heard>) -> Done {
        if let Some((sid, generation)) = &publish.sender {
            let taken = &self.peer(turn.process).taken;
            if taken
                .iter()
                .any(|it| it.sid == *sid && it.generation > *generation)
            {
                return Done::NotOwned;
            }
        }
        let position = self.advance(turn.now);
        let entry = Arc::new(Entry {
            position,
            selection: publish.selection.clone(),
            body: publish.body.clone(),
        });
        let mut before = Vec::new();
        for name in LogName::of(&publish.selection) {
            let last = self.logs.get(&name).map(Log::last).unwrap_or_default();
            if publish.is_logged {
                let forgotten = self.forgotten;
                let log = self.logs.entry(name.clone());
                let log = log.or_insert_with(|| Log::new(forgotten));
                log.append(entry.clone());
            }
            before.push((name, last));
        }
        heard.push(Heard::Ordered(Arc::new(Ordered {
            epoch: self.epoch,
            era: self.era(),
            entry,
            before,
        })));
        Done::Published(position)
    }

    fn relieve(&mut self, acts: &[Act], keep: Keep) {
        for act in acts {
            if let Act::Publish(publish) = act {
                for name in LogName::of(&publish.selection) {
                    if let Some(log) = self.logs.get_mut(&name) {
                        log.relieve(keep);
                    }
                }
            }
        }
    }

    fn claim(&mut self, turn: &Turn<'_>, claim: &Claim) -> Result<Claimed, NotClaimed> {
        let shown = claim.shown().into_iter().chain([claim.pid.start]);
        if shown.clone().any(|offset| offset.epoch != self.epoch) {
            return Err(NotClaimed::Epoch);
        }
        if !self.awaited.is_empty() {
            return Err(NotClaimed::Unsettled);
        }
        if shown
            .clone()
            .any(|offset| !self.may_have_been(offset.position))
        {
            return Err(NotClaimed::Lost);
        }
        let position = self.advance(turn.now);
        let lease = turn.settings.lease;
        let processes = &self.processes;
        let owner = |process: &Process| match processes.get(process) {
            Some(peer) => Owner {
                floor: peer.floor,
                dead: (turn.now.saturating_sub(peer.beat) > lease).then_some(peer.beat),
            },
            None => Owner {
                floor: Position::ZERO,
                dead: Some(0),
            },
        };
        let at = (position, turn.now, turn.settings.window);
        let (claimed, former) = self.sessions.claim(claim, turn.process, at, owner)?;
        if let Some(former) = self.processes.get_mut(&former) {
            former.taken.push(Taken {
                at: position,
                sid: claimed.sid.clone(),
                generation: claimed.generation,
            });
        }
        Ok(claimed)
    }

    fn read(&self, spans: &[Span], mut budget: usize) -> Reply {
        let pieces = spans.iter().map(|span| match self.logs.get(&span.log) {
            Some(log) => log.read(span, &mut budget),
            None => Log::new(self.forgotten).read(span, &mut 1),
        });
        Reply::Pieces {
            epoch: self.epoch,
            pieces: pieces.collect(),
        }
    }

    /// Clears some of what nobody can come back for away.
    fn sweep(&mut self, now: u64, settings: &Settings) {
        let last_away = now.saturating_sub(settings.window);
        self.sessions.sweep_away(last_away, settings.sweep);
        let last_beat = last_away.saturating_sub(settings.lease);
        let oldest = self.oldest_round(settings.rounds);
        let is_dead =
            |peer: &Peer| peer.beat < last_beat && oldest.is_none_or(|it| peer.round < it);
        let dead = self.processes.iter().filter(|(_, it)| is_dead(it));
        let mut dead: Vec<_> = dead
            .map(|(process, it)| (it.beat, process.clone()))
            .collect();
        dead.sort_unstable();
        for (_, process) in &dead {
            if let Some(peer) = self.processes.get_mut(process) {
                peer.taken.clear();
            }
            if self.sessions.owns_any(process) {
                self.sessions.sweep_owner(process, settings.sweep);
                break;
            }
        }
        let too_many = dead.len().saturating_sub(settings.departed);
        for (_, process) in dead.iter().take(too_many) {
            if !self.sessions.owns_any(process) {
                self.processes.remove(process);
            }
        }
        self.sweep_logs(settings);
    }

    fn sweep_logs(&mut self, settings: &Settings) {
        let horizon = self.last.back(settings.keep.back);
        let from = match &self.swept {
            Some(name) => Bound::Excluded(name.clone()),
            None => Bound::Unbounded,
        };
        let names = self.logs.range((from, Bound::Unbounded)).map(|it| it.0);
        let names: Vec<_> = names.take(settings.sweep).cloned().collect();
        self.swept = (names.len() == settings.sweep)
            .then(|| names.last().cloned())
            .flatten();
        for name in names {
            if let Some(log) = self.logs.get_mut(&name) {
                log.trim(self.last, settings.keep);
                if log.len() == 0 && log.last() < horizon {
                    self.forgotten = self.forgotten.max(log.trimmed());
                    self.logs.remove(&name);
                } else {
                    self.passed.0 += log.len() as u64;
                    self.passed.1 += log.bytes() as u64;
                }
            }
        }
        if self.swept.is_none() {
            self.summed = std::mem::take(&mut self.passed);
        }
    }
}

#[cfg(test)]
mod tests;
