//! Takes keys out of texts that vendors send back: they like to quote the key they refuse.

mod forms;

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;

use memchr::memmem;

use crate::secret::Secret;

/// What stands in a key's place.
const REDACTED: &str = "[redacted]";

/// A shorter configured secret (`none`, `ollama`) is a word, not a secret.
const MIN_SECRET_BYTES: usize = 8;

/// No key is longer; what looks like one that is belongs to an image or a file.
const MAX_KEY_BYTES: usize = 8 << 10;

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

/// The text without the given secrets (as they are, or encoded in a way that a reader could turn back)
/// and without anything that looks like a key or token. Borrowed if there is nothing to take out.
pub fn redact<'a>(text: &'a str, secrets: &[&str]) -> Cow<'a, str> {
    without(text, secrets, None).0
}

/// [`redact`] with many secrets, which are known as they are, in URLs and in JSON; says how many
/// places were taken out as well.
pub fn redact_known<'a>(text: &'a str, known: &Known, secrets: &[&str]) -> (Cow<'a, str>, usize) {
    without(text, secrets, Some(known))
}

/// Whether a text has this secret in any form that [`redact`] looks for.
pub fn repeats(text: &[u8], secret: &str) -> bool {
    let forms = (secret.len() >= MIN_SECRET_BYTES).then(|| forms::all(secret));
    let mut forms = forms.into_iter().flatten();
    forms.any(|form| memmem::find(text, form.as_bytes()).is_some())
}

fn without<'a>(text: &'a str, secrets: &[&str], known: Option<&Known>) -> (Cow<'a, str>, usize) {
    let mut found: Vec<Range<usize>> = Vec::new();
    for secret in secrets
        .iter()
        .filter(|secret| secret.len() >= MIN_SECRET_BYTES)
    {
        for form in forms::all(secret) {
            let matches = memmem::find_iter(text.as_bytes(), form.as_bytes());
            found.extend(matches.map(|at| at..at + form.len()));
        }
    }
    if let Some(known) = known {
        known.find(text, &mut found);
    }
    let mut runs = Runs::default();
    let mut previous = b' ';
    for (at, pair) in text.as_bytes().windows(2).enumerate() {
        let &[byte, next] = pair else { continue };
        let begins = !previous.is_ascii_alphanumeric() && byte.is_ascii_alphanumeric();
        if begins && BEGINNINGS.has(byte, next) {
            found.extend(key_at(text, at, &mut runs));
        }
        previous = byte;
    }
    if found.is_empty() {
        return (Cow::Borrowed(text), 0);
    }
    found.sort_by_key(|range| range.start);
    let mut clean = String::with_capacity(text.len());
    let (mut at, mut places) = (0, 0);
    for range in found {
        // Ranges may overlap: a secret inside of what looks like a longer one.
        if range.start >= at {
            clean.push_str(text.get(at..range.start).unwrap_or(""));
            clean.push_str(REDACTED);
            places += 1;
        }
        at = at.max(range.end);
    }
    clean.push_str(text.get(at..).unwrap_or(""));
    (Cow::Owned(clean), places)
}

/// Many secrets, all looked for in one pass over a text, however many they are.
#[derive(Default)]
pub struct Known {
    /// A bit for each hash of a secret's first bytes: most places of a text have none.
    starts: Vec<u64>,
    by_start: HashMap<u64, Vec<Secret>>,
}

/// Bits of [`Known::starts`].
const START_BITS: u32 = 20;

