//! `config.toml`, `.env` files and the environment, read into one typed [`Config`].
//!
//! [`Config`] mirrors the file: one struct a section, every value parsed once (durations, sizes,
//! secrets, patterns). Sections whose feature is not built yet parse all the same. Nothing here
//! reads the process environment, the clock or the network: callers pass in what was read.

pub mod alias;
pub mod catalog;
mod check;
mod document;
pub mod dotenv;
pub mod duration;
pub mod edit;
pub mod env;
pub mod error;
pub mod example;
pub mod exposure;
mod json;
pub mod keys;
pub mod limits;
pub mod load;
mod mask;
pub mod model_facts;
pub mod models;
pub mod origin;
pub mod paths;
pub mod provider;
pub mod routing;
pub mod schema;
pub mod secret_ref;
pub mod server;
pub mod show;
pub mod size;
pub mod storage;
mod text;
pub mod variables;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::config::alias::{Alias, Target};
use crate::config::catalog::Catalog;
use crate::config::model_facts::ModelFacts;
use crate::config::provider::Provider;
use crate::config::routing::{Cooldown, Routing, Timeouts};
use crate::config::server::Server;
use crate::config::storage::{Log, State};
use crate::ids::ProviderId;

/// Everything that can be configured. `Config::default()` is what an empty file means.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// `[server]`: where to listen, and whom to let in.
    pub server: Server,
    /// `[routing]`: attempts, waits and the user's own error rules.
    pub routing: Routing,
    /// `[cooldown]`: how long a failing credential rests.
    pub cooldown: Cooldown,
    /// `[timeouts]`: bounds on one upstream call.
    pub timeouts: Timeouts,
    /// `[state]`: where counts and cooldowns are kept.
    pub state: State,
    /// `[log]`: request logs.
    pub log: Log,
    /// `[providers.NAME]`; providers that need no settings need no entry.
    #[serde(with = "provider::by_id")]
    pub providers: BTreeMap<ProviderId, Provider>,
    /// `[models.NAME]`: names of the user's own.
    pub models: BTreeMap<String, Alias>,
    /// `[[model_facts]]`: what models take and refuse, over the built-in table.
    pub model_facts: Vec<ModelFacts>,
    /// `[catalog]`: windows and prices of models.
    pub catalog: Catalog,
    /// `[chat]`: defaults of `llmproxy chat`.
    pub chat: Chat,
}

/// `[chat]`.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Chat {
    /// The model of `llmproxy chat` without `-m`.
    pub model: Option<String>,
}

impl Config {
    /// The concrete targets of an alias in the order to try them; aliases among the targets are
    /// opened up. `None` for a name that is no alias.
    pub fn targets(&self, name: &str) -> Option<Vec<(ProviderId, String)>> {
        let mut found = Vec::new();
        self.collect_targets(self.models.get(name)?, &mut found, 0);
        Some(found)
    }

    fn collect_targets(&self, alias: &Alias, found: &mut Vec<(ProviderId, String)>, depth: usize) {
        // Loading refuses cycles; the bound holds for configs built by hand.
        if depth > self.models.len() {
            return;
        }
        for target in &alias.targets {
            match target {
                Target::Alias(name) => {
                    if let Some(inner) = self.models.get(name) {
                        self.collect_targets(inner, found, depth + 1);
                    }
                }
                Target::Model { provider, model } => {
                    let pair = (provider.clone(), model.clone());
                    if !found.contains(&pair) {
                        found.push(pair);
                    }
                }
            }
        }
    }
}
