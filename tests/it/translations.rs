//! Fixtures of a dialect through its codec to every dialect: what is sent, and what is lost.
//!
//! `INSTA_UPDATE=always cargo test --test it translations` writes the snapshots anew.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use llmproxy::dialects::chat::ChatRequest;
use llmproxy::dialects::loss::Losses;
use llmproxy::dialects::{Dialect, ReplyContext, RequestHint, Target, codec};
use serde_json::{Value, json};

/// A provider and a model of it for each dialect; two where generations differ.
const TARGETS: [(Dialect, &str, &str); 5] = [
    (Dialect::Anthropic, "anthropic", "claude-sonnet-4-5"),
    (Dialect::Gemini, "gemini", "gemini-2.5-flash"),
    (Dialect::Gemini, "gemini", "gemini-3-flash-preview"),
    (Dialect::OpenAiChat, "openai", "gpt-4.1"),
    (Dialect::OpenAiResponses, "openai", "gpt-5.1"),
];

fn fixture(dialect: Dialect, name: &str) -> String {
    let mut path = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    path.extend(["tests", "fixtures", dialect_name(dialect), name]);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

const fn dialect_name(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Anthropic => "anthropic",
        Dialect::Gemini => "gemini",
        Dialect::OpenAiChat => "openai_chat",
        Dialect::OpenAiResponses => "openai_responses",
    }
}

fn request(dialect: Dialect) -> ChatRequest {
    let hint = RequestHint {
        model: Some("asked"),
        stream: Some(true),
    };
    codec(dialect)
        .read_request(fixture(dialect, "request.json").as_bytes(), hint)
        .expect("a request")
}

fn context(request: Option<ChatRequest>) -> ReplyContext {
    ReplyContext {
        model: "asked".to_owned(),
        created: 1_764_000_000,
        id_seed: 7,
        include_usage: true,
        request: request.map(Arc::new),
    }
}

fn pretty(body: &[u8]) -> String {
    let value: Value = serde_json::from_slice(body).expect("JSON");
    serde_json::to_string_pretty(&value).expect("JSON")
}

fn requests(dialect: Dialect) -> String {
    let request = request(dialect);
    let mut out = String::new();
    for (target, provider, model) in TARGETS {
        let mut losses = Losses::default();
        let body = codec(target)
            .write_request(&request, &Target::new(provider, model), &mut losses)
            .expect("a body");
        let _ = writeln!(
            out,
            "=== {target} {model}, lost: {losses}\n{}",
            pretty(&body)
        );
    }
    out
}

fn replies(dialect: Dialect) -> String {
    let reply = codec(dialect)
        .read_reply(fixture(dialect, "reply.json").as_bytes())
        .expect("an answer");
    let mut out = String::new();
    for client in Dialect::ALL {
        let mut losses = Losses::default();
        let body = codec(client).write_reply(&reply, &context(None), &mut losses);
        let _ = writeln!(out, "=== {client}, lost: {losses}\n{}", pretty(&body));
    }
    out
}

fn streams(dialect: Dialect) -> String {
    let mut reader = codec(dialect).stream_reader();
    let mut events = Vec::new();
    for line in fixture(dialect, "stream.jsonl").lines() {
        reader
            .read("", line.as_bytes(), &mut events)
            .expect("a frame");
    }
    reader.finish(&mut events).expect("a whole stream");
    let mut out = String::new();
    for client in Dialect::ALL {
        let mut writer = codec(client).stream_writer(context(None));
        let mut bytes = Vec::new();
        for event in &events {
            writer.write(event, &mut bytes);
        }
        writer.finish(&mut bytes);
        let text = String::from_utf8(bytes).expect("text").replace('\r', "");
        let _ = writeln!(out, "=== {client}, lost: {}\n{text}", writer.losses());
    }
    out
}

#[test]
fn gemini_requests_reach_every_dialect() {
    insta::assert_snapshot!(requests(Dialect::Gemini));
}

#[test]
fn gemini_answers_reach_every_client() {
    insta::assert_snapshot!(replies(Dialect::Gemini));
}

#[test]
fn gemini_streams_reach_every_client() {
    insta::assert_snapshot!(streams(Dialect::Gemini));
}

#[test]
fn responses_requests_reach_every_dialect() {
    insta::assert_snapshot!(requests(Dialect::OpenAiResponses));
}

#[test]
fn responses_answers_reach_every_client() {
    insta::assert_snapshot!(replies(Dialect::OpenAiResponses));
}

#[test]
fn responses_streams_reach_every_client() {
    insta::assert_snapshot!(streams(Dialect::OpenAiResponses));
}

