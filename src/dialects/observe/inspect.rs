//! A whole answer that passes verbatim, looked at once before it goes out.

#[cfg(test)]
mod tests;

use std::sync::LazyLock;

use memchr::memmem::Finder;

use crate::dialects::error::UpstreamError;
use crate::dialects::observe::json::{follows, is_filled};
use crate::dialects::observe::object::{Object, is_json, items};
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
    let chat = match (operation, dialect) {
        (Operation::CountTokens | Operation::Embeddings, _) => None,
        (_, Dialect::OpenAiChat) => chat::Chunk::read(body),
        _ => None,
    };
    let error = match &chat {
        Some(answer) => answer.error_in(body),
        None => error_in(body),
    };
    let found = match (operation, dialect) {
        (Operation::Embeddings, _) => Object::parse(body).map(|fields| embeddings(&fields)),
        (Operation::CountTokens, _) => Object::parse(body).map(|fields| token_count(&fields)),
        (_, Dialect::Anthropic) => Object::parse(body).map(|fields| message(&fields)),
        (_, Dialect::Gemini) => {
            gemini::Chunk::read(body).map(|answer| (answer.has_content, answer.usage))
        }
        (_, Dialect::OpenAiResponses) => Object::parse(body).map(|fields| response(&fields)),
        (_, Dialect::OpenAiChat) => chat.map(|answer| (answer.has_content, answer.usage)),
    };
    let Some((has_content, usage)) = found else {
        return Inspection {
            complete: is_json(body),
            error,
            empty: true,
            usage: None,
        };
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
    let Some(chunks) = std::str::from_utf8(body).ok().and_then(items) else {
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
        let Some(chunk) = gemini::Chunk::read(chunk.as_bytes()) else {
            continue;
        };
        found.empty &= !chunk.has_content;
        found.usage = chunk.usage.or(found.usage);
    }
    found
}

type Found = (bool, Option<Usage>);

fn message(fields: &Object<'_>) -> Found {
    let blocks = fields.items("content");
    let reason = fields.text("stop_reason");
    let has_content = blocks.into_iter().any(anthropic::block_has_content)
        || reason.is_some_and(|reason| anthropic::explains(&reason));
    let mut counts = counts::AnthropicCounts::default();
    if let Some(usage) = fields.object("usage") {
        counts.update(&usage);
    }
    (has_content, counts.usage())
}

fn response(fields: &Object<'_>) -> Found {
    let status = fields.text("status");
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

fn embeddings(fields: &Object<'_>) -> Found {
    let has_content = ["data", "embedding", "embeddings"]
        .iter()
        .any(|name| fields.raw(name).is_some_and(is_filled));
    let usage = fields.object("usage");
    let usage = usage.and_then(|usage| counts::openai(&usage));
    let metadata = || counts::gemini(&fields.object("usageMetadata")?);
    (has_content, usage.or_else(metadata))
}

fn token_count(fields: &Object<'_>) -> Found {
    let has_content = ["input_tokens", "totalTokens"]
        .iter()
        .any(|name| fields.raw(name).is_some());
    (has_content, None)
}
