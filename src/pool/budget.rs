//! The retry budget: however a provider behaves, retries stay a small share of its traffic.

use crate::time::Timestamp;

/// Seconds over which requests and retries are compared: a burst of requests pays for the
/// retries that follow it, an hour ago does not.
const SPAN: usize = 10;
/// From this many upstream calls in a second on the budget binds.
const BUSY: u32 = 10;
/// Retries that are always allowed in a span, so that a share of few is not none.
const RESERVE: u32 = 10;

/// Requests and retries of the last seconds.
#[derive(Debug, Default)]
pub(super) struct Budget {
    second: i64,
    requests: [u32; SPAN],
    retries: [u32; SPAN],
}

impl Budget {
    /// Notes a request that is served for the first time.
    pub(super) fn note_request(&mut self, now: Timestamp) {
        let at = self.advance(now);
        self.requests[at] = self.requests[at].saturating_add(1);
    }

    /// Takes one retry out of the budget; `false` if it is spent.
    pub(super) fn take(&mut self, share: f64, now: Timestamp) -> bool {
        let at = self.advance(now);
        let before = (at + SPAN - 1) % SPAN;
        let calls = |at: usize| self.requests[at].saturating_add(self.retries[at]);
        let is_busy = calls(at).max(calls(before)) > BUSY;
        if is_busy {
            let requests: u32 = self.requests.iter().sum();
            let retries: u32 = self.retries.iter().sum();
            let allowed = f64::from(requests) * share.max(0.0) + f64::from(RESERVE);
            if f64::from(retries) + 1.0 > allowed {
                return false;
            }
        }
        self.retries[at] = self.retries[at].saturating_add(1);
        true
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
        }
        self.second = second;
        place(second)
    }
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

    #[test]
    fn a_busy_provider_is_retried_for_a_fifth_of_its_requests() {
        let mut budget = Budget::default();
        let mut taken = 0;
        for millis in 0..60_000 {
            let now = Timestamp::from_millis(millis);
            budget.note_request(now);
            taken += u32::from(budget.take(0.2, now));
        }
        assert!((11_000..=12_070).contains(&taken), "{taken}");
    }

    #[test]
    fn a_burst_pays_for_its_own_retries() {
        let mut budget = Budget::default();
        let now = Timestamp::from_secs(100);
        (0..2000).for_each(|_| budget.note_request(now));
        let later = Timestamp::from_secs(101);
        let taken = (0..2000).filter(|_| budget.take(0.2, later)).count();
        assert_eq!(taken, 410);
    }
}
