//! Gemini streams (`alt=sse`), bare or in Code Assist's `{"response": …}` envelope.

use std::sync::LazyLock;

use crate::dialects::error::UpstreamError;
use crate::dialects::head::scanner::Scanner;
use crate::dialects::observe::inspect::error_in;
use crate::dialects::observe::json::{Marks, is_filled};
use crate::dialects::observe::object::{Checked, Object, each_item, members, text, visit};
use crate::dialects::observe::{Format, Reading, counts};
use crate::dialects::usage::Usage;

pub(super) struct Gemini;

impl Format for Gemini {
    fn marks() -> &'static Marks {
        // Usage is on nearly every chunk, cumulative.
        static MARKS: LazyLock<Marks> = LazyLock::new(|| {
            Marks::new(
                &["\"finishReason\"", "\"error\"", "\"blockReason\""],
                Some("\"usageMetadata\""),
                &["\"text\"", "\"args\""],
            )
        });
        &MARKS
    }

    fn read(&mut self, _event: &str, data: &[u8]) -> Reading {
        let Some(chunk) = Chunk::read(data) else {
            // An array, as error answers come without `alt=sse`, or `[DONE]`, seen behind proxies.
            return UpstreamError::parse(None, data)
                .map_or_else(Reading::default, Reading::of_error);
        };
        if let Some(error) = error_in(data) {
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
pub(super) struct Chunk {
    pub has_content: bool,
    pub finishes: bool,
    pub usage: Option<Usage>,
}

impl Chunk {
    /// Reads one, bare or in Code Assist's envelope; `None` if it is not one JSON object.
    pub(super) fn read(json: &[u8]) -> Option<Self> {
        let mut chunk = Self::default();
        visit(json, |name, scanner| match name {
            "response" => members(scanner, |name, scanner| chunk.member(name, scanner)),
            name => chunk.member(name, scanner),
        })
        .then_some(chunk)
    }

    fn member(&mut self, name: &str, scanner: &mut Scanner<'_>) -> Checked {
        match name {
            "candidates" => each_item(scanner, |scanner| self.candidate(scanner)),
            "promptFeedback" => members(scanner, |name, scanner| {
                if name == "blockReason" && is_filled(scanner.value()?) {
                    self.finishes = true;
                    self.has_content = true;
                } else if name != "blockReason" {
                    scanner.skip()?;
                }
                Ok(())
            }),
            "usageMetadata" => {
                let usage = Object::of(scanner.value()?);
                self.usage = usage.as_ref().and_then(counts::gemini).or(self.usage);
                Ok(())
            }
            _ => scanner.skip(),
        }
    }

    fn candidate(&mut self, scanner: &mut Scanner<'_>) -> Checked {
        members(scanner, |name, scanner| match name {
            "content" => members(scanner, |name, scanner| match name {
                "parts" => each_item(scanner, |scanner| {
                    members(scanner, |name, scanner| self.of_part(name, scanner))
                }),
                _ => scanner.skip(),
            }),
            "finishReason" => {
                let reason = text(scanner.value()?).unwrap_or_default();
                self.finish(&reason);
                Ok(())
            }
            _ => scanner.skip(),
        })
    }

    /// Any part is content but an empty text, a signature or a mark alone.
    fn of_part(&mut self, name: &str, scanner: &mut Scanner<'_>) -> Checked {
        let is_mark = matches!(name, "thought" | "thoughtSignature" | "thought_signature");
        self.has_content |= is_filled(scanner.value()?) && !is_mark;
        Ok(())
    }

    fn finish(&mut self, reason: &str) {
        match reason {
            "" | "FINISH_REASON_UNSPECIFIED" => {}
            // A bare end, and ends by the model's own slip, after which another try may do better.
            "STOP"
            | "OTHER"
            | "MALFORMED_FUNCTION_CALL"
            | "UNEXPECTED_TOOL_CALL"
            | "MALFORMED_RESPONSE" => self.finishes = true,
            _ => {
                self.finishes = true;
                self.has_content = true;
            }
        }
    }
}
