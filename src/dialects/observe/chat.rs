//! OpenAI Chat and legacy Completions, as OpenAI and the compatible vendors stream them.

use std::sync::LazyLock;

use crate::dialects::error::UpstreamError;
use crate::dialects::head::scanner::Scanner;
use crate::dialects::observe::inspect::error_in;
use crate::dialects::observe::json::{Marks, is_filled};
use crate::dialects::observe::object::{Checked, Object, each_item, members, text, visit};
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

/// Members that answers and chunks have beside choices and usage, and that name no error.
const USUAL: [&str; 5] = [
    "id",
    "created",
    "model",
    "service_tier",
    "system_fingerprint",
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
        let Some(chunk) = Chunk::read(data) else {
            return Reading::default();
        };
        if let Some(error) = chunk.error_in(data) {
            return Reading::of_error(error);
        }
        Reading {
            has_content: chunk.has_content,
            finishes: chunk.finishes,
            usage: chunk.usage,
            ..Reading::default()
        }
    }

    fn repeated_usage(&self, data: &[u8]) -> Option<Usage> {
        Chunk::read(data)?.usage
    }
}

/// What a chunk or a whole answer says.
#[derive(Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own, found at a place of its own"
)]
pub(super) struct Chunk {
    pub has_content: bool,
    pub finishes: bool,
    /// A finish reason of `error` without an error object.
    pub broke_off: bool,
    /// `usage`, or Groq's `x_groq.usage`.
    pub usage: Option<Usage>,
    /// It has members that may be an error's.
    is_unusual: bool,
}

impl Chunk {
    /// Reads a chunk (`delta`), an answer (`message`) or a legacy completion (`text`); `None` if it
    /// is not one JSON object.
    pub(super) fn read(json: &[u8]) -> Option<Self> {
        let mut chunk = Self::default();
        visit(json, |name, scanner| match name {
            "choices" => each_item(scanner, |scanner| chunk.choice(scanner)),
            "usage" => {
                let usage = Object::of(scanner.value()?);
                chunk.usage = usage.as_ref().and_then(counts::openai).or(chunk.usage);
                Ok(())
            }
            "x_groq" => {
                let groq = Object::of(scanner.value()?);
                let usage = groq.and_then(|groq| groq.object("usage"));
                chunk.usage = chunk.usage.or_else(|| counts::openai(&usage?));
                Ok(())
            }
            "object" => {
                chunk.is_unusual |= scanner.value()? == "\"error\"";
                Ok(())
            }
            _ => {
                chunk.is_unusual |= !USUAL.contains(&name);
                scanner.skip()
            }
        })
        .then_some(chunk)
    }

    /// The error in the bytes that this was read from. Looked for only where a member is there that
    /// has no place in an answer: that costs more than all the reading.
    pub(super) fn error_in(&self, json: &[u8]) -> Option<UpstreamError> {
        let told = self.is_unusual.then(|| error_in(json)).flatten();
        told.or_else(|| self.broke_off.then(|| broken_off(json)))
    }

    fn choice(&mut self, scanner: &mut Scanner<'_>) -> Checked {
        members(scanner, |name, scanner| match name {
            "delta" | "message" => members(scanner, |name, scanner| {
                let value = scanner.value()?;
                self.has_content |= CONTENT.contains(&name) && is_filled(value);
                Ok(())
            }),
            "text" => {
                self.has_content |= is_filled(scanner.value()?);
                Ok(())
            }
            "finish_reason" => {
                let reason = text(scanner.value()?).unwrap_or_default();
                self.finish(&reason);
                Ok(())
            }
            "index" | "logprobs" => scanner.skip(),
            _ => {
                self.is_unusual = true;
                scanner.skip()
            }
        })
    }

    fn finish(&mut self, reason: &str) {
        match reason {
            // Qwen writes "null".
            "" | "null" => {}
            "error" => self.broke_off = true,
            // A bare end: what came before is all.
            "stop" | "eos" | "end_turn" | "tool_calls" | "function_call" | "tool_call" => {
                self.finishes = true;
            }
            _ => {
                self.finishes = true;
                self.has_content = true;
            }
        }
    }
}

/// The error of a choice that finished with `error` and says no more.
fn broken_off(data: &[u8]) -> UpstreamError {
    UpstreamError {
        message: "the answer broke off with the finish reason \"error\"".into(),
        raw: String::from_utf8_lossy(data.get(..4096).unwrap_or(data)).into_owned(),
        ..UpstreamError::default()
    }
}
