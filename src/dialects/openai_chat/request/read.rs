//! Reads a request: the members beside the messages.

use std::borrow::Cow;

use serde_json::value::RawValue;

use crate::dialects::chat::{ChatRequest, Effort, Function, ResponseFormat, Tool, ToolChoice};
use crate::dialects::error::ReadError;
use crate::dialects::fields::{Extra, FieldError, Fields};
use crate::dialects::openai_chat::request::messages;
use crate::dialects::{Dialect, RequestHint, effort};

/// Reads a body as any OpenAI client writes it.
pub(in crate::dialects::openai_chat) fn read(
    body: &[u8],
    hint: RequestHint<'_>,
) -> Result<ChatRequest, ReadError> {
    let mut fields = Fields::parse(body)?;
    let model = fields.take_as::<String>("model")?;
    let Some(model) = model.or_else(|| hint.model.map(str::to_owned)) else {
        return Err(FieldError::new("model", "is missing").into());
    };
    let mut request = ChatRequest::new(Dialect::OpenAiChat, model);
    let Some(list) = fields.take("messages") else {
        return Err(FieldError::new("messages", "is missing").into());
    };
    messages::read(list, &mut request)?;
    read_tools(&mut fields, &mut request)?;
    read_limits(&mut fields, &mut request)?;
    read_reasoning(&mut fields, &mut request)?;
    if let Some(format) = fields.take("response_format") {
        request.format = read_format(format).map_err(|error| error.within("response_format"))?;
    }
    request.stream = fields
        .take_as::<bool>("stream")?
        .or(hint.stream)
        .unwrap_or(false);
    if let Some(options) = fields.take("stream_options")
        && let Ok(mut options) = Fields::parse_raw(options)
    {
        request.include_usage = options.take_as("include_usage")?.unwrap_or(false);
    }
    request.user = fields.take_as("user")?;
    if request.user.is_none()
        && let Some(id) = fields.raw("safety_identifier")
    {
        request.user = serde_json::from_str(id.get()).ok();
    }
    request.extra = fields.into_extra();
    request.extra.0.retain(|(_, value)| value.get() != "null");
    Ok(request)
}

fn read_limits(fields: &mut Fields<'_>, request: &mut ChatRequest) -> Result<(), FieldError> {
    let old_limit = fields.take_count("max_tokens")?;
    request.max_tokens = fields.take_count("max_completion_tokens")?.or(old_limit);
    request.temperature = fields.take_as("temperature")?;
    request.top_p = fields.take_as("top_p")?;
    request.top_k = fields.take_count("top_k")?;
    request.seed = fields.take_as("seed")?;
    request.candidates = fields
        .take_count("n")?
        .and_then(|count| u32::try_from(count).ok());
    request.presence_penalty = fields.take_as("presence_penalty")?;
    request.frequency_penalty = fields.take_as("frequency_penalty")?;
    request.logprobs = fields.take_as("logprobs")?;
    request.top_logprobs = fields
        .take_count("top_logprobs")?
        .and_then(|count| u32::try_from(count).ok());
    if let Some(stop) = fields.take("stop") {
        request.stop = one_or_many(stop).map_err(|error| error.within("stop"))?;
    }
    Ok(())
}

fn one_or_many(raw: &RawValue) -> Result<Vec<String>, FieldError> {
    let json = raw.get();
    let parsed = if json.starts_with('"') {
        serde_json::from_str::<String>(json).map(|one| vec![one])
    } else {
        serde_json::from_str::<Option<Vec<String>>>(json).map(Option::unwrap_or_default)
    };
    parsed.map_err(|error| FieldError::new("", error.to_string()))
}

