//! The order of all credentials for one model class, kept so that the best is found at once.
//!
//! A winner tree over flat arrays: credentials in blocks of sixteen, above them a binary tree
//! whose nodes sum up what lies below. Changing one credential recomputes its block and the path
//! to the root; the root answers who is next, when the next one wakes, and why nobody can serve.
//! Nothing is allocated once the tree has its size.

use crate::time::Timestamp;

/// Leaves a block: one block is about a page walk's worth of neighbours, read in a row.
const BLOCK: usize = 16;
/// Blocks from which on a lane is large: it no longer fits the caches next to a processor.
const LARGE: usize = 64;
/// "Never" and "nobody".
pub(super) const NEVER: Timestamp = Timestamp::from_millis(i64::MAX);
const NO_BAND: u32 = u32::MAX;

/// Where one credential stands in a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Leaf {
    pub(super) status: Status,
    /// Priority and preference in one number, lower first; only bands equal are compared further.
    pub(super) band: u32,
    /// The order inside a band, lower first.
    pub(super) key: u64,
    /// Requests in the current window.
    pub(super) used: u32,
    /// When this leaf changes by time alone.
    pub(super) due: Timestamp,
    /// When the wait of a resting credential ends, probes aside.
    pub(super) end: Timestamp,
}

/// What a credential is for one more request of the class.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub(super) enum Status {
    /// Not there, or switched off.
    Absent,
    /// At its hard concurrency; only a release changes that.
    Busy,
    Eligible,
    /// The model is not for it.
    NotAllowed,
    /// Refused by the provider: dead, without money, unauthorised, to be verified or logged in.
    Refused,
    /// Cooling, exhausted or at a limit; time alone changes that.
    Resting,
}

const STATUSES: usize = 6;

impl Leaf {
    /// A credential that is not there.
    pub(super) const ABSENT: Self = Self {
        status: Status::Absent,
        band: NO_BAND,
        key: 0,
        used: 0,
        due: NEVER,
        end: NEVER,
    };
}

/// What lies below a node of the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Node {
    /// The best band of an eligible credential.
    pub(super) band: u32,
    /// How many are in it.
    pub(super) count: u32,
    /// The best in it.
    pub(super) best: u32,
    key: u64,
    /// Requests of all in the band, and of the most used.
    used_sum: u64,
    used_max: u32,
    /// When the first leaf changes by time alone.
    pub(super) due: Timestamp,
    /// When the first leaf that cannot serve changes by time alone.
    pub(super) wake: Timestamp,
    /// The soonest end of a rest.
    pub(super) end: Timestamp,
}

impl Node {
    const EMPTY: Self = Self {
        band: NO_BAND,
        count: 0,
        best: u32::MAX,
        key: u64::MAX,
        used_sum: 0,
        used_max: 0,
        due: NEVER,
        wake: NEVER,
        end: NEVER,
    };

    fn of(leaf: &Leaf, slot: u32) -> Self {
        if leaf.status == Status::Eligible {
            return Self {
                band: leaf.band,
                count: 1,
                best: slot,
                key: leaf.key,
                used_sum: u64::from(leaf.used),
                used_max: leaf.used,
                due: leaf.due,
                wake: NEVER,
                end: NEVER,
            };
        }
        Self {
            due: leaf.due,
            wake: leaf.due,
            end: if leaf.status == Status::Resting {
                leaf.end
            } else {
                NEVER
            },
            ..Self::EMPTY
        }
    }

    fn add(&mut self, other: &Self) {
        self.due = self.due.min(other.due);
        self.wake = self.wake.min(other.wake);
        self.end = self.end.min(other.end);
        if other.band < self.band {
            let (due, wake, end) = (self.due, self.wake, self.end);
            *self = Self {
                due,
                wake,
                end,
                ..*other
            };
        } else if other.band == self.band && other.count > 0 {
            self.count += other.count;
            self.used_sum += other.used_sum;
            self.used_max = self.used_max.max(other.used_max);
            if (other.key, other.best) < (self.key, self.best) {
                self.key = other.key;
                self.best = other.best;
            }
        }
    }

    /// The weight of what lies below, were `most` the most used plus tolerance plus one.
    fn weight(&self, band: u32, most: f64) -> f64 {
        if self.band != band {
            return 0.0;
        }
        #[expect(
            clippy::cast_precision_loss,
            reason = "request counts are far below 2^52"
        )]
        let used = self.used_sum as f64;
        (f64::from(self.count) * most - used).max(0.0)
    }

    /// `true` if someone can serve.
    pub(super) const fn has_any(&self) -> bool {
        self.count > 0
    }
}

