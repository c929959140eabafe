//! The busiest part of a group: the one Redis thread that admits requests under common limits. Shows
//! how long a request waits for its word, and from what load on there must be more than one.
//!
//! ```text
//! cargo run --example group_load
//! ```
//!
//! Requests come at random (exponential gaps), each costs the server two calls of a known length and
//! they are served one after the other. What network and instance add is not in it.

use std::io::{self, Write};

/// What admitting and settling one request costs the server, measured (docs/scale.md), in seconds.
const COST: f64 = 85e-6;

/// Requests that are simulated for each load.
const REQUESTS: usize = 200_000;

fn main() -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "requests/hour  servers  busy  median wait  99 of 100 wait less"
    )?;
    for (an_hour, servers) in [
        (1e6, 1),
        (10e6, 1),
        (30e6, 1),
        (50e6, 1),
        (100e6, 1),
        (100e6, 2),
        (100e6, 4),
    ] {
        // Keys are spread by credential: each server has its share.
        let rate = an_hour / 3600.0 / f64::from(servers);
        let waits = waits(rate, COST, 7);
        let busy = (rate * COST * 100.0).min(100.0);
        let (median, high) = (percentile(&waits, 50), percentile(&waits, 99));
        writeln!(
            out,
            "{an_hour:>13.0}  {servers:>7}  {busy:>3.0}%  {:>8.3} ms  {:>8.3} ms{}",
            median * 1e3,
            high * 1e3,
            if rate * COST < 1.0 {
                ""
            } else {
                "  and growing"
            }
        )?;
    }
    Ok(())
}

/// How long each request waits before it is served, in seconds, sorted.
fn waits(rate: f64, cost: f64, seed: u64) -> Vec<f64> {
    let mut random = fastrand::Rng::with_seed(seed);
    let (mut now, mut free) = (0.0_f64, 0.0_f64);
    let mut waits = Vec::with_capacity(REQUESTS);
    for _ in 0..REQUESTS {
        now -= (1.0 - random.f64()).ln() / rate;
        let begins = free.max(now);
        waits.push(begins - now);
        free = begins + cost;
    }
    waits.sort_unstable_by(f64::total_cmp);
    waits
}

fn percentile(sorted: &[f64], percent: usize) -> f64 {
    let at = sorted.len() * percent / 100;
    sorted.get(at).copied().unwrap_or_default()
}
