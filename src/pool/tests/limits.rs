//! Windows, caps, what providers report of their limits, budgets, and steering by hand.

use super::*;
use crate::pool::Choice;

fn window(requests: u64, anchor: Anchor) -> WindowSpec {
    WindowSpec {
        models: vec!["m".to_owned()],
        requests,
        tokens: 0,
        every: Duration::from_hours(1),
        anchor,
    }
}

fn windowed(requests: u64) -> Settings {
    Settings {
        windows: vec![window(requests, Anchor::FirstUse)],
        ..Settings::default()
    }
}

fn cap(tiers: &[&str], limit: CapLimit, cooldown: CapCooldown) -> CapSpec {
    CapSpec {
        tiers: tiers.iter().map(|tier| (*tier).to_owned()).collect(),
        models: Vec::new(),
        limit,
        cooldown,
    }
}

/// Serves until refused; the number served, and the refusal.
fn drain(pool: &Arc<Pool>, model: &str, now: Timestamp) -> (u32, Refusal) {
    for served in 0..1000 {
        let mut ask = Ask::new(model, None, now);
        match pool.acquire(&mut ask, now) {
            Acquire::Lease(lease) => succeed(lease, now),
            Acquire::Refused(refusal) => return (served, refusal),
            Acquire::Wait(_) => panic!("nothing ends within no time"),
        }
    }
    panic!("no limit was reached");
}

#[test]
fn a_full_window_stands_aside_before_the_provider_says_so() {
    let pool = pool(2, windowed(3));
    let refused = Refusal::Cooling { until: at(3600) };
    assert_eq!(drain(&pool, "m", at(0)), (6, refused));
    let expected = (CredentialState::Exhausted, Some(at(3600)));
    assert_eq!(state(&pool, "1", at(1)), expected);
    assert_eq!(drain(&pool, "m", at(3600)).0, 6);
    // Models the window does not name go on.
    drop(lease(&pool, &mut Ask::new("other", None, at(30)), at(1)));
}

#[test]
fn requests_under_way_count_against_the_window() {
    let pool = pool(1, windowed(2));
    let held = [
        lease(&pool, &mut ask(at(0)), at(0)),
        lease(&pool, &mut ask(at(0)), at(0)),
    ];
    refusal(&pool, &mut ask(at(0)), at(0));
    drop(held);
}

#[test]
fn what_the_provider_never_booked_is_not_counted() {
    let pool = pool(1, windowed(1));
    let mut first = ask(at(0));
    let lost = lease(&pool, &mut first, at(0));
    let reset = Failure::new(Verdict::Transient(Fault::Reset), "reset");
    fail(lost, &mut first, &reset, at(0));
    drop(lease(&pool, &mut first, at(0)));
    refusal(&pool, &mut ask(at(0)), at(0));
}

#[test]
fn tokens_of_a_client_that_left_count() {
    let mut settings = windowed(0);
    settings.windows[0].tokens = 1000;
    let pool = pool(1, settings);
    let mut held = lease(&pool, &mut ask(at(0)), at(0));
    held.note_usage(Usage {
        input: 900,
        output: 100,
        ..Usage::default()
    });
    drop(held);
    let refused = refusal(&pool, &mut ask(at(1)), at(1));
    assert_eq!(refused, Refusal::Cooling { until: at(3600) });
}

#[test]
fn caps_of_every_kind_stop_where_they_say() {
    let window = 10;
    for (limit, served) in [
        (CapLimit::Requests(4), 4),
        (CapLimit::Requests(99), 10),
        (CapLimit::Requests(0), 1),
        (CapLimit::Percent(80.0), 8),
        (CapLimit::Percent(400.0), 10),
        (CapLimit::Percent(f64::NAN), 1),
        (CapLimit::Relative(-3), 7),
        (CapLimit::Relative(3), 10),
        (CapLimit::Relative(-99), 1),
    ] {
        let mut settings = windowed(window);
        settings.caps = vec![cap(&[], limit, CapCooldown::QuotaReset)];
        let pool = pool(1, settings);
        let refused = Refusal::Cooling { until: at(3600) };
        assert_eq!(drain(&pool, "m", at(0)), (served, refused), "{limit:?}");
    }
}

