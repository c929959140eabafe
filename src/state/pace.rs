//! When counts are written: at once after a quiet while, so that whoever asks for them after a
//! request finds it; under load together, a few times a second. No clock of its own.

use std::time::{Duration, Instant};

/// The least time between two writes under load: half of what is promised for counts.
pub(super) const PERIOD: Duration = Duration::from_millis(500);

/// What is written at once is written this much later: one request brings several counts.
const GATHERING: Duration = Duration::from_millis(5);

/// How many writes may come at once after a quiet while: a few requests made by hand or by a script.
const BURST: u32 = 8;

/// The pace of one writer.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// When all of [`BURST`] may come at once again; `None` before the first write.
    full_at: Option<Instant>,
}

impl Pace {
    /// When a count that comes now is to be written: after [`PERIOD`] at the latest.
    pub(super) fn due(&self, now: Instant) -> Instant {
        let soon = now + GATHERING;
        let spent = self
            .full_at
            .map_or(Duration::ZERO, |full| full.saturating_duration_since(now));
        let too_much = spent.saturating_sub(PERIOD * (BURST - 1));
        soon.max(now + too_much).min(now + PERIOD)
    }

    /// Something was written, whatever it was.
    pub(super) fn wrote(&mut self, now: Instant) {
        let full = self.full_at.map_or(now, |full| full.max(now)) + PERIOD;
        self.full_at = Some(full.min(now + PERIOD * BURST));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// When counts that come all the time are written, for this long, in milliseconds.
    fn written(pace: &mut Pace, begin: Instant, lasting: Duration) -> Vec<u128> {
        let mut times = Vec::new();
        let mut now = begin;
        while now < begin + lasting {
            now = pace.due(now);
            pace.wrote(now);
            times.push((now - begin).as_millis());
        }
        times
    }

    #[test]
    fn the_first_counts_after_a_quiet_while_are_written_at_once() {
        let begin = Instant::now();
        let mut pace = Pace::default();
        for quiet in [Duration::ZERO, Duration::from_mins(1)] {
            let times = written(&mut pace, begin + quiet, Duration::from_millis(40));
            assert_eq!(times, [5, 10, 15, 20, 25, 30, 35, 40]);
        }
    }

    #[test]
    fn under_load_counts_are_written_twice_a_second() {
        let begin = Instant::now();
        let mut pace = Pace::default();
        written(&mut pace, begin, Duration::from_secs(5));
        let times = written(
            &mut pace,
            begin + Duration::from_secs(10),
            Duration::from_mins(1),
        );
        assert!(times.len() <= 121 + BURST as usize, "{times:?}");
        let pauses: Vec<_> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(pauses.iter().all(|pause| *pause <= 500), "{pauses:?}");
        assert!(
            pauses.iter().rev().take(100).all(|pause| *pause == 500),
            "{pauses:?}"
        );
    }

    #[test]
    fn no_count_waits_longer_than_a_period_whatever_else_was_written() {
        let now = Instant::now();
        let mut pace = Pace::default();
        for _ in 0..1000 {
            pace.wrote(now);
        }
        assert_eq!(pace.due(now), now + PERIOD);
        let later = now + PERIOD;
        assert_eq!(pace.due(later), later + GATHERING);
    }
}