/// Reads all spellings of "think this much": OpenAI's, OpenRouter's, DeepSeek's, Qwen's.
fn read_reasoning(fields: &mut Fields<'_>, request: &mut ChatRequest) -> Result<(), FieldError> {
    let reasoning = &mut request.reasoning;
    let mut written = Vec::new();
    if let Some(word) = fields.take_as::<Cow<'_, str>>("reasoning_effort")? {
        reasoning.effort = effort::parse(&word);
    }
    if let Some(raw) = fields.take("reasoning") {
        written.push(("reasoning".to_owned(), raw.to_owned()));
        if let Ok(mut object) = Fields::parse_raw(raw) {
            if let Some(word) = object.take_as::<Cow<'_, str>>("effort")? {
                reasoning.effort = effort::parse(&word);
            }
            if let Some(budget) = object.take_count("max_tokens")? {
                reasoning.budget = i64::try_from(budget).ok();
            }
            match object.take_as::<bool>("enabled")? {
                Some(false) => reasoning.effort = Some(Effort::None),
                Some(true) if reasoning.effort.is_none() => reasoning.effort = Some(Effort::Auto),
                _ => {}
            }
            if object.take_as::<bool>("exclude")? == Some(true) {
                reasoning.show = Some(false);
            }
        }
    }
    if let Some(raw) = fields.take("thinking") {
        written.push(("thinking".to_owned(), raw.to_owned()));
        if let Ok(mut object) = Fields::parse_raw(raw) {
            let kind = object.take_as::<Cow<'_, str>>("type")?;
            match kind.as_deref() {
                Some("disabled") => reasoning.effort = Some(Effort::None),
                Some(_) if reasoning.effort.is_none() => reasoning.effort = Some(Effort::Auto),
                _ => {}
            }
            if let Some(budget) = object.take_count("budget_tokens")? {
                reasoning.budget = i64::try_from(budget).ok();
            }
        }
    }
    if let Some(raw) = fields.take("enable_thinking") {
        written.push(("enable_thinking".to_owned(), raw.to_owned()));
        match raw.get() {
            "false" => reasoning.effort = Some(Effort::None),
            "true" if reasoning.effort.is_none() => reasoning.effort = Some(Effort::Auto),
            _ => {}
        }
    }
    if let Some(raw) = fields.raw("thinking_budget") {
        written.push(("thinking_budget".to_owned(), raw.to_owned()));
        let budget = fields.take_count("thinking_budget")?;
        reasoning.budget = budget.and_then(|budget| i64::try_from(budget).ok());
    }
    reasoning.extra = Extra(written);
    Ok(())
}

fn read_format(raw: &RawValue) -> Result<ResponseFormat, FieldError> {
    if raw.get() == "null" {
        return Ok(ResponseFormat::Text);
    }
    let not_an_object = |error: serde_json::Error| FieldError::new("", error.to_string());
    let mut fields = Fields::parse_raw(raw).map_err(not_an_object)?;
    let kind = fields.take_as::<String>("type")?;
    match (kind.as_deref(), fields.take("json_schema")) {
        (Some("json_schema"), Some(schema)) => {
            let mut schema = Fields::parse_raw(schema).map_err(not_an_object)?;
            Ok(ResponseFormat::JsonSchema {
                name: schema.take_as("name")?,
                description: schema.take_as("description")?,
                strict: schema.take_as("strict")?,
                schema: schema
                    .take("schema")
                    .map_or_else(|| RawValue::NULL.to_owned(), ToOwned::to_owned),
            })
        }
        (Some("json_object" | "json_schema"), _) => Ok(ResponseFormat::JsonObject),
        _ => Ok(ResponseFormat::Text),
    }
}

fn read_tools(fields: &mut Fields<'_>, request: &mut ChatRequest) -> Result<(), FieldError> {
    for tool in list(fields.take("tools"), "tools")? {
        request.tools.push(read_tool(tool)?);
    }
    for function in list(fields.take("functions"), "functions")? {
        request.legacy_functions = true;
        request
            .tools
            .push(read_function(function, &Extra::default())?);
    }
    if let Some(choice) = fields.take("tool_choice") {
        request.tool_choice = read_choice(choice);
    }
    if let Some(choice) = fields.take("function_call") {
        request.tool_choice = read_choice(choice);
    }
    request.parallel_tool_calls = fields.take_as("parallel_tool_calls")?;
    Ok(())
}

