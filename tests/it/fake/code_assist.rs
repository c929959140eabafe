//! Google's Code Assist as its two services speak (shapes of the wire-format notes, read
//! 2026-11-22), and accounts of the environment that it knows.

use serde_json::{Value, json};

use crate::fake;
use crate::fake::reply::Reply;
use crate::fake::script::Script;
use crate::fake::sse;
use crate::fake::upstream::{Recorded, Upstream};
use crate::harness::{Gateway, Home};

/// A home with so many accounts of a provider whose server is this one. Their tokens are good for
/// long, their projects are `proj-1`, `proj-2`, …
pub(crate) fn home(provider: &str, upstream: &Upstream, accounts: usize, settings: &str) -> Home {
    let origin = upstream.origin();
    let config = format!("[providers.{provider}]\nbase_url = \"{origin}\"\n{settings}");
    let prefix = provider.to_ascii_uppercase();
    (1..=accounts).fold(Home::with_config(&config), |home, number| {
        let name = |rest: &str| format!("{prefix}_{number}_{rest}");
        home.env(&name("ACCESS_TOKEN"), &token(number))
            .env(&name("REFRESH_TOKEN"), &fake::key(&format!("r{number}")))
            .env(&name("EXPIRY_DATE"), "4102444800000")
            .env(&name("PROJECT_ID"), &format!("proj-{number}"))
            .env(&name("TIER"), "standard-tier")
    })
}

/// The access token of an account.
pub(crate) fn token(number: usize) -> String {
    fake::key(&number.to_string())
}

/// A server with this answer for every prompt, and a gateway with so many accounts at it.
pub(crate) async fn start(
    provider: &str,
    accounts: usize,
    settings: &str,
    answer: impl Fn(&Recorded) -> Reply + Send + Sync + 'static,
) -> (Upstream, Gateway) {
    let upstream = Upstream::start(prompts(answer)).await;
    let home = home(provider, &upstream, accounts, settings);
    let gateway = Gateway::start_in(home, &[]).await;
    (upstream, gateway)
}

/// A script with this answer for every prompt, which knows nothing of quotas and models.
pub(crate) fn prompts(answer: impl Fn(&Recorded) -> Reply + Send + Sync + 'static) -> Script {
    Script::new().answer(move |request| {
        if is_background(request) {
            return Reply::json(200, "{}");
        }
        answer(request)
    })
}

/// `true` for what the gateway asks by itself, whenever it likes.
fn is_background(request: &Recorded) -> bool {
    matches!(
        verb(request).as_str(),
        ":retrieveUserQuota" | ":retrieveUserQuotaSummary" | ":fetchAvailableModels"
    )
}

/// What was asked for clients, in order.
pub(crate) fn asked(upstream: &Upstream) -> Vec<Recorded> {
    let mut requests = upstream.requests();
    requests.retain(|request| !is_background(request));
    requests
}

/// How many prompts an account brought.
pub(crate) fn served(upstream: &Upstream, account: usize) -> usize {
    let key = token(account);
    let own = |request: &&Recorded| request.key.as_ref() == Some(&key);
    asked(upstream).iter().filter(own).count()
}

/// The method that is called: `:generateContent`.
pub(crate) fn verb(request: &Recorded) -> String {
    let path = request.target.split('?').next().unwrap_or_default();
    let at = path.rfind(':').unwrap_or(0);
    path[at..].to_owned()
}

/// The request's body.
pub(crate) fn body(request: &Recorded) -> Value {
    serde_json::from_slice(&request.body).unwrap_or_else(|error| panic!("{error}: {request:?}"))
}

/// An answer of these chunks, in the form that was asked for: a stream, or the last chunk with all
/// parts of the others.
pub(crate) fn answer(request: &Recorded, chunks: &[Value]) -> Reply {
    let wrapped = |chunk: &Value| json!({"response": chunk, "traceId": "t1"});
    if verb(request) == ":streamGenerateContent" {
        return Reply::sse(chunks.iter().map(|chunk| sse::data(&wrapped(chunk))));
    }
    let mut whole = chunks.last().cloned().unwrap_or_default();
    let parts = chunks
        .iter()
        .filter_map(|chunk| chunk["candidates"][0]["content"]["parts"].as_array())
        .flatten()
        .cloned()
        .collect::<Vec<_>>();
    if whole["candidates"][0]["content"].is_object() {
        whole["candidates"][0]["content"]["parts"] = parts.into();
    }
    Reply::json(200, wrapped(&whole).to_string())
}

/// A chunk with these parts.
pub(crate) fn chunk(parts: &Value) -> Value {
    json!({"candidates": [{"content": {"role": "model", "parts": parts}}]})
}

/// The last chunk, with its reason and counts.
pub(crate) fn last(parts: &Value, reason: &str, usage: &Value) -> Value {
    let mut last = chunk(parts);
    last["candidates"][0]["finishReason"] = reason.into();
    last["usageMetadata"] = usage.clone();
    last
}

/// An error with details.
pub(crate) fn error(status: u16, name: &str, message: &str, details: &Value) -> Reply {
    let body = json!({"error": {"code": status, "status": name, "message": message,
        "details": details}});
    Reply::json(status, body.to_string())
}

/// The 429 of a spent quota of a model.
pub(crate) fn spent(model: &str, delay: &str) -> Reply {
    let info = json!({"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "QUOTA_EXHAUSTED",
        "domain": "cloudcode-pa.googleapis.com", "metadata": {"model": model}});
    let retry = json!({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay});
    let message = "You have exhausted your capacity on this model.";
    error(429, "RESOURCE_EXHAUSTED", message, &json!([info, retry]))
}
