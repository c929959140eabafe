//! Who belongs to the pool: loading, reloading, and what the user does by hand.

use std::collections::{BTreeSet, HashSet};

use crate::ids::CredentialId;
use crate::providers::verdict::{Failure, Verdict};
use crate::time::Timestamp;

use super::caps;
use super::class::Entry;
use super::cooldown::{Cooldown, Reason};
use super::select::Order;
use super::settings::{Member, Settings, Tracking, WindowSpec};
use super::slot::{Slot, Standing};
use super::state::State;
use super::windows::{Counter, Report, Reported};

/// What the user, or the keeper of the log-ins, says of a credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UserState {
    /// Switched off by the user.
    Disabled,
    /// Usable again: ends every standing (dead, to be verified, expired, disabled) and rest.
    Enabled,
    /// Its log-in has ended for good.
    Expired,
}

impl State {
    /// Loads or reloads settings and members. State stays with a credential as long as its secret
    /// is the same.
    pub(super) fn configure(&mut self, settings: Settings, members: Vec<Member>, now: Timestamp) {
        self.observe(now);
        if settings != self.settings {
            self.adopt(settings);
        }
        let present: HashSet<&CredentialId> = members.iter().map(|member| &member.id).collect();
        let gone = self.by_id.iter();
        let mut gone: Vec<u32> = gone
            .filter(|(id, _)| !present.contains(id))
            .map(|(_, slot)| *slot)
            .collect();
        let replaced = |member: &Member| {
            let at = self.slot_of(&member.id)?;
            let known = &self.slots[at as usize].member;
            (known.fingerprint != member.fingerprint).then_some(at)
        };
        gone.extend(members.iter().filter_map(replaced));
        self.remove(&gone);
        let mut free = self.free_places();
        for member in members {
            self.admit(member, &mut free);
        }
        self.rank_priorities();
        self.count_turns();
        self.rebuild_lanes();
        self.serve();
    }

    /// Ends cooldowns by hand: of one model's class, or all of the credential. Returns whether the
    /// credential is known.
    pub(super) fn reset(
        &mut self,
        credential: &CredentialId,
        model: Option<&str>,
        now: Timestamp,
    ) -> bool {
        self.observe(now);
        let Some(at) = self.slot_of(credential) else {
            return false;
        };
        let only = model.map(|model| {
            // A group may be meant by its name.
            let named = self.routes.class(model);
            named.unwrap_or_else(|| self.route(model).class)
        });
        for class in 0..u32::try_from(self.classes.len()).unwrap_or(u32::MAX) {
            if only.is_none_or(|only| only == class) {
                self.reset_entry(class, at);
            }
        }
        if only.is_none() {
            let slot = &mut self.slots[at as usize];
            (slot.cooldown, slot.strikes) = (None, 0);
            self.mark_slot(at);
            if self.settings.fair_cycle.tracking == Tracking::Credential {
                self.set_turn(0, at, None);
            }
            self.refresh_slot(at);
        }
        self.serve();
        true
    }

    /// Changes the tier of a member, and what hangs on it. Its id, secret and state are not to be
    /// touched. Returns whether the credential is known.
    pub(super) fn regrade(
        &mut self,
        credential: &CredentialId,
        change: impl FnOnce(&mut Member),
    ) -> bool {
        let Some(at) = self.slot_of(credential) else {
            return false;
        };
        let member = &mut self.slots[at as usize].member;
        let before = member.clone();
        change(member);
        if *member != before {
            self.rank_priorities();
            self.count_turns();
            self.rebuild_lanes();
            self.serve();
        }
        true
    }

    /// Switches a credential on or off, or notes that its log-in has ended. Returns whether the
    /// credential is known.
    pub(super) fn set_state(
        &mut self,
        credential: &CredentialId,
        state: &UserState,
        now: Timestamp,
    ) -> bool {
        self.observe(now);
        let Some(at) = self.slot_of(credential) else {
            return false;
        };
        let slot = &mut self.slots[at as usize];
        match state {
            UserState::Disabled => slot.member.disabled = true,
            UserState::Enabled => {
                slot.member.disabled = false;
                slot.member.expired = false;
                slot.standing = Standing::Usable;
            }
            UserState::Expired => slot.standing = Standing::Expired,
        }
        self.note_usable(at);
        self.mark_slot(at);
        self.refresh_slot(at);
        if *state == UserState::Enabled {
            return self.reset(credential, None, now);
        }
        true
    }