/// All credentials of a pool as one model class sees them.
#[derive(Debug)]
pub(super) struct Lane {
    leaves: Vec<Leaf>,
    /// A binary tree in an array: the root at 1, blocks at `nodes.len() / 2` onwards.
    nodes: Vec<Node>,
    counts: [u32; STATUSES],
    /// The credential in use, in sequential order.
    pub(super) current: Option<u32>,
    /// Where the sweep of random draws is, as a share of all weight.
    sweep: Option<f64>,
}

impl Lane {
    /// A lane over the given leaves.
    pub(super) fn new(leaves: Vec<Leaf>) -> Self {
        let blocks = leaves.len().div_ceil(BLOCK).next_power_of_two();
        let mut counts = [0; STATUSES];
        for leaf in &leaves {
            counts[leaf.status as usize] += 1;
        }
        let mut lane = Self {
            leaves,
            nodes: vec![Node::EMPTY; 2 * blocks],
            counts,
            current: None,
            sweep: None,
        };
        for block in 0..blocks {
            lane.nodes[blocks + block] = lane.block_sum(block);
        }
        for at in (1..blocks).rev() {
            lane.nodes[at] = lane.node_sum(at);
        }
        lane
    }

    /// The whole lane summed up.
    pub(super) fn root(&self) -> &Node {
        &self.nodes[1]
    }

    /// How many credentials have this status.
    pub(super) const fn count(&self, status: Status) -> u32 {
        self.counts[status as usize]
    }

    /// Where a credential stands.
    pub(super) fn leaf(&self, slot: u32) -> &Leaf {
        self.leaves.get(slot as usize).unwrap_or(&Leaf::ABSENT)
    }

    /// Moves a credential to a new standing.
    pub(super) fn set(&mut self, slot: u32, leaf: Leaf) {
        let Some(old) = self.leaves.get_mut(slot as usize) else {
            return;
        };
        if *old == leaf {
            return;
        }
        self.counts[old.status as usize] -= 1;
        self.counts[leaf.status as usize] += 1;
        *old = leaf;
        let block = slot as usize / BLOCK;
        let mut at = self.nodes.len() / 2 + block;
        let mut sum = self.block_sum(block);
        while self.nodes[at] != sum {
            self.nodes[at] = sum;
            if at == 1 {
                break;
            }
            at /= 2;
            sum = self.node_sum(at);
        }
    }

    /// A credential whose standing is due to change by `now`.
    pub(super) fn next_due(&self, now: Timestamp) -> Option<u32> {
        let mut at = 1;
        if self.nodes[at].due > now {
            return None;
        }
        let blocks = self.nodes.len() / 2;
        while at < blocks {
            at *= 2;
            if self.nodes[at].due > now {
                at += 1;
            }
        }
        let slots = self.block(at - blocks);
        let due = slots.into_iter().find(|slot| self.leaves[*slot].due <= now);
        due.and_then(|slot| u32::try_from(slot).ok())
    }

    /// A credential of the best band, drawn at random with weight (most used − own use) +
    /// `tolerance` + 1. `random` is in 0..1. `None` if nobody can serve.
    ///
    /// A large lane is swept: each draw goes on from the last by a random step along all weight, by
    /// one credential's share on average. The chances are those of draws from anywhere and use
    /// spreads less, but neighbours are drawn one after the other, and are in the caches then.
    pub(super) fn draw(&mut self, tolerance: f64, random: f64) -> Option<u32> {
        let root = *self.root();
        if !root.has_any() {
            return None;
        }
        let most = f64::from(root.used_max) + tolerance.max(0.0) + 1.0;
        let share = match self.sweep.filter(|_| self.is_large()) {
            Some(last) => (last + 2.0 * random / f64::from(root.count)).fract(),
            None => random,
        };
        self.sweep = Some(share);
        let (at, mut mark) = self.descend(&root, most, share);
        let mut last = None;
        for slot in self.block(at - self.nodes.len() / 2) {
            let leaf = &self.leaves[slot];
            if leaf.status == Status::Eligible && leaf.band == root.band {
                last = Some(slot);
                mark -= most - f64::from(leaf.used);
                if mark < 0.0 {
                    break;
                }
            }
        }
        // Rounding may lead past the last of the band: the tree's own best serves as well.
        last.map_or(Some(root.best), |slot| u32::try_from(slot).ok())
    }

    const fn is_large(&self) -> bool {
        self.nodes.len() / 2 > LARGE
    }

