//! What the nodes keep together, in a hash of Redis.
//!
//! A script writes, so that no two nodes give the same stamp, and so that no node puts an older record in the
//! place of a newer one. It stands beside the keys of the members, in their slot.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use adapter::{Draft, Record, Records, RecordsError, RecordsFuture, RecordsMark};
use redis::{Cmd, FromRedisValue, Pipeline};

use crate::link::commands::{CommandError, Commands};
use crate::link::refusal::Meaning;
use crate::link::script::Script;
use crate::link::servers::Servers;

/// How long Redis may take for one call.
const TIMEOUT: Duration = Duration::from_secs(3);
/// Most records that are kept, and that are read.
const MAX_RECORDS: usize = 100_000;
/// Records that are read at a time.
const PAGE: usize = 1000;
/// Records that are restored, or struck, at a time.
const PART: usize = 500;
/// Most bytes of a record's name, and of what it says.
const MAX_RECORD_BYTES: usize = 4096;

static SCRIPT: Script = Script::new(include_str!("records/script.lua"));

/// The records of the nodes of one prefix. It connects when something is asked.
#[derive(Clone)]
pub(crate) struct RedisRecords(Arc<Shared>);

struct Shared {
    commands: Commands,
    key: String,
}

impl RedisRecords {
    pub(crate) fn new(servers: &Servers, prefix: &str) -> Result<Self, CommandError> {
        Ok(Self(Arc::new(Shared {
            commands: Commands::new(servers, TIMEOUT)?,
            key: format!("{prefix}-gateway{{nodes}}users"),
        })))
    }
}

impl Shared {
    async fn run<T: FromRedisValue>(&self, pipeline: &Pipeline) -> Result<T, RecordsError> {
        let answer = self.commands.run(pipeline).await;
        answer.map_err(|error| self.failed(error))
    }

    fn failed(&self, error: CommandError) -> RecordsError {
        let meaning = error.meaning();
        if meaning == Some(Meaning::NoMaster) {
            // Perhaps another server has become the master, and these connections are old ones.
            self.commands.forget();
        }
        if meaning == Some(Meaning::Never) {
            return RecordsError::Refused(error.to_string());
        }
        RecordsError::Away(error.to_string())
    }

    /// A pipeline that goes to the server of the key: its first command says so.
    fn pipeline(&self) -> Pipeline {
        let mut pipeline = redis::pipe();
        pipeline.cmd("HGET").arg(&self.key).arg("");
        pipeline
    }

    async fn script(&self, arguments: &[&[u8]]) -> Result<Vec<String>, RecordsError> {
        let mut command = Cmd::new();
        command.arg(1).arg(&self.key).arg(arguments);
        let answer = self.commands.script(&SCRIPT, &self.key, &command).await;
        answer.map_err(|error| self.failed(error))
    }

    async fn write(&self, draft: Draft) -> Result<(Record, u64), RecordsError> {
        let lasts = draft.lasts.map_or(0, |it| it.as_millis().max(1));
        let lasts = lasts.to_string();
        let (above, most) = (draft.above.to_string(), MAX_RECORDS.to_string());
        let arguments: [&[u8]; 6] = [
            b"write",
            draft.name.as_bytes(),
            lasts.as_bytes(),
            draft.body.as_bytes(),
            above.as_bytes(),
            most.as_bytes(),
        ];
        let answer = self.script(&arguments).await?;
        if answer.is_empty() {
            return Err(RecordsError::Full);
        }
        let numbers: Vec<u64> = answer.iter().filter_map(|it| it.parse().ok()).collect();
        let [stamp, until, now] = numbers[..] else {
            return Err(RecordsError::Refused("an answer of another shape".into()));
        };
        let record = Record {
            name: draft.name,
            stamp,
            until: Some(until).filter(|until| *until > 0),
            body: draft.body,
        };
        Ok((record, now))
    }

    async fn mark(&self) -> Result<RecordsMark, RecordsError> {
        let mut pipeline = self.pipeline();
        pipeline.cmd("HLEN").arg(&self.key);
        pipeline.cmd("TIME");
        let (newest, fields, (seconds, micros)): (Option<Vec<u8>>, usize, (u64, u64)) =
            self.run(&pipeline).await?;
        let newest = newest.and_then(|it| String::from_utf8(it).ok()?.parse().ok());
        Ok(RecordsMark {
            newest: newest.unwrap_or(0),
            count: fields.saturating_sub(1),
            now: seconds.saturating_mul(1000).saturating_add(micros / 1000),
        })
    }

