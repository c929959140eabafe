//! What the last hour was like, minute by minute: for charts. In memory only, of a fixed size.

use std::sync::{Mutex, PoisonError};

use crate::telemetry::{Ending, Finished};
use crate::time::Timestamp;

/// Minutes that are kept, the current one included.
pub const KEPT: usize = 60;

const MINUTE_MS: i64 = 60_000;

/// What one minute has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Minute {
    pub requests: u64,
    /// Those of which the client was told of a failure.
    pub failures: u64,
    /// Prompt tokens, those of a cache included.
    pub input_tokens: u64,
    /// Answer tokens, reasoning included.
    pub output_tokens: u64,
    pub cost_usd: f64,
}

/// The minutes of the last hour.
#[derive(Debug, Default)]
pub struct Minutes(Mutex<Ring>);

#[derive(Debug)]
struct Ring {
    /// Minutes since the epoch of the newest place.
    newest: i64,
    /// A minute's place is its number modulo [`KEPT`].
    counts: [Minute; KEPT],
}

impl Default for Ring {
    fn default() -> Self {
        Self {
            newest: 0,
            counts: [Minute::default(); KEPT],
        }
    }
}

impl Minutes {
    /// Counts a finished request in the minute of `now`.
    pub fn add(&self, request: &Finished, now: Timestamp) {
        let usage = request.usage.unwrap_or_default();
        let seen = Minute {
            requests: 1,
            failures: u64::from(request.ending == Ending::Failed),
            input_tokens: usage.input,
            output_tokens: usage.output,
            cost_usd: request.cost_usd.unwrap_or(0.0),
        };
        self.add_seen(now, seen, now);
    }

    /// Adds what was seen at a time to its minute, if that is one of the last hour.
    pub fn add_seen(&self, at: Timestamp, seen: Minute, now: Timestamp) {
        let mut ring = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ring.advance(now);
        let age = number(now).saturating_sub(number(at));
        let is_kept = usize::try_from(age).is_ok_and(|age| age < KEPT);
        let Some(minute) = ring.counts.get_mut(place(at)).filter(|_| is_kept) else {
            return;
        };
        minute.requests += seen.requests;
        minute.failures += seen.failures;
        minute.input_tokens = minute.input_tokens.saturating_add(seen.input_tokens);
        minute.output_tokens = minute.output_tokens.saturating_add(seen.output_tokens);
        minute.cost_usd += seen.cost_usd;
    }

    /// The last [`KEPT`] minutes, oldest first; the last one is the minute of `now`.
    pub fn last_hour(&self, now: Timestamp) -> Vec<Minute> {
        let mut ring = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ring.advance(now);
        let mut minutes = ring.counts.to_vec();
        minutes.rotate_left((place(now) + 1) % KEPT);
        minutes
    }
}

impl Ring {
    /// Makes room for the minute of `now`: those between it and the newest have seen nothing.
    fn advance(&mut self, now: Timestamp) {
        let minute = number(now);
        let passed = minute.saturating_sub(self.newest);
        let kept = i64::try_from(KEPT).unwrap_or(i64::MAX);
        if passed >= kept || passed < 0 {
            // After an idle hour, or with a clock that went back, nothing of it is the last hour.
            *self = Self::default();
        } else {
            for late in self.newest + 1..=minute {
                if let Some(count) = self.counts.get_mut(place_of(late)) {
                    *count = Minute::default();
                }
            }
        }
        self.newest = minute;
    }
}

const fn number(time: Timestamp) -> i64 {
    time.as_millis().div_euclid(MINUTE_MS)
}

fn place(time: Timestamp) -> usize {
    place_of(number(time))
}

fn place_of(minute: i64) -> usize {
    let kept = i64::try_from(KEPT).unwrap_or(1);
    usize::try_from(minute.rem_euclid(kept)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::dialects::usage::Usage;
    use crate::ids::RequestId;
    use crate::telemetry::journal::tests::Untold;

    const MINUTE: Duration = Duration::from_mins(1);

    fn finished(ending: Ending) -> Finished {
        Finished {
            id: RequestId(1),
            client: "anyone".into(),
            provider: "fake".to_owned(),
            model: "m".to_owned(),
            credential: None,
            status: 200,
            ending,
            attempts: 1,
            usage: Some(Usage {
                input: 11,
                output: 7,
                ..Usage::default()
            }),
            first_token: None,
            duration: Duration::ZERO,
            fingerprint: None,
            cost_usd: Some(0.5),
            story: Arc::new(Untold),
        }
    }

    fn requests(minutes: &Minutes, now: Timestamp) -> Vec<u64> {
        let hour = minutes.last_hour(now);
        assert_eq!(hour.len(), KEPT);
        hour.iter().map(|minute| minute.requests).collect()
    }

    #[test]
    fn each_minute_counts_for_itself_and_leaves_after_an_hour() {
        let (minutes, start) = (Minutes::default(), Timestamp::from_secs(1_795_600_020));
        minutes.add(&finished(Ending::Served), start);
        minutes.add(&finished(Ending::Failed), start);
        minutes.add(&finished(Ending::Cancelled), start + 2 * MINUTE);
        let now = start + 2 * MINUTE;
        assert_eq!(requests(&minutes, now)[KEPT - 3..], [2, 0, 1]);
        let first = minutes.last_hour(now)[KEPT - 3];
        assert_eq!((first.failures, first.input_tokens), (1, 22));
        assert_eq!(first.output_tokens, 14);
        assert!((first.cost_usd - 1.0).abs() < 1e-9, "{first:?}");
        assert_eq!(requests(&minutes, start + 59 * MINUTE)[..3], [2, 0, 1]);
        assert_eq!(requests(&minutes, start + 60 * MINUTE)[..2], [0, 1]);
        let empty = requests(&minutes, start + 600 * MINUTE);
        assert!(empty.iter().all(|count| *count == 0), "{empty:?}");
    }

    #[test]
    fn what_was_seen_before_lands_in_its_own_minute_or_nowhere() {
        let (minutes, now) = (Minutes::default(), Timestamp::from_secs(1_795_600_020));
        let seen = Minute {
            requests: 3,
            ..Minute::default()
        };
        for age in [0, 1, 59, 60, 61] {
            minutes.add_seen(now - age * MINUTE, seen, now);
        }
        minutes.add_seen(now + MINUTE, seen, now);
        let counts = requests(&minutes, now);
        assert_eq!((counts[0], &counts[KEPT - 2..]), (3, &[3, 3][..]));
        assert_eq!(counts.iter().sum::<u64>(), 9);
    }

    #[test]
    fn a_clock_that_goes_back_begins_anew() {
        let (minutes, start) = (Minutes::default(), Timestamp::from_secs(1_795_600_020));
        minutes.add(&finished(Ending::Served), start + 600 * MINUTE);
        minutes.add(&finished(Ending::Served), start);
        assert_eq!(requests(&minutes, start).iter().sum::<u64>(), 1);
    }
}
