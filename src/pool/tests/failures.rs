//! Every row of the table "What a failure means", and the user's own rules.

use super::*;

fn failure(verdict: Verdict, status: u16, hint: Option<u64>) -> Failure {
    Failure {
        verdict,
        hint: hint.map(|seconds| Hint::After(Duration::from_secs(seconds))),
        status: Some(status),
        message: "the provider's own words".to_owned(),
        link: Some("https://example.com/appeal".to_owned()),
    }
}

/// Fails one request on the first of `keys` credentials.
fn fail_first(keys: u8, failure: &Failure) -> (Arc<Pool>, Next) {
    let pool = pool(keys, Settings::default());
    let mut ask = ask(at(0));
    let lease = lease(&pool, &mut ask, at(0));
    assert_eq!(lease.credential().name(), "1");
    let next = fail(lease, &mut ask, failure, at(0));
    (pool, next)
}

#[test]
fn each_class_of_failure_leaves_the_state_the_table_says() {
    use CredentialState::{ActionNeeded, Cooling, Dead, Exhausted, Ready};
    let day = 86_400;
    for (verdict, hint, state_after, until) in [
        (Verdict::BadRequest, None, Ready, None),
        (Verdict::ContextLength, None, Ready, None),
        (Verdict::Auth, None, Cooling, Some(300)),
        (Verdict::NoMoney, None, Exhausted, Some(day)),
        (Verdict::NoMoney, Some(500), Exhausted, Some(500)),
        (Verdict::Banned, None, Dead, None),
        (Verdict::Dead, None, Dead, None),
        (Verdict::ActionNeeded, None, ActionNeeded, None),
        (Verdict::NotAllowed, None, Cooling, Some(day)),
        (Verdict::Quota, Some(7200), Exhausted, Some(7200)),
        (Verdict::Quota, None, Exhausted, Some(3600)),
        (Verdict::RateLimit, Some(20), Cooling, Some(20)),
        (Verdict::RateLimit, None, Cooling, Some(60)),
        (Verdict::Capacity, None, Ready, None),
        (Verdict::Transient(Fault::Server), None, Ready, None),
        (Verdict::Transient(Fault::Connect), None, Ready, None),
    ] {
        let (pool, _) = fail_first(2, &failure(verdict, 0, hint));
        let expected = (state_after, until.map(at));
        assert_eq!(state(&pool, "1", at(0)), expected, "{verdict:?} {hint:?}");
        assert_eq!(state(&pool, "2", at(0)).0, Ready, "{verdict:?}");
    }
}

#[test]
fn models_that_share_a_quota_rest_together_known_or_new_and_others_do_not() {
    let settings = Settings {
        shared_quotas: vec!["*:free".to_owned()],
        ..Settings::default()
    };
    let pool = pool(1, settings);
    let mut asks = ["a:free", "b:free", "paid"].map(|model| Ask::new(model, None, at(30)));
    for ask in &mut asks {
        succeed(lease(&pool, ask, at(0)), at(0));
    }
    let mut spent = Ask::new("a:free", None, at(30));
    let held = lease(&pool, &mut spent, at(1));
    // One that is merely busy leaves the others alone.
    fail(
        held,
        &mut spent,
        &failure(Verdict::RateLimit, 429, Some(5)),
        at(1),
    );
    let mut other = Ask::new("b:free", None, at(30));
    succeed(lease(&pool, &mut other, at(1)), at(1));

    let held = lease(&pool, &mut spent, at(10));
    fail(
        held,
        &mut spent,
        &failure(Verdict::Quota, 429, Some(7200)),
        at(10),
    );
    for model in ["a:free", "b:free", "new:free"] {
        let mut ask = Ask::new(model, None, at(40));
        assert!(
            matches!(pool.acquire(&mut ask, at(11)), Acquire::Refused(_)),
            "{model}"
        );
    }
    let mut paid = Ask::new("paid", None, at(40));
    succeed(lease(&pool, &mut paid, at(11)), at(11));
    for model in ["a:free", "new:free"] {
        let mut ask = Ask::new(model, None, at(7300));
        succeed(lease(&pool, &mut ask, at(7211)), at(7211));
    }
}

