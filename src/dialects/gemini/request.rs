//! A client's `generateContent` request, read into the canonical form.

use serde_json::value::RawValue;

use crate::dialects::chat::{ChatRequest, Effort, Message, Part, ResponseFormat, Role};
use crate::dialects::effort;
use crate::dialects::error::ReadError;
use crate::dialects::fields::{Extra, Fields};
use crate::dialects::gemini::part::{self, Calls};
use crate::dialects::gemini::tools;
use crate::dialects::gemini::wire::{
    Content, Many, pick, pick_as, pick_count, pick_int, pick_object, wrong,
};
use crate::dialects::json::raw_object;
use crate::dialects::{Dialect, RequestHint, schema};

/// Reads a request body; model and stream come from the URL.
pub(super) fn read(body: &[u8], hint: RequestHint<'_>) -> Result<ChatRequest, ReadError> {
    let mut fields = Fields::parse(body)?;
    // Code Assist and countTokens wrap the request.
    if let Some(inner) = fields
        .raw("generateContentRequest")
        .filter(|_| fields.raw("contents").is_none())
    {
        fields = Fields::parse_raw(inner)?;
    }
    let named: Option<String> = pick_as(&mut fields, "model")?;
    let model = match hint.model {
        Some(model) => model.to_owned(),
        None => named
            .map(|name| name.strip_prefix("models/").unwrap_or(&name).to_owned())
            .unwrap_or_default(),
    };
    let mut request = ChatRequest::new(Dialect::Gemini, model);
    request.stream = hint.stream.unwrap_or(false);
    request.include_usage = true;
    if let Some(raw) = pick(&mut fields, "systemInstruction") {
        request.system = system(raw)?;
    }
    if let Some(raw) = pick(&mut fields, "contents") {
        request.messages = messages(raw)?;
    }
    if let Some(raw) = pick(&mut fields, "tools") {
        request.tools = tools::read(raw)?;
    }
    if let Some(config) = pick_object(&mut fields, "toolConfig")? {
        tools::read_config(config, &mut request)?;
    }
    if let Some(config) = pick_object(&mut fields, "generationConfig")? {
        generation(config, &mut request)?;
    }
    request.extra.0.extend(fields.into_extra().0);
    Ok(request)
}

fn system(raw: &RawValue) -> Result<Vec<Part>, ReadError> {
    if let Some(text) = bare_text(raw) {
        return Ok(vec![Part::text(text)]);
    }
    let mut calls = Calls::of_history();
    let mut parts = Vec::new();
    for content in contents(raw, "systemInstruction")? {
        for fields in content.parts {
            parts.extend(part::read(fields, &mut calls)?);
        }
    }
    Ok(parts)
}

fn messages(raw: &RawValue) -> Result<Vec<Message>, ReadError> {
    if let Some(text) = bare_text(raw) {
        return Ok(vec![message(Role::User, vec![Part::text(text)])]);
    }
    let mut calls = Calls::of_history();
    let mut messages = Vec::new();
    let mut last = Role::User;
    for content in contents(raw, "contents")? {
        let role = match content.role.as_deref() {
            Some("model" | "assistant") => Role::Assistant,
            Some("system" | "developer") => Role::System,
            _ => Role::User,
        };
        // Google's SDK keeps each piece of a stream as a content of its own: they are one turn.
        if role == Role::Assistant && last != Role::Assistant {
            calls.forget_waiting();
        }
        last = role;
        let mut parts = Vec::with_capacity(content.parts.len());
        let mut results = Vec::new();
        for fields in content.parts {
            match part::read(fields, &mut calls)? {
                Some(result @ Part::ToolResult(_)) => results.push(result),
                Some(part) => parts.push(part),
                None => {}
            }
        }
        if !results.is_empty() {
            messages.push(message(Role::Tool, results));
        }
        if !parts.is_empty() {
            messages.push(Message {
                extra: content.extra,
                ..message(role, parts)
            });
        }
    }
    Ok(messages)
}

