//! What of the pool survives a restart: plain records to write down, and reading them back.
//!
//! Ends of waits are wall-clock deadlines. On loading none lies further away than it was long:
//! a clock that was wrong then, or is now, must not park a credential for years.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::ids::CredentialId;
use crate::secret::Fingerprint;
use crate::time::Timestamp;

use super::blast::Family;
use super::class::{Entry, Totals};
use super::cooldown::{Cooldown, Probe, Reason};
use super::lane::NEVER;
use super::record::Record;
use super::settings::{Anchor, Tracking, WindowSpec};
use super::slot::{Slot, Standing};
use super::state::State;
use super::windows::{Counter, RING, Reported, Slices};

/// A durable change: the whole new record, to be stored in place of the one with the same
/// [`Change::key`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "snake_case")]
pub enum Change {
    Class(SavedClass),
    Credential(SavedCredential),
    /// Told to those who share the pool; too brief to be worth writing down.
    Pause(SavedPause),
    Session(SavedSession),
    /// Told to those who share the pool, as it is.
    Suspects(SavedSuspects),
}

impl Change {
    /// The key under which the record is stored; stable, and without anything secret.
    pub fn key(&self) -> String {
        match self {
            Self::Class(saved) => format!("class {} {}", saved.credential, saved.class),
            Self::Credential(saved) => format!("credential {}", saved.credential),
            Self::Pause(_) => "pause".to_owned(),
            Self::Session(saved) => format!("session {:016x}", saved.key),
            Self::Suspects(_) => "suspects".to_owned(),
        }
    }

    /// `true` for what must be durable within 100 ms where [`super::Pool::has_urgent_changes`]
    /// says so; counts and sessions may take a second.
    pub const fn is_state(&self) -> bool {
        matches!(self, Self::Class(_) | Self::Credential(_))
    }
}

/// A credential as a whole. Times are milliseconds since the epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SavedCredential {
    pub credential: String,
    /// 32 hex digits; the record belongs to this secret only.
    pub fingerprint: String,
    #[serde(default)]
    pub standing: Standing,
    pub cooldown: Option<SavedCooldown>,
    #[serde(default)]
    pub strikes: u32,
    pub benched_ms: Option<i64>,
    /// When any of this last changed: of two processes' records the later one counts.
    #[serde(default)]
    pub changed_ms: i64,
}

/// A credential for one model class. Times are milliseconds since the epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SavedClass {
    pub credential: String,
    /// 32 hex digits; the record belongs to this secret only.
    pub fingerprint: String,
    /// The quota group or model.
    pub class: String,
    pub is_group: bool,
    pub cooldown: Option<SavedCooldown>,
    #[serde(default)]
    pub ladder: u32,
    #[serde(default)]
    pub faults: u32,
    #[serde(default)]
    pub cap_base: u64,
    pub benched_ms: Option<i64>,
    /// When anything but counts last changed: of two processes' records the later one counts.
    #[serde(default)]
    pub changed_ms: i64,
    pub reported: Option<SavedReport>,
    #[serde(default)]
    pub windows: Vec<SavedWindow>,
    #[serde(default)]
    pub totals: Totals,
}

/// A rest. Times are milliseconds since the epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedCooldown {
    pub reason: Reason,
    pub since_ms: i64,
    pub until_ms: i64,
    #[serde(default)]
    pub message: String,
    pub probe: Option<SavedProbe>,
}

/// The half-open door of a rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedProbe {
    pub next_ms: i64,
    pub wait_ms: u64,
    pub doubles: bool,
}

/// A limit only the provider knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedReport {
    pub limit: u64,
    pub used: u64,
    pub resets_ms: i64,
}

/// Counts of one window. It is found again by length and anchor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedWindow {
    pub every_ms: u64,
    pub anchor: String,
    pub requests: u64,
    pub tokens: u64,
    pub started_ms: Option<i64>,
    pub resets_ms: Option<i64>,
    pub stated_limit: Option<u64>,
    /// Index of the newest slice of a rolling window, and (requests, tokens) a slice, newest first.
    pub slices: Option<(i64, Vec<(u32, u64)>)>,
    #[serde(default)]
    record: Record,
}

