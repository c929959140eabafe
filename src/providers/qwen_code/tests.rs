//! The exchanges of the wire notes, section G.

use std::time::Duration;

use serde_json::json;

use super::*;
use crate::providers::Answer;
use crate::providers::forms::Switches;
use crate::providers::verdict::{Failure, Hint};
use crate::time::Timestamp;

fn view(facts: &Map<String, Value>, kind_is_account: bool) -> AccountView<'_> {
    AccountView {
        kind_is_account,
        ..AccountView::of_facts(facts)
    }
}

/// The body as an account (or key) sends it.
fn sent(model: &str, body: &Value, is_account: bool, no_dummy_tool: bool) -> Value {
    let facts = Map::new();
    let view = view(&facts, is_account);
    let request = Outgoing {
        stream: true,
        account: Some(&view),
        switches: Switches {
            no_dummy_tool,
            ..Switches::default()
        },
        ..Outgoing::new(Operation::Chat, Dialect::OpenAiChat, model)
    };
    let body = QwenCode::VENDOR.adapt(Bytes::from(body.to_string()), &request);
    let body = QwenCode::VENDOR.wrap(body, &request);
    serde_json::from_slice(&body).expect("JSON")
}

fn judged(status: u16, retry_after: Option<&'static str>, body: &Value) -> Failure {
    let mut headers = HeaderMap::new();
    if let Some(wait) = retry_after {
        headers.insert("retry-after", HeaderValue::from_static(wait));
    }
    let body = body.to_string();
    let answer = Answer {
        status,
        headers: &headers,
        body: body.as_bytes(),
        model: "coder-model",
        received: Timestamp::parse_rfc3339("2026-04-13T10:00:00Z").expect("a time"),
    };
    QwenCode::VENDOR.judge(&answer)
}

#[test]
fn an_accounts_request_is_as_the_portal_wants_it() {
    let asked = json!({
        "model": "coder-model", "stream": true,
        "messages": [{"role": "system", "content": "S1"}, {"role": "user", "content": "u"}],
    });
    let mut sent = sent("coder-model", &asked, true, false);
    let description = sent
        .pointer_mut("/tools/0/function/description")
        .map(Value::take);
    let description = description.expect("a description");
    assert!(
        description
            .as_str()
            .is_some_and(|text| text.contains("Never call it"))
    );
    let wanted = json!({
        "model": "coder-model", "stream": true, "stream_options": {"include_usage": true},
        "messages": [
            {"role": "system", "content": [
                {"type": "text", "text": "", "cache_control": {"type": "ephemeral"}},
                {"type": "text", "text": "S1"},
            ]},
            {"role": "user", "content": "u"},
        ],
        "tools": [{"type": "function", "function": {
            "name": "do_not_call_me", "description": null,
            "parameters": {"type": "object", "properties": {}},
        }}],
    });
    assert_eq!(sent, wanted);
}

#[test]
fn later_system_texts_join_the_first_and_calls_get_content() {
    let asked = json!({"messages": [
        {"role": "user", "content": "a"},
        {"role": "developer", "content": [{"type": "text", "text": "S1", "x": 1}]},
        {"role": "assistant", "content": null, "tool_calls": []},
        {"role": "system", "content": "S2"},
    ]});
    let sent = sent("vision-model", &asked, true, false);
    let wanted = json!([
        {"role": "system", "content": [
            {"type": "text", "text": "", "cache_control": {"type": "ephemeral"}},
            {"type": "text", "text": "S1", "x": 1},
            {"type": "text", "text": "S2"},
        ]},
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "", "tool_calls": []},
    ]);
    assert_eq!(sent["messages"], wanted);
    assert_eq!(sent.get("tools"), None, "no coder model");
}

#[test]
fn the_dummy_tool_is_for_coder_models_of_accounts_without_tools_and_can_be_switched_off() {
    let asked = json!({"messages": [{"role": "user", "content": "u"}], "tools": []});
    let tools = |model, is_account, off| {
        let sent = sent(model, &asked, is_account, off);
        sent["tools"].as_array().map_or(0, Vec::len)
    };
    assert_eq!(tools("coder-model", true, false), 1);
    assert_eq!(tools("qwen3-coder-plus", true, false), 1);
    assert_eq!(tools("coder-model", true, true), 0);
    assert_eq!(tools("coder-model", false, false), 0);
    assert_eq!(tools("vision-model", true, false), 0);
    let own = json!({"messages": [], "tools": [{"type": "function", "function": {"name": "f"}}]});
    assert_eq!(
        sent("coder-model", &own, true, false)["tools"],
        own["tools"]
    );
}

#[test]
fn a_keys_request_keeps_its_messages() {
    let messages = json!([{"role": "system", "content": "S1"}, {"role": "user", "content": "u"}]);
    let sent = sent(
        "qwen3-coder-plus",
        &json!({"messages": messages}),
        false,
        false,
    );
    assert_eq!(sent["messages"], messages);
}

#[test]
fn schemas_lose_what_it_refuses_and_properties_stay() {
    let asked = json!({"messages": [], "tools": [{"type": "function", "function": {
        "name": "f", "strict": true, "parameters": {
            "type": "object", "properties": {"strict": {"type": "boolean"}},
            "additionalProperties": false,
        },
    }}]});
    let wanted = json!([{"type": "function", "function": {"name": "f", "parameters": {
        "type": "object", "properties": {"strict": {"type": "boolean"}},
    }}}]);
    assert_eq!(sent("coder-model", &asked, true, false)["tools"], wanted);
}

