//! What packages install beside the program: completions for shells, and pages of the manual.

use std::io;
use std::path::Path;
use std::process::ExitCode;

use clap::{ArgMatches, Command};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};
use gateway::config::nearest;

use super::commands::{Listed, command};
use super::status::{Row, STATUSES, Status};
use super::{complain, print};

/// Prints what a shell needs to complete commands and flags.
pub(super) fn completions(matches: &ArgMatches) -> ExitCode {
    let Some(shell) = matches.get_one::<Shell>("shell") else {
        return Status::Wrong.into();
    };
    let mut script = Vec::new();
    let mut command = command(Listed::Everywhere);
    clap_complete::generate(*shell, &mut command, "gateway", &mut script);
    print(&String::from_utf8_lossy(&script))
}

/// Prints a page, or writes all of them.
pub(super) fn manual(matches: &ArgMatches) -> ExitCode {
    let mut root = command(Listed::ByServe);
    root.build();
    if let Some(directory) = matches.get_one::<std::path::PathBuf>("out") {
        return match write_all(&root, directory) {
            Ok(()) => Status::Done.into(),
            Err(error) => {
                complain(&format_args!("{}: {error}", directory.display()));
                Status::Failed.into()
            }
        };
    }
    let wanted = matches.get_one::<String>("command").map(String::as_str);
    let found = match wanted {
        None | Some("gateway") => Some(&root),
        Some(name) => commands(&root).find(|command| command.get_name() == name),
    };
    let Some(found) = found else {
        let names = commands(&root).map(Command::get_name);
        let near = nearest(wanted.unwrap_or_default(), names);
        let near = near.map(|near| format!("; the nearest known one is {near}"));
        complain(&format_args!(
            "there is no such command{}",
            near.unwrap_or_default()
        ));
        return Status::Wrong.into();
    };
    match page(found) {
        Ok(page) => print(&String::from_utf8_lossy(&page)),
        Err(error) => {
            complain(&error);
            Status::Failed.into()
        }
    }
}

fn write_all(root: &Command, directory: &Path) -> io::Result<()> {
    std::fs::create_dir_all(directory)?;
    for command in std::iter::once(root).chain(commands(root)) {
        let name = format!("{}.1", title(command));
        std::fs::write(directory.join(name), page(command)?)?;
    }
    Ok(())
}

/// Those with a page of their own; `help` has none.
fn commands(root: &Command) -> impl Iterator<Item = &Command> {
    root.get_subcommands()
        .filter(|command| Row::of(command.get_name()).is_some())
}

/// `gateway`, or `gateway-serve`.
fn title(command: &Command) -> String {
    let name = command.get_display_name();
    name.unwrap_or(command.get_name()).to_owned()
}

fn page(command: &Command) -> io::Result<Vec<u8>> {
    let is_root = Row::of(command.get_name()).is_none();
    let mut page = Vec::new();
    // What stands behind the help has sections of its own here.
    let man = Man::new(command.clone().after_help(""))
        .title(title(command).to_uppercase())
        .source(format!("gateway {}", env!("CARGO_PKG_VERSION")))
        .manual("Gateway");
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if is_root {
        man.render_subcommands_section(&mut page)?;
    }
    let mut end = Roff::default();
    statuses(&mut end, command);
    if is_root {
        places(&mut end);
    }
    let others: Vec<_> = match is_root {
        true => STATUSES
            .iter()
            .map(|row| format!("gateway-{}(1)", row.command))
            .collect(),
        false => vec!["gateway(1)".to_owned()],
    };
    end.control("SH", ["SEE ALSO"]);
    end.text([roman(others.join(", "))]);
    end.to_writer(&mut page)?;
    Ok(page)
}

fn statuses(end: &mut Roff, command: &Command) {
    end.control("SH", ["EXIT STATUS"]);
    let general = [
        "It did what it was asked for, and nothing is wrong.",
        "It could not do, or go on doing, what it was asked for, or the answer is no.",
        "The command line or the configuration is wrong.",
    ];
    let meanings = Row::of(command.get_name()).map_or(general, |row| row.meanings);
    for (status, meaning) in meanings.into_iter().enumerate() {
        end.control("TP", []);
        end.text([bold(status.to_string())]);
        end.text([roman(meaning)]);
    }
}

fn places(end: &mut Roff) {
    end.control("SH", ["ENVIRONMENT"]);
    for (name, meaning) in [
        (
            "GATEWAY_*",
            "Every setting has a variable: redis.url is GATEWAY_REDIS_URL. A flag counts more, the file less.",
        ),
        (
            "GATEWAY_CONFIG",
            "The file with the settings, if there is no --config.",
        ),
    ] {
        end.control("TP", []);
        end.text([bold(name)]);
        end.text([roman(meaning)]);
    }
    end.control("SH", ["FILES"]);
    end.control("TP", []);
    end.text([bold("gateway.toml")]);
    end.text([roman(
        "The settings, read from the working directory if nothing names another file. \
         gateway default-config prints one with all of them.",
    )]);
}
