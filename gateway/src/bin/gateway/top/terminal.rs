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

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{IsTerminal, Read};
    use std::process::{Command, Stdio};
    use std::sync::Mutex;

    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};
    use testkit::program::Program;
    use testkit::wait::until;

    use super::*;
    use crate::internal_port::Place;

    /// Where the screen is in the program of the tests.
    const SHOWN: &str = "top::terminal::tests::shown_until_a_signal_comes";

    const ENTER: &str = "\x1b[?1049h";
    const LEAVE: &str = "\x1b[?1049l";
    const HIDE_CURSOR: &str = "\x1b[?25l";
    const SHOW_CURSOR: &str = "\x1b[?25h";

    #[test]
    #[ignore = "the next test has it run in a terminal"]
    fn shown_until_a_signal_comes() {
        assert!(io::stdout().is_terminal());
        let port = InternalPort {
            // Nobody listens there.
            place: Place::Named("127.0.0.1:9".to_owned()),
            key: "no key".to_owned(),
        };
        run(&Order {
            port,
            once: false,
            json: false,
            interval: Duration::from_secs(1),
        })
        .unwrap();
    }

    /// A terminal, and what it was sent.
    struct Pty {
        end: File,
        sent: Arc<Mutex<String>>,
    }

    impl Pty {
        fn open() -> Self {
            let screen = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
            grantpt(&screen).unwrap();
            unlockpt(&screen).unwrap();
            let name = ptsname(&screen, Vec::new()).unwrap();
            let mut options = File::options();
            let end = options.read(true).write(true).open(name.to_str().unwrap());
            let end = end.unwrap();
            let size = Winsize {
                ws_row: 40,
                ws_col: 120,
                ws_xpixel: 0,
                ws_ypixel: 0,
            };
            tcsetwinsize(&end, size).unwrap();
            let sent = Arc::<Mutex<String>>::default();
            let (kept, mut screen) = (Arc::clone(&sent), File::from(screen));
            thread::spawn(move || {
                let mut part = [0; 4096];
                while let Ok(length @ 1..) = screen.read(&mut part) {
                    let text = String::from_utf8_lossy(&part[..length]);
                    kept.lock().unwrap().push_str(&text);
                }
            });
            Self { end, sent }
        }

        fn stdio(&self) -> Stdio {
            self.end.try_clone().unwrap().into()
        }

        /// Whether what was sent last of these two is the second.
        fn is_over(&self, begin: &str, end: &str) -> bool {
            let sent = self.sent.lock().unwrap();
            sent.rfind(end) > sent.rfind(begin)
        }

        fn has(&self, text: &str) -> bool {
            self.sent.lock().unwrap().contains(text)
        }
    }

    #[test]
    fn a_signal_gives_the_terminal_back() {
        for signal in ["TERM", "HUP"] {
            let pty = Pty::open();
            let before = tcgetattr(&pty.end).unwrap();
            let usual = LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG;
            assert!(before.local_modes.contains(usual));
            let mut command = Command::new(std::env::current_exe().unwrap());
            command
                .args(["--exact", SHOWN, "--ignored", "--nocapture"])
                .stdin(pty.stdio())
                .stdout(pty.stdio())
                .stderr(pty.stdio());
            let mut program = Program::start(&mut command);
            until("it has the screen", || {
                pty.has(ENTER) && pty.has(HIDE_CURSOR)
            });
            let raw = || tcgetattr(&pty.end).unwrap().local_modes;
            until("keys come as they are", || !raw().intersects(usual));
            program.signal(signal);
            assert_eq!(program.ended().code(), Some(0), "{signal}");
            until("the screen is left", || pty.is_over(ENTER, LEAVE));
            until("the cursor is shown", || {
                pty.is_over(HIDE_CURSOR, SHOW_CURSOR)
            });
            let after = tcgetattr(&pty.end).unwrap();
            assert_eq!(after.local_modes, before.local_modes);
            assert_eq!(after.input_modes, before.input_modes);
            assert_eq!(after.output_modes, before.output_modes);
        }
    }
}
