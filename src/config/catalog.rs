//! `[catalog]`: what is known of models beside what their providers say (windows, prices).

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::duration;
use crate::config::models::Pattern;

/// `[catalog]`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Catalog {
    /// Refresh windows, abilities and prices from models.dev and OpenRouter; without it the
    /// built-in table stands and nobody is asked.
    pub online: bool,
    /// How often.
    #[serde(with = "duration")]
    pub every: Duration,
    /// Where models.dev's table is; empty: not asked.
    pub models_dev_url: String,
    /// Where OpenRouter's model list is; empty: not asked.
    pub openrouter_url: String,
    /// `[catalog.models."provider/model"]`, wildcards allowed: they win over every table.
    pub models: BTreeMap<String, Known>,
}

impl Default for Catalog {
    fn default() -> Self {
        Self {
            online: false,
            every: Duration::from_hours(6),
            models_dev_url: "https://models.dev/api.json".to_owned(),
            openrouter_url: "https://openrouter.ai/api/v1/models".to_owned(),
            models: BTreeMap::new(),
        }
    }
}

/// What the user knows of a model. Prices are US dollars a million tokens.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct Known {
    /// The most tokens a request may hold.
    pub context: Option<u64>,
    /// The most tokens an answer may hold.
    pub max_output: Option<u64>,
    /// Of input.
    pub input: Option<f64>,
    /// Of input read from the provider's cache; unset: as other input.
    pub cached: Option<f64>,
    /// Of input written to the provider's cache; unset: as other input.
    pub cache_write: Option<f64>,
    /// Of output.
    pub output: Option<f64>,
}

impl Known {
    /// The prices it names, with their keys.
    pub fn prices(&self) -> [(&'static str, Option<f64>); 4] {
        [
            ("input", self.input),
            ("cached", self.cached),
            ("cache_write", self.cache_write),
            ("output", self.output),
        ]
    }
}

impl Catalog {
    /// The user's words on models, the most exact pattern first: names before wildcards, longer
    /// before shorter.
    pub fn own(&self) -> Vec<(Pattern, Known)> {
        let mut own: Vec<(Pattern, Known)> = self
            .models
            .iter()
            .map(|(name, known)| (Pattern::new(name), *known))
            .collect();
        own.sort_by_key(|(pattern, _)| {
            let text = pattern.as_str();
            (text.contains(['*', '?']), usize::MAX - text.len())
        });
        own
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_before_wildcards_and_longer_before_shorter() {
        let catalog: Catalog = toml::from_str(
            "models = { \"*\" = {}, \"openai/*\" = { input = 1 }, \"openai/gpt-4o\" = { output = 2.5 } }",
        )
        .expect("a catalogue");
        let own = catalog.own();
        let order: Vec<_> = own.iter().map(|(pattern, _)| pattern.as_str()).collect();
        assert_eq!(order, ["openai/gpt-4o", "openai/*", "*"]);
        assert_eq!(own[1].1.input, Some(1.0));
    }
}
