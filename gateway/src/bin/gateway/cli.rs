//! The command line, and the commands that need no server.

use std::ffi::OsString;
use std::fmt;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, ArgMatches, Command};
use gateway::auth::Right;
use gateway::auth::issue::{Wanted, issue};
use gateway::auth::verify::{VerifyError, verify};
use gateway::config::{
    Config, Default, Error, Errors, Foreign, SETTINGS, Setting, Sources, Tls, TlsVerify, Trust,
    duration, reference,
};
use gateway::{Server, trust};

use crate::{doctor, healthcheck, runbook};

/// Status of a process that was told something wrong; clap's own is the same.
pub(crate) const WRONG: u8 = 2;

/// What the command line asks for.
pub(crate) enum Task {
    /// To serve with this configuration; what else was found may be meant for it.
    Serve(Box<Config>, Vec<Foreign>),
    /// Nothing more; the process ends with this status.
    Done(ExitCode),
}

/// Reads the command line and does what needs no server.
pub(crate) fn run(arguments: &[OsString]) -> Task {
    let matches = match command().try_get_matches_from(arguments) {
        Ok(matches) => matches,
        Err(error) => return Task::Done(refuse(&error, arguments)),
    };
    if let (Some((command, _)), Some(flag)) = (matches.subcommand(), first_flag(&matches)) {
        complain(&format_args!(
            "--{flag}: flags go after the command: gateway {command} --{flag} .."
        ));
        return Task::Done(ExitCode::from(WRONG));
    }
    match matches.subcommand() {
        Some(("default-config", matches)) => Task::Done(default_config(matches)),
        Some(("token", matches)) => Task::Done(token(matches)),
        Some(("check-config", matches)) => Task::Done(check_config(&sources(matches))),
        Some(("healthcheck", matches)) => Task::Done(healthcheck(matches)),
        Some(("doctor", matches)) => Task::Done(doctor(matches)),
        Some(("runbook", matches)) => Task::Done(runbook(matches)),
        Some((_, matches)) => serve(&sources(matches)),
        None => serve(&sources(&matches)),
    }
}

fn serve(sources: &Sources) -> Task {
    match Config::load(sources) {
        Ok(config) => Task::Serve(Box::new(config), sources.foreign()),
        Err(errors) => Task::Done(wrong(&errors)),
    }
}

/// Does what the start does, short of listening and connecting.
fn check_config(sources: &Sources) -> ExitCode {
    for variable in sources.foreign() {
        complain(&variable);
    }
    let config = match Config::load(sources) {
        Ok(config) => config,
        Err(errors) => return wrong(&errors),
    };
    let warnings = trust::unchecked(&config);
    if let Err(error) = Server::new(config).check() {
        complain(&error);
        return ExitCode::from(WRONG);
    }
    for warning in warnings {
        complain(&warning);
    }
    match sources.path() {
        Some(path) => print(&format!("{}: no errors\n", path.display())),
        None => print("no file, no errors\n"),
    }
}

fn healthcheck(matches: &ArgMatches) -> ExitCode {
    let path = if matches.get_flag("live") {
        "/live"
    } else {
        "/ready"
    };
    match Config::load(&sources(matches)) {
        Ok(config) => healthcheck::run(config.internal_listen, path),
        Err(errors) => wrong(&errors),
    }
}

fn doctor(matches: &ArgMatches) -> ExitCode {
    let given = |name| matches.get_one::<String>(name).cloned();
    let file = |name| matches.get_one::<PathBuf>(name).cloned();
    let idle_timeout = matches.get_one::<Duration>("idle-timeout").copied();
    let order = doctor::Order {
        url: given("url").unwrap_or_default(),
        trust: Trust {
            ca_file: file("ca"),
            verify: matches
                .get_one::<TlsVerify>("tls-verify")
                .copied()
                .unwrap_or_default(),
            client: file("cert")
                .zip(file("key"))
                .map(|(cert, key)| Tls { cert, key }),
        },
        idle_timeout: idle_timeout.unwrap_or_default(),
    };
    doctor::run(&order).unwrap_or_else(|error| {
        complain(&format_args!("{error:#}"));
        ExitCode::from(WRONG)
    })
}

/// Prints what an alert means.
fn runbook(matches: &ArgMatches) -> ExitCode {
    let alert = matches.get_one::<String>("alert").map(String::as_str);
    if let Some(page) = runbook::page(alert) {
        return print(&format!("{page}\n"));
    }
    let names: Vec<_> = runbook::names().collect();
    let names = names.join(", ");
    complain(&format_args!("there is no such alert; there are {names}"));
    ExitCode::from(WRONG)
}

