//! Canonical events as a Responses stream.
//!
//! Items go one after the other: each is added, filled and done before the next begins, which is
//! how OpenAI sends them and what Codex counts on. Events of calls that upstreams interleave wait
//! until the open call is done.

use std::collections::VecDeque;

use crate::dialects::chat::{Media, MediaKind, MediaSource};
use crate::dialects::error::{ErrorKind, ErrorReply};
use crate::dialects::event::{Event, EventKind, SignatureOf, StopReason};
use crate::dialects::fields::Raw;
use crate::dialects::ids::IdSource;
use crate::dialects::json::{Object, object, raw_object};
use crate::dialects::loss::Losses;
use crate::dialects::openai_responses::held;
use crate::dialects::openai_responses::open::{Call, Message, Open, Reasoning};
use crate::dialects::openai_responses::response::{Frame, Outcome};
use crate::dialects::restore::Restore;
use crate::dialects::usage::Usage;
use crate::dialects::{ReplyContext, StreamWriter};

/// A writer for one stream.
pub(super) struct Writer {
    pub(super) context: ReplyContext,
    restore: Restore,
    frame: Frame,
    pub(super) ids: IdSource,
    sequence: u64,
    /// The items that are done.
    pub(super) output: Vec<Raw>,
    pub(super) open: Open,
    /// Events that wait for the open call to end.
    waiting: VecDeque<Event>,
    usage: Usage,
    stop: Option<StopReason>,
    /// Whether a refusal was said in words.
    has_refused: bool,
    losses: Losses,
    started: bool,
    ended: bool,
}

impl Writer {
    pub(super) fn new(context: ReplyContext) -> Self {
        let mut ids = IdSource::new(context.id_seed);
        Self {
            restore: Restore::new(context.request.as_deref()),
            frame: Frame::new(&context, &mut ids),
            context,
            ids,
            sequence: 0,
            output: Vec::new(),
            open: Open::Nothing,
            waiting: VecDeque::new(),
            usage: Usage::default(),
            stop: None,
            has_refused: false,
            losses: Losses::default(),
            started: false,
            ended: false,
        }
    }

    /// The whole response, and what was lost; for answers that are not streamed.
    pub(super) fn into_response(mut self) -> (Vec<u8>, Losses) {
        let mut frames = Vec::new();
        self.close_all(&mut frames);
        let mut out = Vec::new();
        let broken = broken();
        let outcome = self.outcome(&broken);
        self.frame
            .write(&outcome, &self.output, Some(&self.usage), &mut out);
        (out, self.losses)
    }

