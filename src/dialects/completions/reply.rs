//! Writes a whole answer as a text completion.

use crate::dialects::ReplyContext;
use crate::dialects::chat::{ChatReply, Choice, Part};
use crate::dialects::completions::logprobs;
use crate::dialects::event::StopReason;
use crate::dialects::ids::IdSource;
use crate::dialects::json;
use crate::dialects::loss::Losses;
use crate::dialects::openai_chat::{finish_reason, write_usage};

/// Writes the body for the client.
pub(super) fn write(reply: &ChatReply, context: &ReplyContext, losses: &mut Losses) -> Vec<u8> {
    let echo = context
        .request
        .as_deref()
        .and_then(|request| request.echo.as_deref());
    let mut out = Vec::with_capacity(1024);
    json::object(&mut out, |o| {
        o.put("id", &IdSource::new(context.id_seed).make("cmpl-"));
        o.put("object", "text_completion");
        o.put("created", &context.created);
        o.put("model", &context.model);
        o.array("choices", |list| {
            for (index, choice) in reply.choices.iter().enumerate() {
                let mut text = echo.unwrap_or_default().to_owned();
                let mut offset = text.chars().count();
                add_text(&mut text, choice, losses);
                let counted = choice.logprobs.as_deref();
                let counted = counted.and_then(|raw| logprobs::legacy(raw, &mut offset));
                list.object(|o| {
                    o.put("text", &text);
                    o.put("index", &index);
                    o.put("logprobs", &counted);
                    let stop = choice.stop.unwrap_or(StopReason::EndTurn);
                    o.put("finish_reason", finish_reason(stop, false));
                });
            }
        });
        write_usage(o, &reply.usage.unwrap_or_default());
    });
    out
}

fn add_text(text: &mut String, choice: &Choice, losses: &mut Losses) {
    for part in &choice.parts {
        match part {
            Part::Text(part) => text.push_str(&part.text),
            Part::Refusal(refusal) => text.push_str(refusal),
            Part::RedactedThinking { .. } | Part::Thinking(_) => {
                losses.drop_field("choices[].reasoning");
            }
            _ => losses.drop_field("choices[].content"),
        }
    }
}
