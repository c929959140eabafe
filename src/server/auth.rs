//! Who the client is: its key, wherever its SDK puts it.

use http::Uri;
use http::header::{self, HeaderMap};

/// What a request brings as proof.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// Two different keys in two places: nobody can say which one counts.
    Conflicting,
    Key(String),
    None,
}

/// Finds the client key: `Authorization: Bearer`, `x-api-key`, `x-goog-api-key`, and `?key=` where
/// the route is Gemini's. The same key twice is one key (SDKs do that).
pub fn proof(headers: &HeaderMap, uri: &Uri, query_allowed: bool) -> Proof {
    let bearer = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| {
            let (scheme, key) = value.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
        });
    let named = |name: &str| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .map(str::trim)
    };
    let query = if query_allowed { query_key(uri) } else { None };
    let mut found: Option<&str> = None;
    let candidates = [
        bearer,
        named("x-api-key"),
        named("x-goog-api-key"),
        query.as_deref(),
    ];
    for key in candidates
        .into_iter()
        .flatten()
        .filter(|key| !key.is_empty())
    {
        match found {
            Some(other) if other != key => return Proof::Conflicting,
            _ => found = Some(key),
        }
    }
    found.map_or(Proof::None, |key| Proof::Key(key.to_owned()))
}

fn query_key(uri: &Uri) -> Option<String> {
    let query = uri.query()?;
    query
        .split('&')
        .find_map(|pair| pair.strip_prefix("key="))
        .map(percent_decode)
}

/// Decodes `%XX`; keys are ASCII, so `+` stays a plus.
fn percent_decode(text: &str) -> String {
    let mut decoded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        decoded.push_str(&rest[..at]);
        let hex = rest
            .get(at + 1..at + 3)
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        if let Some(byte) = hex.filter(u8::is_ascii) {
            decoded.push(char::from(byte));
            rest = &rest[at + 3..];
        } else {
            decoded.push('%');
            rest = &rest[at + 1..];
        }
    }
    decoded.push_str(rest);
    decoded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|&(name, value)| {
                (
                    header::HeaderName::from_static(name),
                    value.parse().expect("a header value"),
                )
            })
            .collect()
    }

    #[test]
    fn every_sdks_place_for_the_key_is_read() {
        let uri = Uri::from_static("/v1beta/models?key=k%2D1&alt=sse");
        for (headers, query, expected) in [
            (
                headers(&[("authorization", "Bearer k-1")]),
                false,
                Proof::Key("k-1".into()),
            ),
            (
                headers(&[("authorization", "bearer  k-1 ")]),
                false,
                Proof::Key("k-1".into()),
            ),
            (
                headers(&[("x-api-key", "k-1")]),
                false,
                Proof::Key("k-1".into()),
            ),
            (
                headers(&[("x-goog-api-key", "k-1")]),
                false,
                Proof::Key("k-1".into()),
            ),
            (headers(&[]), true, Proof::Key("k-1".into())),
            (headers(&[]), false, Proof::None),
            (
                headers(&[("authorization", "Basic k-1")]),
                false,
                Proof::None,
            ),
        ] {
            assert_eq!(proof(&headers, &uri, query), expected, "{headers:?}");
        }
    }

    #[test]
    fn the_same_key_twice_is_one_key_and_two_keys_conflict() {
        let uri = Uri::from_static("/v1/messages");
        let same = headers(&[("authorization", "Bearer k"), ("x-api-key", "k")]);
        assert_eq!(proof(&same, &uri, false), Proof::Key("k".into()));
        let two = headers(&[("authorization", "Bearer k"), ("x-api-key", "other")]);
        assert_eq!(proof(&two, &uri, false), Proof::Conflicting);
    }
}
