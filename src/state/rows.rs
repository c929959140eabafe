//! The rows of the state: plain data, whatever keeps it.

use std::ops::AddAssign;

use crate::time::Timestamp;

/// Milliseconds of the hours that usage is summed by.
const HOUR_MS: i64 = 3_600_000;

/// One fact about a credential: a cooldown of a class, a ladder, a user's switch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialRow {
    pub key: CredentialKey,
    /// The credential's id when it was written; state hangs on the fingerprint.
    pub credential: String,
    /// The fact as JSON; `None` clears it.
    pub value: Option<String>,
    pub updated: Timestamp,
}

/// What a [`CredentialRow`] is about.
#[derive(Clone, Debug, Hash, PartialEq, Eq)]
pub struct CredentialKey {
    pub provider: String,
    /// [`Fingerprint`](crate::secret::Fingerprint) in hex; empty for a fact about the provider.
    pub fingerprint: String,
    /// The model class; empty for the whole credential.
    pub class: String,
    /// What sort of fact; pool and gateway choose the words.
    pub kind: String,
}

/// Where a reader of changes stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub(super) i64);

/// Rows that changed, and the version to ask from next time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    pub rows: Vec<CredentialRow>,
    pub version: Version,
}

/// What usage is counted by.
#[derive(Clone, Debug, Hash, PartialEq, Eq)]
pub struct UsageKey {
    /// Hours since the Unix epoch, see [`UsageKey::hour_of`].
    pub hour: i64,
    pub provider: String,
    pub model: String,
    /// The credential's id.
    pub credential: String,
    /// Its fingerprint in hex: a new key in an old one's place starts at zero.
    pub fingerprint: String,
    /// The client's name; empty where there is only one.
    pub client: String,
}

impl UsageKey {
    /// The hour a time lies in.
    pub const fn hour_of(time: Timestamp) -> i64 {
        time.as_millis().div_euclid(HOUR_MS)
    }
}

/// Counts of one key, or additions to them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct UsageSums {
    pub requests: u64,
    pub failures: u64,
    /// All input tokens, cached ones included.
    pub prompt_tokens: u64,
    pub cached_tokens: u64,
    pub cache_write_tokens: u64,
    /// All output tokens, reasoning included.
    pub completion_tokens: u64,
    pub reasoning_tokens: u64,
    pub cost_usd: f64,
    /// Requests whose tokens were estimated because the provider did not report them.
    pub estimated: u64,
    /// Requests whose duration is in `duration_ms`.
    pub timed: u64,
    pub duration_ms: u64,
    /// Requests whose time to the first content byte is in `first_token_ms`.
    pub first_tokens: u64,
    pub first_token_ms: u64,
    pub last_used: Timestamp,
}

impl AddAssign<&Self> for UsageSums {
    fn add_assign(&mut self, more: &Self) {
        let add = |sum: &mut u64, more: u64| *sum = sum.saturating_add(more);
        add(&mut self.requests, more.requests);
        add(&mut self.failures, more.failures);
        add(&mut self.prompt_tokens, more.prompt_tokens);
        add(&mut self.cached_tokens, more.cached_tokens);
        add(&mut self.cache_write_tokens, more.cache_write_tokens);
        add(&mut self.completion_tokens, more.completion_tokens);
        add(&mut self.reasoning_tokens, more.reasoning_tokens);
        add(&mut self.estimated, more.estimated);
        add(&mut self.timed, more.timed);
        add(&mut self.duration_ms, more.duration_ms);
        add(&mut self.first_tokens, more.first_tokens);
        add(&mut self.first_token_ms, more.first_token_ms);
        self.cost_usd += more.cost_usd;
        self.last_used = self.last_used.max(more.last_used);
    }
}

/// One request's decision trail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalRow {
    /// The request's id.
    pub id: String,
    pub time: Timestamp,
    pub failed: bool,
    /// The trail as JSON, without secrets.
    pub value: String,
}

/// The credential that a session used last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionRow {
    pub provider: String,
    pub session: u64,
    /// The credential's id.
    pub credential: String,
    pub used: Timestamp,
}