    /// Takes a judgement that came without a lease. Returns whether the credential is known.
    pub(super) fn condemn(
        &mut self,
        credential: &CredentialId,
        failure: &Failure,
        now: Timestamp,
    ) -> bool {
        self.observe(now);
        let Some(at) = self.slot_of(credential) else {
            return false;
        };
        let (message, link) = (failure.message.clone(), failure.link.clone());
        match failure.verdict {
            Verdict::ActionNeeded => {
                self.set_standing(at, Standing::ActionNeeded { message, link });
            }
            Verdict::Banned | Verdict::Dead => {
                self.set_standing(at, Standing::Dead { message, link });
            }
            _ => {}
        }
        true
    }

    /// Lets a credential rest as a whole. Returns whether it is known.
    pub(super) fn rest_until(
        &mut self,
        credential: &CredentialId,
        message: &str,
        until: Timestamp,
        now: Timestamp,
    ) -> bool {
        self.observe(now);
        let Some(at) = self.slot_of(credential) else {
            return false;
        };
        let slot = &mut self.slots[at as usize];
        if slot
            .cooldown
            .as_deref()
            .is_none_or(|rest| rest.until < until)
        {
            let mut rest = Cooldown::new(Reason::Token, until, None, now);
            rest.message = message.into();
            slot.cooldown = Some(Box::new(rest));
            *self.rests.entry(Reason::Token).or_default() += 1;
            self.mark_slot(at);
            self.refresh_slot(at);
        }
        true
    }

    /// Takes a provider's word about a limit. Returns whether the credential is known.
    pub(super) fn report(
        &mut self,
        credential: &CredentialId,
        model: &str,
        report: &Report,
        now: Timestamp,
    ) -> bool {
        self.observe(now);
        let Some(at) = self.slot_of(credential) else {
            return false;
        };
        let named = self.routes.class(model);
        let class = named.unwrap_or_else(|| self.route(model).class);
        let windows = &self.classes[class as usize].windows;
        let fitting = windows.iter().position(|spec| {
            spec.requests > 0 && report.every.is_none_or(|every| every == spec.every)
        });
        self.take_report((class, at), report, fitting);
        true
    }

    /// Takes note of what an answer's headers say of a limit. They do not say over what time it
    /// counts: it is that of the window with the same number, or none of ours. That some limit is
    /// used up counts for itself. Returns whether the credential is known.
    pub(super) fn heed(
        &mut self,
        credential: &CredentialId,
        model: &str,
        report: &Report,
        now: Timestamp,
    ) -> bool {
        self.observe(now);
        let Some(at) = self.slot_of(credential) else {
            return false;
        };
        let class = self.route(model).class;
        let windows = &self.classes[class as usize].windows;
        let fitting = report
            .limit
            .and_then(|limit| windows.iter().position(|spec| spec.requests == limit));
        if fitting.is_some() {
            // Requests of ours that are under way may be counted there or not: here they are.
            let under_way = self.slots[at as usize].active.saturating_sub(1);
            let report = Report {
                used: report
                    .used()
                    .map(|used| used.saturating_add(u64::from(under_way))),
                resets: None,
                ..*report
            };
            self.take_report((class, at), &report, fitting);
        } else if report.limit.is_none() && report.is_spent() {
            self.take_report((class, at), report, None);
        }
        true
    }

    fn take_report(&mut self, (class, at): (u32, u32), report: &Report, fitting: Option<usize>) {
        let now = self.now;
        let (entry, windows) = self.classes[class as usize].entry_mut(at);
        if let Some(fitting) = fitting {
            entry.counters[fitting].correct(&windows[fitting], report, now);
        } else {
            let told = Reported::new(report, now);
            let ends = |reported: Option<Reported>| reported?.room_at(now);
            // Of two limits that are used up the later end counts.
            if ends(told).is_none() || ends(told) >= ends(entry.reported) {
                entry.reported = told;
            }
        }
        if let Some(until) = entry.room_at(windows, now) {
            self.bench(class, at, until);
        }
        self.mark_entry(class, at, true);
        self.refresh_entry(class, at);
        self.serve();
    }

