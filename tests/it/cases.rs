//! Numbered cases of the wire formats that only the whole gateway shows; those of one codec or one
//! vendor's table stand beside it.

mod keys;
mod lists;
mod pattern;
mod table;

use serde_json::{Value, json};

use crate::client::Request;
use crate::fake::reply::Reply;
use crate::fake::script::Script;
use crate::fake::upstream::Upstream;
use crate::fake::{anthropic, gemini, openai};
use crate::harness::{Gateway, keys, pair};

async fn on_gemini(script: Script, count: usize) -> (Upstream, Gateway) {
    let upstream = Upstream::start(script).await;
    let config = format!(
        "[providers.fake]\nkind = \"gemini\"\nbase_url = \"{}\"\napi_keys = {:?}\n",
        upstream.origin(),
        keys(count)
    );
    let gateway = Gateway::start(&config).await;
    (upstream, gateway)
}

fn hello(stream: bool) -> Request {
    let body = json!({"model": "fake/m1", "stream": stream,
        "messages": [{"role": "user", "content": "hi"}]});
    Request::chat(&body.to_string())
}

#[tokio::test]
async fn case_60_a_refused_gemini_key_is_never_the_clients_fault() {
    let first = keys(1);
    let script = Script::new()
        .once(&first[0], [gemini::bad_key()])
        .others([gemini::answer("hi")]);
    let (_upstream, gateway) = on_gemini(script, 2).await;
    assert_eq!(gateway.send(&hello(false)).await.status, 200);
    let (_upstream, gateway) = on_gemini(Script::always(gemini::bad_key()), 1).await;
    let answer = gateway.send(&hello(false)).await;
    assert_eq!(answer.status, 503, "{}", answer.text());
}

#[tokio::test]
async fn case_70_claude_code_is_let_in_with_either_key_header_and_any_version() {
    let upstream = Upstream::start(Script::always(anthropic::message("hi"))).await;
    let gateway = Gateway::start(&format!(
        "[server]\napi_keys = [\"client-key-0123456789\"]\n[providers.fake]\nkind = \"anthropic\"\n\
         base_url = \"{}\"\napi_keys = {:?}\n",
        upstream.origin(),
        keys(1)
    ))
    .await;
    let body = json!({"model": "fake/m1", "max_tokens": 9,
        "messages": [{"role": "user", "content": "hi"}]})
    .to_string();
    let ask = |target: &str| Request::post(target, body.clone());
    let with_version = ask("/v1/messages?beta=true")
        .header("authorization", "Bearer client-key-0123456789")
        .header("anthropic-version", "2026-10-21");
    let without = ask("/v1/messages").header("x-api-key", "client-key-0123456789");
    for request in [with_version, without] {
        let answer = gateway.send(&request).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
}

#[tokio::test]
async fn case_74_a_call_without_an_id_is_answered_by_the_id_that_was_made() {
    let signed = json!({"candidates": [{"index": 0, "finishReason": "STOP", "content": {"role": "model",
        "parts": [{"functionCall": {"name": "f", "args": {"a": 1}}, "thoughtSignature": "U0lHMQ=="}]}}]});
    let script =
        Script::new().others_once([Reply::json(200, signed.to_string()), gemini::answer("done")]);
    let (upstream, gateway) = on_gemini(script, 1).await;
    let ask = |messages: &Value| {
        let body = json!({"model": "fake/gemini-3-pro-preview", "max_tokens": 99, "messages": messages,
            "tools": [{"name": "f", "input_schema": {"type": "object"}}]});
        Request::post("/v1/messages", body.to_string())
    };
    let user = json!({"role": "user", "content": "go"});
    let first = gateway.send(&ask(&json!([user]))).await.json();
    let calls = first["content"].as_array().expect("content").iter();
    let mut calls = calls.filter(|block| block["type"] == "tool_use");
    let call = calls.next().expect("a call");
    let id = call["id"].as_str().expect("an id");
    assert!(id.starts_with("toolu_"), "{id}");
    // Sent back by a client that keeps nothing of the signature.
    let answer = ask(&json!([user,
        {"role": "assistant", "content": [{"type": "tool_use", "id": id, "name": "f", "input": {"a": 1}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": id, "content": "7"}]}]));
    assert_eq!(gateway.send(&answer).await.status, 200);
    let sent = upstream.requests().pop().expect("a request").text();
    assert!(sent.contains("U0lHMQ=="), "{sent}");
}

#[tokio::test]
async fn case_95_a_character_cut_between_two_reads_arrives_whole() {
    let frames = gemini::frames(&["a 🦀", "é 🌍"]);
    let script = Script::always(Reply::sse(frames).sliced(1));
    let (_upstream, gateway) = on_gemini(script, 1).await;
    let text = gateway.send(&hello(true)).await.text();
    let said: String = text
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .filter_map(|data| serde_json::from_str::<Value>(data).ok())
        .filter_map(|chunk| Some(chunk["choices"][0]["delta"]["content"].as_str()?.to_owned()))
        .collect();
    assert_eq!(said, "a 🦀é 🌍");
}

#[tokio::test]
async fn case_101_an_empty_purse_hands_over_at_once_and_all_empty_ones_stop_the_sdk() {
    let empty = Reply::json(
        429,
        json!({"error": {"message": "You have run out of credits.", "type": "insufficient_quota",
            "code": "credit_balance_exhausted", "param": null}})
        .to_string(),
    );
    let first = keys(1);
    let script = Script::new()
        .once(&first[0], [empty.clone()])
        .others([openai::completion("hi")]);
    let (_upstream, gateway) = pair(script, 2, "").await;
    let answer = gateway.send(&hello(false)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("x-llmproxy-attempts"), Some("2"));
    let (_upstream, gateway) = pair(Script::always(empty), 1, "").await;
    let answer = gateway.send(&hello(false)).await;
    // The gateway's own contract: every credential refused is its provider's trouble.
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert_eq!(answer.header("x-should-retry"), Some("false"));
}

#[tokio::test]
async fn case_108_a_long_error_with_the_key_in_it_is_cut_and_cleaned() {
    let key = keys(1).remove(0);
    let message = format!("no such thing for {key}: {}", "x".repeat(9000));
    let error = json!({"error": {"message": message, "type": "invalid_request_error"}});
    let script = Script::always(Reply::json(400, error.to_string()));
    let (_upstream, gateway) = pair(script, 1, "").await;
    let request = json!({"model": "fake/m1", "max_tokens": 9,
        "messages": [{"role": "user", "content": "hi"}]});
    let ask = Request::post("/v1/messages", request.to_string());
    let answer = gateway.send(&ask).await;
    assert_eq!(answer.status, 400, "{}", answer.text());
    let text = answer.text();
    assert!(
        !text.contains(&key) && text.contains("no such thing"),
        "{text}"
    );
    assert!(text.len() < 5000, "{} bytes", text.len());
}
