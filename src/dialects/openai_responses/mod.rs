//! OpenAI Responses, both ways: what Codex and the newer SDKs speak.
//!
//! Reading takes every item there is; what only OpenAI can do passes as it is. Writing gives
//! clients the events in OpenAI's order, each item opened, filled and closed before the next, and
//! reasoning with what signs it in `encrypted_content` (`held`), so that a client that sends
//! its items back keeps every maker's signatures. Nothing is stored here; [`store`] has the pure
//! part of `previous_response_id`.
//!
//! Sources: the openai Python SDK 2.54 and 3.54 (its types) and Codex's sources; read 2026-11-22.

pub mod compact;
mod content;
mod error;
mod held;
mod items;
mod open;
mod reply;
mod request;
mod response;
pub mod store;
mod stream_reader;
mod stream_writer;
mod tools;
mod write_request;

use crate::dialects::chat::{ChatReply, ChatRequest};
use crate::dialects::error::{ErrorReply, ReadError};
use crate::dialects::loss::Losses;
use crate::dialects::openai_chat::OpenAiChat;
use crate::dialects::{
    Codec, Dialect, ReplyContext, RequestHint, StreamReader, StreamWriter, Target,
};

/// The codec of OpenAI Responses.
#[derive(Clone, Copy, Debug, Default)]
pub struct OpenAiResponses;

impl Codec for OpenAiResponses {
    fn dialect(&self) -> Dialect {
        Dialect::OpenAiResponses
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
        write_request::write(request, target, losses)
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
        Box::new(stream_reader::Reader::default())
    }

    fn stream_writer(&self, context: ReplyContext) -> Box<dyn StreamWriter> {
        Box::new(stream_writer::Writer::new(context))
    }

    /// The body is Chat's.
    fn write_error(&self, error: &ErrorReply) -> Vec<u8> {
        OpenAiChat.write_error(error)
    }

    fn write_stream_error(&self, error: &ErrorReply) -> Vec<u8> {
        error::event(error)
    }

    fn write_stream_break(&self, error: &ErrorReply, first: &[u8], last: &[u8]) -> Vec<u8> {
        error::failed(error, first, last).unwrap_or_else(|| error::event(error))
    }
}

#[cfg(test)]
mod tests;
