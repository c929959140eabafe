//! Who serves, among those who may: priority, load, the conversation's own credential, rotation.

use std::time::Duration;

use crate::time::Timestamp;

use super::affinity::Affinity;
use super::ask::Memory;
use super::class::Entry;
use super::eligible::View;
use super::lane::{Lane, Leaf, NEVER, Status};
use super::settings::{FairCycle, Rotation, Settings, Tracking};
use super::slot::Slot;

/// The bit of a band that says "at its optimal concurrency".
const LOADED: u32 = 1;
/// The bit that puts a benched credential after all others of its priority…
const BENCHED: u32 = 2;
/// …and the one that puts it after all others.
const BENCHED_LAST: u32 = 1 << 30;
/// Priorities beyond this rank are all alike.
const MAX_RANK: u32 = (1 << 28) - 1;

/// The settings that order credentials.
#[derive(Clone, Copy, Debug)]
pub(super) struct Order {
    pub(super) rotation: Rotation,
    pub(super) tolerance: f64,
    pub(super) fair_cycle: FairCycle,
}

impl Order {
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            rotation: settings.rotation,
            tolerance: settings.rotation_tolerance,
            fair_cycle: settings.fair_cycle,
        }
    }
}

/// A credential's place in the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rank {
    pub(super) band: u32,
    pub(super) key: u64,
    /// When the rank changes by time alone.
    pub(super) due: Timestamp,
}

/// Ranks a credential: lowest priority number first, benched ones last, those below their optimal
/// concurrency before the others; inside such a band by the rotation's key.
pub(super) fn rank(slot: &Slot, entry: Option<&Entry>, view: View<'_>) -> Rank {
    let mut band = slot.priority_rank.min(MAX_RANK) << 2;
    let mut due = NEVER;
    if slot.is_optimal() {
        band |= LOADED;
    }
    if let Some(until) = benched_until(slot, entry, &view.order.fair_cycle)
        && view.now < until
    {
        due = until;
        band |= if view.order.fair_cycle.cross_tier {
            BENCHED_LAST
        } else {
            BENCHED
        };
    }
    let counter = entry.and_then(|entry| entry.counters.first());
    if let Some(counter) = counter.filter(|counter| counter.started.is_some()) {
        due = due.min(counter.resets);
    }
    Rank {
        band,
        key: key(slot, entry, view),
        due,
    }
}

/// Until when a credential stands last in the fair cycle.
fn benched_until(slot: &Slot, entry: Option<&Entry>, cycle: &FairCycle) -> Option<Timestamp> {
    if !cycle.enabled {
        return None;
    }
    let since = match cycle.tracking {
        Tracking::Credential => slot.benched,
        Tracking::ModelGroup => entry?.benched,
    };
    since.map(|since| since + cycle.duration)
}

fn key(slot: &Slot, entry: Option<&Entry>, view: View<'_>) -> u64 {
    let used = u32::try_from(entry.map_or(0, Entry::used)).unwrap_or(u32::MAX);
    let most_used = u64::from(u32::MAX - used);
    match view.order.rotation {
        Rotation::Balanced => u64::from(used),
        Rotation::Expiring => {
            let resets = entry.map_or(NEVER, |entry| soonest_reset(entry, view));
            // Minutes in the upper half: resets a minute apart are one event.
            let minutes = u32::try_from(resets.as_millis() / 60_000).unwrap_or(u32::MAX);
            u64::from(minutes) << 32 | most_used
        }
        Rotation::Sequential => {
            // Among equals the one used last: its provider cache is the warmest.
            let used_at = slot.last_used.map_or(0, |at| at.as_millis() / 1000);
            let staleness = u32::MAX - u32::try_from(used_at).unwrap_or(0);
            most_used << 32 | u64::from(staleness)
        }
    }
}

/// When the first limited window resets: what is left of it then is lost.
fn soonest_reset(entry: &Entry, view: View<'_>) -> Timestamp {
    let limited = entry.counters.iter().zip(view.windows);
    let limited = limited
        .filter(|(counter, spec)| counter.limit(spec).is_some() || spec.tokens > 0)
        .map(|(counter, _)| counter.resets);
    let reported = entry.reported.map(|reported| reported.resets);
    limited.chain(reported).min().unwrap_or(NEVER)
}

