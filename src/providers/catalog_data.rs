//! What is known of models without asking anybody: windows, abilities, prices.
//!
//! The table is data with a date ([`AS_OF`]) in `catalog_data.tsv`; what it does not know is `None`,
//! never a guess. Prices in config win over it.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

/// When the table was read.
pub const AS_OF: &str = "2026-11-22";

/// Where it was read.
pub const SOURCE: &str = "https://pypi.org/project/litellm/1.106.2/";

/// One model a line; the format is in its head.
const TABLE: &str = include_str!("catalog_data.tsv");

/// The built-in table.
static BUILT_IN: LazyLock<Facts> = LazyLock::new(|| {
    Facts::of(
        TABLE
            .lines()
            .filter_map(row)
            .map(|(provider, model, facts)| (Cow::Borrowed(provider), Cow::Borrowed(model), facts)),
    )
});

/// What is known of a model.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(default)]
pub struct ModelFacts {
    /// The most tokens a request may hold.
    pub context_window: Option<u64>,
    /// The most tokens an answer may hold.
    pub max_output: Option<u64>,
    /// What it can do.
    pub capabilities: Capabilities,
    /// What it costs, with this provider.
    pub prices: Option<Prices>,
}

/// US dollars a million tokens.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq)]
pub struct Prices {
    pub input: f64,
    /// Input read from the provider's cache; `None`: costs what other input does.
    pub cached: Option<f64>,
    /// Input written to the provider's cache; `None`: costs what other input does.
    pub cache_write: Option<f64>,
    pub output: f64,
}

/// What a model can do. `false` may also mean that it is not known.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, Hash, PartialEq, Eq)]
#[serde(default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent abilities, each a field of the enriched model list"
)]
pub struct Capabilities {
    /// Takes audio.
    pub audio: bool,
    /// Gives vectors, not answers.
    pub embeddings: bool,
    /// Takes PDF files.
    pub pdf: bool,
    /// Caches prompts.
    pub prompt_caching: bool,
    /// Thinks before it answers.
    pub reasoning: bool,
    /// Answers by a JSON schema.
    pub structured_output: bool,
    /// Calls tools.
    pub tools: bool,
    /// Takes images.
    pub vision: bool,
}

/// Facts of many models, by provider.
#[derive(Debug, Default)]
pub struct Facts {
    by_provider: HashMap<Cow<'static, str>, Vec<(Cow<'static, str>, ModelFacts)>>,
}

impl Facts {
    /// A table of (provider, model, facts).
    pub fn of(
        rows: impl Iterator<Item = (Cow<'static, str>, Cow<'static, str>, ModelFacts)>,
    ) -> Self {
        let mut table = Self::default();
        for (provider, model, facts) in rows {
            let of_provider = table.by_provider.entry(provider).or_default();
            of_provider.push((model, facts));
        }
        table
    }

    /// The facts of `model` as `provider` serves it. `model` may carry its maker (`openai/gpt-4o`)
    /// and a date or `-latest` at its end. With a provider that only passes it on, prices are left
    /// out: they are the provider's own.
    pub fn find(&self, provider: &str, model: &str) -> Option<ModelFacts> {
        if let Some(facts) = self.longest(provider, model) {
            return Some(facts);
        }
        let (maker, name) = model.rsplit_once('/').unwrap_or(("", model));
        let name = name.split_once(':').map_or(name, |(name, _)| name);
        let facts = match maker_of(maker) {
            Some(maker) => self.longest(maker, name),
            None => MAKERS.iter().find_map(|maker| self.longest(maker, name)),
        };
        facts.map(|facts| ModelFacts {
            prices: None,
            ..facts
        })
    }

    /// The row whose model is the longest beginning of this name, with nothing but a version after
    /// it.
    fn longest(&self, provider: &str, model: &str) -> Option<ModelFacts> {
        let rows = self.by_provider.get(provider)?;
        rows.iter()
            .filter(|(known, _)| model.strip_prefix(known.as_ref()).is_some_and(is_version))
            .max_by_key(|(known, _)| known.len())
            .map(|(_, facts)| *facts)
    }
}

/// [`Facts::find`] in the built-in table.
pub fn facts(provider: &str, model: &str) -> Option<ModelFacts> {
    BUILT_IN.find(provider, model)
}

/// `""`, `-2024-08-06`, `-latest`, `-preview-0925`: the same model. `-mini` is another one.
fn is_version(suffix: &str) -> bool {
    suffix.is_empty()
        || suffix.starts_with('-')
            && suffix.split('-').skip(1).all(|part| {
                matches!(part, "exp" | "experimental" | "latest" | "preview")
                    || !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit())
            })
}

