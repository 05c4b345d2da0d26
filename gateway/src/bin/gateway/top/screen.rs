//! The view in a terminal, as a machine: keys and answers go in, a picture comes out.

use std::collections::VecDeque;
use std::io;

use ratatui::Frame;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Text};
use ratatui::widgets::{Block, Borders, Paragraph, Row as TableRow, Table, TableState};

use super::figures::Figures;
use super::sheet::{Sheet, Subject};

/// Most lines of a trace that are kept.
const MAX_LINES: usize = 1000;

const KEYS: &str =
    "q quit   tab other table   \u{2191}\u{2193} select   \u{2190}\u{2192} sort   t trace";

const TRACE_KEYS: &str = "esc back   q quit";

/// What is shown, and what the user chose.
pub(super) struct Screen {
    sheets: Option<[Sheet; 3]>,
    /// Why there is no answer.
    problem: Option<String>,
    /// The table that keys are for.
    focus: usize,
    /// By which column each table is sorted.
    sorted: [usize; 3],
    selected: [usize; 3],
    trace: Option<Trace>,
    theme: Theme,
}

struct Trace {
    subject: Subject,
    lines: VecDeque<String>,
}

/// Whether there are colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Theme {
    Colours,
    Plain,
}

/// What a key asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wish {
    Quit,
    Trace(Subject),
    EndTrace,
}

impl Screen {
    pub(super) fn new(theme: Theme) -> Self {
        Self {
            sheets: None,
            problem: None,
            focus: 0,
            // Connections; what is sent of rooms; what users send.
            sorted: [1, 2, 1],
            selected: [0; 3],
            trace: None,
            theme,
        }
    }

    /// A node answered, or did not.
    pub(super) fn handle_answer(&mut self, answer: io::Result<Figures>) {
        match answer {
            Ok(figures) => {
                self.problem = None;
                self.sheets = Some(Sheet::all(&figures));
                self.sort();
            }
            Err(error) => self.problem = Some(error.to_string()),
        }
    }

