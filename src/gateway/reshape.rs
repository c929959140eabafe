//! Answers that come in the other form than asked for: a whole one where a stream was wanted, a
//! stream where a whole one was.

use bytes::Bytes;

use crate::dialects::chat::{ChatReply, Choice, Part, Text, Thinking, ToolCall};
use crate::dialects::error::ReadError;
use crate::dialects::event::{Event, EventKind, SignatureOf, StopReason};
use crate::dialects::halves::Halves;
use crate::dialects::sse::{Frame, Splitter};
use crate::dialects::usage::Usage;
use crate::dialects::{Codec, StreamWriter};
use crate::providers::Provider;

/// A whole answer as the events of a stream.
pub fn events(reply: ChatReply) -> Vec<Event> {
    let mut events = vec![Event::first(EventKind::Start {
        id: reply.id,
        model: reply.model,
    })];
    for (choice, answer) in (0..).zip(reply.choices) {
        let mut calls = 0;
        for part in answer.parts {
            part_events(part, &mut calls, &mut |kind| {
                events.push(Event { choice, kind });
            });
        }
        if let Some(logprobs) = answer.logprobs {
            events.push(Event {
                choice,
                kind: EventKind::Logprobs(logprobs),
            });
        }
        let reason = answer.stop.unwrap_or(StopReason::EndTurn);
        let kind = EventKind::Stop {
            reason,
            sequence: answer.stop_sequence,
        };
        events.push(Event { choice, kind });
    }
    if let Some(usage) = reply.usage {
        events.push(Event::first(EventKind::Usage(usage)));
    }
    events
}

/// Writes events as one finished client stream.
pub fn write_all(events: &[Event], writer: &mut dyn StreamWriter) -> Bytes {
    let mut out = Vec::new();
    for event in events {
        writer.write(event, &mut out);
    }
    writer.finish(&mut out);
    out.into()
}

/// A frame with its payload out of the vendor's envelope; what holds no payload stays as it is.
pub fn open_frame(frame: Frame, adapter: &dyn Provider) -> Frame {
    if frame.is_comment_only() {
        return frame;
    }
    let payload = Bytes::copy_from_slice(&frame.data());
    Frame::of_data(&adapter.unwrap(payload))
}

/// A whole event stream gathered into one answer.
///
/// `envelope` opens each event's payload first.
pub fn gather(
    stream: Bytes,
    codec: &dyn Codec,
    envelope: Option<&'static dyn Provider>,
) -> Result<ChatReply, ReadError> {
    let opened = |frame| match envelope {
        Some(adapter) => open_frame(frame, adapter),
        None => frame,
    };
    let mut splitter = Splitter::default();
    splitter.push(stream);
    let mut reader = codec.stream_reader();
    let mut halves = Halves::default();
    let mut events = Vec::new();
    while let Some(frame) = splitter.next() {
        let frame = opened(frame.map_err(|error| ReadError::Json(error.to_string()))?);
        reader.read(frame.event(), &halves.join(frame.data()), &mut events)?;
    }
    if let Some(frame) = splitter.finish() {
        let frame = opened(frame);
        reader.read(frame.event(), &halves.join(frame.data()), &mut events)?;
    }
    reader.finish(&mut events)?;
    reply(events)
}

fn reply(events: Vec<Event>) -> Result<ChatReply, ReadError> {
    let mut reply = ChatReply::default();
    let mut usage: Option<Usage> = None;
    for Event { choice, kind } in events {
        let at = usize::try_from(choice)
            .unwrap_or(0)
            .min(reply.choices.len());
        if at == reply.choices.len() {
            reply.choices.push(Choice::default());
        }
        match kind {
            EventKind::Error(error) => return Err(ReadError::Upstream(error)),
            EventKind::Start { id, model } => (reply.id, reply.model) = (id, model),
            EventKind::Usage(counts) => usage.get_or_insert_default().update(&counts),
            EventKind::Extra(extra) => reply.extra.0.extend(extra.0),
            kind => {
                if let Some(answer) = reply.choices.get_mut(at) {
                    add(answer, kind);
                }
            }
        }
    }
    reply.usage = usage;
    Ok(reply)
}

