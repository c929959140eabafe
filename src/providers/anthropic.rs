//! Anthropic's Messages API with API keys.

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::dialects::{Dialect, Operation};
use crate::providers::signals::{Reset, Signal};
use crate::providers::spec::{Auth, Listing, Spec};
use crate::providers::verdict::{Fault, Verdict};
use crate::providers::{Call, Provider, base_url};

/// The version spoken where the client names none: the older of the two live ones, because it
/// still takes sampling parameters, which translated requests may hold.
const VERSION: HeaderValue = HeaderValue::from_static("2023-06-01");

/// The largest page `GET /v1/models` gives.
const MODELS_A_PAGE: u16 = 1000;

/// Anthropic, or a server that speaks Messages.
#[derive(Debug)]
pub struct Anthropic(Spec);

impl Anthropic {
    /// `https://api.anthropic.com`.
    pub(super) const VENDOR: Self = Self(Spec {
        base_urls: &["https://api.anthropic.com"],
        key_env: &["ANTHROPIC_API_KEY"],
        key_url: Some("https://console.anthropic.com/settings/keys"),
        ..messages("anthropic", "Anthropic")
    });

    /// A server of the user's own.
    pub(super) const CUSTOM: Self = Self(Spec {
        key_optional: true,
        ..messages("anthropic_compatible", "Anthropic-compatible server")
    });
}

const fn messages(id: &'static str, title: &'static str) -> Spec {
    Spec {
        dialect: Dialect::Anthropic,
        auth: Auth::Header("x-api-key"),
        listing: Listing::Path("/models"),
        signals: SIGNALS,
        ..Spec::compatible(id, title)
    }
}

/// <https://docs.anthropic.com/en/api/errors> and the API reference of 2026-10-21, read 2026-11-22.
const SIGNALS: &[Signal] = &[
    Signal::code("enforced_spend_limit_reached", Verdict::NoMoney).until(Reset::NextMonth),
    Signal::code("contract_spend_limit_reached", Verdict::NoMoney).until(Reset::NextMonth),
    Signal::code("ramp_limit_exceeded", Verdict::RateLimit),
    Signal::code("organization_on_hold", Verdict::Banned),
    Signal::says(400, "credit balance is too low", Verdict::NoMoney),
    Signal::says(400, "specified api usage limits", Verdict::NoMoney),
    Signal::says(400, "organization has been disabled", Verdict::Banned),
    Signal::code("overloaded_error", Verdict::Capacity),
    Signal::code("billing_error", Verdict::NoMoney),
    Signal::code("timeout_error", Verdict::Transient(Fault::Timeout)),
];

impl Provider for Anthropic {
    fn spec(&self) -> &Spec {
        &self.0
    }

    fn dialect_for(&self, operation: Operation, _client: Dialect, _model: &str) -> Option<Dialect> {
        match operation {
            Operation::Chat | Operation::CountTokens => Some(Dialect::Anthropic),
            Operation::Compact | Operation::Completions | Operation::Embeddings => None,
        }
    }

    fn path(&self, operation: Operation, _dialect: Dialect, _model: &str, _stream: bool) -> String {
        match operation {
            Operation::CountTokens => "/messages/count_tokens",
            _ => "/messages",
        }
        .to_owned()
    }

    fn url(&self, base: &str, path: &str) -> String {
        base_url::join(&base_url::versioned(base, "v1"), path)
    }

    fn headers(&self, _dialect: Dialect, headers: &mut HeaderMap) {
        headers
            .entry(HeaderName::from_static("anthropic-version"))
            .or_insert(VERSION);
    }

    fn list_models(&self, page: Option<&str>) -> Option<Call> {
        let after = page.map_or_else(String::new, |last| {
            format!("&after_id={}", base_url::segment(last))
        });
        Some(Call::get(format!("/models?limit={MODELS_A_PAGE}{after}")))
    }

    fn key_test(&self) -> Call {
        Call::get("/models?limit=1")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_is_enough_and_the_version_does_no_harm() {
        for base in [
            "https://api.anthropic.com",
            "https://api.anthropic.com/",
            "https://api.anthropic.com/v1",
        ] {
            let path = Anthropic::VENDOR.path(Operation::Chat, Dialect::Anthropic, "m", true);
            assert_eq!(
                Anthropic::VENDOR.url(base, &path),
                "https://api.anthropic.com/v1/messages"
            );
        }
        assert_eq!(
            Anthropic::CUSTOM.url(
                "https://api.deepseek.com/anthropic",
                "/messages/count_tokens"
            ),
            "https://api.deepseek.com/anthropic/v1/messages/count_tokens"
        );
    }

    #[test]
    fn a_version_the_client_sent_stays() {
        let mut headers = HeaderMap::new();
        Anthropic::VENDOR.headers(Dialect::Anthropic, &mut headers);
        assert_eq!(headers["anthropic-version"], "2023-06-01");
        headers.insert("anthropic-version", HeaderValue::from_static("2026-10-21"));
        Anthropic::VENDOR.headers(Dialect::Anthropic, &mut headers);
        assert_eq!(headers["anthropic-version"], "2026-10-21");
    }

    #[test]
    fn the_next_page_starts_after_the_last_model() {
        let call = Anthropic::VENDOR
            .list_models(Some("claude-x"))
            .expect("a list");
        assert_eq!(call.path, "/models?limit=1000&after_id=claude-x");
    }
}
