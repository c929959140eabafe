//! Thought signatures for clients that cannot hold them: remembered, kept from other accounts and
//! families, and given up after one refusal.

use serde_json::{Value, json};

use crate::client::{Request, Response};
use crate::fake::reply::Reply;
use crate::fake::script::Script;
use crate::fake::upstream::{Recorded, Upstream};
use crate::fake::{anthropic, gemini, sse};
use crate::harness::{Gateway, keys};
use crate::kept::{restarted, written};

const GEMINI_3: &str = "gemini-3-pro-preview";
const CLAUDE: &str = "claude-sonnet-4-5";

async fn start(kind: &str, script: Script, count: usize) -> (Upstream, Gateway) {
    let upstream = Upstream::start(script).await;
    let gateway = Gateway::start(&config(kind, &upstream, &keys(count))).await;
    (upstream, gateway)
}

fn config(kind: &str, upstream: &Upstream, keys: &[String]) -> String {
    format!(
        "[providers.fake]\nkind = \"{kind}\"\nbase_url = \"{}\"\napi_keys = {keys:?}\n",
        upstream.origin(),
    )
}

/// What an upstream of that kind says: a signed call, or, once it has the call's result, a text.
fn speak(kind: &'static str) -> impl Fn(&Recorded) -> Reply {
    move |request: &Recorded| {
        let body = request.text();
        let is_over = body.contains("functionResponse") || body.contains("tool_result");
        let streams =
            body.contains(r#""stream":true"#) || request.target.contains("streamGenerateContent");
        match (kind, is_over, streams) {
            ("gemini", true, _) => gemini::answer("done"),
            ("gemini", false, true) => Reply::sse([sse::data(&gemini_call())]),
            ("gemini", false, false) => Reply::json(200, gemini_call().to_string()),
            (_, true, _) => anthropic::message("done"),
            (_, false, true) => Reply::sse(claude_stream()),
            (_, false, false) => Reply::json(200, claude_call().to_string()),
        }
    }
}

fn gemini_call() -> Value {
    json!({"candidates": [{"index": 0, "finishReason": "STOP", "content": {"role": "model", "parts": [
            {"text": "hm", "thought": true},
            {"functionCall": {"id": "c1", "name": "f", "args": {"a": 1}}, "thoughtSignature": "U0lHMQ=="},
            {"functionCall": {"id": "c2", "name": "f", "args": {"a": 2}}}]}}],
        "usageMetadata": {"promptTokenCount": 1, "candidatesTokenCount": 1, "totalTokenCount": 2}})
}

fn claude_call() -> Value {
    json!({"id": "msg_1", "type": "message", "role": "assistant", "model": CLAUDE,
        "content": [{"type": "thinking", "thinking": "hm", "signature": "U0lHMQ=="},
            {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": 1}}],
        "stop_reason": "tool_use", "stop_sequence": null,
        "usage": {"input_tokens": 1, "output_tokens": 1}})
}

fn claude_stream() -> Vec<String> {
    let frame = |value: Value| sse::event(value["type"].as_str().expect("a type"), &value);
    let block = |index: u32, block: Value, deltas: Vec<Value>| {
        let mut frames =
            vec![json!({"type": "content_block_start", "index": index, "content_block": block})];
        frames.extend(
            deltas.into_iter().map(
                |delta| json!({"type": "content_block_delta", "index": index, "delta": delta}),
            ),
        );
        frames.push(json!({"type": "content_block_stop", "index": index}));
        frames
    };
    let mut start = claude_call();
    start["content"] = json!([]);
    start["stop_reason"] = Value::Null;
    let mut frames = vec![json!({"type": "message_start", "message": start})];
    frames.extend(block(
        0,
        json!({"type": "thinking", "thinking": "", "signature": ""}),
        vec![
            json!({"type": "thinking_delta", "thinking": "hm"}),
            json!({"type": "signature_delta", "signature": "U0lHMQ=="}),
        ],
    ));
    frames.extend(block(
        1,
        json!({"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}}),
        vec![json!({"type": "input_json_delta", "partial_json": "{\"a\":1}"})],
    ));
    frames.push(
        json!({"type": "message_delta", "delta": {"stop_reason": "tool_use"},
        "usage": {"output_tokens": 1}}),
    );
    frames.push(json!({"type": "message_stop"}));
    frames.into_iter().map(frame).collect()
}

fn body(model: &str, stream: bool, messages: &Value) -> String {
    json!({"model": format!("fake/{model}"), "stream": stream, "reasoning_effort": "high",
        "max_tokens": 30000, "messages": messages,
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]})
    .to_string()
}

fn first(model: &str, stream: bool) -> Request {
    let messages = json!([{"role": "user", "content": "go"}]);
    Request::chat(&body(model, stream, &messages))
}

/// The ids of the calls in an answer of either form.
fn call_ids(answer: &Response) -> Vec<String> {
    assert_eq!(answer.status, 200, "{}", answer.text());
    let text = answer.text();
    let chunks = text.lines().filter_map(|line| line.strip_prefix("data: "));
    let mut ids = Vec::new();
    for chunk in chunks.chain([text.as_str()]) {
        let Ok(chunk) = serde_json::from_str::<Value>(chunk) else {
            continue;
        };
        let choice = &chunk["choices"][0];
        for holder in ["delta", "message"] {
            let calls = choice[holder]["tool_calls"].as_array();
            let found = calls.into_iter().flatten();
            ids.extend(found.filter_map(|call| Some(call["id"].as_str()?.to_owned())));
        }
    }
    assert!(!ids.is_empty(), "{text}");
    ids
}

/// The next request of a client that keeps nothing but texts and calls.
fn second(model: &str, ids: &[String]) -> Request {
    let calls: Vec<Value> = ids
        .iter()
        .map(|id| {
            json!({"id": id, "type": "function",
                "function": {"name": "f", "arguments": "{\"a\": 1}"}})
        })
        .collect();
    let mut messages = vec![
        json!({"role": "user", "content": "go"}),
        json!({"role": "assistant", "content": null, "tool_calls": calls}),
    ];
    messages.extend(
        ids.iter()
            .map(|id| json!({"role": "tool", "tool_call_id": id, "content": "7"})),
    );
    Request::chat(&body(model, false, &messages.into()))
}

fn last_sent(upstream: &Upstream) -> String {
    upstream.requests().pop().expect("a request").text()
}

#[tokio::test]
async fn a_bare_turn_gets_its_signature_back() {
    for (kind, model) in [("gemini", GEMINI_3), ("anthropic", CLAUDE)] {
        for stream in [false, true] {
            let (upstream, gateway) = start(kind, Script::new().answer(speak(kind)), 1).await;
            let ids = call_ids(&gateway.send(&first(model, stream)).await);
            let answer = gateway.send(&second(model, &ids)).await;
            assert_eq!(answer.status, 200, "{}", answer.text());
            let sent = last_sent(&upstream);
            assert!(sent.contains("U0lHMQ=="), "{kind} {stream}: {sent}");
            assert!(!sent.contains("skip_thought"), "{kind} {stream}: {sent}");
        }
    }
}

#[tokio::test]
async fn a_signature_outlives_a_kill_but_not_another_key_under_the_same_name() {
    for (kind, model) in [("gemini", GEMINI_3), ("anthropic", CLAUDE)] {
        for stream in [false, true] {
            let (upstream, gateway) = start(kind, Script::new().answer(speak(kind)), 1).await;
            let ids = call_ids(&gateway.send(&first(model, stream)).await);
            written(gateway.home(), "U0lHMQ==").await;
            let gateway = restarted(gateway, "KILL").await;
            let answer = gateway.send(&second(model, &ids)).await;
            assert_eq!(answer.status, 200, "{}", answer.text());
            let sent = last_sent(&upstream);
            assert!(sent.contains("U0lHMQ=="), "{kind} {stream}: {sent}");

            let config = config(kind, &upstream, &keys(2)[1..]);
            gateway.home().write_config(&config);
            let gateway = restarted(gateway, "TERM").await;
            let answer = gateway.send(&second(model, &ids)).await;
            assert_eq!(answer.status, 200, "{}", answer.text());
            let sent = last_sent(&upstream);
            assert!(!sent.contains("U0lHMQ=="), "{kind} {stream}: {sent}");
        }
    }
}

#[tokio::test]
async fn what_a_client_wants_unstored_is_remembered_in_memory_only() {
    let (upstream, gateway) = start("gemini", Script::new().answer(speak("gemini")), 1).await;
    let messages = json!([{"role": "user", "content": "go"}]);
    let body = body(GEMINI_3, false, &messages).replacen('{', r#"{"store": false,"#, 1);
    let ids = call_ids(&gateway.send(&Request::chat(&body)).await);
    assert_eq!(gateway.send(&second(GEMINI_3, &ids)).await.status, 200);
    assert!(last_sent(&upstream).contains("U0lHMQ=="));
    let gateway = restarted(gateway, "TERM").await;
    assert_eq!(gateway.send(&second(GEMINI_3, &ids)).await.status, 200);
    assert!(!last_sent(&upstream).contains("U0lHMQ=="));
}

#[tokio::test]
async fn a_model_of_another_family_gets_no_signature() {
    let script = Script::new().answer(speak("gemini"));
    let (upstream, gateway) = start("gemini", script, 1).await;
    let ids = call_ids(&gateway.send(&first(GEMINI_3, false)).await);
    let answer = gateway.send(&second("gemini-2.5-pro", &ids)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let sent = last_sent(&upstream);
    assert!(!sent.contains("U0lHMQ=="), "{sent}");
}

#[tokio::test]
async fn another_account_gets_no_signature() {
    let speak = speak("gemini");
    // The first account serves the first turn only.
    let script = Script::new().answer(move |request: &Recorded| {
        let is_first = request.key.as_deref() == keys(1).first().map(String::as_str);
        if is_first && request.text().contains("functionResponse") {
            return Reply::json(
                429,
                r#"{"error":{"code":429,"message":"slow down","status":"RESOURCE_EXHAUSTED"}}"#,
            );
        }
        speak(request)
    });
    let (upstream, gateway) = start("gemini", script, 2).await;
    let ids = call_ids(&gateway.send(&first(GEMINI_3, false)).await);
    let answer = gateway.send(&second(GEMINI_3, &ids)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let sent: Vec<String> = upstream.requests().iter().map(Recorded::text).collect();
    assert_eq!(sent.len(), 3);
    assert!(sent[1].contains("U0lHMQ=="), "{}", sent[1]);
    assert!(!sent[2].contains("U0lHMQ=="), "{}", sent[2]);
    assert!(sent[2].contains("skip_thought_signature"), "{}", sent[2]);
}

fn refusing() -> Script {
    let speak = speak("anthropic");
    Script::new().answer(move |request: &Recorded| {
        if request.text().contains("U0lHMQ==") {
            return Reply::json(
                400,
                r#"{"type":"error","error":{"type":"invalid_request_error","message":"messages.1.content.0: Invalid `signature` in `thinking` block"}}"#,
            );
        }
        speak(request)
    })
}

#[tokio::test]
async fn a_refused_signature_is_left_out_once_and_for_all() {
    let (upstream, gateway) = start("anthropic", refusing(), 1).await;
    let ids = call_ids(&gateway.send(&first(CLAUDE, false)).await);
    for round in 0..2 {
        let answer = gateway.send(&second(CLAUDE, &ids)).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(upstream.requests().len(), 3 + round, "round {round}");
    }
    // The key is not to blame.
    let stats = gateway.get("/v1/providers").await;
    assert_eq!(stats.json()["data"][0]["ready"], 1, "{}", stats.text());
}

#[tokio::test]
async fn a_refused_signature_of_a_client_of_the_same_dialect_is_left_out_too() {
    let (upstream, gateway) = start("anthropic", refusing(), 1).await;
    let request = json!({"model": format!("fake/{CLAUDE}"), "max_tokens": 9000,
        "thinking": {"type": "enabled", "budget_tokens": 2048},
        "tools": [{"name": "f", "input_schema": {"type": "object"}}],
        "messages": [{"role": "user", "content": "go"},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "hm", "signature": "U0lHMQ=="},
                {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}}]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "toolu_1", "content": "7"}]}]});
    let ask = Request::post("/v1/messages", request.to_string());
    let answer = gateway.send(&ask).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.text(), anthropic::message_body("done"));
    assert_eq!(upstream.requests().len(), 2);
    let sent: Value = serde_json::from_str(&last_sent(&upstream)).expect("JSON");
    assert_eq!(sent["messages"][1]["content"][0]["type"], "tool_use");
    assert!(sent.get("thinking").is_none(), "{sent}");
}