/// Which credential a conversation was served by last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedSession {
    /// A hash of conversation and model class.
    pub key: u64,
    pub credential: String,
    pub used_ms: i64,
}

/// A provider that backs off as a whole. Times are milliseconds since the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedPause {
    /// What its credentials failed alike with; `None` once it works again.
    pub family: Option<Family>,
    pub level: u32,
    pub until_ms: i64,
    /// When this became so: of two words the later counts.
    pub changed_ms: i64,
}

/// Credentials that failed alike just now, none of which may be at fault. Times are milliseconds
/// since the epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedSuspects {
    pub family: Family,
    /// All that this pool saw itself, and when.
    pub suspects: Vec<(String, i64)>,
    /// Somebody was served then: whoever failed before is no suspect.
    pub cleared_ms: i64,
}

impl State {
    /// What has changed since the last call.
    pub(super) fn drain_changes(&mut self) -> Vec<Change> {
        let dirt = std::mem::take(&mut self.dirt);
        let mut changes = Vec::new();
        for at in dirt.slots {
            let slot = &mut self.slots[at as usize];
            slot.is_dirty = false;
            if !slot.is_gone {
                changes.push(Change::Credential(save_slot(slot)));
            }
        }
        for (class, at) in dirt.entries {
            let class = &mut self.classes[class as usize];
            let slot = &self.slots[at as usize];
            let entry = class.entries.get_mut(at as usize);
            if let Some(entry) = entry.and_then(|entry| entry.as_deref_mut())
                && !slot.is_gone
            {
                entry.is_dirty = false;
                let named = (&*class.name, class.is_group);
                changes.push(Change::Class(save_entry(
                    slot,
                    named,
                    entry,
                    &class.windows,
                )));
            }
        }
        if dirt.is_pause_changed {
            changes.push(Change::Pause(self.blast.save(self.now)));
        }
        if let Some(told) = self.blast.untold() {
            let named = told.suspects.iter().filter_map(|(at, failed)| {
                let slot = self.slots.get(*at as usize)?;
                Some((slot.member.id.to_string(), failed.as_millis()))
            });
            changes.push(Change::Suspects(SavedSuspects {
                family: told.family,
                suspects: named.collect(),
                cleared_ms: told.cleared.as_millis(),
            }));
        }
        for (key, at, used) in dirt.conversations {
            let slot = &self.slots[at as usize];
            if !slot.is_gone {
                changes.push(Change::Session(SavedSession {
                    key,
                    credential: slot.member.id.to_string(),
                    used_ms: used.as_millis(),
                }));
            }
        }
        changes
    }

    /// Takes records back: what was written down before a restart, or what another process has
    /// written since. Those of unknown credentials, or of another secret, are passed over. What is
    /// known better here stays, and is written down again.
    pub(super) fn restore(&mut self, saved: Vec<Change>, now: Timestamp) {
        self.observe(now);
        for change in saved {
            match change {
                Change::Class(saved) => self.restore_class(&saved),
                Change::Credential(saved) => {
                    if let Some(at) = self.slot_saved(&saved.credential, &saved.fingerprint) {
                        self.restore_slot(at, saved);
                    }
                }
                Change::Pause(saved) => {
                    for suspect in self.blast.adopt(saved, now) {
                        self.unblame(suspect);
                    }
                }
                Change::Session(saved) => {
                    let used = Timestamp::from_millis(saved.used_ms).min(now);
                    let id = CredentialId::parse(&saved.credential).ok();
                    if let Some(at) = id.and_then(|id| self.slot_of(&id)) {
                        self.affinity.adopt(saved.key, at, used);
                    }
                }
                Change::Suspects(saved) => self.heed_suspects(&saved, now),
            }
        }
        self.serve();
    }

