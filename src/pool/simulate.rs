//! A pool in virtual time: `llmproxy simulate`, and the ground on which the pool's laws are tested.
//!
//! The same seed gives the same run. Nothing waits, nothing is sent: an event queue moves the
//! clock, a scripted upstream answers.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use serde::Serialize;

use crate::dialects::usage::Usage;
use crate::ids::{CredentialId, ProviderId};
use crate::providers::verdict::{Failure, Fault, Verdict};
use crate::time::Timestamp;

use super::ask::{Refusal, Stop};
use super::cooldown::Reason;
use super::settings::{Member, Settings};
use super::state::{Grant, State};

mod engine;
#[cfg(test)]
mod laws;
#[cfg(test)]
mod scenario;

use engine::{Engine, Plan, Reply, Upstream, Watch};

/// Dry spells listed a credential; the sum counts all.
const MAX_SPELLS: usize = 100;

/// The traffic of a simulation.
#[derive(Clone, Debug)]
pub struct Workload {
    /// Virtual time to run.
    pub duration: Duration,
    /// Requests a minute on average; they come at random.
    pub requests_per_minute: f64,
    /// The same seed gives the same run.
    pub seed: u64,
    /// When it begins: windows have anchors.
    pub start: Timestamp,
    /// Models, used evenly; at least one.
    pub models: Vec<String>,
    /// How long a request may wait.
    pub deadline: Duration,
    /// How long the upstream takes to answer on average.
    pub latency: Duration,
    /// Tokens a request on average.
    pub tokens: u64,
    /// Conversations at any time; 0 for requests that belong to none.
    pub sessions: u64,
    /// Share of upstream calls that end in a server error, 0 to 1.
    pub failure_rate: f64,
}

impl Workload {
    /// A day of ten requests a minute for one model.
    pub fn new(model: impl Into<String>, start: Timestamp) -> Self {
        Self {
            duration: Duration::from_hours(24),
            requests_per_minute: 10.0,
            seed: 1,
            start,
            models: vec![model.into()],
            deadline: Duration::from_secs(30),
            latency: Duration::from_secs(4),
            tokens: 2000,
            sessions: 0,
            failure_rate: 0.0,
        }
    }
}

/// What came of a simulation.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    pub provider: String,
    /// What was asked for, used evenly.
    pub models: Vec<String>,
    pub requests: u64,
    pub served: u64,
    pub refused: u64,
    /// Refused of all, 0 to 1.
    pub refused_share: f64,
    /// Refusals by reason.
    pub refusals: BTreeMap<&'static str, u64>,
    pub waits: Waits,
    /// In the order of their ids.
    pub credentials: Vec<CredentialReport>,
}

/// How long callers waited for a credential, in milliseconds; those refused count too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Waits {
    pub p50_ms: u64,
    pub p99_ms: u64,
    pub max_ms: u64,
}

/// What a simulated credential did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CredentialReport {
    pub id: String,
    pub requests: u64,
    pub tokens: u64,
    /// How often it ran dry.
    pub dry_spells: u64,
    /// How long it was dry in sum, in milliseconds.
    pub dry_ms: u64,
    /// The first of these spells.
    pub spells: Vec<DrySpell>,
}

/// A time without quota.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DrySpell {
    pub class: String,
    /// RFC 3339.
    pub from: String,
    /// RFC 3339.
    pub until: String,
}

/// Runs a workload against a pool of these members. Its upstream knows no limits: what runs dry are
/// the windows and caps of the settings.
pub fn run(
    workload: &Workload,
    provider: ProviderId,
    settings: Settings,
    members: Vec<Member>,
) -> Report {
    let mut state = State::new(provider, settings.clone(), workload.seed);
    state.configure(settings, members, workload.start);
    let plan = Plan {
        end: workload.start + workload.duration,
        deadline: workload.deadline,
        models: workload.models.clone(),
        sessions: workload.sessions,
        mean_gap: mean_gap(workload.requests_per_minute),
        leave_percent: 0,
        max_requests: u64::MAX,
    };
    let upstream = Steady {
        latency: workload.latency,
        tokens: workload.tokens,
        failure_rate: workload.failure_rate,
    };
    let mut engine = Engine::new(state, plan, upstream, Ledger::default(), workload.seed);
    engine.run(workload.start);
    let (state, ledger) = engine.into_parts();
    Report {
        models: workload.models.clone(),
        ..ledger.report(&state)
    }
}

fn mean_gap(requests_per_minute: f64) -> Duration {
    let rate = requests_per_minute.clamp(1e-3, 1e7);
    Duration::from_secs_f64(60.0 / rate)
}

