//! What each client has spent since midnight UTC, for its budget.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::state::redis::client_mark;
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
    /// What of it other instances have not been told.
    untold: HashMap<Arc<str>, f64>,
    /// What all instances together have told, ours included, by [`client_mark`].
    everywhere: HashMap<String, f64>,
}

impl Spending {
    /// Adds what a request cost.
    pub fn add(&self, client: &Arc<str>, dollars: f64, now: Timestamp) {
        let mut today = self.today(now);
        *today.dollars.entry(Arc::clone(client)).or_default() += dollars;
        *today.untold.entry(Arc::clone(client)).or_default() += dollars;
    }

    /// Adds what was spent before this process began: others know of it.
    pub fn restore(&self, client: &Arc<str>, dollars: f64, now: Timestamp) {
        *self
            .today(now)
            .dollars
            .entry(Arc::clone(client))
            .or_default() += dollars;
    }

    /// Takes what others are to be told.
    pub fn take_untold(&self, now: Timestamp) -> Vec<(String, f64)> {
        let untold = std::mem::take(&mut self.today(now).untold);
        let untold = untold.into_iter();
        untold
            .map(|(client, dollars)| (client.to_string(), dollars))
            .collect()
    }

    /// Puts back what could not be told.
    pub fn put_back(&self, untold: Vec<(String, f64)>, now: Timestamp) {
        let mut today = self.today(now);
        for (client, dollars) in untold {
            *today.untold.entry(Arc::from(client)).or_default() += dollars;
        }
    }

    /// Takes over what all instances together have spent, by [`client_mark`].
    pub fn heed(&self, everywhere: HashMap<String, f64>, now: Timestamp) {
        self.today(now).everywhere = everywhere;
    }

    /// What a client has spent today, in US dollars.
    pub fn of(&self, client: &str, now: Timestamp) -> f64 {
        let today = self.today(now);
        let of = |sums: &HashMap<Arc<str>, f64>| sums.get(client).copied().unwrap_or_default();
        let everywhere = if today.everywhere.is_empty() {
            0.0
        } else {
            let mark = client_mark(client);
            today.everywhere.get(&mark).copied().unwrap_or_default()
        };
        // A state that was flushed knows less than we do.
        of(&today.dollars).max(everywhere + of(&today.untold))
    }

    fn today(&self, now: Timestamp) -> MutexGuard<'_, Today> {
        let mut today = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let day = day_of(now);
        if today.day != day {
            *today = Today {
                day,
                ..Today::default()
            };
        }
        today
    }
}

/// The UTC day a time is in, counted from the epoch.
pub const fn day_of(now: Timestamp) -> i64 {
    now.as_millis().div_euclid(DAY_MILLIS)
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
    fn what_is_spent_elsewhere_counts_and_ours_counts_once() {
        let (spending, client) = (Spending::default(), Arc::from("laptop"));
        let now = Timestamp::from_secs(1_000_000);
        spending.restore(&client, 1.0, now);
        spending.add(&client, 0.5, now);
        assert_eq!(spending.take_untold(now), [("laptop".to_owned(), 0.5)]);
        spending.heed(HashMap::from([(client_mark("laptop"), 4.5)]), now);
        spending.add(&client, 0.25, now);
        assert!((spending.of("laptop", now) - 4.75).abs() < 1e-9);
        spending.heed(HashMap::new(), now);
        assert!((spending.of("laptop", now) - 1.75).abs() < 1e-9, "flushed");
    }

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
