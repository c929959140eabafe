//! The canonical request for an upstream that speaks Responses natively.

use std::borrow::Cow;
use std::collections::HashSet;

use crate::dialects::chat::{
    ChatRequest, Part, ResponseFormat, Role, Text, Thinking, ToolCall, ToolKind, ToolResult,
};
use crate::dialects::effort::{self, nearest, wanted};
use crate::dialects::error::ErrorReply;
use crate::dialects::ids::{IdRule, NameRule, openai_user, tool_name};
use crate::dialects::json::{Array, Object, object};
use crate::dialects::loss::Losses;
use crate::dialects::models::Sampling;
use crate::dialects::openai_responses::{content, tools};
use crate::dialects::signature::for_upstream;
use crate::dialects::turns::{Turn, arrange};
use crate::dialects::{Dialect, Target, flatten, leftover};

/// Members that Chat and Responses spell alike.
const SHARED_WITH_CHAT: [&str; 7] = [
    "metadata",
    "prompt_cache_key",
    "prompt_cache_retention",
    "safety_identifier",
    "service_tier",
    "store",
    "verbosity",
];

/// Members without effect on the answer: leaving them out loses nothing that a client could see.
const WITHOUT_EFFECT: [&str; 4] = [
    "metadata",
    "safety_identifier",
    "service_tier",
    "stream_options",
];

/// The length of a name that a JSON schema must have and other dialects do not.
const SCHEMA_NAME: &str = "answer";

/// Writes the body.
pub(super) fn write(
    request: &ChatRequest,
    target: &Target<'_>,
    losses: &mut Losses,
) -> Result<Vec<u8>, ErrorReply> {
    if request.candidates.is_some_and(|count| count > 1) {
        let error = ErrorReply::invalid(format!("{} gives one answer at a time", target.model));
        return Err(error.with_param("n"));
    }
    let mut out = Vec::with_capacity(4096);
    object(&mut out, |o| {
        o.put("model", target.model);
        let system = system_text(request, losses);
        if !system.is_empty() {
            o.put("instructions", &system);
        }
        o.array("input", |items| {
            let turns = arrange(&request.messages, IdRule::Any);
            let custom = custom_calls(&turns);
            turns
                .iter()
                .try_for_each(|turn| write_turn(turn, &custom, items, losses))
        })?;
        if !request.tools.is_empty() {
            o.array("tools", |list| tools::write(request, list, losses));
            if let Some(choice) = &request.tool_choice {
                tools::write_choice(o, choice, request);
            }
            o.put_some("parallel_tool_calls", request.parallel_tool_calls.as_ref());
        }
        limits(o, request, target, losses);
        reasoning(o, request, target, losses);
        text(o, request);
        state(o, request, losses);
        o.put("stream", &request.stream);
        Ok(())
    })
    .map(|()| out)
}

fn system_text(request: &ChatRequest, losses: &mut Losses) -> String {
    let mut texts = Vec::with_capacity(request.system.len());
    for part in &request.system {
        match part {
            Part::Text(text) if text.text.is_empty() || text.is_attribution() => {}
            Part::Text(text) => texts.push(text.text.as_str()),
            _ => losses.drop_field("system[]"),
        }
    }
    texts.join("\n\n")
}

