//! A client's request, read into the canonical form.

use serde_json::value::RawValue;

use crate::dialects::chat::Part;
use crate::dialects::chat::{ChatRequest, ResponseFormat, Role};
use crate::dialects::error::ReadError;
use crate::dialects::fields::Fields;
use crate::dialects::json::raw_object;
use crate::dialects::openai_responses::content::wrong;
use crate::dialects::openai_responses::{items, tools};
use crate::dialects::{Dialect, RequestHint, effort};

/// What a gateway that keeps no jobs and no prompts cannot do.
const UNSUPPORTED: [&str; 3] = ["background", "conversation", "prompt"];

/// Reads a request body.
///
/// `store`, `previous_response_id`, `include`, `metadata` and the like stay in `extra`; the
/// gateway resolves `previous_response_id` beforehand ([`super::store::expand`]).
pub(super) fn read(body: &[u8], hint: RequestHint<'_>) -> Result<ChatRequest, ReadError> {
    let mut fields = Fields::parse(body)?;
    for name in UNSUPPORTED {
        let value = fields.take(name);
        if value.is_some_and(|value| !matches!(value.get(), "null" | "false")) {
            let why = "works only with a vendor that speaks the Responses API itself";
            return Err(wrong(name, &why));
        }
    }
    let named: Option<String> = fields.take_as("model")?;
    let model = hint.model.map(str::to_owned).or(named).unwrap_or_default();
    let mut request = ChatRequest::new(Dialect::OpenAiResponses, model);
    request.include_usage = true;
    request.stream = match hint.stream {
        Some(stream) => stream,
        None => fields.take_as("stream")?.unwrap_or(false),
    };
    fields.take("stream");
    if let Some(text) = fields.take_as::<String>("instructions")?
        && !text.is_empty()
    {
        request.system.push(Part::text(text));
    }
    if let Some(list) = fields.take("tools").filter(|raw| raw.get() != "null") {
        request.tools = tools::read(list)?;
    }
    if let Some(raw) = fields.take("input").filter(|raw| raw.get() != "null") {
        conversation(raw, &mut request)?;
    }
    if let Some(raw) = fields.take("tool_choice").filter(|raw| raw.get() != "null") {
        request.tool_choice = Some(tools::read_choice(raw)?);
    }
    request.parallel_tool_calls = fields.take_as("parallel_tool_calls")?;
    request.max_tokens = fields.take_count("max_output_tokens")?;
    request.temperature = fields.take_as("temperature")?;
    request.top_p = fields.take_as("top_p")?;
    if let Some(count) = fields.take_count("top_logprobs")? {
        request.logprobs = Some(true);
        request.top_logprobs = u32::try_from(count).ok();
    }
    request.user = fields.take_as("user")?;
    if request.user.is_none() {
        request.user = fields.take_as("safety_identifier")?;
    }
    if let Some(raw) = fields.take("reasoning").filter(|raw| raw.get() != "null") {
        reasoning(raw, &mut request)?;
    }
    if let Some(raw) = fields.take("text").filter(|raw| raw.get() != "null") {
        text(raw, &mut request)?;
    }
    request.extra.0.extend(fields.into_extra().0);
    Ok(request)
}

/// The items; system messages at the front join the instructions.
fn conversation(raw: &RawValue, request: &mut ChatRequest) -> Result<(), ReadError> {
    let mut reading = items::read(raw)?;
    let leading = reading
        .messages
        .iter()
        .take_while(|message| message.role == Role::System)
        .count();
    for message in reading.messages.drain(..leading) {
        request.system.extend(message.parts);
    }
    request.messages = reading.messages;
    request.tools.append(&mut reading.tools);
    Ok(())
}

fn reasoning(raw: &RawValue, request: &mut ChatRequest) -> Result<(), ReadError> {
    let mut fields = Fields::parse_raw(raw).map_err(|error| wrong("reasoning", &error))?;
    let word: Option<String> = fields.take_as("effort")?;
    request.reasoning.effort = word.as_deref().and_then(effort::parse);
    let says = |name: &str| fields.raw(name).is_some_and(|raw| raw.get() != "null");
    if says("summary") || says("generate_summary") {
        request.reasoning.show = Some(true);
    }
    request.reasoning.extra = fields.into_extra();
    Ok(())
}

fn text(raw: &RawValue, request: &mut ChatRequest) -> Result<(), ReadError> {
    let mut fields = Fields::parse_raw(raw).map_err(|error| wrong("text", &error))?;
    if let Some(raw) = fields.take("format").filter(|raw| raw.get() != "null") {
        let mut format = Fields::parse_raw(raw).map_err(|error| wrong("text.format", &error))?;
        let kind: String = format.take_as("type")?.unwrap_or_default();
        request.format = match kind.as_str() {
            "json_object" => ResponseFormat::JsonObject,
            "json_schema" => ResponseFormat::JsonSchema {
                name: format.take_as("name")?,
                description: format.take_as("description")?,
                schema: match format.take("schema") {
                    Some(schema) => schema.to_owned(),
                    None => raw_object(|o| o.put("type", "object")),
                },
                strict: format.take_as("strict")?,
            },
            _ => ResponseFormat::Text,
        };
    }
    // `verbosity` is a top-level member in Chat.
    request.extra.0.extend(fields.into_extra().0);
    Ok(())
}
