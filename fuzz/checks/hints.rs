//! The reader of stated waits: no panic, no absurd wait.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, header};
use llmproxy::providers::hints::hint;
use llmproxy::time::Timestamp;

/// A header's value up to the first line end, then a body.
pub(crate) fn check(data: &[u8]) {
    let at = data.iter().position(|byte| *byte == b'\n');
    let (value, body) = data.split_at(at.unwrap_or(0));
    let received = Timestamp::from_secs(1_764_000_000);
    let mut headers = HeaderMap::new();
    let is_bounded = |status, headers: &HeaderMap, body: &[u8]| {
        if let Some(hint) = hint(status, headers, body, received) {
            let wait = received.until(hint.end(received));
            assert!(wait <= Duration::from_hours(31 * 24), "{hint:?}");
        }
    };
    // Which header it is says nothing of the body: that is read once.
    is_bounded(429, &headers, body);
    for name in [
        "retry-after",
        "retry-after-ms",
        "x-ratelimit-reset-requests",
    ] {
        headers.clear();
        if let Ok(value) = HeaderValue::from_bytes(value) {
            headers.insert(header::HeaderName::from_static(name), value);
        }
        for status in [429, 503] {
            is_bounded(status, &headers, b"");
        }
    }
}
