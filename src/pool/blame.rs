//! Whom a failure is laid to: the request, the credential (for one model class or as a whole), or
//! the provider. The table is `pool.md`'s, "What a failure means".

use std::time::Duration;

use crate::providers::verdict::{Failure, Fault, Verdict};
use crate::time::Timestamp;

use super::ask::Rule;
use super::blast::{Family, Suspect};
use super::cooldown::{self, Cooldown, Probe, Reason, SHORTEST};
use super::lane::NEVER;
use super::slot::Standing;
use super::state::{Grant, State};

/// Longer waits than this are not believed: a parsing error must not park a credential for years.
const LONGEST_HINT: Duration = Duration::from_hours(31 * 24);

/// Whom a failure is laid to, and what that means for the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Charge {
    /// The credential: pass over it, until its rest is over if it `may_return`.
    Credential { may_return: bool },
    /// The provider or the network: a retry, as long as there are any.
    Provider {
        /// Whether it may serve this request again after a pause.
        may_return: bool,
        /// Whether the same credential may be tried again.
        may_repeat: bool,
        /// Whether the retry comes out of the budget.
        is_budgeted: bool,
    },
    /// The request: nobody else is tried.
    Request,
}

impl State {
    /// Lays a failure to whom the table says.
    pub(super) fn blame(&mut self, grant: Grant, failure: &Failure, may_step: bool) -> Charge {
        let now = self.now;
        let hint = failure.hint.map(|hint| hint.end(now));
        let hint = hint.filter(|hint| now.until(*hint) <= LONGEST_HINT);
        let hint = hint.map(|hint| hint.max(now + SHORTEST));
        match failure.verdict {
            Verdict::BadRequest | Verdict::ContextLength => {
                self.return_probe(grant);
                Charge::Request
            }
            Verdict::Banned | Verdict::Dead => self.kill(grant, failure),
            Verdict::ActionNeeded => {
                self.set_standing(
                    grant.slot,
                    Standing::ActionNeeded {
                        message: failure.message.clone(),
                        link: failure.link.clone(),
                    },
                );
                Charge::Credential { may_return: false }
            }
            Verdict::Auth => self.refuse(grant, failure),
            Verdict::NoMoney => {
                let until = hint.unwrap_or(now + cooldown::PARKED);
                let probe = Probe::every(cooldown::MONEY_PROBE, now);
                self.rest_slot(grant, Reason::NoMoney, until, Some(probe), failure)
            }
            Verdict::NotAllowed => {
                let until = now + cooldown::PARKED;
                self.rest_class(grant, Reason::NotAllowed, until, None, failure)
            }
            Verdict::Quota => {
                let until = hint.unwrap_or_else(|| self.quota_end(grant));
                let probe = self.settings.cooldown.probe(now.until(until), now);
                self.rest_alike(grant, until, probe, failure);
                self.rest_class(grant, Reason::Quota, until, probe, failure)
            }
            Verdict::RateLimit => self.limit(grant, failure, hint, may_step),
            Verdict::Capacity => self.lack(grant, failure, hint, may_step),
            Verdict::Transient(_) => self.fault(grant, failure, may_step),
        }
    }

    /// A user's own rule.
    pub(super) fn obey(&mut self, grant: Grant, rule: Rule, failure: &Failure) -> Charge {
        match rule {
            Rule::Cool(wait) => {
                let until = self.now + wait.max(SHORTEST);
                let probe = self.settings.cooldown.probe(wait, self.now);
                self.rest_class(grant, Reason::Rule, until, probe, failure)
            }
            Rule::Dead => self.kill(grant, failure),
            Rule::Fail => {
                self.return_probe(grant);
                Charge::Request
            }
            Rule::Rest(wait) => {
                let until = self.now + wait.max(SHORTEST);
                self.rest_slot(grant, Reason::Token, until, None, failure)
            }
            Rule::Retry => {
                self.return_probe(grant);
                Charge::Provider {
                    may_return: false,
                    may_repeat: true,
                    is_budgeted: true,
                }
            }
            Rule::Rotate => {
                self.return_probe(grant);
                Charge::Credential { may_return: false }
            }
        }
    }