/// Prints a token for development.
fn token(matches: &ArgMatches) -> ExitCode {
    let config = match Config::load(&sources(matches)) {
        Ok(config) => config,
        Err(errors) => return wrong(&errors),
    };
    if let Some(token) = matches.get_one::<String>("token-verify") {
        return verify_token(&config, token);
    }
    let texts = |name| {
        let given = matches.get_many::<String>(name);
        given.into_iter().flatten().cloned().collect::<Vec<_>>()
    };
    let rooms = texts("token-rooms")
        .iter()
        .map(|rule| right(rule))
        .collect();
    let ttl = matches.get_one::<Duration>("token-ttl").copied();
    let wanted = Wanted {
        sub: matches.get_one::<String>("token-sub").cloned(),
        namespaces: texts("token-namespace"),
        rooms,
        events: texts("token-events"),
    };
    match issue(&config.auth, &wanted, ttl.unwrap_or(USUAL_TTL)) {
        Ok(token) => print(&format!("{token}\n")),
        Err(error) => {
            complain(&error);
            ExitCode::from(WRONG)
        }
    }
}

/// Status of a token that is not taken.
const REFUSED: u8 = 1;

/// Says what a token holds, and whether it is taken.
fn verify_token(config: &Config, token: &str) -> ExitCode {
    let token = match token {
        "-" => io::read_to_string(io::stdin().take(MAX_TOKEN_INPUT)),
        given => Ok(given.to_owned()),
    };
    let verdict = token
        .map_err(VerifyError::from)
        .and_then(|token| verify(&config.auth, token.trim()));
    let verdict = match verdict {
        Ok(verdict) => verdict,
        Err(error) => {
            complain(&error);
            return ExitCode::from(WRONG);
        }
    };
    for (name, part) in [("header", &verdict.header), ("claims", &verdict.claims)] {
        let part = part.as_deref().unwrap_or("cannot be read");
        let printed = print(&format!("{name}: {part}\n"));
        if printed != ExitCode::SUCCESS {
            return printed;
        }
    }
    match verdict.fault {
        None => print("the token is taken\n"),
        Some((reason, why)) => {
            print(&format!("the token is refused ({reason}): {why}\n"));
            ExitCode::from(REFUSED)
        }
    }
}

/// Most bytes that are read of a token on standard input.
const MAX_TOKEN_INPUT: u64 = 64 * 1024;

/// How long a token lasts that is not given a time.
const USUAL_TTL: Duration = Duration::from_secs(3600);

/// `chat:*` gives all rights in these rooms, `news=join` the one.
fn right(rule: &str) -> (String, Vec<Right>) {
    for (end, right) in [("=join", Right::Join), ("=publish", Right::Publish)] {
        if let Some(rooms) = rule.strip_suffix(end) {
            return (rooms.to_owned(), vec![right]);
        }
    }
    (rule.to_owned(), vec![Right::Join, Right::Publish])
}

fn default_config(matches: &ArgMatches) -> ExitCode {
    if matches.get_flag("markdown") {
        print(&reference::markdown())
    } else {
        print(&reference::default_file())
    }
}

/// What the command line and the environment give.
fn sources(matches: &ArgMatches) -> Sources {
    let given = |setting: &'static Setting| {
        let text = matches.get_one::<String>(setting.name)?;
        Some((setting, text.clone()))
    };
    Sources {
        file: file_of(matches),
        environment: std::env::vars_os().collect(),
        flags: SETTINGS.iter().filter_map(given).collect(),
    }
}

/// A flag that stands before the command, where it would count for nothing.
fn first_flag(matches: &ArgMatches) -> Option<String> {
    let mut given = SETTINGS
        .iter()
        .filter(|setting| matches.contains_id(setting.name));
    match given.next() {
        None if matches.contains_id("config") => Some("config".to_owned()),
        first => first.map(Setting::flag),
    }
}

/// `--config FILE`, or just `FILE` where a command takes it.
fn file_of(matches: &ArgMatches) -> Option<PathBuf> {
    let of = |name| matches.try_get_one::<PathBuf>(name).ok().flatten().cloned();
    of("config").or_else(|| of("file"))
}

