//! Wall-clock instants and the textual durations of the config file.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use thiserror::Error;

/// A wall-clock instant, milliseconds since the Unix epoch. Every rule takes one as `now`;
/// only `server`, `cli` and writer tasks read the clock.
#[derive(Clone, Copy, Debug, Default, Hash, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The current wall-clock time.
    pub fn now() -> Self {
        // Before 1970 only on a machine whose clock is broken; the epoch serves as well there.
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(Self(0), Self::from_duration)
    }

    /// From milliseconds since the epoch.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// From seconds since the epoch.
    pub const fn from_secs(secs: i64) -> Self {
        Self(secs.saturating_mul(1000))
    }

    /// Milliseconds since the epoch.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// How long until `later`; zero when it has passed.
    pub fn until(self, later: Self) -> Duration {
        Duration::from_millis(u64::try_from(later.0.saturating_sub(self.0)).unwrap_or(0))
    }

    /// How long since `earlier`; zero when it has not come yet.
    pub fn since(self, earlier: Self) -> Duration {
        earlier.until(self)
    }

    /// RFC 3339 in UTC with millisecond precision: `2026-11-25T10:00:00.000Z`.
    pub fn to_rfc3339(self) -> String {
        jiff::Timestamp::from_millisecond(self.0)
            .map_or_else(|_| String::new(), |time| format!("{time:.3}"))
    }

    /// Reads RFC 3339; `None` for anything else.
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        text.parse::<jiff::Timestamp>()
            .ok()
            .map(|time| Self(time.as_millisecond()))
    }

    fn from_duration(since_epoch: Duration) -> Self {
        Self(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, wait: Duration) -> Self {
        Self(
            self.0
                .saturating_add(i64::try_from(wait.as_millis()).unwrap_or(i64::MAX)),
        )
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;

    fn sub(self, wait: Duration) -> Self {
        Self(
            self.0
                .saturating_sub(i64::try_from(wait.as_millis()).unwrap_or(i64::MAX)),
        )
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_rfc3339())
    }
}

/// Reads a config duration: `500ms`, `30s`, `5m`, `24h`, `7d`, or parts in a row: `1h30m`.
pub fn parse_duration(text: &str) -> Result<Duration, DurationError> {
    let bad = || DurationError(text.to_owned());
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(bad());
    }
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .ok_or_else(bad)?;
        let value: f64 = rest[..digits].parse().map_err(|_| bad())?;
        rest = &rest[digits..];
        let unit_bytes = rest
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(rest.len());
        let seconds = match rest[..unit_bytes].trim() {
            "ms" => value / 1000.0,
            "s" => value,
            "m" => value * 60.0,
            "h" => value * 3600.0,
            "d" => value * 86_400.0,
            _ => return Err(bad()),
        };
        total = total
            .checked_add(Duration::try_from_secs_f64(seconds).map_err(|_| bad())?)
            .ok_or_else(bad)?;
        rest = &rest[unit_bytes..];
    }
    Ok(total)
}

/// Writes a duration for people: `45s`, `2m 5s`, `3h 20m`, `4d 2h`; two units at most.
pub fn humanize(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (days, hours, minutes, rest) = (
        seconds / 86_400,
        seconds / 3600 % 24,
        seconds / 60 % 60,
        seconds % 60,
    );
    let two = |a: u64, a_unit: &str, b: u64, b_unit: &str| {
        if b == 0 {
            format!("{a}{a_unit}")
        } else {
            format!("{a}{a_unit} {b}{b_unit}")
        }
    };
    match (days, hours, minutes) {
        (0, 0, 0) if seconds == 0 && !duration.is_zero() => format!("{}ms", duration.as_millis()),
        (0, 0, 0) => format!("{rest}s"),
        (0, 0, _) => two(minutes, "m", rest, "s"),
        (0, ..) => two(hours, "h", minutes, "m"),
        _ => two(days, "d", hours, "h"),
    }
}

/// A text that is no duration.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("`{0}` is not a duration (write \"500ms\", \"30s\", \"5m\" or \"24h\")")]
pub struct DurationError(pub String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_of_every_unit_are_read() {
        for (text, seconds) in [
            ("500ms", 0.5),
            ("30s", 30.0),
            ("5m", 300.0),
            ("24h", 86_400.0),
            ("7d", 604_800.0),
            ("1h30m", 5400.0),
        ] {
            assert_eq!(
                parse_duration(text),
                Ok(Duration::from_secs_f64(seconds)),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in [
            "",
            "30",
            "s",
            "-5s",
            "1y",
            "5 parsecs",
            "99999999999999999999999d",
            "1..5s",
        ] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn timestamps_survive_rfc3339() {
        let time = Timestamp::from_millis(1_795_600_000_123);
        assert_eq!(Timestamp::parse_rfc3339(&time.to_rfc3339()), Some(time));
    }

    #[test]
    fn waits_never_go_negative() {
        let (early, late) = (Timestamp::from_secs(10), Timestamp::from_secs(20));
        assert_eq!(early.until(late), Duration::from_secs(10));
        assert_eq!(late.until(early), Duration::ZERO);
        assert_eq!(
            Timestamp::from_millis(i64::MAX) + Duration::MAX,
            Timestamp::from_millis(i64::MAX)
        );
    }

    #[test]
    fn durations_are_written_for_people() {
        for (seconds, text) in [
            (0, "0s"),
            (45, "45s"),
            (125, "2m 5s"),
            (12_000, "3h 20m"),
            (352_800, "4d 2h"),
        ] {
            assert_eq!(humanize(Duration::from_secs(seconds)), text);
        }
    }
}