    async fn read(&self) -> Result<Vec<Record>, RecordsError> {
        let (mut records, mut illegible) = (Vec::new(), 0);
        let mut cursor = b"0".to_vec();
        loop {
            let mut pipeline = redis::pipe();
            let command = pipeline.cmd("HSCAN").arg(&self.key).arg(&cursor);
            command.arg("COUNT").arg(PAGE);
            let ((next, page),): ((Vec<u8>, Vec<Vec<u8>>),) = self.run(&pipeline).await?;
            for pair in page.chunks_exact(2).filter(|pair| !pair[0].is_empty()) {
                match parse(&pair[0], &pair[1]) {
                    Some(record) => records.push(record),
                    None => illegible += 1,
                }
            }
            if next == b"0" || records.len() > 2 * MAX_RECORDS || illegible > MAX_RECORDS {
                break;
            }
            cursor = next;
        }
        if illegible > 0 {
            tracing::warn!(target: "adapter_redis::records", illegible, key = self.key, "Redis: records that no node can have written are left out");
        }
        Ok(records)
    }

    async fn restore(&self, records: Vec<Record>) -> Result<(), RecordsError> {
        for part in records.chunks(PART) {
            let values = part.iter().map(|it| (it.name.as_bytes(), value(it)));
            let values: Vec<_> = values.collect();
            let mut arguments: Vec<&[u8]> = vec![b"restore"];
            for (name, value) in &values {
                arguments.extend([*name, value.as_bytes()]);
            }
            self.script(&arguments).await?;
        }
        Ok(())
    }

    async fn strike(&self, names: Vec<String>) -> Result<(), RecordsError> {
        for part in names.chunks(PART) {
            let mut arguments: Vec<&[u8]> = vec![b"strike"];
            arguments.extend(part.iter().map(|name| name.as_bytes()));
            self.script(&arguments).await?;
        }
        Ok(())
    }
}

impl Records for RedisRecords {
    fn write(&self, draft: Draft) -> RecordsFuture<(Record, u64)> {
        let shared = Arc::clone(&self.0);
        Box::pin(async move { shared.write(draft).await })
    }

    fn mark(&self) -> RecordsFuture<RecordsMark> {
        let shared = Arc::clone(&self.0);
        Box::pin(async move { shared.mark().await })
    }

    fn read(&self) -> RecordsFuture<Vec<Record>> {
        let shared = Arc::clone(&self.0);
        Box::pin(async move { shared.read().await })
    }

    fn restore(&self, records: Vec<Record>) -> RecordsFuture<()> {
        let shared = Arc::clone(&self.0);
        Box::pin(async move { shared.restore(records).await })
    }

    fn strike(&self, names: Vec<String>) -> RecordsFuture<()> {
        let shared = Arc::clone(&self.0);
        Box::pin(async move { shared.strike(names).await })
    }
}

impl fmt::Debug for RedisRecords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisRecords")
            .field("key", &self.0.key)
            .finish_non_exhaustive()
    }
}

fn value(record: &Record) -> String {
    let until = record.until.unwrap_or(0);
    format!("{}:{until}:{}", record.stamp, record.body)
}

/// `None` if no node can have written it.
fn parse(name: &[u8], value: &[u8]) -> Option<Record> {
    if name.len() > MAX_RECORD_BYTES || value.len() > 2 * MAX_RECORD_BYTES {
        return None;
    }
    let value = std::str::from_utf8(value).ok()?;
    let mut parts = value.splitn(3, ':');
    let (stamp, until) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    Some(Record {
        name: std::str::from_utf8(name).ok()?.to_owned(),
        stamp,
        until: Some(until).filter(|until| *until > 0),
        body: parts.next()?.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_as_it_was_written() {
        for until in [None, Some(7)] {
            let record = Record {
                name: "u:ann:x".to_owned(),
                stamp: 1_764_417_600_000,
                until,
                body: "{\"a\":\":\"}".to_owned(),
            };
            assert_eq!(parse(b"u:ann:x", value(&record).as_bytes()), Some(record));
        }
        for value in ["", "1", "1:2", "x:2:b", "-1:2:b", "1:x:b"] {
            assert_eq!(parse(b"n", value.as_bytes()), None, "{value}");
        }
        assert_eq!(parse(b"\xff", b"1:2:b"), None);
        assert_eq!(parse(b"n", &[b'1'; 3 * MAX_RECORD_BYTES]), None);
    }
}
