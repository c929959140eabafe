//! What each client has spent since midnight UTC, for its budget.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::time::Timestamp;

const DAY_MILLIS: i64 = 24 * 60 * 60 * 1000;

/// Dollars by client, of the present day. Bounded by the clients there are: only those whose key
/// was known get so far.
#[derive(Debug, Default)]
pub struct Spending(Mutex<Today>);

#[derive(Debug, Default)]
struct Today {
    /// Days since the Unix epoch.
    day: i64,
    dollars: HashMap<Arc<str>, f64>,
}

impl Spending {
    /// Adds what a request cost.
    pub fn add(&self, client: &Arc<str>, dollars: f64, now: Timestamp) {
        let mut today = self.today(now);
        *today.dollars.entry(Arc::clone(client)).or_default() += dollars;
    }

    /// What a client has spent today, in US dollars.
    pub fn of(&self, client: &str, now: Timestamp) -> f64 {
        self.today(now)
            .dollars
            .get(client)
            .copied()
            .unwrap_or_default()
    }

    fn today(&self, now: Timestamp) -> MutexGuard<'_, Today> {
        let mut today = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let day = now.as_millis().div_euclid(DAY_MILLIS);
        if today.day != day {
            *today = Today {
                day,
                dollars: HashMap::new(),
            };
        }
        today
    }
}

/// Midnight UTC before a time.
pub fn midnight(now: Timestamp) -> Timestamp {
    let millis = now.as_millis();
    Timestamp::from_millis(millis - millis.rem_euclid(DAY_MILLIS))
}

/// Until the next midnight UTC.
pub fn until_tomorrow(now: Timestamp) -> Duration {
    let tomorrow = midnight(now).as_millis().saturating_add(DAY_MILLIS);
    now.until(Timestamp::from_millis(tomorrow))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_day_begins_at_nothing() {
        let (spending, client) = (Spending::default(), Arc::from("laptop"));
        let evening = Timestamp::parse_rfc3339("2026-03-01T23:59:50Z").expect("a time");
        spending.add(&client, 1.5, evening);
        spending.add(&client, 0.5, evening);
        assert!((spending.of("laptop", evening) - 2.0).abs() < 1e-9);
        assert!(spending.of("desktop", evening).abs() < 1e-9);
        assert_eq!(until_tomorrow(evening), Duration::from_secs(10));
        let morning = evening + Duration::from_secs(10);
        assert!(spending.of("laptop", morning).abs() < 1e-9);
        assert_eq!(midnight(morning), morning);
    }
}
