//! Writes events as a stream of this dialect.

use crate::dialects::anthropic::reply::{stop_word, write_message};
use crate::dialects::anthropic::stream::blocks::{Blocks, Call, Piece, frame};
use crate::dialects::anthropic::{LAST_FRAME, error, usage};
use crate::dialects::chat::ToolKind;
use crate::dialects::error::{ErrorKind, ErrorReply};
use crate::dialects::event::{Event, EventKind, SignatureOf, StopReason};
use crate::dialects::ids::call_id_for_anthropic;
use crate::dialects::json;
use crate::dialects::loss::Losses;
use crate::dialects::restore::{CUSTOM_INPUT, Restore};
use crate::dialects::usage::Usage;
use crate::dialects::{ReplyContext, StreamWriter, citation};

/// Writes one stream for a client.
#[derive(Debug)]
pub(in crate::dialects::anthropic) struct Writer {
    restore: Restore,
    message: Message,
    is_over: bool,
}

/// The message as far as it is written.
#[derive(Debug)]
struct Message {
    context: ReplyContext,
    blocks: Blocks,
    has_started: bool,
    stop: Option<(StopReason, Option<String>)>,
    usage: Usage,
    losses: Losses,
    /// Free-text calls, whose input must be wrapped when it is whole: index and text.
    customs: Vec<(u32, String)>,
}

impl Writer {
    pub(in crate::dialects::anthropic) fn new(context: &ReplyContext) -> Self {
        Self {
            restore: Restore::new(context.request.as_deref()),
            message: Message {
                context: context.clone(),
                blocks: Blocks::new(),
                has_started: false,
                stop: None,
                usage: Usage::default(),
                losses: Losses::default(),
                customs: Vec::new(),
            },
            is_over: false,
        }
    }
}

impl StreamWriter for Writer {
    fn write(&mut self, event: &Event, out: &mut Vec<u8>) {
        if self.is_over {
            return;
        }
        if let EventKind::Error(error) = &event.kind {
            self.fail(&error.to_reply(), out);
            return;
        }
        let Self {
            restore, message, ..
        } = self;
        restore.event(event, |event| message.write(event, out));
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        if self.is_over {
            return;
        }
        if let Some(error) = self.message.fault() {
            self.fail(&error, out);
            return;
        }
        self.is_over = true;
        self.message.finish(out);
    }

    fn fail(&mut self, error: &ErrorReply, out: &mut Vec<u8>) {
        if !self.is_over {
            self.is_over = true;
            out.extend_from_slice(&error::frame(error));
        }
    }

    fn losses(&self) -> &Losses {
        &self.message.losses
    }
}