impl Known {
    /// Knows these as they are, percent-encoded and JSON-escaped. Short ones are words and left out.
    pub fn new<'s>(secrets: impl IntoIterator<Item = &'s Secret>) -> Self {
        let mut known = Self::default();
        for secret in secrets {
            if secret.expose().len() < MIN_SECRET_BYTES {
                continue;
            }
            for form in forms::usual(secret.expose()) {
                known.add(&form);
            }
        }
        known
    }

    /// `true` if one of them is in the text.
    pub fn is_in(&self, text: &str) -> bool {
        let mut found = Vec::new();
        self.find(text, &mut found);
        !found.is_empty()
    }

    fn add(&mut self, form: &str) {
        let Some(start) = form.as_bytes().first_chunk().copied() else {
            return;
        };
        let start = u64::from_le_bytes(start);
        if self.starts.is_empty() {
            self.starts = vec![0; 1 << (START_BITS - 6)];
        }
        let (word, bit) = Self::place(start);
        if let Some(word) = self.starts.get_mut(word) {
            *word |= bit;
        }
        let same = self.by_start.entry(start).or_default();
        if !same.iter().any(|other| other.expose() == form) {
            same.push(Secret::new(form));
        }
    }

    /// Which word of the bits, and which bit of it.
    const fn place(start: u64) -> (usize, u64) {
        let hash = start.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - START_BITS);
        ((hash >> 6) as usize, 1 << (hash & 63))
    }

    fn find(&self, text: &str, found: &mut Vec<Range<usize>>) {
        if self.by_start.is_empty() {
            return;
        }
        for (at, window) in text.as_bytes().windows(MIN_SECRET_BYTES).enumerate() {
            let Some(start) = window.first_chunk().copied() else {
                continue;
            };
            let start = u64::from_le_bytes(start);
            let (word, bit) = Self::place(start);
            if self.starts.get(word).is_none_or(|word| word & bit == 0) {
                continue;
            }
            let rest = text.as_bytes().get(at..).unwrap_or_default();
            let same = self.by_start.get(&start).into_iter().flatten();
            for secret in same.filter(|secret| rest.starts_with(secret.expose().as_bytes())) {
                found.push(at..at + secret.expose().len());
            }
        }
    }
}

/// The first two letters, in lower case, of everything that [`key_at`] looks for: a text is full of
/// words, and few of them begin so.
static BEGINNINGS: Beginnings = Beginnings::of_all();

struct Beginnings([[u64; 4]; 256]);

#[expect(
    clippy::indexing_slicing,
    reason = "a byte and two bits of one, in a table for all"
)]
impl Beginnings {
    const fn of_all() -> Self {
        let mut all = Self([[0; 4]; 256]);
        let mut at = 0;
        while at < PREFIXES.len() {
            all.add(PREFIXES[at].0.as_bytes());
            at += 1;
        }
        at = 0;
        while at < LABELS.len() {
            all.add(LABELS[at].as_bytes());
            at += 1;
        }
        all
    }

    const fn add(&mut self, text: &[u8]) {
        let (first, second) = (text[0].to_ascii_lowercase(), text[1].to_ascii_lowercase());
        self.0[first as usize][(second >> 6) as usize] |= 1 << (second & 63);
    }

    fn has(&self, first: u8, second: u8) -> bool {
        let (first, second) = (first.to_ascii_lowercase(), second.to_ascii_lowercase());
        let row = self.0.get(usize::from(first));
        row.and_then(|row| row.get(usize::from(second >> 6)))
            .is_some_and(|bits| bits & (1 << (second & 63)) != 0)
    }
}

/// The key that begins at this place, or that the label at this place announces.
fn key_at(text: &str, at: usize, runs: &mut Runs) -> Option<Range<usize>> {
    let rest = text.get(at..)?;
    let known = PREFIXES.iter().find(|(prefix, _)| rest.starts_with(prefix));
    if let Some((prefix, least)) = known {
        let bytes = runs.token_bytes(text, at);
        if bytes >= prefix.len() + least && bytes <= MAX_KEY_BYTES {
            return Some(at..at + bytes);
        }
    }
    let label = LABELS.iter().find(|label| {
        rest.get(..label.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(label))
    })?;
    let after = rest.get(label.len()..)?;
    let value = after.trim_start_matches(['=', ':', ' ', '"', '\'', '\\']);
    let between = after.get(..after.len() - value.len())?;
    // A member of JSON whose value is no text: a number is no key, and JSON must stay JSON.
    let is_member = between.trim_start_matches('\\').starts_with('"');
    let is_literal = is_member && !between.ends_with('"');
    // `key` alone is a word; `key=` and `key: ` announce something.
    let announced = label.ends_with(' ')
        || after
            .trim_start_matches(['"', ' ', '\\'])
            .starts_with(['=', ':']);
    let start = at + (rest.len() - value.len());
    let bytes = runs.token_bytes(text, start);
    let token = value.get(..bytes)?;
    if !announced || is_literal || bytes > MAX_KEY_BYTES || !looks_random(token) {
        return None;
    }
    Some(start..start + bytes)
}

/// The last run of characters that may belong to one key: also the stars of a masked one. Many keys
/// seem to begin in a long one, and where it ends is looked for once.
#[derive(Default)]
struct Runs {
    /// From where it was looked at, to its end.
    range: Range<usize>,
    /// Its end without full stops.
    end: usize,
}

