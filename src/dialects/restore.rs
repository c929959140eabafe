//! Undoes on the way back what a request writer changed on the way out: tool names made legal for
//! the upstream, and the tool that stands in for a JSON answer.
//!
//! Both changes are pure functions of the request, so nothing is remembered between: a writer of
//! answers builds a [`Restore`] from [`ReplyContext::request`](crate::dialects::ReplyContext) and
//! passes every event or part through it first.

use std::borrow::Cow;
use std::collections::HashMap;

use crate::dialects::chat::{ChatRequest, Choice, Part, ResponseFormat, Tool};
use crate::dialects::event::{Event, EventKind, StopReason};
use crate::dialects::ids::{NameRule, tool_name};

/// The tool whose input is the answer, for models without a JSON-schema mode.
pub const JSON_TOOL: &str = "json_tool_call";

/// Puts the client's names back.
#[derive(Debug, Default)]
pub struct Restore {
    /// The client's name for each name that was changed.
    names: HashMap<String, String>,
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
        let is_taken = request
            .tools
            .iter()
            .any(|tool| tool.name() == Some(JSON_TOOL));
        Self {
            names,
            unwraps_json: !is_taken && matches!(request.format, ResponseFormat::JsonSchema { .. }),
            ..Self::default()
        }
    }

    /// The client's name of a tool.
    pub fn name<'n>(&'n self, name: &'n str) -> &'n str {
        self.names.get(name).map_or(name, String::as_str)
    }

    /// The event as the client should see it, or `None` if it should not.
    pub fn event<'e>(&mut self, event: &'e Event) -> Option<Cow<'e, Event>> {
        let choice = event.choice;
        let changed = match &event.kind {
            EventKind::ToolStart { index, name, .. } if self.unwraps_json && name == JSON_TOOL => {
                self.unwrapped.push((choice, *index));
                return None;
            }
            EventKind::ToolStart {
                index,
                id,
                name,
                kind,
                signature,
            } => {
                self.has_calls = true;
                let restored = self.name(name);
                if restored == name {
                    return Some(Cow::Borrowed(event));
                }
                EventKind::ToolStart {
                    index: *index,
                    id: id.clone(),
                    name: restored.to_owned(),
                    kind: *kind,
                    signature: signature.clone(),
                }
            }
            EventKind::ToolArguments { index, delta } if self.is_unwrapped(choice, *index) => {
                EventKind::Text(delta.clone())
            }
            EventKind::ToolEnd { index } if self.is_unwrapped(choice, *index) => return None,
            EventKind::Stop {
                reason: StopReason::ToolUse,
                sequence,
            } if !self.unwrapped.is_empty() && !self.has_calls => EventKind::Stop {
                reason: StopReason::EndTurn,
                sequence: sequence.clone(),
            },
            _ => return Some(Cow::Borrowed(event)),
        };
        Some(Cow::Owned(Event {
            choice,
            kind: changed,
        }))
    }

    /// The choice as the client should see it.
    pub fn choice<'c>(&self, choice: &'c Choice) -> Cow<'c, Choice> {
        let is_json = |name: &str| self.unwraps_json && name == JSON_TOOL;
        let changes = choice.parts.iter().any(|part| match part {
            Part::ToolCall(call) => is_json(&call.name) || self.names.contains_key(&call.name),
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
                Part::ToolCall(call) => call.name = self.name(&call.name).to_owned(),
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

    fn is_unwrapped(&self, choice: u32, index: u32) -> bool {
        self.unwrapped.contains(&(choice, index))
    }
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
    use crate::dialects::chat::{Function, ToolCall, ToolKind};
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
        assert_eq!(restore.event(&start), None);
        let delta = Event::first(EventKind::ToolArguments {
            index: 0,
            delta: "{}".into(),
        });
        let text = Event::first(EventKind::Text("{}".into()));
        assert_eq!(restore.event(&delta).as_deref(), Some(&text));
        let stop = |reason| {
            Event::first(EventKind::Stop {
                reason,
                sequence: None,
            })
        };
        assert_eq!(
            restore.event(&stop(StopReason::ToolUse)).as_deref(),
            Some(&stop(StopReason::EndTurn))
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
