//! OpenAI: Chat Completions and Responses, and which models take only one of them.

use bytes::Bytes;
use memchr::memmem;

use crate::dialects::{Dialect, Operation};
use crate::providers::quirks::{Quirks, TokenLimit};
use crate::providers::signals::Signal;
use crate::providers::spec::{KeySign, Offers, Spec};
use crate::providers::verdict::Verdict;
use crate::providers::{Outgoing, Provider, adapt};

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

/// What o1 and later reasoning models refuse: 400 `unsupported_parameter` or `unsupported_value`.
const REASONING: Quirks = Quirks {
    token_limit: TokenLimit::MaxCompletionTokens,
    refused: &[(
        "",
        &[
            "frequency_penalty",
            "logit_bias",
            "logprobs",
            "presence_penalty",
            "stop",
            "temperature",
            "top_logprobs",
            "top_p",
        ],
    )],
    ..Quirks::NONE
};

/// GPT-5.1 and later take sampling parameters as long as they do not reason, which is the default.
const OPTIONAL_REASONING: Quirks = Quirks {
    token_limit: TokenLimit::MaxCompletionTokens,
    max_stops: Some(4),
    ..Quirks::NONE
};

/// The legacy models of `/completions`; the others answer 404 there.
const TEXT_MODELS: [&str; 3] = ["-instruct", "davinci-", "babbage-"];

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
            // No other vendor makes OpenAI's compaction items.
            Operation::Compact | Operation::CountTokens => Some(Dialect::OpenAiResponses),
        }
    }

    fn adapt(&self, body: Bytes, request: &Outgoing<'_>) -> Bytes {
        let quirks = match reasoning(request.model) {
            Reasoning::Always => &REASONING,
            Reasoning::Never => &self.0.quirks,
            Reasoning::Optional => {
                let named = memmem::find(&body, b"\"reasoning_effort\"").is_some();
                if named {
                    &REASONING
                } else {
                    &OPTIONAL_REASONING
                }
            }
        };
        adapt::by_quirks(body, request, quirks)
    }
}

/// Whether a model reasons.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reasoning {
    Always,
    Never,
    /// Only when `reasoning_effort` asks for it.
    Optional,
}

/// By the model's name: `o3`, `gpt-5-mini`, `gpt-5.2`, `gpt-6-sol`; `gpt-5-chat-latest` does not.
fn reasoning(model: &str) -> Reasoning {
    let begins_with_digit = |rest: &str| rest.starts_with(|c: char| c.is_ascii_digit());
    if model.strip_prefix('o').is_some_and(begins_with_digit) {
        return Reasoning::Always;
    }
    let Some(rest) = model.strip_prefix("gpt-") else {
        return Reasoning::Never;
    };
    let major = rest
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(rest.len());
    let (major, rest) = rest.split_at_checked(major).unwrap_or((rest, ""));
    match major.parse::<u32>() {
        Ok(5..) if rest.contains("chat") => Reasoning::Never,
        Ok(5..) if rest.contains("pro") || rest.contains("codex") => Reasoning::Always,
        Ok(5) if !rest.starts_with('.') => Reasoning::Always,
        Ok(5..) => Reasoning::Optional,
        _ => Reasoning::Never,
    }
}

/// `o3-pro`, `gpt-5-codex`: 404 "This model is only supported in v1/responses". The models that
/// LiteLLM 1.106.2 lists without `/v1/chat/completions`, read 2026-11-22, and their kin.
fn speaks_responses_only(model: &str) -> bool {
    let tells = |parts: &[&str]| parts.iter().any(|part| model.contains(part));
    tells(&["codex", "computer-use"])
        || reasoning(model) == Reasoning::Always && tells(&["-pro", "deep-research"])
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
    fn models_that_reason_are_known_by_name() {
        for (model, wanted) in [
            ("o1", Reasoning::Always),
            ("o4-mini", Reasoning::Always),
            ("gpt-5-mini", Reasoning::Always),
            ("gpt-5.1-codex", Reasoning::Always),
            ("gpt-5.2", Reasoning::Optional),
            ("gpt-6-sol", Reasoning::Optional),
            ("gpt-4.1", Reasoning::Never),
            ("gpt-5-chat-latest", Reasoning::Never),
            ("gpt-4o", Reasoning::Never),
            ("omni-moderation", Reasoning::Never),
        ] {
            assert_eq!(reasoning(model), wanted, "{model}");
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
