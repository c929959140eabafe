//! Replays the committed fuzzing corpus: what once broke stays mended, without a fuzzer.

use std::fs;
use std::path::Path;

#[path = "checks/codecs.rs"]
mod codecs;
#[path = "checks/head.rs"]
mod head;
#[path = "checks/hints.rs"]
mod hints;
#[path = "checks/observe.rs"]
mod observe;
#[path = "checks/sse.rs"]
mod sse;

/// Runs a check over every file of a target's corpus, and over each file cut short in a few places.
fn replay(target: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(target);
    let mut count = 0;
    for entry in fs::read_dir(&folder).expect("each target has a corpus") {
        let input = fs::read(entry.expect("a readable folder").path()).expect("a readable file");
        for eighths in 1..=8 {
            check(&input[..input.len() * eighths / 8]);
        }
        count += 1;
    }
    assert!(count > 0, "{} is empty", folder.display());
}

#[test]
fn codecs_hold() {
    replay("codecs", codecs::check);
}

#[test]
fn head_holds() {
    replay("head", head::check);
}

#[test]
fn hints_hold() {
    replay("hints", hints::check);
}

#[test]
fn observe_holds() {
    replay("observe", observe::check);
}

#[test]
fn sse_holds() {
    replay("sse", sse::check);
}
