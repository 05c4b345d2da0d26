//! The command line, and the commands that need no server.

use std::ffi::OsString;
use std::fmt;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::ArgMatches;
use gateway::config::{
    Config, Errors, SETTINGS, Setting, Sources, Tls, TlsVerify, Trust, reference,
};
use gateway::{Server, trust};

use crate::internal_port::{InternalPort, Place, escaped};
use crate::{doctor, healthcheck, runbook, top, trace};
use commands::{Listed, command};
use status::Status;

mod commands;
mod manual;
mod refusal;
pub(crate) mod status;
mod token;

/// What the command line asks for.
pub(crate) enum Task {
    /// To serve with this configuration, which comes from there.
    Serve(Box<Config>, Sources),
    /// Nothing more; the process ends with this status.
    Done(ExitCode),
}

/// Reads the command line and does what needs no server.
pub(crate) fn run(arguments: &[OsString]) -> Task {
    let matches = match command(Listed::ByServe).try_get_matches_from(arguments) {
        Ok(matches) => matches,
        Err(error) => return Task::Done(refusal::refuse(&error, arguments)),
    };
    if let (Some((command, _)), Some(flag)) = (matches.subcommand(), first_flag(&matches)) {
        complain(&format_args!(
            "--{flag}: flags go after the command: gateway {command} --{flag} .."
        ));
        return Task::Done(Status::Wrong.into());
    }
    match matches.subcommand() {
        Some(("default-config", matches)) => Task::Done(default_config(matches)),
        Some(("token", matches)) => Task::Done(token(matches)),
        Some(("check-config", matches)) => Task::Done(check_config(&sources(matches))),
        Some(("healthcheck", matches)) => Task::Done(healthcheck(matches)),
        Some(("doctor", matches)) => Task::Done(doctor(matches)),
        Some(("trace", matches)) => Task::Done(trace(matches)),
        Some(("top", matches)) => Task::Done(top(matches)),
        Some(("runbook", matches)) => Task::Done(runbook(matches)),
        Some(("completions", matches)) => Task::Done(manual::completions(matches)),
        Some(("man", matches)) => Task::Done(manual::manual(matches)),
        Some(("version", _)) => Task::Done(version()),
        Some((_, matches)) => serve(sources(matches)),
        None => serve(sources(&matches)),
    }
}

fn version() -> ExitCode {
    let (version, build) = (commands::version(), commands::build());
    print(&format!("gateway {version}\n{build}\n"))
}

fn serve(sources: Sources) -> Task {
    match Config::load(&sources) {
        Ok(config) => Task::Serve(Box::new(config), sources),
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
        return Status::Wrong.into();
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
        Ok(config) => healthcheck::run(&config.internal_listen, path),
        Err(errors) => wrong(&errors),
    }
}

fn doctor(matches: &ArgMatches) -> ExitCode {
    let given = |name| matches.get_one::<String>(name).cloned();
    let file = |name| matches.get_one::<PathBuf>(name).cloned();
    let idle_timeout = matches.get_one::<Duration>("idle-timeout").copied();
    let token = match given("token").as_deref() {
        Some("-") => match token::from_standard_input() {
            Ok(token) => Some(token.trim().to_owned()),
            Err(error) => {
                complain(&format_args!("--token: {error}"));
                return Status::Wrong.into();
            }
        },
        other => other.map(str::to_owned),
    };
    let order = doctor::Order {
        url: given("url").unwrap_or_default(),
        namespace: given("namespace").map(token::namespace),
        token,
        origin: given("origin"),
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
        Status::Wrong.into()
    })
}

/// Prints what happens to somebody or something.
fn trace(matches: &ArgMatches) -> ExitCode {
    let order = trace_order(matches);
    order.map_or_else(Into::into, |order| trace::run(&order))
}

fn trace_order(matches: &ArgMatches) -> Result<trace::Order, Status> {
    let port = internal_port(matches)?;
    let mut query = form_urlencoded_pairs(matches);
    if matches.get_flag("arguments") {
        query += "&arguments=true";
    }
    Ok(trace::Order {
        port,
        query,
        json: matches.get_flag("json"),
    })
}

/// Shows what the cluster is busy with.
fn top(matches: &ArgMatches) -> ExitCode {
    let interval = matches.get_one::<Duration>("interval").copied();
    let order = internal_port(matches).map(|port| top::Order {
        port,
        once: matches.get_flag("once"),
        json: matches.get_flag("json"),
        interval: interval.unwrap_or(top::USUAL_INTERVAL),
    });
    order.map_or_else(Into::into, |order| top::run(&order))
}