fn command() -> Command {
    let version = match option_env!("GATEWAY_COMMIT") {
        Some(commit) => format!("{} ({commit})", env!("CARGO_PKG_VERSION")),
        None => env!("CARGO_PKG_VERSION").to_owned(),
    };
    let serve = Command::new("serve")
        .about("Serve clients; what is done without a command, too")
        .arg(file("config").long("config"))
        .args(flags());
    let check = Command::new("check-config")
        .about(
            "Say everything that is wrong with the configuration: status 0 if nothing is, else 2",
        )
        .arg(file("config").long("config").conflicts_with("file"))
        .arg(file("file").help("The same as --config"))
        .args(flags());
    let default = Command::new("default-config")
        .about("Print a gateway.toml with every setting at its default")
        .arg(
            Arg::new("markdown")
                .long("markdown")
                .action(ArgAction::SetTrue)
                .help("Print the reference of all settings instead, docs/configuration.md"),
        );
    let healthcheck = Command::new("healthcheck")
        .about(
            "Ask the running node of the same configuration for GET /ready: status 0 if it is \
             ready, else 1",
        )
        .arg(
            Arg::new("live")
                .long("live")
                .action(ArgAction::SetTrue)
                .help("Ask for GET /live: whether the process serves, ready or not"),
        )
        .arg(file("config").long("config"))
        .args(flags());
    let runbook = Command::new("runbook")
        .about("Print what an alert of deploy/prometheus means and what to do about it")
        .arg(
            Arg::new("alert")
                .value_name("ALERT")
                .help("Its name, such as GatewayNodeDown [default: all]"),
        );
    let token = Command::new("token")
        .about(
            "Print a token for development, signed with auth.jwt_secret; or say with --verify \
             what one holds and whether it is taken: status 0 if it is, 1 if not",
        )
        .arg(file("config").long("config"))
        .args(token_arguments())
        .args(flags());
    Command::new("gateway")
        .about("A horizontally scaled Socket.IO gateway")
        .version(version)
        .disable_help_subcommand(true)
        .arg(file("config").long("config"))
        .args(flags())
        .subcommands([
            serve,
            check,
            default,
            token,
            healthcheck,
            runbook,
            doctor_command(),
        ])
}

fn doctor_command() -> Command {
    Command::new("doctor")
        .about(
            "Try polling, WebSocket and the upgrade through whatever stands in front of a gateway, \
             and say what is wrong: status 0 if nothing is, else 1",
        )
        .arg(
            Arg::new("url")
                .value_name("URL")
                .required(true)
                .help("Where clients connect: https://example.com, or with a path"),
        )
        .arg(
            Arg::new("idle-timeout")
                .long("idle-timeout")
                .value_name("DURATION")
                .default_value("70s")
                .value_parser(duration)
                .help("How long open connections are watched for idle timeouts; 0 leaves it out"),
        )
        .arg(
            Arg::new("ca")
                .long("ca")
                .value_name("FILE")
                .value_parser(clap::value_parser!(PathBuf))
                .help("PEM file of certificates to trust beside those of this system"),
        )
        .arg(
            Arg::new("tls-verify")
                .long("tls-verify")
                .value_name("CHECK")
                .default_value("full")
                .value_parser(|text: &str| match text {
                    "full" => Ok(TlsVerify::Full),
                    "ca" => Ok(TlsVerify::Ca),
                    "none" => Ok(TlsVerify::None),
                    _ => Err("not full, ca or none"),
                })
                .help("What of the certificate counts: full, ca (all but its name), none"),
        )
        .arg(
            Arg::new("cert")
                .long("cert")
                .value_name("FILE")
                .requires("key")
                .value_parser(clap::value_parser!(PathBuf))
                .help("PEM file with a certificate to show as a client"),
        )
        .arg(
            Arg::new("key")
                .long("key")
                .value_name("FILE")
                .requires("cert")
                .value_parser(clap::value_parser!(PathBuf))
                .help("PEM file with the private key of that certificate"),
        )
}

