//! Anthropic requests as vendors of OpenAI's dialect get them: the numbered cases of the
//! wire-format notes, and what every vendor of the dialect is spared.

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::dialects::anthropic::Anthropic;
use crate::dialects::chat::ChatRequest;
use crate::dialects::ids::{NameRule, tool_name};
use crate::dialects::loss::Losses;
use crate::dialects::openai_chat::OpenAiChat;
use crate::dialects::{Codec, RequestHint, Target};

fn read_anthropic(body: &Value) -> ChatRequest {
    Anthropic
        .read_request(body.to_string().as_bytes(), RequestHint::default())
        .expect("a request")
}

fn write(request: &ChatRequest, provider: &str, model: &str) -> (Value, Losses) {
    let mut losses = Losses::default();
    let sent = OpenAiChat
        .write_request(request, &Target::new(provider, model), &mut losses)
        .expect("a body");
    (serde_json::from_slice(&sent).expect("JSON"), losses)
}

/// The body a vendor gets for an Anthropic body with these messages and members.
fn send_to(provider: &str, model: &str, messages: &Value, members: &Value) -> (Value, Losses) {
    let mut body = json!({"model": "m", "max_tokens": 100, "messages": messages});
    for (name, value) in members.as_object().expect("an object") {
        body[name] = value.clone();
    }
    write(&read_anthropic(&body), provider, model)
}

fn hi(members: &Value) -> Value {
    let messages = json!([{"role": "user", "content": "hi"}]);
    send_to("custom", "some-model", &messages, members).0
}

fn text(text: &str) -> Value {
    json!({"type": "text", "text": text})
}

fn tool_use(id: &str) -> Value {
    json!({"type": "tool_use", "id": id, "name": "f", "input": {"a": 1}})
}

#[test]
fn case_61_system_blocks_are_joined_and_the_attribution_goes() {
    let sent = hi(&json!({"system": [
        text("x-anthropic-billing-header: cc_version=2; cch=1"),
        text("A"),
        text("B"),
    ]}));
    assert_eq!(
        sent["messages"][0],
        json!({"role": "system", "content": "A\n\nB"})
    );
}

#[test]
fn case_62_63_results_are_tool_messages_and_their_pictures_move_on() {
    let image = json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}});
    let messages = json!([
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": [tool_use("t1"), tool_use("t2"), tool_use("t3")]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "t1", "content": [text("seen"), image]},
            {"type": "tool_result", "tool_use_id": "t2", "content": "boom", "is_error": true},
            {"type": "tool_result", "tool_use_id": "t3"},
            text("next"),
        ]},
    ]);
    let (sent, _) = send_to("custom", "some-model", &messages, &json!({}));
    assert_eq!(
        sent["messages"].as_array().expect("messages")[2..],
        json!([
            {"role": "tool", "tool_call_id": "t1", "content": "seen\n(image attached below)"},
            {"role": "tool", "tool_call_id": "t2", "content": "Error: boom"},
            {"role": "tool", "tool_call_id": "t3", "content": ""},
            {"role": "user", "content": [
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}},
                text("next"),
            ]},
        ])
        .as_array()
        .expect("messages")[..]
    );
}

#[test]
fn case_64_65_reasoning_goes_only_to_vendors_that_want_it() {
    let messages = json!([
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": [
            {"type": "thinking", "thinking": "t", "signature": "S"},
            text("a"),
            tool_use("t1"),
        ]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "r"}]},
        {"role": "assistant", "content": "b"},
        {"role": "user", "content": "go"},
    ]);
    let said = |provider: &str| {
        let (sent, _) = send_to(provider, "some-model", &messages, &json!({}));
        (sent["messages"][1].clone(), sent["messages"][3].clone())
    };
    let (first, second) = said("custom");
    assert_eq!(
        first,
        json!({"role": "assistant", "content": "a", "tool_calls": [
            {"id": "t1", "type": "function", "function": {"name": "f", "arguments": "{\"a\":1}"}},
        ]})
    );
    assert_eq!(second, json!({"role": "assistant", "content": "b"}));
    let (first, second) = said("deepseek");
    assert_eq!(first["reasoning_content"], "t");
    assert_eq!(second, json!({"role": "assistant", "content": "b"}));
    let (first, _) = said("openrouter");
    assert_eq!(
        first["reasoning_details"],
        json!([{"type": "reasoning.text", "text": "t", "signature": "S", "format": "anthropic-claude-v1", "index": 0}])
    );
}

#[test]
fn case_66_long_tool_names_get_an_alias() {
    let long = "mcp__".repeat(18);
    let sent = hi(&json!({
        "tools": [{"name": long, "input_schema": {"type": "object"}}],
        "tool_choice": {"type": "tool", "name": long},
    }));
    let alias = tool_name(&long, NameRule::OpenAi);
    assert_eq!(alias.len(), 64);
    assert_eq!(sent["tools"][0]["function"]["name"], *alias);
    assert_eq!(sent["tool_choice"]["function"]["name"], *alias);
}

