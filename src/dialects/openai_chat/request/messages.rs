//! Messages, read and written.

use std::borrow::Cow;

use serde_json::value::RawValue;

use crate::dialects::chat::{
    ChatRequest, Media, MediaKind, MediaSource, Message, Part, Role, Text, ToolCall, ToolKind,
    ToolResult,
};
use crate::dialects::fields::{Extra, FieldError, Fields};
use crate::dialects::openai_chat::{content, reasoning};

/// Reads `messages`: the leading system messages into `system`, the rest as turns.
pub(super) fn read(list: &RawValue, request: &mut ChatRequest) -> Result<(), FieldError> {
    let messages: Vec<Fields<'_>> = serde_json::from_str(list.get())
        .map_err(|error| FieldError::new("messages", error.to_string()))?;
    request.messages.reserve(messages.len());
    let mut open = OpenCalls::default();
    for (at, fields) in messages.into_iter().enumerate() {
        read_one(fields, at, &mut open, request)
            .map_err(|error| error.within(&format!("messages[{at}]")))?;
    }
    Ok(())
}

/// Calls of the last assistant message that no result has named yet: results without an id, and
/// legacy `function` messages, answer these in order.
#[derive(Default)]
struct OpenCalls(Vec<(String, String)>);

impl OpenCalls {
    /// The id of the first open call (of that tool), which is then closed.
    fn claim(&mut self, name: Option<&str>) -> Option<String> {
        let at = self
            .0
            .iter()
            .position(|(_, tool)| name.is_none_or(|name| name == tool))?;
        Some(self.0.remove(at).0)
    }

    fn close(&mut self, id: &str) {
        self.0.retain(|(open, _)| open != id);
    }
}

fn read_one(
    mut fields: Fields<'_>,
    at: usize,
    open: &mut OpenCalls,
    request: &mut ChatRequest,
) -> Result<(), FieldError> {
    let role = fields.take_as::<Cow<'_, str>>("role")?;
    let role = role.as_deref().unwrap_or("user");
    if role == "assistant" || role == "model" {
        let parts = read_assistant(&mut fields, at, open)?;
        push(request, Role::Assistant, parts, fields);
        return Ok(());
    }
    let mut parts = content::read(fields.take("content"))?;
    if let Some(mark) = fields.take("cache_control") {
        mark_last(&mut parts, mark);
    }
    match role {
        "system" | "developer" if request.messages.is_empty() => {
            request.system.append(&mut parts);
        }
        "system" | "developer" => push(request, Role::System, parts, fields),
        "tool" | "function" => {
            let named = fields.take_as::<String>("tool_call_id")?;
            let name = fields.take_as::<String>("name")?;
            let call_id = match named.filter(|id| !id.is_empty()) {
                Some(id) => {
                    open.close(&id);
                    id
                }
                None => open
                    .claim(name.as_deref())
                    .or_else(|| open.claim(None))
                    .unwrap_or_else(|| format!("call_{at}")),
            };
            let result = Part::ToolResult(ToolResult {
                call_id,
                name,
                parts,
                is_error: false,
                cache_control: None,
                extra: Extra::default(),
            });
            push(request, Role::Tool, vec![result], fields);
        }
        _ => push(request, Role::User, parts, fields),
    }
    Ok(())
}

fn push(request: &mut ChatRequest, role: Role, parts: Vec<Part>, rest: Fields<'_>) {
    let mut extra = rest.into_extra();
    extra.0.retain(|(_, value)| value.get() != "null");
    request.messages.push(Message { role, parts, extra });
}

/// A mark on the whole message counts for its last part.
fn mark_last(parts: &mut [Part], mark: &RawValue) {
    match parts.last_mut() {
        Some(Part::Text(text)) => text.cache_control = Some(mark.to_owned()),
        Some(Part::Media(media)) => media.cache_control = Some(mark.to_owned()),
        _ => {}
    }
}

