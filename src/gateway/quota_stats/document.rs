//! The shape of `/v1/quota-stats`: field names that programs of others read.
//!
//! Source: `LLM-API-Key-Proxy`'s own document, read 2026-11-22. Times are seconds since the epoch.
//! `full_path` and `accessor_masked` never hold a secret here. Fields that document does not have:
//! a credential's `state`, `state_reason` and `cooling_until`, the `group`, a provider's `backoff_until` and
//! `waiting_requests`, a window's `token_limit` and `started_at`, a cooldown's `until`, a model's
//! `custom_cap`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The whole document.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Document {
    pub providers: BTreeMap<String, Provider>,
    pub summary: Summary,
    /// Who shares these pools; absent where nobody does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<Instances>,
    /// `cache`, or `refreshed` in the answer to a POST.
    pub data_source: String,
    pub timestamp: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refresh_result: Option<RefreshResult>,
}

/// The instances that share their pools.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Instances {
    /// Whether the state they share is there.
    pub is_up: bool,
    /// Why not.
    pub trouble: Option<String>,
    pub instances: Vec<Instance>,
    /// What all of them together have served since midnight UTC; absent while nobody knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub today: Option<Today>,
}

/// What all instances together have served since midnight UTC, those included that have ended.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Today {
    /// That midnight.
    pub since: i64,
    /// How many have counted any of it.
    pub instances: usize,
    #[serde(flatten)]
    pub all: Counted,
    pub providers: BTreeMap<String, TodayOfProvider>,
}

/// What of it went to one provider.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct TodayOfProvider {
    #[serde(flatten)]
    pub all: Counted,
    /// By id.
    pub credentials: BTreeMap<String, Counted>,
}

/// Requests with what they used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counted {
    pub requests: u64,
    pub failures: u64,
    /// With what was read from a cache.
    pub prompt_tokens: u64,
    /// With thinking.
    pub completion_tokens: u64,
    /// US dollars at list prices, as far as they are known.
    pub approx_cost: f64,
}

/// One of them, as it was last heard of.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Instance {
    pub id: String,
    /// The one that was asked.
    pub is_this: bool,
    pub version: String,
    /// Whether it has the same `token_key` (or namespace): else it shares nothing with this one.
    pub is_named_alike: bool,
    /// Leases it holds under limits that hold for all, by credential.
    pub leases: BTreeMap<String, u32>,
}

/// One provider with its pool.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Provider {
    pub provider: String,
    pub credential_count: u64,
    pub rotation_mode: String,
    /// Until when the provider as a whole backs off.
    pub backoff_until: Option<f64>,
    pub waiting_requests: u32,
    pub active_count: u64,
    pub exhausted_count: u64,
    pub total_requests: u64,
    pub tokens: Tokens,
    pub approx_cost: Option<f64>,
    pub quota_groups: BTreeMap<String, Group>,
    /// By id.
    pub credentials: BTreeMap<String, Credential>,
}

/// One credential.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Credential {
    pub stable_id: String,
    /// `…last4`; `null` for an account.
    pub accessor_masked: Option<String>,
    /// The id again: where the secret comes from is nobody's business here.
    pub full_path: String,
    /// The part of the id behind the slash.
    pub identifier: String,
    pub email: Option<String>,
    pub tier: Option<String>,
    pub priority: u32,
    pub active_requests: u32,
    /// `active`, `cooldown`, `exhausted` (also: unusable), or `mixed` where only some models rest.
    pub status: String,
    /// One of the seven states of `creds list`.
    pub state: String,
    pub state_reason: Option<String>,
    pub cooling_until: Option<f64>,
    pub totals: Totals,
    pub model_usage: BTreeMap<String, ModelUsage>,
    pub group_usage: BTreeMap<String, GroupUsage>,
    /// By model class; `_global_` is the credential as a whole.
    pub cooldowns: BTreeMap<String, Cooldown>,
    /// By model class; `_credential_` where whole credentials take turns.
    pub fair_cycle: BTreeMap<String, FairCycle>,
}

/// Counts since the beginning.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Totals {
    pub request_count: u64,
    pub success_count: u64,
    pub failure_count: u64,
    /// Without what was read from a cache.
    pub prompt_tokens: u64,
    /// Without thinking.
    pub completion_tokens: u64,
    pub thinking_tokens: u64,
    /// Completion and thinking.
    pub output_tokens: u64,
    pub prompt_tokens_cache_read: u64,
    pub prompt_tokens_cache_write: u64,
    pub total_tokens: u64,
    /// US dollars at list prices; `null` where no price is known.
    pub approx_cost: Option<f64>,
    pub first_used_at: Option<f64>,
    pub last_used_at: Option<f64>,
}

/// A model that is in no quota group.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ModelUsage {
    pub windows: BTreeMap<String, Window>,
    pub totals: Totals,
    pub custom_cap: Option<CustomCap>,
}

