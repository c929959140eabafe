//! What an adapter may know of an account, and what it does with one before the first request:
//! the first steps with a fresh account, and asking for its quota.
//!
//! Everything here is pure. The gateway sends the [`Call`]s, keeps what comes of them with the
//! credential, and drives a [`Bootstrap`] before the first request of an account that has not
//! taken its first steps.

use std::fmt;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::providers::verdict::Failure;
use crate::providers::{Answer, Call};
use crate::time::Timestamp;

/// What an adapter may know of the account (or key) it builds a request for.
#[derive(Clone, Copy)]
pub struct AccountView<'a> {
    /// What the vendor said of the account, kept with its tokens: `project_id`, `resource_url`,
    /// `api_key`, plan. Empty for API keys. May hold secrets.
    pub facts: &'a Map<String, Value>,
    pub email: Option<&'a str>,
    /// The plan or tier: the user's word, else the vendor's.
    pub tier: Option<&'a str>,
    /// Counts the account's refreshes; 0 for keys. Facts of an older generation may be stale.
    pub generation: u64,
    /// `false`: an API key of the same provider.
    pub kind_is_account: bool,
}

impl<'a> AccountView<'a> {
    /// The view of an account of which only its facts are known.
    pub const fn of_facts(facts: &'a Map<String, Value>) -> Self {
        Self {
            facts,
            email: None,
            tier: None,
            generation: 0,
            kind_is_account: true,
        }
    }

    /// A fact that is text and not empty.
    pub fn fact(&self, name: &str) -> Option<&'a str> {
        let text = self.facts.get(name)?.as_str()?.trim();
        (!text.is_empty()).then_some(text)
    }
}

/// Without the facts: they may be secret.
impl fmt::Debug for AccountView<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccountView")
            .field("tier", &self.tier)
            .field("generation", &self.generation)
            .field("kind_is_account", &self.kind_is_account)
            .finish_non_exhaustive()
    }
}

/// The first steps with an account, as a machine that is fed answers and says what to do next.
pub trait Bootstrap: Send {
    /// The next step. `answer` is the one to the last [`Step::Call`], whatever its status; `None`
    /// at the first step, after a pause, and where the call got no answer at all (the machine may
    /// repeat it or give up).
    fn next(&mut self, answer: Option<&Answer<'_>>, now: Timestamp) -> Step;
}

/// See [`Bootstrap::next`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Send this and come back with the answer.
    Call(Call),
    /// The account is ready to serve.
    Done(Facts),
    /// Come back after this long (a long-running operation of the vendor's).
    Pause(Duration),
    /// The account cannot serve, as the verdict says: for good, until its owner does something,
    /// or for the moment.
    Refused(Failure),
}

/// What was learned of an account.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// Members to merge into what is kept of the account; `null` takes one away.
    pub extra: Map<String, Value>,
    /// Its tier as the vendor names it; the user's own word stands against it.
    pub tier: Option<String>,
    /// Its address, where the log-in did not tell.
    pub email: Option<String>,
}

/// Without the facts: they may be secret.
impl fmt::Debug for Facts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Facts")
            .field("tier", &self.tier)
            .finish_non_exhaustive()
    }
}

/// A vendor's word about one quota of an account.
#[derive(Clone, Debug, PartialEq)]
pub struct QuotaReading {
    /// The model or quota group it is about.
    pub group: String,
    /// What is left of it, from 0 (used up) to 1.
    pub remaining: f64,
    /// The requests of a whole window, where the vendor says.
    pub limit: Option<u64>,
    /// When it is whole again.
    pub resets: Option<Timestamp>,
    /// The length of its window, where known.
    pub every: Option<Duration>,
}
