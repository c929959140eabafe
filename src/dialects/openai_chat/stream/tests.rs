//! Anthropic streams as OpenAI clients see them, and OpenAI streams as vendors cut them.

use proptest::prelude::*;

use crate::dialects::anthropic::Anthropic;
use crate::dialects::chat::ToolKind;
use crate::dialects::event::{Event, EventKind, SignatureOf, StopReason};
use crate::dialects::fields::Fields;
use crate::dialects::legality::{self, Said};
use crate::dialects::openai_chat::OpenAiChat;
use crate::dialects::usage::Usage;
use crate::dialects::{Codec, ReplyContext};

fn context(include_usage: bool) -> ReplyContext {
    ReplyContext {
        model: "p/m".to_owned(),
        created: 7,
        id_seed: 1,
        include_usage,
        request: None,
    }
}

/// What a client makes of these Anthropic events: `name data` each; `end`: how the upstream closed.
fn from_anthropic(events: &[&str]) -> (Said, String) {
    let mut reader = Anthropic.stream_reader();
    let mut writer = OpenAiChat.stream_writer(context(true));
    let (mut read, mut out) = (Vec::new(), Vec::new());
    for data in events {
        reader
            .read("", data.as_bytes(), &mut read)
            .expect("an event");
    }
    let end = reader.finish(&mut read);
    for event in &read {
        writer.write(event, &mut out);
    }
    // The gateway reports a cut stream itself; `finish` must not make a success of it either.
    writer.finish(&mut out);
    let said = legality::openai(&out, true);
    assert_eq!(end.is_err() || said.error.is_some(), said.error.is_some());
    (said, String::from_utf8(out).expect("UTF-8"))
}

const START: &str = r#"{"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","model":"claude","content":[],"usage":{"input_tokens":10,"cache_read_input_tokens":90,"cache_creation_input_tokens":5,"output_tokens":1}}}"#;
const END: &str = r#"{"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":7}}"#;
const STOP: &str = r#"{"type":"message_stop"}"#;

fn tool_start(index: u32, id: &str) -> String {
    format!(
        r#"{{"type":"content_block_start","index":{index},"content_block":{{"type":"tool_use","id":"{id}","name":"f","input":{{}}}}}}"#
    )
}

fn block_stop(index: u32) -> String {
    format!(r#"{{"type":"content_block_stop","index":{index}}}"#)
}

#[test]
fn case_33_35_36_37_39_a_whole_stream_crosses() {
    let (said, text) = from_anthropic(&[
        START,
        r#"{"type":"ping"}"#,
        r#"{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}"#,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"T"}}"#,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"SIG"}}"#,
        &block_stop(0),
        r#"{"type":"content_block_start","index":1,"content_block":{"type":"text","text":""}}"#,
        r#"{"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"X"}}"#,
        r#"{"type":"brand_new_event","x":1}"#,
        &block_stop(1),
        &tool_start(2, "toolu_1"),
        r#"{"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":"{\"a\":"}}"#,
        r#"{"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":"1}"}}"#,
        &block_stop(2),
        &tool_start(3, "toolu_2"),
        &block_stop(3),
        &END.replace("end_turn", "tool_use"),
        STOP,
    ]);
    assert_eq!(said.text, "X");
    assert_eq!(said.thinking, "T");
    assert_eq!(
        said.calls,
        [("f".into(), "{\"a\":1}".into()), ("f".into(), "{}".into())]
    );
    assert_eq!(said.stop.as_deref(), Some("tool_calls"));
    assert_eq!(said.usage["prompt_tokens"], 105);
    assert_eq!(said.usage["prompt_tokens_details"]["cached_tokens"], 90);
    assert_eq!(said.usage["prompt_tokens_details"]["cache_write_tokens"], 5);
    assert_eq!(said.usage["total_tokens"], 112);
    assert!(text.contains(
        r#""reasoning_details":[{"type":"reasoning.text","text":"T","signature":"SIG","format":"anthropic-claude-v1","index":0}]"#
    ));
}

#[test]
fn case_38_an_error_is_the_last_word() {
    let (said, _) = from_anthropic(&[
        START,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"X"}}"#,
        r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#,
        END,
        STOP,
    ]);
    assert_eq!(
        (said.error.as_deref(), said.stop),
        (Some("Overloaded"), None)
    );
}

#[test]
fn case_40_stop_reasons_have_their_words() {
    for (reason, expected) in [
        ("refusal", "content_filter"),
        ("model_context_window_exceeded", "length"),
        ("max_tokens", "length"),
        ("pause_turn", "stop"),
        ("stop_sequence", "stop"),
    ] {
        let (said, _) = from_anthropic(&[
            START,
            r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"X"}}"#,
            &END.replace("end_turn", reason),
        ]);
        assert_eq!(said.stop.as_deref(), Some(expected), "{reason}");
    }
}

