//! Undoes on the way back what a request writer changed on the way out: tool names made legal for
//! the upstream, functions that stand in for free-text tools, schemas made simpler
//! ([`crate::dialects::schema`]), the tool that stands in for a JSON answer.
//!
//! These changes are pure functions of the request, so nothing is remembered between: a writer of
//! answers builds a [`Restore`] from [`ReplyContext::request`](crate::dialects::ReplyContext) and
//! passes every event or part through it first.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use crate::dialects::chat::{ChatRequest, Choice, Part, ResponseFormat, Tool, ToolKind};
use crate::dialects::event::{Event, EventKind, StopReason};
use crate::dialects::fields::{Fields, Raw};
use crate::dialects::ids::{NameRule, tool_name};
use crate::dialects::schema::{changes_arguments, restore_arguments};

/// The tool whose input is the answer, for models without a JSON-schema mode.
pub const JSON_TOOL: &str = "json_tool_call";

/// The one property of the function that stands in for a free-text tool.
pub const CUSTOM_INPUT: &str = "input";

/// Puts the client's names back.
#[derive(Debug, Default)]
pub struct Restore {
    /// The client's name for each name that was changed.
    names: HashMap<String, String>,
    /// Names of free-text tools, which upstreams see as functions with one string.
    custom: HashSet<String>,
    /// Arguments of streamed calls to those, held until they are whole, by choice and index.
    inputs: Vec<((u32, u32), String)>,
    /// Schemas that decide what to undo in a call's arguments, by the client's tool name.
    schemas: HashMap<String, Raw>,
    /// Streamed calls to those, by choice and index.
    by_schema: HashMap<(u32, u32), String>,
    /// Whether a call of [`JSON_TOOL`] is the answer itself.
    unwraps_json: bool,
    /// Indexes of streamed calls that are the answer itself, by choice.
    unwrapped: Vec<(u32, u32)>,
    /// Whether a real call was seen: then the stop reason stays.
    has_calls: bool,
}

impl Restore {
    /// What to undo in the answer to this request.
    pub fn new(request: Option<&ChatRequest>) -> Self {
        let Some(request) = request else {
            return Self::default();
        };
        let mut names = HashMap::new();
        for name in request.tools.iter().filter_map(Tool::name) {
            for rule in NameRule::ALL {
                if let Cow::Owned(changed) = tool_name(name, rule) {
                    names.insert(changed, name.to_owned());
                }
            }
        }
        let custom = request.tools.iter().filter_map(|tool| match tool {
            Tool::Custom { name, .. } => Some(name.clone()),
            _ => None,
        });
        let schemas = request.tools.iter().filter_map(|tool| match tool {
            Tool::Function(function) => {
                let schema = function.parameters.as_ref()?;
                changes_arguments(schema).then(|| (function.name.clone(), schema.clone()))
            }
            _ => None,
        });
        let is_taken = request
            .tools
            .iter()
            .any(|tool| tool.name() == Some(JSON_TOOL));
        Self {
            names,
            custom: custom.collect(),
            schemas: schemas.collect(),
            unwraps_json: !is_taken && matches!(request.format, ResponseFormat::JsonSchema { .. }),
            ..Self::default()
        }
    }

    /// The client's name of a tool.
    pub fn name<'n>(&'n self, name: &'n str) -> &'n str {
        self.names.get(name).map_or(name, String::as_str)
    }