    /// The block at this share of all weight: its place, and what is left of the mark inside it.
    fn descend(&self, root: &Node, most: f64, share: f64) -> (usize, f64) {
        let mut mark = share * root.weight(root.band, most);
        let mut at = 1;
        while at < self.nodes.len() / 2 {
            let left = self.nodes[2 * at].weight(root.band, most);
            at *= 2;
            // The right side is looked at only where the mark may lie there.
            let is_right = mark >= left && self.nodes[at + 1].weight(root.band, most) > 0.0;
            if is_right || left <= 0.0 {
                mark -= left;
                at += 1;
            }
        }
        (at, mark)
    }

    fn block(&self, block: usize) -> std::ops::Range<usize> {
        let end = ((block + 1) * BLOCK).min(self.leaves.len());
        (block * BLOCK).min(end)..end
    }

    fn block_sum(&self, block: usize) -> Node {
        let mut sum = Node::EMPTY;
        let slots = self.block(block);
        let mut slot = u32::try_from(slots.start).unwrap_or(u32::MAX);
        for leaf in &self.leaves[slots] {
            sum.add(&Node::of(leaf, slot));
            slot = slot.saturating_add(1);
        }
        sum
    }

    fn node_sum(&self, at: usize) -> Node {
        let mut sum = self.nodes[2 * at];
        sum.add(&self.nodes[2 * at + 1]);
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn eligible(band: u32, key: u64, used: u32) -> Leaf {
        Leaf {
            status: Status::Eligible,
            band,
            key,
            used,
            due: NEVER,
            end: NEVER,
        }
    }

    #[test]
    fn the_root_is_what_a_scan_of_all_leaves_would_find() {
        let mut rng = fastrand::Rng::with_seed(7);
        for size in [0_usize, 1, 15, 16, 17, 100, 1000] {
            let mut lane = Lane::new(vec![Leaf::ABSENT; size]);
            for _ in 0..size * 4 {
                let slot = rng.usize(0..size);
                let status = [Status::Eligible, Status::Resting, Status::Refused][rng.usize(0..3)];
                let leaf = Leaf {
                    status,
                    due: Timestamp::from_millis(rng.i64(0..1000)),
                    end: Timestamp::from_millis(rng.i64(0..1000)),
                    ..eligible(rng.u32(0..3), rng.u64(0..20), rng.u32(0..9))
                };
                lane.set(u32::try_from(slot).expect("a small slot"), leaf);
                let mut sum = Node::EMPTY;
                for (slot, leaf) in (0..).zip(&lane.leaves) {
                    sum.add(&Node::of(leaf, slot));
                }
                assert_eq!(*lane.root(), sum);
            }
        }
    }

    #[test]
    fn leaves_come_due_one_by_one_until_none_is() {
        let at = Timestamp::from_millis;
        let mut lane = Lane::new(vec![Leaf::ABSENT; 40]);
        for (slot, due) in [(3, 5), (20, 7), (39, 9)] {
            lane.set(
                slot,
                Leaf {
                    due: at(due),
                    ..Leaf::ABSENT
                },
            );
        }
        assert_eq!(lane.next_due(at(4)), None);
        let mut seen = Vec::new();
        while let Some(slot) = lane.next_due(at(7)) {
            seen.push(slot);
            lane.set(slot, Leaf::ABSENT);
        }
        assert_eq!(seen, [3, 20]);
    }

    #[test]
    fn draws_from_a_large_lane_stay_balanced() {
        let size = 4000;
        let mut lane = Lane::new(vec![eligible(0, 0, 0); size]);
        let mut rng = fastrand::Rng::with_seed(5);
        for _ in 0..size * 20 {
            let slot = lane.draw(3.0, rng.f64()).expect("someone can serve");
            let used = lane.leaf(slot).used + 1;
            lane.set(slot, eligible(0, 0, used));
        }
        let used = lane.leaves.iter().map(|leaf| leaf.used);
        let (least, most) = (used.clone().min(), used.max());
        assert!(least >= Some(12) && most <= Some(27), "{least:?} {most:?}");
    }

    #[test]
    fn a_draw_keeps_to_the_best_band_and_prefers_the_less_used() {
        let mut lane = Lane::new(vec![Leaf::ABSENT; 50]);
        lane.set(1, eligible(5, 0, 0));
        lane.set(17, eligible(2, 0, 10));
        lane.set(49, eligible(2, 0, 1));
        let mut rng = fastrand::Rng::with_seed(1);
        let mut drawn = [0; 50];
        for _ in 0..1300 {
            let slot = lane.draw(3.0, rng.f64()).expect("someone can serve");
            drawn[slot as usize] += 1;
        }
        // Weights 10 − 10 + 4 and 10 − 1 + 4.
        assert_eq!(drawn[1], 0);
        let share = f64::from(drawn[49]) / 1300.0;
        assert!((share - 13.0 / 17.0).abs() < 0.05, "{share}");
    }
}
