//! Anthropic Messages streams.

use std::sync::LazyLock;

use crate::dialects::error::UpstreamError;
use crate::dialects::observe::counts::AnthropicCounts;
use crate::dialects::observe::json::{Marks, is_filled};
use crate::dialects::observe::object::Object;
use crate::dialects::observe::{Format, Reading};
use crate::dialects::usage::Usage;

#[derive(Default)]
pub(super) struct Anthropic {
    counts: AnthropicCounts,
}

impl Format for Anthropic {
    fn marks() -> &'static Marks {
        // `message_delta` completes `message_start`, so usage is read as it comes.
        static MARKS: LazyLock<Marks> = LazyLock::new(|| {
            Marks::new(
                &["\"usage\"", "\"error\"", "\"message_stop\""],
                None,
                &["\"text\"", "\"thinking\"", "\"partial_json\""],
            )
        });
        &MARKS
    }

    fn read(&mut self, event: &str, data: &[u8]) -> Reading {
        let Some(fields) = Object::parse(data) else {
            return Reading::default();
        };
        let kind = fields.text("type");
        let mut reading = Reading::default();
        match kind.as_deref().unwrap_or(event) {
            "message_start" => {
                if let Some(message) = fields.object("message") {
                    self.update(&message);
                }
            }
            "content_block_start" => {
                reading.has_content = fields.raw("content_block").is_some_and(block_has_content);
            }
            "content_block_delta" => {
                reading.has_content = fields.raw("delta").is_some_and(delta_has_content);
            }
            "message_delta" => {
                self.update(&fields);
                let delta = fields.object("delta");
                let reason = delta.and_then(|delta| delta.text("stop_reason"));
                reading.finishes = reason.is_some();
                reading.has_content = reason.is_some_and(|reason| explains(&reason));
            }
            "message_stop" => reading.is_last = true,
            _ => reading.error = UpstreamError::parse(None, data),
        }
        reading.usage = self.counts.usage();
        reading
    }

    fn repeated_usage(&self, _data: &[u8]) -> Option<Usage> {
        None
    }
}

impl Anthropic {
    fn update(&mut self, around: &Object<'_>) {
        if let Some(usage) = around.object("usage") {
            self.counts.update(&usage);
        }
    }
}

/// `true` if a stop reason says why an answer may be empty.
pub(super) fn explains(stop_reason: &str) -> bool {
    !matches!(stop_reason, "end_turn" | "tool_use")
}

/// Text and thinking start empty; every other block (a tool call, its result, redacted thinking)
/// is content from its start.
pub(super) fn block_has_content(block: &str) -> bool {
    let Some(block) = Object::of(block) else {
        return false;
    };
    match block.text("type").as_deref() {
        Some(name @ ("text" | "thinking")) => block.raw(name).is_some_and(is_filled),
        kind => kind.is_some(),
    }
}

/// A delta with text, thinking, arguments or a citation. A signature alone is none of these.
fn delta_has_content(delta: &str) -> bool {
    Object::of(delta).is_some_and(|delta| {
        delta
            .iter()
            .any(|(name, value)| !matches!(name, "type" | "signature") && is_filled(value))
    })
}