    /// Shows the event to `see` as the client should see it: unchanged, changed, as two, or not.
    pub fn event(&mut self, event: &Event, mut see: impl FnMut(&Event)) {
        let mut show = |kind| {
            see(&Event {
                choice: event.choice,
                kind,
            });
        };
        match &event.kind {
            EventKind::ToolStart {
                index,
                id,
                name,
                kind,
                signature,
            } => {
                let key = (event.choice, *index);
                if self.unwraps_json && name == JSON_TOOL {
                    self.unwrapped.push(key);
                    return;
                }
                self.has_calls = true;
                let restored = self.name(name).to_owned();
                let mut kind = *kind;
                if kind == ToolKind::Function && self.custom.contains(&restored) {
                    kind = ToolKind::Custom;
                    self.inputs.push((key, String::new()));
                } else if self.schemas.contains_key(&restored) {
                    self.by_schema.insert(key, restored.clone());
                }
                show(EventKind::ToolStart {
                    index: *index,
                    id: id.clone(),
                    name: restored,
                    kind,
                    signature: signature.clone(),
                });
            }
            EventKind::ToolArguments { index, delta } => {
                let key = (event.choice, *index);
                if self.unwrapped.contains(&key) {
                    show(EventKind::Text(delta.clone()));
                } else if let Some((_, held)) = self.inputs.iter_mut().find(|(k, _)| *k == key) {
                    held.push_str(delta);
                } else {
                    let name = self.by_schema.get(&key);
                    match self.restored(name.map(String::as_str), delta) {
                        Some(delta) => show(EventKind::ToolArguments {
                            index: *index,
                            delta,
                        }),
                        None => see(event),
                    }
                }
            }
            EventKind::ToolEnd { index } => {
                let key = (event.choice, *index);
                if self.unwrapped.contains(&key) {
                    return;
                }
                if let Some(at) = self.inputs.iter().position(|(k, _)| *k == key) {
                    let (_, arguments) = self.inputs.swap_remove(at);
                    show(EventKind::ToolArguments {
                        index: *index,
                        delta: free_text(&arguments),
                    });
                }
                see(event);
            }
            EventKind::Stop {
                reason: StopReason::ToolUse,
                sequence,
            } if !self.unwrapped.is_empty() && !self.has_calls => show(EventKind::Stop {
                reason: StopReason::EndTurn,
                sequence: sequence.clone(),
            }),
            _ => see(event),
        }
    }

    /// The choice as the client should see it.
    pub fn choice<'c>(&self, choice: &'c Choice) -> Cow<'c, Choice> {
        let is_json = |name: &str| self.unwraps_json && name == JSON_TOOL;
        let changes = choice.parts.iter().any(|part| match part {
            Part::ToolCall(call) => {
                is_json(&call.name)
                    || self.names.contains_key(&call.name)
                    || self.custom.contains(&call.name)
                    || self.restored(Some(&call.name), &call.arguments).is_some()
            }
            _ => false,
        });
        if !changes {
            return Cow::Borrowed(choice);
        }
        let mut choice = choice.clone();
        for part in &mut choice.parts {
            match part {
                Part::ToolCall(call) if is_json(&call.name) => {
                    *part = Part::text(std::mem::take(&mut call.arguments));
                }
                Part::ToolCall(call) => {
                    call.name = self.name(&call.name).to_owned();
                    if call.kind == ToolKind::Function && self.custom.contains(&call.name) {
                        call.kind = ToolKind::Custom;
                        call.arguments = free_text(&call.arguments);
                    } else if let Some(arguments) = self.restored(Some(&call.name), &call.arguments)
                    {
                        call.arguments = arguments;
                    }
                }
                _ => {}
            }
        }
        let still_calls = choice
            .parts
            .iter()
            .any(|part| matches!(part, Part::ToolCall(_)));
        if !still_calls && choice.stop == Some(StopReason::ToolUse) {
            choice.stop = Some(StopReason::EndTurn);
        }
        Cow::Owned(choice)
    }
}

impl Restore {
    /// Whole arguments without what a simplified schema added; `None` if nothing is to be undone.
    /// Pieces are left alone: the upstreams whose schemas are simplified send arguments whole.
    fn restored(&self, name: Option<&str>, arguments: &str) -> Option<String> {
        if !arguments.starts_with('{') || !arguments.ends_with('}') {
            return None;
        }
        let schema = name.and_then(|name| self.schemas.get(name));
        match restore_arguments(arguments, schema.map(AsRef::as_ref)) {
            Cow::Owned(changed) => Some(changed),
            Cow::Borrowed(_) => None,
        }
    }
}

/// The free text inside the arguments of the function that stands in for a custom tool
/// ([`CUSTOM_INPUT`]); the arguments themselves where the model wrote no such object.
fn free_text(arguments: &str) -> String {
    Fields::parse(arguments.as_bytes())
        .ok()
        .and_then(|mut fields| fields.take_as::<String>(CUSTOM_INPUT).ok().flatten())
        .unwrap_or_else(|| arguments.to_owned())
}

