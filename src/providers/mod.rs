//! Vendors without I/O: what each one's addresses, headers and answers look like.
//!
//! A provider is data ([`Spec`]) and a few pure methods. What needs a round trip is described as a
//! [`Call`] that the gateway sends. A new OpenAI-compatible vendor is one row in [`compatible`];
//! anything else is one file, its `mod` line and its place in `NATIVE`.

pub mod account;
pub mod anthropic;
pub mod base_url;
pub mod catalog_data;
pub mod catalog_online;
pub mod code_assist;
pub mod compatible;
pub mod forms;
pub mod gemini;
pub mod hints;
pub mod iflow;
pub mod listing;
pub mod oauth;
pub mod openai;
pub mod openrouter;
pub mod quirks;
pub mod qwen_code;
pub mod redact;
pub mod signals;
pub mod spec;
pub mod verdict;

mod adapt;
mod judge;
mod key_test;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::dialects::chat::{ChatReply, ChatRequest};
use crate::dialects::error::ReadError;
use crate::dialects::{Dialect, Operation, StreamReader};
use crate::providers::account::{AccountView, Bootstrap, QuotaReading};
use crate::providers::anthropic::Anthropic;
use crate::providers::code_assist::{Antigravity, GeminiCli};
use crate::providers::compatible::Compatible;
use crate::providers::forms::{FailedForm, SecondForm, Switches};
use crate::providers::gemini::Gemini;
use crate::providers::iflow::IFlow;
use crate::providers::openai::OpenAi;
use crate::providers::openrouter::OpenRouter;
use crate::providers::qwen_code::QwenCode;
use crate::providers::spec::{Auth, Listing, Spec};
use crate::providers::verdict::Failure;
use crate::time::Timestamp;

/// The providers that are more than a row.
static NATIVE: &[&dyn Provider] = &[
    &OpenAi::VENDOR,
    &Anthropic::VENDOR,
    &Gemini::VENDOR,
    &OpenRouter::VENDOR,
    &GeminiCli::VENDOR,
    &Antigravity::VENDOR,
    &QwenCode::VENDOR,
    &IFlow::VENDOR,
];

/// Every built-in provider, in the order lists show them.
pub fn all() -> impl Iterator<Item = &'static dyn Provider> {
    let rows = compatible::tables().map(|row| -> &'static dyn Provider { row });
    NATIVE.iter().copied().chain(rows)
}

/// The built-in provider with this id or alias.
pub fn find(id: &str) -> Option<&'static dyn Provider> {
    all()
        .find(|provider| provider.spec().id == id)
        .or_else(|| all().find(|provider| provider.spec().aliases.contains(&id)))
}

/// The provider behind a `[providers.NAME]` of the user's own with `kind = "…"`. Its spec names
/// neither URLs nor environment variables, and its id is the kind's.
pub fn custom(kind: Dialect) -> &'static dyn Provider {
    match kind {
        Dialect::Anthropic => &Anthropic::CUSTOM,
        Dialect::Gemini => &Gemini::CUSTOM,
        Dialect::OpenAiChat => &Compatible::CUSTOM_CHAT,
        Dialect::OpenAiResponses => &Compatible::CUSTOM_RESPONSES,
    }
}

/// One vendor's way of doing things. Pure: no clock, no I/O, no logging. Everything but
/// [`Provider::spec`] has a default that acts on the spec.
pub trait Provider: Sync {
    /// The vendor's data.
    fn spec(&self) -> &Spec;

