//! Writes events as a stream of chunks.
//!
//! The role comes first, then deltas; reason, usage (if asked for) and `[DONE]` come at the end,
//! because upstreams tell usage after the reason. Nothing that looks like success follows an error.

use std::collections::BTreeMap;

use crate::dialects::chat::{Media, MediaKind, MediaSource, ToolKind};
use crate::dialects::error::{ErrorKind, ErrorReply};
use crate::dialects::event::{Event, EventKind, SignatureOf, StopReason};
use crate::dialects::fields::{Extra, Raw};
use crate::dialects::ids::IdSource;
use crate::dialects::json::{self, Object};
use crate::dialects::loss::Losses;
use crate::dialects::openai_chat::reply::{KNOWN_EXTRA, finish_reason, image_url, write_image};
use crate::dialects::openai_chat::{LAST_FRAME, error, reasoning, usage};
use crate::dialects::restore::Restore;
use crate::dialects::usage::Usage;
use crate::dialects::{ReplyContext, StreamWriter, chat, citation};

/// Writes one stream for a client.
#[derive(Debug)]
pub(in crate::dialects::openai_chat) struct Writer {
    restore: Restore,
    frames: Frames,
    usage: Usage,
    losses: Losses,
    is_over: bool,
}

/// What all frames of one stream share.
#[derive(Debug)]
struct Frames {
    /// `{"id":…,"object":…,"created":…,"model":…` without the closing brace.
    head: Vec<u8>,
    extra: Extra,
    include_usage: bool,
    is_legacy: bool,
    /// An empty answer may be right: a stop sequence may have come at once.
    may_be_empty: bool,
    choices: BTreeMap<u32, State>,
}

#[derive(Debug, Default)]
struct State {
    has_role: bool,
    has_content: bool,
    stop: Option<StopReason>,
    /// Log-probabilities that wait for their text.
    logprobs: Option<Raw>,
    /// Thinking since the last signature: the entry that makes it replayable repeats it whole.
    thoughts: String,
    details: usize,
    /// Characters of text so far, for the places of citations.
    text_chars: usize,
    tools: Vec<Tool>,
}

#[derive(Debug)]
struct Tool {
    index: u32,
    kind: ToolKind,
    has_arguments: bool,
}

impl Writer {
    pub(in crate::dialects::openai_chat) fn new(context: &ReplyContext) -> Self {
        let request = context.request.as_deref();
        let mut head = Vec::with_capacity(160);
        json::object(&mut head, |o| {
            o.put("id", &IdSource::new(context.id_seed).make("chatcmpl-"));
            o.put("object", "chat.completion.chunk");
            o.put("created", &context.created);
            o.put("model", &context.model);
        });
        head.pop();
        Self {
            restore: Restore::new(request),
            frames: Frames {
                head,
                extra: Extra::default(),
                include_usage: context.include_usage,
                is_legacy: request.is_some_and(|request| request.legacy_functions),
                may_be_empty: request.is_some_and(|request| !request.stop.is_empty()),
                choices: BTreeMap::new(),
            },
            usage: Usage::default(),
            losses: Losses::default(),
            is_over: false,
        }
    }
}

impl StreamWriter for Writer {
    fn write(&mut self, event: &Event, out: &mut Vec<u8>) {
        if self.is_over {
            return;
        }
        match &event.kind {
            EventKind::Error(error) => self.fail(&error.to_reply(), out),
            EventKind::Usage(later) => self.usage.update(later),
            EventKind::Extra(extra) => {
                let known = extra.0.iter().filter(|(name, value)| {
                    KNOWN_EXTRA.contains(&name.as_str()) && value.get().starts_with('"')
                });
                self.frames.extra.0.extend(known.cloned());
            }
            _ => {
                let Self {
                    restore,
                    frames,
                    losses,
                    ..
                } = self;
                restore.event(event, |event| frames.write(event, losses, out));
            }
        }
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        if self.is_over {
            return;
        }
        if let Some(error) = self.frames.fault() {
            self.fail(&error, out);
            return;
        }
        self.is_over = true;
        self.frames.finish(out);
        if self.frames.include_usage {
            self.frames.write_usage(&self.usage, out);
        }
        out.extend_from_slice(LAST_FRAME);
    }

    fn fail(&mut self, error: &ErrorReply, out: &mut Vec<u8>) {
        if !self.is_over {
            self.is_over = true;
            out.extend_from_slice(&error::frame(error));
        }
    }

    fn losses(&self) -> &Losses {
        &self.losses
    }
}

