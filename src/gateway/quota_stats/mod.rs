//! Pools, credentials, cooldowns, windows and quotas as one document: `GET /v1/quota-stats` and
//! `status --json`.

pub mod document;
pub mod refresh;

use std::collections::{BTreeMap, HashMap};

use crate::gateway::Gateway;
use crate::gateway::quota_stats::document::{
    Cooldown, Credential, CustomCap, Document, FairCycle, FairCycleSummary, Group, GroupUsage,
    GroupWindow, ModelUsage, Provider, Summary, Tokens, Totals, Window, added,
};
use crate::gateway::runtime::ProviderRuntime;
use crate::gateway::snapshot::Snapshot;
use crate::pool::{
    self, ClassSnapshot, CooldownSnapshot, CredentialState, MemberSnapshot, Reason, Rotation,
    WindowSnapshot,
};
use crate::state::StateError;
use crate::state::rows::{UsageKey, UsageSums};
use crate::time::Timestamp;

/// The cooldown of a credential as a whole.
const WHOLE: &str = "_global_";

/// The turn of a credential as a whole.
const TURN: &str = "_credential_";

/// The tier of credentials whose tier nobody knows.
const NO_TIER: &str = "default";

/// Dollars spent, by fingerprint (hex) and model class.
pub type Costs = HashMap<(String, String), f64>;

/// The document of now. Reads the state's usage: not for a runtime's own threads.
pub fn of_gateway(gateway: &Gateway, now: Timestamp) -> Document {
    let snapshot = gateway.snapshot();
    let costs = match &gateway.persistence {
        Some(persistence) => {
            let usage = persistence
                .state()
                .usage(Timestamp::default(), Timestamp::from_millis(i64::MAX));
            spent(&snapshot, usage)
        }
        None => Costs::new(),
    };
    document(&snapshot, &costs, now)
}

fn spent(snapshot: &Snapshot, usage: Result<Vec<(UsageKey, UsageSums)>, StateError>) -> Costs {
    let rows = usage.unwrap_or_else(|error| {
        tracing::warn!("cannot read the usage for its costs: {error}");
        Vec::new()
    });
    let mut costs = Costs::new();
    for (key, sums) in rows {
        if sums.cost_usd <= 0.0 {
            continue;
        }
        let class = match snapshot.providers.get(&key.provider) {
            Some(runtime) => runtime.pool.class_of(&key.model),
            None => continue,
        };
        *costs.entry((key.fingerprint, class)).or_default() += sums.cost_usd;
    }
    costs
}

/// The document of a snapshot, its pools at `now`.
pub fn document(snapshot: &Snapshot, costs: &Costs, now: Timestamp) -> Document {
    let providers: BTreeMap<String, Provider> = snapshot
        .providers
        .values()
        .map(|runtime| (runtime.id.to_string(), provider(runtime, costs, now)))
        .collect();
    let summary = Summary::of(providers.values());
    Document {
        group: None,
        providers,
        summary,
        data_source: "cache".to_owned(),
        timestamp: seconds(now),
        refresh_result: None,
    }
}

fn provider(runtime: &ProviderRuntime, costs: &Costs, now: Timestamp) -> Provider {
    let pool = runtime.pool.snapshot(now);
    let mut sums = Totals::default();
    let mut provider = Provider {
        provider: runtime.id.to_string(),
        credential_count: pool.members.len() as u64,
        rotation_mode: match pool.rotation {
            Rotation::Balanced => "balanced",
            Rotation::Expiring => "expiring",
            Rotation::Sequential => "sequential",
        }
        .to_owned(),
        backoff_until: pool.backoff_until.map(seconds),
        waiting_requests: pool.waiters,
        quota_groups: groups(&pool.members),
        ..Provider::default()
    };
    for member in &pool.members {
        let credential = credential(runtime, member, costs, now);
        match credential.status.as_str() {
            "active" | "mixed" => provider.active_count += 1,
            "exhausted" => provider.exhausted_count += 1,
            _ => {}
        }
        sums.add(&credential.totals);
        provider
            .credentials
            .insert(member.id.to_string(), credential);
    }
    provider.total_requests = sums.request_count;
    provider.approx_cost = sums.approx_cost;
    provider.tokens = Tokens::of(&sums);
    provider
}

