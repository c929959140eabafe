//! `google.rpc.Status`: the details that tell Google's many 429s and 403s apart.
//!
//! Read for every provider: Gemini is also reached through OpenAI-compatible gateways, and the
//! Code Assist adapters get the same details. Rules as in gemini-cli's quota classifier, read
//! 2026-11-22.

use std::time::Duration;

use serde_json::Value;

use super::Case;
use crate::providers::signals::{Reset, Signal};
use crate::providers::verdict::Verdict;

/// gemini-cli treats a longer `retryDelay` as terminal.
pub(super) const FAR_AWAY: Duration = Duration::from_mins(5);

/// Reasons of `google.rpc.ErrorInfo`.
const REASONS: &[Signal] = &[
    Signal::code("API_KEY_INVALID", Verdict::Auth),
    Signal::code("API_KEY_EXPIRED", Verdict::Auth),
    Signal::code("API_KEY_SERVICE_BLOCKED", Verdict::NotAllowed),
    Signal::code("API_KEY_IP_ADDRESS_BLOCKED", Verdict::NotAllowed),
    Signal::code("API_KEY_HTTP_REFERRER_BLOCKED", Verdict::NotAllowed),
    Signal::code("API_KEY_ANDROID_APP_BLOCKED", Verdict::NotAllowed),
    Signal::code("API_KEY_IOS_APP_BLOCKED", Verdict::NotAllowed),
    Signal::code("ACCESS_TOKEN_EXPIRED", Verdict::Auth),
    Signal::code("ACCESS_TOKEN_TYPE_UNSUPPORTED", Verdict::Auth),
    Signal::code("BILLING_DISABLED", Verdict::NoMoney),
    Signal::code("CONSUMER_INVALID", Verdict::Auth),
    Signal::code("CONSUMER_SUSPENDED", Verdict::Banned),
    Signal::code("INSUFFICIENT_G1_CREDITS_BALANCE", Verdict::Quota),
    Signal::code("MODEL_CAPACITY_EXCEEDED", Verdict::Capacity),
    Signal::code("MODEL_CAPACITY_EXHAUSTED", Verdict::Capacity),
    Signal::code("QUOTA_EXHAUSTED", Verdict::Quota),
    Signal::code("SERVICE_DISABLED", Verdict::ActionNeeded),
    Signal::code("TOS_VIOLATION", Verdict::Banned),
    Signal::code("VALIDATION_REQUIRED", Verdict::ActionNeeded),
];

/// Members of `ErrorInfo.metadata` that hold a page for the owner.
const LINKS: [&str; 6] = [
    "validation_url",
    "validation_link",
    "validationUrl",
    "appeal_url",
    "activationUrl",
    "url",
];

/// The details of a status, as far as they tell something.
#[derive(Debug, Default)]
pub(super) struct Details {
    reasons: Vec<String>,
    quota_ids: Vec<String>,
    has_zero_quota: bool,
    help: Option<String>,
    metadata_link: Option<String>,
}

impl Details {
    pub(super) fn read(raw: &str) -> Self {
        let mut details = Self::default();
        // Most bodies are not Google's; they are not worth a second parse.
        if !raw.contains("\"details\"") {
            return details;
        }
        let Ok(body) = serde_json::from_str::<Value>(raw) else {
            return details;
        };
        let root = body.get(0).unwrap_or(&body);
        let list = root
            .pointer("/error/details")
            .or_else(|| root.get("details"));
        for detail in list.and_then(Value::as_array).into_iter().flatten() {
            details.add(detail);
        }
        details
    }

    pub(super) fn is_empty(&self) -> bool {
        self.reasons.is_empty() && self.quota_ids.is_empty()
    }

    pub(super) fn reasons(&self) -> impl Iterator<Item = &str> {
        self.reasons.iter().map(String::as_str)
    }

    /// The page the owner must open.
    pub(super) fn link(&self) -> Option<&str> {
        self.metadata_link.as_deref().or(self.help.as_deref())
    }

    fn add(&mut self, detail: &Value) {
        let text =
            |value: &Value, name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
        self.reasons.extend(text(detail, "reason"));
        let violations = detail.get("violations").and_then(Value::as_array);
        for violation in violations.into_iter().flatten() {
            self.quota_ids.extend(text(violation, "quotaId"));
            self.has_zero_quota |= text(violation, "quotaValue").as_deref() == Some("0");
        }
        let is_web = |url: &String| url.starts_with("https://");
        let metadata = detail.get("metadata");
        self.metadata_link = self.metadata_link.take().or_else(|| {
            let find = |name: &&str| text(metadata?, name);
            LINKS.iter().find_map(find).filter(is_web)
        });
        let help = detail
            .pointer("/links/0")
            .and_then(|link| text(link, "url"));
        self.help = self.help.take().or(help.filter(is_web));
    }

    fn any_quota(&self, words: &[&str]) -> bool {
        self.quota_ids
            .iter()
            .any(|id| words.iter().any(|word| id.contains(word)))
    }
}

/// The class of a failure by Google's details; `None` if they say nothing.
pub(super) fn class(case: &Case) -> Option<(Verdict, Reset)> {
    let codes = case.codes();
    if case.status == 429 {
        // No quota at all for this model: it would not be there after midnight either.
        if case.details.has_zero_quota || says_limit_zero(&case.message) {
            return Some((Verdict::NotAllowed, Reset::Stated));
        }
        // Beside a spent day's quota Google sends a `retryDelay` of seconds: never mind it.
        if case.details.any_quota(&["PerDay", "Daily"]) {
            return Some((Verdict::Quota, Reset::PacificMidnight));
        }
        if case.details.any_quota(&["PerMinute"]) {
            return Some((Verdict::RateLimit, Reset::Stated));
        }
    }
    let reason = REASONS
        .iter()
        .find(|signal| signal.matches(case.status, &codes, &case.message));
    if let Some(signal) = reason {
        return Some((signal.verdict, signal.reset));
    }
    // Its sentence "exceeded your current quota, please check your plan and billing details" stands
    // for any limit; the general words would take it for an empty account.
    let is_exhausted = codes
        .iter()
        .any(|code| code.eq_ignore_ascii_case("RESOURCE_EXHAUSTED"));
    let spent = ["prepayment credits", "spending cap"];
    match case.status {
        429 if is_exhausted && spent.iter().any(|words| case.message.contains(words)) => {
            Some((Verdict::NoMoney, Reset::Stated))
        }
        429 if is_exhausted && case.message.contains("per day") => {
            Some((Verdict::Quota, Reset::PacificMidnight))
        }
        429 if is_exhausted => Some((Verdict::RateLimit, Reset::Stated)),
        _ => None,
    }
}

/// "limit: 0" as a whole number, not the beginning of "limit: 0.5".
fn says_limit_zero(message: &str) -> bool {
    message.match_indices("limit: 0").any(|(at, words)| {
        let rest = message.get(at + words.len()..).unwrap_or("");
        let decimal = rest
            .strip_prefix('.')
            .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
        !decimal && !rest.starts_with(|c: char| c.is_ascii_digit())
    })
}
