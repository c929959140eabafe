//! What crosses between dialects down to its details: each of these was once lost, or passed off as
//! something else, though the target can hold it.

use serde_json::{Value, json};

use crate::client::{Request, Response};
use crate::dialects::whole;
use crate::fake::reply::Reply;
use crate::fake::script::Script;
use crate::fake::sse;
use crate::fake::upstream::Upstream;
use crate::harness::{Gateway, keys};

/// What an upstream of that kind was sent, and what the client got.
async fn through(kind: &str, model: &str, reply: Reply, request: &Request) -> (Value, Response) {
    let upstream = Upstream::start(Script::always(reply)).await;
    let base = match kind {
        "openai" | "openai_responses" => upstream.base_url(),
        _ => upstream.origin(),
    };
    let config = format!(
        "[providers.fake]\nkind = \"{kind}\"\nbase_url = \"{base}\"\napi_keys = {:?}\n\
         models = [{model:?}]\n",
        keys(1)
    );
    let gateway = Gateway::start(&config).await;
    let answer = gateway.send(request).await;
    assert_eq!(answer.status, 200, "{kind}: {}", answer.text());
    let sent = upstream.requests().pop().expect("a request");
    (serde_json::from_slice(&sent.body).expect("JSON"), answer)
}

fn messages(body: &Value) -> Request {
    let mut body = body.clone();
    body["model"] = "fake/m1".into();
    body["max_tokens"] = 99.into();
    Request::post("/v1/messages", body.to_string())
}

fn ask(dialect: &str, stream: bool) -> Request {
    crate::dialects::request(dialect, stream)
}

fn chat_answer(message: &Value) -> Reply {
    let answer = json!({"id": "c", "object": "chat.completion", "created": 1, "model": "m1",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}});
    Reply::json(200, answer.to_string())
}

fn chat_stream(deltas: &[Value]) -> Reply {
    let chunk = |choice: Value| {
        sse::data(&json!({"id": "c", "object": "chat.completion.chunk",
        "created": 1, "model": "m1", "choices": [choice]}))
    };
    let mut frames: Vec<String> = deltas
        .iter()
        .map(|delta| chunk(json!({"index": 0, "delta": delta, "finish_reason": null})))
        .collect();
    frames.push(chunk(
        json!({"index": 0, "delta": {}, "finish_reason": "stop"}),
    ));
    frames.push("data: [DONE]\n\n".to_owned());
    Reply::sse(frames)
}

#[tokio::test]
async fn logprobs_of_a_response_reach_other_clients() {
    let token = json!({"token": "hi", "logprob": -0.5, "bytes": [104, 105], "top_logprobs": []});
    let answer = json!({"id": "resp_1", "object": "response", "created_at": 1, "model": "m1",
        "status": "completed", "output": [{"type": "message", "id": "msg_1", "role": "assistant",
            "status": "completed", "content": [{"type": "output_text", "text": "hi",
                "annotations": [], "logprobs": [token]}]}],
        "usage": {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2}});
    let request = json!({"model": "fake/m1", "logprobs": true,
        "messages": [{"role": "user", "content": "q"}]});
    let reply = Reply::json(200, answer.to_string());
    let request = Request::chat(&request.to_string());
    let (_, got) = through("openai_responses", "m1", reply, &request).await;
    let got = got.json();
    assert_eq!(
        got["choices"][0]["logprobs"]["content"],
        json!([token]),
        "{got}"
    );
}

#[tokio::test]
async fn what_only_steers_caching_and_transport_is_no_loss() {
    let request = json!({"model": "fake/m1", "input": "q", "truncation": "disabled",
        "include": ["reasoning.encrypted_content", "message.output_text.logprobs"]});
    let request = Request::post("/v1/responses", request.to_string());
    let (_, got) = through("openai", "m1", whole("openai"), &request).await;
    assert_eq!(got.header("x-llmproxy-dropped"), None);
    let mark = json!({"type": "ephemeral"});
    let marked = messages(
        &json!({"system": [{"type": "text", "text": "s", "cache_control": mark}],
        "messages": [{"role": "user", "content": [{"type": "text", "text": "q", "cache_control": mark}]}]}),
    );
    for kind in ["gemini", "openai", "openai_responses"] {
        let (_, got) = through(kind, "m1", whole(kind), &marked).await;
        assert_eq!(got.header("x-llmproxy-dropped"), None, "{kind}");
    }
}

#[tokio::test]
async fn a_text_document_keeps_its_title_and_what_is_lost_of_it_is_named() {
    let document = json!({"type": "document", "title": "Notes", "context": "C",
        "source": {"type": "text", "media_type": "text/plain", "data": "some text"},
        "citations": {"enabled": true}});
    let request = messages(&json!({"messages": [{"role": "user", "content": [document]}]}));
    for kind in ["gemini", "openai", "openai_responses"] {
        let (sent, got) = through(kind, "m1", whole(kind), &request).await;
        let sent = sent.to_string();
        assert!(sent.contains("Notes:\\nsome text"), "{kind}: {sent}");
        assert!(
            !sent.contains("enabled") && !sent.contains("\"C\""),
            "{kind}: {sent}"
        );
        let dropped = got.header("x-llmproxy-dropped").unwrap_or_default();
        for member in ["context", "citations"] {
            assert!(dropped.contains(member), "{kind}: {dropped}");
        }
    }
}