/// Where a node is asked, and the key for that.
fn internal_port(matches: &ArgMatches) -> Result<InternalPort, Status> {
    let wrong_flag = |flag: &str, problem: &dyn fmt::Display| {
        complain(&format_args!("--{flag}: {problem}"));
        Status::Wrong
    };
    let named = matches.get_one::<String>("url");
    let named = named.map(|url| {
        let authority = url
            .strip_prefix("http://")
            .map(|it| it.trim_end_matches('/'));
        let authority = authority.filter(|it| !it.contains(['/', '@', '?']) && it.contains(':'));
        let problem = "it is no address of an internal port, such as http://127.0.0.1:3001";
        authority.ok_or_else(|| wrong_flag("url", &problem))
    });
    let named = named.transpose()?;
    let key = matches.get_one::<PathBuf>("key-file").map(|path| {
        let read = std::fs::read_to_string(path);
        read.map_err(|error| wrong_flag("key-file", &error))
    });
    let key = key.transpose()?;
    let (place, key) = match (named, key) {
        (Some(named), Some(key)) => (Place::Named(named.to_owned()), key),
        (named, key) => {
            let config = Config::load(&sources(matches)).map_err(|errors| {
                complain(&errors);
                Status::Wrong
            })?;
            let place = match named {
                Some(named) => Place::Named(named.to_owned()),
                None => Place::Configured(config.internal_listen),
            };
            let first = config.api.keys.as_ref().and_then(|keys| keys.first());
            let first = first.map(|it| String::from_utf8_lossy(it.expose()).into_owned());
            let key = key.or(first).ok_or_else(|| {
                complain(&"there is no key: give --key-file, or the api.key of the node");
                Status::Wrong
            })?;
            (place, key)
        }
    };
    let first = key.lines().next().unwrap_or_default();
    let first = first.split(',').next().unwrap_or_default().trim();
    if first.is_empty()
        || !first
            .bytes()
            .all(|byte| byte.is_ascii_graphic() || byte == b' ')
    {
        return Err(wrong_flag("key-file", &"it holds no key"));
    }
    Ok(InternalPort {
        place,
        key: first.to_owned(),
    })
}

/// What a trace is about and for how long, as a query.
fn form_urlencoded_pairs(matches: &ArgMatches) -> String {
    let pair = |name: &str| {
        let value = matches.get_one::<String>(name)?;
        Some(format!("{name}={}", escaped(value)))
    };
    let pairs = ["user", "socket", "room", "address", "for"].into_iter();
    pairs.filter_map(pair).collect::<Vec<_>>().join("&")
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
    Status::Wrong.into()
}

fn token(matches: &ArgMatches) -> ExitCode {
    match Config::load(&sources(matches)) {
        Ok(config) => token::run(&config, matches),
        Err(errors) => wrong(&errors),
    }
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
    let named = |setting: &'static Setting| {
        let path = matches.get_one::<String>(&setting.file_name()?)?;
        Some((setting, path.clone()))
    };
    Sources {
        file: file_of(matches),
        environment: std::env::vars_os().collect(),
        flags: SETTINGS.iter().filter_map(given).collect(),
        secret_files: SETTINGS.iter().filter_map(named).collect(),
    }
}

/// A flag that stands before the command, where it would count for nothing.
fn first_flag(matches: &ArgMatches) -> Option<String> {
    let names = SETTINGS.iter().flat_map(|setting| {
        let file = setting.file_name();
        [Some(setting.name.to_owned()), file].into_iter().flatten()
    });
    let mut given = names.filter(|name| matches.contains_id(name));
    match given.next() {
        None if matches.contains_id("config") => Some("config".to_owned()),
        first => first.map(|name| name.replace(['.', '_'], "-")),
    }
}

/// `--config FILE`, or just `FILE` where a command takes it.
fn file_of(matches: &ArgMatches) -> Option<PathBuf> {
    let of = |name| matches.try_get_one::<PathBuf>(name).ok().flatten().cloned();
    of("config").or_else(|| of("file"))
}

fn wrong(errors: &Errors) -> ExitCode {
    complain(errors);
    Status::Wrong.into()
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
            Status::Failed.into()
        }
        Ok(()) | Err(_) => Status::Done.into(),
    }
}