#[test]
fn each_class_of_failure_leads_on_as_the_table_says() {
    for verdict in [
        Verdict::ActionNeeded,
        Verdict::Auth,
        Verdict::Banned,
        Verdict::Dead,
        Verdict::NoMoney,
        Verdict::NotAllowed,
        Verdict::Quota,
        Verdict::RateLimit,
        Verdict::Capacity,
        Verdict::Transient(Fault::Timeout),
    ] {
        let (_, next) = fail_first(2, &failure(verdict, 0, None));
        assert_eq!(next, AGAIN, "{verdict:?}");
    }
    for verdict in [Verdict::BadRequest, Verdict::ContextLength] {
        let (_, next) = fail_first(2, &failure(verdict, 400, None));
        assert_eq!(next, Next::Answer(Stop::BadRequest), "{verdict:?}");
    }
    let (_, next) = fail_first(2, &failure(Verdict::Transient(Fault::Reset), 0, None));
    let Next::Again {
        after,
        same_credential: true,
    } = next
    else {
        panic!("no retry on the same credential but {next:?}");
    };
    assert!(after <= Duration::from_millis(250));
}

#[test]
fn when_every_credential_is_refused_the_refusal_says_how() {
    for (verdict, expected) in [
        (Verdict::Auth, Refusal::AllRefused),
        (Verdict::NoMoney, Refusal::AllRefused),
        (Verdict::Banned, Refusal::AllRefused),
        (Verdict::ActionNeeded, Refusal::AllRefused),
        (Verdict::NotAllowed, Refusal::NotAllowed),
        (Verdict::Quota, Refusal::Cooling { until: at(3600) }),
        (Verdict::RateLimit, Refusal::Cooling { until: at(60) }),
    ] {
        let pool = pool(2, Settings::default());
        let mut ask = ask(at(0));
        for _ in 0..2 {
            let lease = lease(&pool, &mut ask, at(0));
            fail(lease, &mut ask, &failure(verdict, 0, None), at(0));
        }
        let refused = refusal(&pool, &mut ask, at(0));
        assert_eq!(refused, expected, "{verdict:?}");
    }
}

#[test]
fn a_second_refusal_after_the_rest_is_for_good() {
    let (pool, _) = fail_first(1, &failure(Verdict::Auth, 401, None));
    let mut ask = ask(at(301));
    let lease = lease(&pool, &mut ask, at(301));
    fail(lease, &mut ask, &failure(Verdict::Auth, 401, None), at(301));
    let snapshot = pool.snapshot(at(301));
    assert_eq!(snapshot.members[0].state, CredentialState::Dead);
    let reason = snapshot.members[0].state_reason.as_deref();
    assert_eq!(
        reason,
        Some("the provider's own words https://example.com/appeal")
    );
}

#[test]
fn refusals_of_requests_sent_together_are_one_refusal() {
    let pool = pool(1, Settings::default());
    let (mut a, mut b) = (ask(at(0)), ask(at(0)));
    let leases = [lease(&pool, &mut a, at(0)), lease(&pool, &mut b, at(0))];
    for lease in leases {
        fail(lease, &mut a, &failure(Verdict::Auth, 401, None), at(1));
    }
    assert_eq!(state(&pool, "1", at(2)).0, CredentialState::Cooling);
}

#[test]
fn a_success_after_the_rest_forgives_the_first_refusal() {
    let (pool, _) = fail_first(1, &failure(Verdict::Auth, 401, None));
    serve(&pool, at(301));
    let mut ask = ask(at(302));
    let lease = lease(&pool, &mut ask, at(302));
    fail(lease, &mut ask, &failure(Verdict::Auth, 401, None), at(302));
    assert_eq!(state(&pool, "1", at(302)).0, CredentialState::Cooling);
}

