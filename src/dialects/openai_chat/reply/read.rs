//! Reads a whole answer.

use serde_json::value::RawValue;

use crate::dialects::chat::{ChatReply, Choice, Media, MediaKind, MediaSource, Part};
use crate::dialects::error::{ReadError, UpstreamError};
use crate::dialects::event::StopReason;
use crate::dialects::fields::{FieldError, Fields};
use crate::dialects::ids::IdSource;
use crate::dialects::openai_chat::request::messages;
use crate::dialects::openai_chat::{content, reasoning, usage};

/// Reads a body as any vendor of this dialect writes it.
pub(in crate::dialects::openai_chat) fn read(body: &[u8]) -> Result<ChatReply, ReadError> {
    let mut fields = Fields::parse(body)?;
    let choices: Vec<Fields<'_>> = match fields.take("choices") {
        Some(raw) => serde_json::from_str::<Option<_>>(raw.get())?.unwrap_or_default(),
        None => Vec::new(),
    };
    if choices.is_empty()
        || fields
            .raw("error")
            .is_some_and(|error| error.get() != "null")
    {
        return Err(
            UpstreamError::parse(None, body).map_or(ReadError::Truncated, |error| {
                ReadError::Upstream(Box::new(error))
            }),
        );
    }
    let mut reply = ChatReply {
        id: fields.take_as("id").ok().flatten(),
        model: fields.take_as("model").ok().flatten(),
        usage: fields.take("usage").and_then(usage::read),
        ..ChatReply::default()
    };
    for choice in choices {
        reply.choices.push(read_choice(choice)?);
    }
    for known in ["object", "created"] {
        fields.take(known);
    }
    reply.extra = fields.into_extra();
    reply.extra.0.retain(|(_, value)| value.get() != "null");
    Ok(reply)
}

fn read_choice(mut fields: Fields<'_>) -> Result<Choice, ReadError> {
    let mut parts = Vec::new();
    if let Some(raw) = fields.take("message") {
        parts = read_message(Fields::parse_raw(raw)?)?;
    } else if let Some(text) = fields.take_as::<String>("text")? {
        parts.push(Part::text(text));
    }
    let word: Option<String> = fields.take_as("finish_reason").ok().flatten();
    let has_calls = parts.iter().any(|part| matches!(part, Part::ToolCall(_)));
    let has_refused = parts.iter().any(|part| matches!(part, Part::Refusal(_)));
    let stop = match word.as_deref().and_then(stop_reason) {
        Some(StopReason::Error) => return Err(broken_off(&mut fields)),
        Some(StopReason::EndTurn) | None if has_calls => StopReason::ToolUse,
        Some(StopReason::EndTurn) | None if has_refused => StopReason::Refusal,
        Some(StopReason::ToolUse) | None if !has_calls => StopReason::EndTurn,
        Some(reason) => reason,
        None => StopReason::EndTurn,
    };
    let logprobs = fields.take("logprobs").filter(|raw| raw.get() != "null");
    for known in ["index", "native_finish_reason", "stop_reason"] {
        fields.take(known);
    }
    let mut extra = fields.into_extra();
    extra.0.retain(|(_, value)| value.get() != "null");
    Ok(Choice {
        parts,
        stop: Some(stop),
        stop_sequence: None,
        logprobs: logprobs.map(ToOwned::to_owned),
        extra,
    })
}

/// `finish_reason: "error"`: the choice may say what happened.
fn broken_off(fields: &mut Fields<'_>) -> ReadError {
    let error = fields
        .take("error")
        .and_then(|raw| UpstreamError::parse(Some(502), raw.get().as_bytes()))
        .unwrap_or_else(|| UpstreamError {
            message: "the provider broke off its answer".to_owned(),
            ..UpstreamError::default()
        });
    ReadError::Upstream(Box::new(error))
}

