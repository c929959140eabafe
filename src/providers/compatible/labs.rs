//! Vendors that serve the models they make.

use super::Compatible;
use crate::dialects::ids::IdRule;
use crate::providers::quirks::{Quirks, Thinking, TokenLimit};
use crate::providers::signals::{Reset, Signal};
use crate::providers::spec::{KeySign, KeyTest, Listing, Offers, Spec};
use crate::providers::verdict::{Fault, Verdict};

const MISTRAL_QUIRKS: Quirks = Quirks {
    token_limit: TokenLimit::MaxTokens,
    no_developer_role: true,
    // Its request schema forbids extra members: 422 "Extra inputs are not permitted".
    refused: &[(
        "",
        &[
            "logit_bias",
            "logprobs",
            "modalities",
            "prompt_cache_options",
            "prompt_cache_retention",
            "safety_identifier",
            "service_tier",
            "store",
            "stream_options",
            "top_logprobs",
            "user",
            "verbosity",
            "web_search_options",
        ],
    )],
    renamed: &[("seed", "random_seed")],
    max_temperature: Some(1.5),
    thinking: &[
        ("mistral-medium-3", Thinking::levels(&["none", "high"])),
        ("mistral-medium-latest", Thinking::levels(&["none", "high"])),
        ("mistral-small", Thinking::levels(&["none", "high"])),
        ("", Thinking::levels(&[])),
    ],
    tool_ids: IdRule::Mistral,
    ..Quirks::NONE
};

const MISTRAL_SIGNALS: &[Signal] = &[
    Signal::code("service_tier_capacity_exceeded", Verdict::Capacity),
    Signal::code("3505", Verdict::Capacity),
    Signal::says(429, "service tier capacity exceeded", Verdict::Capacity),
    Signal::code("1300", Verdict::RateLimit).on(429),
];

/// <https://platform.kimi.ai/docs/api/models-overview>, read 2026-11-22: sampling is fixed on every
/// `kimi-` model; K3 always thinks, at three levels; K2.7 always thinks; K2.5 and K2.6 have a switch.
const KIMI_QUIRKS: Quirks = Quirks {
    no_developer_role: true,
    refused: &[(
        "kimi-",
        &[
            "frequency_penalty",
            "n",
            "presence_penalty",
            "temperature",
            "top_p",
        ],
    )],
    max_temperature: Some(1.0),
    needs_reasoning: &["thinking", "kimi-k2.", "kimi-k3"],
    thinking: &[
        ("kimi-k3", Thinking::levels(&["low", "high", "max"])),
        ("kimi-k2.7", Thinking::levels(&[])),
        ("kimi-k2.", Thinking::TYPE),
        ("", Thinking::levels(&[])),
    ],
    ..Quirks::NONE
};

