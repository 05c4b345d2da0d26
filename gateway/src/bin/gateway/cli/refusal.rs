//! What is wrong with a command line.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Command};
use gateway::config::{Error, Errors, SETTINGS, Setting, nearest};

use super::commands::{Listed, command};
use super::status::Status;
use super::{complain, wrong};

/// Says what is wrong with the command line. A value is never repeated: it might be a secret.
pub(super) fn refuse(error: &clap::Error, arguments: &[OsString]) -> ExitCode {
    let misplaced = matches!(
        error.kind(),
        ErrorKind::UnknownArgument | ErrorKind::InvalidSubcommand
    );
    if !misplaced {
        // Help and version come this way, too, and their status is 0.
        let _ = error.print();
        return u8::try_from(error.exit_code())
            .unwrap_or(Status::Wrong.code())
            .into();
    }
    let root = command(Listed::ByServe);
    let unknown = unknown_flags(&root, arguments);
    if !unknown.is_empty() {
        return wrong(&Errors::from(unknown));
    }
    complain(&misplaced_argument(&root, error, arguments));
    Status::Wrong.into()
}

fn misplaced_argument(root: &Command, error: &clap::Error, arguments: &[OsString]) -> String {
    let culprit = [ContextKind::InvalidArg, ContextKind::InvalidSubcommand]
        .into_iter()
        .find_map(|kind| match error.get(kind) {
            Some(ContextValue::String(culprit)) => Some(culprit.as_str()),
            _ => None,
        });
    let position = arguments
        .iter()
        .position(|argument| culprit.is_some_and(|culprit| argument == culprit));
    let is_command = match position {
        Some(1) => true,
        Some(2) => arguments[1] == "help",
        _ => false,
    };
    match (is_command, position, culprit) {
        (true, _, Some(word)) => {
            let names = root.get_subcommands().map(Command::get_name);
            match nearest(word, names) {
                Some(near) => format!("{word}: unknown command; the nearest known one is {near}"),
                None => format!("{word}: unknown command; gateway help lists them"),
            }
        }
        (_, Some(position), _) => {
            format!(
                "argument {position} is neither a flag nor the value of one; see gateway --help"
            )
        }
        _ => "an argument is neither a flag nor the value of one; see gateway --help".to_owned(),
    }
}

/// The flags that the command does not have. What follows the flag of a secret is its value, not a flag.
fn unknown_flags(root: &Command, arguments: &[OsString]) -> Vec<Error> {
    let named = arguments.get(1).and_then(|name| name.to_str());
    let chosen = named.and_then(|name| root.find_subcommand(name));
    let chosen = chosen.unwrap_or(root);
    let is_setting = |arg: &Arg| SETTINGS.iter().any(|setting| *arg.get_id() == setting.name);
    let takes_settings = chosen.get_arguments().any(is_setting);
    let own = chosen.get_arguments().filter(|arg| !is_setting(arg));
    let mut own: Vec<&str> = own.filter_map(Arg::get_long).collect();
    own.extend(["help", "version"]);
    let known = |name: &str| {
        own.contains(&name)
            || (takes_settings && SETTINGS.iter().any(|setting| setting.flag() == name))
    };
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
        .map(|name| Error::unknown_flag(&name, &own, takes_settings))
        .collect()
}
