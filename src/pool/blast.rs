//! Blast radius: many credentials failing alike are not many bad credentials, but one provider
//! (or one address of ours) in trouble.

use std::time::Duration;

use crate::providers::verdict::{Failure, Verdict};
use crate::time::Timestamp;

use super::saved::SavedPause;

/// Failures alike count together within this span.
const SPAN: Duration = Duration::from_secs(10);
/// First and longest backoff of a provider.
const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_mins(1);
/// Longest backoff of a class without capacity: it is meant to be brief.
const LONGEST_CAPACITY: Duration = Duration::from_secs(30);

/// Failures that may have one cause outside the credential. Those that speak of the account
/// itself (its money, its daily quota, its models) are never put down to the provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    Forbidden,
    RateLimited,
    Server,
}

impl Family {
    pub(super) fn of(failure: &Failure) -> Option<Self> {
        match failure.verdict {
            Verdict::RateLimit => Some(Self::RateLimited),
            Verdict::Auth if failure.status == Some(403) => Some(Self::Forbidden),
            Verdict::Capacity | Verdict::Transient(_) => Some(Self::Server),
            Verdict::ActionNeeded
            | Verdict::Auth
            | Verdict::BadRequest
            | Verdict::Banned
            | Verdict::ContextLength
            | Verdict::Dead
            | Verdict::NoMoney
            | Verdict::NotAllowed
            | Verdict::Quota => None,
        }
    }

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Forbidden => "forbidden",
            Self::RateLimited => "rate_limit",
            Self::Server => "server",
        }
    }
}

/// A growing pause: 1, 2, 4… s.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Backoff {
    pub(super) level: u32,
    pub(super) until: Timestamp,
}

impl Backoff {
    /// Pauses, longer than last time if the attempt that failed began after the last pause.
    fn grow(&mut self, longest: Duration, acquired: Timestamp, now: Timestamp) {
        if self.level > 0 && acquired < self.until {
            return;
        }
        let wait = FIRST.saturating_mul(1 << self.level.min(16)).min(longest);
        self.level = self.level.saturating_add(1);
        self.until = now + wait;
    }

    /// Pauses for want of capacity: so long as the provider says, if it is brief.
    pub(super) fn grow_capacity(
        &mut self,
        hint: Option<Timestamp>,
        acquired: Timestamp,
        now: Timestamp,
    ) {
        self.grow(LONGEST_CAPACITY, acquired, now);
        if let Some(hint) = hint {
            self.until = self.until.max(hint.min(now + LONGEST_CAPACITY));
        }
    }
}

/// A credential's failure that may turn out to be the provider's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Suspect {
    pub(super) slot: u32,
    pub(super) class: u32,
    pub(super) at: Timestamp,
    /// Since when it rests on our own account; a wait the provider named is not taken back.
    pub(super) rest_since: Option<Timestamp>,
    /// Whether the failure moved its ladder.
    pub(super) has_stepped: bool,
    /// Whether another instance saw it: what it did there is taken back there.
    pub(super) is_elsewhere: bool,
}

/// What others are told of suspects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Suspicion {
    pub(super) family: Family,
    /// Whose credential failed here, and when.
    pub(super) suspects: Vec<(u32, Timestamp)>,
    /// Up to when everybody is cleared.
    pub(super) cleared: Timestamp,
}

/// Remembers who failed alike and keeps the provider's own backoff.
#[derive(Debug, Default)]
pub(super) struct Blast {
    suspects: Vec<Suspect>,
    family: Option<Family>,
    /// The family the provider is down for, as long as that is fresh.
    fault: Option<Family>,
    pub(super) backoff: Backoff,
    /// The last success and whose it was.
    succeeded: Option<(Timestamp, u32)>,
    /// When the pause last changed.
    changed: Timestamp,
    /// When a success here, or one that others told of, last cleared everybody.
    cleared: Timestamp,
    /// Our own suspects as others were told of them: credential and time.
    told: Vec<(u32, Timestamp)>,
}

impl Blast {
    /// Takes in a failure. Those it returns are to be un-blamed: the provider backs off instead.
    pub(super) fn failed(
        &mut self,
        family: Family,
        suspect: Suspect,
        wide_after: u32,
        acquired: Timestamp,
    ) -> Vec<Suspect> {
        let now = suspect.at;
        if wide_after == 0 {
            return Vec::new();
        }
        if self.is_at_fault(family, now) {
            if suspect.is_elsewhere {
                return Vec::new();
            }
            self.backoff.grow(LONGEST, acquired, now);
            self.changed = now;
            return vec![suspect];
        }
        if self.family != Some(family) {
            self.suspects.clear();
            self.family = Some(family);
        }
        self.suspects.retain(|other| {
            other.slot != suspect.slot && now.since(other.at) <= SPAN && other.at <= now
        });
        self.suspects.push(suspect);
        if self.suspects.len() < usize::try_from(wide_after).unwrap_or(usize::MAX) {
            return Vec::new();
        }
        self.fault = Some(family);
        self.changed = now;
        self.backoff
            .grow(LONGEST, acquired.max(self.backoff.until), now);
        std::mem::take(&mut self.suspects)
    }