/// An upstream that answers, but for a share of faults.
#[derive(Debug)]
struct Steady {
    latency: Duration,
    tokens: u64,
    failure_rate: f64,
}

impl Upstream for Steady {
    fn reply(&mut self, _slot: u32, _now: Timestamp, rng: &mut fastrand::Rng) -> Reply {
        let after = engine::exponential(self.latency, rng);
        if rng.f64() < self.failure_rate {
            return Reply::Failure {
                after,
                failure: Failure::new(Verdict::Transient(Fault::Server), "simulated fault"),
                after_content: false,
            };
        }
        let tokens = rng.u64(0..=self.tokens.saturating_mul(2));
        Reply::Success {
            after,
            usage: Usage {
                input: tokens / 4 * 3,
                output: tokens - tokens / 4 * 3,
                ..Usage::default()
            },
        }
    }
}

/// Keeps the books of a run.
#[derive(Debug, Default)]
struct Ledger {
    requests: u64,
    served: u64,
    refusals: BTreeMap<&'static str, u64>,
    /// Waits in milliseconds, and how many waited so long.
    waits: BTreeMap<u64, u64>,
    spells: HashMap<u32, Spells>,
}

#[derive(Debug, Default)]
struct Spells {
    count: u64,
    total: Duration,
    first: Vec<DrySpell>,
    /// Until when each class is dry already.
    until: HashMap<u32, Timestamp>,
}

impl Watch for Ledger {
    fn granted(&mut self, state: &State, grant: Grant) {
        let class = &state.classes[grant.class as usize];
        let Some(entry) = class.entry(grant.slot) else {
            return;
        };
        let rest = entry.cooldown.as_deref();
        let rest = rest.filter(|rest| matches!(rest.reason, Reason::Cap | Reason::Quota));
        let full = entry.room_at(&class.windows, state.now);
        let Some(until) = full.max(rest.map(|rest| rest.until)) else {
            return;
        };
        let spells = self.spells.entry(grant.slot).or_default();
        let known = spells.until.entry(grant.class).or_default();
        if until <= *known {
            return;
        }
        let from = state.now.max(*known);
        *known = until;
        spells.count += 1;
        spells.total += from.until(until);
        if spells.first.len() < MAX_SPELLS {
            spells.first.push(DrySpell {
                class: class.name.to_string(),
                from: from.to_rfc3339(),
                until: until.to_rfc3339(),
            });
        }
    }

    fn ended(&mut self, _state: &State, end: engine::End, waited: Duration) {
        self.requests += 1;
        let reason = match end {
            engine::End::Served => {
                self.served += 1;
                None
            }
            engine::End::Left => None,
            engine::End::Refused(refusal) => Some(refusal_name(refusal)),
            engine::End::Stopped(stop) => Some(stop_name(stop)),
        };
        if let Some(reason) = reason {
            *self.refusals.entry(reason).or_default() += 1;
        }
        let waited = u64::try_from(waited.as_millis()).unwrap_or(u64::MAX);
        *self.waits.entry(waited).or_default() += 1;
    }
}

impl Ledger {
    fn report(mut self, state: &State) -> Report {
        let refused: u64 = self.refusals.values().sum();
        let mut slots: Vec<(u32, &CredentialId)> = (0..)
            .zip(&state.slots)
            .map(|(at, slot)| (at, &slot.member.id))
            .collect();
        slots.sort_by_key(|(_, id)| *id);
        let credentials = slots.into_iter().map(|(at, id)| {
            let entries = || state.classes.iter().filter_map(|class| class.entry(at));
            let spells = self.spells.remove(&at).unwrap_or_default();
            CredentialReport {
                id: id.to_string(),
                requests: entries().map(|entry| entry.totals.requests).sum(),
                tokens: entries()
                    .map(|entry| entry.totals.input_tokens + entry.totals.output_tokens)
                    .sum(),
                dry_spells: spells.count,
                dry_ms: u64::try_from(spells.total.as_millis()).unwrap_or(u64::MAX),
                spells: spells.first,
            }
        });
        let credentials = credentials.collect();
        Report {
            provider: state.provider.to_string(),
            models: Vec::new(),
            requests: self.requests,
            served: self.served,
            refused,
            refused_share: share(refused, self.requests),
            refusals: self.refusals,
            waits: Waits {
                p50_ms: percentile(&self.waits, 50),
                p99_ms: percentile(&self.waits, 99),
                max_ms: self.waits.keys().next_back().copied().unwrap_or(0),
            },
            credentials,
        }
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "request counts are far below 2^52"
)]
fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        return 0.0;
    }
    part as f64 / whole as f64
}