/// Adds a piece of a streamed answer to what there is of it.
pub(super) fn add(answer: &mut Choice, kind: EventKind) {
    match kind {
        EventKind::Text(delta) => match answer.parts.last_mut() {
            Some(Part::Text(text)) => text.text.push_str(&delta),
            _ => answer.parts.push(Part::text(delta)),
        },
        EventKind::Thinking(delta) => match answer.parts.last_mut() {
            Some(Part::Thinking(thinking)) => thinking.text.push_str(&delta),
            _ => answer.parts.push(Part::Thinking(Thinking {
                text: delta,
                ..Thinking::default()
            })),
        },
        EventKind::Signature { of, value } => sign(answer, of, value),
        EventKind::RedactedThinking(data) => answer.parts.push(Part::RedactedThinking { data }),
        EventKind::Refusal(text) => answer.parts.push(Part::Refusal(text)),
        EventKind::ToolStart {
            id,
            name,
            kind,
            signature,
            ..
        } => {
            let call = ToolCall {
                id,
                name,
                kind,
                signature,
                ..ToolCall::default()
            };
            answer.parts.push(Part::ToolCall(call));
        }
        EventKind::ToolArguments { index, delta } => {
            if let Some(call) = call_mut(answer, index) {
                call.arguments.push_str(&delta);
            }
        }
        EventKind::Media(media) => answer.parts.push(Part::Media(media)),
        EventKind::Logprobs(logprobs) => answer.logprobs = Some(logprobs),
        EventKind::Stop { reason, sequence } => {
            answer.stop = Some(reason);
            answer.stop_sequence = sequence;
        }
        _ => {}
    }
}

fn sign(answer: &mut Choice, of: SignatureOf, value: String) {
    match of {
        SignatureOf::ToolCall(index) => {
            if let Some(call) = call_mut(answer, index) {
                call.signature = Some(value);
            }
        }
        SignatureOf::Text => match answer.parts.last_mut() {
            Some(Part::Text(text)) => text.signature = Some(value),
            _ => answer.parts.push(Part::Text(Text {
                signature: Some(value),
                ..Text::default()
            })),
        },
        SignatureOf::Thinking => {
            let thinking = answer.parts.iter_mut().rev().find_map(|part| match part {
                Part::Thinking(thinking) => Some(thinking),
                _ => None,
            });
            match thinking {
                Some(thinking) => thinking.signature = Some(value),
                None => answer.parts.push(Part::Thinking(Thinking {
                    signature: Some(value),
                    ..Thinking::default()
                })),
            }
        }
    }
}

fn call_mut(answer: &mut Choice, index: u32) -> Option<&mut ToolCall> {
    let calls = answer.parts.iter_mut().filter_map(|part| match part {
        Part::ToolCall(call) => Some(call),
        _ => None,
    });
    calls.into_iter().nth(usize::try_from(index).ok()?)
}

fn part_events(part: Part, calls: &mut u32, push: &mut dyn FnMut(EventKind)) {
    match part {
        Part::Media(media) => push(EventKind::Media(media)),
        Part::RedactedThinking { data } => push(EventKind::RedactedThinking(data)),
        Part::Refusal(text) => push(EventKind::Refusal(text)),
        Part::Text(text) => {
            push(EventKind::Text(text.text));
            if let Some(value) = text.signature {
                push(EventKind::Signature {
                    of: SignatureOf::Text,
                    value,
                });
            }
            if let Some(citations) = text.citations {
                push(EventKind::Citation(citations));
            }
        }
        Part::Thinking(thinking) => {
            push(EventKind::Thinking(thinking.text));
            if let Some(value) = thinking.signature {
                push(EventKind::Signature {
                    of: SignatureOf::Thinking,
                    value,
                });
            }
        }
        Part::ToolCall(call) => {
            let index = *calls;
            *calls += 1;
            let (id, name, kind, signature) = (call.id, call.name, call.kind, call.signature);
            push(EventKind::ToolStart {
                index,
                id,
                name,
                kind,
                signature,
            });
            push(EventKind::ToolArguments {
                index,
                delta: call.arguments,
            });
            push(EventKind::ToolEnd { index });
        }
        // Blocks of one dialect have no event; results are the client's to send.
        Part::Raw { .. } | Part::ToolResult(_) => {}
    }
}
