//! The commands and their flags.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::NonEmptyStringValueParser;
use clap::{Arg, ArgAction, ArgGroup, Command, value_parser};
use clap_complete::Shell;
use gateway::config::{Default, SETTINGS, Setting, TlsVerify, duration};

use super::status::Row;
use super::token;

/// Which commands show the flags of settings in their help.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Listed {
    /// `serve` alone. The other commands that take them show those that matter to them.
    ByServe,
    /// All commands that take them, which is for shells.
    Everywhere,
}

const WHERE_LISTED: &str =
    "Every setting has a flag here, too: gateway serve --help lists all of them.";

/// What `gateway --version` says behind the name: the version, and the commit with its date if the
/// build was told them.
pub(super) fn version() -> String {
    let version = env!("CARGO_PKG_VERSION");
    let told = |variable: Option<&'static str>| variable.filter(|it| !it.is_empty());
    let commit = told(option_env!("GATEWAY_COMMIT")).map(|it| it.get(..12).unwrap_or(it));
    match (commit, told(option_env!("GATEWAY_COMMIT_DATE"))) {
        (Some(commit), Some(date)) => format!("{version} ({commit} {date})"),
        (Some(commit), None) => format!("{version} ({commit})"),
        (None, _) => version.to_owned(),
    }
}

/// What else `gateway version` says: how the program was built.
pub(super) fn build() -> String {
    let choose = |feature, with, without| if feature { with } else { without };
    format!(
        "{} on {}, TLS by {}, memory by {}",
        std::env::consts::ARCH,
        std::env::consts::OS,
        choose(cfg!(feature = "aws-lc"), "AWS-LC", "ring"),
        choose(cfg!(feature = "jemalloc"), "jemalloc", "mimalloc"),
    )
}

/// The whole command line. It has no colours, as the log and the doctor have none.
pub(super) fn command(listed: Listed) -> Command {
    Command::new("gateway")
        .about("A horizontally scaled Socket.IO gateway")
        .version(version())
        .arg(file("config").long("config"))
        .args(flags(listed, &[]))
        .after_help(format!(
            "Without a command it serves. {WHERE_LISTED}\n\n\
             Exit status: 0 if it did what it was asked for and nothing is wrong, 1 if it could not or \
             something is, 2 if the command line or the configuration is wrong."
        ))
        .subcommands(subcommands(listed).map(with_statuses))
}

fn subcommands(listed: Listed) -> impl Iterator<Item = Command> {
    [
        Command::new("serve")
            .about("Serve clients; what is done without a command, too")
            .arg(file("config").long("config"))
            .args(flags(Listed::Everywhere, &[])),
        Command::new("check-config")
            .about("Say everything that is wrong with the configuration")
            .arg(file("config").long("config").conflicts_with("file"))
            .arg(file("file").help("The same as --config"))
            .args(flags(listed, &[]))
            .after_help(WHERE_LISTED),
        default_config(),
        Command::new("token")
            .about(
                "Print a token for development, signed with auth.jwt_secret; or say with --verify \
                 what one holds and whether it is taken",
            )
            .args(token::arguments())
            .arg(file("config").long("config"))
            .args(flags(listed, token::SETTINGS))
            .after_help(WHERE_LISTED),
        healthcheck(listed),
        doctor(),
        trace(listed),
        top(listed),
        Command::new("runbook")
            .about("Print what an alert of deploy/prometheus means and what to do about it")
            .arg(
                Arg::new("alert")
                    .value_name("ALERT")
                    .help("Its name, such as GatewayNodeDown [default: all]"),
            ),
        completions(),
        manual(),
        Command::new("version").about("Print the version; the same as --version"),
    ]
    .into_iter()
}

/// Says in the help of a command what its statuses mean.
fn with_statuses(command: Command) -> Command {
    let Some(row) = Row::of(command.get_name()) else {
        return command;
    };
    let [done, failed, wrong] = row.meanings;
    let before = command.get_after_help().map(|help| format!("{help}\n\n"));
    let before = before.unwrap_or_default();
    command.after_help(format!(
        "{before}Exit status:\n  0  {done}\n  1  {failed}\n  2  {wrong}"
    ))
}

