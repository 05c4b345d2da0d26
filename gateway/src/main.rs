//! The `gateway` binary.

use std::ffi::OsString;
use std::process::ExitCode;

use gateway::config::{self, Config};

mod cli;

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let config = match cli::run(&arguments) {
        cli::Task::Serve(config) => config,
        cli::Task::Done(code) => return code,
    };
    config::log::init(&config.log);
    match serve(*config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Serves until the process is told to stop.
fn serve(config: Config) -> anyhow::Result<()> {
    anyhow::bail!("nothing serves {} yet", config.listen)
}
