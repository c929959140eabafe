//! Which headers cross the gateway, each way. Allow-lists: what is not named stays behind, so auth,
//! cookies, hop-by-hop and forwarding headers never pass.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use crate::providers::redact::repeats;
use crate::secret::Secret;

/// Client headers a vendor may need. Prefixes end in `-`.
const TO_UPSTREAM: &[&str] = &[
    "accept",
    "accept-language",
    "anthropic-beta",
    "anthropic-dangerous-direct-browser-access",
    "anthropic-version",
    "content-type",
    "conversation_id",
    "http-referer",
    "idempotency-key",
    "openai-beta",
    "originator",
    "session_id",
    "user-agent",
    "x-client-request-id",
    "x-goog-api-client",
    "x-initiator",
    "x-session-id",
    "x-stainless-",
    "x-title",
];

/// Upstream headers a client may use. Prefixes end in `-`.
const TO_CLIENT: &[&str] = &[
    "anthropic-fast-",
    "anthropic-priority-",
    "anthropic-ratelimit-",
    "content-type",
    "openai-model",
    "openai-processing-ms",
    "openai-version",
    "ratelimit-",
    "ratelimitbysize-",
    "request-id",
    "retry-after",
    "retry-after-ms",
    "x-codex-",
    "x-ratelimit-",
    "x-reasoning-included",
    "x-should-retry",
    "x-tokenlimit-",
];

/// Headers of the client's request that go on to the upstream. Bodies always come back unencoded:
/// the gateway has to read them.
pub fn to_upstream(client: &HeaderMap) -> HeaderMap {
    let mut headers = filter(client, TO_UPSTREAM);
    headers.insert(
        header::ACCEPT_ENCODING,
        HeaderValue::from_static("identity"),
    );
    headers
        .entry(header::CONTENT_TYPE)
        .or_insert(HeaderValue::from_static("application/json"));
    headers
}

/// Headers of the upstream's answer that go on to the client, without the key it was asked with: one
/// that repeats it loses the value.
pub fn to_client(upstream: &HeaderMap, secret: Option<&Secret>) -> HeaderMap {
    let mut kept = filter(upstream, TO_CLIENT);
    let secret = secret.map_or("", Secret::expose);
    for value in kept.values_mut() {
        // None of what is usual there has room for a key.
        if value.len() >= secret.len() && repeats(value.as_bytes(), secret) {
            *value = HeaderValue::from_static("[redacted]");
        }
    }
    kept
}

fn filter(headers: &HeaderMap, allowed: &[&str]) -> HeaderMap {
    let mut kept = HeaderMap::with_capacity(headers.len().min(allowed.len()) + 4);
    for (name, value) in headers {
        if is_allowed(name, allowed) {
            kept.append(name, value.clone());
        }
    }
    // What `Connection` names is hop-by-hop whatever it is called (RFC 9110 §7.6.1).
    for named in headers.get_all(header::CONNECTION) {
        for name in named.to_str().unwrap_or_default().split(',') {
            if let Ok(name) = name.trim().parse::<HeaderName>() {
                kept.remove(name);
            }
        }
    }
    kept
}

fn is_allowed(name: &HeaderName, allowed: &[&str]) -> bool {
    let name = name.as_str();
    // Most differ in their first letter.
    let first = name.as_bytes().first();
    let mut alike = allowed
        .iter()
        .filter(|entry| entry.as_bytes().first() == first);
    alike.any(|entry| {
        if entry.ends_with('-') {
            name.starts_with(entry)
        } else {
            name == *entry
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            let name: HeaderName = name.parse().expect("a header name");
            headers.append(name, value.parse().expect("a header value"));
        }
        headers
    }

    #[test]
    fn secrets_and_forwarding_headers_stay_behind() {
        let sent = to_upstream(&map(&[
            ("authorization", "Bearer client-key"),
            ("x-api-key", "client-key"),
            ("x-goog-api-key", "client-key"),
            ("cookie", "a=b"),
            ("x-forwarded-for", "10.0.0.1"),
            ("host", "localhost"),
            ("anthropic-beta", "a"),
            ("anthropic-beta", "b"),
        ]));
        let names: Vec<_> = sent.keys().map(HeaderName::as_str).collect();
        assert_eq!(names, ["anthropic-beta", "accept-encoding", "content-type"]);
        assert_eq!(sent.get_all("anthropic-beta").iter().count(), 2);
    }

    #[test]
    fn rate_limit_headers_reach_the_client_and_cookies_do_not() {
        let upstream = map(&[
            ("x-ratelimit-remaining-requests", "3"),
            ("retry-after", "7"),
            ("set-cookie", "session=1"),
            ("transfer-encoding", "chunked"),
            ("server", "nginx"),
            ("openai-organization", "org"),
        ]);
        let passed = to_client(&upstream, None);
        let names: Vec<_> = passed.keys().map(HeaderName::as_str).collect();
        assert_eq!(names, ["x-ratelimit-remaining-requests", "retry-after"]);
    }

    #[test]
    fn ab7_each_of_three_hundred_headers_crosses_as_the_table_says() {
        let table = include_str!("../../tests/fixtures/headers.txt");
        let rows = table.lines().filter(|line| !line.starts_with('#'));
        let rows: Vec<_> = rows.filter_map(|line| line.split_once(' ')).collect();
        assert!(rows.len() >= 300, "{}", rows.len());
        for (ways, name) in rows {
            let name = name.trim();
            let expected = match ways {
                "both" => (true, true),
                "down" => (false, true),
                "none" => (false, false),
                "up" => (true, false),
                other => panic!("`{other}` is no way to cross"),
            };
            let sent = map(&[(name, "a")]);
            let is_kept = |kept: HeaderMap| kept.get(name) == sent.get(name);
            let crosses = (is_kept(to_upstream(&sent)), is_kept(to_client(&sent, None)));
            assert_eq!(crosses, expected, "{name}");
        }
    }

    #[test]
    fn a_header_that_repeats_the_key_loses_its_value() {
        let secret = Secret::new("sk-0123456789abcdef");
        let upstream = map(&[
            ("request-id", "for sk-0123456789abcdef"),
            (
                "x-codex-turn-state",
                "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0",
            ),
            ("retry-after", "c2stMDEyMzQ1Njc4OWFiY2RlZg=="),
        ]);
        let passed = to_client(&upstream, Some(&secret));
        let value = |name: &str| passed.get(name).and_then(|value| value.to_str().ok());
        assert_eq!(value("request-id"), Some("[redacted]"));
        assert_eq!(value("retry-after"), Some("[redacted]"));
        let state = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0";
        assert_eq!(value("x-codex-turn-state"), Some(state));
        assert_eq!(to_client(&upstream, None), upstream);
    }

    #[test]
    fn what_connection_names_never_passes() {
        let sent = to_upstream(&map(&[
            ("connection", "close, x-title"),
            ("x-title", "app"),
        ]));
        assert!(!sent.contains_key("x-title"));
    }
}
