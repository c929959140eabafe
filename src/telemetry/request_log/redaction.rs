//! The one place where a request is cleaned of secrets before it is written down: every text of the
//! request log comes through here.

use std::borrow::Cow;
use std::fmt::Write as _;

use http::HeaderMap;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::dialects::sse::Splitter;
use crate::providers::redact::{Known, redact_known};
use crate::secret::Secret;
use crate::telemetry::request_log::record::Pieces;

/// What stands in a secret's place.
const REDACTED: &str = "[redacted]";

/// Parts of the names of headers whose values are secret.
const SECRET_NAMES: [&str; 9] = [
    "auth",
    "cookie",
    "credential",
    "key",
    "password",
    "secret",
    "session",
    "signature",
    "token",
];

/// Headers that count tokens, and name none.
const COUNTS: [&str; 4] = [
    "anthropic-ratelimit-",
    "ratelimit",
    "x-ratelimit-",
    "x-tokenlimit-",
];

/// Query parameters that say how to answer.
const OPEN_PARAMETERS: [&str; 3] = ["alt", "api-version", "beta"];

/// Whether the value of a header of this name (in lower case) is never shown.
pub fn is_secret_header(name: &str) -> bool {
    let counts = COUNTS.iter().any(|start| name.starts_with(start));
    !counts && SECRET_NAMES.iter().any(|part| name.contains(part))
}

/// Cleans texts, and counts what it took out.
pub(super) struct Redactor<'a> {
    known: &'a Known,
    secrets: Vec<&'a str>,
    pub(super) places: usize,
}

impl<'a> Redactor<'a> {
    /// `secrets` are those that were used for the request.
    pub(super) fn new(known: &'a Known, secrets: &'a [Secret]) -> Self {
        Self {
            known,
            secrets: secrets.iter().map(Secret::expose).collect(),
            places: 0,
        }
    }

    /// A text without secrets.
    pub(super) fn text<'t>(&mut self, text: &'t str) -> Cow<'t, str> {
        let (clean, places) = redact_known(text, self.known, &self.secrets);
        self.places += places;
        clean
    }

    /// Headers as a JSON object; those that come several times as an array.
    pub(super) fn headers(&mut self, headers: &HeaderMap) -> Value {
        let mut object = Map::new();
        for name in headers.keys() {
            let values = headers.get_all(name).iter();
            let mut values: Vec<Value> = values
                .map(|value| match value.to_str() {
                    _ if is_secret_header(name.as_str()) => REDACTED.into(),
                    Ok(text) => self.text(text).into_owned().into(),
                    // What is no text cannot be searched.
                    Err(_) => REDACTED.into(),
                })
                .collect();
            let value = match values.len() {
                1 => values.remove(0),
                _ => Value::Array(values),
            };
            object.insert(name.as_str().to_owned(), value);
        }
        Value::Object(object)
    }

    /// An address without user name, and without the values of its query.
    pub(super) fn url(&mut self, url: &str) -> String {
        let (address, query) = match url.split_once('?') {
            Some((address, query)) => (address, Some(query)),
            None => (url, None),
        };
        let mut clean = match address.split_once("://") {
            Some((scheme, rest)) => {
                let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
                let host = authority
                    .rsplit_once('@')
                    .map_or(authority, |(_, host)| host);
                format!("{scheme}://{host}{path}")
            }
            None => address.to_owned(),
        };
        let pairs = query.into_iter().flat_map(|query| query.split('&'));
        for (index, pair) in pairs.enumerate() {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = if OPEN_PARAMETERS.contains(&name) {
                value
            } else {
                REDACTED
            };
            let joint = if index == 0 { '?' } else { '&' };
            let _ = write!(clean, "{joint}{name}={value}");
        }
        self.text(&clean).into_owned()
    }

    /// A body: JSON as it is, anything else as a JSON string.
    pub(super) fn body(&mut self, body: &[u8]) -> Box<RawValue> {
        let text = String::from_utf8_lossy(body);
        let clean = self.text(&text);
        if let Ok(json) = serde_json::from_str::<Box<RawValue>>(&clean) {
            return json;
        }
        let quoted = serde_json::value::to_raw_value(&*clean);
        quoted.unwrap_or_else(|_| RawValue::NULL.to_owned())
    }

    /// A stream's events, one JSON object a line, each with the time its last byte came.
    pub(super) fn events(&mut self, pieces: &Pieces) -> String {
        let mut lines = String::new();
        let mut splitter = Splitter::default();
        let mut last = 0;
        // Cut anew: a secret may lie across two pieces, but not across two events.
        for (after, piece) in &pieces.list {
            last = millis(*after);
            splitter.push(piece.clone());
            while let Some(frame) = splitter.next() {
                match frame {
                    Ok(frame) => self.event(last, &frame.raw, &mut lines),
                    Err(_) => return lines,
                }
            }
        }
        if let Some(frame) = splitter.finish() {
            self.event(last, &frame.raw, &mut lines);
        }
        lines
    }

    fn event(&mut self, after: u64, raw: &[u8], lines: &mut String) {
        let text = String::from_utf8_lossy(raw);
        let clean = self.text(text.trim_end_matches(['\r', '\n']));
        if !clean.is_empty() {
            let text = Value::from(&*clean);
            let _ = writeln!(lines, "{{\"after_ms\":{after},\"event\":{text}}}");
        }
    }
}

