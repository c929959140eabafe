//! Writes a whole answer.

use crate::dialects::anthropic::request::write_signature_block;
use crate::dialects::anthropic::usage;
use crate::dialects::chat::{ChatReply, Part, Text, Thinking, ToolCall, ToolKind};
use crate::dialects::event::StopReason;
use crate::dialects::fields::Raw;
use crate::dialects::ids::{IdSource, call_id_for_anthropic};
use crate::dialects::json::{self, Array, Object};
use crate::dialects::loss::Losses;
use crate::dialects::restore::{CUSTOM_INPUT, Restore};
use crate::dialects::{Dialect, ReplyContext, arguments, citation, flatten, signature};

/// Writes the body for the client.
pub(in crate::dialects::anthropic) fn write(
    reply: &ChatReply,
    context: &ReplyContext,
    losses: &mut Losses,
) -> Vec<u8> {
    let restore = Restore::new(context.request.as_deref());
    let mut out = Vec::with_capacity(2048);
    if reply.choices.len() > 1 {
        losses.drop_field("choices[1..]");
    }
    let choice = reply.choices.first().map(|choice| restore.choice(choice));
    json::object(&mut out, |o| {
        write_message(o, context, |list| {
            let parts = choice.as_ref().map_or(&[][..], |choice| &choice.parts);
            for part in without_last_signature(parts) {
                write_part(list, part, losses);
            }
        });
        let mut stop = choice
            .as_ref()
            .and_then(|choice| choice.stop)
            .unwrap_or(StopReason::EndTurn);
        let parts = choice.iter().flat_map(|choice| &choice.parts);
        let has_calls = parts
            .into_iter()
            .any(|part| matches!(part, Part::ToolCall(_)));
        if has_calls && stop == StopReason::EndTurn {
            stop = StopReason::ToolUse;
        }
        o.put("stop_reason", stop_word(stop));
        let sequence = choice
            .as_ref()
            .and_then(|choice| choice.stop_sequence.as_ref());
        o.put("stop_sequence", &sequence);
        usage::write(o, &reply.usage.unwrap_or_default());
    });
    out
}

/// Without a signature of nothing at the end: it would be a last block of empty thinking, which
/// clients that show the last block take for the answer. The gateway has remembered it.
fn without_last_signature(parts: &[Part]) -> &[Part] {
    match parts {
        [said @ .., Part::Text(text)] if text.text.is_empty() && !said.is_empty() => said,
        _ => parts,
    }
}

/// Writes what every message begins with, and its content.
pub(in crate::dialects::anthropic) fn write_message(
    o: &mut Object<'_>,
    context: &ReplyContext,
    content: impl FnOnce(&mut Array<'_>),
) {
    o.put("id", &IdSource::new(context.id_seed).make("msg_"));
    o.put("type", "message");
    o.put("role", "assistant");
    o.put("model", &context.model);
    o.array("content", content);
}

/// Anthropic's word for why the answer ended.
pub(in crate::dialects::anthropic) const fn stop_word(stop: StopReason) -> &'static str {
    match stop {
        StopReason::ContentFilter | StopReason::Refusal => "refusal",
        StopReason::ContextWindow => "model_context_window_exceeded",
        StopReason::EndTurn | StopReason::Error => "end_turn",
        StopReason::MaxTokens => "max_tokens",
        StopReason::Pause => "pause_turn",
        StopReason::StopSequence => "stop_sequence",
        StopReason::ToolUse => "tool_use",
    }
}

fn write_part(list: &mut Array<'_>, part: &Part, losses: &mut Losses) {
    match part {
        Part::Text(text) => write_text(list, text),
        Part::Thinking(thinking) => write_thinking(list, thinking),
        Part::RedactedThinking { data } => list.object(|o| {
            o.put("type", "redacted_thinking");
            o.put("data", signature::for_client(Dialect::Anthropic, data));
        }),
        Part::Refusal(text) => write_plain(list, text),
        Part::ToolCall(call) => write_call(list, call),
        Part::Raw {
            dialect: Dialect::Anthropic,
            json,
        } => list.raw(json),
        Part::Raw { dialect, json } => match flatten::block(*dialect, json) {
            Some(text) => write_plain(list, &text),
            None => losses.drop_field("content[]"),
        },
        Part::Media(_) | Part::ToolResult(_) => losses.drop_field("content[]"),
    }
}

fn write_plain(list: &mut Array<'_>, text: &str) {
    list.object(|o| {
        o.put("type", "text");
        o.put("text", text);
    });
}

fn write_text(list: &mut Array<'_>, text: &Text) {
    if let Some(signed) = &text.signature {
        write_signature_block(list, signed);
    }
    if text.text.is_empty() {
        return;
    }
    list.object(|o| {
        o.put("type", "text");
        o.put("text", &text.text);
        let cited = text.citations.as_deref().map(citation::list);
        let own: Vec<Raw> = cited
            .iter()
            .flatten()
            .filter_map(|raw| citation::to_anthropic(raw))
            .collect();
        if !own.is_empty() {
            o.put("citations", &own);
        }
    });
}

/// A thinking block must have a signature; where there is none, an empty one says so.
fn write_thinking(list: &mut Array<'_>, thinking: &Thinking) {
    let signed = thinking.signature.as_deref().unwrap_or_default();
    list.object(|o| {
        o.put("type", "thinking");
        o.put("thinking", &thinking.text);
        o.put(
            "signature",
            signature::for_client(Dialect::Anthropic, signed),
        );
    });
}

fn write_call(list: &mut Array<'_>, call: &ToolCall) {
    if let Some(signed) = &call.signature {
        write_signature_block(list, signed);
    }
    list.object(|o| {
        o.put("type", "tool_use");
        o.put("id", &call_id_for_anthropic(&call.id));
        o.put("name", &call.name);
        match call.kind {
            ToolKind::Custom => o.object("input", |o| o.put(CUSTOM_INPUT, &call.arguments)),
            ToolKind::Function => {
                let input = arguments::object(&call.arguments);
                o.key("input").extend_from_slice(input.as_bytes());
            }
        }
    });
}
