//! Gemini streams (`alt=sse`), bare or in Code Assist's `{"response": …}` envelope.

use std::sync::LazyLock;

use serde_json::Value;
use serde_json::value::RawValue;

use crate::dialects::error::UpstreamError;
use crate::dialects::fields::Fields;
use crate::dialects::observe::inspect::error_in;
use crate::dialects::observe::json::{Marks, is_filled, items, text};
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
        let Ok(outer) = Fields::parse(data) else {
            // An array, as error answers come without `alt=sse`, or `[DONE]`, seen behind proxies.
            return UpstreamError::parse(None, data)
                .map_or_else(Reading::default, Reading::of_error);
        };
        if let Some(error) = error_in(data) {
            return Reading::of_error(error);
        }
        let chunk = unwrapped(outer);
        let found = read_candidates(&chunk);
        Reading {
            has_content: found.has_content,
            finishes: found.finishes,
            usage: read_usage(&chunk),
            ..Reading::default()
        }
    }

    fn repeated_usage(&self, data: &[u8]) -> Option<Usage> {
        read_usage(&unwrapped(Fields::parse(data).ok()?))
    }
}

/// The answer itself, out of Code Assist's envelope if it is in one.
pub(super) fn unwrapped(outer: Fields<'_>) -> Fields<'_> {
    let inner = outer.raw("response").map(Fields::parse_raw);
    inner.and_then(Result::ok).unwrap_or(outer)
}

/// Reads `usageMetadata`.
pub(super) fn read_usage(chunk: &Fields<'_>) -> Option<Usage> {
    let usage = serde_json::from_str::<Value>(chunk.raw("usageMetadata")?.get()).ok()?;
    counts::gemini(&usage)
}

/// What the candidates of a chunk or a whole answer say.
#[derive(Default)]
pub(super) struct Candidates {
    pub has_content: bool,
    pub finishes: bool,
}

/// Reads `candidates` and `promptFeedback`.
pub(super) fn read_candidates(chunk: &Fields<'_>) -> Candidates {
    let mut found = Candidates::default();
    for candidate in chunk.raw("candidates").map(items).unwrap_or_default() {
        let Ok(candidate) = Fields::parse_raw(candidate) else {
            continue;
        };
        if let Some(Ok(content)) = candidate.raw("content").map(Fields::parse_raw) {
            let parts = content.raw("parts").map(items).unwrap_or_default();
            found.has_content |= parts.into_iter().any(part_has_content);
        }
        let reason = candidate.raw("finishReason").and_then(text);
        match reason.as_deref() {
            None | Some("" | "FINISH_REASON_UNSPECIFIED") => {}
            // A bare end, and ends by the model's own slip, after which another try may do better.
            Some(
                "STOP"
                | "OTHER"
                | "MALFORMED_FUNCTION_CALL"
                | "UNEXPECTED_TOOL_CALL"
                | "MALFORMED_RESPONSE",
            ) => found.finishes = true,
            Some(_) => {
                found.finishes = true;
                found.has_content = true;
            }
        }
    }
    let feedback = chunk.raw("promptFeedback").map(Fields::parse_raw);
    if let Some(Ok(feedback)) = feedback
        && feedback.raw("blockReason").is_some_and(is_filled)
    {
        found.finishes = true;
        found.has_content = true;
    }
    found
}

/// `true` for any part but an empty text, a signature or a mark alone.
fn part_has_content(part: &RawValue) -> bool {
    Fields::parse_raw(part).is_ok_and(|part| {
        part.iter().any(|(name, value)| {
            !matches!(name, "thought" | "thoughtSignature" | "thought_signature")
                && is_filled(value)
        })
    })
}
