//! Every failure becomes an answer here, in one place: what was lost on the way, and what the
//! client is told when nobody could serve.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};

use crate::dialects::error::{ErrorKind, ErrorReply, UpstreamError};
use crate::dialects::{Dialect, codec, signature};
use crate::gateway::attempt::TargetEnd;
use crate::gateway::plan::no_credentials;
use crate::gateway::trail::{Outcome, Told, Trail};
use crate::gateway::upstream::SendError;
use crate::ids::RequestId;
use crate::pool::{Refusal, Rule, Stop};
use crate::providers::verdict::{Failure, Fault, Verdict};
use crate::telemetry::{Ending, Finished};
use crate::time::{Timestamp, humanize};

/// A failed attempt: the judgement, and the upstream's answer for clients of the same dialect.
#[derive(Debug)]
pub struct Lost {
    pub failure: Failure,
    /// Absent where there was no answer.
    pub reply: Option<Box<LostReply>>,
    /// What is to become of the credential, where the verdict does not say.
    pub rule: Option<Rule>,
}

/// An upstream's failed answer.
#[derive(Debug)]
pub struct LostReply {
    pub dialect: Dialect,
    pub status: StatusCode,
    /// Only what may reach a client.
    pub headers: HeaderMap,
    /// Keys already redacted.
    pub body: Bytes,
}

impl Lost {
    /// No answer came.
    pub fn unsent(error: SendError) -> Self {
        Self::judged(error.failure())
    }

    /// A failure without an answer to pass on.
    pub const fn judged(failure: Failure) -> Self {
        Self {
            failure,
            reply: None,
            rule: None,
        }
    }

    /// A failure that means something else for the credential than its verdict would.
    pub const fn ruled(failure: Failure, rule: Rule) -> Self {
        Self {
            failure,
            reply: None,
            rule: Some(rule),
        }
    }

    /// An answer came that is none.
    pub fn garbage(status: StatusCode, message: impl Into<String>) -> Self {
        let failure = Failure::new(Verdict::Transient(Fault::Garbage), message);
        Self::judged(Failure {
            status: Some(status.as_u16()),
            ..failure
        })
    }

    /// The answer's status, or the one its body reports.
    pub fn status(&self) -> Option<u16> {
        self.failure
            .status
            .or_else(|| self.reply.as_ref().map(|reply| reply.status.as_u16()))
    }

    /// Whether the upstream's answer holds a text, as `body_contains` of the user's rules asks.
    pub fn body_contains(&self, text: &str) -> bool {
        self.reply
            .as_ref()
            .is_some_and(|reply| memchr::memmem::find(&reply.body, text.as_bytes()).is_some())
    }

    /// `true` if the upstream refuses the request for a signature of thinking in it.
    pub fn refuses_signature(&self) -> bool {
        let failure = &self.failure;
        failure.verdict == Verdict::BadRequest
            && self.status() == Some(400)
            && signature::is_refusal(&failure.message)
    }
}

/// What the client is told.
#[derive(Debug)]
pub struct DeadEnd {
    pub error: ErrorReply,
    /// The upstream's own answer, to pass on where the client speaks its dialect.
    pub passed: Option<Box<LostReply>>,
    pub trail: Trail,
}

impl DeadEnd {
    /// The request is at fault; nobody was asked.
    pub fn of_request(error: ErrorReply, trail: Trail) -> Box<Self> {
        Box::new(Self {
            error,
            passed: None,
            trail,
        })
    }

    /// Sums up why no target served. The answer is the most helpful one: a fault of the request
    /// itself, else the soonest time at which waiting helps, else what is broken.
    pub fn new(ends: Vec<TargetEnd>, trail: Trail, now: Timestamp) -> Self {
        let told = ends.into_iter().map(|end| explain(end, now));
        let best = told
            .min_by_key(|(error, _)| (helpfulness(error), error.retry_after.unwrap_or(u64::MAX)));
        let (error, passed) = best.unwrap_or_else(|| (no_credentials("asked for"), None));
        Self {
            error,
            passed,
            trail,
        }
    }
}

impl DeadEnd {
    /// What a client of this dialect gets: the upstream's own words where it spoke the same, since
    /// clients match on their vendor's wording.
    pub fn answer(&self, dialect: Dialect) -> (StatusCode, HeaderMap, Bytes) {
        if let Some(reply) = &self.passed
            && reply.dialect == dialect
            && !reply.body.is_empty()
        {
            return (reply.status, reply.headers.clone(), reply.body.clone());
        }
        let status = StatusCode::from_u16(self.error.status).unwrap_or(StatusCode::BAD_GATEWAY);
        let mut headers = HeaderMap::new();
        let json = HeaderValue::from_static("application/json");
        headers.insert(header::CONTENT_TYPE, json);
        (
            status,
            headers,
            codec(dialect).write_error(&self.error).into(),
        )
    }

