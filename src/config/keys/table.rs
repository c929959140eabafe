//! The table itself, in the order of `config.example.toml`.

use crate::config::keys::Key;
use crate::config::keys::Shape::{
    self, Any, Boolean, Duration, Durations, Keys, Limit, Named, Number, OneOf, Secret, Size,
    Table, Tables, Text, TextOrTexts, Texts,
};

const fn key(path: &'static str, shape: Shape, about: &'static str) -> Key {
    Key { path, shape, about }
}

const U16: Shape = Shape::Integer(u16::MAX as u64);
const U32: Shape = Shape::Integer(u32::MAX as u64);
const U63: Shape = Shape::Integer(i64::MAX as u64);

/// Every key, parents before their children.
pub const KEYS: &[Key] = &[
    key("server", Table, "Where to listen, and whom to let in"),
    key("server.host", Text, "Address or name to listen on"),
    key("server.port", U16, "Port to listen on; 0 picks a free one"),
    key(
        "server.api_keys",
        Keys,
        "Client keys, strings or tables; none: no authentication, loopback only",
    ),
    key(
        "server.api_keys[].name",
        Text,
        "The client's name in logs and metrics",
    ),
    key("server.api_keys[].key", Secret, "The key it sends"),
    key(
        "server.api_keys[].models",
        Texts,
        "Models it may use, wildcards allowed",
    ),
    key("server.api_keys[].rpm", U32, "Requests a minute"),
    key("server.api_keys[].max_concurrent", U32, "Requests at once"),
    key(
        "server.api_keys[].budget_usd",
        Number,
        "Dollars a calendar day, UTC",
    ),
    key("server.max_body", Size, "Largest request body"),
    key("server.max_connections", U63, "Connections served at once"),
    key(
        "server.drain_timeout",
        Duration,
        "How long streams may still run after the signal to stop",
    ),
    key(
        "server.cors_origins",
        Texts,
        "Origins of web pages that may call; none: CORS is off",
    ),
    key("server.metrics", Boolean, "Serve GET /metrics"),
    key("server.dashboard", Boolean, "Serve GET /dashboard"),
    key(
        "server.keepalive",
        Duration,
        "SSE comment while a stream is silent; 0s: none",
    ),
    key(
        "server.debug_headers",
        Boolean,
        "Send x-llmproxy-* headers; default: on loopback only",
    ),
    key(
        "server.allowed_hosts",
        Texts,
        "Host names to accept besides loopback names and host",
    ),
    key(
        "server.fetch_remote_media",
        Boolean,
        "Fetch image URLs for providers that need the bytes; public addresses only",
    ),
    key("server.tls", Table, "Serve HTTPS"),
    key("server.tls.cert", Text, "PEM file of the certificate chain"),
    key("server.tls.key", Text, "PEM file of the private key"),
    key(
        "server.clients",
        Tables,
        "Named clients, each with its own key and limits",
    ),
    key(
        "server.clients[].name",
        Text,
        "The client's name in logs and metrics",
    ),
    key("server.clients[].key", Secret, "The key it sends"),
    key(
        "server.clients[].models",
        Texts,
        "Models it may use, wildcards allowed",
    ),
    key("server.clients[].rpm", U32, "Requests a minute"),
    key("server.clients[].max_concurrent", U32, "Requests at once"),
    key(
        "server.clients[].budget_usd",
        Number,
        "Dollars a calendar day, UTC",
    ),
    key("routing", Table, "Attempts and waits"),
    key(
        "routing.deadline",
        Duration,
        "No wait and no new attempt beyond it",
    ),
    key(
        "routing.max_attempts",
        U32,
        "Upstream calls one request may lose to the provider or the network",
    ),
    key(
        "routing.same_key_retries",
        U32,
        "Retries with the same key after a transient failure",
    ),
    key(
        "routing.affinity",
        Boolean,
        "Keep one conversation on one credential",
    ),
    key(
        "routing.retry_budget",
        Number,
        "Largest share of retries once busy, 0 to 1",
    ),
    key(
        "routing.strict_translation",
        Boolean,
        "Answer 400 when a field cannot be translated",
    ),
    key(
        "routing.first_token_timeout",
        Duration,
        "Past it, before any byte went out, try the next credential; 0s: off",
    ),
    key(
        "routing.hedge_after",
        Duration,
        "Start a second credential after this, keep the faster; 0s: off",
    ),
    key(
        "routing.temperature_zero",
        OneOf(&["keep", "remove", "set"]),
        "What becomes of temperature 0; set: 1.0",
    ),
    key(
        "routing.errors",
        Tables,
        "Your own rules for upstream errors, first match wins",
    ),
    key(
        "routing.errors[].provider",
        Text,
        "The provider it is about",
    ),
    key("routing.errors[].status", U16, "The HTTP status"),
    key(
        "routing.errors[].body_contains",
        Text,
        "Text the body holds",
    ),
    key(
        "routing.errors[].action",
        Text,
        "fail, rotate, retry, cool:60s or dead",
    ),
    key("cooldown", Table, "How long a failing credential rests"),
    key(
        "cooldown.steps",
        Durations,
        "Rests after the first, second, … failure in a row",
    ),
    key("cooldown.max", Duration, "The rest after all steps"),
    key(
        "cooldown.probe_after",
        Duration,
        "A longer provider-given wait lets one request through this often",
    ),
    key(
        "cooldown.provider_wide_after",
        U32,
        "That many keys failing alike within 10 s cool the provider; 0: never",
    ),
    key(
        "cooldown.rate_limit_default",
        Duration,
        "The rest after a rate limit that names no time",
    ),
    key(
        "cooldown.auth_error",
        Duration,
        "The rest after a refused key",
    ),
    key("timeouts", Table, "Bounds on one upstream call"),
    key("timeouts.connect", Duration, "Until the connection stands"),
    key(
        "timeouts.first_byte",
        Duration,
        "From the sent request to the first byte",
    ),
    key(
        "timeouts.stream_idle",
        Duration,
        "Between two pieces of a stream",
    ),
    key("timeouts.total", Duration, "The whole call"),
    key("state", Table, "Where counts and cooldowns are kept"),
    key(
        "state.backend",
        OneOf(&["sqlite", "memory", "redis"]),
        "Where state is kept",
    ),
    key(
        "state.keep_conversations",
        Boolean,
        "Let responses and thinking that clients go on from outlive a restart",
    ),
    key("state.url", Secret, "Address of a Redis or Valkey"),
    key("state.namespace", Text, "Prefix of all keys in Redis"),
    key(
        "state.token_key",
        Secret,
        "Seals tokens that instances hand over through Redis",
    ),
    key("log", Table, "Request logs"),
    key(
        "log.requests",
        Boolean,
        "Write one directory a request, secrets redacted",
    ),
    key(
        "log.dir",
        Text,
        "Where to; default: requests/ in the state directory",
    ),
    key("log.retention", Duration, "How long they are kept"),
    key(
        "log.max_size",
        Size,
        "How much room they may take; the oldest go first",
    ),
    key("providers", Table, "Providers by name"),
    key(
        "providers.*",
        Table,
        "One provider; built-in names need only keys",
    ),
    key(
        "providers.*.enabled",
        Boolean,
        "false leaves the provider out",
    ),
    key(
        "providers.*.kind",
        OneOf(&["openai", "openai_responses", "anthropic", "gemini"]),
        "The dialect of a provider of your own",
    ),
    key(
        "providers.*.base_url",
        TextOrTexts,
        "Override of the address; a list is tried in order",
    ),
    key("providers.*.api_keys", Keys, "Keys, strings or tables"),
    key("providers.*.api_keys[].key", Secret, "The key"),
    key(
        "providers.*.api_keys[].label",
        Text,
        "The name in the credential's id",
    ),
    key(
        "providers.*.api_keys[].tier",
        Text,
        "The account's tier, for caps",
    ),
    key(
        "providers.*.api_keys[].priority",
        U32,
        "Lower numbers are used first",
    ),
    key(
        "providers.*.api_keys[].proxy",
        Secret,
        "Proxy for calls with this key, instead of the provider's",
    ),
    key(
        "providers.*.rotation",
        OneOf(&["sequential", "balanced", "expiring"]),
        "How the next credential is picked",
    ),
    key(
        "providers.*.rotation_tolerance",
        Number,
        "How far balanced may stray from the least used",
    ),
    key(
        "providers.*.max_concurrent_per_key",
        U32,
        "Most requests at once with one key; 0: unlimited",
    ),
    key(
        "providers.*.optimal_concurrent_per_key",
        U32,
        "Requests at once above which another key is preferred",
    ),
    key(
        "providers.*.priority_multipliers",
        Table,
        "Concurrency multipliers by priority",
    ),
    key(
        "providers.*.priority_multipliers.*",
        U32,
        "The multiplier of this priority",
    ),
    key(
        "providers.*.ignore_models",
        Texts,
        "Models to hide, wildcards allowed",
    ),
    key(
        "providers.*.allow_models",
        Texts,
        "Models to show in spite of ignore_models",
    ),
    key(
        "providers.*.models",
        Named,
        "Models besides those that discovery finds",
    ),
    key("providers.*.models[].name", Text, "The name clients use"),
    key(
        "providers.*.models[].id",
        Text,
        "The id the provider knows it by",
    ),
    key(
        "providers.*.models[].options",
        Any,
        "Request fields to set where the request has none",
    ),
    key(
        "providers.*.headers",
        Table,
        "Headers to add to each upstream request",
    ),
    key("providers.*.headers.*", Secret, "The header's value"),
    key(
        "providers.*.proxy",
        Secret,
        "Proxy for upstream calls: http://, https://, socks5://, socks5h://, or \"direct\"",
    ),
    key(
        "providers.*.think_tags",
        Boolean,
        "Move <think>…</think> of the answer to reasoning",
    ),
    key(
        "providers.*.guard_tools",
        Boolean,
        "Guard Gemini 3 against calling tools as it knows them from elsewhere",
    ),
    key(
        "providers.*.spend_credits",
        Boolean,
        "Pay with Google One AI credits where a quota is used up",
    ),
    key(
        "providers.*.dummy_tool",
        Boolean,
        "Keep Qwen's coder models steady by a tool they are told not to call",
    ),
    key(
        "providers.*.script",
        Text,
        "How the simulated provider `demo` misbehaves",
    ),
    key(
        "providers.*.extra_body",
        Any,
        "Merged into each upstream request",
    ),
    key(
        "providers.*.quota_groups",
        Table,
        "Models that share one quota, by group",
    ),
    key(
        "providers.*.quota_groups.*",
        Texts,
        "The models of this group",
    ),
    key(
        "providers.*.fair_cycle",
        Table,
        "Every key gets its turn before an exhausted one comes back",
    ),
    key(
        "providers.*.fair_cycle.enabled",
        Boolean,
        "Off unless asked for",
    ),
    key(
        "providers.*.fair_cycle.tracking",
        OneOf(&["model_group", "credential"]),
        "What a turn is counted by",
    ),
    key(
        "providers.*.fair_cycle.cross_tier",
        Boolean,
        "Wait for keys of all tiers",
    ),
    key(
        "providers.*.fair_cycle.duration",
        Duration,
        "After this a cycle ends of itself",
    ),
    key(
        "providers.*.fair_cycle.exhaustion_threshold",
        Duration,
        "A longer cooldown ends a key's turn",
    ),
    key(
        "providers.*.windows",
        Tables,
        "Known limits, counted here before the provider refuses",
    ),
    key(
        "providers.*.windows[].models",
        Texts,
        "Models or quota groups, wildcards allowed",
    ),
    key(
        "providers.*.windows[].requests",
        U63,
        "Most requests in a window; 0: not limited",
    ),
    key(
        "providers.*.windows[].tokens",
        U63,
        "Most tokens in a window; 0: not limited",
    ),
    key(
        "providers.*.windows[].every",
        Duration,
        "The window's length",
    ),
    key(
        "providers.*.windows[].anchor",
        OneOf(&[
            "first_use",
            "utc_midnight",
            "pacific_midnight",
            "rolling",
            "weekly",
        ]),
        "When it begins",
    ),
    key(
        "providers.*.caps",
        Tables,
        "Limits below the provider's own",
    ),
    key(
        "providers.*.caps[].tier",
        Texts,
        "Tiers by name or priority number; none: all",
    ),
    key(
        "providers.*.caps[].models",
        Texts,
        "Models or quota groups, wildcards allowed",
    ),
    key(
        "providers.*.caps[].limit",
        Limit,
        "Requests in the window, or a share of its limit",
    ),
    key(
        "providers.*.caps[].cooldown",
        Text,
        "quota_reset, offset:1h or fixed:1h",
    ),
    key("providers.*.oauth", Table, "Overrides of the log-in"),
    key("providers.*.oauth.client_id", Secret, "The OAuth client"),
    key("providers.*.oauth.client_secret", Secret, "Its secret"),
    key("providers.*.oauth.auth_url", Text, "Where the user logs in"),
    key(
        "providers.*.oauth.token_url",
        Text,
        "Where tokens are exchanged",
    ),
    key(
        "providers.*.oauth.userinfo_url",
        Text,
        "Where the account's email is read",
    ),
    key(
        "providers.*.oauth.device_url",
        Text,
        "Where a device flow begins",
    ),
    key(
        "providers.*.oauth.callback_port",
        U16,
        "The loopback port the browser comes back to",
    ),
    key(
        "providers.*.oauth.project",
        Text,
        "The Google Cloud project to use",
    ),
    key("models", Table, "Model names of your own"),
    key("models.*", Table, "One name"),
    key(
        "models.*.targets",
        Texts,
        "provider/model, or other names of your own, first choice first",
    ),
    key(
        "models.*.strategy",
        OneOf(&["ordered", "balanced", "fastest"]),
        "How a request picks among the targets",
    ),
    key(
        "model_facts",
        Tables,
        "What models take and refuse, over the built-in table",
    ),
    key(
        "model_facts[].model",
        Text,
        "The model's name, or how several names begin",
    ),
    key(
        "model_facts[].like",
        Text,
        "The model whose facts to begin with",
    ),
    key("model_facts[].max_output", U63, "Most answer tokens"),
    key(
        "model_facts[].thinking",
        OneOf(&["adaptive", "budget", "level", "none"]),
        "How it is told to think",
    ),
    key(
        "model_facts[].thinking_budget",
        Any,
        "Least and most thinking tokens: [1024, 32768]",
    ),
    key(
        "model_facts[].thinking_off",
        Boolean,
        "Whether thinking can be switched off",
    ),
    key(
        "model_facts[].efforts",
        Texts,
        "Effort levels it takes, weakest first",
    ),
    key(
        "model_facts[].sampling",
        OneOf(&["all", "one_of", "none"]),
        "Which of temperature, top_p and top_k it takes",
    ),
    key(
        "model_facts[].prefill",
        Boolean,
        "Whether the last message may be the assistant's",
    ),
    key(
        "model_facts[].mid_system",
        Boolean,
        "Whether system messages may stand in the middle",
    ),
    key(
        "model_facts[].forced_tool",
        Boolean,
        "Whether a tool call can be forced",
    ),
    key(
        "model_facts[].json_schema",
        Boolean,
        "Whether it has a JSON-schema mode",
    ),
    key(
        "model_facts[].json_schema_with_tools",
        Boolean,
        "Whether that goes together with tools",
    ),
    key(
        "model_facts[].stop",
        Boolean,
        "Whether it takes stop sequences",
    ),
    key(
        "model_facts[].penalties",
        Boolean,
        "Whether it takes penalties",
    ),
    key(
        "model_facts[].completion_limit",
        Boolean,
        "Whether its limit is max_completion_tokens",
    ),
    key("catalog", Table, "Windows and prices of models"),
    key(
        "catalog.online",
        Boolean,
        "Refresh them from models.dev and OpenRouter; default: only the built-in table",
    ),
    key("catalog.every", Duration, "How often"),
    key(
        "catalog.models_dev_url",
        Text,
        "Where models.dev's table is; empty: not asked",
    ),
    key(
        "catalog.openrouter_url",
        Text,
        "Where OpenRouter's model list is; empty: not asked",
    ),
    key(
        "catalog.models",
        Table,
        "What you know better, by provider/model; wildcards allowed",
    ),
    key("catalog.models.*", Table, "One model, or all that match"),
    key(
        "catalog.models.*.context",
        U63,
        "The most tokens of a request",
    ),
    key(
        "catalog.models.*.max_output",
        U63,
        "The most tokens of an answer",
    ),
    key(
        "catalog.models.*.input",
        Number,
        "US dollars a million tokens of input",
    ),
    key(
        "catalog.models.*.cached",
        Number,
        "Of input read from the cache; default: as input",
    ),
    key(
        "catalog.models.*.cache_write",
        Number,
        "Of input written to the cache; default: as input",
    ),
    key("catalog.models.*.output", Number, "Of output"),
    key("chat", Table, "Defaults of llmproxy chat"),
    key("chat.model", Text, "The model without -m"),
];
