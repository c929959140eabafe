//! Model cards with what is known of each model: window, abilities, prices
//! (`GET /v1/models?enriched=true`).
//!
//! Field names are those of OpenRouter's list and of LiteLLM's price table, as
//! `LLM-API-Key-Proxy` gives them (read 2026-11-22). What is not known is left out.

use serde_json::{Value, json};

use crate::dialects::model_list::ListedEntry;
use crate::gateway::cost::a_token;
use crate::gateway::snapshot::Snapshot;
use crate::providers::catalog_data::{Capabilities, ModelFacts, Prices};

/// Adds what is known to an entry. What the provider itself said of a limit wins over the table; a
/// name of the user's own is described by its first target.
pub fn enrich(snapshot: &Snapshot, entry: &mut ListedEntry) {
    if !snapshot.aliases.contains_key(&entry.id) && !entry.id.contains('/') {
        return;
    }
    let Some(facts) = facts(snapshot, &entry.id) else {
        write(entry, &ModelFacts::default());
        return;
    };
    entry.input_limit = entry.input_limit.or(facts.context_window);
    entry.output_limit = entry.output_limit.or(facts.max_output);
    entry.embeds |= facts.capabilities.embeddings;
    write(entry, &facts);
}

/// What is known of a model by the name it is asked for by: `provider/model`, or one of the config's
/// own, which is as its first target is.
pub fn facts(snapshot: &Snapshot, name: &str) -> Option<ModelFacts> {
    let (provider, model) = match snapshot.aliases.get(name) {
        Some(alias) => {
            let (provider, model) = alias.targets.first()?;
            (provider.as_str(), model.as_str())
        }
        None => name.split_once('/')?,
    };
    let model = match snapshot.providers.get(provider) {
        Some(runtime) => runtime.upstream_name(model),
        None => model.to_owned(),
    };
    snapshot.facts.of(provider, &model)
}

fn write(entry: &mut ListedEntry, facts: &ModelFacts) {
    let (window, output) = (entry.input_limit, entry.output_limit);
    let mut members: Vec<(&str, Value)> = Vec::new();
    let mut put = |name, value: Option<Value>| members.extend(value.map(|value| (name, value)));
    put("name", entry.display_name.as_ref().map(|name| json!(name)));
    for name in ["context_length", "context_window", "max_input_tokens"] {
        put(name, window.map(Value::from));
    }
    for name in ["max_completion_tokens", "max_output_tokens"] {
        put(name, output.map(Value::from));
    }
    if *facts != ModelFacts::default() {
        let abilities = facts.capabilities;
        let (input, output) = modalities(abilities);
        put(
            "architecture",
            Some(json!({"input_modalities": input, "output_modalities": output})),
        );
        put("supported_modalities", Some(json!(input)));
        put("supported_output_modalities", Some(json!(output)));
        put("capabilities", Some(capabilities(abilities)));
        let mode = if abilities.embeddings {
            "embedding"
        } else {
            "chat"
        };
        put("mode", Some(json!(mode)));
    }
    if let Some(prices) = &facts.prices {
        put("pricing", Some(pricing(prices)));
        put("input_cost_per_token", Some(json!(a_token(prices.input))));
        put("output_cost_per_token", Some(json!(a_token(prices.output))));
        put(
            "cache_read_input_token_cost",
            prices.cached.map(|price| json!(a_token(price))),
        );
        put(
            "cache_creation_input_token_cost",
            prices.cache_write.map(|price| json!(a_token(price))),
        );
    }
    let members = members.into_iter().filter_map(|(name, value)| {
        let raw = serde_json::value::to_raw_value(&value).ok()?;
        Some((name.to_owned(), raw))
    });
    entry.more.0.extend(members);
}

fn modalities(abilities: Capabilities) -> (Vec<&'static str>, Vec<&'static str>) {
    let mut input = vec!["text"];
    for (has, name) in [
        (abilities.vision, "image"),
        (abilities.audio, "audio"),
        (abilities.pdf, "file"),
    ] {
        if has {
            input.push(name);
        }
    }
    let output = if abilities.embeddings {
        "embeddings"
    } else {
        "text"
    };
    (input, vec![output])
}

fn capabilities(abilities: Capabilities) -> Value {
    json!({
        "tool_choice": abilities.tools,
        "function_calling": abilities.tools,
        "reasoning": abilities.reasoning,
        "vision": abilities.vision,
        "prompt_caching": abilities.prompt_caching,
        "structured_output": abilities.structured_output,
        "attachments": abilities.pdf || abilities.vision,
        "audio": abilities.audio,
        "embeddings": abilities.embeddings,
    })
}

/// US dollars a token.
#[expect(clippy::indexing_slicing, reason = "members of an object made here")]
fn pricing(prices: &Prices) -> Value {
    let mut pricing = json!({
        "prompt": a_token(prices.input),
        "completion": a_token(prices.output),
    });
    if let Some(cached) = prices.cached {
        pricing["cached_input"] = json!(a_token(cached));
    }
    if let Some(cache_write) = prices.cache_write {
        pricing["cache_write"] = json!(a_token(cache_write));
    }
    pricing
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialects::Dialect;
    use crate::dialects::model_list::write_one;

    fn card(id: &str, window: Option<u64>) -> Value {
        let mut entry = ListedEntry {
            id: id.to_owned(),
            owned_by: "x".to_owned(),
            input_limit: window,
            ..ListedEntry::default()
        };
        enrich(&Snapshot::default(), &mut entry);
        serde_json::from_slice(&write_one(Dialect::OpenAiChat, &entry)).expect("JSON")
    }

    #[test]
    fn a_known_model_gets_window_abilities_and_prices() {
        let card = card("openai/gpt-4o", None);
        assert_eq!(card["context_length"], 128_000);
        assert_eq!(card["pricing"]["prompt"], 0.000_002_5);
        assert_eq!(card["input_cost_per_token"], 0.000_002_5);
        assert_eq!(card["capabilities"]["vision"], true);
        assert_eq!(card["architecture"]["input_modalities"][0], "text");
        assert_eq!(card["object"], "model");
    }

    #[test]
    fn the_providers_own_word_on_the_window_wins() {
        assert_eq!(card("openai/gpt-4o", Some(7))["context_length"], 7);
    }

    #[test]
    fn nothing_is_made_up_for_an_unknown_model() {
        let card = card("my_vllm/thing", None);
        for field in ["context_length", "pricing", "capabilities"] {
            assert!(card.get(field).is_none(), "{field} in {card}");
        }
    }
}
