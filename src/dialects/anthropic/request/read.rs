//! Reads a request.

use serde_json::value::RawValue;

use crate::dialects::anthropic::request::blocks::read_blocks;
use crate::dialects::chat::{
    ChatRequest, Effort, Function, Message, Part, ResponseFormat, Role, Tool, ToolChoice,
};
use crate::dialects::error::ReadError;
use crate::dialects::fields::{Extra, FieldError, Fields};
use crate::dialects::{Dialect, RequestHint, effort};

/// Reads a body as any client of this dialect writes it.
pub(in crate::dialects::anthropic) fn read(
    body: &[u8],
    hint: RequestHint<'_>,
) -> Result<ChatRequest, ReadError> {
    let mut fields = Fields::parse(body)?;
    let model = fields.take_as::<String>("model")?;
    let Some(model) = model.or_else(|| hint.model.map(str::to_owned)) else {
        return Err(FieldError::new("model", "is missing").into());
    };
    let mut request = ChatRequest::new(Dialect::Anthropic, model);
    if let Some(system) = fields.take("system") {
        request.system = read_blocks(system).map_err(|error| error.within("system"))?;
    }
    let Some(messages) = fields.take("messages") else {
        return Err(FieldError::new("messages", "is missing").into());
    };
    read_messages(messages, &mut request)?;
    read_tools(&mut fields, &mut request)?;
    read_thinking(&mut fields, &mut request)?;
    request.max_tokens = fields.take_count("max_tokens")?;
    request.temperature = fields.take_as("temperature")?;
    request.top_p = fields.take_as("top_p")?;
    request.top_k = fields.take_count("top_k")?;
    request.stop = fields.take_as("stop_sequences")?.unwrap_or_default();
    request.stream = fields
        .take_as::<bool>("stream")?
        .or(hint.stream)
        .unwrap_or(false);
    request.include_usage = true;
    read_user(&mut fields, &mut request);
    request.extra = fields.into_extra();
    request.extra.0.retain(|(_, value)| value.get() != "null");
    Ok(request)
}

/// `metadata.user_id` is all that `metadata` may hold; what else is there stays.
fn read_user(fields: &mut Fields<'_>, request: &mut ChatRequest) {
    let Some(metadata) = fields.raw("metadata") else {
        return;
    };
    let Ok(mut members) = Fields::parse_raw(metadata) else {
        return;
    };
    request.user = members.take_as("user_id").ok().flatten();
    if members.iter().next().is_none() {
        fields.take("metadata");
    }
}

fn read_messages(raw: &RawValue, request: &mut ChatRequest) -> Result<(), FieldError> {
    let messages: Vec<Fields<'_>> = serde_json::from_str(raw.get())
        .map_err(|error| FieldError::new("messages", error.to_string()))?;
    request.messages.reserve(messages.len());
    for (at, mut fields) in messages.into_iter().enumerate() {
        let mut read = || -> Result<(), FieldError> {
            let role = fields.take_as::<String>("role")?.unwrap_or_default();
            let parts = match fields.take("content") {
                Some(content) => read_blocks(content)?,
                None => Vec::new(),
            };
            let extra = std::mem::take(&mut fields).into_extra();
            match role.as_str() {
                "assistant" => push(request, Role::Assistant, parts, extra),
                "system" => push(request, Role::System, parts, extra),
                _ => push_user(request, parts, extra),
            }
            Ok(())
        };
        read().map_err(|error| error.within(&format!("messages[{at}]")))?;
    }
    Ok(())
}

fn push(request: &mut ChatRequest, role: Role, parts: Vec<Part>, extra: Extra) {
    request.messages.push(Message { role, parts, extra });
}

/// A user message with tool results becomes several: results are a role of their own.
fn push_user(request: &mut ChatRequest, parts: Vec<Part>, extra: Extra) {
    let mut extra = Some(extra);
    let mut group: Vec<Part> = Vec::new();
    let mut group_role = Role::User;
    for part in parts {
        let role = match part {
            Part::ToolResult(_) => Role::Tool,
            _ => Role::User,
        };
        if role != group_role && !group.is_empty() {
            let extra = extra.take().unwrap_or_default();
            push(request, group_role, std::mem::take(&mut group), extra);
        }
        group_role = role;
        group.push(part);
    }
    if !group.is_empty() || extra.is_some() {
        push(request, group_role, group, extra.unwrap_or_default());
    }
}

