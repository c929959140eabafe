//! Token counts as each dialect writes them, read into the one meaning of [`Usage`].
//!
//! Counts are taken leniently: a missing, negative or odd one is 0, a huge one saturates. What
//! comes out of an object without any count is `None`: `MiniMax` and others send `"usage":{}`.

use crate::dialects::observe::object::Object;
use crate::dialects::usage::Usage;

/// Reads OpenAI's `usage` object, of Chat, Completions, Embeddings and Responses alike, with
/// `DeepSeek`'s and Anthropic's spellings of the cached tokens that compatible servers mix in.
pub(super) fn openai(usage: &Object<'_>) -> Option<Usage> {
    let input = usage.count(&["prompt_tokens", "input_tokens"]);
    let output = usage.count(&["completion_tokens", "output_tokens"]);
    let details = ["prompt_tokens_details", "input_tokens_details"]
        .iter()
        .find_map(|name| usage.object(name));
    let output_details = ["completion_tokens_details", "output_tokens_details"]
        .iter()
        .find_map(|name| usage.object(name));
    let cache_read = within(details.as_ref(), &["cached_tokens"]).or_else(|| {
        usage.count(&[
            "prompt_cache_hit_tokens",
            "cached_tokens",
            "cache_read_input_tokens",
        ])
    });
    let cache_write = within(
        details.as_ref(),
        &["cache_write_tokens", "cache_creation_tokens"],
    )
    .or_else(|| usage.count(&["cache_creation_input_tokens"]));
    if input.is_none() && output.is_none() {
        return None;
    }
    Some(Usage {
        input: input.unwrap_or(0),
        cache_read: cache_read.unwrap_or(0),
        cache_write: cache_write.unwrap_or(0),
        output: output.unwrap_or(0),
        reasoning: within(output_details.as_ref(), &["reasoning_tokens"]).unwrap_or(0),
        estimated: false,
    })
}

/// Anthropic's counts as they came, before they are added up: `message_delta` repeats only some
/// of what `message_start` said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct AnthropicCounts {
    input: Option<u64>,
    cache_read: Option<u64>,
    cache_write: Option<u64>,
    output: Option<u64>,
    thinking: Option<u64>,
}

impl AnthropicCounts {
    /// Takes the counts of a `usage` object. Counts are cumulative, so later ones replace earlier
    /// ones; a later 0 does not, as proxies fill what they do not know with it.
    pub(super) fn update(&mut self, usage: &Object<'_>) {
        let details = usage.object("output_tokens_details");
        for (ours, theirs) in [
            (&mut self.input, usage.count(&["input_tokens"])),
            (
                &mut self.cache_read,
                usage.count(&["cache_read_input_tokens"]),
            ),
            (
                &mut self.cache_write,
                usage.count(&["cache_creation_input_tokens"]),
            ),
            (&mut self.output, usage.count(&["output_tokens"])),
            (
                &mut self.thinking,
                within(details.as_ref(), &["thinking_tokens"]),
            ),
        ] {
            if ours.is_none() || theirs.is_some_and(|count| count > 0) {
                *ours = theirs.or(*ours);
            }
        }
    }

    /// The counts so far in our meaning, where `input` includes the cached tokens; `None` if
    /// there were none.
    pub(super) fn usage(&self) -> Option<Usage> {
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
pub(super) fn gemini(usage: &Object<'_>) -> Option<Usage> {
    let input = usage.count(&["promptTokenCount"]);
    let output = usage.count(&["candidatesTokenCount"]);
    let thoughts = usage.count(&["thoughtsTokenCount"]);
    if input.is_none() && output.is_none() && thoughts.is_none() {
        return None;
    }
    let tools = usage.count(&["toolUsePromptTokenCount"]).unwrap_or(0);
    let thoughts = thoughts.unwrap_or(0);
    Some(Usage {
        input: input.unwrap_or(0).saturating_add(tools),
        cache_read: usage.count(&["cachedContentTokenCount"]).unwrap_or(0),
        cache_write: 0,
        output: output.unwrap_or(0).saturating_add(thoughts),
        reasoning: thoughts,
        estimated: false,
    })
}

/// A count in an object that may be absent.
fn within(object: Option<&Object<'_>>, names: &[&str]) -> Option<u64> {
    object?.count(names)
}
