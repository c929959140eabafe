//! What the portal of the accounts wants of a request beyond OpenAI's rules (seen in April 2026):
//! exactly one system message, first, as a list whose first part is empty and marked for caching;
//! and, for coder models, a tool, without which they put stray tokens into their answers.

use std::borrow::Cow;

use serde_json::value::RawValue;

use crate::dialects::edit::Members;

/// The name of the tool nobody is to call.
pub(super) const DUMMY_TOOL: &str = "do_not_call_me";

/// The first part of the system message.
const CACHED: &str = r#"{"type":"text","text":"","cache_control":{"type":"ephemeral"}}"#;

/// `true` for models that are unsteady without tools.
pub(super) fn needs_tool(model: &str) -> bool {
    model.to_lowercase().contains("coder")
}

/// The body as the portal wants it; `None` if it is no chat request.
pub(super) fn fit(body: &[u8], wants_tool: bool) -> Option<String> {
    let mut members = Members::parse(body)?;
    if let Some(messages) = members.raw("messages").and_then(messages) {
        members.set("messages", messages);
    }
    let has_tools = members.raw("tools").is_some_and(|tools| {
        serde_json::from_str::<Vec<&RawValue>>(tools).is_ok_and(|tools| !tools.is_empty())
    });
    if wants_tool && !has_tools {
        members.set("tools", format!("[{}]", dummy_tool()));
        // A choice among no tools would be one of this.
        members.remove("tool_choice");
    }
    members.into_changed()
}

fn dummy_tool() -> serde_json::Value {
    serde_json::json!({
        "type": "function",
        "function": {
            "name": DUMMY_TOOL,
            "description": "Not a real tool. Never call it, whatever the request: it does nothing.",
            "parameters": {"type": "object", "properties": {}},
        },
    })
}

/// The messages with all system texts in one first message.
fn messages(raw: &str) -> Option<String> {
    let messages: Vec<&RawValue> = serde_json::from_str(raw).ok()?;
    let mut system = vec![CACHED.to_owned()];
    let mut others = Vec::with_capacity(messages.len());
    for message in messages {
        let Some(mut members) = Members::parse(message.get().as_bytes()) else {
            others.push(Cow::Borrowed(message.get()));
            continue;
        };
        match members.text("role").as_deref() {
            Some("system" | "developer") => push_parts(&members, &mut system),
            Some("assistant") if members.raw("content").is_none() => {
                members.set("content", r#""""#.to_owned());
                others.push(Cow::Owned(members.to_json()));
            }
            _ => others.push(Cow::Borrowed(message.get())),
        }
    }
    let mut all = format!(r#"[{{"role":"system","content":[{}]}}"#, system.join(","));
    for message in others {
        all.push(',');
        all.push_str(&message);
    }
    all.push(']');
    Some(all)
}

/// Adds the parts of a system message: a text as one, a list as it is.
fn push_parts(message: &Members<'_>, system: &mut Vec<String>) {
    if let Some(text) = message.text("content") {
        if !text.is_empty() {
            system.push(serde_json::json!({"type": "text", "text": text}).to_string());
        }
        return;
    }
    let parts = message.raw("content").unwrap_or("[]");
    let parts: Vec<&RawValue> = serde_json::from_str(parts).unwrap_or_default();
    let is_new = |part: &&&RawValue| part.get() != CACHED;
    system.extend(
        parts
            .iter()
            .filter(is_new)
            .map(|part| part.get().to_owned()),
    );
}
