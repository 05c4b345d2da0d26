//! Pages name files, what is in them, and figures: whoever looks there has to find them.

use std::path::{Path, PathBuf};

/// A file as the page names it: of the gateway's source, or of the repository.
fn file(name: &str) -> Option<PathBuf> {
    let gateway = Path::new(env!("CARGO_MANIFEST_DIR"));
    let places = [gateway.join("src"), gateway.join("..")];
    let mut found = places.iter().map(|place| place.join(name));
    found.find(|path| path.is_file())
}

fn page() -> String {
    text("docs/architecture.md")
}

/// A file of the repository.
fn text(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name);
    std::fs::read_to_string(path).unwrap()
}

/// What stands between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

#[test]
fn the_files_that_the_page_names_are_there() {
    let page = page();
    let prose = page.split("```").step_by(2);
    let names = prose.flat_map(quoted);
    let names: Vec<&str> = names.filter(|name| name.ends_with(".rs")).collect();
    assert!(names.len() > 80, "{}", names.len());
    for name in names {
        assert!(file(name).is_some(), "there is no {name}");
    }
}

/// Whether a file of the source defines this.
fn has(name: &str, thing: &str) -> bool {
    let path = file(name).unwrap_or_else(|| panic!("there is no {name}"));
    let text = std::fs::read_to_string(path).unwrap();
    let kinds = ["fn", "struct", "enum", "trait", "static", "const", "mod"];
    let is_at =
        |start: usize| !text[start..].starts_with(|it: char| it.is_alphanumeric() || it == '_');
    kinds.iter().any(|kind| {
        let definition = format!("{kind} {thing}");
        let mut found = text.match_indices(&definition);
        found.any(|(at, it)| is_at(at + it.len()))
    })
}

#[test]
fn what_the_walks_name_is_in_its_file() {
    let page = page();
    let words: Vec<&str> = quoted(&page).collect();
    let mut looked_up = 0;
    for pair in words.windows(2) {
        // `file`, `thing`, or `thing` (`file`)
        let named = [(pair[0], pair[1], "`, `"), (pair[1], pair[0], "` (`")];
        for (name, thing, between) in named {
            let thing = thing.rsplit("::").next().unwrap_or(thing);
            let is_name = thing.chars().all(|it| it.is_alphanumeric() || it == '_');
            let is_meant = page.contains(&format!("`{}{between}{}`", pair[0], pair[1]));
            if is_name && name.ends_with(".rs") && is_meant {
                assert!(has(name, thing), "{name} has no {thing}");
                looked_up += 1;
            }
        }
    }
    assert!(looked_up >= 25, "{looked_up}");
}

#[test]
fn what_is_to_be_changed_is_where_the_page_says() {
    let page = page();
    let table = page.split("### Where to change what").nth(1).unwrap();
    let rows = table.lines().skip_while(|line| !line.starts_with("|---"));
    let rows: Vec<&str> = rows
        .skip(1)
        .take_while(|line| line.starts_with('|'))
        .collect();
    assert!(rows.len() >= 5);
    for row in rows {
        // `thing` .. in `file`
        let words: Vec<&str> = quoted(row).collect();
        let mut looked_up = 0;
        for pair in words.windows(2) {
            let (thing, name) = (pair[0], pair[1]);
            let is_name = thing.chars().all(|it| it.is_alphanumeric() || it == '_');
            if is_name && name.ends_with(".rs") && row.contains(&format!("`{thing}` in `{name}`")) {
                assert!(has(name, thing), "{name} has no {thing}");
                looked_up += 1;
            }
        }
        assert!(looked_up > 0, "nothing to look up in {row}");
    }
}

#[test]
fn the_figures_of_the_readme_are_those_of_the_benchmarks() {
    let readme = text("README.md");
    let measured = readme
        .split("[measured](docs/benchmarks.md)")
        .nth(1)
        .unwrap();
    let list = measured.split("![").next().unwrap();
    let is_of_figure = |it: char| it.is_ascii_digit() || it == '.' || it == ',';
    let words = list.split(|it| !is_of_figure(it));
    let figures: Vec<&str> = words
        .map(|word| word.trim_matches(['.', ',']))
        .filter(|word| word.len() > 2)
        .collect();
    assert!(figures.len() >= 6, "{figures:?}");
    let benchmarks = text("docs/benchmarks.md");
    for figure in figures {
        assert!(benchmarks.contains(figure), "{figure}");
    }
}

