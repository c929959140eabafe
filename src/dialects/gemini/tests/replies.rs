//! Whole answers and errors, both ways.

use serde_json::json;

use super::*;
use crate::dialects::chat::{Choice, Text, Thinking};
use crate::dialects::error::ErrorKind;
use crate::dialects::event::StopReason;
use crate::dialects::signature::tag;
use crate::dialects::usage::Usage;

fn reply(body: &Value) -> Result<ChatReply, ReadError> {
    Gemini.read_reply(body.to_string().as_bytes())
}

fn candidate(parts: &Value, finish: &str) -> Value {
    json!({"candidates": [{"content": {"role": "model", "parts": parts}, "finishReason": finish}]})
}

#[test]
fn case_55_a_blocked_prompt_is_a_refusal() {
    let reply = reply(&json!({"promptFeedback": {"blockReason": "SAFETY"}})).expect("an answer");
    let choice = &reply.choices[0];
    assert_eq!(choice.stop, Some(StopReason::ContentFilter));
    assert!(matches!(&choice.parts[..], [Part::Refusal(text)] if text.contains("SAFETY")));
}

#[test]
fn case_56_stop_with_a_call_is_tool_use_and_a_cut_answer_may_be_empty() {
    let called = candidate(
        &json!([{"functionCall": {"name": "f"}, "thoughtSignature": "U0lH"}]),
        "STOP",
    );
    let reply_ = reply(&called).expect("an answer");
    assert_eq!(reply_.choices[0].stop, Some(StopReason::ToolUse));
    let Part::ToolCall(call) = &reply_.choices[0].parts[0] else {
        panic!("no call");
    };
    assert!(call.id.starts_with("call_") && call.id.len() == 29);
    assert_eq!(call.arguments, "{}");
    assert_eq!(call.signature, Some(tag(Dialect::Gemini, "U0lH")));
    let cut = json!({"candidates": [{"finishReason": "MAX_TOKENS"}]});
    let reply_ = reply(&cut).expect("an answer");
    assert_eq!(reply_.choices[0].stop, Some(StopReason::MaxTokens));
    assert!(reply_.choices[0].parts.is_empty());
}

#[test]
fn case_57_thoughts_count_as_output() {
    let mut body = candidate(&json!([{"text": "x"}]), "STOP");
    body["usageMetadata"] = json!({"promptTokenCount": 100, "cachedContentTokenCount": 60,
        "candidatesTokenCount": 20, "thoughtsTokenCount": 30, "totalTokenCount": 150});
    let usage = reply(&body).expect("an answer").usage.expect("usage");
    let expected = Usage {
        input: 100,
        cache_read: 60,
        output: 50,
        reasoning: 30,
        ..Usage::default()
    };
    assert_eq!((usage, usage.total()), (expected, 150));
    body["usageMetadata"] = json!({"promptTokenCount": 100, "toolUsePromptTokenCount": 5,
        "candidatesTokenCount": 50, "thoughtsTokenCount": 30, "totalTokenCount": 155});
    let usage = reply(&body).expect("an answer").usage.expect("usage");
    assert_eq!((usage.input, usage.output, usage.reasoning), (105, 50, 30));
}