#[tokio::test]
async fn what_is_moved_out_of_a_tool_result_is_called_what_it_is() {
    let result = json!([
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}},
        {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0xLjQK"}}]);
    let request = messages(
        &json!({"tools": [{"name": "f", "input_schema": {"type": "object"}}],
        "messages": [{"role": "user", "content": "go"},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "f", "input": {}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": result}]}]}),
    );
    let (sent, _) = through("openai", "m1", whole("openai"), &request).await;
    assert_eq!(
        sent["messages"][2]["content"], "(image attached below)\n(file attached below)",
        "{sent}"
    );
}

#[tokio::test]
async fn citations_reach_gemini_clients_as_grounding() {
    let annotation = json!({"type": "url_citation", "url_citation":
        {"url": "https://x.example", "title": "X", "start_index": 1, "end_index": 3}});
    let message = json!({"role": "assistant", "content": "éab c", "annotations": [annotation]});
    let segment = json!({"partIndex": 0, "startIndex": 2, "endIndex": 4, "text": "ab"});
    let grounding = json!({"groundingChunks": [{"web": {"uri": "https://x.example", "title": "X"}}],
        "groundingSupports": [{"segment": segment, "groundingChunkIndices": [0]}]});
    let ask_whole = ask("gemini", false);
    let (_, got) = through("openai", "m1", chat_answer(&message), &ask_whole).await;
    let got_whole = got.json();
    assert_eq!(got_whole["candidates"][0]["groundingMetadata"], grounding);
    assert_eq!(got.header("x-llmproxy-dropped"), None);
    let deltas = [
        json!({"role": "assistant", "content": "éab"}),
        json!({"content": " c", "annotations": [annotation]}),
    ];
    let ask_stream = ask("gemini", true);
    let (_, got) = through("openai", "m1", chat_stream(&deltas), &ask_stream).await;
    let text = got.text();
    let last = text
        .lines()
        .rev()
        .find_map(|line| line.strip_prefix("data: "));
    let last: Value = serde_json::from_str(last.expect("a chunk")).expect("JSON");
    assert_eq!(
        last["candidates"][0]["groundingMetadata"], grounding,
        "{text}"
    );

    let located = json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "m1",
        "content": [{"type": "text", "text": "So. "}, {"type": "text", "text": "blue", "citations": [
            {"type": "web_search_result_location", "url": "https://x.example", "title": "X",
                "encrypted_index": "e", "cited_text": "c"}]}],
        "stop_reason": "end_turn", "stop_sequence": null,
        "usage": {"input_tokens": 1, "output_tokens": 1}});
    let reply = Reply::json(200, located.to_string());
    let (_, got) = through("anthropic", "m1", reply, &ask_whole).await;
    let supports = &got.json()["candidates"][0]["groundingMetadata"]["groundingSupports"];
    let segment = json!({"partIndex": 1, "startIndex": 0, "endIndex": 4, "text": "blue"});
    assert_eq!(supports[0]["segment"], segment);
}

#[tokio::test]
async fn a_refusal_is_one_for_every_client() {
    let message = json!({"role": "assistant", "content": null, "refusal": "I cannot"});
    let deltas = [
        json!({"role": "assistant", "content": null}),
        json!({"refusal": "I can"}),
        json!({"refusal": "not"}),
    ];
    for (client, sign) in [
        ("anthropic", r#""stop_reason":"refusal""#),
        ("gemini", r#""finishReason":"SAFETY""#),
        ("openai_responses", r#""refusal":"I cannot""#),
    ] {
        let (_, got) = through("openai", "m1", chat_answer(&message), &ask(client, false)).await;
        assert!(got.text().contains(sign), "{client}: {}", got.text());
        let (_, got) = through("openai", "m1", chat_stream(&deltas), &ask(client, true)).await;
        assert!(got.text().contains(sign), "{client}: {}", got.text());
    }
}

#[tokio::test]
async fn a_refusal_without_a_word_is_no_completed_response() {
    let refused = json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "m1",
        "content": [], "stop_reason": "refusal", "stop_sequence": null,
        "usage": {"input_tokens": 1, "output_tokens": 1}});
    let reply = Reply::json(200, refused.to_string());
    let (_, got) = through("anthropic", "m1", reply, &ask("openai_responses", false)).await;
    let got = got.json();
    assert_eq!(got["status"], "incomplete", "{got}");
    assert_eq!(got["incomplete_details"]["reason"], "content_filter");
}
