//! What Gemini CLI and Antigravity share, and the exchanges of section G of `gemini_cli`.

use serde_json::{Map, Value, json};

use super::*;
use crate::dialects::chat::ChatRequest;
use crate::dialects::loss::Losses;
use crate::dialects::{Dialect, RequestHint, Target, codec};
use crate::providers::find;
use crate::providers::forms::Switches;
use crate::time::Timestamp;

/// A client's OpenAI request as the provider gets it, and the envelope it goes out in.
pub(super) struct Sent {
    pub(super) envelope: Value,
    pub(super) text: String,
}

pub(super) fn read(dialect: Dialect, body: &Value) -> ChatRequest {
    codec(dialect)
        .read_request(body.to_string().as_bytes(), RequestHint::default())
        .expect("a request")
}

pub(super) fn sent(provider: &str, request: &ChatRequest, switches: Switches) -> Sent {
    let adapter = find(provider).expect("built in");
    let target = Target::new(provider, &request.model);
    let body = codec(Dialect::Gemini)
        .write_request(request, &target, &mut Losses::default())
        .expect("a body");
    let facts: Map<String, Value> = serde_json::from_value(json!({
        "project_id": "proj-1", "tier": "standard-tier",
        "credits": [{"creditType": "GOOGLE_ONE_AI", "creditAmount": "123"}],
    }))
    .expect("facts");
    let account = AccountView::of_facts(&facts);
    let outgoing = Outgoing {
        account: Some(&account),
        session: Some(7),
        entropy: 9,
        now: Timestamp::from_millis(1_795_348_800_123),
        canonical: Some(request),
        switches,
        ..Outgoing::new(Operation::Chat, Dialect::Gemini, &request.model)
    };
    let adapted = adapter.adapt(body.into(), &outgoing);
    let text = String::from_utf8(adapter.wrap(adapted, &outgoing).to_vec()).expect("text");
    Sent {
        envelope: serde_json::from_str(&text).expect("JSON"),
        text,
    }
}

fn gemini_cli(body: &Value) -> Sent {
    sent(
        "gemini_cli",
        &read(Dialect::OpenAiChat, body),
        Switches::default(),
    )
}

#[test]
fn g1_a_plain_request_goes_out_byte_for_byte() {
    let sent = gemini_cli(
        &json!({"model": "gemini-2.5-flash", "stream": true, "messages": [
        {"role": "system", "content": "Be brief."}, {"role": "user", "content": "Say hi"}]}),
    );
    let prompt = sent.envelope["user_prompt_id"].as_str().expect("an id");
    let session = sent.envelope["request"]["session_id"]
        .as_str()
        .expect("an id");
    let expected = format!(
        r#"{{"model":"gemini-2.5-flash","project":"proj-1","user_prompt_id":"{prompt}","request":{{"session_id":"{session}","systemInstruction":{{"role":"user","parts":[{{"text":"Be brief."}}]}},"contents":[{{"role":"user","parts":[{{"text":"Say hi"}}]}}],"generationConfig":{{"maxOutputTokens":64000,"thinkingConfig":{{"thinkingBudget":-1,"includeThoughts":true}}}}}}}}"#
    );
    assert_eq!(sent.text, expected);
    assert_ne!(prompt, session);
}

#[test]
fn g2_results_stand_in_the_order_of_the_calls_with_ids_and_signature() {
    let call = |id: &str, city: &str| {
        json!({"id": id, "type": "function",
            "function": {"name": "get_weather", "arguments": format!("{{\"city\":\"{city}\"}}")}})
    };
    let mut first = call("c1", "Oslo");
    first["extra_content"] = json!({"google": {"thought_signature": "U0lHMQ=="}});
    for model in ["gemini-2.5-pro", "gemini-3-pro-preview"] {
        let sent = gemini_cli(&json!({"model": model, "messages": [
            {"role": "user", "content": "weather?"},
            {"role": "assistant", "content": null, "tool_calls": [first, call("c2", "Rome")]},
            {"role": "tool", "tool_call_id": "c2", "content": "19 C"},
            {"role": "tool", "tool_call_id": "c1", "content": "3 C"},
        ]}));
        let contents = sent.envelope["request"]["contents"]
            .as_array()
            .expect("contents");
        assert_eq!(
            contents[1..],
            [
                json!({"role": "model", "parts": [
                    {"functionCall": {"id": "c1", "name": "get_weather", "args": {"city": "Oslo"}}, "thoughtSignature": "U0lHMQ=="},
                    {"functionCall": {"id": "c2", "name": "get_weather", "args": {"city": "Rome"}}}]}),
                json!({"role": "user", "parts": [
                    {"functionResponse": {"id": "c1", "name": "get_weather", "response": {"result": "3 C"}}},
                    {"functionResponse": {"id": "c2", "name": "get_weather", "response": {"result": "19 C"}}}]}),
            ],
            "{model}"
        );
    }
}

