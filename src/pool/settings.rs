//! What a provider's pool is told by its configuration, and who its members are.
//!
//! Plain values with the defaults of `config.toml`; the gateway maps the configuration to them.
//! Values that make no sense are refused where the configuration is read; here each has a safe
//! meaning, so that nothing the pool is handed can stop it.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::config::models::glob;
use crate::ids::CredentialId;
use crate::secret::Fingerprint;

/// The rules of one provider's pool. As many fields as `[providers.NAME]`, `[cooldown]` and
/// `[routing]` have keys that concern a pool: it is their mirror.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// In what order credentials are used.
    pub rotation: Rotation,
    /// How far `balanced` may stray from the least used credential, in requests; 0 means never.
    pub rotation_tolerance: f64,
    /// How many requests a credential serves at once.
    pub concurrency: Concurrency,
    /// Models that share one quota. A model named in two groups belongs to the first.
    pub quota_groups: Vec<QuotaGroup>,
    /// Patterns of models that are limited each by itself and share one quota all the same.
    pub shared_quotas: Vec<String>,
    /// Known limits, counted here before the provider refuses.
    pub windows: Vec<WindowSpec>,
    /// Own limits below the provider's.
    pub caps: Vec<CapSpec>,
    /// Whether exhausted credentials stand last in line until all had their turn.
    pub fair_cycle: FairCycle,
    /// Which tiers may use which models; models without a rule are for all.
    pub tier_rules: Vec<TierRule>,
    /// How long failures keep a credential out.
    pub cooldown: CooldownSettings,
    /// How often a request is tried again.
    pub retry: RetrySettings,
    /// Whether a conversation stays on its credential.
    pub affinity: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            rotation: Rotation::Sequential,
            rotation_tolerance: 3.0,
            concurrency: Concurrency::default(),
            quota_groups: Vec::new(),
            shared_quotas: Vec::new(),
            windows: Vec::new(),
            caps: Vec::new(),
            fair_cycle: FairCycle::default(),
            tier_rules: Vec::new(),
            cooldown: CooldownSettings::default(),
            retry: RetrySettings::default(),
            affinity: true,
        }
    }
}

/// In what order equal credentials are used (`rotation`).
#[derive(Clone, Copy, Debug, Default, Hash, PartialEq, Eq)]
pub enum Rotation {
    /// Spread by use: the less a credential was used in its window, the likelier it is next.
    Balanced,
    /// First the quota that would be lost first.
    Expiring,
    /// Stay on one until it cannot serve, then go to the most used of the rest.
    #[default]
    Sequential,
}

impl Rotation {
    /// The name in configuration and reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Balanced => "balanced",
            Self::Expiring => "expiring",
            Self::Sequential => "sequential",
        }
    }
}

/// How many requests one credential serves at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Concurrency {
    /// Never more than this; 0 means no limit.
    pub max: u32,
    /// Prefer another credential from this many on; 0 means no preference.
    pub optimal: u32,
    /// Factor on `max` for a priority (`priority_multipliers`); 1 where none is given.
    pub multipliers: BTreeMap<u32, u32>,
}

impl Default for Concurrency {
    fn default() -> Self {
        Self {
            max: 0,
            optimal: 1,
            multipliers: BTreeMap::new(),
        }
    }
}

/// Models that share one quota, and so one model class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuotaGroup {
    pub name: String,
    /// Model names; `*` stands for any characters.
    pub models: Vec<String>,
}

/// A limit known beforehand, counted per (credential, model class).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WindowSpec {
    /// Models or quota groups, `*` stands for any characters; empty means all.
    pub models: Vec<String>,
    /// Requests allowed in one window; 0 means counted but not limited.
    pub requests: u64,
    /// Tokens allowed in one window; 0 means counted but not limited.
    pub tokens: u64,
    /// Length of the window. A zero length counts as 24 hours.
    pub every: Duration,
    /// When it starts.
    pub anchor: Anchor,
}

/// When a window starts.
#[derive(Clone, Copy, Debug, Default, Hash, PartialEq, Eq)]
pub enum Anchor {
    /// With the first request after the last window ended.
    FirstUse,
    /// At midnight in Los Angeles.
    PacificMidnight,
    /// At every moment: what happened in the last `every` counts.
    #[default]
    Rolling,
    /// At midnight UTC.
    UtcMidnight,
    /// On Monday, midnight UTC, whatever `every` says.
    Weekly,
}

impl Anchor {
    /// The name in configuration and reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::FirstUse => "first_use",
            Self::PacificMidnight => "pacific_midnight",
            Self::Rolling => "rolling",
            Self::UtcMidnight => "utc_midnight",
            Self::Weekly => "weekly",
        }
    }
}

/// An own limit below the provider's.
#[derive(Clone, Debug, PartialEq)]
pub struct CapSpec {
    /// Tier names, or priority numbers in decimal; empty or `default` means every tier that no
    /// other cap names for the model.
    pub tiers: Vec<String>,
    /// Models or quota groups, `*` stands for any characters; empty means all. Case, `.`, `-` and
    /// `_` do not matter: environment variables cannot spell them all.
    pub models: Vec<String>,
    pub limit: CapLimit,
    pub cooldown: CapCooldown,
}

