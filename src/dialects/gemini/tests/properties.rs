//! What holds for any conversation.

use proptest::prelude::*;

use super::*;
use crate::dialects::chat::{Text, Thinking};
use crate::dialects::signature::tag;

fn any_part() -> impl Strategy<Value = Part> {
    let text = "[a-z \"\\\\é\n]{0,12}";
    prop_oneof![
        text.prop_map(Part::text),
        (text, "[A-Za-z0-9]{4}").prop_map(|(text, signature)| Part::Thinking(Thinking {
            text,
            signature: Some(tag(Dialect::Gemini, &signature)),
            extra: Extra::default(),
        })),
        (text, "[A-Za-z0-9]{4}").prop_map(|(text, signature)| Part::Text(Text {
            text,
            signature: Some(tag(Dialect::Gemini, &signature)),
            ..Text::default()
        })),
        (0..4_u8, text).prop_map(|(id, text)| Part::ToolCall(ToolCall::function(
            format!("c{id}"),
            format!("f{id}"),
            text
        ))),
        (0..4_u8, text)
            .prop_map(|(id, text)| { Part::ToolResult(ToolResult::text(format!("c{id}"), text)) }),
    ]
}

fn any_history() -> impl Strategy<Value = Vec<Message>> {
    let turn = (0..4_u8, prop::collection::vec(any_part(), 0..4)).prop_map(|(role, parts)| {
        let role = match role {
            0 => Role::Assistant,
            1 => Role::System,
            2 => Role::Tool,
            _ => Role::User,
        };
        let fits = |part: &Part| match part {
            Part::ToolResult(_) => role == Role::Tool,
            Part::ToolCall(_) | Part::Thinking(_) => role == Role::Assistant,
            _ => role != Role::Tool,
        };
        message(role, parts.into_iter().filter(fits).collect())
    });
    prop::collection::vec(turn, 0..12)
}

proptest! {
    #[test]
    fn every_body_is_legal_and_every_call_is_answered_in_order(history in any_history()) {
        let (body, _) = written(&request(history), "gemini-3-flash-preview");
        let contents = body["contents"].as_array().expect("contents");
        prop_assert!(!contents.is_empty());
        prop_assert_eq!(&contents[0]["role"], "user");
        for (at, content) in contents.iter().enumerate() {
            let parts = content["parts"].as_array().expect("parts");
            prop_assert!(!parts.is_empty());
            let ids = |parts: &[Value], name: &str| -> Vec<Value> {
                parts.iter().filter_map(|part| part.get(name)).map(|call| call["id"].clone()).collect()
            };
            let asked = ids(parts, "functionCall");
            let Some(next) = contents.get(at + 1) else { continue };
            let answered = ids(next["parts"].as_array().expect("parts"), "functionResponse");
            if !asked.is_empty() {
                prop_assert_eq!(asked, answered);
            }
        }
    }

    #[test]
    fn reading_what_was_written_and_writing_it_again_changes_nothing(history in any_history()) {
        let (once, _) = written(&request(history), "gemini-3-flash-preview");
        let (twice, losses) = written(&read(&once.to_string()), "gemini-3-flash-preview");
        prop_assert!(losses.is_empty(), "{:?}", losses);
        prop_assert_eq!(once, twice);
    }

    #[test]
    fn no_input_panics(body in "\\PC{0,80}") {
        let _ = Gemini.read_request(body.as_bytes(), RequestHint::default());
        let _ = Gemini.read_reply(body.as_bytes());
        let mut reader = Gemini.stream_reader();
        let mut out = Vec::new();
        let _ = reader.read("", body.as_bytes(), &mut out);
        let _ = reader.finish(&mut out);
    }
}
