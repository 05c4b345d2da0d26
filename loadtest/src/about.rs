//! When, how and on what a run was made, without which nobody can compare its figures.

use std::fs;
use std::time::SystemTime;

/// The date, the command, the versions and the machine, as notes of a summary. The machine's name is left out, and so
/// is what `--auth` sends.
pub(crate) fn notes() -> Vec<String> {
    let date = httpdate::fmt_http_date(SystemTime::now());
    let command = command(std::env::args());
    vec![
        format!("run on {date}: {command}"),
        format!("loadtest {} on {}", env!("CARGO_PKG_VERSION"), machine()),
    ]
}

/// The command line, with what may be a secret left out.
fn command(arguments: impl Iterator<Item = String>) -> String {
    let mut words = vec!["loadtest".to_owned()];
    let mut is_secret = false;
    for argument in arguments.skip(1) {
        let shown = match argument.as_str() {
            _ if is_secret => "..",
            it if it.starts_with("--auth=") => "--auth=..",
            it => it,
        };
        is_secret = argument == "--auth";
        let quote = if shown.contains([' ', '"', '*', '<', '>', '&']) {
            "'"
        } else {
            ""
        };
        words.push(format!("{quote}{shown}{quote}"));
    }
    words.join(" ")
}

fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let model = field(&read("/proc/cpuinfo"), "model name").unwrap_or_default();
    let memory = field(&read("/proc/meminfo"), "MemTotal").unwrap_or_default();
    let kernel = read("/proc/sys/kernel/osrelease");
    format!(
        "{cores} cores of {model}, memory {memory}, Linux {}",
        kernel.trim()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_is_whole_but_for_what_is_secret() {
        let shown = |arguments: &[&str]| {
            let all = ["/somewhere/loadtest"].iter().chain(arguments);
            command(all.map(|it| (*it).to_owned()))
        };
        assert_eq!(
            shown(&[
                "echo",
                "--auth",
                "{\"token\":\"hunter2\"}",
                "--expect",
                "p99<5ms"
            ]),
            "loadtest echo --auth .. --expect 'p99<5ms'"
        );
        assert_eq!(shown(&["idle", "--auth={}"]), "loadtest idle --auth=..");
    }

    #[test]
    fn the_notes_name_no_host() {
        let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
        let notes = notes();
        assert!(notes[0].contains(" GMT: loadtest") && notes[1].contains(" cores of "));
        assert!(!notes[1].contains(name.trim()), "{notes:?}");
    }
}
