//! A finished request as spans: the request as the client saw it, and below it each upstream call,
//! named by OpenTelemetry's conventions for HTTP servers and for generative AI
//! (<https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-spans/>, read 2026-11-26).
//!
//! Never a prompt, an answer, a vendor's sentence or a secret: names, numbers and times only.

use std::time::{Duration, UNIX_EPOCH};

use crate::dialects::{Dialect, Operation};
use crate::gateway::trail::{Attempt, Request, Told};
use crate::telemetry::Ending;
use crate::telemetry::journal::Story;
use crate::telemetry::traces::parent::Parent;
use crate::telemetry::traces::{Kind, Span, Trace, Value};

/// Providers whose names the conventions fix.
const KNOWN_NAMES: [(&str, &str); 8] = [
    ("azure", "azure.ai.openai"),
    ("bedrock", "aws.bedrock"),
    ("gemini", "gcp.gemini"),
    ("mistral", "mistral_ai"),
    ("vertex", "gcp.vertex_ai"),
    ("vertex_ai", "gcp.vertex_ai"),
    ("watsonx", "ibm.watsonx.ai"),
    ("xai", "x_ai"),
];

/// The spans of a request. A client that traces is the parent of the first; else the request's id is
/// the trace's, so that `x-request-id` finds it.
pub fn trace(told: &Told) -> Trace {
    let request = told.trail.request.as_ref();
    let parent = told.traceparent().and_then(Parent::read);
    let root = Span {
        id: fastrand::u64(1..),
        parent: parent.map(|parent| parent.span),
        kind: Kind::Server,
        name: request.map_or_else(
            || "request".to_owned(),
            |request| format!("POST {}", route(request)),
        ),
        began: told.nanos(told.lasted()),
        ended: told.nanos(Duration::ZERO),
        attributes: root(told),
        failed: told.outcome.ending == Ending::Failed && !is_callers(told.outcome.status),
    };
    let numbered = told.trail.attempts.iter().enumerate();
    let attempts: Vec<Span> = numbered
        .map(|(index, attempt)| call(told, attempt, index, &root))
        .collect();
    let own = request.map_or(0, |request| request.id.0);
    Trace {
        id: parent.map_or(own, |parent| parent.trace),
        spans: std::iter::once(root).chain(attempts).collect(),
    }
}

impl Told {
    /// From its first moment to its end. Its duration was taken a moment before the end was, so none of
    /// its calls may seem to have begun before it.
    fn lasted(&self) -> Duration {
        let attempts = self.trail.attempts.iter();
        let first = attempts.map(|attempt| attempt.began).min();
        let calls = first.map(|first| self.ended.saturating_duration_since(first));
        self.outcome.duration.max(calls.unwrap_or_default())
    }

    /// The time so long before its end, in nanoseconds since the epoch.
    fn nanos(&self, before_end: Duration) -> u64 {
        let at = self.ended_at.checked_sub(before_end);
        let since = at.and_then(|at| at.duration_since(UNIX_EPOCH).ok());
        since.map_or(0, |since| {
            u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
        })
    }
}

/// A refusal of the request is no error of the server's.
const fn is_callers(status: u16) -> bool {
    status >= 400 && status < 500
}

fn root(told: &Told) -> Vec<(&'static str, Value)> {
    let (trail, outcome) = (&told.trail, &told.outcome);
    let mut attributes = vec![
        ("http.request.method", text("POST")),
        (
            "http.response.status_code",
            Value::Int(outcome.status.into()),
        ),
        ("llmproxy.ending", text(outcome.ending.as_str())),
        ("llmproxy.attempts", Value::Int(trail.attempts.len() as u64)),
    ];
    if let Some(request) = &trail.request {
        attributes.extend([
            ("http.route", text(route(request))),
            ("llmproxy.request_id", text(request.id.to_string())),
            ("llmproxy.client", text(&*request.client)),
            ("llmproxy.dialect", text(request.dialect.as_str())),
        ]);
        if !request.model.is_empty() {
            attributes.push(("llmproxy.model", text(&request.model)));
        }
    }
    if outcome.ending == Ending::Failed {
        attributes.push(("error.type", text(outcome.status.to_string())));
    }
    attributes
}

