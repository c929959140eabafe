//! Tests of the pool as the gateway uses it.

use std::time::Duration;

use super::*;
use crate::providers::verdict::{Failure, Fault, Hint, Verdict};

const SECOND: Duration = Duration::from_secs(1);

pub(super) fn at(seconds: i64) -> Timestamp {
    // A Wednesday morning, far from any midnight.
    Timestamp::from_secs(1_795_600_000 + seconds)
}

fn provider() -> ProviderId {
    ProviderId::parse("acme").expect("a provider name")
}

pub(super) fn id(name: &str) -> CredentialId {
    CredentialId::new(&provider(), name).expect("a credential name")
}

pub(super) fn member(n: u8) -> Member {
    Member::new(id(&n.to_string()), Fingerprint([n; 16]))
}

pub(super) fn pool_of(settings: Settings, members: Vec<Member>) -> Arc<Pool> {
    let pool = Pool::new(provider(), settings.clone(), 1);
    pool.configure(settings, members, at(0));
    pool
}

pub(super) fn pool(keys: u8, settings: Settings) -> Arc<Pool> {
    pool_of(settings, (1..=keys).map(member).collect())
}

pub(super) fn ask(now: Timestamp) -> Ask {
    Ask::new("m", None, now + 30 * SECOND)
}

pub(super) fn lease(pool: &Arc<Pool>, ask: &mut Ask, now: Timestamp) -> Lease {
    match pool.acquire(ask, now) {
        Acquire::Lease(lease) => lease,
        other => panic!("no lease but {other:?}"),
    }
}

pub(super) fn refusal(pool: &Arc<Pool>, ask: &mut Ask, now: Timestamp) -> Refusal {
    match pool.acquire(ask, now) {
        Acquire::Refused(refusal) => refusal,
        other => panic!("no refusal but {other:?}"),
    }
}

pub(super) fn waiting(pool: &Arc<Pool>, ask: &mut Ask, now: Timestamp) -> Waiting {
    match pool.acquire(ask, now) {
        Acquire::Wait(waiting) => waiting,
        other => panic!("no wait but {other:?}"),
    }
}

fn fail(lease: Lease, ask: &mut Ask, failure: &Failure, now: Timestamp) -> Next {
    let outcome = Outcome::Failed {
        failure,
        after_content: false,
    };
    lease.settle(ask, outcome, now)
}

fn succeed(lease: Lease, now: Timestamp) {
    lease.finish(Outcome::Success { usage: None }, now);
}

/// Serves one request and names the credential.
fn serve(pool: &Arc<Pool>, now: Timestamp) -> String {
    let lease = lease(pool, &mut ask(now), now);
    let name = lease.credential().name().to_owned();
    succeed(lease, now);
    name
}

fn state(pool: &Arc<Pool>, name: &str, now: Timestamp) -> (CredentialState, Option<Timestamp>) {
    let snapshot = pool.snapshot(now);
    let member = snapshot
        .members
        .into_iter()
        .find(|member| member.id.name() == name)
        .expect("a member");
    (member.state, member.cooling_until)
}

fn rate_limit(seconds: Option<u64>) -> Failure {
    let mut failure = Failure::new(Verdict::RateLimit, "slow down");
    failure.status = Some(429);
    failure.hint = seconds.map(|seconds| Hint::After(Duration::from_secs(seconds)));
    failure
}

const AGAIN: Next = Next::Again {
    after: Duration::ZERO,
    same_credential: false,
};

#[test]
fn a_conversation_that_has_grown_stays_on_its_credential() {
    let balanced = Settings {
        rotation: Rotation::Balanced,
        rotation_tolerance: 0.0,
        ..Settings::default()
    };
    let pool = pool(3, balanced);
    let turn = |session: u64, known: &[u64]| {
        let keys = std::iter::once(session).chain(known.iter().copied());
        pool.continue_session("m", keys, at(0));
        let mut ask = Ask::new("m", Some(session), at(30));
        let lease = lease(&pool, &mut ask, at(0));
        let name = lease.credential().name().to_owned();
        succeed(lease, at(0));
        name
    };
    let first = turn(10, &[]);
    // Others come between, so that "least used" would now be somebody else.
    assert_ne!(turn(50, &[]), first);
    assert_eq!(turn(11, &[10]), first);
    assert_eq!(turn(12, &[11, 10]), first);
    assert_ne!(
        turn(60, &[59]),
        first,
        "an unknown conversation goes by use"
    );
}