    /// The dialect this operation is spoken in upstream, or `None` if the vendor has no such
    /// operation: then the gateway makes a chat request of a completion, counts tokens itself, and
    /// refuses embeddings by the provider's name.
    ///
    /// The default: the spec's dialect, Responses natively where the vendor offers it to a client
    /// that speaks it.
    fn dialect_for(&self, operation: Operation, client: Dialect, _model: &str) -> Option<Dialect> {
        let spec = self.spec();
        let openai = matches!(spec.dialect, Dialect::OpenAiChat | Dialect::OpenAiResponses);
        match operation {
            Operation::Chat if client == Dialect::OpenAiResponses && spec.offers.responses => {
                Some(Dialect::OpenAiResponses)
            }
            Operation::Chat => Some(spec.dialect),
            Operation::Completions => spec.offers.completions.then_some(Dialect::OpenAiChat),
            Operation::Compact => None,
            Operation::CountTokens => (spec.dialect != Dialect::OpenAiChat).then_some(spec.dialect),
            Operation::Embeddings => spec.offers.embeddings.then_some(if openai {
                Dialect::OpenAiChat
            } else {
                spec.dialect
            }),
        }
    }

    /// Path and query below the base URL for one operation: `/chat/completions`,
    /// `/models/gemini-2.5-flash:streamGenerateContent?alt=sse`.
    fn path(&self, operation: Operation, dialect: Dialect, _model: &str, _stream: bool) -> String {
        match (operation, dialect) {
            (Operation::Chat, Dialect::OpenAiResponses) => "/responses",
            (Operation::Compact, _) => "/responses/compact",
            (Operation::CountTokens, Dialect::OpenAiResponses) => "/responses/input_tokens",
            (Operation::Chat | Operation::CountTokens, _) => "/chat/completions",
            (Operation::Completions, _) => "/completions",
            (Operation::Embeddings, _) => "/embeddings",
        }
        .to_owned()
    }

    /// The whole URL of a path, given a base URL as the vendor's SDK takes it.
    fn url(&self, base: &str, path: &str) -> String {
        base_url::join(base, path)
    }

    /// Sets the header that proves who calls; the value is marked sensitive. A secret that no
    /// header can carry (a line break inside) sets none.
    fn authorise(&self, secret: &str, headers: &mut HeaderMap) {
        let (name, value) = match self.spec().auth {
            Auth::Bearer => (header::AUTHORIZATION, format!("Bearer {secret}")),
            Auth::Header(name) => (HeaderName::from_static(name), secret.to_owned()),
            Auth::None => return,
        };
        if secret.is_empty() {
            return;
        }
        if let Ok(mut value) = HeaderValue::from_str(&value) {
            value.set_sensitive(true);
            headers.insert(name, value);
        }
    }

    /// Headers every call of this vendor needs (`anthropic-version`), set where the client's own
    /// request did not bring them.
    fn headers(&self, _dialect: Dialect, _headers: &mut HeaderMap) {}

    /// Adapts a request body to what this vendor takes, splicing where possible; returns it
    /// unchanged (no copy) when nothing is to do. `body` is already in the upstream's dialect.
    ///
    /// A body the client wrote itself is touched only where the vendor is known to refuse or
    /// misread it.
    fn adapt(&self, body: Bytes, request: &Outgoing<'_>) -> Bytes {
        adapt::by_quirks(body, request, &self.spec().quirks)
    }

    /// What the form of an API key says of it, to be known like the facts of an account.
    fn key_facts(&self, _key: &str) -> Map<String, Value> {
        Map::new()
    }

    /// The base URL that this account is to use (Qwen's `resource_url`); `None`: the spec's. A
    /// configured `base_url` always wins.
    fn base_for(&self, _account: &AccountView<'_>) -> Option<String> {
        None
    }

    /// Puts the adapted body into the vendor's envelope (Code Assist:
    /// `{model, project, request: {…}}`). Called after [`Provider::adapt`], for every attempt.
    fn wrap(&self, body: Bytes, _request: &Outgoing<'_>) -> Bytes {
        body
    }

    /// Takes one whole answer, or the payload of one event of a stream, out of the envelope
    /// (`{"response": {…}}`) into the spec's dialect. What is in none (an error) comes back as it
    /// is. Called only where [`Spec::enveloped`] is set.
    fn unwrap(&self, payload: Bytes) -> Bytes {
        payload
    }

