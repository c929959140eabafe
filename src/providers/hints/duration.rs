//! Durations as vendors write them: `6m0s`, `1d2h3m4.5s`, `120ms`, `3 hours and 20 minutes`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::time::Timestamp;

/// More digits than any sane number has; longer ones are not even parsed.
const MAX_NUMBER_BYTES: usize = 24;

/// A plain decimal number, also with an exponent; never negative, infinite or NaN.
pub(super) fn number(text: &str) -> Option<f64> {
    // `parse` also takes `inf` and `nan`.
    let begins_well = text.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    if !begins_well || text.len() > MAX_NUMBER_BYTES {
        return None;
    }
    text.parse().ok().filter(|number: &f64| number.is_finite())
}

/// A text that is a duration from its first to its last character.
pub(super) fn whole(text: &str) -> Option<Duration> {
    let (wait, rest) = prefix(text)?;
    rest.trim().is_empty().then_some(wait)
}

/// The duration a text begins with, and what follows it. Each number must have its unit.
pub(super) fn prefix(text: &str) -> Option<(Duration, &str)> {
    let mut total: Option<Duration> = None;
    let mut rest = text;
    while let Some((part, after)) = part(rest) {
        total = Some(total.unwrap_or_default().checked_add(part)?);
        rest = after;
    }
    total.map(|total| (total, rest))
}

/// One number with its unit, and what follows.
fn part(text: &str) -> Option<(Duration, &str)> {
    let text = text.trim_start_matches([' ', ',', '\u{a0}']);
    let text = text.strip_prefix("and ").unwrap_or(text).trim_start();
    let digits = digits(text);
    let (number_text, after) = text.split_at_checked(digits)?;
    let value = number(number_text)?;
    let after = after.trim_start_matches([' ', '\u{a0}']);
    // The whole word is the unit, so `ms` is never read as `m`.
    let word = after
        .find(|c: char| !c.is_alphabetic())
        .unwrap_or(after.len());
    let (unit, rest) = after.split_at_checked(word)?;
    let seconds = value * seconds_of(unit)?;
    Some((Duration::try_from_secs_f64(seconds).ok()?, rest))
}

/// How many bytes of `text` are a number: digits with at most one point between them.
fn digits(text: &str) -> usize {
    let whole = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let fraction = text
        .get(whole..)
        .and_then(|rest| rest.strip_prefix('.'))
        .map_or(0, |rest| {
            rest.find(|c: char| !c.is_ascii_digit())
                .unwrap_or(rest.len())
        });
    if fraction == 0 {
        whole
    } else {
        whole + 1 + fraction
    }
}

/// How many seconds a unit has; `None` for words that are no unit.
fn seconds_of(unit: &str) -> Option<f64> {
    Some(match unit.to_ascii_lowercase().as_str() {
        "ns" => 1e-9,
        "us" | "µs" | "μs" => 1e-6,
        "ms" | "msec" | "msecs" | "millis" | "millisecond" | "milliseconds" => 1e-3,
        "s" | "sec" | "secs" | "second" | "seconds" => 1.0,
        "m" | "min" | "mins" | "minute" | "minutes" => 60.0,
        "h" | "hr" | "hrs" | "hour" | "hours" => 3600.0,
        "d" | "day" | "days" => 86_400.0,
        "w" | "week" | "weeks" => 604_800.0,
        _ => return None,
    })
}

/// An HTTP date in any of the three forms of RFC 9110 §5.6.7.
pub(super) fn http_date(text: &str) -> Option<Timestamp> {
    let time: SystemTime = httpdate::parse_http_date(text.trim()).ok()?;
    let since_epoch = time.duration_since(UNIX_EPOCH).ok()?;
    Some(Timestamp::from_millis(0) + since_epoch)
}