impl Runs {
    /// How many bytes from `at` on may belong to one key.
    fn token_bytes(&mut self, text: &str, at: usize) -> usize {
        if !self.range.contains(&at) {
            let rest = text.as_bytes().get(at..).unwrap_or_default();
            let belongs = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.~+/=*%".contains(byte);
            let length = rest.iter().take_while(|byte| belongs(byte)).count();
            let token = rest.iter().take(length);
            let stops = token.rev().take_while(|byte| **byte == b'.').count();
            self.range = at..at + length;
            self.end = at + length - stops;
        }
        self.end.saturating_sub(at)
    }
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
                r#"{"arguments":"{\"api_key\": \"0123456789\", \"n\": 1}"}"#,
                r#"{"arguments":"{\"api_key\": \"[redacted]\", \"n\": 1}"}"#,
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
    fn a_used_secret_is_taken_out_in_each_of_eight_encodings_and_more() {
        let secret = "sk-ab/cd+ef=0123456789";
        for (encoding, text) in [
            ("as it is", secret),
            ("percent", "sk-ab%2fcd%2bef%3d0123456789"),
            (
                "percent, each byte",
                "%73%6B%2D%61%62%2F%63%64%2B%65%66%3D%30%31%32%33%34%35%36%37%38%39",
            ),
            ("Base64", "c2stYWIvY2QrZWY9MDEyMzQ1Njc4OQ=="),
            ("Base64 of x and it", "eHNrLWFiL2NkK2VmPTAxMjM0NTY3ODk="),
            ("Base64 of xx and it", "eHhzay1hYi9jZCtlZj0wMTIzNDU2Nzg5"),
            (
                "hexadecimal",
                "736b2d61622f63642b65663d30313233343536373839",
            ),
            (
                "HEXADECIMAL",
                "736B2D61622F63642B65663D30313233343536373839",
            ),
            ("a slash of PHP", "sk-ab\\/cd+ef=0123456789"),
            ("reversed", "9876543210=fe+dc/ba-ks"),
        ] {
            let clean = redact(text, &[secret]);
            assert!(clean.contains("[redacted]"), "{encoding}: {clean}");
            // Two characters of Base64 and its padding may stay: they say less than a character.
            assert!(clean.len() <= "[redacted]".len() + 5, "{encoding}: {clean}");
        }
        let each = |write: fn(char) -> String| secret.chars().map(write).collect::<String>();
        for text in [
            each(|c| format!("\\u{:04x}", u32::from(c))),
            each(|c| format!("\\u{:04X}", u32::from(c))),
            each(|c| format!("&#{};", u32::from(c))),
            each(|c| format!("&#x{:x};", u32::from(c))),
        ] {
            assert_eq!(redact(&text, &[secret]), "[redacted]", "{text}");
        }
    }

    #[test]
    fn many_secrets_are_found_in_one_pass() {
        let secrets: Vec<Secret> = (0..5000)
            .map(|number| Secret::new(&format!("canary/{number:05}")))
            .chain([Secret::new("none"), Secret::new("canary/")])
            .collect();
        let known = Known::new(&secrets);
        let text = "a canary/00000, canary%2F04999 and canary/0500 of none; Grüße, canary/04998";
        let (clean, places) = redact_known(text, &known, &[]);
        assert_eq!(
            clean,
            "a [redacted], [redacted] and canary/0500 of none; Grüße, [redacted]"
        );
        assert_eq!(places, 3);
        let nothing = redact_known(text, &Known::default(), &[]);
        assert_eq!(nothing, (Cow::Borrowed(text), 0));
    }

    #[test]
    fn json_stays_json() {
        for text in [
            r#"{"cache_key": 123456789012, "key":12345678}"#,
            r#"{"key": null, "api_key":true}"#,
        ] {
            assert_eq!(redact(text, &[]), text);
        }
    }

    #[test]
    fn a_text_full_of_beginnings_takes_no_longer_than_another() {
        for (part, dots) in [("sk-", 0), ("sk-", 500_000), ("key=", 0), ("key: ", 0)] {
            // Looking for the end of each by itself would take minutes.
            let text = part.repeat(500_000) + &".".repeat(dots);
            let clean = redact(&text, &[]);
            assert_eq!(clean.get(..1_000_000), text.get(..1_000_000), "{part}");
        }
    }

    #[test]
    fn an_image_is_no_key() {
        let image = format!("data:image/png;base64,AAAA/eyJ{}", "aB3".repeat(4000));
        assert_eq!(redact(&image, &[]), image);
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