/// The first number with these words around it, without separators of thousands.
fn number_between(text: &str, before: &str, after: &str) -> f64 {
    let rest = text.split(before).nth(1);
    let rest = rest.unwrap_or_else(|| panic!("no {before:?}"));
    let number = rest.split(after).next().unwrap().trim();
    let number = number.rsplit(' ').next().unwrap().replace(',', "");
    number
        .parse()
        .unwrap_or_else(|_| panic!("{number:?} after {before:?} is no number"))
}

#[test]
fn the_memory_of_a_node_is_the_same_on_both_pages() {
    let (scaling, operations) = (text("docs/scaling.md"), text("docs/operations.md"));
    let node = number_between(&scaling, "resident = ", " MB + c");
    let session = number_between(&scaling, "MB + c * ", " kB");
    let kernel = number_between(&scaling, "kernel   = c * ", " kB (one end)");
    let per = |each: f64| {
        let (ten, hundred) = (each * 10.0, each * 100.0);
        format!("| {each} kB | {ten:.0} MB | {hundred:.0} MB |")
    };
    let sum = node + 50.0 * (session + kernel);
    for part in [
        format!("a node takes {node} MB for itself"),
        per(session),
        per(kernel),
        format!("take {node} MB + 50,000 x ({session} kB + {kernel} kB) = {sum:.0} MB"),
    ] {
        assert!(operations.contains(&part), "operations.md: {part}");
    }
    let rows = scaling
        .lines()
        .filter(|line| line.starts_with("| 100,000 (6) |"));
    let [row] = rows.collect::<Vec<_>>()[..] else {
        panic!("no row of 100,000 connections");
    };
    let measured = number_between(row, "bytes |", " MB |");
    let model = 100.0 * session + 6.0 * node;
    assert!((model / measured - 1.0).abs() < 0.05, "{model}");
}

#[test]
fn the_idle_connection_of_the_benchmarks_is_that_of_scaling() {
    let benchmarks = text("docs/benchmarks.md");
    let rows = benchmarks
        .lines()
        .filter(|line| line.contains("with 50,000"));
    let [row] = rows.collect::<Vec<_>>()[..] else {
        panic!("no row of 50,000 connections");
    };
    let figure = row.split('|').nth(4).unwrap().trim();
    let scaling = text("docs/scaling.md");
    assert!(
        scaling.contains(&format!("| 50,000 (3) | {figure} bytes |")),
        "{figure}"
    );
}

#[test]
fn the_versions_that_pages_name_are_those_that_are_used() {
    let peer = text("loadtest/peers/node/package.json");
    let peer: serde_json::Value = serde_json::from_str(&peer).unwrap();
    let version = |name: &str| peer["dependencies"][name].as_str().unwrap();
    let rust = text("loadtest/peers/socketioxide/Cargo.toml");
    let rust = rust.split("socketioxide = { version = \"=").nth(1).unwrap();
    let rust = rust.split('"').next().unwrap();
    for page in ["docs/benchmarks.md", "docs/loadtest.md"] {
        let text = text(page).replace('`', "");
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        for named in [
            format!("socket.io {}", version("socket.io")),
            format!(
                "@socket.io/redis-adapter {}",
                version("@socket.io/redis-adapter")
            ),
            format!("socketioxide {rust}"),
        ] {
            assert!(text.contains(&named), "{page}: {named}");
        }
    }
    let greeting = concat!("gateway ", env!("CARGO_PKG_VERSION"), " is listening");
    for page in ["README.md", "docs/getting-started.md"] {
        assert!(text(page).contains(greeting), "{page}: {greeting}");
    }
}

#[test]
fn the_bounds_that_the_page_names_are_in_the_source() {
    let mut source = String::new();
    for name in ["protocol", "adapter", "adapter-redis", "gateway"] {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        append_sources(&root.join(name).join("src"), &mut source);
    }
    let page = page();
    let table = page.split("## What is bounded by what").nth(1).unwrap();
    let table = table.split("\n## ").next().unwrap();
    let is_of_constant = |it: char| it.is_ascii_uppercase() || it == '_';
    let names: Vec<&str> = quoted(table)
        .filter(|word| word.len() > 3 && word.chars().all(is_of_constant))
        .collect();
    assert!(names.len() > 60, "{}", names.len());
    for name in names {
        assert!(source.contains(&format!("const {name}:")), "{name}");
    }
}