#[test]
fn case_41_the_reason_makes_an_end_and_without_it_there_is_none() {
    let text =
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"X"}}"#;
    let (said, _) = from_anthropic(&[START, text, END]);
    assert_eq!(said.stop.as_deref(), Some("stop"));
    let (said, _) = from_anthropic(&[START, text]);
    assert!(said.error.is_some());
}

#[test]
fn an_empty_answer_is_no_success() {
    let (said, _) = from_anthropic(&[START, END, STOP]);
    assert_eq!(
        said.error.as_deref(),
        Some("the provider sent an empty answer")
    );
    let (said, _) = from_anthropic(&[START, &END.replace("end_turn", "max_tokens"), STOP]);
    assert_eq!(said.stop.as_deref(), Some("length"));
}

#[test]
fn case_97_usage_comes_only_when_asked_for() {
    let mut writer = OpenAiChat.stream_writer(context(false));
    let mut out = Vec::new();
    for kind in [
        EventKind::Text("x".into()),
        EventKind::Stop {
            reason: StopReason::EndTurn,
            sequence: None,
        },
        EventKind::Usage(Usage::default()),
    ] {
        writer.write(&Event::first(kind), &mut out);
    }
    writer.finish(&mut out);
    assert_eq!(legality::openai(&out, false).text, "x");
}

