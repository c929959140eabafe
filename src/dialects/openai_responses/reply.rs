//! Whole answers, both ways.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::dialects::chat::{ChatReply, Choice, Part};
use crate::dialects::error::{ReadError, UpstreamError};
use crate::dialects::event::{Event, EventKind, SignatureOf, StopReason};
use crate::dialects::fields::{Extra, Fields, Raw};
use crate::dialects::json::raw_object;
use crate::dialects::loss::Losses;
use crate::dialects::openai_responses::items::Reading;
use crate::dialects::openai_responses::stream_writer::Writer;
use crate::dialects::usage::Usage;
use crate::dialects::{Dialect, ReplyContext, StreamWriter, citation, flatten};

/// Reads a whole answer.
pub(super) fn read(body: &[u8]) -> Result<ChatReply, ReadError> {
    let Ok(mut fields) = Fields::parse(body) else {
        return Err(failed(body));
    };
    let status: Option<String> = fields.take_as("status")?;
    if fields
        .raw("error")
        .is_some_and(|error| error.get() != "null")
        || matches!(status.as_deref(), Some("failed" | "cancelled"))
    {
        return Err(failed(body));
    }
    if matches!(status.as_deref(), Some("queued" | "in_progress")) {
        return Err(ReadError::Truncated);
    }
    let output = fields.take("output").map_or("[]", RawValue::get);
    let output: Vec<&RawValue> = serde_json::from_str(output)?;
    let parts = read_output(&output)?;
    let logprobs = logprobs(&output);
    let stop = stop(&mut fields, &parts)?;
    if parts.is_empty() && stop == StopReason::EndTurn {
        return Err(ReadError::Upstream(Box::new(empty())));
    }
    Ok(ChatReply {
        id: fields.take_as("id")?,
        model: fields.take_as("model")?,
        usage: usage(&mut fields)?,
        choices: vec![Choice {
            parts,
            stop: Some(stop),
            stop_sequence: None,
            logprobs,
            extra: Extra::default(),
        }],
        extra: Extra::default(),
    })
}

/// The logprobs of all texts, in Chat's shape; `None` without any.
fn logprobs(items: &[&RawValue]) -> Option<Raw> {
    #[derive(Deserialize)]
    struct Item {
        #[serde(default)]
        content: Option<Vec<Said>>,
    }
    #[derive(Deserialize)]
    struct Said {
        #[serde(default)]
        logprobs: Option<Vec<Raw>>,
    }
    let with_some = items
        .iter()
        .filter(|item| item.get().contains("\"logprob\""));
    let read = with_some.filter_map(|item| serde_json::from_str::<Item>(item.get()).ok());
    let said = read.flat_map(|item| item.content.unwrap_or_default());
    let all: Vec<Raw> = said
        .flat_map(|said| said.logprobs.unwrap_or_default())
        .collect();
    (!all.is_empty()).then(|| {
        raw_object(|o| {
            o.array("content", |list| all.iter().for_each(|one| list.raw(one)));
            o.null("refusal");
        })
    })
}

/// The parts of a list of output items.
pub(super) fn read_output(items: &[&RawValue]) -> Result<Vec<Part>, ReadError> {
    let mut reading = Reading::default();
    for item in items {
        reading.item(item)?;
    }
    let parts = reading
        .messages
        .into_iter()
        .flat_map(|message| message.parts);
    Ok(parts.collect())
}

/// Why a finished response ended.
pub(super) fn stop(fields: &mut Fields<'_>, parts: &[Part]) -> Result<StopReason, ReadError> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Details {
        reason: Option<String>,
    }
    let details: Option<Details> = fields.take_as("incomplete_details")?;
    Ok(
        match details.and_then(|details| details.reason).as_deref() {
            Some("content_filter") => StopReason::ContentFilter,
            Some(_) => StopReason::MaxTokens,
            None if parts.iter().any(|part| matches!(part, Part::ToolCall(_))) => {
                StopReason::ToolUse
            }
            None if parts.iter().any(|part| matches!(part, Part::Refusal(_))) => {
                StopReason::Refusal
            }
            None => StopReason::EndTurn,
        },
    )
}

