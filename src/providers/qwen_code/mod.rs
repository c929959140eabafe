//! Qwen Code: accounts of chat.qwen.ai, whose free log-in has ended, and the API keys that speak the
//! same dialect (Coding Plan, Model Studio).
//!
//! The dialect is OpenAI's Chat Completions with rules of its own for accounts (`portal`): one
//! leading system message, and a tool that keeps coder models steady. Facts: QwenLM/qwen-code
//! `packages/core`, its issues and pull requests #1730 to #3382, read 2026-11-22.

pub mod endpoint;
mod login;
mod portal;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Map, Value};

use crate::dialects::edit::Members;
use crate::dialects::mend::Mending;
use crate::dialects::{Dialect, Operation};
use crate::providers::account::AccountView;
use crate::providers::quirks::{Pictures, Quirks, Thinking};
use crate::providers::signals::{Reset, Sign, Signal};
use crate::providers::spec::{Closed, KeyTest, Listing, Spec};
use crate::providers::verdict::Verdict;
use crate::providers::{Outgoing, Provider, adapt};

/// Qwen Code.
#[derive(Debug)]
pub struct QwenCode(Spec);

impl QwenCode {
    /// `https://portal.qwen.ai/v1` for accounts; keys have addresses of their own.
    pub(super) const VENDOR: Self = Self(Spec {
        base_urls: &[endpoint::PORTAL],
        key_env: &["QWEN_CODE_API_KEY"],
        key_url: Some("https://bailian.console.alibabacloud.com/?tab=coding-plan"),
        closed: Some(CLOSED),
        models: MODELS,
        account_rpm: 60,
        // The quota is the account's, whatever the model.
        quota_groups: &[("account", &["*"])],
        is_oauth: true,
        oauth: Some(&login::OAUTH),
        // May be 404 or empty on the portal, and the plan has none: then `models` count.
        listing: Listing::Path("/models"),
        // Known to the portal, the plan and Model Studio alike.
        key_test: KeyTest::Chat("qwen3-coder-plus"),
        signals: SIGNALS,
        quirks: QUIRKS,
        mending: Mending {
            think_tags: true,
            hidden_tool: Some(portal::DUMMY_TOOL),
            tidies: true,
            joins_usage: true,
            keeps_thoughts: false,
        },
        ..Spec::compatible("qwen_code", "Qwen Code")
    });
}

/// The end of the free log-in: announced on 2026-04-13, in force two days later.
const CLOSED: Closed = Closed {
    since: "2026-04-15",
    only_accounts: true,
    instead: "use an API key of the Coding Plan or of Model Studio (`llmproxy creds add qwen_code` \
              takes both)",
    source: "https://github.com/QwenLM/qwen-code/issues/3203",
};

/// What accounts had (first four; `coder-model` stands for the newest Qwen Plus), then what the
/// Coding Plan has, which lists none (models.dev #1011 and #2061, read 2026-11-22).
const MODELS: &[&str] = &[
    "coder-model",
    "qwen3-coder-plus",
    "qwen3-coder-flash",
    "vision-model",
    "qwen3.7-plus",
    "qwen3.6-plus",
    "qwen3.5-plus",
    "qwen3-max-2026-01-23",
    "qwen3-coder-next",
    "glm-5",
    "glm-4.7",
    "MiniMax-M2.5",
    "kimi-k2.5",
];

/// Codes of the portal and of DashScope
/// (<https://help.aliyun.com/zh/model-studio/error-code>, read 2026-11-22).
const SIGNALS: &[Signal] = &[
    Signal {
        status: None,
        sign: Sign::Says("free allocated quota exceeded"),
        verdict: Verdict::Quota,
        reset: Reset::ChinaMidnight,
    },
    Signal::code("quota_exceeded", Verdict::Quota).until(Reset::ChinaMidnight),
    Signal::code("insufficient_quota", Verdict::Quota)
        .on(403)
        .until(Reset::ChinaMidnight),
    // Of keys: tokens a minute, or hours and weeks of a plan. It passes, and no end is told.
    Signal::code("insufficient_quota", Verdict::Quota),
    Signal::code("limit_requests", Verdict::RateLimit),
    Signal::says(429, "request too large", Verdict::BadRequest),
    Signal::code("rate_limit_exceeded", Verdict::RateLimit),
    Signal::code("Throttling", Verdict::RateLimit),
    Signal::code("Throttling.AllocationQuota", Verdict::RateLimit),
    Signal::code("Throttling.RateQuota", Verdict::RateLimit),
    Signal::says(429, "throttling", Verdict::RateLimit),
    Signal::code("Arrearage", Verdict::NoMoney),
    Signal::code("AllocationQuota.FreeTierOnly", Verdict::NoMoney),
    Signal::code("invalid_api_key", Verdict::Auth),
    Signal::code("InvalidApiKey", Verdict::Auth),
    Signal::says(401, "invalid access token", Verdict::Auth),
    Signal::code("data_inspection_failed", Verdict::BadRequest),
    Signal::code("DataInspectionFailed", Verdict::BadRequest),
    Signal::says(
        400,
        "range of input length should be",
        Verdict::ContextLength,
    ),
    Signal::code("invalid_parameter_error", Verdict::BadRequest).on(400),
];

