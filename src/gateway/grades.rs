//! What the tiers of a provider's accounts mean for their places in the pool.

use crate::pool::Member;
use crate::providers::spec::{Spec, Tier};

/// The vendor's tiers, and whether the user leaves to them what they could decide.
#[derive(Clone, Copy, Debug)]
pub struct Grades {
    spec: &'static Spec,
    /// `optimal_concurrent_per_key` is not set.
    decides_at_once: bool,
}

impl Grades {
    /// The tiers of a vendor; `decides_at_once` unless the user set the number.
    pub const fn new(spec: &'static Spec, decides_at_once: bool) -> Self {
        Self {
            spec,
            decides_at_once,
        }
    }

    /// Puts a member where its tier belongs. `priority` is the user's word, which wins.
    pub fn place(&self, member: &mut Member, tier: Option<&str>, priority: Option<u32>) {
        member.tier = tier.map(str::to_owned);
        let known = tier.and_then(|tier| self.spec.tier(tier));
        let unknown = if self.spec.tiers.is_empty() {
            member.priority
        } else {
            Tier::UNKNOWN_PRIORITY
        };
        let usual = known.map_or(unknown, |tier| tier.priority);
        member.priority = priority.unwrap_or(usual);
        member.optimal_concurrent = known
            .filter(|_| self.decides_at_once)
            .map(|tier| tier.at_once);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::CredentialId;
    use crate::providers::find;
    use crate::secret::Fingerprint;

    fn placed(provider: &str, by_tier: bool, tier: &str, own: Option<u32>) -> (u32, Option<u32>) {
        let id = CredentialId::parse("x/1").expect("a valid id");
        let mut member = Member::new(id, Fingerprint([0; 16]));
        let spec = find(provider).expect("built in").spec();
        let tier = (!tier.is_empty()).then_some(tier);
        Grades::new(spec, by_tier).place(&mut member, tier, own);
        assert_eq!(member.tier.as_deref(), tier);
        (member.priority, member.optimal_concurrent)
    }

    #[test]
    fn who_pays_more_serves_first_and_takes_more_at_once() {
        for (tier, priority, at_once) in [
            ("g1-ultra-tier", 1, Some(4)),
            ("g1-pro-tier", 2, Some(2)),
            ("standard-tier", 2, Some(2)),
            ("Free", 3, Some(1)),
            ("legacy-tier", 10, None),
            ("", 10, None),
        ] {
            for provider in ["antigravity", "gemini_cli"] {
                assert_eq!(placed(provider, true, tier, None), (priority, at_once));
                assert_eq!(placed(provider, false, tier, Some(7)), (7, None));
            }
            assert_eq!(placed("gemini", true, tier, None), (1, None));
        }
    }
}
