//! Claims about the Gemini codec; numbers refer to the cases of the wire-format notes.

mod properties;
mod replies;
mod requests;
mod streams;

use serde_json::Value;
use serde_json::value::RawValue;

use super::*;
use crate::dialects::chat::{Function, Message, Part, Role, Tool, ToolCall, ToolResult};
use crate::dialects::fields::{Extra, Raw};

fn raw(json: &str) -> Raw {
    RawValue::from_string(json.to_owned()).expect("JSON")
}

fn parsed(json: &[u8]) -> Value {
    serde_json::from_slice(json).unwrap_or_else(|error| {
        panic!("{error}: {}", String::from_utf8_lossy(json));
    })
}

fn message(role: Role, parts: Vec<Part>) -> Message {
    Message {
        role,
        parts,
        extra: Extra::default(),
    }
}

fn says(text: &str) -> Message {
    message(Role::User, vec![Part::text(text)])
}

fn calls(ids: &[&str]) -> Message {
    let call = |id: &&str| Part::ToolCall(ToolCall::function(*id, format!("f_{id}"), "{}"));
    message(Role::Assistant, ids.iter().map(call).collect())
}

fn answers(id: &str, text: &str) -> Message {
    message(
        Role::Tool,
        vec![Part::ToolResult(ToolResult::text(id, text))],
    )
}

fn function(name: &str, parameters: &str) -> Tool {
    Tool::Function(Function {
        name: name.to_owned(),
        description: None,
        parameters: Some(raw(parameters)),
        strict: None,
        cache_control: None,
        extra: Extra::default(),
    })
}

/// A request of an OpenAI client.
fn request(messages: Vec<Message>) -> ChatRequest {
    let mut request = ChatRequest::new(Dialect::OpenAiChat, "m");
    request.messages = messages;
    request
}

/// The body for a model, and what was lost.
fn written(request: &ChatRequest, model: &str) -> (Value, Vec<String>) {
    let mut losses = Losses::default();
    let body = Gemini
        .write_request(request, &Target::new("gemini", model), &mut losses)
        .expect("a body");
    (parsed(&body), losses.paths().to_vec())
}

fn context() -> ReplyContext {
    ReplyContext {
        model: "asked".to_owned(),
        created: 1,
        id_seed: 7,
        include_usage: true,
        request: None,
    }
}

fn read(body: &str) -> ChatRequest {
    let hint = RequestHint {
        model: Some("m"),
        stream: Some(true),
    };
    Gemini
        .read_request(body.as_bytes(), hint)
        .expect("a request")
}
