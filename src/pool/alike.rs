//! Models that are classes of their own, for each may be busy by itself, and yet share one quota of
//! the account (OpenRouter's `:free` models): where one has used it up, so have all of them.

use crate::providers::verdict::Failure;
use crate::time::Timestamp;

use super::cooldown::{Cooldown, Probe, Reason};
use super::settings::matches;
use super::state::{Grant, State};

impl State {
    /// Puts all other classes of the same quota to rest, as the one that was refused.
    pub(super) fn rest_alike(
        &mut self,
        grant: Grant,
        until: Timestamp,
        probe: Option<Probe>,
        failure: &Failure,
    ) {
        for class in self.classes_alike(grant.class) {
            let grant = Grant {
                class,
                is_probe: false,
                ..grant
            };
            self.rest_class(grant, Reason::Quota, until, probe, failure);
        }
    }

    /// Tells a new class what is known of its quota from the others that share it.
    pub(super) fn learn_quota(&mut self, class: u32) {
        let mut known: Vec<(u32, Cooldown)> = Vec::new();
        for other in self.classes_alike(class) {
            let entries = self.classes[other as usize].entries.iter();
            for (slot, entry) in (0_u32..).zip(entries) {
                let rest = entry.as_deref().and_then(|entry| entry.cooldown.as_deref());
                if let Some(rest) = rest.filter(|rest| is_spent(rest, self.now)) {
                    known.push((slot, rest.clone()));
                }
            }
        }
        for (slot, rest) in known {
            let (entry, _) = self.classes[class as usize].entry_mut(slot);
            let is_later = entry
                .cooldown
                .as_deref()
                .is_none_or(|own| own.until < rest.until);
            if is_later {
                entry.cooldown = Some(Box::new(rest));
            }
        }
    }

    /// The other classes that share this one's quota.
    fn classes_alike(&self, class: u32) -> Vec<u32> {
        let own = &self.classes[class as usize];
        let shared = self.settings.shared_quotas.iter();
        let mut shared = shared.filter(|pattern| !own.is_group && matches(pattern, &own.name));
        let Some(pattern) = shared.next() else {
            return Vec::new();
        };
        let all = (0_u32..).zip(&self.classes);
        all.filter(|(at, other)| *at != class && !other.is_group && matches(pattern, &other.name))
            .map(|(at, _)| at)
            .collect()
    }
}

fn is_spent(rest: &Cooldown, now: Timestamp) -> bool {
    rest.reason == Reason::Quota && rest.holds(now)
}
