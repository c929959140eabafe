//! The retry budget: however a provider behaves, retries stay a small share of its traffic.
//!
//! The share is of all calls while most of them succeed, and of first calls once most are lost. So a
//! provider that loses every fifth call, whose requests need a quarter more calls, is made up for at a
//! share of 0.2, and one that is down gets a fifth more calls than it would without retries.

use crate::time::Timestamp;

/// Seconds over which requests and retries are compared: a burst of requests pays for the
/// retries that follow it, an hour ago does not.
const SPAN: usize = 10;
/// From this many upstream calls in a second on the budget binds.
const BUSY: u32 = 10;
/// Retries that are always allowed in a span, so that a share of few is not none.
const RESERVE: u32 = 10;
/// The same while most calls succeed: losses come in no even rhythm.
const LEEWAY: u32 = 20;

/// What happened in the last seconds.
#[derive(Debug, Default)]
pub(super) struct Budget {
    second: i64,
    requests: [u32; SPAN],
    retries: [u32; SPAN],
    /// Calls lost to the provider or the network, first ones and retries.
    losses: [u32; SPAN],
}

impl Budget {
    /// Notes a request that is served for the first time.
    pub(super) fn note_request(&mut self, now: Timestamp) {
        let at = self.advance(now);
        self.requests[at] = self.requests[at].saturating_add(1);
    }

    /// Notes a call that was lost to the provider or the network.
    pub(super) fn note_loss(&mut self, now: Timestamp) {
        let at = self.advance(now);
        self.losses[at] = self.losses[at].saturating_add(1);
    }

    /// Takes one retry out of the budget; `false` if it is spent.
    pub(super) fn take(&mut self, share: f64, now: Timestamp) -> bool {
        let at = self.advance(now);
        let before = (at + SPAN - 1) % SPAN;
        let calls = |at: usize| self.requests[at].saturating_add(self.retries[at]);
        let is_busy = calls(at).max(calls(before)) > BUSY;
        if is_busy && f64::from(sum(&self.retries)) + 1.0 > self.allowed(share.max(0.0)) {
            return false;
        }
        self.retries[at] = self.retries[at].saturating_add(1);
        true
    }

    /// How many retries the span may have.
    fn allowed(&self, share: f64) -> f64 {
        let (requests, retries) = (sum(&self.requests), sum(&self.retries));
        let calls = requests.saturating_add(retries);
        if sum(&self.losses) > calls / 2 {
            return f64::from(requests) * share + f64::from(RESERVE);
        }
        f64::from(calls) * share + f64::from(LEEWAY)
    }

    /// Moves to the second of `now` and returns its place.
    fn advance(&mut self, now: Timestamp) -> usize {
        let second = now.as_millis().div_euclid(1000);
        let passed = second.saturating_sub(self.second);
        // A clock that went back starts the count anew.
        let stale = if passed < 0 {
            SPAN
        } else {
            usize::try_from(passed).unwrap_or(SPAN)
        };
        for step in 0..stale.min(SPAN) {
            let at = place(second.saturating_sub(i64::try_from(step).unwrap_or(0)));
            self.requests[at] = 0;
            self.retries[at] = 0;
            self.losses[at] = 0;
        }
        self.second = second;
        place(second)
    }
}

fn sum(seconds: &[u32; SPAN]) -> u32 {
    seconds
        .iter()
        .fold(0, |sum, second| sum.saturating_add(*second))
}

fn place(second: i64) -> usize {
    usize::try_from(second.rem_euclid(10)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quiet_provider_is_retried_freely() {
        let mut budget = Budget::default();
        let now = Timestamp::from_secs(100);
        budget.note_request(now);
        assert!((0..10).all(|_| budget.take(0.2, now)));
    }

    /// A minute of a thousand requests a second, of whose calls every `nth` is lost: how many retries
    /// there were, and how many requests the budget gave up.
    fn minute(nth: u32) -> (u32, u32) {
        let (mut budget, mut calls, mut retries, mut given_up) = (Budget::default(), 0, 0, 0);
        for millis in 0..60_000 {
            let now = Timestamp::from_millis(millis);
            budget.note_request(now);
            loop {
                calls += 1;
                if calls % nth != 0 {
                    break;
                }
                budget.note_loss(now);
                if !budget.take(0.2, now) {
                    given_up += 1;
                    break;
                }
                retries += 1;
            }
        }
        (retries, given_up)
    }

    #[test]
    fn a_provider_that_is_down_gets_a_fifth_more_calls_than_requests() {
        let (retries, given_up) = minute(1);
        assert!((11_000..=12_100).contains(&retries), "{retries}");
        assert_eq!(given_up, 60_000);
    }

    #[test]
    fn a_provider_that_loses_a_fifth_of_its_calls_is_made_up_for() {
        let (retries, given_up) = minute(5);
        assert!((14_900..=15_100).contains(&retries), "{retries}");
        assert_eq!(given_up, 0);
    }

    #[test]
    fn a_provider_that_loses_half_is_never_called_for_more_than_a_quarter_beyond() {
        let (retries, _) = minute(2);
        assert!(retries <= 60_000 / 4 + 200, "{retries}");
    }

    #[test]
    fn a_burst_pays_for_its_own_retries() {
        let mut budget = Budget::default();
        let now = Timestamp::from_secs(100);
        (0..2000).for_each(|_| budget.note_request(now));
        (0..2000).for_each(|_| budget.note_loss(now));
        let later = Timestamp::from_secs(101);
        let taken = (0..2000).filter(|_| budget.take(0.2, later)).count();
        assert_eq!(taken, 410);
    }
}
