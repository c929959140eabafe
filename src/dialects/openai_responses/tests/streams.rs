//! Streams, both ways.

use serde_json::json;

use super::legality::check;
use super::*;
use crate::dialects::chat::ToolKind;
use crate::dialects::error::ErrorKind;
use crate::dialects::event::{SignatureOf, StopReason};
use crate::dialects::signature::tag;
use crate::dialects::usage::Usage;

fn stop(reason: StopReason) -> EventKind {
    EventKind::Stop {
        reason,
        sequence: None,
    }
}

fn start(index: u32, name: &str) -> EventKind {
    EventKind::ToolStart {
        index,
        id: format!("call_{index}"),
        name: name.to_owned(),
        kind: ToolKind::Function,
        signature: None,
    }
}

fn piece(index: u32, delta: &str) -> EventKind {
    EventKind::ToolArguments {
        index,
        delta: delta.to_owned(),
    }
}

fn ended(index: u32) -> EventKind {
    EventKind::ToolEnd { index }
}

fn text(text: &str) -> EventKind {
    EventKind::Text(text.to_owned())
}

#[test]
fn case_87_a_text_stream_has_every_event_in_its_place() {
    let frames = streamed(None, &[text("He"), text("llo"), stop(StopReason::EndTurn)]);
    assert_eq!(
        names(&frames),
        [
            "created",
            "in_progress",
            "output_item.added",
            "content_part.added",
            "output_text.delta",
            "output_text.delta",
            "output_text.done",
            "content_part.done",
            "output_item.done",
            "completed",
        ]
    );
    check(&frames);
}

#[test]
fn case_88_a_call_streams_its_arguments_and_nothing_is_an_object() {
    let frames = streamed(
        None,
        &[
            start(0, "f"),
            piece(0, "{\"a\""),
            piece(0, ":1}"),
            ended(0),
            start(1, "g"),
            ended(1),
            stop(StopReason::ToolUse),
        ],
    );
    check(&frames);
    let output = &frames.last().expect("an end").1["response"]["output"];
    assert_eq!(output[0]["call_id"], "call_0");
    assert_eq!(output[0]["arguments"], "{\"a\":1}");
    assert_eq!(output[1]["arguments"], "{}");
}

#[test]
fn case_89_a_cut_answer_is_incomplete() {
    for (reason, expected) in [
        (StopReason::MaxTokens, "max_output_tokens"),
        (StopReason::ContentFilter, "content_filter"),
    ] {
        let frames = streamed(None, &[text("x"), stop(reason)]);
        check(&frames);
        let (name, data) = frames.last().expect("an end");
        assert_eq!(name, "response.incomplete");
        assert_eq!(data["response"]["incomplete_details"]["reason"], expected);
        assert_eq!(data["response"]["output"][0]["status"], "incomplete");
    }
}

#[test]
fn case_90_a_failure_in_the_middle_is_no_success() {
    let mut writer = OpenAiResponses.stream_writer(context(None));
    let mut out = Vec::new();
    writer.write(&Event::first(text("x")), &mut out);
    let error = ErrorReply::new(502, ErrorKind::Provider, "upstream_error", "broke");
    writer.fail(&error, &mut out);
    writer.finish(&mut out);
    let frames = frames(&String::from_utf8(out).expect("text"));
    check(&frames);
    let (name, data) = frames.last().expect("an end");
    assert_eq!(name, "response.failed");
    assert_eq!(
        data["response"]["error"],
        json!({"code": "server_error", "message": "broke"})
    );
}

#[test]
fn case_91_usage_is_always_integers() {
    let frames = streamed(None, &[text("x"), stop(StopReason::EndTurn)]);
    let usage = &frames.last().expect("an end").1["response"]["usage"];
    assert_eq!(usage["input_tokens_details"]["cached_tokens"], 0);
    assert_eq!(usage["output_tokens_details"]["reasoning_tokens"], 0);
}

#[test]
fn a_stream_that_nobody_stopped_failed() {
    let frames = streamed(None, &[text("x")]);
    check(&frames);
    assert_eq!(names(&frames).last(), Some(&"failed"));
}

#[test]
fn case_84_a_free_text_call_streams_its_text() {
    let request =
        read(&json!({"input": "x", "tools": [{"type": "custom", "name": "apply_patch"}]}));
    let frames = streamed(
        Some(request),
        &[
            start(0, "apply_patch"),
            piece(0, "{\"input\":"),
            piece(0, "\"*** Begin\"}"),
            ended(0),
            stop(StopReason::ToolUse),
        ],
    );
    check(&frames);
    let output = &frames.last().expect("an end").1["response"]["output"];
    assert_eq!(output[0]["type"], "custom_tool_call");
    assert_eq!(output[0]["input"], "*** Begin");
    assert!(names(&frames).contains(&"custom_tool_call_input.delta"));
}