impl Message {
    fn write(&mut self, event: &Event, out: &mut Vec<u8>) {
        if event.choice != 0 {
            self.losses.drop_field("choices[1..]");
            return;
        }
        match &event.kind {
            EventKind::Usage(later) => return self.usage.update(later),
            // Begun with the first word: some clients read the input's tokens at the beginning only,
            // and an upstream that knows them by then has told them by then.
            EventKind::Start { .. } => return,
            EventKind::Stop { reason, sequence } => {
                self.stop = Some((*reason, sequence.clone()));
            }
            _ => {}
        }
        self.start(out);
        match &event.kind {
            EventKind::Text(text) | EventKind::Refusal(text) => {
                self.blocks.add(Piece::Text(text.clone()), out);
            }
            EventKind::Thinking(text) => self.blocks.add(Piece::Thinking(text.clone()), out),
            EventKind::RedactedThinking(data) => {
                self.blocks.add(Piece::Redacted(data.clone()), out);
            }
            EventKind::Signature {
                of: SignatureOf::ToolCall(_),
                ..
            } => self.losses.drop_field("tool_calls[].signature"),
            EventKind::Signature { value, .. } => {
                self.blocks.add(Piece::Signature(value.clone()), out);
            }
            EventKind::ToolStart {
                index,
                id,
                name,
                kind,
                signature,
            } => {
                if let Some(signed) = signature {
                    self.blocks.add(Piece::Signature(signed.clone()), out);
                }
                if *kind == ToolKind::Custom {
                    self.customs.push((*index, String::new()));
                }
                let call = Call {
                    index: *index,
                    id: call_id_for_anthropic(id).into_owned(),
                    name: name.clone(),
                    arguments: String::new(),
                    has_ended: false,
                };
                self.blocks.add(Piece::Call(call), out);
            }
            EventKind::ToolArguments { index, delta } => {
                match self.customs.iter_mut().find(|(custom, _)| custom == index) {
                    Some((_, text)) => text.push_str(delta),
                    None => self.blocks.add_arguments(*index, delta, out),
                }
            }
            EventKind::ToolEnd { index } => self.end_call(*index, out),
            EventKind::Citation(raw) => match citation::to_anthropic(raw) {
                Some(citation) => self.blocks.add(Piece::Citation(citation), out),
                None => self.losses.drop_field("content[].citations"),
            },
            EventKind::Media(_) => self.losses.drop_field("content[].media"),
            EventKind::Logprobs(_) => self.losses.drop_field("logprobs"),
            EventKind::Error(_)
            | EventKind::Extra(_)
            | EventKind::Start { .. }
            | EventKind::Stop { .. }
            | EventKind::Usage(_) => {}
        }
        if self.blocks.lost_citation {
            self.losses.drop_field("content[].citations");
        }
    }

    fn end_call(&mut self, index: u32, out: &mut Vec<u8>) {
        if let Some(at) = self.customs.iter().position(|(custom, _)| *custom == index) {
            let (_, text) = self.customs.swap_remove(at);
            let input = json::raw_object(|o| o.put(CUSTOM_INPUT, &text));
            self.blocks.add_arguments(index, input.get(), out);
        }
        self.blocks.end_call(index, out);
    }

    fn start(&mut self, out: &mut Vec<u8>) {
        if std::mem::replace(&mut self.has_started, true) {
            return;
        }
        frame(out, "message_start", |o| {
            o.object("message", |o| {
                write_message(o, &self.context, |_| {});
                o.null("stop_reason");
                o.null("stop_sequence");
                // What is written is told at the end, and some clients add the two.
                let read = Usage {
                    output: 0,
                    reasoning: 0,
                    ..self.usage
                };
                usage::write(o, &read);
            });
        });
        frame(out, "ping", |_| {});
    }

    /// Why the stream must not end as a success; `None` if it may.
    fn fault(&self) -> Option<ErrorReply> {
        let Some((stop, _)) = &self.stop else {
            return Some(ErrorReply::new(
                502,
                ErrorKind::Provider,
                "upstream_error",
                "the provider's answer ended before it was complete",
            ));
        };
        let request = self.context.request.as_deref();
        // A stop sequence may have come at once, and OpenAI does not tell that from a plain end.
        let may_be_empty = request.is_some_and(|request| !request.stop.is_empty());
        let is_empty = *stop == StopReason::EndTurn && !self.blocks.has_content && !may_be_empty;
        (is_empty || *stop == StopReason::Error).then(|| {
            ErrorReply::new(
                502,
                ErrorKind::Provider,
                if is_empty {
                    "empty_response"
                } else {
                    "upstream_error"
                },
                "the provider sent no complete answer",
            )
        })
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        let open: Vec<u32> = self.customs.iter().map(|(index, _)| *index).collect();
        for index in open {
            self.end_call(index, out);
        }
        self.blocks.finish(out);
        let (mut stop, sequence) = self.stop.take().unwrap_or((StopReason::EndTurn, None));
        if stop == StopReason::EndTurn && self.blocks.has_calls {
            stop = StopReason::ToolUse;
        }
        frame(out, "message_delta", |o| {
            o.object("delta", |o| {
                o.put("stop_reason", stop_word(stop));
                o.put("stop_sequence", &sequence);
            });
            usage::write(o, &self.usage);
        });
        out.extend_from_slice(LAST_FRAME);
    }
}