fn credential(
    runtime: &ProviderRuntime,
    member: &MemberSnapshot,
    costs: &Costs,
    now: Timestamp,
) -> Credential {
    let fingerprint = member.fingerprint.to_string();
    let cost = |class: &str| costs.get(&(fingerprint.clone(), class.to_owned())).copied();
    let holder = runtime.holders.get(&member.id);
    let mut credential = Credential {
        stable_id: member.id.to_string(),
        accessor_masked: holder.and_then(|holder| holder.last4()),
        full_path: member.id.to_string(),
        identifier: member.id.name().to_owned(),
        email: holder.and_then(|holder| holder.email.clone()),
        tier: member.tier.clone(),
        priority: member.priority,
        active_requests: member.active,
        status: status(member).to_owned(),
        state: member.state.as_str().to_owned(),
        state_reason: member.state_reason.clone(),
        cooling_until: member.cooling_until.map(seconds),
        totals: totals(&member.totals, None),
        ..Credential::default()
    };
    if let Some(rest) = &member.cooldown {
        credential
            .cooldowns
            .insert(WHOLE.to_owned(), cooldown(rest, now));
    }
    if member.is_benched {
        let turn = FairCycle {
            exhausted: true,
            cycle_request_count: member.totals.requests,
        };
        credential.fair_cycle.insert(TURN.to_owned(), turn);
    }
    for class in &member.classes {
        let dollars = cost(&class.class);
        credential.totals.approx_cost = added(credential.totals.approx_cost, dollars);
        credential.add(class, dollars, now);
    }
    credential
}

impl Credential {
    fn add(&mut self, class: &ClassSnapshot, dollars: Option<f64>, now: Timestamp) {
        let name = class.class.clone();
        let rest = class.cooldown.as_ref().map(|rest| cooldown(rest, now));
        let windows = class
            .windows
            .iter()
            .map(|window| (window.name.clone(), counted(window, &class.totals)))
            .collect();
        let custom_cap = class.cap.map(|(limit, used)| CustomCap {
            limit,
            used,
            remaining: limit.saturating_sub(used),
        });
        let turn = FairCycle {
            exhausted: class.is_benched,
            cycle_request_count: class.windows.first().map_or(0, |window| window.requests),
        };
        self.fair_cycle.insert(name.clone(), turn);
        let totals = totals(&class.totals, dollars);
        if class.is_group {
            let usage = GroupUsage {
                windows,
                totals,
                fair_cycle_exhausted: class.is_benched,
                fair_cycle_reason: class
                    .is_benched
                    .then(|| "it has had its turn in the fair cycle".to_owned()),
                cooldown_remaining: rest.as_ref().map(|rest| rest.remaining_seconds),
                cooldown_source: rest.as_ref().map(|rest| rest.source.clone()),
                custom_cap,
            };
            self.group_usage.insert(name.clone(), usage);
        } else {
            let usage = ModelUsage {
                windows,
                totals,
                custom_cap,
            };
            self.model_usage.insert(name.clone(), usage);
        }
        if let Some(rest) = rest {
            self.cooldowns.insert(name, rest);
        }
    }
}

/// The four words of the document for the seven states.
fn status(member: &MemberSnapshot) -> &'static str {
    let resting =
        |class: &ClassSnapshot| class.cooldown.is_some() || class.windows.iter().any(is_full);
    let is_partly = member.cooldown.is_none() && !member.classes.iter().all(resting);
    match member.state {
        CredentialState::Ready => "active",
        CredentialState::Cooling | CredentialState::Exhausted if is_partly => "mixed",
        CredentialState::Cooling => "cooldown",
        CredentialState::ActionNeeded
        | CredentialState::Dead
        | CredentialState::Disabled
        | CredentialState::Exhausted
        | CredentialState::Expired => "exhausted",
    }
}

