//! Claims about the Responses codec; numbers refer to the cases of the wire-format notes.

mod legality;
mod properties;
mod replies;
mod requests;
mod stored;
mod streams;

use std::sync::Arc;

use serde_json::Value;
use serde_json::value::RawValue;

use super::*;
use crate::dialects::chat::{Message, Part, Role, Tool, ToolCall, ToolResult};
use crate::dialects::event::{Event, EventKind};
use crate::dialects::fields::{Extra, Raw};

fn raw(json: &str) -> Raw {
    RawValue::from_string(json.to_owned()).expect("JSON")
}

fn parsed(json: &[u8]) -> Value {
    serde_json::from_slice(json).unwrap_or_else(|error| {
        panic!("{error}: {}", String::from_utf8_lossy(json));
    })
}

fn read(body: &Value) -> ChatRequest {
    OpenAiResponses
        .read_request(body.to_string().as_bytes(), RequestHint::default())
        .expect("a request")
}

fn context(request: Option<ChatRequest>) -> ReplyContext {
    ReplyContext {
        model: "asked".to_owned(),
        created: 1,
        id_seed: 7,
        include_usage: true,
        request: request.map(Arc::new),
    }
}

/// One event of a client's stream: its name and data.
type Frame = (String, Value);

fn frames(text: &str) -> Vec<Frame> {
    text.split_terminator("\n\n")
        .map(|frame| {
            let (name, data) = frame.split_once('\n').expect("two lines");
            let name = name.strip_prefix("event: ").expect("an event").to_owned();
            let data = parsed(data.strip_prefix("data: ").expect("data").as_bytes());
            assert_eq!(data["type"], name.as_str());
            (name, data)
        })
        .collect()
}

/// What a client of this request sees of the events.
fn streamed(request: Option<ChatRequest>, events: &[EventKind]) -> Vec<Frame> {
    let mut writer = OpenAiResponses.stream_writer(context(request));
    let mut out = Vec::new();
    for kind in events {
        writer.write(&Event::first(kind.clone()), &mut out);
    }
    writer.finish(&mut out);
    frames(&String::from_utf8(out).expect("text"))
}

fn names(frames: &[Frame]) -> Vec<&str> {
    frames
        .iter()
        .map(|(name, _)| name.strip_prefix("response.").unwrap_or(name))
        .collect()
}

/// The events of an upstream's stream, and how it ended.
fn events(frames: &[Value]) -> (Vec<EventKind>, Result<(), ReadError>) {
    let mut reader = OpenAiResponses.stream_reader();
    let mut out = Vec::new();
    for frame in frames {
        let name = frame["type"].as_str().unwrap_or_default();
        if let Err(error) = reader.read(name, frame.to_string().as_bytes(), &mut out) {
            return (
                out.into_iter().map(|event| event.kind).collect(),
                Err(error),
            );
        }
    }
    let end = reader.finish(&mut out);
    (out.into_iter().map(|event| event.kind).collect(), end)
}
