//! Whole answers: `GenerateContentResponse` both ways.

use serde_json::value::RawValue;

use crate::dialects::chat::{ChatReply, Choice, MediaSource, Part};
use crate::dialects::error::{ReadError, UpstreamError};
use crate::dialects::event::StopReason;
use crate::dialects::fields::{Extra, Fields};
use crate::dialects::gemini::citations::{self, Cited};
use crate::dialects::gemini::error::{broken, empty};
use crate::dialects::gemini::part::{self, Calls};
use crate::dialects::gemini::wire::{Content, Many, pick, pick_as, pick_count, pick_object, wrong};
use crate::dialects::gemini::{finish, logprobs, signature};
use crate::dialects::json::{Array, Object, object};
use crate::dialects::loss::Losses;
use crate::dialects::restore::Restore;
use crate::dialects::usage::Usage;
use crate::dialects::{Dialect, ReplyContext, arguments, citation, flatten};

/// One `GenerateContentResponse`, whole or a chunk of a stream.
#[derive(Default)]
pub(super) struct Chunk {
    pub(super) id: Option<String>,
    pub(super) model: Option<String>,
    pub(super) candidates: Vec<Candidate>,
    /// Why the prompt was not answered, as a sentence.
    pub(super) blocked: Option<String>,
    pub(super) usage: Option<Usage>,
    pub(super) extra: Extra,
}

/// One alternative of a chunk.
#[derive(Default)]
pub(super) struct Candidate {
    pub(super) index: u32,
    pub(super) parts: Vec<Part>,
    pub(super) finish: Option<String>,
    pub(super) message: Option<String>,
    pub(super) extra: Extra,
}

impl Chunk {
    /// Reads one response. An error object in its place is [`ReadError::Upstream`].
    pub(super) fn read(json: &[u8], calls: &mut Calls) -> Result<Self, ReadError> {
        let Ok(mut fields) = Fields::parse(json) else {
            return Err(not_an_answer(json));
        };
        if fields
            .raw("error")
            .is_some_and(|error| error.get() != "null")
        {
            return Err(not_an_answer(json));
        }
        // Code Assist wraps the answer.
        if fields.raw("candidates").is_none()
            && let Some(inner) = fields.take("response")
        {
            fields = Fields::parse_raw(inner)?;
        }
        let mut chunk = Self {
            id: pick_as(&mut fields, "responseId")?,
            model: pick_as(&mut fields, "modelVersion")?,
            ..Self::default()
        };
        if let Some(list) = pick(&mut fields, "candidates") {
            let list: Many<Fields<'_>> = serde_json::from_str(list.get())
                .map_err(|error| wrong("candidates", &error.to_string()))?;
            for candidate in list.0 {
                chunk.candidates.push(Candidate::read(candidate, calls)?);
            }
        }
        if let Some(mut feedback) = pick_object(&mut fields, "promptFeedback")? {
            chunk.blocked = finish::block_reason(&mut feedback)?;
        }
        if let Some(usage) = pick_object(&mut fields, "usageMetadata")? {
            chunk.usage = Some(finish::read_usage(usage)?);
        }
        chunk.extra = fields.into_extra();
        Ok(chunk)
    }
}

impl Candidate {
    fn read(mut fields: Fields<'_>, calls: &mut Calls) -> Result<Self, ReadError> {
        let index = pick_count(&mut fields, "index")?.unwrap_or(0);
        let mut candidate = Self {
            index: u32::try_from(index).unwrap_or(u32::MAX),
            finish: pick_as(&mut fields, "finishReason")?,
            message: pick_as(&mut fields, "finishMessage")?,
            ..Self::default()
        };
        if let Some(content) = pick(&mut fields, "content") {
            let content: Content<'_> = serde_json::from_str(content.get())
                .map_err(|error| wrong("content", &error.to_string()))?;
            for fields in content.parts {
                candidate.parts.extend(part::read(fields, calls)?);
            }
        }
        candidate.extra = fields.into_extra();
        Ok(candidate)
    }
}

/// What a body is that holds no response: an upstream's error, or no JSON at all.
fn not_an_answer(json: &[u8]) -> ReadError {
    match UpstreamError::parse(None, json) {
        Some(error) => ReadError::Upstream(Box::new(error)),
        None => match serde_json::from_slice::<Fields<'_>>(json) {
            Ok(_) => ReadError::Upstream(Box::new(empty("the answer is an error without words"))),
            Err(error) => error.into(),
        },
    }
}

