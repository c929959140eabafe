//! Writes tools and the choice among them.

use std::collections::BTreeSet;

use crate::dialects::Dialect;
use crate::dialects::anthropic::request::controls::Plan;
use crate::dialects::anthropic::request::history::Marks;
use crate::dialects::anthropic::request::schema;
use crate::dialects::chat::{ChatRequest, Part, ResponseFormat, Tool, ToolChoice};
use crate::dialects::fields::{Fields, Raw};
use crate::dialects::ids::{NameRule, tool_name};
use crate::dialects::json::{Array, Object, raw_object};
use crate::dialects::loss::Losses;
use crate::dialects::openai_chat::{custom_description, write_input_schema};
use crate::dialects::restore::JSON_TOOL;

/// Writes `tools` and `tool_choice`.
pub(super) fn write(
    o: &mut Object<'_>,
    request: &ChatRequest,
    plan: &Plan,
    marks: &mut Marks,
    losses: &mut Losses,
) {
    let allowed = match &request.tool_choice {
        Some(ToolChoice::Allowed { names, .. }) => Some(names),
        _ => None,
    };
    let offered: Vec<&Tool> = request
        .tools
        .iter()
        .filter(|tool| {
            let name = tool.name().unwrap_or_default();
            allowed.is_none_or(|names| names.iter().any(|allowed| allowed == name))
        })
        .collect();
    let mut written = Vec::new();
    for (at, tool) in offered.iter().enumerate() {
        match json_of(tool, request, marks) {
            Some(json) => written.push(json),
            None => losses.drop_field(format!("tools[{at}]")),
        }
    }
    written.extend(web_search_of_options(request));
    let has_own_tools = !written.is_empty();
    if plan.json_tool {
        written.extend(json_tool(request));
    }
    if written.is_empty() {
        write_past_tools(o, request);
        return;
    }
    o.array("tools", |list| {
        for tool in &written {
            list.raw(tool);
        }
    });
    write_choice(o, request, plan, has_own_tools, losses);
}

fn json_of(tool: &Tool, request: &ChatRequest, marks: &mut Marks) -> Option<Raw> {
    Some(match tool {
        Tool::Function(function) => raw_object(|o| {
            o.put("name", &tool_name(&function.name, NameRule::Anthropic));
            o.put_some("description", function.description.as_ref());
            o.raw("input_schema", &schema::input(function.parameters.as_ref()));
            if request.source == Dialect::Anthropic {
                o.put_some("strict", function.strict.as_ref());
                o.extra(&function.extra);
            }
            o.raw_some("cache_control", marks.next(function.cache_control.as_ref()));
        }),
        Tool::Custom {
            name,
            description,
            format,
        } => raw_object(|o| {
            o.put("name", &tool_name(name, NameRule::Anthropic));
            o.put(
                "description",
                &custom_description(description.as_deref(), format.as_deref()),
            );
            o.object("input_schema", write_input_schema);
        }),
        Tool::Hosted {
            dialect: Dialect::Anthropic,
            json,
        } => json.clone(),
        Tool::Hosted { json, .. } => web_search_of_hosted(json)?,
    })
}

/// OpenAI's and Google's own search tools have a counterpart; their other tools have none.
fn web_search_of_hosted(json: &Raw) -> Option<Raw> {
    let mut fields = Fields::parse_raw(json).ok()?;
    let kind: Option<String> = fields.take_as("type").ok()?;
    let is_search = kind.is_some_and(|kind| kind.starts_with("web_search"))
        || fields.raw("googleSearch").is_some()
        || fields.raw("google_search").is_some();
    is_search.then(|| raw_object(|o| write_web_search(o, None)))
}