    /// The provider refused the credential as such: once is a rest, twice is for good.
    fn refuse(&mut self, grant: Grant, failure: &Failure) -> Charge {
        let now = self.now;
        let slot = &mut self.slots[grant.slot as usize];
        if slot.standing != Standing::Usable {
            return Charge::Credential { may_return: false };
        }
        // Requests sent before the first refusal came back confirm nothing.
        let is_new = slot
            .cooldown
            .as_deref()
            .is_none_or(|rest| grant.acquired > rest.since);
        if is_new {
            slot.strikes = slot.strikes.saturating_add(1);
        }
        if slot.strikes > 1 && is_new {
            return self.kill(grant, failure);
        }
        let until = now + self.settings.cooldown.auth_error;
        let probe = self.settings.cooldown.probe(now.until(until), now);
        let charge = self.rest_slot(grant, Reason::Auth, until, probe, failure);
        self.suspect(grant, failure, charge, is_new)
    }

    /// Too many requests.
    fn limit(
        &mut self,
        grant: Grant,
        failure: &Failure,
        hint: Option<Timestamp>,
        may_step: bool,
    ) -> Charge {
        let now = self.now;
        let random = self.rng.f64();
        let (entry, _) = self.classes[grant.class as usize].entry_mut(grant.slot);
        // What comes back from requests sent before the rest began tells nothing new.
        let is_new = entry
            .cooldown
            .as_deref()
            .is_none_or(|rest| grant.acquired > rest.since);
        if may_step && is_new {
            entry.ladder = entry.ladder.saturating_add(1);
        }
        let failures = entry.ladder.max(1);
        let settings = &self.settings.cooldown;
        let until = match hint {
            // A hint that proved short is stretched by the ladder.
            Some(hint) if failures > 1 => hint.max(now + settings.step(failures - 1, random)),
            Some(hint) => hint,
            None => now + settings.rate_limit_step(failures, random),
        };
        let probe = settings.probe(now.until(until), now);
        let charge = self.rest_class(grant, Reason::RateLimit, until, probe, failure);
        self.suspect(grant, failure, charge, may_step && is_new)
    }

    /// The provider has no capacity: the class pauses and nobody is blamed. Only where it has some
    /// for others just now is it a fault like any other.
    fn lack(
        &mut self,
        grant: Grant,
        failure: &Failure,
        hint: Option<Timestamp>,
        may_step: bool,
    ) -> Charge {
        let now = self.now;
        if self.blast.works_for_others(grant.slot, now) {
            let charge = self.fault(grant, failure, may_step);
            let Charge::Provider {
                may_return,
                is_budgeted,
                ..
            } = charge
            else {
                return charge;
            };
            return Charge::Provider {
                may_return,
                may_repeat: false,
                is_budgeted,
            };
        }
        self.fail_probe(grant);
        let class = &mut self.classes[grant.class as usize];
        class.backoff.grow_capacity(hint, grant.acquired, now);
        let charge = Charge::Provider {
            may_return: class.backoff.until > now,
            may_repeat: false,
            is_budgeted: true,
        };
        self.suspect(grant, failure, charge, false)
    }

    /// Server or network at fault; the credential's own only when it happens again and again.
    fn fault(&mut self, grant: Grant, failure: &Failure, may_step: bool) -> Charge {
        let now = self.now;
        let random = self.rng.f64();
        let (entry, _) = self.classes[grant.class as usize].entry_mut(grant.slot);
        let is_new = entry
            .cooldown
            .as_deref()
            .is_none_or(|rest| grant.acquired > rest.since);
        if may_step && is_new {
            entry.faults = entry.faults.saturating_add(1);
        }
        let faults = entry.faults;
        let may_repeat = failure.verdict != Verdict::Transient(Fault::Timeout);
        let mut charge = Charge::Provider {
            may_return: false,
            may_repeat,
            is_budgeted: true,
        };
        self.fail_probe(grant);
        if faults > 1 {
            if may_step && is_new {
                let (entry, _) = self.classes[grant.class as usize].entry_mut(grant.slot);
                entry.ladder = entry.ladder.saturating_add(1);
            }
            let (entry, _) = self.classes[grant.class as usize].entry_mut(grant.slot);
            let wait = self.settings.cooldown.step(entry.ladder.max(1), random);
            let until = now + wait;
            self.rest_class(grant, Reason::Transient, until, None, failure);
            charge = Charge::Provider {
                may_return: true,
                may_repeat: false,
                // Others are served: it is this credential's own trouble, and passing over it
                // hammers nobody.
                is_budgeted: !self.blast.works_for_others(grant.slot, now),
            };
        }
        self.mark_entry(grant.class, grant.slot, false);
        self.suspect(grant, failure, charge, may_step && is_new)
    }

