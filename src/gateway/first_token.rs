//! How soon each model of a provider begins to answer, for `strategy = "fastest"`.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Models remembered of one provider; further ones count as unmeasured.
const MAX_MODELS: usize = 1024;

/// The weight of the newest measurement: the last dozen requests decide.
const NEWEST_WEIGHT: f64 = 0.2;

/// Moving averages of the time to the first content byte, by model.
#[derive(Debug, Default)]
pub struct FirstToken(Mutex<HashMap<String, Duration>>);

impl FirstToken {
    /// Adds a measurement.
    pub fn record(&self, model: &str, time: Duration) {
        let mut averages = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(average) = averages.get_mut(model) {
            *average = average.mul_f64(1.0 - NEWEST_WEIGHT) + time.mul_f64(NEWEST_WEIGHT);
        } else if averages.len() < MAX_MODELS {
            averages.insert(model.to_owned(), time);
        }
    }

    /// The average; zero for a model not measured yet.
    pub fn get(&self, model: &str) -> Duration {
        let averages = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        averages.get(model).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_average_follows_the_latest_requests() {
        let times = FirstToken::default();
        assert_eq!(times.get("m"), Duration::ZERO);
        times.record("m", Duration::from_secs(1));
        assert_eq!(times.get("m"), Duration::from_secs(1));
        for _ in 0..30 {
            times.record("m", Duration::from_millis(100));
        }
        assert!(times.get("m") < Duration::from_millis(110));
    }
}
