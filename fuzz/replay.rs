//! Replays the committed fuzzing corpus: what once broke stays mended, without a fuzzer.

use std::fs;
use std::path::Path;

#[path = "checks/codecs.rs"]
mod codecs;
#[path = "checks/config.rs"]
mod config;
#[path = "checks/credentials.rs"]
mod credentials;
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
#[path = "checks/redact.rs"]
mod redact;
#[path = "checks/sse.rs"]
mod sse;
#[path = "checks/vendor.rs"]
mod vendor;

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
fn config_holds() {
    replay("config", config::check);
}

#[test]
fn credentials_hold() {
    replay("credentials", credentials::check);
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
    replay("hints", hints::check);
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
    replay("observe", observe::check);
}

#[test]
fn oauth_holds() {
    replay("oauth", oauth::check);
}

#[test]
fn redact_holds() {
    replay("redact", redact::check);
}

#[test]
fn sse_holds() {
    replay("sse", sse::check);
}

#[test]
fn vendor_holds() {
    replay("vendor", vendor::check);
}
