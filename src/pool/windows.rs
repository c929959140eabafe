//! Counting what a credential has used of a known limit, so that it stands aside before the
//! provider has to say so.
//!
//! Whatever is uncertain counts against us: a rolling window forgets a request only when the whole
//! slice it fell into has left the window.

use std::sync::LazyLock;
use std::time::Duration;

use jiff::tz::TimeZone;

use crate::time::Timestamp;

use super::elsewhere::Count;
use super::lane::NEVER;
use super::record::Record;
use super::settings::{Anchor, WindowSpec};

/// A start this far in the future is no clock that went back: callers read the time before they
/// get the pool's lock, and the later one may be first.
const CLOCK_TOLERANCE: Duration = Duration::from_mins(1);
const DAY_MS: i64 = 86_400_000;
/// The Monday nearest the epoch, in days: weeks and longer spans of days count from it.
const FIRST_MONDAY: i64 = 4;
/// Slices of a rolling window: a request is remembered one twenty-fourth too long at most.
const SLICES: i64 = 24;
/// The slices kept: those of the window and the one it ends in.
pub(super) const RING: usize = 25;
/// How long a limit holds that a provider reported without saying when it resets.
const REPORT_LASTS: Duration = Duration::from_mins(1);

/// The Pacific day, when Google's daily quotas reset
/// (<https://ai.google.dev/gemini-api/docs/rate-limits>, read 2026-11-22). A machine without a
/// time-zone database gets the rule in force since 2007.
static PACIFIC: LazyLock<TimeZone> = LazyLock::new(|| {
    TimeZone::get("America/Los_Angeles")
        .or_else(|_| TimeZone::posix("PST8PDT,M3.2.0,M11.1.0"))
        .unwrap_or(TimeZone::UTC)
});

/// What a provider says about a limit of its own. It is right where it and our count disagree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Requests allowed in its window.
    pub limit: Option<u64>,
    /// Requests used; taken from `limit` and `remaining` where absent.
    pub used: Option<u64>,
    /// Requests left.
    pub remaining: Option<u64>,
    /// When the window resets.
    pub resets: Option<Timestamp>,
    /// Length of its window, which tells which of the configured windows is meant. A report that
    /// fits none of them stands beside them until it resets.
    pub every: Option<Duration>,
}

impl Report {
    pub(super) fn used(&self) -> Option<u64> {
        let rest = || Some(self.limit?.saturating_sub(self.remaining?));
        self.used.or_else(rest)
    }

    pub(super) fn is_spent(&self) -> bool {
        self.remaining == Some(0)
    }
}

/// What was used of one window by one (credential, model class).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Counter {
    pub(super) requests: u64,
    pub(super) tokens: u64,
    /// When the counts began; `None` if nothing was counted yet.
    pub(super) started: Option<Timestamp>,
    /// When the counts fall to zero; never for a rolling window, which forgets slice by slice.
    pub(super) resets: Timestamp,
    /// The limit a provider stated, which wins over the configured one.
    pub(super) stated_limit: Option<u64>,
    pub(super) slices: Option<Box<Slices>>,
    pub(super) record: Record,
    /// What all who share the pool had counted when they last said so; not written down.
    pub(super) told: Option<Count>,
}

/// A rolling window's memory: a ring of slices, the newest at `newest`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Slices {
    pub(super) newest: i64,
    pub(super) counts: [(u32, u64); RING],
}

/// A limit the provider reported that no configured window stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reported {
    pub(super) limit: u64,
    pub(super) used: u64,
    pub(super) resets: Timestamp,
}

impl Counter {
    pub(super) fn new() -> Self {
        Self {
            requests: 0,
            tokens: 0,
            started: None,
            resets: NEVER,
            stated_limit: None,
            slices: None,
            record: Record::default(),
            told: None,
        }
    }

