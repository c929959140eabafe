//! The wall clock, which people and networks set: no rest lasts longer for it than it was to.

use std::time::Duration;

use crate::time::Timestamp;

use super::blast::Backoff;
use super::cooldown::Cooldown;
use super::state::State;

/// A clock that goes back further than this clears all cooldowns: their ends mean nothing now.
const JUMP: Duration = Duration::from_hours(1);

/// One that goes back further than this takes the ends of rests along. Less is what threads that
/// read it one after the other may see.
const STEP: Duration = Duration::from_secs(2);

impl State {
    /// Takes note of the time.
    pub(super) fn observe(&mut self, now: Timestamp) {
        let back = now.until(self.now);
        if back > JUMP {
            self.clear_cooldowns(now);
        } else if back > STEP {
            self.turn_back(back, now);
        }
        self.now = now;
    }

    /// Ends every cooldown and backoff: after a jump of the clock their ends mean nothing.
    fn clear_cooldowns(&mut self, now: Timestamp) {
        self.now = now;
        tracing::warn!(provider = %self.provider, "the clock went back: all cooldowns end");
        for slot in 0..self.slots.len() {
            self.slots[slot].cooldown = None;
            self.slots[slot].benched = None;
            self.mark_slot(u32::try_from(slot).unwrap_or(u32::MAX));
        }
        for class in 0..self.classes.len() {
            self.classes[class].backoff = Backoff::default();
            for slot in 0..self.classes[class].entries.len() {
                if let Some(entry) = &mut self.classes[class].entries[slot] {
                    entry.cooldown = None;
                    entry.reported = None;
                    entry.benched = None;
                    let place = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
                    self.mark_entry(place(class), place(slot), true);
                }
            }
        }
        self.blast.clear();
        self.count_turns();
        self.rebuild_lanes();
    }

    /// Moves the ends of all rests and pauses, so that as much of each is left as before. Limits
    /// that a provider reported, and turns, are short or found out anew.
    fn turn_back(&mut self, back: Duration, now: Timestamp) {
        self.now = now;
        let place = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        for slot in 0..self.slots.len() {
            if let Some(rest) = self.slots[slot].cooldown.as_deref_mut() {
                rest.turn_back(back);
                self.mark_slot(place(slot));
            }
        }
        for class in 0..self.classes.len() {
            self.classes[class].backoff.turn_back(back);
            for slot in 0..self.classes[class].entries.len() {
                let entry = self.classes[class].entries[slot].as_mut();
                if let Some(rest) = entry.and_then(|entry| entry.cooldown.as_deref_mut()) {
                    rest.turn_back(back);
                    self.mark_entry(place(class), place(slot), true);
                }
            }
        }
        self.blast.backoff.turn_back(back);
        self.mark_pause();
        self.rebuild_lanes();
    }
}

impl Cooldown {
    fn turn_back(&mut self, back: Duration) {
        self.since = self.since - back;
        self.until = self.until - back;
        if let Some(probe) = &mut self.probe {
            probe.next = probe.next - back;
        }
    }
}

impl Backoff {
    fn turn_back(&mut self, back: Duration) {
        self.until = self.until - back;
    }
}
