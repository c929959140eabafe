//! From configuration and credentials to the [`Snapshot`] in force. Pools, model lists and
//! measurements of the snapshot before are carried over.

use std::collections::BTreeMap;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use serde_json::{Map, Value};
use thiserror::Error;

use crate::config::Config;
use crate::config::limits::{Anchor as ConfigAnchor, CapCooldown as ConfigCapCooldown, Limit};
use crate::config::model_facts;
use crate::config::models::Pattern;
use crate::config::provider::{self, Kind};
use crate::credentials::oauth::{self, Http};
use crate::credentials::refresh::LiveAccount;
use crate::credentials::store::Store;
use crate::credentials::{Credential, Material, Source};
use crate::dialects::Dialect;
use crate::dialects::mend::Mending;
use crate::dialects::models::ModelTable;
use crate::gateway::accounts::{AccountInUse, Holder, Holders};
use crate::gateway::catalog::ProviderModels;
use crate::gateway::clients::Clients;
use crate::gateway::facts::Facts;
use crate::gateway::first_token::FirstToken;
use crate::gateway::grades::Grades;
use crate::gateway::group::names::Names;
use crate::gateway::runtime::ProviderRuntime;
use crate::gateway::snapshot::{Alias, Snapshot};
use crate::gateway::upstream::{Addresses, ClientError, Limits};
use crate::ids::ProviderId;
use crate::pool::{self, Member, Pool};
use crate::providers::forms::Switches;
use crate::providers::{self, Provider};
use crate::secret::FingerprintKey;
use crate::time::Timestamp;

/// The simulated provider.
pub const DEMO: &str = "demo";

/// What a snapshot is made of.
pub struct Parts<'a> {
    pub config: &'a Config,
    pub credentials: &'a [Credential],
    pub fingerprint_key: &'a FingerprintKey,
    /// What names credentials in a group, where there is one.
    pub group_key: Option<&'a FingerprintKey>,
    /// Where model lists are cached; `None` keeps them in memory.
    pub cache_dir: Option<&'a Path>,
    /// Where renewed tokens are kept; `None` keeps them in memory.
    pub store: Option<&'a Store>,
    /// The snapshot in force, whose pools go on.
    pub previous: Option<&'a Snapshot>,
    pub now: Timestamp,
}

/// Why no snapshot could be made. Names the provider at fault.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum BuildError {
    #[error("the provider `{provider}`: {source}")]
    Client {
        provider: String,
        source: ClientError,
    },
    #[error(
        "the provider `{0}` is not built in: say which dialect it speaks (`kind`) and where it is (`base_url`)"
    )]
    Custom(String),
    #[error(
        "the provider `{provider}`: `{name}` is not a header name, or its value not a header value"
    )]
    Header { provider: String, name: String },
}

/// Makes the snapshot.
pub fn snapshot(parts: &Parts<'_>) -> Result<Snapshot, BuildError> {
    let config = parts.config;
    let mut providers = BTreeMap::new();
    let facts = Arc::new(model_facts::table(&config.model_facts));
    for (id, settings) in configured(parts) {
        if let Some(runtime) = runtime(parts, &facts, &id, &settings)? {
            providers.insert(id.to_string(), Arc::new(runtime));
        }
    }
    let aliases = config
        .models
        .iter()
        .filter_map(|(name, alias)| {
            let targets = config.targets(name)?;
            Some((
                name.clone(),
                Alias {
                    strategy: alias.strategy,
                    targets,
                },
            ))
        })
        .collect();
    Ok(Snapshot {
        providers,
        aliases,
        facts: Arc::new(Facts::new(
            &config.catalog,
            parts.cache_dir,
            parts.previous.map(|previous| &*previous.facts),
        )),
        store: parts.store.cloned(),
        rules: config.routing.errors.clone(),
        deadline: config.routing.deadline,
        first_token_timeout: config.routing.first_token_timeout,
        hedge_after: config.routing.hedge_after,
        affinity: config.routing.affinity,
        keepalive: config.server.keepalive.unwrap_or_default(),
        strict_translation: config.routing.strict_translation,
        fetch_remote_media: config.server.fetch_remote_media,
    })
}

