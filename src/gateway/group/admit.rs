//! One more request under limits that hold for all instances together: asked of the group while it
//! is there, decided by our share of it while it is not.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::time::timeout;

use crate::gateway::group::Group;
use crate::gateway::group::ledger::Ledger;
use crate::gateway::runtime::ProviderRuntime;
use crate::pool::{Anchor, Beyond, Count, Declined, Lease, Terms, WindowTerm};
use crate::secret::Fingerprint;
use crate::state::redis::{Admission, Away, Ends, Known, Limits, ServerClock, Ticket, Window};
use crate::time::Timestamp;

impl Group {
    /// Has a lease confirmed by the group, where a limit holds for all. `None` if they do not allow
    /// it: it has been given back, and the pool knows when to ask again.
    pub async fn confirm(&self, runtime: &ProviderRuntime, lease: Lease) -> Option<Lease> {
        let now = self.redis.clock().to_server(Timestamp::now());
        let Some(terms) = lease.terms(now) else {
            return Some(lease);
        };
        let Some(name) = runtime.names.of(lease.credential()) else {
            return Some(lease);
        };
        let clock = self.redis.clock();
        let limits = limits(clock, (runtime.id.as_str(), name), &terms, now);
        let said = self.ask(&limits).await;
        let alone = (self.instances(), || self.redis.own_ticket());
        let (mut lease, ticket) = heeded(lease, &terms, said, alone, Timestamp::now())?;
        let counts = counts(&ticket);
        let holder = Arc::from(lease.credential().as_str());
        let held = self.ledger.hold(limits, ticket, holder);
        lease.hold(Box::new(held), &terms, &counts);
        Some(lease)
    }

    /// Asks for one more request, and waits no longer than answers usually take: who asks goes on
    /// alone then. What is granted later is given back.
    pub(super) async fn ask(&self, limits: &Limits) -> Result<Admission, Away> {
        let (redis, asked) = (Arc::clone(&self.redis), limits.clone());
        let mut answer = Box::pin(async move { redis.admit(&asked).await });
        let patience = self.redis.pace().patience();
        let said = timeout(patience, answer.as_mut()).await;
        let said = said.unwrap_or_else(|_| {
            let (ledger, limits) = (Arc::clone(&self.ledger), limits.clone());
            tokio::spawn(async move { give_back(&ledger, limits, answer.await) });
            Err(Away)
        });
        if said.is_err() {
            self.alone.fetch_add(1, Ordering::Relaxed);
        }
        said
    }
}

/// Gives back what was granted to somebody who does not wait any more.
pub(super) fn give_back(ledger: &Arc<Ledger>, limits: Limits, said: Result<Admission, Away>) {
    if let Ok(Admission::Taken(ticket)) = said {
        let held = ledger.hold(limits, ticket, Arc::from("nobody"));
        Box::new(held).ended(true, 0);
    }
}

/// A lease with the group's ticket for it, or with our own where nobody could be asked and it is
/// within our share. `None` if it may not be used: it has been given back.
pub(super) fn heeded(
    lease: Lease,
    terms: &Terms,
    said: Result<Admission, Away>,
    (instances, own_ticket): (u32, impl FnOnce() -> Ticket),
    now: Timestamp,
) -> Option<(Lease, Ticket)> {
    let declined = match said {
        Ok(Admission::Taken(ticket)) => return Some((lease, ticket)),
        Ok(Admission::Full { room, .. }) => Declined::Full { until: room },
        Err(Away) if terms.max == 0 || terms.active <= share(terms.max, instances) => {
            return Some((lease, own_ticket()));
        }
        Ok(Admission::Busy) | Err(Away) => Declined::Busy,
    };
    lease.decline(declined, now);
    None
}

/// What a ticket tells of the windows that its request was counted in.
pub(super) fn counts(ticket: &Ticket) -> Vec<Count> {
    let counts = ticket.counts.iter();
    let counts = counts.map(|(requests, ends)| Count {
        requests: *requests,
        ends: *ends,
        said_ms: ticket.taken_ms,
    });
    counts.collect()
}

/// What of a limit is each instance's own while they cannot ask each other.
pub(super) const fn share(limit: u32, instances: u32) -> u32 {
    let instances = if instances == 0 { 1 } else { instances };
    limit.div_ceil(instances)
}

/// The limits of a lease's terms, in the group's own terms.
pub(super) fn limits(
    clock: &ServerClock,
    (provider, name): (&str, Fingerprint),
    terms: &Terms,
    now: Timestamp,
) -> Limits {
    let windows = terms.windows.iter();
    let windows = windows.map(|window| counted(clock, &terms.class, window, now));
    Limits::of_credential(provider, name, terms.max, windows.collect())
}

fn counted(clock: &ServerClock, class: &str, term: &WindowTerm, now: Timestamp) -> Window {
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
        Some(told) => window.knowing(Known {
            requests: told.requests,
            ends: clock.to_server(told.ends),
            said_ms: told.said_ms,
        }),
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