    /// A line of the trace came.
    pub(super) fn handle_line(&mut self, line: String) {
        if let Some(trace) = &mut self.trace {
            if trace.lines.len() == MAX_LINES {
                trace.lines.pop_front();
            }
            trace.lines.push_back(line);
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "most keys do nothing")]
    pub(super) fn handle_key(&mut self, key: KeyEvent) -> Option<Wish> {
        if key.kind == KeyEventKind::Release {
            return None;
        }
        let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('c') if is_control => return Some(Wish::Quit),
            KeyCode::Char('q') => return Some(Wish::Quit),
            KeyCode::Esc if self.trace.is_some() => {
                self.trace = None;
                return Some(Wish::EndTrace);
            }
            _ if self.trace.is_some() => {}
            KeyCode::Tab => self.focus = (self.focus + 1) % 3,
            KeyCode::BackTab => self.focus = (self.focus + 2) % 3,
            KeyCode::Down => self.select(1),
            KeyCode::Up => self.select(-1),
            KeyCode::Right => self.sort_by(1),
            KeyCode::Left => self.sort_by(-1),
            KeyCode::Char('t') | KeyCode::Enter => {
                let subject = self.subject()?;
                self.trace = Some(Trace {
                    subject: subject.clone(),
                    lines: VecDeque::new(),
                });
                return Some(Wish::Trace(subject));
            }
            _ => {}
        }
        None
    }

    /// What the selected row is.
    fn subject(&self) -> Option<Subject> {
        let sheet = &self.sheets.as_ref()?[self.focus];
        sheet.rows.get(self.selected[self.focus])?.subject.clone()
    }

    fn select(&mut self, step: isize) {
        let rows = self
            .sheets
            .as_ref()
            .map_or(0, |it| it[self.focus].rows.len());
        let selected = &mut self.selected[self.focus];
        *selected = selected
            .saturating_add_signed(step)
            .min(rows.saturating_sub(1));
    }

    fn sort_by(&mut self, step: isize) {
        let Some(sheets) = &self.sheets else { return };
        let last = sheets[self.focus].columns.len() - 1;
        let sorted = &mut self.sorted[self.focus];
        *sorted = sorted.saturating_add_signed(step).min(last);
        self.sort();
    }

    fn sort(&mut self) {
        for (place, sheet) in self.sheets.iter_mut().flatten().enumerate() {
            sheet.sort(self.sorted[place]);
            self.selected[place] = self.selected[place].min(sheet.rows.len().saturating_sub(1));
        }
    }

    pub(super) fn draw(&self, frame: &mut Frame<'_>) {
        let rows = Layout::vertical([Constraint::Min(0), Constraint::Length(1)]);
        let [main, foot] = rows.areas(frame.area());
        match (&self.trace, &self.sheets) {
            (Some(trace), _) => self.draw_trace(frame, main, trace),
            (None, Some(sheets)) => self.draw_sheets(frame, main, sheets),
            (None, None) => frame.render_widget("asking the nodes ..", main),
        }
        let keys = if self.trace.is_some() {
            TRACE_KEYS
        } else {
            KEYS
        };
        let foot_line = match &self.problem {
            Some(problem) => Line::styled(problem.as_str(), self.colour(Color::Red)),
            None => Line::styled(keys, Style::new().add_modifier(Modifier::DIM)),
        };
        frame.render_widget(foot_line, foot);
    }

    fn draw_sheets(&self, frame: &mut Frame<'_>, area: Rect, sheets: &[Sheet; 3]) {
        // A title, the heads and a line for each node; the busiest share what is left.
        let nodes = u16::try_from(sheets[0].rows.len() + 2).unwrap_or(u16::MAX);
        let rows = [
            Constraint::Max(nodes.min(area.height / 2)),
            Constraint::Min(0),
        ];
        let [above, below] = Layout::vertical(rows).areas(area);
        let [left, right] = Layout::horizontal([Constraint::Fill(1); 2]).areas(below);
        for (place, area) in [above, left, right].into_iter().enumerate() {
            self.draw_sheet(frame, area, &sheets[place], place);
        }
    }

    fn draw_sheet(&self, frame: &mut Frame<'_>, area: Rect, sheet: &Sheet, place: usize) {
        let bold = Style::new().add_modifier(Modifier::BOLD);
        let is_focus = self.focus == place;
        let title = match is_focus {
            true => Line::styled(
                format!("> {}", sheet.title),
                self.colour(Color::Cyan).patch(bold),
            ),
            false => Line::styled(sheet.title.as_str(), bold),
        };
        let heads = sheet.columns.iter().enumerate().map(|(column, head)| {
            let head = Text::from(*head);
            let head = if column == 0 {
                head
            } else {
                head.right_aligned()
            };
            match self.sorted[place] == column {
                true => head.style(Style::new().add_modifier(Modifier::UNDERLINED)),
                false => head,
            }
        });
        let rows = sheet.rows.iter().map(|row| {
            let cells = row.cells.iter().enumerate().map(|(column, cell)| {
                let text = Text::from(cell.as_str());
                if column == 0 {
                    text
                } else {
                    text.right_aligned()
                }
            });
            TableRow::new(cells).style(self.style_of(row.cells.last()))
        });
        let widths = sheet.widths().into_iter();
        let widths =
            widths.map(|width| Constraint::Length(u16::try_from(width).unwrap_or(u16::MAX)));
        let table = Table::new(rows, widths)
            .header(TableRow::new(heads))
            .block(Block::new().title(title).borders(Borders::TOP))
            .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
        let mut state = TableState::new();
        state.select(is_focus.then_some(self.selected[place]));
        frame.render_stateful_widget(table, area, &mut state);
    }

    /// A node that needs a look stands out.
    fn style_of(&self, state: Option<&String>) -> Style {
        match state.map(String::as_str) {
            Some("no answer" | "alone") => self.colour(Color::Red),
            Some("draining") => self.colour(Color::Yellow),
            Some(_) | None => Style::new(),
        }
    }

    fn draw_trace(&self, frame: &mut Frame<'_>, area: Rect, trace: &Trace) {
        let title = match &trace.subject {
            Subject::User(name) => format!("trace of user {}", name.escape_debug()),
            Subject::Room(name) => format!("trace of room {}", name.escape_debug()),
        };
        let height = usize::from(area.height.saturating_sub(1));
        let hidden = trace.lines.len().saturating_sub(height);
        let lines = trace
            .lines
            .iter()
            .skip(hidden)
            .map(|line| Line::from(line.as_str()));
        let lines = Paragraph::new(lines.collect::<Vec<_>>());
        let block = Block::new().title(title).borders(Borders::TOP);
        frame.render_widget(lines.block(block), area);
    }

    fn colour(&self, colour: Color) -> Style {
        match self.theme {
            Theme::Colours => Style::new().fg(colour),
            Theme::Plain => Style::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::top::sheet::tests::ANSWER;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    fn screen(theme: Theme) -> Screen {
        let mut screen = Screen::new(theme);
        screen.handle_answer(Figures::parse(ANSWER));
        screen
    }

    fn drawn(screen: &Screen, width: u16, height: u16) -> Terminal<TestBackend> {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| screen.draw(frame)).unwrap();
        terminal
    }

    fn text(screen: &Screen, width: u16, height: u16) -> Vec<String> {
        let terminal = drawn(screen, width, height);
        let buffer = terminal.backend().buffer();
        let cells: Vec<_> = buffer.content().iter().map(|cell| cell.symbol()).collect();
        let lines = cells.chunks(usize::from(width));
        lines
            .map(|line| line.concat().trim_end().to_owned())
            .collect()
    }

    fn press(screen: &mut Screen, code: KeyCode) -> Option<Wish> {
        screen.handle_key(KeyEvent::from(code))
    }

    #[test]
    fn all_tables_are_there_and_the_busiest_rows_first() {
        let shown = text(&screen(Theme::Plain), 160, 20);
        let place = |start: &str| {
            let found = shown.iter().position(|line| line.contains(start));
            found.unwrap_or_else(|| panic!("no {start:?} in {shown:#?}"))
        };
        assert_eq!(place("> 3 nodes, and 1 Node servers"), 0);
        assert!(place("gw-2") < place("gw-1") && place("gw-1") < place("gw-3"));
        assert!(place("busiest rooms") == place("busiest users"));
        assert!(place("chat") < place("(everybody)"));
        assert!(place("bob") < place("ann"));
        assert!(shown.last().unwrap().starts_with("q quit"));
        assert!(!shown.concat().contains('\u{1b}'));
    }

    #[test]
    fn keys_sort_select_and_trace() {
        let mut screen = screen(Theme::Plain);
        assert_eq!(
            press(&mut screen, KeyCode::Char('t')),
            None,
            "a node has no trace"
        );
        press(&mut screen, KeyCode::Left);
        let shown = text(&screen, 160, 20).concat();
        assert!(shown.find("gw-1") < shown.find("gw-2"), "by name");
        press(&mut screen, KeyCode::BackTab);
        for code in [KeyCode::Down, KeyCode::Down, KeyCode::Down] {
            press(&mut screen, code);
        }
        let ann = Subject::User("ann\u{1b}[31m".to_owned());
        assert_eq!(press(&mut screen, KeyCode::Enter), Some(Wish::Trace(ann)));
        for number in 0..2 * MAX_LINES {
            screen.handle_line(format!("line {number}"));
        }
        let shown = text(&screen, 60, 10);
        assert!(
            shown[0].starts_with(r"trace of user ann\u{1b}[31m"),
            "{shown:#?}"
        );
        assert_eq!(shown[8], format!("line {}", 2 * MAX_LINES - 1));
        assert_eq!(press(&mut screen, KeyCode::Tab), None);
        assert_eq!(press(&mut screen, KeyCode::Esc), Some(Wish::EndTrace));
        assert!(text(&screen, 160, 20).concat().contains("busiest rooms"));
        let room = |screen: &mut Screen| {
            press(screen, KeyCode::BackTab);
            press(screen, KeyCode::Char('t'))
        };
        let chat = Subject::Room("chat".to_owned());
        assert_eq!(room(&mut screen), Some(Wish::Trace(chat)));
    }

    #[test]
    fn q_and_control_c_leave_from_everywhere() {
        let control_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        let mut screen = screen(Theme::Plain);
        press(&mut screen, KeyCode::BackTab);
        for _ in 0..2 {
            assert_eq!(press(&mut screen, KeyCode::Char('q')), Some(Wish::Quit));
            assert_eq!(screen.handle_key(control_c), Some(Wish::Quit));
            press(&mut screen, KeyCode::Char('t'));
        }
        assert_eq!(press(&mut screen, KeyCode::Char('c')), None);
    }

    #[test]
    fn it_fits_into_any_size() {
        let mut screen = screen(Theme::Colours);
        for (width, height) in [(1, 1), (3, 2), (20, 5), (80, 24), (300, 100)] {
            text(&screen, width, height);
        }
        press(&mut screen, KeyCode::Tab);
        press(&mut screen, KeyCode::Char('t'));
        screen.handle_line("x".repeat(1000));
        for (width, height) in [(1, 1), (20, 3), (80, 24)] {
            text(&screen, width, height);
        }
        text(&Screen::new(Theme::Plain), 1, 1);
    }

    #[test]
    fn colours_are_there_only_if_they_may_be() {
        let is_coloured = |theme| {
            let mut screen = screen(theme);
            screen.handle_answer(Err(io::Error::other("it is away")));
            let terminal = drawn(&screen, 160, 20);
            let cells = terminal.backend().buffer().content().iter();
            let mut cells = cells.filter(|cell| cell.fg != Color::Reset || cell.bg != Color::Reset);
            cells.next().is_some()
        };
        assert!(is_coloured(Theme::Colours));
        assert!(!is_coloured(Theme::Plain));
    }

    #[test]
    fn the_last_figures_stay_while_a_node_does_not_answer() {
        let mut screen = screen(Theme::Plain);
        screen.handle_answer(Err(io::Error::other("it is away")));
        let shown = text(&screen, 160, 20);
        assert!(shown.concat().contains("gw-1"));
        assert_eq!(shown.last().unwrap(), "it is away");
    }
}