#[test]
fn a_token_is_refreshed_once_before_anyone_is_blamed() {
    let pool = pool(1, Settings::default());
    let mut lease = lease(&pool, &mut ask(at(0)), at(0));
    assert!(lease.may_refresh());
    assert!(!lease.may_refresh());
}

#[test]
fn rate_limits_escalate_and_one_success_clears_the_ladder() {
    let pool = pool(1, Settings::default());
    let limit_at = |now| {
        let mut ask = ask(now);
        let lease = lease(&pool, &mut ask, now);
        fail(lease, &mut ask, &rate_limit(None), now);
        let (_, until) = state(&pool, "1", now);
        until.expect("it rests")
    };
    let first = limit_at(at(0));
    assert_eq!(first, at(60));
    let second = limit_at(first);
    let wait = first.until(second).as_secs();
    assert!((108..=132).contains(&wait), "{wait}");
    serve(&pool, second);
    assert_eq!(limit_at(second), second + 60 * SECOND);
}

#[test]
fn a_hint_that_keeps_proving_short_is_stretched() {
    let pool = pool(1, Settings::default());
    let mut now = at(0);
    let mut waits = Vec::new();
    for _ in 0..4 {
        let mut ask = ask(now);
        let lease = lease(&pool, &mut ask, now);
        fail(lease, &mut ask, &rate_limit(Some(1)), now);
        let until = state(&pool, "1", now).1.expect("it rests");
        waits.push(now.until(until).as_secs());
        now = until;
    }
    assert_eq!(waits[0], 1);
    assert!((9..=11).contains(&waits[1]), "{waits:?}");
    assert!((27..=33).contains(&waits[2]), "{waits:?}");
    assert!((54..=66).contains(&waits[3]), "{waits:?}");
}

#[test]
fn requests_sent_together_move_the_ladder_by_one_step() {
    let pool = pool(1, Settings::default());
    let mut asks: Vec<Ask> = (0..5).map(|_| ask(at(0))).collect();
    let leases: Vec<Lease> = asks
        .iter_mut()
        .map(|ask| lease(&pool, ask, at(0)))
        .collect();
    for (lease, ask) in leases.into_iter().zip(&mut asks) {
        fail(lease, ask, &rate_limit(None), at(1));
    }
    assert_eq!(state(&pool, "1", at(1)).1, Some(at(61)));
}

#[test]
fn one_request_moves_a_ladder_by_one_step_however_often_it_retries() {
    let pool = pool(1, Settings::default());
    let mut ask = ask(at(0));
    let reset = Failure::new(Verdict::Transient(Fault::Reset), "reset");
    for _ in 0..3 {
        let lease = lease(&pool, &mut ask, at(0));
        fail(lease, &mut ask, &reset, at(0));
    }
    assert_eq!(refusal(&pool, &mut ask, at(0)), Refusal::RetriesSpent);
    assert_eq!(state(&pool, "1", at(0)).0, CredentialState::Ready);
}

#[test]
fn a_transient_fault_rests_the_credential_only_when_it_repeats() {
    let pool = pool(1, Settings::default());
    let mut waits = Vec::new();
    let mut now = at(0);
    for _ in 0..4 {
        let mut ask = ask(now);
        let lease = lease(&pool, &mut ask, now);
        let reset = Failure::new(Verdict::Transient(Fault::Reset), "reset");
        fail(lease, &mut ask, &reset, now);
        let until = state(&pool, "1", now).1.unwrap_or(now);
        waits.push(now.until(until).as_secs());
        now = until + SECOND;
    }
    assert_eq!(waits[0], 0);
    assert!((9..=11).contains(&waits[1]), "{waits:?}");
    assert!((27..=33).contains(&waits[2]), "{waits:?}");
    assert!((54..=66).contains(&waits[3]), "{waits:?}");
}

#[test]
fn streams_that_break_off_again_and_again_rest_the_credential() {
    let pool = pool(1, Settings::default());
    for n in 0..2 {
        let lease = lease(&pool, &mut ask(at(n)), at(n));
        lease.note_content(at(n));
        let failure = Failure::new(Verdict::Transient(Fault::Truncated), "cut");
        let outcome = Outcome::Failed {
            failure: &failure,
            after_content: true,
        };
        lease.finish(outcome, at(n));
    }
    assert_eq!(state(&pool, "1", at(1)).0, CredentialState::Cooling);
}

