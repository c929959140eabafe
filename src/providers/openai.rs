//! OpenAI: Chat Completions and Responses, and which models take only one of them.

use crate::dialects::{Dialect, Operation};
use crate::providers::Provider;
use crate::providers::quirks::Quirks;
use crate::providers::signals::Signal;
use crate::providers::spec::{KeySign, Offers, Spec};
use crate::providers::verdict::Verdict;

/// OpenAI itself.
#[derive(Debug)]
pub struct OpenAi(Spec);

impl OpenAi {
    /// `https://api.openai.com/v1`.
    pub(super) const VENDOR: Self = Self(Spec {
        base_urls: &["https://api.openai.com/v1"],
        key_env: &["OPENAI_API_KEY"],
        key_url: Some("https://platform.openai.com/api-keys"),
        offers: Offers {
            completions: true,
            embeddings: true,
            responses: true,
        },
        // A restricted key without `api.model.read` is refused the list, yet serves.
        key_signs: &[KeySign::ValidIfSays("missing scopes")],
        signals: SIGNALS,
        quirks: Quirks {
            max_stops: Some(4),
            ..Quirks::NONE
        },
        ..Spec::compatible("openai", "OpenAI")
    });
}

/// <https://platform.openai.com/docs/guides/error-codes>, read 2026-11-22.
const SIGNALS: &[Signal] = &[
    Signal::code("account_deactivated", Verdict::Banned),
    Signal::code("billing_not_active", Verdict::NoMoney),
    Signal::code("organization_usage_limit_exceeded", Verdict::NoMoney),
    Signal::code("mismatched_project", Verdict::Auth),
    Signal::code("invalid_organization", Verdict::Auth),
    Signal::code("ip_not_authorized", Verdict::NotAllowed),
    Signal::code("unsupported_country_region_territory", Verdict::NotAllowed),
    Signal::code("server_is_overloaded", Verdict::Capacity),
    Signal::code("slow_down", Verdict::Capacity).on(503),
];

/// The legacy models of `/completions`; the others answer 404 there.
const TEXT_MODELS: [&str; 3] = ["-instruct", "davinci-", "babbage-"];

/// Parts of the names of models that are served by `/responses` only.
const RESPONSES_ONLY: [&str; 4] = ["-pro", "codex", "deep-research", "computer-use"];

impl Provider for OpenAi {
    fn spec(&self) -> &Spec {
        &self.0
    }

    fn dialect_for(&self, operation: Operation, client: Dialect, model: &str) -> Option<Dialect> {
        match operation {
            Operation::Chat
                if client == Dialect::OpenAiResponses || speaks_responses_only(model) =>
            {
                Some(Dialect::OpenAiResponses)
            }
            Operation::Chat | Operation::Embeddings => Some(Dialect::OpenAiChat),
            Operation::Completions => TEXT_MODELS
                .iter()
                .any(|part| model.contains(part))
                .then_some(Dialect::OpenAiChat),
            Operation::CountTokens => None,
        }
    }
}

/// `o3-pro`, `gpt-5-codex`: 404 "This model is only supported in v1/responses".
fn speaks_responses_only(model: &str) -> bool {
    let reasoning = model.starts_with("gpt-5") || model.starts_with('o') || model.contains("codex");
    reasoning && RESPONSES_ONLY.iter().any(|part| model.contains(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_client_is_served_in_its_own_dialect_where_the_model_allows() {
        let openai = OpenAi::VENDOR;
        for (client, model, upstream) in [
            (Dialect::OpenAiChat, "gpt-4o", Dialect::OpenAiChat),
            (Dialect::OpenAiResponses, "gpt-4o", Dialect::OpenAiResponses),
            (Dialect::OpenAiChat, "o3-pro", Dialect::OpenAiResponses),
            (Dialect::Anthropic, "gpt-5-codex", Dialect::OpenAiResponses),
            (Dialect::Gemini, "gpt-5", Dialect::OpenAiChat),
        ] {
            assert_eq!(
                openai.dialect_for(Operation::Chat, client, model),
                Some(upstream),
                "{client} {model}"
            );
        }
    }

    #[test]
    fn only_legacy_models_complete_text() {
        let completes =
            |model| OpenAi::VENDOR.dialect_for(Operation::Completions, Dialect::OpenAiChat, model);
        assert_eq!(
            completes("gpt-3.5-turbo-instruct"),
            Some(Dialect::OpenAiChat)
        );
        assert_eq!(completes("gpt-4o"), None);
    }
}
