//! The exchanges of section G, from a client's bytes to the upstream's and back.

use serde_json::{Value, json};

use crate::client::{Request, Response};
use crate::fake::code_assist::{answer, asked, body, chunk, last, start};
use crate::fake::upstream::Recorded;
use crate::harness::Gateway;

/// Requests of the four dialects for a model, streamed or not.
fn in_every_dialect(model: &str, stream: bool, text: &str) -> Vec<(&'static str, Request)> {
    let user = json!([{"role": "user", "content": text}]);
    let chat = json!({"model": model, "stream": stream, "messages": user});
    let responses = json!({"model": model, "stream": stream, "input": text});
    let anthropic = json!({"model": model, "stream": stream, "max_tokens": 500, "messages": user});
    let gemini = json!({"contents": [{"role": "user", "parts": [{"text": text}]}]});
    let verb = if stream {
        "streamGenerateContent?alt=sse"
    } else {
        "generateContent"
    };
    vec![
        ("openai", Request::chat(&chat.to_string())),
        (
            "responses",
            Request::post("/v1/responses", responses.to_string()),
        ),
        (
            "anthropic",
            Request::post("/v1/messages", anthropic.to_string()),
        ),
        (
            "gemini",
            Request::post(
                &format!("/v1beta/models/{model}:{verb}"),
                gemini.to_string(),
            ),
        ),
    ]
}

/// The deltas of an OpenAI stream, in order.
fn deltas(response: &Response) -> Vec<Value> {
    let text = response.text();
    assert!(text.trim_end().ends_with("data: [DONE]"), "{text}");
    text.lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .filter(|data| *data != "[DONE]")
        .map(|data| serde_json::from_str(data).expect("JSON"))
        .collect()
}

fn usage() -> Value {
    json!({"promptTokenCount": 6, "candidatesTokenCount": 3, "thoughtsTokenCount": 5,
        "totalTokenCount": 14})
}

fn greeting(request: &Recorded) -> crate::fake::reply::Reply {
    answer(
        request,
        &[
            chunk(&json!([{"thought": true, "text": "User wants a greeting."}])),
            chunk(&json!([{"text": "Hi"}])),
            last(&json!([{"text": " there!"}]), "STOP", &usage()),
        ],
    )
}

