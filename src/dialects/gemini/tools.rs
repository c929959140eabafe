//! Tools and how they may be called: `tools` and `toolConfig`, both ways.

use std::collections::HashSet;

use serde_json::value::RawValue;

use crate::dialects::chat::{ChatRequest, Function, Tool, ToolChoice};
use crate::dialects::error::ReadError;
use crate::dialects::fields::{Extra, Fields};
use crate::dialects::gemini::wire::{Many, pick, pick_as, pick_object, wrong};
use crate::dialects::gemini::{is_before_2_5, is_code_assist, wants_openapi};
use crate::dialects::ids::{NameRule, tool_name};
use crate::dialects::json::{Object, raw_object};
use crate::dialects::loss::Losses;
use crate::dialects::openai_chat::{custom_description, write_input_schema};
use crate::dialects::schema::{self, Rules};
use crate::dialects::{Dialect, Target};

/// Reads the tools of a request: functions as JSON Schema, everything else as it is.
pub(super) fn read(raw: &RawValue) -> Result<Vec<Tool>, ReadError> {
    let list: Many<Fields<'_>> =
        serde_json::from_str(raw.get()).map_err(|error| wrong("tools", &error.to_string()))?;
    let mut tools = Vec::new();
    for mut tool in list.0 {
        if let Some(raw) = pick(&mut tool, "functionDeclarations") {
            let declarations: Many<Fields<'_>> = serde_json::from_str(raw.get())
                .map_err(|error| wrong("tools.functionDeclarations", &error.to_string()))?;
            for declaration in declarations.0 {
                tools.push(Tool::Function(function(declaration)?));
            }
        }
        for (name, value) in tool.iter() {
            tools.push(Tool::Hosted {
                dialect: Dialect::Gemini,
                json: raw_object(|o| {
                    o.raw(name, value);
                }),
            });
        }
    }
    Ok(tools)
}

fn function(mut declaration: Fields<'_>) -> Result<Function, ReadError> {
    let name: String = pick_as(&mut declaration, "name")?.unwrap_or_default();
    let description = pick_as(&mut declaration, "description")?;
    let json_schema = pick(&mut declaration, "parametersJsonSchema").map(ToOwned::to_owned);
    let openapi = pick(&mut declaration, "parameters").map(schema::from_openapi);
    Ok(Function {
        name,
        description,
        parameters: json_schema.or(openapi),
        strict: None,
        cache_control: None,
        extra: declaration.into_extra(),
    })
}

/// Reads `toolConfig`; all but the calling mode stays in `extra`.
pub(super) fn read_config(
    mut config: Fields<'_>,
    request: &mut ChatRequest,
) -> Result<(), ReadError> {
    if let Some(mut calling) = pick_object(&mut config, "functionCallingConfig")? {
        let mode: Option<String> = pick_as(&mut calling, "mode")?;
        let names: Vec<String> = pick_as(&mut calling, "allowedFunctionNames")?.unwrap_or_default();
        request.tool_choice = Some(choice(mode.as_deref().unwrap_or("AUTO"), names));
    }
    let rest = config.into_extra();
    if !rest.is_empty() {
        let rest = raw_object(|o| {
            o.extra(&rest);
        });
        request.extra.0.push(("toolConfig".to_owned(), rest));
    }
    Ok(())
}

fn choice(mode: &str, mut names: Vec<String>) -> ToolChoice {
    let required = mode.eq_ignore_ascii_case("ANY");
    if mode.eq_ignore_ascii_case("NONE") {
        return ToolChoice::None;
    }
    match (names.pop(), names.is_empty()) {
        (None, _) if required => ToolChoice::Required,
        (None, _) => ToolChoice::Auto,
        (Some(only), true) if required => ToolChoice::Tool(only),
        (Some(last), _) => {
            names.push(last);
            ToolChoice::Allowed { names, required }
        }
    }
}

/// Writes `tools` and `toolConfig`, if there are tools at all.
pub(super) fn write(
    body: &mut Object<'_>,
    request: &ChatRequest,
    target: &Target<'_>,
    losses: &mut Losses,
) {
    let has_functions = request
        .tools
        .iter()
        .any(|tool| matches!(tool, Tool::Function(_) | Tool::Custom { .. }));
    // Searching and calling functions go together from Gemini 3 on, if the request says so, and
    // never at Code Assist.
    let may_mix = target.facts.call_ids && !is_code_assist(target);
    let hosted = hosted(request, has_functions && !may_mix, losses);
    if has_functions || !hosted.is_empty() {
        body.array("tools", |tools| {
            if has_functions {
                tools.object(|tool| {
                    tool.array("functionDeclarations", |list| {
                        for tool in &request.tools {
                            list_function(tool, target, list);
                        }
                    });
                });
            }
            for tool in &hosted {
                tools.raw(tool);
            }
        });
    }
    let mixed = has_functions && !hosted.is_empty();
    write_config(body, request, has_functions, mixed);
}

