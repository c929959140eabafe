//! The fair cycle: who has had its turn stands last in line until all have had theirs.
//!
//! It is an order, never a refusal: when nobody else can serve, a benched credential does, and
//! the cycle starts anew. Turns are counted as they end, so that a rest costs a look at a number
//! and a new cycle a walk over those whose turns it forgets.

use std::collections::{HashMap, VecDeque};

use crate::time::Timestamp;

use super::settings::Tracking;
use super::slot::{Slot, Standing};
use super::state::State;

/// The turns taken in one cycle, by the place of the tier: of the pool, or of a model class.
#[derive(Debug, Default)]
pub(super) struct Turns(Vec<Line>);

#[derive(Debug, Default)]
struct Line {
    /// How many of those that take turns have had theirs.
    taken: u32,
    /// Whose turns have ended and when, earliest first. One that no longer agrees with what the
    /// credential itself says is passed over.
    ended: VecDeque<(Timestamp, u32)>,
}

impl Turns {
    fn line(&mut self, tier: u32) -> &mut Line {
        let tier = tier as usize;
        if self.0.len() <= tier {
            self.0.resize_with(tier + 1, Line::default);
        }
        &mut self.0[tier]
    }
}

impl Line {
    fn enter(&mut self, since: Timestamp, slot: u32) {
        // Nearly always the end; only what a restart brings back comes in any order.
        let at = self.ended.partition_point(|(other, _)| *other <= since);
        self.ended.insert(at, (since, slot));
    }
}

impl State {
    /// Notes that a credential rests until `until`: a long rest is a turn taken.
    pub(super) fn bench(&mut self, class: u32, slot: u32, until: Timestamp) {
        let cycle = self.settings.fair_cycle;
        if !cycle.enabled || self.now.until(until) <= cycle.exhaustion_threshold {
            return;
        }
        self.forget_old_turns(class, slot);
        if self.turn_ended(class, slot).is_none() {
            self.set_turn(class, slot, Some(self.now));
        }
        let tier = self.slots[slot as usize].tier_place;
        let peers = self.peers.get(tier as usize).copied().unwrap_or(0);
        if self.turns(class).line(tier).taken >= peers {
            self.start_cycle(class, slot);
        }
    }

    /// A credential is picked: if it stood last, nobody else could serve and the cycle ends. If
    /// this request filled its window or reached its cap, its turn is over.
    pub(super) fn note_turn(&mut self, class: u32, slot: u32) {
        if !self.settings.fair_cycle.enabled {
            return;
        }
        if self.is_benched(class, slot) {
            self.start_cycle(class, slot);
        }
        let now = self.now;
        let (entry, windows) = self.classes[class as usize].entry_mut(slot);
        let full = entry.room_at(windows, now);
        let rest = entry.cooldown.as_deref().map(|rest| rest.until);
        if let Some(until) = full.max(rest) {
            self.bench(class, slot, until);
        }
    }

    /// Whether a credential has had its turn.
    pub(super) fn is_benched(&self, class: u32, slot: u32) -> bool {
        let cycle = &self.settings.fair_cycle;
        let since = self.turn_ended(class, slot);
        cycle.enabled && since.is_some_and(|since| self.now < since + cycle.duration)
    }

    /// Sets or clears when a credential's turn ended, to be written down.
    pub(super) fn set_turn(&mut self, class: u32, slot: u32, ended: Option<Timestamp>) {
        if self.turn_ended(class, slot) == ended {
            return;
        }
        self.restore_turn(class, slot, ended);
        match self.settings.fair_cycle.tracking {
            Tracking::Credential => self.mark_slot(slot),
            Tracking::ModelGroup => self.mark_entry(class, slot, true),
        }
    }

    /// Sets or clears when a credential's turn ended, as it was written down.
    pub(super) fn restore_turn(&mut self, class: u32, slot: u32, ended: Option<Timestamp>) {
        let had = self.turn_ended(class, slot);
        if had == ended {
            return;
        }
        let Slot {
            is_peer,
            tier_place,
            ..
        } = self.slots[slot as usize];
        let line = self.turns(class).line(tier_place);
        if let Some(since) = ended {
            line.enter(since, slot);
        }
        if is_peer && had.is_some() != ended.is_some() {
            adjust(&mut line.taken, ended.is_some());
        }
        match self.settings.fair_cycle.tracking {
            Tracking::Credential => {
                self.slots[slot as usize].benched = ended;
                self.refresh_slot(slot);
            }
            Tracking::ModelGroup => {
                self.classes[class as usize].entry_mut(slot).0.benched = ended;
                self.refresh_entry(class, slot);
            }
        }
    }

    /// Notes that a credential may have become usable, or ceased to be.
    pub(super) fn note_usable(&mut self, at: u32) {
        let slot = &mut self.slots[at as usize];
        let is_peer = takes_turns(slot);
        if !self.settings.fair_cycle.enabled || is_peer == slot.is_peer {
            return;
        }
        slot.is_peer = is_peer;
        let (tier, is_benched) = (slot.tier_place, slot.benched.is_some());
        if let Some(peers) = self.peers.get_mut(tier as usize) {
            adjust(peers, is_peer);
        }
        match self.settings.fair_cycle.tracking {
            Tracking::Credential if is_benched => {
                adjust(&mut self.turns.line(tier).taken, is_peer);
            }
            Tracking::Credential => {}
            Tracking::ModelGroup => {
                for class in &mut self.classes {
                    if class.entry(at).is_some_and(|entry| entry.benched.is_some()) {
                        adjust(&mut class.turns.line(tier).taken, is_peer);
                    }
                }
            }
        }
    }

