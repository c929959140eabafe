//! A native Responses stream as canonical events.

use std::collections::HashMap;

use serde_json::value::RawValue;

use crate::dialects::StreamReader;
use crate::dialects::chat::{Part, ToolCall, ToolKind};
use crate::dialects::error::{ReadError, UpstreamError};
use crate::dialects::event::{Event, EventKind, SignatureOf, StopReason};
use crate::dialects::fields::Fields;
use crate::dialects::json::raw_object;
use crate::dialects::openai_responses::{content, reply};

/// A reader for one stream.
#[derive(Default)]
pub(super) struct Reader {
    started: bool,
    /// What was streamed of the items that are open, by `output_index`.
    items: HashMap<u64, Item>,
    tools: u32,
    has_content: bool,
    /// What a completed answer ended with, if not with its turn.
    ending: Option<StopReason>,
    ended: bool,
}

/// How far an item has come.
#[derive(Default)]
struct Item {
    /// Text, reasoning or refusal came in pieces.
    streamed: bool,
    /// The call's index among the answer's calls.
    call: Option<u32>,
    /// Pieces of the call's arguments came.
    arguments: bool,
}

impl Reader {
    fn push(&mut self, kind: EventKind, out: &mut Vec<Event>) {
        match &kind {
            EventKind::ToolStart { .. } => self.ending = Some(StopReason::ToolUse),
            EventKind::Refusal(_) => self.ending = self.ending.or(Some(StopReason::Refusal)),
            _ => {}
        }
        self.has_content |= !matches!(
            kind,
            EventKind::Start { .. } | EventKind::Usage(_) | EventKind::Signature { .. }
        );
        out.push(Event::first(kind));
    }

    fn start(&mut self, fields: &mut Fields<'_>, out: &mut Vec<Event>) -> Result<(), ReadError> {
        if self.started {
            return Ok(());
        }
        self.started = true;
        let Some(response) = fields.take("response") else {
            return Ok(());
        };
        let mut response = Fields::parse_raw(response)?;
        let id = response.take_as("id")?;
        let model = response.take_as("model")?;
        self.push(EventKind::Start { id, model }, out);
        Ok(())
    }

    fn text(
        &mut self,
        fields: &mut Fields<'_>,
        kind: impl FnOnce(String) -> EventKind,
        out: &mut Vec<Event>,
    ) -> Result<(), ReadError> {
        let at = index(fields)?;
        let delta: String = fields.take_as("delta")?.unwrap_or_default();
        self.items.entry(at).or_default().streamed = true;
        if !delta.is_empty() {
            self.push(kind(delta), out);
        }
        if let Some(list) = fields.take("logprobs")
            && list.get().starts_with('[')
            && list.get() != "[]"
        {
            let logprobs = raw_object(|o| o.raw("content", list));
            self.push(EventKind::Logprobs(logprobs), out);
        }
        Ok(())
    }

    fn arguments(
        &mut self,
        fields: &mut Fields<'_>,
        member: &str,
        out: &mut Vec<Event>,
    ) -> Result<(), ReadError> {
        let at = index(fields)?;
        let delta: String = fields.take_as(member)?.unwrap_or_default();
        let Some(item) = self.items.get_mut(&at) else {
            return Ok(());
        };
        let is_repeat = member != "delta" && item.arguments;
        let Some(index) = item.call.filter(|_| !is_repeat && !delta.is_empty()) else {
            return Ok(());
        };
        item.arguments = true;
        self.push(EventKind::ToolArguments { index, delta }, out);
        Ok(())
    }

    fn item_added(
        &mut self,
        fields: &mut Fields<'_>,
        out: &mut Vec<Event>,
    ) -> Result<(), ReadError> {
        let at = index(fields)?;
        let mut item = Item::default();
        if let Some(raw) = fields.take("item")
            && let Some(call) = call_of(raw)?
        {
            item.call = Some(self.begin(call, out));
        }
        self.items.insert(at, item);
        Ok(())
    }

    fn begin(&mut self, call: ToolCall, out: &mut Vec<Event>) -> u32 {
        let index = self.tools;
        self.tools = self.tools.saturating_add(1);
        let id = if call.id.is_empty() {
            crate::dialects::ids::IdSource::random().make_call()
        } else {
            call.id
        };
        self.push(
            EventKind::ToolStart {
                index,
                id,
                name: call.name,
                kind: call.kind,
                signature: None,
            },
            out,
        );
        index
    }

    /// A finished item: what was not streamed of it is said now.
    fn item_done(
        &mut self,
        fields: &mut Fields<'_>,
        out: &mut Vec<Event>,
    ) -> Result<(), ReadError> {
        let at = index(fields)?;
        let item = self.items.remove(&at).unwrap_or_default();
        let Some(raw) = fields.take("item") else {
            return Ok(());
        };
        for part in reply::read_output(&[raw])? {
            self.finished(part, &item, out);
        }
        Ok(())
    }

