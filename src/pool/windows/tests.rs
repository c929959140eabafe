//! Windows: when they end, what they hold, and what they forget.

use super::*;

fn spec(anchor: Anchor, requests: u64, every: Duration) -> WindowSpec {
    WindowSpec {
        models: Vec::new(),
        requests,
        tokens: 0,
        every,
        anchor,
    }
}

fn time(text: &str) -> Timestamp {
    Timestamp::parse_rfc3339(text).expect("a time")
}

const DAY: Duration = Duration::from_hours(24);
const HOUR: Duration = Duration::from_hours(1);

#[test]
fn windows_end_where_their_anchor_says() {
    let now = "2026-11-25T10:30:00Z"; // a Wednesday
    for (anchor, every, end) in [
        (Anchor::FirstUse, DAY, "2026-11-26T10:30:00Z"),
        (Anchor::UtcMidnight, DAY, "2026-11-26T00:00:00Z"),
        (Anchor::UtcMidnight, 6 * HOUR, "2026-11-25T12:00:00Z"),
        (Anchor::UtcMidnight, 7 * DAY, "2026-11-30T00:00:00Z"),
        (Anchor::Weekly, DAY, "2026-11-30T00:00:00Z"),
        (Anchor::PacificMidnight, DAY, "2026-11-26T08:00:00Z"),
        (Anchor::UtcMidnight, Duration::ZERO, "2026-11-26T00:00:00Z"),
    ] {
        let spec = spec(anchor, 1, every);
        assert_eq!(period_end(&spec, time(now)), time(end), "{anchor:?}");
    }
}

#[test]
fn the_pacific_day_follows_daylight_saving_time() {
    let spec = spec(Anchor::PacificMidnight, 1, DAY);
    for (now, end) in [
        ("2026-07-01T06:59:00Z", "2026-07-01T07:00:00Z"),
        ("2026-07-01T07:00:00Z", "2026-07-02T07:00:00Z"),
        // The day the clock goes back has 25 hours.
        ("2026-11-01T07:00:00Z", "2026-11-02T08:00:00Z"),
        // The day it goes forward has 23.
        ("2026-03-08T08:00:00Z", "2026-03-09T07:00:00Z"),
    ] {
        assert_eq!(period_end(&spec, time(now)), time(end), "{now}");
    }
}

#[test]
fn the_rule_without_a_time_zone_database_is_the_same() {
    let rule = TimeZone::posix("PST8PDT,M3.2.0,M11.1.0").expect("a valid rule");
    for hour in 0..366 * 24 {
        let now = time("2026-01-01T00:30:00Z") + HOUR * hour;
        let instant = jiff::Timestamp::from_millisecond(now.as_millis()).expect("in range");
        assert_eq!(rule.to_offset(instant), PACIFIC.to_offset(instant), "{now}");
    }
}

#[test]
fn a_full_window_has_room_again_at_its_reset() {
    let spec = spec(Anchor::FirstUse, 2, HOUR);
    let start = Timestamp::from_secs(1000);
    let mut counter = Counter::new();
    counter.add_request(&spec, start);
    assert_eq!(counter.room_at(&spec), None);
    counter.add_request(&spec, start + HOUR / 2);
    assert_eq!(counter.room_at(&spec), Some(start + HOUR));
    counter.roll(&spec, start + HOUR);
    assert_eq!((counter.requests, counter.room_at(&spec)), (0, None));
}

#[test]
fn tokens_fill_a_window_too() {
    let mut spec = spec(Anchor::FirstUse, 0, HOUR);
    spec.tokens = 100;
    let start = Timestamp::from_secs(1000);
    let mut counter = Counter::new();
    counter.add_request(&spec, start);
    counter.add_tokens(&spec, 100, start);
    assert_eq!(counter.room_at(&spec), Some(start + HOUR));
}

#[test]
fn what_is_not_limited_is_never_full() {
    for anchor in [Anchor::FirstUse, Anchor::Rolling] {
        let spec = spec(anchor, 0, HOUR);
        let start = Timestamp::from_secs(1000);
        let mut counter = Counter::new();
        counter.add_request(&spec, start);
        counter.add_tokens(&spec, u64::MAX, start);
        counter.add_tokens(&spec, 1, start);
        assert_eq!(counter.room_at(&spec), None);
    }
}

