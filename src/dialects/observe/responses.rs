//! OpenAI Responses streams.

use std::sync::LazyLock;

use crate::dialects::error::UpstreamError;
use crate::dialects::observe::json::{Marks, is_filled};
use crate::dialects::observe::object::Object;
use crate::dialects::observe::{Format, Reading, counts};
use crate::dialects::usage::Usage;

pub(super) struct Responses;

impl Format for Responses {
    fn marks() -> &'static Marks {
        // Terminal events hold the whole response and so `"usage"`; not all servers fill it.
        static MARKS: LazyLock<Marks> = LazyLock::new(|| {
            Marks::new(
                &[
                    "\"usage\"",
                    "\"error\"",
                    "\"response.completed\"",
                    "\"response.incomplete\"",
                    "\"response.failed\"",
                ],
                None,
                &["\"delta\""],
            )
        });
        &MARKS
    }

    fn read(&mut self, event: &str, data: &[u8]) -> Reading {
        if data.trim_ascii_start().starts_with(b"[DONE]") {
            return Reading {
                is_last: true,
                ..Reading::default()
            };
        }
        let Some(fields) = Object::parse(data) else {
            return Reading::default();
        };
        let kind = fields.text("type");
        let kind = kind.as_deref().unwrap_or(event);
        let step = kind.rsplit('.').next().unwrap_or_default();
        let mut reading = Reading::default();
        match kind {
            "response.completed" | "response.incomplete" => {
                reading.is_last = true;
                if let Some(response) = fields.object("response") {
                    reading.has_content = has_output(&response);
                    reading.usage = read_usage(&response);
                }
                // Why it is incomplete is an answer of its own.
                reading.has_content |= kind == "response.incomplete";
            }
            "response.output_item.added" => {
                reading.has_content = fields.raw("item").is_some_and(is_call);
            }
            "response.output_item.done" => {
                reading.has_content = fields.raw("item").is_some_and(item_has_content);
            }
            "response.failed" | "error" => reading.error = UpstreamError::parse(None, data),
            _ if step == "delta" => {
                reading.has_content = fields.raw("delta").is_some_and(is_filled);
            }
            _ if matches!(step, "done" | "partial_image") => {
                reading.has_content =
                    ["text", "refusal", "arguments", "input", "partial_image_b64"]
                        .iter()
                        .any(|name| fields.raw(name).is_some_and(is_filled));
            }
            _ if kind.starts_with("response.") => {}
            // No event of the dialect: perhaps a vendor's bare error object.
            _ => reading.error = UpstreamError::parse(None, data),
        }
        reading
    }

    fn repeated_usage(&self, _data: &[u8]) -> Option<Usage> {
        None
    }
}

/// `true` if a response's `output` holds more than empty messages.
pub(super) fn has_output(response: &Object<'_>) -> bool {
    response.items("output").into_iter().any(item_has_content)
}

/// Reads a response's `usage`.
pub(super) fn read_usage(response: &Object<'_>) -> Option<Usage> {
    counts::openai(&response.object("usage")?)
}

/// `true` for an item that is content by being there: a call of any tool, its output, media.
fn is_call(item: &str) -> bool {
    let Some(item) = Object::of(item) else {
        return false;
    };
    let kind = item.text("type");
    kind.is_some_and(|kind| !matches!(kind.as_ref(), "message" | "reasoning"))
}

fn item_has_content(item: &str) -> bool {
    if is_call(item) {
        return true;
    }
    let Some(item) = Object::of(item) else {
        return false;
    };
    let parts = ["content", "summary"]
        .iter()
        .flat_map(|name| item.items(name));
    parts.into_iter().any(|part| {
        Object::of(part).is_some_and(|part| {
            part.iter()
                .any(|(name, value)| matches!(name, "text" | "refusal") && is_filled(value))
        })
    })
}
