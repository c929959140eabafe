//! Antigravity's side of Code Assist: Gemini, Claude and GPT-OSS with a Google account.

mod claude;
mod models;

use bytes::Bytes;
use http::HeaderMap;
use serde_json::Value;

use crate::dialects::chat::ChatReply;
use crate::dialects::error::ReadError;
use crate::dialects::json::object;
use crate::dialects::{Dialect, Operation, StreamReader};
use crate::providers::account::{AccountView, Bootstrap, QuotaReading};
use crate::providers::code_assist::antigravity::models::{Family, THIRD_PARTY};
use crate::providers::code_assist::body::{Body, Members};
use crate::providers::code_assist::first_steps::{self, FirstSteps};
use crate::providers::code_assist::mend::{Mender, Service};
use crate::providers::code_assist::thinking::{self, Wish};
use crate::providers::code_assist::{
    DAILY, PRODUCTION, TIERS, bare_headers, count_body, guard, ids, judge, login, name_client,
    path, project, project_body, quota, second_form, unwrap, url, wish,
};
use crate::providers::forms::{FailedForm, SecondForm};
use crate::providers::spec::{KeyTest, Listing, Policy, Spec};
use crate::providers::verdict::Failure;
use crate::providers::{Answer, Call, ListedModel, ModelPage, Outgoing, Provider};
use crate::time::Timestamp;

/// The version of Antigravity's command line client whose protocol this is (September 2026). Too
/// old a one is answered with a sentence in place of the model's words.
const CLIENT_VERSION: &str = "1.2.1";

/// The lite model that searches the web.
const SEARCH_MODEL: &str = "gemini-3.1-flash-lite";

/// The `antigravity` provider.
#[derive(Debug)]
pub struct Antigravity(Spec);

static VENDOR: Antigravity = Antigravity::VENDOR;

impl Antigravity {
    pub(in crate::providers) const VENDOR: Self = Self(Spec {
        dialect: Dialect::Gemini,
        base_urls: &[DAILY, PRODUCTION],
        is_oauth: true,
        oauth: Some(&login::ANTIGRAVITY),
        enveloped: true,
        listing: Listing::None,
        key_test: KeyTest::Post(":loadCodeAssist"),
        models: models::KNOWN,
        quota_groups: models::QUOTA_GROUPS,
        tiers: TIERS,
        signals: judge::SIGNALS,
        policy: Some(Policy {
            notice: "Google's terms do not allow other software to use the Antigravity log-in. \
                Since February 2026 Google has disabled accounts for it (\"This service has been \
                disabled in this account for violation of Terms of Service\"). Do not use an \
                account that you cannot afford to lose.",
            source: "https://github.com/router-for-me/CLIProxyAPI/issues/1823",
            read: "2026-11-22",
        }),
        ..Spec::compatible("antigravity", "Google Antigravity")
    });
}

fn mender(request: &Outgoing<'_>) -> Mender {
    let model = models::resolved(request.model, Some(wish(request)));
    let is_guarded = request.switches.guard_tools;
    Mender::new(Service::Antigravity, &model, request.canonical, is_guarded)
}

impl Provider for Antigravity {
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

    /// `antigravity/cli/{version} {os}/{arch}`.
    fn sign(&self, _secret: &str, _request: &Outgoing<'_>, _body: &[u8], headers: &mut HeaderMap) {
        let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
        let client = format!("antigravity/cli/{CLIENT_VERSION} {os}/{arch}");
        name_client(headers, &client);
    }

    fn adapt(&self, body: Bytes, request: &Outgoing<'_>) -> Bytes {
        let wish = wish(request);
        let model = models::resolved(request.model, Some(wish));
        if request.operation == Operation::CountTokens {
            return count_body(&body, &model).unwrap_or(body);
        }
        let Some(mut parsed) = Body::parse(&body) else {
            return body;
        };
        // One answer is all there is.
        parsed.config.remove("candidateCount");
        let family = Family::of(&model);
        if family == Family::Claude {
            claude::fit(&mut parsed);
        }
        think(&mut parsed, &model, wish);
        calling(&mut parsed, family);
        if request.switches.guard_tools && guard::concerns(&model) {
            guard::put(&mut parsed);
        }
        let first = parsed.first_user_text();
        let contents = parsed.contents_json();
        let session = ids::session(first.as_deref().unwrap_or(contents.get()));
        parsed.write(Some(("sessionId", &session))).into()
    }