#[test]
fn nothing_is_replayed_once_content_has_reached_the_client() {
    let pool = pool(2, Settings::default());
    let mut ask = ask(at(0));
    let lease = lease(&pool, &mut ask, at(0));
    let outcome = Outcome::Failed {
        failure: &rate_limit(Some(20)),
        after_content: true,
    };
    let next = lease.settle(&mut ask, outcome, at(0));
    assert_eq!(next, Next::Answer(Stop::ContentSent));
    assert_eq!(
        state(&pool, "1", at(0)),
        (CredentialState::Cooling, Some(at(20)))
    );
}

#[test]
fn want_of_capacity_makes_the_class_pause_and_blames_nobody() {
    let pool = pool(2, Settings::default());
    let mut first = ask(at(0));
    let held = lease(&pool, &mut first, at(0));
    fail(
        held,
        &mut first,
        &failure(Verdict::Capacity, 529, None),
        at(0),
    );
    assert_eq!(waiting(&pool, &mut first, at(0)).until(), at(1));
    // Another model is another matter.
    let mut other = Ask::new("other", None, at(30));
    drop(lease(&pool, &mut other, at(0)));
    assert_eq!(lease(&pool, &mut first, at(1)).credential().name(), "2");
    // Again and again: still nobody rests.
    let pool = pool_of(Settings::default(), vec![member(1)]);
    let mut now = at(0);
    for _ in 0..6 {
        let mut next = Ask::new("m", None, now + Duration::from_mins(1));
        let held = lease(&pool, &mut next, now);
        fail(held, &mut next, &failure(Verdict::Capacity, 503, None), now);
        assert_eq!(state(&pool, "1", now).0, CredentialState::Ready);
        now = waiting(&pool, &mut next, now).until();
    }
    assert_eq!(now, at(1 + 2 + 4 + 8 + 16 + 30));
}

#[test]
fn a_request_loses_so_many_calls_and_no_more() {
    let settings = Settings {
        retry: RetrySettings {
            max_attempts: 3,
            ..RetrySettings::default()
        },
        ..Settings::default()
    };
    let pool = pool(9, settings);
    let mut ask = ask(at(0));
    let reset = Failure::new(Verdict::Transient(Fault::Timeout), "timeout");
    let nexts: Vec<_> = (0..3)
        .map(|_| {
            // Refused and limited credentials are passed over without counting.
            for _ in 0..2 {
                let limited = lease(&pool, &mut ask, at(0));
                fail(limited, &mut ask, &rate_limit(Some(60)), at(0));
                serve_other(&pool);
            }
            let lost = lease(&pool, &mut ask, at(0));
            fail(lost, &mut ask, &reset, at(0))
        })
        .collect();
    assert_eq!(nexts, [AGAIN, AGAIN, Next::Answer(Stop::AttemptsSpent)]);
}

/// A success elsewhere, so that failures alike are not laid to the provider.
fn serve_other(pool: &Arc<Pool>) {
    let mut other = Ask::new("other", None, at(30));
    succeed(lease(pool, &mut other, at(0)), at(0));
}

#[test]
fn a_backoff_that_would_pass_the_deadline_ends_the_request() {
    let pool = pool(1, Settings::default());
    let mut ask = Ask::new("m", None, at(0));
    let lease = lease(&pool, &mut ask, at(0));
    let reset = Failure::new(Verdict::Transient(Fault::Reset), "reset");
    let next = fail(lease, &mut ask, &reset, at(0) + Duration::from_millis(1));
    assert_eq!(next, Next::Answer(Stop::DeadlineReached));
}