#[test]
fn a_rolling_window_never_holds_more_than_its_limit_in_any_span() {
    let mut rng = fastrand::Rng::with_seed(3);
    let spec = spec(Anchor::Rolling, 10, Duration::from_secs(100));
    let mut counter = Counter::new();
    let mut now = Timestamp::from_secs(5000);
    let mut served: Vec<Timestamp> = Vec::new();
    for _ in 0..2000 {
        now = now + Duration::from_millis(rng.u64(0..8000));
        counter.roll(&spec, now);
        if let Some(room) = counter.room_at(&spec) {
            assert!(room > now && room <= now + spec.every + spec.every / 20);
            continue;
        }
        counter.add_request(&spec, now);
        served.push(now);
        let recent = served.iter().rev();
        let recent = recent.take_while(|at| now.since(**at) < spec.every);
        assert!(recent.count() <= 10);
    }
    assert!(served.len() > 500, "{} were served", served.len());
}

#[test]
fn a_rolling_window_forgets_whatever_it_was_told() {
    let spec = spec(Anchor::Rolling, 1, Duration::from_secs(100));
    let now = Timestamp::from_secs(5000);
    let mut told = Counter::new();
    let report = Report {
        used: Some(u64::MAX),
        ..Report::default()
    };
    told.correct(&spec, &report, now);
    let mut merged = Counter::new();
    merged.add_request(&spec, now);
    merged.add_tokens(&spec, 9, now);
    let mut other = Counter::new();
    other.add_request(&spec, now);
    other.add_request(&spec, now);
    merged.catch_up(other);
    for mut counter in [told, merged] {
        let room = counter.room_at(&spec).expect("it is full");
        assert!(room <= now + spec.every + spec.every / 20, "{room}");
        // Looked at again and again, as a report does.
        for second in 0..=now.until(room).as_secs() {
            counter.roll(&spec, now + Duration::from_secs(second));
        }
        counter.roll(&spec, room);
        assert_eq!((counter.requests, counter.tokens), (0, 0));
    }
}

#[test]
fn a_request_taken_back_leaves_no_trace() {
    for anchor in [Anchor::FirstUse, Anchor::Rolling] {
        let spec = spec(anchor, 1, HOUR);
        let start = Timestamp::from_secs(1000);
        let mut counter = Counter::new();
        counter.add_request(&spec, start);
        counter.take_back(&spec, start);
        assert_eq!((counter.requests, counter.room_at(&spec)), (0, None));
    }
}

#[test]
fn a_clock_that_went_back_opens_a_new_window() {
    let spec = spec(Anchor::FirstUse, 1, HOUR);
    let mut counter = Counter::new();
    counter.add_request(&spec, Timestamp::from_secs(1_000_000));
    counter.roll(&spec, Timestamp::from_secs(1000));
    assert_eq!(counter.room_at(&spec), None);
}

#[test]
fn a_rolling_window_of_a_clock_that_was_ahead_begins_anew() {
    let spec = spec(Anchor::Rolling, 2, HOUR);
    let start = Timestamp::from_secs(1_000_000);
    let mut counter = Counter::new();
    counter.add_request(&spec, start);
    for minutes in (30..3000).step_by(30) {
        counter.add_request(&spec, start + Duration::from_mins(minutes));
    }
    counter.roll(&spec, start + HOUR);
    assert_eq!(counter.room_at(&spec), None);
}

#[test]
fn the_provider_is_right_about_use_limit_and_reset() {
    let spec = spec(Anchor::FirstUse, 100, DAY);
    let now = Timestamp::from_secs(1000);
    let mut counter = Counter::new();
    counter.add_request(&spec, now);
    let report = Report {
        limit: Some(50),
        remaining: Some(0),
        resets: Some(now + HOUR),
        ..Report::default()
    };
    counter.correct(&spec, &report, now);
    assert_eq!(counter.requests, 50);
    assert_eq!(counter.room_at(&spec), Some(now + HOUR));
}
