//! Who is there, in keys of Redis beside those of the members, in their slot.
//!
//! Scripts do what [`adapter::presence::Ledger`] does, so that one place puts the calls of all nodes in an order.
//!
//! | key | what |
//! |---|---|
//! | `meta` | a hash: the epoch, the number of the last event, who tells events |
//! | `leases` | when each node called last |
//! | `versions` | the version of that call |
//! | `of:NODE` | the subjects of a node and how many sockets each has |
//! | `here` | how many nodes have a subject, and how many sockets |
//! | `names` | the subjects whose first was told, and not their last |
//! | `leaving` | those whose grace is not over |
//! | `events:SINK` | events that are to be told |

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use adapter::presence::{
    ASKED, Found, Lookup, MAX_DEAD, Notices, PART, PresenceStore, Receipt, Reception, Sink,
    Statement, Subject, SubjectKind, Take,
};
use adapter::{RecordsError, RecordsFuture};
use redis::Cmd;

use crate::link::commands::{CommandError, Commands};
use crate::link::refusal::Meaning;
use crate::link::script::Script;
use crate::link::servers::Servers;

/// How long Redis may take for one call.
const TIMEOUT: Duration = Duration::from_secs(3);

static CALL: Script = Script::new(include_str!("presence/call.lua"));
static TAKE: Script = Script::new(include_str!("presence/take.lua"));
static PAGE: Script = Script::new(include_str!("presence/page.lua"));

/// Who is there, of the nodes of one prefix. It connects when something is asked.
#[derive(Clone)]
pub(crate) struct RedisPresence(Arc<Shared>);

struct Shared {
    commands: Commands,
    prefix: String,
}

impl RedisPresence {
    pub(crate) fn new(servers: &Servers, prefix: &str) -> Result<Self, CommandError> {
        Ok(Self(Arc::new(Shared {
            commands: Commands::new(servers, TIMEOUT)?,
            prefix: format!("{prefix}-gateway{{nodes}}presence:"),
        })))
    }
}

