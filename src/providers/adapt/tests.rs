//! Tests of the adaptations, vendor by vendor.

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::providers::{all, find};

/// The body as the vendor gets it.
fn adapted(vendor: &str, model: &str, body: &str) -> String {
    let request = Outgoing {
        translated: false,
        ..Outgoing::new(Operation::Chat, Dialect::OpenAiChat, model)
    };
    let vendor = find(vendor).unwrap_or_else(|| panic!("{vendor} is built in"));
    let bytes = vendor.adapt(Bytes::copy_from_slice(body.as_bytes()), &request);
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

#[test]
fn each_quirk_changes_its_member_and_no_other() {
    for (vendor, model, body, wanted) in [
        (
            "mistral",
            "mistral-large-latest",
            r#"{"model":"m","max_completion_tokens":5,"seed":1,"user":"u","x":1e400}"#,
            r#"{"model":"m","max_tokens":5,"random_seed":1,"x":1e400}"#,
        ),
        (
            "deepseek",
            "deepseek-chat",
            r#"{"max_tokens":1,"max_completion_tokens":2}"#,
            r#"{"max_tokens":1}"#,
        ),
        (
            "openai",
            "o3-mini",
            r#"{"max_tokens":5,"temperature":0.2,"stop":["a"],"seed":1}"#,
            r#"{"max_completion_tokens":5,"seed":1}"#,
        ),
        (
            "openai",
            "gpt-4o",
            r#"{"max_tokens":5,"stop":["a","b","c","d","e"],"temperature":2}"#,
            r#"{"max_tokens":5,"stop":["a","b","c","d"],"temperature":2}"#,
        ),
        (
            "moonshot",
            "moonshot-v1-8k",
            r#"{"temperature":1.7}"#,
            r#"{"temperature":1}"#,
        ),
        (
            "cohere",
            "command-a",
            r#"{"temperature":0.9,"store":true}"#,
            r#"{"temperature":0.9}"#,
        ),
        (
            "xai",
            "grok-4",
            r#"{"stop":["a"],"presence_penalty":1,"a":1}"#,
            r#"{"a":1}"#,
        ),
        (
            "xai",
            "grok-3",
            r#"{"stop":["a"],"a":1}"#,
            r#"{"stop":["a"],"a":1}"#,
        ),
    ] {
        assert_eq!(adapted(vendor, model, body), wanted, "{vendor} {body}");
    }
}

#[test]
fn thinking_is_switched_in_the_vendors_words() {
    for (vendor, model, effort, wanted) in [
        (
            "zai",
            "glm-4.6",
            "high",
            r#"{"thinking":{"type":"enabled"}}"#,
        ),
        (
            "zai",
            "glm-4.6",
            "none",
            r#"{"thinking":{"type":"disabled"}}"#,
        ),
        (
            "dashscope",
            "qwen3-max",
            "low",
            r#"{"enable_thinking":true}"#,
        ),
        (
            "siliconflow",
            "Qwen/Qwen3-8B",
            "none",
            r#"{"enable_thinking":false}"#,
        ),
        (
            "nvidia_nim",
            "deepseek-ai/deepseek-v3.1",
            "medium",
            r#"{"chat_template_kwargs":{"thinking":true}}"#,
        ),
        (
            "nvidia_nim",
            "deepseek-ai/deepseek-v4-pro",
            "medium",
            r#"{"reasoning_effort":"high","chat_template_kwargs":{"thinking":true}}"#,
        ),
        (
            "nvidia_nim",
            "qwen/qwen3-235b",
            "off",
            r#"{"chat_template_kwargs":{"enable_thinking":false}}"#,
        ),
        (
            "mistral",
            "mistral-small-latest",
            "low",
            r#"{"reasoning_effort":"high"}"#,
        ),
        (
            "mistral",
            "mistral-small-latest",
            "none",
            r#"{"reasoning_effort":"none"}"#,
        ),
        ("mistral", "mistral-large-latest", "low", "{}"),
        (
            "deepseek",
            "deepseek-v4-pro",
            "xhigh",
            r#"{"reasoning_effort":"max","thinking":{"type":"enabled"}}"#,
        ),
        (
            "deepseek",
            "deepseek-v4-pro",
            "none",
            r#"{"thinking":{"type":"disabled"}}"#,
        ),
        (
            "openai",
            "gpt-5",
            "minimal",
            r#"{"reasoning_effort":"minimal"}"#,
        ),
        (
            "groq",
            "openai/gpt-oss-120b",
            "low",
            r#"{"reasoning_effort":"low"}"#,
        ),
    ] {
        let body = format!(r#"{{"reasoning_effort":"{effort}"}}"#);
        assert_eq!(
            adapted(vendor, model, &body),
            wanted,
            "{vendor} {model} {effort}"
        );
    }
}

#[test]
fn a_switch_the_client_set_stays() {
    let body = r#"{"reasoning_effort":"high","thinking":{"type":"disabled"}}"#;
    assert_eq!(
        adapted("zai", "glm-4.6", body),
        r#"{"thinking":{"type":"disabled"}}"#
    );
}

#[test]
fn thinking_models_get_the_reasoning_of_every_turn_back() {
    let body = r#"{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"},{"role":"assistant","reasoning_content":"r","content":"c"}]}"#;
    let filled = r#"{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b","reasoning_content":" "},{"role":"assistant","reasoning_content":"r","content":"c"}]}"#;
    assert_eq!(adapted("deepseek", "deepseek-reasoner", body), filled);
    assert_eq!(adapted("moonshot", "kimi-k2-thinking", body), filled);
    assert_eq!(
        adapted("deepseek", "deepseek-chat", body),
        body,
        "it does not think"
    );
    let body = body.replacen('{', r#"{"thinking":{"type":"enabled"},"#, 1);
    let filled = filled.replacen('{', r#"{"thinking":{"type":"enabled"},"#, 1);
    assert_eq!(
        adapted("deepseek", "deepseek-chat", &body),
        filled,
        "it was told to"
    );
    let off = body.replace("enabled", "disabled");
    assert_eq!(adapted("deepseek", "deepseek-reasoner", &off), off);
}

#[test]
fn a_developer_becomes_the_system_where_templates_know_none() {
    let body = r#"{"messages":[{"role":"developer","content":"be brief"}]}"#;
    let system = r#"{"messages":[{"role":"system","content":"be brief"}]}"#;
    assert_eq!(adapted("together", "m", body), system);
    assert_eq!(adapted("openai", "gpt-4o", body), body);
}

#[test]
fn mistral_gets_ids_of_nine_letters_that_still_belong_together() {
    let body = r#"{"messages":[{"role":"assistant","tool_calls":[{"id":"call_1","type":"function"},{"id":"abcdefgh9","type":"function"}]},{"role":"tool","tool_call_id":"call_1"},{"role":"tool","tool_call_id":"abcdefgh9"}]}"#;
    let body: Value = serde_json::from_str(&adapted("mistral", "m", body)).expect("JSON");
    let id = |pointer: &str| {
        body.pointer(pointer)
            .and_then(Value::as_str)
            .expect("an id")
    };
    let short = id("/messages/0/tool_calls/0/id");
    assert_eq!(short.len(), 9);
    assert!(short.bytes().all(|byte| byte.is_ascii_alphanumeric()));
    assert_eq!(short, id("/messages/1/tool_call_id"));
    assert_eq!(id("/messages/0/tool_calls/1/id"), "abcdefgh9");
    assert_eq!(id("/messages/2/tool_call_id"), "abcdefgh9");
}

#[test]
fn a_body_without_quirks_is_the_same_bytes_everywhere() {
    let body = r#"{ "model" : "m",
        "messages":[{"role":"user","content":"\u0041 the developer wrote"}], "temperature": 0.70, "n":12345678901234567890123 }"#;
    for provider in all() {
        let request = Outgoing {
            stream: true,
            translated: false,
            ..Outgoing::new(Operation::Chat, provider.spec().dialect, "m")
        };
        // Cohere refuses `n`, and Qwen is asked for the usage of every stream.
        if ["cohere", "qwen_code"].contains(&provider.spec().id) {
            continue;
        }
        let bytes = Bytes::from_static(body.as_bytes());
        let same = provider.adapt(bytes.clone(), &request);
        assert_eq!(
            same.as_ptr(),
            bytes.as_ptr(),
            "{} copied it",
            provider.spec().id
        );
        assert_eq!(same, bytes, "{}", provider.spec().id);
    }
}

#[test]
fn embedding_models_that_must_know_are_told_what_the_text_is() {
    let embed = |model, body: &'static str| {
        let request = Outgoing {
            translated: false,
            ..Outgoing::new(Operation::Embeddings, Dialect::OpenAiChat, model)
        };
        let vendor = find("nvidia_nim").expect("built in");
        vendor.adapt(Bytes::from_static(body.as_bytes()), &request)
    };
    let (model, body) = ("nvidia/nv-embedqa-e5-v5", r#"{"input":"a"}"#);
    assert_eq!(embed(model, body), r#"{"input":"a","input_type":"query"}"#);
    let said = r#"{"input":"a","input_type":"passage"}"#;
    assert_eq!(embed(model, said), said);
    assert_eq!(embed("baai/bge-m3", body), body);
}

#[test]
fn what_is_no_chat_request_passes() {
    for body in [
        "",
        "[]",
        "{",
        r#"{"messages":7,"seed":1}"#,
        r#"{"messages":[1,null,"x"],"stop":{}}"#,
    ] {
        for provider in all() {
            let out = adapted(provider.spec().id, "m", body);
            let is_json = |text: &str| serde_json::from_str::<Value>(text).is_ok();
            assert_eq!(is_json(&out), is_json(body), "{body}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn unknown_members_survive_every_vendor(name in "x_[a-z]{1,8}", number in any::<f64>(), text in ".{0,20}") {
        let raw = format!("[{number:?},{}]", Value::from(text));
        prop_assume!(serde_json::from_str::<Value>(&raw).is_ok());
        let body = format!(
            r#"{{"{name}":{raw},"max_completion_tokens":3,"messages":[{{"role":"developer","{name}":{raw}}}]}}"#
        );
        let wanted: Value = serde_json::from_str(&raw).expect("JSON");
        for provider in all() {
            let out = adapted(provider.spec().id, "m", &body);
            prop_assert!(out.contains(&raw), "{}: {}", provider.spec().id, out);
            let out: Value = serde_json::from_str(&out).expect("JSON");
            prop_assert_eq!(out.get(&name), Some(&wanted));
        }
    }
}
