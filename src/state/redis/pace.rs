//! How quickly the server answers, and how long a request waits for it.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::state::redis::COMMAND_PATIENCE;

/// However quick the server is, a busy machine may take so long to notice its answer.
const SHORTEST: Duration = Duration::from_millis(20);

/// The pace of a server's answers: their mean, and how far they are from it, each new one weighing an
/// eighth and a quarter as in RFC 6298, section 2.
#[derive(Debug, Default)]
pub struct Pace {
    seen: Mutex<Option<Seen>>,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    mean: f64,
    deviation: f64,
}

impl Pace {
    /// An answer took so long.
    pub fn note(&self, took: Duration) {
        let took = took.as_secs_f64();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        *seen = Some(match *seen {
            None => Seen {
                mean: took,
                deviation: took / 2.0,
            },
            Some(seen) => Seen {
                mean: seen.mean + (took - seen.mean) / 8.0,
                deviation: seen.deviation + ((took - seen.mean).abs() - seen.deviation) / 4.0,
            },
        });
    }

    /// How long a request waits for an answer before it goes on without: longer than almost all of
    /// them take, from 20 ms to [`COMMAND_PATIENCE`], which it is while none has come.
    pub fn patience(&self) -> Duration {
        let seen = *self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(Seen { mean, deviation }) = seen else {
            return COMMAND_PATIENCE;
        };
        let patience = Duration::try_from_secs_f64(mean + 4.0 * deviation);
        patience.map_or(COMMAND_PATIENCE, |patience| {
            patience.clamp(SHORTEST, COMMAND_PATIENCE)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn after(answers: &[u64]) -> Duration {
        let pace = Pace::default();
        for took in answers {
            pace.note(ms(*took));
        }
        pace.patience()
    }

    #[test]
    fn a_request_waits_longer_than_answers_take_and_never_too_long() {
        assert_eq!(after(&[]), COMMAND_PATIENCE);
        assert_eq!(after(&[1; 10]), SHORTEST);
        assert!((ms(80)..ms(120)).contains(&after(&[80; 30])), "far away");
        let uneven = after(&[10, 40, 10, 40, 10, 40, 10, 40]);
        assert!((ms(60)..ms(120)).contains(&uneven), "{uneven:?}");
        assert_eq!(after(&[5_000; 3]), COMMAND_PATIENCE);
    }

    #[test]
    fn one_late_answer_is_waited_for_next_time_and_soon_forgotten() {
        let late: Vec<u64> = [1; 20].into_iter().chain([150]).collect();
        assert!(after(&late) > ms(150), "{:?}", after(&late));
        let quick_again: Vec<u64> = late.into_iter().chain([1; 30]).collect();
        assert_eq!(after(&quick_again), SHORTEST);
    }
}
