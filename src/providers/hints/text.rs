//! Waits in sentences: the least trusted source, and often the only one.

use super::{Clock, duration};
use crate::providers::verdict::Hint;
use crate::time::Timestamp;

/// What stands before a duration.
const BEFORE_WAITS: [&str; 16] = [
    "try again in",
    "try again after",
    "retry in",
    "retry after",
    "retry-after",
    "retry_after",
    "reset after",
    "reset in",
    "resets after",
    "resets in",
    "wait for",
    "wait",
    "available in",
    "available again in",
    "refresh in",
    "refreshes in",
];

/// What stands before an instant.
const BEFORE_INSTANTS: [&str; 8] = [
    "regain access on",
    "try again at",
    "try again after",
    "retry after",
    "reset at",
    "resets at",
    "reset on",
    "resets on",
];

/// Words that may stand between the two.
const FILLERS: [&str; 7] = [
    ":",
    "=",
    "approximately ",
    "about ",
    "another ",
    "at least ",
    "\"",
];

/// The first wait stated in a sentence.
pub(super) fn scan(sentence: &str, clock: Clock) -> Option<Hint> {
    // ASCII only, so that positions stay the same.
    let lower = sentence.to_ascii_lowercase();
    let wait = following(&lower, &BEFORE_WAITS).find_map(|rest| {
        if let Some((wait, _)) = duration::prefix(rest) {
            return Clock::after(wait);
        }
        bare_seconds(rest).and_then(|seconds| clock.number(seconds))
    });
    wait.or_else(|| {
        following(&lower, &BEFORE_INSTANTS)
            .filter_map(instant)
            .find_map(|instant| clock.until(instant))
    })
}

/// What follows each occurrence of the phrases, fillers skipped.
fn following<'a>(lower: &'a str, phrases: &'a [&str]) -> impl Iterator<Item = &'a str> {
    phrases
        .iter()
        .flat_map(|phrase| lower.match_indices(*phrase))
        .filter_map(|(at, phrase)| {
            let mut rest = lower.get(at + phrase.len()..)?.trim_start();
            while let Some(shorter) = FILLERS.iter().find_map(|filler| rest.strip_prefix(filler)) {
                rest = shorter.trim_start();
            }
            Some(rest)
        })
}

/// A number that nothing but the end or a full stop follows: "retry after 30".
fn bare_seconds(text: &str) -> Option<f64> {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, rest) = text.split_at_checked(end)?;
    let ends = rest.is_empty() || rest.starts_with(['.', ',', ';', '"', ')', '}']);
    let is_decimal = rest
        .strip_prefix('.')
        .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    if !ends || is_decimal {
        return None;
    }
    duration::number(number)
}

/// RFC 3339, or `2026-12-01 at 00:00 UTC`.
fn instant(text: &str) -> Option<Timestamp> {
    let token = text
        .split([' ', '"', ',', ')'])
        .next()?
        .trim_end_matches('.');
    if let Some(instant) = Timestamp::parse_rfc3339(&token.to_ascii_uppercase()) {
        return Some(instant);
    }
    let rest = text.get(token.len()..)?.trim_start();
    let rest = rest.strip_prefix("at ").unwrap_or(rest);
    let (time, zone) = rest.split_once(' ')?;
    // Without a zone nobody can tell when that is.
    if !zone.starts_with("utc") && !zone.starts_with("gmt") {
        return None;
    }
    let seconds = if time.matches(':').count() == 1 {
        ":00"
    } else {
        ""
    };
    Timestamp::parse_rfc3339(&format!("{token}T{time}{seconds}Z"))
}
