use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use adapter::EventBuf;
use adapter::recovery::{
    Act, Beat, Call, Change, Claim, Entry, Epoch, LogName, Offset, Open, Past, Position, Process,
    Publication, Request, ServerId, Settings, Span, Write,
};

use crate::codec::Writer;
use crate::link::resp::{push_bulk, push_header};
use crate::wire::{Prepared, Wire};

/// The store of one namespace as a script: how its calls are made.
#[derive(Debug)]
pub struct Script {
    wire: Arc<Wire>,
    /// What all keys begin with.
    base: String,
    /// The channel by which this node hears its heartbeats.
    marks: String,
    settings: Vec<u8>,
}

/// A call, but for where it goes.
#[non_exhaustive]
#[derive(Debug)]
pub struct EncodedCall {
    /// What to expect.
    pub asked: Asked,
    arguments: Arguments,
}

/// What was asked, as far as an answer has to be read by it.
#[expect(clippy::exhaustive_enums, reason = "a call is one of these")]
#[derive(Debug, PartialEq, Eq)]
pub enum Asked {
    /// A heartbeat.
    Beat,
    /// Acts.
    Acts,
    /// These parts of logs.
    Read(Vec<Span>),
    /// The past of a room.
    History,
}

#[derive(Debug, Default)]
struct Arguments {
    count: usize,
    bytes: Vec<u8>,
}

/// Keys live on for so long, beside twice the time for which somebody may come back.
const LEFT_ALONE: Duration = Duration::from_secs(600);

impl Script {
    /// The script itself, for `SCRIPT LOAD`.
    pub const SOURCE: &str = concat!(
        include_str!("store/start.lua"),
        include_str!("store/plain.lua"),
        include_str!("store/life.lua"),
        include_str!("store/logs.lua"),
        include_str!("store/acts.lua"),
        include_str!("store/eras.lua"),
        include_str!("store/sessions.lua"),
        include_str!("store/beat.lua"),
        include_str!("store/reads.lua"),
        include_str!("store/run.lua"),
    );

    /// The store of the namespace of `wire`, whose channels and keys begin with `prefix`. `node` names this node's
    /// channel.
    pub fn new(wire: Arc<Wire>, prefix: &str, node: u64, settings: &Settings) -> Self {
        let namespace = &wire.namespace;
        Self {
            base: format!("{}#{}#{namespace}#", Self::tag(prefix), namespace.len()),
            marks: format!("{prefix}-gateway#mark#{node:016x}#{namespace}#"),
            settings: encode_settings(settings),
            wire,
        }
    }

    /// What the keys of all namespaces begin with. In a cluster they are in one slot.
    pub fn tag(prefix: &str) -> String {
        format!("{prefix}-gateway{{recovery}}")
    }

    /// The channel by which heartbeats come back.
    pub fn marks(&self) -> &str {
        &self.marks
    }

    /// Encodes a call.
    pub fn encode(&self, call: &Call) -> EncodedCall {
        let mut arguments = Arguments::default();
        let kind: &[u8] = match &call.request {
            Request::Beat(_) => b"B",
            Request::Acts { acts, .. } if are_plain(acts) => b"P",
            Request::Acts { .. } => b"A",
            Request::Read(_) => b"R",
            Request::History { .. } => b"H",
        };
        arguments.push(kind);
        arguments.push(process_text(&call.process).as_bytes());
        arguments.push(Epoch::new(call.random).to_string().as_bytes());
        arguments.push(&self.settings);
        let asked = match &call.request {
            Request::Beat(beat) => {
                arguments.push(&encode_beat(beat));
                arguments.push(self.marks.as_bytes());
                Asked::Beat
            }
            Request::Acts { number, acts, seen } if are_plain(acts) => {
                self.push_plain(&mut arguments, *number, *seen, acts);
                Asked::Acts
            }
            Request::Acts { number, acts, seen } => {
                arguments.push_number(*number);
                arguments.push_number(seen.number());
                arguments.push_number(acts.len() as u64);
                acts.iter()
                    .for_each(|act| self.push_act(&mut arguments, act));
                Asked::Acts
            }
            Request::Read(spans) => {
                for span in spans {
                    arguments.push(log_text(&span.log).as_bytes());
                    arguments.push_number(span.after.number());
                    arguments.push_number(span.until.number());
                }
                Asked::Read(spans.clone())
            }
            Request::History { log, past } => {
                arguments.push(log_text(log).as_bytes());
                let (kind, after, until, count) = match *past {
                    Past::Last { count, until } => (b"L", Position::ZERO, until, count),
                    Past::After {
                        after,
                        count,
                        until,
                    } => (b"A", after, until, count),
                };
                arguments.push(kind);
                arguments.push_number(after.number());
                arguments.push_number(until.number());
                arguments.push_number((count as u64).min(Position::MAX.number()));
                Asked::History
            }
        };
        EncodedCall { asked, arguments }
    }

