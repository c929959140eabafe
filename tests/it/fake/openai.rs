//! What an OpenAI-compatible vendor says (shapes of `api-reference/chat`, read 2026-11-22).

use serde_json::{Value, json};

use crate::fake::reply::Reply;
use crate::fake::sse;

/// `data: [DONE]`.
pub(crate) const DONE: &str = "data: [DONE]\n\n";

/// A whole chat completion.
pub(crate) fn completion(text: &str) -> Reply {
    Reply::json(200, completion_body(text))
}

/// The body of [`completion`], with the odd spacing and the fields of no schema that vendors love.
pub(crate) fn completion_body(text: &str) -> String {
    let text = json!(text);
    format!(
        r#"{{ "id":"chatcmpl-fake",  "object":"chat.completion","created":1700000000,"model":"m1",
"choices":[{{"index":0,"message":{{"role":"assistant","content":{text},"x_vendor":[1.50,1e3]}},"finish_reason":"stop","logprobs":null}}],
"usage":{{"prompt_tokens":11,"completion_tokens":7,"total_tokens":18}},"x_big":123456789012345678901234567890}}"#
    )
}

/// The frames of a streamed completion: role, a chunk a word, the stop reason, usage, `[DONE]`.
pub(crate) fn frames(words: &[&str]) -> Vec<String> {
    let mut frames = vec![role()];
    frames.extend(words.iter().map(|word| content(word)));
    frames.extend([stop(), usage(11, 7), DONE.to_owned()]);
    frames
}

/// A streamed completion of these words.
pub(crate) fn stream(words: &[&str]) -> Reply {
    Reply::sse(frames(words))
}

/// The chunk that only names the role: no content yet.
pub(crate) fn role() -> String {
    chunk(&json!({"role": "assistant", "content": ""}), None)
}

/// A chunk of text.
pub(crate) fn content(text: &str) -> String {
    chunk(&json!({"content": text}), None)
}

/// The chunk with the stop reason.
pub(crate) fn stop() -> String {
    chunk(&json!({}), Some("stop"))
}

/// The chunk with the token counts.
pub(crate) fn usage(prompt: u64, completion: u64) -> String {
    sse::data(&json!({
        "id": "chatcmpl-fake", "object": "chat.completion.chunk", "created": 1_700_000_000,
        "model": "m1", "choices": [],
        "usage": {
            "prompt_tokens": prompt, "completion_tokens": completion,
            "total_tokens": prompt + completion,
        },
    }))
}

fn chunk(delta: &Value, finish: Option<&str>) -> String {
    sse::data(&json!({
        "id": "chatcmpl-fake", "object": "chat.completion.chunk", "created": 1_700_000_000,
        "model": "m1", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
    }))
}

/// An error answer in OpenAI's shape.
pub(crate) fn error(status: u16, kind: &str, code: &str, message: &str) -> Reply {
    Reply::json(status, error_body(kind, code, message))
}

/// The error object alone, as some vendors put it into a 200 or a stream.
pub(crate) fn error_body(kind: &str, code: &str, message: &str) -> String {
    json!({"error": {"message": message, "type": kind, "param": null, "code": code}}).to_string()
}

/// 429 without any hint.
pub(crate) fn rate_limited() -> Reply {
    error(
        429,
        "rate_limit_error",
        "rate_limit_exceeded",
        "Rate limit reached for requests",
    )
}

/// 401 for a key the vendor does not know.
pub(crate) fn bad_key() -> Reply {
    error(
        401,
        "invalid_request_error",
        "invalid_api_key",
        "Incorrect API key provided",
    )
}

/// 402: no money left.
pub(crate) fn no_money() -> Reply {
    error(
        402,
        "billing_error",
        "insufficient_balance",
        "Insufficient Balance",
    )
}

/// 500.
pub(crate) fn broken() -> Reply {
    error(
        500,
        "server_error",
        "internal_error",
        "The server had an error while processing your request",
    )
}
