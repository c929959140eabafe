//! Vendors that host open models on their own machines.

use super::Compatible;
use crate::providers::quirks::{Quirks, Thinking, TokenLimit};
use crate::providers::signals::{Reset, Signal};
use crate::providers::spec::{Auth, KeyTest, Listing, Offers, Spec};
use crate::providers::verdict::{Fault, Verdict};

pub(super) static TABLE: &[Compatible] = &[
    Compatible(Spec {
        base_urls: &["https://api.groq.com/openai/v1"],
        key_env: &["GROQ_API_KEY"],
        key_url: Some("https://console.groq.com/keys"),
        signals: &[
            Signal::code("organization_restricted", Verdict::Banned),
            Signal::code("rate_limit_exceeded", Verdict::BadRequest).on(413),
            Signal::code("tool_use_failed", Verdict::Transient(Fault::Garbage)),
            Signal::code("json_validate_failed", Verdict::Transient(Fault::Garbage)),
            Signal::says(403, "blocked network", Verdict::NotAllowed),
            Signal::code("model_decommissioned", Verdict::BadRequest),
        ],
        quirks: Quirks {
            // https://console.groq.com/docs/openai, read 2026-11-22: 400 for each.
            no_message_names: true,
            refused: &[("", &["logprobs", "logit_bias", "top_logprobs"])],
            max_stops: Some(4),
            ..Quirks::NONE
        },
        ..Spec::compatible("groq", "Groq")
    }),
    Compatible(Spec {
        base_urls: &["https://api.cerebras.ai/v1"],
        key_env: &["CEREBRAS_API_KEY"],
        key_url: Some("https://cloud.cerebras.ai"),
        offers: Offers::COMPLETIONS,
        signals: &[
            Signal::code("wrong_api_key", Verdict::Auth),
            Signal::code("queue_exceeded", Verdict::Capacity),
            Signal::code("request_quota_exceeded", Verdict::RateLimit),
            Signal::code("token_quota_exceeded", Verdict::RateLimit),
        ],
        quirks: Quirks {
            // https://inference-docs.cerebras.ai/resources/openai, read 2026-11-22.
            no_developer_role: true,
            refused: &[(
                "",
                &[
                    "frequency_penalty",
                    "logit_bias",
                    "parallel_tool_calls",
                    "presence_penalty",
                    "service_tier",
                ],
            )],
            max_temperature: Some(1.5),
            max_stops: Some(4),
            ..Quirks::NONE
        },
        ..Spec::compatible("cerebras", "Cerebras")
    }),
    Compatible(Spec {
        base_urls: &["https://integrate.api.nvidia.com/v1"],
        aliases: &["nvidia"],
        key_env: &["NVIDIA_NIM_API_KEY", "NVIDIA_API_KEY"],
        key_url: Some("https://build.nvidia.com/settings/api-keys"),
        offers: Offers::EMBEDDINGS,
        listing: Listing::Public("/models"),
        key_test: KeyTest::Chat("meta/llama-3.1-8b-instruct"),
        signals: &[
            Signal::says(403, "authorization failed", Verdict::Auth),
            Signal::says(404, "not found for account", Verdict::NotAllowed),
        ],
        quirks: Quirks {
            thinking: &[
                (
                    "deepseek-v4",
                    Thinking::template("thinking").with_levels(&["high", "max"]),
                ),
                ("deepseek-v3", Thinking::template("thinking")),
                ("kimi-k2", Thinking::template("thinking")),
                ("qwen3", Thinking::template("enable_thinking")),
                ("glm", Thinking::template("enable_thinking")),
                ("mistral", Thinking::levels(&["none", "high"])),
            ],
            // Models that tell questions from passages refuse a request that does not say which.
            embedding_defaults: &[
                ("embedqa", "input_type", "\"query\""),
                ("nemoretriever", "input_type", "\"query\""),
            ],
            ..Quirks::OPEN_MODELS
        },
        ..Spec::compatible("nvidia_nim", "NVIDIA NIM")
    }),
    Compatible(Spec {
        base_urls: &["https://api.together.ai/v1", "https://api.together.xyz/v1"],
        aliases: &["together_ai", "togetherai"],
        key_env: &[
            "TOGETHER_API_KEY",
            "TOGETHERAI_API_KEY",
            "TOGETHER_AI_API_KEY",
        ],
        key_url: Some("https://api.together.ai/settings/api-keys"),
        offers: Offers::TEXT,
        signals: &[Signal::code("model_not_available", Verdict::NotAllowed)],
        quirks: Quirks::OPEN_MODELS,
        ..Spec::compatible("together", "Together AI")
    }),
    Compatible(Spec {
        base_urls: &["https://api.fireworks.ai/inference/v1"],
        aliases: &["fireworks_ai"],
        key_env: &["FIREWORKS_API_KEY", "FIREWORKS_AI_API_KEY"],
        key_url: Some("https://app.fireworks.ai/settings/users/api-keys"),
        offers: Offers::TEXT,
        signals: &[
            Signal::status(412, Verdict::NoMoney),
            Signal::code("unauthorized", Verdict::Auth),
        ],
        quirks: Quirks::OPEN_MODELS,
        ..Spec::compatible("fireworks", "Fireworks AI")
    }),
    Compatible(Spec {
        base_urls: &["https://api.deepinfra.com/v1/openai"],
        key_env: &["DEEPINFRA_API_KEY"],
        key_url: Some("https://deepinfra.com/dash/api_keys"),
        offers: Offers::TEXT,
        listing: Listing::Public("/models"),
        key_test: KeyTest::Chat("meta-llama/Meta-Llama-3.1-8B-Instruct"),
        signals: &[
            Signal::says(429, "model busy", Verdict::Capacity),
            Signal::says(500, "exceeds maximum input length", Verdict::ContextLength),
        ],
        quirks: Quirks::OPEN_MODELS,
        ..Spec::compatible("deepinfra", "DeepInfra")
    }),
    Compatible(Spec {
        base_urls: &["https://api.sambanova.ai/v1"],
        key_env: &["SAMBANOVA_API_KEY"],
        key_url: Some("https://cloud.sambanova.ai/apis"),
        offers: Offers::EMBEDDINGS,
        listing: Listing::Public("/models"),
        key_test: KeyTest::Chat("Meta-Llama-3.1-8B-Instruct"),
        quirks: Quirks::OPEN_MODELS,
        ..Spec::compatible("sambanova", "SambaNova")
    }),
    Compatible(Spec {
        base_urls: &[
            "https://api.studio.nebius.ai/v1",
            "https://api.tokenfactory.nebius.com/v1",
        ],
        key_env: &["NEBIUS_API_KEY"],
        key_url: Some("https://tokenfactory.nebius.com"),
        offers: Offers::TEXT,
        quirks: Quirks::OPEN_MODELS,
        ..Spec::compatible("nebius", "Nebius")
    }),
    Compatible(Spec {
        base_urls: &["https://api.novita.ai/v3/openai"],
        key_env: &["NOVITA_API_KEY"],
        key_url: Some("https://novita.ai/settings/key-management"),
        offers: Offers::TEXT,
        quirks: Quirks::OPEN_MODELS,
        ..Spec::compatible("novita", "Novita AI")
    }),
    Compatible(Spec {
        base_urls: &["https://api.hyperbolic.xyz/v1"],
        key_env: &["HYPERBOLIC_API_KEY"],
        key_url: Some("https://app.hyperbolic.xyz/settings"),
        offers: Offers::COMPLETIONS,
        quirks: Quirks::OPEN_MODELS,
        ..Spec::compatible("hyperbolic", "Hyperbolic")
    }),
    Compatible(Spec {
        base_urls: &["https://llm.chutes.ai/v1"],
        key_env: &["CHUTES_API_KEY"],
        key_url: Some("https://chutes.ai/app/api"),
        offers: Offers::COMPLETIONS,
        listing: Listing::Public("/models"),
        key_test: KeyTest::Chat("unsloth/Llama-3.2-1B-Instruct"),
        quirks: Quirks::OPEN_MODELS,
        ..Spec::compatible("chutes", "Chutes")
    }),
    Compatible(Spec {
        base_urls: &["https://api.siliconflow.com/v1"],
        key_env: &["SILICONFLOW_API_KEY"],
        key_url: Some("https://cloud.siliconflow.com/account/ak"),
        offers: Offers::EMBEDDINGS,
        signals: &[Signal::code("30001", Verdict::NoMoney)],
        quirks: Quirks {
            thinking: &[("", Thinking::ENABLE_THINKING)],
            ..Quirks::OPEN_MODELS
        },
        ..Spec::compatible("siliconflow", "SiliconFlow")
    }),
    Compatible(Spec {
        base_urls: &["https://api-inference.modelscope.cn/v1"],
        key_env: &["MODELSCOPE_API_KEY"],
        key_url: Some("https://modelscope.cn/my/myaccesstoken"),
        quirks: Quirks {
            thinking: &[("", Thinking::ENABLE_THINKING)],
            ..Quirks::OPEN_MODELS
        },
        ..Spec::compatible("modelscope", "ModelScope")
    }),
    Compatible(Spec {
        base_urls: &["https://api.friendli.ai/serverless/v1"],
        aliases: &["friendliai"],
        key_env: &["FRIENDLI_TOKEN", "FRIENDLI_API_KEY"],
        key_url: Some("https://friendli.ai/suite/setting/tokens"),
        offers: Offers::COMPLETIONS,
        quirks: Quirks::OPEN_MODELS,
        ..Spec::compatible("friendli", "Friendli")
    }),
    Compatible(Spec {
        base_urls: &["https://api.featherless.ai/v1"],
        aliases: &["featherless_ai"],
        key_env: &["FEATHERLESS_AI_API_KEY", "FEATHERLESS_API_KEY"],
        key_url: Some("https://featherless.ai/account/api-keys"),
        offers: Offers::COMPLETIONS,
        quirks: Quirks::OPEN_MODELS,
        ..Spec::compatible("featherless", "Featherless")
    }),
    Compatible(Spec {
        base_urls: &["https://inference.baseten.co/v1"],
        key_env: &["BASETEN_API_KEY"],
        key_url: Some("https://app.baseten.co/settings/api_keys"),
        quirks: Quirks::OPEN_MODELS,
        ..Spec::compatible("baseten", "Baseten")
    }),
    Compatible(Spec {
        base_urls: &["https://api.lambda.ai/v1"],
        aliases: &["lambda_ai"],
        key_env: &["LAMBDA_API_KEY"],
        key_url: Some("https://cloud.lambda.ai/api-keys"),
        offers: Offers::COMPLETIONS,
        quirks: Quirks::OPEN_MODELS,
        ..Spec::compatible("lambda", "Lambda")
    }),
    Compatible(Spec {
        base_urls: &["https://api.scaleway.ai/v1"],
        key_env: &["SCW_SECRET_KEY", "SCALEWAY_API_KEY"],
        key_url: Some("https://console.scaleway.com/iam/api-keys"),
        offers: Offers::EMBEDDINGS,
        signals: &[
            // "You exceeded your current quota of requests per minute": elsewhere an empty account.
            Signal::says(429, "per minute", Verdict::RateLimit),
            // An unknown key, or one without the permission.
            Signal::says(403, "insufficient permissions", Verdict::Auth),
        ],
        quirks: Quirks::OPEN_MODELS,
        ..Spec::compatible("scaleway", "Scaleway")
    }),
    Compatible(Spec {
        base_urls: &["https://oai.endpoints.kepler.ai.cloud.ovh.net/v1"],
        key_env: &["OVHCLOUD_API_KEY"],
        key_url: Some("https://endpoints.ai.cloud.ovh.net"),
        offers: Offers::EMBEDDINGS,
        quirks: Quirks::OPEN_MODELS,
        ..Spec::compatible("ovhcloud", "OVHcloud AI Endpoints")
    }),
    Compatible(Spec {
        base_urls: &["https://api.inference.wandb.ai/v1"],
        key_env: &["WANDB_API_KEY"],
        key_url: Some("https://wandb.ai/authorize"),
        quirks: Quirks::OPEN_MODELS,
        ..Spec::compatible("wandb", "W&B Inference")
    }),
    Compatible(Spec {
        base_urls: &["https://api.parasail.io/v1"],
        key_env: &["PARASAIL_API_KEY"],
        key_url: Some("https://www.saas.parasail.io/keys"),
        offers: Offers::TEXT,
        quirks: Quirks::OPEN_MODELS,
        ..Spec::compatible("parasail", "Parasail")
    }),
    Compatible(Spec {
        base_urls: &["https://api.gmi-serving.com/v1"],
        key_env: &["GMI_API_KEY"],
        key_url: Some("https://console.gmicloud.ai"),
        quirks: Quirks::OPEN_MODELS,
        ..Spec::compatible("gmi", "GMI Cloud")
    }),
    Compatible(Spec {
        base_urls: &["https://api.synthetic.new/openai/v1"],
        key_env: &["SYNTHETIC_API_KEY"],
        key_url: Some("https://synthetic.new"),
        offers: Offers::TEXT,
        signals: &[Signal::says(
            429,
            "subscription rate limits",
            Verdict::Quota,
        )],
        quirks: Quirks::OPEN_MODELS,
        ..Spec::compatible("synthetic", "Synthetic")
    }),
    Compatible(Spec {
        base_urls: &["https://api.nscale.com/v1"],
        key_env: &["NSCALE_API_KEY"],
        quirks: Quirks::OPEN_MODELS,
        ..Spec::compatible("nscale", "Nscale")
    }),
    Compatible(Spec {
        base_urls: &["https://api.morphllm.com/v1"],
        key_env: &["MORPH_API_KEY"],
        quirks: Quirks::OPEN_MODELS,
        ..Spec::compatible("morph", "Morph")
    }),
    Compatible(Spec {
        // The first as vLLM's documents name it, read 2026-11-26; the second is its older host.
        base_urls: &[
            "https://api.inference.crusoecloud.com/v1",
            "https://managed-inference-api-proxy.crusoecloud.com/v1",
        ],
        key_env: &["CRUSOE_API_KEY"],
        quirks: Quirks::OPEN_MODELS,
        ..Spec::compatible("crusoe", "Crusoe")
    }),
    Compatible(Spec {
        base_hint: Some("https://api.cloudflare.com/client/v4/accounts/ACCOUNT_ID/ai/v1"),
        key_env: &["CLOUDFLARE_API_KEY", "CLOUDFLARE_API_TOKEN"],
        key_url: Some("https://dash.cloudflare.com/profile/api-tokens"),
        offers: Offers::EMBEDDINGS,
        listing: Listing::Path("../models/search?per_page=1000"),
        signals: &[
            Signal::code("4006", Verdict::Quota).until(Reset::UtcMidnight),
            Signal::says(429, "daily free allocation", Verdict::Quota).until(Reset::UtcMidnight),
            Signal::code("10000", Verdict::Auth),
        ],
        quirks: Quirks::OPEN_MODELS,
        ..Spec::compatible("cloudflare", "Cloudflare Workers AI")
    }),
    Compatible(Spec {
        base_hint: Some("https://RESOURCE.openai.azure.com/openai/v1"),
        aliases: &["azure_openai"],
        key_env: &["AZURE_OPENAI_API_KEY", "AZURE_API_KEY"],
        key_url: Some("https://ai.azure.com"),
        auth: Auth::Header("api-key"),
        offers: Offers {
            embeddings: true,
            responses: true,
            ..Offers::NONE
        },
        signals: &[
            Signal::code("DeploymentNotFound", Verdict::BadRequest),
            Signal::code("content_filter", Verdict::BadRequest),
        ],
        ..Spec::compatible("azure", "Azure OpenAI")
    }),
    Compatible(Spec {
        base_urls: &["https://models.github.ai/inference"],
        aliases: &["github_models"],
        // Not GITHUB_TOKEN: it is set in every CI job, for other purposes.
        key_env: &["GITHUB_API_KEY", "GITHUB_MODELS_API_KEY"],
        key_url: Some("https://github.com/settings/personal-access-tokens"),
        offers: Offers::EMBEDDINGS,
        listing: Listing::Public("../catalog/models"),
        key_test: KeyTest::Chat("openai/gpt-4.1-nano"),
        signals: &[
            Signal::code("RateLimitReached", Verdict::RateLimit),
            Signal::code("unavailable_model", Verdict::NotAllowed),
        ],
        quirks: Quirks {
            token_limit: TokenLimit::Either,
            ..Quirks::NONE
        },
        ..Spec::compatible("github", "GitHub Models")
    }),
];