    fn restore_slot(&mut self, at: u32, saved: SavedCredential) {
        let now = self.now;
        let changed = Timestamp::from_millis(saved.changed_ms).min(now);
        let slot = &mut self.slots[at as usize];
        if changed < slot.changed {
            // Ours is told again, as old as it is: something newer may be on its way.
            self.dirt.is_urgent = true;
            self.touch_slot(at);
            return;
        }
        slot.changed = changed;
        slot.cooldown = adopted(slot.cooldown.as_deref(), saved.cooldown, now);
        slot.standing = saved.standing;
        slot.strikes = saved.strikes;
        let benched = saved.benched_ms.map(Timestamp::from_millis);
        if self.settings.fair_cycle.tracking == Tracking::Credential {
            self.restore_turn(0, at, benched);
        } else {
            slot.benched = benched;
        }
        self.note_usable(at);
        self.refresh_slot(at);
    }

    fn restore_class(&mut self, saved: &SavedClass) {
        let now = self.now;
        let Some(at) = self.slot_saved(&saved.credential, &saved.fingerprint) else {
            return;
        };
        let class = self.class_named(&saved.class, saved.is_group);
        let (entry, windows) = self.classes[class as usize].entry_mut(at);
        entry.totals.catch_up(&saved.totals);
        entry.cap_base = entry.cap_base.max(saved.cap_base);
        for (counter, spec) in entry.counters.iter_mut().zip(windows) {
            let fits = |saved: &&SavedWindow| {
                saved.every_ms == millis(spec.every) && saved.anchor == spec.anchor.as_str()
            };
            if let Some(saved) = saved.windows.iter().find(fits) {
                let mut other = load_counter(saved, spec);
                other.roll(spec, now);
                counter.catch_up(other);
            }
        }
        let changed = Timestamp::from_millis(saved.changed_ms).min(now);
        if changed < entry.changed {
            entry.roll(windows, now);
            self.mark_entry(class, at, false);
            self.refresh_entry(class, at);
            return;
        }
        entry.changed = changed;
        entry.cooldown = adopted(entry.cooldown.as_deref(), saved.cooldown.clone(), now);
        (entry.ladder, entry.faults) = (saved.ladder, saved.faults);
        entry.reported = saved.reported.map(|report| Reported {
            limit: report.limit,
            used: report.used,
            resets: Timestamp::from_millis(report.resets_ms),
        });
        entry.roll(windows, now);
        let benched = saved.benched_ms.map(Timestamp::from_millis);
        if self.settings.fair_cycle.tracking == Tracking::ModelGroup {
            self.restore_turn(class, at, benched);
        } else {
            entry.benched = benched;
        }
        self.refresh_entry(class, at);
    }

    /// The place of the credential a record belongs to.
    pub(super) fn slot_saved(&self, credential: &str, fingerprint: &str) -> Option<u32> {
        let at = self.slot_of(&CredentialId::parse(credential).ok()?)?;
        let own = self.slots[at as usize].member.fingerprint.to_string();
        (own == fingerprint).then_some(at)
    }

