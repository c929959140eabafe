//! Google's Gemini API (`generativelanguage`) with API keys.

use crate::dialects::{Dialect, Operation};
use crate::providers::signals::Signal;
use crate::providers::spec::{Auth, Listing, Offers, Spec};
use crate::providers::verdict::Verdict;
use crate::providers::{Call, Provider, base_url};

/// The largest page `GET /models` gives.
const MODELS_A_PAGE: u16 = 1000;

/// Gemini, or a server that speaks its dialect.
#[derive(Debug)]
pub struct Gemini(Spec);

impl Gemini {
    /// `https://generativelanguage.googleapis.com`.
    pub(super) const VENDOR: Self = Self(Spec {
        aliases: &["google"],
        base_urls: &["https://generativelanguage.googleapis.com"],
        key_env: &["GEMINI_API_KEY", "GOOGLE_API_KEY"],
        key_url: Some("https://aistudio.google.com/apikey"),
        ..generate_content("gemini", "Google Gemini")
    });

    /// A server of the user's own.
    pub(super) const CUSTOM: Self = Self(Spec {
        key_optional: true,
        ..generate_content("gemini_compatible", "Gemini-compatible server")
    });
}

const fn generate_content(id: &'static str, title: &'static str) -> Spec {
    Spec {
        dialect: Dialect::Gemini,
        auth: Auth::Header("x-goog-api-key"),
        offers: Offers::EMBEDDINGS,
        listing: Listing::Path("/models"),
        signals: SIGNALS,
        ..Spec::compatible(id, title)
    }
}

/// Words of `error.message`, as of 2026-11-22. The reasons and quota ids in `error.details` are judged
/// for every provider that sends them.
const SIGNALS: &[Signal] = &[
    Signal::says(400, "user location is not supported", Verdict::NotAllowed),
    Signal::says(400, "enable billing", Verdict::NoMoney),
    Signal::says(403, "reported as leaked", Verdict::Dead),
    Signal::says(403, "has been suspended", Verdict::Banned),
    // A misspelt or missing key header.
    Signal::says(403, "without established identity", Verdict::Auth),
];

impl Provider for Gemini {
    fn spec(&self) -> &Spec {
        &self.0
    }

    fn dialect_for(&self, operation: Operation, _client: Dialect, _model: &str) -> Option<Dialect> {
        let unknown = matches!(operation, Operation::Compact | Operation::Completions);
        (!unknown).then_some(Dialect::Gemini)
    }

    /// Embeddings go to `:batchEmbedContents`, whatever their number: one text is a batch of one.
    fn path(&self, operation: Operation, _dialect: Dialect, model: &str, stream: bool) -> String {
        let verb = match operation {
            Operation::CountTokens => "countTokens",
            Operation::Embeddings => "batchEmbedContents",
            _ if stream => "streamGenerateContent?alt=sse",
            _ => "generateContent",
        };
        format!("/{}:{verb}", resource(model))
    }

    fn url(&self, base: &str, path: &str) -> String {
        // People also have the URL of the OpenAI-compatible surface at hand.
        let base = base.trim_end_matches('/');
        let base = base.strip_suffix("/openai").unwrap_or(base);
        base_url::join(&base_url::versioned(base, "v1beta"), path)
    }

    fn list_models(&self, page: Option<&str>) -> Option<Call> {
        let token = page.map_or_else(String::new, |token| {
            format!("&pageToken={}", base_url::segment(token))
        });
        Some(Call::get(format!(
            "/models?pageSize={MODELS_A_PAGE}{token}"
        )))
    }

    fn key_test(&self) -> Call {
        Call::get("/models?pageSize=1")
    }
}

/// `models/gemini-2.5-flash`; tuned models keep their own collection.
fn resource(model: &str) -> String {
    match model.split_once('/') {
        Some((collection @ ("models" | "tunedModels"), name)) => {
            format!("{collection}/{}", base_url::segment(name))
        }
        _ => format!("models/{}", base_url::segment(model)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verb_follows_operation_and_streaming() {
        let path = |operation, stream| {
            Gemini::VENDOR.path(operation, Dialect::Gemini, "gemini-2.5-flash", stream)
        };
        assert_eq!(
            path(Operation::Chat, true),
            "/models/gemini-2.5-flash:streamGenerateContent?alt=sse"
        );
        assert_eq!(
            path(Operation::Chat, false),
            "/models/gemini-2.5-flash:generateContent"
        );
        assert_eq!(
            path(Operation::CountTokens, false),
            "/models/gemini-2.5-flash:countTokens"
        );
        assert_eq!(
            path(Operation::Embeddings, false),
            "/models/gemini-2.5-flash:batchEmbedContents"
        );
    }

    #[test]
    fn model_names_cannot_leave_their_segment() {
        let path = |model| Gemini::VENDOR.path(Operation::Chat, Dialect::Gemini, model, false);
        assert_eq!(path("models/x"), "/models/x:generateContent");
        assert_eq!(path("tunedModels/x"), "/tunedModels/x:generateContent");
        assert_eq!(
            path("../v1/files?"),
            "/models/..%2Fv1%2Ffiles%3F:generateContent"
        );
    }

    #[test]
    fn the_host_is_enough_and_a_version_is_kept() {
        for (base, url) in [
            ("https://g", "https://g/v1beta/models"),
            ("https://g/v1beta/", "https://g/v1beta/models"),
            ("https://g/v1", "https://g/v1/models"),
            ("https://g/v1beta/openai", "https://g/v1beta/models"),
        ] {
            assert_eq!(Gemini::VENDOR.url(base, "/models"), url);
        }
    }
}
