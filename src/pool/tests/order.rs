//! Who serves: priorities, load, rotation, conversations, tiers, the fair cycle.

use super::*;

/// Serves `count` requests one after the other and names the credentials.
fn serve_many(pool: &Arc<Pool>, count: i64) -> Vec<String> {
    (0..count).map(|n| serve(pool, at(n))).collect()
}

fn with(rotation: Rotation) -> Settings {
    Settings {
        rotation,
        ..Settings::default()
    }
}

fn tiered(n: u8, tier: &str, priority: u32) -> Member {
    Member {
        tier: Some(tier.to_owned()),
        priority,
        ..member(n)
    }
}

fn serve_model(pool: &Arc<Pool>, model: &str, now: Timestamp) -> String {
    let mut ask = Ask::new(model, None, now + 30 * SECOND);
    let lease = lease(pool, &mut ask, now);
    let name = lease.credential().name().to_owned();
    succeed(lease, now);
    name
}

fn limit(pool: &Arc<Pool>, name: &str, model: &str, seconds: u64, now: Timestamp) {
    let mut ask = Ask::new(model, None, now + 30 * SECOND);
    let lease = lease(pool, &mut ask, now);
    assert_eq!(lease.credential().name(), name);
    fail(lease, &mut ask, &rate_limit(Some(seconds)), now);
}

#[test]
fn the_lowest_priority_number_goes_first() {
    let pool = pool_of(
        Settings::default(),
        vec![tiered(1, "a", 7), tiered(2, "a", 3), tiered(3, "a", 5)],
    );
    assert_eq!(serve(&pool, at(0)), "2");
    limit(&pool, "2", "m", 20, at(0));
    assert_eq!(serve(&pool, at(1)), "3");
    limit(&pool, "3", "m", 60, at(1));
    assert_eq!(serve(&pool, at(2)), "1");
    assert_eq!(serve(&pool, at(20)), "2");
}

#[test]
fn sequential_finishes_the_most_used_before_it_opens_the_next() {
    let pool = pool(3, Settings::default());
    limit(&pool, "1", "m", 10, at(0));
    assert_eq!(serve(&pool, at(1)), "2");
    limit(&pool, "2", "m", 30, at(2));
    // Both have been used; number three is opened only when neither can serve.
    assert_eq!(serve(&pool, at(3)), "3");
    limit(&pool, "3", "m", 60, at(4));
    assert_eq!(serve(&pool, at(11)), "1");
}

#[test]
fn sequential_switches_once_an_exhaustion() {
    let pool = pool(4, Settings::default());
    let mut used = Vec::new();
    for exhaustion in 0..3 {
        let now = at(exhaustion * 100);
        for n in 0..20 {
            used.push(serve(&pool, now + n * SECOND));
        }
        let current = used.last().expect("somebody served").clone();
        limit(&pool, &current, "m", 7200, now + 21 * SECOND);
    }
    used.dedup();
    assert_eq!(used, ["1", "2", "3"]);
}

#[test]
fn concurrent_requests_spread_even_in_sequential_order() {
    let pool = pool(3, Settings::default());
    let leases: Vec<Lease> = (0..4)
        .map(|_| lease(&pool, &mut ask(at(0)), at(0)))
        .collect();
    let names: Vec<_> = leases
        .iter()
        .map(|lease| lease.credential().name())
        .collect();
    assert_eq!(names, ["1", "2", "3", "1"]);
    drop(leases);
    // The credential in use is still the same.
    assert_eq!(serve(&pool, at(1)), "1");
}

#[test]
fn strictly_balanced_use_differs_by_one_at_most() {
    let mut settings = with(Rotation::Balanced);
    settings.rotation_tolerance = 0.0;
    let pool = pool(7, settings);
    for n in 0..100 {
        serve(&pool, at(n));
        let snapshot = pool.snapshot(at(n));
        let used = snapshot.members.iter().map(|member| member.totals.requests);
        let (least, most) = (used.clone().min(), used.max());
        assert!(most <= least.map(|least| least + 1), "{least:?} {most:?}");
    }
}

#[test]
fn loosely_balanced_use_stays_close() {
    let pool = pool(5, with(Rotation::Balanced));
    serve_many(&pool, 1000);
    let snapshot = pool.snapshot(at(1000));
    for member in snapshot.members {
        let used = member.totals.requests;
        assert!((185..=215).contains(&used), "{} has {used}", member.id);
    }
}