    /// Checks whether the failure is the provider's after all, and un-blames if so.
    fn suspect(
        &mut self,
        grant: Grant,
        failure: &Failure,
        charge: Charge,
        has_stepped: bool,
    ) -> Charge {
        let Some(family) = Family::of(failure) else {
            return charge;
        };
        let (entry, _) = self.classes[grant.class as usize].entry_mut(grant.slot);
        let slot = &self.slots[grant.slot as usize];
        let rest = match family {
            Family::Forbidden => slot.cooldown.as_deref(),
            Family::RateLimited | Family::Server => entry.cooldown.as_deref(),
        };
        let suspect = Suspect {
            slot: grant.slot,
            class: grant.class,
            at: self.now,
            // A wait the provider stated is believed whoever is at fault.
            rest_since: rest
                .filter(|_| failure.hint.is_none())
                .map(|rest| rest.since),
            has_stepped,
            is_elsewhere: false,
        };
        if !self.weigh(family, suspect, grant.acquired) {
            return charge;
        }
        Charge::Provider {
            may_return: true,
            may_repeat: false,
            is_budgeted: true,
        }
    }

    /// Adds a suspect. Returns whether the failure is the provider's: then it backs off, and nobody
    /// is blamed.
    pub(super) fn weigh(&mut self, family: Family, suspect: Suspect, acquired: Timestamp) -> bool {
        let wide_after = self.settings.cooldown.provider_wide_after;
        let unblamed = self.blast.failed(family, suspect, wide_after, acquired);
        if unblamed.is_empty() {
            self.dirt.is_urgent |= self.blast.has_untold();
            return false;
        }
        self.mark_pause();
        let until = self.blast.backoff.until;
        if unblamed.len() > 1 {
            tracing::warn!(
                provider = %self.provider,
                failure = family.as_str(),
                wait_ms = self.now.until(until).as_millis(),
                "{} credentials of {} failed alike: the provider backs off, not they",
                unblamed.len(),
                self.provider,
            );
        }
        for suspect in unblamed {
            self.unblame(suspect);
        }
        true
    }

    /// Takes back what a failure did that was not the credential's.
    pub(super) fn unblame(&mut self, suspect: Suspect) {
        if suspect.is_elsewhere {
            return;
        }
        let (entry, _) = self.classes[suspect.class as usize].entry_mut(suspect.slot);
        let slot = &mut self.slots[suspect.slot as usize];
        let came_of_it = |rest: &Cooldown| {
            matches!(
                rest.reason,
                Reason::Auth | Reason::RateLimit | Reason::Transient
            ) && Some(rest.since) == suspect.rest_since
        };
        if suspect.has_stepped {
            entry.ladder = entry.ladder.saturating_sub(1);
            entry.faults = entry.faults.saturating_sub(1);
        }
        if entry.cooldown.as_deref().is_some_and(came_of_it) {
            entry.cooldown = None;
        }
        if slot.cooldown.as_deref().is_some_and(came_of_it) {
            slot.cooldown = None;
            slot.strikes = slot.strikes.saturating_sub(1);
            self.mark_slot(suspect.slot);
        }
        self.mark_entry(suspect.class, suspect.slot, true);
        self.refresh_slot(suspect.slot);
    }