fn list_function(tool: &Tool, target: &Target<'_>, list: &mut crate::dialects::json::Array<'_>) {
    match tool {
        Tool::Function(function) => list.object(|o| {
            o.put("name", &tool_name(&function.name, NameRule::Gemini));
            o.put_some("description", function.description.as_deref());
            parameters(o, function.parameters.as_deref(), target);
            o.extra(&gemini_only(&function.extra));
        }),
        Tool::Custom {
            name,
            description,
            format,
        } => list.object(|o| {
            o.put("name", &tool_name(name, NameRule::Gemini));
            let text = custom_description(description.as_deref(), format.as_deref());
            o.put_some("description", Some(text).filter(|t| !t.is_empty()).as_ref());
            parameters(o, Some(&raw_object(write_input_schema)), target);
        }),
        Tool::Hosted { .. } => {}
    }
}

/// What Gemini's declarations have beyond name, description and parameters.
fn gemini_only(extra: &Extra) -> Extra {
    const KNOWN: [&str; 3] = ["behavior", "response", "responseJsonSchema"];
    let kept = extra.0.iter();
    Extra(
        kept.filter(|(name, _)| KNOWN.contains(&name.as_str()))
            .cloned()
            .collect(),
    )
}

fn parameters(o: &mut Object<'_>, schema: Option<&RawValue>, target: &Target<'_>) {
    let openapi = wants_openapi(target) || is_before_2_5(target);
    let Some(written) = schema else {
        if wants_openapi(target) {
            let nothing = raw_object(|_| {});
            o.raw("parameters", &schema::clean(&nothing, Rules::VALIDATED));
        }
        return;
    };
    if wants_openapi(target) {
        o.raw("parameters", &schema::clean(written, Rules::VALIDATED));
    } else if schema::takes_nothing(written) {
        // "should be non-empty for OBJECT type": no parameters at all is the legal way.
    } else if openapi {
        o.raw("parameters", &schema::clean(written, Rules::PARAMETERS));
    } else {
        let rules = if is_code_assist(target) {
            Rules::CODE_ASSIST
        } else {
            Rules::JSON_SCHEMA
        };
        o.raw("parametersJsonSchema", &schema::clean(written, rules));
    }
}

/// Tools that Gemini runs itself: its own as written, other vendors' web search as `googleSearch`.
fn hosted(request: &ChatRequest, refused: bool, losses: &mut Losses) -> Vec<Box<RawValue>> {
    let mut tools: Vec<Box<RawValue>> = Vec::new();
    let mut seen = HashSet::new();
    let mut searches =
        request.source == Dialect::OpenAiChat && request.extra.get("web_search_options").is_some();
    for (at, tool) in request.tools.iter().enumerate() {
        let Tool::Hosted { dialect, json } = tool else {
            continue;
        };
        if refused {
            losses.drop_field(format!("tools[{at}]"));
        } else if *dialect == Dialect::Gemini {
            if seen.insert(json.get()) {
                tools.push(json.clone());
            }
        } else if is_web_search(json.get()) {
            searches = true;
        } else {
            losses.drop_field(format!("tools[{at}]"));
        }
    }
    if searches && refused {
        losses.drop_field("web_search_options");
    } else if searches && !tools.iter().any(|tool| tool.get().contains("googleSearch")) {
        tools.push(raw_object(|o| o.object("googleSearch", |_| {})));
    }
    tools
}

fn is_web_search(json: &str) -> bool {
    let kind = serde_json::from_str::<Fields<'_>>(json)
        .ok()
        .and_then(|mut fields| fields.take_as::<String>("type").ok().flatten());
    kind.is_some_and(|kind| kind.starts_with("web_search"))
}

fn write_config(body: &mut Object<'_>, request: &ChatRequest, has_functions: bool, mixed: bool) {
    let own = match request.source {
        Dialect::Gemini => request.extra.get("toolConfig"),
        _ => None,
    };
    let own: Extra = own
        .and_then(|raw| Fields::parse_raw(raw).ok())
        .map(Fields::into_extra)
        .unwrap_or_default();
    let choice = request.tool_choice.as_ref().filter(|_| has_functions);
    let says_mixed = mixed && own.get("includeServerSideToolInvocations").is_none();
    if own.is_empty() && choice.is_none() && !says_mixed {
        return;
    }
    body.object("toolConfig", |config| {
        config.extra(&own);
        if says_mixed {
            config.put("includeServerSideToolInvocations", &true);
        }
        if let Some(choice) = choice {
            config.object("functionCallingConfig", |o| calling(o, choice));
        }
    });
}

fn calling(o: &mut Object<'_>, choice: &ToolChoice) {
    let (mode, names): (&str, &[String]) = match choice {
        ToolChoice::Auto => ("AUTO", &[]),
        ToolChoice::None => ("NONE", &[]),
        ToolChoice::Required => ("ANY", &[]),
        ToolChoice::Tool(name) => ("ANY", std::slice::from_ref(name)),
        ToolChoice::Allowed { names, required } => {
            (if *required { "ANY" } else { "VALIDATED" }, names)
        }
    };
    o.put("mode", mode);
    if !names.is_empty() {
        let names: Vec<_> = names
            .iter()
            .map(|name| tool_name(name, NameRule::Gemini))
            .collect();
        o.put("allowedFunctionNames", &names);
    }
}
