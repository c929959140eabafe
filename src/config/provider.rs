//! `[providers.NAME]`: keys, limits and overrides of one provider.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

use crate::config::limits::{Cap, Window};
use crate::config::models::Pattern;
use crate::config::secret_ref::SecretRef;
use crate::config::{duration, json, text};

/// `[providers.NAME]`. Built-in names need only keys; every field is optional.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a key of its own in the file"
)]
pub struct Provider {
    /// `false` leaves the provider and its credentials out.
    pub enabled: bool,
    /// The dialect a provider of the user's own speaks; unset for built-in ones.
    pub kind: Option<Kind>,
    /// Keys, in the order to use them. The environment's are appended when loading.
    pub api_keys: Vec<ApiKey>,
    /// How the next credential is picked.
    pub rotation: Rotation,
    /// How far balanced rotation may stray from the least used; 0: not at all.
    pub rotation_tolerance: f64,
    /// Most requests at once with one credential; 0: unlimited.
    pub max_concurrent_per_key: u32,
    /// Requests at once above which another credential is preferred; 0: no preference. Unset: 1, or
    /// what the tier of an account takes.
    pub optimal_concurrent_per_key: Option<u32>,
    /// Models to hide; see [`crate::config::models::filter`].
    pub ignore_models: Vec<Pattern>,
    /// Models to show in spite of `ignore_models`.
    pub allow_models: Vec<Pattern>,
    /// Models besides those that discovery finds.
    pub models: Vec<ExtraModel>,
    /// Headers to add to each upstream request. Values may be secrets.
    pub headers: BTreeMap<String, SecretRef>,
    /// Proxy for upstream calls: `http://`, `https://`, `socks5://` (names are looked up here) or
    /// `socks5h://` (by the proxy), or `direct`, past the environment's; it may hold a password.
    pub proxy: Option<SecretRef>,
    /// Base URLs in the order to try them; empty: the provider's own.
    #[serde(deserialize_with = "text::one_or_many")]
    pub base_url: Vec<String>,
    /// Move `<think>…</think>` of the answer to reasoning.
    pub think_tags: bool,
    /// Guard Gemini 3 against calling tools as it knows them from elsewhere (`gemini_cli`,
    /// `antigravity`).
    pub guard_tools: bool,
    /// Pay with Google One AI credits where a quota is used up (`gemini_cli`, `antigravity`).
    pub spend_credits: bool,
    /// Offer coder models of Qwen's accounts a tool they are told not to call, where a request has
    /// none: without any they put stray tokens into their answers.
    pub dummy_tool: bool,
    /// How the simulated provider `demo` misbehaves; the grammar is in `config.example.toml`.
    pub script: Option<String>,
    /// Merged into each upstream request.
    #[serde(with = "json")]
    pub extra_body: serde_json::Map<String, serde_json::Value>,
    /// Concurrency multipliers by priority.
    #[serde(with = "by_priority")]
    pub priority_multipliers: BTreeMap<u32, u32>,
    /// Models that share one quota, by group. They override built-in groups of the same name; an
    /// empty group (from the environment) switches a built-in one off.
    pub quota_groups: BTreeMap<String, Vec<String>>,
    /// Every credential gets its turn before one that was exhausted comes back.
    pub fair_cycle: FairCycle,
    /// `[[providers.NAME.windows]]`: limits the provider is known to have.
    pub windows: Vec<Window>,
    /// `[[providers.NAME.caps]]`: limits below the provider's own.
    pub caps: Vec<Cap>,
    /// `[providers.NAME.oauth]`: overrides of the log-in.
    pub oauth: OAuth,
}

impl Default for Provider {
    fn default() -> Self {
        Self {
            enabled: true,
            kind: None,
            api_keys: Vec::new(),
            rotation: Rotation::Sequential,
            rotation_tolerance: 3.0,
            max_concurrent_per_key: 0,
            optimal_concurrent_per_key: None,
            ignore_models: Vec::new(),
            allow_models: Vec::new(),
            models: Vec::new(),
            headers: BTreeMap::new(),
            proxy: None,
            base_url: Vec::new(),
            think_tags: false,
            guard_tools: false,
            spend_credits: false,
            dummy_tool: true,
            script: None,
            extra_body: serde_json::Map::new(),
            priority_multipliers: BTreeMap::new(),
            quota_groups: BTreeMap::new(),
            fair_cycle: FairCycle::default(),
            windows: Vec::new(),
            caps: Vec::new(),
            oauth: OAuth::default(),
        }
    }
}

/// In place of a proxy's address: straight to the provider, past the environment's proxy.
pub const DIRECT: &str = "direct";

/// Whether a text is the address of a proxy, or [`DIRECT`]. A user name and a password may stand in
/// it.
pub fn is_proxy(address: &str) -> bool {
    if address == DIRECT {
        return true;
    }
    let Ok(parsed) = address.parse::<http::Uri>() else {
        return false;
    };
    let schemes = ["http", "https", "socks5", "socks5h"];
    parsed
        .scheme_str()
        .is_some_and(|scheme| schemes.contains(&scheme))
        && parsed.host().is_some_and(|host| !host.is_empty())
}

