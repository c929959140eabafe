//! What Gemini's `generateContent` says (shapes of its API reference, read 2026-11-22).

use serde_json::{Value, json};

use crate::fake::reply::Reply;
use crate::fake::sse;

/// A whole answer.
pub(crate) fn answer(text: &str) -> Reply {
    Reply::json(200, answer_body(text))
}

/// The body of [`answer`], indented as Google's servers do.
pub(crate) fn answer_body(text: &str) -> String {
    let body = json!({
        "candidates": [candidate(text, Some("STOP"))], "usageMetadata": usage(),
        "modelVersion": "m1", "responseId": "fake",
    });
    serde_json::to_string_pretty(&body).expect("a value prints")
}

/// The frames of a streamed answer (`alt=sse`): one a word; the last has the finish reason.
pub(crate) fn frames(words: &[&str]) -> Vec<String> {
    let last = words.len().saturating_sub(1);
    let frame = |(index, word): (usize, &&str)| {
        let finish = (index == last).then_some("STOP");
        let body = json!({
            "candidates": [candidate(word, finish)], "usageMetadata": usage(),
            "modelVersion": "m1", "responseId": "fake",
        });
        sse::data(&body).replace('\n', "\r\n")
    };
    words.iter().enumerate().map(frame).collect()
}

fn candidate(text: &str, finish: Option<&str>) -> Value {
    let mut candidate =
        json!({"content": {"parts": [{"text": text}], "role": "model"}, "index": 0});
    if let Some(finish) = finish {
        candidate["finishReason"] = finish.into();
    }
    candidate
}

fn usage() -> Value {
    json!({"promptTokenCount": 11, "candidatesTokenCount": 7, "totalTokenCount": 18})
}

/// The 400 by which Gemini refuses a key.
pub(crate) fn bad_key() -> Reply {
    let body = json!({"error": {
        "code": 400, "status": "INVALID_ARGUMENT",
        "message": "API key not valid. Please pass a valid API key.",
        "details": [{
            "@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID",
            "domain": "googleapis.com",
        }],
    }});
    Reply::json(400, body.to_string())
}
