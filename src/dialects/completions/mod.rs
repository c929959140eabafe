//! OpenAI's legacy text completions (`/v1/completions`), for clients only: a prompt becomes one
//! user message for any chat provider, and its answer comes back as `text_completion`.
//!
//! Source: OpenAI's API reference for completions and the SDK's types, read 2026-11-22.

mod logprobs;
mod reply;
mod request;
mod stream;

use crate::dialects::chat::{ChatReply, ChatRequest};
use crate::dialects::error::{ErrorReply, ReadError};
use crate::dialects::loss::Losses;
use crate::dialects::openai_chat::OpenAiChat;
use crate::dialects::{
    Codec, Dialect, ReplyContext, RequestHint, StreamReader, StreamWriter, Target,
};

/// The codec of a client that asks for text completions. Upstreams are spoken to in chat.
#[derive(Clone, Copy, Debug)]
pub struct Completions;

impl Codec for Completions {
    fn dialect(&self) -> Dialect {
        Dialect::OpenAiChat
    }

    fn read_request(&self, body: &[u8], hint: RequestHint<'_>) -> Result<ChatRequest, ReadError> {
        request::read(body, hint)
    }

    fn write_request(
        &self,
        request: &ChatRequest,
        target: &Target<'_>,
        losses: &mut Losses,
    ) -> Result<Vec<u8>, ErrorReply> {
        OpenAiChat.write_request(request, target, losses)
    }

    fn read_reply(&self, body: &[u8]) -> Result<ChatReply, ReadError> {
        OpenAiChat.read_reply(body)
    }

    fn write_reply(
        &self,
        reply: &ChatReply,
        context: &ReplyContext,
        losses: &mut Losses,
    ) -> Vec<u8> {
        reply::write(reply, context, losses)
    }

    fn stream_reader(&self) -> Box<dyn StreamReader> {
        OpenAiChat.stream_reader()
    }

    fn stream_writer(&self, context: ReplyContext) -> Box<dyn StreamWriter> {
        Box::new(stream::Writer::new(&context))
    }

    fn write_error(&self, error: &ErrorReply) -> Vec<u8> {
        OpenAiChat.write_error(error)
    }

    fn write_stream_error(&self, error: &ErrorReply) -> Vec<u8> {
        OpenAiChat.write_stream_error(error)
    }

    fn last_frame(&self) -> &'static [u8] {
        OpenAiChat.last_frame()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialects::chat::Part;
    use crate::dialects::event::{Event, EventKind, StopReason};
    use crate::dialects::usage::Usage;

    fn read(body: &str) -> Result<ChatRequest, ReadError> {
        Completions.read_request(body.as_bytes(), RequestHint::default())
    }

    fn context(body: &str) -> ReplyContext {
        ReplyContext {
            model: "p/m".to_owned(),
            created: 7,
            id_seed: 1,
            include_usage: true,
            request: Some(std::sync::Arc::new(read(body).expect("a request"))),
        }
    }

    #[test]
    fn a_prompt_becomes_one_user_message() {
        for prompt in [r#""Say hi""#, r#"["Say hi"]"#] {
            let body = format!(
                r#"{{"model":"m","prompt":{prompt},"max_tokens":5,"stop":"\n","logprobs":2}}"#
            );
            let request = read(&body).expect("a request");
            assert!(matches!(&request.messages[..], [message]
                if matches!(&message.parts[..], [Part::Text(text)] if text.text == "Say hi")));
            assert_eq!(
                (request.max_tokens, request.top_logprobs),
                (Some(5), Some(2))
            );
            assert_eq!(request.stop, ["\n"]);
        }
    }

    #[test]
    fn what_no_chat_model_can_do_is_refused_by_name() {
        for (members, at_fault) in [
            (r#""prompt":[1,2,3]"#, "prompt"),
            (r#""prompt":["a","b"]"#, "prompt"),
            (r#""prompt":"a","suffix":"b""#, "suffix"),
            (r#""prompt":"a","best_of":3"#, "best_of"),
            (r#""n":1"#, "prompt"),
        ] {
            let error = read(&format!(r#"{{"model":"m",{members}}}"#)).expect_err(members);
            assert!(error.to_string().contains(at_fault), "{error}");
        }
    }

    #[test]
    fn an_answer_comes_back_as_text_with_the_prompt_if_echoed() {
        let reply = OpenAiChat
            .read_reply(br#"{"choices":[{"message":{"content":"hello"},"finish_reason":"length","logprobs":{"content":[{"token":"hello","logprob":-0.5,"top_logprobs":[{"token":"hello","logprob":-0.5}]}]}}],"usage":{"prompt_tokens":2,"completion_tokens":1}}"#)
            .expect("an answer");
        let written = Completions.write_reply(
            &reply,
            &context(r#"{"model":"m","prompt":"Say: ","echo":true}"#),
            &mut Losses::default(),
        );
        let text = String::from_utf8(written).expect("UTF-8");
        assert!(
            text.contains(r#""object":"text_completion","created":7,"model":"p/m""#),
            "{text}"
        );
        assert!(text.contains(r#""text":"Say: hello","index":0"#), "{text}");
        assert!(
            text.contains(r#""logprobs":{"tokens":["hello"],"token_logprobs":[-0.5],"top_logprobs":[{"hello":-0.5}],"text_offset":[5]}"#),
            "{text}"
        );
        assert!(text.contains(r#""finish_reason":"length""#), "{text}");
    }

    #[test]
    fn a_stream_is_text_then_reason_then_usage() {
        let mut writer = Completions.stream_writer(context(r#"{"model":"m","prompt":"x"}"#));
        let mut out = Vec::new();
        for kind in [
            EventKind::Start {
                id: None,
                model: None,
            },
            EventKind::Text("he".into()),
            EventKind::Text("llo".into()),
            EventKind::Stop {
                reason: StopReason::EndTurn,
                sequence: None,
            },
            EventKind::Usage(Usage {
                input: 2,
                output: 1,
                ..Usage::default()
            }),
        ] {
            writer.write(&Event::first(kind), &mut out);
        }
        writer.finish(&mut out);
        let text = String::from_utf8(out).expect("UTF-8");
        let frames: Vec<&str> = text
            .split("\n\n")
            .filter(|frame| !frame.is_empty())
            .collect();
        assert_eq!(frames.len(), 5, "{text}");
        assert!(
            frames[0].contains(r#""text":"he","index":0,"logprobs":null,"finish_reason":null"#)
        );
        assert!(
            frames[2].contains(r#""text":"","index":0,"logprobs":null,"finish_reason":"stop""#)
        );
        assert!(frames[3].contains(r#""choices":[],"usage":{"prompt_tokens":2"#));
        assert_eq!(frames[4], "data: [DONE]");
    }

    #[test]
    fn a_cut_stream_ends_with_an_error() {
        let mut writer = Completions.stream_writer(context(r#"{"model":"m","prompt":"x"}"#));
        let mut out = Vec::new();
        writer.write(&Event::first(EventKind::Text("he".into())), &mut out);
        writer.finish(&mut out);
        let text = String::from_utf8(out).expect("UTF-8");
        assert!(
            text.contains(r#"{"error":"#) && !text.contains("[DONE]"),
            "{text}"
        );
    }
}
