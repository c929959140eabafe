//! Reads what models.dev and OpenRouter publish of models: windows, abilities, prices.
//!
//! Shapes as in models.dev's `api.json` (US dollars a million tokens) and in OpenRouter's
//! `GET /api/v1/models` (US dollars a token, as text); both read 2026-11-22.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::providers::catalog_data::{Capabilities, ModelFacts, Prices};
use crate::providers::find;

/// A price beyond this (US dollars a million tokens) is no price but a mistake.
const MAX_PRICE: f64 = 10_000.0;

/// The facts of one model as one provider serves it.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
pub struct KnownModel {
    /// Our id of the provider.
    pub provider: String,
    pub model: String,
    pub facts: ModelFacts,
}

/// Reads models.dev's `api.json`. Providers that are not built in are left out; the error is a
/// sentence.
pub fn read_models_dev(body: &[u8]) -> Result<Vec<KnownModel>, String> {
    let table: Map<String, Value> = serde_json::from_slice(body)
        .map_err(|error| format!("it is not a JSON object ({error})"))?;
    let mut models = Vec::new();
    for (name, listed) in &table {
        let Some(provider) = provider_of(name) else {
            continue;
        };
        let Some(listed) = listed.get("models").and_then(Value::as_object) else {
            continue;
        };
        models.extend(listed.iter().map(|(model, entry)| KnownModel {
            provider: provider.to_owned(),
            model: model.clone(),
            facts: of_models_dev(entry),
        }));
    }
    if models.is_empty() {
        return Err("it names no model of a provider that is known here".to_owned());
    }
    Ok(models)
}

/// Reads OpenRouter's model list; the error is a sentence.
pub fn read_openrouter(body: &[u8]) -> Result<Vec<KnownModel>, String> {
    let list: Value =
        serde_json::from_slice(body).map_err(|error| format!("it is not JSON ({error})"))?;
    let items = list.get("data").and_then(Value::as_array);
    let items = items.ok_or("it holds no list of models")?;
    let named = items.iter().filter_map(|item| {
        Some(KnownModel {
            provider: "openrouter".to_owned(),
            model: item.get("id")?.as_str()?.to_owned(),
            facts: of_openrouter(item),
        })
    });
    let models: Vec<KnownModel> = named.collect();
    if models.is_empty() {
        return Err("the list of models is empty".to_owned());
    }
    Ok(models)
}

/// Our id of a provider of models.dev, which mostly writes ours with dashes.
fn provider_of(name: &str) -> Option<&'static str> {
    let ours = match name {
        "alibaba" => "dashscope",
        "fireworks-ai" => "fireworks",
        "github-models" => "github",
        "google" => "gemini",
        "moonshotai" => "moonshot",
        "nvidia" => "nvidia_nim",
        "togetherai" => "together",
        "cloudflare-workers-ai" => "cloudflare",
        other => {
            return find(other)
                .or_else(|| find(&other.replace('-', "_")))
                .map(|known| known.spec().id);
        }
    };
    Some(ours)
}

fn of_models_dev(entry: &Value) -> ModelFacts {
    let is = |name: &str| entry.get(name) == Some(&Value::Bool(true));
    let takes = |kind: &str| has(entry.pointer("/modalities/input"), kind);
    let price = |name: &str| {
        entry
            .get("cost")?
            .get(name)?
            .as_f64()
            .filter(|price| is_price(*price))
    };
    ModelFacts {
        context_window: positive(entry.pointer("/limit/context")),
        max_output: positive(entry.pointer("/limit/output")),
        capabilities: Capabilities {
            audio: takes("audio"),
            embeddings: false,
            pdf: takes("pdf"),
            prompt_caching: price("cache_read").is_some(),
            reasoning: is("reasoning"),
            structured_output: is("structured_output"),
            tools: is("tool_call"),
            vision: takes("image"),
        },
        prices: price("input")
            .zip(price("output"))
            .map(|(input, output)| Prices {
                input,
                cached: price("cache_read"),
                cache_write: price("cache_write"),
                output,
            }),
    }
}