#[test]
fn a_percentage_of_an_unknown_limit_is_no_cap() {
    let settings = Settings {
        caps: vec![cap(&[], CapLimit::Percent(10.0), CapCooldown::QuotaReset)],
        ..Settings::default()
    };
    let pool = pool(1, settings);
    assert!((0..50).all(|n| serve(&pool, at(n)) == "1"));
}

#[test]
fn a_reached_cap_rests_as_long_as_it_says_and_then_counts_anew() {
    for (cooldown, until) in [
        (CapCooldown::QuotaReset, 3600),
        (CapCooldown::Offset(Duration::from_secs(100)), 3700),
        (CapCooldown::Fixed(Duration::from_mins(1)), 60),
    ] {
        let mut settings = windowed(100);
        settings.caps = vec![cap(&[], CapLimit::Requests(5), cooldown)];
        let pool = pool(1, settings);
        let refused = Refusal::Cooling { until: at(until) };
        assert_eq!(drain(&pool, "m", at(0)), (5, refused), "{cooldown:?}");
        assert_eq!(state(&pool, "1", at(1)).0, CredentialState::Exhausted);
        assert_eq!(drain(&pool, "m", at(until)).0, 5, "{cooldown:?}");
    }
}

#[test]
fn the_cap_of_ones_own_tier_goes_before_the_one_for_all() {
    let limit = CapLimit::Requests;
    let reset = CapCooldown::QuotaReset;
    let caps = vec![
        cap(&["default"], limit(2), reset),
        cap(&["free", "standard-tier"], limit(3), reset),
        cap(&["7"], limit(4), reset),
    ];
    for (tier, priority, served) in [
        (None, 1, 2),
        (Some("paid"), 1, 2),
        (Some("free"), 1, 3),
        (Some("free-tier"), 1, 3),
        (Some("standard"), 1, 3),
        (Some("Standard-Tier"), 1, 3),
        (None, 7, 4),
    ] {
        let settings = Settings {
            caps: caps.clone(),
            ..Settings::default()
        };
        let own = Member {
            tier: tier.map(str::to_owned),
            priority,
            ..member(1)
        };
        let pool = pool_of(settings, vec![own]);
        assert_eq!(drain(&pool, "m", at(0)).0, served, "{tier:?} {priority}");
    }
}

#[test]
fn caps_know_models_however_they_are_spelt() {
    for spelling in [
        "gemini-2.5-pro",
        "GEMINI_2_5_PRO",
        "gemini-2-5-pro",
        "gemini-2.5*",
    ] {
        let mut spec = cap(&[], CapLimit::Requests(2), CapCooldown::QuotaReset);
        spec.models = vec![spelling.to_owned()];
        let settings = Settings {
            caps: vec![spec],
            ..Settings::default()
        };
        let pool = pool(1, settings);
        assert_eq!(drain(&pool, "gemini-2.5-pro", at(0)).0, 2, "{spelling}");
        drop(lease(&pool, &mut Ask::new("gemini-3", None, at(9)), at(0)));
    }
}

#[test]
fn a_cap_of_a_group_counts_its_models_together() {
    let mut spec = cap(&[], CapLimit::Requests(3), CapCooldown::QuotaReset);
    spec.models = vec!["25_flash".to_owned()];
    let settings = Settings {
        quota_groups: vec![QuotaGroup {
            name: "25-flash".to_owned(),
            models: vec!["a".to_owned(), "b".to_owned()],
        }],
        caps: vec![spec],
        ..Settings::default()
    };
    let pool = pool(1, settings);
    succeed(lease(&pool, &mut Ask::new("a", None, at(9)), at(0)), at(0));
    assert_eq!(drain(&pool, "b", at(0)).0, 2);
    assert_eq!(drain(&pool, "a", at(0)).0, 0);
}