/// The events of an OpenAI stream, given the `delta`s and the reason; `None` reason: cut off.
fn read_deltas(deltas: &[&str], reason: Option<&str>) -> Vec<EventKind> {
    let mut reader = OpenAiChat.stream_reader();
    let mut out = Vec::new();
    for delta in deltas {
        let chunk =
            format!(r#"{{"choices":[{{"index":0,"delta":{delta},"finish_reason":null}}]}}"#);
        reader
            .read("", chunk.as_bytes(), &mut out)
            .expect("a chunk");
    }
    if let Some(reason) = reason {
        let chunk = format!(r#"{{"choices":[{{"delta":{{}},"finish_reason":"{reason}"}}]}}"#);
        reader
            .read("", chunk.as_bytes(), &mut out)
            .expect("a chunk");
        reader.finish(&mut out).expect("an end");
    } else {
        reader.finish(&mut out).expect_err("it was cut off");
    }
    out.into_iter().map(|event| event.kind).collect()
}

/// Id, name and whole arguments of each call.
fn calls(events: &[EventKind]) -> Vec<(String, String, String)> {
    let mut calls: Vec<(String, String, String)> = Vec::new();
    for event in events {
        match event {
            EventKind::ToolStart { id, name, .. } => {
                calls.push((id.clone(), name.clone(), String::new()));
            }
            EventKind::ToolArguments { index, delta } => calls[*index as usize].2 += delta,
            _ => {}
        }
    }
    calls
}

#[test]
fn calls_come_together_however_a_vendor_cuts_them() {
    let expected: &[(&str, &str, &str)] = &[("a", "f", "{\"x\":1}"), ("b", "g", "{}")];
    let ways: &[&[&str]] = &[
        // As OpenAI does it.
        &[
            r#"{"tool_calls":[{"index":0,"id":"a","type":"function","function":{"name":"f","arguments":""}}]}"#,
            r#"{"tool_calls":[{"index":0,"function":{"arguments":"{\"x\":1}"}}]}"#,
            r#"{"tool_calls":[{"index":1,"id":"b","function":{"name":"g","arguments":"{}"}}]}"#,
        ],
        // Whole calls in one piece, no index, arguments as an object.
        &[
            r#"{"tool_calls":[{"id":"a","function":{"name":"f","arguments":{"x":1}}},{"id":"b","function":{"name":"g","arguments":{}}}]}"#,
        ],
        // Index 0 for all.
        &[
            r#"{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":"{\"x\":1}"}}]}"#,
            r#"{"tool_calls":[{"index":0,"id":"b","function":{"name":"g","arguments":"{}"}}]}"#,
        ],
        // Another id on each piece, and an empty one.
        &[
            r#"{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":"{\"x\""}}]}"#,
            r#"{"tool_calls":[{"index":0,"id":"zz","function":{"arguments":":"}}]}"#,
            r#"{"tool_calls":[{"index":0,"id":"","function":{"arguments":"1}"}}]}"#,
            r#"{"tool_calls":[{"index":1,"id":"b","function":{"name":"g","arguments":"{}"}}]}"#,
        ],
        // The name before the id.
        &[
            r#"{"tool_calls":[{"index":0,"function":{"name":"f"}}]}"#,
            r#"{"tool_calls":[{"index":0,"id":"a"}]}"#,
            r#"{"tool_calls":[{"index":0,"function":{"arguments":"{\"x\":1}"}}]}"#,
            r#"{"tool_calls":[{"index":1,"id":"b","function":{"name":"g","arguments":"{}"}}]}"#,
        ],
        // Pieces of both side by side.
        &[
            r#"{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":"{\"x\""}},{"index":1,"id":"b","function":{"name":"g","arguments":"{"}}]}"#,
            r#"{"tool_calls":[{"index":1,"function":{"arguments":"}"}},{"index":0,"function":{"arguments":":1}"}}]}"#,
        ],
    ];
    for way in ways {
        let events = read_deltas(way, Some("stop"));
        let seen = calls(&events);
        let seen: Vec<(&str, &str, &str)> = seen
            .iter()
            .map(|(id, name, arguments)| (id.as_str(), name.as_str(), arguments.as_str()))
            .collect();
        assert_eq!(seen, expected, "{way:?}");
        // `stop` although calls were made is not the truth.
        let stop = events
            .iter()
            .rev()
            .find(|event| matches!(event, EventKind::Stop { .. }));
        assert!(matches!(
            stop,
            Some(EventKind::Stop {
                reason: StopReason::ToolUse,
                ..
            })
        ));
        let ends = events
            .iter()
            .filter(|event| matches!(event, EventKind::ToolEnd { .. }));
        assert_eq!(ends.count(), 2);
    }
}

#[test]
fn case_74_a_call_without_id_gets_one() {
    let events = read_deltas(
        &[r#"{"tool_calls":[{"index":0,"function":{"name":"f","arguments":"{}"}}]}"#],
        Some("tool_calls"),
    );
    assert!(calls(&events)[0].0.starts_with("call_"));
}

#[test]
fn reasoning_is_read_once_and_signed_once() {
    let events = read_deltas(
        &[
            r#"{"reasoning_content":"a","reasoning":"a"}"#,
            r#"{"reasoning_content":"b"}"#,
            r#"{"reasoning_details":[{"type":"reasoning.text","text":"ab","signature":"S","format":"anthropic-claude-v1"}]}"#,
            r#"{"content":[{"type":"thinking","thinking":[{"type":"text","text":"c"}]},{"type":"text","text":"x"}]}"#,
        ],
        Some("stop"),
    );
    assert_eq!(
        events[1..6],
        [
            EventKind::Thinking("a".into()),
            EventKind::Thinking("b".into()),
            EventKind::Signature {
                of: SignatureOf::Thinking,
                value: "llmproxy/claude/S".into()
            },
            EventKind::Thinking("c".into()),
            EventKind::Text("x".into()),
        ]
    );
}

#[test]
fn case_94_96_odd_streams_are_read_and_broken_ones_are_errors() {
    let read = |frames: &[&str]| {
        let mut reader = OpenAiChat.stream_reader();
        let mut out = Vec::new();
        let results: Vec<bool> = frames
            .iter()
            .map(|frame| reader.read("", frame.as_bytes(), &mut out).is_ok())
            .collect();
        let is_whole = results.iter().all(|is_ok| *is_ok) && reader.finish(&mut out).is_ok();
        let kinds: Vec<EventKind> = out.into_iter().map(|event| event.kind).collect();
        (is_whole, kinds)
    };
    // A whole completion where a stream was asked for; usage on the last chunk; no [DONE].
    let (is_whole, events) = read(&[
        r#"{"choices":[{"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":1}}"#,
    ]);
    assert!(is_whole && events.contains(&EventKind::Text("hi".into())));
    assert!(matches!(events.last(), Some(EventKind::Usage(usage)) if usage.input == 3));
    // Azure's first chunk has no choices; `[DONE]` stands for a missing reason.
    let (is_whole, events) = read(&[
        r#"{"choices":[],"prompt_filter_results":[]}"#,
        r#"{"choices":[{"delta":{"content":"hi"},"finish_reason":""}]}"#,
        "[DONE]",
    ]);
    assert!(is_whole && matches!(events.last(), Some(EventKind::Stop { .. })));
    // Cut off, never begun, an error body, a reason that is an error.
    assert!(!read(&[r#"{"choices":[{"delta":{"content":"hi"}}]}"#]).0);
    assert!(!read(&["[DONE]"]).0);
    assert!(!read(&["<html>"]).0);
    for error in [
        r#"{"error":{"message":"no","type":"server_error"}}"#,
        r#"{"choices":[{"delta":{},"finish_reason":"error"}],"error":{"message":"no"}}"#,
        r#"{"choices":[{"delta":{},"finish_reason":"error","error":{"message":"no"}}]}"#,
    ] {
        let (is_whole, events) = read(&[error]);
        assert!(is_whole, "the error event says it all");
        assert!(matches!(events.last(), Some(EventKind::Error(error)) if error.message == "no"));
    }
}

#[test]
fn an_openai_stream_written_again_says_the_same() {
    let (said, text) = from_anthropic(&[
        START,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"T"}}"#,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"SIG"}}"#,
        r#"{"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"X"}}"#,
        &tool_start(2, "toolu_1"),
        &block_stop(2),
        END,
    ]);
    let mut reader = OpenAiChat.stream_reader();
    let mut writer = OpenAiChat.stream_writer(context(true));
    let (mut events, mut out) = (Vec::new(), Vec::new());
    for frame in text
        .split("\n\n")
        .filter_map(|frame| frame.strip_prefix("data: "))
    {
        reader
            .read("", frame.as_bytes(), &mut events)
            .expect("a frame");
    }
    reader.finish(&mut events).expect("an end");
    for event in &events {
        writer.write(event, &mut out);
    }
    writer.finish(&mut out);
    assert_eq!(legality::openai(&out, true), said);
    let again = String::from_utf8(out).expect("UTF-8");
    assert!(again.contains(r#""text":"T","signature":"SIG""#), "{again}");
}

/// Any event a reader may produce, in any order.
pub(in crate::dialects) fn any_event() -> impl Strategy<Value = EventKind> {
    prop_oneof![
        "[a-zé\"]{0,3}".prop_map(EventKind::Text),
        "[a-z]{0,3}".prop_map(EventKind::Thinking),
        "[a-z]{1,3}".prop_map(EventKind::Refusal),
        "[a-z]{1,3}".prop_map(EventKind::RedactedThinking),
        (0..3_u32, "[A-Z]{1,3}").prop_map(|(index, value)| EventKind::Signature {
            of: match index {
                0 => SignatureOf::Text,
                1 => SignatureOf::Thinking,
                _ => SignatureOf::ToolCall(0),
            },
            value,
        }),
        (0..4_u32, "[a-z.]{1,3}", prop::option::of("[A-Z]{1,3}")).prop_map(
            |(index, id, signature)| EventKind::ToolStart {
                index,
                id,
                name: "f".into(),
                kind: ToolKind::Function,
                signature,
            }
        ),
        (0..4_u32, "[a-z{}]{0,3}")
            .prop_map(|(index, delta)| EventKind::ToolArguments { index, delta }),
        (0..4_u32).prop_map(|index| EventKind::ToolEnd { index }),
        (0..9_u64).prop_map(|input| EventKind::Usage(Usage {
            input,
            output: 1,
            ..Usage::default()
        })),
        Just(EventKind::Stop {
            reason: StopReason::EndTurn,
            sequence: None
        }),
    ]
}

/// The events as readers number them: calls count up from 0 and are started before they go on.
pub(in crate::dialects) fn numbered(kinds: Vec<EventKind>) -> Vec<Event> {
    let mut started = 0;
    let mut events = Vec::new();
    for mut kind in kinds {
        match &mut kind {
            EventKind::ToolStart { index, .. } => {
                *index = started;
                started += 1;
            }
            EventKind::ToolArguments { index, .. }
            | EventKind::ToolEnd { index }
            | EventKind::Signature {
                of: SignatureOf::ToolCall(index),
                ..
            } => {
                if started == 0 {
                    continue;
                }
                *index %= started;
            }
            _ => {}
        }
        events.push(Event::first(kind));
    }
    events
}

proptest! {
    #[test]
    fn any_order_of_events_is_a_legal_stream(kinds in prop::collection::vec(any_event(), 0..24), wants_usage: bool) {
        let events = numbered(kinds);
        let mut writer = OpenAiChat.stream_writer(context(wants_usage));
        let mut out = Vec::new();
        for event in &events {
        writer.write(event, &mut out);
    }
        writer.finish(&mut out);
        let said = legality::openai(&out, wants_usage);
        if said.error.is_none() {
            let text: String = events.iter().filter_map(|event| match &event.kind {
                EventKind::Text(text) => Some(text.as_str()),
                _ => None,
            }).collect();
            prop_assert_eq!(said.text, text);
        }
    }

    /// No bytes make a reader panic, and it never reports a call without an id.
    #[test]
    fn no_bytes_upset_the_reader(chunks in prop::collection::vec("[\\{\\}\\[\\]\":,a-z0-9 ]{0,60}", 0..6)) {
        for codec in [&OpenAiChat as &dyn Codec, &Anthropic] {
            let mut reader = codec.stream_reader();
            let mut out = Vec::new();
            for chunk in &chunks {
                let _ = reader.read("content_block_start", chunk.as_bytes(), &mut out);
                let _ = Fields::parse(chunk.as_bytes());
            }
            let _ = reader.finish(&mut out);
        }
    }
}
