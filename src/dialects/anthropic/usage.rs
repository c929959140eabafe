//! Token counts as Anthropic writes them: `input_tokens` is what the cache did not know.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::dialects::json::Object;
use crate::dialects::usage::Usage;

/// Counts as they stand on the wire. A stream tells them piece by piece, cumulative: the last word
/// on each counts.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Wire {
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
    output_tokens_details: Option<Details>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
struct Details {
    thinking_tokens: Option<u64>,
}

impl Wire {
    /// Reads a `usage` object; what is no such object tells nothing.
    pub(super) fn read(raw: &RawValue) -> Self {
        serde_json::from_str::<Option<Self>>(raw.get())
            .ok()
            .flatten()
            .unwrap_or_default()
    }

    /// Takes over what a later object tells.
    pub(super) fn update(&mut self, later: Self) {
        self.input_tokens = later.input_tokens.or(self.input_tokens);
        self.output_tokens = later.output_tokens.or(self.output_tokens);
        self.cache_creation_input_tokens = later
            .cache_creation_input_tokens
            .or(self.cache_creation_input_tokens);
        self.cache_read_input_tokens = later
            .cache_read_input_tokens
            .or(self.cache_read_input_tokens);
        self.output_tokens_details = later.output_tokens_details.or(self.output_tokens_details);
    }

    /// The counts in the common meaning.
    pub(super) fn usage(&self) -> Usage {
        let cache_read = self.cache_read_input_tokens.unwrap_or(0);
        let cache_write = self.cache_creation_input_tokens.unwrap_or(0);
        Usage {
            input: self
                .input_tokens
                .unwrap_or(0)
                .saturating_add(cache_read)
                .saturating_add(cache_write),
            cache_read,
            cache_write,
            output: self.output_tokens.unwrap_or(0),
            reasoning: self
                .output_tokens_details
                .and_then(|details| details.thinking_tokens)
                .unwrap_or(0),
            estimated: false,
        }
    }
}

/// Writes `usage` as a member.
pub(super) fn write(o: &mut Object<'_>, usage: &Usage) {
    o.object("usage", |o| {
        let cached = usage.cache_read.saturating_add(usage.cache_write);
        o.put("input_tokens", &usage.input.saturating_sub(cached));
        o.put("cache_creation_input_tokens", &usage.cache_write);
        o.put("cache_read_input_tokens", &usage.cache_read);
        o.put("output_tokens", &usage.output);
        if usage.reasoning > 0 {
            o.object("output_tokens_details", |o| {
                o.put("thinking_tokens", &usage.reasoning);
            });
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_35_input_counts_what_came_from_the_cache_too() {
        let raw: &RawValue = serde_json::from_str(
            r#"{"input_tokens":10,"cache_read_input_tokens":90,"cache_creation_input_tokens":5,"output_tokens":7}"#,
        )
        .expect("JSON");
        let usage = Wire::read(raw).usage();
        assert_eq!(
            (usage.input, usage.cache_read, usage.cache_write),
            (105, 90, 5)
        );
        assert_eq!((usage.output, usage.total()), (7, 112));
    }

    #[test]
    fn later_counts_replace_earlier_ones_and_missing_ones_do_not() {
        let read = |json| Wire::read(serde_json::from_str::<&RawValue>(json).expect("JSON"));
        let mut wire = read(r#"{"input_tokens":10,"output_tokens":1}"#);
        wire.update(read(
            r#"{"output_tokens":9,"cache_read_input_tokens":null}"#,
        ));
        assert_eq!((wire.usage().input, wire.usage().output), (10, 9));
        assert_eq!(read("[]").usage(), Usage::default());
    }
}
