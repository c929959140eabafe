//! The reader of stated waits: no panic, no absurd wait.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, header};
use llmproxy::providers::hints::hint;
use llmproxy::time::Timestamp;

/// Where a wait may be stated; the first is nowhere but in the body.
const HEADERS: [&str; 4] = [
    "x-nothing",
    "retry-after",
    "retry-after-ms",
    "x-ratelimit-reset-requests",
];

/// The first byte chooses the header and the status, then the header's value up to the first line
/// end, then a body.
pub(crate) fn check(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else {
        return;
    };
    let at = rest.iter().position(|byte| *byte == b'\n');
    let (value, body) = rest.split_at(at.unwrap_or(0));
    let received = Timestamp::from_secs(1_764_000_000);
    let mut headers = HeaderMap::new();
    if let Ok(value) = HeaderValue::from_bytes(value) {
        let name = HEADERS[usize::from(*first) % HEADERS.len()];
        headers.insert(header::HeaderName::from_static(name), value);
    }
    let status = if first & 4 == 0 { 429 } else { 503 };
    if let Some(hint) = hint(status, &headers, body, received) {
        let wait = received.until(hint.end(received));
        assert!(wait <= Duration::from_hours(31 * 24), "{hint:?}");
    }
}
