//! Vendors that pass requests on to many others under one key.

use super::Compatible;
use crate::providers::quirks::Quirks;
use crate::providers::signals::Signal;
use crate::providers::spec::{KeySign, KeyTest, Listing, Offers, Spec};
use crate::providers::verdict::Verdict;

pub(super) static TABLE: &[Compatible] = &[
    Compatible(Spec {
        base_urls: &["https://router.huggingface.co/v1"],
        aliases: &["hf"],
        key_env: &["HF_TOKEN", "HUGGINGFACE_API_KEY"],
        key_url: Some("https://huggingface.co/settings/tokens"),
        listing: Listing::Public("/models"),
        key_test: KeyTest::Chat("meta-llama/Llama-3.1-8B-Instruct"),
        quirks: Quirks::OPEN_MODELS,
        ..Spec::compatible("huggingface", "Hugging Face")
    }),
    Compatible(Spec {
        base_urls: &["https://ai-gateway.vercel.sh/v1"],
        aliases: &["vercel_ai_gateway"],
        key_env: &[
            "VERCEL_AI_GATEWAY_API_KEY",
            "AI_GATEWAY_API_KEY",
            "VERCEL_API_KEY",
        ],
        key_url: Some("https://vercel.com/ai-gateway"),
        offers: Offers::EMBEDDINGS,
        listing: Listing::Public("/models"),
        key_test: KeyTest::Get("/credits"),
        key_signs: &[KeySign::BrokeIfNotPositive("/balance")],
        ..Spec::compatible("vercel", "Vercel AI Gateway")
    }),
    Compatible(Spec {
        base_urls: &["https://api.venice.ai/api/v1"],
        aliases: &["veniceai", "venice_ai"],
        key_env: &["VENICE_AI_API_KEY", "VENICE_API_KEY"],
        key_url: Some("https://venice.ai/settings/api"),
        offers: Offers::EMBEDDINGS,
        signals: &[Signal::says(
            401,
            "only available to pro users",
            Verdict::NotAllowed,
        )],
        quirks: Quirks::OPEN_MODELS,
        ..Spec::compatible("venice", "Venice")
    }),
    Compatible(Spec {
        base_urls: &["https://nano-gpt.com/api/v1"],
        aliases: &["nano-gpt", "nano_gpt"],
        key_env: &["NANOGPT_API_KEY"],
        key_url: Some("https://nano-gpt.com/api"),
        offers: Offers::EMBEDDINGS,
        listing: Listing::Public("/models"),
        key_test: KeyTest::Post("../check-balance"),
        quirks: Quirks::OPEN_MODELS,
        ..Spec::compatible("nanogpt", "NanoGPT")
    }),
    Compatible(Spec {
        base_urls: &["https://api.poe.com/v1"],
        key_env: &["POE_API_KEY"],
        key_url: Some("https://poe.com/api_key"),
        listing: Listing::Public("/models"),
        key_test: KeyTest::Chat("GPT-5-nano"),
        quirks: Quirks::OPEN_MODELS,
        ..Spec::compatible("poe", "Poe")
    }),
    Compatible(Spec {
        base_urls: &["https://aihubmix.com/v1"],
        key_env: &["AIHUBMIX_API_KEY"],
        key_url: Some("https://aihubmix.com/token"),
        offers: Offers::EMBEDDINGS,
        ..Spec::compatible("aihubmix", "AIHubMix")
    }),
    Compatible(Spec {
        base_urls: &["https://api.publicai.co/v1"],
        key_env: &["PUBLICAI_API_KEY"],
        key_url: Some("https://platform.publicai.co"),
        quirks: Quirks::OPEN_MODELS,
        ..Spec::compatible("publicai", "Public AI")
    }),
    Compatible(Spec {
        base_urls: &["https://ollama.com/v1"],
        key_env: &["OLLAMA_CLOUD_API_KEY"],
        key_url: Some("https://ollama.com/settings/keys"),
        listing: Listing::Public("/models"),
        key_test: KeyTest::Chat("gpt-oss:20b"),
        // Of a session of five hours, or of a week.
        signals: &[Signal::says(429, "usage limit", Verdict::Quota)],
        quirks: Quirks::OPEN_MODELS,
        ..Spec::compatible("ollama_cloud", "Ollama Cloud")
    }),
];