#[test]
fn g3_a_lost_signature_has_its_stand_in() {
    let sent = gemini_cli(&json!({"model": "gemini-3-pro-preview", "messages": [
        {"role": "user", "content": "go"},
        {"role": "assistant", "tool_calls": [{"id": "old", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "old", "content": "x"},
    ]}));
    assert_eq!(
        sent.envelope["request"]["contents"][1]["parts"][0],
        json!({"functionCall": {"id": "old", "name": "f", "args": {}},
            "thoughtSignature": "skip_thought_signature_validator"})
    );
}

#[test]
fn a_turn_and_a_conversation_have_their_ids() {
    let request = read(
        Dialect::OpenAiChat,
        &json!({"model": "gemini-2.5-pro", "messages": [{"role": "user", "content": "x"}]}),
    );
    let first = sent("gemini_cli", &request, Switches::default()).envelope;
    let again = sent("gemini_cli", &request, Switches::default()).envelope;
    assert_eq!(first, again, "the same randomness gives the same ids");
    let id = first["request"]["session_id"].as_str().expect("an id");
    assert_eq!(id.len(), 36);
}

#[test]
fn credits_are_spent_only_with_consent() {
    let request = |model: &str| {
        read(
            Dialect::OpenAiChat,
            &json!({"model": model, "messages": [{"role": "user", "content": "x"}]}),
        )
    };
    let consent = Switches {
        spend_credits: true,
        ..Switches::default()
    };
    for (provider, model, switches, spends) in [
        ("gemini_cli", "gemini-3-pro-preview", consent, true),
        ("gemini_cli", "gemini-2.5-pro", consent, false),
        (
            "gemini_cli",
            "gemini-3-pro-preview",
            Switches::default(),
            false,
        ),
        ("antigravity", "gemini-pro-agent", consent, true),
        (
            "antigravity",
            "gemini-pro-agent",
            Switches::default(),
            false,
        ),
    ] {
        let sent = sent(provider, &request(model), switches);
        let spent = sent.text.contains("GOOGLE_ONE_AI");
        assert_eq!(spent, spends, "{provider} {model}");
    }
}

#[test]
fn the_guard_is_a_switch_and_for_gemini_3_only() {
    let body = |model: &str| {
        json!({"model": model, "messages": [{"role": "user", "content": "x"}], "tools": [
            {"type": "function", "function": {"name": "read", "parameters": {"type": "object",
                "properties": {"path": {"type": "string"}}, "required": ["path"]}}}]})
    };
    let on = Switches {
        guard_tools: true,
        ..Switches::default()
    };
    for (provider, model, switches, guarded) in [
        ("gemini_cli", "gemini-3-pro-preview", on, true),
        ("gemini_cli", "gemini-2.5-pro", on, false),
        (
            "gemini_cli",
            "gemini-3-pro-preview",
            Switches::default(),
            false,
        ),
        ("antigravity", "gemini-3.8-flash-high", on, true),
        ("antigravity", "claude-sonnet-4-6", on, false),
    ] {
        let request = read(Dialect::OpenAiChat, &body(model));
        let sent = sent(provider, &request, switches);
        assert_eq!(
            sent.text.contains("gemini3_read"),
            guarded,
            "{provider} {model}"
        );
    }
}

#[test]
fn tools_are_declared_in_the_form_of_each_service() {
    let body = json!({"model": "gemini-3-pro-preview", "messages": [{"role": "user", "content": "x"}], "tools": [
        {"type": "function", "function": {"name": "f", "strict": true, "parameters": {"type": "object", "$schema": "x",
            "properties": {"a": {"$ref": "#/$defs/A"}, "k": {"const": 1}}, "$defs": {"A": {"type": "string", "default": "d"}}}}}]});
    let request = read(Dialect::OpenAiChat, &body);
    let cli = sent("gemini_cli", &request, Switches::default()).envelope;
    assert_eq!(
        cli["request"]["tools"][0]["functionDeclarations"][0],
        json!({"name": "f", "parametersJsonSchema": {"type": "object", "properties": {
            "a": {"type": "string"}, "k": {"type": "string", "enum": ["1"]}}}})
    );
    let antigravity = sent("antigravity", &request, Switches::default()).envelope;
    let declaration = &antigravity["request"]["tools"][0]["functionDeclarations"][0];
    assert_eq!(declaration["parameters"]["required"], json!(["reason"]));
    assert!(declaration.get("parametersJsonSchema").is_none());
}

#[test]
fn searching_and_functions_do_not_mix() {
    let body = json!({"contents": [{"role": "user", "parts": [{"text": "x"}]}], "tools": [
        {"functionDeclarations": [{"name": "f"}]}, {"googleSearch": {}}]});
    let mut request = read(Dialect::Gemini, &body);
    "gemini-3-pro-preview".clone_into(&mut request.model);
    for provider in ["gemini_cli", "antigravity"] {
        let sent = sent(provider, &request, Switches::default());
        assert!(!sent.text.contains("googleSearch"), "{}", sent.text);
        assert!(!sent.text.contains("includeServerSide"), "{}", sent.text);
    }
}

#[test]
fn a_count_is_asked_without_project_and_model_at_the_top() {
    let body = json!({"generateContentRequest": {"model": "models/gemini-2.5-pro",
        "systemInstruction": {"parts": [{"text": "S"}]}, "contents": [{"role": "user", "parts": [{"text": "x"}]}],
        "tools": [{"functionDeclarations": []}], "generationConfig": {}}});
    for (provider, model, named) in [
        ("gemini_cli", "gemini-2.5-pro", "models/gemini-2.5-pro"),
        (
            "antigravity",
            "gemini-3.1-pro-high",
            "models/gemini-pro-agent",
        ),
    ] {
        let adapter = find(provider).expect("built in");
        let request = Outgoing::new(Operation::CountTokens, Dialect::Gemini, model);
        let adapted = adapter.adapt(body.to_string().into(), &request);
        let wrapped: Value =
            serde_json::from_slice(&adapter.wrap(adapted, &request)).expect("JSON");
        assert_eq!(
            wrapped,
            json!({"request": {"model": named, "contents": [
                {"role": "user", "parts": [{"text": "S"}, {"text": "[{\"functionDeclarations\":[]}]"}]},
                {"role": "user", "parts": [{"text": "x"}]}]}})
        );
    }
}

#[test]
fn urls_take_hosts_with_and_without_the_version() {
    for base in [
        "https://h",
        "https://h/",
        "https://h/v1internal",
        "https://h/v1internal/",
    ] {
        assert_eq!(
            url(base, ":countTokens"),
            "https://h/v1internal:countTokens"
        );
        assert_eq!(
            url(base, "/operations/x"),
            "https://h/v1internal/operations/x"
        );
        let elsewhere = url(base, "//other.googleapis.com/v1/projects");
        assert_eq!(elsewhere, "https://h/v1/projects");
    }
    let elsewhere = url(PRODUCTION, "//other.googleapis.com/v1/projects");
    assert_eq!(elsewhere, "https://other.googleapis.com/v1/projects");
    for provider in ["gemini_cli", "antigravity"] {
        let adapter = find(provider).expect("built in");
        let path = |operation, stream| adapter.path(operation, Dialect::Gemini, "m", stream);
        assert_eq!(path(Operation::Chat, false), ":generateContent");
        assert_eq!(
            path(Operation::Chat, true),
            ":streamGenerateContent?alt=sse"
        );
        assert_eq!(path(Operation::CountTokens, false), ":countTokens");
    }
}

#[test]
fn the_envelope_is_opened_and_errors_stay() {
    for (payload, inside) in [
        (
            r#"{"response":{"candidates":[]},"traceId":"t"}"#,
            r#"{"candidates":[]}"#,
        ),
        (r#"{"error":{"code":429}}"#, r#"{"error":{"code":429}}"#),
        (r#"{"totalTokens":7}"#, r#"{"totalTokens":7}"#),
        ("[DONE]", "[DONE]"),
    ] {
        assert_eq!(unwrap(Bytes::from_static(payload.as_bytes())), inside);
    }
}

#[test]
fn the_client_is_named_unless_the_config_names_it_and_foreign_headers_stay_behind() {
    for (provider, model, begins) in [
        (
            "gemini_cli",
            "gemini-2.5-pro",
            "GeminiCLI/0.54.0/gemini-2.5-pro (",
        ),
        ("antigravity", "gemini-pro-agent", "antigravity/cli/1.2.1 "),
    ] {
        let adapter = find(provider).expect("built in");
        let mut headers = HeaderMap::new();
        for name in [
            "user-agent",
            "x-stainless-os",
            "session_id",
            "anthropic-beta",
            "accept",
        ] {
            headers.insert(name, HeaderValue::from_static("client"));
        }
        adapter.headers(Dialect::Gemini, &mut headers);
        assert_eq!(headers.len(), 1);
        let request = Outgoing::new(Operation::Chat, Dialect::Gemini, model);
        adapter.sign("t", &request, b"", &mut headers);
        let named = headers[header::USER_AGENT].to_str().expect("text");
        assert!(
            named.starts_with(begins) && named.contains("llmproxy/"),
            "{named}"
        );
        headers.insert(header::USER_AGENT, HeaderValue::from_static("mine"));
        adapter.sign("t", &request, b"", &mut headers);
        assert_eq!(headers[header::USER_AGENT], "mine");
    }
}

#[test]
fn an_account_is_tested_by_its_tier() {
    for provider in ["gemini_cli", "antigravity"] {
        let adapter = find(provider).expect("built in");
        assert_eq!(adapter.key_test().path, ":loadCodeAssist");
        let headers = HeaderMap::new();
        let says = |status: u16, body: &Value| {
            adapter.read_key_test(&crate::providers::Answer {
                status,
                headers: &headers,
                body: body.to_string().as_bytes(),
                model: "",
                received: Timestamp::default(),
            })
        };
        assert_eq!(
            says(200, &json!({"currentTier": {"id": "standard-tier"}})),
            Ok(())
        );
        let refused = says(
            200,
            &json!({"ineligibleTiers": [{"reasonCode": "UNSUPPORTED_CLIENT"}]}),
        );
        assert!(refused.is_err());
        assert_eq!(says(200, &json!({"allowedTiers": []})), Ok(()));
        assert!(says(200, &json!({})).is_err());
        assert!(says(401, &json!({"error": {"code": 401}})).is_err());
    }
}