impl Tool {
    /// The tool's name; `None` for tools the vendor runs.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Custom { name, .. } => Some(name),
            Self::Function(function) => Some(&function.name),
            Self::Hosted { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialects::Dialect;
    use crate::dialects::chat::{Function, ToolCall};
    use crate::dialects::fields::Extra;

    fn request(tool: &str, format: ResponseFormat) -> ChatRequest {
        let mut request = ChatRequest::new(Dialect::OpenAiChat, "m");
        request.tools.push(Tool::Function(Function {
            name: tool.to_owned(),
            description: None,
            parameters: None,
            strict: None,
            cache_control: None,
            extra: Extra::default(),
        }));
        request.format = format;
        request
    }

    fn seen(restore: &mut Restore, event: &Event) -> Vec<Event> {
        let mut events = Vec::new();
        restore.event(event, |event| events.push(event.clone()));
        events
    }

    #[test]
    fn a_function_standing_in_for_a_custom_tool_becomes_one_again() {
        let mut request = ChatRequest::new(Dialect::OpenAiChat, "m");
        request.tools.push(Tool::Custom {
            name: "patch".to_owned(),
            description: None,
            format: None,
        });
        let mut restore = Restore::new(Some(&request));
        let start = Event::first(EventKind::ToolStart {
            index: 0,
            id: "t".into(),
            name: "patch".into(),
            kind: ToolKind::Function,
            signature: None,
        });
        assert!(matches!(
            &seen(&mut restore, &start)[..],
            [Event {
                kind: EventKind::ToolStart {
                    kind: ToolKind::Custom,
                    ..
                },
                ..
            }]
        ));
        let arguments = |delta: &str| {
            Event::first(EventKind::ToolArguments {
                index: 0,
                delta: delta.into(),
            })
        };
        assert_eq!(seen(&mut restore, &arguments("{\"inp")), []);
        assert_eq!(seen(&mut restore, &arguments("ut\":\"*** Begin\"}")), []);
        let end = Event::first(EventKind::ToolEnd { index: 0 });
        assert_eq!(seen(&mut restore, &end), [arguments("*** Begin"), end]);
    }

    #[test]
    fn case_17_66_changed_names_come_back() {
        for (name, rule) in [
            ("my.tool/x".to_owned(), NameRule::Anthropic),
            ("n".repeat(90), NameRule::OpenAi),
        ] {
            let restore = Restore::new(Some(&request(&name, ResponseFormat::Text)));
            assert_eq!(restore.name(&tool_name(&name, rule)), name);
            assert_eq!(restore.name("other"), "other");
        }
    }

    #[test]
    fn what_a_simpler_schema_did_to_arguments_is_undone() {
        let mut request = request("f", ResponseFormat::Text);
        if let Some(Tool::Function(function)) = request.tools.first_mut() {
            let schema = r#"{"properties":{"n":{"enum":[1,2]}}}"#.to_owned();
            function.parameters = serde_json::value::RawValue::from_string(schema).ok();
        }
        let mut restore = Restore::new(Some(&request));
        let start = Event::first(EventKind::ToolStart {
            index: 0,
            id: "t".into(),
            name: "f".into(),
            kind: ToolKind::Function,
            signature: None,
        });
        assert_eq!(seen(&mut restore, &start), [start]);
        let arguments = |delta: &str| {
            Event::first(EventKind::ToolArguments {
                index: 0,
                delta: delta.into(),
            })
        };
        let whole = arguments(r#"{"n":"2"}"#);
        assert_eq!(seen(&mut restore, &whole), [arguments(r#"{"n":2}"#)]);
        let piece = arguments(r#"{"n":"#);
        assert_eq!(seen(&mut restore, &piece), [piece]);
    }

    #[test]
    fn the_json_tool_becomes_the_answer() {
        let format = ResponseFormat::JsonSchema {
            name: None,
            description: None,
            schema: serde_json::value::RawValue::NULL.to_owned(),
            strict: None,
        };
        let mut restore = Restore::new(Some(&request("f", format)));
        let start = Event::first(EventKind::ToolStart {
            index: 0,
            id: "t".into(),
            name: JSON_TOOL.into(),
            kind: ToolKind::Function,
            signature: None,
        });
        assert_eq!(seen(&mut restore, &start), []);
        let delta = Event::first(EventKind::ToolArguments {
            index: 0,
            delta: "{}".into(),
        });
        let text = Event::first(EventKind::Text("{}".into()));
        assert_eq!(seen(&mut restore, &delta), [text]);
        let stop = |reason| {
            Event::first(EventKind::Stop {
                reason,
                sequence: None,
            })
        };
        assert_eq!(
            seen(&mut restore, &stop(StopReason::ToolUse)),
            [stop(StopReason::EndTurn)]
        );

        let choice = Choice {
            parts: vec![Part::ToolCall(ToolCall::function(
                "t",
                JSON_TOOL,
                "{\"a\":1}",
            ))],
            stop: Some(StopReason::ToolUse),
            stop_sequence: None,
            logprobs: None,
            extra: Extra::default(),
        };
        let seen = restore.choice(&choice);
        assert!(matches!(&seen.parts[..], [Part::Text(text)] if text.text == "{\"a\":1}"));
        assert_eq!(seen.stop, Some(StopReason::EndTurn));
    }
}
