//! Canonical events as Gemini's stream, in server-sent events or as one JSON array.

use std::collections::BTreeMap;

use crate::dialects::chat::{Part, ToolCall};
use crate::dialects::error::ErrorReply;
use crate::dialects::event::{Event, EventKind, SignatureOf, StopReason};
use crate::dialects::fields::Extra;
use crate::dialects::gemini::citations::{self, Cited};
use crate::dialects::gemini::reply::{response_id, write_part, write_signature};
use crate::dialects::gemini::{error, finish, logprobs, signature};
use crate::dialects::json::{Array, Object, object};
use crate::dialects::loss::Losses;
use crate::dialects::restore::Restore;
use crate::dialects::usage::Usage;
use crate::dialects::{ReplyContext, StreamWriter};

/// How the chunks are strung together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// One JSON array: what clients get that do not ask for `alt=sse`.
    Array,
    /// Server-sent events.
    Sse,
}

/// Text kept to find citations' places in; those beyond it are told to be at its end.
const MAX_TEXT: usize = 256 * 1024;

/// A writer for one stream. Calls are held back until they are whole: Gemini has no pieces.
pub(super) struct Writer {
    context: ReplyContext,
    framing: Framing,
    restore: Restore,
    id: Option<String>,
    written: bool,
    ended: bool,
    calls: BTreeMap<u32, (u32, ToolCall)>,
    choices: BTreeMap<u32, Option<StopReason>>,
    /// What was said so far and what it cites, by alternative.
    said: BTreeMap<u32, (String, Vec<Cited>)>,
    usage: Usage,
    losses: Losses,
}

impl Writer {
    pub(super) fn new(context: ReplyContext, framing: Framing) -> Self {
        Self {
            restore: Restore::new(context.request.as_deref()),
            context,
            framing,
            id: None,
            written: false,
            ended: false,
            calls: BTreeMap::new(),
            choices: BTreeMap::new(),
            said: BTreeMap::new(),
            usage: Usage::default(),
            losses: Losses::default(),
        }
    }