#[test]
fn rules_of_the_user_go_first() {
    for (rule, next, state_after) in [
        (
            Rule::Fail,
            Next::Answer(Stop::BadRequest),
            (CredentialState::Ready, None),
        ),
        (Rule::Rotate, AGAIN, (CredentialState::Ready, None)),
        (
            Rule::Cool(7 * SECOND),
            AGAIN,
            (CredentialState::Cooling, Some(at(7))),
        ),
        (Rule::Dead, AGAIN, (CredentialState::Dead, None)),
    ] {
        let pool = pool(2, Settings::default());
        let mut ask = ask(at(0));
        let held = lease(&pool, &mut ask, at(0));
        // The built-in table would have killed it.
        let banned = failure(Verdict::Banned, 403, None);
        let outcome = Outcome::Ruled {
            rule,
            failure: &banned,
        };
        assert_eq!(held.settle(&mut ask, outcome, at(0)), next, "{rule:?}");
        assert_eq!(state(&pool, "1", at(0)), state_after, "{rule:?}");
        if next == AGAIN {
            assert_eq!(lease(&pool, &mut ask, at(0)).credential().name(), "2");
        }
    }
}

#[test]
fn a_retry_rule_tries_the_same_credential_and_then_the_next() {
    let pool = pool(2, Settings::default());
    let mut ask = ask(at(0));
    let bad = failure(Verdict::BadRequest, 400, None);
    let mut used = Vec::new();
    for _ in 0..4 {
        let lease = lease(&pool, &mut ask, at(0));
        used.push(lease.credential().name().to_owned());
        let outcome = Outcome::Ruled {
            rule: Rule::Retry,
            failure: &bad,
        };
        lease.settle(&mut ask, outcome, at(0));
    }
    assert_eq!(used, ["1", "1", "1", "2"]);
}

#[test]
fn three_credentials_failing_alike_make_the_provider_back_off_and_are_unblamed() {
    let pool = pool(5, Settings::default());
    let mut ask = ask(at(0));
    for _ in 0..3 {
        let lease = lease(&pool, &mut ask, at(0));
        fail(lease, &mut ask, &rate_limit(None), at(0));
    }
    for name in ["1", "2", "3"] {
        assert_eq!(
            state(&pool, name, at(0)).0,
            CredentialState::Ready,
            "{name}"
        );
    }
    assert_eq!(pool.snapshot(at(0)).backoff_until, Some(at(1)));
    assert_eq!(waiting(&pool, &mut ask, at(0)).until(), at(1));
    // Those not tried yet are the better bet.
    let untried = lease(&pool, &mut ask, at(1));
    assert_eq!(untried.credential().name(), "4");
    succeed(untried, at(1));
    assert_eq!(pool.snapshot(at(1)).backoff_until, None);
}

#[test]
fn waits_the_provider_stated_are_believed_even_in_a_blast() {
    let pool = pool(5, Settings::default());
    let mut ask = ask(at(0));
    for _ in 0..3 {
        let lease = lease(&pool, &mut ask, at(0));
        fail(lease, &mut ask, &rate_limit(Some(25)), at(0));
    }
    assert_eq!(
        state(&pool, "1", at(0)),
        (CredentialState::Cooling, Some(at(25)))
    );
    assert_eq!(waiting(&pool, &mut ask, at(0)).until(), at(1));
    assert_eq!(lease(&pool, &mut ask, at(1)).credential().name(), "4");
}

#[test]
fn a_provider_backing_off_past_the_deadline_is_refused_at_once() {
    let until = at(1);
    let broken = failure(Verdict::Transient(Fault::Server), 500, None);
    for (fault, expected) in [
        (broken, Refusal::ProviderBackoff { until }),
        // Limiting everybody is no failure of the provider's.
        (rate_limit(None), Refusal::Cooling { until }),
    ] {
        let mut settings = Settings::default();
        settings.retry.same_key_retries = 0;
        let pool = pool(3, settings);
        let mut first = ask(at(0));
        for _ in 0..3 {
            let lease = lease(&pool, &mut first, at(0));
            fail(lease, &mut first, &fault, at(0));
        }
        let mut short = Ask::new("m", None, at(0));
        assert_eq!(refusal(&pool, &mut short, at(0)), expected);
    }
}