impl Frames {
    fn write(&mut self, event: &Event, losses: &mut Losses, out: &mut Vec<u8>) {
        let choice = event.choice;
        self.begin(choice, out);
        match &event.kind {
            EventKind::Text(text) => {
                self.state(choice).text_chars += text.chars().count();
                self.delta(choice, out, |o| o.put("content", text));
            }
            EventKind::Thinking(text) => {
                self.state(choice).thoughts.push_str(text);
                self.delta(choice, out, |o| o.put("reasoning_content", text));
            }
            EventKind::Refusal(text) => self.delta(choice, out, |o| o.put("refusal", text)),
            EventKind::Signature { of, value } => self.write_signature(choice, *of, value, out),
            EventKind::RedactedThinking(data) => {
                let part = chat::Part::RedactedThinking { data: data.clone() };
                self.write_detail(choice, &part, out);
            }
            EventKind::ToolStart {
                index,
                id,
                name,
                kind,
                signature,
            } => {
                self.state(choice).tools.push(Tool {
                    index: *index,
                    kind: *kind,
                    has_arguments: false,
                });
                let is_legacy = self.is_legacy;
                self.delta(choice, out, |o| {
                    if is_legacy {
                        o.object("function_call", |o| write_function(o, Some(name), ""));
                        return;
                    }
                    write_call(o, *index, |o| {
                        o.put("id", id);
                        write_body(o, *kind, Some(name), "");
                        if let Some(signed) = signature {
                            reasoning::write_google_signature(o, signed);
                        }
                    });
                });
            }
            EventKind::ToolArguments { index, delta } => {
                self.write_arguments(choice, *index, delta, out);
            }
            EventKind::ToolEnd { index } => {
                let tools = &self.state(choice).tools;
                let bare = tools.iter().any(|tool| {
                    tool.index == *index && !tool.has_arguments && tool.kind == ToolKind::Function
                });
                if bare {
                    self.write_arguments(choice, *index, "{}", out);
                }
            }
            EventKind::Media(media) => self.write_media(choice, media, losses, out),
            EventKind::Citation(raw) => {
                let end = self.state(choice).text_chars;
                match citation::to_openai(raw, Some((end, end))) {
                    Some(annotation) => {
                        self.delta(choice, out, |o| o.put("annotations", &[annotation]));
                    }
                    None => losses.drop_field("message.citations"),
                }
            }
            EventKind::Logprobs(raw) => self.state(choice).logprobs = Some(raw.clone()),
            EventKind::Stop { reason, .. } => self.state(choice).stop = Some(*reason),
            EventKind::Start { .. }
            | EventKind::Error(_)
            | EventKind::Extra(_)
            | EventKind::Usage(_) => {}
        }
    }

    fn state(&mut self, choice: u32) -> &mut State {
        self.choices.entry(choice).or_default()
    }

    /// The first chunk of a choice names the role.
    fn begin(&mut self, choice: u32, out: &mut Vec<u8>) {
        if !std::mem::replace(&mut self.state(choice).has_role, true) {
            self.chunk(choice, None, None, out, |o| {
                o.put("role", "assistant");
                o.put("content", "");
            });
        }
    }