    /// Sets headers that depend on body, time or secret (iFlow's HMAC, `x-goog-user-project`).
    /// Called last, for every attempt, with the body as it is sent.
    fn sign(&self, _secret: &str, _request: &Outgoing<'_>, _body: &[u8], _headers: &mut HeaderMap) {
    }

    /// The first steps with a fresh account: find its project, tier, key. `None` where there are
    /// none, or where the facts already hold what they bring. Asked before every attempt, so the
    /// answer must be cheap.
    fn bootstrap(&self, _account: &AccountView<'_>) -> Option<Box<dyn Bootstrap>> {
        None
    }

    /// The requests that tell the account's quota.
    fn quota_calls(&self, _account: &AccountView<'_>) -> Vec<Call> {
        Vec::new()
    }

    /// What the successful answer to the `which`-th of [`Provider::quota_calls`] says.
    fn read_quota(&self, _which: usize, _body: &[u8], _now: Timestamp) -> Vec<QuotaReading> {
        Vec::new()
    }

    /// A reader of this vendor's streams: the dialect's own, or one around it that puts right what
    /// the vendor gets wrong.
    fn reader(
        &self,
        dialects_own: Box<dyn StreamReader>,
        _request: &Outgoing<'_>,
    ) -> Box<dyn StreamReader> {
        dialects_own
    }

    /// The same for a whole answer, as the dialect's codec read it from `body`.
    fn mend(
        &self,
        reply: Result<ChatReply, ReadError>,
        _body: &[u8],
        _request: &Outgoing<'_>,
    ) -> Result<ChatReply, ReadError> {
        reply
    }

    /// Another form in which the same credential may serve a request that failed in this one;
    /// `times` counts those it had already.
    fn second_form(
        &self,
        _failed: &FailedForm<'_>,
        _request: &Outgoing<'_>,
        _times: u32,
    ) -> Option<SecondForm> {
        None
    }

    /// `true` if another base URL may do better: the vendor could not be reached at this one, or
    /// is broken there.
    fn tries_next_base(&self, failure: &Failure) -> bool {
        failure.verdict.is_of_the_address()
    }

    /// The fact about the account that a failure proves wrong: it is found anew, once.
    fn wrong_fact(&self, _failure: &Failure) -> Option<&'static str> {
        None
    }

    /// Judges a failed answer: a status that is no success, or an error object inside a 200.
    fn judge(&self, answer: &Answer<'_>) -> Failure {
        judge::by_signals(self.spec(), answer)
    }

    /// The request that lists this vendor's models; `page` is the token of the page before.
    /// `None`: the vendor has no list, or no further page.
    fn list_models(&self, page: Option<&str>) -> Option<Call> {
        match (self.spec().listing, page) {
            // Public lists get the key as well: some are longer for those who are known.
            (Listing::Path(path) | Listing::Public(path), None) => Some(Call::get(path)),
            (Listing::None, _) | (_, Some(_)) => None,
        }
    }

    /// Reads one page of models, in any of the shapes vendors use. The error is a sentence.
    fn read_models(&self, body: &[u8]) -> Result<ModelPage, String> {
        listing::read(body)
    }

    /// The cheapest request that tells whether a key works.
    fn key_test(&self) -> Call {
        key_test::call(self)
    }

    /// What the answer to [`Provider::key_test`] says of the key. A 404 or 405 says only that the
    /// endpoint is not there, as behind a `base_url` of the user's own: list the models instead.
    fn read_key_test(&self, answer: &Answer<'_>) -> Result<(), Failure> {
        key_test::read(self, answer)
    }
}