fn read_assistant(
    fields: &mut Fields<'_>,
    at: usize,
    open: &mut OpenCalls,
) -> Result<Vec<Part>, FieldError> {
    let mut parts = reasoning::take(fields);
    parts.extend(content::read(fields.take("content"))?);
    if let Some(mark) = fields.take("cache_control") {
        mark_last(&mut parts, mark);
    }
    if let Some(refusal) = fields.take_as::<String>("refusal")?
        && !refusal.is_empty()
    {
        parts.push(Part::Refusal(refusal));
    }
    if let Some(signed) = reasoning::take_google_signature(fields) {
        match parts.iter_mut().rev().find_map(as_text) {
            Some(text) => text.signature = Some(signed),
            None => parts.push(Part::Text(Text {
                signature: Some(signed),
                ..Text::default()
            })),
        }
    }
    let mut calls = read_calls(fields.take("tool_calls"), |place| {
        format!("call_{at}_{place}")
    })?;
    if let Some(legacy) = fields
        .take("function_call")
        .filter(|raw| raw.get() != "null")
    {
        let mut call = read_function(legacy, Fields::default())?;
        call.id = format!("call_{at}_{}", calls.len());
        calls.push(call);
    }
    open.0 = calls
        .iter()
        .map(|call| (call.id.clone(), call.name.clone()))
        .collect();
    parts.extend(calls.into_iter().map(Part::ToolCall));
    if let Some(images) = fields.take("images") {
        read_images(images, &mut parts);
    }
    Ok(parts)
}

fn as_text(part: &mut Part) -> Option<&mut Text> {
    match part {
        Part::Text(text) => Some(text),
        _ => None,
    }
}

/// Reads `tool_calls`; `make_id` makes the ids of calls that have none, by their places.
pub(in crate::dialects::openai_chat) fn read_calls(
    raw: Option<&RawValue>,
    mut make_id: impl FnMut(usize) -> String,
) -> Result<Vec<ToolCall>, FieldError> {
    let Some(raw) = raw else {
        return Ok(Vec::new());
    };
    let list: Vec<Fields<'_>> = serde_json::from_str::<Option<_>>(raw.get())
        .map_err(|error| FieldError::new("tool_calls", error.to_string()))?
        .unwrap_or_default();
    let mut calls = Vec::with_capacity(list.len());
    for (place, mut fields) in list.into_iter().enumerate() {
        let id = fields.take_as::<String>("id")?.unwrap_or_default();
        fields.take("type");
        fields.take("index");
        let mut call = if let Some(custom) = fields.take("custom") {
            let mut custom = Fields::parse_raw(custom)
                .map_err(|error| FieldError::new("tool_calls", error.to_string()))?;
            let name: Option<String> = custom.take_as("name")?;
            let input: Option<String> = custom.take_as("input")?;
            ToolCall {
                kind: ToolKind::Custom,
                ..ToolCall::function("", name.unwrap_or_default(), input.unwrap_or_default())
            }
        } else {
            let function = fields.take("function").unwrap_or(RawValue::NULL);
            read_function(function, fields)?
        };
        call.id = if id.is_empty() { make_id(place) } else { id };
        calls.push(call);
    }
    Ok(calls)
}

/// Reads `{name, arguments}`; arguments may be an object instead of its text.
fn read_function(raw: &RawValue, mut outside: Fields<'_>) -> Result<ToolCall, FieldError> {
    let mut fields = match raw.get() {
        "null" => Fields::default(),
        _ => Fields::parse_raw(raw)
            .map_err(|error| FieldError::new("tool_calls", error.to_string()))?,
    };
    let arguments = match fields.take("arguments").map(RawValue::get) {
        None | Some("null") => String::new(),
        Some(text) if text.starts_with('"') => serde_json::from_str(text)
            .map_err(|error| FieldError::new("arguments", error.to_string()))?,
        Some(json) => json.to_owned(),
    };
    let name: Option<String> = fields.take_as("name")?;
    let signature = reasoning::take_google_signature(&mut outside);
    Ok(ToolCall {
        signature,
        cache_control: outside.take("cache_control").map(ToOwned::to_owned),
        extra: outside.into_extra(),
        ..ToolCall::function("", name.unwrap_or_default(), arguments)
    })
}

/// Reads OpenRouter's `images` of an answer.
pub(in crate::dialects::openai_chat) fn read_images(raw: &RawValue, parts: &mut Vec<Part>) {
    if let Ok(images) = content::read(Some(raw)) {
        parts.extend(images.into_iter().filter(|part| {
            matches!(
                part,
                Part::Media(Media {
                    kind: MediaKind::Image,
                    source: MediaSource::Base64 { .. } | MediaSource::Url { .. },
                    ..
                })
            )
        }));
    }
}