/// How much a cap allows in the class's first window: never more than the window itself, and at
/// least one request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum CapLimit {
    /// Percent of the window's limit; no cap while that is unknown.
    Percent(f64),
    /// So many requests more (or less, if negative) than the window's limit; no cap while that
    /// is unknown.
    Relative(i64),
    /// So many requests.
    Requests(u64),
}

/// How long a reached cap keeps the class out.
#[derive(Clone, Copy, Debug, Default, Hash, PartialEq, Eq)]
pub enum CapCooldown {
    /// For so long from when it was reached, then it counts anew.
    Fixed(Duration),
    /// Until so long after the window's reset.
    Offset(Duration),
    /// Until the window's reset.
    #[default]
    QuotaReset,
}

/// Whether exhausted credentials stand last in line until all had their turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FairCycle {
    pub enabled: bool,
    pub tracking: Tracking,
    /// Whether the turn of all tiers counts, not only of the credential's own.
    pub cross_tier: bool,
    /// A credential stands last for so long at most.
    pub duration: Duration,
    /// Cooldowns longer than this count as a turn taken.
    pub exhaustion_threshold: Duration,
}

impl Default for FairCycle {
    fn default() -> Self {
        Self {
            enabled: false,
            tracking: Tracking::ModelGroup,
            cross_tier: false,
            duration: Duration::from_hours(168),
            exhaustion_threshold: Duration::from_mins(5),
        }
    }
}

/// What takes turns in a fair cycle.
#[derive(Clone, Copy, Debug, Default, Hash, PartialEq, Eq)]
pub enum Tracking {
    /// The credential as a whole.
    Credential,
    /// The credential for each model class apart.
    #[default]
    ModelGroup,
}

/// Which tiers may use some models.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TierRule {
    /// Model names; `*` stands for any characters.
    pub models: Vec<String>,
    /// The tiers that may use them. A credential whose tier is unknown may always try.
    pub tiers: Vec<String>,
}

/// `[cooldown]`: how long failures keep a credential out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CooldownSettings {
    /// Waits for consecutive failures.
    pub steps: Vec<Duration>,
    /// The wait once the steps are used up.
    pub max: Duration,
    /// Longer waits let one real request through this often, doubling.
    pub probe_after: Duration,
    /// So many credentials failing alike within 10 s mean the provider; 0 means never.
    pub provider_wide_after: u32,
    /// First wait after a rate limit without a hint.
    pub rate_limit_default: Duration,
    /// Wait after a credential was refused.
    pub auth_error: Duration,
}

impl Default for CooldownSettings {
    fn default() -> Self {
        Self {
            steps: [10, 30, 60, 120].map(Duration::from_secs).to_vec(),
            max: Duration::from_mins(5),
            probe_after: Duration::from_mins(15),
            provider_wide_after: 3,
            rate_limit_default: Duration::from_mins(1),
            auth_error: Duration::from_mins(5),
        }
    }
}

/// `[routing]`: how often a request is tried again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RetrySettings {
    /// Upstream calls a request may lose to the provider or the network.
    pub max_attempts: u32,
    /// Retries on the same credential after such a loss.
    pub same_key_retries: u32,
    /// Such retries never exceed this share of requests once busy.
    pub budget: f64,
}

impl Default for RetrySettings {
    fn default() -> Self {
        Self {
            max_attempts: 8,
            same_key_retries: 2,
            budget: 0.2,
        }
    }
}

/// A credential of the pool, without its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    pub id: CredentialId,
    /// Which secret it is: state belongs to the secret, so a new one starts fresh.
    pub fingerprint: Fingerprint,
    /// The account's tier as the provider names it.
    pub tier: Option<String>,
    /// Lower goes first.
    pub priority: u32,
    /// Switched off by the user.
    pub disabled: bool,
    /// Needs a new log-in.
    pub expired: bool,
    /// Its provider serves nobody any more, in words; it counts as dead while that is so.
    pub closed: Option<String>,
    /// Overrides [`Concurrency::max`] (multipliers included); 0 means no limit.
    pub max_concurrent: Option<u32>,
    /// Overrides [`Concurrency::optimal`]; 0 means no preference.
    pub optimal_concurrent: Option<u32>,
}

impl Member {
    /// A usable member without tier and with the usual priority, 1.
    pub const fn new(id: CredentialId, fingerprint: Fingerprint) -> Self {
        Self {
            id,
            fingerprint,
            tier: None,
            priority: 1,
            disabled: false,
            expired: false,
            closed: None,
            max_concurrent: None,
            optimal_concurrent: None,
        }
    }
}

/// `true` if `text` matches `pattern`, in which `*` stands for any characters and `?` for one.
pub(super) fn matches(pattern: &str, text: &str) -> bool {
    glob(pattern.as_bytes(), text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_characters() {
        for (pattern, text, expected) in [
            ("pro", "pro", true),
            ("pro", "prod", false),
            ("*", "", true),
            ("gemini-*", "gemini-2.5-pro", true),
            ("*-preview*", "gemini-3-pro-preview", true),
            ("*-preview*", "gemini-3-pro", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("a*a", "a", false),
            ("m?", "m1", true),
            ("m?", "m12", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }
}
