//! The nine laws of the pool, each checked after every event of thousands of random runs.
//!
//! `LLMPROXY_SEEDS` sets how many (`cargo test` runs a few thousand, CI more). What is checked is
//! computed the slow way, by looking at every credential, and never through a lane.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use proptest::prelude::*;

use super::engine::{End, Engine, Reply, Watch};
use super::scenario::Scenario;
use crate::pool::ask::{Memory, Next, Refusal, Stop};
use crate::pool::class::{TierLane, class_of, tier_rule_of};
use crate::pool::cooldown::{Cooldown, Reason};
use crate::pool::saved::Change;
use crate::pool::settings::{Member, TierRule};
use crate::pool::slot::Standing;
use crate::pool::state::{Grant, State};
use crate::providers::verdict::{Blame, Verdict};
use crate::time::Timestamp;

/// Seeds of a plain `cargo test`.
const SEEDS: u64 = 4000;
/// Every so many events the state is written down, read back and compared.
const RESTORE_EVERY: u64 = 24;

/// A watcher that asserts the laws.
struct Laws {
    scenario: Scenario,
    /// Where the records are that were written down.
    disk: BTreeMap<String, Change>,
    events: u64,
    /// Probes under way, by slot.
    probes: HashMap<u32, u32>,
    requests: u64,
    /// Attempts that followed a provider's fault which no credential was charged with.
    retries: u64,
    trace: DefaultHasher,
}

impl Laws {
    fn new(scenario: &Scenario) -> Self {
        Self {
            scenario: scenario.clone(),
            disk: BTreeMap::new(),
            events: 0,
            probes: HashMap::new(),
            requests: 0,
            retries: 0,
            trace: DefaultHasher::new(),
        }
    }
}

impl Watch for Laws {
    fn granted(&mut self, state: &State, grant: Grant) {
        (grant.slot, grant.class, grant.acquired).hash(&mut self.trace);
        let slot = &state.slots[grant.slot as usize];
        assert!(slot.max == 0 || slot.active <= slot.max, "law 1");
        let class = &state.classes[grant.class as usize];
        let entry = class
            .entry(grant.slot)
            .expect("a used credential has counts");
        // A cap is reached by the very request that fills it.
        let earlier = |rest: &&Cooldown| {
            rest.holds(state.now) && (rest.reason, rest.since) != (Reason::Cap, state.now)
        };
        for rest in [slot.cooldown.as_deref(), entry.cooldown.as_deref()]
            .into_iter()
            .flatten()
        {
            if earlier(&rest) {
                assert!(grant.is_probe, "law 3: used while resting");
                let probe = rest.probe.expect("law 3: a probe needs a door");
                assert!(probe.next <= state.now && probe.taken, "law 3: not due");
            }
        }
        if grant.is_probe {
            *self.probes.entry(grant.slot).or_default() += 1;
        }
    }

    fn refused(&mut self, state: &State, model: &str, memory: &Memory, deadline: Timestamp) {
        if state.now > deadline {
            return;
        }
        let (name, _) = class_of(model, &state.settings);
        let class = state
            .routes
            .class(name)
            .expect("a class that was asked for");
        let rule = tier_rule_of(model, &state.settings.tier_rules);
        let rule = rule.map(|rule| &state.settings.tier_rules[rule]);
        for at in 0..state.slots.len() {
            for time in moments(state, at, class) {
                let is_in_time = time <= deadline && gate(state, class) <= time;
                assert!(
                    !is_in_time || !may_serve(state, at, class, rule, memory, time),
                    "law 2: refused although {at} may serve at {time}"
                );
            }
        }
    }

    fn settled(&mut self, state: &State, grant: Grant, reply: &Reply, next: Next) {
        format!("{next:?}").hash(&mut self.trace);
        if grant.is_probe {
            *self.probes.entry(grant.slot).or_default() -= 1;
        }
        let Reply::Failure {
            failure,
            after_content: false,
            ..
        } = reply
        else {
            return;
        };
        if failure.verdict == Verdict::BadRequest {
            assert_eq!(next, Next::Answer(Stop::BadRequest), "law 5");
        }
        let class = &state.classes[grant.class as usize];
        let charged = class.entry(grant.slot).is_some_and(|entry| {
            let rest = entry.cooldown.as_deref();
            rest.is_some_and(|rest| rest.holds(state.now))
        });
        if matches!(next, Next::Again { .. })
            && failure.verdict.blame() == Blame::Provider
            && !charged
        {
            self.retries += 1;
        }
    }

    fn ended(&mut self, _state: &State, end: End, waited: Duration) {
        self.requests += 1;
        format!("{end:?}").hash(&mut self.trace);
        let deadline = Duration::from_secs(self.scenario.deadline_s.into());
        assert!(waited <= deadline, "law 4: waited {waited:?}");
        let is_empty = self.scenario.behaviours.is_empty();
        let no_credentials = End::Refused(Refusal::NoCredentials);
        assert!(
            is_empty || end != no_credentials,
            "there are credentials, and none is disabled"
        );
    }

