//! Tools and the choice between them, both ways. Chat nests what is flat here, and namespaces
//! become the beginning of their tools' names.

use serde_json::value::{RawValue, to_raw_value};

use crate::dialects::Dialect;
use crate::dialects::chat::{ChatRequest, Function, Tool, ToolChoice};
use crate::dialects::error::ReadError;
use crate::dialects::fields::Fields;
use crate::dialects::ids::{NameRule, tool_name};
use crate::dialects::json::{Array, Object};
use crate::dialects::loss::Losses;
use crate::dialects::openai_responses::content::wrong;
use crate::dialects::openai_responses::items::NAMESPACE;

/// The member of a function's `extra` that names its namespace.
const NAMESPACE_MEMBER: &str = "namespace";

/// Reads the tools of a request.
pub(super) fn read(raw: &RawValue) -> Result<Vec<Tool>, ReadError> {
    let list: Vec<&RawValue> =
        serde_json::from_str(raw.get()).map_err(|error| wrong("tools", &error))?;
    let mut tools = Vec::with_capacity(list.len());
    for tool in list {
        read_one(tool, None, &mut tools)?;
    }
    Ok(tools)
}

fn read_one(
    raw: &RawValue,
    namespace: Option<&str>,
    tools: &mut Vec<Tool>,
) -> Result<(), ReadError> {
    let mut fields = Fields::parse_raw(raw).map_err(|error| wrong("tools", &error))?;
    let kind: String = fields.take_as("type")?.unwrap_or_default();
    match kind.as_str() {
        "function" => {
            let name = full_name(fields.take_as("name")?.unwrap_or_default(), namespace);
            let description = fields.take_as("description")?;
            let parameters = fields
                .take("parameters")
                .filter(|raw| raw.get() != "null")
                .map(ToOwned::to_owned);
            let strict = fields.take_as("strict")?;
            let mut extra = fields.into_extra();
            if let Some(namespace) = namespace {
                let value = to_raw_value(namespace)?;
                extra.0.push((NAMESPACE_MEMBER.to_owned(), value));
            }
            tools.push(Tool::Function(Function {
                name,
                description,
                parameters,
                strict,
                cache_control: None,
                extra,
            }));
        }
        "custom" => tools.push(Tool::Custom {
            name: full_name(fields.take_as("name")?.unwrap_or_default(), namespace),
            description: fields.take_as("description")?,
            format: fields.take("format").map(ToOwned::to_owned),
        }),
        "namespace" => {
            let name: String = fields.take_as("name")?.unwrap_or_default();
            let children = fields.take("tools").map_or("[]", RawValue::get);
            let children: Vec<&RawValue> =
                serde_json::from_str(children).map_err(|error| wrong("tools", &error))?;
            for child in children {
                read_one(child, Some(&name), tools)?;
            }
        }
        _ => tools.push(Tool::Hosted {
            dialect: Dialect::OpenAiResponses,
            json: raw.to_owned(),
        }),
    }
    Ok(())
}

fn full_name(name: String, namespace: Option<&str>) -> String {
    match namespace {
        Some(namespace) => format!("{namespace}{NAMESPACE}{name}"),
        None => name,
    }
}

/// The namespace and own name of a tool of the request that was read; `None` without one.
pub(super) fn split_name<'n>(
    request: Option<&ChatRequest>,
    name: &'n str,
) -> Option<(&'n str, &'n str)> {
    let (namespace, own) = name.split_once(NAMESPACE)?;
    let quoted = serde_json::to_string(namespace).ok()?;
    let is_known = request?.tools.iter().any(|tool| match tool {
        Tool::Function(function) => function
            .extra
            .get(NAMESPACE_MEMBER)
            .is_some_and(|known| known.get() == quoted),
        _ => false,
    });
    is_known.then_some((namespace, own))
}

