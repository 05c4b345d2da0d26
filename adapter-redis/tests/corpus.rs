//! The corpus of the fuzz target.

#[path = "../fuzz/check.rs"]
mod check;

#[test]
fn the_corpus_passes() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/redis_message");
    let entries = std::fs::read_dir(directory).expect("the corpus is there");
    let mut count = 0;
    for entry in entries {
        let path = entry.expect("readable").path();
        check::check(&std::fs::read(&path).expect("readable"));
        count += 1;
    }
    assert!(count >= 50, "{count} files");
}
