//! What must hold, whatever happens: looked at from outside, by what was asked and answered, never by
//! how the group arrived at it. A broken law is a panic.

pub(super) mod leases;
pub(super) mod rests;
pub(super) mod tokens;

use std::collections::BTreeMap;
use std::fmt::{self, Debug, Write as _};
use std::hash::{DefaultHasher, Hasher};

use leases::Leases;
use rests::Rests;
use tokens::Tokens;

#[derive(Default)]
pub(super) struct Laws {
    pub(super) leases: Leases,
    pub(super) rests: Rests,
    pub(super) tokens: Tokens,
    hash: Trace,
    /// Requests that have not ended, by instance.
    open: BTreeMap<u64, u32>,
    /// Requests of all, ever.
    pub(super) requests: u64,
    /// When the last word of each instance came to the server.
    arrivals: BTreeMap<u64, i64>,
}

impl Laws {
    pub(super) fn new(is_calm: bool) -> Self {
        let mut laws = Self::default();
        laws.leases.is_calm = is_calm;
        laws.tokens.is_calm = is_calm;
        laws
    }

    /// Adds to what two runs of one seed must have in common.
    pub(super) fn trace(&mut self, now: i64, what: &str, answer: &impl Debug) {
        // A hasher takes all.
        let _ = write!(self.hash, "{now} {what} {answer:?}");
    }

    pub(super) fn hash(&self) -> u64 {
        self.hash.0.finish()
    }

    /// The server has forgotten some or all of what it was told.
    pub(super) fn amnesia(&mut self) {
        self.leases.forget();
        self.tokens.forget();
    }

    pub(super) fn arrived(&mut self, owner: u64, now: i64) {
        self.arrivals.insert(owner, now);
    }

    pub(super) fn last_arrival(&self, owner: u64) -> i64 {
        self.arrivals.get(&owner).copied().unwrap_or_default()
    }

    pub(super) fn began(&mut self, owner: u64) {
        *self.open.entry(owner).or_default() += 1;
        self.requests += 1;
    }

    pub(super) fn ended(&mut self, owner: u64) {
        *self.open.entry(owner).or_default() -= 1;
    }

    pub(super) fn crashed(&mut self, owner: u64) {
        self.open.remove(&owner);
        self.leases.crashed(owner);
        self.tokens.crashed(owner);
    }

    /// Every request has been answered: nobody waits for ever.
    pub(super) fn assert_nobody_waits(&self) {
        let open: u32 = self.open.values().sum();
        assert_eq!(open, 0, "requests without an answer");
    }
}

#[derive(Default)]
struct Trace(DefaultHasher);

impl fmt::Write for Trace {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.write(text.as_bytes());
        Ok(())
    }
}
