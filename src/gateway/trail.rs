//! The decision trail of one request: where it went, who was passed over and why, and each attempt
//! with its credential, verdict and effect.

use std::sync::Arc;
use std::time::Duration;
#[cfg(feature = "otlp")]
use std::time::SystemTime;

#[cfg(feature = "otlp")]
use http::HeaderValue;
use serde::Serialize;
use tokio::time::Instant;

use crate::dialects::usage::Usage;
use crate::dialects::{Dialect, Operation};
use crate::gateway::failure::Lost;
use crate::gateway::inbound::{Inbound, Scanned};
use crate::gateway::plan::Target;
#[cfg(feature = "otlp")]
use crate::gateway::spans;
use crate::ids::{CredentialId, ProviderId, RequestId};
use crate::pool::{Next, PassedOver, Refusal, Stop};
use crate::providers::verdict::Verdict;
use crate::secret::Fingerprint;
use crate::telemetry::Ending;
use crate::telemetry::journal::Story;
#[cfg(feature = "otlp")]
use crate::telemetry::traces::Trace;
use crate::time::Timestamp;

/// What happened to a request so far.
#[derive(Clone, Debug, Default)]
pub struct Trail {
    pub request: Option<Request>,
    /// Where it went, in this order.
    pub targets: Vec<Visit>,
    pub attempts: Vec<Attempt>,
    /// Access tokens that were renewed on the way.
    pub renewals: Vec<Renewal>,
}

/// An access token that was renewed for a request.
#[derive(Clone, Debug)]
pub struct Renewal {
    pub credential: CredentialId,
    /// Why, in words.
    pub why: &'static str,
    pub took: Duration,
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
#[derive(Clone, Debug)]
pub struct Outcome {
    pub ending: Ending,
    /// The status the client got.
    pub status: u16,
    /// What the client was told, if that was an error.
    pub error: Option<String>,
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
    /// The client's place in a trace of its own.
    #[cfg(feature = "otlp")]
    pub traceparent: Option<HeaderValue>,
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
    pub began: Instant,
    /// Until it was judged: of the one that served, until its first content byte.
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
            #[cfg(feature = "otlp")]
            traceparent: inbound.headers.get("traceparent").cloned(),
        };
        // Most requests go to one place once, and thousands of trails are kept: a list that grows
        // by itself begins with room for four.
        Self {
            request: Some(request),
            targets: Vec::with_capacity(1),
            attempts: Vec::with_capacity(1),
            renewals: Vec::new(),
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
    fn to_json(&self, outcome: &Outcome) -> String {
        let kept = Kept {
            request: self.request.as_ref().map(|request| KeptRequest {
                id: request.id.to_string(),
                client: &request.client,
                dialect: request.dialect.as_str(),
                operation: request.operation.as_str(),
                model: &request.model,
                stream: request.stream,
                at: request.at.to_rfc3339(),
            }),
            targets: self.targets.iter().map(KeptVisit::of).collect(),
            attempts: self.attempts.iter().map(KeptAttempt::of).collect(),
            renewals: self.renewals.iter().map(KeptRenewal::of).collect(),
            status: outcome.status,
            ending: outcome.ending.as_str(),
            error: outcome.error.as_deref(),
            ms: millis(outcome.duration),
            first_token_ms: outcome.first_token.map(millis),
            usage: outcome.usage.map(|usage| KeptUsage {
                prompt_tokens: usage.input,
                cached_tokens: usage.cache_read,
                cache_write_tokens: usage.cache_write,
                completion_tokens: usage.output,
                reasoning_tokens: usage.reasoning,
                estimated: usage.estimated,
            }),
            cost_usd: outcome.cost_usd,
        };
        // Strings and numbers: there is nothing that JSON could not hold.
        serde_json::to_string(&kept).unwrap_or_default()
    }
}

/// A finished request: what happened to it, and how it came out.
#[derive(Debug)]
pub struct Told {
    pub trail: Trail,
    pub outcome: Outcome,
    /// When it was over.
    pub ended: Instant,
    #[cfg(feature = "otlp")]
    pub ended_at: SystemTime,
}

impl Told {
    /// Of a request that is over just now.
    pub fn new(trail: Trail, outcome: Outcome) -> Self {
        Self {
            trail,
            outcome,
            ended: Instant::now(),
            #[cfg(feature = "otlp")]
            ended_at: SystemTime::now(),
        }
    }
}

impl Story for Told {
    fn to_json(&self) -> String {
        self.trail.to_json(&self.outcome)
    }

