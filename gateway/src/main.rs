//! The `gateway` binary.

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use gateway::Server;
use gateway::config::{self, Config};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{info, warn};

mod cli;
mod doctor;
mod healthcheck;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

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

/// Serves until the process is told to stop. Told a second time, it ends without another word.
fn serve(config: Config) -> anyhow::Result<()> {
    if let Err(error) = rlimit::increase_nofile_limit(u64::MAX) {
        warn!(%error, "the limit of open files stays as it is");
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut stop = Stop::new()?;
        let demo = config.demo;
        let scheme = if config.tls.is_some() {
            "https"
        } else {
            "http"
        };
        let running = Server::new(config).start().await?;
        announce(&running, scheme, demo)?;
        let told = stop.told().await;
        info!(signal = ?told, "stopping");
        let stopped = async {
            match told {
                Told::Terminate => running.stop().await,
                Told::Interrupt => running.stop_at_once().await,
            }
        };
        tokio::select! {
            () = stopped => info!("stopped"),
            _ = stop.told() => {
                warn!("told to stop again: ending at once");
                std::process::exit(0);
            }
        }
        Ok(())
    })
}

/// Says on standard output where the node listens, for people and for scripts that wait for it.
fn announce(running: &gateway::Running, scheme: &str, demo: bool) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    let (clients, internal) = (running.address(), running.internal_address());
    writeln!(out, "gateway {} is listening", env!("CARGO_PKG_VERSION"))?;
    writeln!(out, "  clients:          {scheme}://{clients}")?;
    if demo {
        writeln!(
            out,
            "  demo page:        {scheme}://localhost:{}/",
            clients.port()
        )?;
    }
    writeln!(out, "  metrics, health:  http://{internal}")?;
    out.flush()
}

/// What the process was told by a signal.
#[derive(Debug)]
enum Told {
    /// SIGINT, by somebody at a keyboard: to stop at once.
    Interrupt,
    /// SIGTERM: to drain, then stop.
    Terminate,
}

struct Stop {
    interrupt: Signal,
    terminate: Signal,
}

impl Stop {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn told(&mut self) -> Told {
        tokio::select! {
            _ = self.interrupt.recv() => Told::Interrupt,
            _ = self.terminate.recv() => Told::Terminate,
        }
    }
}
