//! OpenAI requests as Anthropic gets them: the numbered cases of the wire-format notes.

mod beyond;

use serde_json::{Value, json};

use crate::dialects::anthropic::{Anthropic, write_count_tokens};
use crate::dialects::error::ErrorReply;
use crate::dialects::loss::Losses;
use crate::dialects::openai_chat::OpenAiChat;
use crate::dialects::{Codec, RequestHint, Target, media};

/// The body sent to Anthropic for an OpenAI body, and what was lost.
fn try_send(body: &Value, model: &str) -> Result<(Value, Losses), ErrorReply> {
    let request = OpenAiChat
        .read_request(body.to_string().as_bytes(), RequestHint::default())
        .expect("a request");
    let mut losses = Losses::default();
    let target = Target::new("anthropic", model);
    let sent = Anthropic.write_request(&request, &target, &mut losses)?;
    Ok((serde_json::from_slice(&sent).expect("JSON"), losses))
}

fn send(body: &Value, model: &str) -> Value {
    try_send(body, model).expect("a body").0
}

/// A body with these messages and members.
fn with(messages: &Value, members: &Value) -> Value {
    let mut body = json!({"model": "m", "messages": messages});
    for (name, value) in members.as_object().expect("an object") {
        body[name] = value.clone();
    }
    body
}

fn hi(members: &Value) -> Value {
    with(&json!([{"role": "user", "content": "hi"}]), members)
}

fn call(id: &str, arguments: &str) -> Value {
    json!({"id": id, "type": "function", "function": {"name": "f", "arguments": arguments}})
}

fn tool() -> Value {
    json!([{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}])
}

fn text(text: &str) -> Value {
    json!({"type": "text", "text": text})
}

const HAIKU: &str = "claude-haiku-4-5";
const SONNET: &str = "claude-sonnet-4-5";

#[test]
fn case_1_system_goes_to_the_top_and_the_limit_has_a_default() {
    let body = with(
        &json!([{"role": "system", "content": "S"}, {"role": "user", "content": "hi"}]),
        &json!({"stream": true}),
    );
    assert_eq!(
        send(&body, SONNET),
        json!({
            "model": SONNET,
            "system": [text("S")],
            "messages": [{"role": "user", "content": [text("hi")]}],
            "max_tokens": 64_000,
            "stream": true,
        })
    );
    assert_eq!(
        send(&hi(&json!({})), "claude-3-haiku-20240307")["max_tokens"],
        4096
    );
    assert_eq!(send(&hi(&json!({})), "unheard-of")["max_tokens"], 8192);
    assert_eq!(
        send(&hi(&json!({"max_tokens": 999_999})), SONNET)["max_tokens"],
        64_000
    );
}

#[test]
fn case_2_leading_system_and_developer_messages_keep_their_order() {
    let messages = json!([
        {"role": "system", "content": "A"},
        {"role": "developer", "content": "B"},
        {"role": "user", "content": "x"},
    ]);
    assert_eq!(
        send(&with(&messages, &json!({})), HAIKU)["system"],
        json!([text("A"), text("B")])
    );
}

#[test]
fn case_3_a_late_system_message_becomes_a_note_where_it_stands() {
    let messages = json!([
        {"role": "user", "content": "x"},
        {"role": "system", "content": "late"},
        {"role": "user", "content": "y"},
    ]);
    let sent = send(&with(&messages, &json!({})), HAIKU);
    assert_eq!(sent.get("system"), None);
    assert_eq!(
        sent["messages"],
        json!([{"role": "user", "content": [
            text("x"),
            text("<system-reminder>\nlate\n</system-reminder>"),
            text("y"),
        ]}])
    );
}

#[test]
fn case_4_a_late_system_message_stays_where_the_model_knows_the_role() {
    let messages = json!([
        {"role": "user", "content": "x"},
        {"role": "system", "content": "late"},
        {"role": "assistant", "content": "a"},
        {"role": "user", "content": "y"},
    ]);
    let sent = send(&with(&messages, &json!({})), "claude-opus-5");
    let roles: Vec<&str> = sent["messages"]
        .as_array()
        .expect("messages")
        .iter()
        .filter_map(|message| message["role"].as_str())
        .collect();
    assert_eq!(roles, ["user", "system", "assistant", "user"]);
}

