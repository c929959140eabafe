//! The item of a stream that is open: what it has come to, and the events of its kind.

use serde_json::value::RawValue;

use crate::dialects::chat::ToolKind;
use crate::dialects::fields::{Fields, Raw};
use crate::dialects::json::{Object, raw_object};
use crate::dialects::openai_responses::stream_writer::Writer;
use crate::dialects::openai_responses::{content, held, tools};

/// The open item.
#[derive(Default)]
pub(super) enum Open {
    Call(Call),
    Message(Message),
    #[default]
    Nothing,
    Reasoning(Reasoning),
}

/// A call of a tool.
pub(super) struct Call {
    id: String,
    /// Its index among the answer's calls.
    pub(super) tool: u32,
    /// What the call's output will refer to; not the item's id.
    pub(super) reference: String,
    pub(super) name: String,
    pub(super) kind: ToolKind,
    pub(super) signature: Option<String>,
    arguments: String,
}

impl Call {
    pub(super) const fn new(tool: u32, reference: String, name: String, kind: ToolKind) -> Self {
        Self {
            id: String::new(),
            tool,
            reference,
            name,
            kind,
            signature: None,
            arguments: String::new(),
        }
    }
}

/// The assistant's message.
pub(super) struct Message {
    id: String,
    done: Vec<Raw>,
    part: Option<Part>,
}

/// The open content part of a message.
enum Part {
    Refusal(String),
    Text {
        text: String,
        annotations: Vec<Raw>,
        logprobs: Vec<Raw>,
    },
}

/// Reasoning, shown as one summary.
pub(super) struct Reasoning {
    id: String,
    text: String,
    /// Its `encrypted_content`.
    pub(super) held: Option<String>,
}

impl Message {
    pub(super) const fn new(id: String) -> Self {
        Self {
            id,
            done: Vec::new(),
            part: None,
        }
    }
}

impl Reasoning {
    pub(super) const fn new(id: String) -> Self {
        Self {
            id,
            text: String::new(),
            held: None,
        }
    }
}

impl Writer {
    pub(super) fn text(&mut self, delta: &str, out: &mut Vec<u8>) {
        self.open_message(out);
        if !matches!(&self.open, Open::Message(m) if matches!(m.part, Some(Part::Text { .. }))) {
            self.begin_part(
                Part::Text {
                    text: String::new(),
                    annotations: Vec::new(),
                    logprobs: Vec::new(),
                },
                out,
            );
        }
        let (index, mut open) = (self.output.len(), std::mem::take(&mut self.open));
        if let Open::Message(message) = &mut open {
            self.emit("response.output_text.delta", out, |o| {
                place(o, message, index);
                o.put("delta", delta);
                o.array("logprobs", |_| {});
            });
            if let Some(Part::Text { text, .. }) = &mut message.part {
                text.push_str(delta);
            }
        }
        self.open = open;
    }

    pub(super) fn refusal(&mut self, delta: &str, out: &mut Vec<u8>) {
        self.open_message(out);
        if !matches!(&self.open, Open::Message(m) if matches!(m.part, Some(Part::Refusal(_)))) {
            self.begin_part(Part::Refusal(String::new()), out);
        }
        let (index, mut open) = (self.output.len(), std::mem::take(&mut self.open));
        if let Open::Message(message) = &mut open {
            self.emit("response.refusal.delta", out, |o| {
                place(o, message, index);
                o.put("delta", delta);
            });
            if let Some(Part::Refusal(text)) = &mut message.part {
                text.push_str(delta);
            }
        }
        self.open = open;
    }

    /// Ends the open part of the message and begins the next one.
    fn begin_part(&mut self, part: Part, out: &mut Vec<u8>) {
        let (index, mut open) = (self.output.len(), std::mem::take(&mut self.open));
        if let Open::Message(message) = &mut open {
            self.end_part(message, out);
            message.part = Some(part);
            let part = message.part.as_ref().map(part_json);
            self.emit("response.content_part.added", out, |o| {
                place(o, message, index);
                o.raw_some("part", part.as_ref());
            });
        }
        self.open = open;
    }