    fn finished(&mut self, part: Part, item: &Item, out: &mut Vec<Event>) {
        match part {
            Part::Text(text) => {
                if !item.streamed && !text.text.is_empty() {
                    self.push(EventKind::Text(text.text), out);
                }
            }
            Part::Refusal(text) => {
                if !item.streamed && !text.is_empty() {
                    self.push(EventKind::Refusal(text), out);
                }
            }
            Part::Thinking(thinking) => {
                if !item.streamed && !thinking.text.is_empty() {
                    self.push(EventKind::Thinking(thinking.text), out);
                }
                if let Some(value) = thinking.signature {
                    let of = SignatureOf::Thinking;
                    self.push(EventKind::Signature { of, value }, out);
                }
            }
            Part::RedactedThinking { data } => self.push(EventKind::RedactedThinking(data), out),
            Part::ToolCall(call) => {
                let delta = call.arguments.clone();
                let is_custom = call.kind == ToolKind::Custom;
                let index = match item.call {
                    Some(index) => index,
                    None => self.begin(call, out),
                };
                if !item.arguments && (!delta.is_empty() || is_custom) {
                    self.push(EventKind::ToolArguments { index, delta }, out);
                }
                self.push(EventKind::ToolEnd { index }, out);
            }
            Part::Media(media) => self.push(EventKind::Media(media), out),
            Part::Raw { .. } | Part::ToolResult(_) => {}
        }
    }

    fn end(&mut self, fields: &mut Fields<'_>, out: &mut Vec<Event>) -> Result<(), ReadError> {
        self.start(&mut fields.clone(), out)?;
        let Some(response) = fields.take("response") else {
            return Err(ReadError::Truncated);
        };
        let mut response = Fields::parse_raw(response)?;
        if !self.has_content
            && let Some(output) = response.take("output")
        {
            let output: Vec<&RawValue> = serde_json::from_str(output.get())?;
            for part in reply::read_output(&output)? {
                self.finished(part, &Item::default(), out);
            }
        }
        let mut reason = reply::stop(&mut response, &[])?;
        if reason == StopReason::EndTurn {
            if !self.has_content {
                let error = Box::new(reply::empty());
                self.ended = true;
                out.push(Event::first(EventKind::Error(error)));
                return Ok(());
            }
            reason = self.ending.unwrap_or(reason);
        }
        if let Some(usage) = reply::usage(&mut response)? {
            self.push(EventKind::Usage(usage), out);
        }
        self.ended = true;
        let sequence = None;
        out.push(Event::first(EventKind::Stop { reason, sequence }));
        Ok(())
    }

    fn fail(&mut self, data: &[u8], out: &mut Vec<Event>) {
        self.ended = true;
        let error = UpstreamError::parse(None, data).unwrap_or_else(|| UpstreamError {
            message: "the response failed without saying why".to_owned(),
            ..UpstreamError::default()
        });
        out.push(Event::first(EventKind::Error(Box::new(error))));
    }
}

impl StreamReader for Reader {
    fn read(&mut self, name: &str, data: &[u8], out: &mut Vec<Event>) -> Result<(), ReadError> {
        let data = data.trim_ascii();
        if self.ended || data.is_empty() || data == b"[DONE]" {
            return Ok(());
        }
        let mut fields = Fields::parse(data)?;
        let kind: Option<String> = fields.take_as("type")?;
        match kind.as_deref().unwrap_or(name) {
            "response.created" | "response.in_progress" => self.start(&mut fields, out),
            "response.output_item.added" => self.item_added(&mut fields, out),
            "response.output_text.delta" => self.text(&mut fields, EventKind::Text, out),
            "response.refusal.delta" => self.text(&mut fields, EventKind::Refusal, out),
            "response.reasoning_summary_text.delta" | "response.reasoning_text.delta" => {
                self.text(&mut fields, EventKind::Thinking, out)
            }
            "response.reasoning_summary_part.added" => {
                if fields.take_count("summary_index")?.unwrap_or(0) > 0 {
                    self.push(EventKind::Thinking("\n\n".to_owned()), out);
                }
                Ok(())
            }
            "response.function_call_arguments.delta" | "response.custom_tool_call_input.delta" => {
                self.arguments(&mut fields, "delta", out)
            }
            "response.function_call_arguments.done" => {
                self.arguments(&mut fields, "arguments", out)
            }
            "response.custom_tool_call_input.done" => self.arguments(&mut fields, "input", out),
            "response.output_text.annotation.added" => {
                if let Some(annotation) = fields.take("annotation") {
                    self.push(EventKind::Citation(content::nested(annotation)), out);
                }
                Ok(())
            }
            "response.output_item.done" => self.item_done(&mut fields, out),
            "response.completed" | "response.incomplete" => self.end(&mut fields, out),
            "response.failed" | "response.cancelled" | "error" => {
                self.fail(data, out);
                Ok(())
            }
            _ => {
                if fields
                    .raw("error")
                    .is_some_and(|error| error.get() != "null")
                {
                    self.fail(data, out);
                }
                Ok(())
            }
        }
    }

    fn is_over(&self) -> bool {
        self.ended
    }

    fn finish(&mut self, _out: &mut Vec<Event>) -> Result<(), ReadError> {
        if self.ended {
            Ok(())
        } else {
            Err(ReadError::Truncated)
        }
    }
}

fn index(fields: &mut Fields<'_>) -> Result<u64, ReadError> {
    Ok(fields.take_count("output_index")?.unwrap_or(0))
}

/// The call that an item makes, if it makes one.
fn call_of(raw: &RawValue) -> Result<Option<ToolCall>, ReadError> {
    let parts = reply::read_output(&[raw])?;
    Ok(parts.into_iter().find_map(|part| match part {
        Part::ToolCall(call) => Some(call),
        _ => None,
    }))
}