impl Provider {
    /// `true` if an address of the user's own stands for the vendor's: then what is known of the
    /// vendor's service says nothing.
    pub fn is_elsewhere(&self) -> bool {
        let oauth = &self.oauth;
        let urls = [
            &oauth.auth_url,
            &oauth.device_url,
            &oauth.token_url,
            &oauth.userinfo_url,
        ];
        !self.base_url.is_empty() || urls.into_iter().any(Option::is_some)
    }
}

/// The dialect of a provider of the user's own.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Anthropic Messages.
    Anthropic,
    /// Gemini `generateContent`.
    Gemini,
    /// OpenAI Chat Completions.
    #[serde(rename = "openai")]
    OpenAi,
    /// OpenAI Responses.
    #[serde(rename = "openai_responses")]
    OpenAiResponses,
}

/// How the next credential is picked (`pool`).
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Rotation {
    /// By chance, weighted towards the least used.
    Balanced,
    /// The one whose window ends soonest.
    Expiring,
    /// One until it is used up, then the next.
    Sequential,
}

/// One key of `api_keys`.
#[derive(Clone, Debug, Serialize)]
pub struct ApiKey {
    /// The key.
    pub key: SecretRef,
    /// The name in the credential's id; unset: its number.
    pub label: Option<String>,
    /// The account's tier, for caps.
    pub tier: Option<String>,
    /// Lower numbers are used first.
    pub priority: Option<u32>,
    /// A proxy for calls with this key, instead of the provider's.
    pub proxy: Option<SecretRef>,
    /// For keys found in the environment: what stood behind `_API_KEY_` in lower case (`2`,
    /// `prod`); empty for the name without a suffix. `None` for keys of the config file.
    #[serde(skip)]
    pub env_suffix: Option<String>,
}

impl ApiKey {
    /// A key without further settings.
    pub fn new(key: SecretRef) -> Self {
        Self {
            key,
            label: None,
            tier: None,
            priority: None,
            proxy: None,
            env_suffix: None,
        }
    }
}

/// A model besides those that discovery finds: its name, or a table.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ExtraModel {
    /// The name clients use.
    pub name: String,
    /// The id the provider knows it by, often the same.
    pub id: String,
    /// Request fields to set where the request has none.
    pub options: serde_json::Map<String, serde_json::Value>,
}

impl ExtraModel {
    /// A model that goes by its own id.
    pub fn new(id: impl Into<String>) -> Self {
        let id = id.into();
        Self {
            name: id.clone(),
            id,
            options: serde_json::Map::new(),
        }
    }
}

/// `fair_cycle = { … }`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct FairCycle {
    /// Off unless asked for.
    pub enabled: bool,
    /// What a turn is counted by.
    pub tracking: Tracking,
    /// Wait for credentials of all tiers, not only of the same one.
    pub cross_tier: bool,
    /// After this a cycle ends of itself.
    #[serde(with = "duration")]
    pub duration: Duration,
    /// A cooldown longer than this ends a credential's turn.
    #[serde(with = "duration")]
    pub exhaustion_threshold: Duration,
}

impl Default for FairCycle {
    fn default() -> Self {
        Self {
            enabled: false,
            tracking: Tracking::ModelGroup,
            cross_tier: false,
            duration: Duration::from_hours(7 * 24),
            exhaustion_threshold: Duration::from_mins(5),
        }
    }
}

/// What fair cycle counts turns by.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Tracking {
    /// One turn for all models.
    Credential,
    /// One turn for each quota group, or model without a group.
    ModelGroup,
}

/// `[providers.NAME.oauth]`; what is unset is the provider's own.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct OAuth {
    /// The OAuth client.
    pub client_id: Option<SecretRef>,
    /// Its secret.
    pub client_secret: Option<SecretRef>,
    /// Where the user logs in.
    pub auth_url: Option<String>,
    /// Where codes and refresh tokens are exchanged.
    pub token_url: Option<String>,
    /// Where the account's email is read.
    pub userinfo_url: Option<String>,
    /// Where a device flow begins.
    pub device_url: Option<String>,
    /// The loopback port the browser comes back to.
    pub callback_port: Option<u16>,
    /// The Google Cloud project to use, where the provider has such.
    pub project: Option<String>,
}

impl<'de> Deserialize<'de> for ApiKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ApiKeyVisitor)
    }
}

struct ApiKeyVisitor;

impl<'de> Visitor<'de> for ApiKeyVisitor {
    type Value = ApiKey;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key, or a table { key = \"…\", label = \"…\", tier = \"…\", priority = 1, proxy = \"…\" }")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<ApiKey, E> {
        SecretRef::parse(text).map(ApiKey::new).map_err(E::custom)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<ApiKey, A::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Table {
            key: SecretRef,
            label: Option<String>,
            tier: Option<String>,
            priority: Option<u32>,
            proxy: Option<SecretRef>,
        }

        let table = Table::deserialize(de::value::MapAccessDeserializer::new(map))?;
        Ok(ApiKey {
            key: table.key,
            label: table.label,
            tier: table.tier,
            priority: table.priority,
            proxy: table.proxy,
            env_suffix: None,
        })
    }
}

