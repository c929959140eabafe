//! The decision trail of one request: each attempt with its credential, verdict and effect.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::dialects::{Dialect, Operation};
use crate::gateway::failure::Lost;
use crate::gateway::inbound::Scanned;
use crate::ids::{CredentialId, RequestId};
use crate::pool::{Next, Stop};
use crate::providers::verdict::Verdict;
use crate::secret::Fingerprint;
use crate::telemetry::Ending;
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

/// A credential and which secret of it was used.
pub type Who = (CredentialId, Fingerprint);

/// One upstream call.
#[derive(Clone, Debug)]
pub struct Attempt {
    pub credential: CredentialId,
    pub fingerprint: Fingerprint,
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

impl Trail {
    /// The trail as the journal keeps it and `explain` reads it.
    pub fn to_json(&self, ending: Ending, status: u16) -> String {
        let request = self.request.as_ref().map(|request| {
            json!({
                "id": request.id.to_string(),
                "client": &*request.client,
                "dialect": request.dialect.as_str(),
                "operation": request.operation.as_str(),
                "model": request.model,
                "stream": request.stream,
                "at": request.at.to_rfc3339(),
            })
        });
        let attempts: Vec<_> = self.attempts.iter().map(Attempt::to_json).collect();
        let ending = ending.as_str();
        json!({"request": request, "attempts": attempts, "status": status, "ending": ending})
            .to_string()
    }
}

impl Attempt {
    fn to_json(&self) -> Value {
        json!({
            "credential": self.credential.as_str(),
            "model": self.model,
            "status": self.status,
            "verdict": self.verdict.map(Verdict::as_str),
            "message": self.message,
            "effect": self.effect,
            "ms": u64::try_from(self.took.as_millis()).unwrap_or(u64::MAX),
        })
    }

    /// The call that served.
    pub fn served(who: Who, model: &str, status: u16, took: Duration) -> Self {
        let (credential, fingerprint) = who;
        Self {
            credential,
            fingerprint,
            model: model.to_owned(),
            status: Some(status),
            verdict: None,
            message: String::new(),
            effect: "served",
            took,
        }
    }

    /// A call that failed.
    pub fn lost(who: Who, model: &str, lost: &Lost, next: Next, took: Duration) -> Self {
        let effect = match next {
            Next::Again {
                same_credential: true,
                ..
            } => "retried on the same credential",
            Next::Again { .. } => "passed to the next credential",
            Next::Answer(stop) => words(stop),
        };
        let (credential, fingerprint) = who;
        Self {
            credential,
            fingerprint,
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
