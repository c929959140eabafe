//! Counts of a pool for those who ask often: health checks, metrics, the list of providers. No
//! strings, no sorting; a health check stops at the first credential that is ready.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::ids::{CredentialId, ProviderId};
use crate::time::Timestamp;

use super::cooldown::Reason;
use super::slot::Standing;
use super::snapshot::{CredentialState, resting_state};
use super::state::State;

/// How long "nobody is ready" is believed while nothing happens: of a large pool it takes a look
/// at everybody, and anyone may ask for the health.
const BELIEVED_FOR: Duration = Duration::from_millis(250);

/// A pool in numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolSummary {
    pub provider: ProviderId,
    pub credentials: u32,
    /// Credentials by state; states that nobody is in are absent.
    pub states: BTreeMap<CredentialState, u32>,
    /// Leases out.
    pub leases: u32,
    /// Requests that wait for a credential.
    pub waiters: u32,
    /// Rests begun since the pool was made, by reason.
    pub cooldowns: BTreeMap<Reason, u64>,
}

impl PoolSummary {
    /// How many credentials are in a state.
    pub fn count(&self, state: CredentialState) -> u32 {
        self.states.get(&state).copied().unwrap_or(0)
    }
}

/// What the last look for a ready credential found.
#[derive(Debug, Default)]
pub(super) struct Readiness {
    /// Grows with every change of a credential's standing.
    pub(super) changes: u64,
    /// When nobody was ready, and after how many changes.
    nobody: Option<(Timestamp, u64)>,
    /// Who was ready last.
    last: u32,
}

impl State {
    /// The numbers at `now`.
    pub(super) fn summary(&mut self, now: Timestamp) -> PoolSummary {
        self.observe(now);
        let mut states = BTreeMap::new();
        let mut leases = 0;
        for at in 0..self.slots.len() {
            leases += self.slots[at].active;
            if let Some(state) = self.state_at(at) {
                *states.entry(state).or_default() += 1;
            }
        }
        PoolSummary {
            provider: self.provider.clone(),
            credentials: states.values().sum(),
            states,
            leases,
            waiters: self.waiting,
            cooldowns: self.rests.clone(),
        }
    }

    /// Whether some credential is ready.
    pub(super) fn has_ready(&mut self, now: Timestamp) -> bool {
        self.observe(now);
        let is_ready = |state| state == Some(CredentialState::Ready);
        if is_ready(self.state_at(self.readiness.last as usize)) {
            return true;
        }
        let changes = self.readiness.changes;
        let is_believed = |(at, known): (Timestamp, u64)| {
            known == changes && at <= now && now.since(at) < BELIEVED_FOR
        };
        if self.readiness.nobody.is_some_and(is_believed) {
            return false;
        }
        let found = (0..self.slots.len()).find(|at| is_ready(self.state_at(*at)));
        let place = found.and_then(|at| u32::try_from(at).ok());
        self.readiness.last = place.unwrap_or(0);
        self.readiness.nobody = found.is_none().then_some((now, changes));
        found.is_some()
    }

    /// At most `most` credentials that are not known to be refused, ready ones first.
    pub(super) fn usable(&mut self, most: usize, now: Timestamp) -> Vec<CredentialId> {
        self.observe(now);
        let (mut ready, mut resting) = (Vec::new(), Vec::new());
        for at in 0..self.slots.len() {
            let found = match self.state_at(at) {
                Some(CredentialState::Ready) => &mut ready,
                Some(CredentialState::Cooling | CredentialState::Exhausted) => &mut resting,
                _ => continue,
            };
            if found.len() < most {
                found.push(self.slots[at].member.id.clone());
            }
            if ready.len() == most {
                break;
            }
        }
        ready.extend(resting);
        ready.truncate(most);
        ready
    }

    /// The state of a credential, `None` if there is none. Says what [`State::snapshot`] says.
    pub(super) fn state_at(&mut self, at: usize) -> Option<CredentialState> {
        let now = self.now;
        let slot = self.slots.get(at).filter(|slot| !slot.is_gone)?;
        if slot.member.disabled {
            return Some(CredentialState::Disabled);
        }
        if slot.member.closed.is_some() {
            return Some(CredentialState::Dead);
        }
        match slot.standing {
            Standing::ActionNeeded { .. } => return Some(CredentialState::ActionNeeded),
            Standing::Dead { .. } => return Some(CredentialState::Dead),
            Standing::Usable if !slot.member.expired => {}
            Standing::Expired | Standing::Usable => return Some(CredentialState::Expired),
        }
        let holding = slot.cooldown.as_deref().filter(|rest| rest.holds(now));
        if let Some(rest) = holding {
            return Some(resting_state(rest.reason));
        }
        let (mut longest, mut is_full) = (None, false);
        for place in 0..self.classes.len() {
            self.roll_entry(place, at);
            let class = &self.classes[place];
            let Some(Some(entry)) = class.entries.get(at) else {
                continue;
            };
            if let Some(rest) = entry.cooldown.as_deref().filter(|rest| rest.holds(now)) {
                longest = longest.max(Some((rest.until, rest.reason)));
            }
            is_full |= entry.room_at(&class.windows, now).is_some();
        }
        Some(match longest {
            Some((_, reason)) => resting_state(reason),
            None if is_full => CredentialState::Exhausted,
            None => CredentialState::Ready,
        })
    }
}

#[cfg(test)]
impl State {
    /// Fails unless the numbers are those of the full picture.
    pub(super) fn assert_summed_up(&mut self) {
        let now = self.now;
        let (summary, picture) = (self.summary(now), self.snapshot(now));
        let mut states = BTreeMap::new();
        for member in &picture.members {
            *states.entry(member.state).or_default() += 1;
        }
        assert_eq!((summary.states, summary.leases), (states, picture.leases));
        let is_ready = |member: &super::MemberSnapshot| member.state == CredentialState::Ready;
        let ready = picture
            .members
            .iter()
            .filter(|member| is_ready(member))
            .count();
        assert_eq!(self.has_ready(now), ready > 0);
        let usable = self.usable(2, now);
        assert!(usable.len() >= ready.min(2), "{usable:?} of {ready}");
    }
}