    /// `{project, model, userAgent, requestType, requestId, request}`.
    fn wrap(&self, body: Bytes, request: &Outgoing<'_>) -> Bytes {
        if request.operation == Operation::CountTokens {
            return body;
        }
        let model = models::resolved(request.model, Some(wish(request)));
        let kind = request_type(&model, &body);
        let entropy = request.entropy.to_be_bytes();
        let id = ids::uuid(ids::bits(&[b"request", &entropy]));
        let id = match kind {
            "image_gen" => format!("image_gen/{}/{id}/12", request.now.as_millis()),
            _ => format!("agent-{id}"),
        };
        let mut out = Vec::with_capacity(body.len() + 256);
        object(&mut out, |o| {
            o.put_some("project", project(request));
            o.put("model", &*model);
            o.put("userAgent", "antigravity");
            o.put("requestType", kind);
            o.put("requestId", &id);
            o.key("request").extend_from_slice(&body);
            if request.switches.spend_credits {
                o.put("enabledCreditTypes", &["GOOGLE_ONE_AI"]);
            }
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

    fn tries_next_base(&self, failure: &Failure) -> bool {
        judge::may_another_host(failure)
    }

    fn judge(&self, answer: &Answer<'_>) -> Failure {
        judge::judge(&self.0, answer)
    }

    fn wrong_fact(&self, failure: &Failure) -> Option<&'static str> {
        judge::is_wrong_project(failure).then_some(first_steps::PROJECT)
    }

    fn key_test(&self) -> Call {
        first_steps::key_test(Service::Antigravity)
    }

    fn read_key_test(&self, answer: &Answer<'_>) -> Result<(), Failure> {
        first_steps::read_key_test(&self.0, answer)
    }

    fn list_models(&self, page: Option<&str>) -> Option<Call> {
        page.is_none()
            .then(|| Call::post(":fetchAvailableModels", "{}"))
    }

    fn read_models(&self, body: &[u8]) -> Result<ModelPage, String> {
        read_catalogue(body)
    }

    fn bootstrap(&self, account: &AccountView<'_>) -> Option<Box<dyn Bootstrap>> {
        first_steps::are_due(account).then(|| -> Box<dyn Bootstrap> {
            Box::new(FirstSteps::new(Service::Antigravity, &VENDOR.0, account))
        })
    }

    fn quota_calls(&self, account: &AccountView<'_>) -> Vec<Call> {
        let body = project_body(Some(account));
        vec![
            Call::post(":fetchAvailableModels", body.clone()),
            // Last, because it knows most: the week as well.
            Call::post(":retrieveUserQuotaSummary", body),
        ]
    }

    fn read_quota(&self, which: usize, body: &[u8], _now: Timestamp) -> Vec<QuotaReading> {
        match which {
            0 => quota::of_catalogue(body, group_of, THIRD_PARTY),
            _ => quota::summary(body),
        }
    }
}

/// The quota group of a model.
fn group_of(model: &str) -> Option<&'static str> {
    let fits = |pattern: &&str| model.starts_with(pattern.trim_end_matches('*'));
    models::QUOTA_GROUPS
        .iter()
        .find(|(_, models)| models.iter().any(fits))
        .map(|(group, _)| *group)
}

/// Thinking and the limit of answer tokens, which hang together: Claude's budget must stay below
/// the limit, and where the client's own limit is not above it the limit rises, because a budget
/// of all tokens but one leaves no answer.
fn think(body: &mut Body, model: &str, wish: Wish<'_>) {
    let family = Family::of(model);
    // Where the thoughts that a tool loop began with are lost, Claude goes on without.
    if family == Family::Claude && !claude::may_think(&body.contents) {
        body.config.remove("thinkingConfig");
    } else {
        let wanted = models::thinking(model, wish);
        thinking::set(&mut body.config, wanted, wish);
    }
    let thinking = body.config.get("thinkingConfig").and_then(Members::parse);
    let budget = thinking
        .as_ref()
        .and_then(|own| own.number("thinkingBudget"));
    limit(&mut body.config, family, budget);
    if family == Family::Claude {
        claude::fit_sampling(&mut body.config, thinking.is_some());
        if thinking.is_some() && body.has_functions() {
            claude::interleave(body);
        }
    }
}

fn limit(config: &mut Members, family: Family, budget: Option<i64>) {
    let budget = budget.and_then(|budget| u64::try_from(budget).ok());
    let asked = config.number("maxOutputTokens");
    let asked = asked.and_then(|asked| u64::try_from(asked).ok());
    let default = (family == Family::Claude).then_some(models::DEFAULT_OUTPUT_CLAUDE);
    let Some(limit) = asked.or(default) else {
        config.remove("maxOutputTokens");
        return;
    };
    let bounds_budget = matches!(family, Family::Claude | Family::GptOss);
    let limit = match budget.filter(|_| bounds_budget) {
        Some(budget) if budget >= limit => budget.saturating_add(models::LEAST_ANSWER),
        _ => limit,
    };
    config.set_first("maxOutputTokens", limit.min(family.max_output()));
}

/// How tools may be called: Claude's calls are always validated, Gemini is told nothing where all
/// is up to it.
fn calling(body: &mut Body, family: Family) {
    let has_functions = body.has_functions();
    let mut config = body
        .tool_config
        .as_ref()
        .and_then(|config| Members::parse(config))
        .unwrap_or_default();
    let mut calling = config
        .get("functionCallingConfig")
        .and_then(Members::parse)
        .unwrap_or_default();
    let mode = calling.text("mode");
    match (family, mode.as_deref()) {
        (Family::Claude, Some("NONE")) => {}
        (Family::Claude, _) if has_functions => calling.set_first("mode", "VALIDATED"),
        (_, Some("AUTO")) => calling = Members::default(),
        _ => {}
    }
    if calling == Members::default() {
        config.remove("functionCallingConfig");
    } else {
        config.set_raw("functionCallingConfig", calling.to_raw());
    }
    body.tool_config = (config != Members::default()).then(|| config.to_raw());
}

/// What the service is asked for.
fn request_type(model: &str, body: &[u8]) -> &'static str {
    if Family::of(model) == Family::GeminiImage {
        "image_gen"
    } else if model.starts_with(SEARCH_MODEL)
        && memchr::memmem::find(body, b"\"googleSearch\"").is_some()
    {
        "web_search"
    } else {
        "agent"
    }
}

