//! The fuzz corpus, as an ordinary test.

#[path = "../fuzz/src/lib.rs"]
pub mod properties;

use std::path::Path;

fn run(target: &str, property: fn(&[u8])) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    let entries = std::fs::read_dir(corpus.join(target)).expect("the corpus is in the repository");
    let mut files = 0;
    for entry in entries {
        let path = entry.expect("readable").path();
        eprintln!("{}", path.display());
        property(&std::fs::read(path).expect("readable"));
        files += 1;
    }
    assert!(files > 0, "no corpus for {target}");
}

#[test]
fn packet() {
    run("packet", properties::packet);
}

#[test]
fn payload() {
    run("payload", properties::payload);
}

#[test]
fn old_payload() {
    run("old_payload", properties::old_payload);
}

#[test]
fn msgpack() {
    run("msgpack", properties::msgpack);
}

#[test]
fn attachments() {
    run("attachments", properties::attachments);
}

#[test]
fn frames() {
    run("frames", properties::frames);
}
