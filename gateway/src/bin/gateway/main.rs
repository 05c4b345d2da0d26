//! The `gateway` binary.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::ffi::OsString;
use std::panic::PanicHookInfo;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use gateway::config::{self, Config, LogFormat, Sources};
use gateway::{Address, ReloadHandle, Running, Server, StartError};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;
use tracing::{error, info, warn};

use cli::status::Status;
use passed::Passed;

mod cli;
mod doctor;
mod healthcheck;
mod internal_port;
mod notify;
mod passed;
mod runbook;
mod top;
mod trace;

#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

#[cfg(not(feature = "jemalloc"))]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let (config, sources) = match cli::run(&arguments) {
        cli::Task::Serve(config, sources) => (config, sources),
        cli::Task::Done(code) => return code,
    };
    // Before there are threads.
    let passed = passed::take();
    config::log::init(&config.log);
    std::panic::set_hook(Box::new(log_panic));
    let status = match serve(*config, sources, passed) {
        Ok(()) => Status::Done,
        Err(ExitStatus(status)) => status,
    };
    config::log::flush();
    status.into()
}

/// The log says why, and the process ends with this status.
struct ExitStatus(Status);

impl From<std::io::Error> for ExitStatus {
    fn from(error: std::io::Error) -> Self {
        error!(target: "gateway", "{error}");
        Self(Status::Failed)
    }
}

impl From<StartError> for ExitStatus {
    fn from(error: StartError) -> Self {
        error
            .to_string()
            .lines()
            .for_each(|line| error!(target: "gateway", "{line}"));
        Self(if error.is_configuration() {
            Status::Wrong
        } else {
            Status::Failed
        })
    }
}

/// A panic says so in the log, since standard error may be broken or stand still.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let thread = std::thread::current();
    let thread = thread.name().unwrap_or_default();
    let place = panic.location().map(ToString::to_string);
    let place = place.unwrap_or_default();
    let why = panic.payload_as_str().unwrap_or_default();
    let backtrace = Backtrace::capture();
    if backtrace.status() == BacktraceStatus::Captured {
        error!(target: "gateway", thread, %backtrace, "panicked at {place}: {why}");
    } else {
        error!(target: "gateway", thread, "panicked at {place}: {why}");
    }
}

/// Serves until the process is told to stop. Told a second time, it ends without another word; so it
/// does when the node lost a part without which it is none.
fn serve(
    config: Config,
    sources: Sources,
    passed: Result<Passed, String>,
) -> Result<(), ExitStatus> {
    let passed = passed.map_err(|problem| {
        error!(target: "gateway", "{problem}");
        ExitStatus(Status::Wrong)
    })?;
    sources
        .foreign()
        .iter()
        .for_each(|variable| warn!(target: "gateway", "{variable}"));
    if let Err(error) = rlimit::increase_nofile_limit(u64::MAX) {
        warn!(target: "gateway", %error, "cannot raise the limit of open files");
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut signals = Signals::new()?;
        let greeting = Greeting::new(&config);
        let drain = config.shutdown.drain;
        let server = Server::new(config)
            .sources(sources)
            .listeners(passed.clients, passed.internal);
        let running = server.start().await?;
        greeting.say(&running);
        notify::ready(&running).await;
        let reloads = Reloads::start(running.reloads());
        let failure = running.failure();
        tokio::pin!(failure);
        let told = loop {
            tokio::select! {
                told = signals.next() => match told {
                    Told::Stop(signal) => break signal,
                    Told::Reload => reloads.ask(),
                },
                part = &mut failure => give_up(&part),
            }
        };
        info!(target: "gateway", signal = ?told, "stopping");
        reloads.is_last.store(true, Ordering::Relaxed);
        notify::stopping(drain).await;
        let stopped = async {
            match told {
                StopSignal::Terminate => running.stop().await,
                StopSignal::Interrupt => running.stop_at_once().await,
            }
        };
        tokio::select! {
            () = stopped => info!(target: "gateway", "stopped"),
            part = failure => give_up(&part),
            () = signals.stop(&reloads) => {
                warn!(target: "gateway", "second signal: the process ends at once");
                end_at_once(Status::Done);
            }
        }
        Ok(())
    })
}