    /// The record of the request that ended here.
    pub fn finished(&self, duration: Duration) -> Finished {
        let (status, error) = (self.error.status, &self.error.message);
        let trail = self.trail.clone();
        unserved(trail, Ending::Failed, status, Some(error), duration)
    }
}

/// The record of a request that nobody served.
pub fn unserved(
    trail: Trail,
    ending: Ending,
    status: u16,
    error: Option<&str>,
    duration: Duration,
) -> Finished {
    let last = trail.attempts.last();
    let target = trail.targets.last();
    let request = trail.request.as_ref();
    let outcome = Outcome {
        ending,
        status,
        error: error.map(str::to_owned),
        duration,
        first_token: None,
        usage: None,
        cost_usd: None,
    };
    Finished {
        id: request.map_or(RequestId(0), |request| request.id),
        client: request.map_or_else(|| Arc::from(""), |request| Arc::clone(&request.client)),
        provider: match (last, target) {
            (Some(attempt), _) => attempt.credential.provider().to_owned(),
            (None, Some(visit)) => visit.provider.to_string(),
            (None, None) => String::new(),
        },
        model: match (last, target) {
            (Some(attempt), _) => attempt.model.clone(),
            (None, Some(visit)) => visit.model.clone(),
            (None, None) => String::new(),
        },
        credential: last.map(|attempt| attempt.credential.clone()),
        status,
        ending,
        attempts: trail.attempts.len(),
        usage: None,
        first_token: None,
        duration,
        fingerprint: last.map(|attempt| attempt.fingerprint),
        cost_usd: None,
        story: Arc::new(Told::new(trail, outcome)),
    }
}

/// Lower is told first.
fn helpfulness(error: &ErrorReply) -> u8 {
    match (error.kind, error.code.as_deref()) {
        (ErrorKind::RateLimit, _) => 1,
        (
            ErrorKind::Provider | ErrorKind::Overloaded | ErrorKind::Timeout,
            Some("credentials_refused"),
        ) => 3,
        (
            ErrorKind::Provider | ErrorKind::Overloaded | ErrorKind::Timeout,
            Some("no_credentials"),
        ) => 4,
        (ErrorKind::Provider | ErrorKind::Overloaded | ErrorKind::Timeout, _) => 2,
        _ => 0,
    }
}

fn explain(end: TargetEnd, now: Timestamp) -> (ErrorReply, Option<Box<LostReply>>) {
    match end {
        TargetEnd::Unfit(error) => (error, None),
        TargetEnd::Stopped {
            provider,
            stop,
            lost,
        } => stopped(&provider, stop, lost, now),
        TargetEnd::Refused {
            provider,
            refusal,
            last,
        } => refused(&provider, refusal, last, now),
    }
}

fn stopped(
    provider: &str,
    stop: Stop,
    lost: Lost,
    now: Timestamp,
) -> (ErrorReply, Option<Box<LostReply>>) {
    match stop {
        Stop::BadRequest => bad_request(provider, lost),
        Stop::AttemptsSpent
        | Stop::BudgetSpent
        | Stop::ContentSent
        | Stop::DeadlineReached
        | Stop::Done => (of_failure(provider, &lost.failure, now), None),
    }
}

/// The upstream's own status and message, at once.
fn bad_request(provider: &str, lost: Lost) -> (ErrorReply, Option<Box<LostReply>>) {
    let status = lost
        .status()
        .filter(|status| (400..500).contains(status))
        .unwrap_or(400);
    let parsed = lost
        .reply
        .as_ref()
        .and_then(|reply| UpstreamError::parse(Some(status), &reply.body));
    let code = match lost.failure.verdict {
        Verdict::ContextLength => Some("context_length_exceeded".to_owned()),
        _ => parsed.as_ref().and_then(|error| error.code.clone()),
    };
    let kind = if status == 403 {
        ErrorKind::Permission
    } else {
        ErrorKind::InvalidRequest
    };
    let message = if lost.failure.message.is_empty() {
        format!("{provider} refused the request")
    } else {
        lost.failure.message
    };
    let error = ErrorReply {
        status,
        kind,
        code: code.map(Into::into),
        message,
        param: parsed.and_then(|error| error.param),
        retry_after: None,
    };
    let passed = lost.reply.map(|mut reply| {
        // A 429 that blames the request's size is judged a 413: told as 429 it would be retried.
        reply.status = StatusCode::from_u16(status).unwrap_or(reply.status);
        reply
    });
    (error, passed)
}

