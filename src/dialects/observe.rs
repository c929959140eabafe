//! Watches an answer that passes verbatim: has content begun, is it an error, what did it cost, did
//! it end properly.
//!
//! Observation is cheap and never in the way. Until content begins, each frame is parsed: the
//! gateway still decides. From then on a frame is parsed only if one of a few markers, found
//! without parsing, says that it matters. What cannot be understood passes and counts as nothing.

mod anthropic;
mod chat;
mod counts;
mod gemini;
mod inspect;
mod json;
mod object;
mod responses;
#[cfg(test)]
mod tests;

use std::ops::Range;

use memchr::memmem::Finder;

use crate::dialects::error::UpstreamError;
use crate::dialects::observe::json::{Marks, chars, follows, plain_length, text_of};
use crate::dialects::sse::Frame;
use crate::dialects::usage::Usage;
use crate::dialects::{Dialect, Operation};

pub use crate::dialects::observe::inspect::{Inspection, inspect};

/// Watches one stream. It is shown every frame, in order.
pub trait Observer: Send {
    /// Looks at the next frame.
    fn frame(&mut self, frame: &Frame) -> Sign;

    /// Takes whole frames from the front of the bytes that follow the last frame, as long as each
    /// differs from an earlier one in nothing but its piece of text, and so means what that meant:
    /// [`Sign::Content`].
    fn skim(&mut self, bytes: &[u8]) -> Skimmed;

    /// Lets the chunk go that a kept frame lies in.
    fn let_go(&mut self);

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

/// Frames known by sight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Skimmed {
    /// How many bytes they are.
    pub length: usize,
    /// Where the last of them begins.
    pub last: usize,
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
        (
            Dialect::OpenAiResponses,
            Operation::Chat | Operation::Compact | Operation::CountTokens,
        ) => Box::new(Watch::new(responses::Responses)),
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
    /// The last frame that was a piece of text and nothing else.
    last_piece: Option<Piece>,
    output_chars: u64,
}

/// A frame longer than this is no ordinary piece of text.
const MAX_PIECE_BYTES: usize = 4 << 10;

/// A frame of text: what the next one looks like, but for the text.
struct Piece {
    raw: Vec<u8>,
    text: Range<usize>,
}

impl Piece {
    /// Length and characters of a frame at the front of the bytes that differs from this one in
    /// nothing but its text. Such a frame means what this one meant, so nothing else need be looked
    /// for in it.
    fn like(&self, bytes: &[u8]) -> Option<(usize, u64)> {
        let before = self.raw.get(..self.text.start)?;
        let after = self.raw.get(self.text.end..)?;
        let rest = bytes.strip_prefix(before)?;
        let (text, tail) = rest.split_at_checked(plain_length(rest)?)?;
        tail.starts_with(after)
            .then(|| (before.len() + text.len() + after.len(), chars(text)))
    }

    /// `true` if bytes like these are one frame wherever they stand: the text has its end, and so
    /// has the frame.
    fn is_self_contained(&self) -> bool {
        let starts = self.raw.first().is_some_and(u8::is_ascii_lowercase);
        let closes = self.raw.get(self.text.end) == Some(&b'"');
        starts && closes && (self.raw.ends_with(b"\n\n") || self.raw.ends_with(b"\r\n\r\n"))
    }
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
            last_piece: None,
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

    /// Counts the first text the frame holds, and says where it is: a frame holds one delta.
    fn count(&mut self, raw: &[u8]) -> Option<Range<usize>> {
        let texts = &self.marks.texts;
        let text_at = |at: usize| Some((at, text_of(raw, texts.get(at)?)?));
        let found = text_at(self.last_text).or_else(|| (0..texts.len()).find_map(text_at));
        let (at, text) = found?;
        let chars = raw.get(text.clone()).map_or(0, chars);
        self.output_chars = self.output_chars.saturating_add(chars);
        self.last_text = at;
        Some(text)
    }

    /// Remembers a frame that was nothing but text.
    fn keep_piece(&mut self, frame: &Frame, text: Option<Range<usize>>) {
        let repeats_usage = |name: &Finder<'_>| follows(&frame.raw, name);
        let is_usable = frame.raw.len() <= MAX_PIECE_BYTES
            && frame.is_terminated()
            && !self
                .marks
                .repeated_usage
                .as_ref()
                .is_some_and(repeats_usage);
        let piece = text.filter(|_| is_usable).map(|text| Piece {
            // A slice would keep the whole chunk it lies in.
            raw: frame.raw.to_vec(),
            text,
        });
        self.last_piece = piece.filter(Piece::is_self_contained);
    }
}

impl<F: Format> Observer for Watch<F> {
    fn frame(&mut self, frame: &Frame) -> Sign {
        if self.skim(&frame.raw).length == frame.raw.len() {
            return Sign::Content;
        }
        let counted = self.count(&frame.raw);
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
            self.keep_piece(frame, counted);
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

    fn let_go(&mut self) {
        if let Some(kept) = &mut self.kept {
            *kept = kept.detached();
        }
    }

    fn skim(&mut self, bytes: &[u8]) -> Skimmed {
        let mut skimmed = Skimmed::default();
        let Some(piece) = &self.last_piece else {
            return skimmed;
        };
        while let Some((length, chars)) = bytes
            .get(skimmed.length..)
            .and_then(|rest| piece.like(rest))
        {
            skimmed.last = skimmed.length;
            skimmed.length += length;
            self.output_chars = self.output_chars.saturating_add(chars);
        }
        skimmed
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
