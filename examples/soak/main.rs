//! Load with faults, for as long as one likes: keys that die and revive, calls that are lost, a
//! configuration that changes (well and badly) all the time, clients that leave. As long as one key
//! is healthy nobody may notice.
//!
//! `cargo build --release && cargo run --release --example soak -- --minutes 10 --seed 1`
//!
//! Every key and token holds a mark, and all answers are searched for it in eight encodings. With
//! `--leaks 0.02` so many requests are refused as the client's own fault, by errors that repeat the key
//! in one of them; the gateway then logs all that it can, has an account whose token is renewed again and
//! again, and all of its log, its state and what it tells of itself is searched as well.
//!
//! `--independent yes` loses calls without a bound for each request; with `--attempts 2` the failures
//! are compared with what chance allows.
//!
//! The gateway is the built binary beside this program, in a process of its own; upstream and
//! clients are here. The summary is one row of `benches/RELIABILITY.md`; any failure that a client
//! saw, altered byte, silent truncation or leak ends the run with exit code 1. Linux only (`/proc`).

mod account;
#[path = "../../tests/it/canary.rs"]
mod canary;
mod chance;
mod clients;
mod gateway;
mod upstream;
mod watch;

use std::error::Error;
use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::clients::{Client, Tally};
use crate::gateway::Gateway;
use crate::upstream::Faults;
use crate::watch::Watch;

/// Any failure; a soak has nobody to explain it to but its reader.
type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// What the command line sets.
#[derive(Clone, Copy, Debug)]
struct Plan {
    minutes: f64,
    seed: u64,
    /// Clients, each asking again when it is answered and has waited for `pause`.
    clients: usize,
    /// Keys of the pool. The first is always healthy.
    keys: usize,
    /// How many of the other keys' calls fail for a reason of the key's, from 0 to 1.
    key_faults: f64,
    /// How many of all calls are lost to the provider or the network; at most three a request.
    lost: f64,
    /// How many streams break off after content.
    cut: f64,
    /// How many requests are refused by an error that repeats the key.
    leaks: f64,
    /// Whether calls are lost without regard to what their request has lost before.
    independent: bool,
    /// `[routing] max_attempts`.
    attempts: i32,
    /// How long a client waits between two requests.
    pause: Duration,
}

#[tokio::main]
async fn main() -> ExitCode {
    match soak().await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            say(&format!("soak: {error}"));
            ExitCode::from(2)
        }
    }
}

/// Runs it; `true` if nobody noticed anything.
async fn soak() -> Result<bool> {
    let plan = Plan::from_arguments(std::env::args().skip(1))?;
    let faults = Arc::new(Faults::new(plan));
    let upstream = upstream::serve(Arc::clone(&faults)).await?;
    let watch = Arc::new(Watch::new());
    let account = faults.account.file();
    let gateway = Arc::new(Gateway::start(upstream, plan, &account, &watch)?);
    let tally = Arc::new(Tally::default());
    let until = Instant::now() + Duration::from_secs_f64(plan.minutes * 60.0);
    let files_before = gateway.files()?;

    let mut running = tokio::task::JoinSet::new();
    for number in 0..plan.clients {
        let seed = plan.seed.wrapping_mul(1_000_003);
        running.spawn(clients::run(Client {
            address: gateway.address,
            seed: seed.wrapping_add(number as u64),
            until,
            plan,
            tally: Arc::clone(&tally),
            watch: Arc::clone(&watch),
        }));
    }
    let churning = tokio::spawn(gateway::churn(Arc::clone(&gateway), until));
    let mut memory = Vec::new();
    while Instant::now() < until {
        tokio::time::sleep(Duration::from_secs(5)).await;
        let requests = tally.requests.load(Ordering::Relaxed);
        memory.push((requests, gateway.memory()?));
        let (requests, mib) = memory.last().copied().unwrap_or_default();
        say(&format!(
            "{requests} requests, {mib} MiB, {} failures, {} leaks",
            tally.failures(),
            watch.leaks.load(Ordering::Relaxed)
        ));
    }
    running.join_all().await;
    churning.await??;

    let leases = gateway.leases_left().await?;
    let files = gateway.files()?.saturating_sub(files_before);
    let requests = tally.requests.load(Ordering::Relaxed);
    let calls = faults.calls.load(Ordering::Relaxed);
    let failed = faults.failed.load(Ordering::Relaxed);
    say(&tally.report());
    say(&format!(
        "requests {requests} · failures seen {} · altered or silently cut {} · told cuts {} · left {} · calls a request \
         {:.3} · of these failing {:.1} % · reloads {} · MiB a 100,000 requests {:.2} · leases left {leases} · files more {files} · {plan:?}",
        tally.failures(),
        tally.altered.load(Ordering::Relaxed),
        tally.told.load(Ordering::Relaxed),
        tally.left.load(Ordering::Relaxed),
        ratio(calls, requests),
        100.0 * ratio(failed, calls),
        gateway.reloads.load(Ordering::Relaxed),
        slope(&memory),
    ));
    let mut is_clean = leases == 0;
    if plan.leaks > 0.0 {
        gateway.search(&watch, &tally.ids()).await?;
    }
    is_clean &= told_leaks(&watch, &faults, &tally);
    is_clean &= if plan.independent {
        is_chance(plan, requests, &tally)
    } else {
        tally.is_clean()
    };
    Ok(is_clean)
}

