//! Wire formats: pure functions from bytes to bytes, one codec a dialect.
//!
//! Hub and spokes: each codec reads its own dialect into the canonical form ([`chat`], [`event`])
//! and writes that form back. There are no pairs. Nothing here knows time, sockets, hyper or logs.
//! When client and upstream speak one dialect none of this runs: the bytes pass as they are, and
//! only [`head`] and an [`observe`]r look at them.

pub mod anthropic;
pub mod arguments;
pub mod chat;
pub mod citation;
pub mod completions;
pub mod edit;
pub mod effort;
pub mod embeddings;
pub mod error;
pub mod estimate;
pub mod event;
pub mod fields;
pub mod flatten;
pub mod gemini;
pub mod halves;
pub mod head;
pub mod ids;
pub mod json;
pub mod leftover;
#[cfg(test)]
mod legality;
pub mod loss;
pub mod media;
pub mod mend;
pub mod model_list;
pub mod models;
pub mod observe;
pub mod openai_chat;
pub mod openai_responses;
pub mod recall;
pub mod restore;
pub mod schema;
pub mod signature;
pub mod sse;
pub mod think;
pub mod turns;
pub mod usage;

use std::fmt;

use crate::dialects::chat::{ChatReply, ChatRequest};
use crate::dialects::error::{ErrorReply, ReadError};
use crate::dialects::event::Event;
use crate::dialects::loss::Losses;
use crate::dialects::models::Facts;

/// A wire format, spoken by clients, upstreams or both.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq, PartialOrd, Ord)]
pub enum Dialect {
    Anthropic,
    Gemini,
    OpenAiChat,
    OpenAiResponses,
}

impl Dialect {
    /// All dialects, for tables and tests.
    pub const ALL: [Self; 4] = [
        Self::Anthropic,
        Self::Gemini,
        Self::OpenAiChat,
        Self::OpenAiResponses,
    ];

    /// The name that config (`kind = "…"`), logs and metrics use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Anthropic => "anthropic",
            Self::Gemini => "gemini",
            Self::OpenAiChat => "openai",
            Self::OpenAiResponses => "openai_responses",
        }
    }
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a client wants done, whatever the dialect it says it in.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// A conversation turn: the only operation that crosses dialects in full.
    Chat,
    /// OpenAI's making of a conversation shorter, of Responses only.
    Compact,
    /// OpenAI's legacy text completion.
    Completions,
    /// How many tokens a request would take.
    CountTokens,
    /// Vectors for texts.
    Embeddings,
}

impl Operation {
    /// All operations, for tables and tests.
    pub const ALL: [Self; 5] = [
        Self::Chat,
        Self::Compact,
        Self::Completions,
        Self::CountTokens,
        Self::Embeddings,
    ];

    /// The name in journal and reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Compact => "compact",
            Self::Completions => "completions",
            Self::CountTokens => "count_tokens",
            Self::Embeddings => "embeddings",
        }
    }
}

/// What a codec must know of the target to write a request for it.
#[derive(Clone, Debug)]
pub struct Target<'a> {
    /// The model name the upstream knows.
    pub model: &'a str,
    /// The provider's id: some write-outs differ by vendor within one dialect.
    pub provider: &'a str,
    /// What the model takes and refuses.
    pub facts: &'a Facts,
}

impl<'a> Target<'a> {
    /// A model of a provider, with the facts that ship with the program.
    pub fn new(provider: &'a str, model: &'a str) -> Self {
        Self {
            model,
            provider,
            facts: models::facts(model),
        }
    }
}

/// What a codec must know of the request to write its answer for the client.
#[derive(Clone, Debug)]
pub struct ReplyContext {
    /// The model name the client asked for, which the answer repeats.
    pub model: String,
    /// Seconds since the epoch, for `created` fields.
    pub created: i64,
    /// Seed for ids the gateway makes up (`chatcmpl-…`, `msg_…`).
    pub id_seed: u128,
    /// OpenAI Chat: the client asked for the usage chunk.
    pub include_usage: bool,
    /// The canonical request, for answers that repeat parts of it (Responses); absent for
    /// operations that have none.
    pub request: Option<std::sync::Arc<ChatRequest>>,
}

