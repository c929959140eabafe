//! A whole answer that passes verbatim, looked at once before it goes out.

#[cfg(test)]
mod tests;

use std::sync::LazyLock;

use memchr::memmem::Finder;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::dialects::error::UpstreamError;
use crate::dialects::fields::Fields;
use crate::dialects::observe::json::{follows, is_filled, items, text};
use crate::dialects::observe::{anthropic, chat, counts, gemini, responses};
use crate::dialects::usage::Usage;
use crate::dialects::{Dialect, Operation};

/// What [`inspect`] finds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inspection {
    /// The body is one whole JSON value. If not, it was cut short or is something else.
    pub complete: bool,
    /// The error object inside, under whatever status.
    pub error: Option<UpstreamError>,
    /// There is no answer in it: no choices, no text, no call, and no reason given for that.
    pub empty: bool,
    /// The token counts it tells.
    pub usage: Option<Usage>,
}

/// Looks at a whole (not streamed) body that came with a success status.
pub fn inspect(dialect: Dialect, operation: Operation, body: &[u8]) -> Inspection {
    // Gemini answers a stream request without `alt=sse` with an array of chunks.
    if dialect == Dialect::Gemini && body.trim_ascii_start().starts_with(b"[") {
        return inspect_chunks(body);
    }
    let Ok(fields) = Fields::parse(body) else {
        return Inspection {
            complete: serde_json::from_slice::<&RawValue>(body).is_ok(),
            error: error_in(body),
            empty: true,
            usage: None,
        };
    };
    let mut error = error_in(body);
    let (has_content, usage) = match operation {
        Operation::Embeddings => embeddings(&fields),
        Operation::CountTokens => token_count(&fields),
        Operation::Chat | Operation::Completions => match dialect {
            Dialect::Anthropic => message(&fields),
            Dialect::Gemini => {
                let answer = gemini::unwrapped(fields);
                let candidates = gemini::read_candidates(&answer);
                (candidates.has_content, gemini::read_usage(&answer))
            }
            Dialect::OpenAiResponses if operation == Operation::Chat => response(&fields),
            Dialect::OpenAiChat | Dialect::OpenAiResponses => {
                let choices = chat::read_choices(&fields);
                if choices.broke_off && error.is_none() {
                    error = Some(chat::broken_off(body));
                }
                (choices.has_content, chat::read_usage(&fields))
            }
        },
    };
    Inspection {
        complete: true,
        error,
        empty: !has_content,
        usage,
    }
}

/// The error in a body, where one of the words is in it that go with one: most answers are not
/// parsed for it.
pub(super) fn error_in(body: &[u8]) -> Option<UpstreamError> {
    static WORDS: LazyLock<[Finder<'static>; 6]> = LazyLock::new(|| {
        [
            "\"error\"",
            "\"errors\"",
            "\"base_resp\"",
            "\"msg\"",
            "\"success\"",
            "\"failed\"",
        ]
        .map(Finder::new)
    });
    WORDS
        .iter()
        .any(|word| follows(body, word))
        .then(|| UpstreamError::parse(None, body))
        .flatten()
}

fn inspect_chunks(body: &[u8]) -> Inspection {
    let Ok(chunks) = serde_json::from_slice::<Vec<&RawValue>>(body) else {
        return Inspection {
            empty: true,
            ..Inspection::default()
        };
    };
    let mut found = Inspection {
        complete: true,
        error: error_in(body),
        empty: true,
        usage: None,
    };
    for chunk in chunks {
        let Ok(chunk) = Fields::parse_raw(chunk) else {
            continue;
        };
        let chunk = gemini::unwrapped(chunk);
        found.empty &= !gemini::read_candidates(&chunk).has_content;
        found.usage = gemini::read_usage(&chunk).or(found.usage);
    }
    found
}

type Found = (bool, Option<Usage>);

fn message(fields: &Fields<'_>) -> Found {
    let blocks = fields.raw("content").map(items).unwrap_or_default();
    let reason = fields.raw("stop_reason").and_then(text);
    let has_content = blocks.into_iter().any(anthropic::block_has_content)
        || reason.is_some_and(|reason| anthropic::explains(&reason));
    let mut counts = counts::AnthropicCounts::default();
    if let Some(usage) = value(fields, "usage") {
        counts.update(&usage);
    }
    (has_content, counts.usage())
}

fn response(fields: &Fields<'_>) -> Found {
    let status = fields.raw("status").and_then(text);
    // A background response is answered at once and fetched later.
    let explains = matches!(
        status.as_deref(),
        Some("incomplete" | "queued" | "in_progress")
    );
    (
        explains || responses::has_output(fields),
        responses::read_usage(fields),
    )
}

fn embeddings(fields: &Fields<'_>) -> Found {
    let has_content = ["data", "embedding", "embeddings"]
        .iter()
        .any(|name| fields.raw(name).is_some_and(is_filled));
    let usage = value(fields, "usage").as_ref().and_then(counts::openai);
    let metadata = || {
        value(fields, "usageMetadata")
            .as_ref()
            .and_then(counts::gemini)
    };
    (has_content, usage.or_else(metadata))
}

fn token_count(fields: &Fields<'_>) -> Found {
    let has_content = ["input_tokens", "totalTokens"]
        .iter()
        .any(|name| fields.raw(name).is_some());
    (has_content, None)
}

fn value(fields: &Fields<'_>, name: &str) -> Option<Value> {
    serde_json::from_str(fields.raw(name)?.get()).ok()
}
