//! What stands beside `/v1/responses`: counting, making a conversation shorter, cancelling.

use serde_json::{Value, json};

use crate::client::{Request, Response};
use crate::fake::reply::Reply;
use crate::fake::script::Script;
use crate::fake::upstream::{Recorded, Upstream};
use crate::fake::{anthropic, gemini, openai};
use crate::harness::{Gateway, keys, pair};

async fn on(provider: &str, kind: &str, script: Script) -> (Upstream, Gateway) {
    let upstream = Upstream::start(script).await;
    let base = match kind {
        "anthropic" | "gemini" => upstream.origin(),
        _ => upstream.base_url(),
    };
    let kind = match provider {
        "openai" => String::new(),
        _ => format!("kind = \"{kind}\"\n"),
    };
    let gateway = Gateway::start(&format!(
        "[providers.{provider}]\n{kind}base_url = \"{base}\"\napi_keys = {:?}\n",
        keys(1)
    ))
    .await;
    (upstream, gateway)
}

async fn ask(gateway: &Gateway, below: &str, model: &str, more: Value) -> Response {
    let mut body = json!({"model": model, "input": "how many tokens are these?"});
    let members = body.as_object_mut().expect("an object");
    members.extend(more.as_object().cloned().expect("an object"));
    let target = format!("/v1/responses/{below}");
    gateway
        .send(&Request::post(&target, body.to_string()))
        .await
}

fn body_of(request: &Recorded) -> Value {
    serde_json::from_slice(&request.body).expect("JSON")
}

#[tokio::test]
async fn tokens_are_counted_by_whoever_can() {
    let answers = [
        (
            "anthropic",
            json!({"input_tokens": 42}),
            "/v1/messages/count_tokens",
        ),
        (
            "gemini",
            json!({"totalTokens": 42}),
            "/v1beta/models/m1:countTokens",
        ),
        (
            "openai_responses",
            json!({"object": "response.input_tokens", "input_tokens": 42}),
            "/v1/responses/input_tokens",
        ),
    ];
    for (kind, answer, path) in answers {
        let script = Script::always(Reply::json(200, answer.to_string()));
        let (upstream, gateway) = on("fake", kind, script).await;
        let counted = ask(
            &gateway,
            "input_tokens",
            "fake/m1",
            json!({"instructions": "S"}),
        )
        .await;
        let expected = json!({"object": "response.input_tokens", "input_tokens": 42});
        assert_eq!((counted.status, counted.json()), (200, expected), "{kind}");
        assert_eq!(upstream.request().target, path);
        assert!(
            upstream.request().text().contains("how many tokens"),
            "{kind}"
        );
    }
}

#[tokio::test]
async fn openai_counts_for_every_client() {
    let answer = json!({"object": "response.input_tokens", "input_tokens": 42});
    let script = Script::always(Reply::json(200, answer.to_string()));
    let (upstream, gateway) = on("openai", "openai", script).await;
    let body = json!({"model": "openai/gpt-5.1", "max_tokens": 9, "system": "S",
        "messages": [{"role": "user", "content": "hi"}]});
    let ask = Request::post("/v1/messages/count_tokens", body.to_string());
    let counted = gateway.send(&ask).await;
    assert_eq!(
        counted.json(),
        json!({"input_tokens": 42}),
        "{}",
        counted.text()
    );
    let sent = body_of(&upstream.request());
    assert_eq!(
        (&sent["model"], &sent["instructions"]),
        (&json!("gpt-5.1"), &json!("S"))
    );
    for answer_only in ["max_output_tokens", "store", "stream"] {
        assert!(sent.get(answer_only).is_none(), "{answer_only}: {sent}");
    }
}

