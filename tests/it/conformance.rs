//! `test-keys --deep`: the matrix of what each model really does.

use serde_json::{Value, json};

use crate::fake::reply::Reply;
use crate::fake::script::Script;
use crate::fake::upstream::{Recorded, Upstream};
use crate::fake::{key, openai};
use crate::harness::{Home, keys, provider};

fn message(message: &Value) -> Reply {
    let body = json!({
        "id": "c", "object": "chat.completion", "created": 1, "model": "m1",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
    });
    Reply::json(200, body.to_string())
}

/// A model that can do everything; `blind-…` sees no pictures.
fn able(request: &Recorded) -> Reply {
    let body: Value = serde_json::from_slice(&request.body).expect("JSON");
    let messages = body["messages"].as_array().cloned().unwrap_or_default();
    let say = |text: &str| message(&json!({"role": "assistant", "content": text}));
    if body["stream"] == true {
        return openai::stream(&["po", "ng"]);
    }
    if messages.iter().any(|message| message["role"] == "tool") {
        let echoed = &messages[1];
        assert_eq!(echoed["reasoning_content"], "Where is Paris?", "{body}");
        assert_eq!(messages[2]["tool_call_id"], "call-1");
        return say("A coat.");
    }
    if body["tools"].is_array() {
        return message(&json!({
            "role": "assistant", "content": null, "reasoning_content": "Where is Paris?",
            "tool_calls": [{"id": "call-1", "type": "function",
                "function": {"name": "get_weather", "arguments": "{\"city\":\"Paris\"}"}}],
        }));
    }
    if body["response_format"].is_object() {
        return say(r#"{"city":"Paris","country":"France"}"#);
    }
    let blind = body["model"] == "blind-1";
    match &messages[0]["content"] {
        Value::Array(_) if blind => openai::error(
            400,
            "invalid_request_error",
            "no_images",
            "images are not supported",
        ),
        Value::Array(_) => say("red"),
        _ => say("pong"),
    }
}

#[tokio::test]
async fn the_matrix_shows_what_each_model_does() {
    let script = Script::new()
        .models(["able-1", "blind-1", "text-embedding-3"])
        .answer(able);
    let upstream = Upstream::start(script).await;
    let home = Home::with_config(&provider("fake", &upstream, &keys(1)));
    let command = [
        "test-keys",
        "--deep",
        "--model",
        "*-1",
        "--model",
        "off-list",
        "--json",
    ];
    let finished = home.run_beside(&command, "").await;
    assert_eq!(finished.code, 0, "{finished:?}");
    let reports: Value = serde_json::from_str(&finished.stdout).expect("JSON");
    let models = reports[0]["deep"].as_array().expect("a matrix").clone();
    let names: Vec<_> = models
        .iter()
        .map(|row| row["model"].as_str().unwrap_or(""))
        .collect();
    assert_eq!(names, ["able-1", "blind-1", "off-list"]);
    for check in [
        "chat",
        "stream",
        "tools",
        "image",
        "json_schema",
        "thinking",
    ] {
        assert_eq!(models[0][check]["result"], "ok", "{check}: {}", models[0]);
        assert!(models[0][check]["latency_ms"].is_u64());
    }
    assert_eq!(models[1]["image"]["result"], "failed");
    assert_eq!(models[1]["image"]["detail"], "images are not supported");
    // Seven requests a model, and no more.
    assert_eq!(upstream.requests().len(), 21);
    assert!(models[0]["tokens"].as_u64() > Some(50), "{}", models[0]);
    assert_eq!(models[0]["cost_usd"], Value::Null);
}

#[tokio::test]
async fn the_table_names_credentials_models_and_what_is_lacking() {
    let script = Script::new()
        .models(["text-embedding-3", "m1", "m2"])
        .once(&key("1"), (0..6).map(|_| openai::completion("pong")))
        .once(
            &key("2"),
            [openai::rate_limited().header("retry-after", "9999")],
        );
    let upstream = Upstream::start(script).await;
    let home = Home::with_config(&provider("fake", &upstream, &keys(2)));
    let command = ["test-keys", "--deep", "--concurrency", "1"];
    let finished = home.run_beside(&command, "").await;
    // The stream is answered with a whole completion, which is translated: that is fine.
    assert_eq!(finished.code, 0, "{finished:?}");
    let row = |id: &str| {
        let matrix = finished.stdout.split("\n\n").nth(1).expect("two tables");
        let line = matrix.lines().find(|line| line.starts_with(id));
        line.unwrap_or_else(|| panic!("no {id} in {matrix}"))
            .to_owned()
    };
    let first = row("fake/1");
    let cells: Vec<_> = first.split_whitespace().take(8).collect();
    assert_eq!(
        cells,
        ["fake/1", "m1", "ok", "ok", "no", "no", "no", "no"],
        "{first}"
    );
    assert!(first.contains("tools: it called no tool"), "{first}");
    let second = row("fake/2");
    assert!(second.matches("limited").count() >= 6, "{second}");
}

#[tokio::test]
async fn a_model_that_does_not_answer_is_exit_1() {
    let script = Script::always(openai::error(
        404,
        "invalid_request_error",
        "model_not_found",
        "no such model",
    ));
    let upstream = Upstream::start(script).await;
    let home = Home::with_config(&provider("fake", &upstream, &keys(1)));
    let finished = home.run_beside(&["test-keys", "--deep"], "").await;
    assert_eq!(finished.code, 1, "{finished:?}");
    assert!(finished.stdout.contains("no such model"), "{finished:?}");
    let bad = home.run_beside(&["test-keys", "--model", "x"], "").await;
    assert_eq!(bad.code, 2, "{bad:?}");
}