    /// Writes one event of the stream.
    pub(super) fn emit(
        &mut self,
        kind: &str,
        out: &mut Vec<u8>,
        members: impl FnOnce(&mut Object<'_>),
    ) {
        out.extend_from_slice(b"event: ");
        out.extend_from_slice(kind.as_bytes());
        out.extend_from_slice(b"\ndata: ");
        object(out, |o| {
            o.put("type", kind);
            o.put("sequence_number", &self.sequence);
            members(o);
        });
        out.extend_from_slice(b"\n\n");
        self.sequence += 1;
    }

    fn emit_response(
        &mut self,
        kind: &str,
        outcome: &Outcome<'_>,
        with_usage: bool,
        out: &mut Vec<u8>,
    ) {
        let output = std::mem::take(&mut self.output);
        let usage = with_usage.then_some(self.usage);
        let mut response = Vec::with_capacity(1024);
        self.frame
            .write(outcome, &output, usage.as_ref(), &mut response);
        self.emit(kind, out, |o| {
            o.key("response").extend_from_slice(&response);
        });
        self.output = output;
    }

    fn start(&mut self, out: &mut Vec<u8>) {
        if self.started {
            return;
        }
        self.started = true;
        for kind in ["response.created", "response.in_progress"] {
            self.emit_response(kind, &Outcome::InProgress, false, out);
        }
    }

    /// Takes one event now, or lets it wait.
    fn accept(&mut self, event: &Event, out: &mut Vec<u8>) {
        if self.ended {
            return;
        }
        if event.choice > 0 {
            self.losses.drop_field("choices[1]");
            return;
        }
        self.start(out);
        if self.waits(event) {
            self.waiting.push_back(event.clone());
            return;
        }
        let was_open = matches!(self.open, Open::Call(_));
        self.apply(event, out);
        if was_open && !matches!(self.open, Open::Call(_)) {
            self.drain(out);
        }
    }

    /// `true` if the event belongs to another item than the call that is open.
    fn waits(&self, event: &Event) -> bool {
        let Open::Call(call) = &self.open else {
            return false;
        };
        match &event.kind {
            EventKind::ToolArguments { index, .. }
            | EventKind::ToolEnd { index }
            | EventKind::Signature {
                of: SignatureOf::ToolCall(index),
                ..
            } => *index != call.tool,
            EventKind::Error(_)
            | EventKind::Extra(_)
            | EventKind::Start { .. }
            | EventKind::Stop { .. }
            | EventKind::Usage(_) => false,
            _ => true,
        }
    }

    /// Takes the events that waited, in their order, until a call is open again.
    fn drain(&mut self, out: &mut Vec<u8>) {
        let mut still = VecDeque::new();
        while let Some(event) = self.waiting.pop_front() {
            if self.waits(&event) {
                still.push_back(event);
                continue;
            }
            let was_open = matches!(self.open, Open::Call(_));
            self.apply(&event, out);
            if was_open && !matches!(self.open, Open::Call(_)) {
                still.append(&mut self.waiting);
                self.waiting = std::mem::take(&mut still);
            }
        }
        self.waiting = still;
    }

    fn apply(&mut self, event: &Event, out: &mut Vec<u8>) {
        match &event.kind {
            EventKind::Start { .. } | EventKind::Extra(_) => {}
            EventKind::Text(text) if text.is_empty() => {}
            EventKind::Text(text) => self.text(text, out),
            EventKind::Refusal(text) => {
                self.has_refused |= !text.is_empty();
                self.refusal(text, out);
            }
            EventKind::Thinking(text) => self.thinking(text, out),
            EventKind::Signature { of, value } => self.signature(*of, value, out),
            EventKind::RedactedThinking(data) => self.hold(&held::redacted(data), out),
            EventKind::ToolStart {
                index,
                id,
                name,
                kind,
                signature,
            } => {
                self.close(out);
                if let Some(signature) = signature {
                    self.hold(&held::next(signature), out);
                }
                self.open_call(Call::new(*index, id.clone(), name.clone(), *kind), out);
            }
            EventKind::ToolArguments { delta, .. } => self.call_delta(delta, out),
            EventKind::ToolEnd { index } => {
                if matches!(&self.open, Open::Call(call) if call.tool == *index) {
                    self.close(out);
                }
            }
            EventKind::Media(media) => self.media(media, out),
            EventKind::Citation(raw) => {
                if !self.annotate(raw, out) {
                    self.losses.drop_field("content[].citations");
                }
            }
            EventKind::Logprobs(raw) => {
                if !self.add_logprobs(raw) {
                    self.losses.drop_field("logprobs");
                }
            }
            EventKind::Usage(usage) => self.usage.update(usage),
            EventKind::Stop { reason, sequence } => {
                if sequence.is_some() {
                    self.losses.drop_field("stop_sequence");
                }
                // A refusal without a word would look like a success with nothing to say.
                self.stop = Some(match reason {
                    StopReason::Refusal if !self.has_refused => StopReason::ContentFilter,
                    reason => *reason,
                });
            }
            EventKind::Error(error) => {
                let mut reply = ErrorReply::new(502, ErrorKind::Provider, "", &error.message);
                reply.code = error.code.clone().map(Into::into);
                self.fail(&reply, out);
            }
        }
    }

    fn signature(&mut self, of: SignatureOf, value: &str, out: &mut Vec<u8>) {
        match of {
            SignatureOf::Thinking => {
                if !matches!(&self.open, Open::Reasoning(reasoning) if reasoning.held.is_none()) {
                    self.close(out);
                    self.open_reasoning(out);
                }
                if let Open::Reasoning(reasoning) = &mut self.open {
                    reasoning.held = Some(held::own(value).into_owned());
                }
            }
            SignatureOf::Text => {
                self.close(out);
                self.hold(&held::last(value), out);
            }
            SignatureOf::ToolCall(_) => match &mut self.open {
                Open::Call(call) => call.signature = Some(value.to_owned()),
                _ => self.losses.drop_field("output[].signature"),
            },
        }
    }

    /// A reasoning item that only holds something for the next request.
    pub(super) fn hold(&mut self, content: &str, out: &mut Vec<u8>) {
        self.close(out);
        self.open_reasoning(out);
        if let Open::Reasoning(reasoning) = &mut self.open {
            reasoning.held = Some(content.to_owned());
        }
        self.close(out);
    }

    fn media(&mut self, media: &Media, out: &mut Vec<u8>) {
        let (MediaKind::Image, MediaSource::Base64 { mime, data }) = (media.kind, &media.source)
        else {
            self.losses.drop_field("output[].media");
            return;
        };
        self.close(out);
        let id = self.ids.make("ig_");
        let format = mime.strip_prefix("image/").unwrap_or("png");
        let item = |status: &str, result: Option<&str>| {
            raw_object(|o| {
                o.put("id", &id);
                o.put("type", "image_generation_call");
                o.put("status", status);
                o.put("output_format", format);
                o.put("result", &result);
            })
        };
        let index = self.output.len();
        let added = item("in_progress", None);
        self.emit("response.output_item.added", out, |o| {
            o.put("output_index", &index);
            o.raw("item", &added);
        });
        self.item_done(item("completed", Some(data)), out);
    }

    /// The word for the state of an item that ends now.
    pub(super) fn item_status(&self) -> &'static str {
        match self.stop.map(Outcome::of) {
            Some(Some(Outcome::Incomplete(_))) => "incomplete",
            _ => "completed",
        }
    }

