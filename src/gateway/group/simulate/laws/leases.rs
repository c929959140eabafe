//! Limits that hold for all instances together.
//!
//! While the server is there and remembers, what it grants never exceeds a limit: a request decided
//! without it is told later and counts there all the same, so it can only make less room. What all
//! instances send is bounded even without it: each keeps to its own count.

use std::collections::BTreeMap;

use crate::gateway::group::simulate::PLACES;
use crate::gateway::group::simulate::scenario::Limited;
use crate::state::redis::LEASE;

/// An upstream's credential.
pub(in super::super) type Key = (usize, usize);

/// What an instance asks for.
pub(in super::super) struct Claim {
    pub(in super::super) key: Key,
    pub(in super::super) lease: String,
    pub(in super::super) limited: Limited,
}

/// A request that was granted, by the server's time.
struct Granted {
    lease: String,
    at: i64,
    /// When its window ends.
    ends: i64,
}

#[derive(Default)]
pub(in super::super) struct Leases {
    pub(super) is_calm: bool,
    /// Leases granted since the server last forgot any, and when they lapse.
    out: BTreeMap<Key, BTreeMap<String, i64>>,
    granted: BTreeMap<Key, Vec<Granted>>,
    /// Whose leases are in use.
    held: BTreeMap<String, u64>,
    /// Whose leases are not any more, and the server has still to hear of it.
    owed: BTreeMap<String, u64>,
    /// Every call that was not taken back: its number, and when its credential was chosen, by true
    /// time.
    calls: BTreeMap<Key, BTreeMap<u64, i64>>,
    next_call: u64,
    /// Crashes, and times that the server forgot.
    losses: u64,
}

impl Leases {
    /// The server has answered a claim.
    pub(in super::super) fn admitted(&mut self, claim: Claim, answer: &[i64], now: i64) {
        let Claim {
            key,
            lease,
            limited,
        } = claim;
        if answer[0] != 0 {
            return;
        }
        if limited.max > 0 {
            let out = self.out.entry(key).or_default();
            let lapsed = out.iter().filter(|(_, ends)| **ends <= now);
            for (lapsed, _) in lapsed {
                // Whoever holds one renews it; nothing is in the way of a renewal in a calm run.
                let is_held = self.held.contains_key(lapsed);
                assert!(!self.is_calm || !is_held, "{lapsed} lapsed while in use");
            }
            out.retain(|_, ends| *ends > now);
            out.insert(lease.clone(), now + lease_ms());
            let most = usize::try_from(limited.max).unwrap_or(usize::MAX);
            assert!(out.len() <= most, "{} leases of {key:?}", out.len());
        }
        if limited.requests > 0 {
            self.count(key, lease, (answer[3], now), limited);
        }
    }

    fn count(&mut self, key: Key, lease: String, (ends, at): (i64, i64), limited: Limited) {
        let granted = self.granted.entry(key).or_default();
        if let Some(last) = granted.last().filter(|last| last.ends != ends)
            && !limited.is_rolling
        {
            // A window that began anew before its end would let through twice as much.
            assert!(last.ends <= at, "a window of {key:?} began early");
        }
        granted.push(Granted { lease, at, ends });
        let is_together = |one: &&Granted| {
            if limited.is_rolling {
                one.at > at - limited.every_ms
            } else {
                one.ends == ends
            }
        };
        let together = granted.iter().filter(is_together);
        let together = u64::try_from(together.count()).unwrap_or(u64::MAX);
        assert!(
            together <= limited.requests,
            "{together} requests of {key:?}"
        );
    }

    /// The server has been told that a lease ended: −1 takes its request back.
    pub(in super::super) fn given_back(&mut self, lease: &str, requests: i64) {
        // It would be given to another while it is in use here.
        assert!(!self.held.contains_key(lease), "{lease} is in use");
        self.owed.remove(lease);
        for out in self.out.values_mut() {
            out.remove(lease);
        }
        for granted in self.granted.values_mut().filter(|_| requests < 0) {
            granted.retain(|one| one.lease != lease);
        }
    }

    pub(in super::super) fn renewed(&mut self, leases: &[String], now: i64) {
        for out in self.out.values_mut() {
            for lease in leases {
                if let Some(ends) = out.get_mut(lease) {
                    *ends = now + lease_ms();
                }
            }
        }
    }

    pub(in super::super) fn held(&mut self, owner: u64, lease: &str) {
        self.held.insert(lease.to_owned(), owner);
    }

    pub(in super::super) fn let_go(&mut self, lease: &str) {
        if let Some(owner) = self.held.remove(lease) {
            self.owed.insert(lease.to_owned(), owner);
        }
    }

    /// An instance that has joined sends a request unasked: the server must have been away.
    pub(in super::super) fn decided_alone(&self, key: Key) {
        assert!(!self.is_calm, "a request of {key:?} that nobody granted");
    }

    /// What came back was told, however late.
    pub(in super::super) fn assert_all_told(&self) {
        assert!(self.owed.is_empty(), "never given back: {:?}", self.owed);
    }

    /// An upstream was asked by a request that counts since `chosen_at`: it may have waited for its
    /// account's token since then. Returns the call's number.
    pub(in super::super) fn called(&mut self, key: Key, chosen_at: i64) -> u64 {
        self.next_call += 1;
        let calls = self.calls.entry(key).or_default();
        calls.insert(self.next_call, chosen_at);
        self.next_call
    }

    /// The call does not count: the upstream was at fault.
    pub(in super::super) fn taken_back(&mut self, key: Key, call: u64) {
        self.calls.entry(key).or_default().remove(&call);
    }

    pub(super) fn forget(&mut self) {
        self.out.clear();
        self.granted.clear();
        self.losses += 1;
    }

    pub(super) fn crashed(&mut self, owner: u64) {
        self.held.retain(|_, holder| *holder != owner);
        self.owed.retain(|_, holder| *holder != owner);
        self.losses += 1;
    }

    /// However often the server was away, each instance keeps to the limit by itself; whoever starts
    /// anew may have lost the last second's counts, and a server that forgot may grant once more. A
    /// span as long as a window meets two of those that begin with their first request.
    pub(in super::super) fn assert_bounded(&self, limited: &[Limited]) {
        for (key, calls) in &self.calls {
            let limited = limited[key.0];
            if limited.requests == 0 {
                continue;
            }
            let windows = if limited.is_rolling { 1 } else { 2 };
            let holders = u64::try_from(PLACES).unwrap_or(u64::MAX) + self.losses;
            let most = limited.requests * holders * windows;
            for at in calls.values() {
                let span = *at..*at + limited.every_ms;
                let count = calls.values().filter(|at| span.contains(at)).count();
                let count = u64::try_from(count).unwrap_or(u64::MAX);
                assert!(count <= most, "{count} calls of {key:?} in one window");
            }
        }
    }
}

fn lease_ms() -> i64 {
    i64::try_from(LEASE.as_millis()).unwrap_or(i64::MAX)
}