const QUIRKS: Quirks = Quirks {
    thinking: &[
        // The one that takes levels itself.
        (NATIVE_EFFORT, Thinking::levels(LEVELS)),
        ("qwen", Thinking::ENABLE_THINKING),
        ("coder-model", Thinking::ENABLE_THINKING),
        ("glm-", Thinking::ENABLE_THINKING),
        ("kimi-", Thinking::ENABLE_THINKING),
    ],
    refused_in_tools: &["strict", "additionalProperties"],
    // Of those known; others may see.
    pictures: Pictures::AllBut(&["qwen3-coder", "qwen3-max", "glm-", "minimax-"]),
    max_output: &[
        ("coder-model", 65_536),
        ("qwen3-coder-plus", 65_536),
        ("qwen3-coder-flash", 65_536),
        ("qwen3.6-plus", 65_536),
    ],
    ..Quirks::OPEN_MODELS
};

/// The model that knows `reasoning_effort`.
const NATIVE_EFFORT: &str = "qwen3.8-max";

/// All words for it pass.
const LEVELS: &[&str] = &["none", "minimal", "low", "medium", "high", "xhigh", "max"];

/// Who sends. The vendor's own tool names itself here; so do we.
const AGENT: &str = concat!("llmproxy/", env!("CARGO_PKG_VERSION"));

impl Provider for QwenCode {
    fn spec(&self) -> &Spec {
        &self.0
    }

    fn headers(&self, _dialect: Dialect, headers: &mut HeaderMap) {
        for (name, value) in [
            ("x-dashscope-cachecontrol", "enable"),
            ("x-dashscope-useragent", AGENT),
        ] {
            headers.insert(
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            );
        }
    }

    fn adapt(&self, body: Bytes, request: &Outgoing<'_>) -> Bytes {
        let body = adapt::by_quirks(body, request, &self.0.quirks);
        if request.operation != Operation::Chat {
            return body;
        }
        let Some(mut members) = Members::parse(&body) else {
            return body;
        };
        if request.stream && members.raw("stream_options").is_none() {
            members.set("stream_options", r#"{"include_usage":true}"#.to_owned());
        }
        if request.model.contains(NATIVE_EFFORT) && members.raw("reasoning_effort").is_some() {
            members.remove("enable_thinking");
            members.remove("thinking_budget");
        }
        members.into_changed().map_or(body.clone(), Bytes::from)
    }

    fn key_facts(&self, key: &str) -> Map<String, Value> {
        endpoint::of_key(key).facts()
    }

    fn base_for(&self, account: &AccountView<'_>) -> Option<String> {
        let given = account.fact(endpoint::FACT).and_then(endpoint::base);
        given.or_else(|| account.kind_is_account.then(|| endpoint::PORTAL.to_owned()))
    }

    fn wrap(&self, body: Bytes, request: &Outgoing<'_>) -> Bytes {
        let is_account = request
            .account
            .is_some_and(|account| account.kind_is_account);
        if !is_account || request.operation != Operation::Chat {
            return body;
        }
        let wants_tool = !request.switches.no_dummy_tool && portal::needs_tool(request.model);
        portal::fit(&body, wants_tool).map_or(body, Bytes::from)
    }

    fn sign(&self, _secret: &str, request: &Outgoing<'_>, _body: &[u8], headers: &mut HeaderMap) {
        if request
            .account
            .is_some_and(|account| account.kind_is_account)
        {
            headers.insert(
                HeaderName::from_static("x-dashscope-authtype"),
                HeaderValue::from_static("qwen-oauth"),
            );
        }
    }
}