    fn end_part(&mut self, message: &mut Message, out: &mut Vec<u8>) {
        let Some(part) = message.part.take() else {
            return;
        };
        let index = self.output.len();
        let kind = match part {
            Part::Text { .. } => "response.output_text.done",
            Part::Refusal(_) => "response.refusal.done",
        };
        self.emit(kind, out, |o| {
            place(o, message, index);
            match &part {
                Part::Text { text, logprobs, .. } => {
                    o.put("text", text);
                    o.put("logprobs", logprobs);
                }
                Part::Refusal(text) => o.put("refusal", text),
            }
        });
        let json = part_json(&part);
        self.emit("response.content_part.done", out, |o| {
            place(o, message, index);
            o.raw("part", &json);
        });
        message.done.push(json);
    }

    /// Adds a citation to the open text; `false` if there is none or it names no URL.
    pub(super) fn annotate(&mut self, raw: &RawValue, out: &mut Vec<u8>) -> bool {
        let (index, mut open) = (self.output.len(), std::mem::take(&mut self.open));
        let mut done = false;
        if let Open::Message(message) = &mut open
            && let Some(Part::Text { text, .. }) = &message.part
            && let Some(annotation) = content::flat(raw, Some((0, text.chars().count())))
        {
            done = true;
            let count = match &message.part {
                Some(Part::Text { annotations, .. }) => annotations.len(),
                _ => 0,
            };
            self.emit("response.output_text.annotation.added", out, |o| {
                place(o, message, index);
                o.put("annotation_index", &count);
                o.raw("annotation", &annotation);
            });
            if let Some(Part::Text { annotations, .. }) = &mut message.part {
                annotations.push(annotation);
            }
        }
        self.open = open;
        done
    }

    /// Adds log-probabilities, in Chat's shape, to the open text; `false` if there is none.
    pub(super) fn add_logprobs(&mut self, raw: &RawValue) -> bool {
        let Open::Message(Message {
            part: Some(Part::Text { logprobs, .. }),
            ..
        }) = &mut self.open
        else {
            return false;
        };
        let tokens = Fields::parse_raw(raw)
            .ok()
            .and_then(|mut fields| fields.take("content"))
            .and_then(|list| serde_json::from_str::<Vec<Raw>>(list.get()).ok());
        match tokens {
            Some(tokens) => {
                logprobs.extend(tokens);
                true
            }
            None => false,
        }
    }

    pub(super) fn reasoning_delta(&mut self, delta: &str, out: &mut Vec<u8>) {
        let (index, mut open) = (self.output.len(), std::mem::take(&mut self.open));
        if let Open::Reasoning(reasoning) = &mut open {
            if reasoning.text.is_empty() {
                self.emit("response.reasoning_summary_part.added", out, |o| {
                    summary_place(o, reasoning, index);
                    o.object("part", |o| {
                        o.put("type", "summary_text");
                        o.put("text", "");
                    });
                });
            }
            self.emit("response.reasoning_summary_text.delta", out, |o| {
                summary_place(o, reasoning, index);
                o.put("delta", delta);
            });
            reasoning.text.push_str(delta);
        }
        self.open = open;
    }

    pub(super) fn open_call(&mut self, mut call: Call, out: &mut Vec<u8>) {
        call.id = self.ids.make(match call.kind {
            ToolKind::Custom => "ctc_",
            ToolKind::Function => "fc_",
        });
        let item = self.call_json(&call, "in_progress");
        let index = self.output.len();
        self.emit("response.output_item.added", out, |o| {
            o.put("output_index", &index);
            o.raw("item", &item);
        });
        self.open = Open::Call(call);
    }

    pub(super) fn call_delta(&mut self, delta: &str, out: &mut Vec<u8>) {
        if delta.is_empty() {
            return;
        }
        let (index, mut open) = (self.output.len(), std::mem::take(&mut self.open));
        if let Open::Call(call) = &mut open {
            self.emit(delta_event(call.kind), out, |o| {
                o.put("item_id", &call.id);
                o.put("output_index", &index);
                o.put("delta", delta);
            });
            call.arguments.push_str(delta);
        }
        self.open = open;
    }

