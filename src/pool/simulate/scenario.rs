//! Random pools, random traffic and an upstream that misbehaves in every way the table knows.

use std::time::Duration;

use super::engine::{Plan, Reply, Upstream, exponential};
use crate::dialects::usage::Usage;
use crate::ids::{CredentialId, ProviderId};
use crate::pool::settings::{
    Anchor, CapCooldown, CapLimit, CapSpec, Concurrency, FairCycle, Member, QuotaGroup, Rotation,
    Settings, TierRule, Tracking, WindowSpec,
};
use crate::providers::verdict::{Failure, Fault, Hint, Verdict};
use crate::secret::Fingerprint;
use crate::time::Timestamp;

/// Everything a run depends on, as small numbers, so that a failing case shrinks.
#[derive(Clone, Debug)]
pub(super) struct Scenario {
    pub(super) seed: u64,
    /// How each credential behaves; its length is the size of the pool.
    pub(super) behaviours: Vec<u8>,
    pub(super) rotation: u8,
    pub(super) max: u8,
    pub(super) optimal: u8,
    pub(super) window: u8,
    pub(super) cap: u8,
    pub(super) cycle: u8,
    pub(super) wide_after: u8,
    pub(super) priorities: u8,
    pub(super) gap_ms: u16,
    pub(super) deadline_s: u8,
    pub(super) sessions: u8,
    pub(super) models: u8,
    pub(super) leave_percent: u8,
    pub(super) outage: bool,
    pub(super) requests: u16,
}

impl Scenario {
    pub(super) fn from_seed(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let keys = rng.usize(0..9);
        // Half of all pools are mostly healthy: trouble must not be the only thing tested.
        let trouble = if rng.bool() { 12 } else { 4 };
        Self {
            seed,
            behaviours: (0..keys)
                .map(|_| rng.u8(0..12).saturating_sub(12 - trouble))
                .collect(),
            rotation: rng.u8(0..4),
            max: rng.u8(0..4),
            optimal: rng.u8(0..3),
            window: rng.u8(0..8),
            cap: rng.u8(0..6),
            cycle: rng.u8(0..4),
            wide_after: rng.u8(0..5),
            priorities: rng.u8(1..4),
            gap_ms: [5, 60, 700, 6000][rng.usize(0..4)],
            deadline_s: [1, 10, 30, 120][rng.usize(0..4)],
            sessions: rng.u8(0..6),
            models: rng.u8(1..4),
            leave_percent: [0, 0, 10, 50][rng.usize(0..4)],
            outage: rng.u8(0..4) == 0,
            requests: rng.u16(1..60),
        }
    }

    pub(super) fn start() -> Timestamp {
        Timestamp::from_secs(1_795_600_000)
    }

    pub(super) fn provider() -> ProviderId {
        ProviderId::parse("acme").expect("a provider name")
    }

    pub(super) fn settings(&self) -> Settings {
        let mut settings = Settings {
            rotation: [
                Rotation::Sequential,
                Rotation::Balanced,
                Rotation::Balanced,
                Rotation::Expiring,
            ][usize::from(self.rotation % 4)],
            rotation_tolerance: if self.rotation % 4 == 1 { 0.0 } else { 3.0 },
            concurrency: Concurrency {
                max: self.max.into(),
                optimal: self.optimal.into(),
                multipliers: [(2, 2)].into(),
            },
            quota_groups: vec![QuotaGroup {
                name: "group".to_owned(),
                models: vec!["m0".to_owned(), "m1".to_owned()],
            }],
            tier_rules: vec![TierRule {
                models: vec!["m1".to_owned()],
                tiers: vec!["paid".to_owned()],
            }],
            fair_cycle: FairCycle {
                enabled: self.cycle > 1,
                tracking: if self.cycle == 2 {
                    Tracking::Credential
                } else {
                    Tracking::ModelGroup
                },
                cross_tier: self.cycle == 3,
                exhaustion_threshold: Duration::from_secs(20),
                ..FairCycle::default()
            },
            ..Settings::default()
        };
        settings.cooldown.provider_wide_after = self.wide_after.into();
        let anchors = [
            Anchor::Rolling,
            Anchor::FirstUse,
            Anchor::UtcMidnight,
            Anchor::PacificMidnight,
            Anchor::Weekly,
        ];
        if let Some(anchor) = anchors.get(usize::from(self.window)) {
            settings.windows.push(WindowSpec {
                models: vec!["group".to_owned(), "m2".to_owned()],
                requests: 7,
                tokens: 4000,
                every: Duration::from_secs(90),
                anchor: *anchor,
            });
        }
        let cooldowns = [
            CapCooldown::QuotaReset,
            CapCooldown::Offset(Duration::from_secs(5)),
            CapCooldown::Fixed(Duration::from_secs(5)),
        ];
        if let Some(cooldown) = cooldowns.get(usize::from(self.cap)) {
            settings.caps.push(CapSpec {
                tiers: vec!["free".to_owned()],
                models: Vec::new(),
                limit: if self.window < 3 {
                    CapLimit::Percent(60.0)
                } else {
                    CapLimit::Requests(5)
                },
                cooldown: *cooldown,
            });
        }
        settings
    }