/// The provider of this table that makes the models a marketplace lists under this name.
fn maker_of(name: &str) -> Option<&'static str> {
    Some(match name.rsplit('/').next()? {
        "anthropic" => "anthropic",
        "cohere" | "CohereLabs" => "cohere",
        "deepseek" | "deepseek-ai" => "deepseek",
        "google" => "gemini",
        "minimax" | "MiniMaxAI" => "minimax",
        "mistral" | "mistralai" => "mistral",
        "moonshotai" => "moonshot",
        "openai" => "openai",
        "alibaba" | "qwen" | "Qwen" => "dashscope",
        "x-ai" | "xai" => "xai",
        "z-ai" | "zai" | "zai-org" => "zai",
        _ => return None,
    })
}

/// Providers whose models others pass on under their bare names.
const MAKERS: [&str; 11] = [
    "openai",
    "anthropic",
    "gemini",
    "deepseek",
    "mistral",
    "xai",
    "moonshot",
    "zai",
    "dashscope",
    "minimax",
    "cohere",
];

/// One line of the table; `None` for comments.
fn row(line: &'static str) -> Option<(&'static str, &'static str, ModelFacts)> {
    if line.starts_with('#') {
        return None;
    }
    let mut cells = line.split('\t');
    let (provider, model) = (cells.next()?, cells.next()?);
    let context_window = cells.next()?.parse().ok();
    let max_output = cells.next()?.parse().ok();
    let mut price = || -> Option<Option<f64>> { Some(cells.next()?.parse().ok()) };
    let (input, cached, cache_write, output) = (price()?, price()?, price()?, price()?);
    let letters = cells.next()?;
    let can = |letter: char| letters.contains(letter);
    Some((
        provider,
        model,
        ModelFacts {
            context_window,
            max_output,
            capabilities: Capabilities {
                audio: can('a'),
                embeddings: can('e'),
                pdf: can('p'),
                prompt_caching: can('c'),
                reasoning: can('r'),
                structured_output: can('s'),
                tools: can('t'),
                vision: can('v'),
            },
            prices: input.map(|input| Prices {
                input,
                cached,
                cache_write,
                // Embeddings have no output.
                output: output.unwrap_or(0.0),
            }),
        },
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::providers::find;

    fn rows() -> impl Iterator<Item = (&'static str, &'static str, ModelFacts)> {
        TABLE.lines().filter_map(row)
    }

    #[test]
    fn every_line_is_read_and_belongs_to_a_provider() {
        let lines = TABLE.lines().filter(|line| !line.starts_with('#')).count();
        assert_eq!(rows().count(), lines);
        for (provider, model, facts) in rows() {
            assert!(find(provider).is_some(), "{provider}");
            assert!(facts != ModelFacts::default(), "{model}");
        }
    }

    #[test]
    fn prices_are_plausible() {
        for (_, model, facts) in rows() {
            let Some(prices) = facts.prices else {
                continue;
            };
            let (input, output) = (prices.input, prices.output);
            assert!(input > 0.0 && input <= 150.0 && output <= 600.0, "{model}");
            assert!(facts.capabilities.embeddings || output >= input, "{model}");
            assert!(prices.cached.is_none_or(|cached| cached < input), "{model}");
        }
    }

    #[test]
    fn the_longest_name_counts_and_a_variant_is_another_model() {
        let input = |provider, model| facts(provider, model)?.prices.map(|prices| prices.input);
        assert_eq!(input("openai", "gpt-4o"), Some(2.5));
        assert_eq!(input("openai", "gpt-4o-2024-08-06"), Some(2.5));
        assert_eq!(input("openai", "gpt-4o-mini-2024-07-18"), Some(0.15));
        assert_eq!(input("anthropic", "claude-opus-4-5-20251101"), Some(5.0));
        assert_eq!(facts("openai", "gpt-4o-audio-preview"), None);
        assert_eq!(facts("openai", "gpt-4omg"), None);
        assert_eq!(facts("openai", ""), None);
    }

    #[test]
    fn who_passes_a_model_on_has_prices_of_its_own() {
        let facts = |provider, model| facts(provider, model).expect("a known model");
        let resold = facts("openrouter", "openai/gpt-4o:free");
        assert_eq!(resold.context_window, Some(128_000));
        assert_eq!(resold.prices, None);
        assert_eq!(facts("antigravity", "claude-opus-4-5").prices, None);
        assert!(
            facts("groq", "openai/gpt-oss-120b").prices.is_some(),
            "Groq's own row"
        );
    }
}