/// Reads `usage`.
pub(super) fn usage(fields: &mut Fields<'_>) -> Result<Option<Usage>, ReadError> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Details {
        #[serde(rename = "cached_tokens")]
        cached: u64,
        #[serde(rename = "cache_write_tokens")]
        written: u64,
        #[serde(rename = "reasoning_tokens")]
        reasoning: u64,
    }
    let Some(raw) = fields.take("usage").filter(|raw| raw.get() != "null") else {
        return Ok(None);
    };
    let mut usage = Fields::parse_raw(raw)?;
    let details = |usage: &mut Fields<'_>, name: &str| {
        let details: Option<Details> = usage.take_as(name).ok().flatten();
        details.unwrap_or_default()
    };
    let input = details(&mut usage, "input_tokens_details");
    let output = details(&mut usage, "output_tokens_details");
    Ok(Some(Usage {
        input: usage.take_count("input_tokens")?.unwrap_or(0),
        cache_read: input.cached,
        cache_write: input.written,
        output: usage.take_count("output_tokens")?.unwrap_or(0),
        reasoning: output.reasoning,
        estimated: false,
    }))
}

fn failed(body: &[u8]) -> ReadError {
    match UpstreamError::parse(None, body) {
        Some(error) => ReadError::Upstream(Box::new(error)),
        None => match serde_json::from_slice::<Fields<'_>>(body) {
            Ok(_) => ReadError::Upstream(Box::new(UpstreamError {
                code: Some("server_error".to_owned()),
                message: "the response failed without saying why".to_owned(),
                ..UpstreamError::default()
            })),
            Err(error) => error.into(),
        },
    }
}

/// An answer that says nothing, which is worth another try and never a success.
pub(super) fn empty() -> UpstreamError {
    UpstreamError {
        kind: Some("empty_response".to_owned()),
        code: Some("empty_response".to_owned()),
        message: "the model answered with nothing".to_owned(),
        ..UpstreamError::default()
    }
}

/// Writes a whole answer: what a stream of it would have ended with.
pub(super) fn write(reply: &ChatReply, context: &ReplyContext, losses: &mut Losses) -> Vec<u8> {
    let mut writer = Writer::new(context.clone());
    let mut frames = Vec::new();
    if let Some(choice) = reply.choices.first() {
        let mut index = 0;
        for part in &choice.parts {
            for kind in events(part, &mut index, losses) {
                frames.clear();
                writer.write(&Event::first(kind), &mut frames);
            }
        }
        if let Some(logprobs) = &choice.logprobs {
            writer.write(
                &Event::first(EventKind::Logprobs(logprobs.clone())),
                &mut frames,
            );
        }
        let reason = choice.stop.unwrap_or(StopReason::EndTurn);
        let sequence = choice.stop_sequence.clone();
        writer.write(
            &Event::first(EventKind::Stop { reason, sequence }),
            &mut frames,
        );
    }
    if reply.choices.len() > 1 {
        losses.drop_field("choices[1]");
    }
    if let Some(usage) = reply.usage {
        writer.write(&Event::first(EventKind::Usage(usage)), &mut frames);
    }
    let body = writer.into_response();
    losses.extend(&body.1);
    body.0
}

/// One part as the events it would have streamed as.
fn events(part: &Part, index: &mut u32, losses: &mut Losses) -> Vec<EventKind> {
    match part {
        Part::Text(text) => {
            let mut events = vec![EventKind::Text(text.text.clone())];
            if let Some(list) = &text.citations {
                events.extend(citation::list(list).into_iter().map(EventKind::Citation));
            }
            events.extend(text.signature.clone().map(|value| EventKind::Signature {
                of: SignatureOf::Text,
                value,
            }));
            events
        }
        Part::Thinking(thinking) => {
            let mut events = vec![EventKind::Thinking(thinking.text.clone())];
            events.extend(
                thinking
                    .signature
                    .clone()
                    .map(|value| EventKind::Signature {
                        of: SignatureOf::Thinking,
                        value,
                    }),
            );
            events
        }
        Part::RedactedThinking { data } => vec![EventKind::RedactedThinking(data.clone())],
        Part::Refusal(text) => vec![EventKind::Refusal(text.clone())],
        Part::Media(media) => vec![EventKind::Media(media.clone())],
        Part::ToolCall(call) => {
            let this = *index;
            *index = index.saturating_add(1);
            vec![
                EventKind::ToolStart {
                    index: this,
                    id: call.id.clone(),
                    name: call.name.clone(),
                    kind: call.kind,
                    signature: call.signature.clone(),
                },
                EventKind::ToolArguments {
                    index: this,
                    delta: call.arguments.clone(),
                },
                EventKind::ToolEnd { index: this },
            ]
        }
        Part::Raw { dialect, json } if *dialect != Dialect::OpenAiResponses => {
            if let Some(text) = flatten::block(*dialect, json) {
                vec![EventKind::Text(text)]
            } else {
                losses.drop_field("content[]");
                Vec::new()
            }
        }
        Part::Raw { .. } | Part::ToolResult(_) => {
            losses.drop_field("content[]");
            Vec::new()
        }
    }
}
