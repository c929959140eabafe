//! Adapts the `messages` of a Chat Completions request.

use std::borrow::Cow;

use ring::digest;
use serde_json::value::RawValue;

use crate::dialects::edit::Members;
use crate::providers::quirks::{Quirks, ToolIds};

/// What DeepSeek and Moonshot take for reasoning that is not there: empty text they refuse.
const NO_REASONING: &str = "\" \"";

/// The length of Mistral's ids.
const SHORT_ID_BYTES: usize = 9;

/// Adapts every message; `None` if none needs it, or if they are no list. `thinks`: the model
/// demands `reasoning_content` on every assistant message.
pub(super) fn adapt(raw: &str, quirks: &Quirks, thinks: bool) -> Option<String> {
    let messages: Vec<&RawValue> = serde_json::from_str(raw).ok()?;
    let mut is_changed = false;
    let mut adapted = Vec::with_capacity(messages.len());
    for message in messages {
        let changed = message_of(message.get(), quirks, thinks);
        is_changed |= changed.is_some();
        adapted.push(changed.map_or(Cow::Borrowed(message.get()), Cow::Owned));
    }
    is_changed.then(|| format!("[{}]", adapted.join(",")))
}

/// One message, if it changes.
fn message_of(raw: &str, quirks: &Quirks, thinks: bool) -> Option<String> {
    let mut message = Members::parse(raw.as_bytes())?;
    let role = message.text("role")?;
    if quirks.no_developer_role && role == "developer" {
        message.set("role", "\"system\"".to_owned());
    }
    // A tool's name belongs to its result.
    if quirks.no_message_names && role != "tool" && role != "function" {
        message.remove("name");
    }
    let has_reasoning = message
        .text("reasoning_content")
        .is_some_and(|text| !text.is_empty());
    if thinks && role == "assistant" && !has_reasoning {
        message.set("reasoning_content", NO_REASONING.to_owned());
    }
    if quirks.tool_ids == ToolIds::NineAlphanumerics {
        shorten_id(&mut message, "tool_call_id");
        if let Some(calls) = message.raw("tool_calls").and_then(calls) {
            message.set("tool_calls", calls);
        }
    }
    message.into_changed()
}

/// Tool calls with short ids, if any changes.
fn calls(raw: &str) -> Option<String> {
    let calls: Vec<&RawValue> = serde_json::from_str(raw).ok()?;
    let mut is_changed = false;
    let mut adapted = Vec::with_capacity(calls.len());
    for call in calls {
        let changed = Members::parse(call.get().as_bytes()).and_then(|mut object| {
            shorten_id(&mut object, "id");
            object.into_changed()
        });
        is_changed |= changed.is_some();
        adapted.push(changed.map_or(Cow::Borrowed(call.get()), Cow::Owned));
    }
    is_changed.then(|| format!("[{}]", adapted.join(",")))
}

/// Replaces an id that is not nine letters and digits by one computed from it: calls and results
/// get the same without any memory of them.
fn shorten_id(object: &mut Members<'_>, name: &str) {
    let Some(id) = object.text(name) else {
        return;
    };
    let fits = id.len() == SHORT_ID_BYTES && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if !fits {
        object.set(name, format!("\"{}\"", short_id(&id)));
    }
}

fn short_id(id: &str) -> String {
    const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    digest::digest(&digest::SHA256, id.as_bytes())
        .as_ref()
        .iter()
        .take(SHORT_ID_BYTES)
        .filter_map(|byte| ALPHABET.get(usize::from(*byte) % ALPHABET.len()))
        .map(|byte| char::from(*byte))
        .collect()
}