#[test]
fn expiring_uses_first_what_would_be_lost_first() {
    let mut settings = with(Rotation::Expiring);
    settings.windows = vec![WindowSpec {
        models: Vec::new(),
        requests: 3,
        tokens: 0,
        every: Duration::from_hours(1),
        anchor: Anchor::FirstUse,
    }];
    let pool = pool(2, settings);
    let held = lease(&pool, &mut ask(at(0)), at(0));
    let other = lease(&pool, &mut ask(at(600)), at(600));
    assert_eq!(other.credential().name(), "2");
    drop((held, other));
    // Number one's hour ends first: it is emptied first.
    assert_eq!(serve_model(&pool, "m", at(700)), "1");
    assert_eq!(serve_model(&pool, "m", at(700)), "1");
    assert_eq!(serve_model(&pool, "m", at(700)), "2");
}

#[test]
fn a_credential_takes_no_more_at_once_than_its_limit() {
    let mut settings = Settings::default();
    settings.concurrency.max = 2;
    settings.concurrency.multipliers = [(1, 2)].into();
    let own = Member {
        max_concurrent: Some(1),
        ..tiered(2, "a", 5)
    };
    let pool = pool_of(settings, vec![tiered(1, "a", 1), own]);
    let leases: Vec<Lease> = (0..5)
        .map(|_| lease(&pool, &mut ask(at(0)), at(0)))
        .collect();
    let of_first = leases
        .iter()
        .filter(|lease| lease.credential().name() == "1");
    assert_eq!(of_first.count(), 4);
    assert_eq!(waiting(&pool, &mut ask(at(0)), at(0)).until(), at(30));
    assert_eq!(refusal(&pool, &mut ask(at(-31)), at(0)), Refusal::Busy);
}

#[test]
fn a_conversation_stays_on_its_credential() {
    let pool = pool(3, with(Rotation::Balanced));
    let talk = |session, now| {
        let mut ask = Ask::new("m", Some(session), now + 30 * SECOND);
        let lease = lease(&pool, &mut ask, now);
        let name = lease.credential().name().to_owned();
        succeed(lease, now);
        name
    };
    for session in 0..10 {
        let own = talk(session, at(0));
        assert!((1..10).all(|n| talk(session, at(n)) == own));
    }
}

#[test]
fn a_conversation_leaves_a_credential_that_cannot_serve_and_stays_with_the_next() {
    let pool = pool(2, Settings::default());
    let talk = |now| {
        let mut ask = Ask::new("m", Some(1), now + 30 * SECOND);
        let lease = lease(&pool, &mut ask, now);
        let name = lease.credential().name().to_owned();
        (lease, ask, name)
    };
    let (lease, mut ask, name) = talk(at(0));
    assert_eq!(name, "1");
    fail(lease, &mut ask, &rate_limit(Some(10)), at(0));
    assert_eq!(talk(at(1)).2, "2");
    assert_eq!(talk(at(20)).2, "2");
}

#[test]
fn a_conversation_comes_back_to_a_credential_that_was_only_busy() {
    let pool = pool(2, Settings::default());
    let mut first = Ask::new("m", Some(1), at(30));
    let held = lease(&pool, &mut first, at(0));
    let mut aside = Ask::new("m", Some(1), at(30));
    assert_eq!(lease(&pool, &mut aside, at(1)).credential().name(), "2");
    succeed(held, at(2));
    let mut next = Ask::new("m", Some(1), at(30));
    assert_eq!(lease(&pool, &mut next, at(3)).credential().name(), "1");
}

#[test]
fn without_affinity_conversations_mean_nothing() {
    let mut settings = with(Rotation::Balanced);
    settings.affinity = false;
    settings.rotation_tolerance = 0.0;
    let pool = pool(2, settings);
    let talk = |now| {
        let mut ask = Ask::new("m", Some(1), now + 30 * SECOND);
        let lease = lease(&pool, &mut ask, now);
        lease.credential().name().to_owned()
    };
    assert_ne!(talk(at(0)), talk(at(0)));
}

#[test]
fn models_of_a_quota_group_rest_together_and_others_do_not() {
    let settings = Settings {
        quota_groups: vec![QuotaGroup {
            name: "pro".to_owned(),
            models: vec!["gemini-2.5-pro".to_owned(), "gemini-3-*".to_owned()],
        }],
        ..Settings::default()
    };
    let pool = pool(1, settings);
    limit(&pool, "1", "gemini-2.5-pro", 60, at(0));
    let mut other = Ask::new("gemini-3-pro-preview", None, at(30));
    let refused = refusal(&pool, &mut other, at(1));
    assert_eq!(refused, Refusal::Cooling { until: at(60) });
    assert_eq!(serve_model(&pool, "gemini-2.5-flash", at(1)), "1");
    let snapshot = pool.snapshot(at(1));
    let reason = snapshot.members[0].state_reason.as_deref();
    assert_eq!(reason, Some("pro: rate_limit: slow down"));
}