    /// Forgets what has left the window by `now`.
    pub(super) fn roll(&mut self, spec: &WindowSpec, now: Timestamp) {
        if spec.anchor == Anchor::Rolling {
            self.roll_slices(spec, now);
        }
        // A start in the future means that the clock went back: begin anew.
        let ahead = self.started.map(|started| now.until(started));
        if now >= self.resets || ahead.is_some_and(|ahead| ahead > CLOCK_TOLERANCE) {
            self.clear();
        }
    }

    /// Counts a request and opens the window if it is closed.
    pub(super) fn add_request(&mut self, spec: &WindowSpec, now: Timestamp) {
        self.open(spec, now);
        self.requests = self.requests.saturating_add(1);
        if let Some((requests, _)) = self.slice_at(spec, now) {
            *requests = requests.saturating_add(1);
        }
    }

    /// Takes back a request counted at `when`: it never reached the provider's books.
    pub(super) fn take_back(&mut self, spec: &WindowSpec, when: Timestamp) {
        if self.started.is_none_or(|started| started > when) {
            return;
        }
        if self.slices.is_some() {
            match self.slice_at(spec, when) {
                Some((requests, _)) if *requests > 0 => *requests -= 1,
                _ => return,
            }
        }
        self.requests = self.requests.saturating_sub(1);
    }

    /// Counts the tokens of a request counted before.
    pub(super) fn add_tokens(&mut self, spec: &WindowSpec, tokens: u64, now: Timestamp) {
        self.open(spec, now);
        self.tokens = self.tokens.saturating_add(tokens);
        if let Some((_, sum)) = self.slice_at(spec, now) {
            *sum = sum.saturating_add(tokens);
        }
    }

    /// Takes the provider's word for limit, use and reset.
    pub(super) fn correct(&mut self, spec: &WindowSpec, report: &Report, now: Timestamp) {
        self.stated_limit = report.limit.or(self.stated_limit);
        let limit = self.limit(spec);
        let used = report
            .used()
            .or(report.is_spent().then_some(limit).flatten());
        if let Some(used) = used {
            self.open(spec, now);
            self.requests = used;
            if let Some(slices) = &mut self.slices {
                slices.counts = [(0, 0); RING];
                slices.counts[0].1 = self.tokens;
            }
            self.square();
        }
        if let Some(resets) = report.resets.filter(|resets| *resets > now) {
            self.open(spec, now);
            if self.slices.is_none() {
                self.resets = resets;
            }
        }
    }

    /// Requests allowed; `None` if unlimited.
    pub(super) fn limit(&self, spec: &WindowSpec) -> Option<u64> {
        self.stated_limit
            .or((spec.requests > 0).then_some(spec.requests))
    }

    /// When there is room for one more request; `None` if there is now.
    pub(super) fn room_at(&self, spec: &WindowSpec) -> Option<Timestamp> {
        self.room_under(self.limit(spec), spec)
    }

    /// When fewer than `limit` requests, and fewer tokens than the window allows, are counted;
    /// `None` if so now.
    pub(super) fn room_under(&self, limit: Option<u64>, spec: &WindowSpec) -> Option<Timestamp> {
        let token_limit = (spec.tokens > 0).then_some(spec.tokens);
        let has_room = |requests: u64, tokens: u64| {
            limit.is_none_or(|limit| requests < limit)
                && token_limit.is_none_or(|limit| tokens < limit)
        };
        if has_room(self.requests, self.tokens) {
            return None;
        }
        let Some(slices) = &self.slices else {
            return Some(self.resets);
        };
        let (mut requests_left, mut tokens_left) = (self.requests, self.tokens);
        for age in (0..=SLICES).rev() {
            let (requests, sum) = slices.counts[place(age)];
            requests_left = requests_left.saturating_sub(u64::from(requests));
            tokens_left = tokens_left.saturating_sub(sum);
            if has_room(requests_left, tokens_left) {
                let leaves = slices.newest.saturating_sub(age).saturating_add(SLICES + 1);
                let leaves = leaves.saturating_mul(slice_ms(spec));
                return Some(Timestamp::from_millis(leaves));
            }
        }
        // A limit of nothing at all: only the provider can lift it.
        Some(NEVER)
    }

