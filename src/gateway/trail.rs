//! The decision trail of one request: each attempt with its credential, verdict and effect.

use std::sync::Arc;
use std::time::Duration;

use crate::dialects::{Dialect, Operation};
use crate::gateway::failure::Lost;
use crate::gateway::inbound::Scanned;
use crate::ids::{CredentialId, RequestId};
use crate::pool::{Next, Stop};
use crate::providers::verdict::Verdict;
use crate::time::Timestamp;

/// What happened to a request so far.
#[derive(Clone, Debug, Default)]
pub struct Trail {
    pub request: Option<Request>,
    pub attempts: Vec<Attempt>,
}

/// The request as it came.
#[derive(Clone, Debug)]
pub struct Request {
    pub id: RequestId,
    pub client: Arc<str>,
    pub dialect: Dialect,
    pub operation: Operation,
    pub model: String,
    pub stream: bool,
    pub at: Timestamp,
}

/// One upstream call.
#[derive(Clone, Debug)]
pub struct Attempt {
    pub credential: CredentialId,
    pub model: String,
    pub status: Option<u16>,
    /// `None` for the one that served.
    pub verdict: Option<Verdict>,
    /// The provider's sentence, redacted.
    pub message: String,
    /// What came of it, in words.
    pub effect: &'static str,
    pub took: Duration,
}

impl Trail {
    /// An empty trail of a request.
    pub fn new(scanned: &Scanned<'_>) -> Self {
        let inbound = scanned.inbound;
        let request = Request {
            id: inbound.id,
            client: Arc::clone(&inbound.client),
            dialect: inbound.dialect,
            operation: inbound.operation,
            model: scanned.model.clone(),
            stream: scanned.stream,
            at: Timestamp::now(),
        };
        Self {
            request: Some(request),
            attempts: Vec::new(),
        }
    }
}

impl Attempt {
    /// The call that served.
    pub fn served(credential: CredentialId, model: &str, status: u16, took: Duration) -> Self {
        Self {
            credential,
            model: model.to_owned(),
            status: Some(status),
            verdict: None,
            message: String::new(),
            effect: "served",
            took,
        }
    }

    /// A call that failed.
    pub fn lost(
        credential: CredentialId,
        model: &str,
        lost: &Lost,
        next: Next,
        took: Duration,
    ) -> Self {
        let effect = match next {
            Next::Again {
                same_credential: true,
                ..
            } => "retried on the same credential",
            Next::Again { .. } => "passed to the next credential",
            Next::Answer(stop) => words(stop),
        };
        Self {
            credential,
            model: model.to_owned(),
            status: lost.status(),
            verdict: Some(lost.failure.verdict),
            message: lost.failure.message.clone(),
            effect,
            took,
        }
    }
}

const fn words(stop: Stop) -> &'static str {
    match stop {
        Stop::AttemptsSpent => "answered: max_attempts is reached",
        Stop::BadRequest => "answered: the request is at fault",
        Stop::BudgetSpent => "answered: the retry budget is spent",
        Stop::ContentSent => "answered: content was already sent",
        Stop::DeadlineReached => "answered: the deadline is reached",
        Stop::Done => "answered",
    }
}
