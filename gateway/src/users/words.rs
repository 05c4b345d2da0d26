//! How nodes tell each other of records.

use adapter::Record;
use serde::{Deserialize, Serialize};

/// What they begin with.
const BEGIN: &str = "{\"users\":";

/// Most records that are told at a time.
const MAX_TOLD: usize = 100;

/// Most bytes of what is told.
const MAX_TOLD_BYTES: usize = 256 * 1024;

#[derive(Serialize, Deserialize)]
struct Words {
    users: Vec<Told>,
}

#[derive(Serialize, Deserialize)]
struct Told {
    name: String,
    stamp: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    until: Option<u64>,
    body: String,
}

/// Whether these are such words.
pub(crate) fn is_told(words: &str) -> bool {
    words.starts_with(BEGIN)
}

/// Tells of records.
pub(crate) fn told(records: &[Record]) -> String {
    let users = records.iter().map(|record| Told {
        name: record.name.clone(),
        stamp: record.stamp,
        until: record.until,
        body: record.body.clone(),
    });
    let words = Words {
        users: users.collect(),
    };
    serde_json::to_string(&words).expect("texts and numbers are JSON")
}

/// The records that another node tells of; `None` if that is none that this version understands.
pub(crate) fn untold(words: &str) -> Option<Vec<Record>> {
    if words.len() > MAX_TOLD_BYTES {
        return None;
    }
    let words: Words = serde_json::from_str(words).ok()?;
    if words.users.len() > MAX_TOLD {
        return None;
    }
    let records = words.users.into_iter().map(|told| Record {
        name: told.name,
        stamp: told.stamp,
        until: told.until,
        body: told.body,
    });
    Some(records.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_arrive_as_they_were_told() {
        let records = [Record {
            name: "user:ann".to_owned(),
            stamp: 1,
            until: None,
            body: "{\"reason\":\"\u{e9}\"}".to_owned(),
        }];
        let words = told(&records);
        assert!(is_told(&words));
        assert_eq!(untold(&words).unwrap(), records);
        for other in ["{\"top\":{}}", "{\"users\":1}", "{\"users\":[{}]}"] {
            assert_eq!(untold(other), None, "{other}");
        }
    }
}