    /// Takes over what another process has counted in the same window beyond this. What both
    /// counted at once is counted by one of them; whatever is uncertain counts against us.
    pub(super) fn catch_up(&mut self, other: Self) {
        let tokens = self.tokens.max(other.tokens);
        let mut record = self.record;
        record.catch_up(&other.record);
        let stated_limit = other.stated_limit.or(self.stated_limit);
        let is_ahead = (other.requests, other.tokens) > (self.requests, self.tokens);
        if is_ahead || self.started.is_none() {
            *self = other;
        }
        (self.tokens, self.stated_limit, self.record) = (tokens, stated_limit, record);
        self.square();
    }

    /// Counts in the newest slice of a rolling window what no slice holds: a window forgets its
    /// slices and nothing else.
    pub(super) fn square(&mut self) {
        let Some(slices) = &mut self.slices else {
            return;
        };
        let sum = |slices: &Slices| {
            let counts = slices.counts.iter();
            counts.fold((0, 0_u64), |(requests, tokens), (more, sum)| {
                (requests + u64::from(*more), tokens.saturating_add(*sum))
            })
        };
        let (requests, tokens) = sum(slices);
        let more = u32::try_from(self.requests.saturating_sub(requests)).unwrap_or(u32::MAX);
        let newest = &mut slices.counts[0];
        newest.0 = newest.0.saturating_add(more);
        newest.1 = newest.1.saturating_add(self.tokens.saturating_sub(tokens));
        (self.requests, self.tokens) = sum(slices);
    }

    fn clear(&mut self) {
        *self = Self {
            stated_limit: self.stated_limit,
            record: self.record,
            ..Self::new()
        };
    }

    fn open(&mut self, spec: &WindowSpec, now: Timestamp) {
        self.roll(spec, now);
        if self.started.is_some() {
            return;
        }
        self.started = Some(now);
        if spec.anchor == Anchor::Rolling {
            self.slices.get_or_insert_with(|| {
                Box::new(Slices {
                    newest: now.as_millis().div_euclid(slice_ms(spec)),
                    counts: [(0, 0); RING],
                })
            });
        } else {
            self.resets = period_end(spec, now);
        }
    }

    fn roll_slices(&mut self, spec: &WindowSpec, now: Timestamp) {
        let Some(slices) = &mut self.slices else {
            return;
        };
        let newest = now.as_millis().div_euclid(slice_ms(spec));
        let passed = newest.saturating_sub(slices.newest);
        if passed <= 0 {
            // It would forget nothing until the clock is there again.
            let ahead = now.until(Timestamp::from_millis(
                slices.newest.saturating_mul(slice_ms(spec)),
            ));
            if ahead > CLOCK_TOLERANCE {
                self.clear();
            }
            return;
        }
        if passed > SLICES {
            self.clear();
            return;
        }
        // The ring is kept sorted by age; it moves once in a twenty-fourth of the window.
        let shift = usize::try_from(passed).unwrap_or(0);
        slices.counts.rotate_right(shift);
        for (requests, tokens) in &mut slices.counts[..shift] {
            self.requests = self.requests.saturating_sub(u64::from(*requests));
            self.tokens = self.tokens.saturating_sub(*tokens);
            (*requests, *tokens) = (0, 0);
        }
        slices.newest = newest;
        if (self.requests, self.tokens) == (0, 0) {
            self.clear();
        }
    }

    fn slice_at(&mut self, spec: &WindowSpec, when: Timestamp) -> Option<&mut (u32, u64)> {
        let slices = self.slices.as_mut()?;
        let slice = when.as_millis().div_euclid(slice_ms(spec));
        let age = slices.newest.saturating_sub(slice);
        (0..=SLICES)
            .contains(&age)
            .then(|| &mut slices.counts[place(age)])
    }
}

