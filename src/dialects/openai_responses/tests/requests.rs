//! Requests, both ways.

use serde_json::json;

use super::*;
use crate::dialects::chat::{
    Effort, Media, MediaSource, ResponseFormat, Thinking, ToolChoice, ToolKind,
};
use crate::dialects::signature::tag;

fn texts(message: &Message) -> Vec<&str> {
    message
        .parts
        .iter()
        .filter_map(|part| match part {
            Part::Text(text) => Some(text.text.as_str()),
            _ => None,
        })
        .collect()
}

/// The body for a native upstream, and what was lost.
fn written(request: &ChatRequest, model: &str) -> (Value, Vec<String>) {
    let mut losses = Losses::default();
    let body = OpenAiResponses
        .write_request(request, &Target::new("openai", model), &mut losses)
        .expect("a body");
    (parsed(&body), losses.paths().to_vec())
}

#[test]
fn case_81_a_text_is_one_user_message_and_instructions_are_system() {
    let request =
        read(&json!({"model": "m", "input": "hi", "instructions": "be kind", "stream": true}));
    assert_eq!(request.messages.len(), 1);
    assert_eq!(request.messages[0].role, Role::User);
    assert_eq!(texts(&request.messages[0]), ["hi"]);
    assert!(matches!(&request.system[..], [Part::Text(text)] if text.text == "be kind"));
    assert!(request.stream);
}

#[test]
fn case_82_items_become_turns() {
    let request = read(&json!({"input": [
        {"role": "user", "content": "go"},
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}], "encrypted_content": "gAAA"},
        {"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}"},
        {"type": "function_call", "call_id": "b", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "a", "output": "1"},
        {"type": "function_call_output", "call_id": "b", "output": "2"},
    ]}));
    let roles: Vec<Role> = request
        .messages
        .iter()
        .map(|message| message.role)
        .collect();
    assert_eq!(roles, [Role::User, Role::Assistant, Role::Tool]);
    let [
        Part::Thinking(thinking),
        Part::ToolCall(a),
        Part::ToolCall(b),
    ] = &request.messages[1].parts[..]
    else {
        panic!("{:?}", request.messages[1]);
    };
    assert_eq!(thinking.text, "hm");
    assert_eq!(
        thinking.signature,
        Some(tag(Dialect::OpenAiResponses, "gAAA"))
    );
    assert_eq!((a.id.as_str(), b.id.as_str()), ("a", "b"));
    assert_eq!(request.messages[2].parts.len(), 2);
}

#[test]
fn case_83_a_message_between_call_and_output_comes_after_it() {
    let request = read(&json!({"input": [
        {"role": "user", "content": "go"},
        {"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}"},
        {"role": "user", "content": "wait"},
        {"type": "function_call_output", "call_id": "a", "output": "1"},
    ]}));
    let (body, _) = written(&request, "gpt-5.1");
    let kinds: Vec<&str> = body["input"]
        .as_array()
        .expect("items")
        .iter()
        .map(|item| item["type"].as_str().expect("a type"))
        .collect();
    assert_eq!(
        kinds,
        [
            "message",
            "function_call",
            "function_call_output",
            "message"
        ]
    );
}

#[test]
fn case_84_free_text_tools_are_known_as_such() {
    let request = read(&json!({
    "tools": [{"type": "custom", "name": "apply_patch", "format": {"type": "grammar"}}],
    "input": [
        {"type": "custom_tool_call", "call_id": "c", "name": "apply_patch", "input": "*** Begin"},
        {"type": "custom_tool_call_output", "call_id": "c", "output": "done"},
        {"role": "user", "content": "and"},
    ]}));
    assert!(matches!(
        &request.tools[..],
        [Tool::Custom {
            format: Some(_),
            ..
        }]
    ));
    assert!(matches!(&request.messages[0].parts[..],
        [Part::ToolCall(call)] if call.kind == ToolKind::Custom && call.arguments == "*** Begin"));
    let (body, _) = written(&request, "gpt-5.1");
    assert_eq!(body["input"][0]["type"], "custom_tool_call");
    assert_eq!(body["input"][0]["input"], "*** Begin");
    assert_eq!(body["input"][1]["type"], "custom_tool_call_output");
}

#[test]
fn case_85_namespaces_become_prefixes() {
    let request = read(&json!({
        "tools": [{"type": "namespace", "name": "crm", "tools": [
            {"type": "function", "name": "list", "parameters": {"type": "object"}}]}],
        "input": [{"type": "function_call", "call_id": "c", "namespace": "crm", "name": "list", "arguments": "{}"}],
    }));
    assert!(
        matches!(&request.tools[..], [Tool::Function(function)] if function.name == "crm__list")
    );
    assert!(matches!(&request.messages[0].parts[..],
        [Part::ToolCall(call)] if call.name == "crm__list"));
}

#[test]
fn case_86_hosted_tools_pass_only_to_their_vendor() {
    let request =
        read(&json!({"tools": [{"type": "web_search"}], "tool_choice": "auto", "input": "hi"}));
    let (body, losses) = written(&request, "gpt-5.1");
    assert_eq!(body["tools"], json!([{"type": "web_search"}]));
    assert!(losses.is_empty());
}