#[tokio::test]
async fn gemini_cli_g1_a_plain_stream() {
    let (upstream, gateway) = start("gemini_cli", 1, "", greeting).await;
    let wanted = json!({"model": "gemini_cli/gemini-2.5-flash", "stream": true,
        "stream_options": {"include_usage": true}, "messages": [
        {"role": "system", "content": "Be brief."}, {"role": "user", "content": "Say hi"}]});
    let response = gateway.chat(&wanted.to_string()).await;
    assert_eq!(response.status, 200, "{}", response.text());
    let request = asked(&upstream).remove(0);
    assert_eq!(request.target, "/v1internal:streamGenerateContent?alt=sse");
    let sent = body(&request);
    let id = |pointer: &str| {
        sent.pointer(pointer)
            .and_then(Value::as_str)
            .expect("an id")
            .to_owned()
    };
    assert_eq!(
        request.text(),
        format!(
            r#"{{"model":"gemini-2.5-flash","project":"proj-1","user_prompt_id":"{}","request":{{"session_id":"{}","systemInstruction":{{"role":"user","parts":[{{"text":"Be brief."}}]}},"contents":[{{"role":"user","parts":[{{"text":"Say hi"}}]}}],"generationConfig":{{"maxOutputTokens":64000,"thinkingConfig":{{"thinkingBudget":-1,"includeThoughts":true}}}}}}}}"#,
            id("/user_prompt_id"),
            id("/request/session_id"),
        )
    );
    let agent = request.header("user-agent").expect("a user agent");
    assert!(
        agent.starts_with("GeminiCLI/0.54.0/gemini-2.5-flash ("),
        "{agent}"
    );
    let deltas = deltas(&response);
    let said = |name: &str| {
        let pieces = deltas
            .iter()
            .filter_map(|chunk| chunk["choices"][0]["delta"][name].as_str());
        pieces
            .filter(|piece| !piece.is_empty())
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(said("reasoning_content"), ["User wants a greeting."]);
    assert_eq!(said("content"), ["Hi", " there!"]);
    let stops: Vec<_> = deltas
        .iter()
        .filter_map(|chunk| chunk["choices"][0]["finish_reason"].as_str())
        .collect();
    assert_eq!(stops, ["stop"]);
    let usage = deltas
        .iter()
        .find_map(|chunk| chunk["usage"].as_object())
        .expect("usage");
    assert_eq!(
        (
            &usage["prompt_tokens"],
            &usage["completion_tokens"],
            &usage["total_tokens"]
        ),
        (&json!(6), &json!(8), &json!(14))
    );
    assert_eq!(usage["completion_tokens_details"]["reasoning_tokens"], 5);
}

#[tokio::test]
async fn every_dialect_is_served_by_both_whole_and_streamed() {
    for (provider, model) in [
        ("gemini_cli", "gemini-2.5-pro"),
        ("antigravity", "gemini-3.7-flash-high"),
        ("antigravity", "claude-sonnet-4-6"),
    ] {
        let (upstream, gateway) = start(provider, 1, "", greeting).await;
        for stream in [false, true] {
            let requests = in_every_dialect(&format!("{provider}/{model}"), stream, "Say hi");
            for (dialect, request) in requests {
                let response = gateway.send(&request).await;
                let text = response.text();
                assert_eq!(response.status, 200, "{provider} {dialect}: {text}");
                let is_whole = text.contains("Hi there!")
                    || (text.contains("\"Hi\"") && text.contains("\" there!\""));
                assert!(is_whole, "{provider} {dialect}: {text}");
                assert!(!text.contains("traceId"), "{provider} {dialect}: {text}");
                assert!(
                    !text.contains("\"error\":{"),
                    "{provider} {dialect}: {text}"
                );
            }
        }
        for request in asked(&upstream) {
            let sent = body(&request);
            assert_eq!(sent["project"], "proj-1");
            assert_eq!(sent["model"], model);
        }
    }
}

const CITY: &str = r#"{"type":"function","function":{"name":"get_weather","parameters":{"type":"object","properties":{"city":{"type":"string"}},"required":["city"]}}}"#;

fn weather(messages: &Value, stream: bool) -> String {
    let tool: Value = serde_json::from_str(CITY).expect("JSON");
    json!({"model": "gemini_cli/gemini-3-pro-preview", "stream": stream, "messages": messages,
        "tools": [tool]})
    .to_string()
}

#[tokio::test]
async fn gemini_cli_g2_two_parallel_calls_and_their_results() {
    let (upstream, gateway) = start("gemini_cli", 1, "", |request| {
        if request.text().contains("functionResponse") {
            return greeting(request);
        }
        let calls = json!([
            {"functionCall": {"id": "c1", "name": "get_weather", "args": {"city": "Oslo"}}, "thoughtSignature": "U0lHMQ=="},
            {"functionCall": {"id": "c2", "name": "get_weather", "args": {"city": "Rome"}}}]);
        answer(request, &[last(&calls, "STOP", &usage())])
    })
    .await;
    let user = json!({"role": "user", "content": "weather?"});
    let whole = gateway.chat(&weather(&json!([user]), false)).await.json();
    let message = &whole["choices"][0]["message"];
    assert_eq!(whole["choices"][0]["finish_reason"], "tool_calls");
    let first = &message["tool_calls"][0];
    assert_eq!(first["id"], "c1");
    assert_eq!(first["function"]["arguments"], r#"{"city":"Oslo"}"#);
    assert_eq!(
        first["extra_content"]["google"]["thought_signature"],
        "U0lHMQ=="
    );
    assert_eq!(message["tool_calls"][1]["id"], "c2");
    let streamed = gateway.chat(&weather(&json!([user]), true)).await;
    let indexes: Vec<_> = deltas(&streamed)
        .iter()
        .filter_map(|chunk| chunk["choices"][0]["delta"]["tool_calls"][0]["index"].as_u64())
        .collect();
    assert!(indexes.contains(&0) && indexes.contains(&1), "{indexes:?}");

    // Whether the client sends the signature back or not: it is known here.
    let mut bare = message.clone();
    for call in bare["tool_calls"].as_array_mut().expect("calls") {
        call.as_object_mut()
            .expect("a call")
            .remove("extra_content");
    }
    for assistant in [message.clone(), bare] {
        let next = json!([user, assistant,
            {"role": "tool", "tool_call_id": "c2", "content": "19 C"},
            {"role": "tool", "tool_call_id": "c1", "content": "3 C"}]);
        let response = gateway.chat(&weather(&next, false)).await;
        assert_eq!(response.status, 200, "{}", response.text());
        let sent = body(asked(&upstream).last().expect("a request"));
        assert_eq!(
            sent["request"]["contents"].as_array().expect("contents")[1..],
            [
                json!({"role": "model", "parts": [
                    {"functionCall": {"id": "c1", "name": "get_weather", "args": {"city": "Oslo"}}, "thoughtSignature": "U0lHMQ=="},
                    {"functionCall": {"id": "c2", "name": "get_weather", "args": {"city": "Rome"}}}]}),
                json!({"role": "user", "parts": [
                    {"functionResponse": {"id": "c1", "name": "get_weather", "response": {"result": "3 C"}}},
                    {"functionResponse": {"id": "c2", "name": "get_weather", "response": {"result": "19 C"}}}]}),
            ]
        );
    }
}

#[tokio::test]
async fn antigravity_g1_a_plain_stream() {
    let (upstream, gateway) = start("antigravity", 1, "", |request| {
        let usage = json!({"promptTokenCount": 9, "candidatesTokenCount": 2, "totalTokenCount": 11,
            "cachedContentTokenCount": 4});
        answer(
            request,
            &[
                chunk(&json!([{"text": "Sunny"}])),
                last(&json!([{"text": "."}]), "STOP", &usage),
            ],
        )
    })
    .await;
    let wanted = json!({"model": "antigravity/gemini-3.7-flash-high", "stream": true,
        "stream_options": {"include_usage": true},
        "messages": [{"role": "user", "content": "What is the weather in Paris?"}]});
    let response = gateway.chat(&wanted.to_string()).await;
    let request = asked(&upstream).remove(0);
    let sent = body(&request);
    assert_eq!(sent["requestType"], "agent");
    assert_eq!(sent["userAgent"], "antigravity");
    assert_eq!(sent["request"]["sessionId"], "-6009649069285727516");
    assert_eq!(
        sent["request"]["generationConfig"]["thinkingConfig"],
        json!({"includeThoughts": true, "thinkingBudget": -1})
    );
    assert!(
        request
            .header("user-agent")
            .is_some_and(|agent| agent.starts_with("antigravity/"))
    );
    let deltas = deltas(&response);
    let text: String = deltas
        .iter()
        .filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str())
        .collect();
    assert_eq!(text, "Sunny.");
    let usage = deltas
        .iter()
        .find_map(|chunk| chunk["usage"].as_object())
        .expect("usage");
    assert_eq!(
        (
            &usage["prompt_tokens"],
            &usage["completion_tokens"],
            &usage["total_tokens"]
        ),
        (&json!(9), &json!(2), &json!(11))
    );
    assert_eq!(usage["prompt_tokens_details"]["cached_tokens"], 4);
}

/// The calls of an answer in any dialect: id, name, arguments.
fn calls(dialect: &str, body: &Value) -> Vec<(String, Value)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let parsed = |value: &Value| serde_json::from_str(&text(value)).expect("arguments");
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    match dialect {
        "openai" => list(&body["choices"][0]["message"]["tool_calls"])
            .iter()
            .map(|call| {
                (
                    text(&call["function"]["name"]),
                    parsed(&call["function"]["arguments"]),
                )
            })
            .collect(),
        "responses" => list(&body["output"])
            .iter()
            .filter(|item| item["type"] == "function_call")
            .map(|call| (text(&call["name"]), parsed(&call["arguments"])))
            .collect(),
        "anthropic" => list(&body["content"])
            .iter()
            .filter(|block| block["type"] == "tool_use")
            .map(|call| (text(&call["name"]), call["input"].clone()))
            .collect(),
        _ => list(&body["candidates"][0]["content"]["parts"])
            .iter()
            .filter(|part| part["functionCall"].is_object())
            .map(|part| {
                (
                    text(&part["functionCall"]["name"]),
                    part["functionCall"]["args"].clone(),
                )
            })
            .collect(),
    }
}

