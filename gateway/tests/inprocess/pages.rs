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
                let path = file(name).unwrap_or_else(|| panic!("there is no {name}"));
                let text = std::fs::read_to_string(path).unwrap();
                let kinds = ["fn", "struct", "enum", "static", "const"];
                let is_there = kinds
                    .iter()
                    .any(|it| text.contains(&format!("{it} {thing}")));
                assert!(is_there, "{name} has no {thing}");
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