#[test]
fn the_providers_own_count_wins_over_ours() {
    let pool = pool(1, windowed(100));
    serve(&pool, at(0));
    let report = Report {
        limit: Some(50),
        used: Some(49),
        resets: Some(at(1000)),
        ..Report::default()
    };
    assert!(pool.report(&id("1"), "m", &report, at(1)));
    let refused = Refusal::Cooling { until: at(1000) };
    assert_eq!(drain(&pool, "m", at(2)), (1, refused));
    assert!(!pool.report(&id("9"), "m", &report, at(1)));
}

#[test]
fn headers_correct_the_window_they_mean_and_no_other() {
    let pool = pool(1, windowed(100));
    serve(&pool, at(0));
    let left = |limit: u64, remaining: u64| Report {
        limit: Some(limit),
        remaining: Some(remaining),
        ..Report::default()
    };
    // A limit a minute, which no window stands for.
    assert!(pool.heed(&id("1"), "m", &left(60, 59), at(1)));
    let windows = || pool.snapshot(at(1)).members[0].classes[0].windows.clone();
    assert_eq!((windows()[0].limit, windows()[0].requests), (Some(100), 1));
    pool.heed(&id("1"), "m", &left(100, 40), at(1));
    assert_eq!((windows()[0].limit, windows()[0].requests), (Some(100), 60));
    // Used up for a second: that window is none of ours, and its limit is not.
    let spent = Report {
        remaining: Some(0),
        resets: Some(at(2)),
        ..Report::default()
    };
    pool.heed(&id("1"), "m", &spent, at(1));
    let refused = Refusal::Cooling { until: at(2) };
    assert_eq!(drain(&pool, "m", at(1)), (0, refused));
    assert_eq!(drain(&pool, "m", at(2)).0, 40);
}

#[test]
fn a_limit_only_the_provider_knows_counts_until_it_resets() {
    let pool = pool(1, Settings::default());
    let report = Report {
        limit: Some(60),
        remaining: Some(2),
        resets: Some(at(45)),
        every: Some(Duration::from_mins(1)),
        ..Report::default()
    };
    pool.report(&id("1"), "m", &report, at(0));
    let refused = Refusal::Cooling { until: at(45) };
    assert_eq!(drain(&pool, "m", at(1)), (2, refused));
    assert_eq!(serve(&pool, at(45)), "1");
}

#[test]
fn a_credential_reset_by_hand_serves_at_once() {
    let pool = pool(1, Settings::default());
    let rest = |model: &str| {
        let mut ask = Ask::new(model, None, at(30));
        let lease = lease(&pool, &mut ask, at(0));
        fail(lease, &mut ask, &rate_limit(Some(600)), at(0));
    };
    rest("a");
    rest("b");
    assert!(pool.reset(&id("1"), Some("a"), at(1)));
    drop(lease(&pool, &mut Ask::new("a", None, at(30)), at(1)));
    refusal(&pool, &mut Ask::new("b", None, at(30)), at(1));
    assert!(pool.reset(&id("1"), None, at(1)));
    drop(lease(&pool, &mut Ask::new("b", None, at(30)), at(1)));
    assert!(!pool.reset(&id("9"), None, at(1)));
}

#[test]
fn a_credential_is_switched_off_and_on() {
    let pool = pool(1, Settings::default());
    assert!(pool.set_state(&id("1"), &UserState::Disabled, at(0)));
    assert_eq!(
        refusal(&pool, &mut ask(at(0)), at(0)),
        Refusal::NoCredentials
    );
    assert_eq!(state(&pool, "1", at(0)).0, CredentialState::Disabled);
    pool.set_state(&id("1"), &UserState::Expired, at(0));
    pool.set_state(&id("1"), &UserState::Enabled, at(0));
    assert_eq!(serve(&pool, at(0)), "1");
    pool.set_state(&id("1"), &UserState::Expired, at(0));
    assert_eq!(refusal(&pool, &mut ask(at(0)), at(0)), Refusal::AllRefused);
}