#[test]
fn a_tier_that_may_not_use_a_model_is_passed_over() {
    let settings = Settings {
        tier_rules: vec![TierRule {
            models: vec!["big".to_owned()],
            tiers: vec!["paid".to_owned()],
        }],
        ..Settings::default()
    };
    let members = vec![tiered(1, "free", 1), tiered(2, "paid", 2)];
    let pool = pool_of(settings.clone(), members);
    assert_eq!(serve_model(&pool, "big", at(0)), "2");
    assert_eq!(serve_model(&pool, "small", at(0)), "1");
    let pool = pool_of(settings, vec![tiered(1, "free", 1)]);
    let mut ask = Ask::new("big", None, at(30));
    assert_eq!(refusal(&pool, &mut ask, at(0)), Refusal::NotAllowed);
}

fn cycling(cross_tier: bool) -> Settings {
    let mut settings = Settings::default();
    settings.fair_cycle.enabled = true;
    settings.fair_cycle.cross_tier = cross_tier;
    settings
}

#[test]
fn in_a_fair_cycle_an_exhausted_credential_waits_for_all_others_to_have_their_turn() {
    let pool = pool(3, cycling(false));
    limit(&pool, "1", "m", 301, at(0));
    assert_eq!(serve(&pool, at(1)), "2");
    // It could serve again and was used most, but stands last.
    assert_eq!(serve(&pool, at(400)), "2");
    limit(&pool, "2", "m", 301, at(400));
    assert_eq!(serve(&pool, at(800)), "3");
    // The last turn ends the cycle: everybody may serve again, the most used first.
    limit(&pool, "3", "m", 301, at(800));
    assert_eq!(serve(&pool, at(801)), "2");
}

#[test]
fn a_fair_cycle_is_an_order_and_never_a_refusal() {
    let pool = pool(2, cycling(false));
    limit(&pool, "1", "m", 301, at(0));
    limit(&pool, "2", "m", 3600, at(1));
    // All have had their turn, or not: whoever can serve does.
    assert_eq!(serve(&pool, at(400)), "1");
}

#[test]
fn short_rests_are_no_turn() {
    let pool = pool(2, cycling(false));
    serve(&pool, at(0));
    limit(&pool, "1", "m", 299, at(0));
    assert_eq!(serve(&pool, at(1)), "2");
    limit(&pool, "2", "m", 299, at(2));
    let snapshot = pool.snapshot(at(2));
    assert!(!snapshot.members[0].classes[0].is_benched);
}

#[test]
fn a_turn_is_forgotten_after_the_cycles_duration() {
    let mut settings = cycling(false);
    settings.fair_cycle.duration = Duration::from_mins(10);
    let pool = pool(3, settings);
    limit(&pool, "1", "m", 301, at(0));
    let is_benched = |now| pool.snapshot(now).members[0].classes[0].is_benched;
    assert!(is_benched(at(599)));
    assert!(!is_benched(at(600)));
}

#[test]
fn across_tiers_the_benched_stand_behind_all_priorities() {
    let members = || {
        vec![
            tiered(1, "paid", 1),
            tiered(2, "paid", 1),
            tiered(3, "free", 2),
        ]
    };
    for (cross_tier, third) in [(false, "1"), (true, "3")] {
        let pool = pool_of(cycling(cross_tier), members());
        limit(&pool, "1", "m", 301, at(0));
        // Number two rests, but not long enough for a turn, and is back at 419 s.
        limit(&pool, "2", "m", 299, at(120));
        assert_eq!(serve(&pool, at(400)), third, "cross tier: {cross_tier}");
    }
}

#[test]
fn whoever_can_no_longer_take_a_turn_is_not_waited_for() {
    let pool = pool(3, cycling(false));
    limit(&pool, "1", "m", 301, at(0));
    pool.set_state(&id("3"), &UserState::Disabled, at(1));
    limit(&pool, "2", "m", 301, at(2));
    let is_benched = |member: usize| pool.snapshot(at(3)).members[member].classes[0].is_benched;
    assert!(!is_benched(0) && !is_benched(1), "a new cycle has begun");
}

#[test]
fn a_rest_of_the_whole_credential_is_a_turn_too() {
    let mut settings = cycling(false);
    settings.fair_cycle.tracking = Tracking::Credential;
    let pool = pool(2, settings);
    let mut first = ask(at(0));
    let held = lease(&pool, &mut first, at(0));
    let broke = Failure::new(Verdict::NoMoney, "no credit left");
    fail(held, &mut first, &broke, at(0));
    assert!(pool.snapshot(at(1)).members[0].is_benched);
    // Another model sees it as well: it is the credential that has had its turn.
    pool.reset(&id("1"), None, at(1));
    assert!(!pool.snapshot(at(1)).members[0].is_benched);
}