/// What a pick is made for.
#[derive(Debug)]
pub(super) struct Wish<'a> {
    pub(super) memory: &'a Memory,
    /// The conversation in this class.
    pub(super) conversation: Option<u64>,
    pub(super) now: Timestamp,
}

/// `true` if the lane has an eligible credential that the request may have.
pub(super) fn can_serve(lane: &Lane, memory: &Memory) -> bool {
    let excluded = memory.tried.iter().filter(|tried| {
        lane.leaf(tried.slot).status == Status::Eligible && memory.excludes(tried.slot)
    });
    u32::try_from(excluded.count()).unwrap_or(u32::MAX) < lane.count(Status::Eligible)
}

/// Chooses a credential of the lane; `None` if nobody can serve this request.
pub(super) fn pick(
    lane: &mut Lane,
    wish: &Wish<'_>,
    affinity: &Affinity,
    order: &Order,
    rng: &mut fastrand::Rng,
) -> Option<u32> {
    if !lane.root().has_any() {
        return None;
    }
    if let Some(slot) = wish.memory.prefer
        && lane.leaf(slot).status == Status::Eligible
        && !wish.memory.excludes(slot)
    {
        return Some(slot);
    }
    // Those the request has had already step aside for a moment. They are few: most of those that
    // failed are resting.
    let mut aside: Vec<(u32, Leaf)> = Vec::new();
    for tried in wish.memory.tried.iter().filter(|tried| tried.is_out) {
        let leaf = *lane.leaf(tried.slot);
        if leaf.status == Status::Eligible {
            aside.push((tried.slot, leaf));
            lane.set(tried.slot, Leaf::ABSENT);
        }
    }
    let mut picked = pick_of_all(lane, wish, affinity, order, rng);
    if picked.is_none() && !aside.is_empty() {
        // Whose own wait has ended may be had again, but only when nobody else is left.
        for (slot, leaf) in &aside {
            if !wish.memory.excludes(*slot) {
                lane.set(*slot, *leaf);
            }
        }
        picked = pick_of_all(lane, wish, affinity, order, rng);
    }
    for (slot, leaf) in aside {
        lane.set(slot, leaf);
    }
    picked
}

fn pick_of_all(
    lane: &mut Lane,
    wish: &Wish<'_>,
    affinity: &Affinity,
    order: &Order,
    rng: &mut fastrand::Rng,
) -> Option<u32> {
    let root = *lane.root();
    if !root.has_any() {
        return None;
    }
    let is_best = |slot: u32| {
        let leaf = lane.leaf(slot);
        leaf.status == Status::Eligible && leaf.band == root.band
    };
    let own = wish.conversation;
    let own = own.and_then(|key| affinity.find(key, wish.now));
    if let Some(own) = own.filter(|own| is_best(*own)) {
        return Some(own);
    }
    match order.rotation {
        Rotation::Balanced if order.tolerance > 0.0 => lane.draw(order.tolerance, rng.f64()),
        Rotation::Balanced | Rotation::Expiring => Some(root.best),
        Rotation::Sequential => {
            if let Some(current) = lane.current.filter(|current| is_best(*current)) {
                return Some(current);
            }
            if !lane
                .current
                .is_some_and(|slot| keeps(lane, slot, root.band))
            {
                lane.current = Some(root.best);
            }
            Some(root.best)
        }
    }
}

/// `true` if the credential in use stays so although another serves this one request: it is only
/// busy, and no better priority has come back.
fn keeps(lane: &Lane, slot: u32, best: u32) -> bool {
    let leaf = lane.leaf(slot);
    matches!(leaf.status, Status::Busy | Status::Eligible) && leaf.band & !LOADED <= best & !LOADED
}

/// `true` if a conversation keeps the credential it had although another serves this request: its
/// own is only busy with something else.
pub(super) fn keeps_conversation(lane: &Lane, own: u32, picked: u32) -> bool {
    let (own, picked) = (lane.leaf(own), lane.leaf(picked));
    matches!(own.status, Status::Busy | Status::Eligible)
        && own.band & !LOADED == picked.band & !LOADED
}

/// How long a same-credential retry waits: full jitter over a doubling span.
pub(super) fn retry_backoff(retries: u32, random: f64) -> Duration {
    const FIRST: Duration = Duration::from_millis(250);
    const LONGEST: Duration = Duration::from_secs(4);
    let span = FIRST.saturating_mul(1 << retries.min(10)).min(LONGEST);
    span.mul_f64(random)
}
