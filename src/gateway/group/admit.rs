//! One more request under limits that hold for all instances together: asked of the group while it
//! is there, decided by our share of it while it is not.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::gateway::group::Group;
use crate::gateway::runtime::ProviderRuntime;
use crate::pool::{Anchor, Declined, Lease, Terms, WindowTerm};
use crate::secret::Fingerprint;
use crate::state::redis::{Admission, Away, Ends, Limits, Redis, Window};
use crate::time::Timestamp;

impl Group {
    /// Has a lease confirmed by the group, where a limit holds for all. `None` if they do not allow
    /// it: it has been given back, and the pool knows when to ask again.
    pub async fn confirm(&self, runtime: &ProviderRuntime, mut lease: Lease) -> Option<Lease> {
        let now = self.redis.to_server(Timestamp::now());
        let Some(terms) = lease.terms(now) else {
            return Some(lease);
        };
        let Some(name) = runtime.names.of(lease.credential()) else {
            return Some(lease);
        };
        let limits = limits(&self.redis, (runtime.id.as_str(), name), &terms, now);
        let ticket = match self.redis.admit(&limits).await {
            Ok(Admission::Taken(ticket)) => ticket,
            Ok(Admission::Busy) => {
                lease.decline(Declined::Busy, Timestamp::now());
                return None;
            }
            Ok(Admission::Full { room, .. }) => {
                lease.decline(Declined::Full { until: room }, Timestamp::now());
                return None;
            }
            Err(Away) => {
                self.alone.fetch_add(1, Ordering::Relaxed);
                if terms.max > 0 && terms.active > share(terms.max, self.instances()) {
                    lease.decline(Declined::Busy, Timestamp::now());
                    return None;
                }
                self.redis.own_ticket()
            }
        };
        let counts = ticket.counts.clone();
        let holder = Arc::from(lease.credential().as_str());
        let held = self.ledger.hold(limits, ticket, holder);
        lease.hold(Box::new(held), &terms, &counts);
        Some(lease)
    }
}

/// What of a limit is each instance's own while they cannot ask each other.
pub(super) const fn share(limit: u32, instances: u32) -> u32 {
    let instances = if instances == 0 { 1 } else { instances };
    limit.div_ceil(instances)
}

fn limits(
    redis: &Redis,
    (provider, name): (&str, Fingerprint),
    terms: &Terms,
    now: Timestamp,
) -> Limits {
    let windows = terms.windows.iter();
    let windows = windows.map(|window| counted(redis, &terms.class, window, now));
    Limits::of_credential(provider, name, terms.max, windows.collect())
}

fn counted(redis: &Redis, class: &str, term: &WindowTerm, now: Timestamp) -> Window {
    let ends = match (term.anchor, term.ends) {
        (Anchor::Rolling, _) => Ends::Rolling,
        (_, Some(end)) => Ends::At(end),
        (_, None) => Ends::FirstUse,
    };
    let window = Window::new(class, term.every, ends);
    let window = match term.ends {
        Some(end) => window.lasting(now.until(end)),
        None => window,
    };
    let window = window.allowing(term.requests, term.tokens);
    match term.told {
        Some((requests, ends)) => window.knowing(requests, redis.to_server(ends)),
        None => window,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_add_up_to_the_limit_and_a_rest_at_most() {
        for (limit, instances, each) in [(3, 3, 1), (4, 3, 2), (1, 3, 1), (9, 1, 9), (9, 0, 9)] {
            assert_eq!(share(limit, instances), each);
            assert!(each * instances.max(1) < limit + instances.max(1));
        }
    }
}