    fn stepped(&mut self, state: &mut State) {
        self.events += 1;
        for slot in &state.slots {
            assert!(slot.max == 0 || slot.active <= slot.max, "law 1");
            assert!(
                slot.cooldown
                    .as_deref()
                    .is_none_or(|rest| ends(rest, state.now)),
                "law 4"
            );
        }
        for (index, class) in (0..).zip(&state.classes) {
            for entry in class.entries.iter().flatten() {
                let rest = entry.cooldown.as_deref();
                assert!(rest.is_none_or(|rest| ends(rest, state.now)), "law 4");
            }
            for TierLane { rule, queue, .. } in &class.lanes {
                let rule = rule.map(|rule| &state.settings.tier_rules[rule]);
                for waiter in queue.values().filter(|waiter| !waiter.is_told) {
                    let is_in_time = waiter.deadline >= state.now;
                    let may_hope = || {
                        (0..state.slots.len())
                            .any(|at| gives_hope(state, at, index, rule, waiter.deadline))
                    };
                    assert!(
                        !is_in_time || may_hope(),
                        "law 4: someone waits for nothing"
                    );
                }
                let waiting = queue.values();
                let mut waiting = waiting.filter(|waiter| {
                    waiter.deadline >= state.now && gate(state, index) <= state.now
                });
                assert!(
                    !waiting.any(|waiter| (0..state.slots.len()).any(|at| may_serve(
                        state,
                        at,
                        index,
                        rule,
                        &waiter.memory,
                        state.now
                    ))),
                    "law 4: a wake-up was lost"
                );
            }
        }
        for change in state.drain_changes() {
            self.disk.insert(change.key(), change);
        }
        state.assert_turns_are_counted();
        if self.events.is_multiple_of(RESTORE_EVERY) {
            state.assert_summed_up();
            self.restore(state);
        }
    }
}

impl Laws {
    /// Law 9: what was written down gives the same state.
    fn restore(&self, state: &mut State) {
        let mut restored = State::new(
            Scenario::provider(),
            self.scenario.settings(),
            self.scenario.seed,
        );
        restored.configure(self.scenario.settings(), self.scenario.members(), state.now);
        restored.restore(self.disk.values().cloned().collect(), state.now);
        let (before, after) = (live(state), live(&mut restored));
        assert_eq!(before.len(), after.len(), "law 9");
        for (before, after) in before.iter().zip(&after) {
            assert_eq!(before, after, "law 9");
        }
    }
}

/// The durable state, without rests that are over and credentials nothing is known of.
fn live(state: &mut State) -> Vec<Change> {
    let now = state.now.as_millis();
    let mut all = state.export();
    all.retain_mut(|change| {
        let rest = match change {
            Change::Class(saved) => &mut saved.cooldown,
            Change::Credential(saved) => &mut saved.cooldown,
            Change::Pause(_) | Change::Session(_) | Change::Suspects(_) => return false,
        };
        if let Some(saved) = rest {
            // Which probe is under way is no durable matter.
            if saved.until_ms <= now {
                *rest = None;
            }
        }
        true
    });
    all
}

fn ends(rest: &Cooldown, now: Timestamp) -> bool {
    now.until(rest.until) <= Duration::from_hours(32 * 24)
}

fn gate(state: &State, class: u32) -> Timestamp {
    let class = &state.classes[class as usize];
    class.backoff.until.max(state.blast.backoff.until)
}

/// Every moment at which something about the credential may change by itself, and now.
fn moments(state: &State, at: usize, class: u32) -> Vec<Timestamp> {
    let slot = &state.slots[at];
    let class = &state.classes[class as usize];
    let entry = u32::try_from(at).ok().and_then(|at| class.entry(at));
    let mut moments = vec![state.now, state.blast.backoff.until, class.backoff.until];
    let rests = [
        slot.cooldown.as_deref(),
        entry.and_then(|entry| entry.cooldown.as_deref()),
    ];
    for rest in rests.into_iter().flatten() {
        moments.push(rest.until);
        moments.extend(rest.probe.map(|probe| probe.next));
    }
    if let Some(entry) = entry {
        moments.extend(entry.room_at(&class.windows, state.now));
        moments.extend(entry.counters.iter().map(|counter| counter.resets));
    }
    moments.retain(|moment| *moment >= state.now);
    moments
}

