//! Pools that tell each other of failures.

use super::*;

/// Two pools of five credentials, two of which the first saw limited and told the second of.
fn knowing_of_two_limits() -> (Arc<Pool>, Arc<Pool>) {
    let (one, two) = (pool(5, Settings::default()), pool(5, Settings::default()));
    let mut wish = ask(at(0));
    for _ in 0..2 {
        let lease = lease(&one, &mut wish, at(0));
        fail(lease, &mut wish, &rate_limit(None), at(0));
    }
    two.adopt(one.drain_changes(), at(0));
    (one, two)
}

#[test]
fn what_others_saw_fail_counts_with_ours_and_all_are_unblamed() {
    let (one, two) = knowing_of_two_limits();
    assert_eq!(two.snapshot(at(0)).backoff_until, None);
    let mut wish = ask(at(0));
    let third = lease(&two, &mut wish, at(0));
    assert_eq!(third.credential().name(), "3");
    fail(third, &mut wish, &rate_limit(None), at(0));
    one.adopt(two.drain_changes(), at(0));
    two.adopt(one.drain_changes(), at(0));
    for pool in [&one, &two] {
        assert_eq!(pool.snapshot(at(0)).backoff_until, Some(at(1)));
        for name in ["1", "2", "3"] {
            let (state, _) = state(pool, name, at(0));
            assert_eq!(state, CredentialState::Ready, "{name}");
        }
    }
}

#[test]
fn who_was_served_elsewhere_clears_those_who_failed_before() {
    let (one, two) = knowing_of_two_limits();
    succeed(lease(&one, &mut ask(at(1)), at(1)), at(1));
    two.adopt(one.drain_changes(), at(1));
    let mut wish = ask(at(1));
    let third = lease(&two, &mut wish, at(1));
    fail(third, &mut wish, &rate_limit(None), at(1));
    assert_eq!(two.snapshot(at(1)).backoff_until, None);
}
