//! Whole answers and errors, both ways.

use serde_json::json;

use super::*;
use crate::dialects::chat::{Choice, Text, Thinking};
use crate::dialects::error::ErrorKind;
use crate::dialects::event::StopReason;
use crate::dialects::signature::tag;
use crate::dialects::usage::Usage;

fn reply(body: &Value) -> Result<ChatReply, ReadError> {
    OpenAiResponses.read_reply(body.to_string().as_bytes())
}

#[test]
fn a_whole_answer_is_read() {
    let reply = reply(&json!({"id": "resp_1", "model": "gpt", "status": "completed", "error": null,
        "incomplete_details": null, "output": [
            {"id": "rs", "type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}], "encrypted_content": "gAAA"},
            {"id": "msg", "type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "hi", "annotations": []}]},
            {"id": "fc", "type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
        ], "usage": {"input_tokens": 10, "input_tokens_details": {"cached_tokens": 4},
            "output_tokens": 5, "output_tokens_details": {"reasoning_tokens": 2}, "total_tokens": 15}}))
    .expect("an answer");
    assert_eq!(reply.choices[0].stop, Some(StopReason::ToolUse));
    assert!(matches!(
        &reply.choices[0].parts[..],
        [Part::Thinking(_), Part::Text(_), Part::ToolCall(_)]
    ));
    let expected = Usage {
        input: 10,
        cache_read: 4,
        output: 5,
        reasoning: 2,
        ..Usage::default()
    };
    assert_eq!(reply.usage, Some(expected));
}

#[test]
fn what_failed_or_is_empty_is_no_success() {
    for body in [
        json!({"status": "failed", "error": {"code": "server_error", "message": "m"}, "output": []}),
        json!({"error": {"message": "m", "type": "invalid_request_error"}}),
        json!({"status": "completed", "output": []}),
        json!({"status": "cancelled", "output": []}),
    ] {
        let error = reply(&body).expect_err("no success");
        assert!(matches!(error, ReadError::Upstream(_)), "{body}: {error:?}");
    }
    let running = json!({"status": "in_progress", "output": []});
    assert!(matches!(reply(&running), Err(ReadError::Truncated)));
    let cut = json!({"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}, "output": []});
    let stop = reply(&cut).expect("an answer").choices[0].stop;
    assert_eq!(stop, Some(StopReason::MaxTokens));
}

#[test]
fn an_answer_of_another_vendor_is_written_whole() {
    let mut call = ToolCall::function("c1", "f", "");
    call.signature = Some(tag(Dialect::Gemini, "U0lH"));
    let reply = ChatReply {
        id: Some("upstream".into()),
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
                    citations: Some(raw(
                        r#"[{"type":"url_citation","url_citation":{"url":"https://x","title":"X","start_index":0,"end_index":2}}]"#,
                    )),
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
            cache_read: 4,
            output: 5,
            reasoning: 2,
            ..Usage::default()
        }),
        extra: Extra::default(),
    };
    let mut losses = Losses::default();
    let body = parsed(&OpenAiResponses.write_reply(&reply, &context(None), &mut losses));
    assert!(losses.is_empty(), "{losses}");
    assert_eq!(
        (&body["object"], &body["status"]),
        (&json!("response"), &json!("completed"))
    );
    assert!(body["id"].as_str().expect("an id").starts_with("resp_"));
    assert_eq!(body["model"], "asked");
    for member in ["created_at", "parallel_tool_calls", "tool_choice", "tools"] {
        assert!(!body[member].is_null(), "{member}");
    }
    let kinds: Vec<&Value> = body["output"]
        .as_array()
        .expect("items")
        .iter()
        .map(|i| &i["type"])
        .collect();
    assert_eq!(
        kinds,
        ["reasoning", "message", "reasoning", "function_call"]
    );
    assert_eq!(
        body["output"][0]["encrypted_content"],
        tag(Dialect::Anthropic, "abc").as_str()
    );
    assert_eq!(
        body["output"][1]["content"][0]["annotations"],
        json!([{"type": "url_citation", "url": "https://x", "title": "X", "start_index": 0, "end_index": 2}])
    );
    assert_eq!(body["output"][3]["arguments"], "{}");
    assert_eq!(body["output"][3]["call_id"], "c1");
    assert_eq!(
        body["usage"],
        json!({"input_tokens": 10, "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 0},
            "output_tokens": 5, "output_tokens_details": {"reasoning_tokens": 2}, "total_tokens": 15})
    );
}

#[test]
fn the_answer_repeats_what_was_asked() {
    let request = read(
        &json!({"model": "m", "input": "hi", "instructions": "S", "temperature": 0.5,
        "tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": true}],
        "tool_choice": "required", "parallel_tool_calls": false, "metadata": {"k": "v"}, "store": false,
        "reasoning": {"effort": "low", "summary": "auto"}, "text": {"format": {"type": "json_object"}, "verbosity": "low"}}),
    );
    let reply = ChatReply {
        choices: vec![Choice {
            parts: vec![Part::text("{}")],
            stop: Some(StopReason::EndTurn),
            stop_sequence: None,
            logprobs: None,
            extra: Extra::default(),
        }],
        ..ChatReply::default()
    };
    let body = parsed(&OpenAiResponses.write_reply(
        &reply,
        &context(Some(request)),
        &mut Losses::default(),
    ));
    assert_eq!(body["instructions"], "S");
    assert_eq!(body["temperature"], 0.5);
    assert_eq!(body["tool_choice"], "required");
    assert_eq!(body["parallel_tool_calls"], false);
    assert_eq!(body["tools"][0]["name"], "f");
    assert_eq!(body["metadata"], json!({"k": "v"}));
    assert_eq!(
        body["reasoning"],
        json!({"effort": "low", "summary": "auto"})
    );
    assert_eq!(
        body["text"],
        json!({"format": {"type": "json_object"}, "verbosity": "low"})
    );
    assert_eq!(body["usage"]["total_tokens"], 0);
}

#[test]
fn case_90_errors_say_what_codex_looks_for() {
    let mut error = ErrorReply::new(
        429,
        ErrorKind::RateLimit,
        "all_credentials_cooling",
        "All cool.",
    );
    error.retry_after = Some(7);
    let body = parsed(&OpenAiResponses.write_error(&error));
    assert_eq!(body["error"]["type"], "rate_limit_error");
    let event = String::from_utf8(OpenAiResponses.write_stream_error(&error)).expect("text");
    let [(name, data)] = &frames(&event)[..] else {
        panic!("one event");
    };
    assert_eq!(
        (name.as_str(), &data["code"]),
        ("error", &json!("rate_limit_exceeded"))
    );
    assert_eq!(data["message"], "All cool. Please try again in 7s.");
}