#[test]
fn an_empty_answer_is_no_success() {
    for body in [
        json!({}),
        json!({"candidates": []}),
        json!({"candidates": [{"finishReason": "STOP"}]}),
        candidate(&json!([{"text": ""}]), "STOP"),
        candidate(&json!([]), "MALFORMED_FUNCTION_CALL"),
        json!({"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "m"}}),
        json!([{"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "m"}}]),
    ] {
        let error = reply(&body).expect_err("no success");
        assert!(matches!(error, ReadError::Upstream(_)), "{body}: {error:?}");
    }
    assert!(Gemini.read_reply(b"<html>").is_err());
}

#[test]
fn every_finish_reason_has_a_meaning() {
    for (word, expected) in [
        ("STOP", StopReason::EndTurn),
        ("MAX_TOKENS", StopReason::MaxTokens),
        ("SAFETY", StopReason::ContentFilter),
        ("RECITATION", StopReason::ContentFilter),
        ("IMAGE_SAFETY", StopReason::ContentFilter),
        ("PROHIBITED_CONTENT", StopReason::ContentFilter),
        ("MALFORMED_FUNCTION_CALL", StopReason::Error),
        ("UNEXPECTED_TOOL_CALL", StopReason::Error),
        ("SOMETHING_NEW", StopReason::EndTurn),
    ] {
        let reply = reply(&candidate(&json!([{"text": "x"}]), word)).expect("an answer");
        assert_eq!(reply.choices[0].stop, Some(expected), "{word}");
    }
}

#[test]
fn code_assist_answers_are_unwrapped() {
    let wrapped = json!({"response": candidate(&json!([{"text": "x"}]), "STOP"), "traceId": "t"});
    assert_eq!(reply(&wrapped).expect("an answer").choices.len(), 1);
}

#[test]
fn several_candidates_are_several_choices() {
    let body = json!({"candidates": [
        {"content": {"parts": [{"text": "a"}]}, "finishReason": "STOP", "index": 0},
        {"content": {"parts": [{"text": "b"}]}, "finishReason": "MAX_TOKENS", "index": 1}]});
    let reply = reply(&body).expect("an answer");
    assert_eq!(reply.choices.len(), 2);
    let written = parsed(&Gemini.write_reply(&reply, &context(), &mut Losses::default()));
    assert_eq!(written["candidates"][1]["finishReason"], "MAX_TOKENS");
    assert_eq!(written["candidates"][1]["content"]["parts"][0]["text"], "b");
}

#[test]
fn an_answer_of_another_vendor_is_written_whole() {
    let mut call = ToolCall::function("c1", "f", "");
    call.signature = Some(tag(Dialect::Gemini, "U0lH"));
    let reply = ChatReply {
        id: Some("r".into()),
        model: Some("upstream".into()),
        choices: vec![Choice {
            parts: vec![
                Part::Thinking(Thinking {
                    text: "hm".into(),
                    signature: Some(tag(Dialect::Anthropic, "abc")),
                    extra: Extra::default(),
                }),
                Part::Text(Text {
                    text: "hi".into(),
                    ..Text::default()
                }),
                Part::ToolCall(call),
            ],
            stop: Some(StopReason::ToolUse),
            stop_sequence: None,
            logprobs: None,
            extra: Extra::default(),
        }],
        usage: Some(Usage {
            input: 10,
            output: 5,
            reasoning: 2,
            ..Usage::default()
        }),
        extra: Extra::default(),
    };
    let mut losses = Losses::default();
    let body = parsed(&Gemini.write_reply(&reply, &context(), &mut losses));
    let wrapped = body["candidates"][0]["content"]["parts"][0]["thoughtSignature"].clone();
    assert_eq!(
        body,
        json!({"candidates": [{"content": {"role": "model", "parts": [
                {"text": "hm", "thought": true, "thoughtSignature": wrapped},
                {"text": "hi"},
                {"functionCall": {"id": "c1", "name": "f", "args": {}}, "thoughtSignature": "U0lH"},
            ]}, "finishReason": "STOP", "index": 0}],
            "usageMetadata": {"promptTokenCount": 10, "candidatesTokenCount": 3,
                "thoughtsTokenCount": 2, "totalTokenCount": 15},
            "modelVersion": "asked", "responseId": "r"})
    );
    assert!(losses.is_empty());
}

#[test]
fn errors_have_googles_shape() {
    let mut error = ErrorReply::new(429, ErrorKind::RateLimit, "all_credentials_cooling", "wait");
    error.retry_after = Some(7);
    let body = parsed(&Gemini.write_error(&error));
    assert_eq!(body["error"]["code"], 429);
    assert_eq!(body["error"]["status"], "RESOURCE_EXHAUSTED");
    assert_eq!(
        body["error"]["details"][0]["reason"],
        "ALL_CREDENTIALS_COOLING"
    );
    assert_eq!(body["error"]["details"][1]["retryDelay"], "7s");
    let bare = parsed(&Gemini.write_error(&ErrorReply::invalid("no")));
    assert_eq!(
        bare,
        json!({"error": {"code": 400, "message": "no", "status": "INVALID_ARGUMENT"}})
    );
    let event = Gemini.write_stream_error(&error);
    assert!(event.starts_with(b"data: {") && event.ends_with(b"}\r\n\r\n"));
}