    /// A chunk with content.
    fn delta(&mut self, choice: u32, out: &mut Vec<u8>, write: impl FnOnce(&mut Object<'_>)) {
        let state = self.state(choice);
        state.has_content = true;
        let logprobs = state.logprobs.take();
        self.chunk(choice, logprobs, None, out, write);
    }

    fn chunk(
        &self,
        choice: u32,
        logprobs: Option<Raw>,
        finish: Option<&str>,
        out: &mut Vec<u8>,
        write: impl FnOnce(&mut Object<'_>),
    ) {
        self.open(out);
        out.extend_from_slice(br#","choices":[{"index":"#);
        json::value(out, &choice);
        out.extend_from_slice(br#","delta":"#);
        json::object(out, write);
        if let Some(logprobs) = logprobs {
            out.extend_from_slice(br#","logprobs":"#);
            out.extend_from_slice(logprobs.get().as_bytes());
        }
        out.extend_from_slice(br#","finish_reason":"#);
        json::value(out, &finish);
        out.extend_from_slice(b"}]");
        if self.include_usage {
            out.extend_from_slice(br#","usage":null"#);
        }
        out.extend_from_slice(b"}\n\n");
    }

    fn open(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"data: ");
        out.extend_from_slice(&self.head);
        for (name, value) in &self.extra.0 {
            out.push(b',');
            json::value(out, name);
            out.push(b':');
            out.extend_from_slice(value.get().as_bytes());
        }
    }

    fn write_signature(&mut self, choice: u32, of: SignatureOf, value: &str, out: &mut Vec<u8>) {
        match of {
            SignatureOf::Thinking => {
                let part = chat::Part::Thinking(chat::Thinking {
                    text: std::mem::take(&mut self.state(choice).thoughts),
                    signature: Some(value.to_owned()),
                    ..chat::Thinking::default()
                });
                self.write_detail(choice, &part, out);
            }
            SignatureOf::Text => self.delta(choice, out, |o| {
                reasoning::write_google_signature(o, value);
            }),
            SignatureOf::ToolCall(index) => self.delta(choice, out, |o| {
                write_call(o, index, |o| reasoning::write_google_signature(o, value));
            }),
        }
    }

    fn write_detail(&mut self, choice: u32, part: &chat::Part, out: &mut Vec<u8>) {
        let state = self.state(choice);
        let index = state.details;
        state.details += 1;
        self.delta(choice, out, |o| {
            o.array("reasoning_details", |list| {
                reasoning::write_detail(list, part, index);
            });
        });
    }

    fn write_arguments(&mut self, choice: u32, index: u32, delta: &str, out: &mut Vec<u8>) {
        if delta.is_empty() {
            return;
        }
        let tools = &mut self.state(choice).tools;
        let Some(tool) = tools.iter_mut().find(|tool| tool.index == index) else {
            return;
        };
        tool.has_arguments = true;
        let kind = tool.kind;
        let is_legacy = self.is_legacy;
        self.delta(choice, out, |o| {
            if is_legacy {
                o.object("function_call", |o| write_function(o, None, delta));
            } else {
                write_call(o, index, |o| write_body(o, kind, None, delta));
            }
        });
    }

    fn write_media(&mut self, choice: u32, media: &Media, losses: &mut Losses, out: &mut Vec<u8>) {
        if let Some(url) = image_url(media) {
            self.delta(choice, out, |o| {
                o.array("images", |list| list.object(|o| write_image(o, &url)));
            });
        } else if let (MediaKind::Audio, MediaSource::Base64 { data, .. }) =
            (media.kind, &media.source)
        {
            self.delta(choice, out, |o| {
                o.object("audio", |o| {
                    o.put("data", data);
                    o.extra(&media.extra);
                });
            });
        } else {
            losses.drop_field("message.media");
        }
    }

    /// Why the stream must not end as a success; `None` if it may.
    fn fault(&self) -> Option<ErrorReply> {
        let is_cut = self.choices.is_empty()
            || self
                .choices
                .values()
                .any(|state| matches!(state.stop, None | Some(StopReason::Error)));
        if is_cut {
            return Some(ErrorReply::new(
                502,
                ErrorKind::Provider,
                "upstream_error",
                "the provider's answer ended before it was complete",
            ));
        }
        let is_empty = self
            .choices
            .values()
            .all(|state| !state.has_content && state.stop == Some(StopReason::EndTurn));
        (is_empty && !self.may_be_empty).then(|| {
            ErrorReply::new(
                502,
                ErrorKind::Provider,
                "empty_response",
                "the provider sent an empty answer",
            )
        })
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        let choices: Vec<u32> = self.choices.keys().copied().collect();
        for choice in choices {
            self.begin(choice, out);
            let state = self.state(choice);
            let logprobs = state.logprobs.take();
            let stop = match state.stop {
                None | Some(StopReason::EndTurn) if !state.tools.is_empty() => StopReason::ToolUse,
                stop => stop.unwrap_or(StopReason::EndTurn),
            };
            let word = finish_reason(stop, self.is_legacy);
            self.chunk(choice, logprobs, Some(word), out, |_| {});
        }
    }

    fn write_usage(&self, counted: &Usage, out: &mut Vec<u8>) {
        self.open(out);
        out.extend_from_slice(br#","choices":[],"#);
        let mut member = Vec::with_capacity(192);
        json::object(&mut member, |o| usage::write(o, counted));
        // Without its opening brace the object is a member of the chunk.
        out.extend_from_slice(member.get(1..).unwrap_or_default());
        out.extend_from_slice(b"\n\n");
    }
}

fn write_call(o: &mut Object<'_>, index: u32, write: impl FnOnce(&mut Object<'_>)) {
    o.array("tool_calls", |list| {
        list.object(|o| {
            o.put("index", &index);
            write(o);
        });
    });
}

fn write_body(o: &mut Object<'_>, kind: ToolKind, name: Option<&str>, arguments: &str) {
    match kind {
        ToolKind::Custom => {
            o.put_some("type", name.map(|_| "custom"));
            o.object("custom", |o| {
                o.put_some("name", name);
                o.put("input", arguments);
            });
        }
        ToolKind::Function => {
            o.put_some("type", name.map(|_| "function"));
            o.object("function", |o| write_function(o, name, arguments));
        }
    }
}

fn write_function(o: &mut Object<'_>, name: Option<&str>, arguments: &str) {
    o.put_some("name", name);
    o.put("arguments", arguments);
}