#[test]
fn case_85_a_namespaced_call_is_split_again() {
    let request = read(
        &json!({"input": "x", "tools": [{"type": "namespace", "name": "crm", "tools": [
        {"type": "function", "name": "list", "parameters": {}}]}]}),
    );
    let frames = streamed(
        Some(request),
        &[start(0, "crm__list"), ended(0), stop(StopReason::ToolUse)],
    );
    check(&frames);
    let item = &frames.last().expect("an end").1["response"]["output"][0];
    assert_eq!(
        (&item["name"], &item["namespace"]),
        (&json!("list"), &json!("crm"))
    );
}

#[test]
fn interleaved_calls_come_one_after_the_other() {
    let frames = streamed(
        None,
        &[
            start(0, "a"),
            start(1, "b"),
            piece(1, "{\"b\""),
            piece(0, "{\"a\""),
            piece(1, ":2}"),
            piece(0, ":1}"),
            text("late"),
            ended(1),
            start(2, "c"),
            piece(2, "{}"),
            stop(StopReason::ToolUse),
        ],
    );
    check(&frames);
    let output = frames.last().expect("an end").1["response"]["output"].clone();
    let kinds: Vec<&Value> = output
        .as_array()
        .expect("items")
        .iter()
        .map(|i| &i["type"])
        .collect();
    assert_eq!(
        kinds,
        ["function_call", "function_call", "message", "function_call"]
    );
    assert_eq!(output[0]["arguments"], "{\"a\":1}");
    assert_eq!(output[1]["arguments"], "{\"b\":2}");
}

#[test]
fn thinking_and_signatures_are_reasoning_items() {
    let claude = tag(Dialect::Anthropic, "abc");
    let gemini = tag(Dialect::Gemini, "U0lH");
    let signed = EventKind::ToolStart {
        index: 0,
        id: "c".into(),
        name: "f".into(),
        kind: ToolKind::Function,
        signature: Some(gemini.clone()),
    };
    let frames = streamed(
        None,
        &[
            EventKind::Thinking("hm".into()),
            EventKind::Signature {
                of: SignatureOf::Thinking,
                value: claude.clone(),
            },
            EventKind::RedactedThinking(claude.clone()),
            text("so"),
            EventKind::Signature {
                of: SignatureOf::Text,
                value: gemini.clone(),
            },
            signed,
            ended(0),
            stop(StopReason::ToolUse),
        ],
    );
    check(&frames);
    let output = frames.last().expect("an end").1["response"]["output"].clone();
    let held: Vec<Option<&str>> = output
        .as_array()
        .expect("items")
        .iter()
        .map(|item| item["encrypted_content"].as_str())
        .collect();
    let (redacted, last, next) = (
        format!("llmproxy/redacted/{claude}"),
        format!("llmproxy/last/{gemini}"),
        format!("llmproxy/next/{gemini}"),
    );
    assert_eq!(
        held,
        [
            Some(claude.as_str()),
            Some(&redacted),
            None,
            Some(&last),
            Some(&next),
            None
        ]
    );
    // What the client sends back is what it got: every signature finds its part again.
    let again = read(&json!({ "input": output }));
    let parts = &again.messages[0].parts;
    assert!(matches!(&parts[0], Part::Thinking(t) if t.signature.as_ref() == Some(&claude)));
    assert!(matches!(&parts[1], Part::RedactedThinking { data } if *data == claude));
    assert!(matches!(&parts[2], Part::Text(t) if t.signature.as_ref() == Some(&gemini)));
    assert!(matches!(&parts[3], Part::ToolCall(c) if c.signature.as_ref() == Some(&gemini)));
}

#[test]
fn refusals_and_citations_are_parts_of_the_message() {
    let citation = raw(
        r#"{"type":"url_citation","url_citation":{"url":"https://x","title":"X","start_index":0,"end_index":1}}"#,
    );
    let frames = streamed(
        None,
        &[
            text("x"),
            EventKind::Citation(citation),
            EventKind::Refusal("no".into()),
            stop(StopReason::Refusal),
        ],
    );
    check(&frames);
    let content = &frames.last().expect("an end").1["response"]["output"][0]["content"];
    assert_eq!(content[0]["annotations"][0]["url"], "https://x");
    assert_eq!(content[1], json!({"type": "refusal", "refusal": "no"}));
}

fn response(status: &str) -> Value {
    json!({"id": "resp_1", "model": "gpt", "status": status, "output": [],
        "usage": {"input_tokens": 3, "output_tokens": 2}})
}