#[test]
fn what_is_said_of_the_account_is_never_laid_to_the_provider() {
    for verdict in [
        Verdict::Auth,
        Verdict::NoMoney,
        Verdict::Quota,
        Verdict::NotAllowed,
    ] {
        let pool = pool(4, Settings::default());
        let mut ask = ask(at(0));
        for _ in 0..3 {
            let lease = lease(&pool, &mut ask, at(0));
            fail(lease, &mut ask, &failure(verdict, 401, None), at(0));
        }
        assert_eq!(pool.snapshot(at(0)).backoff_until, None, "{verdict:?}");
        assert_eq!(lease(&pool, &mut ask, at(0)).credential().name(), "4");
    }
}

#[test]
fn a_long_quota_lets_one_real_request_through_now_and_then() {
    let (pool, _) = fail_first(1, &failure(Verdict::Quota, 429, Some(36_000)));
    let quarter = 15 * 60;
    let mut early = ask(at(quarter - 31));
    let refused = refusal(&pool, &mut early, at(quarter - 31));
    // The end of the quota, not of the wait for the probe.
    assert_eq!(refused, Refusal::Cooling { until: at(36_000) });
    let mut probe = ask(at(quarter));
    let lease_out = lease(&pool, &mut probe, at(quarter));
    assert!(lease_out.is_probe());
    refusal(&pool, &mut ask(at(quarter)), at(quarter));
    fail(
        lease_out,
        &mut probe,
        &failure(Verdict::Quota, 429, Some(36_000 - 900)),
        at(quarter),
    );
    refusal(&pool, &mut ask(at(2 * quarter)), at(2 * quarter));
    let probe = lease(&pool, &mut ask(at(3 * quarter)), at(3 * quarter));
    probe.note_content(at(3 * quarter));
    // It works again, for everybody, while the probe's stream is still going.
    assert_eq!(state(&pool, "1", at(3 * quarter)).0, CredentialState::Ready);
    serve(&pool, at(3 * quarter));
}

#[test]
fn an_account_without_money_is_tried_hourly() {
    let (pool, _) = fail_first(1, &failure(Verdict::NoMoney, 402, None));
    let hour = 3600;
    for n in [1, 2, 3] {
        let now = at(n * hour);
        let mut ask = ask(now);
        let lease = lease(&pool, &mut ask, now);
        fail(lease, &mut ask, &failure(Verdict::NoMoney, 402, None), now);
        assert_eq!(refusal(&pool, &mut ask, now), Refusal::AllRefused);
    }
    assert_eq!(serve(&pool, at(4 * hour)), "1");
}

#[test]
fn one_probe_is_under_way_whatever_its_model_and_whatever_others_say() {
    let (pool, _) = fail_first(1, &failure(Verdict::NoMoney, 402, None));
    let other = |now| Ask::new("other", None, now + 30 * SECOND);
    refusal(&pool, &mut other(at(1)), at(1));
    let now = at(3600);
    let mut wish = ask(now);
    let probe = lease(&pool, &mut wish, now);
    pool.adopt(pool.standings(), now);
    refusal(&pool, &mut other(now), now);
    let limited = failure(Verdict::RateLimit, 429, Some(60));
    fail(probe, &mut wish, &limited, now);
    refusal(&pool, &mut other(now), now);
}

#[test]
fn absurd_hints_are_not_believed() {
    for hint in [
        Hint::After(Duration::from_hours(87600)),
        Hint::Until(Timestamp::from_millis(i64::MAX)),
    ] {
        let mut failure = rate_limit(None);
        failure.hint = Some(hint);
        let (pool, _) = fail_first(1, &failure);
        assert_eq!(state(&pool, "1", at(0)).1, Some(at(60)), "{hint:?}");
    }
    let mut past = rate_limit(None);
    past.hint = Some(Hint::Until(at(-100)));
    let (pool, _) = fail_first(1, &past);
    let soon = at(0) + Duration::from_millis(250);
    assert_eq!(state(&pool, "1", at(0)).1, Some(soon));
}
