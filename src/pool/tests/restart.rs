//! What survives a restart or a reload.

use super::*;

/// Writes everything down, as JSON as a store would, and reads it into a new pool.
fn restarted(pool: &Arc<Pool>, members: Vec<Member>, now: Timestamp) -> Arc<Pool> {
    let saved = pool.drain_changes();
    let text = serde_json::to_string(&saved).expect("plain records");
    let saved: Vec<Change> = serde_json::from_str(&text).expect("what was written");
    let next = Pool::new(provider(), Settings::default(), 2);
    next.configure(Settings::default(), members, now);
    next.restore(saved, now);
    next
}

fn rest(pool: &Arc<Pool>, seconds: u64) {
    let mut ask = ask(at(0));
    let lease = lease(pool, &mut ask, at(0));
    fail(lease, &mut ask, &rate_limit(Some(seconds)), at(0));
}

#[test]
fn cooldowns_and_counts_survive_a_restart() {
    let pool = pool(2, Settings::default());
    rest(&pool, 600);
    serve(&pool, at(1));
    let next = restarted(&pool, vec![member(1), member(2)], at(10));
    let expected = (CredentialState::Cooling, Some(at(600)));
    assert_eq!(state(&next, "1", at(10)), expected);
    let totals = next.snapshot(at(10)).members[1].totals;
    assert_eq!((totals.requests, totals.successes), (1, 1));
}

#[test]
fn the_dead_stay_dead_and_the_log_in_stays_expired() {
    let pool = pool(2, Settings::default());
    let mut first = ask(at(0));
    let held = lease(&pool, &mut first, at(0));
    fail(
        held,
        &mut first,
        &Failure::new(Verdict::Banned, "banned"),
        at(0),
    );
    pool.set_state(&id("2"), &UserState::Expired, at(0));
    let next = restarted(&pool, vec![member(1), member(2)], at(1));
    assert_eq!(state(&next, "1", at(1)).0, CredentialState::Dead);
    assert_eq!(state(&next, "2", at(1)).0, CredentialState::Expired);
}

#[test]
fn state_belongs_to_the_secret() {
    let pool = pool(1, Settings::default());
    rest(&pool, 600);
    let renewed = Member::new(id("1"), Fingerprint([9; 16]));
    let next = restarted(&pool, vec![renewed.clone()], at(1));
    assert_eq!(state(&next, "1", at(1)).0, CredentialState::Ready);
    // The same in a running pool, where leases of the old secret are still out.
    let held = lease(&next, &mut ask(at(1)), at(1));
    next.configure(Settings::default(), vec![member(1)], at(2));
    let failure = Failure::new(Verdict::Banned, "banned");
    fail(held, &mut ask(at(2)), &failure, at(2));
    assert_eq!(state(&next, "1", at(2)).0, CredentialState::Ready);
}

#[test]
fn no_rest_outlives_a_restart_for_longer_than_it_was() {
    let pool = pool(1, Settings::default());
    rest(&pool, 600);
    // The machine's clock was a year ahead when the rest was written.
    let year = 365 * 86_400;
    let next = restarted(&pool, vec![member(1)], at(-year));
    assert_eq!(state(&next, "1", at(-year)).1, Some(at(600 - year)));
}

#[test]
fn a_reload_keeps_the_state_of_those_that_stay() {
    let pool = pool(3, Settings::default());
    rest(&pool, 600);
    pool.configure(Settings::default(), vec![member(1), member(4)], at(1));
    assert_eq!(state(&pool, "1", at(1)).0, CredentialState::Cooling);
    assert_eq!(serve(&pool, at(1)), "4");
    assert_eq!(pool.snapshot(at(1)).members.len(), 2);
}

#[tokio::test]
async fn a_reload_serves_those_who_wait_with_the_new_credential() {
    let pool = pool(1, Settings::default());
    let mut first = ask(at(0));
    let held = lease(&pool, &mut first, at(0));
    fail(held, &mut first, &rate_limit(Some(20)), at(0));
    let wait = waiting(&pool, &mut first, at(0));
    pool.configure(Settings::default(), vec![member(1), member(2)], at(1));
    wait.woken().await;
    assert_eq!(lease(&pool, &mut first, at(1)).credential().name(), "2");
}

#[test]
fn counts_survive_a_change_of_limits() {
    let window = |requests| Settings {
        windows: vec![WindowSpec {
            models: Vec::new(),
            requests,
            tokens: 0,
            every: Duration::from_hours(1),
            anchor: Anchor::FirstUse,
        }],
        ..Settings::default()
    };
    let pool = pool(1, window(2));
    serve(&pool, at(0));
    serve(&pool, at(0));
    refusal(&pool, &mut ask(at(0)), at(0));
    pool.configure(window(3), vec![member(1)], at(1));
    serve(&pool, at(1));
    refusal(&pool, &mut ask(at(1)), at(1));
}