#[test]
fn sequential_stays_on_one_credential() {
    let pool = pool(3, Settings::default());
    let names: Vec<_> = (0..5).map(|n| serve(&pool, at(n))).collect();
    assert_eq!(names, ["1"; 5]);
}

#[test]
fn a_rate_limited_credential_is_skipped_until_its_hint_has_passed() {
    let pool = pool(2, Settings::default());
    let mut ask = ask(at(0));
    let first = lease(&pool, &mut ask, at(0));
    assert_eq!(fail(first, &mut ask, &rate_limit(Some(20)), at(0)), AGAIN);
    assert_eq!(lease(&pool, &mut ask, at(0)).credential().name(), "2");
    assert_eq!(state(&pool, "1", at(19)).0, CredentialState::Cooling);
    assert_eq!(state(&pool, "1", at(20)).0, CredentialState::Ready);
}

#[test]
fn a_request_waits_for_the_soonest_rest_that_ends_in_time() {
    let pool = pool(1, Settings::default());
    let mut ask = ask(at(0));
    let first = lease(&pool, &mut ask, at(0));
    fail(first, &mut ask, &rate_limit(Some(20)), at(0));
    let wait = waiting(&pool, &mut ask, at(0));
    assert_eq!(wait.until(), at(20));
    lease(&pool, &mut ask, at(20));
}

#[test]
fn a_rest_past_the_deadline_is_refused_at_once() {
    let pool = pool(1, Settings::default());
    let mut ask = ask(at(0));
    let first = lease(&pool, &mut ask, at(0));
    fail(first, &mut ask, &rate_limit(Some(60)), at(0));
    let refused = refusal(&pool, &mut ask, at(0));
    assert_eq!(refused, Refusal::Cooling { until: at(60) });
}

#[test]
fn a_bad_request_is_answered_at_once_and_harms_nobody() {
    let pool = pool(1, Settings::default());
    let mut ask = ask(at(0));
    let first = lease(&pool, &mut ask, at(0));
    let failure = Failure::new(Verdict::BadRequest, "no such field");
    let next = fail(first, &mut ask, &failure, at(0));
    assert_eq!(next, Next::Answer(Stop::BadRequest));
    assert_eq!(serve(&pool, at(0)), "1");
}

#[test]
fn a_transient_fault_is_retried_on_the_same_credential_and_then_on_the_next() {
    let pool = pool(2, Settings::default());
    let mut ask = ask(at(0));
    let failure = Failure::new(Verdict::Transient(Fault::Reset), "reset");
    let mut used = Vec::new();
    for _ in 0..4 {
        let lease = lease(&pool, &mut ask, at(0));
        used.push(lease.credential().name().to_owned());
        fail(lease, &mut ask, &failure, at(0));
    }
    assert_eq!(used, ["1", "1", "1", "2"]);
}

#[tokio::test]
async fn waiters_are_served_first_come_first_served() {
    let settings = Settings {
        concurrency: Concurrency {
            max: 1,
            ..Concurrency::default()
        },
        ..Settings::default()
    };
    let pool = pool(1, settings);
    let held = lease(&pool, &mut ask(at(0)), at(0));
    let (mut first, mut second, mut third) = (ask(at(0)), ask(at(0)), ask(at(0)));
    let first_wait = waiting(&pool, &mut first, at(0));
    let second_wait = waiting(&pool, &mut second, at(0));
    waiting(&pool, &mut third, at(0));
    drop(held);
    first_wait.woken().await;
    // A newcomer does not push in.
    waiting(&pool, &mut ask(at(1)), at(1));
    // The first leaves with what was set aside for it: the second gets it.
    drop(first);
    second_wait.woken().await;
    lease(&pool, &mut second, at(1));
}

#[test]
fn a_lease_dropped_without_verdict_blames_nobody() {
    let pool = pool(1, Settings::default());
    drop(lease(&pool, &mut ask(at(0)), at(0)));
    let snapshot = pool.snapshot(at(0));
    assert_eq!(snapshot.leases, 0);
    assert_eq!(state(&pool, "1", at(0)).0, CredentialState::Ready);
}

#[test]
fn an_empty_pool_says_so() {
    let pool = pool(0, Settings::default());
    assert_eq!(
        refusal(&pool, &mut ask(at(0)), at(0)),
        Refusal::NoCredentials
    );
}

mod excerpt;
mod failures;
mod limits;
mod line;
mod order;
mod restart;
mod together;