#[test]
fn case_5_system_alone_still_gets_a_user_message() {
    let sent = send(
        &with(&json!([{"role": "system", "content": "only"}]), &json!({})),
        HAIKU,
    );
    assert_eq!(sent["system"], json!([text("only")]));
    assert_eq!(
        sent["messages"],
        json!([{"role": "user", "content": [text(".")]}])
    );
}

#[test]
fn case_6_neighbours_of_one_role_are_one_message() {
    let messages = json!([{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]);
    assert_eq!(
        send(&with(&messages, &json!({})), HAIKU)["messages"],
        json!([{"role": "user", "content": [text("a"), text("b")]}])
    );
}

#[test]
fn case_7_no_empty_text_is_ever_sent() {
    let messages = json!([
        {"role": "user", "content": ""},
        {"role": "assistant", "content": "  "},
        {"role": "user", "content": [{"type": "text", "text": "\n"}]},
    ]);
    assert_eq!(
        send(&with(&messages, &json!({})), HAIKU)["messages"],
        json!([{"role": "user", "content": [text(".")]}])
    );
}

#[test]
fn case_8_9_results_come_first_in_the_order_of_their_calls() {
    let messages = json!([
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": null, "tool_calls": [call("c1", "{}"), call("c2", "{}")]},
        {"role": "user", "content": "wait"},
        {"role": "tool", "tool_call_id": "c2", "content": "2"},
        {"role": "tool", "tool_call_id": "c1", "content": ""},
        {"role": "user", "content": "go"},
    ]);
    let sent = send(&with(&messages, &json!({"tools": tool()})), HAIKU);
    assert_eq!(
        sent["messages"][1]["content"],
        json!([
            {"type": "tool_use", "id": "c1", "name": "f", "input": {}},
            {"type": "tool_use", "id": "c2", "name": "f", "input": {}},
        ])
    );
    assert_eq!(
        sent["messages"][2]["content"],
        json!([
            {"type": "tool_result", "tool_use_id": "c1"},
            {"type": "tool_result", "tool_use_id": "c2", "content": "2"},
            text("wait"),
            text("go"),
        ])
    );
}

#[test]
fn case_10_11_missing_results_are_made_up_and_orphans_become_text() {
    let messages = json!([
        {"role": "tool", "tool_call_id": "ghost", "content": "boo"},
        {"role": "assistant", "tool_calls": [call("c1", "{}")]},
        {"role": "user", "content": "go"},
    ]);
    let sent = send(&with(&messages, &json!({"tools": tool()})), HAIKU);
    assert_eq!(
        sent["messages"][0]["content"],
        json!([text("Tool result (ghost): boo")])
    );
    let last = &sent["messages"][2]["content"];
    assert_eq!(last[0]["type"], "tool_result");
    assert_eq!(last[0]["is_error"], true);
    assert_eq!(last[1], text("go"));
}

#[test]
fn case_12_ids_are_cleaned_on_both_sides() {
    let messages = json!([
        {"role": "user", "content": "q"},
        {"role": "assistant", "tool_calls": [call("functions.Bash:0", "{}")]},
        {"role": "tool", "tool_call_id": "functions.Bash:0", "content": "ok"},
    ]);
    let sent = send(&with(&messages, &json!({"tools": tool()})), HAIKU);
    assert_eq!(sent["messages"][1]["content"][0]["id"], "functions_Bash_0");
    assert_eq!(
        sent["messages"][2]["content"][0]["tool_use_id"],
        "functions_Bash_0"
    );
}

#[test]
fn case_14_15_choice_and_parallel_calls_share_one_member() {
    let sent = |model: &str, members: Value| {
        let mut members = members;
        members["tools"] = tool();
        send(&hi(&members), model)["tool_choice"].clone()
    };
    let both = json!({"tool_choice": "required", "parallel_tool_calls": false});
    assert_eq!(
        sent(HAIKU, both.clone()),
        json!({"type": "any", "disable_parallel_tool_use": true})
    );
    assert_eq!(
        sent("claude-opus-5-5", both),
        json!({"type": "auto", "disable_parallel_tool_use": true})
    );
    assert_eq!(
        sent(HAIKU, json!({"parallel_tool_calls": false})),
        json!({"type": "auto", "disable_parallel_tool_use": true})
    );
    assert_eq!(
        sent(
            HAIKU,
            json!({"tool_choice": "none", "parallel_tool_calls": false})
        ),
        json!({"type": "none"})
    );
    let named = json!({"tool_choice": {"type": "function", "function": {"name": "f"}}});
    assert_eq!(sent(HAIKU, named), json!({"type": "tool", "name": "f"}));
}

#[test]
fn case_17_odd_tool_names_are_made_legal_everywhere() {
    let tools = json!([{"type": "function", "function": {"name": "my.tool/x"}}]);
    let choice = json!({"type": "function", "function": {"name": "my.tool/x"}});
    let sent = send(&hi(&json!({"tools": tools, "tool_choice": choice})), HAIKU);
    let name = sent["tools"][0]["name"].as_str().expect("a name");
    assert!(name.starts_with("my_tool_x_"), "{name}");
    assert_eq!(sent["tool_choice"]["name"], name);
    assert_eq!(
        sent["tools"][0]["input_schema"],
        json!({"type": "object", "properties": {}})
    );
}

#[test]
fn case_18_a_history_with_tools_brings_them_along() {
    let messages = json!([
        {"role": "user", "content": "q"},
        {"role": "assistant", "tool_calls": [call("c1", "{}")]},
        {"role": "tool", "tool_call_id": "c1", "content": "ok"},
    ]);
    let sent = send(&with(&messages, &json!({})), HAIKU);
    assert_eq!(sent["tools"][0]["name"], "f");
    assert_eq!(sent["tool_choice"], json!({"type": "none"}));
}

#[test]
fn case_19_20_effort_becomes_a_budget_that_leaves_room_for_the_answer() {
    let effort = |limit: u64| {
        json!({"reasoning_effort": "high", "max_tokens": limit, "temperature": 0.5,
            "tools": tool(), "tool_choice": "required"})
    };
    let sent = send(&hi(&effort(32_000)), SONNET);
    assert_eq!(
        sent["thinking"],
        json!({"type": "enabled", "budget_tokens": 24_576})
    );
    assert_eq!(sent.get("temperature"), None);
    assert_eq!(sent["tool_choice"]["type"], "auto");
    let small = send(&hi(&effort(1_000)), SONNET);
    assert_eq!(small.get("thinking"), None);
    assert_eq!(small["temperature"], 0.5);
}

#[test]
fn case_21_22_newer_models_are_asked_by_effort() {
    let sent = send(
        &hi(&json!({"reasoning_effort": "xhigh"})),
        "claude-opus-4-7",
    );
    assert_eq!(
        sent["thinking"],
        json!({"type": "adaptive", "display": "summarized"})
    );
    assert_eq!(sent["output_config"], json!({"effort": "xhigh"}));
    let sent = send(&hi(&json!({"reasoning_effort": "none"})), "claude-fable-5");
    assert_eq!(sent.get("thinking"), None);
    assert_eq!(sent["output_config"], json!({"effort": "low"}));
    let sent = send(
        &hi(&json!({"reasoning_effort": "none"})),
        "claude-sonnet-5-5",
    );
    assert_eq!(sent["thinking"], json!({"type": "between_tools"}));
    let sent = send(&hi(&json!({"reasoning_effort": "none"})), "claude-opus-4-7");
    assert_eq!(sent["thinking"], json!({"type": "disabled"}));
}

#[test]
fn case_23_24_25_sampling_and_stops_are_fitted() {
    let sampled = |model: &str, members: Value| {
        let sent = send(&hi(&members), model);
        (sent.get("temperature").cloned(), sent.get("top_p").cloned())
    };
    assert_eq!(
        sampled("claude-opus-4-7", json!({"temperature": 0.2})),
        (None, None)
    );
    assert_eq!(
        sampled(HAIKU, json!({"temperature": 0.2})),
        (Some(json!(0.2)), None)
    );
    assert_eq!(
        sampled(HAIKU, json!({"temperature": 1.7})),
        (Some(json!(1.0)), None)
    );
    assert_eq!(
        sampled(HAIKU, json!({"temperature": 0.5, "top_p": 0.9})),
        (Some(json!(0.5)), None)
    );
    let sent = send(&hi(&json!({"stop": ["\n\n", "END"]})), HAIKU);
    assert_eq!(sent["stop_sequences"], json!(["END"]));
}

#[test]
fn case_26_a_prefill_is_trimmed_or_followed_by_a_nudge() {
    let messages = json!([
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": "Sure: "},
    ]);
    let sent = send(&with(&messages, &json!({})), HAIKU);
    assert_eq!(sent["messages"][1]["content"], json!([text("Sure:")]));
    let sent = send(&with(&messages, &json!({})), "claude-opus-4-6");
    assert_eq!(
        sent["messages"][2],
        json!({"role": "user", "content": [text("Continue.")]})
    );
}

#[test]
fn case_27_28_29_media_take_anthropics_forms() {
    let jpeg = media::encode(b"\xff\xd8\xff\xe0\0\x10JFIF\0");
    let content = json!([
        {"type": "image_url", "image_url": {"url": format!("data:image/png;base64,{jpeg}")}},
        {"type": "image_url", "image_url": "https://x/y.png"},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0="}},
    ]);
    let user = |content: Value| with(&json!([{"role": "user", "content": content}]), &json!({}));
    let sent = send(&user(content), HAIKU);
    assert_eq!(
        sent["messages"][0]["content"],
        json!([
            {"type": "image", "source": {"type": "base64", "media_type": "image/jpeg", "data": jpeg}},
            {"type": "image", "source": {"type": "url", "url": "https://x/y.png"}},
            {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}, "title": "a.pdf"},
        ])
    );
    for refused in [
        json!([{"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}}]),
        json!([{"type": "image_url", "image_url": {"url": "http://169.254.169.254/x"}}]),
    ] {
        let error = try_send(&user(refused), HAIKU).expect_err("nothing sensible can be sent");
        assert_eq!(
            (error.status, error.param.as_deref()),
            (400, Some("messages"))
        );
    }
}

#[test]
fn case_30_an_answer_schema_is_native_or_a_forced_tool() {
    let schema = json!({"type": "object", "properties": {"a": {"type": "string", "minLength": 1}}});
    let format = json!({"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}});
    let sent = send(&hi(&format), SONNET);
    assert_eq!(
        sent["output_config"]["format"],
        json!({"type": "json_schema", "schema": {
            "type": "object",
            "properties": {"a": {"type": "string", "description": "(minLength: 1)"}},
            "additionalProperties": false,
        }})
    );
    let sent = send(&hi(&format), "claude-sonnet-4-20250514");
    assert_eq!(sent["tools"][0]["name"], "json_tool_call");
    assert_eq!(
        sent["tool_choice"],
        json!({"type": "tool", "name": "json_tool_call"})
    );
    let sent = send(
        &hi(&json!({"response_format": {"type": "json_object"}})),
        SONNET,
    );
    assert!(
        sent["system"][0]["text"]
            .as_str()
            .expect("a note")
            .contains("JSON object")
    );
}

#[test]
fn case_31_several_answers_are_refused_and_lost_fields_are_named() {
    let error = try_send(&hi(&json!({"n": 2})), HAIKU).expect_err("one answer a request");
    assert_eq!(error.param.as_deref(), Some("n"));
    let body = hi(&json!({"n": 1, "logit_bias": {"1": 5}, "seed": 3, "store": false, "top_k": 4}));
    let (sent, losses) = try_send(&body, HAIKU).expect("a body");
    assert_eq!(losses.paths(), ["logit_bias", "store", "seed"]);
    assert_eq!(sent["top_k"], 4);
}

#[test]
fn case_32_cache_marks_stay_and_of_too_many_the_last_four_count() {
    let marked =
        |text: &str| json!({"type": "text", "text": text, "cache_control": {"type": "ephemeral"}});
    let parts: Vec<Value> = (0..6).map(|at| marked(&at.to_string())).collect();
    let sent = send(
        &with(&json!([{"role": "user", "content": parts}]), &json!({})),
        HAIKU,
    );
    let has_mark: Vec<bool> = sent["messages"][0]["content"]
        .as_array()
        .expect("parts")
        .iter()
        .map(|part| part.get("cache_control").is_some())
        .collect();
    assert_eq!(has_mark, [false, false, true, true, true, true]);
}
