//! OpenRouter: one account before many vendors. Its errors say whose fault they are in `metadata`.

use serde_json::Value;

use crate::dialects::error::UpstreamError;
use crate::providers::signals::{Reset, Signal};
use crate::providers::spec::{KeySign, KeyTest, Listing, Offers, Spec};
use crate::providers::verdict::{Failure, Verdict};
use crate::providers::{Answer, Provider, judge};

/// OpenRouter.
#[derive(Debug)]
pub struct OpenRouter(Spec);

impl OpenRouter {
    /// `https://openrouter.ai/api/v1`.
    pub(super) const VENDOR: Self = Self(Spec {
        base_urls: &["https://openrouter.ai/api/v1"],
        key_env: &["OPENROUTER_API_KEY"],
        key_url: Some("https://openrouter.ai/settings/keys"),
        offers: Offers::TEXT,
        listing: Listing::Public("/models"),
        key_test: KeyTest::Get("/key"),
        key_signs: &[KeySign::BrokeIfNotPositive("/data/limit_remaining")],
        signals: SIGNALS,
        // "Making additional accounts or API keys will not affect your rate limits", which are of all
        // `:free` variants together (<https://openrouter.ai/docs/api-reference/limits>, read 2026-11-22).
        shared_quotas: &["*:free"],
        ..Spec::compatible("openrouter", "OpenRouter")
    });
}

/// <https://openrouter.ai/docs/api/reference/errors-and-debugging>, read 2026-11-22.
const SIGNALS: &[Signal] = &[
    Signal::says(401, "user not found", Verdict::Auth),
    Signal::says(403, "key limit exceeded", Verdict::NoMoney),
    Signal::says(429, "free-models-per-day", Verdict::Quota).until(Reset::UtcMidnight),
    Signal::says(429, "free-models-per-min", Verdict::RateLimit),
];

impl Provider for OpenRouter {
    fn spec(&self) -> &Spec {
        &self.0
    }

    fn judge(&self, answer: &Answer<'_>) -> Failure {
        let Some(mut error) = UpstreamError::parse(Some(answer.status), answer.body) else {
            return judge::by_signals(&self.0, answer);
        };
        let metadata = Metadata::read(answer.body);
        // "Provider returned error" says nothing; what that provider said does.
        if let Some(inner) = metadata.inner
            && !inner.message.is_empty()
        {
            error.message = format!("{}: {}", error.message, inner.message);
            error.code = inner.code.or(error.code);
            error.kind = inner.kind.or(error.kind);
        }
        let failure = judge::by_error(&self.0, answer, error);
        let status = failure.status;
        let verdict = match failure.verdict {
            // Moderation: the request's fault, though OpenRouter calls it 403.
            _ if metadata.is_moderation && status == Some(403) => Verdict::BadRequest,
            // A vendor behind OpenRouter is limited, or refuses OpenRouter's own key: not ours.
            Verdict::Auth
            | Verdict::NoMoney
            | Verdict::NotAllowed
            | Verdict::Quota
            | Verdict::RateLimit
                if metadata.blames_vendor =>
            {
                Verdict::Capacity
            }
            verdict => verdict,
        };
        Failure { verdict, ..failure }
    }
}

/// What `error.metadata` says of whose fault it was.
#[derive(Debug, Default)]
struct Metadata {
    /// The error of the vendor behind OpenRouter.
    inner: Option<UpstreamError>,
    blames_vendor: bool,
    is_moderation: bool,
}

impl Metadata {
    fn read(body: &[u8]) -> Self {
        let Ok(body) = serde_json::from_slice::<Value>(body) else {
            return Self::default();
        };
        let Some(metadata) = body.pointer("/error/metadata") else {
            return Self::default();
        };
        let raw = metadata.get("raw").and_then(|raw| match raw {
            Value::String(text) => Some(text.clone()),
            Value::Object(_) => Some(raw.to_string()),
            _ => None,
        });
        let is_moderation =
            metadata.get("reasons").is_some() || metadata.get("flagged_input").is_some();
        Self {
            inner: raw.and_then(|raw| UpstreamError::parse(Some(500), raw.as_bytes())),
            blames_vendor: metadata.get("provider_name").is_some() && !is_moderation,
            is_moderation,
        }
    }
}
