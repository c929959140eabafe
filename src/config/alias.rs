//! `[models.NAME]`: a name of the user's own for one or more models.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::config::text;
use crate::ids::ProviderId;

/// `[models.NAME]`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Alias {
    /// What the name stands for, first choice first.
    pub targets: Vec<Target>,
    /// Which target a request goes to.
    #[serde(default)]
    pub strategy: Strategy,
}

/// How a request picks among an alias's targets.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// By weighted chance, so that load spreads.
    Balanced,
    /// The one that answers soonest of late.
    Fastest,
    /// In the order written.
    #[default]
    Ordered,
}

/// What an alias stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Another alias.
    Alias(String),
    /// A model of a provider.
    Model {
        /// The part before the first slash.
        provider: ProviderId,
        /// The rest, slashes included.
        model: String,
    },
}

impl Target {
    /// Reads `provider/model`, or the name of another alias.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        match text.split_once('/') {
            None if text.is_empty() => Err("a target cannot be empty".to_owned()),
            None => Ok(Self::Alias(text.to_owned())),
            Some((_, "")) => Err(format!(
                "`{text}` names no model (write \"provider/model\")"
            )),
            Some((provider, model)) => Ok(Self::Model {
                provider: ProviderId::parse(provider).map_err(|error| error.to_string())?,
                model: model.to_owned(),
            }),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Alias(name) => f.write_str(name),
            Self::Model { provider, model } => write!(f, "{provider}/{model}"),
        }
    }
}

impl<'de> Deserialize<'de> for Target {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text::parsed(deserializer, "a target \"provider/model\"", Self::parse)
    }
}

impl Serialize for Target {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_split_at_its_first_slash() {
        let target = Target::parse("openrouter/anthropic/claude-opus-4.5").expect("a target");
        let Target::Model { provider, model } = &target else {
            panic!("{target:?} is no model");
        };
        assert_eq!(
            (provider.as_str(), model.as_str()),
            ("openrouter", "anthropic/claude-opus-4.5")
        );
        assert_eq!(target.to_string(), "openrouter/anthropic/claude-opus-4.5");
    }

    #[test]
    fn malformed_targets_are_refused() {
        for text in ["", "  ", "gemini/", "/model", "Gem ini/x"] {
            assert!(Target::parse(text).is_err(), "{text}");
        }
    }
}
