//! The signature that each request carries since February 2026: HMAC-SHA-256 over agent, session and
//! time, with the API key.

use http::header::USER_AGENT;
use http::{HeaderMap, HeaderName, HeaderValue};
use ring::hmac;

use crate::ids::uuid;
use crate::time::Timestamp;

/// The agent's name; a part of what is signed.
pub(super) const AGENT: &str = "iFlow-Cli";

/// Adds the session, the time and the signature; without a key only the first two. Signs the
/// agent's name as it stands in the headers: the configuration may have set another.
pub(super) fn add(key: &str, entropy: u64, now: Timestamp, headers: &mut HeaderMap) {
    let session = session(entropy, now);
    let time = now.as_millis().to_string();
    let agent = headers
        .get(USER_AGENT)
        .and_then(|agent| agent.to_str().ok())
        .unwrap_or_default();
    let signature = (!key.is_empty()).then(|| sign(key, agent, &session, &time));
    let mut set = |name: &'static str, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    };
    set("session-id", &session);
    set("x-iflow-timestamp", &time);
    if let Some(signature) = signature {
        set("x-iflow-signature", &signature);
    }
}

/// The signature in lower-case hex.
fn sign(key: &str, agent: &str, session: &str, time: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes());
    let tag = hmac::sign(&key, format!("{agent}:{session}:{time}").as_bytes());
    hex(tag.as_ref())
}

/// `session-` and a UUID of version 4.
fn session(entropy: u64, now: Timestamp) -> String {
    let time = now.as_millis().unsigned_abs();
    format!(
        "session-{}",
        uuid(u128::from(entropy) << 64 | u128::from(time))
    )
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .filter_map(|digit| char::from_digit(digit.into(), 16))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_known_vector_is_signed_alike() {
        let signature = sign(
            "sk-test-0123456789abcdef",
            AGENT,
            "session-00000000-0000-4000-8000-000000000001",
            "1770000000000",
        );
        assert_eq!(
            signature,
            "214ea882eab27ca99e0e866eb1bcddcce7ea567e3da9169c33056db08d4945c0"
        );
    }

    #[test]
    fn the_headers_prove_each_other() {
        let mut headers = HeaderMap::new();
        headers.insert(USER_AGENT, HeaderValue::from_static("other/1"));
        add(
            "k",
            7,
            Timestamp::from_millis(1_770_000_000_000),
            &mut headers,
        );
        let text = |name: &str| headers[name].to_str().expect("ASCII").to_owned();
        let (session, time) = (text("session-id"), text("x-iflow-timestamp"));
        assert_eq!(time, "1770000000000");
        assert_eq!(
            text("x-iflow-signature"),
            sign("k", "other/1", &session, &time)
        );
        let parts: Vec<usize> = session.split('-').map(str::len).collect();
        assert_eq!(parts, [7, 8, 4, 4, 4, 12], "{session}");
        assert_eq!(
            session
                .split('-')
                .nth(3)
                .and_then(|part| part.chars().next()),
            Some('4')
        );
    }

    #[test]
    fn each_attempt_has_a_session_of_its_own_and_no_key_signs_nothing() {
        let now = Timestamp::from_millis(1);
        assert_ne!(session(1, now), session(2, now));
        let mut headers = HeaderMap::new();
        add("", 1, now, &mut headers);
        assert!(headers.contains_key("session-id"));
        assert!(!headers.contains_key("x-iflow-signature"));
    }
}
