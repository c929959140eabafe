//! Model classes and what is kept per (credential, model class).
//!
//! A class is a quota group, or a model that is in none. Its lanes order the pool's credentials
//! for it; they are made when the class is first asked for.

use std::collections::HashMap;
use std::time::Duration;

use crate::dialects::usage::Usage;
use crate::time::Timestamp;

use super::blast::Backoff;
use super::caps;
use super::cooldown::Cooldown;
use super::fair_cycle::Turns;
use super::lane::Lane;
use super::settings::{Anchor, CapSpec, Settings, TierRule, WindowSpec, matches};
use super::waiters::Queue;
use super::windows::{Counter, Reported};

/// A quota group, or a model that is in none.
#[derive(Debug)]
pub(super) struct Class {
    pub(super) name: Box<str>,
    pub(super) is_group: bool,
    /// At least one: a class without a known limit is counted by the UTC day, all credentials
    /// alike, so that `balanced` and `sequential` have a use to compare.
    pub(super) windows: Vec<WindowSpec>,
    /// The caps that concern it.
    pub(super) caps: Vec<CapSpec>,
    /// By slot; absent where nothing is known.
    pub(super) entries: Vec<Option<Box<Entry>>>,
    pub(super) lanes: Vec<TierLane>,
    /// The provider has no capacity for these models just now.
    pub(super) backoff: Backoff,
    /// Whose turns are over in the fair cycle, where that counts classes apart.
    pub(super) turns: Turns,
    /// Leases out.
    pub(super) active: u32,
    /// When it was last asked for.
    pub(super) used: Timestamp,
}

/// The order for models of a class that have the same tier rule.
#[derive(Debug)]
pub(super) struct TierLane {
    pub(super) rule: Option<usize>,
    pub(super) lane: Lane,
    pub(super) queue: Queue,
    /// Of those in the queue who hope, none has an earlier deadline.
    pub(super) earliest: Timestamp,
}

/// What is known of one credential for one class.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    pub(super) cooldown: Option<Box<Cooldown>>,
    /// Failures in a row that were its own: the place on the ladder.
    pub(super) ladder: u32,
    /// Faults of server or network in a row; only repeats count as its own.
    pub(super) faults: u32,
    /// One for each window of the class.
    pub(super) counters: Vec<Counter>,
    pub(super) reported: Option<Reported>,
    /// Requests counted when a `fixed` cap last ended: it counts from there.
    pub(super) cap_base: u64,
    /// Since when it stands last in the fair cycle.
    pub(super) benched: Option<Timestamp>,
    pub(super) totals: Totals,
    /// Until when others who share the pool have no room in a window; not written down.
    pub(super) full_elsewhere: Timestamp,
    /// When its rest last changed: the later of two processes' words counts.
    pub(super) changed: Timestamp,
    /// Whether the change is still to be written down.
    pub(super) is_dirty: bool,
}

/// Lifetime counts, for reports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct Totals {
    /// Attempts whose answer the provider counts as a request.
    pub requests: u64,
    pub successes: u64,
    pub failures: u64,
    /// Prompt tokens, those of the cache included.
    pub input_tokens: u64,
    pub cache_read_tokens: u64,
    pub cache_write_tokens: u64,
    /// Answer tokens, reasoning included.
    pub output_tokens: u64,
    pub reasoning_tokens: u64,
    /// Milliseconds since the epoch.
    pub first_used_ms: Option<i64>,
    /// Milliseconds since the epoch.
    pub last_used_ms: Option<i64>,
}

impl Totals {
    pub(super) fn add_usage(&mut self, usage: &Usage) {
        for (sum, tokens) in [
            (&mut self.input_tokens, usage.input),
            (&mut self.cache_read_tokens, usage.cache_read),
            (&mut self.cache_write_tokens, usage.cache_write),
            (&mut self.output_tokens, usage.output),
            (&mut self.reasoning_tokens, usage.reasoning),
        ] {
            *sum = sum.saturating_add(tokens);
        }
    }

    /// What was counted after `base`, in a span that began with a request.
    pub(super) fn since(&self, base: &Self, began_ms: i64) -> Self {
        let mut rest = *self;
        rest.combine(base, u64::saturating_sub);
        rest.first_used_ms = Some(began_ms);
        rest.last_used_ms = self.last_used_ms;
        rest
    }

    /// Takes over what another process has counted beyond this.
    pub(super) fn catch_up(&mut self, other: &Self) {
        self.combine(other, u64::max);
    }

    /// Adds another's counts, as for a credential's sum over its classes.
    pub(super) fn add(&mut self, other: &Self) {
        self.combine(other, u64::saturating_add);
    }

    fn combine(&mut self, other: &Self, both: fn(u64, u64) -> u64) {
        for (sum, count) in [
            (&mut self.requests, other.requests),
            (&mut self.successes, other.successes),
            (&mut self.failures, other.failures),
            (&mut self.input_tokens, other.input_tokens),
            (&mut self.cache_read_tokens, other.cache_read_tokens),
            (&mut self.cache_write_tokens, other.cache_write_tokens),
            (&mut self.output_tokens, other.output_tokens),
            (&mut self.reasoning_tokens, other.reasoning_tokens),
        ] {
            *sum = both(*sum, count);
        }
        self.first_used_ms = [self.first_used_ms, other.first_used_ms]
            .into_iter()
            .flatten()
            .min();
        self.last_used_ms = self.last_used_ms.max(other.last_used_ms);
    }
}

