//! What the numbered cases leave open: signatures, tool loops, legacy forms, counts, legality.

use proptest::prelude::*;

use super::*;

#[test]
fn signed_thinking_goes_home_and_any_other_stays_out() {
    let history = |format: &str| {
        with(
            &json!([
                {"role": "user", "content": "q"},
                {"role": "assistant", "content": "a", "reasoning_content": "t", "reasoning_details": [
                    {"type": "reasoning.text", "text": "t", "signature": "S", "format": format},
                    {"type": "reasoning.encrypted", "data": "D", "format": format},
                ]},
                {"role": "user", "content": "go"},
            ]),
            &json!({}),
        )
    };
    assert_eq!(
        send(&history("anthropic-claude-v1"), SONNET)["messages"][1]["content"],
        json!([
            {"type": "thinking", "thinking": "t", "signature": "S"},
            {"type": "redacted_thinking", "data": "D"},
            text("a"),
        ])
    );
    assert_eq!(
        send(&history("google-gemini-v1"), SONNET)["messages"][1]["content"],
        json!([text("a")])
    );
}

#[test]
fn a_tool_loop_begun_without_thinking_goes_on_without() {
    let messages = json!([
        {"role": "user", "content": "q"},
        {"role": "assistant", "tool_calls": [call("c1", "{}")]},
        {"role": "tool", "tool_call_id": "c1", "content": "ok"},
    ]);
    let body = with(
        &messages,
        &json!({"tools": tool(), "reasoning_effort": "high"}),
    );
    let (sent, losses) = try_send(&body, SONNET).expect("a body");
    assert_eq!(sent.get("thinking"), None);
    assert_eq!(losses.paths(), ["reasoning"]);
}

#[test]
fn legacy_functions_are_tools_here() {
    let messages = json!([
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": null, "function_call": {"name": "f", "arguments": "{}"}},
        {"role": "function", "name": "f", "content": "ok"},
    ]);
    let body = with(
        &messages,
        &json!({"functions": [{"name": "f"}], "function_call": "auto"}),
    );
    let sent = send(&body, HAIKU);
    assert_eq!(sent["tools"][0]["name"], "f");
    let id = &sent["messages"][1]["content"][0]["id"];
    assert_eq!(&sent["messages"][2]["content"][0]["tool_use_id"], id);
}

#[test]
fn web_search_options_become_the_search_tool_and_a_user_id_its_place() {
    let sent = send(
        &hi(
            &json!({"web_search_options": {"search_context_size": "low"}, "user": "ann@example.com"}),
        ),
        HAIKU,
    );
    assert_eq!(
        sent["tools"],
        json!([{"type": "web_search_20250305", "name": "web_search", "max_uses": 1}])
    );
    let user = sent["metadata"]["user_id"].as_str().expect("an id");
    assert!(user.starts_with("user_") && !user.contains('@'), "{user}");
}

#[test]
fn a_count_is_asked_without_limits() {
    let request = OpenAiChat
        .read_request(
            hi(&json!({"max_tokens": 5, "stream": true}))
                .to_string()
                .as_bytes(),
            RequestHint::default(),
        )
        .expect("a request");
    let target = Target::new("anthropic", HAIKU);
    let sent = write_count_tokens(&request, &target, &mut Losses::default()).expect("a body");
    assert_eq!(
        serde_json::from_slice::<Value>(&sent).expect("JSON"),
        json!({"model": HAIKU, "messages": [{"role": "user", "content": [text("hi")]}]})
    );
}

#[test]
fn an_anthropic_request_that_must_be_rewritten_stays_the_same() {
    let body = json!({
        "model": "claude-opus-5",
        "max_tokens": 100,
        "system": [{"type": "text", "text": "S", "cache_control": {"type": "ephemeral"}}],
        "messages": [
            {"role": "user", "content": [text("q")]},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "t", "signature": "S"},
                {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": 1}},
                {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {}},
            ]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "toolu_1", "content": "r", "is_error": true},
                text("go"),
            ]},
        ],
        "tools": [
            {"name": "f", "input_schema": {"type": "object"}, "defer_loading": true},
            {"type": "web_search_20250305", "name": "web_search"},
        ],
        "tool_choice": {"type": "auto"},
        "thinking": {"type": "adaptive", "display": "summarized"},
        "output_config": {"effort": "high"},
        "metadata": {"user_id": "u"},
        "context_management": {"edits": []},
        "stream": true,
    });
    let request = Anthropic
        .read_request(body.to_string().as_bytes(), RequestHint::default())
        .expect("a request");
    let mut losses = Losses::default();
    let target = Target::new("anthropic", "claude-opus-5");
    let sent = Anthropic
        .write_request(&request, &target, &mut losses)
        .expect("a body");
    assert_eq!(serde_json::from_slice::<Value>(&sent).expect("JSON"), body);
    assert!(losses.is_empty(), "{losses}");
}

proptest! {
    /// Whatever the history, Anthropic's own rules hold: roles alternate from a user's on, no empty
    /// text, each call answered first thing in the next message.
    #[test]
    fn every_history_comes_out_legal(steps in prop::collection::vec((0..6_u8, 0..3_u8), 0..20)) {
        let messages: Vec<Value> = steps.iter().map(|(kind, id)| match kind {
            0 => json!({"role": "assistant", "content": "a", "tool_calls": [call(&format!("c.{id}"), "")]}),
            1 => json!({"role": "tool", "tool_call_id": format!("c.{id}"), "content": "r"}),
            2 => json!({"role": "assistant", "content": " "}),
            3 => json!({"role": "system", "content": "s"}),
            4 => json!({"role": "user", "content": ""}),
            _ => json!({"role": "user", "content": "u"}),
        }).collect();
        for model in [HAIKU, "claude-opus-5"] {
            let sent = send(&with(&json!(messages), &json!({"tools": tool()})), model);
            let messages = sent["messages"].as_array().expect("messages");
            prop_assert_eq!(&messages[0]["role"], "user");
            for (at, message) in messages.iter().enumerate() {
                let content = message["content"].as_array().expect("blocks");
                prop_assert!(!content.is_empty());
                for block in content {
                    prop_assert!(block["type"] != "text" || !block["text"].as_str().unwrap_or("").trim().is_empty());
                }
                let calls: Vec<&Value> = content.iter().filter(|block| block["type"] == "tool_use").map(|block| &block["id"]).collect();
                if let Some(next) = messages.get(at + 1) {
                    prop_assert_ne!(&message["role"], &next["role"]);
                    let next = next["content"].as_array().expect("blocks");
                    let answered: Vec<&Value> = next.iter().take(calls.len()).map(|block| &block["tool_use_id"]).collect();
                    prop_assert_eq!(calls, answered);
                } else {
                    prop_assert!(calls.is_empty());
                }
            }
        }
    }
}