/// What a token shall say.
fn token_arguments() -> impl Iterator<Item = Arg> {
    let several = |name: &'static str, long: &'static str, value, help: &'static str| {
        Arg::new(name)
            .long(long)
            .value_name(value)
            .value_delimiter(',')
            .action(ArgAction::Append)
            .help(help)
    };
    [
        Arg::new("token-sub")
            .long("sub")
            .value_name("USER")
            .help("The user"),
        several(
            "token-rooms",
            "rooms",
            "ROOMS",
            "Rooms to join and publish to, `*` for anything; with =join or =publish behind it only that [default: all]",
        ),
        several(
            "token-namespace",
            "namespace",
            "NAMESPACE",
            "Namespaces to connect to [default: all]",
        ),
        several(
            "token-events",
            "events",
            "EVENTS",
            "Events for the backend [default: all]",
        ),
        Arg::new("token-ttl")
            .long("ttl")
            .value_name("DURATION")
            .value_parser(duration)
            .help("How long it lasts [default: 1h]"),
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

fn file(name: &'static str) -> Arg {
    Arg::new(name)
        .value_name("FILE")
        .value_parser(clap::value_parser!(PathBuf))
        .help("The file with the settings [default: gateway.toml, if it exists]")
}

/// A flag for every setting.
fn flags() -> impl Iterator<Item = Arg> {
    SETTINGS.iter().map(|setting| {
        let section = setting.section().unwrap_or("node");
        let default = match setting.default {
            Default::Text("") => "none",
            Default::Text(text) | Default::Absent(text) => text,
        };
        let sentence = setting.doc.split_inclusive(". ").next();
        let sentence = sentence.unwrap_or_default().trim_end();
        let (kind, _) = setting.kind.split_once(' ').unwrap_or((setting.kind, ""));
        Arg::new(setting.name)
            .long(setting.flag())
            .value_name(kind.to_uppercase())
            .help(format!("{sentence} [default: {default}]"))
            .help_heading(format!("Settings: {section}"))
    })
}

/// Says what is wrong with the command line. A value is never repeated: it might be a secret.
fn refuse(error: &clap::Error, arguments: &[OsString]) -> ExitCode {
    let misplaced = matches!(
        error.kind(),
        ErrorKind::UnknownArgument | ErrorKind::InvalidSubcommand
    );
    if !misplaced {
        // Help and version come this way, too, and their status is 0.
        let _ = error.print();
        return u8::try_from(error.exit_code())
            .map_or(WRONG, |code| code)
            .into();
    }
    let unknown: Vec<_> = unknown_flags(arguments);
    if !unknown.is_empty() {
        return wrong(&Errors::from(unknown));
    }
    let culprit = [ContextKind::InvalidArg, ContextKind::InvalidSubcommand]
        .into_iter()
        .find_map(|kind| match error.get(kind) {
            Some(ContextValue::String(culprit)) => Some(culprit),
            _ => None,
        });
    let position = arguments
        .iter()
        .position(|argument| culprit.is_some_and(|culprit| argument == culprit.as_str()));
    let what = match (position, culprit) {
        (Some(1), Some(word)) => format!("{word}: unknown command or flag"),
        (Some(position), _) => {
            format!("argument {position} is neither a flag nor the value of one")
        }
        _ => "an argument is neither a flag nor the value of one".to_owned(),
    };
    complain(&format_args!("{what}; see gateway --help"));
    ExitCode::from(WRONG)
}

/// The flags that do not exist. What follows the flag of a secret is its value, not a flag.
fn unknown_flags(arguments: &[OsString]) -> Vec<Error> {
    let other = [
        "ca",
        "config",
        "events",
        "help",
        "idle-timeout",
        "markdown",
        "namespace",
        "rooms",
        "sub",
        "ttl",
        "verify",
        "version",
    ];
    let known =
        |name: &str| other.contains(&name) || SETTINGS.iter().any(|setting| setting.flag() == name);
    let name = |argument: &OsString| {
        let argument = argument.to_string_lossy();
        let name = argument.strip_prefix("--")?.split('=').next()?;
        Some(name.to_owned()).filter(|name| !name.is_empty())
    };
    let after_secret = |before: &OsString| {
        let secret = |setting: &Setting| *before == *format!("--{}", setting.flag());
        SETTINGS
            .iter()
            .any(|setting| setting.secret && secret(setting))
    };
    arguments
        .windows(2)
        .filter(|pair| !after_secret(&pair[0]))
        .filter_map(|pair| name(&pair[1]))
        .filter(|name| !known(name))
        .map(|name| Error::unknown_flag(&name))
        .collect()
}

fn wrong(errors: &Errors) -> ExitCode {
    complain(errors);
    ExitCode::from(WRONG)
}

/// Says on standard error what is wrong. If that cannot be written, the status says it alone.
pub(crate) fn complain(what: &dyn fmt::Display) {
    let _unwritable = writeln!(io::stderr(), "{what}");
}

/// Prints to standard output. A reader that has seen enough is no error.
fn print(text: &str) -> ExitCode {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            complain(&format_args!("standard output: {error}"));
            ExitCode::FAILURE
        }
        Ok(()) | Err(_) => ExitCode::SUCCESS,
    }
}