fn read_message(mut fields: Fields<'_>) -> Result<Vec<Part>, FieldError> {
    let mut parts = reasoning::take(&mut fields);
    parts.extend(content::read(fields.take("content"))?);
    parts.retain(|part| !matches!(part, Part::Text(text) if text.text.is_empty()));
    let signed = reasoning::take_google_signature(&mut fields);
    let annotations = fields.take("annotations");
    let mut texts = parts.iter_mut().rev().filter_map(|part| match part {
        Part::Text(text) => Some(text),
        _ => None,
    });
    if let Some(text) = texts.next() {
        text.citations = annotations
            .filter(|raw| !matches!(raw.get(), "null" | "[]"))
            .map(ToOwned::to_owned);
        text.signature = signed;
    }
    if let Some(refusal) = fields.take_as::<String>("refusal")?
        && !refusal.is_empty()
    {
        parts.push(Part::Refusal(refusal));
    }
    if let Some(images) = fields.take("images") {
        messages::read_images(images, &mut parts);
    }
    if let Some(audio) = fields.take("audio").and_then(read_audio) {
        parts.push(Part::Media(audio));
    }
    let mut ids = IdSource::random();
    let calls = messages::read_calls(fields.take("tool_calls"), |_| ids.make_call())?;
    parts.extend(calls.into_iter().map(Part::ToolCall));
    if let Some(legacy) = fields
        .take("function_call")
        .filter(|raw| raw.get() != "null")
    {
        let wrapped = format!("[{{\"function\":{}}}]", legacy.get());
        let raw: &RawValue = serde_json::from_str(&wrapped)
            .map_err(|error| FieldError::new("function_call", error.to_string()))?;
        let calls = messages::read_calls(Some(raw), |_| ids.make_call())?;
        parts.extend(calls.into_iter().map(Part::ToolCall));
    }
    Ok(parts)
}

/// Reads the sound of an answer; the format is the one the client asked for, which it knows.
pub(in crate::dialects::openai_chat) fn read_audio(raw: &RawValue) -> Option<Media> {
    let mut fields = Fields::parse_raw(raw).ok()?;
    let data: String = fields.take_as("data").ok()??;
    Some(Media {
        kind: MediaKind::Audio,
        source: MediaSource::Base64 {
            mime: "audio/wav".to_owned(),
            data,
        },
        detail: None,
        filename: None,
        cache_control: None,
        extra: fields.into_extra(),
    })
}

/// Why the answer ended, from any vendor's word. `None` while it has not.
pub(in crate::dialects::openai_chat) fn stop_reason(word: &str) -> Option<StopReason> {
    Some(match word {
        "" => return None,
        "length" | "max_tokens" | "model_length" => StopReason::MaxTokens,
        "function_call" | "tool_call" | "tool_calls" | "tool_use" => StopReason::ToolUse,
        "content_filter" | "safety" | "sensitive" => StopReason::ContentFilter,
        "refusal" => StopReason::Refusal,
        "stop_sequence" => StopReason::StopSequence,
        "abort" | "error" | "insufficient_system_resource" | "network_error" => StopReason::Error,
        _ => StopReason::EndTurn,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_make_the_stop_reason_true() {
        let body = |reason: &str| {
            format!(
                r#"{{"choices":[{{"message":{{"content":null,"tool_calls":[{{"function":{{"name":"f","arguments":{{"a":1}}}}}}]}},"finish_reason":{reason}}}]}}"#
            )
        };
        for reason in ["\"stop\"", "\"tool_calls\"", "null", "\"\""] {
            let reply = read(body(reason).as_bytes()).expect("an answer");
            assert_eq!(reply.choices[0].stop, Some(StopReason::ToolUse), "{reason}");
            assert!(matches!(&reply.choices[0].parts[..], [Part::ToolCall(call)]
                if call.arguments == "{\"a\":1}" && !call.id.is_empty()));
        }
    }

    #[test]
    fn an_error_inside_a_200_is_an_error() {
        for body in [
            r#"{"error":{"message":"no","code":429}}"#,
            r#"{"choices":[],"error":{"message":"no"}}"#,
            r#"{"choices":[{"message":{"content":"par"},"finish_reason":"error","error":{"message":"no"}}]}"#,
        ] {
            let error = read(body.as_bytes()).expect_err("an error");
            assert_eq!(error.to_string(), "no", "{body}");
        }
        assert_eq!(
            read(br#"{"choices":[]}"#).expect_err("nothing"),
            ReadError::Truncated
        );
    }
}