fn is_full(window: &WindowSnapshot) -> bool {
    let reached = |used: u64, limit: Option<u64>| limit.is_some_and(|limit| used >= limit);
    reached(window.requests, window.limit) || reached(window.tokens, window.token_limit)
}

fn cooldown(rest: &CooldownSnapshot, now: Timestamp) -> Cooldown {
    Cooldown {
        reason: rest.reason.as_str().to_owned(),
        remaining_seconds: now.until(rest.until).as_secs_f64(),
        source: match rest.reason {
            Reason::Cap => "custom_cap",
            Reason::Rule => "rule",
            Reason::Auth
            | Reason::NoMoney
            | Reason::NotAllowed
            | Reason::Quota
            | Reason::RateLimit
            | Reason::Token
            | Reason::Transient => "provider",
        }
        .to_owned(),
        until: seconds(rest.until),
    }
}

fn counted(window: &WindowSnapshot, lifetime: &pool::Totals) -> Window {
    let counts = window.counts.map(|counts| totals(&counts, None));
    let counts = counts.as_ref();
    Window {
        request_count: window.requests,
        success_count: counts.map(|counts| counts.success_count),
        failure_count: counts.map(|counts| counts.failure_count),
        prompt_tokens: counts.map(|counts| counts.prompt_tokens),
        completion_tokens: counts.map(|counts| counts.completion_tokens),
        thinking_tokens: counts.map(|counts| counts.thinking_tokens),
        output_tokens: counts.map(|counts| counts.output_tokens),
        prompt_tokens_cache_read: counts.map(|counts| counts.prompt_tokens_cache_read),
        prompt_tokens_cache_write: counts.map(|counts| counts.prompt_tokens_cache_write),
        total_tokens: window.tokens,
        limit: window.limit,
        token_limit: window.token_limit,
        remaining: window
            .limit
            .map(|limit| limit.saturating_sub(window.requests)),
        started_at: window.started.map(seconds),
        reset_at: window.resets.map(seconds),
        max_recorded_requests: window.most.map(|most| most.requests),
        max_recorded_at: window.most.map(|most| seconds(most.at)),
        first_used_at: match counts {
            Some(counts) => counts.first_used_at,
            None => lifetime.first_used_ms.map(from_millis),
        },
        last_used_at: match counts {
            Some(counts) => counts.last_used_at,
            None => lifetime.last_used_ms.map(from_millis),
        },
        approx_cost: None,
    }
}

fn totals(totals: &pool::Totals, approx_cost: Option<f64>) -> Totals {
    Totals {
        request_count: totals.requests,
        success_count: totals.successes,
        failure_count: totals.failures,
        prompt_tokens: totals.input_tokens.saturating_sub(totals.cache_read_tokens),
        completion_tokens: totals.output_tokens.saturating_sub(totals.reasoning_tokens),
        thinking_tokens: totals.reasoning_tokens,
        output_tokens: totals.output_tokens,
        prompt_tokens_cache_read: totals.cache_read_tokens,
        prompt_tokens_cache_write: totals.cache_write_tokens,
        total_tokens: totals.input_tokens.saturating_add(totals.output_tokens),
        approx_cost,
        first_used_at: totals.first_used_ms.map(from_millis),
        last_used_at: totals.last_used_ms.map(from_millis),
    }
}

impl Summary {
    /// Everything of these providers together.
    pub fn of<'a>(providers: impl Iterator<Item = &'a Provider>) -> Self {
        let mut summary = Self::default();
        for provider in providers {
            summary.total_providers += 1;
            summary.total_credentials += provider.credential_count;
            summary.active_credentials += provider.active_count;
            summary.exhausted_credentials += provider.exhausted_count;
            summary.total_requests += provider.total_requests;
            summary.tokens.add(&provider.tokens);
            summary.approx_total_cost = added(summary.approx_total_cost, provider.approx_cost);
        }
        summary
    }
}

