//! `gateway token`: makes tokens for development, and says what one holds.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Arg, ArgMatches};
use gateway::auth::Right;
use gateway::auth::issue::{Wanted, issue};
use gateway::auth::verify::{VerifyError, verify};
use gateway::config::Config;

use super::commands::{seconds, several};
use super::status::Status;
use super::{complain, print};

/// The settings that decide about tokens.
pub(super) const SETTINGS: &[&str] = &[
    "auth.jwt_secret",
    "auth.jwt_public_key",
    "auth.jwks_url",
    "auth.issuer",
    "auth.audience",
];

/// How long a token lasts that is not given a time.
const USUAL_TTL: Duration = Duration::from_secs(3600);

/// Most bytes that are read of a token on standard input.
const MAX_TOKEN_INPUT: u64 = 64 * 1024;

/// What a token shall say.
pub(super) fn arguments() -> impl Iterator<Item = Arg> {
    [
        Arg::new("token-sub")
            .long("sub")
            .value_name("USER")
            .help("The user"),
        several("token-rooms", "rooms")
            .value_name("ROOMS")
            .value_parser(rule)
            .help(
                "Rooms to join and publish to, `*` for anything; with =join or =publish behind it only that \
                 [default: all]",
            ),
        several("token-namespace", "namespace")
            .value_name("NAMESPACE")
            .help("Namespaces to connect to [default: all]"),
        several("token-events", "events")
            .value_name("EVENTS")
            .help("Events for the backend [default: all]"),
        Arg::new("token-ttl")
            .long("ttl")
            .value_name("DURATION")
            .value_parser(seconds)
            .help("How long it lasts, such as 8h; a plain number counts seconds [default: 1h]"),
        Arg::new("token-verify")
            .long("verify")
            .value_name("TOKEN")
            .conflicts_with_all([
                "token-sub",
                "token-rooms",
                "token-namespace",
                "token-events",
                "token-ttl",
            ])
            .help("Say what this token holds and why it is not taken; - reads it from standard input"),
    ]
    .into_iter()
}

/// A pattern of rooms and what it gives: `chat:*` all rights, `news=join` the one.
type Rule = (String, Vec<Right>);

fn rule(text: &str) -> Result<Rule, String> {
    let (rooms, rights) = match text.rsplit_once('=') {
        None => (text, vec![Right::Join, Right::Publish]),
        Some((rooms, "join")) => (rooms, vec![Right::Join]),
        Some((rooms, "publish")) => (rooms, vec![Right::Publish]),
        Some((_, other)) => {
            return Err(format!(
                "{other:?} is no right; behind = stands join or publish, also if a room has = in its name \
                 ({text}=join,{text}=publish)"
            ));
        }
    };
    if rooms.is_empty() {
        return Err("it names no room; * stands for all".to_owned());
    }
    Ok((rooms.to_owned(), rights))
}

/// Prints a token, or says what one holds.
pub(super) fn run(config: &Config, matches: &ArgMatches) -> ExitCode {
    if let Some(token) = matches.get_one::<String>("token-verify") {
        return verify_token(config, token);
    }
    let texts = |name| {
        let given = matches.get_many::<String>(name);
        given.into_iter().flatten().cloned()
    };
    let mut rooms: BTreeMap<String, Vec<Right>> = BTreeMap::new();
    let rules = matches.get_many::<Rule>("token-rooms");
    for (name, rights) in rules.into_iter().flatten() {
        let given = rooms.entry(name.clone()).or_default();
        given.extend(rights);
        given.dedup();
    }
    let wanted = Wanted {
        sub: matches.get_one::<String>("token-sub").cloned(),
        namespaces: texts("token-namespace").map(namespace).collect(),
        rooms,
        events: texts("token-events").collect(),
    };
    let ttl = matches.get_one::<Duration>("token-ttl").copied();
    match issue(&config.auth, &wanted, ttl.unwrap_or(USUAL_TTL)) {
        Ok(token) => print(&format!("{token}\n")),
        Err(error) => {
            complain(&error);
            Status::Wrong.into()
        }
    }
}

/// The name as namespaces have it: with `/` before it.
pub(super) fn namespace(name: String) -> String {
    if name.starts_with('/') {
        name
    } else {
        format!("/{name}")
    }
}

/// A token that does not stand in the list of processes.
pub(super) fn from_standard_input() -> io::Result<String> {
    io::read_to_string(io::stdin().take(MAX_TOKEN_INPUT))
}

/// Says what a token holds, and whether it is taken.
fn verify_token(config: &Config, token: &str) -> ExitCode {
    let token = match token {
        "-" => from_standard_input(),
        given => Ok(given.to_owned()),
    };
    let verdict = token
        .map_err(VerifyError::from)
        .and_then(|token| verify(&config.auth, token.trim()));
    let verdict = match verdict {
        Ok(verdict) => verdict,
        Err(error) => {
            complain(&error);
            return Status::Wrong.into();
        }
    };
    let mut text = String::new();
    for (name, part) in [("header", &verdict.header), ("claims", &verdict.claims)] {
        let part = part.as_deref().unwrap_or("cannot be read");
        text += &format!("{name}: {part}\n");
    }
    for note in &verdict.notes {
        text += &format!("note: {note}\n");
    }
    text += &match &verdict.fault {
        None => "the token is taken\n".to_owned(),
        Some((reason, why)) => format!("the token is refused ({reason}): {why}\n"),
    };
    let printed = print(&text);
    if printed == ExitCode::SUCCESS && verdict.fault.is_some() {
        return Status::Failed.into();
    }
    printed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_gives_what_it_names_and_no_more() {
        use Right::{Join, Publish};
        for (text, rooms, rights) in [
            ("chat:*", "chat:*", &[Join, Publish][..]),
            ("news=join", "news", &[Join]),
            ("news=publish", "news", &[Publish]),
            ("id=5=join", "id=5", &[Join]),
        ] {
            assert_eq!(rule(text), Ok((rooms.to_owned(), rights.to_vec())));
        }
        for text in [
            "",
            "=join",
            "chat:*=read",
            "chat:*=",
            "news=Join",
            "id=5",
            "a=join=write",
        ] {
            assert!(rule(text).is_err(), "{text}");
        }
    }
}
