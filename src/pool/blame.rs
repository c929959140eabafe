//! What the end of an attempt means: for the credential, its model class, the provider, and for
//! the request itself. The table is `pool.md`'s, "What a failure means".

use std::time::Duration;

use crate::dialects::usage::Usage;
use crate::providers::verdict::{Blame, Failure, Fault, Verdict};
use crate::time::Timestamp;

use super::ask::{Memory, Next, Outcome, Rule, Stop};
use super::blast::{Family, Suspect};
use super::cooldown::{self, Cooldown, Probe, Reason, SHORTEST};
use super::select;
use super::slot::Standing;
use super::state::{Grant, State};

/// A request's side when its attempt is settled.
#[derive(Debug)]
pub(super) struct Party<'a> {
    pub(super) memory: &'a mut Memory,
    pub(super) deadline: Timestamp,
}

/// Whom a failure is laid to, and what that means for the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Charge {
    /// The credential: pass over it. `again_at` is the end of its rest.
    Credential { again_at: Option<Timestamp> },
    /// The provider or the network: a retry, as long as there are any.
    Provider {
        again_at: Option<Timestamp>,
        /// Whether the same credential may be tried again.
        may_repeat: bool,
        /// Whether the retry comes out of the budget.
        is_budgeted: bool,
    },
    /// The request: nobody else is tried.
    Request,
}

impl State {
    /// Settles a lease: gives its slot back, lays blame, and says what the request does next.
    pub(super) fn settle(
        &mut self,
        grant: Grant,
        outcome: Outcome<'_>,
        party: Option<Party<'_>>,
        now: Timestamp,
    ) -> Next {
        self.observe(now);
        let next = match outcome {
            Outcome::Cancelled { usage } => {
                self.return_probe(grant);
                self.add_usage(grant, usage);
                Next::Answer(Stop::Done)
            }
            Outcome::Success { usage } => {
                self.note_success(grant, true);
                self.add_usage(grant, usage);
                self.note_end(grant, true);
                Next::Answer(Stop::Done)
            }
            Outcome::Failed {
                failure,
                after_content,
            } => {
                self.note_end(grant, false);
                if failure.verdict.blame() == Blame::Provider && !after_content {
                    self.take_back(grant);
                }
                let may_step = !grant.is_repeat;
                let charge = self.blame(grant, failure, may_step);
                match party {
                    _ if after_content => Next::Answer(Stop::ContentSent),
                    Some(party) => self.decide(grant, charge, failure.verdict, party),
                    None => Next::Answer(Stop::ContentSent),
                }
            }
            Outcome::Ruled { rule, failure } => {
                self.note_end(grant, false);
                let charge = self.obey(grant, rule, failure);
                match party {
                    Some(party) => self.decide(grant, charge, failure.verdict, party),
                    None => Next::Answer(Stop::ContentSent),
                }
            }
        };
        self.release(grant);
        self.serve();
        next
    }

    /// The provider serves the credential: ladders, rests and backoffs end. Called with the first
    /// content already, since a stream may last for minutes; that it broke off before counts until
    /// one `is_whole`.
    pub(super) fn note_success(&mut self, grant: Grant, is_whole: bool) {
        let now = self.now;
        self.blast.succeeded(grant.slot, now);
        let class = &mut self.classes[grant.class as usize];
        class.backoff = super::blast::Backoff::default();
        let (entry, _) = class.entry_mut(grant.slot);
        // An answer to a request sent before the rest began does not prove it over.
        let proves = |rest: &Cooldown| {
            rest.reason != Reason::Cap && (!rest.holds(now) || grant.acquired > rest.since)
        };
        let mut is_news = false;
        if entry.cooldown.as_ref().is_some_and(proves) {
            entry.cooldown = None;
            is_news = true;
        }
        let faults = if is_whole { 0 } else { entry.faults };
        if entry.cooldown.is_none() && (entry.ladder, entry.faults) != (0, faults) {
            (entry.ladder, entry.faults) = (0, faults);
            is_news = true;
        }
        let slot = &mut self.slots[grant.slot as usize];
        let had = (slot.cooldown.is_some(), slot.strikes);
        if slot.cooldown.as_ref().is_some_and(proves) {
            slot.cooldown = None;
        }
        if slot.cooldown.is_none() {
            slot.strikes = 0;
        }
        if had != (slot.cooldown.is_some(), slot.strikes) {
            self.mark_slot(grant.slot);
            self.refresh_slot(grant.slot);
        }
        if is_news {
            self.mark_entry(grant.class, grant.slot, true);
            self.refresh_entry(grant.class, grant.slot);
        }
    }