    /// Everything durable but sessions, in the order of keys.
    #[cfg(test)]
    pub(super) fn export(&mut self) -> Vec<Change> {
        let mut all = Vec::new();
        for (at, slot) in self
            .slots
            .iter()
            .enumerate()
            .filter(|(_, slot)| !slot.is_gone)
        {
            all.push(Change::Credential(save_slot(slot)));
            for class in &mut self.classes {
                let entry = class.entries.get_mut(at);
                if let Some(entry) = entry.and_then(|entry| entry.as_deref_mut()) {
                    entry.roll(&class.windows, self.now);
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
        all.sort_by_key(Change::key);
        all
    }
}

pub(super) fn save_slot(slot: &Slot) -> SavedCredential {
    SavedCredential {
        credential: slot.member.id.to_string(),
        fingerprint: hex(slot.member.fingerprint),
        standing: slot.standing.clone(),
        cooldown: slot.cooldown.as_deref().map(save_rest),
        strikes: slot.strikes,
        benched_ms: slot.benched.map(Timestamp::as_millis),
        changed_ms: slot.changed.as_millis(),
    }
}

pub(super) fn save_entry(
    slot: &Slot,
    (class, is_group): (&str, bool),
    entry: &Entry,
    windows: &[WindowSpec],
) -> SavedClass {
    let counted = entry.counters.iter().zip(windows);
    SavedClass {
        credential: slot.member.id.to_string(),
        fingerprint: hex(slot.member.fingerprint),
        class: class.to_owned(),
        is_group,
        cooldown: entry.cooldown.as_deref().map(save_rest),
        ladder: entry.ladder,
        faults: entry.faults,
        cap_base: entry.cap_base,
        benched_ms: entry.benched.map(Timestamp::as_millis),
        changed_ms: entry.changed.as_millis(),
        reported: entry.reported.map(|report| SavedReport {
            limit: report.limit,
            used: report.used,
            resets_ms: report.resets.as_millis(),
        }),
        windows: counted
            .map(|(counter, spec)| save_counter(counter, spec))
            .collect(),
        totals: entry.totals,
    }
}

fn save_rest(rest: &Cooldown) -> SavedCooldown {
    SavedCooldown {
        reason: rest.reason,
        since_ms: rest.since.as_millis(),
        until_ms: rest.until.as_millis(),
        message: rest.message.to_string(),
        probe: rest.probe.map(|probe| SavedProbe {
            next_ms: probe.next.as_millis(),
            wait_ms: millis(probe.wait),
            doubles: probe.doubles,
        }),
    }
}

/// A rest as it was, but never longer from now than it was long.
/// A rest as another process tells it. A probe of ours that is under way stays the only one.
fn adopted(
    ours: Option<&Cooldown>,
    saved: Option<SavedCooldown>,
    now: Timestamp,
) -> Option<Box<Cooldown>> {
    let mut rest = load_rest(saved?, now)?;
    let ours = ours.filter(|ours| ours.since == rest.since);
    if let (Some(probe), Some(ours)) = (&mut rest.probe, ours.and_then(|ours| ours.probe)) {
        probe.taken = ours.taken;
    }
    Some(rest)
}

fn load_rest(saved: SavedCooldown, now: Timestamp) -> Option<Box<Cooldown>> {
    let (since, until) = (
        Timestamp::from_millis(saved.since_ms),
        Timestamp::from_millis(saved.until_ms),
    );
    let until = until.min(now + since.until(until));
    let mut rest = Cooldown::new(saved.reason, until, None, since.min(now));
    rest.message = saved.message.into();
    rest.probe = saved.probe.map(|probe| {
        let wait = Duration::from_millis(probe.wait_ms);
        Probe {
            next: Timestamp::from_millis(probe.next_ms).min(now + wait),
            wait,
            doubles: probe.doubles,
            taken: false,
        }
    });
    rest.holds(now).then(|| Box::new(rest))
}

fn save_counter(counter: &Counter, spec: &WindowSpec) -> SavedWindow {
    SavedWindow {
        every_ms: millis(spec.every),
        anchor: spec.anchor.as_str().to_owned(),
        requests: counter.requests,
        tokens: counter.tokens,
        started_ms: counter.started.map(Timestamp::as_millis),
        resets_ms: Some(counter.resets)
            .filter(|resets| *resets < NEVER)
            .map(Timestamp::as_millis),
        stated_limit: counter.stated_limit,
        slices: counter
            .slices
            .as_ref()
            .map(|slices| (slices.newest, slices.counts.to_vec())),
        record: counter.record,
    }
}

fn load_counter(saved: &SavedWindow, spec: &WindowSpec) -> Counter {
    let slices = saved.slices.as_ref().and_then(|(newest, counts)| {
        let counts: [(u32, u64); RING] = counts.as_slice().try_into().ok()?;
        Some(Box::new(Slices {
            newest: *newest,
            counts,
        }))
    });
    if slices.is_none() && spec.anchor == Anchor::Rolling && saved.started_ms.is_some() {
        // A rolling window without its slices would never forget.
        return Counter::new();
    }
    let mut counter = Counter {
        requests: saved.requests,
        tokens: saved.tokens,
        started: saved.started_ms.map(Timestamp::from_millis),
        resets: saved.resets_ms.map_or(NEVER, Timestamp::from_millis),
        stated_limit: saved.stated_limit,
        slices,
        record: saved.record,
        told: None,
    };
    counter.square();
    counter
}

fn hex(fingerprint: Fingerprint) -> String {
    fingerprint.to_string()
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
