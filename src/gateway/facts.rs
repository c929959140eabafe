//! What is known of models: the user's own word, then what models.dev and OpenRouter published
//! last (where the user lets us ask), then the built-in table.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header};
use serde::{Deserialize, Serialize};

use crate::config::catalog::{Catalog, Known};
use crate::config::models::Pattern;
use crate::gateway::catalog::write_cache;
use crate::gateway::upstream::{self, Address, Limits, Outbound, Way};
use crate::providers::catalog_data::{self, ModelFacts, Prices};
use crate::providers::catalog_online::{KnownModel, read_models_dev, read_openrouter};
use crate::time::Timestamp;

/// For each of the two tables.
const TIMEOUT: Duration = Duration::from_secs(30);

/// After a failed refresh the next one waits this long.
const RETRY_AFTER: Duration = Duration::from_mins(10);

/// models.dev's table has about 2 MiB.
const MAX_BYTES: usize = 32 << 20;

/// Where prices are from.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub enum Source {
    /// The built-in table.
    BuiltIn,
    /// `[catalog.models]`.
    Config,
    /// models.dev or OpenRouter.
    Online,
}

/// Reads one published table.
type Reader = fn(&[u8]) -> Result<Vec<KnownModel>, String>;

/// The tables in force.
#[derive(Debug, Default)]
pub struct Facts {
    own: Vec<(Pattern, Known)>,
    /// `None`: nobody is asked.
    asked: Option<Asked>,
    online: Arc<Online>,
    remembered: Mutex<Remembered>,
}

/// Models whose prices are remembered; clients may ask for any number of names.
const MAX_REMEMBERED: usize = 1024;

/// Prices that requests were charged at: the tables are long, the models in use few.
#[derive(Debug, Default)]
struct Remembered {
    /// What was fetched when they were looked up.
    fetched: Arc<Fetched>,
    /// By provider and model.
    prices: HashMap<String, HashMap<String, Option<Prices>>>,
    count: usize,
}

#[derive(Debug)]
struct Asked {
    every: Duration,
    addresses: Vec<(String, Reader)>,
}

/// What was fetched. Survives reloads.
#[derive(Debug, Default)]
struct Online {
    fetched: Mutex<Arc<Fetched>>,
    cache_file: Option<PathBuf>,
    refreshing: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Fetched {
    table: catalog_data::Facts,
    cached: Cached,
    failed: Option<Timestamp>,
}

/// The cache file: `prices.json`.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
struct Cached {
    /// Milliseconds since the epoch; 0 is never.
    fetched_ms: i64,
    models: Vec<KnownModel>,
}

impl Facts {
    /// The tables of a configuration; what was fetched before goes on.
    pub fn new(catalog: &Catalog, cache_dir: Option<&Path>, previous: Option<&Self>) -> Self {
        let addresses: [(&String, Reader); 2] = [
            // First: where both know a model, the provider's own word on OpenRouter counts.
            (&catalog.models_dev_url, read_models_dev),
            (&catalog.openrouter_url, read_openrouter),
        ];
        let asked = addresses.into_iter().filter(|(url, _)| !url.is_empty());
        Self {
            own: catalog.own(),
            asked: catalog.online.then(|| Asked {
                every: catalog.every,
                addresses: asked.map(|(url, read)| (url.clone(), read)).collect(),
            }),
            online: match previous {
                Some(previous) => Arc::clone(&previous.online),
                None => Arc::new(Online::load(cache_dir)),
            },
            remembered: Mutex::default(),
        }
    }

    /// What is known of a model as this provider serves it; later tables fill in what earlier ones
    /// leave out.
    pub fn of(&self, provider: &str, model: &str) -> Option<ModelFacts> {
        let built_in = catalog_data::facts(provider, model);
        let online = self.online_facts(provider, model);
        let mut facts = online.or(built_in);
        if let (Some(facts), Some(built_in)) = (&mut facts, built_in) {
            facts.context_window = facts.context_window.or(built_in.context_window);
            facts.max_output = facts.max_output.or(built_in.max_output);
            facts.prices = facts.prices.or(built_in.prices);
        }
        let Some(own) = self.own(provider, model) else {
            return facts;
        };
        let mut facts = facts.unwrap_or_default();
        facts.context_window = own.context.or(facts.context_window);
        facts.max_output = own.max_output.or(facts.max_output);
        facts.prices = own_prices(own, facts.prices);
        Some(facts)
    }

    /// The list prices of a model, and who says so.
    pub fn prices(&self, provider: &str, model: &str) -> Option<(Prices, Source)> {
        let prices = self.of(provider, model)?.prices?;
        let is_own = self
            .own(provider, model)
            .is_some_and(|own| own.prices().iter().any(|(_, price)| price.is_some()));
        let online = || self.online_facts(provider, model)?.prices;
        let source = if is_own {
            Source::Config
        } else if online().is_some() {
            Source::Online
        } else {
            Source::BuiltIn
        };
        Some((prices, source))
    }