    /// Lays a failure to whom the table says.
    fn blame(&mut self, grant: Grant, failure: &Failure, may_step: bool) -> Charge {
        let now = self.now;
        let hint = failure.hint.map(|hint| hint.end(now).max(now + SHORTEST));
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
                Charge::Credential { again_at: None }
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
                self.rest_class(grant, Reason::Quota, until, probe, failure)
            }
            Verdict::RateLimit => self.limit(grant, failure, hint, may_step),
            Verdict::Capacity => {
                let charge = self.fault(grant, failure, may_step);
                if !self.blast.works_for_others(grant.slot, now) {
                    let class = &mut self.classes[grant.class as usize];
                    class.backoff.grow_capacity(hint, grant.acquired, now);
                }
                match charge {
                    Charge::Provider {
                        again_at,
                        is_budgeted,
                        ..
                    } => Charge::Provider {
                        again_at: again_at
                            .or(Some(self.classes[grant.class as usize].backoff.until)),
                        may_repeat: false,
                        is_budgeted,
                    },
                    other => other,
                }
            }
            Verdict::Transient(_) => self.fault(grant, failure, may_step),
        }
    }

    /// A user's own rule.
    fn obey(&mut self, grant: Grant, rule: Rule, failure: &Failure) -> Charge {
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
            Rule::Retry => {
                self.return_probe(grant);
                Charge::Provider {
                    again_at: None,
                    may_repeat: true,
                    is_budgeted: true,
                }
            }
            Rule::Rotate => {
                self.return_probe(grant);
                Charge::Credential { again_at: None }
            }
        }
    }

    /// The provider refused the credential as such: once is a rest, twice is for good.
    fn refuse(&mut self, grant: Grant, failure: &Failure) -> Charge {
        let now = self.now;
        let slot = &mut self.slots[grant.slot as usize];
        if slot.standing != Standing::Usable {
            return Charge::Credential { again_at: None };
        }
        // Requests sent before the first refusal came back confirm nothing.
        let is_new = slot
            .cooldown
            .as_ref()
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
            .as_ref()
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

    /// Server or network at fault; the credential's own only when it happens again and again.
    fn fault(&mut self, grant: Grant, failure: &Failure, may_step: bool) -> Charge {
        let now = self.now;
        let random = self.rng.f64();
        let (entry, _) = self.classes[grant.class as usize].entry_mut(grant.slot);
        let is_new = entry
            .cooldown
            .as_ref()
            .is_none_or(|rest| grant.acquired > rest.since);
        if may_step && is_new {
            entry.faults = entry.faults.saturating_add(1);
        }
        let faults = entry.faults;
        let may_repeat = failure.verdict != Verdict::Transient(Fault::Timeout);
        let mut charge = Charge::Provider {
            again_at: None,
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
                again_at: Some(until),
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
            Family::Forbidden => slot.cooldown.as_ref(),
            Family::RateLimited | Family::Server => entry.cooldown.as_ref(),
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
        };
        let wide_after = self.settings.cooldown.provider_wide_after;
        let unblamed = self
            .blast
            .failed(family, suspect, wide_after, grant.acquired);
        if unblamed.is_empty() {
            return charge;
        }
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
        Charge::Provider {
            again_at: Some(until),
            may_repeat: false,
            is_budgeted: true,
        }
    }

    /// Takes back what a failure did that was not the credential's.
    fn unblame(&mut self, suspect: Suspect) {
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
        if entry.cooldown.as_ref().is_some_and(came_of_it) {
            entry.cooldown = None;
        }
        if slot.cooldown.as_ref().is_some_and(came_of_it) {
            slot.cooldown = None;
            slot.strikes = slot.strikes.saturating_sub(1);
            self.mark_slot(suspect.slot);
        }
        self.mark_entry(suspect.class, suspect.slot, true);
        self.refresh_slot(suspect.slot);
    }

    /// What the request does next.
    fn decide(&mut self, grant: Grant, charge: Charge, verdict: Verdict, party: Party<'_>) -> Next {
        let Party { memory, deadline } = party;
        let retries = memory.record(grant.slot).retries;
        memory.prefer = None;
        let (again_at, may_repeat) = match charge {
            Charge::Request => return Next::Answer(Stop::BadRequest),
            Charge::Credential { again_at } => (again_at, false),
            Charge::Provider {
                again_at,
                may_repeat,
                is_budgeted,
            } => {
                memory.losses = memory.losses.saturating_add(1);
                if memory.losses >= self.settings.retry.max_attempts {
                    return Next::Answer(Stop::AttemptsSpent);
                }
                if is_budgeted && !self.budget.take(self.settings.retry.budget, self.now) {
                    tracing::debug!(
                        provider = %self.provider,
                        verdict = verdict.as_str(),
                        "the retry budget is spent"
                    );
                    return Next::Answer(Stop::BudgetSpent);
                }
                (again_at, may_repeat)
            }
        };
        let same_credential = may_repeat && retries < self.settings.retry.same_key_retries;
        let after = if same_credential {
            select::retry_backoff(retries, self.rng.f64())
        } else {
            Duration::ZERO
        };
        let record = memory.record(grant.slot);
        record.is_out = !same_credential;
        record.again_at = again_at;
        if same_credential {
            record.retries += 1;
            memory.prefer = Some(grant.slot);
        }
        if self.now + after > deadline {
            return Next::Answer(Stop::DeadlineReached);
        }
        Next::Again {
            after,
            same_credential,
        }
    }

    /// Puts (credential, class) to rest, never for less than it rests already.
    fn rest_class(
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
        rest(&mut entry.cooldown, reason, until, probe, failure, now);
        let until = entry.cooldown.as_ref().map_or(until, |rest| rest.until);
        self.bench(grant.class, grant.slot, until);
        self.mark_entry(grant.class, grant.slot, true);
        self.refresh_entry(grant.class, grant.slot);
        Charge::Credential {
            again_at: Some(until),
        }
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
        rest(&mut slot.cooldown, reason, until, probe, failure, now);
        let until = slot.cooldown.as_ref().map_or(until, |rest| rest.until);
        self.mark_slot(grant.slot);
        self.refresh_slot(grant.slot);
        Charge::Credential {
            again_at: Some(until),
        }
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
    }

    fn kill(&mut self, grant: Grant, failure: &Failure) -> Charge {
        let standing = Standing::Dead {
            message: failure.message.clone(),
            link: failure.link.clone(),
        };
        self.set_standing(grant.slot, standing);
        Charge::Credential { again_at: None }
    }

    pub(super) fn set_standing(&mut self, at: u32, standing: Standing) {
        let slot = &mut self.slots[at as usize];
        if slot.standing != standing {
            slot.standing = standing;
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
            .filter(|resets| *resets > now && *resets < super::lane::NEVER);
        ends.max().unwrap_or(now + cooldown::QUOTA_UNKNOWN)
    }

    pub(super) fn add_usage(&mut self, grant: Grant, usage: Option<Usage>) {
        let Some(usage) = usage.filter(|usage| !usage.is_zero()) else {
            return;
        };
        let (entry, windows) = self.classes[grant.class as usize].entry_mut(grant.slot);
        for (counter, spec) in entry.counters.iter_mut().zip(windows) {
            counter.add_tokens(spec, usage.total(), self.now);
        }
        entry.totals.add_usage(&usage);
        self.mark_entry(grant.class, grant.slot, false);
    }

    fn note_end(&mut self, grant: Grant, is_success: bool) {
        let (entry, _) = self.classes[grant.class as usize].entry_mut(grant.slot);
        let count = if is_success {
            &mut entry.totals.successes
        } else {
            &mut entry.totals.failures
        };
        *count += 1;
        self.mark_entry(grant.class, grant.slot, false);
    }
}

/// Begins a rest or prolongs the one that holds.
fn rest(
    cooldown: &mut Option<Cooldown>,
    reason: Reason,
    until: Timestamp,
    probe: Option<Probe>,
    failure: &Failure,
    now: Timestamp,
) {
    match cooldown {
        Some(rest) if rest.holds(now) => {
            if until > rest.until {
                rest.until = until;
                rest.reason = reason;
                rest.message = failure.message.as_str().into();
                rest.probe = rest.probe.or(probe);
            }
        }
        _ => {
            let mut rest = Cooldown::new(reason, until, probe, now);
            rest.message = failure.message.as_str().into();
            *cooldown = Some(rest);
        }
    }
}
