//! Texts of vendors on their way to people: a key that is known never survives.

use llmproxy::providers::redact::redact;

/// Shorter ones are words.
const MIN_SECRET_BYTES: usize = 8;

/// The secret up to the first line end, then the text, in which `\x01` stands for the secret.
pub(crate) fn check(data: &[u8]) {
    let Ok(input) = std::str::from_utf8(data) else {
        return;
    };
    let (secret, text) = input.split_once('\n').unwrap_or(("", input));
    let plain = |c: char| c.is_ascii_alphanumeric() || "@/:+_-=.".contains(c);
    let is_secret = secret.len() >= MIN_SECRET_BYTES && secret.chars().all(plain);
    let text = text.replace('\u{1}', if is_secret { secret } else { "" });
    let clean = redact(&text, &[secret]);
    if is_secret && !"[redacted]".contains(secret) {
        assert!(!clean.contains(secret), "{clean}");
    }
    let again = redact(&clean, &[]);
    assert_eq!(redact(&again, &[]), again);
}
