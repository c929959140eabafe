//! What OpenAI's Responses API says (shapes of its API reference, read 2026-11-22).

use serde_json::{Value, json};

use crate::fake::reply::Reply;
use crate::fake::sse;

/// A whole response.
pub(crate) fn response(text: &str) -> Reply {
    Reply::json(200, body("completed", text).to_string())
}

/// The frames of a streamed response: a delta a word.
pub(crate) fn frames(words: &[&str]) -> Vec<String> {
    let text = words.concat();
    let part = |text: &str| json!({"type": "output_text", "text": text, "annotations": []});
    let place = json!({"item_id": "msg_fake", "output_index": 0, "content_index": 0});
    let placed = |kind: &str, name: &str, value: Value| {
        let mut event = place.clone();
        event["type"] = kind.into();
        event[name] = value;
        event
    };
    let item = |status: &str, content: Value| json!({"id": "msg_fake", "type": "message", "status": status, "role": "assistant", "content": content});
    let mut events = vec![
        json!({"type": "response.created", "response": body("in_progress", "")}),
        json!({"type": "response.in_progress", "response": body("in_progress", "")}),
        json!({"type": "response.output_item.added", "output_index": 0, "item": item("in_progress", json!([]))}),
        placed("response.content_part.added", "part", part("")),
    ];
    events.extend(
        words
            .iter()
            .map(|word| placed("response.output_text.delta", "delta", json!(word))),
    );
    events.extend([
        placed("response.output_text.done", "text", json!(text)),
        placed("response.content_part.done", "part", part(&text)),
        json!({"type": "response.output_item.done", "output_index": 0, "item": item("completed", json!([part(&text)]))}),
        json!({"type": "response.completed", "response": body("completed", &text)}),
    ]);
    let frame = |(number, mut event): (usize, Value)| {
        event["sequence_number"] = number.into();
        let name = event["type"].as_str().unwrap_or_default().to_owned();
        sse::event(&name, &event)
    };
    events.into_iter().enumerate().map(frame).collect()
}

fn body(status: &str, text: &str) -> Value {
    let done = status == "completed";
    let output = if done {
        json!([{
            "id": "msg_fake", "type": "message", "status": "completed", "role": "assistant",
            "content": [{"type": "output_text", "text": text, "annotations": []}],
        }])
    } else {
        json!([])
    };
    json!({
        "id": "resp_fake", "object": "response", "created_at": 1_700_000_000, "status": status,
        "model": "m1", "output": output, "error": null, "incomplete_details": null,
        "usage": if done { json!({
            "input_tokens": 11, "output_tokens": 7, "total_tokens": 18,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens_details": {"reasoning_tokens": 0},
        }) } else { Value::Null },
    })
}
