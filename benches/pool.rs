//! Picking a credential and settling its lease, at 10, 1,000 and 100,000 credentials: what one
//! request costs the pool. `cargo bench --bench pool`.
//!
//! `rate_limited` passes over a credential that has just been rate-limited, so that one more rests with
//! every pick and those whose rest has ended come back: expiry is part of the price.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use divan::Bencher;
use llmproxy::ids::{CredentialId, ProviderId};
use llmproxy::pool::{Acquire, Ask, Lease, Member, Outcome, Pool, Rotation, Settings};
use llmproxy::providers::verdict::{Failure, Hint, Verdict};
use llmproxy::secret::Fingerprint;
use llmproxy::time::Timestamp;

fn main() {
    divan::main();
}

const SIZES: [u32; 4] = [10, 100, 1_000, 100_000];

fn start() -> Timestamp {
    Timestamp::from_secs(1_795_600_000)
}

fn pool(size: u32, settings: Settings) -> Arc<Pool> {
    let provider = ProviderId::parse("bench").expect("a provider name");
    let members = (0..size).map(|n| {
        let id = CredentialId::new(&provider, &n.to_string()).expect("a credential name");
        let mut secret = [0; 16];
        secret[..4].copy_from_slice(&n.to_le_bytes());
        Member::new(id, Fingerprint(secret))
    });
    let members = members.collect();
    let pool = Pool::new(provider, settings.clone(), 1);
    pool.configure(settings, members, start());
    // The first request for a model makes its lane.
    drop(lease(&pool, start()).0);
    pool
}

fn lease(pool: &Arc<Pool>, now: Timestamp) -> (Lease, Ask) {
    let mut ask = Ask::new("model", None, now + Duration::from_secs(30));
    match pool.acquire(&mut ask, now) {
        Acquire::Lease(lease) => (lease, ask),
        other => unreachable!("somebody can serve, but {other:?}"),
    }
}

fn serve(bencher: Bencher, size: u32, rotation: Rotation, tolerance: f64) {
    let settings = Settings {
        rotation,
        rotation_tolerance: tolerance,
        ..Settings::default()
    };
    let pool = pool(size, settings);
    let mut now = start();
    let mut serve = || {
        now = now + Duration::from_millis(1);
        let (lease, _) = lease(&pool, now);
        lease.finish(Outcome::Success { usage: None }, now);
    };
    // A credential's first request allocates its counts: a pool in use has that behind it.
    (0..2 * size).for_each(|_| serve());
    bencher.bench_local(serve);
}

#[divan::bench(args = SIZES, sample_count = 1000)]
fn sequential(bencher: Bencher, size: u32) {
    serve(bencher, size, Rotation::Sequential, 0.0);
}

#[divan::bench(args = SIZES, sample_count = 1000)]
fn balanced_at_random(bencher: Bencher, size: u32) {
    serve(bencher, size, Rotation::Balanced, 3.0);
}

#[divan::bench(args = SIZES, sample_count = 1000)]
fn balanced_strictly(bencher: Bencher, size: u32) {
    serve(bencher, size, Rotation::Balanced, 0.0);
}

/// Every pick is rate-limited, and rests until half of the others have had their turn.
#[divan::bench(args = SIZES, sample_count = 1000)]
fn rate_limited(bencher: Bencher, size: u32) {
    limit_all(bencher, size, Settings::default());
}

/// The same in a fair cycle: every rest is a turn taken.
#[divan::bench(args = SIZES, sample_count = 1000)]
fn fair_cycle(bencher: Bencher, size: u32) {
    let mut settings = Settings::default();
    settings.fair_cycle.enabled = true;
    settings.fair_cycle.exhaustion_threshold = Duration::from_secs(1);
    limit_all(bencher, size, settings);
}

fn limit_all(bencher: Bencher, size: u32, mut settings: Settings) {
    // Only the hint counts, however often it comes.
    settings.cooldown.steps = Vec::new();
    settings.cooldown.max = Duration::from_secs(1);
    settings.cooldown.probe_after = Duration::from_hours(1000);
    let pool = pool(size, settings);
    let mut now = start();
    let mut failure = Failure::new(Verdict::RateLimit, "slow down");
    failure.hint = Some(Hint::After(Duration::from_secs((size / 2).into())));
    let mut limit = || {
        now = now + Duration::from_secs(1);
        let (first, mut ask) = lease(&pool, now);
        let failed = Outcome::Failed {
            failure: &failure,
            after_content: false,
        };
        first.settle(&mut ask, failed, now);
        let (second, mut ask) = lease(&pool, now);
        let served = Outcome::Success { usage: None };
        second.settle(&mut ask, served, now);
    };
    (0..2 * size).for_each(|_| limit());
    bencher.bench_local(limit);
}

/// A quarter of all credentials is out at any time: load moves them in the order.
#[divan::bench(args = SIZES, sample_count = 1000)]
fn with_leases_out(bencher: Bencher, size: u32) {
    let pool = pool(size, Settings::default());
    let now = start();
    let mut out: VecDeque<Lease> = (0..size / 4).map(|_| lease(&pool, now).0).collect();
    bencher.bench_local(|| {
        out.push_back(lease(&pool, now).0);
        if let Some(lease) = out.pop_front() {
            lease.finish(Outcome::Success { usage: None }, now);
        }
    });
}
