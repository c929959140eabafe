//! Why an answer ended, and what it cost, in Gemini's words and the canonical ones.

use crate::dialects::chat::Part;
use crate::dialects::error::ReadError;
use crate::dialects::event::StopReason;
use crate::dialects::fields::Fields;
use crate::dialects::gemini::wire::{pick_as, pick_count};
use crate::dialects::json::Object;
use crate::dialects::usage::Usage;

/// The canonical stop reason; `calls` tells whether the answer called tools, for which Gemini
/// has no reason of its own. Unknown reasons are the end of the turn: the enum grows.
pub(super) fn stop(reason: &str, calls: bool) -> StopReason {
    match reason {
        "MAX_TOKENS" => StopReason::MaxTokens,
        // Claude at Antigravity ends so when it calls tools.
        "OTHER" if calls => StopReason::ToolUse,
        "SAFETY" | "RECITATION" | "LANGUAGE" | "BLOCKLIST" | "PROHIBITED_CONTENT" | "SPII"
        | "MODEL_ARMOR" | "OTHER" | "NO_IMAGE" | "ESCALATION" => StopReason::ContentFilter,
        image if image.starts_with("IMAGE_") => StopReason::ContentFilter,
        "MALFORMED_FUNCTION_CALL"
        | "MALFORMED_RESPONSE"
        | "MISSING_THOUGHT_SIGNATURE"
        | "TOO_MANY_TOOL_CALLS"
        | "UNEXPECTED_TOOL_CALL" => StopReason::Error,
        "CONTINUATION" => StopReason::Pause,
        _ if calls => StopReason::ToolUse,
        _ => StopReason::EndTurn,
    }
}

/// Gemini's finish reason.
pub(super) fn reason(stop: Option<StopReason>) -> &'static str {
    match stop {
        None
        | Some(
            StopReason::EndTurn
            | StopReason::Pause
            | StopReason::StopSequence
            | StopReason::ToolUse,
        ) => "STOP",
        Some(StopReason::ContextWindow | StopReason::MaxTokens) => "MAX_TOKENS",
        Some(StopReason::ContentFilter | StopReason::Refusal) => "SAFETY",
        Some(StopReason::Error) => "OTHER",
    }
}

/// `true` if the parts call a tool.
pub(super) fn has_calls(parts: &[Part]) -> bool {
    parts.iter().any(|part| matches!(part, Part::ToolCall(_)))
}

/// Reads `usageMetadata`: its candidates exclude thoughts, unless the total says otherwise.
pub(super) fn read_usage(mut fields: Fields<'_>) -> Result<Usage, ReadError> {
    let prompt = pick_count(&mut fields, "promptTokenCount")?.unwrap_or(0);
    let tools = pick_count(&mut fields, "toolUsePromptTokenCount")?.unwrap_or(0);
    let cached = pick_count(&mut fields, "cachedContentTokenCount")?.unwrap_or(0);
    let candidates = pick_count(&mut fields, "candidatesTokenCount")?.unwrap_or(0);
    let thoughts = pick_count(&mut fields, "thoughtsTokenCount")?.unwrap_or(0);
    let total = pick_count(&mut fields, "totalTokenCount")?;
    let input = prompt.saturating_add(tools);
    let includes_thoughts =
        total == Some(input.saturating_add(candidates)) && candidates >= thoughts;
    let output = if includes_thoughts {
        candidates
    } else {
        candidates.saturating_add(thoughts)
    };
    Ok(Usage {
        input,
        cache_read: cached,
        cache_write: 0,
        output,
        reasoning: thoughts,
        estimated: false,
    })
}

/// Writes `usageMetadata`.
pub(super) fn write_usage(o: &mut Object<'_>, usage: &Usage) {
    o.object("usageMetadata", |o| {
        o.put("promptTokenCount", &usage.input);
        if usage.cache_read > 0 {
            o.put("cachedContentTokenCount", &usage.cache_read);
        }
        o.put(
            "candidatesTokenCount",
            &usage.output.saturating_sub(usage.reasoning),
        );
        if usage.reasoning > 0 {
            o.put("thoughtsTokenCount", &usage.reasoning);
        }
        o.put("totalTokenCount", &usage.total());
    });
}

/// The reason why a prompt was not answered at all.
pub(super) fn block_reason(feedback: &mut Fields<'_>) -> Result<Option<String>, ReadError> {
    let reason: Option<String> = pick_as(feedback, "blockReason")?;
    let message: Option<String> = pick_as(feedback, "blockReasonMessage")?;
    Ok(reason.map(|reason| match message {
        Some(message) => format!("The prompt was blocked ({reason}): {message}"),
        None => format!("The prompt was blocked ({reason})."),
    }))
}
