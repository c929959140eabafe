//! The server's clock, as one instance reckons it from what it is told.

use std::sync::atomic::{AtomicI64, Ordering};

use crate::time::Timestamp;

/// Clocks that differ by so much more than before were set.
const CLOCK_SET_MS: i64 = 1_000;

/// How far the server's clock is ahead of ours.
#[derive(Debug, Default)]
pub struct ServerClock {
    offset_ms: AtomicI64,
}

impl ServerClock {
    /// A time of ours by the server's clock, and the other way around below.
    pub fn to_server(&self, ours: Timestamp) -> Timestamp {
        shifted(ours, self.offset_ms())
    }

    /// A time of the server's by our clock.
    pub fn to_ours(&self, servers: Timestamp) -> Timestamp {
        shifted(servers, self.offset_ms().saturating_neg())
    }

    /// How far the server's clock is ahead of ours, in milliseconds.
    pub fn offset_ms(&self) -> i64 {
        self.offset_ms.load(Ordering::Relaxed)
    }

    /// Takes note of the server's time, heard at this time of ours. Answers come late, never early:
    /// of two the one that was quicker is closer to the truth, as long as no clock was set.
    pub(super) fn note(&self, servers_ms: i64, now: Timestamp) {
        let offset = servers_ms.saturating_sub(now.as_millis());
        let known = self.offset_ms();
        if offset >= known || known.saturating_sub(offset) > CLOCK_SET_MS {
            self.offset_ms.store(offset, Ordering::Relaxed);
        }
    }
}

fn shifted(time: Timestamp, by_ms: i64) -> Timestamp {
    Timestamp::from_millis(time.as_millis().saturating_add(by_ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_cross_between_clocks_that_differ() {
        let (clock, now) = (ServerClock::default(), Timestamp::from_secs(1_795_600_000));
        clock.note(now.as_millis() + 300_000, now);
        let there = clock.to_server(now);
        assert_eq!(there.as_millis() - now.as_millis(), 300_000);
        assert_eq!(clock.to_ours(there), now);
    }

    #[test]
    fn of_two_answers_the_quicker_tells_the_time_unless_a_clock_was_set() {
        let (clock, now) = (ServerClock::default(), Timestamp::from_secs(1_795_600_000));
        for (servers_ahead, believed) in [(100, 100), (40, 100), (130, 130), (-2_000, -2_000)] {
            clock.note(now.as_millis() + servers_ahead, now);
            assert_eq!(clock.offset_ms(), believed);
        }
    }
}
