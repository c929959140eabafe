//! Finds the unknown members that a request's messages, parts and tools hold and that a strict
//! target will not see, so that each can be named as lost.

use crate::dialects::chat::{ChatRequest, Part, Tool};
use crate::dialects::fields::Extra;
use crate::dialects::loss::Losses;

/// Records every unknown member below the top level: `messages[3].name`,
/// `messages[0].content[1].prompt_cache_breakpoint`, `tools[2].x`.
pub fn record(request: &ChatRequest, losses: &mut Losses) {
    for (at, message) in request.messages.iter().enumerate() {
        name_all(&message.extra, losses, || format!("messages[{at}]"));
        for (place, part) in message.parts.iter().enumerate() {
            if let Some(extra) = extra_of(part) {
                name_all(extra, losses, || format!("messages[{at}].content[{place}]"));
            }
        }
    }
    for (at, tool) in request.tools.iter().enumerate() {
        if let Tool::Function(function) = tool {
            name_all(&function.extra, losses, || format!("tools[{at}]"));
        }
    }
}

fn extra_of(part: &Part) -> Option<&Extra> {
    match part {
        Part::Media(media) => Some(&media.extra),
        Part::Text(text) => Some(&text.extra),
        Part::ToolCall(call) => Some(&call.extra),
        Part::ToolResult(result) => Some(&result.extra),
        // What hangs on thinking is its maker's affair.
        Part::Raw { .. } | Part::RedactedThinking { .. } | Part::Refusal(_) | Part::Thinking(_) => {
            None
        }
    }
}

fn name_all(extra: &Extra, losses: &mut Losses, node: impl Fn() -> String) {
    for (name, value) in &extra.0 {
        // A namespace is not lost: it is the beginning of its tools' names.
        if value.get() != "null" && name != "namespace" {
            losses.drop_field(format!("{}.{name}", node()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialects::openai_chat::OpenAiChat;
    use crate::dialects::{Codec, RequestHint};

    #[test]
    fn unknown_members_are_named_by_their_paths() {
        let body = br#"{"model":"m","messages":[{"role":"user","name":"Ann","content":[{"type":"text","text":"x","spark":1}]}],"tools":[{"type":"function","function":{"name":"f","glow":true}}]}"#;
        let request = OpenAiChat
            .read_request(body, RequestHint::default())
            .expect("a request");
        let mut losses = Losses::default();
        record(&request, &mut losses);
        assert_eq!(
            losses.paths(),
            [
                "messages[0].name",
                "messages[0].content[0].spark",
                "tools[0].glow"
            ]
        );
    }
}