/// Whether a credential is busy, which may end at any time, or may serve anybody by `deadline` if
/// nothing happens until then.
fn gives_hope(
    state: &State,
    at: usize,
    class: u32,
    rule: Option<&TierRule>,
    deadline: Timestamp,
) -> bool {
    let slot = &state.slots[at];
    let is_busy = slot.max > 0 && slot.active >= slot.max;
    is_busy
        || moments(state, at, class).into_iter().any(|time| {
            let time = time.max(gate(state, class));
            time <= deadline && may_serve(state, at, class, rule, &Memory::default(), time)
        })
}

/// Whether a credential may serve at `time` if nothing happens until then, by the book.
fn may_serve(
    state: &State,
    at: usize,
    class: u32,
    rule: Option<&TierRule>,
    memory: &Memory,
    time: Timestamp,
) -> bool {
    let slot = &state.slots[at];
    let at = u32::try_from(at).expect("a small pool");
    let class = &state.classes[class as usize];
    let tier = |member: &Member, rule: &TierRule| {
        member
            .tier
            .as_ref()
            .is_none_or(|tier| rule.tiers.contains(tier))
    };
    let admits = |rest: &Cooldown| {
        let probe = rest
            .probe
            .filter(|probe| !probe.taken && probe.next <= time);
        time >= rest.until || probe.is_some()
    };
    let has_room = class.entry(at).is_none_or(|entry| {
        let mut entry = entry.clone();
        entry.roll(&class.windows, time);
        entry.room_at(&class.windows, time).is_none()
            && entry.cooldown.as_deref().is_none_or(admits)
    });
    slot.standing == Standing::Usable
        && !slot.is_gone
        && rule.is_none_or(|rule| tier(&slot.member, rule))
        && (slot.max == 0 || slot.active < slot.max)
        && slot.cooldown.as_deref().is_none_or(admits)
        && has_room
        && !memory.excludes(at)
}

/// Runs a scenario under all laws. Returns a hash of all decisions.
fn check(scenario: &Scenario) -> u64 {
    let mut state = State::new(Scenario::provider(), scenario.settings(), scenario.seed);
    state.configure(scenario.settings(), scenario.members(), Scenario::start());
    let mut engine = Engine::new(
        state,
        scenario.plan(),
        scenario.upstream(),
        Laws::new(scenario),
        scenario.seed,
    );
    engine.run(Scenario::start());
    assert_eq!(engine.unanswered(), 0, "law 4: everybody is answered");
    let (state, laws) = engine.into_parts();
    assert_eq!(state.waiting, 0, "law 4: nobody is left in a queue");
    assert!(state.granted.is_empty(), "no grant is left lying about");
    assert!(
        state.slots.iter().all(|slot| slot.active == 0),
        "every lease is back"
    );
    // Law 7: a fifth of the calls, which is a quarter of the requests, the reserve, and what is free
    // while few calls are made.
    let seconds = Scenario::start().until(state.now).as_secs() + 2;
    let allowed = laws.requests / 4 + 20 + 11 * seconds;
    assert!(
        laws.retries <= allowed,
        "law 7: {} > {allowed}",
        laws.retries
    );
    laws.trace.finish()
}

fn seeds() -> u64 {
    std::env::var("LLMPROXY_SEEDS")
        .ok()
        .and_then(|seeds| seeds.parse().ok())
        .unwrap_or(SEEDS)
}

#[test]
fn the_laws_hold_for_thousands_of_seeds() {
    for seed in 0..seeds() {
        let scenario = Scenario::from_seed(seed);
        let run = std::panic::catch_unwind(|| check(&scenario));
        assert!(run.is_ok(), "broken with {scenario:?}");
    }
}

#[test]
fn the_same_seed_gives_the_same_decisions() {
    for seed in 0..50 {
        let scenario = Scenario::from_seed(seed);
        assert_eq!(check(&scenario), check(&scenario), "law 8: seed {seed}");
    }
}

fn scenarios() -> impl Strategy<Value = Scenario> {
    let pool = (
        any::<u64>(),
        prop::collection::vec(0_u8..12, 0..8),
        0_u8..4,
        0_u8..4,
        0_u8..3,
    );
    let limits = (0_u8..8, 0_u8..6, 0_u8..4, 0_u8..5, 1_u8..4);
    let traffic = (1_u16..7000, 1_u8..121, 0_u8..6, 1_u8..4, 0_u8..60);
    (pool, limits, traffic, any::<bool>(), 1_u16..60).prop_map(
        |(pool, limits, traffic, outage, requests)| Scenario {
            seed: pool.0,
            behaviours: pool.1,
            rotation: pool.2,
            max: pool.3,
            optimal: pool.4,
            window: limits.0,
            cap: limits.1,
            cycle: limits.2,
            wide_after: limits.3,
            priorities: limits.4,
            gap_ms: traffic.0,
            deadline_s: traffic.1,
            sessions: traffic.2,
            models: traffic.3,
            leave_percent: traffic.4,
            outage,
            requests,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn the_laws_hold_for_any_scenario(scenario in scenarios()) {
        check(&scenario);
    }
}
