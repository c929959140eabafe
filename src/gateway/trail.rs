//! The decision trail of one request: where it went, who was passed over and why, and each attempt
//! with its credential, verdict and effect.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::dialects::usage::Usage;
use crate::dialects::{Dialect, Operation};
use crate::gateway::failure::Lost;
use crate::gateway::inbound::{Inbound, Scanned};
use crate::gateway::plan::Target;
use crate::ids::{CredentialId, ProviderId, RequestId};
use crate::pool::{Next, PassedOver, Refusal, Stop};
use crate::providers::verdict::Verdict;
use crate::secret::Fingerprint;
use crate::telemetry::Ending;
use crate::time::Timestamp;

/// What happened to a request so far.
#[derive(Clone, Debug, Default)]
pub struct Trail {
    pub request: Option<Request>,
    /// Where it went, in this order.
    pub targets: Vec<Visit>,
    pub attempts: Vec<Attempt>,
}

/// One target that a request was tried on.
#[derive(Clone, Debug)]
pub struct Visit {
    pub provider: ProviderId,
    pub model: String,
    /// Who could not serve when the request came to it.
    pub passed_over: Vec<PassedOver>,
    /// How long the request waited for a credential.
    pub waited: Duration,
    /// Why it went on from here; empty where it was served.
    pub end: &'static str,
}

/// How it all came out.
#[derive(Clone, Copy, Debug)]
pub struct Outcome<'a> {
    pub ending: Ending,
    /// The status the client got.
    pub status: u16,
    /// What the client was told, if that was an error.
    pub error: Option<&'a str>,
    pub duration: Duration,
    pub first_token: Option<Duration>,
    pub usage: Option<Usage>,
    pub cost_usd: Option<f64>,
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
        let mut trail = Self::unread(scanned.inbound);
        if let Some(request) = &mut trail.request {
            request.model.clone_from(&scanned.model);
            request.stream = scanned.stream;
        }
        trail
    }

    /// The trail of a request whose body could not be understood.
    pub fn unread(inbound: &Inbound) -> Self {
        let request = Request {
            id: inbound.id,
            client: Arc::clone(&inbound.client),
            dialect: inbound.dialect,
            operation: inbound.operation,
            model: inbound.path_model.clone().unwrap_or_default(),
            stream: false,
            at: Timestamp::now(),
        };
        Self {
            request: Some(request),
            ..Self::default()
        }
    }

    /// Notes that the request turns to a target.
    pub fn visit(&mut self, target: &Target, passed_over: Vec<PassedOver>) {
        self.targets.push(Visit {
            provider: target.runtime.id.clone(),
            model: target.model.clone(),
            passed_over,
            waited: Duration::ZERO,
            end: "",
        });
    }

    /// Notes a wait for a credential of the target it is on.
    pub fn waited(&mut self, time: Duration) {
        if let Some(visit) = self.targets.last_mut() {
            visit.waited += time;
        }
    }

    /// Notes why the target it is on did not serve.
    pub fn left(&mut self, end: &'static str) {
        if let Some(visit) = self.targets.last_mut() {
            visit.end = end;
        }
    }

    /// The trail as the journal keeps it and `explain` reads it.
    pub fn to_json(&self, outcome: &Outcome<'_>) -> String {
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
        let targets: Vec<_> = self.targets.iter().map(Visit::to_json).collect();
        let attempts: Vec<_> = self.attempts.iter().map(Attempt::to_json).collect();
        let usage = outcome.usage.map(|usage| {
            json!({
                "prompt_tokens": usage.input,
                "cached_tokens": usage.cache_read,
                "cache_write_tokens": usage.cache_write,
                "completion_tokens": usage.output,
                "reasoning_tokens": usage.reasoning,
                "estimated": usage.estimated,
            })
        });
        json!({
            "request": request,
            "targets": targets,
            "attempts": attempts,
            "status": outcome.status,
            "ending": outcome.ending.as_str(),
            "error": outcome.error,
            "ms": millis(outcome.duration),
            "first_token_ms": outcome.first_token.map(millis),
            "usage": usage,
            "cost_usd": outcome.cost_usd,
        })
        .to_string()
    }
}

impl Visit {
    fn to_json(&self) -> Value {
        let passed_over: Vec<_> = self
            .passed_over
            .iter()
            .map(|passed| {
                json!({
                    "credential": passed.credential.as_str(),
                    "why": passed.why,
                    "until": passed.until.map(Timestamp::to_rfc3339),
                })
            })
            .collect();
        json!({
            "provider": self.provider.as_str(),
            "model": self.model,
            "passed_over": passed_over,
            "waited_ms": millis(self.waited),
            "end": (!self.end.is_empty()).then_some(self.end),
        })
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
            "ms": millis(self.took),
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

/// Why a target could not serve, in words.
pub const fn refused(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::AllRefused => "the provider has refused every credential",
        Refusal::Busy => "every credential is busy past the deadline",
        Refusal::Cooling { .. } => "every credential rests past the deadline",
        Refusal::NoCredentials => "there is no enabled credential",
        Refusal::NotAllowed => "the model is not for any of the credentials",
        Refusal::ProviderBackoff { .. } => "the provider as a whole backs off past the deadline",
        Refusal::RetriesSpent => "every credential that could serve has failed this request",
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// What becomes of a request that is not tried again here.
pub const fn words(stop: Stop) -> &'static str {
    match stop {
        Stop::AttemptsSpent => "answered: max_attempts is reached",
        Stop::BadRequest => "answered: the request is at fault",
        Stop::BudgetSpent => "answered: the retry budget is spent",
        Stop::ContentSent => "answered: content was already sent",
        Stop::DeadlineReached => "answered: the deadline is reached",
        Stop::Done => "answered",
    }
}
