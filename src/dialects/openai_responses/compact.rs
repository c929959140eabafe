//! A conversation made shorter (`/v1/responses/compact`) by vendors that do not do it themselves:
//! the model is asked for a summary, which takes the place of all but the user's own words.
//!
//! OpenAI gives an item that only it can read; here it is a message, which any model can. Clients
//! put the output in the conversation's place (openai Python SDK 3.54, Codex's sources; read
//! 2026-11-22).

use crate::dialects::chat::{ChatReply, ChatRequest, Message, Part, Role};
use crate::dialects::error::{ErrorReply, ReadError};
use crate::dialects::fields::Extra;
use crate::dialects::ids::IdSource;
use crate::dialects::json::{Object, object};
use crate::dialects::loss::Losses;
use crate::dialects::openai_responses::response::write_usage;
use crate::dialects::openai_responses::{OpenAiResponses, request};
use crate::dialects::{
    Codec, Dialect, ReplyContext, RequestHint, StreamReader, StreamWriter, Target,
};

const ASK: &str = "Summarise this conversation for whoever takes it up from here and sees nothing \
    else of it. Keep what was asked for, what was decided and why, what was done, what was found \
    (names, paths, numbers, exact errors), what failed, and what is left to do. Leave out \
    pleasantries. Answer with the summary alone.";

const PREFACE: &str =
    "The conversation so far was longer. This is a summary of what is left out of it:\n\n";

/// What of the user's own words stays: about 20,000 tokens, the newest first, as Codex does where it
/// makes conversations shorter itself.
const KEPT_BYTES: usize = 80_000;

/// The codec of a client that asks for a shorter conversation. Upstreams are asked in chat.
#[derive(Clone, Copy, Debug)]
pub struct Compaction;

impl Codec for Compaction {
    fn dialect(&self) -> Dialect {
        Dialect::OpenAiResponses
    }

    fn read_request(&self, body: &[u8], hint: RequestHint<'_>) -> Result<ChatRequest, ReadError> {
        let mut chat = request::read(body, hint)?;
        chat.stream = false;
        chat.tools.clear();
        (chat.tool_choice, chat.parallel_tool_calls) = (None, None);
        chat.messages.push(Message {
            role: Role::User,
            parts: vec![Part::text(ASK)],
            extra: Extra::default(),
        });
        Ok(chat)
    }

    fn write_request(
        &self,
        request: &ChatRequest,
        target: &Target<'_>,
        losses: &mut Losses,
    ) -> Result<Vec<u8>, ErrorReply> {
        OpenAiResponses.write_request(request, target, losses)
    }

    fn read_reply(&self, body: &[u8]) -> Result<ChatReply, ReadError> {
        OpenAiResponses.read_reply(body)
    }

    fn write_reply(
        &self,
        reply: &ChatReply,
        context: &ReplyContext,
        _losses: &mut Losses,
    ) -> Vec<u8> {
        let mut ids = IdSource::new(context.id_seed);
        let mut out = Vec::with_capacity(4096);
        object(&mut out, |o| {
            o.put("id", &ids.make("resp_"));
            o.put("object", "response.compaction");
            o.put("created_at", &context.created);
            o.array("output", |list| {
                let kept = context.request.as_deref().map(kept).unwrap_or_default();
                for text in kept {
                    list.object(|o| message(o, &mut ids, text));
                }
                let summary = format!("{PREFACE}{}", said(reply));
                list.object(|o| message(o, &mut ids, &summary));
            });
            write_usage(o, &reply.usage.unwrap_or_default());
        });
        out
    }

    fn stream_reader(&self) -> Box<dyn StreamReader> {
        OpenAiResponses.stream_reader()
    }

    fn stream_writer(&self, context: ReplyContext) -> Box<dyn StreamWriter> {
        OpenAiResponses.stream_writer(context)
    }

    fn write_error(&self, error: &ErrorReply) -> Vec<u8> {
        OpenAiResponses.write_error(error)
    }

    fn write_stream_error(&self, error: &ErrorReply) -> Vec<u8> {
        OpenAiResponses.write_stream_error(error)
    }
}

