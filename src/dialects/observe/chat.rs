//! OpenAI Chat and legacy Completions, as OpenAI and the compatible vendors stream them.

use std::sync::LazyLock;

use serde_json::Value;
use serde_json::value::RawValue;

use crate::dialects::error::UpstreamError;
use crate::dialects::fields::Fields;
use crate::dialects::observe::inspect::error_in;
use crate::dialects::observe::json::{Marks, is_filled, items, text};
use crate::dialects::observe::{Format, Reading, counts};
use crate::dialects::usage::Usage;

/// Members of a delta or message that are content, vendors' own included.
const CONTENT: [&str; 10] = [
    "content",
    "reasoning_content",
    "reasoning",
    "tool_calls",
    "function_call",
    "refusal",
    "audio",
    "images",
    "reasoning_details",
    "thinking_blocks",
];

pub(super) struct Chat;

impl Format for Chat {
    fn marks() -> &'static Marks {
        // Every chunk has `"finish_reason":null` and may have `"usage":null`.
        static MARKS: LazyLock<Marks> = LazyLock::new(|| {
            Marks::new(
                &["\"finish_reason\"", "\"error\""],
                Some("\"usage\""),
                &[
                    "\"content\"",
                    "\"reasoning_content\"",
                    "\"reasoning\"",
                    "\"arguments\"",
                    "\"text\"",
                ],
            )
        });
        &MARKS
    }

    fn read(&mut self, _event: &str, data: &[u8]) -> Reading {
        if data.trim_ascii_start().starts_with(b"[DONE]") {
            return Reading {
                is_last: true,
                ..Reading::default()
            };
        }
        let Ok(chunk) = Fields::parse(data) else {
            return Reading::default();
        };
        if let Some(error) = error_in(data) {
            return Reading::of_error(error);
        }
        let choices = read_choices(&chunk);
        if choices.broke_off {
            return Reading::of_error(broken_off(data));
        }
        Reading {
            has_content: choices.has_content,
            finishes: choices.finishes,
            usage: read_usage(&chunk),
            ..Reading::default()
        }
    }

    fn repeated_usage(&self, data: &[u8]) -> Option<Usage> {
        read_usage(&Fields::parse(data).ok()?)
    }
}

/// What the choices of a chunk or a whole answer say.
#[derive(Default)]
pub(super) struct Choices {
    pub has_content: bool,
    pub finishes: bool,
    /// A finish reason of `error` without an error object.
    pub broke_off: bool,
}

/// Reads `choices`, of a chunk (`delta`), an answer (`message`) or a legacy completion (`text`).
pub(super) fn read_choices(chunk: &Fields<'_>) -> Choices {
    let mut found = Choices::default();
    for choice in chunk.raw("choices").map(items).unwrap_or_default() {
        let Ok(choice) = Fields::parse_raw(choice) else {
            continue;
        };
        let parts = ["delta", "message"]
            .iter()
            .filter_map(|name| choice.raw(name));
        found.has_content |=
            parts.into_iter().any(has_content) || choice.raw("text").is_some_and(is_filled);
        let reason = choice
            .raw("finish_reason")
            .and_then(text)
            .unwrap_or_default();
        match reason.as_str() {
            // Qwen writes "null".
            "" | "null" => {}
            "error" => found.broke_off = true,
            // A bare end: what came before is all.
            "stop" | "eos" | "end_turn" | "tool_calls" | "function_call" | "tool_call" => {
                found.finishes = true;
            }
            _ => {
                found.finishes = true;
                found.has_content = true;
            }
        }
    }
    found
}

fn has_content(delta: &RawValue) -> bool {
    Fields::parse_raw(delta).is_ok_and(|delta| {
        delta
            .iter()
            .any(|(name, value)| CONTENT.contains(&name) && is_filled(value))
    })
}

/// Reads `usage`, or Groq's `x_groq.usage`.
pub(super) fn read_usage(chunk: &Fields<'_>) -> Option<Usage> {
    let parse = |raw: &RawValue| serde_json::from_str::<Value>(raw.get()).ok();
    let usage = chunk.raw("usage").and_then(parse);
    usage.as_ref().and_then(counts::openai).or_else(|| {
        let groq = chunk.raw("x_groq").and_then(parse)?;
        counts::openai(groq.get("usage")?)
    })
}

/// The error of a choice that finished with `error` and says no more.
pub(super) fn broken_off(data: &[u8]) -> UpstreamError {
    UpstreamError {
        message: "the answer broke off with the finish reason \"error\"".into(),
        raw: String::from_utf8_lossy(data.get(..4096).unwrap_or(data)).into_owned(),
        ..UpstreamError::default()
    }
}