    /// Appends the command of a call to the script with this hash at `server`, whose clock tells the time if `now` does
    /// not.
    pub fn push(
        &self,
        out: &mut Vec<u8>,
        call: &EncodedCall,
        hash: &str,
        server: ServerId,
        now: Option<u64>,
    ) {
        push_header(out, b'*', call.arguments.count + 6);
        push_bulk(out, b"EVALSHA");
        push_bulk(out, hash.as_bytes());
        push_bulk(out, b"1");
        push_bulk(out, self.base.as_bytes());
        push_bulk(out, format!("{:016x}", server.0).as_bytes());
        push_bulk(
            out,
            now.map(|now| now.to_string())
                .unwrap_or_default()
                .as_bytes(),
        );
        out.extend_from_slice(&call.arguments.bytes);
    }

    fn push_act(&self, arguments: &mut Arguments, act: &Act) {
        match act {
            Act::Publish(publish) => self.push_publication(arguments, publish),
            Act::Open(open) => arguments.push_blob(b"O", |it| write_open(it, open)),
            Act::Write(write) => arguments.push_blob(b"W", |it| write_write(it, write)),
            Act::Claim(claim) => arguments.push_blob(b"C", |it| write_claim(it, claim)),
            Act::Retire => arguments.push(b"R"),
        }
    }

    /// A publication among other acts.
    fn push_publication(&self, arguments: &mut Arguments, publish: &Publication) {
        let logs = LogName::of(&publish.selection);
        let sender = sender_text(publish).unwrap_or_default();
        arguments.push(format!("M{sender}").as_bytes());
        let prepared = self.prepare(publish, logs.len());
        arguments.push(prepared.channel.as_bytes());
        arguments.push_number(logs.len() as u64);
        logs.iter()
            .for_each(|log| arguments.push(log_text(log).as_bytes()));
        arguments.push(&prepared.before);
        arguments.push(&prepared.behind);
        match size_of(publish) {
            Some(size) => arguments.push_number(size.into()),
            None => arguments.push(b""),
        }
    }

    /// Publications to one log each, as `store/plain.lua` reads them.
    fn push_plain(&self, arguments: &mut Arguments, number: u64, seen: Position, acts: &[Act]) {
        let mut names = Interned::default();
        let mut others = Interned::default();
        let mut messages = Vec::with_capacity(acts.len());
        let mut each = Vec::with_capacity(EACH * acts.len());
        for act in acts {
            let Act::Publish(publish) = act else {
                continue;
            };
            let Prepared {
                channel,
                before,
                behind,
            } = self.prepare(publish, 1);
            let log = match publish.selection.rooms.first() {
                Some(room) => LogName::room(room),
                None => LogName::Everybody,
            };
            let channel = match channel.is_empty() {
                true => 0,
                false => others.place(channel),
            };
            let sender = sender_text(publish).map_or(0, |it| others.place(it));
            each.extend_from_slice(&size_of(publish).unwrap_or(UNLOGGED).to_be_bytes());
            for place in [names.place(log_text(&log)), channel, sender] {
                each.extend_from_slice(&place.to_be_bytes());
            }
            messages.push((before, behind));
        }
        let mut asked = Vec::with_capacity(20 + each.len());
        for it in [number, seen.number()] {
            asked.extend_from_slice(&(it.min(Position::MAX.number()) as f64).to_be_bytes());
        }
        for it in [messages.len(), names.strings.len()] {
            asked.extend_from_slice(&(it as u16).to_be_bytes());
        }
        asked.extend_from_slice(&each);
        arguments.push(&asked);
        for (before, behind) in &messages {
            arguments.push(before);
            arguments.push(behind);
        }
        for it in names.strings.iter().chain(&others.strings) {
            arguments.push(it.as_bytes());
        }
    }