#[test]
fn the_page_of_tests_names_files_and_targets_that_are_there() {
    let page = text("docs/testing.md");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let prose: String = page.split("```").step_by(2).collect();
    let kinds = [".rs", ".mjs", ".py"];
    let is_path = |word: &&str| {
        let is_file = kinds.iter().any(|kind| word.ends_with(kind));
        word.contains('/') && (is_file || !word.contains(['.', ' ', '=']))
    };
    let paths: Vec<&str> = quoted(&prose).filter(is_path).collect();
    assert!(paths.len() > 15, "{paths:?}");
    for path in paths {
        assert!(root.join(path).exists(), "there is no {path}");
    }
    let makefile = text("Makefile");
    let commands: Vec<&str> = page
        .split(['`', '\n'])
        .filter_map(|it| it.trim_start_matches("$ ").strip_prefix("make "))
        .collect();
    assert!(commands.len() > 10, "{commands:?}");
    for command in commands {
        let target = command.split(' ').next().unwrap_or_default();
        let is_there = makefile.contains(&format!("\n{target}:"));
        assert!(is_there, "there is no target {target}");
    }
}

#[test]
fn every_example_is_shown_and_tested() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let entries = std::fs::read_dir(folder).unwrap();
    let names: Vec<String> = entries
        .map(|it| it.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(names.len() >= 3, "{names:?}");
    let tests = text("docs/examples/tests/library.test.mjs");
    let pages = [text("docs/getting-started.md"), text("gateway/src/lib.rs")];
    for name in names {
        for page in &pages {
            assert!(page.contains(&format!("examples/{name}")), "{name}");
        }
        let stem = name.trim_end_matches(".rs");
        assert!(tests.contains(&format!("start(\"{stem}\"")), "{name}");
    }
}

#[test]
fn the_bounds_that_the_page_names_have_these_values() {
    let mut source = String::new();
    for name in ["protocol", "adapter", "adapter-redis", "gateway"] {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        append_sources(&root.join(name).join("src"), &mut source);
    }
    let page = page();
    let table = page.split("## What is bounded by what").nth(1).unwrap();
    let table = table.split("\n## ").next().unwrap();
    let mut compared = 0;
    for (at, _) in table.match_indices(" (`") {
        let Some((name, _)) = table[at + 3..].split_once("`)") else {
            continue;
        };
        let Some(told) = value_before(&table[..at]) else {
            continue;
        };
        let values: Option<Vec<f64>> = source
            .match_indices(&format!("const {name}:"))
            .map(|(at, _)| value_of_constant(&source[at..]))
            .collect();
        if let Some(values) = values.filter(|values| !values.is_empty()) {
            assert!(values.contains(&told), "{name}: {told}, not {values:?}");
            compared += 1;
        }
    }
    assert!(compared > 40, "{compared}");
}

/// The number and its unit at the end of the text, in bytes or seconds.
fn value_before(text: &str) -> Option<f64> {
    let words: Vec<&str> = text.rsplitn(3, ' ').collect();
    let [last, number, ..] = words[..] else {
        return None;
    };
    let unit = match last {
        "B" | "bytes" | "headers" | "rooms" | "entries" => 1.0,
        "KiB" => 1024.0,
        "MiB" => 1024.0 * 1024.0,
        "ms" => 0.001,
        "s" => 1.0,
        "min" => 60.0,
        _ => return last.replace(',', "").parse().ok(),
    };
    Some(number.replace(',', "").parse::<f64>().ok()? * unit)
}

/// What stands behind `const NAME: TYPE =`, if it is a number, a product, a shift or a duration.
fn value_of_constant(text: &str) -> Option<f64> {
    let value = text.split(" = ").nth(1)?.split(';').next()?;
    let number = |text: &str| text.trim().replace('_', "").parse::<f64>().ok();
    for (unit, from) in [(1.0, "from_secs("), (0.001, "from_millis(")] {
        if let Some((_, rest)) = value.split_once(from) {
            return Some(number(rest.split(')').next()?)? * unit);
        }
    }
    if let Some((left, right)) = value.split_once("<<") {
        return Some(number(left)? * number(right)?.exp2());
    }
    value.split('*').map(number).product()
}

fn append_sources(folder: &Path, source: &mut String) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            append_sources(&path, source);
        } else if path.extension().is_some_and(|it| it == "rs") {
            source.push_str(&std::fs::read_to_string(&path).unwrap());
        }
    }
}