#[tokio::test]
async fn antigravity_g2_what_is_added_to_a_tool_leaves_its_calls_in_every_dialect() {
    let (upstream, gateway) = start("antigravity", 1, "", |request| {
        let call = json!([{"functionCall": {"id": "toolu_vrtx_1", "name": "list_files", "args": {"reason": "look"}}}]);
        answer(request, &[last(&call, "OTHER", &usage())])
    })
    .await;
    let model = "antigravity/claude-sonnet-4-6";
    let schema =
        json!({"type": "object", "properties": {}, "additionalProperties": false, "$schema": "x"});
    let user = json!([{"role": "user", "content": "list"}]);
    let chat = json!({"model": model, "messages": user, "tools": [{"type": "function",
        "function": {"name": "list_files", "parameters": schema}}]});
    let responses = json!({"model": model, "input": "list", "tools": [{"type": "function",
        "name": "list_files", "parameters": schema}]});
    let anthropic = json!({"model": model, "max_tokens": 500, "messages": user,
        "tools": [{"name": "list_files", "input_schema": schema}]});
    let gemini = json!({"contents": [{"role": "user", "parts": [{"text": "list"}]}],
        "tools": [{"functionDeclarations": [{"name": "list_files", "parametersJsonSchema": schema}]}]});
    for (dialect, request) in [
        ("openai", Request::chat(&chat.to_string())),
        (
            "responses",
            Request::post("/v1/responses", responses.to_string()),
        ),
        (
            "anthropic",
            Request::post("/v1/messages", anthropic.to_string()),
        ),
        (
            "gemini",
            Request::post(
                &format!("/v1beta/models/{model}:generateContent"),
                gemini.to_string(),
            ),
        ),
    ] {
        let response = gateway.send(&request).await;
        assert_eq!(response.status, 200, "{dialect}: {}", response.text());
        let json = response.json();
        assert_eq!(
            calls(dialect, &json),
            [("list_files".to_owned(), json!({}))],
            "{dialect}: {json}"
        );
        let sent = body(asked(&upstream).last().expect("a request"));
        let declaration = &sent["request"]["tools"][0]["functionDeclarations"][0];
        assert_eq!(
            declaration["parameters"]["required"],
            json!(["reason"]),
            "{dialect}"
        );
        assert_eq!(declaration["parameters"]["type"], "object");
        assert_eq!(
            sent["request"]["toolConfig"]["functionCallingConfig"]["mode"],
            "VALIDATED"
        );
    }
}

