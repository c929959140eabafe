//! The exchanges of the wire notes, section G.

use serde_json::{Value, json};

use super::*;
use crate::time::Timestamp;

fn adapted(model: &str, body: &Value) -> Value {
    let request = Outgoing {
        stream: true,
        ..Outgoing::new(Operation::Chat, Dialect::OpenAiChat, model)
    };
    let body = IFlow::VENDOR.adapt(Bytes::from(body.to_string()), &request);
    serde_json::from_slice(&body).expect("JSON")
}

fn judged(status: u16, header: Option<(&'static str, &'static str)>, body: &str) -> Failure {
    let mut headers = HeaderMap::new();
    if let Some((name, value)) = header {
        headers.insert(name, HeaderValue::from_static(value));
    }
    let answer = Answer {
        status,
        headers: &headers,
        body: body.as_bytes(),
        model: "glm-4.7",
        received: Timestamp::from_secs(1_770_000_000),
    };
    IFlow::VENDOR.judge(&answer)
}

#[test]
fn stream_options_never_reach_it_and_effort_becomes_a_split() {
    let messages = json!([{"role": "user", "content": "hi"}]);
    let asked = json!({
        "model": "minimax-m2", "stream": true, "messages": messages,
        "reasoning_effort": "high", "stream_options": {"include_usage": true},
    });
    let sent = json!({
        "model": "minimax-m2", "stream": true, "messages": messages, "reasoning_split": true,
    });
    assert_eq!(adapted("minimax-m2", &asked), sent);
}

#[test]
fn each_model_has_its_own_switch() {
    let on = json!({"chat_template_kwargs": {"enable_thinking": true}});
    let off = json!({"chat_template_kwargs": {"enable_thinking": false}});
    let kept = json!({"chat_template_kwargs": {"enable_thinking": true, "clear_thinking": false}});
    for (model, said, sent) in [
        ("glm-4.7", json!({"reasoning_effort": "low"}), kept.clone()),
        ("glm-4.7", json!({"reasoning_effort": "none"}), off.clone()),
        ("glm-4.6", json!({"reasoning_effort": "OFF"}), off.clone()),
        ("glm-4.6", json!({"reasoning_effort": 0}), off.clone()),
        (
            "glm-4.6",
            json!({"thinking": {"budget_tokens": 0}}),
            off.clone(),
        ),
        (
            "glm-4.6",
            json!({"extra_body": {"thinking": {"budget_tokens": 0}}}),
            off.clone(),
        ),
        (
            "GLM-4.6",
            json!({"thinking": {"type": "enabled", "budget_tokens": 9}}),
            kept.clone(),
        ),
        (
            "glm-4.6",
            json!({"thinking": {"type": "disabled"}}),
            off.clone(),
        ),
        (
            "deepseek-v3.2",
            json!({"reasoning_effort": "high"}),
            on.clone(),
        ),
        (
            "deepseek-v3.1",
            json!({"reasoning_effort": "false"}),
            off.clone(),
        ),
        (
            "qwen3-max-preview",
            json!({"reasoning_effort": "high"}),
            on.clone(),
        ),
        (
            "minimax-m2.1",
            json!({"reasoning_effort": "disabled"}),
            json!({"reasoning_split": false}),
        ),
        (
            "deepseek-v3.2-reasoner",
            json!({"reasoning_effort": "high"}),
            json!({}),
        ),
        (
            "kimi-k2-thinking",
            json!({"reasoning_effort": "high"}),
            json!({}),
        ),
        (
            "deepseek-r1",
            json!({"reasoning_effort": "none"}),
            json!({}),
        ),
        (
            "qwen3-235b-a22b-thinking-2507",
            json!({"reasoning_effort": "high"}),
            json!({}),
        ),
        (
            "qwen3-coder-plus",
            json!({"reasoning_effort": "high"}),
            json!({}),
        ),
        ("glm-4.7", json!({}), json!({})),
    ] {
        assert_eq!(adapted(model, &said), sent, "{model} {said}");
    }
    let own = json!({"reasoning_effort": "low", "chat_template_kwargs": {"x": 1}});
    assert_eq!(
        adapted("glm-4.7", &own),
        json!({"chat_template_kwargs": {"x": 1}})
    );
}

#[test]
fn empty_tools_get_a_placeholder_and_schemas_lose_what_it_refuses() {
    let filled = adapted("glm-4.6", &json!({"tools": []}));
    assert_eq!(filled["tools"][0]["function"]["name"], "noop");
    assert_eq!(
        filled["tools"][0]["function"]["parameters"],
        json!({"type": "object"})
    );
    assert_eq!(adapted("glm-4.6", &json!({"a": 1})), json!({"a": 1}));
    let strict = json!({"tools": [{"type": "function", "function": {
        "name": "f", "strict": true,
        "parameters": {"properties": {"strict": {}}, "additionalProperties": false},
    }}]});
    let sent = json!({"tools": [{"type": "function", "function": {
        "name": "f", "parameters": {"properties": {"strict": {}}},
    }}]});
    assert_eq!(adapted("glm-4.6", &strict), sent);
}

#[test]
fn errors_inside_a_200_and_outside_mean_what_they_say() {
    let inside = |status: &str, msg: &str| {
        judged(
            200,
            None,
            &json!({"status": status, "msg": msg, "body": null}).to_string(),
        )
    };
    let blocked = "Access to the current AK has been blocked due to unauthorized requests";
    assert_eq!(inside("434", blocked).verdict, Verdict::Banned);
    assert_eq!(inside("438", blocked).verdict, Verdict::Banned);
    assert_eq!(inside("434", "Invalid apiKey").verdict, Verdict::Auth);
    assert_eq!(inside("439", "token expired").verdict, Verdict::Auth);
    let limited = inside("449", "rate limit");
    assert_eq!(limited.verdict, Verdict::RateLimit);
    assert_eq!(limited.hint, Some(Hint::After(Duration::from_secs(5))));
    let later = judged(
        429,
        Some(("retry-after", "12")),
        r#"{"error":{"message":"slow_down"}}"#,
    );
    assert_eq!(later.verdict, Verdict::RateLimit);
    assert_eq!(later.hint, Some(Hint::After(Duration::from_secs(12))));
    let queue = inside("429", "您的账号已达到平台并发限制");
    assert_eq!(queue.verdict, Verdict::RateLimit);
    let shared = inside(
        "429",
        "The current model has reached the platform rate limit",
    );
    assert_eq!(shared.verdict, Verdict::Capacity);
    assert_eq!(judged(401, None, "{}").verdict, Verdict::Auth);
}

#[test]
fn an_empty_406_is_the_requests_fault() {
    let failure = judged(406, Some(("content-type", "text/plain")), "");
    assert_eq!(failure.verdict, Verdict::BadRequest);
    assert_eq!(
        failure.message,
        "(empty response body, content-type=text/plain)"
    );
}
