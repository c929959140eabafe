//! What the gateway asks of the pool and what it is answered: one request's side of the talk.

use std::time::Duration;

use crate::dialects::usage::Usage;
use crate::providers::verdict::Failure;
use crate::time::Timestamp;

use super::Place;
use super::passed_over::PassedOver;

/// One request's wish for a credential, and its memory over all its attempts.
///
/// Made once a request and target; [`Ask::retarget`] carries it to a fallback target. Dropping
/// it leaves the queue, if it stood in one.
#[derive(Debug)]
pub struct Ask {
    /// The model as the provider names it.
    pub model: String,
    /// The conversation's hash (client key included), for affinity.
    pub session: Option<u64>,
    /// No wait and no new attempt goes beyond it.
    pub deadline: Timestamp,
    /// Whose request it is, as a number of the caller's own; those who wait are served in turn.
    pub client: u64,
    /// Which credentials could not serve when this pool was first asked, and why; of a large pool
    /// the first few only. For whoever tells the request's story.
    pub passed_over: Option<Vec<PassedOver>>,
    pub(super) memory: Memory,
    /// Where it stands in a pool's queue.
    pub(super) place: Option<Place>,
}

impl Ask {
    /// A fresh request.
    pub fn new(model: impl Into<String>, session: Option<u64>, deadline: Timestamp) -> Self {
        Self {
            model: model.into(),
            session,
            deadline,
            client: 0,
            passed_over: None,
            memory: Memory::default(),
            place: None,
        }
    }

    /// Turns to another model or provider: what was tried there is unknown here, but losses to
    /// provider and network still count.
    pub fn retarget(&mut self, model: impl Into<String>) {
        self.model = model.into();
        self.place = None;
        self.passed_over = None;
        self.memory.tried.clear();
        self.memory.prefer = None;
        self.memory.counted = false;
    }

    /// Upstream calls lost to the provider or the network so far.
    pub const fn losses(&self) -> u32 {
        self.memory.losses
    }
}

/// What a request remembers between attempts.
#[derive(Clone, Debug, Default)]
pub(super) struct Memory {
    pub(super) tried: Vec<Tried>,
    /// Upstream calls lost to provider or network.
    pub(super) losses: u32,
    /// The credential to retry on, if it is still eligible.
    pub(super) prefer: Option<u32>,
    /// Whether the retry budget has seen this request.
    pub(super) counted: bool,
}

/// One credential this request has used.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tried {
    pub(super) slot: u32,
    /// Whether a wait came of the failure, and with the end of that the request may have it again.
    pub(super) may_return: bool,
    /// Retries made on it.
    pub(super) retries: u32,
    /// Whether it is out (`false` while it is to be retried).
    pub(super) is_out: bool,
}

impl Memory {
    /// `true` if the request has had this credential and nothing will change that.
    pub(super) fn excludes(&self, slot: u32) -> bool {
        self.tried
            .iter()
            .any(|tried| tried.slot == slot && tried.is_out && !tried.may_return)
    }

    /// `true` if this request has already failed on the credential: it moves its ladder no more.
    pub(super) fn has_tried(&self, slot: u32) -> bool {
        self.tried.iter().any(|tried| tried.slot == slot)
    }

    /// The record of a credential, made if missing.
    pub(super) fn record(&mut self, slot: u32) -> &mut Tried {
        let at = self.tried.iter().position(|tried| tried.slot == slot);
        let at = at.unwrap_or_else(|| {
            self.tried.push(Tried {
                slot,
                may_return: false,
                retries: 0,
                is_out: false,
            });
            self.tried.len() - 1
        });
        &mut self.tried[at]
    }
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug)]
pub enum Outcome<'a> {
    /// The client left: nobody is blamed, the tokens seen so far count.
    Cancelled { usage: Option<Usage> },
    /// The attempt failed and the provider's table judged it.
    Failed {
        failure: &'a Failure,
        /// Content had reached the client: same blame, no replay.
        after_content: bool,
    },
    /// The attempt failed and a rule of the user's (`[[routing.errors]]`) decides, or the gateway,
    /// which could not even begin.
    Ruled { rule: Rule, failure: &'a Failure },
    /// A whole answer came.
    Success { usage: Option<Usage> },
}

/// What a rule, mostly a user's own, does with a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// `cool:60s`: the (credential, model class) rests so long; next credential.
    Cool(Duration),
    /// `dead`: the credential is out until enabled; next credential.
    Dead,
    /// `fail`: answer at once, blame nobody.
    Fail,
    /// The credential as a whole rests so long, since its access token cannot be renewed; next
    /// credential.
    Rest(Duration),
    /// `retry`: same credential after a backoff, then the next; blame nobody.
    Retry,
    /// `rotate`: next credential, blame nobody.
    Rotate,
}

/// What the gateway does after an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Waits `after` (often zero), then calls [`super::Pool::acquire`] again with the same
    /// [`Ask`]. Where the same credential is to be retried the pool hands it out again, unless it
    /// has ceased to be eligible meanwhile.
    Again {
        after: Duration,
        /// Whether the same credential is meant, for the decision trail.
        same_credential: bool,
    },
    /// Answers the client now.
    Answer(Stop),
}

/// Why a request goes no further.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub enum Stop {
    /// It lost `max_attempts` calls to provider or network.
    AttemptsSpent,
    /// The request is at fault, or a rule says so: the provider's own status and message.
    BadRequest,
    /// The retry budget is spent: the provider is broken and must not be hammered.
    BudgetSpent,
    /// Content reached the client: the dialect's in-stream error.
    ContentSent,
    /// The deadline has come, or would before the next attempt.
    DeadlineReached,
    /// Nothing failed.
    Done,
}

impl Stop {
    /// `true` if another target (a fallback provider or model) may still serve the request.
    pub const fn may_fall_back(self) -> bool {
        matches!(
            self,
            Self::AttemptsSpent | Self::BudgetSpent | Self::DeadlineReached
        )
    }
}

/// Why nobody can serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The provider has refused every credential: revoked, no money, banned, to be verified.
    AllRefused,
    /// Every credential is at its concurrency, past the deadline.
    Busy,
    /// Every credential rests past the deadline. `until` is the soonest end of a cooldown,
    /// window or quota, never of a half-open probe.
    Cooling { until: Timestamp },
    /// There is no credential, or all are disabled.
    NoCredentials,
    /// The provider says of every credential that this model is not for it.
    NotAllowed,
    /// The provider as a whole backs off past the deadline.
    ProviderBackoff { until: Timestamp },
    /// Whoever could serve has failed this request already: answer with its last failure.
    RetriesSpent,
}