impl Shared {
    fn key(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    fn events(&self, sink: Sink) -> String {
        self.key(&format!("events:{}", sink.name()))
    }

    async fn run(&self, script: &Script, arguments: &Cmd) -> Result<Vec<String>, RecordsError> {
        let meta = self.key("meta");
        let answer = self.commands.script(script, &meta, arguments).await;
        answer.map_err(|error| {
            let meaning = error.meaning();
            if meaning == Some(Meaning::NoMaster) {
                // Perhaps another server has become the master, and these connections are old ones.
                self.commands.forget();
            }
            match meaning == Some(Meaning::Never) {
                true => RecordsError::Refused(error.to_string()),
                false => RecordsError::Away(error.to_string()),
            }
        })
    }

    async fn call(&self, call: Statement) -> Result<Receipt, RecordsError> {
        let mut command = Cmd::new();
        command.arg(9 + call.dead.len());
        for name in ["meta", "leases", "versions", "here", "names", "leaving"] {
            command.arg(self.key(name));
        }
        for sink in Sink::ALL {
            command.arg(self.events(sink));
        }
        for node in std::iter::once(&call.node).chain(&call.dead) {
            command.arg(self.key(&format!("of:{node}")));
        }
        let sinks: Vec<_> = call.sinks.iter().map(|it| it.name()).collect();
        command
            .arg(call.clock.unwrap_or(0))
            .arg(&call.node)
            .arg(call.version)
            .arg(call.seen)
            .arg(call.mode.name())
            .arg(&call.epoch)
            .arg(&call.candidate)
            .arg(call.lease)
            .arg(call.grace)
            .arg(call.most)
            .arg(PART)
            .arg(MAX_DEAD)
            .arg(ASKED)
            .arg(sinks.join(","))
            .arg(call.dead.len())
            .arg(&call.dead);
        for (subject, count) in &call.counts {
            command.arg(subject.as_str()).arg(*count);
        }
        reply(self.run(&CALL, &command).await?).ok_or_else(odd)
    }

    async fn take(&self, take: Take) -> Result<Option<Notices>, RecordsError> {
        let mut command = Cmd::new();
        command
            .arg(2)
            .arg(self.key("meta"))
            .arg(self.events(take.sink))
            .arg(take.clock.unwrap_or(0))
            .arg(take.sink.name())
            .arg(&take.teller)
            .arg(take.lease)
            .arg(&take.first)
            .arg(take.told)
            .arg(take.most)
            .arg(ASKED);
        let mut answer = self.run(&TAKE, &command).await?.into_iter();
        match answer.next().as_deref() {
            Some("0") => Ok(None),
            Some("1") => {
                let waiting = answer.next().and_then(|it| it.parse().ok());
                Ok(Some(Notices {
                    waiting: waiting.ok_or_else(odd)?,
                    events: answer.collect(),
                }))
            }
            Some(_) | None => Err(odd()),
        }
    }

    async fn page(&self, page: Lookup) -> Result<Found, RecordsError> {
        let all = |kind| Subject::new(kind, &page.namespace, "");
        let mut command = Cmd::new();
        command
            .arg(2)
            .arg(self.key("here"))
            .arg(self.key("names"))
            .arg(Subject::prefix(page.kind, &page.namespace))
            .arg(page.after.as_deref().unwrap_or_default())
            .arg(page.limit)
            .arg(all(SubjectKind::Sockets).as_str())
            .arg(all(SubjectKind::Anonymous).as_str());
        paged(self.run(&PAGE, &command).await?).ok_or_else(odd)
    }
}

fn odd() -> RecordsError {
    RecordsError::Refused("an answer of another shape".into())
}

fn reply(answer: Vec<String>) -> Option<Receipt> {
    let mut answer = answer.into_iter();
    let reception = Reception::parse(&answer.next()?)?;
    let epoch = answer.next()?;
    let mut number = || answer.next()?.parse().ok();
    let turn = number()?;
    let events = [number()?, number()?, number()?, number()?];
    let (resets, buried, dropped, left) = (number()?, number()?, number()?, number()?);
    Some(Receipt {
        reception,
        epoch,
        turn,
        events,
        resets,
        buried,
        dropped,
        left,
        dead: answer.collect(),
    })
}

fn paged(answer: Vec<String>) -> Option<Found> {
    let mut answer = answer.into_iter();
    let mut number = || answer.next()?.parse().ok();
    let (count, sockets, anonymous) = (number()?, number()?, number()?);
    let mut found = Vec::with_capacity(answer.len() / 2);
    while let Some(name) = answer.next() {
        found.push((name, answer.next()?.parse().ok()?));
    }
    Some(Found {
        found,
        count,
        sockets,
        anonymous,
    })
}

impl PresenceStore for RedisPresence {
    fn call(&self, call: Statement) -> RecordsFuture<Receipt> {
        let shared = Arc::clone(&self.0);
        Box::pin(async move { shared.call(call).await })
    }

    fn take(&self, take: Take) -> RecordsFuture<Option<Notices>> {
        let shared = Arc::clone(&self.0);
        Box::pin(async move { shared.take(take).await })
    }

    fn page(&self, page: Lookup) -> RecordsFuture<Found> {
        let shared = Arc::clone(&self.0);
        Box::pin(async move { shared.page(page).await })
    }
}

impl fmt::Debug for RedisPresence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisPresence")
            .field("prefix", &self.0.prefix)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(all: &[&str]) -> Vec<String> {
        all.iter().map(|it| (*it).to_owned()).collect()
    }

    #[test]
    fn answers_of_another_shape_are_none() {
        let whole = [
            "known", "e", "9", "1", "2", "3", "4", "5", "6", "7", "8", "gone",
        ];
        let read = reply(texts(&whole)).unwrap();
        assert_eq!((read.events, read.left), ([1, 2, 3, 4], 8));
        assert_eq!(read.dead, ["gone"]);
        for length in 0..11 {
            assert_eq!(reply(texts(&whole[..length])), None, "{length}");
        }
        assert_eq!(reply(texts(&["odd", "e", "1"])), None);
        let page = paged(texts(&["9", "8", "7", "ann", "2"])).unwrap();
        assert_eq!((page.count, page.sockets, page.anonymous), (9, 8, 7));
        assert_eq!(page.found, [("ann".to_owned(), 2)]);
        for odd in [
            &["1", "2"][..],
            &["1", "2", "3", "ann"],
            &["1", "2", "3", "ann", "x"],
        ] {
            assert_eq!(paged(texts(odd)), None, "{odd:?}");
        }
    }
}