    pub(super) fn item_done(&mut self, item: Raw, out: &mut Vec<u8>) {
        let index = self.output.len();
        self.emit("response.output_item.done", out, |o| {
            o.put("output_index", &index);
            o.raw("item", &item);
        });
        self.output.push(item);
    }

    fn close_all(&mut self, out: &mut Vec<u8>) {
        loop {
            self.close(out);
            if self.waiting.is_empty() {
                return;
            }
            self.drain(out);
        }
    }

    /// What the response came to; a stream that nobody stopped did not end well.
    fn outcome<'e>(&self, broken: &'e ErrorReply) -> Outcome<'e> {
        self.stop
            .and_then(Outcome::of)
            .unwrap_or(Outcome::Failed(broken))
    }

    /// Opens a message if none is.
    pub(super) fn open_message(&mut self, out: &mut Vec<u8>) {
        if matches!(self.open, Open::Message(_)) {
            return;
        }
        self.close(out);
        let id = self.ids.make("msg_");
        let index = self.output.len();
        self.emit("response.output_item.added", out, |o| {
            o.put("output_index", &index);
            o.object("item", |o| {
                o.put("id", &id);
                o.put("type", "message");
                o.put("status", "in_progress");
                o.put("role", "assistant");
                o.array("content", |_| {});
            });
        });
        self.open = Open::Message(Message::new(id));
    }

    fn open_reasoning(&mut self, out: &mut Vec<u8>) {
        let id = self.ids.make("rs_");
        let index = self.output.len();
        self.emit("response.output_item.added", out, |o| {
            o.put("output_index", &index);
            o.object("item", |o| {
                o.put("id", &id);
                o.put("type", "reasoning");
                o.array("summary", |_| {});
            });
        });
        self.open = Open::Reasoning(Reasoning::new(id));
    }

    fn thinking(&mut self, text: &str, out: &mut Vec<u8>) {
        if text.is_empty() {
            return;
        }
        if !matches!(&self.open, Open::Reasoning(reasoning) if reasoning.held.is_none()) {
            self.close(out);
            self.open_reasoning(out);
        }
        self.reasoning_delta(text, out);
    }
}

impl StreamWriter for Writer {
    fn write(&mut self, event: &Event, out: &mut Vec<u8>) {
        let mut restore = std::mem::take(&mut self.restore);
        restore.event(event, |event| self.accept(event, out));
        self.restore = restore;
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        if self.ended {
            return;
        }
        self.start(out);
        self.close_all(out);
        self.ended = true;
        let broken = broken();
        let outcome = self.outcome(&broken);
        let kind = match outcome {
            Outcome::Completed | Outcome::InProgress => "response.completed",
            Outcome::Failed(_) => "response.failed",
            Outcome::Incomplete(_) => "response.incomplete",
        };
        self.emit_response(kind, &outcome, true, out);
    }

    fn fail(&mut self, error: &ErrorReply, out: &mut Vec<u8>) {
        if self.ended {
            return;
        }
        self.start(out);
        self.ended = true;
        let with_usage = !self.usage.is_zero();
        self.emit_response("response.failed", &Outcome::Failed(error), with_usage, out);
    }

    fn losses(&self) -> &Losses {
        &self.losses
    }
}

/// The error of an answer that ended for no good reason.
fn broken() -> ErrorReply {
    ErrorReply::new(
        502,
        ErrorKind::Provider,
        "server_error",
        "the model broke off its answer",
    )
}
