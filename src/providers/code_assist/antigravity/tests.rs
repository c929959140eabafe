//! Antigravity's requests, its catalogue, and the exchanges of section G.

use serde_json::{Value, json};

use super::*;
use crate::dialects::chat::{Effort, Part, Reasoning};
use crate::dialects::signature;
use crate::providers::code_assist::tests::{read, sent};
use crate::providers::forms::Switches;

fn antigravity(body: &Value) -> Value {
    let request = read(Dialect::OpenAiChat, body);
    sent("antigravity", &request, Switches::default()).envelope
}

fn claude_signature() -> String {
    format!("Eabc{}", "x".repeat(56))
}

#[test]
fn g1_a_plain_request_has_session_and_thinking() {
    let sent = antigravity(&json!({"model": "gemini-3.7-flash-high", "stream": true,
        "messages": [{"role": "user", "content": "What is the weather in Paris?"}]}));
    assert_eq!(sent["project"], "proj-1");
    assert_eq!(sent["model"], "gemini-3.7-flash-high");
    assert_eq!(sent["userAgent"], "antigravity");
    assert_eq!(sent["requestType"], "agent");
    let id = sent["requestId"].as_str().expect("an id");
    assert!(id.starts_with("agent-") && id.len() == 42, "{id}");
    assert_eq!(sent["request"]["sessionId"], "-6009649069285727516");
    assert_eq!(
        sent["request"]["generationConfig"],
        json!({"thinkingConfig": {"includeThoughts": true, "thinkingBudget": -1}})
    );
    assert!(sent["request"].get("toolConfig").is_none());
    assert!(sent.get("enabledCreditTypes").is_none());
}

#[test]
fn g2_claudes_calls_are_validated() {
    let sent = antigravity(&json!({"model": "claude-sonnet-4-6",
        "messages": [{"role": "user", "content": "list"}], "tools": [
        {"type": "function", "function": {"name": "list_files", "parameters":
            {"type": "object", "properties": {}, "additionalProperties": false, "$schema": "x"}}},
        {"type": "function", "function": {"name": "pick", "parameters": {"type": "object", "properties":
            {"p": {"anyOf": [{"type": "null"}, {"type": "string", "const": "a"}, {"type": "string", "const": "b"}]}}}}}]}));
    let declarations = &sent["request"]["tools"][0]["functionDeclarations"];
    let parameters = &declarations[0]["parameters"];
    assert_eq!(parameters["type"], "object");
    assert!(parameters["description"].is_string());
    assert_eq!(parameters["properties"]["reason"]["type"], "string");
    assert_eq!(parameters["required"], json!(["reason"]));
    let property = &declarations[1]["parameters"]["properties"]["p"];
    assert_eq!(property["type"], "string");
    assert_eq!(property["enum"], json!(["a", "b"]));
    assert_eq!(
        sent["request"]["toolConfig"],
        json!({"functionCallingConfig": {"mode": "VALIDATED"}})
    );
}

#[test]
fn g3_thoughts_go_back_with_their_signature_or_not_at_all() {
    let history = json!({"model": "claude-opus-4-6-thinking", "reasoning_effort": "high", "messages": [
        {"role": "user", "content": "read it"},
        {"role": "assistant", "tool_calls": [{"id": "toolu_vrtx_9", "type": "function",
            "function": {"name": "read_file", "arguments": "{\"path\":\"a.txt\"}"}}]},
        {"role": "tool", "tool_call_id": "toolu_vrtx_9", "content": "hello"},
    ]});
    let mut request = read(Dialect::OpenAiChat, &history);
    let thinking = crate::dialects::chat::Thinking {
        text: "Need the file.".to_owned(),
        signature: Some(signature::tag(Dialect::Anthropic, &claude_signature())),
        ..Default::default()
    };
    let lost = sent("antigravity", &request, Switches::default()).envelope;
    request.messages[1]
        .parts
        .insert(0, Part::Thinking(thinking));
    let kept = sent("antigravity", &request, Switches::default()).envelope;
    let call = json!({"functionCall": {"id": "toolu_vrtx_9", "name": "read_file", "args": {"path": "a.txt"}}});
    let answer = json!({"role": "user", "parts": [{"functionResponse": {"id": "toolu_vrtx_9",
        "name": "read_file", "response": {"result": "hello"}}}]});
    assert_eq!(
        kept["request"]["contents"].as_array().expect("contents")[1..],
        [
            json!({"role": "model", "parts": [{"thought": true, "text": "Need the file.",
                "thoughtSignature": claude_signature()}, call]}),
            answer.clone(),
        ]
    );
    assert_eq!(
        kept["request"]["generationConfig"]["thinkingConfig"]["thinkingBudget"],
        31_999
    );
    assert_eq!(
        lost["request"]["contents"].as_array().expect("contents")[1..],
        [json!({"role": "model", "parts": [call]}), answer]
    );
    assert!(
        lost["request"]["generationConfig"]
            .get("thinkingConfig")
            .is_none()
    );
}

