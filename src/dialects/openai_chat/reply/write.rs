//! Writes a whole answer.

use crate::dialects::chat::{
    ChatReply, Choice, Media, MediaKind, MediaSource, Part, ToolCall, ToolKind,
};
use crate::dialects::event::StopReason;
use crate::dialects::fields::Raw;
use crate::dialects::ids::IdSource;
use crate::dialects::json::{self, Array, Object};
use crate::dialects::loss::Losses;
use crate::dialects::openai_chat::{reasoning, usage};
use crate::dialects::restore::Restore;
use crate::dialects::{ReplyContext, citation, flatten, media};

/// Top-level members an OpenAI client knows; those of other dialects mean nothing to it.
pub(in crate::dialects::openai_chat) const KNOWN_EXTRA: [&str; 4] = [
    "metadata",
    "moderation",
    "service_tier",
    "system_fingerprint",
];

/// Writes the body for the client.
pub(in crate::dialects::openai_chat) fn write(
    reply: &ChatReply,
    context: &ReplyContext,
    losses: &mut Losses,
) -> Vec<u8> {
    let request = context.request.as_deref();
    let is_legacy = request.is_some_and(|request| request.legacy_functions);
    let restore = Restore::new(request);
    let mut out = Vec::with_capacity(2048);
    json::object(&mut out, |o| {
        o.put("id", &IdSource::new(context.id_seed).make("chatcmpl-"));
        o.put("object", "chat.completion");
        o.put("created", &context.created);
        o.put("model", &context.model);
        o.array("choices", |list| {
            for (index, choice) in reply.choices.iter().enumerate() {
                let choice = restore.choice(choice);
                list.object(|o| {
                    o.put("index", &index);
                    o.object("message", |o| write_message(o, &choice, is_legacy, losses));
                    match &choice.logprobs {
                        Some(logprobs) => o.raw("logprobs", logprobs),
                        None => o.null("logprobs"),
                    }
                    let has_calls = choice
                        .parts
                        .iter()
                        .any(|part| matches!(part, Part::ToolCall(_)));
                    let stop = match choice.stop {
                        None | Some(StopReason::EndTurn) if has_calls => StopReason::ToolUse,
                        stop => stop.unwrap_or(StopReason::EndTurn),
                    };
                    o.put("finish_reason", finish_reason(stop, is_legacy));
                });
            }
        });
        usage::write(o, &reply.usage.unwrap_or_default());
        for (name, value) in &reply.extra.0 {
            if KNOWN_EXTRA.contains(&name.as_str()) && value.get().starts_with('"') {
                o.raw(name, value);
            }
        }
    });
    out
}

/// OpenAI's word for why the answer ended.
pub(in crate::dialects) const fn finish_reason(stop: StopReason, is_legacy: bool) -> &'static str {
    match stop {
        StopReason::ContentFilter | StopReason::Refusal => "content_filter",
        StopReason::EndTurn | StopReason::Error | StopReason::Pause | StopReason::StopSequence => {
            "stop"
        }
        StopReason::ContextWindow | StopReason::MaxTokens => "length",
        StopReason::ToolUse if is_legacy => "function_call",
        StopReason::ToolUse => "tool_calls",
    }
}

fn write_message(o: &mut Object<'_>, choice: &Choice, is_legacy: bool, losses: &mut Losses) {
    let parts = &choice.parts;
    let calls: Vec<&ToolCall> = parts
        .iter()
        .filter_map(|part| match part {
            Part::ToolCall(call) => Some(call),
            _ => None,
        })
        .collect();
    let refusal = parts.iter().find_map(|part| match part {
        Part::Refusal(refusal) => Some(refusal),
        _ => None,
    });
    let (text, annotations) = joined(parts, losses);
    o.put("role", "assistant");
    match text {
        Some(text) => o.put("content", &text),
        None if calls.is_empty() && refusal.is_none() => o.put("content", ""),
        None => o.null("content"),
    }
    o.put("refusal", &refusal);
    if !annotations.is_empty() {
        o.put("annotations", &annotations);
    }
    o.put_some("reasoning_content", reasoning::plain(parts.iter()).as_ref());
    if parts.iter().any(reasoning::needs_detail) {
        o.array("reasoning_details", |list| {
            let thoughts = parts
                .iter()
                .filter(|part| matches!(part, Part::Thinking(_) | Part::RedactedThinking { .. }));
            for (index, part) in thoughts.enumerate() {
                reasoning::write_detail(list, part, index);
            }
        });
    }
    let signed = parts.iter().rev().find_map(|part| match part {
        Part::Text(text) => text.signature.as_deref(),
        _ => None,
    });
    if let Some(signed) = signed {
        reasoning::write_google_signature(o, signed);
    }
    write_media(o, parts, losses);
    match calls.first() {
        None => {}
        Some(call) if is_legacy => o.object("function_call", |o| {
            o.put("name", &call.name);
            o.put("arguments", whole(&call.arguments));
        }),
        Some(_) => o.array("tool_calls", |list| {
            for call in calls {
                write_call(list, call);
            }
        }),
    }
}