/// The ids of calls to free-text tools, whose outputs have an item type of their own.
fn custom_calls<'t>(turns: &'t [Turn<'_>]) -> HashSet<&'t str> {
    turns
        .iter()
        .flat_map(|turn| &turn.parts)
        .filter_map(|part| match part.as_ref() {
            Part::ToolCall(call) if call.kind == ToolKind::Custom => Some(call.id.as_str()),
            _ => None,
        })
        .collect()
}

fn write_turn(
    turn: &Turn<'_>,
    custom: &HashSet<&str>,
    items: &mut Array<'_>,
    losses: &mut Losses,
) -> Result<(), ErrorReply> {
    match turn.role {
        Role::Assistant => {
            for part in &turn.parts {
                assistant_item(part, items, losses);
            }
            Ok(())
        }
        Role::Tool => turn.parts.iter().try_for_each(|part| match part.as_ref() {
            Part::ToolResult(result) => {
                let is_custom = custom.contains(result.call_id.as_str());
                output_item(result, is_custom, items, losses)
            }
            _ => Ok(()),
        }),
        Role::System | Role::User => items.object(|o| {
            let is_user = turn.role == Role::User;
            o.put("type", "message");
            o.put("role", if is_user { "user" } else { "developer" });
            o.array("content", |parts| {
                turn.parts
                    .iter()
                    .try_for_each(|part| content::write(part, parts, losses))
            })
        }),
    }
}

fn assistant_item(part: &Part, items: &mut Array<'_>, losses: &mut Losses) {
    match part {
        Part::Text(text) if text.text.is_empty() => {}
        Part::Text(text) => message_item(text, items),
        Part::Refusal(text) => items.object(|o| {
            o.put("type", "message");
            o.put("role", "assistant");
            o.array("content", |parts| {
                parts.object(|o| {
                    o.put("type", "refusal");
                    o.put("refusal", text);
                });
            });
        }),
        Part::Thinking(thinking) => reasoning_item(thinking, items, losses),
        Part::RedactedThinking { data } => match own(data) {
            Some(data) => items.object(|o| {
                o.put("type", "reasoning");
                o.array("summary", |_| {});
                o.put("encrypted_content", data);
            }),
            None => losses.drop_field("messages[].thinking"),
        },
        Part::ToolCall(call) => call_item(call, items),
        Part::Raw {
            dialect: Dialect::OpenAiResponses,
            json,
        } => items.raw(json),
        Part::Raw { dialect, json } => match flatten::block(*dialect, json) {
            Some(text) => message_item(
                &Text {
                    text,
                    ..Text::default()
                },
                items,
            ),
            None => losses.drop_field("messages[].content[]"),
        },
        Part::Media(_) | Part::ToolResult(_) => losses.drop_field("messages[].content[]"),
    }
}

fn message_item(text: &Text, items: &mut Array<'_>) {
    items.object(|o| {
        o.put("type", "message");
        o.put("role", "assistant");
        o.put("content", &text.text);
        if let Some(phase) = text.extra.get("phase") {
            o.raw("phase", phase);
        }
    });
}

fn reasoning_item(thinking: &Thinking, items: &mut Array<'_>, losses: &mut Losses) {
    let Some(signature) = thinking.signature.as_deref().and_then(own) else {
        losses.drop_field("messages[].thinking");
        return;
    };
    items.object(|o| {
        o.put("type", "reasoning");
        o.array("summary", |list| {
            if !thinking.text.is_empty() {
                list.object(|o| {
                    o.put("type", "summary_text");
                    o.put("text", &thinking.text);
                });
            }
        });
        o.put("encrypted_content", signature);
    });
}

fn own(signature: &str) -> Option<&str> {
    for_upstream(Dialect::OpenAiResponses, signature)
}

fn call_item(call: &ToolCall, items: &mut Array<'_>) {
    items.object(|o| {
        let (kind, member) = match call.kind {
            ToolKind::Custom => ("custom_tool_call", "input"),
            ToolKind::Function => ("function_call", "arguments"),
        };
        o.put("type", kind);
        o.put("call_id", &call.id);
        o.put("name", &tool_name(&call.name, NameRule::OpenAi));
        let is_bare = call.kind == ToolKind::Function && call.arguments.trim().is_empty();
        o.put(member, if is_bare { "{}" } else { &call.arguments });
    });
}

fn output_item(
    result: &ToolResult,
    is_custom: bool,
    items: &mut Array<'_>,
    losses: &mut Losses,
) -> Result<(), ErrorReply> {
    items.object(|o| {
        let kind = if is_custom {
            "custom_tool_call_output"
        } else {
            "function_call_output"
        };
        o.put("type", kind);
        o.put("call_id", &result.call_id);
        let has_media = result
            .parts
            .iter()
            .any(|part| !matches!(part, Part::Text(_)));
        if !has_media {
            o.put("output", &result_text(result));
            return Ok(());
        }
        o.array("output", |parts| {
            result
                .parts
                .iter()
                .try_for_each(|part| content::write(part, parts, losses))
        })
    })
}

/// The text of a result; errors say so, because the dialect has no flag for them.
fn result_text(result: &ToolResult) -> Cow<'_, str> {
    let mut texts = result.parts.iter().filter_map(|part| match part {
        Part::Text(text) => Some(text.text.as_str()),
        _ => None,
    });
    let first = texts.next().unwrap_or_default();
    let rest: Vec<&str> = texts.collect();
    let text = if rest.is_empty() {
        Cow::Borrowed(first)
    } else {
        Cow::Owned(format!("{first}\n{}", rest.join("\n")))
    };
    if result.is_error {
        return Cow::Owned(format!("Error: {text}"));
    }
    text
}