fn claude_signature() -> String {
    format!("Eabc{}", "x".repeat(56))
}

/// Thinks, signs, calls; answers once the call is answered.
fn claude(request: &Recorded) -> crate::fake::reply::Reply {
    let counts = json!({"promptTokenCount": 40, "candidatesTokenCount": 25, "totalTokenCount": 65});
    if request.text().contains("functionResponse") {
        return answer(
            request,
            &[last(&json!([{"text": "hello it says"}]), "STOP", &counts)],
        );
    }
    let mut first = chunk(&json!([{"thought": true, "text": "Need the file."}]));
    first["responseId"] = "msg_vrtx_1".into();
    answer(
        request,
        &[
            first,
            chunk(&json!([{"thought": true, "text": "", "thoughtSignature": claude_signature()}])),
            last(
                &json!([{"functionCall": {"id": "toolu_vrtx_9", "name": "read_file", "args": {"path": "a.txt"}}}]),
                "OTHER",
                &counts,
            ),
        ],
    )
}

fn read_file(messages: &Value, stream: bool) -> String {
    json!({"model": "antigravity/claude-opus-4-6-thinking", "stream": stream, "messages": messages,
        "reasoning_effort": "high", "tools": [{"type": "function", "function": {"name": "read_file",
        "parameters": {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]}}}]})
    .to_string()
}

