//! Gemini CLI's side of Code Assist: Gemini models with a Google account.
//!
//! Since 2026-06-18 Google serves only licences of organisations (Code Assist Standard and
//! Enterprise) this way; other accounts are refused at their first step.

use bytes::Bytes;
use http::HeaderMap;

use crate::dialects::chat::ChatReply;
use crate::dialects::error::ReadError;
use crate::dialects::json::object;
use crate::dialects::{Dialect, Operation, StreamReader};
use crate::providers::account::{AccountView, Bootstrap, QuotaReading};
use crate::providers::code_assist::body::Body;
use crate::providers::code_assist::first_steps::{self, FirstSteps};
use crate::providers::code_assist::mend::{Mender, Service};
use crate::providers::code_assist::{
    PRODUCTION, TIERS, bare_headers, count_body, credits, guard, ids, judge, login, name_client,
    path, project, project_body, quota, second_form, thinking, unwrap, url, wish,
};
use crate::providers::forms::{FailedForm, SecondForm};
use crate::providers::spec::{KeyTest, Listing, Policy, Spec};
use crate::providers::verdict::Failure;
use crate::providers::{Answer, Call, Outgoing, Provider};
use crate::time::Timestamp;

/// The version of gemini-cli whose protocol this is (released 2026-08-06).
const CLIENT_VERSION: &str = "0.54.0";

/// Answer tokens where the client does not say, and the most there are.
const DEFAULT_OUTPUT: u64 = 64_000;
const MAX_OUTPUT: u64 = 65_536;

/// Models that Google lets be paid with credits, and the least balance for it.
const PAID_MODELS: [&str; 3] = [
    "gemini-3-flash-preview",
    "gemini-3-pro-preview",
    "gemini-3.1-pro-preview",
];
const LEAST_CREDITS: u64 = 50;

/// Models that share a quota, as measured by LLM-API-Key-Proxy in January 2026.
const QUOTA_GROUPS: &[(&str, &[&str])] = &[
    (
        "pro",
        &[
            "gemini-2.5-pro",
            "gemini-3-pro-preview",
            "gemini-3.1-pro-preview*",
        ],
    ),
    ("25-flash", &["gemini-2.0-flash*", "gemini-2.5-flash*"]),
    (
        "3-flash",
        &["gemini-3-flash*", "gemini-3.1-flash*", "gemini-3.5-flash*"],
    ),
];

/// There is no list to ask for; these are gemini-cli's own.
const MODELS: &[&str] = &[
    "gemini-2.5-flash",
    "gemini-2.5-flash-lite",
    "gemini-2.5-pro",
    "gemini-3-flash-preview",
    "gemini-3-pro-preview",
    "gemini-3.1-flash-lite",
    "gemini-3.1-pro-preview",
    "gemini-3.1-pro-preview-customtools",
    "gemini-3.5-flash",
    "gemma-4-26b-a4b-it",
    "gemma-4-31b-it",
];

/// Names that gemini-cli resolves before it sends.
const ALIASES: &[(&str, &str)] = &[
    ("auto", "gemini-3-pro-preview"),
    ("auto-gemini-2.5", "gemini-2.5-pro"),
    ("auto-gemini-3", "gemini-3-pro-preview"),
    ("flash", "gemini-3-flash-preview"),
    ("flash-lite", "gemini-2.5-flash-lite"),
    ("gemini-3.5-flash", "gemini-3-flash"),
    ("pro", "gemini-3-pro-preview"),
];

/// The `gemini_cli` provider.
#[derive(Debug)]
pub struct GeminiCli(Spec);

impl GeminiCli {
    pub(in crate::providers) const VENDOR: Self = Self(Spec {
        dialect: Dialect::Gemini,
        base_urls: &[PRODUCTION],
        is_oauth: true,
        oauth: Some(&login::GEMINI_CLI),
        enveloped: true,
        listing: Listing::None,
        key_test: KeyTest::Post(":loadCodeAssist"),
        models: MODELS,
        quota_groups: QUOTA_GROUPS,
        tiers: TIERS,
        signals: judge::SIGNALS,
        policy: Some(Policy {
            notice: "Google's terms for Gemini Code Assist do not allow other software to use the \
                Gemini CLI log-in: it may cost you the account. Since 2026-06-18 Google also \
                refuses personal accounts here (free, AI Pro, AI Ultra); only licences of Gemini \
                Code Assist Standard and Enterprise are still served.",
            source: "https://github.com/google-gemini/gemini-cli/blob/main/docs/resources/tos-privacy.md",
            read: "2026-11-22",
        }),
        ..Spec::compatible("gemini_cli", "Gemini CLI")
    });
}

fn mender(request: &Outgoing<'_>) -> Mender {
    let is_guarded = request.switches.guard_tools;
    Mender::new(
        Service::GeminiCli,
        request.model,
        request.canonical,
        is_guarded,
    )
}

static VENDOR: GeminiCli = GeminiCli::VENDOR;

/// The name the service knows a model by.
fn resolved(model: &str) -> &str {
    ALIASES
        .iter()
        .find(|(alias, _)| *alias == model)
        .map_or(model, |(_, name)| name)
}

/// The quota group of a model.
fn group_of(model: &str) -> Option<&'static str> {
    let fits = |pattern: &str| match pattern.strip_suffix('*') {
        Some(prefix) => model.starts_with(prefix),
        None => model == pattern,
    };
    QUOTA_GROUPS
        .iter()
        .find(|(_, models)| models.iter().any(|pattern| fits(pattern)))
        .map(|(group, _)| *group)
}