#[tokio::test]
async fn a_reset_wakes_those_who_wait() {
    let pool = pool(1, Settings::default());
    let mut first = ask(at(0));
    let held = lease(&pool, &mut first, at(0));
    fail(held, &mut first, &rate_limit(Some(20)), at(0));
    let wait = waiting(&pool, &mut first, at(0));
    pool.reset(&id("1"), None, at(1));
    wait.woken().await;
    lease(&pool, &mut first, at(1));
}

#[test]
fn a_hedge_takes_another_idle_credential_or_none() {
    let pool = pool(2, Settings::default());
    let mut first = ask(at(0));
    let slow = lease(&pool, &mut first, at(0));
    let second = pool.hedge(&mut first, &slow, at(1)).expect("one is idle");
    assert_eq!(second.credential().name(), "2");
    drop(second);
    pool.set_state(&id("2"), &UserState::Disabled, at(1));
    assert!(pool.hedge(&mut first, &slow, at(1)).is_none());
}

#[test]
fn retries_after_faults_stay_a_fifth_of_a_busy_providers_requests() {
    // No blast radius and no ladder: the budget alone must hold.
    let mut settings = Settings::default();
    settings.cooldown.provider_wide_after = 0;
    settings.retry.same_key_retries = 9;
    settings.cooldown.steps = vec![Duration::from_millis(1)];
    settings.cooldown.max = Duration::from_millis(1);
    let pool = pool(5, settings);
    let reset = Failure::new(Verdict::Transient(Fault::Server), "500");
    let (mut calls, requests) = (0, 1000);
    for n in 0..requests {
        let now = at(0) + Duration::from_millis(n * 20);
        let mut ask = ask(now);
        while let Acquire::Lease(lease) = pool.acquire(&mut ask, now) {
            calls += 1;
            if let Next::Answer(_) = fail(lease, &mut ask, &reset, now) {
                break;
            }
        }
    }
    assert!(calls <= requests + requests / 5 + 30, "{calls} calls");
}

#[test]
fn a_clock_that_goes_back_more_than_an_hour_ends_all_rests() {
    let pool = pool(1, Settings::default());
    let mut first = ask(at(0));
    let held = lease(&pool, &mut first, at(0));
    fail(held, &mut first, &rate_limit(Some(7000)), at(0));
    assert_eq!(state(&pool, "1", at(-3000)).0, CredentialState::Cooling);
    assert_eq!(state(&pool, "1", at(-7000)).0, CredentialState::Ready);
    assert_eq!(serve(&pool, at(-7000)), "1");
    // Forward by a year: everything has ended anyway.
    assert_eq!(serve(&pool, at(365 * 86_400)), "1");
}

#[test]
fn a_caller_that_read_the_clock_a_moment_earlier_loses_no_count() {
    for anchor in [Anchor::FirstUse, Anchor::Rolling, Anchor::UtcMidnight] {
        let settings = Settings {
            windows: vec![window(2, anchor)],
            ..Settings::default()
        };
        let pool = pool(1, settings);
        serve(&pool, at(10));
        assert!(pool.has_ready(at(9)), "somebody asked between");
        serve(&pool, at(10));
        assert_eq!(drain(&pool, "m", at(10)).0, 0, "{anchor:?}");
    }
}