/// OpenAI's `web_search_options` is a tool here.
fn web_search_of_options(request: &ChatRequest) -> Option<Raw> {
    let mut options = Fields::parse_raw(request.extra.get("web_search_options")?).ok()?;
    let size: Option<String> = options.take_as("search_context_size").ok()?;
    let uses = match size.as_deref() {
        Some("low") => 1,
        Some("high") => 10,
        _ => 5,
    };
    Some(raw_object(|o| {
        write_web_search(o, Some(uses));
        let place = options.take("user_location").and_then(|raw| {
            let mut location = Fields::parse_raw(raw).ok()?;
            Fields::parse_raw(location.take("approximate")?).ok()
        });
        if let Some(place) = place {
            o.object("user_location", |o| {
                o.put("type", "approximate");
                for (name, value) in place.iter().filter(|(name, _)| *name != "type") {
                    o.raw(name, value);
                }
            });
        }
    }))
}

fn write_web_search(o: &mut Object<'_>, uses: Option<u32>) {
    o.put("type", "web_search_20250305");
    o.put("name", "web_search");
    o.put_some("max_uses", uses.as_ref());
}

/// The tool that stands in for a JSON-schema mode.
fn json_tool(request: &ChatRequest) -> Option<Raw> {
    let ResponseFormat::JsonSchema {
        schema,
        description,
        ..
    } = &request.format
    else {
        return None;
    };
    Some(raw_object(|o| {
        o.put("name", JSON_TOOL);
        let default = "Give the answer by calling this tool; its input is the answer.";
        o.put("description", description.as_deref().unwrap_or(default));
        o.raw("input_schema", &schema::input(Some(schema)));
    }))
}

/// A history with tool blocks needs tools: the ones it speaks of, with no leave to call them.
fn write_past_tools(o: &mut Object<'_>, request: &ChatRequest) {
    let parts = request.messages.iter().flat_map(|message| &message.parts);
    let names: BTreeSet<&str> = parts
        .filter_map(|part| match part {
            Part::ToolCall(call) => Some(call.name.as_str()),
            _ => None,
        })
        .collect();
    if names.is_empty() {
        return;
    }
    o.array("tools", |list| {
        for name in names {
            write_past_tool(list, name);
        }
    });
    o.object("tool_choice", |o| o.put("type", "none"));
}

fn write_past_tool(list: &mut Array<'_>, name: &str) {
    list.object(|o| {
        o.put("name", &tool_name(name, NameRule::Anthropic));
        o.put("description", "Was used earlier; not available now.");
        o.raw("input_schema", &schema::input(None));
    });
}

fn write_choice(
    o: &mut Object<'_>,
    request: &ChatRequest,
    plan: &Plan,
    has_own_tools: bool,
    losses: &mut Losses,
) {
    let mut name = None;
    let mut kind = match &request.tool_choice {
        None => None,
        Some(
            ToolChoice::Auto
            | ToolChoice::Allowed {
                required: false, ..
            },
        ) => Some("auto"),
        Some(ToolChoice::Required | ToolChoice::Allowed { required: true, .. }) => Some("any"),
        Some(ToolChoice::None) => Some("none"),
        Some(ToolChoice::Tool(wanted)) => {
            name = Some(tool_name(wanted, NameRule::Anthropic));
            Some("tool")
        }
    };
    if plan.json_tool {
        // Some tool must be called: the stand-in is the only way to answer.
        let is_only = !has_own_tools || kind == Some("none");
        name = is_only.then_some(JSON_TOOL.into());
        kind = Some(if is_only { "tool" } else { "any" });
    }
    if !plan.can_force && matches!(kind, Some("any" | "tool")) {
        if !plan.json_tool {
            losses.drop_field("tool_choice");
        }
        kind = Some("auto");
        name = None;
    }
    let is_single = request.parallel_tool_calls == Some(false);
    let Some(kind) = kind.or(is_single.then_some("auto")) else {
        return;
    };
    o.object("tool_choice", |o| {
        o.put("type", kind);
        o.put_some("name", name.as_ref());
        if is_single && kind != "none" {
            o.put("disable_parallel_tool_use", &true);
        }
    });
}