/// The codec of a dialect.
pub fn codec(dialect: Dialect) -> &'static dyn Codec {
    match dialect {
        Dialect::Anthropic => &anthropic::Anthropic,
        Dialect::Gemini => &gemini::Gemini,
        Dialect::OpenAiChat => &openai_chat::OpenAiChat,
        Dialect::OpenAiResponses => &openai_responses::OpenAiResponses,
    }
}

/// One dialect, both ways. Codecs hold no state; a stream's state lives in its reader and writer.
pub trait Codec: Sync {
    /// Which dialect this is.
    fn dialect(&self) -> Dialect;

    /// Reads a client's request. `path_model` is the model of a Gemini URL, `stream` its verb.
    fn read_request(&self, body: &[u8], hint: RequestHint<'_>) -> Result<ChatRequest, ReadError>;

    /// Writes the request for an upstream. What cannot cross is recorded in `losses`; an error
    /// means that nothing sensible can be sent (for example audio to a text-only dialect).
    fn write_request(
        &self,
        request: &ChatRequest,
        target: &Target<'_>,
        losses: &mut Losses,
    ) -> Result<Vec<u8>, ErrorReply>;

    /// Reads an upstream's whole answer.
    fn read_reply(&self, body: &[u8]) -> Result<ChatReply, ReadError>;

    /// Writes a whole answer for the client.
    fn write_reply(
        &self,
        reply: &ChatReply,
        context: &ReplyContext,
        losses: &mut Losses,
    ) -> Vec<u8>;

    /// A reader for one upstream stream.
    fn stream_reader(&self) -> Box<dyn StreamReader>;

    /// A writer for one client stream.
    fn stream_writer(&self, context: ReplyContext) -> Box<dyn StreamWriter>;

    /// Writes an error as the body of a failed answer.
    fn write_error(&self, error: &ErrorReply) -> Vec<u8>;

    /// Writes an error as the last bytes of a stream whose head already went out with a 200:
    /// legal to append to a verbatim relayed stream at a frame boundary.
    fn write_stream_error(&self, error: &ErrorReply) -> Vec<u8>;

    /// [`Codec::write_stream_error`] where the first and the last `data:` of the relayed stream are
    /// known: dialects that number their events or repeat the answer's frame go on from there.
    fn write_stream_break(&self, error: &ErrorReply, _first: &[u8], _last: &[u8]) -> Vec<u8> {
        self.write_stream_error(error)
    }

    /// The frame that ends a stream of this dialect and says no more than that; empty where there
    /// is no such frame.
    fn last_frame(&self) -> &'static [u8] {
        b""
    }
}

/// What the URL says of a request beside its body (only Gemini's does).
#[derive(Clone, Copy, Debug, Default)]
pub struct RequestHint<'a> {
    /// The model of the path, when the dialect puts it there.
    pub model: Option<&'a str>,
    /// Whether the route is a streaming one, when the dialect says so by route.
    pub stream: Option<bool>,
}

/// Turns one upstream stream into canonical events.
pub trait StreamReader: Send {
    /// Reads one server-sent event: its `event:` name (may be empty) and joined `data:`.
    fn read(&mut self, name: &str, data: &[u8], out: &mut Vec<Event>) -> Result<(), ReadError>;

    /// The upstream closed the stream. Emits what was held back; an error if it was cut short
    /// (no stop reason seen).
    fn finish(&mut self, out: &mut Vec<Event>) -> Result<(), ReadError>;

    /// `true` once the frame was read behind which nothing of the answer can come; never in dialects
    /// that have none.
    fn is_over(&self) -> bool {
        false
    }
}

/// Turns canonical events into one client stream, as bytes ready to send.
pub trait StreamWriter: Send {
    /// Appends the frames for one event. The order of events may be any the readers produce; the
    /// output is always legal in its dialect.
    fn write(&mut self, event: &Event, out: &mut Vec<u8>);

    /// Appends the ending: closes open blocks, reports usage, says goodbye.
    fn finish(&mut self, out: &mut Vec<u8>);

    /// Appends the dialect's in-stream error and nothing that would look like success.
    fn fail(&mut self, error: &ErrorReply, out: &mut Vec<u8>);

    /// What could not be expressed so far.
    fn losses(&self) -> &Losses;
}
