//! Writes a streamed answer as text completions.

use std::collections::BTreeMap;

use crate::dialects::completions::logprobs;
use crate::dialects::error::{ErrorKind, ErrorReply};
use crate::dialects::event::{Event, EventKind, StopReason};
use crate::dialects::fields::Raw;
use crate::dialects::ids::IdSource;
use crate::dialects::json;
use crate::dialects::loss::Losses;
use crate::dialects::openai_chat::{OpenAiChat, finish_reason, write_usage};
use crate::dialects::usage::Usage;
use crate::dialects::{Codec, ReplyContext, StreamWriter};

/// Writes one stream for a client.
#[derive(Debug)]
pub(super) struct Writer {
    /// `{"id":…,"object":…,"created":…,"model":…` without the closing brace.
    head: Vec<u8>,
    echo: Option<String>,
    include_usage: bool,
    choices: BTreeMap<u32, State>,
    usage: Usage,
    losses: Losses,
    is_over: bool,
}

#[derive(Debug, Default)]
struct State {
    has_begun: bool,
    stop: Option<StopReason>,
    logprobs: Option<Raw>,
    /// Characters so far, for the offsets of tokens.
    offset: usize,
}

impl Writer {
    pub(super) fn new(context: &ReplyContext) -> Self {
        let request = context.request.as_deref();
        let mut head = Vec::with_capacity(128);
        json::object(&mut head, |o| {
            o.put("id", &IdSource::new(context.id_seed).make("cmpl-"));
            o.put("object", "text_completion");
            o.put("created", &context.created);
            o.put("model", &context.model);
        });
        head.pop();
        Self {
            head,
            echo: request.and_then(|request| request.echo.clone()),
            include_usage: context.include_usage,
            choices: BTreeMap::new(),
            usage: Usage::default(),
            losses: Losses::default(),
            is_over: false,
        }
    }

    fn write_text(&mut self, choice: u32, text: &str, out: &mut Vec<u8>) {
        let state = self.choices.entry(choice).or_default();
        if !std::mem::replace(&mut state.has_begun, true)
            && let Some(echo) = &self.echo
        {
            state.offset = echo.chars().count();
            write_chunk(&self.head, choice, echo, None, None, out);
        }
        let counted = state.logprobs.take();
        let counted = counted.and_then(|raw| logprobs::legacy(&raw, &mut state.offset));
        write_chunk(&self.head, choice, text, counted.as_ref(), None, out);
    }
}

impl StreamWriter for Writer {
    fn write(&mut self, event: &Event, out: &mut Vec<u8>) {
        if self.is_over {
            return;
        }
        let choice = event.choice;
        match &event.kind {
            EventKind::Text(text) | EventKind::Refusal(text) => self.write_text(choice, text, out),
            EventKind::Stop { reason, .. } => {
                self.choices.entry(choice).or_default().stop = Some(*reason);
            }
            EventKind::Logprobs(raw) => {
                self.choices.entry(choice).or_default().logprobs = Some(raw.clone());
            }
            EventKind::Usage(later) => self.usage.update(later),
            EventKind::Error(error) => self.fail(&error.to_reply(), out),
            EventKind::RedactedThinking(_) | EventKind::Thinking(_) => {
                self.losses.drop_field("choices[].reasoning");
            }
            EventKind::Extra(_) | EventKind::Signature { .. } | EventKind::Start { .. } => {}
            EventKind::Citation(_)
            | EventKind::Media(_)
            | EventKind::ToolArguments { .. }
            | EventKind::ToolEnd { .. }
            | EventKind::ToolStart { .. } => self.losses.drop_field("choices[].content"),
        }
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        if self.is_over {
            return;
        }
        let is_cut = |state: &State| matches!(state.stop, None | Some(StopReason::Error));
        if self.choices.is_empty() || self.choices.values().any(is_cut) {
            let error = ErrorReply::new(
                502,
                ErrorKind::Provider,
                "upstream_error",
                "the provider's answer ended before it was complete",
            );
            self.fail(&error, out);
            return;
        }
        self.is_over = true;
        for (choice, state) in &self.choices {
            let stop = state.stop.unwrap_or(StopReason::EndTurn);
            let word = finish_reason(stop, false);
            write_chunk(&self.head, *choice, "", None, Some(word), out);
        }
        if self.include_usage {
            out.extend_from_slice(b"data: ");
            out.extend_from_slice(&self.head);
            out.extend_from_slice(br#","choices":[],"#);
            let mut member = Vec::with_capacity(192);
            json::object(&mut member, |o| write_usage(o, &self.usage));
            // Without its opening brace the object is a member of the chunk.
            out.extend_from_slice(member.get(1..).unwrap_or_default());
            out.extend_from_slice(b"\n\n");
        }
        out.extend_from_slice(b"data: [DONE]\n\n");
    }

    fn fail(&mut self, error: &ErrorReply, out: &mut Vec<u8>) {
        if !self.is_over {
            self.is_over = true;
            out.extend_from_slice(&OpenAiChat.write_stream_error(error));
        }
    }

    fn losses(&self) -> &Losses {
        &self.losses
    }
}

fn write_chunk(
    head: &[u8],
    choice: u32,
    text: &str,
    counted: Option<&Raw>,
    finish: Option<&str>,
    out: &mut Vec<u8>,
) {
    out.extend_from_slice(b"data: ");
    out.extend_from_slice(head);
    out.extend_from_slice(br#","choices":["#);
    json::object(out, |o| {
        o.put("text", text);
        o.put("index", &choice);
        o.put("logprobs", &counted);
        o.put("finish_reason", &finish);
    });
    out.extend_from_slice(b"]}\n\n");
}