#[test]
fn g6_the_budget_stays_below_the_limit() {
    for (limit, expected) in [
        (4000, 33_023),
        (31_999, 33_023),
        (40_000, 40_000),
        (99_999, 64_000),
    ] {
        let sent = antigravity(
            &json!({"model": "claude-opus-4-6-thinking", "max_tokens": limit,
            "reasoning_effort": "high", "temperature": 0.3,
            "messages": [{"role": "user", "content": "x"}]}),
        );
        let config = &sent["request"]["generationConfig"];
        assert_eq!(config["maxOutputTokens"], expected);
        assert_eq!(config["thinkingConfig"]["thinkingBudget"], 31_999);
        assert!(config.get("temperature").is_none());
    }
    let plain = antigravity(&json!({"model": "claude-opus-4-6-thinking",
        "messages": [{"role": "user", "content": "x"}]}));
    assert_eq!(
        plain["request"]["generationConfig"],
        json!({"maxOutputTokens": 32_000})
    );
}

#[test]
fn gemini_is_limited_only_where_the_client_says_so() {
    let sent = antigravity(&json!({"model": "gemini-pro-agent", "max_tokens": 99_999,
        "messages": [{"role": "user", "content": "x"}]}));
    assert_eq!(
        sent["request"]["generationConfig"]["maxOutputTokens"],
        65_535
    );
}

#[test]
fn anthropics_own_signatures_are_good_for_claude_here_and_not_for_gemini() {
    let body = |model: &str| {
        json!({"model": model, "max_tokens": 9000, "thinking": {"type": "enabled", "budget_tokens": 2000},
            "tools": [{"name": "f", "input_schema": {"type": "object"}}],
            "messages": [{"role": "user", "content": "go"},
                {"role": "assistant", "content": [
                    {"type": "thinking", "thinking": "hm", "signature": claude_signature()},
                    {"type": "tool_use", "id": "t1", "name": "f", "input": {}}]},
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "ok"}]}]})
    };
    let to = |model: &str| {
        let request = read(Dialect::Anthropic, &body(model));
        sent("antigravity", &request, Switches::default()).envelope
    };
    let claude = to("claude-sonnet-4-6");
    assert_eq!(
        claude["request"]["contents"][1]["parts"][0]["thoughtSignature"],
        claude_signature()
    );
    assert_eq!(
        claude["request"]["generationConfig"]["thinkingConfig"],
        json!({"thinkingBudget": 2000, "includeThoughts": true})
    );
    let gemini = to("gemini-pro-agent");
    assert_eq!(
        gemini["request"]["contents"][1]["parts"],
        json!([{"functionCall": {"id": "t1", "name": "f", "args": {}},
            "thoughtSignature": "skip_thought_signature_validator"}])
    );
}

#[test]
fn thoughts_are_not_shown_to_dialects_that_did_not_ask() {
    let request = read(
        Dialect::Anthropic,
        &json!({"model": "gemini-3.8-flash-low", "max_tokens": 10,
            "messages": [{"role": "user", "content": "x"}]}),
    );
    let sent = sent("antigravity", &request, Switches::default()).envelope;
    assert_eq!(
        sent["request"]["generationConfig"]["thinkingConfig"],
        json!({"thinkingBudget": 1000, "includeThoughts": false})
    );
}