/// Reads `fetchAvailableModels`: what users are shown, and old names with what serves them now.
fn read_catalogue(body: &[u8]) -> Result<ModelPage, String> {
    let body: Value = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let listed = body
        .get("models")
        .and_then(Value::as_object)
        .ok_or("it has no `models`")?;
    let number = |entry: &Value, name: &str| entry.get(name).and_then(Value::as_u64);
    let mut models: Vec<_> = listed
        .iter()
        .filter(|(id, entry)| is_for_users(id, entry))
        .map(|(id, entry)| ListedModel {
            id: id.clone(),
            context_window: number(entry, "maxTokens"),
            max_output: number(entry, "maxOutputTokens"),
            display_name: entry
                .get("displayName")
                .and_then(Value::as_str)
                .map(str::to_owned),
            ..ListedModel::default()
        })
        .collect();
    let deprecated = body.get("deprecatedModelIds").and_then(Value::as_object);
    for (old, new) in deprecated.into_iter().flatten() {
        let new = new.as_str().or_else(|| {
            let members = new.as_object()?;
            let named = members.get("newModelId").or_else(|| members.get("modelId"));
            named?.as_str()
        });
        if let Some(new) = new.filter(|new| listed.contains_key(*new)) {
            models.retain(|model| model.id != *old);
            models.push(ListedModel {
                id: old.clone(),
                served_by: Some(new.to_owned()),
                ..ListedModel::default()
            });
        }
    }
    Ok(ModelPage { models, next: None })
}

/// Whether the official client would show a model.
fn is_for_users(id: &str, entry: &Value) -> bool {
    let is_hidden = ["chat_", "tab_"]
        .iter()
        .any(|prefix| id.starts_with(prefix))
        || id.ends_with("-tiered")
        || entry.get("isInternal") == Some(&Value::Bool(true));
    let name = entry.get("displayName").and_then(Value::as_str);
    !is_hidden && name.is_some_and(|name| !name.is_empty())
}

#[cfg(test)]
mod tests;