    /// A credential was served: the provider works. Returns whether it was taken to be down.
    pub(super) fn succeeded(&mut self, slot: u32, now: Timestamp) -> bool {
        let was_down = self.fault.is_some();
        if was_down {
            self.changed = now;
        }
        self.suspects.clear();
        self.fault = None;
        self.backoff = Backoff::default();
        self.succeeded = Some((now, slot));
        self.cleared = now;
        was_down
    }

    /// Whether others think of our suspects what we do not.
    pub(super) fn has_untold(&self) -> bool {
        !self.own_suspects().eq(self.told.iter().copied())
    }

    /// What others are to be told of our suspects; `None` if they know.
    pub(super) fn untold(&mut self) -> Option<Suspicion> {
        if !self.has_untold() {
            return None;
        }
        self.told = self.own_suspects().collect();
        Some(Suspicion {
            family: self.family?,
            suspects: self.told.clone(),
            cleared: self.cleared,
        })
    }

    fn own_suspects(&self) -> impl Iterator<Item = (u32, Timestamp)> {
        let own = self.suspects.iter().filter(|suspect| !suspect.is_elsewhere);
        own.map(|suspect| (suspect.slot, suspect.at))
    }

    /// Takes over that somebody was served elsewhere: whoever failed before then is no suspect.
    pub(super) fn clear_until(&mut self, cleared: Timestamp) {
        self.suspects.retain(|suspect| suspect.at > cleared);
        self.cleared = self.cleared.max(cleared);
    }

    /// `true` if another credential was served just now: then a fault is not the provider's.
    pub(super) fn works_for_others(&self, slot: u32, now: Timestamp) -> bool {
        self.succeeded
            .is_some_and(|(at, whose)| whose != slot && now.since(at) <= SPAN)
    }

    /// `true` if what the provider is down for is that it limits everybody.
    pub(super) fn is_rate_limited(&self) -> bool {
        self.fault == Some(Family::RateLimited)
    }

    /// The pause as others are told of it.
    pub(super) fn save(&self, now: Timestamp) -> SavedPause {
        SavedPause {
            family: self.fault,
            level: self.backoff.level,
            until_ms: self.backoff.until.as_millis(),
            changed_ms: self.changed.min(now).as_millis(),
        }
    }

    /// Whether there is a pause to tell others of.
    pub(super) fn pauses(&self, now: Timestamp) -> bool {
        self.fault.is_some() && self.backoff.until > now
    }

    /// Takes over another's word on the provider, if it is the later one. Never waits for longer
    /// than a pause of our own would. Suspects it returns are to be un-blamed.
    pub(super) fn adopt(&mut self, saved: SavedPause, now: Timestamp) -> Vec<Suspect> {
        let changed = Timestamp::from_millis(saved.changed_ms).min(now);
        if changed < self.changed {
            return Vec::new();
        }
        self.changed = changed;
        self.fault = saved.family;
        self.backoff = match saved.family {
            None => Backoff::default(),
            Some(_) => Backoff {
                level: saved.level,
                until: Timestamp::from_millis(saved.until_ms).min(now + LONGEST),
            },
        };
        if saved.family.is_none() || saved.family != self.family {
            return Vec::new();
        }
        std::mem::take(&mut self.suspects)
    }

    /// Forgets everything, as after a jump of the clock.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    fn is_at_fault(&self, family: Family, now: Timestamp) -> bool {
        self.fault == Some(family) && now <= self.backoff.until + SPAN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn suspect(slot: u32, at: i64) -> Suspect {
        Suspect {
            slot,
            class: 0,
            at: Timestamp::from_secs(at),
            rest_since: None,
            has_stepped: true,
            is_elsewhere: false,
        }
    }

    fn fail(blast: &mut Blast, slot: u32, at: i64) -> usize {
        let acquired = Timestamp::from_secs(at);
        blast
            .failed(Family::Server, suspect(slot, at), 3, acquired)
            .len()
    }

    #[test]
    fn three_alike_within_ten_seconds_are_the_provider() {
        let mut blast = Blast::default();
        assert_eq!(fail(&mut blast, 1, 0), 0);
        assert_eq!(fail(&mut blast, 2, 5), 0);
        assert_eq!(fail(&mut blast, 3, 10), 3);
        assert_eq!(blast.backoff.until, Timestamp::from_secs(11));
    }