    /// The list prices of a model that served a request.
    pub fn charged(&self, provider: &str, model: &str) -> Option<Prices> {
        let fetched = self.online.fetched();
        let mut remembered = lock(&self.remembered);
        if remembered.count >= MAX_REMEMBERED || !Arc::ptr_eq(&remembered.fetched, &fetched) {
            *remembered = Remembered {
                fetched,
                ..Remembered::default()
            };
        }
        let of_provider = remembered.prices.get(provider);
        if let Some(prices) = of_provider.and_then(|models| models.get(model)) {
            return *prices;
        }
        let prices = self.prices(provider, model).map(|(prices, _)| prices);
        remembered.count += 1;
        let models = remembered.prices.entry(provider.to_owned()).or_default();
        models.insert(model.to_owned(), prices);
        prices
    }

    /// When the published tables were fetched last; `None` if nobody is asked or nobody answered.
    pub fn fetched(&self) -> Option<Timestamp> {
        self.asked.as_ref()?;
        let fetched_ms = self.online.fetched().cached.fetched_ms;
        (fetched_ms > 0).then(|| Timestamp::from_millis(fetched_ms))
    }

    /// `true` if the published tables are asked for.
    pub const fn is_online(&self) -> bool {
        self.asked.is_some()
    }

    /// Fetches the published tables if they are old (or `force`) and the user lets us. What one of
    /// them does not answer is kept from before. Each error is a sentence.
    pub async fn refresh(&self, force: bool) -> Result<(), Vec<String>> {
        let Some(asked) = &self.asked else {
            return Ok(());
        };
        let _one = self.online.refreshing.lock().await;
        let known = self.online.fetched();
        if !force && known.is_fresh(asked.every, Timestamp::now()) {
            return Ok(());
        }
        let fetches = asked.addresses.iter().map(|(url, read)| async move {
            let body = fetch(url).await?;
            read(&body).map_err(|reason| format!("{url} answered with no table: {reason}"))
        });
        let mut cached = Cached::default();
        let mut errors = Vec::new();
        for fetched in futures_util::future::join_all(fetches).await {
            match fetched {
                Ok(models) => cached.models.extend(models),
                Err(error) => errors.push(error),
            }
        }
        let now = Timestamp::now();
        cached.fetched_ms = if errors.is_empty() {
            now.as_millis()
        } else {
            known.cached.fetched_ms
        };
        if !errors.is_empty() {
            // Nothing that was known is lost to a table that could not be had.
            let of_openrouter = |known: &KnownModel| known.provider == "openrouter";
            let again: Vec<KnownModel> = known
                .cached
                .models
                .iter()
                .filter(|old| {
                    let mut have = cached.models.iter();
                    !have.any(|new| of_openrouter(new) == of_openrouter(old))
                })
                .cloned()
                .collect();
            cached.models.extend(again);
        }
        self.online
            .store(cached, (!errors.is_empty()).then_some(now));
        if errors.is_empty() {
            return Ok(());
        }
        for error in &errors {
            tracing::debug!("cannot refresh prices: {error}");
        }
        Err(errors)
    }

    fn own(&self, provider: &str, model: &str) -> Option<&Known> {
        self.own
            .iter()
            .find(|(pattern, _)| pattern.matches_model(provider, model))
            .map(|(_, known)| known)
    }

    fn online_facts(&self, provider: &str, model: &str) -> Option<ModelFacts> {
        self.asked.as_ref()?;
        self.online.fetched().table.find(provider, model)
    }
}

/// Prices of the user's, with those of the tables for what the user left out. One alone is enough
/// where the other is known; of input and output neither is made up.
fn own_prices(own: &Known, known: Option<Prices>) -> Option<Prices> {
    Some(Prices {
        input: own.input.or(known.map(|known| known.input))?,
        cached: own.cached.or(known.and_then(|known| known.cached)),
        cache_write: own
            .cache_write
            .or(known.and_then(|known| known.cache_write)),
        output: own.output.or(known.map(|known| known.output))?,
    })
}

impl Online {
    /// Loads what an earlier run cached; a missing or damaged file is simply no cache.
    fn load(cache_dir: Option<&Path>) -> Self {
        let cache_file = cache_dir.map(|dir| dir.join("prices.json"));
        let cached: Cached = cache_file
            .as_ref()
            .and_then(|file| std::fs::read(file).ok())
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default();
        Self {
            fetched: Mutex::new(Arc::new(Fetched::new(cached, None))),
            cache_file,
            refreshing: tokio::sync::Mutex::default(),
        }
    }

    fn fetched(&self) -> Arc<Fetched> {
        Arc::clone(&lock(&self.fetched))
    }