    /// Ends whatever is open.
    pub(super) fn close(&mut self, out: &mut Vec<u8>) {
        match std::mem::take(&mut self.open) {
            Open::Nothing => {}
            Open::Message(mut message) => {
                self.end_part(&mut message, out);
                let status = self.item_status();
                let item = raw_object(|o| {
                    o.put("id", &message.id);
                    o.put("type", "message");
                    o.put("status", status);
                    o.put("role", "assistant");
                    o.put("content", &message.done);
                });
                self.item_done(item, out);
            }
            Open::Reasoning(reasoning) => self.close_reasoning(&reasoning, out),
            Open::Call(call) => self.close_call(call, out),
        }
    }

    fn close_reasoning(&mut self, reasoning: &Reasoning, out: &mut Vec<u8>) {
        let index = self.output.len();
        if !reasoning.text.is_empty() {
            self.emit("response.reasoning_summary_text.done", out, |o| {
                summary_place(o, reasoning, index);
                o.put("text", &reasoning.text);
            });
            self.emit("response.reasoning_summary_part.done", out, |o| {
                summary_place(o, reasoning, index);
                o.object("part", |o| {
                    o.put("type", "summary_text");
                    o.put("text", &reasoning.text);
                });
            });
        }
        let item = raw_object(|o| {
            o.put("id", &reasoning.id);
            o.put("type", "reasoning");
            o.array("summary", |list| {
                if !reasoning.text.is_empty() {
                    list.object(|o| {
                        o.put("type", "summary_text");
                        o.put("text", &reasoning.text);
                    });
                }
            });
            o.put_some("encrypted_content", reasoning.held.as_ref());
        });
        self.item_done(item, out);
    }

    fn close_call(&mut self, mut call: Call, out: &mut Vec<u8>) {
        let index = self.output.len();
        if call.kind == ToolKind::Function && call.arguments.trim().is_empty() {
            call.arguments.push_str("{}");
            self.emit(delta_event(call.kind), out, |o| {
                o.put("item_id", &call.id);
                o.put("output_index", &index);
                o.put("delta", "{}");
            });
        }
        let (kind, member) = match call.kind {
            ToolKind::Custom => ("response.custom_tool_call_input.done", "input"),
            ToolKind::Function => ("response.function_call_arguments.done", "arguments"),
        };
        self.emit(kind, out, |o| {
            o.put("item_id", &call.id);
            o.put("output_index", &index);
            if call.kind == ToolKind::Function {
                o.put("name", &call.name);
            }
            o.put(member, &call.arguments);
        });
        let item = self.call_json(&call, self.item_status());
        self.item_done(item, out);
        if let Some(signature) = &call.signature {
            self.hold(&held::last(signature), out);
        }
    }

    fn call_json(&self, call: &Call, status: &str) -> Raw {
        let split = tools::split_name(self.context.request.as_deref(), &call.name);
        raw_object(|o| {
            o.put("id", &call.id);
            o.put(
                "type",
                match call.kind {
                    ToolKind::Custom => "custom_tool_call",
                    ToolKind::Function => "function_call",
                },
            );
            o.put("status", status);
            o.put("call_id", &call.reference);
            o.put("name", split.map_or(call.name.as_str(), |(_, own)| own));
            o.put_some("namespace", split.map(|(namespace, _)| namespace));
            o.put(
                match call.kind {
                    ToolKind::Custom => "input",
                    ToolKind::Function => "arguments",
                },
                &call.arguments,
            );
        })
    }
}

fn place(o: &mut Object<'_>, message: &Message, index: usize) {
    o.put("item_id", &message.id);
    o.put("output_index", &index);
    o.put("content_index", &message.done.len());
}

fn summary_place(o: &mut Object<'_>, reasoning: &Reasoning, index: usize) {
    o.put("item_id", &reasoning.id);
    o.put("output_index", &index);
    o.put("summary_index", &0);
}

const fn delta_event(kind: ToolKind) -> &'static str {
    match kind {
        ToolKind::Custom => "response.custom_tool_call_input.delta",
        ToolKind::Function => "response.function_call_arguments.delta",
    }
}

fn part_json(part: &Part) -> Raw {
    raw_object(|o| match part {
        Part::Refusal(text) => {
            o.put("type", "refusal");
            o.put("refusal", text);
        }
        Part::Text {
            text,
            annotations,
            logprobs,
        } => {
            o.put("type", "output_text");
            o.put("text", text);
            o.put("annotations", annotations);
            o.put("logprobs", logprobs);
        }
    })
}
