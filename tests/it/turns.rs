//! A conversation of many turns in which the model calls a tool each time, as each client dialect
//! writes it.

use serde_json::{Value, json};

use crate::client::Request;
use crate::fake::reply::Reply;
use crate::fake::upstream::Recorded;
use crate::harness::Gateway;

/// How often the tool is called.
pub(crate) const TURNS: usize = 10;

/// The client dialects.
pub(crate) const DIALECTS: [&str; 4] = ["openai", "responses", "anthropic", "gemini"];

/// What the model says when it has called the tool often enough.
const LAST_WORDS: &str = "that is all";

/// The vendor's side: another call until all results are there. Fails the test if a call has no
/// result.
pub(crate) fn answer(request: &Recorded) -> Reply {
    let body: Value = serde_json::from_slice(&request.body).expect("JSON");
    let messages = body["messages"].as_array().cloned().unwrap_or_default();
    let ids = |role: &str| {
        let all = messages.iter().filter(|one| one["role"] == role);
        all.flat_map(|one| match role {
            "tool" => vec![one["tool_call_id"].clone()],
            _ => one["tool_calls"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|call| call["id"].clone())
                .collect(),
        })
        .collect::<Vec<_>>()
    };
    assert_eq!(ids("assistant"), ids("tool"), "{body}");
    let turn = ids("tool").len();
    let message = if turn < TURNS {
        let arguments = json!({ "turn": turn }).to_string();
        json!({
            "role": "assistant", "content": null,
            "reasoning_content": format!("thought {turn}"),
            "tool_calls": [{
                "id": format!("call_{turn}"), "type": "function",
                "function": {"name": "look", "arguments": arguments},
            }],
        })
    } else {
        json!({"role": "assistant", "content": LAST_WORDS})
    };
    let usage = json!({"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7});
    // `stop` after calls is what these vendors say.
    let choice = json!({"index": 0, "message": message, "finish_reason": "stop"});
    let answer = json!({
        "id": "c", "object": "chat.completion", "created": 1, "model": body["model"],
        "choices": [choice], "usage": usage,
    });
    Reply::json(200, answer.to_string())
}

/// Holds the whole conversation as a client of this dialect.
pub(crate) async fn converse(gateway: &Gateway, dialect: &str, model: &str) {
    let mut calls: Vec<Value> = Vec::new();
    for turn in 0..=TURNS {
        let answer = gateway.send(&request(dialect, model, &calls)).await;
        assert_eq!(answer.status, 200, "{dialect} {turn}: {}", answer.text());
        let answer = answer.json();
        let call = call_in(dialect, &answer);
        if turn == TURNS {
            assert!(call.is_none(), "{dialect}: {answer}");
            assert!(
                answer.to_string().contains(LAST_WORDS),
                "{dialect}: {answer}"
            );
            return;
        }
        calls.push(call.unwrap_or_else(|| panic!("{dialect} {turn}: no call in {answer}")));
    }
}

/// The next request, with all calls so far and their results.
fn request(dialect: &str, model: &str, calls: &[Value]) -> Request {
    let schema = json!({"type": "object", "properties": {"turn": {"type": "integer"}}});
    let mut turns = Vec::new();
    match dialect {
        "openai" => {
            turns.push(json!({"role": "user", "content": "go"}));
            for call in calls {
                turns.push(json!({"role": "assistant", "content": null, "tool_calls": [call]}));
                turns.push(json!({"role": "tool", "tool_call_id": call["id"], "content": "seen"}));
            }
            let tool =
                json!({"type": "function", "function": {"name": "look", "parameters": schema}});
            let body = json!({"model": model, "messages": turns, "tools": [tool]});
            Request::chat(&body.to_string())
        }
        "responses" => {
            turns.push(json!({"role": "user", "content": "go"}));
            for call in calls {
                turns.push(call.clone());
                turns.push(json!({
                    "type": "function_call_output", "call_id": call["call_id"], "output": "seen",
                }));
            }
            let tool = json!({"type": "function", "name": "look", "parameters": schema});
            let body = json!({"model": model, "input": turns, "tools": [tool]});
            Request::post("/v1/responses", body.to_string())
        }
        "anthropic" => {
            turns.push(json!({"role": "user", "content": "go"}));
            for call in calls {
                turns.push(json!({"role": "assistant", "content": [call]}));
                let result =
                    json!({"type": "tool_result", "tool_use_id": call["id"], "content": "seen"});
                turns.push(json!({"role": "user", "content": [result]}));
            }
            let tool = json!({"name": "look", "input_schema": schema});
            let body =
                json!({"model": model, "max_tokens": 99, "messages": turns, "tools": [tool]});
            Request::post("/v1/messages", body.to_string())
        }
        _ => {
            turns.push(json!({"role": "user", "parts": [{"text": "go"}]}));
            for call in calls {
                turns.push(json!({"role": "model", "parts": [{"functionCall": call}]}));
                let mut response = json!({"name": "look", "response": {"result": "seen"}});
                if let Some(id) = call.get("id") {
                    response["id"] = id.clone();
                }
                turns.push(json!({"role": "user", "parts": [{"functionResponse": response}]}));
            }
            let tool = json!({"functionDeclarations": [{"name": "look", "parameters": schema}]});
            let body = json!({"contents": turns, "tools": [tool]});
            Request::post(
                &format!("/v1beta/models/{model}:generateContent"),
                body.to_string(),
            )
        }
    }
}

/// The call that an answer holds, as the dialect wants it back.
fn call_in(dialect: &str, answer: &Value) -> Option<Value> {
    let find = |list: &Value, kind: &str| {
        let mut items = list.as_array()?.iter();
        items.find(|item| item["type"] == kind).cloned()
    };
    match dialect {
        "openai" => {
            let choice = &answer["choices"][0];
            let call = choice["message"]["tool_calls"].get(0)?.clone();
            assert_eq!(choice["finish_reason"], "tool_calls", "{answer}");
            Some(call)
        }
        "responses" => find(&answer["output"], "function_call"),
        "anthropic" => find(&answer["content"], "tool_use"),
        _ => {
            let mut parts = answer["candidates"][0]["content"]["parts"]
                .as_array()?
                .iter();
            parts.find_map(|part| part.get("functionCall").cloned())
        }
    }
}