#[test]
fn case_67_thinking_is_asked_in_the_models_own_words() {
    let effort = |model: &str, members: Value| {
        let messages = json!([{"role": "user", "content": "hi"}]);
        let (sent, _) = send_to("openai", model, &messages, &members);
        sent.get("reasoning_effort").cloned()
    };
    let adaptive = json!({"thinking": {"type": "adaptive"}});
    let budget = json!({"thinking": {"type": "enabled", "budget_tokens": 10_000}});
    assert_eq!(effort("gpt-5.1", adaptive.clone()), Some(json!("medium")));
    assert_eq!(effort("gpt-5.1", budget.clone()), Some(json!("high")));
    assert_eq!(
        effort("gpt-5.1", json!({"thinking": {"type": "disabled"}})),
        Some(json!("none"))
    );
    assert_eq!(effort("gpt-4.1", budget), None);
    let word = json!({"thinking": {"type": "adaptive"}, "output_config": {"effort": "max"}});
    assert_eq!(effort("gpt-5", word), Some(json!("high")));
}

#[test]
fn case_67_vendors_with_switches_of_their_own_are_told_whatever_the_model() {
    let messages = json!([{"role": "user", "content": "hi"}]);
    let budget = json!({"thinking": {"type": "enabled", "budget_tokens": 2048}});
    for (provider, expected) in [
        ("openrouter", json!({"reasoning": {"max_tokens": 2048}})),
        ("zai", json!({"reasoning_effort": "medium"})),
        (
            "dashscope",
            json!({"reasoning_effort": "medium", "thinking_budget": 2048}),
        ),
    ] {
        let (sent, _) = send_to(provider, "some-model", &messages, &budget);
        for (name, value) in expected.as_object().expect("an object") {
            assert_eq!(&sent[name], value, "{provider}");
        }
    }
}

#[test]
fn case_68_69_choice_and_hosted_tools() {
    let function = json!({"name": "f", "input_schema": {"type": "object"}});
    let search = json!({"type": "web_search_20250305", "name": "web_search"});
    let choice = json!({"type": "any", "disable_parallel_tool_use": true});
    let sent = hi(&json!({"tools": [function, search], "tool_choice": choice}));
    assert_eq!(sent["tool_choice"], "required");
    assert_eq!(sent["parallel_tool_calls"], false);
    assert_eq!(sent["tools"].as_array().expect("tools").len(), 1);
    let sent = hi(&json!({"tools": [search], "tool_choice": {"type": "auto"}}));
    assert_eq!((sent.get("tools"), sent.get("tool_choice")), (None, None));
}

#[test]
fn limits_stops_and_user_are_fitted_and_usage_is_always_asked_for() {
    let messages = json!([{"role": "user", "content": "hi"}]);
    let members = json!({
        "max_tokens": 999_999,
        "stop_sequences": ["1", "2", "3", "4", "5"],
        "top_k": 5,
        "temperature": 0.3,
        "metadata": {"user_id": "u".repeat(80)},
        "stream": true,
        "context_management": {},
    });
    let (sent, losses) = send_to("openai", "gpt-4o", &messages, &members);
    assert_eq!(sent["max_tokens"], 16_384);
    assert_eq!(sent["stop"], json!(["1", "2", "3", "4"]));
    assert_eq!(sent["user"].as_str().map(str::len), Some(13));
    assert_eq!(sent["stream_options"], json!({"include_usage": true}));
    assert_eq!(losses.paths(), ["top_k", "stop[4..]", "context_management"]);
    let (sent, losses) = send_to("openai", "gpt-5", &messages, &members);
    assert_eq!(sent["max_completion_tokens"], 128_000);
    assert_eq!(sent.get("temperature"), None);
    assert!(losses.paths().contains(&"temperature".to_owned()));
    let (sent, _) = send_to("custom", "some-model", &messages, &members);
    assert_eq!(sent["top_k"], 5);
}

#[test]
fn an_output_schema_is_a_response_format() {
    let sent = hi(
        &json!({"output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}}}),
    );
    assert_eq!(
        sent["response_format"],
        json!({"type": "json_schema", "json_schema": {"name": "output", "schema": {"type": "object"}, "strict": true}})
    );
}

#[test]
fn unknown_members_cross_to_lenient_vendors_and_are_named_for_strict_ones() {
    let messages = json!([{"role": "user", "content": "hi"}]);
    let body = r#"{"model":"m","messages":[{"role":"user","content":"hi"}],"shiny":{"a":[1e400]}}"#;
    let request = Anthropic
        .read_request(body.as_bytes(), RequestHint::default())
        .expect("a request");
    let target = Target::new("custom", "some-model");
    let sent = OpenAiChat
        .write_request(&request, &target, &mut Losses::default())
        .expect("a body");
    assert!(
        String::from_utf8(sent)
            .expect("UTF-8")
            .contains(r#""shiny":{"a":[1e400]}"#)
    );
    let members = json!({"shiny": {"a": 1}});
    let (sent, losses) = send_to("groq", "some-model", &messages, &members);
    assert_eq!(sent.get("shiny"), None);
    assert_eq!(losses.paths(), ["shiny"]);
}

#[test]
fn mistral_gets_its_prefill() {
    let messages = json!([
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": [tool_use("toolu_0123456789")]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_0123456789", "content": "r"}]},
        {"role": "assistant", "content": "So"},
    ]);
    let (sent, _) = send_to("mistral", "mistral-large", &messages, &json!({}));
    assert_eq!(sent["messages"][3]["prefix"], true);
}