impl<'de> Deserialize<'de> for ExtraModel {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ExtraModelVisitor)
    }
}

struct ExtraModelVisitor;

impl<'de> Visitor<'de> for ExtraModelVisitor {
    type Value = ExtraModel;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a model id, or a table { name = \"…\", id = \"…\", options = { … } }")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<ExtraModel, E> {
        Ok(ExtraModel::new(text))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<ExtraModel, A::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Table {
            name: String,
            id: Option<String>,
            #[serde(default, with = "json")]
            options: serde_json::Map<String, serde_json::Value>,
        }

        let table = Table::deserialize(de::value::MapAccessDeserializer::new(map))?;
        Ok(ExtraModel {
            id: table.id.unwrap_or_else(|| table.name.clone()),
            name: table.name,
            options: table.options,
        })
    }
}

/// `[providers]` with checked names.
pub(super) mod by_id {
    use std::collections::BTreeMap;

    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    use super::Provider;
    use crate::ids::ProviderId;

    pub(in crate::config) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<BTreeMap<ProviderId, Provider>, D::Error> {
        BTreeMap::<String, Provider>::deserialize(deserializer)?
            .into_iter()
            .map(|(name, provider)| Ok((ProviderId::parse(&name)?, provider)))
            .collect::<Result<_, crate::ids::IdError>>()
            .map_err(D::Error::custom)
    }

    pub(in crate::config) fn serialize<S: Serializer>(
        providers: &BTreeMap<ProviderId, Provider>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_map(
            providers
                .iter()
                .map(|(id, provider)| (id.as_str(), provider)),
        )
    }
}

/// Maps whose keys are numbers, which TOML writes as text.
mod by_priority {
    use std::collections::BTreeMap;

    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<BTreeMap<u32, u32>, D::Error> {
        BTreeMap::<String, u32>::deserialize(deserializer)?
            .into_iter()
            .map(|(priority, factor)| match priority.parse() {
                Ok(priority) => Ok((priority, factor)),
                Err(_) => Err(D::Error::custom(format!(
                    "`{priority}` is not a priority number"
                ))),
            })
            .collect()
    }

    pub(super) fn serialize<S: Serializer>(
        multipliers: &BTreeMap<u32, u32>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_map(
            multipliers
                .iter()
                .map(|(priority, by)| (priority.to_string(), by)),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn provider(text: &str) -> Result<Provider, toml::de::Error> {
        toml::from_str(text)
    }

    #[test]
    fn keys_are_strings_or_tables() {
        let provider = provider(
            r#"api_keys = ["sk-1", { key = "env:K2", label = "work", tier = "paid", priority = 1 }]"#,
        )
        .expect("a valid section");
        assert_eq!(provider.api_keys[0].key.secret().expose(), "sk-1");
        let second = &provider.api_keys[1];
        assert_eq!(second.label.as_deref(), Some("work"));
        assert_eq!(
            (second.tier.as_deref(), second.priority),
            (Some("paid"), Some(1))
        );
    }

    #[test]
    fn a_base_url_is_one_or_many() {
        let one = provider(r#"base_url = "https://a""#).expect("a valid section");
        assert_eq!(one.base_url, ["https://a"]);
        let two = provider(r#"base_url = ["https://a", "https://b"]"#).expect("a valid section");
        assert_eq!(two.base_url, ["https://a", "https://b"]);
        assert!(provider("base_url = 5").is_err());
    }

    #[test]
    fn an_extra_model_may_go_by_another_name() {
        let provider = provider(
            r#"models = ["plain", { name = "deep", id = "real-1", options = { top_k = 5 } }]"#,
        )
        .expect("a valid section");
        assert_eq!(provider.models[0], ExtraModel::new("plain"));
        assert_eq!(provider.models[1].id, "real-1");
        assert_eq!(provider.models[1].options["top_k"], 5);
    }

    #[test]
    fn multipliers_are_keyed_by_number() {
        let good = provider(r#"priority_multipliers = { "1" = 5, "2" = 3 }"#).expect("valid");
        assert_eq!(good.priority_multipliers, BTreeMap::from([(1, 5), (2, 3)]));
        assert!(provider(r"priority_multipliers = { one = 5 }").is_err());
    }

    #[test]
    fn dates_do_not_fit_a_request_body() {
        assert!(provider("extra_body = { when = 2026-01-01 }").is_err());
        assert!(provider("extra_body = { x = nan }").is_err());
        let good = provider("extra_body = { a = { b = [1, 2.5, true] } }").expect("valid");
        assert_eq!(good.extra_body["a"]["b"][1], 2.5);
    }

    #[test]
    fn provider_names_are_checked() {
        assert!(toml::from_str::<crate::config::Config>("[providers.\"My VLLM\"]").is_err());
    }
}