    /// Puts (credential, class) to rest, never for less than it rests already.
    pub(super) fn rest_class(
        &mut self,
        grant: Grant,
        reason: Reason,
        until: Timestamp,
        probe: Option<Probe>,
        failure: &Failure,
    ) -> Charge {
        let now = self.now;
        self.fail_probe(grant);
        let (entry, _) = self.classes[grant.class as usize].entry_mut(grant.slot);
        if rest(&mut entry.cooldown, reason, until, probe, failure, now) {
            *self.rests.entry(reason).or_default() += 1;
        }
        let (entry, _) = self.classes[grant.class as usize].entry_mut(grant.slot);
        let until = entry.cooldown.as_deref().map_or(until, |rest| rest.until);
        self.bench(grant.class, grant.slot, until);
        self.mark_entry(grant.class, grant.slot, true);
        self.refresh_entry(grant.class, grant.slot);
        Charge::Credential { may_return: true }
    }

    /// Puts the credential as a whole to rest.
    fn rest_slot(
        &mut self,
        grant: Grant,
        reason: Reason,
        until: Timestamp,
        probe: Option<Probe>,
        failure: &Failure,
    ) -> Charge {
        let now = self.now;
        self.fail_probe(grant);
        let slot = &mut self.slots[grant.slot as usize];
        if rest(&mut slot.cooldown, reason, until, probe, failure, now) {
            *self.rests.entry(reason).or_default() += 1;
        }
        let until = slot.cooldown.as_deref().map_or(until, |rest| rest.until);
        self.mark_slot(grant.slot);
        self.refresh_slot(grant.slot);
        self.bench(grant.class, grant.slot, until);
        Charge::Credential { may_return: true }
    }

    fn fail_probe(&mut self, grant: Grant) {
        if !grant.is_probe {
            return;
        }
        let (entry, _) = self.classes[grant.class as usize].entry_mut(grant.slot);
        let slot = &mut self.slots[grant.slot as usize];
        for rest in [&mut slot.cooldown, &mut entry.cooldown]
            .into_iter()
            .flatten()
        {
            rest.fail_probe(self.now);
        }
        // The door of all its classes.
        self.refresh_slot(grant.slot);
    }

    fn kill(&mut self, grant: Grant, failure: &Failure) -> Charge {
        let standing = Standing::Dead {
            message: failure.message.clone(),
            link: failure.link.clone(),
        };
        self.set_standing(grant.slot, standing);
        Charge::Credential { may_return: false }
    }

    pub(super) fn set_standing(&mut self, at: u32, standing: Standing) {
        let slot = &mut self.slots[at as usize];
        if slot.standing != standing {
            slot.standing = standing;
            self.note_usable(at);
            self.mark_slot(at);
            self.refresh_slot(at);
        }
    }

    /// When a quota ends that says "exhausted" but not until when: with the class's own window,
    /// if that is a limit, else soon enough to ask again.
    fn quota_end(&mut self, grant: Grant) -> Timestamp {
        let now = self.now;
        let (entry, windows) = self.classes[grant.class as usize].entry_mut(grant.slot);
        let limited = entry.counters.iter().zip(windows);
        let limited = limited.filter(|(counter, spec)| counter.limit(spec).is_some());
        let ends = limited
            .map(|(counter, _)| counter.resets)
            .filter(|resets| *resets > now && *resets < NEVER);
        ends.max().unwrap_or(now + cooldown::QUOTA_UNKNOWN)
    }
}

/// Begins a rest or prolongs the one that holds. Returns whether it began.
fn rest(
    cooldown: &mut Option<Box<Cooldown>>,
    reason: Reason,
    until: Timestamp,
    probe: Option<Probe>,
    failure: &Failure,
    now: Timestamp,
) -> bool {
    match cooldown {
        Some(rest) if rest.holds(now) => {
            if until > rest.until {
                rest.until = until;
                rest.reason = reason;
                rest.message = failure.message.as_str().into();
                rest.probe = rest.probe.or(probe);
            }
            false
        }
        _ => {
            let mut rest = Cooldown::new(reason, until, probe, now);
            rest.message = failure.message.as_str().into();
            *cooldown = Some(Box::new(rest));
            true
        }
    }
}
