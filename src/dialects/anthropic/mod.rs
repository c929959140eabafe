//! Anthropic Messages, as `2023-06-01` shapes it; clients of newer versions send nothing that
//! this does not read.
//!
//! Signatures that another vendor made ride in thinking blocks, tagged with their maker
//! ([`signature`](crate::dialects::signature)): clients of this dialect send thinking back word
//! for word. A tagged block stands right before the call or text it belongs to.
//!
//! Sources: the anthropic Python SDK 0.125 and 2.12 (its types), Anthropic's API reference and
//! Claude Code's gateway page; read 2026-11-22.

mod error;
mod reply;
mod request;
mod stream;
mod usage;

use crate::dialects::chat::{ChatReply, ChatRequest};
use crate::dialects::error::{ErrorReply, ReadError};
use crate::dialects::loss::Losses;
use crate::dialects::{
    Codec, Dialect, ReplyContext, RequestHint, StreamReader, StreamWriter, Target,
};

pub use request::{refuse_thread, write_count_tokens};

/// The event that closes a message.
const LAST_FRAME: &[u8] = b"event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";

/// The codec of Anthropic Messages.
#[derive(Clone, Copy, Debug)]
pub struct Anthropic;

impl Codec for Anthropic {
    fn dialect(&self) -> Dialect {
        Dialect::Anthropic
    }

    /// Reads bodies of `/v1/messages` and of `/v1/messages/count_tokens`, which lacks a limit.
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
        Box::new(stream::Reader::default())
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