    #[cfg(feature = "otlp")]
    fn traceparent(&self) -> Option<&str> {
        let header = self.trail.request.as_ref()?.traceparent.as_ref();
        header.and_then(|value| value.to_str().ok())
    }

    #[cfg(feature = "otlp")]
    fn trace(&self) -> Trace {
        spans::trace(self)
    }
}

/// A trail in the journal.
#[derive(Serialize)]
struct Kept<'a> {
    request: Option<KeptRequest<'a>>,
    targets: Vec<KeptVisit<'a>>,
    attempts: Vec<KeptAttempt<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    renewals: Vec<KeptRenewal<'a>>,
    status: u16,
    ending: &'static str,
    error: Option<&'a str>,
    ms: u64,
    first_token_ms: Option<u64>,
    usage: Option<KeptUsage>,
    cost_usd: Option<f64>,
}

#[derive(Serialize)]
struct KeptRequest<'a> {
    id: String,
    client: &'a str,
    dialect: &'static str,
    operation: &'static str,
    model: &'a str,
    stream: bool,
    at: String,
}

#[derive(Serialize)]
struct KeptVisit<'a> {
    provider: &'a str,
    model: &'a str,
    passed_over: Vec<KeptPassedOver<'a>>,
    waited_ms: u64,
    end: Option<&'static str>,
}

#[derive(Serialize)]
struct KeptPassedOver<'a> {
    credential: &'a str,
    why: &'a str,
    until: Option<String>,
}

#[derive(Serialize)]
struct KeptAttempt<'a> {
    credential: &'a str,
    model: &'a str,
    status: Option<u16>,
    verdict: Option<&'static str>,
    message: &'a str,
    effect: &'static str,
    ms: u64,
}

#[derive(Serialize)]
struct KeptRenewal<'a> {
    credential: &'a str,
    why: &'static str,
    ms: u64,
}

#[derive(Serialize)]
struct KeptUsage {
    prompt_tokens: u64,
    cached_tokens: u64,
    cache_write_tokens: u64,
    completion_tokens: u64,
    reasoning_tokens: u64,
    estimated: bool,
}

impl<'a> KeptVisit<'a> {
    fn of(visit: &'a Visit) -> Self {
        let passed_over = visit.passed_over.iter();
        Self {
            provider: visit.provider.as_str(),
            model: &visit.model,
            passed_over: passed_over
                .map(|passed| KeptPassedOver {
                    credential: passed.credential.as_str(),
                    why: &passed.why,
                    until: passed.until.map(Timestamp::to_rfc3339),
                })
                .collect(),
            waited_ms: millis(visit.waited),
            end: (!visit.end.is_empty()).then_some(visit.end),
        }
    }
}

impl<'a> KeptRenewal<'a> {
    fn of(renewal: &'a Renewal) -> Self {
        Self {
            credential: renewal.credential.as_str(),
            why: renewal.why,
            ms: millis(renewal.took),
        }
    }
}

impl<'a> KeptAttempt<'a> {
    fn of(attempt: &'a Attempt) -> Self {
        Self {
            credential: attempt.credential.as_str(),
            model: &attempt.model,
            status: attempt.status,
            verdict: attempt.verdict.map(Verdict::as_str),
            message: &attempt.message,
            effect: attempt.effect,
            ms: millis(attempt.took),
        }
    }
}

impl Attempt {
    /// The call that served.
    pub fn served(who: Who, model: &str, status: u16, began: Instant) -> Self {
        let (credential, fingerprint) = who;
        Self {
            credential,
            fingerprint,
            model: model.to_owned(),
            status: Some(status),
            verdict: None,
            message: String::new(),
            effect: "served",
            began,
            took: began.elapsed(),
        }
    }

    /// A call that the client did not wait for.
    pub fn left(who: Who, model: &str, began: Instant) -> Self {
        let (credential, fingerprint) = who;
        Self {
            credential,
            fingerprint,
            model: model.to_owned(),
            status: None,
            verdict: None,
            message: String::new(),
            effect: "the client left",
            began,
            took: began.elapsed(),
        }
    }

    /// A call that failed.
    pub fn lost(who: Who, model: &str, lost: &Lost, next: Next, began: Instant) -> Self {
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
            began,
            took: began.elapsed(),
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
