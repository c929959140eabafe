//! Token counts as OpenAI and its imitators write them.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::dialects::json::Object;
use crate::dialects::usage::Usage;

#[derive(Default, Deserialize)]
#[serde(default)]
struct Wire {
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
    total_tokens: Option<u64>,
    prompt_tokens_details: Option<PromptDetails>,
    completion_tokens_details: Option<AnswerDetails>,
    /// DeepSeek's name for `prompt_tokens_details.cached_tokens`.
    prompt_cache_hit_tokens: Option<u64>,
    /// Moonshot's.
    cached_tokens: Option<u64>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct PromptDetails {
    cached_tokens: Option<u64>,
    cache_write_tokens: Option<u64>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct AnswerDetails {
    reasoning_tokens: Option<u64>,
}

/// Reads `usage`; `None` for `null` and for shapes nobody knows.
pub(super) fn read(raw: &RawValue) -> Option<Usage> {
    let wire: Wire = serde_json::from_str::<Option<Wire>>(raw.get()).ok()??;
    if wire.prompt_tokens.is_none() && wire.completion_tokens.is_none() {
        return None;
    }
    let prompt = wire.prompt_tokens_details.unwrap_or_default();
    let input = wire.prompt_tokens.unwrap_or(0);
    let reasoning = wire
        .completion_tokens_details
        .and_then(|details| details.reasoning_tokens)
        .unwrap_or(0);
    let mut output = wire.completion_tokens.unwrap_or(0);
    // xAI leaves reasoning out of `completion_tokens` but not out of the total.
    let with_reasoning = input.saturating_add(output).saturating_add(reasoning);
    if reasoning > 0 && wire.total_tokens == Some(with_reasoning) {
        output = output.saturating_add(reasoning);
    }
    Some(Usage {
        input,
        cache_read: prompt
            .cached_tokens
            .or(wire.prompt_cache_hit_tokens)
            .or(wire.cached_tokens)
            .unwrap_or(0),
        cache_write: prompt.cache_write_tokens.unwrap_or(0),
        output,
        reasoning,
        estimated: false,
    })
}

/// Writes `usage` as a member.
pub(in crate::dialects) fn write(o: &mut Object<'_>, usage: &Usage) {
    o.object("usage", |o| {
        o.put("prompt_tokens", &usage.input);
        o.put("completion_tokens", &usage.output);
        o.put("total_tokens", &usage.total());
        o.object("prompt_tokens_details", |o| {
            o.put("cached_tokens", &usage.cache_read);
            if usage.cache_write > 0 {
                o.put("cache_write_tokens", &usage.cache_write);
            }
        });
        o.object("completion_tokens_details", |o| {
            o.put("reasoning_tokens", &usage.reasoning);
        });
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(json: &str) -> Option<(u64, u64, u64, u64)> {
        let raw: &RawValue = serde_json::from_str(json).expect("JSON");
        read(raw).map(|u| (u.input, u.cache_read, u.output, u.reasoning))
    }

    #[test]
    fn vendors_spellings_of_usage_are_read() {
        for (json, expected) in [
            ("null", None),
            ("{}", None),
            (
                r#"{"prompt_tokens":3,"completion_tokens":null}"#,
                Some((3, 0, 0, 0)),
            ),
            (
                r#"{"prompt_tokens":9,"completion_tokens":2,"prompt_cache_hit_tokens":4}"#,
                Some((9, 4, 2, 0)),
            ),
            (
                r#"{"prompt_tokens":9,"completion_tokens":2,"total_tokens":16,"completion_tokens_details":{"reasoning_tokens":5}}"#,
                Some((9, 0, 7, 5)),
            ),
            (
                r#"{"prompt_tokens":9,"completion_tokens":7,"total_tokens":16,"completion_tokens_details":{"reasoning_tokens":5}}"#,
                Some((9, 0, 7, 5)),
            ),
        ] {
            assert_eq!(counts(json), expected, "{json}");
        }
    }
}
