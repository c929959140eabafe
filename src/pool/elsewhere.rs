//! A pool that others share: what must hold across all of them for one more request, and what they
//! say to it. Who they are and how they are asked is not known here.

use std::fmt;
use std::time::Duration;

use crate::dialects::usage::Usage;
use crate::ids::CredentialId;
use crate::providers::verdict::Blame;
use crate::time::Timestamp;

use super::ask::Outcome;
use super::blast::Suspect;
use super::caps;
use super::class::Entry;
use super::saved::{Change, SavedSuspects, save_entry, save_slot};
use super::settings::Anchor;
use super::slot::Standing;
use super::state::{Grant, State};
use super::windows::period_end;

/// Where all leases of a credential are out elsewhere, it is asked for again after this; and up to
/// as long again later, so that not all who wait ask at once.
const ASK_AGAIN: Duration = Duration::from_millis(20);

/// The limits of one more request that are counted for all pools together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Most leases of the credential at once; 0 is any number.
    pub max: u32,
    /// Leases of it that are out here, this one included.
    pub active: u32,
    /// The quota group or model that the windows are of.
    pub class: String,
    pub windows: Vec<WindowTerm>,
}

/// One window with a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowTerm {
    pub every: Duration,
    pub anchor: Anchor,
    /// When it ends, where the calendar says so.
    pub ends: Option<Timestamp>,
    /// Requests allowed; 0 is any number.
    pub requests: u64,
    /// Tokens allowed; 0 is any number.
    pub tokens: u64,
    /// What all together had counted when they last said so; unknown of a rolling one.
    pub told: Option<Count>,
}

/// What all together had counted of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    pub requests: u64,
    /// When the window ends, by our clock.
    pub ends: Timestamp,
    /// When that was said, by the clock of who said it, in milliseconds.
    pub said_ms: i64,
}

/// Why the others do not allow a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Declined {
    /// All leases of the credential are out.
    Busy,
    /// A window of the model class is full until then.
    Full { until: Timestamp },
}

/// What a lease holds outside of its pool; told once how it ended.
pub trait Beyond: fmt::Debug + Send + Sync {
    /// The lease has ended: whether its request is taken back, and how many tokens it used.
    fn ended(self: Box<Self>, is_taken_back: bool, tokens: u64);
}

/// What a lease's end means for counts that others keep, by the rules that hold for ours.
pub(super) fn counted(outcome: &Outcome<'_>, noted: Option<Usage>) -> (bool, u64) {
    let tokens = |usage: Option<Usage>| usage.map_or(0, |usage| usage.total());
    match outcome {
        Outcome::Cancelled { usage } | Outcome::Success { usage } => (false, tokens(*usage)),
        Outcome::Failed {
            failure,
            after_content,
        } => {
            let is_lost = failure.verdict.blame() == Blame::Provider && !after_content;
            (is_lost, tokens(noted))
        }
        Outcome::Ruled { .. } => (false, tokens(noted)),
    }
}

impl State {
    /// The limits that others count as well; `None` if there are none for this lease. `now` is by
    /// the clock that all of them go by.
    pub(super) fn terms(&self, grant: Grant, now: Timestamp) -> Option<Terms> {
        let slot = self.slots.get(grant.slot as usize)?;
        let class = self.classes.get(grant.class as usize)?;
        let entry = class.entry(grant.slot)?;
        let counted = entry.counters.iter().zip(&class.windows).enumerate();
        let cap = caps::find(class, &slot.member).map(|cap| cap.limit);
        let windows = counted.filter_map(|(place, (counter, spec))| {
            let is_limited = spec.requests > 0 || spec.tokens > 0;
            let limit = counter.limit(spec).filter(|_| spec.requests > 0);
            // A cap counts in the first window, from where a fixed one began anew.
            let cap = cap.filter(|_| place == 0);
            let cap = cap.and_then(|cap| caps::limit(cap, counter.limit(spec)));
            let cap = cap.map(|cap| cap.saturating_add(entry.cap_base));
            let requests = limit.into_iter().chain(cap).min();
            (is_limited || requests.is_some()).then(|| WindowTerm {
                every: spec.every,
                anchor: spec.anchor,
                ends: match spec.anchor {
                    Anchor::FirstUse | Anchor::Rolling => None,
                    Anchor::PacificMidnight | Anchor::UtcMidnight | Anchor::Weekly => {
                        Some(period_end(spec, now))
                    }
                },
                requests: requests.unwrap_or(0),
                tokens: spec.tokens,
                told: counter.told,
            })
        });
        let windows: Vec<WindowTerm> = windows.collect();
        (slot.max > 0 || !windows.is_empty()).then(|| Terms {
            max: slot.max,
            active: slot.active,
            class: class.name.to_string(),
            windows,
        })
    }