impl Provider for GeminiCli {
    fn spec(&self) -> &Spec {
        &self.0
    }

    fn dialect_for(&self, operation: Operation, _client: Dialect, _model: &str) -> Option<Dialect> {
        matches!(operation, Operation::Chat | Operation::CountTokens).then_some(Dialect::Gemini)
    }

    fn path(&self, operation: Operation, _dialect: Dialect, _model: &str, stream: bool) -> String {
        path(operation, stream)
    }

    fn url(&self, base: &str, path: &str) -> String {
        url(base, path)
    }

    fn headers(&self, _dialect: Dialect, headers: &mut HeaderMap) {
        bare_headers(headers);
    }

    /// `GeminiCLI/{version}/{model} ({platform}; {arch}; {surface})`.
    fn sign(&self, _secret: &str, request: &Outgoing<'_>, _body: &[u8], headers: &mut HeaderMap) {
        let model = resolved(request.model);
        let slash = if model.is_empty() { "" } else { "/" };
        let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
        let client = format!("GeminiCLI/{CLIENT_VERSION}{slash}{model} ({os}; {arch}; terminal)");
        name_client(headers, &client);
    }

    fn adapt(&self, body: Bytes, request: &Outgoing<'_>) -> Bytes {
        let model = resolved(request.model);
        if request.operation == Operation::CountTokens {
            return count_body(&body, model).unwrap_or(body);
        }
        let Some(mut parsed) = Body::parse(&body) else {
            return body;
        };
        // One answer is all there is.
        parsed.config.remove("candidateCount");
        let asked = parsed.config.number("maxOutputTokens");
        let limit = asked.and_then(|asked| u64::try_from(asked).ok());
        let limit = limit.unwrap_or(DEFAULT_OUTPUT).min(MAX_OUTPUT);
        parsed.config.set_first("maxOutputTokens", limit);
        let wish = wish(request);
        let thinking = thinking::of_gemini_cli(model, wish);
        thinking::set(&mut parsed.config, thinking, wish);
        if request.switches.guard_tools && guard::concerns(model) {
            guard::put(&mut parsed);
        }
        parsed.write(None).into()
    }

    /// `{model, project, user_prompt_id, request: {session_id, …}}`.
    fn wrap(&self, body: Bytes, request: &Outgoing<'_>) -> Bytes {
        if request.operation == Operation::CountTokens {
            return body;
        }
        let Some(members) = body.strip_prefix(b"{") else {
            return body;
        };
        let model = resolved(request.model);
        let fresh = request.entropy.to_be_bytes();
        let session = request.session.map_or(fresh, u64::to_be_bytes);
        let mut out = Vec::with_capacity(body.len() + 256);
        object(&mut out, |o| {
            o.put("model", model);
            o.put_some("project", project(request));
            o.put(
                "user_prompt_id",
                &ids::uuid(ids::bits(&[b"prompt", &fresh])),
            );
            if may_spend(model, request) {
                o.put("enabled_credit_types", &["GOOGLE_ONE_AI"]);
            }
            let inner = o.key("request");
            inner.extend_from_slice(b"{\"session_id\":\"");
            let session = ids::uuid(ids::bits(&[b"session", &session]));
            inner.extend_from_slice(session.as_bytes());
            inner.push(b'"');
            if members != b"}" {
                inner.push(b',');
            }
            inner.extend_from_slice(members);
        });
        out.into()
    }

    fn unwrap(&self, payload: Bytes) -> Bytes {
        unwrap(payload)
    }

    fn reader(
        &self,
        dialects_own: Box<dyn StreamReader>,
        request: &Outgoing<'_>,
    ) -> Box<dyn StreamReader> {
        mender(request).around(dialects_own)
    }

    fn mend(
        &self,
        reply: Result<ChatReply, ReadError>,
        body: &[u8],
        request: &Outgoing<'_>,
    ) -> Result<ChatReply, ReadError> {
        mender(request).whole(reply, body)
    }

    fn second_form(
        &self,
        failed: &FailedForm<'_>,
        request: &Outgoing<'_>,
        times: u32,
    ) -> Option<SecondForm> {
        second_form::of(failed, request, times)
    }

    fn judge(&self, answer: &Answer<'_>) -> Failure {
        judge::judge(&self.0, answer)
    }

    fn wrong_fact(&self, failure: &Failure) -> Option<&'static str> {
        judge::is_wrong_project(failure).then_some(first_steps::PROJECT)
    }

    fn key_test(&self) -> Call {
        first_steps::key_test(Service::GeminiCli)
    }

    fn read_key_test(&self, answer: &Answer<'_>) -> Result<(), Failure> {
        first_steps::read_key_test(&self.0, answer)
    }

    fn bootstrap(&self, account: &AccountView<'_>) -> Option<Box<dyn Bootstrap>> {
        first_steps::are_due(account).then(|| -> Box<dyn Bootstrap> {
            Box::new(FirstSteps::new(Service::GeminiCli, &VENDOR.0, account))
        })
    }

    fn quota_calls(&self, account: &AccountView<'_>) -> Vec<Call> {
        vec![Call::post(
            ":retrieveUserQuota",
            project_body(Some(account)),
        )]
    }

    fn read_quota(&self, _which: usize, body: &[u8], _now: Timestamp) -> Vec<QuotaReading> {
        quota::user_quota(body, group_of)
    }
}

/// Whether a request may be paid with credits: only with the owner's consent.
fn may_spend(model: &str, request: &Outgoing<'_>) -> bool {
    request.switches.spend_credits
        && PAID_MODELS.contains(&model)
        && credits(request).is_some_and(|credits| credits >= LEAST_CREDITS)
}