#[tokio::test]
async fn where_nobody_can_count_an_estimate_says_so() {
    let unknown = Reply::json(404, r#"{"error":{"message":"no such route"}}"#);
    for (kind, script) in [
        ("openai", Script::new()),
        ("openai_responses", Script::always(unknown)),
    ] {
        let (_upstream, gateway) = on("fake", kind, script).await;
        let counted = ask(&gateway, "input_tokens", "fake/m1", json!({})).await;
        assert_eq!(counted.status, 200, "{kind}: {}", counted.text());
        let counted = counted.json();
        assert!(counted["input_tokens"].as_u64() > Some(0), "{counted}");
        assert_eq!(counted["estimated"], true, "{kind}: {counted}");
        assert_eq!(
            gateway.provider("fake").await["ready"],
            1,
            "no harm to the key"
        );
    }
}

/// A conversation with a call in it, as Codex sends it to be made shorter.
fn conversation() -> Value {
    json!({"instructions": "S", "tools": [], "parallel_tool_calls": false, "input": [
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "fix it"}]},
        {"type": "function_call", "call_id": "c1", "name": "shell", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "done"}]})
}

#[tokio::test]
async fn any_model_makes_a_conversation_shorter_and_goes_on_from_that() {
    for (kind, answer) in [
        ("anthropic", anthropic::message("it was fixed")),
        ("gemini", gemini::answer("it was fixed")),
        ("openai", openai::completion("it was fixed")),
    ] {
        let (upstream, gateway) = on("fake", kind, Script::always(answer)).await;
        let shorter = ask(&gateway, "compact", "fake/m1", conversation()).await;
        assert_eq!(shorter.status, 200, "{kind}: {}", shorter.text());
        let shorter = shorter.json();
        assert_eq!(shorter["object"], "response.compaction", "{shorter}");
        let texts: Vec<&str> = shorter["output"]
            .as_array()
            .expect("items")
            .iter()
            .filter_map(|item| item["content"][0]["text"].as_str())
            .collect();
        assert_eq!((texts.len(), texts[0]), (2, "fix it"), "{kind}: {shorter}");
        assert!(texts[1].ends_with("it was fixed"), "{kind}: {shorter}");
        assert!(
            upstream.requests()[0].text().contains("Summarise"),
            "{kind}"
        );
        let mut input = shorter["output"].as_array().cloned().expect("items");
        input.push(json!({"role": "user", "content": "and now?"}));
        let body = json!({"model": "fake/m1", "input": input});
        let next = gateway
            .send(&Request::post("/v1/responses", body.to_string()))
            .await;
        assert_eq!(next.status, 200, "{kind}: {}", next.text());
        let sent = upstream.requests()[1].text();
        assert!(
            sent.contains("it was fixed") && sent.contains("and now?"),
            "{kind}: {sent}"
        );
    }
}

#[tokio::test]
async fn openais_own_way_to_make_a_conversation_shorter_passes_as_it_is() {
    let answer = r#"{ "id":"resp_1","object":"response.compaction","output":[{"type":"compaction","encrypted_content":"zzz"}],"usage":{"input_tokens":9,"output_tokens":1,"total_tokens":10}}"#;
    let script = Script::always(Reply::json(200, answer));
    let (upstream, gateway) = on("openai", "openai", script).await;
    let shorter = ask(&gateway, "compact", "openai/gpt-5.1", conversation()).await;
    assert_eq!((shorter.status, shorter.text().as_str()), (200, answer));
    assert_eq!(upstream.request().target, "/v1/responses/compact");
}

#[tokio::test]
async fn nothing_is_left_to_cancel() {
    let (_upstream, gateway) = pair(Script::always(openai::completion("hi")), 1, "").await;
    let body = json!({"model": "fake/m1", "input": "hi"}).to_string();
    let kept = gateway
        .send(&Request::post("/v1/responses", body))
        .await
        .json();
    let cancel = |id: &str| Request::post(&format!("/v1/responses/{id}/cancel"), "");
    let id = kept["id"].as_str().expect("an id");
    let refused = gateway.send(&cancel(id)).await;
    assert_eq!(refused.status, 400, "{}", refused.text());
    assert!(
        refused.message().contains("background"),
        "{}",
        refused.text()
    );
    assert_eq!(gateway.send(&cancel("resp_nobody")).await.status, 404);
}