    /// A lease that the others do not allow: as if it had never been, and the credential is passed
    /// over until it makes sense to ask again.
    pub(super) fn decline(&mut self, grant: Grant, declined: Declined, now: Timestamp) {
        self.observe(now);
        self.take_back(grant);
        self.return_probe(grant);
        match declined {
            Declined::Busy => {
                let wait = ASK_AGAIN.mul_f64(1.0 + self.rng.f64());
                let slot = &mut self.slots[grant.slot as usize];
                slot.busy_elsewhere = now + wait;
            }
            Declined::Full { until } => {
                let (entry, _) = self.classes[grant.class as usize].entry_mut(grant.slot);
                entry.full_elsewhere = until.max(now + ASK_AGAIN);
            }
        }
        self.release(grant);
        self.refresh_slot(grant.slot);
        self.serve();
    }

    /// Takes over how many requests all together have counted in the windows of a lease's terms,
    /// where that is more than ours, and when those end.
    pub(super) fn heed_counts(&mut self, grant: Grant, terms: &Terms, counts: &[Count]) {
        let now = self.now;
        let class = &mut self.classes[grant.class as usize];
        let (entry, windows) = class.entry_mut(grant.slot);
        for (counter, spec) in entry.counters.iter_mut().zip(windows) {
            let told = terms.windows.iter().zip(counts);
            let told = told
                .filter(|(term, _)| term.every == spec.every && term.anchor == spec.anchor)
                .map(|(_, count)| *count);
            // What others have in which part of a rolling window is not told.
            let told = told.max_by_key(|count| count.requests);
            if let Some(count) = told.filter(|_| spec.anchor != Anchor::Rolling) {
                counter.requests = counter.requests.max(count.requests);
                counter.told = Some(count);
                if count.ends > now {
                    counter.resets = count.ends;
                }
            }
        }
        let member = &self.slots[grant.slot as usize].member;
        let capped = caps::apply(class, grant.slot, member, now);
        self.mark_entry(grant.class, grant.slot, capped);
        self.refresh_entry(grant.class, grant.slot);
    }

    /// Every standing and rest that holds: what another pool needs to know at least.
    pub(super) fn standings(&self) -> Vec<Change> {
        let mut all = Vec::new();
        let present = self.slots.iter().enumerate();
        for (at, slot) in present.filter(|(_, slot)| !slot.is_gone) {
            if slot.standing != Standing::Usable || slot.cooldown.is_some() {
                all.push(Change::Credential(save_slot(slot)));
            }
            for class in &self.classes {
                let entry = class.entries.get(at).and_then(Option::as_deref);
                if let Some(entry) = entry.filter(|entry| entry.cooldown.is_some()) {
                    let named = (&*class.name, class.is_group);
                    all.push(Change::Class(save_entry(
                        slot,
                        named,
                        entry,
                        &class.windows,
                    )));
                }
            }
        }
        if self.blast.pauses(self.now) {
            all.push(Change::Pause(self.blast.save(self.now)));
        }
        all
    }

    /// Takes over what others say, and has it written down here as well.
    pub(super) fn adopt_words(&mut self, changes: Vec<Change>, now: Timestamp) {
        for change in &changes {
            match change {
                Change::Class(saved) => {
                    let at = self.slot_saved(&saved.credential, &saved.fingerprint);
                    if let Some(at) = at {
                        let class = self.class_named(&saved.class, saved.is_group);
                        self.classes[class as usize].entry_mut(at);
                        self.mark_entry(class, at, false);
                    }
                }
                Change::Credential(saved) => {
                    if let Some(at) = self.slot_saved(&saved.credential, &saved.fingerprint) {
                        self.touch_slot(at);
                    }
                }
                Change::Pause(_) | Change::Session(_) | Change::Suspects(_) => {}
            }
        }
        self.restore(changes, now);
    }

    /// Counts failures that others saw with ours.
    pub(super) fn heed_suspects(&mut self, saved: &SavedSuspects, now: Timestamp) {
        self.blast
            .clear_until(Timestamp::from_millis(saved.cleared_ms).min(now));
        for (credential, failed_ms) in &saved.suspects {
            let id = CredentialId::parse(credential).ok();
            let Some(slot) = id.and_then(|id| self.slot_of(&id)) else {
                continue;
            };
            let at = Timestamp::from_millis(*failed_ms).min(now);
            let suspect = Suspect {
                slot,
                class: 0,
                at,
                rest_since: None,
                has_stepped: false,
                is_elsewhere: true,
            };
            self.weigh(saved.family, suspect, at);
        }
    }
}

