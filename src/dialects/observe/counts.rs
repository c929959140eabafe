//! Token counts as each dialect writes them, read into the one meaning of [`Usage`].
//!
//! Counts are taken leniently: a missing, negative or odd one is 0, a huge one saturates. What
//! comes out of an object without any count is `None`: `MiniMax` and others send `"usage":{}`.

use serde_json::Value;

use crate::dialects::usage::Usage;

/// Reads OpenAI's `usage` object, of Chat, Completions, Embeddings and Responses alike, with
/// `DeepSeek`'s and Anthropic's spellings of the cached tokens that compatible servers mix in.
pub fn openai(usage: &Value) -> Option<Usage> {
    let input = count(usage, &["prompt_tokens", "input_tokens"]);
    let output = count(usage, &["completion_tokens", "output_tokens"]);
    let details = ["prompt_tokens_details", "input_tokens_details"]
        .iter()
        .find_map(|name| usage.get(name))
        .unwrap_or(&Value::Null);
    let output_details = ["completion_tokens_details", "output_tokens_details"]
        .iter()
        .find_map(|name| usage.get(name))
        .unwrap_or(&Value::Null);
    let cache_read = count(details, &["cached_tokens"]).or_else(|| {
        count(
            usage,
            &[
                "prompt_cache_hit_tokens",
                "cached_tokens",
                "cache_read_input_tokens",
            ],
        )
    });
    let cache_write = count(details, &["cache_write_tokens", "cache_creation_tokens"])
        .or_else(|| count(usage, &["cache_creation_input_tokens"]));
    if input.is_none() && output.is_none() {
        return None;
    }
    Some(Usage {
        input: input.unwrap_or(0),
        cache_read: cache_read.unwrap_or(0),
        cache_write: cache_write.unwrap_or(0),
        output: output.unwrap_or(0),
        reasoning: count(output_details, &["reasoning_tokens"]).unwrap_or(0),
        estimated: false,
    })
}

/// Anthropic's counts as they came, before they are added up: `message_delta` repeats only some
/// of what `message_start` said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AnthropicCounts {
    input: Option<u64>,
    cache_read: Option<u64>,
    cache_write: Option<u64>,
    output: Option<u64>,
    thinking: Option<u64>,
}

impl AnthropicCounts {
    /// Takes the counts of a `usage` object. Counts are cumulative, so later ones replace earlier
    /// ones; a later 0 does not, as proxies fill what they do not know with it.
    pub fn update(&mut self, usage: &Value) {
        let details = usage.get("output_tokens_details").unwrap_or(&Value::Null);
        for (ours, theirs) in [
            (&mut self.input, count(usage, &["input_tokens"])),
            (
                &mut self.cache_read,
                count(usage, &["cache_read_input_tokens"]),
            ),
            (
                &mut self.cache_write,
                count(usage, &["cache_creation_input_tokens"]),
            ),
            (&mut self.output, count(usage, &["output_tokens"])),
            (&mut self.thinking, count(details, &["thinking_tokens"])),
        ] {
            if ours.is_none() || theirs.is_some_and(|count| count > 0) {
                *ours = theirs.or(*ours);
            }
        }
    }

    /// The counts so far in our meaning, where `input` includes the cached tokens; `None` if
    /// there were none.
    pub fn usage(&self) -> Option<Usage> {
        if self.input.is_none() && self.output.is_none() {
            return None;
        }
        let cache_read = self.cache_read.unwrap_or(0);
        let cache_write = self.cache_write.unwrap_or(0);
        Some(Usage {
            input: self
                .input
                .unwrap_or(0)
                .saturating_add(cache_read)
                .saturating_add(cache_write),
            cache_read,
            cache_write,
            output: self.output.unwrap_or(0),
            reasoning: self.thinking.unwrap_or(0),
            estimated: false,
        })
    }
}

/// Reads Gemini's `usageMetadata`, whose `candidatesTokenCount` leaves out the thoughts.
pub fn gemini(usage: &Value) -> Option<Usage> {
    let input = count(usage, &["promptTokenCount"]);
    let output = count(usage, &["candidatesTokenCount"]);
    let thoughts = count(usage, &["thoughtsTokenCount"]);
    if input.is_none() && output.is_none() && thoughts.is_none() {
        return None;
    }
    let tools = count(usage, &["toolUsePromptTokenCount"]).unwrap_or(0);
    let thoughts = thoughts.unwrap_or(0);
    Some(Usage {
        input: input.unwrap_or(0).saturating_add(tools),
        cache_read: count(usage, &["cachedContentTokenCount"]).unwrap_or(0),
        cache_write: 0,
        output: output.unwrap_or(0).saturating_add(thoughts),
        reasoning: thoughts,
        estimated: false,
    })
}

/// The first of the members that is a number, as a count.
fn count(object: &Value, names: &[&str]) -> Option<u64> {
    names.iter().find_map(|name| match object.get(name)? {
        Value::Number(number) => number.as_u64().or_else(|| {
            // Negative or fractional; a float cast saturates and takes NaN for 0.
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "saturation is meant"
            )]
            number.as_f64().map(|count| count as u64)
        }),
        _ => None,
    })
}
