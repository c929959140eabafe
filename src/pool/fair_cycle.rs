//! The fair cycle: who has had its turn stands last in line until all have had theirs.
//!
//! It is an order, never a refusal: when nobody else can serve, a benched credential does, and
//! the cycle starts anew.

use crate::time::Timestamp;

use super::settings::Tracking;
use super::slot::{Slot, Standing};
use super::state::State;

impl State {
    /// Notes that a credential rests until `until`: a long rest is a turn taken.
    pub(super) fn bench(&mut self, class: u32, slot: u32, until: Timestamp) {
        let cycle = self.settings.fair_cycle;
        if !cycle.enabled || self.now.until(until) <= cycle.exhaustion_threshold {
            return;
        }
        let now = Some(self.now);
        match cycle.tracking {
            Tracking::Credential => {
                self.slots[slot as usize].benched = now;
                self.mark_slot(slot);
            }
            Tracking::ModelGroup => {
                self.classes[class as usize].entry_mut(slot).0.benched = now;
                self.mark_entry(class, slot, true);
            }
        }
        let peers = self.peers(slot);
        if peers.iter().all(|peer| self.is_benched(class, *peer)) {
            self.start_cycle(class, &peers);
        }
    }

    /// A credential is picked: if it stood last, nobody else could serve and the cycle ends. If
    /// this request filled its window or reached its cap, its turn is over.
    pub(super) fn note_turn(&mut self, class: u32, slot: u32) {
        if !self.settings.fair_cycle.enabled {
            return;
        }
        if self.is_benched(class, slot) {
            let peers = self.peers(slot);
            self.start_cycle(class, &peers);
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
        let since = match cycle.tracking {
            Tracking::Credential => self.slots.get(slot as usize).and_then(|slot| slot.benched),
            Tracking::ModelGroup => self
                .classes
                .get(class as usize)
                .and_then(|class| class.entry(slot)?.benched),
        };
        cycle.enabled && since.is_some_and(|since| self.now < since + cycle.duration)
    }

    /// Those that take turns with a credential: its tier, or all.
    fn peers(&self, slot: u32) -> Vec<u32> {
        let tier = &self.slots[slot as usize].member.tier;
        let is_peer = |other: &Slot| {
            !other.is_gone
                && !other.member.disabled
                && !other.member.expired
                && other.standing == Standing::Usable
                && (self.settings.fair_cycle.cross_tier || other.member.tier == *tier)
        };
        let slots = (0..).zip(&self.slots);
        let peers = slots.filter(|(_, other)| is_peer(other));
        peers.map(|(at, _)| at).collect()
    }

    fn start_cycle(&mut self, class: u32, peers: &[u32]) {
        for slot in peers {
            match self.settings.fair_cycle.tracking {
                Tracking::Credential => {
                    self.slots[*slot as usize].benched = None;
                    self.mark_slot(*slot);
                    self.refresh_slot(*slot);
                }
                Tracking::ModelGroup => {
                    self.classes[class as usize].entry_mut(*slot).0.benched = None;
                    self.mark_entry(class, *slot, true);
                    self.refresh_entry(class, *slot);
                }
            }
        }
    }
}
