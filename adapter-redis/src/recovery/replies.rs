//! What the script answers and publishes, read as what anybody could have written.

use std::sync::Arc;

use adapter::NodeId;
use adapter::recovery::{
    Claimed, Done, Entry, Epoch, Known, LogName, Mark, NotClaimed, Offset, Part, PastPage, Pid,
    Position, Process, Reply, Sizes, Stay, Taken,
};
use bytes::Bytes;

use super::script::{Asked, Script};
use crate::codec::{Raw, options};
use crate::link::refusal::words;
use crate::link::resp::{self, Stop, parse_reply};
use crate::wire::read_logged;

/// What the script answered.
#[non_exhaustive]
#[derive(Debug, PartialEq, Eq)]
pub struct Answered {
    /// For the caller.
    pub reply: Reply,
    /// To how many at this server the mark of a heartbeat went.
    pub reached: Option<u64>,
    /// What Redis said when it refused to publish something.
    pub complaint: Option<String>,
}

/// Why there is no answer.
#[expect(clippy::exhaustive_enums, reason = "a reply is one of these")]
#[derive(Debug, PartialEq, Eq)]
pub enum NoAnswer {
    /// More bytes are needed.
    Incomplete,
    /// Redis refused the call, in its words, which take so many bytes.
    Refused(String, usize),
    /// It is no answer of the script.
    Malformed,
}

impl Script {
    /// Reads the answer to what was `asked` that `bytes` begin with, and how many of them it takes.
    ///
    /// # Errors
    ///
    /// If it is not whole, or none.
    pub fn read(&self, asked: &Asked, bytes: &[u8]) -> Result<(Answered, usize), NoAnswer> {
        let (reply, used) = match parse_reply(bytes) {
            Ok(parsed) => parsed,
            Err(Stop::Incomplete) => return Err(NoAnswer::Incomplete),
            Err(Stop::Invalid | Stop::Oversized { .. }) => return Err(NoAnswer::Malformed),
        };
        if let resp::Reply::Error(text) = reply {
            return Err(NoAnswer::Refused(words(text), used));
        }
        let answered = reply.items().and_then(|items| answered(asked, items));
        answered.map(|it| (it, used)).ok_or(NoAnswer::Malformed)
    }
}

fn answered(asked: &Asked, items: &[resp::Reply<'_>]) -> Option<Answered> {
    let (kind, rest) = items.split_first()?;
    let mut reached = None;
    let mut complaint = None;
    let reply = match (bytes(kind)?, asked, rest) {
        (
            b"B",
            Asked::Beat,
            [
                count,
                epoch,
                era,
                position,
                gone,
                logs,
                entries,
                bytes_of_all,
                acts,
                heard,
                said,
            ],
        ) => {
            reached = number(heard);
            complaint = Some(words(bytes(said)?));
            Reply::Beaten {
                number: number(count)?,
                known: known(epoch, era, position)?,
                taken: taken(gone)?,
                may_act: number(acts)? == 1,
                sizes: Sizes {
                    logs: number(logs)?,
                    entries: number(entries)?,
                    bytes: number(bytes_of_all)?,
                },
            }
        }
        (b"D", Asked::Acts, [count, epoch, era, position, blob, gone, said]) => {
            complaint = Some(words(bytes(said)?));
            Reply::Done {
                number: number(count)?,
                known: known(epoch, era, position)?,
                done: done(bytes(blob)?)?,
                taken: taken(gone)?,
            }
        }
        (b"P", Asked::Acts, [epoch, packed]) => {
            let (numbers, results) = bytes(packed)?.split_at_checked(3 * size_of::<f64>())?;
            let mut numbers = numbers.chunks_exact(size_of::<f64>()).map(whole_number);
            Reply::Done {
                number: numbers.next()??,
                known: Known {
                    epoch: self::epoch(epoch)?,
                    era: numbers.next()?.map(Position::new)?,
                    position: numbers.next()?.map(Position::new)?,
                },
                done: done(results)?,
                taken: Vec::new(),
            }
        }
        (b"F", Asked::Acts, []) => Reply::BeatFirst,
        (b"O", Asked::Acts, []) => Reply::Outdated,
        (b"R", Asked::Read(spans), [epoch, pieces @ ..]) if pieces.len() == spans.len() => {
            let epoch = self::epoch(epoch)?;
            let pieces = spans.iter().zip(pieces).map(|(span, piece)| {
                let [through, trimmed, found] = piece.items()? else {
                    return None;
                };
                Some(Part {
                    log: span.log.clone(),
                    after: span.after,
                    entries: entries(found, epoch)?,
                    through: place(through)?,
                    trimmed: place(trimmed)?,
                })
            });
            Reply::Pieces {
                epoch,
                pieces: pieces.collect::<Option<_>>()?,
            }
        }
        (b"H", Asked::History, [epoch, through, newest, cut, settled, found]) => {
            Reply::Page(PastPage {
                epoch: self::epoch(epoch)?,
                entries: entries(found, self::epoch(epoch)?)?,
                through: place(through)?,
                newest: place(newest)?,
                is_cut: number(cut)? == 1,
                is_settled: number(settled)? == 1,
            })
        }
        _ => return None,
    };
    Some(Answered {
        reply,
        reached,
        complaint: complaint.filter(|it| !it.is_empty()),
    })
}

fn bytes<'a>(reply: &resp::Reply<'a>) -> Option<&'a [u8]> {
    match reply {
        resp::Reply::Bulk(bytes) => Some(bytes),
        resp::Reply::Status(_)
        | resp::Reply::Error(_)
        | resp::Reply::Integer(_)
        | resp::Reply::Nil
        | resp::Reply::Array(_) => None,
    }
}

