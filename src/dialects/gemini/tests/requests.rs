//! Requests, both ways.

use serde_json::json;

use super::*;
use crate::dialects::chat::{
    Effort, Media, MediaKind, MediaSource, ResponseFormat, ToolChoice, ToolKind,
};
use crate::dialects::signature::tag;

#[test]
fn case_49_responses_stand_in_the_order_of_their_calls_with_names_from_history() {
    let history = vec![
        says("go"),
        calls(&["c1", "c2"]),
        answers("c2", "2"),
        answers("c1", "1"),
    ];
    let (body, losses) = written(&request(history), "gemini-2.5-pro");
    assert_eq!(
        body["contents"][2],
        json!({"role": "user", "parts": [
            {"functionResponse": {"name": "f_c1", "response": {"result": "1"}}},
            {"functionResponse": {"name": "f_c2", "response": {"result": "2"}}},
        ]})
    );
    assert!(losses.is_empty(), "{losses:?}");
}

#[test]
fn case_50_a_result_is_an_object_as_it_is_or_wrapped() {
    for (text, expected) in [
        (r#"{"t":1}"#, json!({"t": 1})),
        ("plain", json!({"result": "plain"})),
        ("[1,2]", json!({"result": "[1,2]"})),
        ("{bad", json!({"result": "{bad"})),
    ] {
        let history = vec![says("go"), calls(&["c"]), answers("c", text)];
        let (body, _) = written(&request(history), "gemini-2.5-pro");
        let response = &body["contents"][2]["parts"][0]["functionResponse"]["response"];
        assert_eq!(*response, expected, "{text}");
    }
}

#[test]
fn case_51_calls_without_signature_bear_the_documented_stand_in_from_gemini_3_on() {
    let history = vec![
        says("go"),
        calls(&["c1", "c2"]),
        answers("c1", "1"),
        answers("c2", "2"),
    ];
    let (body, _) = written(&request(history.clone()), "gemini-3-flash-preview");
    let parts = &body["contents"][1]["parts"];
    assert_eq!(
        parts[0]["thoughtSignature"],
        "skip_thought_signature_validator"
    );
    assert!(parts[1].get("thoughtSignature").is_none());
    assert_eq!(parts[0]["functionCall"]["id"], "c1");
    let (body, _) = written(&request(history), "gemini-2.5-flash");
    let text = body.to_string();
    assert!(
        !text.contains("\"id\"") && !text.contains("thoughtSignature"),
        "{text}"
    );
}

#[test]
fn own_signatures_go_back_and_foreign_ones_do_not() {
    for (maker, expected) in [
        (Dialect::Gemini, json!("U0lH")),
        (
            Dialect::Anthropic,
            json!("skip_thought_signature_validator"),
        ),
    ] {
        let mut call = ToolCall::function("c", "f", "{}");
        call.signature = Some(tag(maker, "U0lH"));
        let history = vec![
            says("go"),
            message(Role::Assistant, vec![Part::ToolCall(call)]),
        ];
        let (body, _) = written(&request(history), "gemini-3-pro");
        assert_eq!(
            body["contents"][1]["parts"][0]["thoughtSignature"],
            expected
        );
    }
}

#[test]
fn case_52_effort_is_a_budget_or_a_level_by_model() {
    for (effort, model, expected) in [
        (
            Effort::Low,
            "gemini-2.5-flash",
            json!({"thinkingBudget": 1024, "includeThoughts": true}),
        ),
        (
            Effort::Low,
            "gemini-3.1-pro-preview",
            json!({"thinkingLevel": "low", "includeThoughts": true}),
        ),
        (
            Effort::None,
            "gemini-2.5-flash",
            json!({"thinkingBudget": 0, "includeThoughts": false}),
        ),
        (
            Effort::None,
            "gemini-2.5-pro",
            json!({"thinkingBudget": 128, "includeThoughts": false}),
        ),
        (
            Effort::None,
            "gemini-3-pro-preview",
            json!({"thinkingLevel": "low", "includeThoughts": false}),
        ),
        (
            Effort::Max,
            "gemini-2.5-pro",
            json!({"thinkingBudget": 32768, "includeThoughts": true}),
        ),
        (
            Effort::Auto,
            "gemini-2.5-pro",
            json!({"thinkingBudget": -1, "includeThoughts": true}),
        ),
        (
            Effort::Auto,
            "gemini-3-flash-preview",
            json!({"includeThoughts": true}),
        ),
    ] {
        let mut request = request(vec![says("hi")]);
        request.reasoning.effort = Some(effort);
        let (body, losses) = written(&request, model);
        assert_eq!(
            body["generationConfig"]["thinkingConfig"], expected,
            "{effort:?} {model}"
        );
        assert!(losses.is_empty());
    }
    let mut request = request(vec![says("hi")]);
    request.reasoning.effort = Some(Effort::High);
    let (body, losses) = written(&request, "gemini-2.0-flash");
    assert!(body.get("generationConfig").is_none());
    assert_eq!(losses, ["reasoning"]);
}

#[test]
fn case_53_penalties_go_only_to_models_that_take_them() {
    let mut request = request(vec![says("hi")]);
    request.frequency_penalty = Some(0.5);
    let (body, losses) = written(&request, "gemini-3-flash-preview");
    assert!(body.get("generationConfig").is_none());
    assert_eq!(losses, ["frequency_penalty"]);
    let (body, losses) = written(&request, "gemini-2.5-flash");
    assert_eq!(body["generationConfig"]["frequencyPenalty"], 0.5);
    assert!(losses.is_empty());
}

#[test]
fn case_54_a_schema_beside_tools_becomes_a_note_before_gemini_3() {
    let mut request = request(vec![says("hi")]);
    request.tools = vec![function(
        "f",
        r#"{"type":"object","properties":{"a":{"type":"string"}}}"#,
    )];
    request.format = ResponseFormat::JsonSchema {
        name: None,
        description: None,
        schema: raw(r#"{"type":"object"}"#),
        strict: None,
    };
    let (body, _) = written(&request, "gemini-2.5-flash");
    assert!(body.get("generationConfig").is_none());
    let note = body["systemInstruction"]["parts"][0]["text"]
        .as_str()
        .expect("a note");
    assert!(note.contains(r#"{"type":"object"}"#));
    let (body, _) = written(&request, "gemini-3-flash-preview");
    assert_eq!(
        body["generationConfig"],
        json!({"responseMimeType": "application/json", "responseJsonSchema": {"type": "object"}})
    );
    assert!(body.get("systemInstruction").is_none());
}

#[test]
fn case_43_numbers_in_enums_stay_in_json_schema_and_become_strings_before_2_5() {
    let mut request = request(vec![says("hi")]);
    let schema = r#"{"type":"object","properties":{"n":{"enum":[1,2],"type":"integer"}}}"#;
    request.tools = vec![function("f", schema)];
    let (body, _) = written(&request, "gemini-2.5-flash");
    let declaration = &body["tools"][0]["functionDeclarations"][0];
    assert_eq!(
        declaration["parametersJsonSchema"]["properties"]["n"]["enum"],
        json!([1, 2])
    );
    let (body, _) = written(&request, "gemini-2.0-flash");
    let declaration = &body["tools"][0]["functionDeclarations"][0];
    assert_eq!(
        declaration["parameters"]["properties"]["n"],
        json!({"type": "STRING", "enum": ["1", "2"]})
    );
}

#[test]
fn arguments_in_history_never_change() {
    let arguments = r#"{"z": 1.0, "$ref": "x", "const": 12345678901234567890, "a": "\u0041"}"#;
    let call = ToolCall::function("c", "f", arguments);
    let history = vec![
        says("go"),
        message(Role::Assistant, vec![Part::ToolCall(call)]),
    ];
    let mut losses = Losses::default();
    let body = Gemini
        .write_request(
            &request(history),
            &Target::new("antigravity", "gemini-3-pro"),
            &mut losses,
        )
        .expect("a body");
    let body = String::from_utf8(body).expect("text");
    assert!(body.contains(arguments), "{body}");
}

#[test]
fn tool_choice_speaks_of_modes_and_names() {
    let two = vec!["a".to_owned(), "b".to_owned()];
    for (choice, expected) in [
        (ToolChoice::Auto, json!({"mode": "AUTO"})),
        (ToolChoice::None, json!({"mode": "NONE"})),
        (ToolChoice::Required, json!({"mode": "ANY"})),
        (
            ToolChoice::Tool("a".into()),
            json!({"mode": "ANY", "allowedFunctionNames": ["a"]}),
        ),
        (
            ToolChoice::Allowed {
                names: two.clone(),
                required: false,
            },
            json!({"mode": "VALIDATED", "allowedFunctionNames": ["a", "b"]}),
        ),
        (
            ToolChoice::Allowed {
                names: two,
                required: true,
            },
            json!({"mode": "ANY", "allowedFunctionNames": ["a", "b"]}),
        ),
    ] {
        let mut request = request(vec![says("hi")]);
        request.tools = vec![function("a", "{}"), function("b", "{}")];
        request.tool_choice = Some(choice.clone());
        let (body, _) = written(&request, "gemini-2.5-flash");
        assert_eq!(body["toolConfig"]["functionCallingConfig"], expected);
        let back = read(&body.to_string());
        assert_eq!(back.tool_choice, Some(choice));
    }
}

#[test]
fn a_free_text_tool_is_a_function_with_one_text() {
    let mut call = ToolCall::function("c", "apply_patch", "*** Begin \"x\"");
    call.kind = ToolKind::Custom;
    let mut request = request(vec![
        says("go"),
        message(Role::Assistant, vec![Part::ToolCall(call)]),
    ]);
    request.tools = vec![Tool::Custom {
        name: "apply_patch".into(),
        description: None,
        format: Some(raw(r#"{"type":"grammar"}"#)),
    }];
    let (body, _) = written(&request, "gemini-2.5-flash");
    let args = &body["contents"][1]["parts"][0]["functionCall"]["args"];
    assert_eq!(*args, json!({"input": "*** Begin \"x\""}));
    let declaration = &body["tools"][0]["functionDeclarations"][0];
    assert_eq!(
        declaration["parametersJsonSchema"]["required"],
        json!(["input"])
    );
}

#[test]
fn searching_beside_functions_needs_gemini_3() {
    let mut request = request(vec![says("hi")]);
    request.tools = vec![
        function("f", "{}"),
        Tool::Hosted {
            dialect: Dialect::Anthropic,
            json: raw(r#"{"type":"web_search_20250305","name":"web_search"}"#),
        },
    ];
    let (body, losses) = written(&request, "gemini-2.5-flash");
    assert_eq!(body["tools"].as_array().map(Vec::len), Some(1));
    assert_eq!(losses, ["tools[1]"]);
    let (body, losses) = written(&request, "gemini-3-flash-preview");
    assert_eq!(body["tools"][1], json!({"googleSearch": {}}));
    assert_eq!(body["toolConfig"]["includeServerSideToolInvocations"], true);
    assert!(losses.is_empty());
}

#[test]
fn media_goes_inline_and_links_need_fetching() {
    let media = |source| Media {
        kind: MediaKind::Image,
        source,
        detail: Some("low".into()),
        filename: None,
        cache_control: None,
        extra: Extra::default(),
    };
    let inline = media(MediaSource::Base64 {
        mime: "image/png".into(),
        data: "iVBORw0KGgo=".into(),
    });
    let (body, losses) = written(
        &request(vec![message(Role::User, vec![Part::Media(inline.clone())])]),
        "gemini-3-flash-preview",
    );
    assert_eq!(
        body["contents"][0]["parts"],
        json!([
            {"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="},
             "mediaResolution": {"level": "MEDIA_RESOLUTION_LOW"}},
            {"text": " "},
        ])
    );
    assert!(losses.is_empty());
    let link = media(MediaSource::Url {
        url: "https://x.example/a.png?secret=1".into(),
        mime: None,
    });
    let error = Gemini
        .write_request(
            &request(vec![message(Role::User, vec![Part::Media(link)])]),
            &Target::new("gemini", "gemini-2.5-flash"),
            &mut Losses::default(),
        )
        .expect_err("a link cannot be read");
    assert_eq!(error.status, 400);
    assert!(error.message.contains("fetch_remote_media") && !error.message.contains("secret"));
    let own = media(MediaSource::Url {
        url: "gs://bucket/a.png".into(),
        mime: None,
    });
    let (body, _) = written(
        &request(vec![message(Role::User, vec![Part::Media(own)])]),
        "gemini-2.5-flash",
    );
    assert_eq!(
        body["contents"][0]["parts"][0]["fileData"],
        json!({"mimeType": "image/png", "fileUri": "gs://bucket/a.png"})
    );
}

#[test]
fn tool_result_images_stand_inside_the_response_from_gemini_3_on() {
    let image = Part::Media(Media {
        kind: MediaKind::Image,
        source: MediaSource::Base64 {
            mime: "image/png".into(),
            data: "iVBORw0KGgo=".into(),
        },
        // Codex asks for it; a response's part has no member for it.
        detail: Some("high".into()),
        filename: None,
        cache_control: None,
        extra: Extra::default(),
    });
    let mut result = ToolResult::text("c", "seen");
    result.parts.push(image);
    let history = vec![
        says("go"),
        calls(&["c"]),
        message(Role::Tool, vec![Part::ToolResult(result)]),
    ];
    let (body, _) = written(&request(history.clone()), "gemini-3-flash-preview");
    let parts = &body["contents"][2]["parts"];
    assert_eq!(
        parts[0]["functionResponse"]["parts"],
        json!([{"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}}])
    );
    let (body, _) = written(&request(history), "gemini-2.5-flash");
    let parts = &body["contents"][2]["parts"];
    assert_eq!(parts[1]["inlineData"]["mimeType"], "image/png");
}

#[test]
fn what_claude_code_says_of_itself_is_for_anthropic() {
    let mut request = request(vec![says("go")]);
    request.system = vec![
        Part::text("x-anthropic-billing-header: cc_version=2"),
        Part::text("be kind"),
    ];
    let (body, _) = written(&request, "gemini-2.5-flash");
    assert_eq!(
        body["systemInstruction"]["parts"],
        json!([{"text": "be kind"}])
    );
}

#[test]
fn contents_are_never_empty_and_begin_with_the_user() {
    let mut only_system = request(Vec::new());
    only_system.system = vec![Part::text("be kind")];
    let (body, _) = written(&only_system, "gemini-2.5-flash");
    assert_eq!(
        body["contents"],
        json!([{"role": "user", "parts": [{"text": " "}]}])
    );
    assert_eq!(
        body["systemInstruction"]["parts"],
        json!([{"text": "be kind"}])
    );
    let (body, _) = written(&only_system, "gemma-3-27b-it");
    assert_eq!(
        body["contents"],
        json!([{"role": "user", "parts": [{"text": "be kind"}]}])
    );
    let begun = request(vec![
        message(Role::Assistant, vec![Part::text("I")]),
        says("you"),
    ]);
    let (body, _) = written(&begun, "gemini-2.5-flash");
    assert_eq!(body["contents"][0]["role"], "user");
    assert_eq!(body["contents"].as_array().map(Vec::len), Some(3));
}

#[test]
fn neighbours_of_one_role_are_one_content_and_late_system_text_is_the_users() {
    let history = vec![
        says("a"),
        message(Role::System, vec![Part::text("late")]),
        says("b"),
    ];
    let (body, _) = written(&request(history), "gemini-2.5-flash");
    let contents = body["contents"].as_array().expect("contents");
    assert_eq!(contents.len(), 1);
    let texts = contents[0]["parts"].as_array().expect("parts");
    assert_eq!(texts.len(), 3);
    assert!(texts[1]["text"].as_str().expect("text").contains("late"));
}

#[test]
fn a_gemini_request_is_read_with_both_spellings() {
    let request = read(
        r#"{"system_instruction":"S","contents":{"role":"user","parts":[{"text":"hi"}]},
        "generation_config":{"max_output_tokens":"5","topK":40.0,"thinkingConfig":{"thinking_budget":0},
          "responseModalities":["IMAGE"],"response_mime_type":"application/json"},
        "safetySettings":[{"category":"X","threshold":"OFF"}],"tools":{"googleSearch":{}}}"#,
    );
    assert!(request.stream);
    assert_eq!((request.max_tokens, request.top_k), (Some(5), Some(40)));
    assert_eq!(request.reasoning.budget, Some(0));
    assert!(matches!(request.format, ResponseFormat::JsonObject));
    assert!(matches!(&request.system[..], [Part::Text(text)] if text.text == "S"));
    assert!(matches!(&request.tools[..], [Tool::Hosted { .. }]));
    let (body, losses) = written(&request, "gemini-2.5-flash");
    assert_eq!(body["safetySettings"][0]["threshold"], "OFF");
    assert_eq!(
        body["generationConfig"]["responseModalities"],
        json!(["IMAGE"])
    );
    assert_eq!(body["tools"], json!([{"googleSearch": {}}]));
    assert!(losses.is_empty(), "{losses:?}");
}

#[test]
fn responses_without_ids_find_their_calls() {
    let request = read(
        r#"{"contents":[{"role":"user","parts":[{"text":"go"}]},
        {"role":"model","parts":[{"functionCall":{"name":"a","args":{"x":1}}},{"functionCall":{"name":"b"}}]},
        {"role":"function","parts":[{"functionResponse":{"name":"b","response":{"output":"B"}}},
          {"functionResponse":{"name":"a","response":{"error":"no"}}},{"text":"and"}]}]}"#,
    );
    let ids: Vec<_> = request.messages[1]
        .parts
        .iter()
        .map(|part| match part {
            Part::ToolCall(call) => call.id.clone(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(request.messages[2].role, Role::Tool);
    let results: Vec<_> = request.messages[2]
        .parts
        .iter()
        .map(|part| match part {
            Part::ToolResult(result) => (result.call_id.clone(), result.is_error),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(results, [(ids[1].clone(), false), (ids[0].clone(), true)]);
    assert_eq!(request.messages[3].role, Role::User);
    assert!(ids[0].starts_with("call_") && ids[0] != ids[1]);
}

#[test]
fn responses_find_their_calls_across_the_pieces_of_a_stream() {
    let request = read(
        r#"{"contents":[{"role":"user","parts":[{"text":"go"}]},
        {"role":"model","parts":[{"functionCall":{"id":"one","name":"a"}}]},
        {"role":"model","parts":[{"functionCall":{"id":"two","name":"a"}}]},
        {"role":"model","parts":[{"text":""}]},
        {"role":"user","parts":[{"functionResponse":{"name":"a","response":{"output":"1"}}},
          {"functionResponse":{"name":"a","response":{"output":"2"}}}]}]}"#,
    );
    let results = request.messages.last().expect("results");
    let ids: Vec<_> = results
        .parts
        .iter()
        .map(|part| match part {
            Part::ToolResult(result) => result.call_id.as_str(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(ids, ["one", "two"]);
}

#[test]
fn what_only_other_dialects_know_is_named() {
    let mut request = request(vec![says("hi")]);
    request.extra.0.push(("logit_bias".into(), raw("{}")));
    request.extra.0.push(("store".into(), raw("true")));
    request.extra.0.push(("prediction".into(), raw("null")));
    request.parallel_tool_calls = Some(false);
    request.tools = vec![function("f", "{}")];
    request.seed = Some(1 << 40);
    request.stop = (0..7).map(|i| i.to_string()).collect();
    let (body, losses) = written(&request, "gemini-2.5-flash");
    assert_eq!(losses, ["stop[5]", "parallel_tool_calls", "logit_bias"]);
    assert_eq!(
        body["generationConfig"]["stopSequences"]
            .as_array()
            .map(Vec::len),
        Some(5)
    );
    assert_eq!(body["generationConfig"]["seed"], 0);
}

#[test]
fn googles_own_extras_of_openai_clients_pass() {
    let mut request = request(vec![says("hi")]);
    let google = r#"{"google":{"thinking_config":{"thinking_budget":7},"cached_content":"c"}}"#;
    request.extra.0.push(("extra_body".into(), raw(google)));
    request.extra.0.push(("safety_settings".into(), raw("[]")));
    request
        .extra
        .0
        .push(("modalities".into(), raw(r#"["text","image"]"#)));
    request
        .extra
        .0
        .push(("web_search_options".into(), raw("{}")));
    let (body, losses) = written(&request, "gemini-2.5-flash");
    assert_eq!(
        body["generationConfig"]["thinkingConfig"],
        json!({"thinking_budget": 7})
    );
    assert_eq!(
        body["generationConfig"]["responseModalities"],
        json!(["TEXT", "IMAGE"])
    );
    assert_eq!(body["cachedContent"], "c");
    assert_eq!(body["safetySettings"], json!([]));
    assert_eq!(body["tools"], json!([{"googleSearch": {}}]));
    assert!(losses.is_empty(), "{losses:?}");
}

#[test]
fn wrong_types_name_the_member() {
    for (body, name) in [
        (r#"{"contents":7}"#, "contents"),
        (
            r#"{"generationConfig":{"temperature":"hot"}}"#,
            "temperature",
        ),
        (
            r#"{"tools":[{"functionDeclarations":[{"name":7}]}]}"#,
            "name",
        ),
        (r#"{"generationConfig":[]}"#, "generationConfig"),
    ] {
        let error = Gemini
            .read_request(body.as_bytes(), RequestHint::default())
            .expect_err(body);
        assert!(
            matches!(&error, ReadError::Field(field) if field.name == name),
            "{error:?}"
        );
    }
    assert!(Gemini.read_request(b"[", RequestHint::default()).is_err());
}