impl Entry {
    pub(super) fn new(windows: &[WindowSpec]) -> Self {
        Self {
            cooldown: None,
            ladder: 0,
            faults: 0,
            counters: windows.iter().map(|_| Counter::new()).collect(),
            reported: None,
            cap_base: 0,
            benched: None,
            totals: Totals::default(),
            full_elsewhere: Timestamp::default(),
            changed: Timestamp::default(),
            is_dirty: false,
        }
    }

    /// Requests in the class's first window.
    pub(super) fn used(&self) -> u64 {
        self.counters.first().map_or(0, |counter| counter.requests)
    }

    /// Forgets what has left its window.
    pub(super) fn roll(&mut self, windows: &[WindowSpec], now: Timestamp) {
        for (counter, spec) in self.counters.iter_mut().zip(windows) {
            counter.roll(spec, now);
        }
        self.reported = self.reported.filter(|reported| now < reported.resets);
        if self.used() < self.cap_base {
            self.cap_base = 0;
        }
    }

    /// When every window has room for one more request; `None` if now.
    pub(super) fn room_at(&self, windows: &[WindowSpec], now: Timestamp) -> Option<Timestamp> {
        let counted = self.counters.iter().zip(windows);
        let counted = counted.filter_map(|(counter, spec)| counter.room_at(spec));
        let reported = self.reported.and_then(|reported| reported.room_at(now));
        let elsewhere = self.room_elsewhere(now);
        counted.chain(reported).chain(elsewhere).max()
    }
}

impl Class {
    pub(super) fn new(name: &str, is_group: bool, settings: &Settings) -> Self {
        let mut class = Self {
            name: name.into(),
            is_group,
            windows: Vec::new(),
            caps: caps::concerning(&settings.caps, name),
            entries: Vec::new(),
            lanes: Vec::new(),
            backoff: Backoff::default(),
            turns: Turns::default(),
            active: 0,
            used: Timestamp::default(),
        };
        class.windows = class.windows_of(settings);
        class
    }

    /// The windows that count for this class under these settings.
    pub(super) fn windows_of(&self, settings: &Settings) -> Vec<WindowSpec> {
        let group = settings
            .quota_groups
            .iter()
            .find(|group| self.is_group && *group.name == *self.name);
        let models = group.map_or(&[][..], |group| &group.models);
        let concerns = |spec: &&WindowSpec| {
            spec.models.is_empty()
                || spec.models.iter().any(|pattern| {
                    matches(pattern, &self.name) || models.iter().any(|model| pattern == model)
                })
        };
        let mut windows: Vec<WindowSpec> =
            settings.windows.iter().filter(concerns).cloned().collect();
        if windows.is_empty() {
            windows.push(WindowSpec {
                models: Vec::new(),
                requests: 0,
                tokens: 0,
                every: Duration::from_hours(24),
                anchor: Anchor::UtcMidnight,
            });
        }
        windows
    }

    pub(super) fn entry(&self, slot: u32) -> Option<&Entry> {
        self.entries.get(slot as usize)?.as_deref()
    }

    /// What is kept of a credential, begun if nothing was, and the windows it is counted by.
    pub(super) fn entry_mut(&mut self, slot: u32) -> (&mut Entry, &[WindowSpec]) {
        let slot = slot as usize;
        if self.entries.len() <= slot {
            self.entries.resize_with(slot + 1, || None);
        }
        let entry = self.entries[slot].get_or_insert_with(|| Box::new(Entry::new(&self.windows)));
        (entry, &self.windows)
    }

    /// `true` if it may make room for another: a mere model without lease or waiter.
    pub(super) fn is_idle(&self) -> bool {
        !self.is_group && self.active == 0 && self.lanes.iter().all(|lane| lane.queue.is_empty())
    }

    /// Drops what is known of a credential that has left.
    pub(super) fn forget(&mut self, slot: u32) {
        if let Some(entry) = self.entries.get_mut(slot as usize) {
            *entry = None;
        }
    }
}

/// Finds the class and lane of a model.
#[derive(Debug, Default)]
pub(super) struct Routes {
    models: HashMap<Box<str>, Route>,
    names: HashMap<Box<str>, u32>,
}

/// Where a model's requests are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) class: u32,
    pub(super) lane: usize,
}

impl Routes {
    pub(super) fn route(&self, model: &str) -> Option<Route> {
        self.models.get(model).copied()
    }

    pub(super) fn class(&self, name: &str) -> Option<u32> {
        self.names.get(name).copied()
    }

    pub(super) fn add_model(&mut self, model: &str, route: Route) {
        self.models.insert(model.into(), route);
    }

    pub(super) fn add_class(&mut self, name: &str, class: u32) {
        self.names.insert(name.into(), class);
    }

    pub(super) fn remove_class(&mut self, name: &str) {
        self.names.remove(name);
    }

    pub(super) fn models(&self) -> usize {
        self.models.len()
    }

    /// Forgets which model is in which class: the groups may have changed.
    pub(super) fn clear_models(&mut self) {
        self.models.clear();
    }
}

/// The class a model belongs to: its name, and whether it is a quota group.
pub(super) fn class_of<'a>(model: &'a str, settings: &'a Settings) -> (&'a str, bool) {
    settings
        .quota_groups
        .iter()
        .find(|group| group.models.iter().any(|pattern| matches(pattern, model)))
        .map_or((model, false), |group| (group.name.as_str(), true))
}

/// The tier rule of a model, by its place.
pub(super) fn tier_rule_of(model: &str, rules: &[TierRule]) -> Option<usize> {
    rules
        .iter()
        .position(|rule| rule.models.iter().any(|pattern| matches(pattern, model)))
}