/// The client's next request: its first one, what it was answered, and a tool's result.
fn echoed(client: Dialect, answer: &[u8]) -> String {
    let answer: Value = serde_json::from_slice(answer).expect("JSON");
    let body = match client {
        Dialect::Anthropic => {
            let content = answer["content"].as_array().expect("blocks");
            let results: Vec<Value> = content
                .iter()
                .filter(|block| block["type"] == "tool_use")
                .map(|call| {
                    json!({"type": "tool_result", "tool_use_id": call["id"], "content": "7"})
                })
                .collect();
            json!({"model": "asked", "max_tokens": 9000, "messages": [
                {"role": "user", "content": "go"},
                {"role": "assistant", "content": content},
                {"role": "user", "content": results}]})
        }
        Dialect::Gemini => {
            let content = answer["candidates"][0]["content"].clone();
            let results: Vec<Value> = content["parts"]
                .as_array()
                .expect("parts")
                .iter()
                .filter_map(|part| part.get("functionCall"))
                .map(|call| {
                    json!({"functionResponse": {"id": call["id"], "name": call["name"],
                        "response": {"result": "7"}}})
                })
                .collect();
            json!({"contents": [{"role": "user", "parts": [{"text": "go"}]}, content,
                {"role": "user", "parts": results}]})
        }
        Dialect::OpenAiChat => {
            let message = answer["choices"][0]["message"].clone();
            let mut messages = vec![json!({"role": "user", "content": "go"}), message.clone()];
            for call in message["tool_calls"].as_array().expect("calls") {
                messages.push(json!({"role": "tool", "tool_call_id": call["id"], "content": "7"}));
            }
            json!({"model": "asked", "messages": messages})
        }
        Dialect::OpenAiResponses => {
            let output = answer["output"].as_array().expect("items");
            let mut input = vec![json!({"role": "user", "content": "go"})];
            input.extend(output.iter().cloned());
            for call in output.iter().filter(|item| item["type"] == "function_call") {
                input.push(
                    json!({"type": "function_call_output", "call_id": call["call_id"],
                    "output": "7"}),
                );
            }
            json!({"model": "asked", "input": input})
        }
    };
    body.to_string()
}

/// Answers with what their makers sign, as each upstream gives them.
fn signed_answer(upstream: Dialect) -> &'static str {
    match upstream {
        Dialect::Anthropic => {
            r#"{"id":"m","type":"message","role":"assistant","model":"c","content":[
            {"type":"thinking","thinking":"hm","signature":"c2lnbmVk+/=="},
            {"type":"redacted_thinking","data":"cmVkYWN0ZWQ="},{"type":"text","text":"so"},
            {"type":"tool_use","id":"toolu_1","name":"f","input":{"a":1}}],
            "stop_reason":"tool_use","usage":{"input_tokens":1,"output_tokens":1}}"#
        }
        Dialect::Gemini => {
            r#"{"candidates":[{"content":{"role":"model","parts":[{"text":"so"},
            {"functionCall":{"id":"c1","name":"f","args":{"a":1}},"thoughtSignature":"c2lnbmVk+/=="}]},
            "finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":1,"candidatesTokenCount":1}}"#
        }
        Dialect::OpenAiChat | Dialect::OpenAiResponses => {
            r#"{"id":"r","object":"response","status":"completed","model":"g","output":[
            {"id":"rs","type":"reasoning","summary":[{"type":"summary_text","text":"hm"}],"encrypted_content":"c2lnbmVk-_=="},
            {"id":"m","type":"message","role":"assistant","content":[{"type":"output_text","text":"so","annotations":[]}]},
            {"id":"f","type":"function_call","call_id":"c1","name":"f","arguments":"{\"a\":1}"}]}"#
        }
    }
}

#[test]
fn what_a_vendor_signed_comes_back_to_it_through_every_client() {
    for (upstream, model) in [
        (Dialect::Anthropic, "claude-sonnet-4-5"),
        (Dialect::Gemini, "gemini-3-flash-preview"),
        (Dialect::OpenAiResponses, "gpt-5.1"),
    ] {
        let reply = codec(upstream)
            .read_reply(signed_answer(upstream).as_bytes())
            .expect("an answer");
        for client in Dialect::ALL {
            let answer = codec(client).write_reply(&reply, &context(None), &mut Losses::default());
            let next = echoed(client, &answer);
            let hint = RequestHint {
                model: Some("asked"),
                stream: None,
            };
            let mut request = codec(client)
                .read_request(next.as_bytes(), hint)
                .expect("a request");
            request.reasoning.budget = Some(2000);
            let sent = codec(upstream)
                .write_request(&request, &Target::new("p", model), &mut Losses::default())
                .expect("a body");
            let sent = String::from_utf8(sent).expect("text");
            let signature = if upstream == Dialect::OpenAiResponses {
                "c2lnbmVk-_=="
            } else {
                "c2lnbmVk+/=="
            };
            assert!(sent.contains(signature), "{upstream} by {client}: {sent}");
            let redacted = upstream != Dialect::Anthropic || sent.contains("cmVkYWN0ZWQ=");
            assert!(redacted, "{upstream} by {client}: {sent}");
            assert!(!sent.contains("llmproxy"), "{upstream} by {client}: {sent}");
        }
    }
}
