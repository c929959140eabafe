//! The cases about lists, counts and embeddings, each dialect's own.

use serde_json::{Value, json};

use crate::client::Request;
use crate::fake::openai;
use crate::fake::reply::Reply;
use crate::fake::script::Script;
use crate::fake::upstream::{Recorded, Upstream};
use crate::harness::{Gateway, keys, pair};

#[tokio::test]
async fn case_79_tokens_are_counted_for_models_of_any_vendor() {
    let (upstream, gateway) = pair(Script::new(), 1, "").await;
    let body = json!({"model": "fake/m1", "system": "S",
        "messages": [{"role": "user", "content": "how many tokens is this?"}]});
    let ask = Request::post("/v1/messages/count_tokens", body.to_string());
    let answer = gateway.send(&ask).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let count = answer.json();
    assert!(
        count["input_tokens"].as_u64().expect("a number") > 0,
        "{count}"
    );
    assert_eq!(count["estimated"], true, "an estimate says so: {count}");
    assert!(upstream.requests().is_empty());
}

#[tokio::test]
async fn case_79_a_vendor_that_cannot_count_after_all_is_asked_once_and_estimated() {
    let something_else = json!({"id": "msg_1", "content": []}).to_string();
    for reply in [
        Reply::json(404, r#"{"error":{"message":"no such route"}}"#),
        Reply::json(200, something_else),
    ] {
        let upstream = Upstream::start(Script::always(reply)).await;
        let gateway = Gateway::start(&format!(
            "[providers.fake]\nkind = \"anthropic\"\nbase_url = \"{}\"\napi_keys = {:?}\n",
            upstream.origin(),
            keys(1)
        ))
        .await;
        let body = json!({"model": "fake/m1", "messages": [{"role": "user", "content": "hello"}]});
        let ask = Request::post("/v1/messages/count_tokens", body.to_string());
        let answer = gateway.send(&ask).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.json()["estimated"], true, "{}", answer.text());
        assert_eq!(upstream.requests().len(), 1);
    }
}

#[tokio::test]
async fn case_80_each_client_gets_the_model_list_in_its_shape() {
    let (_upstream, gateway) = pair(Script::new().models(["m1", "m2"]), 1, "").await;
    let anthropic = Request::get("/v1/models").header("anthropic-version", "2023-06-01");
    let list = gateway.send(&anthropic).await.json();
    assert_eq!(list["has_more"], false, "{list}");
    assert_eq!(
        (&list["first_id"], &list["last_id"]),
        (&json!("fake/m1"), &json!("fake/m2"))
    );
    assert_eq!(list["data"][0]["type"], "model");
    let plain = gateway.get("/v1/models").await.json();
    assert_eq!(
        (&plain["object"], plain.get("models")),
        (&json!("list"), None)
    );
    let codex = gateway.get("/v1/models?client_version=0.99.0").await.json();
    assert_eq!(codex["object"], "list");
    assert_eq!(codex["models"].as_array().map(Vec::len), Some(2), "{codex}");
    let gemini = gateway.get("/v1beta/models").await.json();
    assert_eq!(gemini["models"][0]["name"], "models/fake/m1", "{gemini}");
    let newer = Request::get("/v1/models").header("x-goog-api-key", "any");
    assert_eq!(gateway.send(&newer).await.json(), gemini);
}

/// Gemini's side of embeddings: each vector tells the number that its text is.
fn embedded(request: &Recorded) -> Reply {
    let body: Value = serde_json::from_slice(&request.body).expect("JSON");
    let vector = |one: &Value| {
        let text = one["content"]["parts"][0]["text"].as_str().expect("a text");
        json!({"values": [text.parse::<f32>().expect("a number"), 4.0]})
    };
    let answer = match body["requests"].as_array() {
        Some(all) => {
            assert!(all.len() <= 100, "{} at once", all.len());
            json!({"embeddings": all.iter().map(vector).collect::<Vec<_>>()})
        }
        None => json!({"embedding": vector(&body)}),
    };
    Reply::json(200, answer.to_string())
}

async fn embeddings(script: Script) -> (Upstream, Gateway) {
    let upstream = Upstream::start(script).await;
    let gateway = Gateway::start(&format!(
        "[providers.fake]\nkind = \"gemini\"\nbase_url = \"{}\"\napi_keys = {:?}\n",
        upstream.origin(),
        keys(1)
    ))
    .await;
    (upstream, gateway)
}

#[tokio::test]
async fn cases_98_99_100_embeddings_of_gemini_are_openais() {
    let (upstream, gateway) = embeddings(Script::new().answer(embedded)).await;
    let ask = |more: Value| {
        let mut body = json!({"model": "fake/gemini-embedding-001"});
        let members = body.as_object_mut().expect("an object");
        members.extend(more.as_object().cloned().expect("an object"));
        Request::post("/v1/embeddings", body.to_string())
    };
    let answer = gateway
        .send(&ask(json!({"input": "3", "encoding_format": "base64"})))
        .await;
    // 3.0 and 4.0 as little-endian floats.
    assert_eq!(
        answer.json()["data"][0]["embedding"],
        "AABAQAAAgEA=",
        "{}",
        answer.text()
    );

    let inputs: Vec<String> = (0..250).map(|number| number.to_string()).collect();
    let before = upstream.requests().len();
    let list = gateway.send(&ask(json!({"input": inputs}))).await.json();
    assert_eq!(upstream.requests().len() - before, 3);
    let rows = list["data"].as_array().expect("rows");
    assert_eq!(rows.len(), 250);
    for (at, row) in rows.iter().enumerate() {
        assert_eq!(row["index"], at);
        assert_eq!(row["embedding"][0].to_string(), format!("{at}.0"));
    }

    let short = gateway
        .send(&ask(json!({"input": "3", "dimensions": 768})))
        .await
        .json();
    assert_eq!(
        short["data"][0]["embedding"],
        json!([0.6, 0.8]),
        "of length 1: {short}"
    );
    let sent: Value =
        serde_json::from_slice(&upstream.requests().last().expect("asked").body).expect("JSON");
    assert!(
        sent.to_string().contains("\"outputDimensionality\":768"),
        "{sent}"
    );

    let before = upstream.requests().len();
    for input in [json!([1, 2, 3]), json!([[1], [2]]), json!(""), json!([])] {
        let answer = gateway.send(&ask(json!({"input": input}))).await;
        assert_eq!(answer.status, 400, "{}", answer.text());
        assert_eq!(answer.json()["error"]["param"], "input");
    }
    assert_eq!(upstream.requests().len(), before);
}

#[tokio::test]
async fn case_92_what_is_not_to_be_stored_is_not_gone_on_from() {
    let (_upstream, gateway) = pair(Script::always(openai::completion("hi")), 1, "").await;
    for (store, status) in [(true, 200), (false, 400)] {
        let first = json!({"model": "fake/m1", "input": "a", "store": store});
        let answer = gateway
            .send(&Request::post("/v1/responses", first.to_string()))
            .await;
        let id = answer.json()["id"].clone();
        let next = json!({"model": "fake/m1", "input": "b", "previous_response_id": id});
        let answer = gateway
            .send(&Request::post("/v1/responses", next.to_string()))
            .await;
        assert_eq!(answer.status, status, "{}", answer.text());
    }
}
