//! Whole answers, from each of the two dialects to the other.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::dialects::anthropic::Anthropic;
use crate::dialects::chat::ChatRequest;
use crate::dialects::error::ReadError;
use crate::dialects::gemini::Gemini;
use crate::dialects::loss::Losses;
use crate::dialects::openai_chat::OpenAiChat;
use crate::dialects::{Codec, ReplyContext, RequestHint};

fn context(request: Option<ChatRequest>) -> ReplyContext {
    ReplyContext {
        model: "p/m".to_owned(),
        created: 7,
        id_seed: 1,
        include_usage: false,
        request: request.map(Arc::new),
    }
}

fn cross(from: &dyn Codec, to: &dyn Codec, body: &Value, request: Option<ChatRequest>) -> Value {
    let reply = from
        .read_reply(body.to_string().as_bytes())
        .expect("an answer");
    let written = to.write_reply(&reply, &context(request), &mut Losses::default());
    serde_json::from_slice(&written).expect("JSON")
}

fn to_openai(content: &Value, stop: &str) -> Value {
    let body = json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "claude",
        "content": content, "stop_reason": stop, "stop_sequence": null,
        "usage": {"input_tokens": 10, "cache_read_input_tokens": 90, "cache_creation_input_tokens": 5, "output_tokens": 7}});
    cross(&Anthropic, &OpenAiChat, &body, None)
}

fn to_anthropic(message: &Value, reason: &str) -> Value {
    let body = json!({"id": "c", "object": "chat.completion", "created": 1, "model": "m",
        "choices": [{"index": 0, "message": message, "finish_reason": reason}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 9, "total_tokens": 109, "prompt_tokens_details": {"cached_tokens": 80}}});
    cross(&OpenAiChat, &Anthropic, &body, None)
}

#[test]
fn case_33_34_35_content_calls_and_usage_cross_to_openai() {
    let written = to_openai(
        &json!([{"type": "thinking", "thinking": "T", "signature": ""}, {"type": "text", "text": "X"}]),
        "end_turn",
    );
    let message = &written["choices"][0]["message"];
    assert_eq!(
        (&message["content"], &message["reasoning_content"]),
        (&json!("X"), &json!("T"))
    );
    assert_eq!(written["choices"][0]["finish_reason"], "stop");
    assert_eq!(
        (&written["model"], &written["created"]),
        (&json!("p/m"), &json!(7))
    );
    assert_eq!(
        written["usage"],
        json!({"prompt_tokens": 105, "completion_tokens": 7, "total_tokens": 112,
            "prompt_tokens_details": {"cached_tokens": 90, "cache_write_tokens": 5},
            "completion_tokens_details": {"reasoning_tokens": 0}})
    );
    let written = to_openai(
        &json!([{"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": 1}}]),
        "tool_use",
    );
    let choice = &written["choices"][0];
    assert_eq!(choice["message"]["content"], Value::Null);
    assert_eq!(choice["finish_reason"], "tool_calls");
    assert_eq!(
        choice["message"]["tool_calls"],
        json!([{"id": "toolu_1", "type": "function", "function": {"name": "f", "arguments": "{\"a\":1}"}}])
    );
}

#[test]
fn case_40_a_refusal_says_why() {
    let body = json!({"content": [], "stop_reason": "refusal",
        "stop_details": {"type": "refusal", "category": "x", "explanation": "No."}});
    let written = cross(&Anthropic, &OpenAiChat, &body, None);
    assert_eq!(written["choices"][0]["finish_reason"], "content_filter");
    assert_eq!(written["choices"][0]["message"]["refusal"], "No.");
}

#[test]
fn case_66_76_an_openai_answer_becomes_a_message() {
    let written = to_anthropic(
        &json!({"role": "assistant", "content": "X", "reasoning_content": "T", "tool_calls": [
            {"id": "functions.f:0", "type": "function", "function": {"name": "f", "arguments": "{\"a\":"}},
        ]}),
        "stop",
    );
    assert_eq!(
        written["content"],
        json!([
            {"type": "thinking", "thinking": "T", "signature": ""},
            {"type": "text", "text": "X"},
            {"type": "tool_use", "id": "functions_f_0", "name": "f", "input": {"_raw": "{\"a\":"}},
        ])
    );
    assert_eq!(written["stop_reason"], "tool_use");
    assert_eq!(
        written["usage"],
        json!({"input_tokens": 20, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 80, "output_tokens": 9})
    );
    assert_eq!(
        to_anthropic(&json!({"content": null}), "length")["content"],
        json!([])
    );
}

