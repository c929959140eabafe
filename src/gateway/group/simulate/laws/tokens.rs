//! Accounts: one refresh at a time, and never older tokens in a newer one's place.

use std::collections::BTreeMap;

/// A lock as the server gave it.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Lock {
    /// When it ends, by the server's clock.
    ends: i64,
    memory: u64,
}

#[derive(Default)]
pub(in super::super) struct Tokens {
    pub(super) is_calm: bool,
    /// Who refreshes an account, and with what lock; without one where the group is away.
    refreshing: BTreeMap<usize, BTreeMap<u64, Option<Lock>>>,
    /// Counts how often the server forgot.
    memory: u64,
    /// The generation that the server has.
    offered: BTreeMap<usize, u64>,
}

impl Tokens {
    /// An instance shows a refresh token to the vendor from now on. Of those with a lock that the
    /// server remembers and that has not ended there is one.
    pub(in super::super) fn refreshing(
        &mut self,
        key: usize,
        owner: u64,
        lock: Option<Lock>,
        now: i64,
    ) {
        let holds = |lock: &Lock| lock.ends > now && lock.memory == self.memory;
        let others = self.refreshing.entry(key).or_default();
        let is_locked = others.values().flatten().any(holds);
        let is_alone = !lock.as_ref().is_some_and(holds);
        assert!(is_alone || !is_locked, "two refresh account {key}");
        others.insert(owner, lock);
    }

    /// The server has given a lock that ends then.
    pub(in super::super) const fn locked(&self, ends: i64) -> Lock {
        let memory = self.memory;
        Lock { ends, memory }
    }

    pub(in super::super) fn refreshed(&mut self, key: usize, owner: u64) {
        self.refreshing.entry(key).or_default().remove(&owner);
    }

    /// Where nothing goes wrong, no refresh token is shown twice.
    pub(in super::super) fn shown(&self, serial: u64, latest: u64) {
        assert!(!self.is_calm || serial == latest, "an old refresh token");
    }

    /// Tokens were offered; of this generation are those that are there now.
    pub(in super::super) fn offered(&mut self, key: usize, generation: u64) {
        let known = self.offered.entry(key).or_default();
        assert!(
            *known <= generation,
            "older tokens took a newer one's place"
        );
        *known = generation;
    }

    pub(super) fn forget(&mut self) {
        self.offered.clear();
        self.memory += 1;
    }

    pub(super) fn crashed(&mut self, owner: u64) {
        for locks in self.refreshing.values_mut() {
            // Its lock holds on; but nobody refreshes under it.
            locks.remove(&owner);
        }
    }
}
