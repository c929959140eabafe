//! What an upstream's answer means: the class of the failure, whom it blames, how long to wait.
//!
//! The table is `pool.md`'s ("What a failure means"); adapters fill it, the pool acts on it.

use std::time::Duration;

use serde::Serialize;

use crate::time::Timestamp;

/// A failed attempt, judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub verdict: Verdict,
    /// The wait the provider stated, already checked for sense.
    pub hint: Option<Hint>,
    /// The upstream's HTTP status, or the one inside its body; `None` where there was none.
    pub status: Option<u16>,
    /// The provider's own sentence, keys redacted, at most 1 KiB.
    pub message: String,
    /// A link the owner must open (verification, appeal, billing).
    pub link: Option<String>,
}

impl Failure {
    /// A failure without hint, status or link.
    pub fn new(verdict: Verdict, message: impl Into<String>) -> Self {
        Self {
            verdict,
            hint: None,
            status: None,
            message: message.into(),
            link: None,
        }
    }
}

/// The class of a failure. Blame lands on the smallest thing at fault.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// The provider wants the owner to do something first (`VALIDATION_REQUIRED`).
    ActionNeeded,
    /// The credential was refused (401, `API_KEY_INVALID`). OAuth: refresh once and repeat.
    Auth,
    /// The request is at fault; nobody else is. Also content policy.
    BadRequest,
    /// Account banned or terms violated: dead for good.
    Banned,
    /// The provider is overloaded (503, 529, no capacity): nobody's fault.
    Capacity,
    /// The request is longer than the model's context: the request is at fault.
    ContextLength,
    /// Revoked or unknown for good, or a client the vendor no longer serves; no second opinion needed.
    Dead,
    /// No money left on the account (402, `insufficient_quota`, credit balance).
    NoMoney,
    /// This model is not for this account or tier (403, 404 naming the model).
    NotAllowed,
    /// A quota that resets far away (per day, `QUOTA_EXHAUSTED`).
    Quota,
    /// Too many requests just now.
    RateLimit,
    /// Server error, network, time-out, garbage, empty or truncated answer.
    Transient(Fault),
}

/// What broke in a [`Verdict::Transient`] failure.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// DNS, TCP or TLS: nothing was sent.
    Connect,
    /// A 200 without content.
    Empty,
    /// Not the content type or format expected (HTML, broken JSON, a redirect).
    Garbage,
    /// The connection broke after the request was sent.
    Reset,
    /// 5xx.
    Server,
    /// No answer in time.
    Timeout,
    /// The answer broke off before its end.
    Truncated,
}

/// Whom a verdict blames.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub enum Blame {
    Credential,
    /// The credential, for this model class only.
    CredentialModel,
    /// The provider or the network: retries are budgeted.
    Provider,
    Request,
}

/// A wait the provider stated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hint {
    /// So long from when the answer came.
    After(Duration),
    /// Until this instant.
    Until(Timestamp),
}

impl Hint {
    /// The instant the wait ends, given when the answer came.
    pub fn end(self, received: Timestamp) -> Timestamp {
        match self {
            Self::After(wait) => received + wait,
            Self::Until(end) => end,
        }
    }
}

impl Verdict {
    /// The smallest thing at fault.
    pub const fn blame(self) -> Blame {
        match self {
            Self::BadRequest | Self::ContextLength => Blame::Request,
            Self::ActionNeeded | Self::Auth | Self::Banned | Self::Dead | Self::NoMoney => {
                Blame::Credential
            }
            Self::NotAllowed | Self::Quota | Self::RateLimit => Blame::CredentialModel,
            Self::Capacity | Self::Transient(_) => Blame::Provider,
        }
    }

    /// `true` if another credential is worth a try: passing over it is steering, not a retry.
    pub const fn is_steering(self) -> bool {
        matches!(self.blame(), Blame::Credential | Blame::CredentialModel)
    }

    /// `true` for connection errors and 5xx, for which another base URL may do.
    pub const fn is_of_the_address(self) -> bool {
        matches!(
            self,
            Self::Transient(Fault::Connect | Fault::Reset | Fault::Server)
        )
    }

    /// The name in logs, metrics (`verdict`), journal and config messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ActionNeeded => "action_needed",
            Self::Auth => "auth",
            Self::BadRequest => "bad_request",
            Self::Banned => "banned",
            Self::Capacity => "capacity",
            Self::ContextLength => "context_length",
            Self::Dead => "dead",
            Self::NoMoney => "no_money",
            Self::NotAllowed => "not_allowed",
            Self::Quota => "quota",
            Self::RateLimit => "rate_limit",
            Self::Transient(fault) => fault.as_str(),
        }
    }
}

impl Verdict {
    /// What `test-keys` says of a key whose test failed so.
    pub const fn key_status(self) -> KeyStatus {
        match self {
            Self::ActionNeeded | Self::Banned | Self::NotAllowed => KeyStatus::Forbidden,
            Self::Auth | Self::Dead => KeyStatus::Invalid,
            Self::NoMoney | Self::Quota => KeyStatus::NoQuota,
            Self::RateLimit => KeyStatus::RateLimited,
            Self::Transient(Fault::Connect | Fault::Reset | Fault::Timeout) => {
                KeyStatus::Unreachable
            }
            Self::BadRequest
            | Self::Capacity
            | Self::ContextLength
            | Self::Transient(Fault::Empty | Fault::Garbage | Fault::Server | Fault::Truncated) => {
                KeyStatus::Error
            }
        }
    }
}

/// The result of a key test.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyStatus {
    /// The provider answered something else: nothing is known of the key.
    Error,
    /// The key is known but may not be used, or not so.
    Forbidden,
    /// The provider does not know the key.
    Invalid,
    /// The key is good, the account has no money or quota left.
    NoQuota,
    Ok,
    /// The key is good and busy.
    RateLimited,
    /// The provider could not be asked.
    Unreachable,
}

impl KeyStatus {
    /// The name in `test-keys --json`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Forbidden => "forbidden",
            Self::Invalid => "invalid",
            Self::NoQuota => "no_quota",
            Self::Ok => "ok",
            Self::RateLimited => "rate_limited",
            Self::Unreachable => "unreachable",
        }
    }
}

impl Fault {
    /// The name in logs, metrics and journal.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Empty => "empty",
            Self::Garbage => "garbage",
            Self::Reset => "reset",
            Self::Server => "server",
            Self::Timeout => "timeout",
            Self::Truncated => "truncated",
        }
    }
}