    fn reset_entry(&mut self, class: u32, at: u32) {
        let entries = &mut self.classes[class as usize].entries;
        let entry = entries.get_mut(at as usize);
        let Some(entry) = entry.and_then(|entry| entry.as_deref_mut()) else {
            return;
        };
        entry.cooldown = None;
        (entry.ladder, entry.faults) = (0, 0);
        entry.reported = None;
        entry.full_elsewhere = Timestamp::default();
        // A cap just lifted by hand starts its count here.
        entry.cap_base = entry.used();
        if self.settings.fair_cycle.tracking == Tracking::ModelGroup {
            self.set_turn(class, at, None);
        }
        self.mark_entry(class, at, true);
        self.refresh_entry(class, at);
    }

    fn adopt(&mut self, settings: Settings) {
        self.order = Order::new(&settings);
        for class in &mut self.classes {
            class.is_group = settings
                .quota_groups
                .iter()
                .any(|group| *group.name == *class.name);
            class.caps = caps::concerning(&settings.caps, &class.name);
            let windows = class.windows_of(&settings);
            for entry in class.entries.iter_mut().flatten() {
                carry_over(entry, &class.windows, &windows);
            }
            class.windows = windows;
        }
        self.settings = settings;
    }

    /// Takes a member in, or its new settings if it is known.
    fn admit(&mut self, member: Member, free: &mut Vec<u32>) {
        if let Some(at) = self.slot_of(&member.id) {
            let slot = &mut self.slots[at as usize];
            // Whoever keeps the log-ins says that there is a new one.
            if !member.expired && slot.standing == Standing::Expired {
                slot.standing = Standing::Usable;
            }
            slot.member = member;
            return;
        }
        let id = member.id.clone();
        let slot = Slot::new(member);
        let at = if let Some(at) = free.pop() {
            self.slots[at as usize] = slot;
            at
        } else {
            self.slots.push(slot);
            u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
        };
        self.by_id.insert(id, at);
    }

    /// Lets credentials go, and what was known of them.
    fn remove(&mut self, gone: &[u32]) {
        for at in gone {
            let slot = &mut self.slots[*at as usize];
            slot.is_gone = true;
            self.by_id.remove(&slot.member.id);
            for class in &mut self.classes {
                class.forget(*at);
            }
        }
        if !gone.is_empty() {
            self.affinity.forget(&gone.iter().copied().collect());
        }
    }

    /// Places of credentials that left and whose last lease is back.
    fn free_places(&self) -> Vec<u32> {
        let slots = (0..).zip(&self.slots);
        let free = slots.filter(|(_, slot)| slot.is_gone && slot.active == 0);
        free.map(|(at, _)| at).collect()
    }

    fn rank_priorities(&mut self) {
        let present = || self.slots.iter().filter(|slot| !slot.is_gone);
        let priorities: BTreeSet<u32> = present().map(|slot| slot.member.priority).collect();
        let priorities: Vec<u32> = priorities.into_iter().collect();
        for slot in &mut self.slots {
            let rank = priorities.binary_search(&slot.member.priority);
            slot.priority_rank = u32::try_from(rank.unwrap_or(0)).unwrap_or(u32::MAX);
            slot.limit(&self.settings.concurrency);
        }
    }
}

/// Keeps the counts of windows that stay, whatever happened to their limits.
fn carry_over(entry: &mut Entry, old: &[WindowSpec], new: &[WindowSpec]) {
    let counters = new.iter().map(|spec| {
        let same = |old: &WindowSpec| (old.every, old.anchor) == (spec.every, spec.anchor);
        let at = old.iter().position(same);
        at.and_then(|at| entry.counters.get(at).cloned())
            .unwrap_or_else(Counter::new)
    });
    entry.counters = counters.collect();
}