impl Reported {
    /// A report that stands on its own; `None` if it states no limit.
    pub(super) fn new(report: &Report, now: Timestamp) -> Option<Self> {
        let limit = match report.limit {
            Some(limit) => limit,
            None if report.is_spent() => report.used.unwrap_or(0),
            None => return None,
        };
        let used = if report.is_spent() {
            limit
        } else {
            report.used()?
        };
        let resets = report.resets.filter(|resets| *resets > now);
        Some(Self {
            limit,
            used,
            resets: resets.unwrap_or(now + REPORT_LASTS),
        })
    }

    pub(super) fn room_at(&self, now: Timestamp) -> Option<Timestamp> {
        (self.used >= self.limit && now < self.resets).then_some(self.resets)
    }
}

/// The index of a slice of this age.
fn place(age: i64) -> usize {
    usize::try_from(age).unwrap_or(0)
}

fn every_ms(spec: &WindowSpec) -> i64 {
    match i64::try_from(spec.every.as_millis()) {
        Ok(0) => DAY_MS,
        Ok(every) => every,
        Err(_) => i64::MAX,
    }
}

fn slice_ms(spec: &WindowSpec) -> i64 {
    // Rounded up: too long a memory is safe, too short is not.
    every_ms(spec).div_ceil_of(SLICES).max(1)
}

/// When the window that holds `now` ends.
pub(super) fn period_end(spec: &WindowSpec, now: Timestamp) -> Timestamp {
    let every = every_ms(spec);
    match spec.anchor {
        Anchor::FirstUse | Anchor::Rolling => {
            Timestamp::from_millis(now.as_millis().saturating_add(every))
        }
        Anchor::PacificMidnight => calendar_end(every, now, &PACIFIC),
        Anchor::UtcMidnight => calendar_end(every, now, &TimeZone::UTC),
        Anchor::Weekly => calendar_end(7 * DAY_MS, now, &TimeZone::UTC),
    }
}

/// The end of the calendar span around `now`: parts of a day count from midnight, spans of whole
/// days from a Monday.
fn calendar_end(every: i64, now: Timestamp, zone: &TimeZone) -> Timestamp {
    let Ok(instant) = jiff::Timestamp::from_millisecond(now.as_millis()) else {
        return now + Duration::from_hours(24);
    };
    let offset_ms = i64::from(zone.to_offset(instant).seconds()) * 1000;
    let local_day = now.as_millis().saturating_add(offset_ms).div_euclid(DAY_MS);
    if every < DAY_MS {
        let midnight = local_midnight(local_day, zone);
        let passed = now.as_millis().saturating_sub(midnight).div_euclid(every);
        let end = midnight.saturating_add((passed + 1).saturating_mul(every));
        return Timestamp::from_millis(end.min(local_midnight(local_day + 1, zone)));
    }
    let days = every / DAY_MS;
    let into = (local_day - FIRST_MONDAY).rem_euclid(days);
    let next = local_day.saturating_sub(into).saturating_add(days);
    Timestamp::from_millis(local_midnight(next, zone))
}

/// Midnight of a day, counted in local days since the epoch, as milliseconds.
fn local_midnight(day: i64, zone: &TimeZone) -> i64 {
    let naive = day.saturating_mul(DAY_MS);
    let offset_ms = |at: i64| {
        jiff::Timestamp::from_millisecond(at)
            .map_or(0, |at| i64::from(zone.to_offset(at).seconds()) * 1000)
    };
    // No zone here changes its offset at midnight, so the second look is exact.
    let guess = naive.saturating_sub(offset_ms(naive));
    naive.saturating_sub(offset_ms(guess))
}

/// Rounding up, which the standard library has only for unsigned integers.
trait DivCeil {
    fn div_ceil_of(self, divisor: Self) -> Self;
}

impl DivCeil for i64 {
    fn div_ceil_of(self, divisor: Self) -> Self {
        self / divisor + Self::from(self % divisor > 0)
    }
}

#[cfg(test)]
mod tests;