/// The pools of a configuration without anything that calls: for simulations.
pub fn pools(
    config: &Config,
    credentials: &[Credential],
    key: &FingerprintKey,
) -> Vec<(ProviderId, pool::Settings, Vec<Member>)> {
    let mut by_provider: BTreeMap<ProviderId, Vec<&Credential>> = BTreeMap::new();
    for credential in credentials {
        if let Ok(id) = ProviderId::parse(credential.id.provider()) {
            by_provider.entry(id).or_default().push(credential);
        }
    }
    let unset = provider::Provider::default();
    let pools = by_provider.into_iter().filter_map(|(id, credentials)| {
        let settings = config.providers.get(&id).unwrap_or(&unset);
        let adapter = adapter(&id, settings).ok().filter(|_| settings.enabled)?;
        let mut rules = pool_settings(&id, config, adapter, settings);
        add_account_limit(&mut rules, adapter, &credentials);
        let grades = grades(adapter, settings);
        let members = credentials.into_iter();
        let members = members.map(|one| member(one, one.tier(), key, grades));
        Some((id, rules, members.collect()))
    });
    pools.collect()
}

/// Every provider with settings or credentials. Credentials of a provider that this version does
/// not know (written by a later one) are left out: they must not keep the others from serving.
fn configured(parts: &Parts<'_>) -> BTreeMap<ProviderId, provider::Provider> {
    let mut settings = parts.config.providers.clone();
    for credential in parts.credentials {
        if let Ok(id) = ProviderId::parse(credential.id.provider())
            && providers::find(id.as_str()).is_some()
        {
            settings.entry(id).or_default();
        }
    }
    settings
}

/// The provider, or `None` if it is switched off or has nothing to serve with.
fn runtime(
    parts: &Parts<'_>,
    facts: &Arc<ModelTable>,
    id: &ProviderId,
    settings: &provider::Provider,
) -> Result<Option<ProviderRuntime>, BuildError> {
    if !settings.enabled {
        return Ok(None);
    }
    let credentials: Vec<&Credential> = parts
        .credentials
        .iter()
        .filter(|credential| credential.id.provider() == id.as_str())
        .collect();
    if credentials.is_empty() {
        return Ok(None);
    }
    let adapter = adapter(id, settings)?;
    let base_urls = if settings.base_url.is_empty() {
        adapter
            .spec()
            .base_urls
            .iter()
            .map(|&url| url.to_owned())
            .collect()
    } else {
        settings.base_url.clone()
    };
    let proxy = settings.proxy.as_ref().map(|proxy| proxy.secret().expose());
    let previous = parts
        .previous
        .and_then(|previous| previous.providers.get(id.as_str()));
    let before = previous.map(|previous| &previous.clients);
    let connect = parts.config.timeouts.connect;
    let clients = Clients::new(proxy, &credentials, connect, before).map_err(|source| {
        BuildError::Client {
            provider: id.to_string(),
            source,
        }
    })?;
    let mut rules = pool_settings(id, parts.config, adapter, settings);
    add_account_limit(&mut rules, adapter, &credentials);
    let pool = previous.map_or_else(
        || Pool::new(id.clone(), rules.clone(), fastrand::u64(..)),
        |previous| Arc::clone(&previous.pool),
    );
    let timeouts = &parts.config.timeouts;
    let holders = holders(parts, adapter, settings, &clients, &credentials);
    let grades = grades(adapter, settings);
    let members = credentials.iter().map(|credential| {
        // What was learned of an account in use may stand nowhere else.
        let learned = holders.get(&credential.id).and_then(|holder| holder.tier());
        let tier = learned.as_deref().or_else(|| credential.tier());
        Member {
            closed: closed(adapter, settings, credential),
            ..member(credential, tier, parts.fingerprint_key, grades)
        }
    });
    pool.configure(rules, members.collect(), parts.now);
    Ok(Some(ProviderRuntime {
        id: id.clone(),
        adapter,
        base_urls,
        clients,
        is_elsewhere: !settings.base_url.is_empty(),
        limits: Limits {
            first_byte: timeouts.first_byte,
            idle: timeouts.stream_idle,
            total: timeouts.total,
        },
        headers: headers(id, settings)?,
        extra_body: extra_body(settings),
        allow_models: settings.allow_models.clone(),
        ignore_models: settings.ignore_models.clone(),
        mending: Mending {
            think_tags: adapter.spec().mending.think_tags || settings.think_tags,
            ..adapter.spec().mending
        },
        temperature_zero: parts.config.routing.temperature_zero,
        facts: Arc::clone(facts),
        extra_models: settings.models.clone(),
        pool,
        names: parts.group_key.map_or_else(Names::default, |group| {
            Names::new(credentials.iter().copied(), group, parts.fingerprint_key)
        }),
        holders,
        grades,
        models: previous.map_or_else(
            || Arc::new(ProviderModels::load(id, parts.cache_dir)),
            |previous| Arc::clone(&previous.models),
        ),
        first_token: previous.map_or_else(
            || Arc::new(FirstToken::default()),
            |previous| Arc::clone(&previous.first_token),
        ),
        addresses: Addresses::default(),
        switches: Switches {
            guard_tools: settings.guard_tools,
            spend_credits: settings.spend_credits,
            no_dummy_tool: !settings.dummy_tool,
        },
    }))
}