fn number(reply: &resp::Reply<'_>) -> Option<u64> {
    match reply {
        resp::Reply::Integer(number) => u64::try_from(*number).ok(),
        resp::Reply::Status(_)
        | resp::Reply::Error(_)
        | resp::Reply::Bulk(_)
        | resp::Reply::Nil
        | resp::Reply::Array(_) => None,
    }
}

/// A number as it stands in what is packed.
fn whole_number(bytes: &[u8]) -> Option<u64> {
    let number = f64::from_be_bytes(bytes.try_into().ok()?);
    let is_whole = number.fract() == 0.0 && (0.0..=Position::MAX.number() as f64).contains(&number);
    is_whole.then_some(number as u64)
}

fn place(reply: &resp::Reply<'_>) -> Option<Position> {
    number(reply).map(Position::new)
}

fn epoch(reply: &resp::Reply<'_>) -> Option<Epoch> {
    Epoch::parse(std::str::from_utf8(bytes(reply)?).ok()?)
}

fn known(
    epoch: &resp::Reply<'_>,
    era: &resp::Reply<'_>,
    position: &resp::Reply<'_>,
) -> Option<Known> {
    Some(Known {
        epoch: self::epoch(epoch)?,
        era: place(era)?,
        position: place(position)?,
    })
}

fn taken(reply: &resp::Reply<'_>) -> Option<Vec<Taken>> {
    let items = reply.items()?.iter().map(|item| {
        let text = std::str::from_utf8(bytes(item)?).ok()?;
        let mut parts = text.splitn(3, ' ');
        Some(Taken {
            at: Position::new(parts.next()?.parse().ok()?),
            generation: parts.next()?.parse().ok()?,
            sid: parts.next()?.into(),
        })
    });
    items.collect()
}

/// Each is of three parts: its head, which begins with its place, and what stands before and behind the place in what
/// was published.
fn entries(reply: &resp::Reply<'_>, epoch: Epoch) -> Option<Vec<Arc<Entry>>> {
    let parts = reply.items()?.chunks(3);
    let entries = parts.map(|it| {
        let [head, before, behind] = it else {
            return None;
        };
        let (place, _sizes) = bytes(head)?.split_at_checked(Position::LENGTH)?;
        let position = Position::parse(std::str::from_utf8(place).ok()?)?;
        let (before, behind) = (bytes(before)?, bytes(behind)?);
        if behind.is_empty() {
            return unpublished(position, before).map(Arc::new);
        }
        read_logged(before, Offset { epoch, position }, behind)
    });
    entries.collect()
}

/// What could not be published.
fn unpublished(position: Position, bytes: &[u8]) -> Option<Entry> {
    let mut text = String::new();
    let mut items = Raw::parse(bytes, &mut text).ok()?.items()?;
    Some(Entry {
        position,
        selection: options(items.next()?).ok()?,
        body: items.next()?.binary()?,
    })
}