    fn frame(&mut self, out: &mut Vec<u8>, members: impl FnOnce(&mut Self, &mut Object<'_>)) {
        match self.framing {
            Framing::Sse => out.extend_from_slice(b"data: "),
            Framing::Array if self.written => out.extend_from_slice(b",\n"),
            Framing::Array => out.push(b'['),
        }
        self.written = true;
        object(out, |o| members(self, o));
        if self.framing == Framing::Sse {
            out.extend_from_slice(b"\r\n\r\n");
        }
    }

    /// A chunk with parts of one alternative.
    fn parts(
        &mut self,
        choice: u32,
        out: &mut Vec<u8>,
        parts: impl FnOnce(&mut Self, &mut Array<'_>),
    ) {
        self.choices.entry(choice).or_default();
        self.frame(out, |writer, o| {
            o.array("candidates", |list| {
                list.object(|o| {
                    o.object("content", |o| {
                        o.array("parts", |list| parts(writer, list));
                        o.put("role", "model");
                    });
                    o.put("index", &choice);
                });
            });
            writer.tail(o);
        });
    }

    fn tail(&mut self, o: &mut Object<'_>) {
        if !self.usage.is_zero() {
            finish::write_usage(o, &self.usage);
        }
        o.put("modelVersion", &self.context.model);
        let id = self
            .id
            .get_or_insert_with(|| response_id(None, &self.context));
        o.put("responseId", &*id);
    }

    fn end_call(&mut self, index: u32, out: &mut Vec<u8>) {
        if let Some((choice, call)) = self.calls.remove(&index) {
            self.parts(choice, out, |writer, parts| {
                let part = Part::ToolCall(call);
                write_part(&part, parts, &mut writer.losses);
            });
        }
    }

    fn signature(&mut self, choice: u32, of: SignatureOf, value: &str, out: &mut Vec<u8>) {
        if let SignatureOf::ToolCall(index) = of {
            match self.calls.get_mut(&index) {
                Some((_, call)) => call.signature = Some(value.to_owned()),
                None => self.losses.drop_field("tool_calls[].signature"),
            }
            return;
        }
        self.parts(choice, out, |_, parts| {
            parts.object(|o| {
                o.put("text", "");
                if of == SignatureOf::Thinking {
                    o.put("thought", &true);
                }
                write_signature(o, Some(value));
            });
        });
    }

    fn restored(&mut self, event: &Event, out: &mut Vec<u8>) {
        if self.ended {
            return;
        }
        let choice = event.choice;
        match &event.kind {
            EventKind::Start { id, .. } => self.id = id.clone().or(self.id.take()),
            EventKind::Text(text) | EventKind::Refusal(text) => {
                if !text.is_empty() {
                    let (said, _) = self.said.entry(choice).or_default();
                    if said.len() + text.len() <= MAX_TEXT {
                        said.push_str(text);
                    }
                    self.parts(choice, out, |_, parts| {
                        parts.object(|o| {
                            o.put("text", text);
                        });
                    });
                }
            }
            EventKind::Thinking(text) => {
                if !text.is_empty() {
                    self.parts(choice, out, |_, parts| {
                        parts.object(|o| {
                            o.put("text", text);
                            o.put("thought", &true);
                        });
                    });
                }
            }
            EventKind::Signature { of, value } => self.signature(choice, *of, value, out),
            EventKind::RedactedThinking(data) => self.parts(choice, out, |_, parts| {
                parts.object(|o| {
                    o.put("text", "");
                    o.put("thought", &true);
                    o.put("thoughtSignature", &signature::write_redacted(data));
                });
            }),
            EventKind::ToolStart {
                index,
                id,
                name,
                kind,
                signature,
            } => {
                let call = ToolCall {
                    id: id.clone(),
                    name: name.clone(),
                    arguments: String::new(),
                    kind: *kind,
                    signature: signature.clone(),
                    cache_control: None,
                    extra: Extra::default(),
                };
                self.calls.insert(*index, (choice, call));
            }
            EventKind::ToolArguments { index, delta } => {
                if let Some((_, call)) = self.calls.get_mut(index) {
                    call.arguments.push_str(delta);
                }
            }
            EventKind::ToolEnd { index } => self.end_call(*index, out),
            EventKind::Media(media) => {
                let part = Part::Media(media.clone());
                self.parts(choice, out, |writer, parts| {
                    write_part(&part, parts, &mut writer.losses);
                });
            }
            EventKind::Citation(raw) => {
                let (said, cited) = self.said.entry(choice).or_default();
                let end = said.chars().count();
                match Cited::read(raw, 0, said, Some((end, end))) {
                    Some(source) => cited.push(source),
                    None => self.losses.drop_field("content[].citations"),
                }
            }
            EventKind::Logprobs(raw) => self.frame(out, |writer, o| {
                o.array("candidates", |list| {
                    list.object(|o| {
                        o.put("index", &choice);
                        logprobs::write(o, raw);
                    });
                });
                writer.tail(o);
            }),
            EventKind::Usage(usage) => self.usage.update(usage),
            EventKind::Stop { reason, sequence } => {
                if sequence.is_some() {
                    self.losses.drop_field("stop_sequence");
                }
                self.choices.insert(choice, Some(*reason));
            }
            EventKind::Extra(_) => {}
            EventKind::Error(error) => {
                let status = error.status.unwrap_or(502);
                let kind = crate::dialects::error::ErrorKind::Provider;
                let mut reply = ErrorReply::new(status, kind, "", error.message.clone());
                reply.code = None;
                self.fail(&reply, out);
            }
        }
    }
}

impl StreamWriter for Writer {
    fn write(&mut self, event: &Event, out: &mut Vec<u8>) {
        let mut restore = std::mem::take(&mut self.restore);
        restore.event(event, |event| self.restored(event, out));
        self.restore = restore;
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        if self.ended {
            return;
        }
        let open: Vec<u32> = self.calls.keys().copied().collect();
        for index in open {
            self.end_call(index, out);
        }
        if self.choices.is_empty() {
            self.choices.insert(0, None);
        }
        let stops = std::mem::take(&mut self.choices);
        let said = std::mem::take(&mut self.said);
        self.frame(out, |writer, o| {
            o.array("candidates", |list| {
                for (choice, stop) in &stops {
                    list.object(|o| {
                        o.object("content", |o| {
                            o.array("parts", |parts| {
                                parts.object(|o| {
                                    o.put("text", "");
                                });
                            });
                            o.put("role", "model");
                        });
                        // A stream whose end nobody explained did not end well.
                        let reason = stop.unwrap_or(StopReason::Error);
                        o.put("finishReason", &finish::reason(Some(reason)));
                        o.put("index", &choice);
                        if let Some((_, cited)) = said.get(choice)
                            && !cited.is_empty()
                        {
                            citations::write_grounding(o, cited);
                        }
                    });
                }
            });
            if writer.usage.is_zero() {
                finish::write_usage(o, &writer.usage);
            }
            writer.tail(o);
        });
        self.ended = true;
        if self.framing == Framing::Array {
            out.extend_from_slice(b"]\n");
        }
    }

    fn fail(&mut self, error: &ErrorReply, out: &mut Vec<u8>) {
        if self.ended {
            return;
        }
        self.ended = true;
        match self.framing {
            Framing::Sse => error::write_event(error, out),
            Framing::Array => {
                out.extend_from_slice(if self.written { b",\n" } else { b"[" });
                out.extend_from_slice(&error::write(error));
                out.extend_from_slice(b"]\n");
            }
        }
    }

    fn losses(&self) -> &Losses {
        &self.losses
    }
}