/// The credentials to send with. An account that was in use before goes on with its tokens.
fn holders(
    parts: &Parts<'_>,
    adapter: &'static dyn Provider,
    settings: &provider::Provider,
    clients: &Clients,
    credentials: &[&Credential],
) -> Holders {
    let holders = credentials.iter().filter_map(|credential| {
        let account = account(parts, adapter, settings, clients, (credential, credentials));
        let project = settings.oauth.project.as_deref();
        let closed = closed(adapter, settings, credential);
        let facts = key_facts(adapter, credential);
        let holder = Holder::new(credential, account, project, facts, closed)?;
        Some((credential.id.clone(), Arc::new(holder)))
    });
    holders.collect()
}

/// What a key's own form says of it, and what is kept with it.
fn key_facts(adapter: &'static dyn Provider, credential: &Credential) -> Map<String, Value> {
    let Material::ApiKey(key) = &credential.material else {
        return Map::new();
    };
    let mut facts = adapter.key_facts(key.expose());
    facts.extend(credential.extra.clone());
    facts
}

/// Why the vendor serves such a credential no longer; `None` if it does, or if the user says that
/// somebody does.
fn closed(
    adapter: &'static dyn Provider,
    settings: &provider::Provider,
    credential: &Credential,
) -> Option<String> {
    let spec = adapter.spec();
    let closed = spec.closed_to(credential.account().is_some())?;
    let sentence = || format!("{}: {}", closed.sentence(spec.title), closed.instead);
    (!settings.is_elsewhere() && !credential.defies_closing()).then(sentence)
}

/// The live account of a credential; `None` for keys, and where the provider has no log-in.
fn account(
    parts: &Parts<'_>,
    adapter: &'static dyn Provider,
    settings: &provider::Provider,
    clients: &Clients,
    (credential, siblings): (&Credential, &[&Credential]),
) -> Option<Arc<AccountInUse>> {
    let (account, spec) = (credential.account()?, adapter.spec().oauth?);
    let siblings = siblings.iter().copied();
    let oauth = oauth::Client::for_account(*spec, &settings.oauth, account, siblings);
    let http = Http::with(clients.of(&credential.id).clone().into_inner());
    let before = parts
        .previous
        .and_then(|previous| previous.providers.get(credential.id.provider()))
        .and_then(|runtime| runtime.holders.get(&credential.id))
        .and_then(|holder| holder.account())
        .filter(|before| before.live.uses(&oauth) && before.goes_on_as(credential));
    if let Some(before) = before {
        before.live.reconnect(http);
        return Some(Arc::clone(before));
    }
    let store = parts
        .store
        .filter(|_| credential.source == Source::Store)
        .cloned();
    LiveAccount::new(credential, oauth, http, store).map(AccountInUse::new)
}

/// The adapter of a provider: the built-in one of its name, else the one of its `kind`.
fn adapter(
    id: &ProviderId,
    settings: &provider::Provider,
) -> Result<&'static dyn Provider, BuildError> {
    if let Some(built_in) = providers::find(id.as_str()) {
        return Ok(built_in);
    }
    if let Some(kind) = settings.kind {
        return Ok(providers::custom(dialect_of(kind)));
    }
    // `FOO_API_KEY` with `FOO_API_BASE`: an OpenAI-compatible provider without further words.
    if settings.base_url.is_empty() {
        return Err(BuildError::Custom(id.to_string()));
    }
    Ok(providers::custom(Dialect::OpenAiChat))
}