    /// What is published, before and behind its place.
    fn prepare(&self, publish: &Publication, logs: usize) -> Prepared {
        let event = EventBuf::from_body(&publish.body);
        let prepared = event.and_then(|event| {
            let selection = &publish.selection;
            let prepared = self.wire.encode_ordered(selection, &event, logs);
            prepared.ok()
        });
        // What cannot be published goes to no channel, and its members get it from the log.
        prepared.unwrap_or_else(|| {
            tracing::warn!(target: "adapter_redis::recovery", "an event cannot be published in Node's format");
            Prepared {
                channel: String::new(),
                before: encode_entry(publish),
                behind: Vec::new(),
            }
        })
    }
}

/// Strings that are sent once, with their places from 1 on.
#[derive(Debug, Default)]
struct Interned {
    places: HashMap<String, u16>,
    strings: Vec<String>,
}

impl Interned {
    fn place(&mut self, string: String) -> u16 {
        // No more acts are plain than there are places.
        let next = self.strings.len() as u16 + 1;
        *self.places.entry(string).or_insert_with_key(|string| {
            self.strings.push(string.clone());
            next
        })
    }
}

/// Bytes that tell of one plain publication, and those of what is not logged.
const EACH: usize = 10;
const UNLOGGED: u32 = u32::MAX;

/// Most publications that are told of in this way: each has at most two strings of its own among the others.
const MAX_PLAIN: usize = u16::MAX as usize / 2;

/// Whether there are publications, each to one log, and nothing else.
fn are_plain(acts: &[Act]) -> bool {
    let is_plain = |act: &Act| match act {
        Act::Publish(publish) => publish.selection.rooms.len() <= 1,
        Act::Open(_) | Act::Write(_) | Act::Claim(_) | Act::Retire => false,
    };
    (1..=MAX_PLAIN).contains(&acts.len()) && acts.iter().all(is_plain)
}

fn size_of(publish: &Publication) -> Option<u32> {
    publish.is_logged.then(|| {
        let size = Entry::size_of(&publish.selection, &publish.body);
        u32::try_from(size).unwrap_or(UNLOGGED).min(UNLOGGED - 1)
    })
}

fn sender_text(publish: &Publication) -> Option<String> {
    let (sid, generation) = publish.sender.as_ref()?;
    Some(format!("{generation} {sid}"))
}

impl EncodedCall {
    /// Bytes that it takes.
    pub fn size(&self) -> usize {
        self.arguments.bytes.len()
    }
}

impl Arguments {
    fn push(&mut self, bytes: &[u8]) {
        self.count += 1;
        push_bulk(&mut self.bytes, bytes);
    }

    fn push_number(&mut self, number: u64) {
        self.push(number.to_string().as_bytes());
    }

    fn push_blob(&mut self, kind: &[u8], write: impl FnOnce(&mut Writer)) {
        self.push(kind);
        let mut writer = Writer::default();
        write(&mut writer);
        self.push(&writer.into_bytes());
    }
}

pub(super) fn process_text(process: &Process) -> String {
    // No id has the character between the two, which sorts before all that it has.
    format!("{}!{:016x}", process.node, process.seed)
}

fn log_text(log: &LogName) -> String {
    match log {
        LogName::Everybody => "e".to_owned(),
        LogName::Room(room) => format!("r{room}"),
    }
}

