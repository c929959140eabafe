//! Takes keys out of texts that vendors send back: they like to quote the key they refuse.

use std::borrow::Cow;
use std::ops::Range;

use memchr::memmem;

/// What stands in a key's place.
const REDACTED: &str = "[redacted]";

/// A shorter configured secret (`none`, `ollama`) is a word, not a secret.
const MIN_SECRET_BYTES: usize = 8;

/// Beginnings of keys and tokens, and how many characters must follow for it to be one.
const PREFIXES: [(&str, usize); 23] = [
    ("sk-", 8),
    ("sk_", 12),
    ("rk_", 12),
    ("AIza", 20),
    ("AQ.", 20),
    ("ya29.", 12),
    ("GOCSPX-", 12),
    ("nvapi-", 8),
    ("xai-", 8),
    ("gsk_", 8),
    ("hf_", 8),
    ("csk-", 8),
    ("pplx-", 8),
    ("fw_", 12),
    ("tgp_", 8),
    ("r8_", 12),
    ("ghp_", 12),
    ("gho_", 12),
    ("github_pat_", 12),
    ("glpat-", 12),
    ("AKIA", 12),
    ("cpk_", 12),
    ("eyJ", 30),
];

/// Names before a secret: `?key=…`, `api_key: …`, `Authorization: Bearer …`.
const LABELS: [&str; 10] = [
    "bearer ",
    "basic ",
    "api_key",
    "api-key",
    "apikey",
    "access_token",
    "refresh_token",
    "client_secret",
    "authorization",
    "key",
];

/// The text without the given secrets (whole, URL-encoded or JSON-escaped) and without anything
/// that looks like a key or token. Borrowed if there is nothing to take out.
pub fn redact<'a>(text: &'a str, secrets: &[&str]) -> Cow<'a, str> {
    let mut found: Vec<Range<usize>> = Vec::new();
    for secret in secrets
        .iter()
        .filter(|secret| secret.len() >= MIN_SECRET_BYTES)
    {
        for form in forms(secret) {
            let matches = memmem::find_iter(text.as_bytes(), form.as_bytes());
            found.extend(matches.map(|at| at..at + form.len()));
        }
    }
    let mut previous = ' ';
    for (at, c) in text.char_indices() {
        if !previous.is_ascii_alphanumeric() && c.is_ascii_alphanumeric() {
            found.extend(key_at(text, at));
        }
        previous = c;
    }
    if found.is_empty() {
        return Cow::Borrowed(text);
    }
    found.sort_by_key(|range| range.start);
    let mut clean = String::with_capacity(text.len());
    let mut at = 0;
    for range in found {
        // Ranges may overlap: a secret inside of what looks like a longer one.
        if range.start >= at {
            clean.push_str(text.get(at..range.start).unwrap_or(""));
            clean.push_str(REDACTED);
        }
        at = at.max(range.end);
    }
    clean.push_str(text.get(at..).unwrap_or(""));
    Cow::Owned(clean)
}

/// A secret as it may be written in a URL or a JSON text, beside as it is.
fn forms(secret: &str) -> Vec<Cow<'_, str>> {
    let mut forms = vec![Cow::Borrowed(secret)];
    if !secret
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"-_.~".contains(&b))
    {
        let encoded = secret.bytes().map(|byte| {
            if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        });
        forms.push(Cow::Owned(encoded.collect()));
        if let Ok(json) = serde_json::to_string(secret) {
            let inner = json.get(1..json.len() - 1).unwrap_or("");
            forms.push(Cow::Owned(inner.to_owned()));
        }
    }
    forms
}

/// The key that begins at this place, or that the label at this place announces.
fn key_at(text: &str, at: usize) -> Option<Range<usize>> {
    let rest = text.get(at..)?;
    let known = PREFIXES.iter().find(|(prefix, _)| rest.starts_with(prefix));
    if let Some((prefix, least)) = known {
        let bytes = token_bytes(rest);
        if bytes >= prefix.len() + least {
            return Some(at..at + bytes);
        }
    }
    let label = LABELS.iter().find(|label| {
        rest.get(..label.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(label))
    })?;
    let after = rest.get(label.len()..)?;
    let value = after.trim_start_matches(['=', ':', ' ', '"', '\'']);
    // `key` alone is a word; `key=` and `key: ` announce something.
    let announced =
        label.ends_with(' ') || after.trim_start_matches(['"', ' ']).starts_with(['=', ':']);
    let bytes = token_bytes(value);
    let token = value.get(..bytes)?;
    if !announced || !looks_random(token) {
        return None;
    }
    let start = at + (rest.len() - value.len());
    Some(start..start + bytes)
}

