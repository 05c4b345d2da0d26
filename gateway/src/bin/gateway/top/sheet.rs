//! Tables of nodes, rooms and users, for the terminal and as text.

use super::figures::Figures;

/// Most characters of a name.
const MAX_NAME: usize = 40;

/// A table. Its first column has names, the others numbers or words.
#[derive(Debug)]
pub(super) struct Sheet {
    pub(super) title: String,
    pub(super) columns: &'static [&'static str],
    pub(super) rows: Vec<Row>,
}

#[derive(Debug)]
pub(super) struct Row {
    pub(super) cells: Vec<String>,
    /// What it is sorted by, column by column; names have none.
    values: Vec<f64>,
    /// What a trace of it follows.
    #[cfg_attr(
        not(any(feature = "top", test)),
        expect(dead_code, reason = "only the view in a terminal traces")
    )]
    pub(super) subject: Option<Subject>,
}

/// What a trace follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Subject {
    User(String),
    Room(String),
}

const NODES: &[&str] = &[
    "NODE", "CONN", "IN/S", "OUT/S", "OPEN/S", "CLOSE/S", "REFUSE/S", "B IN/S", "B OUT/S", "CPU",
    "WAITING", "PING50", "PING99", "QUEUE99", "LAG99", "STATE",
];

const ROOMS: &[&str] = &["ROOM", "EVENTS/S", "SENT/S", "NAMESPACE"];

const USERS: &[&str] = &["USER", "IN/S", "OUT/S"];

impl Sheet {
    /// Nodes, rooms, users.
    pub(super) fn all(figures: &Figures) -> [Self; 3] {
        [
            Self::nodes(figures),
            Self::rooms(figures),
            Self::users(figures),
        ]
    }

    fn nodes(figures: &Figures) -> Self {
        let milliseconds = |value: Option<f64>| Cell {
            text: value.map_or_else(|| "-".to_owned(), |value| format!("{value:.1}ms")),
            value: value.unwrap_or(-1.0),
        };
        let answered = figures.nodes.iter().map(|node| {
            let state = match (node.up, node.draining) {
                (_, true) => "draining",
                (true, false) => "ok",
                (false, false) => "alone",
            };
            let cells = [
                number(node.connections as f64),
                number(node.events_in),
                number(node.events_out),
                number(node.opened),
                number(node.closed),
                number(node.refused),
                number(node.bytes_in),
                number(node.bytes_out),
                Cell::new(format!("{:.0}%", node.cpu * 100.0), node.cpu),
                number(node.outbox_bytes as f64),
                milliseconds(node.heartbeat_p50_ms),
                milliseconds(node.heartbeat_p99_ms),
                milliseconds(node.broadcast_p99_ms),
                milliseconds(node.lag_p99_ms),
                Cell::new(state.to_owned(), 0.0),
            ];
            Row::new(&node.id, cells, None)
        });
        let missing = figures.missing_nodes.iter().map(|node| {
            let unknown = || Cell::new("-".to_owned(), -1.0);
            let mut cells: Vec<_> = (2..NODES.len()).map(|_| unknown()).collect();
            cells.push(Cell::new("no answer".to_owned(), 1.0));
            Row::new(node, cells, None)
        });
        let rows: Vec<_> = answered.chain(missing).collect();
        let others = match figures.missing_others {
            0 => String::new(),
            count => format!(", and {count} Node servers, which do not answer"),
        };
        Self {
            title: format!("{} nodes{others}", rows.len()),
            columns: NODES,
            rows,
        }
    }

    fn rooms(figures: &Figures) -> Self {
        let rows = figures.rooms.iter().map(|room| {
            let name = room.name.as_deref().unwrap_or("(everybody)");
            let namespace = Cell::new(shown(&room.namespace), 0.0);
            let cells = [number(room.events), number(room.deliveries), namespace];
            Row::new(name, cells, room.name.clone().map(Subject::Room))
        });
        Self {
            title: "busiest rooms".to_owned(),
            columns: ROOMS,
            rows: rows.collect(),
        }
    }

    fn users(figures: &Figures) -> Self {
        let rows = figures.users.iter().map(|user| {
            let cells = [number(user.events_in), number(user.events_out)];
            Row::new(&user.user, cells, Some(Subject::User(user.user.clone())))
        });
        Self {
            title: "busiest users".to_owned(),
            columns: USERS,
            rows: rows.collect(),
        }
    }

    /// Sorts it by a column: names from A on, numbers from the highest on.
    #[cfg(any(feature = "top", test))]
    pub(super) fn sort(&mut self, column: usize) {
        self.rows.sort_by(|a, b| match column.checked_sub(1) {
            None => a.cells[0].cmp(&b.cells[0]),
            Some(column) => b.values[column].total_cmp(&a.values[column]),
        });
    }

    /// How wide each column has to be.
    pub(super) fn widths(&self) -> Vec<usize> {
        let width = |column: usize| {
            let cells = self
                .rows
                .iter()
                .map(|row| row.cells[column].chars().count());
            cells.chain([self.columns[column].len()]).max()
        };
        (0..self.columns.len()).filter_map(width).collect()
    }
}