fn done(blob: &[u8]) -> Option<Arc<[Done]>> {
    let mut text = String::new();
    let raw = Raw::parse(blob, &mut text).ok()?;
    raw.items()?.map(one_done).collect()
}

fn one_done(raw: Raw<'_>) -> Option<Done> {
    if let Some(place) = raw.count() {
        return Some(match place {
            0 => Done::NotOwned,
            place => Done::Published(Position::new(place)),
        });
    }
    let mut items = raw.items()?;
    Some(match items.next()?.count()? {
        1 => {
            let position = Position::new(items.next()?.count()?);
            let epoch = Epoch::parse(&items.next()?.text()?)?;
            let secret = items.next()?.text()?;
            let start = Offset { epoch, position };
            Done::Opened(Pid::parse(&format!("{secret}.{start}")).ok()?)
        }
        2 => Done::Written(Position::new(items.next()?.count()?)),
        3 => Done::Claimed(Claimed {
            sid: name(items.next()?)?,
            data: items.next()?.bytes().map(Bytes::copy_from_slice),
            stays: items.next()?.items()?.map(stay).collect::<Option<_>>()?,
            generation: items.next()?.count()?,
            start: Position::new(items.next()?.count()?),
        }),
        4 => Done::NotClaimed(match items.next()?.count()? {
            1 => NotClaimed::Unknown,
            2 => NotClaimed::Expired,
            3 => NotClaimed::Epoch,
            4 => NotClaimed::Trimmed,
            5 => NotClaimed::WrongUser,
            6 => NotClaimed::Lost,
            7 => NotClaimed::Unsettled,
            _ => return None,
        }),
        5 => Done::Retired,
        6 => Done::Retiring,
        _ => return None,
    })
}

fn stay(raw: Raw<'_>) -> Option<Stay> {
    let mut items = raw.items()?;
    Some(Stay {
        room: name(items.next()?)?,
        since: Position::new(items.next()?.count()?),
        until: items.next()?.count().map(Position::new),
    })
}

fn name(raw: Raw<'_>) -> Option<Arc<str>> {
    Some(std::str::from_utf8(raw.bytes()?).ok()?.into())
}

/// Reads a heartbeat that came back; `None` if it is none.
pub fn read_mark(payload: &[u8]) -> Option<(Process, Mark)> {
    let mut text = String::new();
    let mut items = Raw::parse(payload, &mut text).ok()?.items()?;
    let process = process(&items.next()?.text()?)?;
    let number = items.next()?.count()?;
    let epoch = Epoch::parse(&items.next()?.text()?)?;
    let place = |raw: Raw<'_>| raw.count().and_then(Position::shown);
    let known = Known {
        epoch,
        era: place(items.next()?)?,
        position: place(items.next()?)?,
    };
    let previous = place(items.next()?)?;
    let mut heads = Vec::new();
    let mut rest = items.next()?.items()?;
    while let Some(log) = rest.next() {
        heads.push((log_name(log)?, place(rest.next()?)?));
    }
    let mark = Mark {
        number,
        known,
        previous,
        heads,
    };
    Some((process, mark))
}

fn process(text: &str) -> Option<Process> {
    let (node, seed) = text.split_once('!')?;
    Some(Process {
        node: NodeId::new(node).ok()?,
        seed: u64::from_str_radix(seed, 16).ok()?,
    })
}

fn log_name(raw: Raw<'_>) -> Option<LogName> {
    let name = name(raw)?;
    match name.split_at_checked(1)? {
        ("e", "") => Some(LogName::Everybody),
        ("r", room) => Some(LogName::room(room)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_nobody_can_have_reached_is_none() {
        let mark = |place: u64| {
            let mut payload = vec![0x97, 0xa6];
            payload.extend_from_slice(b"gw-a!1\x01\xa8AAAAAAAA\x00\xcf");
            payload.extend_from_slice(&place.to_be_bytes());
            payload.extend_from_slice(&[0, 0x90]);
            payload
        };
        let latest = Position::LATEST.number();
        let (process, read) = read_mark(&mark(latest)).unwrap();
        assert_eq!((process.node.as_str(), process.seed), ("gw-a", 1));
        assert_eq!(read.known.position, Position::LATEST);
        for place in [latest + 1, Position::MAX.number(), u64::MAX] {
            assert_eq!(read_mark(&mark(place)), None, "{place}");
        }
    }
}
