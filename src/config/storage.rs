//! `[state]` and `[log]`: what is kept, and where.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::secret_ref::SecretRef;
use crate::config::{duration, size};

/// `[state]`: counts, cooldowns, quotas, the journal.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct State {
    /// Where state is kept.
    pub backend: Backend,
    /// Whether what clients go on from (responses, thinking) outlives the process.
    pub keep_conversations: bool,
    /// The address of a Redis or Valkey; it may hold a password.
    pub url: SecretRef,
    /// The prefix of all keys in Redis.
    pub namespace: String,
    /// What accounts' tokens are sealed with when instances hand them over through Redis.
    pub token_key: Option<SecretRef>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            backend: Backend::Sqlite,
            keep_conversations: true,
            url: SecretRef::literal("redis://127.0.0.1:6379/0"),
            namespace: "llmproxy".to_owned(),
            token_key: None,
        }
    }
}

/// Where state is kept.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Backend {
    /// Nowhere: it ends with the process.
    Memory,
    /// In a Redis that several instances share.
    Redis,
    /// In `state.db`.
    Sqlite,
}

/// `[log]`: request logs, one directory a request, secrets redacted.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// Write them.
    pub requests: bool,
    /// Where; unset: `requests/` in the state directory.
    pub dir: Option<PathBuf>,
    /// How long they are kept.
    #[serde(with = "duration")]
    pub retention: Duration,
    /// How much room they may take, in bytes; the oldest go first.
    #[serde(with = "size")]
    pub max_size: u64,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            requests: false,
            dir: None,
            retention: Duration::from_hours(7 * 24),
            max_size: 1 << 30,
        }
    }
}