/// A request on its way to an upstream, as far as adapting it needs to know.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    pub operation: Operation,
    /// The dialect the body is in.
    pub dialect: Dialect,
    /// The model name the upstream knows.
    pub model: &'a str,
    pub stream: bool,
    /// `true` if the gateway wrote the body, `false` if it is the client's own.
    pub translated: bool,
    /// Whose request it is; `None` in [`Provider::adapt`], whose result serves all accounts.
    pub account: Option<&'a AccountView<'a>>,
    /// A hash of the conversation, the same from turn to turn where that can be told.
    pub session: Option<u64>,
    /// Fresh random bits for each attempt, to make ids of.
    pub entropy: u64,
    /// When the attempt is made.
    pub now: Timestamp,
    /// The client's request in canonical form, where it was translated.
    pub canonical: Option<&'a ChatRequest>,
    pub switches: Switches,
}

impl<'a> Outgoing<'a> {
    /// A request that the gateway wrote, with nothing known beyond its kind and model.
    pub fn new(operation: Operation, dialect: Dialect, model: &'a str) -> Self {
        Self {
            operation,
            dialect,
            model,
            stream: false,
            translated: true,
            account: None,
            session: None,
            entropy: 0,
            now: Timestamp::default(),
            canonical: None,
            switches: Switches::default(),
        }
    }
}

/// An upstream's answer as far as it is needed to judge it.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    pub status: u16,
    pub headers: &'a HeaderMap,
    /// The body, at most its first 64 KiB.
    pub body: &'a [u8],
    /// The model asked for: some verdicts hang on whether the error is about it.
    pub model: &'a str,
    /// When the answer came: hints count from here.
    pub received: Timestamp,
}

/// A request for the gateway to send. `path` goes below the base URL ([`Provider::url`] joins
/// them), or is a whole URL where the vendor keeps such things elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    pub method: Method,
    pub path: String,
    pub body: Option<String>,
    /// `false`: sent without credentials (a public list).
    pub authorised: bool,
}

impl Call {
    /// An authorised GET.
    pub fn get(path: impl Into<String>) -> Self {
        Self {
            method: Method::GET,
            path: path.into(),
            body: None,
            authorised: true,
        }
    }

    /// An authorised POST of a JSON body.
    pub fn post(path: impl Into<String>, body: impl Into<String>) -> Self {
        Self {
            method: Method::POST,
            path: path.into(),
            body: Some(body.into()),
            authorised: true,
        }
    }
}

/// One page of a vendor's model list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModelPage {
    pub models: Vec<ListedModel>,
    /// The token of the next page.
    pub next: Option<String>,
}

/// A model as its vendor lists it.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(default)]
pub struct ListedModel {
    /// The id to call it by, without `models/` or the like in front.
    pub id: String,
    /// Seconds since the epoch.
    pub created: Option<i64>,
    pub context_window: Option<u64>,
    pub max_output: Option<u64>,
    pub display_name: Option<String>,
    /// Set for a name that has gone out of use: the model that serves it now.
    pub served_by: Option<String>,
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    /// Days, `YYYY-MM-DD`.
    fn is_date(text: &str) -> bool {
        text.parse::<jiff::civil::Date>().is_ok() && text.len() == 10
    }

    #[test]
    fn ids_and_aliases_are_unique_and_legal() {
        let mut seen = HashMap::new();
        for provider in all() {
            let spec = provider.spec();
            assert!(
                crate::ids::ProviderId::parse(spec.id).is_ok(),
                "{}",
                spec.id
            );
            for name in spec.aliases.iter().chain([&spec.id]) {
                let other = seen.insert(*name, spec.id);
                assert_eq!(other, None, "{name} names two providers");
            }
        }
    }

    #[test]
    fn environment_names_are_unique_and_upper_case() {
        let mut seen = HashMap::new();
        for provider in all() {
            let spec = provider.spec();
            for name in spec.key_env {
                let other = seen.insert(*name, spec.id);
                assert_eq!(other, None, "{name} holds the key of two providers");
                assert!(
                    name.bytes()
                        .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_'),
                    "{name}"
                );
            }
            assert!(
                !spec.key_env.is_empty() || spec.is_oauth,
                "{} takes no key",
                spec.id
            );
        }
    }

