//! What a line of the log says of its origin does not change when a file moves: each target is written
//! out, and docs/logs.md lists them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

const CRATES: [&str; 4] = ["protocol", "adapter", "adapter-redis", "gateway"];
const LEVELS: [&str; 5] = ["trace!(", "debug!(", "info!(", "warn!(", "error!("];
/// What else has a target: nothing needs it.
const UNUSED: [&str; 4] = ["event!(", "span!(", "enabled!(", "#[instrument"];

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn sources(folder: &Path, found: &mut Vec<(PathBuf, String)>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|it| it == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            found.push((path, text));
        }
    }
}

/// Where `name` is called in a line, and not a part of another name.
fn calls<'a>(text: &'a str, name: &'a str) -> impl Iterator<Item = &'a str> {
    text.match_indices(name).filter_map(|(at, _)| {
        let before = text[..at].chars().next_back();
        let is_whole = !before.is_some_and(|it| it.is_alphanumeric() || it == '_');
        let line = text[..at].rsplit('\n').next().unwrap_or_default();
        (is_whole && !line.trim_start().starts_with("//")).then(|| &text[at + name.len()..])
    })
}

#[test]
fn every_line_names_its_target_and_the_page_lists_them() {
    let mut files = Vec::new();
    for name in CRATES {
        sources(&repository().join(name).join("src"), &mut files);
    }
    let mut used = BTreeSet::new();
    for (path, text) in &files {
        for name in UNUSED {
            let place = path.display();
            assert_eq!(calls(text, name).count(), 0, "{place}: {name}");
        }
        for arguments in LEVELS.iter().flat_map(|level| calls(text, level)) {
            let target = arguments.trim_start().strip_prefix("target: \"");
            let Some((target, _)) = target.and_then(|rest| rest.split_once('"')) else {
                let start: String = arguments.chars().take(80).collect();
                panic!("{}: no target in {start:?}", path.display());
            };
            used.insert(target.to_owned());
        }
    }
    assert!(used.len() > 30, "{used:?}");

    let page = std::fs::read_to_string(repository().join("docs/logs.md")).unwrap();
    let table = page.split("| target | lines |").nth(1).unwrap();
    let rows = table.lines().skip(1).take_while(|it| it.starts_with('|'));
    let cells = rows.filter_map(|row| row.split('|').nth(1));
    let names = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2));
    let listed: BTreeSet<_> = names.map(str::to_owned).collect();
    assert_eq!(listed, used);
}