#[test]
fn a_conversation_finds_its_credential_after_a_restart() {
    let settings = Settings {
        rotation: Rotation::Balanced,
        ..Settings::default()
    };
    let members = || (1..=50).map(member).collect::<Vec<_>>();
    let pool = pool_of(settings, members());
    let talk = |pool: &Arc<Pool>, now| {
        let mut ask = Ask::new("m", Some(77), now + 30 * SECOND);
        lease(pool, &mut ask, now).credential().clone()
    };
    let own = talk(&pool, at(0));
    assert_eq!(talk(&restarted(&pool, members(), at(5)), at(5)), own);
}

#[tokio::test]
async fn a_cooldown_is_urgent_and_a_count_is_not() {
    let pool = pool(1, Settings::default());
    pool.drain_changes();
    serve(&pool, at(0));
    assert!(!pool.has_urgent_changes());
    assert!(!pool.drain_changes().is_empty());
    rest(&pool, 60);
    pool.urgent_changes().await;
    assert!(pool.has_urgent_changes());
    let changes = pool.drain_changes();
    assert_eq!(changes[0].key(), "class acme/1 m");
    assert!(pool.drain_changes().is_empty());
}

#[test]
fn many_threads_leave_no_lease_behind() {
    let mut settings = Settings::default();
    settings.concurrency.max = 3;
    let pool = pool(4, settings);
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let pool = &pool;
            scope.spawn(move || {
                for n in 0..300 {
                    let mut ask = ask(at(n));
                    if let Acquire::Lease(lease) = pool.acquire(&mut ask, at(n))
                        && (n + thread) % 3 == 0
                    {
                        succeed(lease, at(n));
                    }
                }
            });
        }
    });
    let snapshot = pool.snapshot(at(300));
    assert_eq!((snapshot.leases, snapshot.waiters), (0, 0));
}

/// Two processes that share a state: `shared` of each goes to the other.
fn pass_on(from: &Arc<Pool>, to: &Arc<Pool>, now: Timestamp) {
    to.restore(from.drain_changes(), now);
}

#[test]
fn what_another_process_learned_counts_here_and_back() {
    let (server, chat) = (pool(1, Settings::default()), pool(1, Settings::default()));
    let mut mine = ask(at(0));
    let held = lease(&server, &mut mine, at(0));
    fail(held, &mut mine, &rate_limit(Some(600)), at(0));
    pass_on(&server, &chat, at(1));
    let cooling = (CredentialState::Cooling, Some(at(600)));
    assert_eq!(state(&chat, "1", at(1)), cooling);
    assert!(chat.reset(&id("1"), None, at(2)));
    pass_on(&chat, &server, at(3));
    assert_eq!(state(&server, "1", at(3)).0, CredentialState::Ready);
}

#[test]
fn a_record_written_before_a_rest_began_does_not_end_it() {
    let (server, chat) = (pool(1, Settings::default()), pool(1, Settings::default()));
    serve(&chat, at(0));
    let stale = chat.drain_changes();
    let mut mine = ask(at(1));
    let held = lease(&server, &mut mine, at(1));
    fail(held, &mut mine, &rate_limit(Some(600)), at(1));
    server.drain_changes();
    server.restore(stale, at(2));
    let cooling = (CredentialState::Cooling, Some(at(601)));
    assert_eq!(state(&server, "1", at(2)), cooling);
    // The record was overwritten in the store: it is written again.
    pass_on(&server, &chat, at(2));
    assert_eq!(state(&chat, "1", at(2)), cooling);
}

#[test]
fn a_record_that_comes_late_does_not_outdo_one_that_is_newer_than_ours() {
    let [server, chat, other] = [1, 1, 1].map(|keys| pool(keys, Settings::default()));
    serve(&other, at(0));
    let late = other.drain_changes();
    let mut mine = ask(at(1));
    let held = lease(&server, &mut mine, at(1));
    fail(held, &mut mine, &rate_limit(Some(600)), at(1));
    pass_on(&server, &chat, at(2));
    assert!(chat.reset(&id("1"), None, at(3)));
    let newer = chat.drain_changes();
    // Between the two, something old comes by.
    server.restore(late, at(4));
    server.restore(newer, at(5));
    assert_eq!(state(&server, "1", at(5)).0, CredentialState::Ready);
}

#[test]
fn counts_of_two_processes_never_go_down() {
    let (server, chat) = (pool(1, Settings::default()), pool(1, Settings::default()));
    for n in 0..10 {
        serve(&server, at(n));
    }
    serve(&chat, at(10));
    pass_on(&chat, &server, at(11));
    let used = |pool: &Arc<Pool>| pool.snapshot(at(11)).members[0].classes[0].clone();
    assert_eq!(used(&server).windows[0].requests, 10);
    assert_eq!(used(&server).totals.requests, 10);
    pass_on(&server, &chat, at(11));
    assert_eq!(used(&chat).windows[0].requests, 10);
}

#[test]
fn what_comes_from_another_process_keeps_the_credential_in_use() {
    let pool = pool(2, Settings::default());
    assert_eq!(serve(&pool, at(0)), "1");
    let other = pool_of(Settings::default(), vec![member(2)]);
    for _ in 0..3 {
        serve(&other, at(1));
    }
    pass_on(&other, &pool, at(2));
    assert_eq!(serve(&pool, at(2)), "1", "although the second is used more");
}
