//! The end of an attempt: the lease comes back, blame is laid, the request is told what next.

use std::time::Duration;

use crate::dialects::usage::Usage;
use crate::providers::verdict::{Blame, Verdict};
use crate::time::Timestamp;

use super::ask::{Memory, Next, Outcome, Stop};
use super::blame::Charge;
use super::blast::Backoff;
use super::cooldown::{Cooldown, Reason};
use super::select;
use super::state::{Grant, State};

/// A request's side when its attempt is settled.
#[derive(Debug)]
pub(super) struct Party<'a> {
    pub(super) memory: &'a mut Memory,
    pub(super) deadline: Timestamp,
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
        let was_down = self.blast.succeeded(grant.slot, now);
        self.dirt.is_urgent |= self.blast.has_untold();
        if was_down {
            self.mark_pause();
        }
        let class = &mut self.classes[grant.class as usize];
        class.backoff = Backoff::default();
        let (entry, _) = class.entry_mut(grant.slot);
        // An answer to a request sent before the rest began does not prove it over.
        let proves = |rest: &Cooldown| {
            rest.reason != Reason::Cap && (!rest.holds(now) || grant.acquired > rest.since)
        };
        let mut is_news = false;
        if entry.cooldown.as_deref().is_some_and(proves) {
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
        if slot.cooldown.as_deref().is_some_and(proves) {
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

    /// What the request does next.
    fn decide(&mut self, grant: Grant, charge: Charge, verdict: Verdict, party: Party<'_>) -> Next {
        let Party { memory, deadline } = party;
        let retries = memory.record(grant.slot).retries;
        memory.prefer = None;
        let (may_return, may_repeat) = match charge {
            Charge::Request => return Next::Answer(Stop::BadRequest),
            Charge::Credential { may_return } => (may_return, false),
            Charge::Provider {
                may_return,
                may_repeat,
                is_budgeted,
            } => {
                memory.losses = memory.losses.saturating_add(1);
                self.budget.note_loss(self.now);
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
                (may_return, may_repeat)
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
        record.may_return = may_return;
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
        *count = count.saturating_add(1);
        self.mark_entry(grant.class, grant.slot, false);
    }
}
