//! Gemini's `generateContent`, both ways: Google's API, and what is served in its dialect.
//!
//! The model and the verb (`generateContent`, `streamGenerateContent`) stand in the URL. Bodies
//! are protobuf-JSON: camel case is written, snake case is read as well. Sources: google-genai
//! 3.4.0's types and Google's API reference, read 2026-11-22.

mod citations;
mod contents;
mod error;
mod finish;
mod logprobs;
mod part;
mod reply;
mod request;
mod signature;
mod stream_reader;
mod stream_writer;
mod tools;
mod wire;
mod write_request;

use crate::dialects::chat::{ChatReply, ChatRequest};
use crate::dialects::error::{ErrorReply, ReadError};
use crate::dialects::loss::Losses;
use crate::dialects::models::Thinking;
use crate::dialects::{
    Codec, Dialect, ReplyContext, RequestHint, StreamReader, StreamWriter, Target,
};

pub use stream_writer::Framing;

/// The codec of this dialect.
#[derive(Clone, Copy, Debug, Default)]
pub struct Gemini;

impl Codec for Gemini {
    fn dialect(&self) -> Dialect {
        Dialect::Gemini
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
        Box::new(stream_reader::Reader::new())
    }

    /// The writer for clients that asked for `alt=sse`; see [`stream_writer`] for the others.
    fn stream_writer(&self, context: ReplyContext) -> Box<dyn StreamWriter> {
        stream_writer(context, Framing::Sse)
    }

    fn write_error(&self, error: &ErrorReply) -> Vec<u8> {
        error::write(error)
    }

    fn write_stream_error(&self, error: &ErrorReply) -> Vec<u8> {
        let mut out = Vec::new();
        error::write_event(error, &mut out);
        out
    }
}

/// A writer for one client stream in the given framing.
pub fn stream_writer(context: ReplyContext, framing: Framing) -> Box<dyn StreamWriter> {
    Box::new(stream_writer::Writer::new(context, framing))
}

/// Back ends in this dialect that read a narrow schema only, and validate every call.
fn wants_openapi(target: &Target<'_>) -> bool {
    target.provider == "antigravity"
}

/// Google's Code Assist, which serves both of these in one dialect.
fn is_code_assist(target: &Target<'_>) -> bool {
    matches!(target.provider, "antigravity" | "gemini_cli")
}

/// Whether calls and their answers bear ids: from Gemini 3 on, and at Code Assist always.
fn has_call_ids(target: &Target<'_>) -> bool {
    target.facts.call_ids || is_code_assist(target)
}

/// Whose signatures a model takes: Claude, served in Gemini's dialect, only its own.
fn signer(target: &Target<'_>) -> Dialect {
    if target.model.contains("claude") {
        Dialect::Anthropic
    } else {
        Dialect::Gemini
    }
}

/// Models before 2.5, which know neither thinking nor `parametersJsonSchema`.
fn is_before_2_5(target: &Target<'_>) -> bool {
    target.facts.thinking == Thinking::None
}

#[cfg(test)]
mod tests;