/// Reads a whole answer.
pub(super) fn read(body: &[u8]) -> Result<ChatReply, ReadError> {
    let chunk = Chunk::read(body, &mut Calls::of_answer())?;
    let mut reply = ChatReply {
        id: chunk.id,
        model: chunk.model,
        choices: Vec::with_capacity(chunk.candidates.len()),
        usage: chunk.usage,
        extra: chunk.extra,
    };
    let mut has_content = false;
    for candidate in chunk.candidates {
        let choice = choice(candidate)?;
        let is_cut = !matches!(choice.stop, None | Some(StopReason::EndTurn));
        has_content |= is_cut || choice.parts.iter().any(says_something);
        reply.choices.push(choice);
    }
    if let (Some(reason), true) = (chunk.blocked, reply.choices.is_empty()) {
        reply.choices.push(Choice {
            parts: vec![Part::Refusal(reason)],
            stop: Some(StopReason::ContentFilter),
            stop_sequence: None,
            logprobs: None,
            extra: Extra::default(),
        });
        has_content = true;
    }
    if !has_content {
        let nothing = empty("the model answered with nothing");
        return Err(ReadError::Upstream(Box::new(nothing)));
    }
    Ok(reply)
}

fn choice(candidate: Candidate) -> Result<Choice, ReadError> {
    let Candidate {
        mut parts,
        finish,
        message,
        mut extra,
        ..
    } = candidate;
    let calls = finish::has_calls(&parts);
    let stop = finish.as_deref().map(|reason| finish::stop(reason, calls));
    if let (Some(StopReason::Error), Some(reason)) = (stop, &finish)
        && !parts.iter().any(says_something)
    {
        let error = broken(reason, message.as_deref());
        return Err(ReadError::Upstream(Box::new(error)));
    }
    let logprobs = extra.get("logprobsResult").and_then(logprobs::to_openai);
    if let Some(grounding) = extra.get("groundingMetadata") {
        cite(&mut parts, grounding);
    }
    if let Some(message) = message
        .and_then(|m| serde_json::to_string(&m).ok())
        .and_then(|json| RawValue::from_string(json).ok())
    {
        extra.0.push(("finishMessage".to_owned(), message));
    }
    Ok(Choice {
        parts,
        stop,
        stop_sequence: None,
        logprobs,
        extra,
    })
}

/// `true` for what a reader of the answer would see.
pub(super) fn says_something(part: &Part) -> bool {
    match part {
        Part::Text(text) => !text.text.is_empty(),
        Part::Thinking(thinking) => !thinking.text.is_empty(),
        Part::Refusal(text) => !text.is_empty(),
        Part::RedactedThinking { .. } => false,
        Part::Media(_) | Part::Raw { .. } | Part::ToolCall(_) | Part::ToolResult(_) => true,
    }
}

/// Hangs the citations on the first text, whose offsets they count.
fn cite(parts: &mut [Part], grounding: &RawValue) {
    let text = parts.iter_mut().find_map(|part| match part {
        Part::Text(text) => Some(text),
        _ => None,
    });
    let Some(text) = text else {
        return;
    };
    let list = citations::from_grounding(grounding, &text.text);
    if !list.is_empty() {
        text.citations = serde_json::to_string(&list)
            .ok()
            .and_then(|json| RawValue::from_string(json).ok());
    }
}

/// Writes a whole answer for the client.
pub(super) fn write(reply: &ChatReply, context: &ReplyContext, losses: &mut Losses) -> Vec<u8> {
    let restore = Restore::new(context.request.as_deref());
    let mut out = Vec::with_capacity(1024);
    object(&mut out, |o| {
        o.array("candidates", |list| {
            for (index, choice) in reply.choices.iter().enumerate() {
                list.object(|o| candidate(o, index, &restore.choice(choice), losses));
            }
        });
        finish::write_usage(o, &reply.usage.unwrap_or_default());
        o.put("modelVersion", &context.model);
        o.put("responseId", &response_id(reply.id.as_deref(), context));
    });
    out
}

