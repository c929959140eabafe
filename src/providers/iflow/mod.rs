//! iFlow (iflow.cn), whose service has ended; services compatible with it speak the same dialect.
//!
//! OpenAI's Chat Completions with a signature over each request (`signature`), a thinking switch
//! by model (`thinking`), and errors inside a 200. Requests carry the key that the account's user
//! info gives, never its access token. Facts: the last versions of clients that spoke it, and
//! reports of their users, read 2026-11-22.

mod login;
mod signature;
#[cfg(test)]
mod tests;
mod thinking;

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, HeaderValue};
use memchr::memmem;

use crate::dialects::edit::Members;
use crate::dialects::mend::Mending;
use crate::dialects::{Dialect, Operation};
use crate::providers::quirks::{Pictures, Quirks};
use crate::providers::signals::{Reset, Sign, Signal};
use crate::providers::spec::{Closed, KeyTest, Listing, Spec};
use crate::providers::verdict::{Failure, Hint, Verdict};
use crate::providers::{Answer, Outgoing, Provider, adapt, judge};

/// iFlow.
#[derive(Debug)]
pub struct IFlow(Spec);

impl IFlow {
    /// `https://apis.iflow.cn/v1`.
    pub(super) const VENDOR: Self = Self(Spec {
        base_urls: &["https://apis.iflow.cn/v1"],
        key_env: &["IFLOW_API_KEY"],
        key_url: None,
        closed: Some(CLOSED),
        models: MODELS,
        is_oauth: true,
        oauth: Some(&login::OAUTH),
        // `GET /models` was not supported.
        listing: Listing::None,
        key_test: KeyTest::Chat("glm-4.6"),
        // Confirmed by the vendor's staff (iflow-ai/iflow-cli #301): one request at a time.
        max_concurrent: 1,
        remembers: &["glm-4", "minimax-m2"],
        signals: SIGNALS,
        quirks: QUIRKS,
        mending: Mending {
            think_tags: true,
            hidden_tool: Some(PLACEHOLDER_TOOL),
            tidies: true,
            joins_usage: false,
            keeps_thoughts: true,
        },
        ..Spec::compatible("iflow", "iFlow")
    });
}

/// The shutdown; users were sent to another product of the vendor's.
const CLOSED: Closed = Closed {
    since: "2026-04-17",
    only_accounts: false,
    instead: "use another provider, or set base_url to a service that speaks its dialect",
    source: "https://github.com/router-for-me/CLIProxyAPI/issues/2561",
};

/// The last ones known.
const MODELS: &[&str] = &[
    "glm-4.6",
    "glm-4.7",
    "glm-5",
    "minimax-m2",
    "minimax-m2.1",
    "qwen3-coder-plus",
    "qwen3-max",
    "qwen3-max-preview",
    "qwen3-vl-plus",
    "qwen3-32b",
    "qwen3-235b",
    "qwen3-235b-a22b-instruct",
    "qwen3-235b-a22b-thinking-2507",
    "kimi-k2",
    "kimi-k2-0905",
    "kimi-k2-thinking",
    "kimi-k2.5",
    "deepseek-v3",
    "deepseek-v3.1",
    "deepseek-v3.2",
    "deepseek-v3.2-chat",
    "deepseek-v3.2-reasoner",
    "deepseek-r1",
    "iflow-rome-30ba3b",
];

/// Stands in for a list of tools that is there but empty, which broke streams.
const PLACEHOLDER_TOOL: &str = "noop";

/// Statuses inside a 200 are text: `{"status":"434","msg":"…"}`. 439 and 449 are reported second
/// hand.
const SIGNALS: &[Signal] = &[
    says("has been blocked", Verdict::Banned),
    Signal::code("434", Verdict::Auth),
    Signal::code("438", Verdict::Banned),
    Signal::code("439", Verdict::Auth),
    Signal::code("449", Verdict::RateLimit),
    // One request at a time for each account.
    says("concurrency limit", Verdict::RateLimit),
    says("并发限制", Verdict::RateLimit),
    // A limit that all accounts share.
    says(
        "current model has reached the platform rate limit",
        Verdict::Capacity,
    ),
    says("平台速率限制", Verdict::Capacity),
    says("slow_down", Verdict::RateLimit),
];

const fn says(words: &'static str, verdict: Verdict) -> Signal {
    Signal {
        status: None,
        sign: Sign::Says(words),
        verdict,
        reset: Reset::Stated,
    }
}

const QUIRKS: Quirks = Quirks {
    // Answered with 406.
    refused: &[("", &["stream_options"])],
    refused_in_tools: &["strict", "additionalProperties"],
    pictures: Pictures::Only(&["qwen3-vl"]),
    ..Quirks::OPEN_MODELS
};

/// Limits that are over soon, in the vendor's words: too fast, and one request at a time.
const SHORT_LIMITS: [&str; 4] = ["\"449\"", "slow_down", "concurrency limit", "并发限制"];

/// The wait after such a limit, where none is named.
const SHORT_WAIT: Duration = Duration::from_secs(5);

impl Provider for IFlow {
    fn spec(&self) -> &Spec {
        &self.0
    }

    /// The agent's name is part of what is signed.
    fn headers(&self, _dialect: Dialect, headers: &mut HeaderMap) {
        headers.insert(USER_AGENT, HeaderValue::from_static(signature::AGENT));
    }

    fn adapt(&self, body: Bytes, request: &Outgoing<'_>) -> Bytes {
        let body = adapt::by_quirks(body, request, &self.0.quirks);
        if request.operation != Operation::Chat {
            return body;
        }
        let Some(mut members) = Members::parse(&body) else {
            return body;
        };
        let is_empty = |tools: &str| tools.bytes().all(|byte| b"[] \t\r\n".contains(&byte));
        if members.raw("tools").is_some_and(is_empty) {
            let tool = serde_json::json!([{
                "type": "function",
                "function": {
                    "name": PLACEHOLDER_TOOL,
                    "description": "Does nothing. Do not call it.",
                    "parameters": {"type": "object"},
                },
            }]);
            members.set("tools", tool.to_string());
        }
        thinking::switch(&mut members, request.model);
        members.into_changed().map_or(body.clone(), Bytes::from)
    }

    fn sign(&self, secret: &str, request: &Outgoing<'_>, _body: &[u8], headers: &mut HeaderMap) {
        signature::add(secret, request.entropy, request.now, headers);
    }

    fn judge(&self, answer: &Answer<'_>) -> Failure {
        let mut failure = judge::by_signals(&self.0, answer);
        let is_blank = answer.body.trim_ascii().is_empty();
        if answer.status == 406 && is_blank {
            let kind = answer.headers.get(CONTENT_TYPE);
            let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or("none");
            // A bad signature or a member it refuses: nobody else is to try the same.
            failure.verdict = Verdict::BadRequest;
            failure.message = format!("(empty response body, content-type={kind})");
        }
        let is_short = SHORT_LIMITS
            .iter()
            .any(|sign| memmem::find(answer.body, sign.as_bytes()).is_some());
        if failure.verdict == Verdict::RateLimit && failure.hint.is_none() && is_short {
            failure.hint = Some(Hint::After(SHORT_WAIT));
        }
        failure
    }
}
