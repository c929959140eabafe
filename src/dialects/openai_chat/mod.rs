//! OpenAI Chat Completions, the dialect most vendors speak.
//!
//! Reading takes what any of them sends; writing sends what the target is known to take
//! (`vendor.rs`). Reasoning goes to clients as `reasoning_content`. Signatures go as OpenRouter's
//! `reasoning_details` and Google's `extra_content.google.thought_signature`, so that a client
//! that sends its assistant messages back whole keeps them; one that does not loses nothing else.
//!
//! Sources: the openai Python SDK 2.54 and 3.54 (its types), vendors' own pages; read 2026-11-22.

mod content;
mod error;
mod reasoning;
mod reply;
mod request;
mod stream;
mod usage;
mod vendor;

use crate::dialects::chat::{ChatReply, ChatRequest};
use crate::dialects::error::{ErrorReply, ReadError};
use crate::dialects::loss::Losses;
use crate::dialects::{
    Codec, Dialect, ReplyContext, RequestHint, StreamReader, StreamWriter, Target,
};

pub(in crate::dialects) use reply::finish_reason;
pub(in crate::dialects) use request::{custom_description, write_input_schema};
#[cfg(test)]
pub(in crate::dialects) use stream::{any_event, numbered};
pub(in crate::dialects) use usage::write as write_usage;

/// The frame behind the last one of an answer.
const LAST_FRAME: &[u8] = b"data: [DONE]\n\n";

/// The codec of OpenAI Chat Completions.
#[derive(Clone, Copy, Debug)]
pub struct OpenAiChat;

impl Codec for OpenAiChat {
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
        request::write(request, target, losses)
    }

    fn read_reply(&self, body: &[u8]) -> Result<ChatReply, ReadError> {
        reply::read(body)
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
        Box::new(stream::Reader::new())
    }

    fn stream_writer(&self, context: ReplyContext) -> Box<dyn StreamWriter> {
        Box::new(stream::Writer::new(&context))
    }

    fn write_error(&self, error: &ErrorReply) -> Vec<u8> {
        error::body(error)
    }

    fn write_stream_error(&self, error: &ErrorReply) -> Vec<u8> {
        error::frame(error)
    }

    fn last_frame(&self) -> &'static [u8] {
        LAST_FRAME
    }
}
