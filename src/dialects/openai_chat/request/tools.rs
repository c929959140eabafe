//! Writes tools and the choice among them.

use serde_json::value::RawValue;

use crate::dialects::Dialect;
use crate::dialects::chat::{ChatRequest, Function, Tool, ToolChoice};
use crate::dialects::fields::Fields;
use crate::dialects::ids::{NameRule, tool_name};
use crate::dialects::json::{Array, Object};
use crate::dialects::loss::Losses;
use crate::dialects::openai_chat::vendor::Vendor;
use crate::dialects::restore::CUSTOM_INPUT;

/// Writes `tools`, `tool_choice` and `parallel_tool_calls`: the last two only with the first.
pub(super) fn write(
    o: &mut Object<'_>,
    request: &ChatRequest,
    vendor: Vendor,
    losses: &mut Losses,
) {
    let writable: Vec<&Tool> = request
        .tools
        .iter()
        .enumerate()
        .filter(|(at, tool)| is_writable(tool, *at, losses))
        .map(|(_, tool)| tool)
        .collect();
    if writable.is_empty() {
        return;
    }
    let is_native = request.source == Dialect::OpenAiChat;
    let keeps_custom = is_native || vendor.custom_tools;
    o.array("tools", |list| {
        for tool in &writable {
            match tool {
                Tool::Function(function) => write_function(list, function, is_native, vendor),
                Tool::Custom {
                    name,
                    description,
                    format,
                } if keeps_custom => list.object(|o| {
                    o.put("type", "custom");
                    o.object("custom", |o| {
                        o.put("name", &tool_name(name, NameRule::OpenAi));
                        o.put_some("description", description.as_ref());
                        o.raw_some("format", format.as_ref());
                    });
                }),
                Tool::Custom {
                    name,
                    description,
                    format,
                } => list.object(|o| {
                    o.put("type", "function");
                    o.object("function", |o| {
                        o.put("name", &tool_name(name, NameRule::OpenAi));
                        o.put(
                            "description",
                            &custom_description(description.as_deref(), format.as_deref()),
                        );
                        o.object("parameters", write_input_schema);
                    });
                }),
                Tool::Hosted { json, .. } => list.raw(json),
            }
        }
    });
    let named = |name: &str| writable.iter().any(|tool| tool.name() == Some(name));
    match &request.tool_choice {
        None => {}
        Some(ToolChoice::Auto) => o.put("tool_choice", "auto"),
        Some(ToolChoice::None) => o.put("tool_choice", "none"),
        Some(ToolChoice::Required) => o.put("tool_choice", "required"),
        Some(ToolChoice::Tool(name)) if named(name) => {
            let is_custom = keeps_custom
                && writable.iter().any(
                    |tool| matches!(tool, Tool::Custom { name: custom, .. } if custom == name),
                );
            o.object("tool_choice", |o| write_named(o, name, is_custom));
        }
        Some(ToolChoice::Tool(_)) => losses.drop_field("tool_choice"),
        Some(ToolChoice::Allowed { names, required }) => {
            let mode = if *required { "required" } else { "auto" };
            if is_native || vendor.is_strict {
                o.object("tool_choice", |o| {
                    o.put("type", "allowed_tools");
                    o.object("allowed_tools", |o| {
                        o.put("mode", mode);
                        o.array("tools", |a| {
                            for name in names {
                                a.object(|o| write_named(o, name, false));
                            }
                        });
                    });
                });
            } else {
                o.put("tool_choice", mode);
                losses.drop_field("tool_choice.allowed_tools");
            }
        }
    }
    o.put_some("parallel_tool_calls", request.parallel_tool_calls.as_ref());
}

/// The properties of the function that stands in for a free-text tool.
pub(in crate::dialects) fn write_input_schema(o: &mut Object<'_>) {
    o.put("type", "object");
    o.object("properties", |o| {
        o.object(CUSTOM_INPUT, |o| o.put("type", "string"));
    });
    o.put("required", &[CUSTOM_INPUT]);
    o.put("additionalProperties", &false);
}

/// What a free-text tool's stand-in says of itself: its description, and its grammar if it has one.
pub(in crate::dialects) fn custom_description(
    description: Option<&str>,
    format: Option<&RawValue>,
) -> String {
    let mut text = description.unwrap_or_default().to_owned();
    let grammar = format.and_then(|format| {
        let mut fields = Fields::parse_raw(format).ok()?;
        let nested = fields.take("grammar");
        let mut grammar = match nested {
            Some(nested) => Fields::parse_raw(nested).ok()?,
            None => fields,
        };
        let syntax: String = grammar.take_as("syntax").ok()??;
        let definition: String = grammar.take_as("definition").ok()??;
        Some((syntax, definition))
    });
    if let Some((syntax, definition)) = grammar {
        if !text.is_empty() {
            text.push_str("\n\n");
        }
        text.push_str("`input` must follow this ");
        text.push_str(&syntax);
        text.push_str(" grammar:\n");
        text.push_str(&definition);
    }
    text
}

fn is_writable(tool: &Tool, at: usize, losses: &mut Losses) -> bool {
    let writable = match tool {
        Tool::Hosted { dialect, .. } => *dialect == Dialect::OpenAiChat,
        _ => true,
    };
    if !writable {
        losses.drop_field(format!("tools[{at}]"));
    }
    writable
}

fn write_function(list: &mut Array<'_>, function: &Function, is_native: bool, vendor: Vendor) {
    list.object(|o| {
        o.put("type", "function");
        o.object("function", |o| {
            o.put("name", &tool_name(&function.name, NameRule::OpenAi));
            o.put_some("description", function.description.as_ref());
            o.raw_some("parameters", function.parameters.as_ref());
            if is_native || function.strict == Some(true) {
                o.put_some("strict", function.strict.as_ref());
            }
            if is_native {
                o.extra(&function.extra);
            }
        });
        if is_native || vendor.cache_control {
            o.raw_some("cache_control", function.cache_control.as_ref());
        }
    });
}

fn write_named(o: &mut Object<'_>, name: &str, is_custom: bool) {
    let kind = if is_custom { "custom" } else { "function" };
    o.put("type", kind);
    o.object(kind, |o| o.put("name", &tool_name(name, NameRule::OpenAi)));
}
