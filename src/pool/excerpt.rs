//! A picture of a pool that stays small: sums over everybody, and a page of credentials. For those
//! who look often at pools of any size.

use std::cmp::Ordering;

use crate::ids::CredentialId;
use crate::time::Timestamp;

use super::class::{Class, Totals};
use super::lane::NEVER;
use super::settings::Rotation;
use super::snapshot::{CredentialState, MemberSnapshot, window_name};
use super::state::State;
use super::summary::PoolSummary;

/// Quotas summed up at most; of more the fullest are told.
const MOST_QUOTAS: usize = 12;

/// Which credentials are looked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Choice<'a> {
    /// Only those in this state.
    pub state: Option<CredentialState>,
    /// Only those whose id holds this text, in any case; empty is all.
    pub text: &'a str,
    /// Left out at the beginning.
    pub skip: usize,
    /// Most to tell of.
    pub most: usize,
}

/// A pool at one instant, in brief.
#[derive(Clone, Debug)]
pub struct Excerpt {
    pub summary: PoolSummary,
    pub rotation: Rotation,
    /// Until when the provider as a whole backs off; `None` if it does not.
    pub backoff_until: Option<Timestamp>,
    /// Counts of all credentials together.
    pub totals: Totals,
    /// What is left of the limits that are known, over all credentials that can serve.
    pub quotas: Vec<Quota>,
    /// How many credentials are what was looked for.
    pub matching: usize,
    /// A page of them. All of a pool that fits on one page stand in the order of their ids; of a
    /// larger one those that are not ready come first.
    pub members: Vec<MemberSnapshot>,
}

/// A window over all credentials that can serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quota {
    /// The quota group or model.
    pub class: String,
    /// `daily`, `5h`; `reported` for a limit only the provider knows.
    pub window: String,
    /// Requests used.
    pub used: u64,
    /// Requests allowed.
    pub limit: u64,
    /// How many credentials have it.
    pub credentials: u32,
    /// When the first of them is whole again; `None` where nothing was used.
    pub resets: Option<Timestamp>,
}

impl State {
    /// Sums and a page of credentials at `now`.
    pub(super) fn excerpt(&mut self, choice: &Choice<'_>, now: Timestamp) -> Excerpt {
        self.observe(now);
        self.roll_all();
        let states: Vec<_> = (0..self.slots.len()).map(|at| self.state_at(at)).collect();
        let summary = self.summary(now);
        let (mut totals, mut quotas) = (Totals::default(), Vec::new());
        for class in &self.classes {
            for entry in class.entries.iter().flatten() {
                totals.add(&entry.totals);
            }
            quotas.extend(class.quotas(&states));
        }
        if quotas.len() > MOST_QUOTAS {
            quotas.sort_by(Quota::fuller_first);
            quotas.truncate(MOST_QUOTAS);
        }
        quotas.sort_by(|a, b| (&a.class, &a.window).cmp(&(&b.class, &b.window)));
        let (matching, page) = self.page(choice, &states);
        let members = page
            .into_iter()
            .filter_map(|at| Some(self.member_snapshot(at, self.slots.get(at as usize)?)))
            .collect();
        let until = self.blast.backoff.until;
        Excerpt {
            summary,
            rotation: self.settings.rotation,
            backoff_until: (until > now).then_some(until),
            totals,
            quotas,
            matching,
            members,
        }
    }

    /// How many credentials are looked for, and the slots of a page of them. Only a page's worth is
    /// sorted.
    fn page(&self, choice: &Choice<'_>, states: &[Option<CredentialState>]) -> (usize, Vec<u32>) {
        let wanted = choice.text.to_lowercase();
        let is_meant =
            |id: &CredentialId| wanted.is_empty() || id.as_str().to_lowercase().contains(&wanted);
        let mut found: Vec<(u32, bool)> = (0..)
            .zip(self.slots.iter().zip(states))
            .filter_map(|(at, (slot, state))| {
                let state = (*state)?;
                let fits = choice.state.is_none_or(|only| only == state);
                let is_ready = state == CredentialState::Ready;
                (fits && is_meant(&slot.member.id)).then_some((at, is_ready))
            })
            .collect();
        let matching = found.len();
        let mixes = matching <= choice.most;
        let order = |a: &(u32, bool), b: &(u32, bool)| {
            let id = |at: u32| self.slots.get(at as usize).map(|slot| &slot.member.id);
            let trouble = if mixes {
                Ordering::Equal
            } else {
                a.1.cmp(&b.1)
            };
            trouble.then_with(|| by_name(id(a.0), id(b.0)))
        };
        let end = choice.skip.saturating_add(choice.most);
        if end > 0 && end < matching {
            found.select_nth_unstable_by(end - 1, order);
            found.truncate(end);
        }
        found.sort_by(order);
        let page = found.into_iter().skip(choice.skip).take(choice.most);
        (matching, page.map(|(at, _)| at).collect())
    }
}

impl Class {
    /// Its limits over all credentials that are in one of the states that can serve.
    fn quotas(&self, states: &[Option<CredentialState>]) -> Vec<Quota> {
        use CredentialState::{Cooling, Exhausted, Ready};
        let can_serve =
            |state: &Option<CredentialState>| matches!(state, Some(Cooling | Exhausted | Ready));
        let serving = || {
            let numbered = (0_u32..).zip(states);
            numbered.filter(move |(_, state)| can_serve(state))
        };
        let mut quotas = Vec::new();
        for (place, spec) in self.windows.iter().enumerate() {
            let mut quota = Quota::new(&self.name, window_name(spec.every));
            for (at, _) in serving() {
                let counter = self.entry(at).and_then(|entry| entry.counters.get(place));
                let configured = (spec.requests > 0).then_some(spec.requests);
                match counter {
                    Some(counter) => {
                        let resets = Some(counter.resets).filter(|resets| *resets < NEVER);
                        quota.add(counter.requests, counter.limit(spec), resets);
                    }
                    None => quota.add(0, configured, None),
                }
            }
            quotas.extend((quota.credentials > 0).then_some(quota));
        }
        let mut quota = Quota::new(&self.name, "reported".to_owned());
        for (at, _) in serving() {
            if let Some(reported) = self.entry(at).and_then(|entry| entry.reported) {
                quota.add(reported.used, Some(reported.limit), Some(reported.resets));
            }
        }
        quotas.extend((quota.credentials > 0).then_some(quota));
        quotas
    }
}

impl Quota {
    fn new(class: &str, window: String) -> Self {
        Self {
            class: class.to_owned(),
            window,
            used: 0,
            limit: 0,
            credentials: 0,
            resets: None,
        }
    }

    /// Adds a credential's window; one without a limit is none.
    fn add(&mut self, used: u64, limit: Option<u64>, resets: Option<Timestamp>) {
        let Some(limit) = limit else { return };
        // More than allowed is no more than full: the others' room stays theirs.
        self.used = self.used.saturating_add(used.min(limit));
        self.limit = self.limit.saturating_add(limit);
        self.credentials += 1;
        self.resets = match (self.resets, resets) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
    }

    fn fuller_first(&self, other: &Self) -> Ordering {
        let share = |used: u64, limit: u64| u128::from(used) * u128::from(limit.max(1));
        share(other.used, self.limit).cmp(&share(self.used, other.limit))
    }
}

/// `gemini/2` before `gemini/10` before `gemini/work`.
fn by_name(a: Option<&CredentialId>, b: Option<&CredentialId>) -> Ordering {
    let number = |id: &CredentialId| id.name().parse::<u64>().unwrap_or(u64::MAX);
    a.map(number).cmp(&b.map(number)).then_with(|| a.cmp(&b))
}
