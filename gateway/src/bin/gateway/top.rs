//! `gateway top`: what the cluster is busy with, in a terminal or as text.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use crate::internal_port::{InternalPort, ended};
use figures::Figures;

mod figures;
#[cfg(any(feature = "top", test))]
mod screen;
mod sheet;
#[cfg(any(feature = "top", test))]
mod terminal;

/// How often nodes are asked if nobody says how often.
pub(crate) const USUAL_INTERVAL: Duration = Duration::from_secs(2);

/// What is shown, and where it is asked.
pub(crate) struct Order {
    pub(crate) port: InternalPort,
    /// Whether it is printed once.
    pub(crate) once: bool,
    /// Whether answers are printed as they are.
    pub(crate) json: bool,
    pub(crate) interval: Duration,
}

/// Shows it until the user leaves, or prints it until nobody reads any more.
pub(crate) fn run(order: &Order) -> ExitCode {
    let is_text = order.once || order.json || !io::stdout().is_terminal();
    ended(match is_text {
        true => print(order),
        false => show(order),
    })
}

fn print(order: &Order) -> io::Result<()> {
    loop {
        let answer = order.port.get(TARGET)?.whole()?;
        let text = match order.json {
            true => answer + "\n",
            false => sheet::text(&Figures::parse(&answer)?),
        };
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()?;
        if order.once {
            return Ok(());
        }
        thread::sleep(order.interval);
    }
}

#[cfg(any(feature = "top", test))]
fn show(order: &Order) -> io::Result<()> {
    terminal::run(order)
}

#[cfg(not(any(feature = "top", test)))]
fn show(_: &Order) -> io::Result<()> {
    Err(io::Error::other(
        "this program was built without its feature top, which shows this in a terminal: build it with \
         cargo build --release --features gateway/top, or use --once or --json",
    ))
}

/// The call.
const TARGET: &str = "/api/v1/top";