#[test]
fn pictures_and_searches_are_requests_of_their_own() {
    let image = antigravity(&json!({"model": "gemini-3.1-flash-image",
        "messages": [{"role": "user", "content": "a cat"}]}));
    assert_eq!(image["requestType"], "image_gen");
    let id = image["requestId"].as_str().expect("an id");
    assert!(
        id.starts_with("image_gen/1795348800123/") && id.ends_with("/12"),
        "{id}"
    );
    assert!(image["request"].get("generationConfig").is_none());
    let search = antigravity(
        &json!({"model": "gemini-3.1-flash-lite", "web_search_options": {},
        "messages": [{"role": "user", "content": "news"}]}),
    );
    assert_eq!(search["requestType"], "web_search");
}

#[test]
fn an_alias_goes_out_by_the_services_own_name() {
    let sent = antigravity(&json!({"model": "claude-opus-4.6",
        "messages": [{"role": "user", "content": "x"}]}));
    assert_eq!(sent["model"], "claude-opus-4-6-thinking");
    let low = antigravity(
        &json!({"model": "gemini-3.1-pro", "reasoning_effort": "low",
        "messages": [{"role": "user", "content": "x"}]}),
    );
    assert_eq!(low["model"], "gemini-3.1-pro-low");
}

#[test]
fn the_catalogue_hides_what_is_internal_and_knows_old_names() {
    let body = json!({"models": {
        "claude-sonnet-4-6": {"displayName": "Claude Sonnet 4.6 (Thinking)", "maxTokens": 250_000, "maxOutputTokens": 64_000},
        "gemini-pro-agent": {"displayName": "Gemini 3.1 Pro (High)"},
        "chat_20706": {"displayName": "x"}, "tab_flash": {"displayName": "x"},
        "gemini-3.8-flash-tiered": {"displayName": "x"},
        "internal": {"displayName": "x", "isInternal": true}, "nameless": {},
    }, "deprecatedModelIds": {"gemini-3.1-pro-high": {"newModelId": "gemini-pro-agent"},
        "gone": "unlisted", "older": "gemini-pro-agent"}});
    let page = read_catalogue(body.to_string().as_bytes()).expect("a page");
    let listed: Vec<_> = page
        .models
        .iter()
        .map(|model| (model.id.as_str(), model.served_by.as_deref()))
        .collect();
    assert_eq!(
        listed,
        [
            ("claude-sonnet-4-6", None),
            ("gemini-pro-agent", None),
            ("gemini-3.1-pro-high", Some("gemini-pro-agent")),
            ("older", Some("gemini-pro-agent")),
        ]
    );
    assert_eq!(page.models[0].context_window, Some(250_000));
    assert_eq!(page.models[0].max_output, Some(64_000));
    assert!(read_catalogue(b"{}").is_err() && read_catalogue(b"x").is_err());
}

#[test]
fn every_known_model_is_of_a_quota_group() {
    for model in models::KNOWN {
        assert!(group_of(model).is_some(), "{model}");
    }
    assert_eq!(group_of("claude-opus-4-6-thinking"), Some("3p"));
    assert_eq!(group_of("gpt-oss-120b-medium"), Some("3p"));
    assert_eq!(group_of("gemini-pro-agent"), Some("gemini"));
}

#[test]
fn a_switch_to_no_thinking_is_heard() {
    let mut request = read(
        Dialect::OpenAiChat,
        &json!({"model": "gemini-3.8-flash-high", "messages": [{"role": "user", "content": "x"}]}),
    );
    request.reasoning = Reasoning {
        effort: Some(Effort::None),
        ..Reasoning::default()
    };
    let sent = sent("antigravity", &request, Switches::default()).envelope;
    assert_eq!(
        sent["request"]["generationConfig"]["thinkingConfig"],
        json!({"thinkingBudget": 0, "includeThoughts": false})
    );
}