fn encode_settings(settings: &Settings) -> Vec<u8> {
    let Settings {
        keep,
        window,
        lease,
        rounds,
        settle,
        read_bytes,
        stays,
        sweep,
        departed,
        retire,
    } = *settings;
    let forgotten = keep.back.saturating_add(window).saturating_add(lease);
    let numbers = [
        keep.messages as u64,
        keep.bytes as u64,
        keep.back,
        window,
        lease,
        rounds,
        settle,
        read_bytes as u64,
        stays as u64,
        sweep as u64,
        departed as u64,
        retire as u64,
        forgotten / 500 + LEFT_ALONE.as_secs() * 1000,
    ];
    let exact = numbers.map(|it| it.min(Position::MAX.number()) as f64);
    exact.iter().flat_map(|it| it.to_be_bytes()).collect()
}

/// What stands in a log of what cannot be published: its recipients and its body.
fn encode_entry(publish: &Publication) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.array(2);
    writer.options(&publish.selection);
    writer.binary(&publish.body);
    writer.into_bytes()
}

fn encode_beat(beat: &Beat) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.array(9);
    writer.unsigned(beat.number);
    writer.unsigned(beat.acknowledged);
    match &beat.known {
        Some(known) => {
            writer.text(&known.epoch.to_string());
            writer.unsigned(known.era.number());
            writer.unsigned(known.position.number());
        }
        None => {
            writer.boolean(false);
            writer.unsigned(0);
            writer.unsigned(0);
        }
    }
    writer.unsigned(beat.floor.number());
    writer.unsigned(beat.seen.number());
    writer.array(beat.heads.len());
    for log in &beat.heads {
        writer.text(&log_text(log));
    }
    writer.boolean(beat.sweeps);
    writer.into_bytes()
}

fn write_open(writer: &mut Writer, open: &Open) {
    writer.array(5);
    writer.text(open.secret.expose());
    writer.text(&open.sid);
    write_optional(writer, open.user.as_ref().map(|it| it.as_bytes()));
    write_optional(writer, open.data.as_deref());
    write_names(writer, &open.rooms);
}

fn write_write(writer: &mut Writer, write: &Write) {
    writer.array(3);
    writer.text(write.secret.expose());
    writer.unsigned(write.generation);
    writer.array(write.changes.len());
    for change in &write.changes {
        match change {
            Change::Join(rooms) => {
                writer.array(2);
                writer.text("J");
                write_names(writer, rooms);
            }
            Change::Leave { rooms, until } => {
                writer.array(3);
                writer.text("L");
                write_names(writer, rooms);
                writer.unsigned(until.number());
            }
            Change::Data(data) => {
                writer.array(2);
                writer.text("D");
                write_optional(writer, data.as_deref());
            }
            Change::Away => {
                writer.array(1);
                writer.text("A");
            }
            Change::End => {
                writer.array(1);
                writer.text("E");
            }
        }
    }
}

fn write_claim(writer: &mut Writer, claim: &Claim) {
    writer.array(6);
    writer.text(claim.pid.secret().expose());
    write_offset(writer, Some(&claim.pid.start));
    write_offset(writer, claim.offset.as_ref());
    write_optional(writer, claim.user.as_ref().map(|it| it.as_bytes()));
}

fn write_offset(writer: &mut Writer, offset: Option<&Offset>) {
    match offset {
        Some(offset) => {
            writer.text(&offset.epoch.to_string());
            writer.unsigned(offset.position.number());
        }
        None => {
            writer.boolean(false);
            writer.unsigned(0);
        }
    }
}

/// In Lua `false` stands for what is not there.
fn write_optional(writer: &mut Writer, bytes: Option<&[u8]>) {
    match bytes {
        Some(bytes) => writer.lua_string(bytes),
        None => writer.boolean(false),
    }
}

fn write_names(writer: &mut Writer, names: &[Arc<str>]) {
    writer.array(names.len());
    names.iter().for_each(|name| writer.text(name));
}
