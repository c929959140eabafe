//! What holds for any stream and any history.

use proptest::prelude::*;
use serde_json::json;

use super::legality::check;
use super::*;
use crate::dialects::chat::{Thinking, ToolKind};
use crate::dialects::event::{SignatureOf, StopReason};
use crate::dialects::signature::tag;

fn any_event() -> impl Strategy<Value = EventKind> {
    let text = "[a-z \"\\\\é\n]{0,8}";
    prop_oneof![
        text.prop_map(EventKind::Text),
        text.prop_map(EventKind::Thinking),
        text.prop_map(EventKind::Refusal),
        (0..5_u32, any::<bool>()).prop_map(|(index, custom)| EventKind::ToolStart {
            index,
            id: format!("c{index}"),
            name: "f".into(),
            kind: if custom {
                ToolKind::Custom
            } else {
                ToolKind::Function
            },
            signature: custom.then(|| tag(Dialect::Gemini, "U0lH")),
        }),
        (0..5_u32, text).prop_map(|(index, delta)| EventKind::ToolArguments { index, delta }),
        (0..5_u32).prop_map(|index| EventKind::ToolEnd { index }),
        (0..3_u8).prop_map(|of| EventKind::Signature {
            of: match of {
                0 => SignatureOf::Text,
                1 => SignatureOf::Thinking,
                _ => SignatureOf::ToolCall(0),
            },
            value: tag(Dialect::Anthropic, "abc"),
        }),
        Just(EventKind::RedactedThinking("x".into())),
        Just(EventKind::Stop {
            reason: StopReason::MaxTokens,
            sequence: None
        }),
        Just(EventKind::Stop {
            reason: StopReason::EndTurn,
            sequence: None
        }),
        Just(EventKind::Citation(raw(
            r#"{"type":"url_citation","url_citation":{"url":"u"}}"#
        ))),
    ]
}

proptest! {
    #[test]
    fn any_order_of_events_becomes_a_legal_stream(events in prop::collection::vec(any_event(), 0..24)) {
        check(&streamed(None, &events));
    }

    #[test]
    fn what_was_streamed_reads_back_as_the_same_text(texts in prop::collection::vec("[a-z\"é\n]{1,6}", 1..6)) {
        let mut events: Vec<EventKind> = texts.iter().cloned().map(EventKind::Text).collect();
        events.push(EventKind::Stop { reason: StopReason::EndTurn, sequence: None });
        let frames: Vec<Value> = streamed(None, &events).into_iter().map(|(_, data)| data).collect();
        let (seen, end) = super::events(&frames);
        prop_assert_eq!(end, Ok(()));
        let back: String = seen.iter().filter_map(|event| match event {
            EventKind::Text(text) => Some(text.as_str()),
            _ => None,
        }).collect();
        prop_assert_eq!(back, texts.concat());
    }

    #[test]
    fn reading_what_was_written_and_writing_it_again_changes_nothing(
        steps in prop::collection::vec((0..5_u8, 0..4_u8, "[a-z \"é]{0,6}"), 0..16)
    ) {
        let mut request = ChatRequest::new(Dialect::OpenAiResponses, "m");
        for (kind, id, text) in steps {
            let (role, part) = match kind {
                0 => (Role::User, Part::text(text)),
                1 => (Role::Assistant, Part::text(text)),
                2 => (Role::Assistant, Part::ToolCall(ToolCall::function(format!("c{id}"), "f", text))),
                3 => (Role::Tool, Part::ToolResult(ToolResult::text(format!("c{id}"), text))),
                _ => (Role::Assistant, Part::Thinking(Thinking {
                    text,
                    signature: Some(tag(Dialect::OpenAiResponses, "gAAA")),
                    extra: Extra::default(),
                })),
            };
            request.messages.push(Message { role, parts: vec![part], extra: Extra::default() });
        }
        let write = |request: &ChatRequest| {
            let target = Target::new("openai", "gpt-5.1");
            let body = OpenAiResponses.write_request(request, &target, &mut Losses::default());
            parsed(&body.expect("a body"))
        };
        let once = write(&request);
        let twice = write(&read(&once));
        prop_assert_eq!(once, twice);
    }

    #[test]
    fn no_input_panics(body in "\\PC{0,80}") {
        let _ = OpenAiResponses.read_request(body.as_bytes(), RequestHint::default());
        let _ = OpenAiResponses.read_reply(body.as_bytes());
        let quoted = json!({"input": [{"type": body}], "output": [{"type": body}]}).to_string();
        let _ = OpenAiResponses.read_request(quoted.as_bytes(), RequestHint::default());
        let _ = OpenAiResponses.read_reply(quoted.as_bytes());
        let mut reader = OpenAiResponses.stream_reader();
        let mut out = Vec::new();
        let _ = reader.read("", body.as_bytes(), &mut out);
        let _ = reader.finish(&mut out);
    }
}