async fn second_turn(gateway: &Gateway) -> Response {
    let call = json!({"id": "toolu_vrtx_9", "type": "function",
        "function": {"name": "read_file", "arguments": "{\"path\":\"a.txt\"}"}});
    let next = json!([{"role": "user", "content": "read it"},
        {"role": "assistant", "content": null, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "toolu_vrtx_9", "content": "hello"}]);
    gateway.chat(&read_file(&next, false)).await
}

#[tokio::test]
async fn antigravity_g3_thoughts_go_back_though_the_client_dropped_them() {
    let (upstream, gateway) = start("antigravity", 1, "", claude).await;
    let user = json!([{"role": "user", "content": "read it"}]);
    let response = gateway.chat(&read_file(&user, true)).await;
    let deltas = deltas(&response);
    let delta = |name: &str| {
        let pieces = deltas
            .iter()
            .filter_map(|chunk| chunk["choices"][0]["delta"][name].as_str());
        pieces.collect::<String>()
    };
    assert_eq!(delta("reasoning_content"), "Need the file.");
    let call = deltas
        .iter()
        .find_map(|chunk| chunk["choices"][0]["delta"]["tool_calls"][0]["id"].as_str());
    assert_eq!(call, Some("toolu_vrtx_9"));
    let stop = deltas
        .iter()
        .find_map(|chunk| chunk["choices"][0]["finish_reason"].as_str());
    assert_eq!(stop, Some("tool_calls"));

    assert_eq!(second_turn(&gateway).await.status, 200);
    let sent = body(asked(&upstream).last().expect("a request"));
    assert_eq!(
        sent["request"]["contents"].as_array().expect("contents")[1..],
        [
            json!({"role": "model", "parts": [
                {"thought": true, "text": "Need the file.", "thoughtSignature": claude_signature()},
                {"functionCall": {"id": "toolu_vrtx_9", "name": "read_file", "args": {"path": "a.txt"}}}]}),
            json!({"role": "user", "parts": [{"functionResponse": {"id": "toolu_vrtx_9",
                "name": "read_file", "response": {"result": "hello"}}}]}),
        ]
    );
    assert!(sent["request"]["generationConfig"]["thinkingConfig"].is_object());
}

#[tokio::test]
async fn antigravity_g3_lost_thoughts_end_thinking_and_not_the_request() {
    let (upstream, gateway) = start("antigravity", 1, "", claude).await;
    let response = second_turn(&gateway).await;
    assert_eq!(response.status, 200, "{}", response.text());
    let sent = body(&asked(&upstream)[0]);
    assert!(!sent.to_string().contains("\"thought\""), "{sent}");
    assert!(
        sent["request"]["generationConfig"]
            .get("thinkingConfig")
            .is_none(),
        "{sent}"
    );
}

#[tokio::test]
async fn antigravity_g3_an_anthropic_client_holds_claudes_own_signature() {
    let (upstream, gateway) = start("antigravity", 1, "", claude).await;
    let ask = |messages: Value| {
        json!({"model": "antigravity/claude-opus-4-6-thinking", "max_tokens": 9000,
            "thinking": {"type": "enabled", "budget_tokens": 2000}, "messages": messages,
            "tools": [{"name": "read_file", "input_schema": {"type": "object",
                "properties": {"path": {"type": "string"}}, "required": ["path"]}}]})
        .to_string()
    };
    let user = json!({"role": "user", "content": "read it"});
    let first = gateway
        .send(&Request::post("/v1/messages", ask(json!([user]))))
        .await
        .json();
    assert_eq!(first["stop_reason"], "tool_use");
    assert_eq!(
        first["content"][0],
        json!({"type": "thinking", "thinking": "Need the file.", "signature": claude_signature()})
    );
    let next = json!([user, {"role": "assistant", "content": first["content"]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_vrtx_9", "content": "hello"}]}]);
    let second = gateway
        .send(&Request::post("/v1/messages", ask(next)))
        .await;
    assert_eq!(second.status, 200, "{}", second.text());
    let sent = body(asked(&upstream).last().expect("a request"));
    assert_eq!(
        sent["request"]["contents"][1]["parts"][0]["thoughtSignature"],
        claude_signature()
    );
    assert_eq!(
        sent["request"]["generationConfig"]["thinkingConfig"]["thinkingBudget"],
        2000
    );
}