fn limits(o: &mut Object<'_>, request: &ChatRequest, target: &Target<'_>, losses: &mut Losses) {
    let limit = match (request.max_tokens, target.facts.max_output) {
        (Some(asked), Some(most)) => Some(asked.min(most)),
        (asked, _) => asked,
    };
    o.put_some("max_output_tokens", limit.as_ref());
    for (name, value) in [
        ("temperature", request.temperature),
        ("top_p", request.top_p),
    ] {
        if target.facts.sampling == Sampling::Refused {
            if value.is_some() {
                losses.drop_field(name);
            }
        } else {
            o.put_some(name, value.as_ref());
        }
    }
    if request.logprobs == Some(true) {
        let count = request.top_logprobs.unwrap_or(0);
        o.put("top_logprobs", &count);
    }
    for (name, is_lost) in [
        ("stop", !request.stop.is_empty()),
        ("top_k", request.top_k.is_some()),
        ("seed", request.seed.is_some()),
        (
            "presence_penalty",
            request.presence_penalty.is_some_and(|p| p != 0.0),
        ),
        (
            "frequency_penalty",
            request.frequency_penalty.is_some_and(|p| p != 0.0),
        ),
    ] {
        if is_lost {
            losses.drop_field(name);
        }
    }
    o.put_some("user", request.user.as_deref().map(openai_user).as_ref());
}

fn reasoning(o: &mut Object<'_>, request: &ChatRequest, target: &Target<'_>, losses: &mut Losses) {
    let asked = &request.reasoning;
    let is_own = request.source == Dialect::OpenAiResponses;
    let level = wanted(asked).and_then(|wanted| nearest(wanted, &target.facts.efforts));
    if level.is_none() && wanted(asked).is_some() && target.facts.efforts.is_empty() {
        losses.drop_field("reasoning");
        return;
    }
    let shows = asked.show == Some(true) || (asked.show.is_none() && level.is_some());
    if level.is_none() && !shows && asked.extra.is_empty() {
        return;
    }
    o.object("reasoning", |o| {
        o.put_some("effort", level.map(effort::name));
        if is_own {
            o.extra(&asked.extra);
        } else if shows {
            o.put("summary", "auto");
        }
    });
}

fn text(o: &mut Object<'_>, request: &ChatRequest) {
    let verbosity = request.extra.get("verbosity");
    if matches!(request.format, ResponseFormat::Text) && verbosity.is_none() {
        return;
    }
    o.object("text", |o| {
        match &request.format {
            ResponseFormat::Text => {}
            ResponseFormat::JsonObject => o.object("format", |o| o.put("type", "json_object")),
            ResponseFormat::JsonSchema {
                name,
                description,
                schema,
                strict,
            } => o.object("format", |o| {
                o.put("type", "json_schema");
                o.put("name", name.as_deref().unwrap_or(SCHEMA_NAME));
                o.put_some("description", description.as_ref());
                o.raw("schema", schema);
                o.put_some("strict", strict.as_ref());
            }),
        }
        if let Some(verbosity) = verbosity {
            o.raw("verbosity", verbosity);
        }
    });
}

/// State and the members only some sources know. Other dialects' clients hold their history
/// themselves, so the vendor is asked to store nothing and to hand out encrypted reasoning.
fn state(o: &mut Object<'_>, request: &ChatRequest, losses: &mut Losses) {
    let is_own = request.source == Dialect::OpenAiResponses;
    let mut says_store = false;
    for (name, value) in &request.extra.0 {
        let name = name.as_str();
        let is_shared = SHARED_WITH_CHAT.contains(&name);
        if name == "verbosity" {
            continue;
        }
        if is_own || (request.source == Dialect::OpenAiChat && is_shared) {
            says_store |= name == "store";
            o.raw(name, value);
        } else if value.get() != "null" && !WITHOUT_EFFECT.contains(&name) {
            losses.drop_member(name, value);
        }
    }
    if is_own {
        return;
    }
    leftover::record(request, losses);
    if !says_store {
        o.put("store", &false);
    }
    o.array("include", |list| {
        list.put("reasoning.encrypted_content");
        if request.logprobs == Some(true) {
            list.put("message.output_text.logprobs");
        }
    });
}