impl Row {
    fn new(name: &str, cells: impl IntoIterator<Item = Cell>, subject: Option<Subject>) -> Self {
        let mut row = Self {
            cells: vec![shown(name)],
            values: Vec::new(),
            subject,
        };
        for cell in cells {
            row.cells.push(cell.text);
            row.values.push(cell.value);
        }
        row
    }
}

struct Cell {
    text: String,
    value: f64,
}

impl Cell {
    fn new(text: String, value: f64) -> Self {
        Self { text, value }
    }
}

/// At most five characters: `0.4`, `12`, `3.4k`, `12M`.
fn number(value: f64) -> Cell {
    let mut scaled = value;
    let mut unit = "";
    for larger in ["k", "M", "G", "T"] {
        if scaled < 999.5 {
            break;
        }
        scaled /= 1000.0;
        unit = larger;
    }
    let digits = usize::from(scaled < 9.95 && scaled.fract() != 0.0);
    Cell::new(format!("{scaled:.digits$}{unit}"), value)
}

/// Clients choose names: a terminal must not obey them.
fn shown(name: &str) -> String {
    let harmless = |letter: char| match letter.is_control() {
        true => '\u{FFFD}',
        false => letter,
    };
    let mut shown: String = name.chars().take(MAX_NAME).map(harmless).collect();
    if name.chars().nth(MAX_NAME).is_some() {
        shown.push('…');
    }
    shown
}

/// All tables as text.
pub(super) fn text(figures: &Figures) -> String {
    let mut text = String::new();
    for sheet in Sheet::all(figures) {
        let widths = sheet.widths();
        let heads = sheet
            .columns
            .iter()
            .map(|head| (*head).to_owned())
            .collect();
        let rows = sheet.rows.into_iter().map(|row| row.cells);
        text += &format!("{}\n", sheet.title);
        for cells in std::iter::once::<Vec<String>>(heads).chain(rows) {
            let padded = cells.iter().zip(&widths).enumerate();
            let padded = padded.map(|(column, (cell, width))| match column {
                0 => format!("{cell:width$}"),
                _ => format!("{cell:>width$}"),
            });
            text += &format!("{}\n", padded.collect::<Vec<_>>().join("  "));
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) const ANSWER: &str = r#"{
        "nodes": [
            {"id": "gw-1", "up": true, "connections": 12, "events_in": 96.25, "events_out": 4810.5, "cpu": 0.314,
             "heartbeat_p99_ms": 41.04},
            {"id": "gw-2", "up": true, "draining": true, "connections": 2500}],
        "rooms": [{"namespace": "/", "name": "chat", "events": 4.04, "deliveries": 2005.0},
                  {"namespace": "/", "name": null, "events": 0.5, "deliveries": 1.0}],
        "users": [{"user": "ann\u001b[31m", "events_in": 1.2, "events_out": 40.0},
                  {"user": "bob", "events_in": 7.0, "events_out": 3.0}],
        "missing_nodes": ["gw-3"], "missing_others": 1}"#;

    #[test]
    fn tables_have_all_and_no_terminal_obeys_a_name() {
        let text = text(&Figures::parse(ANSWER).unwrap());
        assert!(!text.contains('\u{1b}'), "{text}");
        let lines: Vec<Vec<&str>> = text
            .lines()
            .map(|it| it.split_whitespace().collect())
            .collect();
        let starts = |start: &[&str]| lines.iter().any(|line| line.starts_with(start));
        for start in [
            &["3", "nodes,", "and", "1", "Node", "servers,"][..],
            &["gw-1", "12", "96", "4.8k"],
            &["gw-2", "2.5k", "0"],
            &["gw-3", "-"],
            &["chat", "4.0", "2.0k", "/"],
            &["(everybody)", "0.5", "1", "/"],
            &["ann\u{FFFD}[31m", "1.2", "40"],
        ] {
            assert!(starts(start), "{start:?}: {text}");
        }
        for end in ["ok", "draining", "no answer"] {
            assert!(text.contains(&format!("  {end}\n")) || text.contains(&format!(" {end}\n")));
        }
    }

    #[test]
    fn numbers_are_short() {
        let cases = [
            (0.0, "0"),
            (0.44, "0.4"),
            (9.96, "10"),
            (999.4, "999"),
            (999.6, "1.0k"),
        ];
        for (value, text) in cases
            .into_iter()
            .chain([(12_345.0, "12k"), (4.2e9, "4.2G")])
        {
            assert_eq!(number(value).text, text);
        }
    }

    #[test]
    fn a_table_is_sorted_by_the_column_that_is_chosen() {
        let [mut nodes, _, mut users] = Sheet::all(&Figures::parse(ANSWER).unwrap());
        let names = |sheet: &Sheet| -> Vec<String> {
            sheet.rows.iter().map(|row| row.cells[0].clone()).collect()
        };
        nodes.sort(1);
        assert_eq!(names(&nodes), ["gw-2", "gw-1", "gw-3"]);
        nodes.sort(0);
        assert_eq!(names(&nodes), ["gw-1", "gw-2", "gw-3"]);
        users.sort(1);
        assert_eq!(names(&users)[0], "bob");
    }
}