fn percentile(waits: &BTreeMap<u64, u64>, percent: u64) -> u64 {
    let total: u64 = waits.values().sum();
    let mut left = total.saturating_mul(percent).div_ceil(100);
    for (wait, count) in waits {
        if left <= *count {
            return *wait;
        }
        left -= count;
    }
    0
}

const fn refusal_name(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::AllRefused => "credentials_refused",
        Refusal::Busy => "all_credentials_busy",
        Refusal::Cooling { .. } => "all_credentials_cooling",
        Refusal::NoCredentials => "no_credentials",
        Refusal::NotAllowed => "model_not_found",
        Refusal::ProviderBackoff { .. } | Refusal::RetriesSpent => "upstream_error",
    }
}

const fn stop_name(stop: Stop) -> &'static str {
    match stop {
        Stop::BadRequest => "bad_request",
        Stop::AttemptsSpent
        | Stop::BudgetSpent
        | Stop::ContentSent
        | Stop::DeadlineReached
        | Stop::Done => "upstream_error",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::pool::settings::{Anchor, WindowSpec};
    use crate::secret::Fingerprint;

    fn members(count: u8) -> (ProviderId, Vec<Member>) {
        let provider = ProviderId::parse("acme").expect("a provider name");
        let member = |n: u8| {
            let id = CredentialId::new(&provider, &n.to_string()).expect("a name");
            Member::new(id, Fingerprint([n; 16]))
        };
        let members = (1..=count).map(member).collect();
        (provider, members)
    }

    #[test]
    fn the_report_says_when_a_credential_runs_dry() {
        let start = Timestamp::parse_rfc3339("2026-11-25T00:00:00Z").expect("a time");
        let mut workload = Workload::new("m", start);
        workload.requests_per_minute = 1.0;
        workload.duration = Duration::from_hours(23);
        let settings = Settings {
            windows: vec![WindowSpec {
                models: Vec::new(),
                requests: 500,
                tokens: 0,
                every: Duration::from_hours(24),
                anchor: Anchor::UtcMidnight,
            }],
            ..Settings::default()
        };
        let (provider, members) = members(2);
        let report = run(&workload, provider, settings, members);
        // About 1,380 requests meet 1,000 places.
        assert_eq!(report.served, 1000);
        assert_eq!(report.refused, report.requests - 1000);
        assert_eq!(report.refusals["all_credentials_cooling"], report.refused);
        for credential in &report.credentials {
            assert_eq!((credential.requests, credential.dry_spells), (500, 1));
            assert_eq!(credential.spells[0].until, "2026-11-26T00:00:00.000Z");
        }
    }

    #[test]
    fn sim2_each_of_seven_days_gives_each_credential_its_quota_and_no_more() {
        let start = Timestamp::parse_rfc3339("2026-11-25T00:00:00Z").expect("a time");
        let mut workload = Workload::new("m", start);
        workload.requests_per_minute = 2.0;
        // An hour less than a week: nobody waits for the eighth day.
        workload.duration = Duration::from_hours(7 * 24 - 1);
        let window = |requests, every, anchor| WindowSpec {
            models: Vec::new(),
            requests,
            tokens: 0,
            every,
            anchor,
        };
        let settings = Settings {
            windows: vec![
                window(500, Duration::from_hours(24), Anchor::UtcMidnight),
                window(20, Duration::from_mins(1), Anchor::FirstUse),
            ],
            ..Settings::default()
        };
        let (provider, members) = members(3);
        let report = run(&workload, provider, settings, members);
        for credential in &report.credentials {
            assert_eq!((credential.requests, credential.dry_spells), (3500, 7));
            let ends = credential.spells.iter().map(|spell| &*spell.until);
            assert!(ends.clone().all(|end| end.ends_with("T00:00:00.000Z")));
            let days: BTreeSet<_> = ends.collect();
            assert_eq!(days.len(), 7, "{days:?}");
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_report() {
        let mut workload = Workload::new("m", Timestamp::from_secs(1_795_600_000));
        workload.duration = Duration::from_mins(30);
        workload.requests_per_minute = 60.0;
        let run = |workload: &Workload| {
            let (provider, members) = members(3);
            run(workload, provider, Settings::default(), members)
        };
        assert_eq!(run(&workload), run(&workload));
        let before = run(&workload);
        workload.seed = 2;
        assert_ne!(before, run(&workload));
    }
}