fn default_config() -> Command {
    Command::new("default-config")
        .about("Print a gateway.toml with every setting at its default")
        .arg(
            Arg::new("markdown")
                .long("markdown")
                .action(ArgAction::SetTrue)
                .help("Print the reference of all settings instead, docs/configuration.md"),
        )
}

fn healthcheck(listed: Listed) -> Command {
    Command::new("healthcheck")
        .about("Ask the running node of the same configuration whether it is ready (GET /ready)")
        .arg(
            Arg::new("live")
                .long("live")
                .action(ArgAction::SetTrue)
                .help("Ask for GET /live: whether the process serves, ready or not"),
        )
        .arg(file("config").long("config"))
        .args(flags(listed, &["internal_listen"]))
        .after_help(WHERE_LISTED)
}

fn trace(listed: Listed) -> Command {
    let of = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name)
            .long(name)
            .value_name(value)
            .value_parser(NonEmptyStringValueParser::new())
            .help(help)
    };
    let subjects = [
        of(
            "user",
            "USER",
            "Follow the sockets of this user, and those that connect",
        ),
        of(
            "socket",
            "ID",
            "Follow the socket of this id, and what else uses its connection",
        ),
        of(
            "room",
            "ROOM",
            "Follow who joins and leaves this room, and events for it",
        ),
        of(
            "address",
            "ADDRESS",
            "Follow connections from this IP address, refused ones too",
        ),
    ];
    let subject = ArgGroup::new("subject").required(true);
    Command::new("trace")
        .about(
            "Print what happens to a user, a socket, a room or an address from now on, on all nodes",
        )
        .group(subject.args(["user", "socket", "room", "address"]))
        .args(subjects)
        .arg(
            Arg::new("arguments")
                .long("arguments")
                .action(ArgAction::SetTrue)
                .help("Show the beginning of the arguments of events; tokens are left out"),
        )
        .arg(of("for", "DURATION", "How long, an hour at most [default: 10m]"))
        .arg(
            Arg::new("json")
                .long("json")
                .action(ArgAction::SetTrue)
                .help("Print lines of JSON, as GET /api/v1/trace has them"),
        )
        .args(of_internal_port())
        .arg(file("config").long("config"))
        .args(flags(listed, &["internal_listen", "api.key"]))
        .after_help(WHERE_LISTED)
}

/// Where a node is asked, and the key for that.
fn of_internal_port() -> [Arg; 2] {
    let url = "The internal port of any node: http://127.0.0.1:3001 [default: internal_listen]";
    [
        Arg::new("url")
            .long("url")
            .value_name("URL")
            .value_parser(NonEmptyStringValueParser::new())
            .help(url),
        Arg::new("key-file")
            .long("key-file")
            .value_name("PATH")
            .value_parser(value_parser!(PathBuf))
            .help("File that holds a key of the API [default: the first of api.key]"),
    ]
}

fn top(listed: Listed) -> Command {
    let flag = |name: &'static str, help: &'static str| {
        Arg::new(name)
            .long(name)
            .action(ArgAction::SetTrue)
            .help(help)
    };
    Command::new("top")
        .about("Show the rates of all nodes, and the busiest rooms and users")
        .arg(flag("once", "Print it once, without a terminal"))
        .arg(flag(
            "json",
            "Print lines of JSON, as GET /api/v1/top has them",
        ))
        .arg(
            Arg::new("interval")
                .long("interval")
                .value_name("DURATION")
                .value_parser(top_interval)
                .help("How often, from 1s to 10s [default: 2s]"),
        )
        .args(of_internal_port())
        .arg(file("config").long("config"))
        .args(flags(listed, &["internal_listen", "api.key"]))
        .after_help(WHERE_LISTED)
}

/// As long as somebody asks within 10 seconds, nodes go on counting.
fn top_interval(text: &str) -> Result<Duration, String> {
    let interval = seconds(text)?;
    let within = Duration::from_secs(1)..=Duration::from_secs(10);
    match within.contains(&interval) {
        true => Ok(interval),
        false => Err("it is not between 1s and 10s".to_owned()),
    }
}

