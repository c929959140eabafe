//! OpenAI streams as Anthropic clients see them.

use proptest::prelude::*;

use crate::dialects::anthropic::Anthropic;
use crate::dialects::error::ErrorReply;
use crate::dialects::event::{Event, EventKind};
use crate::dialects::gemini::Gemini;
use crate::dialects::legality::{self, Said};
use crate::dialects::openai_chat::{OpenAiChat, any_event, numbered};
use crate::dialects::{Codec, ReplyContext, StreamWriter};

fn writer() -> Box<dyn StreamWriter> {
    Anthropic.stream_writer(ReplyContext {
        model: "p/m".to_owned(),
        created: 7,
        id_seed: 1,
        include_usage: true,
        request: None,
    })
}

fn write(events: &[Event]) -> String {
    let (mut writer, mut out) = (writer(), Vec::new());
    for event in events {
        writer.write(event, &mut out);
    }
    writer.finish(&mut out);
    String::from_utf8(out).expect("UTF-8")
}

/// What a client makes of an OpenAI stream of these deltas, ended by `reason`, then `usage`.
fn from_openai(deltas: &[&str], reason: &str, usage: Option<&str>) -> (Said, String) {
    let mut reader = OpenAiChat.stream_reader();
    let mut events = Vec::new();
    let mut read = |chunk: String| {
        reader
            .read("", chunk.as_bytes(), &mut events)
            .expect("a chunk");
    };
    for delta in deltas {
        read(format!(
            r#"{{"choices":[{{"index":0,"delta":{delta},"finish_reason":null}}]}}"#
        ));
    }
    if !reason.is_empty() {
        read(format!(
            r#"{{"choices":[{{"delta":{{}},"finish_reason":"{reason}"}}]}}"#
        ));
    }
    if let Some(usage) = usage {
        read(format!(r#"{{"choices":[],"usage":{usage}}}"#));
    }
    read("[DONE]".to_owned());
    let _ = reader.finish(&mut events);
    let out = write(&events);
    (legality::anthropic(out.as_bytes()), out)
}

#[test]
fn case_71_76_a_plain_text_stream() {
    let (said, text) = from_openai(
        &[
            r#"{"role":"assistant","content":""}"#,
            r#"{"content":"He"}"#,
            r#"{"content":"llo"}"#,
        ],
        "stop",
        Some(
            r#"{"prompt_tokens":100,"completion_tokens":9,"prompt_tokens_details":{"cached_tokens":80}}"#,
        ),
    );
    assert_eq!(
        (said.text.as_str(), said.stop.as_deref()),
        ("Hello", Some("end_turn"))
    );
    assert_eq!(said.usage["input_tokens"], 20);
    assert_eq!(said.usage["cache_read_input_tokens"], 80);
    assert_eq!(said.usage["output_tokens"], 9);
    let names: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("event: "))
        .collect();
    assert_eq!(
        names,
        [
            "message_start",
            "ping",
            "content_block_start",
            "content_block_delta",
            "content_block_delta",
            "content_block_stop",
            "message_delta",
            "message_stop"
        ]
    );
}

#[test]
fn case_72_thinking_closes_before_text_opens() {
    let (said, text) = from_openai(
        &[
            r#"{"reasoning_content":"a"}"#,
            r#"{"reasoning_content":"b"}"#,
            r#"{"content":"x"}"#,
        ],
        "stop",
        None,
    );
    assert_eq!((said.thinking.as_str(), said.text.as_str()), ("ab", "x"));
    let stop = text.find("content_block_stop").expect("a stop");
    assert!(stop < text.find("text_delta").expect("a text"));
}

#[test]
fn case_73_75_calls_side_by_side_come_one_after_the_other() {
    let (said, _) = from_openai(
        &[
            r#"{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":"{\"x\""}}]}"#,
            r#"{"tool_calls":[{"index":1,"id":"b","function":{"name":"g","arguments":"{\"y\""}}]}"#,
            r#"{"content":"between"}"#,
            r#"{"tool_calls":[{"index":0,"function":{"arguments":":1}"}}]}"#,
            r#"{"tool_calls":[{"index":1,"function":{"arguments":":2}"}}]}"#,
        ],
        "stop",
        None,
    );
    assert_eq!(
        said.calls,
        [
            ("f".into(), "{\"x\":1}".into()),
            ("g".into(), "{\"y\":2}".into())
        ]
    );
    assert_eq!(
        (said.text.as_str(), said.stop.as_deref()),
        ("between", Some("tool_use"))
    );
}

#[test]
fn case_78_a_stream_that_dies_ends_with_an_error() {
    let (mut writer, mut out) = (writer(), Vec::new());
    writer.write(&Event::first(EventKind::Text("x".into())), &mut out);
    writer.fail(&ErrorReply::invalid("gone"), &mut out);
    writer.finish(&mut out);
    let said = legality::anthropic(&out);
    assert_eq!(said.error.as_deref(), Some("gone"));
    assert_eq!(said.stop, None);
}

#[test]
fn an_empty_answer_is_no_success() {
    let (said, _) = from_openai(&[r#"{"content":""}"#], "stop", None);
    assert!(said.error.is_some());
    let (said, _) = from_openai(&[r#"{"content":""}"#], "length", None);
    assert_eq!(said.stop.as_deref(), Some("max_tokens"));
    let (said, _) = from_openai(&[r#"{"content":""}"#], "content_filter", None);
    assert_eq!(said.stop.as_deref(), Some("refusal"));
}

#[test]
fn another_vendors_signature_rides_in_front_of_its_call_and_comes_back() {
    let (said, text) = from_openai(
        &[
            r#"{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":"{}"},"extra_content":{"google":{"thought_signature":"R0VN"}}}]}"#,
        ],
        "tool_calls",
        None,
    );
    assert_eq!(said.calls.len(), 1);
    assert!(
        text.contains(r#""signature":"llmproxy/gemini/R0VN""#),
        "{text}"
    );
    let body = r#"{"model":"m","messages":[{"role":"assistant","content":[{"type":"thinking","thinking":"","signature":"llmproxy/gemini/R0VN"},{"type":"tool_use","id":"a","name":"f","input":{}}]}]}"#;
    let request = Anthropic
        .read_request(body.as_bytes(), crate::dialects::RequestHint::default())
        .expect("a request");
    assert!(matches!(
        &request.messages[0].parts[..],
        [crate::dialects::chat::Part::ToolCall(call)] if call.signature.as_deref() == Some("llmproxy/gemini/R0VN")
    ));
}

proptest! {
    #[test]
    fn any_order_of_events_is_a_legal_stream(kinds in prop::collection::vec(any_event(), 0..24)) {
        let events = numbered(kinds);
        let out = write(&events);
        let said = legality::anthropic(out.as_bytes());
        if said.error.is_none() {
            let mut text = String::new();
            let mut starts = 0;
            let mut arguments = 0;
            for event in &events {
                match &event.kind {
                    EventKind::Text(piece) | EventKind::Refusal(piece) => text += piece,
                    EventKind::ToolStart { .. } => starts += 1,
                    EventKind::ToolArguments { .. } => arguments += 1,
                    _ => {}
                }
            }
            prop_assert_eq!(said.text, text);
            prop_assert_eq!(said.calls.len(), starts);
            prop_assert!(arguments > 0 || said.calls.iter().all(|(_, arguments)| arguments.is_empty()));
        }
    }
}

/// What a client makes of a Gemini stream of these parts.
fn from_gemini(parts: &[&str]) -> String {
    let mut reader = Gemini.stream_reader();
    let mut events = Vec::new();
    for (at, part) in parts.iter().enumerate() {
        let stop = if at + 1 == parts.len() {
            r#","finishReason":"STOP""#
        } else {
            ""
        };
        let chunk = format!(
            r#"{{"candidates":[{{"content":{{"role":"model","parts":[{part}]}}{stop}}}]}}"#
        );
        reader
            .read("", chunk.as_bytes(), &mut events)
            .expect("a chunk");
    }
    let _ = reader.finish(&mut events);
    let out = write(&events);
    legality::anthropic(out.as_bytes());
    out
}

/// Gemini 3 ends its answers so; Claude Code prints nothing where the last block is thinking.
#[test]
fn a_signature_at_the_end_is_no_block_of_its_own() {
    let last = r#"{"text":"","thoughtSignature":"U0lHMQ=="}"#;
    let out = from_gemini(&[r#"{"text":"Hello"}"#, last]);
    assert!(
        out.contains("Hello") && !out.contains("\"thinking\""),
        "{out}"
    );
    // With nothing before it, it is all there is.
    assert!(from_gemini(&[last]).contains("U0lHMQ=="));
}

#[test]
fn a_signature_that_something_follows_stands_before_it() {
    let out = from_gemini(&[
        r#"{"text":"Hello"}"#,
        r#"{"functionCall":{"name":"f","args":{}},"thoughtSignature":"U0lHMQ=="}"#,
    ]);
    let place = |text: &str| out.find(text).unwrap_or_else(|| panic!("{text}: {out}"));
    assert!(place("Hello") < place("U0lHMQ=="), "{out}");
    assert!(place("U0lHMQ==") < place("tool_use"), "{out}");
}