fn of_openrouter(item: &Value) -> ModelFacts {
    let takes = |kind: &str| has(item.pointer("/architecture/input_modalities"), kind);
    let knows = |name: &str| has(item.get("supported_parameters"), name);
    let price = |name: &str| {
        let price = item.get("pricing")?.get(name)?;
        let dollars = price
            .as_str()
            .and_then(|text| text.parse().ok())
            .or_else(|| price.as_f64())?;
        Some(dollars * 1e6).filter(|price| is_price(*price))
    };
    ModelFacts {
        context_window: positive(item.get("context_length")),
        max_output: positive(item.pointer("/top_provider/max_completion_tokens")),
        capabilities: Capabilities {
            audio: takes("audio"),
            embeddings: has(
                item.pointer("/architecture/output_modalities"),
                "embeddings",
            ),
            pdf: takes("file"),
            prompt_caching: price("input_cache_read").is_some(),
            reasoning: knows("reasoning"),
            structured_output: knows("structured_outputs"),
            tools: knows("tools"),
            vision: takes("image"),
        },
        prices: price("prompt")
            .zip(price("completion"))
            .map(|(input, output)| Prices {
                input,
                cached: price("input_cache_read"),
                cache_write: price("input_cache_write"),
                output,
            }),
    }
}

/// OpenRouter's routers have a price of -1: what they cost is decided later.
fn is_price(price: f64) -> bool {
    (0.0..=MAX_PRICE).contains(&price)
}

fn positive(value: Option<&Value>) -> Option<u64> {
    value?.as_u64().filter(|number| *number > 0)
}

fn has(list: Option<&Value>, word: &str) -> bool {
    let items = list.and_then(Value::as_array);
    items.is_some_and(|items| items.iter().any(|item| item == word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_dev_is_read_by_our_ids() {
        let body = br#"{
            "google": {"id": "google", "models": {"gemini-9-pro": {"id": "gemini-9-pro",
                "reasoning": true, "tool_call": true, "modalities": {"input": ["text", "image", "pdf"]},
                "cost": {"input": 1.25, "output": 10, "cache_read": 0.31},
                "limit": {"context": 1048576, "output": 65536}}}},
            "fireworks-ai": {"models": {"accounts/fireworks/models/x": {"limit": {"context": 0}}}},
            "somebody-else": {"models": {"y": {"cost": {"input": 1, "output": 1}}}}
        }"#;
        let models = read_models_dev(body).expect("a table");
        let names: Vec<_> = models
            .iter()
            .map(|known| (known.provider.as_str(), known.model.as_str()))
            .collect();
        assert_eq!(
            names,
            [
                ("fireworks", "accounts/fireworks/models/x"),
                ("gemini", "gemini-9-pro")
            ]
        );
        assert_eq!(models[0].facts, ModelFacts::default());
        let facts = models[1].facts;
        assert_eq!(
            (facts.context_window, facts.max_output),
            (Some(1_048_576), Some(65_536))
        );
        assert_eq!(
            facts
                .prices
                .map(|prices| (prices.input, prices.output, prices.cached)),
            Some((1.25, 10.0, Some(0.31)))
        );
        assert!(
            facts.capabilities.vision && facts.capabilities.pdf && facts.capabilities.reasoning
        );
    }

    #[test]
    fn openrouters_prices_are_a_token_each_and_a_router_has_none() {
        let body = br#"{"data": [
            {"id": "openai/gpt-9", "context_length": 400000, "pricing": {"prompt": "0.0000025",
                "completion": "0.00001", "input_cache_read": "0.00000025"},
                "top_provider": {"max_completion_tokens": 128000},
                "architecture": {"input_modalities": ["text", "image"]},
                "supported_parameters": ["tools", "structured_outputs"]},
            {"id": "openrouter/auto", "pricing": {"prompt": "-1", "completion": "-1"}},
            {"name": "no id"}
        ]}"#;
        let models = read_openrouter(body).expect("a list");
        assert_eq!(models.len(), 2);
        let prices = models[0].facts.prices.expect("prices");
        assert!((prices.input - 2.5).abs() < 1e-9 && (prices.output - 10.0).abs() < 1e-9);
        assert!(models[0].facts.capabilities.tools && !models[0].facts.capabilities.reasoning);
        assert_eq!(models[1].facts.prices, None);
    }

    #[test]
    fn what_is_no_table_is_said_in_a_sentence() {
        for body in [
            "",
            "<html>",
            "[]",
            "{}",
            r#"{"openai":7}"#,
            r#"{"data":{}}"#,
            r#"{"data":[]}"#,
        ] {
            assert!(read_models_dev(body.as_bytes()).is_err(), "{body}");
            assert!(read_openrouter(body.as_bytes()).is_err(), "{body}");
        }
    }
}