    #[test]
    fn base_urls_are_https_or_loopback() {
        for provider in all() {
            let spec = provider.spec();
            assert!(
                !spec.base_urls.is_empty() || spec.base_hint.is_some(),
                "{} has neither a base URL nor a hint",
                spec.id
            );
            for url in spec.base_urls.iter().chain(&spec.base_hint) {
                let uri: http::Uri = url.parse().unwrap_or_else(|_| panic!("{url} is no URL"));
                let host = uri.host().unwrap_or_else(|| panic!("{url} has no host"));
                let loopback = matches!(host, "localhost" | "127.0.0.1");
                assert!(
                    uri.scheme_str() == Some(if loopback { "http" } else { "https" }),
                    "{url}"
                );
                assert!(uri.query().is_none() && !url.ends_with('/'), "{url}");
            }
        }
    }

    #[test]
    fn notices_and_closures_say_where_they_come_from_and_when() {
        for provider in all() {
            let spec = provider.spec();
            if let Some(policy) = spec.policy {
                assert!(policy.source.starts_with("https://"), "{}", spec.id);
                assert!(is_date(policy.read), "{}", spec.id);
                assert!(!policy.notice.is_empty(), "{}", spec.id);
            }
            if let Some(closed) = spec.closed {
                assert!(closed.source.starts_with("https://"), "{}", spec.id);
                assert!(is_date(closed.since), "{}", spec.id);
            }
            if let Some(url) = spec.key_url {
                assert!(url.starts_with("https://"), "{url}");
            }
        }
    }

    #[test]
    fn every_provider_has_models_and_a_key_test() {
        for provider in all() {
            let spec = provider.spec();
            let listed = provider.list_models(None).is_some();
            assert!(
                listed || !spec.models.is_empty(),
                "{} has no models",
                spec.id
            );
            let test = provider.key_test();
            assert!(test.authorised && !test.path.is_empty(), "{}", spec.id);
            if let Listing::Public(path) = spec.listing {
                assert_ne!(test.path, path, "{}: a public list proves no key", spec.id);
            }
        }
    }

    #[test]
    fn a_key_goes_where_the_vendor_looks_for_it_and_never_prints() {
        for (id, name, value) in [
            ("groq", "authorization", "Bearer k-1"),
            ("anthropic", "x-api-key", "k-1"),
            ("gemini", "x-goog-api-key", "k-1"),
            ("azure", "api-key", "k-1"),
        ] {
            let provider = find(id).unwrap_or_else(|| panic!("{id} is built in"));
            let mut headers = HeaderMap::new();
            provider.authorise("k-1", &mut headers);
            assert_eq!(headers[name], value, "{id}");
            assert!(headers[name].is_sensitive(), "{id}");
        }
        let mut headers = HeaderMap::new();
        custom(Dialect::OpenAiChat).authorise("", &mut headers);
        assert!(headers.is_empty(), "no key, no header");
    }

    #[test]
    fn older_names_find_the_same_provider() {
        for (alias, id) in [
            ("together_ai", "together"),
            ("nano-gpt", "nanogpt"),
            ("nvidia", "nvidia_nim"),
            ("openai", "openai"),
        ] {
            assert_eq!(find(alias).map(|provider| provider.spec().id), Some(id));
        }
        assert!(find("nobody").is_none());
    }

    #[test]
    fn custom_servers_speak_their_kind() {
        for kind in Dialect::ALL {
            let provider = custom(kind);
            assert_eq!(provider.spec().dialect, kind);
            assert_eq!(provider.dialect_for(Operation::Chat, kind, "m"), Some(kind));
        }
        assert_eq!(
            custom(Dialect::OpenAiChat).dialect_for(Operation::Chat, Dialect::OpenAiResponses, "m"),
            Some(Dialect::OpenAiChat)
        );
        assert_eq!(
            custom(Dialect::OpenAiResponses).dialect_for(
                Operation::Completions,
                Dialect::OpenAiChat,
                "m"
            ),
            None,
            "a server of Responses need not have text completions"
        );
    }
}