/// Tells what was searched and found; `true` if nothing was.
fn told_leaks(watch: &Watch, faults: &Faults, tally: &Tally) -> bool {
    let count = |number: &AtomicU64| number.load(Ordering::Relaxed);
    let (renewals, spent) = faults.account.renewals();
    say(&watch.report());
    say(&format!(
        "searched {} answers ({} refusals that repeat the key), {} MiB of log, {} files and outputs · leaks {} · keys \
         that went to the wrong place {} · renewals of the account {renewals}, with a spent token {spent}",
        count(&watch.answers),
        count(&tally.refused),
        count(&watch.logged) >> 20,
        count(&watch.documents),
        count(&watch.leaks),
        count(&faults.misled),
    ));
    count(&watch.leaks) == 0 && count(&faults.misled) == 0 && spent == 0
}

/// Tells whether so many failures are what chance makes of the lost calls.
fn is_chance(plan: Plan, requests: u64, tally: &Tally) -> bool {
    let probability = plan.lost.powi(plan.attempts);
    let (least, most) = chance::interval(requests, probability);
    let failures = tally.failures();
    say(&format!(
        "each call lost with {}, {} calls a request: {failures} failures, by chance {least} to {most} in 99 of 100 runs",
        plan.lost, plan.attempts
    ));
    (least..=most).contains(&failures) && tally.altered.load(Ordering::Relaxed) == 0
}

impl Plan {
    fn from_arguments(mut arguments: impl Iterator<Item = String>) -> Result<Self> {
        let mut plan = Self {
            minutes: 1.0,
            seed: 1,
            clients: 128,
            keys: 50,
            key_faults: 0.5,
            lost: 0.05,
            cut: 0.0,
            leaks: 0.0,
            independent: false,
            attempts: 8,
            pause: Duration::ZERO,
        };
        while let Some(name) = arguments.next() {
            let value = arguments
                .next()
                .ok_or_else(|| format!("{name} needs a value"))?;
            match name.as_str() {
                "--minutes" => plan.minutes = value.parse()?,
                "--seed" => plan.seed = value.parse()?,
                "--clients" => plan.clients = value.parse()?,
                "--keys" => plan.keys = value.parse::<usize>()?.max(1),
                "--key-faults" => plan.key_faults = value.parse()?,
                "--lost" => plan.lost = value.parse()?,
                "--cut" => plan.cut = value.parse()?,
                "--leaks" => plan.leaks = value.parse()?,
                "--independent" => plan.independent = value == "yes",
                "--attempts" => plan.attempts = value.parse()?,
                "--pause-ms" => plan.pause = Duration::from_millis(value.parse()?),
                _ => return Err(format!("unknown option {name}").into()),
            }
        }
        Ok(plan)
    }
}

/// One number to another; 0 to nothing.
#[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64
}

/// Growth of memory after the first third (warm-up), in MiB for 100,000 requests.
#[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
fn slope(memory: &[(u64, u64)]) -> f64 {
    let warm = memory.get(memory.len() / 3).copied().unwrap_or_default();
    let last = memory.last().copied().unwrap_or_default();
    let grown = last.1 as f64 - warm.1 as f64;
    grown / ratio(last.0 - warm.0, 100_000).max(f64::MIN_POSITIVE)
}

fn say(line: &str) {
    // A soak whose reader left has nobody to fail for.
    let _ = writeln!(std::io::stdout(), "{line}");
}