/// A time in whole milliseconds.
pub(super) fn millis(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const KEY: &str = "canary-0123456789";

    fn cleaned<T>(work: impl FnOnce(&mut Redactor<'_>) -> T) -> T {
        let secrets = [Secret::new(KEY)];
        let known = Known::new([&Secret::new("stored-canary")]);
        work(&mut Redactor::new(&known, &secrets))
    }

    #[test]
    fn headers_that_prove_something_lose_their_values() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("authorization", "Bearer x"),
            ("cookie", "a=b"),
            ("x-api-key", "k"),
            ("x-ratelimit-remaining-tokens", "7"),
            ("user-agent", "curl stored-canary"),
            ("accept", "a"),
        ] {
            headers.append(name, value.parse().expect("a header value"));
        }
        headers.append("accept", "b".parse().expect("a header value"));
        let shown = cleaned(|redactor| redactor.headers(&headers));
        assert_eq!(
            shown,
            json!({
                "authorization": "[redacted]", "cookie": "[redacted]", "x-api-key": "[redacted]",
                "x-ratelimit-remaining-tokens": "7", "user-agent": "curl [redacted]",
                "accept": ["a", "b"],
            })
        );
    }

    #[test]
    fn addresses_lose_user_names_and_query_values() {
        for (url, clean) in [
            (
                "https://h/v1/x?alt=sse&key=short",
                "https://h/v1/x?alt=sse&key=[redacted]",
            ),
            ("https://u:p@h:1/v1", "https://h:1/v1"),
            ("https://h/canary-0123456789/x", "https://h/[redacted]/x"),
            ("https://h", "https://h"),
        ] {
            assert_eq!(cleaned(|redactor| redactor.url(url)), clean);
        }
    }

    #[test]
    fn bodies_stay_json_without_their_secrets() {
        let body = br#"{"n": 1e400, "text": "my key is stored-canary and canary-0123456789"}"#;
        let clean = cleaned(|redactor| redactor.body(body));
        assert_eq!(
            clean.get(),
            r#"{"n": 1e400, "text": "my key is [redacted] and [redacted]"}"#
        );
        assert_eq!(
            cleaned(|redactor| redactor.body(b"<html>")).get(),
            r#""<html>""#
        );
    }

    #[test]
    fn a_secret_across_two_pieces_of_an_event_is_found() {
        let at = std::time::Duration::from_millis;
        let mut pieces = Pieces::default();
        for (after, text) in [
            (1, "data: canary-01"),
            (5, "23456789\n\ndata: b"),
            (9, "\n\n"),
        ] {
            pieces.list.push((at(after), text.into()));
        }
        assert_eq!(
            cleaned(|redactor| redactor.events(&pieces)),
            "{\"after_ms\":5,\"event\":\"data: [redacted]\"}\n{\"after_ms\":9,\"event\":\"data: b\"}\n"
        );
    }
}