impl Tokens {
    fn of(totals: &Totals) -> Self {
        let mut tokens = Self {
            input_cached: totals.prompt_tokens_cache_read,
            input_uncached: totals.prompt_tokens,
            input_cache_pct: 0.0,
            output: totals.output_tokens,
        };
        tokens.weigh();
        tokens
    }

    fn add(&mut self, other: &Self) {
        self.input_cached = self.input_cached.saturating_add(other.input_cached);
        self.input_uncached = self.input_uncached.saturating_add(other.input_uncached);
        self.output = self.output.saturating_add(other.output);
        self.weigh();
    }

    fn weigh(&mut self) {
        let all = self.input_cached.saturating_add(self.input_uncached);
        self.input_cache_pct = percent(self.input_cached, all).unwrap_or(0.0);
    }
}

/// Every quota group, and every model with a limit of its own, over all credentials.
fn groups(members: &[MemberSnapshot]) -> BTreeMap<String, Group> {
    let mut groups: BTreeMap<String, Group> = BTreeMap::new();
    for (member, class) in members
        .iter()
        .flat_map(|member| member.classes.iter().map(move |class| (member, class)))
    {
        let is_limited = class.windows.iter().any(|window| window.limit.is_some());
        if !class.is_group && !is_limited {
            continue;
        }
        let group = groups.entry(class.class.clone()).or_default();
        group.fair_cycle_summary.exhausted_count += u64::from(class.is_benched);
        for window in &class.windows {
            let sum = group.windows.entry(window.name.clone()).or_default();
            sum.take(window, tier_of(member), member.state);
        }
    }
    for group in groups.values_mut() {
        group.fair_cycle_summary = FairCycleSummary {
            total_count: members.len() as u64,
            ..group.fair_cycle_summary
        };
        for member in members {
            let tier = group.tiers.entry(tier_of(member).to_owned()).or_default();
            tier.priority = if tier.total == 0 {
                member.priority
            } else {
                tier.priority.min(member.priority)
            };
            tier.total += 1;
        }
    }
    groups
}

impl GroupWindow {
    fn take(&mut self, window: &WindowSnapshot, tier: &str, state: CredentialState) {
        self.total_used = self.total_used.saturating_add(window.requests);
        let add = |sum: &mut Option<u64>, more: u64| {
            *sum = Some(sum.unwrap_or(0).saturating_add(more));
        };
        if let Some(limit) = window.limit {
            add(&mut self.total_max, limit);
            add(
                &mut self.total_remaining,
                limit.saturating_sub(window.requests),
            );
            self.remaining_pct = self
                .total_remaining
                .zip(self.total_max)
                .and_then(|(left, all)| percent(left, all));
        }
        let usable = matches!(
            state,
            CredentialState::Cooling | CredentialState::Exhausted | CredentialState::Ready
        );
        let tier = self.tier_availability.entry(tier.to_owned()).or_default();
        tier.total += 1;
        tier.available += u64::from(usable && !is_full(window));
    }
}

fn tier_of(member: &MemberSnapshot) -> &str {
    member.tier.as_deref().unwrap_or(NO_TIER)
}

/// Percent with one digit behind the point; `None` of nothing.
fn percent(part: u64, all: u64) -> Option<f64> {
    (all > 0).then(|| (as_f64(part) * 1000.0 / as_f64(all)).round() / 10.0)
}

fn seconds(time: Timestamp) -> f64 {
    from_millis(time.as_millis())
}

#[expect(
    clippy::cast_precision_loss,
    reason = "milliseconds since 1970 are exact until the year 287396"
)]
const fn from_millis(millis: i64) -> f64 {
    millis as f64 / 1000.0
}

#[expect(clippy::cast_precision_loss, reason = "only ratios are shown")]
const fn as_f64(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests;