/// Reloads, one after the other, beside what the program does otherwise.
struct Reloads {
    asked: Arc<Notify>,
    /// The process stops, and systemd hears of nothing else any more.
    is_last: Arc<AtomicBool>,
}

impl Reloads {
    fn start(handle: ReloadHandle) -> Self {
        let asked = Arc::<Notify>::default();
        let is_last = Arc::<AtomicBool>::default();
        let reloads = Self {
            asked: Arc::clone(&asked),
            is_last: Arc::clone(&is_last),
        };
        tokio::spawn(async move {
            loop {
                asked.notified().await;
                if is_last.load(Ordering::Relaxed) {
                    let _logged = handle.reload().await;
                    continue;
                }
                notify::reloading().await;
                let reloaded = handle.reload().await;
                notify::reloaded(&reloaded).await;
            }
        });
        reloads
    }

    /// Has the settings read again. Those that ask while they are read share the time after.
    fn ask(&self) {
        self.asked.notify_one();
    }
}

fn ignore(signal: &str) {
    warn!(target: "gateway",
        signal,
        "signal ignored: SIGHUP has the node read its settings again, and SIGTERM stops it"
    );
}

/// The node lost a part. Its clients come back to another one, or to this one once it is started again.
fn give_up(part: &str) -> ! {
    error!(target: "gateway", part, "a vital part of the node has ended: the process ends");
    end_at_once(Status::Failed)
}

fn end_at_once(status: Status) -> ! {
    config::log::flush();
    std::process::exit(status.code().into())
}

/// What is said on standard output of where the node listens, for people and for scripts that wait
/// for it. A log in JSON is for machines, and has a line of its own for this.
struct Greeting {
    is_wanted: bool,
    scheme: &'static str,
    demo: bool,
}

impl Greeting {
    fn new(config: &Config) -> Self {
        Self {
            is_wanted: config.log.format == LogFormat::Text,
            scheme: if config.tls.is_some() {
                "https"
            } else {
                "http"
            },
            demo: config.demo.unwrap_or_else(|| config.is_open_relay()),
        }
    }

    fn say(&self, running: &Running) {
        if !self.is_wanted {
            return;
        }
        let (version, scheme) = (env!("CARGO_PKG_VERSION"), self.scheme);
        let mut text = format!("gateway {version} is listening\n");
        for address in running.addresses() {
            text += &format!("  clients:          {}\n", place(scheme, address));
        }
        let port = running.addresses().iter().find_map(Address::tcp);
        if let Some(port) = port.map(|it| it.port()).filter(|_| self.demo) {
            text += &format!("  demo page:        {scheme}://localhost:{port}/\n");
        }
        for address in running.internal_addresses() {
            text += &format!("  metrics, health:  {}\n", place("http", address));
        }
        config::log::print(&text);
    }
}

/// As a URL, which only an address of TCP has.
fn place(scheme: &str, address: &Address) -> String {
    match address.tcp() {
        Some(address) => format!("{scheme}://{address}"),
        None => address.to_string(),
    }
}

/// What a signal asks for.
enum Told {
    /// The end.
    Stop(StopSignal),
    /// SIGHUP: to read again what may change while the node serves.
    Reload,
}

/// A signal that ends the process.
#[derive(Debug)]
enum StopSignal {
    /// SIGINT, by somebody at a keyboard: to stop at once.
    Interrupt,
    /// SIGTERM: to drain, then stop.
    Terminate,
}

struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
    /// By these other programs begin a new log, for example; the node does nothing.
    user1: Signal,
    user2: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
            user1: signal(SignalKind::user_defined1())?,
            user2: signal(SignalKind::user_defined2())?,
        })
    }

    async fn next(&mut self) -> Told {
        loop {
            let ignored = tokio::select! {
                _ = self.interrupt.recv() => return Told::Stop(StopSignal::Interrupt),
                _ = self.terminate.recv() => return Told::Stop(StopSignal::Terminate),
                _ = self.hangup.recv() => return Told::Reload,
                _ = self.user1.recv() => "SIGUSR1",
                _ = self.user2.recv() => "SIGUSR2",
            };
            ignore(ignored);
        }
    }

    /// The next signal to stop.
    async fn stop(&mut self, reloads: &Reloads) {
        while let Told::Reload = self.next().await {
            reloads.ask();
        }
    }
}