/// The upstream's id, or one made of the context's seed.
pub(super) fn response_id(id: Option<&str>, context: &ReplyContext) -> String {
    id.map_or_else(
        || crate::dialects::ids::IdSource::new(context.id_seed).make("resp-"),
        ToOwned::to_owned,
    )
}

fn candidate(o: &mut Object<'_>, index: usize, choice: &Choice, losses: &mut Losses) {
    let is_grounded = choice.extra.get("groundingMetadata").is_some();
    let mut cited = Vec::new();
    o.object("content", |o| {
        o.array("parts", |parts| {
            for (at, part) in choice.parts.iter().enumerate() {
                write_part(part, parts, losses);
                if let Part::Text(text) = part
                    && let Some(list) = &text.citations
                    && !is_grounded
                {
                    for raw in citation::list(list) {
                        match Cited::read(&raw, at, &text.text, None) {
                            Some(source) => cited.push(source),
                            None => losses.drop_field("content[].citations"),
                        }
                    }
                }
            }
        });
        o.put("role", "model");
    });
    if !cited.is_empty() {
        citations::write_grounding(o, &cited);
    }
    o.put("finishReason", &finish::reason(choice.stop));
    o.put("index", &index);
    if choice.stop_sequence.is_some() {
        losses.drop_field("stop_sequence");
    }
    if let Some(raw) = &choice.logprobs
        && !logprobs::write(o, raw)
    {
        losses.drop_field("logprobs");
    }
    for (name, value) in &choice.extra.0 {
        if GEMINIS_OWN.contains(&name.as_str()) {
            o.raw(name, value);
        }
    }
}

/// Members of a candidate that only Gemini writes, kept when Gemini wrote them.
const GEMINIS_OWN: [&str; 6] = [
    "avgLogprobs",
    "citationMetadata",
    "finishMessage",
    "groundingMetadata",
    "safetyRatings",
    "urlContextMetadata",
];

/// Writes one part for a Gemini client.
pub(super) fn write_part(part: &Part, parts: &mut Array<'_>, losses: &mut Losses) {
    match part {
        Part::Text(text) => {
            parts.object(|o| {
                o.put("text", &text.text);
                write_signature(o, text.signature.as_deref());
            });
        }
        Part::Refusal(text) => parts.object(|o| {
            o.put("text", text);
        }),
        Part::Thinking(thinking) => parts.object(|o| {
            o.put("text", &thinking.text);
            o.put("thought", &true);
            write_signature(o, thinking.signature.as_deref());
        }),
        Part::RedactedThinking { data } => parts.object(|o| {
            o.put("text", "");
            o.put("thought", &true);
            o.put("thoughtSignature", &signature::write_redacted(data));
        }),
        Part::ToolCall(call) => {
            parts.object(|o| {
                o.object("functionCall", |o| {
                    o.put("id", &call.id);
                    o.put("name", &call.name);
                    o.key("args")
                        .extend_from_slice(arguments::object(&call.arguments).as_bytes());
                });
                write_signature(o, call.signature.as_deref());
            });
        }
        Part::Media(media) => match &media.source {
            MediaSource::Base64 { mime, data } => parts.object(|o| {
                o.object("inlineData", |o| {
                    o.put("mimeType", mime);
                    o.put("data", data);
                });
            }),
            MediaSource::Url { url, mime } => parts.object(|o| {
                o.object("fileData", |o| {
                    o.put_some("mimeType", mime.as_deref());
                    o.put("fileUri", url);
                });
            }),
            MediaSource::Text(text) => parts.object(|o| {
                o.put("text", text);
            }),
            MediaSource::FileId(_) => losses.drop_field("content[].file_id"),
        },
        Part::Raw {
            dialect: Dialect::Gemini,
            json,
        } => parts.raw(json),
        Part::Raw { dialect, json } => match flatten::block(*dialect, json) {
            Some(text) => parts.object(|o| o.put("text", &text)),
            None => losses.drop_field("content[]"),
        },
        Part::ToolResult(_) => losses.drop_field("content[]"),
    }
}

pub(super) fn write_signature(o: &mut Object<'_>, held: Option<&str>) {
    if let Some(held) = held {
        o.put("thoughtSignature", &signature::write(held));
    }
}
