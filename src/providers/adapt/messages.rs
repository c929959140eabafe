//! Adapts the `messages` of a Chat Completions request.

use std::borrow::Cow;

use serde_json::value::RawValue;

use crate::dialects::edit::Members;
use crate::dialects::ids::{IdRule, call_id};
use crate::providers::quirks::Quirks;

/// What DeepSeek and Moonshot take for reasoning that is not there: empty text they refuse.
const NO_REASONING: &str = "\" \"";

/// What stands in a picture's place for a model that refuses them.
const NO_PICTURE: &str =
    r#"{"type":"text","text":"[A picture stood here. This model takes none.]"}"#;

/// Adapts every message; `None` if none needs it, or if they are no list. `thinks`: the model
/// demands `reasoning_content` on every assistant message.
pub(super) fn adapt(raw: &str, quirks: &Quirks, model: &str, thinks: bool) -> Option<String> {
    let is_blind = quirks.pictures.are_refused_by(model);
    let messages: Vec<&RawValue> = serde_json::from_str(raw).ok()?;
    let mut is_changed = false;
    let mut adapted = Vec::with_capacity(messages.len());
    for message in messages {
        let changed = message_of(message.get(), quirks, is_blind, thinks);
        is_changed |= changed.is_some();
        adapted.push(changed.map_or(Cow::Borrowed(message.get()), Cow::Owned));
    }
    is_changed.then(|| format!("[{}]", adapted.join(",")))
}

/// One message, if it changes.
fn message_of(raw: &str, quirks: &Quirks, is_blind: bool, thinks: bool) -> Option<String> {
    let mut message = Members::parse(raw.as_bytes())?;
    let role = message.text("role")?;
    if quirks.no_developer_role && role == "developer" {
        message.set("role", "\"system\"".to_owned());
    }
    // A tool's name belongs to its result.
    if quirks.no_message_names && role != "tool" && role != "function" {
        message.remove("name");
    }
    if is_blind && let Some(content) = message.raw("content").and_then(without_pictures) {
        message.set("content", content);
    }
    let has_reasoning = message
        .text("reasoning_content")
        .is_some_and(|text| !text.is_empty());
    if thinks && role == "assistant" && !has_reasoning {
        message.set("reasoning_content", NO_REASONING.to_owned());
    }
    if quirks.tool_ids != IdRule::Any {
        fit_id(&mut message, "tool_call_id", quirks.tool_ids);
        let raw = message.raw("tool_calls");
        if let Some(calls) = raw.and_then(|raw| calls(raw, quirks.tool_ids)) {
            message.set("tool_calls", calls);
        }
    }
    message.into_changed()
}

/// A message's parts with a word in each picture's place, if it has any.
fn without_pictures(raw: &str) -> Option<String> {
    let parts: Vec<&RawValue> = serde_json::from_str(raw).ok()?;
    let is_picture = |part: &&RawValue| {
        Members::parse(part.get().as_bytes())
            .and_then(|part| part.text("type"))
            .is_some_and(|kind| kind == "image_url")
    };
    if !parts.iter().any(is_picture) {
        return None;
    }
    let parts: Vec<&str> = parts
        .iter()
        .map(|part| {
            if is_picture(part) {
                NO_PICTURE
            } else {
                part.get()
            }
        })
        .collect();
    Some(format!("[{}]", parts.join(",")))
}

/// Tool calls with ids that fit, if any changes.
fn calls(raw: &str, rule: IdRule) -> Option<String> {
    let calls: Vec<&RawValue> = serde_json::from_str(raw).ok()?;
    let mut is_changed = false;
    let mut adapted = Vec::with_capacity(calls.len());
    for call in calls {
        let changed = Members::parse(call.get().as_bytes()).and_then(|mut object| {
            fit_id(&mut object, "id", rule);
            object.into_changed()
        });
        is_changed |= changed.is_some();
        adapted.push(changed.map_or(Cow::Borrowed(call.get()), Cow::Owned));
    }
    is_changed.then(|| format!("[{}]", adapted.join(",")))
}

/// Replaces an id that does not fit by one computed from it: calls and results get the same
/// without any memory of them.
fn fit_id(object: &mut Members<'_>, name: &str, rule: IdRule) {
    let Some(id) = object.text(name) else {
        return;
    };
    let fitted = call_id(&id, rule);
    if *fitted != *id {
        object.set(name, format!("\"{fitted}\""));
    }
}
