//! Watches an answer that passes verbatim: has content begun, is it an error, what did it cost, did
//! it end properly.
//!
//! Observation is cheap and never in the way. Until content begins, each frame is parsed: the
//! gateway still decides. From then on a frame is parsed only if one of a few markers, found
//! without parsing, says that it matters. What cannot be understood passes and counts as nothing.

mod anthropic;
mod chat;
pub mod counts;
mod gemini;
mod inspect;
mod json;
mod responses;
#[cfg(test)]
mod tests;

use crate::dialects::error::UpstreamError;
use crate::dialects::observe::json::{Marks, follows, text_chars};
use crate::dialects::sse::Frame;
use crate::dialects::usage::Usage;
use crate::dialects::{Dialect, Operation};

pub use crate::dialects::observe::inspect::{Inspection, inspect};

/// Watches one stream. It is shown every frame, in order.
pub trait Observer: Send {
    /// Looks at the next frame.
    fn frame(&mut self, frame: &Frame) -> Sign;

    /// The last token counts the stream told; `None` if it told none.
    fn usage(&self) -> Option<Usage>;

    /// `true` once the answer is whole: a finish reason, `message_stop` or the like was seen. A
    /// stream that closes before that was cut short. OpenAI's `[DONE]` may be missing after a
    /// finish reason, and suffices without one.
    fn ended(&self) -> bool;

    /// Characters of answer seen so far (text, reasoning, tool arguments), roughly: escapes count
    /// as they are written. For an estimate where no usage comes.
    fn output_chars(&self) -> u64;
}

/// What a frame means for the gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sign {
    /// The answer has begun with this frame or before: text, reasoning, a tool call or media. Also
    /// a finish reason that says why there is no more (length, refusal, filter, a pause): another
    /// try would end the same way, so the client is to have it.
    Content,
    /// The terminal frame: nothing more will follow. Without `Content` before, the answer is empty.
    End,
    /// The upstream failed inside its 200.
    Error(UpstreamError),
    /// Nothing yet: a comment, a role, `message_start`, `ping`, an empty delta, a bare finish.
    Preamble,
}

/// An observer for streams of this dialect. `operation` tells OpenAI's chat from its legacy
/// completions; both are read alike.
pub fn observer(dialect: Dialect, operation: Operation) -> Box<dyn Observer> {
    match (dialect, operation) {
        (Dialect::Anthropic, _) => Box::new(Watch::new(anthropic::Anthropic::default())),
        (Dialect::Gemini, _) => Box::new(Watch::new(gemini::Gemini)),
        (Dialect::OpenAiChat, _)
        | (Dialect::OpenAiResponses, Operation::Completions | Operation::Embeddings) => {
            Box::new(Watch::new(chat::Chat))
        }
        (Dialect::OpenAiResponses, Operation::Chat | Operation::CountTokens) => {
            Box::new(Watch::new(responses::Responses))
        }
    }
}

/// What differs between dialects. Implementations hold no more than their counts.
trait Format: Send {
    /// The names looked for in frames; made once for all streams of the dialect.
    fn marks() -> &'static Marks;

    /// Reads one event that is not known to be irrelevant.
    fn read(&mut self, event: &str, data: &[u8]) -> Reading;

    /// The usage in a frame kept for [`Marks::repeated_usage`].
    fn repeated_usage(&self, data: &[u8]) -> Option<Usage>;
}

/// What one event says.
#[derive(Clone, Debug, Default, PartialEq)]
struct Reading {
    /// Holds content, or a finish that explains itself.
    has_content: bool,
    /// Holds the proper end of the answer.
    finishes: bool,
    /// Nothing may follow.
    is_last: bool,
    error: Option<UpstreamError>,
    usage: Option<Usage>,
}

impl Reading {
    /// A reading of an error.
    fn of_error(error: UpstreamError) -> Self {
        Self {
            error: Some(error),
            ..Self::default()
        }
    }
}

/// The observer of every dialect: the markers, the counting and the order of things.
struct Watch<F> {
    format: F,
    marks: &'static Marks,
    /// Which of [`Marks::texts`] found something last: deltas of a sort follow each other.
    last_text: usize,
    begun: bool,
    ended: bool,
    usage: Option<Usage>,
    /// The last frame that repeats usage, unparsed.
    kept: Option<Frame>,
    output_chars: u64,
}

impl<F: Format> Watch<F> {
    fn new(format: F) -> Self {
        Self {
            format,
            marks: F::marks(),
            last_text: 0,
            begun: false,
            ended: false,
            usage: None,
            kept: None,
            output_chars: 0,
        }
    }

    fn matters(&self, raw: &[u8]) -> bool {
        self.marks.finders.iter().any(|name| follows(raw, name))
    }

    fn keep_usage(&mut self, frame: &Frame) {
        if let Some(name) = &self.marks.repeated_usage
            && follows(&frame.raw, name)
        {
            self.kept = Some(frame.clone());
        }
    }

    /// Counts the first text the frame holds: a frame holds one delta.
    fn count(&mut self, raw: &[u8]) {
        let texts = &self.marks.texts;
        let chars_at = |at: usize| Some((at, text_chars(raw, texts.get(at)?)?));
        let found = chars_at(self.last_text).or_else(|| (0..texts.len()).find_map(chars_at));
        if let Some((at, chars)) = found {
            self.output_chars = self.output_chars.saturating_add(chars);
            self.last_text = at;
        }
    }
}

impl<F: Format> Observer for Watch<F> {
    fn frame(&mut self, frame: &Frame) -> Sign {
        self.count(&frame.raw);
        self.keep_usage(frame);
        // The LF of a cut CRLF may lead.
        let text = frame.raw.trim_ascii_start();
        let starts = |fields: [&str; 2]| {
            fields
                .iter()
                .any(|field| text.starts_with(field.as_bytes()))
        };
        let is_named_error = starts(["event: error", "event:error"]);
        let is_done = starts(["data: [DONE]", "data:[DONE]"]);
        if self.begun && !is_named_error && !is_done && !self.matters(&frame.raw) {
            return Sign::Content;
        }
        if frame.is_comment_only() {
            return match bare_error(frame) {
                Some(error) => Sign::Error(error),
                None if self.begun => Sign::Content,
                None => Sign::Preamble,
            };
        }
        if is_named_error {
            // Whatever its data is: a status makes the reader take any sentence.
            return Sign::Error(UpstreamError::parse(Some(500), &frame.data()).unwrap_or_default());
        }
        let reading = self.format.read(frame.event(), &frame.data());
        if let Some(error) = reading.error {
            return Sign::Error(error);
        }
        if let Some(usage) = reading.usage {
            self.usage.get_or_insert_default().update(&usage);
        }
        self.ended |= reading.finishes | reading.is_last;
        let begins = reading.has_content && !self.begun;
        self.begun |= reading.has_content;
        if reading.is_last && !begins {
            Sign::End
        } else if self.begun {
            Sign::Content
        } else {
            Sign::Preamble
        }
    }

    fn usage(&self) -> Option<Usage> {
        let kept = self.kept.as_ref();
        kept.and_then(|frame| self.format.repeated_usage(&frame.data()))
            .or(self.usage)
    }

    fn ended(&self) -> bool {
        self.ended
    }

    fn output_chars(&self) -> u64 {
        self.output_chars
    }
}

/// Some vendors answer a stream request with a bare JSON error under a 200: no field at all.
fn bare_error(frame: &Frame) -> Option<UpstreamError> {
    let text = frame.raw.trim_ascii_start();
    if text.starts_with(b"{") || text.starts_with(b"[") {
        UpstreamError::parse(None, text)
    } else {
        None
    }
}
