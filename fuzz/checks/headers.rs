//! Headers on their way through, both ways: nothing that proves who somebody is, nothing of one hop.

use http::{HeaderMap, HeaderName, HeaderValue};
use llmproxy::gateway::headers::{to_client, to_upstream};

/// Never passed to an upstream.
const NOT_UP: [&str; 13] = [
    "authorization",
    "connection",
    "cookie",
    "forwarded",
    "host",
    "proxy-authorization",
    "te",
    "transfer-encoding",
    "upgrade",
    "via",
    "x-api-key",
    "x-goog-api-key",
    "x-real-ip",
];

/// Never passed to a client.
const NOT_DOWN: [&str; 11] = [
    "access-control-allow-origin",
    "alt-svc",
    "anthropic-organization-id",
    "connection",
    "content-length",
    "openai-organization",
    "server",
    "set-cookie",
    "strict-transport-security",
    "transfer-encoding",
    "www-authenticate",
];

/// One header a line.
pub(crate) fn check(data: &[u8]) {
    let mut headers = HeaderMap::new();
    for line in data.split(|byte| *byte == b'\n').take(100) {
        let mut parts = line.splitn(2, |byte| *byte == b':');
        let name = parts.next().map(HeaderName::from_bytes);
        let value = parts.next().map(HeaderValue::from_bytes);
        if let (Some(Ok(name)), Some(Ok(value))) = (name, value) {
            headers.append(name, value);
        }
    }
    let (up, down) = (to_upstream(&headers), to_client(&headers, None));
    for (passed, never) in [(&up, &NOT_UP[..]), (&down, &NOT_DOWN[..])] {
        for name in passed.keys().map(HeaderName::as_str) {
            assert!(!never.contains(&name), "{name}");
            let of_a_proxy = name.starts_with("x-forwarded-") || name.starts_with("cf-");
            assert!(!of_a_proxy, "{name}");
        }
    }
    // What is passed is passed as it came.
    for (name, value) in &down {
        assert!(headers.get_all(name).iter().any(|given| given == value));
    }
}