const fn dialect_of(kind: Kind) -> Dialect {
    match kind {
        Kind::Anthropic => Dialect::Anthropic,
        Kind::Gemini => Dialect::Gemini,
        Kind::OpenAi => Dialect::OpenAiChat,
        Kind::OpenAiResponses => Dialect::OpenAiResponses,
    }
}

fn grades(adapter: &'static dyn Provider, settings: &provider::Provider) -> Grades {
    Grades::new(
        adapter.spec(),
        settings.optimal_concurrent_per_key.is_none(),
    )
}

fn member(
    credential: &Credential,
    tier: Option<&str>,
    key: &FingerprintKey,
    grades: Grades,
) -> Member {
    let mut member = Member::new(credential.id.clone(), credential.fingerprint(key));
    grades.place(&mut member, tier, credential.priority);
    member.expired = credential
        .account()
        .is_some_and(|account| account.expired_reason.is_some());
    member.disabled = credential.disabled;
    member
}

fn headers(
    id: &ProviderId,
    settings: &provider::Provider,
) -> Result<Vec<(HeaderName, HeaderValue)>, BuildError> {
    let bad = |name: &str| BuildError::Header {
        provider: id.to_string(),
        name: name.to_owned(),
    };
    settings
        .headers
        .iter()
        .map(|(name, value)| {
            let header = HeaderName::from_str(name).map_err(|_| bad(name))?;
            let value = HeaderValue::from_str(value.secret().expose()).map_err(|_| bad(name))?;
            Ok((header, value))
        })
        .collect()
}

fn extra_body(settings: &provider::Provider) -> Vec<(String, crate::dialects::fields::Raw)> {
    let raw = |value| serde_json::value::to_raw_value(value).ok();
    settings
        .extra_body
        .iter()
        .filter_map(|(name, value)| Some((name.clone(), raw(value)?)))
        .collect()
}

/// The pool's rules: the config's, and the vendor's own quota groups where the config has none of
/// the same name.
fn pool_settings(
    id: &ProviderId,
    config: &Config,
    adapter: &'static dyn Provider,
    settings: &provider::Provider,
) -> pool::Settings {
    let built_in = adapter.spec().quota_groups.iter().map(|(name, models)| {
        (
            (*name).to_owned(),
            models
                .iter()
                .map(|&model| model.to_owned())
                .collect::<Vec<_>>(),
        )
    });
    let built_in = built_in.filter(|(name, _)| !settings.quota_groups.contains_key(name));
    // The user's come first: a model is in the first group that names it.
    let groups = settings.quota_groups.clone().into_iter().chain(built_in);
    let quota_groups = groups
        .filter(|(_, models)| !models.is_empty())
        .map(|(name, models)| pool::QuotaGroup { name, models })
        .collect();
    let cooldown = &config.cooldown;
    pool::Settings {
        rotation: match settings.rotation {
            provider::Rotation::Balanced => pool::Rotation::Balanced,
            provider::Rotation::Expiring => pool::Rotation::Expiring,
            provider::Rotation::Sequential => pool::Rotation::Sequential,
        },
        rotation_tolerance: settings.rotation_tolerance,
        concurrency: pool::Concurrency {
            max: match settings.max_concurrent_per_key {
                0 => adapter.spec().max_concurrent,
                own => own,
            },
            optimal: settings.optimal_concurrent_per_key.unwrap_or(1),
            multipliers: settings.priority_multipliers.clone(),
        },
        quota_groups,
        shared_quotas: adapter
            .spec()
            .shared_quotas
            .iter()
            .map(|&pattern| pattern.to_owned())
            .collect(),
        windows: settings.windows.iter().map(window).collect(),
        caps: settings.caps.iter().map(cap).collect(),
        fair_cycle: pool::FairCycle {
            enabled: settings.fair_cycle.enabled,
            tracking: match settings.fair_cycle.tracking {
                provider::Tracking::Credential => pool::Tracking::Credential,
                provider::Tracking::ModelGroup => pool::Tracking::ModelGroup,
            },
            cross_tier: settings.fair_cycle.cross_tier,
            duration: settings.fair_cycle.duration,
            exhaustion_threshold: settings.fair_cycle.exhaustion_threshold,
        },
        tier_rules: Vec::new(),
        cooldown: pool::CooldownSettings {
            steps: cooldown.steps.clone(),
            max: cooldown.max,
            probe_after: cooldown.probe_after,
            provider_wide_after: cooldown.provider_wide_after,
            rate_limit_default: cooldown.rate_limit_default,
            auth_error: cooldown.auth_error,
        },
        retry: pool::RetrySettings {
            max_attempts: config.routing.max_attempts,
            same_key_retries: config.routing.same_key_retries,
            budget: config.routing.retry_budget,
        },
        // Whoever repeats one curl at the demo is to see it rotate.
        affinity: config.routing.affinity && id.as_str() != DEMO,
    }
}

