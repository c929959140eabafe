//! When limits end that follow a calendar.

use jiff::civil::Time;
use jiff::tz::{self, TimeZone};
use jiff::{ToSpan, Zoned};

use crate::providers::verdict::Hint;
use crate::time::Timestamp;

/// California's clock as a rule, because small images have no zone database. In force since 2007.
const PACIFIC: &str = "PST8PDT,M3.2.0,M11.1.0";

/// The next midnight in California: Google's daily quotas.
pub(super) fn pacific_midnight(now: Timestamp) -> Hint {
    let zone = TimeZone::posix(PACIFIC).unwrap_or(TimeZone::UTC);
    end_of(now, zone, |now| {
        now.tomorrow()?.with().time(Time::midnight()).build()
    })
}

/// The next midnight in China, which has one zone and no summer time: 16:00 UTC.
pub(super) fn china_midnight(now: Timestamp) -> Hint {
    end_of(now, TimeZone::fixed(tz::offset(8)), |now| {
        now.tomorrow()?.with().time(Time::midnight()).build()
    })
}

/// The next midnight in UTC.
pub(super) fn utc_midnight(now: Timestamp) -> Hint {
    end_of(now, TimeZone::UTC, |now| {
        now.tomorrow()?.with().time(Time::midnight()).build()
    })
}

/// The first of next month, 00:00 UTC.
pub(super) fn next_month(now: Timestamp) -> Hint {
    end_of(now, TimeZone::UTC, |now| {
        now.first_of_month()?
            .checked_add(1.month())?
            .with()
            .time(Time::midnight())
            .build()
    })
}

/// Asks the calendar; beyond its range (year 9999) the limit ends now.
fn end_of(
    now: Timestamp,
    zone: TimeZone,
    end: impl Fn(&Zoned) -> Result<Zoned, jiff::Error>,
) -> Hint {
    let end = jiff::Timestamp::from_millisecond(now.as_millis())
        .and_then(|time| end(&time.to_zoned(zone)))
        .map_or(now, |end| {
            Timestamp::from_millis(end.timestamp().as_millisecond())
        });
    Hint::Until(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse_rfc3339(text).expect("a time")
    }

    #[test]
    fn a_google_day_ends_at_midnight_in_california_summer_and_winter() {
        for (now, end) in [
            ("2026-07-01T06:59:59Z", "2026-07-01T07:00:00Z"),
            ("2026-07-01T07:00:00Z", "2026-07-02T07:00:00Z"),
            ("2026-11-22T12:00:00Z", "2026-11-23T08:00:00Z"),
            // The days the clock changes have 23 and 25 hours.
            ("2026-03-08T08:00:00Z", "2026-03-09T07:00:00Z"),
            ("2026-11-01T07:00:00Z", "2026-11-02T08:00:00Z"),
        ] {
            assert_eq!(pacific_midnight(at(now)), Hint::Until(at(end)), "{now}");
        }
    }

    #[test]
    fn a_chinese_day_ends_at_16_utc() {
        for (now, end) in [
            ("2026-04-13T15:59:59Z", "2026-04-13T16:00:00Z"),
            ("2026-04-13T16:00:00Z", "2026-04-14T16:00:00Z"),
        ] {
            assert_eq!(china_midnight(at(now)), Hint::Until(at(end)), "{now}");
        }
    }

    #[test]
    fn days_and_months_end_in_utc() {
        let now = at("2026-11-22T12:00:00Z");
        assert_eq!(utc_midnight(now), Hint::Until(at("2026-11-23T00:00:00Z")));
        assert_eq!(next_month(now), Hint::Until(at("2026-12-01T00:00:00Z")));
        let last = at("2026-12-31T23:59:59.999Z");
        assert_eq!(next_month(last), Hint::Until(at("2027-01-01T00:00:00Z")));
        let long = at("2026-01-31T00:00:00Z");
        assert_eq!(next_month(long), Hint::Until(at("2026-02-01T00:00:00Z")));
    }

    #[test]
    fn no_instant_is_out_of_range() {
        for now in [i64::MIN, 0, i64::MAX] {
            let now = Timestamp::from_millis(now);
            for hint in [
                china_midnight(now),
                pacific_midnight(now),
                utc_midnight(now),
                next_month(now),
            ] {
                assert!(hint.end(now) >= now);
            }
        }
    }
}