/// Reads `tool_choice`; a hosted tool is left to the model.
pub(super) fn read_choice(raw: &RawValue) -> Result<ToolChoice, ReadError> {
    if let Ok(word) = serde_json::from_str::<String>(raw.get()) {
        return Ok(match word.as_str() {
            "none" => ToolChoice::None,
            "required" => ToolChoice::Required,
            _ => ToolChoice::Auto,
        });
    }
    let mut fields = Fields::parse_raw(raw).map_err(|error| wrong("tool_choice", &error))?;
    let kind: String = fields.take_as("type")?.unwrap_or_default();
    let name: Option<String> = fields.take_as("name")?;
    Ok(match (kind.as_str(), name) {
        ("function" | "custom", Some(name)) => ToolChoice::Tool(name),
        ("allowed_tools", _) => {
            let mode: Option<String> = fields.take_as("mode")?;
            let tools: Vec<Fields<'_>> = match fields.take("tools") {
                Some(list) => serde_json::from_str(list.get())
                    .map_err(|error| wrong("tool_choice.tools", &error))?,
                None => Vec::new(),
            };
            let mut names = Vec::new();
            for mut tool in tools {
                names.extend(tool.take_as::<String>("name")?);
            }
            ToolChoice::Allowed {
                names,
                required: mode.as_deref() == Some("required"),
            }
        }
        _ => ToolChoice::Auto,
    })
}

/// Writes the tools, for an upstream or as part of an answer.
pub(super) fn write(request: &ChatRequest, list: &mut Array<'_>, losses: &mut Losses) {
    for (at, tool) in request.tools.iter().enumerate() {
        match tool {
            Tool::Function(function) => list.object(|o| {
                o.put("type", "function");
                o.put("name", &tool_name(&function.name, NameRule::OpenAi));
                o.put_some("description", function.description.as_ref());
                match &function.parameters {
                    Some(schema) => o.raw("parameters", schema),
                    None => o.object("parameters", |o| {
                        o.put("type", "object");
                        o.object("properties", |_| {});
                    }),
                }
                strictness(o, function.strict, request.source);
            }),
            Tool::Custom {
                name,
                description,
                format,
            } => list.object(|o| {
                o.put("type", "custom");
                o.put("name", &tool_name(name, NameRule::OpenAi));
                o.put_some("description", description.as_ref());
                o.raw_some("format", format.as_ref());
            }),
            Tool::Hosted {
                dialect: Dialect::OpenAiResponses,
                json,
            } => list.raw(json),
            Tool::Hosted { json, .. } if searches_the_web(json) => {
                list.object(|o| o.put("type", "web_search"));
            }
            Tool::Hosted { .. } => losses.drop_field(format!("tools[{at}]")),
        }
    }
}

/// Strict is the default here and not elsewhere, so the others' silence is said aloud.
fn strictness(o: &mut Object<'_>, strict: Option<bool>, source: Dialect) {
    match strict {
        Some(strict) => o.put("strict", &strict),
        None if source == Dialect::OpenAiResponses => o.null("strict"),
        None => o.put("strict", &false),
    }
}

fn searches_the_web(json: &RawValue) -> bool {
    json.get().contains("\"web_search") || json.get().contains("\"googleSearch\"")
}

/// Writes `tool_choice`.
pub(super) fn write_choice(o: &mut Object<'_>, choice: &ToolChoice, request: &ChatRequest) {
    let named = |o: &mut Object<'_>, name: &str| {
        let is_custom = request
            .tools
            .iter()
            .any(|tool| matches!(tool, Tool::Custom { name: known, .. } if known == name));
        o.put("type", if is_custom { "custom" } else { "function" });
        o.put("name", &tool_name(name, NameRule::OpenAi));
    };
    match choice {
        ToolChoice::Auto => o.put("tool_choice", "auto"),
        ToolChoice::None => o.put("tool_choice", "none"),
        ToolChoice::Required => o.put("tool_choice", "required"),
        ToolChoice::Tool(name) => o.object("tool_choice", |o| named(o, name)),
        ToolChoice::Allowed { names, required } => o.object("tool_choice", |o| {
            o.put("type", "allowed_tools");
            o.put("mode", if *required { "required" } else { "auto" });
            o.array("tools", |list| {
                for name in names {
                    list.object(|o| named(o, name));
                }
            });
        }),
    }
}