impl Entry {
    /// When the others have room again; `None` if now.
    pub(super) fn room_elsewhere(&self, now: Timestamp) -> Option<Timestamp> {
        (self.full_elsewhere > now).then_some(self.full_elsewhere)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{ask, at, id, lease, member, pool, pool_of, refusal, waiting};
    use super::super::{CapCooldown, CapLimit, CapSpec, Refusal, Settings, WindowSpec};
    use super::*;

    const HOUR: Duration = Duration::from_hours(1);

    fn hourly(requests: u64) -> Settings {
        Settings {
            windows: vec![WindowSpec {
                models: Vec::new(),
                requests,
                tokens: 0,
                every: HOUR,
                anchor: Anchor::FirstUse,
            }],
            ..Settings::default()
        }
    }

    fn two_at_once() -> Settings {
        let mut settings = Settings::default();
        settings.concurrency.max = 2;
        settings
    }

    #[test]
    fn nobody_is_asked_where_no_limit_is_set() {
        let pool = pool(2, Settings::default());
        let lease = lease(&pool, &mut ask(at(0)), at(0));
        assert_eq!(lease.terms(at(0)), None);
    }

    #[test]
    fn the_terms_are_the_limits_that_are_set() {
        let pool = pool(1, two_at_once());
        let terms = lease(&pool, &mut ask(at(0)), at(0)).terms(at(0));
        let terms = terms.expect("a limit is set");
        assert_eq!((terms.max, terms.active, terms.windows.len()), (2, 1, 0));
        let capped = Settings {
            caps: vec![CapSpec {
                tiers: Vec::new(),
                models: Vec::new(),
                limit: CapLimit::Requests(3),
                cooldown: CapCooldown::QuotaReset,
            }],
            ..hourly(10)
        };
        let pool = pool_of(capped, vec![member(1)]);
        let terms = lease(&pool, &mut ask(at(0)), at(0)).terms(at(0));
        let windows = terms.expect("a limit is set").windows;
        assert_eq!((windows[0].requests, windows[0].every), (3, HOUR));
        assert_eq!(windows[0].told, None, "nobody has said anything");
    }

    #[test]
    fn a_lease_that_others_decline_leaves_no_trace_but_a_pause() {
        let pool = pool(1, two_at_once());
        let mut wish = ask(at(0));
        lease(&pool, &mut wish, at(0)).decline(Declined::Busy, at(0));
        let snapshot = pool.snapshot(at(0));
        assert_eq!(snapshot.members[0].active, 0);
        // It is asked for again soon, and a request waits for that.
        let until = waiting(&pool, &mut wish, at(0)).until();
        assert!(until > at(0) && until <= at(0) + 2 * ASK_AGAIN);
        drop(lease(&pool, &mut wish, until));
    }

    #[test]
    fn a_credential_busy_elsewhere_makes_way_for_another() {
        let pool = pool(2, two_at_once());
        let mut wish = ask(at(0));
        let first = lease(&pool, &mut wish, at(0));
        let declined = first.credential().clone();
        first.decline(Declined::Busy, at(0));
        let second = lease(&pool, &mut wish, at(0));
        assert_ne!(*second.credential(), declined);
    }

    #[test]
    fn a_window_full_elsewhere_keeps_the_class_out_until_it_has_room() {
        let pool = pool(1, hourly(5));
        let mut wish = ask(at(0));
        let until = at(0) + HOUR;
        lease(&pool, &mut wish, at(0)).decline(Declined::Full { until }, at(0));
        assert_eq!(refusal(&pool, &mut wish, at(0)), Refusal::Cooling { until });
        drop(lease(&pool, &mut ask(until), until));
    }

    #[test]
    fn what_others_have_counted_counts_here() {
        let pool = pool(1, hourly(5));
        let mut first = lease(&pool, &mut ask(at(0)), at(0));
        let terms = first.terms(at(0)).expect("a limit is set");
        let count = Count {
            requests: 5,
            ends: at(600),
            said_ms: 0,
        };
        first.hold(Box::new(Nothing), &terms, &[count]);
        let until = at(600);
        assert_eq!(
            refusal(&pool, &mut ask(at(1)), at(1)),
            Refusal::Cooling { until }
        );
    }

    #[test]
    fn what_one_pool_knows_another_takes_over_and_writes_down() {
        let (one, two) = (pool(1, Settings::default()), pool(1, Settings::default()));
        one.rest(&id("1"), "later", at(60), at(0));
        two.adopt(one.standings(), at(1));
        assert_eq!(two.standings(), one.standings());
        assert_eq!(two.drain_changes(), one.standings());
        assert!(!two.has_urgent_changes(), "nobody is told again");
    }

    #[derive(Debug)]
    struct Nothing;

    impl Beyond for Nothing {
        fn ended(self: Box<Self>, _is_taken_back: bool, _tokens: u64) {}
    }
}