fn refused(
    provider: &str,
    refusal: Refusal,
    last: Option<Lost>,
    now: Timestamp,
) -> (ErrorReply, Option<Box<LostReply>>) {
    let error = match refusal {
        Refusal::AllRefused => {
            let message = format!(
                "{provider} refuses every credential{}; see `llmproxy creds list {provider}`",
                because(last.as_ref())
            );
            ErrorReply::new(503, ErrorKind::Provider, "credentials_refused", message)
        }
        Refusal::Busy => {
            let message = format!("every credential of {provider} is at its concurrency limit");
            let error = ErrorReply::new(429, ErrorKind::RateLimit, "all_credentials_busy", message);
            ErrorReply {
                retry_after: Some(1),
                ..error
            }
        }
        Refusal::Cooling { until } => cooling(provider, until, now),
        Refusal::NoCredentials => no_credentials(provider),
        Refusal::NotAllowed => {
            if let Some(lost) = last {
                let (error, reply) = bad_request(provider, as_not_found(lost));
                let code = Some("model_not_found".into());
                return (ErrorReply { code, ..error }, reply);
            }
            let message = format!("no credential of {provider} may use this model");
            ErrorReply::new(404, ErrorKind::InvalidRequest, "model_not_found", message)
        }
        Refusal::ProviderBackoff { until } => {
            let wait = now.until(until);
            // A request that met the trouble itself is told what it was.
            let met = last.as_ref();
            let met = met.map(|lost| of_failure(provider, &lost.failure, now));
            let error = met.unwrap_or_else(|| {
                let message = format!(
                    "{provider} is failing; it is tried again in {}",
                    humanize(wait)
                );
                ErrorReply::new(502, ErrorKind::Provider, "upstream_error", message)
            });
            ErrorReply {
                retry_after: Some(whole_seconds(wait)),
                ..error
            }
        }
        Refusal::RetriesSpent => match last {
            Some(lost) => of_failure(provider, &lost.failure, now),
            None => ErrorReply::new(
                502,
                ErrorKind::Provider,
                "upstream_error",
                format!("{provider} failed"),
            ),
        },
    };
    (error, None)
}

/// A 403 that says the model is not for this account is, when all accounts say so, a 404.
fn as_not_found(mut lost: Lost) -> Lost {
    lost.failure.status = Some(404);
    lost.reply = None;
    lost
}

/// 429 with the soonest end of a cooldown.
fn cooling(provider: &str, until: Timestamp, now: Timestamp) -> ErrorReply {
    let wait = now.until(until);
    let message = format!(
        "every credential of {provider} is cooling down; the first is back in {}",
        humanize(wait)
    );
    let error = ErrorReply::new(
        429,
        ErrorKind::RateLimit,
        "all_credentials_cooling",
        message,
    );
    ErrorReply {
        retry_after: Some(whole_seconds(wait)),
        ..error
    }
}

/// What a failure of the provider, the network or a credential is told as.
pub fn of_failure(provider: &str, failure: &Failure, now: Timestamp) -> ErrorReply {
    let detail = if failure.message.is_empty() {
        String::new()
    } else {
        format!(": {}", failure.message)
    };
    match failure.verdict {
        Verdict::Transient(Fault::Timeout) => ErrorReply::new(
            504,
            ErrorKind::Timeout,
            "upstream_timeout",
            format!("{provider} did not answer in time{detail}"),
        ),
        Verdict::Capacity => ErrorReply::new(
            502,
            ErrorKind::Overloaded,
            "upstream_error",
            format!("{provider} is overloaded{detail}"),
        ),
        Verdict::RateLimit | Verdict::Quota => match failure.hint {
            Some(hint) => cooling(provider, hint.end(now), now),
            None => cooling(provider, now + Duration::from_secs(1), now),
        },
        Verdict::ActionNeeded
        | Verdict::Auth
        | Verdict::Banned
        | Verdict::Dead
        | Verdict::NoMoney
        | Verdict::NotAllowed => ErrorReply::new(
            503,
            ErrorKind::Provider,
            "credentials_refused",
            format!("{provider} refuses the credential{detail}"),
        ),
        Verdict::BadRequest | Verdict::ContextLength => {
            ErrorReply::invalid(format!("{provider} refused the request{detail}"))
        }
        Verdict::Transient(_) => ErrorReply::new(
            502,
            ErrorKind::Provider,
            "upstream_error",
            format!("{provider} failed{detail}"),
        ),
    }
}

fn because(last: Option<&Lost>) -> String {
    match last {
        Some(lost) if !lost.failure.message.is_empty() => format!(": {}", lost.failure.message),
        _ => String::new(),
    }
}

/// Rounded up, at least 1: a client told 0 would try at once and fail again.
fn whole_seconds(wait: Duration) -> u64 {
    wait.as_millis()
        .div_ceil(1000)
        .clamp(1, u128::from(u64::MAX))
        .try_into()
        .unwrap_or(u64::MAX)
}