fn patterns(patterns: &[Pattern]) -> Vec<String> {
    patterns
        .iter()
        .map(|pattern| pattern.as_str().to_owned())
        .collect()
}

/// What the vendor is known to allow its accounts, where the user sets no windows. Where there are
/// keys too, it would hold for them, and the vendor's own refusals must do.
fn add_account_limit(
    rules: &mut pool::Settings,
    adapter: &'static dyn Provider,
    credentials: &[&Credential],
) {
    let requests = adapter.spec().account_rpm;
    let has_own = requests == 0 || !rules.windows.is_empty();
    if !has_own && credentials.iter().all(|one| one.account().is_some()) {
        rules.windows.push(pool::WindowSpec {
            models: Vec::new(),
            requests,
            tokens: 0,
            every: Duration::from_mins(1),
            anchor: pool::Anchor::Rolling,
        });
    }
}

fn window(window: &crate::config::limits::Window) -> pool::WindowSpec {
    pool::WindowSpec {
        models: patterns(&window.models),
        requests: window.requests,
        tokens: window.tokens,
        every: window.every,
        anchor: match window.anchor {
            ConfigAnchor::FirstUse => pool::Anchor::FirstUse,
            ConfigAnchor::PacificMidnight => pool::Anchor::PacificMidnight,
            ConfigAnchor::Rolling => pool::Anchor::Rolling,
            ConfigAnchor::UtcMidnight => pool::Anchor::UtcMidnight,
            ConfigAnchor::Weekly => pool::Anchor::Weekly,
        },
    }
}

fn cap(cap: &crate::config::limits::Cap) -> pool::CapSpec {
    pool::CapSpec {
        tiers: cap.tier.clone(),
        models: patterns(&cap.models),
        limit: match cap.limit {
            Limit::Below(less) => pool::CapLimit::Relative(0_i64.saturating_sub_unsigned(less)),
            Limit::Number(requests) => pool::CapLimit::Requests(requests),
            Limit::Percent(percent) => pool::CapLimit::Percent(f64::from(percent)),
        },
        cooldown: match cap.cooldown {
            ConfigCapCooldown::Fixed(wait) => pool::CapCooldown::Fixed(wait),
            ConfigCapCooldown::Offset(wait) => pool::CapCooldown::Offset(wait),
            ConfigCapCooldown::QuotaReset => pool::CapCooldown::QuotaReset,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credentials::Account;
    use crate::ids::CredentialId;
    use crate::secret::Secret;

    #[test]
    fn what_a_vendor_allows_its_accounts_is_counted_unless_there_are_keys() {
        let id = |text| CredentialId::parse(text).expect("an id");
        let account = Account {
            access_token: Some(Secret::new("at")),
            ..Account::default()
        };
        let account = Credential::oauth(id("qwen_code/1"), Source::Store, account);
        let key = Credential::api_key(id("qwen_code/2"), Source::Store, Secret::new("sk-1"));
        let key_of_fingerprints = FingerprintKey::new(&[7; 32]);
        let windows = |credentials: &[Credential]| {
            let pools = pools(&Config::default(), credentials, &key_of_fingerprints);
            pools.into_iter().next().map(|(_, rules, _)| rules.windows)
        };
        let minute = windows(std::slice::from_ref(&account)).expect("a pool");
        let [window] = minute.as_slice() else {
            panic!("one window: {minute:?}");
        };
        assert_eq!(
            (window.requests, window.every),
            (60, Duration::from_mins(1))
        );
        assert_eq!(windows(&[account, key]), Some(Vec::new()));
    }
}
