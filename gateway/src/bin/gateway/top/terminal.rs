//! The terminal around the screen: keys and answers go in, pictures come out.

use std::io;
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread;
use std::time::Duration;

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event};
use tokio::signal::unix::{SignalKind, signal};

use super::figures::Figures;
use super::screen::{Screen, Theme, Wish};
use super::sheet::Subject;
use super::{Order, TARGET};
use crate::internal_port::{InternalPort, escaped};
use crate::trace::{readable, target};

/// How long a key may wait for an answer, and an answer for a key.
const LOOKS: Duration = Duration::from_millis(100);

/// Most answers and lines that wait to be shown; what brings more waits.
const MAX_WAITING: usize = 256;

/// What the threads bring that ask.
enum News {
    Answer(io::Result<Figures>),
    /// A line of the trace of this number.
    Line(u64, String),
}

/// The trace that is read now. Dropped, it ends.
struct Following {
    number: u64,
    _ender: Option<Ender>,
}

/// The connection of a trace. Dropped, it is shut down.
struct Ender(TcpStream);

impl Drop for Ender {
    fn drop(&mut self) {
        let _gone = self.0.shutdown(Shutdown::Both);
    }
}

/// Shows it until the user leaves, or the program is to end. The terminal is then as it was, also after a panic.
pub(super) fn run(order: &Order) -> io::Result<()> {
    let is_to_end = told_to_end()?;
    let mut terminal = ratatui::try_init()?;
    let shown = show(order, &mut terminal, &is_to_end);
    ratatui::restore();
    shown
}

/// What becomes true with SIGTERM, or with SIGHUP: the terminal is closed.
fn told_to_end() -> io::Result<Arc<AtomicBool>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    let entered = runtime.enter();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    drop(entered);
    let is_told = Arc::new(AtomicBool::new(false));
    let telling = Arc::clone(&is_told);
    thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = hangup.recv() => {}
            }
        });
        telling.store(true, Ordering::Relaxed);
    });
    Ok(is_told)
}

fn show(order: &Order, terminal: &mut DefaultTerminal, is_to_end: &AtomicBool) -> io::Result<()> {
    let (bring, news) = mpsc::sync_channel(MAX_WAITING);
    let asking = (order.port.clone(), order.interval, bring.clone());
    thread::spawn(move || ask(&asking.0, asking.1, &asking.2));
    let no_colour = std::env::var_os("NO_COLOR").is_some_and(|it| !it.is_empty());
    let theme = if no_colour {
        Theme::Plain
    } else {
        Theme::Colours
    };
    let mut screen = Screen::new(theme);
    let mut following: Option<Following> = None;
    let mut number = 0;
    loop {
        if is_to_end.load(Ordering::Relaxed) {
            return Ok(());
        }
        take(&news, &mut screen, following.as_ref());
        terminal.draw(|frame| screen.draw(frame))?;
        match event::poll(LOOKS) {
            Ok(true) => {}
            Ok(false) => continue,
            // A signal woke it.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        }
        let Event::Key(key) = event::read()? else {
            continue;
        };
        match screen.handle_key(key) {
            Some(Wish::Quit) => return Ok(()),
            Some(Wish::EndTrace) => following = None,
            Some(Wish::Trace(subject)) => {
                number += 1;
                following = Some(follow(&order.port, &subject, number, bring.clone()));
            }
            None => {}
        }
    }
}

/// Shows the screen what came.
fn take(news: &Receiver<News>, screen: &mut Screen, following: Option<&Following>) {
    for news in news.try_iter().take(MAX_WAITING) {
        match news {
            News::Answer(answer) => screen.handle_answer(answer),
            News::Line(number, line) if following.is_some_and(|it| it.number == number) => {
                screen.handle_line(line);
            }
            News::Line(..) => {}
        }
    }
}

/// Asks a node again and again, until nobody wants to know.
fn ask(port: &InternalPort, interval: Duration, bring: &SyncSender<News>) {
    loop {
        let answer = port.get(TARGET).and_then(|answer| answer.whole());
        let figures = answer.and_then(|text| Figures::parse(&text));
        if bring.send(News::Answer(figures)).is_err() {
            return;
        }
        thread::sleep(interval);
    }
}

/// Traces somebody until that ends.
fn follow(
    port: &InternalPort,
    subject: &Subject,
    number: u64,
    bring: SyncSender<News>,
) -> Following {
    let query = match subject {
        Subject::User(name) => format!("user={}", escaped(name)),
        Subject::Room(name) => format!("room={}", escaped(name)),
    };
    let opened = port.get(&target(&query)).and_then(|answer| {
        answer.wait_for_ever()?;
        Ok((Ender(answer.connection()?), answer))
    });
    let (ender, mut answer) = match opened {
        Ok((ender, answer)) => (Some(ender), answer),
        Err(error) => {
            let _full = bring.try_send(News::Line(number, error.to_string()));
            let _ender = None;
            return Following { number, _ender };
        }
    };
    thread::spawn(move || {
        while let Ok(Some(line)) = answer.line() {
            let line = serde_json::from_str(&line).map_or(line, |fields| readable(&fields));
            if bring.send(News::Line(number, line)).is_err() {
                return;
            }
        }
    });
    Following {
        number,
        _ender: ender,
    }
}