#[test]
fn effort_and_limits_are_put_into_its_words() {
    for (model, asked, wanted) in [
        (
            "coder-model",
            json!({"reasoning_effort": "high"}),
            json!({"enable_thinking": true}),
        ),
        (
            "qwen3.6-plus",
            json!({"reasoning_effort": "off"}),
            json!({"enable_thinking": false}),
        ),
        (
            "qwen3.8-max",
            json!({"reasoning_effort": "high", "enable_thinking": true, "thinking_budget": 9}),
            json!({"reasoning_effort": "high"}),
        ),
        (
            "qwen3.8-max",
            json!({"thinking_budget": 9}),
            json!({"thinking_budget": 9}),
        ),
        (
            "coder-model",
            json!({"max_tokens": 99_999}),
            json!({"max_tokens": 65_536}),
        ),
        (
            "coder-model",
            json!({"max_completion_tokens": 7}),
            json!({"max_tokens": 7}),
        ),
        (
            "qwen3.5-plus",
            json!({"max_tokens": 99_999}),
            json!({"max_tokens": 99_999}),
        ),
    ] {
        let mut sent = sent(model, &asked, false, false);
        sent.as_object_mut()
            .map(|sent| sent.remove("stream_options"));
        assert_eq!(sent, wanted, "{model} {asked}");
    }
}

#[test]
fn an_account_goes_where_it_was_told_and_a_key_where_it_belongs() {
    let base = |facts: Value, is_account| {
        let facts = facts.as_object().cloned().unwrap_or_default();
        QwenCode::VENDOR.base_for(&view(&facts, is_account))
    };
    let portal = Some("https://portal.qwen.ai/v1".to_owned());
    assert_eq!(base(json!({}), true), portal);
    assert_eq!(
        base(json!({"resource_url": "portal.qwen.ai"}), true),
        portal
    );
    assert_eq!(base(json!({"resource_url": "evil.example"}), true), portal);
    assert_eq!(
        base(
            json!({"resource_url": "dashscope.aliyuncs.com/compatible-mode/v1"}),
            true
        )
        .as_deref(),
        Some("https://dashscope.aliyuncs.com/compatible-mode/v1")
    );
    let facts = QwenCode::VENDOR.key_facts("sk-sp-1");
    assert_eq!(
        base(facts.into(), false).as_deref(),
        Some("https://coding-intl.dashscope.aliyuncs.com/v1")
    );
}

#[test]
fn only_accounts_name_their_log_in_and_all_name_us() {
    for is_account in [true, false] {
        let facts = Map::new();
        let view = view(&facts, is_account);
        let request = Outgoing {
            account: Some(&view),
            ..Outgoing::new(Operation::Chat, Dialect::OpenAiChat, "coder-model")
        };
        let mut headers = HeaderMap::new();
        QwenCode::VENDOR.headers(Dialect::OpenAiChat, &mut headers);
        QwenCode::VENDOR.sign("t", &request, b"{}", &mut headers);
        assert_eq!(headers["x-dashscope-cachecontrol"], "enable");
        assert_eq!(headers["x-dashscope-useragent"], AGENT);
        let kind = headers.get("x-dashscope-authtype");
        assert_eq!(kind.is_some_and(|kind| kind == "qwen-oauth"), is_account);
    }
}

#[test]
fn a_spent_day_ends_at_midnight_in_china() {
    let body = json!({"error": {
        "code": "insufficient_quota", "message": "Free allocated quota exceeded.",
        "type": "insufficient_quota", "param": null,
    }, "request_id": "r1"});
    let end = Timestamp::parse_rfc3339("2026-04-13T16:00:00Z").map(Hint::Until);
    for status in [403, 429] {
        let failure = judged(status, None, &body);
        assert_eq!(failure.verdict, Verdict::Quota);
        assert_eq!(failure.hint, end);
    }
    let flat = json!({"code": "x", "message": "Free allocated quota exceeded."});
    assert_eq!(judged(403, None, &flat).verdict, Verdict::Quota);
}

#[test]
fn its_other_words_mean_what_they_say() {
    let error = |code: &str, message: &str| json!({"error": {"code": code, "message": message, "type": code}});
    let limited = error("limit_requests", "Requests throttling triggered");
    let failure = judged(429, Some("7"), &limited);
    assert_eq!(failure.verdict, Verdict::RateLimit);
    assert_eq!(failure.hint, Some(Hint::After(Duration::from_secs(7))));
    for (status, body, verdict) in [
        (429, error("Throttling", "x"), Verdict::RateLimit),
        (
            429,
            error("", "Requests throttling triggered"),
            Verdict::RateLimit,
        ),
        (
            401,
            error("invalid_api_key", "invalid access token or token expired"),
            Verdict::Auth,
        ),
        (
            400,
            error("invalid_parameter_error", "x"),
            Verdict::BadRequest,
        ),
        (
            400,
            error(
                "invalid_parameter_error",
                "Range of input length should be [1, 9]",
            ),
            Verdict::ContextLength,
        ),
        (
            400,
            error("data_inspection_failed", "x"),
            Verdict::BadRequest,
        ),
    ] {
        assert_eq!(judged(status, None, &body).verdict, verdict, "{body}");
    }
}
