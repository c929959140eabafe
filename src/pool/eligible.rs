//! Who may serve: one credential's standing for one model class at one instant.

use std::time::Duration;

use crate::time::Timestamp;

use super::class::Entry;
use super::cooldown::{Door, Reason};
use super::lane::{Leaf, NEVER, Status};
use super::select::{self, Order};
use super::settings::{TierRule, WindowSpec};
use super::slot::{Slot, Standing};

/// What [`assess`] looks at besides the credential.
#[derive(Clone, Copy, Debug)]
pub(super) struct View<'a> {
    pub(super) windows: &'a [WindowSpec],
    pub(super) rule: Option<&'a TierRule>,
    pub(super) order: &'a Order,
    pub(super) now: Timestamp,
}

/// The standing of a credential: whether it may serve one more request of the class, and if not,
/// why and until when.
pub(super) fn assess(slot: &Slot, mut entry: Option<&mut Entry>, view: View<'_>) -> Leaf {
    if let Some(entry) = &mut entry {
        entry.roll(view.windows, view.now);
    }
    let entry = entry.as_deref();
    let (status, due, end) = standing(slot, entry, view);
    let rank = select::rank(slot, entry, view);
    // Its rank matters only while it can serve.
    let due = match status {
        Status::Eligible => due.min(rank.due),
        _ => due,
    };
    Leaf {
        status,
        band: rank.band,
        key: rank.key,
        used: u32::try_from(entry.map_or(0, Entry::used)).unwrap_or(u32::MAX),
        // Always later than now, or whoever works off what is due would never end.
        due: due.max(view.now + Duration::from_millis(1)),
        end,
    }
}

/// Status, when it changes by time alone, and when the wait ends (probes aside).
fn standing(slot: &Slot, entry: Option<&Entry>, view: View<'_>) -> (Status, Timestamp, Timestamp) {
    let now = view.now;
    if slot.is_gone || slot.member.disabled {
        return (Status::Absent, NEVER, NEVER);
    }
    if slot.standing != Standing::Usable || slot.member.expired || slot.member.closed.is_some() {
        return (Status::Refused, NEVER, NEVER);
    }
    if !tier_allows(slot, view.rule) {
        return (Status::NotAllowed, NEVER, NEVER);
    }
    // The latest of all ends counts: every one of them must have passed.
    let mut status = Status::Eligible;
    let (mut due, mut wake, mut end) = (NEVER, now, now);
    let rests = [
        slot.cooldown.as_deref(),
        entry.and_then(|entry| entry.cooldown.as_deref()),
    ];
    for rest in rests.into_iter().flatten().filter(|rest| rest.holds(now)) {
        due = due.min(rest.until);
        end = end.max(rest.until);
        if let Door::Closed(until) = rest.door(now) {
            wake = wake.max(until);
            status = match (status, rest.reason) {
                (Status::Refused, _) | (_, Reason::Auth | Reason::NoMoney) => Status::Refused,
                (Status::NotAllowed, _) | (_, Reason::NotAllowed) => Status::NotAllowed,
                _ => Status::Resting,
            };
        }
    }
    if let Some(room) = entry.and_then(|entry| entry.room_at(view.windows, now)) {
        wake = wake.max(room);
        end = end.max(room);
        if status == Status::Eligible {
            status = Status::Resting;
        }
    }
    if status != Status::Eligible {
        return (status, wake, end);
    }
    if slot.is_full() {
        return (Status::Busy, due, NEVER);
    }
    if slot.busy_elsewhere > now {
        return (Status::Busy, due.min(slot.busy_elsewhere), NEVER);
    }
    (Status::Eligible, due, NEVER)
}

/// A credential whose tier nobody knows may always try: the provider will say.
fn tier_allows(slot: &Slot, rule: Option<&TierRule>) -> bool {
    match (rule, &slot.member.tier) {
        (Some(rule), Some(tier)) => rule.tiers.iter().any(|allowed| allowed == tier),
        _ => true,
    }
}