pub(super) static TABLE: &[Compatible] = &[
    Compatible(Spec {
        base_urls: &["https://api.mistral.ai/v1"],
        key_env: &["MISTRAL_API_KEY"],
        key_url: Some("https://console.mistral.ai/api-keys"),
        offers: Offers::EMBEDDINGS,
        key_signs: &[KeySign::BrokeIfZero("x-ratelimit-limit-req-minute")],
        signals: MISTRAL_SIGNALS,
        quirks: MISTRAL_QUIRKS,
        ..Spec::compatible("mistral", "Mistral AI")
    }),
    Compatible(Spec {
        base_urls: &["https://codestral.mistral.ai/v1"],
        key_env: &["CODESTRAL_API_KEY"],
        key_url: Some("https://console.mistral.ai/codestral"),
        listing: Listing::None,
        models: &["codestral-latest"],
        key_test: KeyTest::Chat("codestral-latest"),
        signals: MISTRAL_SIGNALS,
        quirks: MISTRAL_QUIRKS,
        ..Spec::compatible("codestral", "Mistral Codestral")
    }),
    Compatible(Spec {
        base_urls: &["https://api.deepseek.com/v1"],
        key_env: &["DEEPSEEK_API_KEY"],
        key_url: Some("https://platform.deepseek.com/api_keys"),
        key_test: KeyTest::Get("../user/balance"),
        key_signs: &[KeySign::BrokeIfFalse("/is_available")],
        signals: &[
            Signal::says(401, "authentication fails", Verdict::Auth),
            Signal::says(402, "insufficient balance", Verdict::NoMoney),
        ],
        quirks: Quirks {
            token_limit: TokenLimit::MaxTokens,
            no_developer_role: true,
            needs_reasoning: &["reasoner", "deepseek-v4", "deepseek-r"],
            thinking: &[
                ("deepseek-v4", Thinking::TYPE.with_levels(&["high", "max"])),
                ("", Thinking::TYPE),
            ],
            ..Quirks::NONE
        },
        ..Spec::compatible("deepseek", "DeepSeek")
    }),
    Compatible(Spec {
        base_urls: &["https://api.x.ai/v1"],
        key_env: &["XAI_API_KEY"],
        key_url: Some("https://console.x.ai"),
        offers: Offers {
            responses: true,
            ..Offers::NONE
        },
        key_test: KeyTest::Get("/api-key"),
        key_signs: &[
            KeySign::DeadIfTrue("/api_key_blocked"),
            KeySign::DeadIfTrue("/api_key_disabled"),
            KeySign::DeadIfTrue("/team_blocked"),
        ],
        signals: &[
            Signal::says(400, "incorrect api key", Verdict::Auth),
            Signal::says(403, "credits", Verdict::NoMoney),
            Signal::says(429, "used all available credits", Verdict::NoMoney),
            Signal::says(429, "monthly spending limit", Verdict::NoMoney),
        ],
        quirks: Quirks {
            refused: &[
                (
                    "grok-3-mini",
                    &["stop", "presence_penalty", "frequency_penalty"],
                ),
                ("grok-4", &["stop", "presence_penalty", "frequency_penalty"]),
                (
                    "grok-code-fast",
                    &["stop", "presence_penalty", "frequency_penalty"],
                ),
            ],
            ..Quirks::NONE
        },
        ..Spec::compatible("xai", "xAI")
    }),
    Compatible(Spec {
        base_urls: &["https://api.cohere.com/compatibility/v1"],
        aliases: &["cohere_chat"],
        key_env: &["COHERE_API_KEY", "CO_API_KEY"],
        key_url: Some("https://dashboard.cohere.com/api-keys"),
        offers: Offers::EMBEDDINGS,
        listing: Listing::Path("../../v1/models?page_size=1000"),
        key_test: KeyTest::Post("../../v1/check-api-key"),
        key_signs: &[KeySign::InvalidIfFalse("/valid")],
        signals: &[
            Signal::says(401, "invalid api token", Verdict::Auth),
            Signal::says(429, "api calls / month", Verdict::Quota).until(Reset::NextMonth),
            Signal::status(498, Verdict::BadRequest),
            Signal::status(499, Verdict::Transient(Fault::Server)),
        ],
        quirks: Quirks {
            token_limit: TokenLimit::MaxTokens,
            refused: &[(
                "",
                &[
                    "logit_bias",
                    "metadata",
                    "modalities",
                    "n",
                    "parallel_tool_calls",
                    "service_tier",
                    "store",
                    "top_logprobs",
                ],
            )],
            max_temperature: Some(1.0),
            max_stops: Some(5),
            ..Quirks::NONE
        },
        ..Spec::compatible("cohere", "Cohere")
    }),
    Compatible(Spec {
        base_urls: &["https://api.moonshot.ai/v1"],
        aliases: &["kimi"],
        key_env: &["MOONSHOT_API_KEY"],
        key_url: Some("https://platform.moonshot.ai/console/api-keys"),
        signals: &[
            Signal::code("invalid_authentication_error", Verdict::Auth),
            Signal::code("exceeded_current_quota_error", Verdict::NoMoney),
            Signal::code("rate_limit_reached_error", Verdict::RateLimit),
            Signal::code("engine_overloaded_error", Verdict::Capacity),
            Signal::code("content_filter", Verdict::BadRequest),
        ],
        quirks: KIMI_QUIRKS,
        ..Spec::compatible("moonshot", "Moonshot AI (Kimi)")
    }),
    Compatible(Spec {
        base_urls: &["https://api.z.ai/api/paas/v4"],
        aliases: &["zhipu", "glm"],
        key_env: &["ZAI_API_KEY"],
        key_url: Some("https://z.ai/manage-apikey/apikey-list"),
        offers: Offers::EMBEDDINGS,
        key_test: KeyTest::Chat("glm-4.5-flash"),
        signals: ZAI_SIGNALS,
        quirks: Quirks {
            token_limit: TokenLimit::MaxTokens,
            no_developer_role: true,
            max_temperature: Some(1.0),
            max_stops: Some(1),
            thinking: &[
                // Always thinks, at three levels.
                ("glm-5.3", Thinking::levels(&["low", "high", "max"])),
                ("glm-", Thinking::TYPE),
            ],
            ..Quirks::NONE
        },
        ..Spec::compatible("zai", "Z.AI (GLM)")
    }),
    Compatible(Spec {
        base_urls: &["https://dashscope-intl.aliyuncs.com/compatible-mode/v1"],
        key_env: &["DASHSCOPE_API_KEY"],
        key_url: Some("https://modelstudio.console.alibabacloud.com/?tab=api#/api-key"),
        offers: Offers::EMBEDDINGS,
        signals: &[
            Signal::code("invalid_api_key", Verdict::Auth),
            Signal::code("InvalidApiKey", Verdict::Auth),
            Signal::code("Arrearage", Verdict::NoMoney),
            Signal::code("AllocationQuota.FreeTierOnly", Verdict::NoMoney),
            Signal::code("Throttling.AllocationQuota", Verdict::RateLimit),
            Signal::code("Throttling.RateQuota", Verdict::RateLimit),
            Signal::code("Throttling", Verdict::RateLimit),
            Signal::code("limit_requests", Verdict::RateLimit),
            Signal::code("DataInspectionFailed", Verdict::BadRequest),
            Signal::code("data_inspection_failed", Verdict::BadRequest),
        ],
        quirks: Quirks {
            thinking: &[("", Thinking::ENABLE_THINKING)],
            ..Quirks::OPEN_MODELS
        },
        ..Spec::compatible("dashscope", "Alibaba Model Studio (DashScope)")
    }),
    Compatible(Spec {
        base_urls: &["https://api.minimax.io/v1"],
        key_env: &["MINIMAX_API_KEY"],
        key_url: Some("https://platform.minimax.io/user-center/basic-information/interface-key"),
        models: &["MiniMax-M2", "MiniMax-M2.1", "MiniMax-M2.5"],
        key_test: KeyTest::Chat("MiniMax-M2.5"),
        signals: &[
            Signal::code("1002", Verdict::RateLimit),
            Signal::code("1039", Verdict::RateLimit),
            Signal::code("1004", Verdict::Auth),
            Signal::code("2049", Verdict::Auth),
            Signal::code("1008", Verdict::NoMoney),
            Signal::code("1013", Verdict::BadRequest),
            Signal::code("2013", Verdict::BadRequest),
            Signal::code("1026", Verdict::BadRequest),
            Signal::code("1027", Verdict::BadRequest),
            Signal::code("1000", Verdict::Transient(Fault::Server)),
            Signal::code("1001", Verdict::Transient(Fault::Timeout)),
        ],
        quirks: Quirks {
            no_developer_role: true,
            max_temperature: Some(1.0),
            // 0 itself is refused.
            min_temperature: Some(0.01),
            ..Quirks::NONE
        },
        ..Spec::compatible("minimax", "MiniMax")
    }),
    Compatible(Spec {
        base_urls: &["https://ark.cn-beijing.volces.com/api/v3"],
        aliases: &["ark"],
        key_env: &["VOLCENGINE_API_KEY", "ARK_API_KEY"],
        key_url: Some("https://console.volcengine.com/ark/region:ark+cn-beijing/apiKey"),
        offers: Offers::EMBEDDINGS,
        signals: &[
            Signal::code("AccountOverdueError", Verdict::NoMoney),
            Signal::code("ServerOverloaded", Verdict::Capacity),
        ],
        quirks: Quirks {
            no_developer_role: true,
            thinking: &[("", Thinking::TYPE)],
            ..Quirks::NONE
        },
        ..Spec::compatible("volcengine", "Volcengine Ark")
    }),
    Compatible(Spec {
        base_urls: &["https://api.xiaomimimo.com/v1"],
        key_env: &["XIAOMI_MIMO_API_KEY"],
        key_url: Some("https://platform.xiaomimimo.com"),
        quirks: Quirks {
            token_limit: TokenLimit::MaxTokens,
            // Its page of error codes has a 400 for reasoning that does not come back.
            needs_reasoning: &["mimo"],
            thinking: &[("mimo", Thinking::TYPE)],
            ..Quirks::NONE
        },
        ..Spec::compatible("xiaomi_mimo", "Xiaomi MiMo")
    }),
    Compatible(Spec {
        base_urls: &["https://tokenhub-intl.tencentcloudmaas.com/v1"],
        key_env: &["TENCENT_API_KEY"],
        ..Spec::compatible("tencent", "Tencent TokenHub")
    }),
    Compatible(Spec {
        base_urls: &["https://api.perplexity.ai"],
        aliases: &["perplexityai"],
        key_env: &["PERPLEXITY_API_KEY", "PERPLEXITYAI_API_KEY"],
        key_url: Some("https://www.perplexity.ai/account/api/keys"),
        listing: Listing::None,
        models: &[
            "sonar",
            "sonar-pro",
            "sonar-reasoning-pro",
            "sonar-deep-research",
        ],
        key_test: KeyTest::Chat("sonar"),
        quirks: Quirks {
            no_developer_role: true,
            ..Quirks::NONE
        },
        ..Spec::compatible("perplexity", "Perplexity")
    }),
    Compatible(Spec {
        base_urls: &["https://api.ai21.com/studio/v1"],
        key_env: &["AI21_API_KEY"],
        key_url: Some("https://studio.ai21.com/v2/account/api-key"),
        listing: Listing::None,
        models: &["jamba-large", "jamba-mini"],
        key_test: KeyTest::Chat("jamba-mini"),
        ..Spec::compatible("ai21", "AI21 Labs")
    }),
    Compatible(Spec {
        base_urls: &["https://api.llama.com/compat/v1"],
        aliases: &["llama"],
        key_env: &["LLAMA_API_KEY"],
        key_url: Some("https://llama.developer.meta.com"),
        ..Spec::compatible("meta_llama", "Meta Llama API")
    }),
    Compatible(Spec {
        base_urls: &["https://api.meta.ai/v1"],
        key_env: &["META_API_KEY"],
        ..Spec::compatible("meta", "Meta")
    }),
    Compatible(Spec {
        base_urls: &["https://api.inceptionlabs.ai/v1"],
        key_env: &["INCEPTION_API_KEY"],
        key_url: Some("https://platform.inceptionlabs.ai"),
        offers: Offers::COMPLETIONS,
        ..Spec::compatible("inception", "Inception")
    }),
    Compatible(Spec {
        base_urls: &["https://api.reka.ai/v1"],
        key_env: &["REKA_API_KEY"],
        key_url: Some("https://platform.reka.ai"),
        signals: &[Signal::says(429, "enough credits", Verdict::NoMoney)],
        ..Spec::compatible("reka", "Reka")
    }),
];

/// Z.AI's business codes, strings in `error.code`.
const ZAI_SIGNALS: &[Signal] = &[
    Signal::code("1000", Verdict::Auth),
    Signal::code("1001", Verdict::Auth),
    Signal::code("1002", Verdict::Auth),
    Signal::code("1003", Verdict::Auth),
    Signal::code("1004", Verdict::Auth),
    Signal::code("1110", Verdict::Banned),
    Signal::code("1111", Verdict::Auth),
    Signal::code("1112", Verdict::Banned),
    Signal::code("1113", Verdict::NoMoney),
    Signal::code("1301", Verdict::BadRequest),
    Signal::code("1302", Verdict::RateLimit),
    Signal::code("1303", Verdict::RateLimit),
    Signal::code("1304", Verdict::Quota),
    Signal::code("1305", Verdict::Capacity),
    Signal::code("1308", Verdict::Quota),
];