fn message(role: Role, parts: Vec<Part>) -> Message {
    Message {
        role,
        parts,
        extra: Extra::default(),
    }
}

/// A bare text where contents belong, which Google's SDKs let users write.
fn bare_text(raw: &RawValue) -> Option<String> {
    serde_json::from_str(raw.get()).ok()
}

fn contents<'a>(raw: &'a RawValue, name: &str) -> Result<Vec<Content<'a>>, ReadError> {
    let list: Many<Content<'_>> =
        serde_json::from_str(raw.get()).map_err(|error| wrong(name, &error.to_string()))?;
    Ok(list.0)
}

/// `generationConfig`; what no other dialect knows stays together in `extra`.
fn generation(mut rest: Fields<'_>, request: &mut ChatRequest) -> Result<(), ReadError> {
    let config = &mut rest;
    request.max_tokens = pick_count(config, "maxOutputTokens")?;
    request.temperature = pick_as(config, "temperature")?;
    request.top_p = pick_as(config, "topP")?;
    request.top_k = pick_as::<f64>(config, "topK")?.and_then(whole);
    request.stop = pick_as(config, "stopSequences")?.unwrap_or_default();
    request.seed = pick_int(config, "seed")?;
    request.candidates =
        pick_count(config, "candidateCount")?.and_then(|count| u32::try_from(count).ok());
    request.presence_penalty = pick_as(config, "presencePenalty")?;
    request.frequency_penalty = pick_as(config, "frequencyPenalty")?;
    request.logprobs = pick_as(config, "responseLogprobs")?;
    request.top_logprobs =
        pick_count(config, "logprobs")?.and_then(|count| u32::try_from(count).ok());
    format(config, request);
    if let Some(thinking) = pick_object(config, "thinkingConfig")? {
        reasoning(thinking, request)?;
    }
    let rest = rest.into_extra();
    if !rest.is_empty() {
        let rest = raw_object(|o| {
            o.extra(&rest);
        });
        request.extra.0.push(("generationConfig".to_owned(), rest));
    }
    Ok(())
}

fn format(config: &mut Fields<'_>, request: &mut ChatRequest) {
    let openapi = pick(config, "responseSchema").map(schema::from_openapi);
    let json_schema = pick(config, "responseJsonSchema").map(ToOwned::to_owned);
    if let Some(schema) = json_schema.or(openapi) {
        pick(config, "responseMimeType");
        request.format = ResponseFormat::JsonSchema {
            name: None,
            description: None,
            schema,
            strict: None,
        };
        return;
    }
    match config
        .raw("responseMimeType")
        .or(config.raw("response_mime_type"))
    {
        Some(mime) if mime.get() == "\"application/json\"" => {
            request.format = ResponseFormat::JsonObject;
            pick(config, "responseMimeType");
        }
        Some(mime) if mime.get() == "\"text/plain\"" => {
            pick(config, "responseMimeType");
        }
        _ => {}
    }
}

fn reasoning(mut thinking: Fields<'_>, request: &mut ChatRequest) -> Result<(), ReadError> {
    let reasoning = &mut request.reasoning;
    reasoning.show = pick_as(&mut thinking, "includeThoughts")?;
    reasoning.budget = pick_int(&mut thinking, "thinkingBudget")?;
    let level: Option<String> = pick_as(&mut thinking, "thinkingLevel")?;
    reasoning.effort = level.and_then(|word| match word.as_str() {
        "THINKING_LEVEL_UNSPECIFIED" => Some(Effort::Auto),
        word => effort::parse(word),
    });
    reasoning.extra = thinking.into_extra();
    Ok(())
}

/// Gemini's `topK` is a float on the wire.
fn whole(number: f64) -> Option<u64> {
    let is_count = number >= 0.0 && number.fract() == 0.0 && number < 1e9;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked to be a small whole number"
    )]
    is_count.then_some(number as u64)
}