/// A quota group.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct GroupUsage {
    pub windows: BTreeMap<String, Window>,
    pub totals: Totals,
    pub fair_cycle_exhausted: bool,
    pub fair_cycle_reason: Option<String>,
    /// Seconds.
    pub cooldown_remaining: Option<f64>,
    pub cooldown_source: Option<String>,
    pub custom_cap: Option<CustomCap>,
}

/// A count against a limit.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Window {
    pub request_count: u64,
    /// These eight are `null` where they are not known: in a rolling window, which forgets its
    /// requests one by one, and in a limit that only the provider counts.
    pub success_count: Option<u64>,
    pub failure_count: Option<u64>,
    pub prompt_tokens: Option<u64>,
    pub completion_tokens: Option<u64>,
    pub thinking_tokens: Option<u64>,
    pub output_tokens: Option<u64>,
    pub prompt_tokens_cache_read: Option<u64>,
    pub prompt_tokens_cache_write: Option<u64>,
    pub total_tokens: u64,
    /// Requests; `null` if unlimited.
    pub limit: Option<u64>,
    pub token_limit: Option<u64>,
    pub remaining: Option<u64>,
    pub started_at: Option<f64>,
    pub reset_at: Option<f64>,
    /// The most requests it ever held.
    pub max_recorded_requests: Option<u64>,
    pub max_recorded_at: Option<f64>,
    /// Not known for a window: always `null`.
    pub approx_cost: Option<f64>,
    pub first_used_at: Option<f64>,
    pub last_used_at: Option<f64>,
}

/// The user's own limit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CustomCap {
    pub limit: u64,
    pub used: u64,
    pub remaining: u64,
}

/// A rest.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Cooldown {
    pub reason: String,
    pub remaining_seconds: f64,
    /// `custom_cap`, `rule`, or `provider`.
    pub source: String,
    pub until: f64,
}

/// A turn in the fair cycle.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct FairCycle {
    pub exhausted: bool,
    /// Requests in the current window.
    pub cycle_request_count: u64,
}

/// A model class over all credentials of a provider.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Group {
    pub tiers: BTreeMap<String, Tier>,
    pub windows: BTreeMap<String, GroupWindow>,
    pub fair_cycle_summary: FairCycleSummary,
}

/// How many credentials of a tier there are.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Tier {
    /// The first in turn.
    pub priority: u32,
    pub total: u64,
}

/// A window over all credentials that have it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct GroupWindow {
    pub total_used: u64,
    pub total_remaining: Option<u64>,
    pub total_max: Option<u64>,
    pub remaining_pct: Option<f64>,
    pub tier_availability: BTreeMap<String, TierAvailability>,
}

/// How many credentials of a tier still have room.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct TierAvailability {
    pub total: u64,
    pub available: u64,
}

/// How far a fair cycle has come.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct FairCycleSummary {
    pub exhausted_count: u64,
    pub total_count: u64,
}

/// Tokens of a provider, or of all.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Tokens {
    pub input_cached: u64,
    pub input_uncached: u64,
    /// Percent of all input.
    pub input_cache_pct: f64,
    pub output: u64,
}

/// Everything together.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Summary {
    pub total_providers: u64,
    pub total_credentials: u64,
    pub active_credentials: u64,
    pub exhausted_credentials: u64,
    pub total_requests: u64,
    pub tokens: Tokens,
    pub approx_total_cost: Option<f64>,
}

/// What a POST did.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RefreshResult {
    pub action: String,
    pub scope: String,
    pub provider: Option<String>,
    pub credential: Option<String>,
    pub duration_ms: u64,
    pub success: bool,
    pub message: String,
    /// These four are there after a `force_refresh` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credentials_refreshed: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub success_count: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed_count: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub errors: Option<Vec<String>>,
}

impl Totals {
    /// Adds another's counts.
    pub(super) fn add(&mut self, other: &Self) {
        for (sum, count) in [
            (&mut self.request_count, other.request_count),
            (&mut self.success_count, other.success_count),
            (&mut self.failure_count, other.failure_count),
            (&mut self.prompt_tokens, other.prompt_tokens),
            (&mut self.completion_tokens, other.completion_tokens),
            (&mut self.thinking_tokens, other.thinking_tokens),
            (&mut self.output_tokens, other.output_tokens),
            (
                &mut self.prompt_tokens_cache_read,
                other.prompt_tokens_cache_read,
            ),
            (
                &mut self.prompt_tokens_cache_write,
                other.prompt_tokens_cache_write,
            ),
            (&mut self.total_tokens, other.total_tokens),
        ] {
            *sum = sum.saturating_add(count);
        }
        self.approx_cost = added(self.approx_cost, other.approx_cost);
    }
}

/// The sum of what is known.
pub(super) fn added(sum: Option<f64>, more: Option<f64>) -> Option<f64> {
    match (sum, more) {
        (Some(sum), Some(more)) => Some(sum + more),
        (known, None) | (None, known) => known,
    }
}