/// One upstream call. Of the one that served it lasts until the answer's end, and has what it used.
fn call(told: &Told, attempt: &Attempt, index: usize, root: &Span) -> Span {
    let request = told.trail.request.as_ref();
    let operation = request.map_or("chat", operation);
    let has_served = attempt.verdict.is_none() && attempt.status.is_some();
    let since = told.ended.saturating_duration_since(attempt.began);
    let ended = if has_served {
        Duration::ZERO
    } else {
        since.saturating_sub(attempt.took)
    };
    let provider = attempt.credential.provider();
    let mut attributes = vec![
        ("gen_ai.operation.name", text(operation)),
        ("gen_ai.provider.name", text(named(provider))),
        ("gen_ai.request.model", text(&attempt.model)),
        ("llmproxy.provider", text(provider)),
        ("llmproxy.credential", text(attempt.credential.as_str())),
        ("llmproxy.effect", text(attempt.effect)),
        ("llmproxy.attempt", Value::Int(index as u64 + 1)),
    ];
    if let Some(status) = attempt.status {
        attributes.push(("http.response.status_code", Value::Int(status.into())));
    }
    let mut failed = attempt.verdict.is_some();
    if let Some(verdict) = attempt.verdict {
        attributes.push(("error.type", text(verdict.as_str())));
    } else if has_served && told.outcome.ending == Ending::Failed {
        attributes.push(("error.type", text("stream")));
        failed = true;
    }
    if has_served {
        attributes.extend(used(told));
    }
    Span {
        id: fastrand::u64(1..),
        parent: Some(root.id),
        kind: Kind::Client,
        name: format!("{operation} {}", attempt.model),
        began: told.nanos(since),
        ended: told.nanos(ended),
        attributes,
        failed,
    }
}

fn used(told: &Told) -> Vec<(&'static str, Value)> {
    let outcome = &told.outcome;
    let mut attributes = Vec::new();
    let is_stream = told
        .trail
        .request
        .as_ref()
        .is_some_and(|request| request.stream);
    if is_stream {
        attributes.push(("gen_ai.request.stream", Value::Bool(true)));
        if let Some(time) = outcome.first_token {
            let seconds = Value::Float(time.as_secs_f64());
            attributes.push(("gen_ai.response.time_to_first_chunk", seconds));
        }
    }
    if let Some(usage) = outcome.usage {
        attributes.extend([
            ("gen_ai.usage.input_tokens", Value::Int(usage.input)),
            ("gen_ai.usage.output_tokens", Value::Int(usage.output)),
        ]);
        for (name, count) in [
            ("gen_ai.usage.cache_read.input_tokens", usage.cache_read),
            (
                "gen_ai.usage.cache_creation.input_tokens",
                usage.cache_write,
            ),
            ("gen_ai.usage.reasoning.output_tokens", usage.reasoning),
        ] {
            if count > 0 {
                attributes.push((name, Value::Int(count)));
            }
        }
        if usage.estimated {
            attributes.push(("llmproxy.usage.estimated", Value::Bool(true)));
        }
    }
    if let Some(dollars) = outcome.cost_usd {
        attributes.push(("llmproxy.cost_usd", Value::Float(dollars)));
    }
    attributes
}

fn text(text: impl Into<String>) -> Value {
    Value::Text(text.into())
}

/// The conventions' name of a provider; its own where they have none.
fn named(provider: &str) -> &str {
    let known = KNOWN_NAMES.iter().find(|(ours, _)| *ours == provider);
    known.map_or(provider, |(_, theirs)| theirs)
}

fn operation(request: &Request) -> &'static str {
    match request.operation {
        Operation::Chat | Operation::Compact => "chat",
        Operation::Completions => "text_completion",
        Operation::CountTokens => "count_tokens",
        Operation::Embeddings => "embeddings",
    }
}

/// The route as the conventions want it: without what differs from request to request.
fn route(request: &Request) -> &'static str {
    match (request.dialect, request.operation) {
        (Dialect::Anthropic, Operation::CountTokens) => "/v1/messages/count_tokens",
        (Dialect::Anthropic, _) => "/v1/messages",
        (_, Operation::Compact) => "/v1/responses/compact",
        (Dialect::OpenAiResponses, Operation::CountTokens) => "/v1/responses/input_tokens",
        (Dialect::Gemini, Operation::CountTokens) => "/v1beta/models/{model}:countTokens",
        (Dialect::Gemini, Operation::Embeddings) => "/v1beta/models/{model}:embedContent",
        (Dialect::Gemini, _) if request.stream => "/v1beta/models/{model}:streamGenerateContent",
        (Dialect::Gemini, _) => "/v1beta/models/{model}:generateContent",
        (Dialect::OpenAiChat, Operation::Completions) => "/v1/completions",
        (Dialect::OpenAiChat, Operation::Embeddings) => "/v1/embeddings",
        (Dialect::OpenAiChat, _) => "/v1/chat/completions",
        (Dialect::OpenAiResponses, _) => "/v1/responses",
    }
}