#[test]
fn a_clock_that_jumps_leaves_no_window_closed_and_no_turn_taken() {
    let (day, year) = (86_400, 365 * 86_400);
    for anchor in [
        Anchor::FirstUse,
        Anchor::PacificMidnight,
        Anchor::Rolling,
        Anchor::UtcMidnight,
        Anchor::Weekly,
    ] {
        for jump in [-day, -year, year] {
            let mut settings = Settings {
                windows: vec![window(2, anchor)],
                ..Settings::default()
            };
            settings.fair_cycle.enabled = true;
            let pool = pool(2, settings);
            assert_eq!(drain(&pool, "m", at(0)).0, 4, "{anchor:?}");
            // The clock is set, and right from then on.
            assert_eq!(drain(&pool, "m", at(jump)).0, 4, "{anchor:?} {jump}");
            let snapshot = pool.snapshot(at(jump));
            let benched = snapshot
                .members
                .iter()
                .filter(|member| member.classes.iter().any(|class| class.is_benched));
            assert!(benched.count() < 2, "{anchor:?} {jump}");
            assert_eq!(
                drain(&pool, "m", at(jump + 8 * day)).0,
                4,
                "{anchor:?} {jump}"
            );
        }
    }
}

#[test]
fn whoever_looks_while_the_clock_goes_back_the_choice_knows_what_they_saw() {
    type Look = fn(&Pool, Timestamp);
    let looks: [Look; 3] = [
        |pool, now| drop(pool.snapshot(now)),
        |pool, now| drop(pool.excerpt(&Choice::default(), now)),
        |pool, now| drop(pool.usable(1, now)),
    ];
    for anchor in [Anchor::FirstUse, Anchor::Rolling] {
        for look in looks {
            let settings = Settings {
                windows: vec![window(1, anchor)],
                ..Settings::default()
            };
            let pool = pool(1, settings);
            serve(&pool, at(3600));
            refusal(&pool, &mut ask(at(3541)), at(3541));
            look(&pool, at(3539));
            serve(&pool, at(3539));
        }
    }
}

/// The clock is set: back or ahead, by little or by decades, over an hour that a summer ends with.
const JUMPS: [i64; 9] = [
    -1_795_600_000,
    -86_400,
    -3601,
    -3600,
    -1800,
    -3,
    3600,
    86_400,
    // 2038, when 32 bits are full.
    2_147_483_648 - 1_795_600_000,
];

#[test]
fn j1_whatever_the_clock_does_no_rest_is_longer_than_it_was() {
    for jump in JUMPS {
        let pool = pool(2, Settings::default());
        let no_money = Failure::new(Verdict::NoMoney, "no money");
        for (key, failure) in [("1", rate_limit(Some(60))), ("2", no_money)] {
            let mut ask = ask(at(0));
            let lease = lease(&pool, &mut ask, at(0));
            assert_eq!(lease.credential().name(), key);
            fail(lease, &mut ask, &failure, at(0));
        }
        let left = |name: &str, now| {
            let (_, until) = state(&pool, name, now);
            until.map_or(Duration::ZERO, |until| now.until(until))
        };
        // Ten seconds pass, then the clock is set.
        assert_eq!(left("1", at(10)), 50 * SECOND);
        let parked = left("2", at(10));
        refusal(&pool, &mut ask(at(10)), at(10));
        let now = at(10 + jump);
        let _ = pool.acquire(&mut ask(now), now);
        assert!(
            left("1", now) <= 53 * SECOND,
            "{jump}: {:?}",
            left("1", now)
        );
        assert!(left("2", now) <= parked + 3 * SECOND, "{jump}");
        if (-3600..0).contains(&jump) {
            // By so little nothing is forgotten.
            assert!(left("1", now) >= 50 * SECOND, "{jump}");
        }
        // Right from then on, it is over when it was to be.
        let served = serve(&pool, at(64 + jump));
        assert!(served == "1" || jump >= 3600, "{jump}: {served}");
    }
}

#[tokio::test]
async fn who_waits_while_the_clock_jumps_is_served_all_the_same() {
    let mut settings = Settings::default();
    settings.concurrency.max = 1;
    let pool = pool(1, settings);
    let held = lease(&pool, &mut ask(at(0)), at(0));
    let mut second = ask(at(0));
    let waits = waiting(&pool, &mut second, at(0));
    succeed(held, at(-86_400));
    waits.woken().await;
    second.deadline = at(-86_400 + 30);
    let served = lease(&pool, &mut second, at(-86_400));
    assert_eq!(served.credential().name(), "1");
}