/// How many bytes at the start of `text` may belong to one key: also the stars of a masked one.
fn token_bytes(text: &str) -> usize {
    let end = text
        .find(|c: char| !c.is_ascii_alphanumeric() && !"-_.~+/=*%".contains(c))
        .unwrap_or(text.len());
    text.get(..end)
        .map_or(0, |token| token.trim_end_matches('.').len())
}

/// Tells a key from a word: keys have digits, or are longer than words.
fn looks_random(token: &str) -> bool {
    token.len() >= 24 || (token.len() >= 8 && token.contains(|c: char| c.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_looks_like_a_key_is_taken_out() {
        for (text, clean) in [
            (
                "Incorrect API key provided: sk-abcd1234efgh.",
                "Incorrect API key provided: [redacted].",
            ),
            (
                "provided: sk-proj-ab********************WXYZ. You",
                "provided: [redacted]. You",
            ),
            (
                "key AIzaSyA0123456789012345678901234567890a is",
                "key [redacted] is",
            ),
            (
                "Bearer abc123def456 was refused",
                "Bearer [redacted] was refused",
            ),
            (
                "authorization: Bearer AbCdEfGhIjKlMnOpQrStUvWx",
                "authorization: Bearer [redacted]",
            ),
            (
                "https://g/v1?key=secret0123&x=1",
                "https://g/v1?key=[redacted]&x=1",
            ),
            (
                r#"{"api_key": "0123456789"}"#,
                r#"{"api_key": "[redacted]"}"#,
            ),
            (
                "nvapi-AbCdEfGh12 xai-0123456789 gsk_0123456789",
                "[redacted] [redacted] [redacted]",
            ),
            (
                "token eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abc-_DEF",
                "token [redacted]",
            ),
        ] {
            assert_eq!(redact(text, &[]), clean);
        }
    }

    #[test]
    fn words_stay() {
        for text in [
            "The model `gpt-4o` does not exist",
            "task-list and risk-averse, sk-8 boards",
            "Bearer authentication is required",
            "API key not valid. Please pass a valid API key.",
            "key: missing",
            "Rate limit reached for requests per min (RPM): Limit 3, Used 3",
            "",
        ] {
            assert!(
                matches!(redact(text, &[]), Cow::Borrowed(same) if same == text),
                "{text}"
            );
        }
    }

    #[test]
    fn a_configured_secret_is_taken_out_in_every_form() {
        let secret = "p@ss/word \"1\"";
        let text = r#"p@ss/word "1" p%40ss%2Fword%20%221%22 p@ss/word \"1\""#;
        assert_eq!(redact(text, &[secret]), "[redacted] [redacted] [redacted]");
    }

    #[test]
    fn short_secrets_are_words() {
        assert_eq!(redact("none of these", &["none", ""]), "none of these");
    }

    proptest! {
        #[test]
        fn a_canary_never_survives(
            before in ".{0,40}",
            canary in "[A-Za-z0-9@/:+_-]{8,60}",
            after in ".{0,40}",
            other in "[a-z0-9]{8,20}",
        ) {
            let text = format!("{before}{canary}{after}{canary}{canary}{other}");
            let clean = redact(&text, &[&other, &canary]).into_owned();
            prop_assert!(!clean.contains(&canary), "{clean}");
            prop_assert!(!clean.contains(&other), "{clean}");
        }

        #[test]
        fn any_text_is_redacted_twice_as_once(text in ".{0,200}") {
            let once = redact(&text, &[]).into_owned();
            prop_assert_eq!(redact(&once, &[]).into_owned(), once);
        }
    }
}
