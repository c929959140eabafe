//! Reads a whole answer.

use crate::dialects::anthropic::request::read_blocks;
use crate::dialects::anthropic::usage::Wire;
use crate::dialects::chat::{ChatReply, Choice, Part};
use crate::dialects::error::{ReadError, UpstreamError};
use crate::dialects::event::StopReason;
use crate::dialects::fields::{Extra, Fields};

/// Reads a body as an upstream of this dialect writes it.
pub(in crate::dialects::anthropic) fn read(body: &[u8]) -> Result<ChatReply, ReadError> {
    let mut fields = Fields::parse(body)?;
    let Some(content) = fields.take("content") else {
        return Err(
            UpstreamError::parse(None, body).map_or(ReadError::Truncated, |error| {
                ReadError::Upstream(Box::new(error))
            }),
        );
    };
    let mut parts = read_blocks(content)?;
    let word: Option<String> = fields.take_as("stop_reason")?;
    let stop = word.as_deref().map(stop_reason);
    if stop == Some(StopReason::Refusal)
        && let Some(why) = fields.take("stop_details").and_then(explanation)
    {
        parts.push(Part::Refusal(why));
    }
    let reply = ChatReply {
        id: fields.take_as("id").ok().flatten(),
        model: fields.take_as("model").ok().flatten(),
        usage: fields.take("usage").map(|raw| Wire::read(raw).usage()),
        choices: vec![Choice {
            parts,
            stop: Some(stop.unwrap_or(StopReason::EndTurn)),
            stop_sequence: fields.take_as("stop_sequence").ok().flatten(),
            logprobs: None,
            extra: Extra::default(),
        }],
        extra: Extra::default(),
    };
    for known in ["type", "role", "stop_details"] {
        fields.take(known);
    }
    let mut extra = fields.into_extra();
    extra.0.retain(|(_, value)| value.get() != "null");
    Ok(ChatReply { extra, ..reply })
}

/// What the model says about its refusal.
pub(in crate::dialects::anthropic) fn explanation(
    details: &serde_json::value::RawValue,
) -> Option<String> {
    let mut details = Fields::parse_raw(details).ok()?;
    let said: Option<String> = details.take_as("explanation").ok()?;
    said.filter(|said| !said.is_empty())
}

/// Why the answer ended; words nobody knows are a plain end.
pub(in crate::dialects::anthropic) fn stop_reason(word: &str) -> StopReason {
    match word {
        "compaction" | "max_tokens" => StopReason::MaxTokens,
        "model_context_window_exceeded" => StopReason::ContextWindow,
        "pause_turn" => StopReason::Pause,
        "refusal" => StopReason::Refusal,
        "stop_sequence" => StopReason::StopSequence,
        "tool_use" => StopReason::ToolUse,
        _ => StopReason::EndTurn,
    }
}