#[test]
fn case_93_an_output_may_hold_text_and_pictures() {
    let request = read(&json!({"input": [
        {"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "a", "output": [
            {"type": "input_text", "text": "see"},
            {"type": "input_image", "image_url": "data:image/png;base64,iVBORw0KGgo=", "detail": "low"}]},
    ]}));
    let [Part::ToolResult(result)] = &request.messages[1].parts[..] else {
        panic!("no result");
    };
    assert!(matches!(&result.parts[..], [Part::Text(_), Part::Media(_)]));
    let (body, _) = written(&request, "gpt-5.1");
    assert_eq!(
        body["input"][1]["output"][1]["image_url"],
        "data:image/png;base64,iVBORw0KGgo="
    );
}

#[test]
fn codex_items_are_never_refused() {
    let request = read(&json!({"input": [
        {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "rules"}]},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "go"}]},
        {"type": "message", "role": "assistant", "phase": "commentary", "content": [{"type": "output_text", "text": "ok"}]},
        {"type": "local_shell_call", "call_id": "s", "status": "completed", "action": {"type": "exec", "command": ["ls"]}},
        {"type": "function_call_output", "call_id": "s", "output": "files"},
        {"type": "web_search_call", "id": "w", "status": "completed"},
        {"type": "tool_search_call", "x": 1},
        {"type": "compaction", "encrypted_content": "x"},
        {"type": "additional_tools", "role": "developer", "tools": [{"type": "function", "name": "late"}]},
        {"type": "something_new"},
    ], "client_metadata": {"a": "b"}, "prompt_cache_key": "k", "include": ["reasoning.encrypted_content"],
       "reasoning": {"effort": "high", "summary": "auto"}, "text": {"verbosity": "low"}, "store": false}));
    assert_eq!(request.system.len(), 1);
    assert!(matches!(&request.tools[..], [Tool::Function(function)] if function.name == "late"));
    assert_eq!(request.reasoning.effort, Some(Effort::High));
    assert_eq!(request.reasoning.show, Some(true));
    let (body, losses) = written(&request, "gpt-5.1-codex");
    assert!(losses.is_empty(), "{losses:?}");
    assert_eq!(body["text"]["verbosity"], "low");
    assert_eq!(
        body["reasoning"],
        json!({"effort": "high", "summary": "auto"})
    );
    assert_eq!(body["prompt_cache_key"], "k");
    assert_eq!(body["store"], false);
    let assistant = &body["input"][1];
    assert_eq!(
        (&assistant["role"], &assistant["phase"]),
        (&json!("assistant"), &json!("commentary"))
    );
    assert!(body.to_string().contains("something_new"));
}

#[test]
fn signatures_of_every_maker_come_back_to_the_part_they_sign() {
    let gemini = tag(Dialect::Gemini, "U0lH");
    let claude = tag(Dialect::Anthropic, "abc");
    let request = read(&json!({"input": [
        {"role": "user", "content": "go"},
        {"type": "reasoning", "summary": [], "encrypted_content": format!("llmproxy/redacted/{claude}")},
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}], "encrypted_content": claude},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "so"}]},
        {"type": "reasoning", "summary": [], "encrypted_content": format!("llmproxy/last/{gemini}")},
        {"type": "reasoning", "summary": [], "encrypted_content": format!("llmproxy/next/{gemini}")},
        {"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}"},
    ]}));
    let [
        Part::RedactedThinking { data },
        Part::Thinking(thinking),
        Part::Text(text),
        Part::ToolCall(call),
    ] = &request.messages[1].parts[..]
    else {
        panic!("{:?}", request.messages[1]);
    };
    assert_eq!(*data, claude);
    assert_eq!(thinking.signature.as_deref(), Some(claude.as_str()));
    assert_eq!(text.signature.as_deref(), Some(gemini.as_str()));
    assert_eq!(call.signature.as_deref(), Some(gemini.as_str()));
}