fn write_call(list: &mut Array<'_>, call: &ToolCall) {
    list.object(|o| {
        o.put("id", &call.id);
        match call.kind {
            ToolKind::Custom => {
                o.put("type", "custom");
                o.object("custom", |o| {
                    o.put("name", &call.name);
                    o.put("input", &call.arguments);
                });
            }
            ToolKind::Function => {
                o.put("type", "function");
                o.object("function", |o| {
                    o.put("name", &call.name);
                    o.put("arguments", whole(&call.arguments));
                });
            }
        }
        if let Some(signed) = &call.signature {
            reasoning::write_google_signature(o, signed);
        }
    });
}

/// Arguments as JSON text: none at all are an empty object.
fn whole(arguments: &str) -> &str {
    if arguments.is_empty() {
        "{}"
    } else {
        arguments
    }
}

/// All answer text, and its citations with their places in it (in characters).
fn joined(parts: &[Part], losses: &mut Losses) -> (Option<String>, Vec<Raw>) {
    let mut all: Option<String> = None;
    let mut annotations = Vec::new();
    let mut start = 0;
    for part in parts {
        match part {
            Part::Text(text) if text.text.is_empty() => {}
            Part::Text(text) => {
                all.get_or_insert_default().push_str(&text.text);
                let end = start + text.text.chars().count();
                if let Some(cited) = &text.citations {
                    let place = Some((start, end));
                    for raw in citation::list(cited) {
                        match citation::to_openai(&raw, place) {
                            Some(annotation) => annotations.push(annotation),
                            None => losses.drop_field("message.citations"),
                        }
                    }
                }
                start = end;
            }
            Part::Raw { dialect, json } if *dialect == crate::dialects::Dialect::Gemini => {
                if let Some(text) = flatten::block(*dialect, json) {
                    all.get_or_insert_default().push_str(&text);
                }
            }
            _ => {}
        }
    }
    (all, annotations)
}

/// Pictures as OpenRouter's `images`, sound as `audio`.
fn write_media(o: &mut Object<'_>, parts: &[Part], losses: &mut Losses) {
    let media = || {
        parts.iter().filter_map(|part| match part {
            Part::Media(media) => Some(media),
            _ => None,
        })
    };
    let images: Vec<String> = media().filter_map(image_url).collect();
    if !images.is_empty() {
        o.array("images", |list| {
            for url in &images {
                list.object(|o| write_image(o, url));
            }
        });
    }
    for media in media().filter(|media| media.kind != MediaKind::Image) {
        match (&media.kind, &media.source) {
            (MediaKind::Audio, MediaSource::Base64 { data, .. }) => o.object("audio", |o| {
                if media.extra.get("id").is_none() {
                    o.put("id", "audio_0");
                }
                o.put("data", data);
                o.extra(&media.extra);
            }),
            _ => losses.drop_field("message.media"),
        }
    }
}

/// The URL of a picture; `None` for anything else.
pub(in crate::dialects::openai_chat) fn image_url(media: &Media) -> Option<String> {
    match (&media.kind, &media.source) {
        (MediaKind::Image, MediaSource::Base64 { mime, data }) => {
            Some(media::to_data_url(mime, data))
        }
        (MediaKind::Image, MediaSource::Url { url, .. }) => Some(url.clone()),
        _ => None,
    }
}

/// Writes one picture the way OpenRouter does.
pub(in crate::dialects::openai_chat) fn write_image(o: &mut Object<'_>, url: &str) {
    o.put("type", "image_url");
    o.object("image_url", |o| o.put("url", url));
}
