//! A credential's place in the pool and what is known of it as a whole.

use crate::time::Timestamp;

use super::cooldown::Cooldown;
use super::settings::{Concurrency, Member};

/// A credential's place in the pool.
#[derive(Clone, Debug)]
pub(super) struct Slot {
    pub(super) member: Member,
    /// Left the pool; the place is free for another once its last lease is back.
    pub(super) is_gone: bool,
    /// Leases out.
    pub(super) active: u32,
    /// Most leases at once; 0 means no limit.
    pub(super) max: u32,
    /// From so many leases on others are preferred; 0 means never.
    pub(super) optimal: u32,
    /// Place of its tier among all tiers of the pool; all alike where turns are taken across tiers.
    pub(super) tier_place: u32,
    /// Whether others wait for its turn in the fair cycle.
    pub(super) is_peer: bool,
    /// Place of its priority among all priorities of the pool, lowest number first.
    pub(super) priority_rank: u32,
    pub(super) standing: Standing,
    /// Boxed: most have none, and the small are quick to get.
    pub(super) cooldown: Option<Box<Cooldown>>,
    /// Times in a row that the credential was refused as such.
    pub(super) strikes: u32,
    /// Since when it stands last in the fair cycle, where that counts whole credentials.
    pub(super) benched: Option<Timestamp>,
    pub(super) last_used: Option<Timestamp>,
    /// Until when all its leases are taken to be out elsewhere, where others share the pool.
    pub(super) busy_elsewhere: Timestamp,
    /// When its standing or rest last changed: the later of two processes' words counts.
    pub(super) changed: Timestamp,
    /// Whether a change is still to be written down.
    pub(super) is_dirty: bool,
}

/// Whether a credential can serve at all, cooldowns aside.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Standing {
    /// The provider wants its owner to do something first.
    ActionNeeded {
        message: String,
        link: Option<String>,
    },
    /// Revoked, banned, or refused for good.
    Dead {
        message: String,
        link: Option<String>,
    },
    /// Needs a new log-in.
    Expired,
    #[default]
    Usable,
}

impl Slot {
    pub(super) fn new(member: Member) -> Self {
        Self {
            member,
            is_gone: false,
            active: 0,
            max: 0,
            optimal: 0,
            tier_place: 0,
            is_peer: false,
            priority_rank: 0,
            standing: Standing::Usable,
            cooldown: None,
            strikes: 0,
            benched: None,
            last_used: None,
            busy_elsewhere: Timestamp::default(),
            changed: Timestamp::default(),
            is_dirty: false,
        }
    }

    /// Takes its limits from the pool's settings.
    pub(super) fn limit(&mut self, concurrency: &Concurrency) {
        let factor = concurrency.multipliers.get(&self.member.priority);
        let max = concurrency
            .max
            .saturating_mul(factor.map_or(1, |n| (*n).max(1)));
        self.max = self.member.max_concurrent.unwrap_or(max);
        self.optimal = self
            .member
            .optimal_concurrent
            .unwrap_or(concurrency.optimal);
    }

    /// `true` at its hard concurrency.
    pub(super) const fn is_full(&self) -> bool {
        self.max > 0 && self.active >= self.max
    }

    /// `true` if another is preferred, could it serve.
    pub(super) const fn is_optimal(&self) -> bool {
        self.optimal > 0 && self.active >= self.optimal
    }
}