    pub(super) fn members(&self) -> Vec<Member> {
        let member = |n: u8| {
            let name = (n + 1).to_string();
            let id = CredentialId::new(&Self::provider(), &name).expect("a name");
            let mut member = Member::new(id, Fingerprint([n; 16]));
            member.priority = u32::from(n % self.priorities);
            member.tier = [None, Some("free"), Some("paid")][usize::from(n % 3)].map(str::to_owned);
            member
        };
        (0..)
            .zip(&self.behaviours)
            .map(|(n, _)| member(n))
            .collect()
    }

    pub(super) fn plan(&self) -> Plan {
        Plan {
            end: Self::start() + Duration::from_hours(24),
            deadline: Duration::from_secs(self.deadline_s.into()),
            models: (0..self.models).map(|n| format!("m{n}")).collect(),
            sessions: self.sessions.into(),
            mean_gap: Duration::from_millis(self.gap_ms.into()),
            leave_percent: self.leave_percent.into(),
            max_requests: self.requests.into(),
        }
    }

    pub(super) fn upstream(&self) -> Fickle {
        Fickle {
            behaviours: self.behaviours.clone(),
            outage: self.outage.then(|| {
                Self::start() + Duration::from_secs(2)..Self::start() + Duration::from_secs(30)
            }),
        }
    }
}

/// An upstream that fails in every way.
#[derive(Debug)]
pub(super) struct Fickle {
    behaviours: Vec<u8>,
    outage: Option<std::ops::Range<Timestamp>>,
}

impl Upstream for Fickle {
    fn reply(&mut self, slot: u32, now: Timestamp, rng: &mut fastrand::Rng) -> Reply {
        let after = exponential(Duration::from_millis(400), rng);
        if self
            .outage
            .as_ref()
            .is_some_and(|outage| outage.contains(&now))
        {
            return failed(after, Verdict::Transient(Fault::Server), None);
        }
        let behaviour = self.behaviours.get(slot as usize).copied();
        let seconds = |n| Some(Hint::After(Duration::from_secs(n)));
        match (behaviour.unwrap_or(0), rng.u8(0..100)) {
            (_, 0..3) => failed(after, Verdict::BadRequest, None),
            (1, 0..30) => failed(after, Verdict::RateLimit, seconds(rng.u64(0..20))),
            (2, 0..50) => failed(after, Verdict::RateLimit, None),
            (3, 0..30) => failed(after, Verdict::Transient(Fault::Reset), None),
            (4, _) => failed(after, Verdict::Transient(Fault::Server), None),
            (5, 0..50) => failed(after, Verdict::Capacity, None),
            (6, _) => failed(after, Verdict::Auth, None),
            (7, _) => failed(after, Verdict::NoMoney, None),
            (8, 0..80) => failed(after, Verdict::Quota, seconds(rng.u64(0..90_000))),
            (9, 50..100) => failed(after, Verdict::Banned, None),
            (10, _) => failed(after, Verdict::NotAllowed, None),
            (11, 0..40) => Reply::Failure {
                after,
                failure: Failure::new(Verdict::Transient(Fault::Truncated), "cut"),
                after_content: true,
            },
            (11, 40..60) => failed(after, Verdict::ActionNeeded, None),
            _ => Reply::Success {
                after,
                usage: Usage {
                    input: rng.u64(0..600),
                    output: rng.u64(0..300),
                    ..Usage::default()
                },
            },
        }
    }
}

fn failed(after: Duration, verdict: Verdict, hint: Option<Hint>) -> Reply {
    let mut failure = Failure::new(verdict, "no");
    failure.hint = hint;
    Reply::Failure {
        after,
        failure,
        after_content: false,
    }
}
