//! Why credentials were not chosen, for the decision trail of a request.

use crate::ids::CredentialId;
use crate::time::Timestamp;

use super::class;
use super::slot::{Slot, Standing};
use super::state::State;

/// Credentials looked at for one request: it is told of the first ones, at a bounded cost.
const LOOKED_AT: usize = 16;

/// A credential that could not serve a request when it came, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PassedOver {
    pub credential: CredentialId,
    /// The reason's name and, where the provider said something, its sentence.
    pub why: String,
    /// When that ends by itself.
    pub until: Option<Timestamp>,
}

impl State {
    /// Those of the first few credentials that cannot serve the model now.
    pub(super) fn passed_over(&mut self, model: &str, now: Timestamp) -> Vec<PassedOver> {
        self.observe(now);
        let class = self.routes.route(model).map(|route| route.class);
        let class = class.or_else(|| {
            let (name, _) = class::class_of(model, &self.settings);
            self.routes.class(name)
        });
        let slots = (0..).zip(&self.slots).take(LOOKED_AT);
        let present = slots.filter(|(_, slot)| !slot.is_gone);
        present
            .filter_map(|(at, slot)| {
                let (why, until) = self.obstacle(class, at, slot)?;
                Some(PassedOver {
                    credential: slot.member.id.clone(),
                    why,
                    until,
                })
            })
            .collect()
    }

    fn obstacle(
        &self,
        class: Option<u32>,
        at: u32,
        slot: &Slot,
    ) -> Option<(String, Option<Timestamp>)> {
        if slot.member.disabled {
            return Some(("disabled".to_owned(), None));
        }
        if let Some(message) = &slot.member.closed {
            return Some((said("dead", message), None));
        }
        match &slot.standing {
            Standing::ActionNeeded { message, .. } => {
                return Some((said("action_needed", message), None));
            }
            Standing::Dead { message, .. } => return Some((said("dead", message), None)),
            Standing::Usable if !slot.member.expired => {}
            Standing::Expired | Standing::Usable => return Some(("expired".to_owned(), None)),
        }
        let class = class.and_then(|class| self.classes.get(class as usize));
        let entry = class.and_then(|class| class.entry(at));
        let rests = [
            slot.cooldown.as_ref(),
            entry.and_then(|entry| entry.cooldown.as_ref()),
        ];
        let rests = rests.into_iter().flatten();
        if let Some(rest) = rests
            .filter(|rest| rest.holds(self.now))
            .max_by_key(|rest| rest.until)
        {
            return Some((said(rest.reason.as_str(), &rest.message), Some(rest.until)));
        }
        let room = entry
            .zip(class)
            .and_then(|(entry, class)| entry.room_at(&class.windows, self.now));
        if let Some(room) = room {
            return Some(("its window is full".to_owned(), Some(room)));
        }
        slot.is_full()
            .then(|| ("at its most requests at once".to_owned(), None))
    }
}

fn said(reason: &str, message: &str) -> String {
    if message.is_empty() {
        reason.to_owned()
    } else {
        format!("{reason}: {message}")
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Acquire, Ask, Member, Outcome, Pool, Settings};
    use super::*;
    use crate::ids::ProviderId;
    use crate::providers::verdict::{Failure, Verdict};
    use crate::secret::Fingerprint;

    #[test]
    fn those_that_rest_are_named_with_their_reason_and_end() {
        let provider = ProviderId::parse("fake").expect("a valid name");
        let pool = Pool::new(provider, Settings::default(), 1);
        let id = |name: &str| CredentialId::parse(name).expect("a valid id");
        let members = vec![
            Member::new(id("fake/1"), Fingerprint([1; 16])),
            Member::new(id("fake/2"), Fingerprint([2; 16])),
        ];
        let now = Timestamp::from_secs(1_000);
        pool.configure(Settings::default(), members, now);
        let mut ask = Ask::new("m1", None, now);
        let Acquire::Lease(lease) = pool.acquire(&mut ask, now) else {
            panic!("both are ready");
        };
        assert_eq!(ask.passed_over, Some(Vec::new()));
        let first = lease.credential().clone();
        let failure = Failure::new(Verdict::RateLimit, "slow down");
        let failed = Outcome::Failed {
            failure: &failure,
            after_content: false,
        };
        lease.settle(&mut ask, failed, now);
        let mut second = Ask::new("m1", None, now);
        drop(pool.acquire(&mut second, now));
        let passed = second.passed_over.unwrap_or_default();
        assert_eq!(passed.len(), 1);
        assert_eq!(passed[0].credential, first);
        assert_eq!(passed[0].why, "rate_limit: slow down");
        assert!(passed[0].until.is_some_and(|until| until > now));
        let mut other = Ask::new("m2", None, now);
        drop(pool.acquire(&mut other, now));
        assert_eq!(
            other.passed_over,
            Some(Vec::new()),
            "another class is not concerned"
        );
    }
}