    /// Counts anew who takes turns and whose are over: members or settings have changed.
    pub(super) fn count_turns(&mut self) {
        let cycle = self.settings.fair_cycle;
        let mut places: HashMap<Option<String>, u32> = HashMap::new();
        self.peers.clear();
        for slot in &mut self.slots {
            let tier = slot.member.tier.clone().filter(|_| !cycle.cross_tier);
            let next = u32::try_from(places.len()).unwrap_or(u32::MAX);
            slot.tier_place = *places.entry(tier).or_insert(next);
            slot.is_peer = takes_turns(slot);
            if slot.tier_place as usize >= self.peers.len() {
                self.peers.push(0);
            }
            self.peers[slot.tier_place as usize] += u32::from(slot.is_peer);
        }
        self.turns = Turns::default();
        for class in &mut self.classes {
            class.turns = Turns::default();
        }
        if !cycle.enabled {
            return;
        }
        for (at, slot) in (0..).zip(&self.slots) {
            let count = |turns: &mut Turns, since: Option<Timestamp>| {
                if let Some(since) = since {
                    let line = turns.line(slot.tier_place);
                    line.enter(since, at);
                    line.taken += u32::from(slot.is_peer);
                }
            };
            match cycle.tracking {
                Tracking::Credential => count(&mut self.turns, slot.benched),
                Tracking::ModelGroup => {
                    for class in &mut self.classes {
                        let since = class.entry(at).and_then(|entry| entry.benched);
                        count(&mut class.turns, since);
                    }
                }
            }
        }
    }

    fn turns(&mut self, class: u32) -> &mut Turns {
        match self.settings.fair_cycle.tracking {
            Tracking::Credential => &mut self.turns,
            Tracking::ModelGroup => &mut self.classes[class as usize].turns,
        }
    }

    /// When a credential's turn ended, however long ago.
    fn turn_ended(&self, class: u32, slot: u32) -> Option<Timestamp> {
        match self.settings.fair_cycle.tracking {
            Tracking::Credential => self.slots.get(slot as usize)?.benched,
            Tracking::ModelGroup => self.classes.get(class as usize)?.entry(slot)?.benched,
        }
    }

    /// Forgets turns that ended longer ago than the cycle's duration, in the tier of a credential.
    fn forget_old_turns(&mut self, class: u32, slot: u32) {
        let tier = self.slots[slot as usize].tier_place;
        while let Some((since, first)) = self.turns(class).line(tier).ended.front().copied() {
            let is_its_own = self.turn_ended(class, first) == Some(since);
            if is_its_own && self.now < since + self.settings.fair_cycle.duration {
                return;
            }
            self.turns(class).line(tier).ended.pop_front();
            if is_its_own {
                self.set_turn(class, first, None);
            }
        }
    }

    /// Begins a new cycle in the tier of a credential.
    fn start_cycle(&mut self, class: u32, slot: u32) {
        let tier = self.slots[slot as usize].tier_place;
        let ended = std::mem::take(&mut self.turns(class).line(tier).ended);
        for (since, other) in ended {
            if self.turn_ended(class, other) == Some(since) {
                self.set_turn(class, other, None);
            }
        }
    }
}

/// Whether a credential is one of those the others wait for.
fn takes_turns(slot: &Slot) -> bool {
    !slot.is_gone
        && !slot.member.disabled
        && !slot.member.expired
        && slot.member.closed.is_none()
        && slot.standing == Standing::Usable
}

const fn adjust(count: &mut u32, is_more: bool) {
    *count = if is_more {
        count.saturating_add(1)
    } else {
        count.saturating_sub(1)
    };
}

#[cfg(test)]
impl State {
    /// Fails unless turns and those who take them are counted as a look at everybody counts them.
    pub(super) fn assert_turns_are_counted(&self) {
        if !self.settings.fair_cycle.enabled {
            return;
        }
        let peers = |tier: usize| {
            let slots = (0..).zip(&self.slots);
            slots.filter(move |(_, slot)| takes_turns(slot) && slot.tier_place as usize == tier)
        };
        for tier in 0..self.peers.len() {
            assert_eq!(self.peers[tier] as usize, peers(tier).count());
            for class in 0..u32::try_from(self.classes.len()).expect("few classes") {
                let taken = peers(tier).filter(|(at, _)| self.turn_ended(class, *at).is_some());
                let turns = match self.settings.fair_cycle.tracking {
                    Tracking::Credential => &self.turns,
                    Tracking::ModelGroup => &self.classes[class as usize].turns,
                };
                let counted = turns.0.get(tier).map_or(0, |line| line.taken as usize);
                assert_eq!(counted, taken.count(), "turns in tier {tier}");
            }
        }
    }
}