#[test]
fn a_native_stream_is_read() {
    let (seen, end) = events(&[
        json!({"type": "response.created", "response": {"id": "resp_1", "model": "gpt"}}),
        json!({"type": "response.in_progress", "response": {}}),
        json!({"type": "response.output_item.added", "output_index": 0, "item": {"type": "reasoning", "id": "rs", "summary": []}}),
        json!({"type": "response.reasoning_summary_part.added", "output_index": 0, "summary_index": 0}),
        json!({"type": "response.reasoning_summary_text.delta", "output_index": 0, "delta": "hm"}),
        json!({"type": "response.output_item.done", "output_index": 0, "item": {"type": "reasoning", "id": "rs",
            "summary": [{"type": "summary_text", "text": "hm"}], "encrypted_content": "gAAA"}}),
        json!({"type": "response.output_text.delta", "output_index": 1, "delta": "hi"}),
        json!({"type": "response.output_item.done", "output_index": 1, "item": {"type": "message", "role": "assistant",
            "content": [{"type": "output_text", "text": "hi"}]}}),
        json!({"type": "response.output_item.added", "output_index": 2, "item": {"type": "function_call", "call_id": "c", "name": "f", "arguments": ""}}),
        json!({"type": "response.function_call_arguments.delta", "output_index": 2, "delta": "{}"}),
        json!({"type": "response.function_call_arguments.done", "output_index": 2, "arguments": "{}"}),
        json!({"type": "response.output_item.done", "output_index": 2, "item": {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}}),
        json!({"type": "response.unheard_of", "x": 1}),
        json!({"type": "response.completed", "response": response("completed")}),
    ]);
    assert_eq!(end, Ok(()));
    assert_eq!(
        seen,
        [
            EventKind::Start {
                id: Some("resp_1".into()),
                model: Some("gpt".into())
            },
            EventKind::Thinking("hm".into()),
            EventKind::Signature {
                of: SignatureOf::Thinking,
                value: tag(Dialect::OpenAiResponses, "gAAA")
            },
            text("hi"),
            EventKind::ToolStart {
                index: 0,
                id: "c".into(),
                name: "f".into(),
                kind: ToolKind::Function,
                signature: None
            },
            piece(0, "{}"),
            ended(0),
            EventKind::Usage(Usage {
                input: 3,
                output: 2,
                ..Usage::default()
            }),
            stop(StopReason::ToolUse),
        ]
    );
}

#[test]
fn a_stream_of_finished_items_only_is_read_too() {
    let (seen, end) = events(&[
        json!({"type": "response.output_item.done", "output_index": 0, "item": {"type": "message", "role": "assistant",
            "content": [{"type": "output_text", "text": "hi"}]}}),
        json!({"type": "response.output_item.done", "output_index": 1, "item": {"type": "custom_tool_call", "call_id": "c", "name": "p", "input": "x"}}),
        json!({"type": "response.completed", "response": response("completed")}),
    ]);
    assert_eq!(end, Ok(()));
    assert!(
        seen.contains(&text("hi")) && seen.contains(&piece(0, "x")) && seen.contains(&ended(0))
    );
}

#[test]
fn a_native_stream_that_fails_or_stops_short_is_no_success() {
    let created = json!({"type": "response.created", "response": {"id": "r"}});
    let delta = json!({"type": "response.output_text.delta", "output_index": 0, "delta": "hi"});
    assert_eq!(
        events(&[created.clone(), delta.clone()]).1,
        Err(ReadError::Truncated)
    );
    for end in [
        json!({"type": "response.failed", "response": {"status": "failed", "error": {"code": "server_error", "message": "m"}}}),
        json!({"type": "error", "code": "rate_limit_exceeded", "message": "m"}),
        json!({"error": {"message": "m"}}),
    ] {
        let (seen, _) = events(&[created.clone(), delta.clone(), end]);
        assert!(
            matches!(seen.last(), Some(EventKind::Error(error)) if error.message == "m"),
            "{seen:?}"
        );
    }
    let (seen, _) = events(&[
        created,
        json!({"type": "response.completed", "response": response("completed")}),
    ]);
    assert!(matches!(seen.last(), Some(EventKind::Error(_))), "{seen:?}");
}

#[test]
fn a_native_cut_says_why() {
    let mut cut = response("incomplete");
    cut["incomplete_details"] = json!({"reason": "max_output_tokens"});
    let (seen, _) = events(&[json!({"type": "response.incomplete", "response": cut})]);
    assert_eq!(seen.last(), Some(&stop(StopReason::MaxTokens)));
}
