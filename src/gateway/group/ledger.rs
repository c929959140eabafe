//! What this instance holds of the group's limits, and what the group is still to be told of what
//! came back: kept while the server is away, within bounds.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::gateway::group::names;
use crate::pool::Beyond;
use crate::state::redis::{Ended, Limits, Ticket};

/// Leases that came back and wait to be told; of more the oldest are given up. Leases end by
/// themselves, so what is lost then is only how much was used while the server was away.
const MOST_WAITING: usize = 20_000;

/// Credentials that an instance names when it says what it holds.
const MOST_NAMED: usize = 200;

/// The book.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    inner: Mutex<Inner>,
    came_back: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    /// By lease.
    held: BTreeMap<String, HeldLease>,
    waiting: VecDeque<Return>,
    given_up: u64,
    /// Times the server was lost.
    losses: u64,
}

#[derive(Debug)]
struct HeldLease {
    tag: String,
    /// What it is called in reports: a credential's id, or a client.
    holder: Arc<str>,
}

/// A lease that came back.
#[derive(Clone, Debug)]
pub(super) struct Return {
    pub(super) limits: Limits,
    pub(super) ticket: Ticket,
    pub(super) ended: Ended,
}

/// A lease that came back and is about to be told.
#[derive(Debug)]
pub(super) struct Untold {
    ledger: Arc<Ledger>,
    back: Option<Return>,
}

impl Untold {
    /// What is to be told. From now on it may have been, whatever becomes of the answer: a request
    /// is not taken back a second time, which would make room that is not there.
    pub(super) fn tell(&mut self) -> Option<Return> {
        let back = self.back.as_mut()?;
        let told = back.clone();
        back.ended.requests = back.ended.requests.max(0);
        Some(told)
    }

    /// Notes that it has been told.
    pub(super) fn told(mut self) {
        self.back = None;
    }
}

impl Drop for Untold {
    fn drop(&mut self) {
        if let Some(back) = self.back.take() {
            let mut inner = self.ledger.lock();
            inner.waiting.push_front(back);
            inner.trim();
        }
    }
}

impl Ledger {
    /// Notes a lease. Dropping what it returns without [`Beyond::ended`] gives it back as well.
    pub(super) fn hold(
        self: &Arc<Self>,
        limits: Limits,
        ticket: Ticket,
        holder: Arc<str>,
    ) -> GroupLease {
        let mut inner = self.lock();
        if limits.has_leases() {
            let held = HeldLease {
                tag: limits.tag().to_owned(),
                holder,
            };
            inner.held.insert(ticket.lease.clone(), held);
        }
        GroupLease {
            ledger: Arc::clone(self),
            kept: Some((limits, ticket)),
            losses: inner.losses,
        }
    }

    /// Notes that the server was lost. The one that is there next may lack its last words, so nothing
    /// that was counted before is taken back: that would make room that is not there.
    pub(super) fn lost(&self) {
        let mut inner = self.lock();
        inner.losses += 1;
        for back in &mut inner.waiting {
            back.ended.requests = back.ended.requests.max(0);
        }
    }

    /// Resolves when something is to be told.
    pub(super) async fn came_back(&self) {
        self.came_back.notified().await;
    }

    /// Takes what is to be told, at most so many. What is dropped before it is told comes back.
    pub(super) fn take(self: &Arc<Self>, most: usize) -> Vec<Untold> {
        let mut inner = self.lock();
        let count = most.min(inner.waiting.len());
        let taken = inner.waiting.drain(..count);
        let untold = taken.map(|back| Untold {
            ledger: Arc::clone(self),
            back: Some(back),
        });
        untold.collect()
    }

    /// All leases that are held, by whose they are.
    pub(super) fn held(&self) -> BTreeMap<String, Vec<String>> {
        let mut by_tag: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (lease, held) in &self.lock().held {
            by_tag
                .entry(held.tag.clone())
                .or_default()
                .push(lease.clone());
        }
        by_tag
    }

    /// How many leases are held of what, as all instances report it.
    pub(super) fn named(&self) -> BTreeMap<String, u32> {
        let mut named = BTreeMap::new();
        for held in self.lock().held.values() {
            let holder = names::told(&held.holder);
            if named.len() < MOST_NAMED || named.contains_key(&holder) {
                *named.entry(holder).or_default() += 1;
            }
        }
        named
    }

    /// Returns whose use was never told to the group.
    pub(super) fn given_up(&self) -> u64 {
        self.lock().given_up
    }