#[test]
fn tool_choice_goes_there_and_back() {
    for choice in [
        json!("none"),
        json!("auto"),
        json!("required"),
        json!({"type": "function", "name": "f"}),
        json!({"type": "custom", "name": "c"}),
        json!({"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "f"}]}),
    ] {
        let request = read(
            &json!({"tools": [{"type": "function", "name": "f", "parameters": {}},
            {"type": "custom", "name": "c"}], "tool_choice": choice, "input": "hi"}),
        );
        let (body, _) = written(&request, "gpt-5.1");
        assert_eq!(body["tool_choice"], choice);
    }
    let hosted = read(&json!({"tool_choice": {"type": "web_search"}, "input": "hi"}));
    assert_eq!(hosted.tool_choice, Some(ToolChoice::Auto));
}

#[test]
fn what_needs_jobs_or_stored_prompts_is_refused_by_name() {
    for (name, value) in [
        ("background", json!(true)),
        ("conversation", json!("c")),
        ("prompt", json!({"id": "p"})),
    ] {
        let mut body = json!({"input": "hi"});
        body[name] = value;
        let error = OpenAiResponses
            .read_request(body.to_string().as_bytes(), RequestHint::default())
            .expect_err("refused");
        assert!(matches!(&error, ReadError::Field(field) if field.name == name));
    }
    read(&json!({"input": "hi", "background": false, "conversation": null}));
}

#[test]
fn wrong_types_name_the_member() {
    for (body, name) in [
        (r#"{"input":7}"#, "input"),
        (r#"{"input":[7]}"#, "input"),
        (r#"{"input":"x","temperature":"hot"}"#, "temperature"),
        (
            r#"{"input":[{"role":"user","content":[{"type":"input_image"}]}]}"#,
            "image_url",
        ),
        (r#"{"input":"x","tools":{}}"#, "tools"),
    ] {
        let error = OpenAiResponses
            .read_request(body.as_bytes(), RequestHint::default())
            .expect_err(body);
        assert!(
            matches!(&error, ReadError::Field(field) if field.name == name),
            "{error:?}"
        );
    }
}

#[test]
fn a_chat_clients_request_is_written_for_a_native_upstream() {
    let mut request = ChatRequest::new(Dialect::OpenAiChat, "m");
    request.system = vec![Part::text("S")];
    request.messages = vec![Message {
        role: Role::User,
        parts: vec![
            Part::text("look"),
            Part::Media(Media {
                kind: crate::dialects::chat::MediaKind::Document,
                source: MediaSource::Base64 {
                    mime: "application/pdf".into(),
                    data: "JVBERi0=".into(),
                },
                detail: None,
                filename: Some("a.pdf".into()),
                cache_control: None,
                extra: Extra::default(),
            }),
        ],
        extra: Extra::default(),
    }];
    request.tools = vec![Tool::Function(crate::dialects::chat::Function {
        name: "f".into(),
        description: None,
        parameters: None,
        strict: None,
        cache_control: None,
        extra: Extra::default(),
    })];
    request.format = ResponseFormat::JsonSchema {
        name: None,
        description: None,
        schema: raw("{}"),
        strict: Some(true),
    };
    request.reasoning.effort = Some(Effort::Low);
    request.stop = vec!["x".into()];
    request.temperature = Some(0.5);
    request.max_tokens = Some(10);
    request.extra.0.push(("logit_bias".into(), raw("{}")));
    let (body, losses) = written(&request, "gpt-5.1");
    assert_eq!(losses, ["temperature", "stop", "logit_bias"]);
    assert_eq!(
        body,
        json!({"model": "gpt-5.1", "instructions": "S", "input": [
            {"type": "message", "role": "user", "content": [
                {"type": "input_text", "text": "look"},
                {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0="},
            ]}],
            "tools": [{"type": "function", "name": "f", "parameters": {"type": "object", "properties": {}}, "strict": false}],
            "max_output_tokens": 10,
            "reasoning": {"effort": "low", "summary": "auto"},
            "text": {"format": {"type": "json_schema", "name": "answer", "schema": {}, "strict": true}},
            "store": false, "include": ["reasoning.encrypted_content"], "stream": false})
    );
    request.candidates = Some(2);
    let error = OpenAiResponses
        .write_request(
            &request,
            &Target::new("openai", "gpt-5.1"),
            &mut Losses::default(),
        )
        .expect_err("one at a time");
    assert_eq!((error.status, error.param.as_deref()), (400, Some("n")));
}

#[test]
fn foreign_thinking_stays_behind_and_is_named() {
    let mut request = ChatRequest::new(Dialect::Anthropic, "m");
    let thinking = |maker, signature| {
        Part::Thinking(Thinking {
            text: "hm".into(),
            signature: Some(tag(maker, signature)),
            extra: Extra::default(),
        })
    };
    request.messages = vec![Message {
        role: Role::Assistant,
        parts: vec![
            thinking(Dialect::Anthropic, "abc"),
            thinking(Dialect::OpenAiResponses, "gAAA"),
        ],
        extra: Extra::default(),
    }];
    let (body, losses) = written(&request, "gpt-5.1");
    assert_eq!(losses, ["messages[].thinking"]);
    assert_eq!(
        body["input"],
        json!([{"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}], "encrypted_content": "gAAA"}])
    );
}

#[test]
fn what_claude_code_says_of_itself_is_for_anthropic() {
    let mut request = ChatRequest::new(Dialect::Anthropic, "m");
    request.system = vec![
        Part::text("x-anthropic-billing-header: cc_version=2"),
        Part::text("be kind"),
    ];
    request.user = Some(r#"{"device_id":"d","account_uuid":"","session_id":"s"}"#.repeat(2));
    let (body, losses) = written(&request, "gpt-5.1");
    assert_eq!(body["instructions"], "be kind");
    let user = body["user"].as_str();
    assert!(user.is_some_and(|user| user.starts_with("user_") && user.len() <= 64));
    assert!(losses.is_empty());
}