fn read_tools(fields: &mut Fields<'_>, request: &mut ChatRequest) -> Result<(), FieldError> {
    if let Some(raw) = fields.take("tools") {
        let tools: Vec<&RawValue> = serde_json::from_str::<Option<_>>(raw.get())
            .map_err(|error| FieldError::new("tools", error.to_string()))?
            .unwrap_or_default();
        for (at, tool) in tools.into_iter().enumerate() {
            let tool = read_tool(tool).map_err(|error| error.within(&format!("tools[{at}]")))?;
            request.tools.push(tool);
        }
    }
    let Some(raw) = fields.take("tool_choice").filter(|raw| raw.get() != "null") else {
        return Ok(());
    };
    let mut choice = Fields::parse_raw(raw)
        .map_err(|error| FieldError::new("tool_choice", error.to_string()))?;
    let name: Option<String> = choice.take_as("name")?;
    request.tool_choice = Some(match choice.take_as::<String>("type")?.as_deref() {
        Some("any") => ToolChoice::Required,
        Some("none") => ToolChoice::None,
        Some("tool") => name.map_or(ToolChoice::Required, ToolChoice::Tool),
        _ => ToolChoice::Auto,
    });
    if choice.take_as::<bool>("disable_parallel_tool_use")? == Some(true) {
        request.parallel_tool_calls = Some(false);
    }
    Ok(())
}

fn read_tool(raw: &RawValue) -> Result<Tool, FieldError> {
    let mut fields =
        Fields::parse_raw(raw).map_err(|error| FieldError::new("", error.to_string()))?;
    let kind: Option<String> = fields.take_as("type")?;
    if !matches!(kind.as_deref(), None | Some("custom" | "function")) {
        return Ok(Tool::Hosted {
            dialect: Dialect::Anthropic,
            json: raw.to_owned(),
        });
    }
    let mark = fields.take("cache_control");
    Ok(Tool::Function(Function {
        name: fields.take_as("name")?.unwrap_or_default(),
        description: fields.take_as("description")?,
        parameters: fields
            .take("input_schema")
            .filter(|schema| schema.get() != "null")
            .map(ToOwned::to_owned),
        strict: fields.take_as("strict")?,
        cache_control: mark
            .filter(|raw| raw.get() != "null")
            .map(ToOwned::to_owned),
        extra: fields.into_extra(),
    }))
}

/// Reads `thinking`, `output_config` and its forerunner `output_format`.
fn read_thinking(fields: &mut Fields<'_>, request: &mut ChatRequest) -> Result<(), FieldError> {
    let mut word: Option<String> = None;
    let mut format = fields.take("output_format");
    if let Some(raw) = fields
        .take("output_config")
        .filter(|raw| raw.get() != "null")
    {
        let mut config = Fields::parse_raw(raw)
            .map_err(|error| FieldError::new("output_config", error.to_string()))?;
        word = config.take_as("effort")?;
        format = config.take("format").or(format);
    }
    if let Some(raw) = format.filter(|raw| raw.get() != "null") {
        request.format = read_format(raw).map_err(|error| error.within("output_config.format"))?;
    }
    request.reasoning.effort = word.as_deref().and_then(effort::parse);
    let Some(raw) = fields.take("thinking").filter(|raw| raw.get() != "null") else {
        return Ok(());
    };
    request.reasoning.extra = Extra(vec![("thinking".to_owned(), raw.to_owned())]);
    let mut thinking =
        Fields::parse_raw(raw).map_err(|error| FieldError::new("thinking", error.to_string()))?;
    let reasoning = &mut request.reasoning;
    match thinking.take_as::<String>("type")?.as_deref() {
        Some("disabled") => reasoning.effort = Some(Effort::None),
        Some("between_tools") => reasoning.effort = Some(Effort::Minimal),
        Some("enabled") => {
            let budget = thinking.take_count("budget_tokens")?;
            reasoning.budget = budget.and_then(|budget| i64::try_from(budget).ok());
        }
        _ if reasoning.effort.is_none() => reasoning.effort = Some(Effort::Auto),
        _ => {}
    }
    let display: Option<String> = thinking.take_as("display")?;
    reasoning.show = display.map(|display| display != "omitted");
    Ok(())
}

fn read_format(raw: &RawValue) -> Result<ResponseFormat, FieldError> {
    let mut fields =
        Fields::parse_raw(raw).map_err(|error| FieldError::new("", error.to_string()))?;
    let kind: Option<String> = fields.take_as("type")?;
    Ok(match (kind.as_deref(), fields.take("schema")) {
        (Some("json_schema"), Some(schema)) => ResponseFormat::JsonSchema {
            name: fields.take_as("name")?,
            description: None,
            schema: schema.to_owned(),
            strict: Some(true),
        },
        _ => ResponseFormat::Text,
    })
}
