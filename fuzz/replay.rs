//! Replays the committed fuzzing corpus: what once broke stays mended, without a fuzzer.

use std::fs;
use std::ops::RangeInclusive;
use std::path::Path;

#[path = "checks/address.rs"]
mod address;
#[path = "checks/codecs.rs"]
mod codecs;
#[path = "checks/config.rs"]
mod config;
#[path = "checks/credentials.rs"]
mod credentials;
#[path = "checks/damage.rs"]
mod damage;
#[path = "checks/head.rs"]
mod head;
#[path = "checks/headers.rs"]
mod headers;
#[path = "checks/hints.rs"]
mod hints;
#[path = "checks/http.rs"]
mod http;
#[path = "checks/mend.rs"]
mod mend;
#[path = "checks/oauth.rs"]
mod oauth;
#[path = "checks/observe.rs"]
mod observe;
#[path = "checks/pool.rs"]
mod pool;
#[path = "checks/records.rs"]
mod records;
#[path = "checks/redact.rs"]
mod redact;
#[path = "checks/redis_replies.rs"]
mod redis_replies;
#[path = "checks/router.rs"]
mod router;
#[path = "checks/sse.rs"]
mod sse;
#[path = "checks/vendor.rs"]
mod vendor;

/// Runs a check over every file of a target's corpus, and over each file cut short in a few places.
fn replay(target: &str, check: fn(&[u8])) {
    for input in corpus(target) {
        for eighths in 1..=8 {
            check(&input[..input.len() * eighths / 8]);
        }
    }
}

/// The same, and each file with each of these first bytes: they say what is done with the rest.
fn replay_with(target: &str, firsts: RangeInclusive<u8>, check: fn(&[u8])) {
    replay_choosing(target, 0, firsts, check);
}

/// The same for the byte at another place.
fn replay_choosing(target: &str, at: usize, choices: RangeInclusive<u8>, check: fn(&[u8])) {
    replay(target, check);
    for mut input in corpus(target) {
        for choice in choices.clone() {
            input[at] = choice;
            check(&input);
        }
    }
}

/// The files of a target's corpus.
fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(target);
    let entries = fs::read_dir(&folder).expect("each target has a corpus");
    let files = entries
        .map(|entry| fs::read(entry.expect("a readable folder").path()).expect("a readable file"));
    let files: Vec<_> = files.filter(|file| !file.is_empty()).collect();
    assert!(!files.is_empty(), "{} is empty", folder.display());
    files
}

#[test]
fn address_holds() {
    replay("address", address::check);
}

#[test]
fn codecs_hold() {
    replay_with("codecs", 0..=239, codecs::check);
}

#[test]
fn config_holds() {
    replay("config", config::check);
}

#[test]
fn credentials_hold() {
    replay_with("credentials", 0..=u8::MAX, credentials::check);
}

#[test]
fn damage_holds() {
    replay("damage", damage::check);
}

#[test]
fn head_holds() {
    replay("head", head::check);
}

#[test]
fn headers_hold() {
    replay("headers", headers::check);
}

#[test]
fn hints_hold() {
    replay_with("hints", 0..=7, hints::check);
}

#[test]
fn http_holds() {
    replay("http", http::check);
}

#[test]
fn mend_holds() {
    replay("mend", mend::check);
}

#[test]
fn observe_holds() {
    replay_with("observe", 0..=31, observe::check);
    replay_choosing("observe", 1, 0..=u8::MAX, observe::check);
}

#[test]
fn oauth_holds() {
    replay_with("oauth", 0..=u8::MAX, oauth::check);
}

#[test]
fn pool_holds() {
    replay("pool", pool::check);
}

#[test]
fn records_hold() {
    replay("records", records::check);
}

#[test]
fn redact_holds() {
    replay("redact", redact::check);
}

#[test]
fn redis_replies_hold() {
    replay_with("redis_replies", 0..=127, redis_replies::check);
}

#[test]
fn router_holds() {
    replay("router", router::check);
}

#[test]
fn sse_holds() {
    replay_with("sse", 0..=u8::MAX, sse::check);
}

#[test]
fn vendor_holds() {
    replay("vendor", vendor::check);
    for mut input in corpus("vendor") {
        // Each vendor, each status, each thing that is read.
        for (first, second) in (0..96).flat_map(|first| (0..40).map(move |second| (first, second)))
        {
            (input[0], input[1]) = (first, second);
            vendor::check(&input);
        }
    }
}
