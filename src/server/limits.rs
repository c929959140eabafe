//! What each client may do: requests a minute, requests at once. The clock comes in as argument.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::gateway::group::GroupLease;
use crate::time::Timestamp;

/// Limits of one client; zero is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClientLimits {
    /// Requests a minute.
    pub rpm: u32,
    /// Requests at once.
    pub max_concurrent: u32,
}

/// The counters of all clients.
#[derive(Debug, Default)]
pub struct Limiter {
    clients: Mutex<HashMap<Arc<str>, Counter>>,
}

/// A request under way; dropping it frees its place.
#[derive(Debug)]
pub struct Permit {
    limiter: Arc<Limiter>,
    client: Arc<str>,
    /// What is held of a limit that other instances count as well.
    beyond: Option<GroupLease>,
}

impl Permit {
    /// The same, with what the group granted.
    #[must_use]
    pub fn with(mut self, beyond: Option<GroupLease>) -> Self {
        self.beyond = beyond;
        self
    }
}

#[derive(Debug)]
struct Counter {
    running: u32,
    /// Requests the bucket still allows, at `as_of`.
    tokens: f64,
    as_of: Timestamp,
}

impl Limiter {
    /// Admits a request or says after how long to try again.
    pub fn admit(
        self: &Arc<Self>,
        client: &Arc<str>,
        limits: ClientLimits,
        now: Timestamp,
    ) -> Result<Permit, Duration> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        // Bounded by the number of configured clients: only authenticated names get here.
        let counter = clients
            .entry(Arc::clone(client))
            .or_insert_with(|| Counter {
                running: 0,
                tokens: f64::from(limits.rpm),
                as_of: now,
            });
        if limits.max_concurrent > 0 && counter.running >= limits.max_concurrent {
            return Err(Duration::from_secs(1));
        }
        if limits.rpm > 0 {
            let rate = f64::from(limits.rpm) / 60.0;
            let elapsed = now.since(counter.as_of).as_secs_f64();
            counter.tokens = (counter.tokens + elapsed * rate).min(f64::from(limits.rpm));
            counter.as_of = now;
            if counter.tokens < 1.0 {
                return Err(Duration::from_secs_f64((1.0 - counter.tokens) / rate));
            }
            counter.tokens -= 1.0;
        }
        counter.running += 1;
        Ok(Permit {
            limiter: Arc::clone(self),
            client: Arc::clone(client),
            beyond: None,
        })
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        drop(self.beyond.take());
        let mut clients = self
            .limiter
            .clients
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(counter) = clients.get_mut(&self.client) {
            counter.running = counter.running.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_over_its_rate_waits_for_the_next_token() {
        let (limiter, client) = (Arc::new(Limiter::default()), Arc::from("laptop"));
        let limits = ClientLimits {
            rpm: 2,
            max_concurrent: 0,
        };
        let start = Timestamp::from_secs(1000);
        assert!(limiter.admit(&client, limits, start).is_ok());
        assert!(limiter.admit(&client, limits, start).is_ok());
        let wait = limiter
            .admit(&client, limits, start)
            .expect_err("the third is too many");
        assert_eq!(wait, Duration::from_secs(30));
        assert!(limiter.admit(&client, limits, start + wait).is_ok());
    }

    #[test]
    fn a_finished_request_frees_its_place() {
        let (limiter, client) = (Arc::new(Limiter::default()), Arc::from("laptop"));
        let limits = ClientLimits {
            rpm: 0,
            max_concurrent: 1,
        };
        let now = Timestamp::from_secs(1000);
        let permit = limiter.admit(&client, limits, now).expect("the first");
        assert!(limiter.admit(&client, limits, now).is_err());
        drop(permit);
        assert!(limiter.admit(&client, limits, now).is_ok());
    }
}