#[test]
fn a_wrong_type_names_the_member_at_fault() {
    for (body, expected) in [
        (r#"{"messages":[]}"#, "`model`: is missing"),
        (r#"{"model":"m"}"#, "`messages`: is missing"),
        (
            r#"{"model":"m","messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:x"}}]}]}"#,
            "`messages[0].content[0].image_url`: not a valid base64 data URL",
        ),
    ] {
        let error = OpenAiChat
            .read_request(body.as_bytes(), RequestHint::default())
            .expect_err(body);
        assert_eq!(error.to_string(), expected);
    }
}

#[test]
fn what_openai_clients_write_in_many_ways_is_read_as_one() {
    let read = |members: Value| {
        let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "x"}]});
        for (name, value) in members.as_object().expect("an object") {
            body[name] = value.clone();
        }
        OpenAiChat
            .read_request(body.to_string().as_bytes(), RequestHint::default())
            .expect("a request")
    };
    assert_eq!(read(json!({"max_tokens": 5.0})).max_tokens, Some(5));
    assert_eq!(
        read(json!({"max_tokens": 5, "max_completion_tokens": 7})).max_tokens,
        Some(7)
    );
    assert_eq!(read(json!({"stop": "x"})).stop, ["x"]);
    assert_eq!(read(json!({"stop": null})).stop, [""; 0]);
    assert_eq!(
        read(json!({"reasoning": {"max_tokens": 9}}))
            .reasoning
            .budget,
        Some(9)
    );
    assert_eq!(
        read(json!({"thinking": {"type": "enabled", "budget_tokens": 9}}))
            .reasoning
            .budget,
        Some(9)
    );
}

/// A JSON text for a message, from simple choices.
fn any_message() -> impl Strategy<Value = Value> {
    prop_oneof![
        "[a-z ]{0,8}".prop_map(|text| json!({"role": "user", "content": text})),
        ("[a-z]{1,6}", "[a-z]{1,6}").prop_map(|(a, b)| json!({
            "role": "user", "name": a,
            "content": [{"type": "text", "text": b, "cache_control": {"type": "ephemeral"}}, {"type": "text", "text": a}],
        })),
        ("[a-z]{0,6}", "[a-z]{1,6}").prop_map(|(text, thought)| json!({
            "role": "assistant", "content": text, "reasoning_content": thought,
            "reasoning_details": [{"type": "reasoning.text", "text": thought, "signature": "S", "format": "anthropic-claude-v1", "index": 0}],
        })),
        "[a-z]{1,6}".prop_map(|text| json!({"role": "system", "content": text})),
        "[a-z]{1,6}".prop_map(|name| json!({
            "role": "assistant", "content": null,
            "tool_calls": [{"id": name, "type": "function", "function": {"name": name, "arguments": "{\"a\":1}"}, "spark": 1}],
        })),
        "[a-z]{1,6}".prop_map(|text| json!({"role": "tool", "tool_call_id": "c", "content": text})),
    ]
}

proptest! {
    /// Reading what was written gives what was read: nothing is lost on the way through.
    #[test]
    fn read_write_read_is_read(
        messages in prop::collection::vec(any_message(), 1..8),
        unknown in "[a-z]{3,9}_x",
        effort in prop::sample::select(vec!["low", "medium", "high"]),
    ) {
        let body = json!({
            "model": "m", "messages": messages, "temperature": 0.5, "stop": ["a"], "max_tokens": 9,
            "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}, "strict": true}}],
            "tool_choice": "auto", "reasoning_effort": effort, "seed": 7, "user": "u", unknown.clone(): [1, null],
        });
        let read = |bytes: &[u8]| OpenAiChat.read_request(bytes, RequestHint::default()).expect("a request");
        let target = Target::new("custom", "m");
        let write = |request: &ChatRequest| {
            OpenAiChat.write_request(request, &target, &mut Losses::default()).expect("a body")
        };
        let first = read(body.to_string().as_bytes());
        // Arranging results may move them, once: so the first writing is the fixed point's start.
        let once = read(&write(&first));
        let twice = read(&write(&once));
        prop_assert_eq!(format!("{once:?}"), format!("{twice:?}"));
        let survived = once.extra.get(&unknown).map(|raw| raw.get().to_owned());
        prop_assert_eq!(survived.as_deref(), Some("[1,null]"));
        prop_assert_eq!(once.reasoning, first.reasoning);
    }
}