fn list<'a>(raw: Option<&'a RawValue>, name: &str) -> Result<Vec<&'a RawValue>, FieldError> {
    let Some(raw) = raw else {
        return Ok(Vec::new());
    };
    serde_json::from_str::<Option<Vec<&RawValue>>>(raw.get())
        .map(Option::unwrap_or_default)
        .map_err(|error| FieldError::new(name, error.to_string()))
}

fn read_tool(raw: &RawValue) -> Result<Tool, FieldError> {
    let wrong = |error: serde_json::Error| FieldError::new("tools", error.to_string());
    let mut fields = Fields::parse_raw(raw).map_err(wrong)?;
    let kind = fields.take_as::<String>("type")?;
    match kind.as_deref() {
        Some("custom") if fields.raw("custom").is_some() => {
            let custom = fields.take("custom").unwrap_or(raw);
            let mut custom = Fields::parse_raw(custom).map_err(wrong)?;
            Ok(Tool::Custom {
                name: custom.take_as("name")?.unwrap_or_default(),
                description: custom.take_as("description")?,
                format: custom.take("format").map(ToOwned::to_owned),
            })
        }
        None | Some("function") => match fields.take("function") {
            Some(function) => read_function(function, &fields.into_extra()),
            // Flat, as the Responses dialect writes it: seen from clients that mix the two up.
            None => read_function(raw, &Extra::default()),
        },
        Some(_) => Ok(Tool::Hosted {
            dialect: Dialect::OpenAiChat,
            json: raw.to_owned(),
        }),
    }
}

/// Reads a function; `outside` holds the members beside it, of which `cache_control` is one.
fn read_function(raw: &RawValue, outside: &Extra) -> Result<Tool, FieldError> {
    let mut fields =
        Fields::parse_raw(raw).map_err(|error| FieldError::new("tools", error.to_string()))?;
    fields.take("type");
    let inside = fields.take("cache_control").map(ToOwned::to_owned);
    let outer = outside.get("cache_control").map(ToOwned::to_owned);
    Ok(Tool::Function(Function {
        name: fields.take_as("name")?.unwrap_or_default(),
        description: fields.take_as("description")?,
        parameters: fields
            .take("parameters")
            .filter(|schema| schema.get() != "null")
            .map(ToOwned::to_owned),
        strict: fields.take_as("strict")?,
        cache_control: outer.or(inside),
        extra: fields.into_extra(),
    }))
}

/// Reads `tool_choice` or `function_call`; what nobody knows is "as the model likes".
fn read_choice(raw: &RawValue) -> Option<ToolChoice> {
    if let Ok(word) = serde_json::from_str::<String>(raw.get()) {
        return Some(match word.as_str() {
            "none" => ToolChoice::None,
            "required" | "any" => ToolChoice::Required,
            _ => ToolChoice::Auto,
        });
    }
    let mut fields = Fields::parse_raw(raw).ok()?;
    if let Some(allowed) = fields.take("allowed_tools") {
        return read_allowed(allowed);
    }
    let named = fields.take("function").or_else(|| fields.take("custom"));
    let name = match named {
        Some(named) => Fields::parse_raw(named).ok()?.take_as("name").ok()?,
        None => fields.take_as("name").ok()?,
    };
    Some(name.map_or(ToolChoice::Auto, ToolChoice::Tool))
}

fn read_allowed(raw: &RawValue) -> Option<ToolChoice> {
    let mut fields = Fields::parse_raw(raw).ok()?;
    let mode = fields.take_as::<String>("mode").ok()?;
    let tools: Vec<Fields<'_>> = serde_json::from_str(fields.take("tools")?.get()).ok()?;
    let names = tools.into_iter().filter_map(|mut tool| {
        let named = tool.take("function").or_else(|| tool.take("custom"));
        match named {
            Some(named) => Fields::parse_raw(named).ok()?.take_as("name").ok()?,
            None => tool.take_as("name").ok()?,
        }
    });
    Some(ToolChoice::Allowed {
        names: names.collect(),
        required: mode.as_deref() == Some("required"),
    })
}