    fn end(&self, limits: Limits, ticket: Ticket, mut ended: Ended, losses: u64) {
        let mut inner = self.lock();
        if inner.losses != losses {
            ended.requests = ended.requests.max(0);
        }
        inner.held.remove(&ticket.lease);
        let is_nothing = ended == Ended::default() || limits.windows() == 0;
        if is_nothing && !limits.has_leases() {
            return;
        }
        inner.waiting.push_back(Return {
            limits,
            ticket,
            ended,
        });
        inner.trim();
        drop(inner);
        self.came_back.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn trim(&mut self) {
        while self.waiting.len() > MOST_WAITING {
            self.waiting.pop_front();
            self.given_up += 1;
        }
    }
}

/// A lease of the group's.
#[derive(Debug)]
pub struct GroupLease {
    ledger: Arc<Ledger>,
    kept: Option<(Limits, Ticket)>,
    /// Times the server had been lost when it was given.
    losses: u64,
}

impl GroupLease {
    fn end(&mut self, is_taken_back: bool, tokens: u64) {
        let Some((limits, ticket)) = self.kept.take() else {
            return;
        };
        let is_counted = ticket.taken_ms > 0;
        let requests = match (is_taken_back, is_counted) {
            (true, true) => -1,
            (false, false) => 1,
            _ => 0,
        };
        let ended = Ended { requests, tokens };
        self.ledger.end(limits, ticket, ended, self.losses);
    }
}

impl Beyond for GroupLease {
    fn ended(mut self: Box<Self>, is_taken_back: bool, tokens: u64) {
        self.end(is_taken_back, tokens);
    }
}

impl Drop for GroupLease {
    fn drop(&mut self) {
        self.end(false, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(ledger: &Arc<Ledger>, name: &str, taken_ms: i64) -> GroupLease {
        let ticket = Ticket {
            lease: name.to_owned(),
            taken_ms,
            counts: Vec::new(),
        };
        ledger.hold(Limits::of_client("c", 1, 1), ticket, Arc::from("c"))
    }

    fn told(ledger: &Arc<Ledger>) -> Vec<i64> {
        let told = ledger.take(usize::MAX).into_iter();
        let told = told.map(|mut untold| {
            let requests = untold.tell().map(|back| back.ended.requests);
            untold.told();
            requests
        });
        told.flatten().collect()
    }

    #[test]
    fn a_request_is_counted_once_whoever_counts_it() {
        let ledger = Arc::new(Ledger::default());
        for (taken_ms, is_taken_back) in [(5, false), (5, true), (0, false), (0, true)] {
            Box::new(lease(&ledger, "l", taken_ms)).ended(is_taken_back, 0);
        }
        assert_eq!(told(&ledger), [0, -1, 1, 0]);
    }

    #[test]
    fn a_request_is_taken_back_once_even_if_nobody_knows_whether_it_was_told() {
        let ledger = Arc::new(Ledger::default());
        Box::new(lease(&ledger, "l", 5)).ended(true, 7);
        let mut untold = ledger.take(1);
        let back = untold[0].tell().expect("it came back");
        assert_eq!(back.ended.requests, -1);
        // The answer was lost: it is told again, as far as that does no harm.
        drop(untold);
        let again = ledger.take(1)[0].tell().expect("it came back");
        assert_eq!((again.ended.requests, again.ended.tokens), (0, 7));
    }

    #[test]
    fn nothing_is_taken_back_of_a_server_that_was_lost_since() {
        let ledger = Arc::new(Ledger::default());
        let (held, alone) = (lease(&ledger, "1", 5), lease(&ledger, "2", 0));
        Box::new(lease(&ledger, "3", 5)).ended(true, 7);
        ledger.lost();
        Box::new(held).ended(true, 0);
        Box::new(alone).ended(false, 0);
        Box::new(lease(&ledger, "4", 5)).ended(true, 0);
        assert_eq!(told(&ledger), [0, 0, 1, -1]);
    }

    #[test]
    fn what_is_held_is_known_until_it_comes_back() {
        let ledger = Arc::new(Ledger::default());
        let (one, two) = (lease(&ledger, "1", 5), lease(&ledger, "2", 5));
        assert_eq!(ledger.named(), BTreeMap::from([("c".to_owned(), 2)]));
        drop(one);
        assert_eq!(ledger.held().values().flatten().count(), 1);
        drop(two);
        assert_eq!(ledger.held().len(), 0);
        assert_eq!(told(&ledger).len(), 2);
    }

    #[test]
    fn what_waits_is_bounded_and_keeps_the_latest() {
        let ledger = Arc::new(Ledger::default());
        for number in 0..MOST_WAITING + 3 {
            drop(lease(&ledger, &number.to_string(), 0));
        }
        let lease = |taken: &mut [Untold]| taken[0].tell().map(|back| back.ticket.lease);
        let mut first = ledger.take(1);
        assert_eq!(lease(&mut first).as_deref(), Some("3"));
        // Whoever was to tell it was stopped.
        drop(first);
        assert_eq!(ledger.given_up(), 3);
        assert_eq!(lease(&mut ledger.take(1)).as_deref(), Some("3"));
    }
}