    fn store(&self, cached: Cached, failed: Option<Timestamp>) {
        if let Some(file) = &self.cache_file
            && let Err(error) = write_cache(file, &cached)
        {
            tracing::debug!("cannot cache prices at {}: {error}", file.display());
        }
        let fetched = Arc::new(Fetched::new(cached, failed));
        *lock(&self.fetched) = fetched;
    }
}

impl Fetched {
    fn new(cached: Cached, failed: Option<Timestamp>) -> Self {
        let table = catalog_data::Facts::of(cached.models.iter().map(|known| {
            let KnownModel {
                provider,
                model,
                facts,
            } = known.clone();
            (Cow::Owned(provider), Cow::Owned(model), facts)
        }));
        Self {
            table,
            cached,
            failed,
        }
    }

    fn is_fresh(&self, every: Duration, now: Timestamp) -> bool {
        let within = |since: Timestamp, span: Duration| since <= now && now.since(since) < span;
        let fetched = Timestamp::from_millis(self.cached.fetched_ms);
        self.failed
            .is_some_and(|failed| within(failed, RETRY_AFTER))
            || self.cached.fetched_ms > 0 && within(fetched, every)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn fetch(address: &str) -> Result<Bytes, String> {
    let wrong = |error: &dyn std::fmt::Display| format!("{address}: {error}");
    let client = upstream::client(Way::Environment, TIMEOUT).map_err(|error| wrong(&error))?;
    let mut headers = HeaderMap::new();
    headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    let identity = HeaderValue::from_static("identity");
    headers.insert(header::ACCEPT_ENCODING, identity);
    let outbound = Outbound {
        method: Method::GET,
        url: Address::parse(address).map_err(|error| wrong(&error))?,
        headers,
        body: Bytes::new(),
    };
    let limits = Limits {
        first_byte: TIMEOUT,
        idle: TIMEOUT,
        total: TIMEOUT,
    };
    let reply = upstream::send(&client, outbound, limits).await;
    let mut reply = reply.map_err(|error| wrong(&error))?;
    if !reply.status.is_success() {
        return Err(format!("{address} answered HTTP {}", reply.status.as_u16()));
    }
    reply
        .body
        .read_all(MAX_BYTES)
        .await
        .map_err(|error| wrong(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(config: &str) -> Facts {
        let catalog: Catalog = toml::from_str(config).expect("a catalogue");
        Facts::new(&catalog, None, None)
    }

    fn input(facts: &Facts, provider: &str, model: &str) -> Option<(f64, Source)> {
        facts
            .prices(provider, model)
            .map(|(prices, source)| (prices.input, source))
    }

    #[test]
    fn the_users_word_wins_and_the_table_fills_in() {
        let facts = facts(
            "models = { \"openai/gpt-4o\" = { input = 1, context = 7 }, \"my_vllm/*\" = { input = 0.5, output = 0.5 } }",
        );
        assert_eq!(
            input(&facts, "openai", "gpt-4o"),
            Some((1.0, Source::Config))
        );
        let known = facts.of("openai", "gpt-4o").expect("known");
        assert_eq!(known.context_window, Some(7));
        assert_eq!(known.prices.map(|prices| prices.output), Some(10.0));
        assert!(known.capabilities.tools);
        assert_eq!(input(&facts, "my_vllm", "x"), Some((0.5, Source::Config)));
        assert_eq!(
            input(&facts, "openai", "gpt-4o-mini"),
            Some((0.15, Source::BuiltIn))
        );
    }

    #[test]
    fn half_a_price_is_none() {
        let facts = facts("models = { \"my_vllm/x\" = { input = 1 } }");
        assert_eq!(input(&facts, "my_vllm", "x"), None);
    }

    #[test]
    fn fetched_tables_count_only_while_the_user_lets_us_ask() {
        let known = KnownModel {
            provider: "openai".to_owned(),
            model: "gpt-4o".to_owned(),
            facts: ModelFacts {
                prices: Some(Prices {
                    input: 9.0,
                    cached: None,
                    cache_write: None,
                    output: 9.0,
                }),
                ..ModelFacts::default()
            },
        };
        let online = facts("online = true");
        let cached = Cached {
            fetched_ms: 1,
            models: vec![known],
        };
        online.online.store(cached, None);
        assert_eq!(
            input(&online, "openai", "gpt-4o"),
            Some((9.0, Source::Online))
        );
        // What it does not say is the built-in table's.
        let window = online
            .of("openai", "gpt-4o")
            .and_then(|facts| facts.context_window);
        assert_eq!(window, Some(128_000));
        let offline = Facts::new(&Catalog::default(), None, Some(&online));
        assert_eq!(
            input(&offline, "openai", "gpt-4o"),
            Some((2.5, Source::BuiltIn))
        );
    }
}