#[test]
fn a_client_of_functions_gets_its_answer_as_one() {
    let body = json!({"model": "m", "messages": [{"role": "user", "content": "x"}], "functions": [{"name": "f"}]});
    let request = OpenAiChat
        .read_request(body.to_string().as_bytes(), RequestHint::default())
        .expect("a request");
    let answer = json!({"content": [{"type": "tool_use", "id": "t", "name": "f", "input": {}}], "stop_reason": "tool_use"});
    let written = cross(&Anthropic, &OpenAiChat, &answer, Some(request));
    let choice = &written["choices"][0];
    assert_eq!(
        choice["message"]["function_call"],
        json!({"name": "f", "arguments": "{}"})
    );
    assert_eq!(choice["finish_reason"], "function_call");
}

#[test]
fn citations_with_a_url_become_annotations_and_come_back() {
    let location = json!({"type": "web_search_result_location", "url": "https://a", "title": "A", "cited_text": "c", "encrypted_index": "E"});
    let written = to_openai(
        &json!([{"type": "text", "text": "é1 "}, {"type": "text", "text": "two", "citations": [location]}]),
        "end_turn",
    );
    let message = &written["choices"][0]["message"];
    assert_eq!(message["content"], "é1 two");
    let citation = &message["annotations"][0]["url_citation"];
    assert_eq!(
        (&citation["start_index"], &citation["end_index"]),
        (&json!(3), &json!(6))
    );
    let back = to_anthropic(message, "stop");
    assert_eq!(back["content"][0]["citations"][0]["url"], "https://a");
}

#[test]
fn signatures_survive_a_client_that_echoes_its_message() {
    let blocks = json!([
        {"type": "thinking", "thinking": "T", "signature": "SIG"},
        {"type": "redacted_thinking", "data": "RED"},
        {"type": "text", "text": "X"},
        {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": 1}},
    ]);
    let message = to_openai(&blocks, "tool_use")["choices"][0]["message"].clone();
    let body = json!({"model": "m", "messages": [{"role": "user", "content": "q"}, message,
        {"role": "tool", "tool_call_id": "toolu_1", "content": "r"}]});
    let request = OpenAiChat
        .read_request(body.to_string().as_bytes(), RequestHint::default())
        .expect("a request");
    let target = crate::dialects::Target::new("anthropic", "claude-sonnet-4-5");
    let sent = Anthropic
        .write_request(&request, &target, &mut Losses::default())
        .expect("a body");
    let sent: Value = serde_json::from_slice(&sent).expect("JSON");
    assert_eq!(sent["messages"][1]["content"], blocks);
}

#[test]
fn what_is_no_answer_is_an_error() {
    let error = Anthropic
        .read_reply(
            br#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#,
        )
        .expect_err("an error");
    assert_eq!(error.to_string(), "Overloaded");
    assert_eq!(
        Anthropic.read_reply(b"{}").expect_err("nothing"),
        ReadError::Truncated
    );
    assert!(Anthropic.read_reply(b"<html>").is_err());
}

#[test]
fn a_signature_at_the_end_is_no_block_of_its_own() {
    let signed = json!({"text": "", "thoughtSignature": "U0lHMQ=="});
    for (first, kinds) in [
        (json!({"text": "Hello"}), vec!["text"]),
        (
            json!({"functionCall": {"name": "f", "args": {}}}),
            vec!["tool_use"],
        ),
    ] {
        let body = json!({"candidates": [{"content": {"role": "model", "parts": [first, signed]},
            "finishReason": "STOP"}]});
        let written = cross(&Gemini, &Anthropic, &body, None);
        let content = written["content"].as_array().expect("blocks");
        let found: Vec<_> = content
            .iter()
            .filter_map(|one| one["type"].as_str())
            .collect();
        assert_eq!(found.last(), kinds.last(), "{written}");
    }
}
