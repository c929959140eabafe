//! Streams, both ways.

use serde_json::json;

use super::*;
use crate::dialects::chat::ToolKind;
use crate::dialects::error::ErrorKind;
use crate::dialects::event::{Event, EventKind, SignatureOf, StopReason};
use crate::dialects::signature::tag;
use crate::dialects::usage::Usage;

/// The events of a stream, and how it ended.
fn events(chunks: &[Value]) -> (Vec<EventKind>, Result<(), ReadError>) {
    let mut reader = Gemini.stream_reader();
    let mut out = Vec::new();
    for chunk in chunks {
        if let Err(error) = reader.read("", chunk.to_string().as_bytes(), &mut out) {
            return (
                out.into_iter().map(|event| event.kind).collect(),
                Err(error),
            );
        }
    }
    let end = reader.finish(&mut out);
    (out.into_iter().map(|event| event.kind).collect(), end)
}

fn chunk(parts: &Value) -> Value {
    json!({"candidates": [{"content": {"parts": parts}}]})
}

fn last(finish: &str) -> Value {
    json!({"candidates": [{"finishReason": finish}], "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 2}})
}

#[test]
fn case_58_parts_become_events_in_their_order_and_a_late_signature_is_no_text() {
    let (events, end) = events(&[
        chunk(
            &json!([{"text": "hm", "thought": true}, {"text": "hi"}, {"functionCall": {"name": "f", "args": {"a": 1}, "id": "c"}}]),
        ),
        chunk(&json!([{"text": "", "thoughtSignature": "U0lH"}])),
        last("STOP"),
    ]);
    assert_eq!(end, Ok(()));
    assert_eq!(
        events,
        [
            EventKind::Start {
                id: None,
                model: None
            },
            EventKind::Thinking("hm".into()),
            EventKind::Text("hi".into()),
            EventKind::ToolStart {
                index: 0,
                id: "c".into(),
                name: "f".into(),
                kind: ToolKind::Function,
                signature: None,
            },
            EventKind::ToolArguments {
                index: 0,
                delta: r#"{"a":1}"#.into()
            },
            EventKind::ToolEnd { index: 0 },
            EventKind::Signature {
                of: SignatureOf::Text,
                value: tag(Dialect::Gemini, "U0lH")
            },
            EventKind::Usage(Usage {
                input: 3,
                output: 2,
                ..Usage::default()
            }),
            EventKind::Stop {
                reason: StopReason::ToolUse,
                sequence: None
            },
        ]
    );
}

#[test]
fn a_stream_without_end_or_content_is_no_success() {
    let text = chunk(&json!([{"text": "x"}]));
    assert_eq!(
        events(std::slice::from_ref(&text)).1,
        Err(ReadError::Truncated)
    );
    assert_eq!(events(&[]).1, Err(ReadError::Truncated));
    assert!(matches!(
        events(&[last("STOP")]).1,
        Err(ReadError::Upstream(_))
    ));
    assert!(matches!(
        events(&[last("MALFORMED_FUNCTION_CALL")]).1,
        Err(ReadError::Upstream(_))
    ));
    let (seen, _) = events(&[
        text,
        json!({"error": {"code": 503, "message": "overloaded"}}),
    ]);
    assert!(matches!(seen.last(), Some(EventKind::Error(_))), "{seen:?}");
}

#[test]
fn a_blocked_prompt_ends_in_a_refusal() {
    let (seen, end) = events(&[json!({"promptFeedback": {"blockReason": "OTHER"}})]);
    assert_eq!(end, Ok(()));
    assert!(matches!(
        &seen[..],
        [
            EventKind::Start { .. },
            EventKind::Refusal(_),
            EventKind::Stop {
                reason: StopReason::ContentFilter,
                ..
            }
        ]
    ));
}

#[test]
fn parts_after_the_stop_are_not_lost() {
    let (seen, end) = events(&[
        json!({"candidates": [{"content": {"parts": [{"text": "a"}]}, "finishReason": "STOP"}]}),
        chunk(&json!([{"text": "b"}])),
    ]);
    assert_eq!(end, Ok(()));
    assert!(matches!(
        seen.last(),
        Some(EventKind::Stop {
            reason: StopReason::EndTurn,
            ..
        })
    ));
    assert!(seen.contains(&EventKind::Text("b".into())));
}

/// One of each kind, calls interleaved.
fn mixed() -> Vec<EventKind> {
    let start = |index, id: &str| EventKind::ToolStart {
        index,
        id: id.into(),
        name: "f".into(),
        kind: ToolKind::Function,
        signature: None,
    };
    let piece = |index, delta: &str| EventKind::ToolArguments {
        index,
        delta: delta.into(),
    };
    vec![
        EventKind::Start {
            id: Some("r".into()),
            model: None,
        },
        EventKind::Thinking("hm".into()),
        EventKind::Signature {
            of: SignatureOf::Thinking,
            value: tag(Dialect::Gemini, "U0lH"),
        },
        EventKind::Text("hi".into()),
        start(0, "c0"),
        start(1, "c1"),
        piece(0, "{\"a\":"),
        piece(1, "{}"),
        piece(0, "1}"),
        EventKind::ToolEnd { index: 1 },
        EventKind::Usage(Usage {
            input: 3,
            output: 2,
            ..Usage::default()
        }),
        EventKind::Stop {
            reason: StopReason::ToolUse,
            sequence: None,
        },
    ]
}

fn write(framing: Framing, events: &[EventKind], fail: bool) -> String {
    let mut writer = stream_writer(context(), framing);
    let mut out = Vec::new();
    for kind in events {
        writer.write(&Event::first(kind.clone()), &mut out);
    }
    if fail {
        writer.fail(
            &ErrorReply::new(502, ErrorKind::Provider, "upstream_error", "broke"),
            &mut out,
        );
    }
    writer.finish(&mut out);
    String::from_utf8(out).expect("text")
}

fn frames(text: &str) -> Vec<Value> {
    text.split_terminator("\r\n\r\n")
        .map(|frame| parsed(frame.strip_prefix("data: ").expect("data").as_bytes()))
        .collect()
}

#[test]
fn events_become_whole_chunks_with_one_finish_at_the_end() {
    let chunks = frames(&write(Framing::Sse, &mixed(), false));
    let parts: Vec<&Value> = chunks
        .iter()
        .map(|chunk| &chunk["candidates"][0]["content"]["parts"][0])
        .collect();
    assert_eq!(*parts[0], json!({"text": "hm", "thought": true}));
    assert_eq!(
        *parts[1],
        json!({"text": "", "thought": true, "thoughtSignature": "U0lH"})
    );
    assert_eq!(*parts[2], json!({"text": "hi"}));
    assert_eq!(
        parts[3]["functionCall"],
        json!({"id": "c1", "name": "f", "args": {}})
    );
    assert_eq!(
        parts[4]["functionCall"],
        json!({"id": "c0", "name": "f", "args": {"a": 1}})
    );
    let finishes = chunks
        .iter()
        .filter(|c| c["candidates"][0].get("finishReason").is_some());
    assert_eq!(finishes.count(), 1);
    let last = chunks.last().expect("chunks");
    assert_eq!(last["candidates"][0]["finishReason"], "STOP");
    assert_eq!(last["usageMetadata"]["totalTokenCount"], 5);
    assert!(
        chunks
            .iter()
            .all(|c| c["responseId"] == "r" && c["modelVersion"] == "asked")
    );
}

#[test]
fn the_array_form_is_one_json_array() {
    let whole = write(Framing::Array, &mixed(), false);
    let array: Vec<Value> = serde_json::from_str(&whole).expect("an array");
    assert_eq!(array, frames(&write(Framing::Sse, &mixed(), false)));
    let empty: Vec<Value> =
        serde_json::from_str(&write(Framing::Array, &[], true)).expect("an array");
    assert_eq!(empty[0]["error"]["code"], 502);
}

#[test]
fn a_failed_stream_has_an_error_and_no_finish() {
    for framing in [Framing::Sse, Framing::Array] {
        let text = write(framing, &mixed()[..4], true);
        assert!(!text.contains("finishReason"), "{text}");
        assert!(text.contains("\"error\""));
    }
}

#[test]
fn a_stream_that_nobody_stopped_did_not_end_well() {
    let chunks = frames(&write(Framing::Sse, &mixed()[..4], false));
    let last = chunks.last().expect("chunks");
    assert_eq!(last["candidates"][0]["finishReason"], "OTHER");
}
