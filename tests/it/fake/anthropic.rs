//! What Anthropic's Messages API says (shapes of its API reference, read 2026-11-22).

use serde_json::json;

use crate::fake::reply::Reply;
use crate::fake::sse;

/// A whole message.
pub(crate) fn message(text: &str) -> Reply {
    Reply::json(200, message_body(text))
}

/// The body of [`message`], with odd spacing and a field of no schema.
pub(crate) fn message_body(text: &str) -> String {
    let text = json!(text);
    format!(
        r#"{{ "id":"msg_fake",  "type":"message","role":"assistant","model":"m1",
"content":[{{"type":"text","text":{text}}}],"stop_reason":"end_turn","stop_sequence":null,
"usage":{{"input_tokens":11,"output_tokens":7}},"x_vendor":1.50}}"#
    )
}

/// The frames of a streamed message: a delta a word.
pub(crate) fn frames(words: &[&str]) -> Vec<String> {
    let mut frames = vec![
        sse::event(
            "message_start",
            &json!({"type": "message_start", "message": {
                "id": "msg_fake", "type": "message", "role": "assistant", "model": "m1",
                "content": [], "stop_reason": null, "stop_sequence": null,
                "usage": {"input_tokens": 11, "output_tokens": 1},
            }}),
        ),
        sse::event(
            "content_block_start",
            &json!({
                "type": "content_block_start", "index": 0,
                "content_block": {"type": "text", "text": ""},
            }),
        ),
        sse::event("ping", &json!({"type": "ping"})),
    ];
    frames.extend(words.iter().map(|word| {
        sse::event(
            "content_block_delta",
            &json!({
                "type": "content_block_delta", "index": 0,
                "delta": {"type": "text_delta", "text": word},
            }),
        )
    }));
    frames.extend([
        sse::event("content_block_stop", &json!({"type": "content_block_stop", "index": 0})),
        sse::event("message_delta", &json!({
            "type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": null},
            "usage": {"output_tokens": 7},
        })),
        sse::event("message_stop", &json!({"type": "message_stop"})),
    ]);
    frames
}

/// The in-stream error of an overloaded service.
pub(crate) fn overloaded_frame() -> String {
    sse::event(
        "error",
        &json!({
            "type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"},
        }),
    )
}