    #[test]
    fn failures_that_others_saw_count_as_well_until_somebody_is_served() {
        let elsewhere = |slot, at| Suspect {
            is_elsewhere: true,
            ..suspect(slot, at)
        };
        let now = Timestamp::from_secs(1);
        let mut blast = Blast::default();
        assert!(
            blast
                .failed(Family::Server, elsewhere(1, 0), 3, now)
                .is_empty()
        );
        assert_eq!(blast.untold(), None, "they told us");
        assert_eq!(fail(&mut blast, 2, 1), 0);
        let told = Suspicion {
            family: Family::Server,
            suspects: vec![(2, now)],
            cleared: Timestamp::default(),
        };
        assert_eq!(blast.untold(), Some(told));
        assert_eq!(blast.untold(), None, "told already");
        blast.clear_until(Timestamp::from_secs(0));
        assert_eq!(fail(&mut blast, 3, 1), 0, "the first was cleared");
        assert_eq!(
            blast.failed(Family::Server, elsewhere(4, 1), 3, now).len(),
            3
        );
        assert!(blast.has_untold(), "there are no suspects any more");
    }

    #[test]
    fn whoever_hears_of_a_pause_unblames_its_own_suspects() {
        let (mut one, mut two) = (Blast::default(), Blast::default());
        fail(&mut two, 9, 0);
        for slot in 1..=3 {
            fail(&mut one, slot, 0);
        }
        let now = Timestamp::from_secs(0);
        let unblamed = two.adopt(one.save(now), now);
        assert_eq!(unblamed, [suspect(9, 0)]);
        assert_eq!(two.backoff, one.backoff);
    }

    #[test]
    fn one_credential_failing_thrice_is_not_the_provider() {
        let mut blast = Blast::default();
        assert_eq!((0..9).map(|at| fail(&mut blast, 1, at)).sum::<usize>(), 0);
    }

    #[test]
    fn failures_far_apart_or_with_a_success_between_are_not_the_provider() {
        let mut blast = Blast::default();
        for (slot, at) in [(1, 0), (2, 6), (3, 12)] {
            assert_eq!(fail(&mut blast, slot, at), 0);
        }
        blast.succeeded(9, Timestamp::from_secs(12));
        assert_eq!(fail(&mut blast, 4, 13), 0);
        assert_eq!(fail(&mut blast, 5, 13), 0);
    }

    #[test]
    fn failures_of_different_kinds_are_not_alike() {
        let mut blast = Blast::default();
        let at = Timestamp::from_secs(1);
        for (slot, family) in [
            (1, Family::Server),
            (2, Family::RateLimited),
            (3, Family::Server),
            (4, Family::Forbidden),
        ] {
            assert!(blast.failed(family, suspect(slot, 1), 3, at).is_empty());
        }
    }

    #[test]
    fn the_backoff_doubles_to_a_minute_and_ends_with_a_success() {
        let mut blast = Blast::default();
        fail(&mut blast, 1, 0);
        fail(&mut blast, 2, 0);
        fail(&mut blast, 3, 0);
        let mut waits = Vec::new();
        for _ in 0..8 {
            let now = blast.backoff.until;
            blast.failed(
                Family::Server,
                Suspect {
                    at: now,
                    ..suspect(1, 0)
                },
                3,
                now,
            );
            waits.push(now.until(blast.backoff.until).as_secs());
        }
        assert_eq!(waits, [2, 4, 8, 16, 32, 60, 60, 60]);
        blast.succeeded(2, Timestamp::from_secs(500));
        assert_eq!(blast.backoff, Backoff::default());
    }

    #[test]
    fn answers_to_requests_sent_before_the_backoff_do_not_lengthen_it() {
        let mut blast = Blast::default();
        for slot in 1..20 {
            fail(&mut blast, slot, 0);
        }
        assert_eq!(blast.backoff.until, Timestamp::from_secs(1));
    }

    #[test]
    fn only_failures_that_may_be_the_providers_have_a_family() {
        for (verdict, status, family) in [
            (Verdict::RateLimit, 429, Some(Family::RateLimited)),
            (Verdict::Auth, 403, Some(Family::Forbidden)),
            (Verdict::Auth, 401, None),
            (Verdict::Capacity, 529, Some(Family::Server)),
            (Verdict::Quota, 429, None),
            (Verdict::NoMoney, 402, None),
            (Verdict::NotAllowed, 403, None),
            (Verdict::BadRequest, 400, None),
        ] {
            let mut failure = Failure::new(verdict, "");
            failure.status = Some(status);
            assert_eq!(Family::of(&failure), family, "{verdict:?}");
        }
    }
}