fn completions() -> Command {
    Command::new("completions")
        .about("Print what a shell needs to complete commands and flags")
        .arg(
            Arg::new("shell")
                .value_name("SHELL")
                .required(true)
                .value_parser(value_parser!(Shell))
                .help("The shell"),
        )
}

fn manual() -> Command {
    Command::new("man")
        .about("Print a page of the manual for man(1), in roff")
        .arg(
            Arg::new("command")
                .value_name("COMMAND")
                .help("The command whose page it is [default: the page of the program]"),
        )
        .arg(
            Arg::new("out")
                .long("out")
                .value_name("DIRECTORY")
                .value_parser(value_parser!(PathBuf))
                .conflicts_with("command")
                .help("Write the pages of the program and of all commands into this directory instead"),
        )
}

fn doctor() -> Command {
    let pem = |name: &'static str| {
        Arg::new(name)
            .long(name)
            .value_name("FILE")
            .value_parser(value_parser!(PathBuf))
    };
    Command::new("doctor")
        .about(
            "Try polling, WebSocket and the upgrade through whatever stands in front of a gateway, \
             and say what is wrong",
        )
        .arg(
            Arg::new("url")
                .value_name("URL")
                .required(true)
                .help("Where clients connect: https://example.com, or with a path"),
        )
        .arg(
            Arg::new("namespace")
                .long("namespace")
                .value_name("NAMESPACE")
                .value_parser(NonEmptyStringValueParser::new())
                .help("The namespace to connect to [default: /]"),
        )
        .arg(
            Arg::new("token")
                .long("token")
                .value_name("TOKEN")
                .value_parser(NonEmptyStringValueParser::new())
                .help(
                    "Show this token as clients do, in auth.token; - reads it from standard input",
                ),
        )
        .arg(
            Arg::new("origin")
                .long("origin")
                .value_name("ORIGIN")
                .value_parser(NonEmptyStringValueParser::new())
                .help("Ask as a page of this web origin would: https://example.com"),
        )
        .arg(
            Arg::new("idle-timeout")
                .long("idle-timeout")
                .value_name("DURATION")
                .default_value("70s")
                .value_parser(seconds)
                .help("How long open connections are watched for idle timeouts; 0 leaves it out"),
        )
        .arg(pem("ca").help("PEM file of certificates to trust beside those of this system"))
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
            pem("cert")
                .requires("key")
                .help("PEM file with a certificate to show as a client"),
        )
        .arg(
            pem("key")
                .requires("cert")
                .help("PEM file with the private key of that certificate"),
        )
}

/// A duration of a command's own flag. Other programs take plain seconds, so these do, too; settings
/// do not, since Socket.IO's own are in milliseconds.
pub(super) fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(seconds) => Ok(Duration::from_secs(seconds)),
        Err(_) => duration(text),
    }
}

/// Several values in one flag or in several of them.
pub(super) fn several(name: &'static str, long: &'static str) -> Arg {
    Arg::new(name)
        .long(long)
        .value_delimiter(',')
        .action(ArgAction::Append)
        .value_parser(NonEmptyStringValueParser::new())
}

fn file(name: &'static str) -> Arg {
    Arg::new(name)
        .value_name("FILE")
        .value_parser(value_parser!(PathBuf))
        .help("The file with the settings [default: gateway.toml, if it exists]")
}

/// A flag for every setting. The help of a command shows those that it names, or all.
fn flags(listed: Listed, shown: &'static [&'static str]) -> impl Iterator<Item = Arg> {
    SETTINGS.iter().flat_map(move |setting| {
        let is_shown = listed == Listed::Everywhere || shown.contains(&setting.name);
        let flags = [Some(flag(setting)), file_flag(setting)];
        flags
            .into_iter()
            .flatten()
            .map(move |it| it.hide(!is_shown))
    })
}

/// The flag that names a file with a secret.
fn file_flag(setting: &Setting) -> Option<Arg> {
    let name = setting.file_name()?;
    Some(
        Arg::new(name)
            .long(format!("{}-file", setting.flag()))
            .value_name("PATH")
            .help(format!("File that holds {}", setting.name))
            .help_heading(format!("Settings: {}", setting.section().unwrap_or("node"))),
    )
}

fn flag(setting: &Setting) -> Arg {
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
}