/// The user's texts that stay, the oldest first.
fn kept(request: &ChatRequest) -> Vec<&str> {
    // The last message is ours.
    let own = request.messages.iter().rev().skip(1);
    let users = own.filter(|message| message.role == Role::User);
    let texts = users.flat_map(|message| {
        let texts = message.parts.iter().rev().filter_map(|part| match part {
            Part::Text(text) if !text.text.trim().is_empty() => Some(text.text.as_str()),
            _ => None,
        });
        texts.collect::<Vec<_>>()
    });
    let mut left = KEPT_BYTES;
    let fitting = texts.take_while(|text| {
        let fits = text.len() <= left;
        left = left.saturating_sub(text.len());
        fits
    });
    let mut kept: Vec<&str> = fitting.collect();
    kept.reverse();
    kept
}

/// The answer's text.
fn said(reply: &ChatReply) -> String {
    let parts = reply.choices.iter().flat_map(|choice| &choice.parts);
    let texts = parts.filter_map(|part| match part {
        Part::Text(text) => Some(text.text.as_str()),
        _ => None,
    });
    texts.collect()
}

fn message(o: &mut Object<'_>, ids: &mut IdSource, text: &str) {
    o.put("id", &ids.make("msg_"));
    o.put("type", "message");
    o.put("role", "user");
    o.put("status", "completed");
    o.array("content", |list| {
        list.object(|o| {
            o.put("type", "input_text");
            o.put("text", text);
        });
    });
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};

    use super::*;
    use crate::dialects::chat::Choice;

    fn asked(items: &Value) -> ChatRequest {
        let body = json!({"model": "m", "input": items, "stream": true,
            "tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}}]});
        let body = body.to_string();
        let read = Compaction.read_request(body.as_bytes(), RequestHint::default());
        read.expect("it is read")
    }

    fn texts(request: ChatRequest, summary: &str) -> Vec<String> {
        let reply = ChatReply {
            choices: vec![Choice {
                parts: vec![Part::text(summary)],
                ..Choice::default()
            }],
            ..ChatReply::default()
        };
        let context = ReplyContext {
            model: "m".to_owned(),
            created: 1,
            id_seed: 1,
            include_usage: false,
            request: Some(Arc::new(request)),
        };
        let body = Compaction.write_reply(&reply, &context, &mut Losses::default());
        let body: Value = serde_json::from_slice(&body).expect("JSON");
        assert_eq!(body["object"], "response.compaction");
        assert!(body["usage"]["total_tokens"].is_u64(), "{body}");
        let output = body["output"].as_array().expect("items").iter();
        output
            .map(|item| {
                item["content"][0]["text"]
                    .as_str()
                    .expect("text")
                    .to_owned()
            })
            .collect()
    }

    #[test]
    fn the_model_is_asked_for_a_summary_and_no_calls() {
        let request = asked(&json!([{"role": "user", "content": "hi"}]));
        assert!(request.tools.is_empty() && !request.stream);
        let last = request.messages.last().expect("ours");
        assert!(matches!(&last.parts[..], [Part::Text(text)] if text.text == ASK));
    }

    #[test]
    fn the_users_words_stay_and_the_summary_follows() {
        let request = asked(&json!([
            {"role": "user", "content": "first"},
            {"role": "assistant", "content": "answer"},
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c", "output": "result"},
            {"role": "user", "content": "second"},
        ]));
        let texts = texts(request, "all of it");
        assert_eq!(texts[..2], ["first", "second"]);
        assert_eq!(texts[2], format!("{PREFACE}all of it"));
        assert_eq!(texts.len(), 3);
    }

    #[test]
    fn of_too_many_words_the_newest_stay() {
        let long = "x".repeat(KEPT_BYTES - 3);
        let items = json!([{"role": "user", "content": "old one"},
            {"role": "user", "content": long}, {"role": "user", "content": "new"}]);
        let texts = texts(asked(&items), "s");
        assert_eq!(texts.len(), 3);
        assert_eq!((texts[0].len(), texts[1].as_str()), (long.len(), "new"));
    }
}
