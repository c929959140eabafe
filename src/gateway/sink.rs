//! What happens to each frame of an upstream stream: it passes verbatim and is only looked at, or
//! it is translated into the client's dialect.

use bytes::Bytes;

use crate::dialects::error::{ErrorReply, ReadError, UpstreamError};
use crate::dialects::event::{Event, EventKind, StopReason};
use crate::dialects::halves::Halves;
use crate::dialects::observe::{Observer, Sign};
use crate::dialects::sse::Frame;
use crate::dialects::usage::Usage;
use crate::dialects::{Codec, StreamReader, StreamWriter};
use crate::gateway::frames::Frames;
use crate::gateway::relay::Output;

/// Where frames go.
pub enum Sink {
    Translated(Translation),
    Verbatim {
        observer: Box<dyn Observer>,
        /// Writes the in-stream error, should one be needed.
        codec: &'static dyn Codec,
        /// The first and the last frame with data, for that error; the last may lie in a chunk.
        seen: Option<(Frame, Frame)>,
        /// The terminal frame has passed.
        over: bool,
        /// Frames are strung together as one JSON array (Gemini without `alt=sse`).
        array: Option<ArrayFraming>,
    },
}

/// A stream that changes dialect.
pub struct Translation {
    reader: Box<dyn StreamReader>,
    halves: Halves,
    writer: Box<dyn StreamWriter>,
    events: Vec<Event>,
    buffer: Vec<u8>,
    usage: Option<Usage>,
    output_chars: u64,
    /// The writer makes one JSON array.
    is_array: bool,
    /// The stop reason was seen.
    stopped: bool,
    finished: bool,
}

/// What a frame meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The first or a further piece of the answer.
    Content,
    /// Nothing yet: a role, a ping, a comment.
    Preamble,
}

/// Why a stream cannot go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamFault {
    Garbage(String),
    Truncated,
    /// An error object; its frame is not passed on.
    Upstream(Box<UpstreamError>),
}

impl Sink {
    /// Frames pass as they are.
    pub fn verbatim(
        observer: Box<dyn Observer>,
        codec: &'static dyn Codec,
        array: Option<ArrayFraming>,
    ) -> Self {
        Self::Verbatim {
            observer,
            codec,
            seen: None,
            over: false,
            array,
        }
    }

    /// Frames are read by one dialect and written by another.
    pub fn translated(
        reader: Box<dyn StreamReader>,
        writer: Box<dyn StreamWriter>,
        is_array: bool,
    ) -> Self {
        Self::Translated(Translation {
            is_array,
            reader,
            halves: Halves::default(),
            writer,
            events: Vec::new(),
            buffer: Vec::new(),
            usage: None,
            output_chars: 0,
            stopped: false,
            finished: false,
        })
    }

    /// Takes one frame.
    pub fn feed(&mut self, frame: Frame, out: &mut Output) -> Result<Progress, StreamFault> {
        match self {
            Self::Translated(translation) => translation.feed(&frame, out),
            Self::Verbatim {
                observer,
                over,
                array,
                seen,
                ..
            } => {
                let progress = match observer.frame(&frame) {
                    Sign::Content => Progress::Content,
                    Sign::End => {
                        *over = true;
                        Progress::Preamble
                    }
                    Sign::Error(error) => return Err(StreamFault::Upstream(Box::new(error))),
                    Sign::Preamble => Progress::Preamble,
                };
                match array {
                    Some(array) => array.element(&frame.data(), out),
                    None => out.push(frame.raw.clone()),
                }
                if !frame.is_comment_only() {
                    match seen {
                        Some((_, last)) => *last = frame,
                        None => *seen = Some((frame.detached(), frame)),
                    }
                }
                Ok(progress)
            }
        }
    }

    /// Takes the frames ahead that are like one seen before, all in one piece: most of a stream.
    pub fn skim(&mut self, frames: &mut Frames, out: &mut Output) {
        let Self::Verbatim {
            observer,
            seen: Some((_, last)),
            over: false,
            array: None,
            ..
        } = self
        else {
            return;
        };
        let Some(ahead) = frames.ahead() else { return };
        let skimmed = observer.skim(ahead);
        if skimmed.length > 0 {
            let run = frames.advance(skimmed.length);
            *last = Frame::of_raw(run.slice(skimmed.last..));
            out.push(run);
        }
    }

    /// Lets the chunk go that the last frame lies in: the next one may be long in coming.
    pub fn let_go(&mut self) {
        if let Self::Verbatim {
            seen: Some((_, last)),
            observer,
            ..
        } = self
        {
            *last = last.detached();
            observer.let_go();
        }
    }

    /// Takes what came after the last frame. Only the LF of a last CRLF that was cut in two still
    /// belongs to it; anything else is the upstream's mistake.
    pub fn rest(&self, frame: Frame, out: &mut Output) {
        if matches!(self, Self::Verbatim { .. }) && frame.raw[..] == *b"\n" {
            out.push(frame.raw);
        }
    }

    /// The upstream closed. What the reader held back to the end may be content.
    pub fn finish(&mut self, out: &mut Output) -> Result<Progress, StreamFault> {
        match self {
            Self::Translated(translation) => translation.finish(out),
            Self::Verbatim {
                observer, array, ..
            } => {
                if !observer.ended() {
                    return Err(StreamFault::Truncated);
                }
                if let Some(array) = array {
                    array.close(out);
                }
                Ok(Progress::Preamble)
            }
        }
    }

    /// Ends a whole answer whose upstream leaves out how the dialect says that it is over.
    pub fn conclude(&mut self, out: &mut Output) -> Result<(), StreamFault> {
        if self.is_over() {
            return Ok(());
        }
        self.finish(out)?;
        if let Self::Verbatim {
            codec,
            over,
            array: None,
            ..
        } = self
        {
            *over = true;
            out.push(Bytes::from_static(codec.last_frame()));
        }
        Ok(())
    }

    /// Ends the client's stream with an error in its dialect.
    pub fn fail(&mut self, error: &ErrorReply, out: &mut Output) {
        match self {
            Self::Translated(translation) => {
                let mut bytes = Vec::new();
                translation.writer.fail(error, &mut bytes);
                out.push(bytes.into());
            }
            Self::Verbatim {
                codec,
                array: Some(array),
                ..
            } => {
                array.element(&codec.write_error(error), out);
                array.close(out);
            }
            Self::Verbatim {
                codec,
                seen: Some((first, last)),
                ..
            } => {
                let written = codec.write_stream_break(error, &first.data(), &last.data());
                out.push(written.into());
            }
            Self::Verbatim { codec, .. } => out.push(codec.write_stream_error(error).into()),
        }
    }

    /// Adds a comment, where the framing has such a thing.
    pub fn keep_alive(&mut self, comment: &'static [u8], out: &mut Output) {
        match self {
            // White space is the only comment JSON has.
            Self::Verbatim { array: Some(_), .. } => out.push(Bytes::from_static(b"\n")),
            Self::Translated(translation) if translation.is_array => {
                out.push(Bytes::from_static(b"\n"));
            }
            Self::Translated(_) | Self::Verbatim { .. } => out.push(Bytes::from_static(comment)),
        }
    }

    /// `true` once the terminal frame has passed and nothing more can follow.
    pub fn is_over(&self) -> bool {
        match self {
            Self::Translated(translation) => translation.finished,
            Self::Verbatim { over, .. } => *over,
        }
    }

    /// `true` once the upstream's terminal frame was read. What is translated then wants its end yet.
    pub fn has_seen_the_last(&self) -> bool {
        match self {
            Self::Translated(translation) => translation.finished || translation.reader.is_over(),
            Self::Verbatim { over, .. } => *over,
        }
    }

    /// `true` once the answer is whole: should the upstream break off now, nothing is lost.
    pub fn has_ended(&self) -> bool {
        match self {
            Self::Translated(translation) => translation.stopped,
            Self::Verbatim { observer, .. } => observer.ended(),
        }
    }

    /// What the upstream reported so far.
    pub fn usage(&self) -> Option<Usage> {
        match self {
            Self::Translated(translation) => translation.usage,
            Self::Verbatim { observer, .. } => observer.usage(),
        }
    }

    /// Characters of answer seen so far.
    pub fn output_chars(&self) -> u64 {
        match self {
            Self::Translated(translation) => translation.output_chars,
            Self::Verbatim { observer, .. } => observer.output_chars(),
        }
    }

    /// What the translation could not express so far.
    pub fn losses(&self) -> Option<&crate::dialects::loss::Losses> {
        match self {
            Self::Translated(translation) => Some(translation.writer.losses()),
            Self::Verbatim { .. } => None,
        }
    }
}

impl Translation {
    fn feed(&mut self, frame: &Frame, out: &mut Output) -> Result<Progress, StreamFault> {
        if frame.is_comment_only() {
            return Ok(Progress::Preamble);
        }
        let data = self.halves.join(frame.data());
        let read = self.reader.read(frame.event(), &data, &mut self.events);
        let progress = self.write_events(out)?;
        read.map_err(fault_of)?;
        Ok(progress)
    }

    fn finish(&mut self, out: &mut Output) -> Result<Progress, StreamFault> {
        let read = self.reader.finish(&mut self.events);
        let progress = self.write_events(out)?;
        read.map_err(fault_of)?;
        self.writer.finish(&mut self.buffer);
        self.finished = true;
        out.push(std::mem::take(&mut self.buffer).into());
        Ok(progress)
    }

    fn write_events(&mut self, out: &mut Output) -> Result<Progress, StreamFault> {
        let mut progress = Progress::Preamble;
        for event in self.events.drain(..) {
            match &event.kind {
                EventKind::Error(error) => {
                    out.push(std::mem::take(&mut self.buffer).into());
                    return Err(StreamFault::Upstream(error.clone()));
                }
                EventKind::Usage(usage) => self.usage.get_or_insert_default().update(usage),
                EventKind::Stop { reason, .. } => {
                    // A reason that another try would meet again is an answer in itself.
                    let explains = !matches!(
                        reason,
                        StopReason::EndTurn | StopReason::Error | StopReason::ToolUse
                    );
                    if explains {
                        progress = Progress::Content;
                    }
                    self.stopped = true;
                }
                kind => {
                    if let Some(characters) = content_chars(kind) {
                        self.output_chars += characters;
                        progress = Progress::Content;
                    }
                }
            }
            self.writer.write(&event, &mut self.buffer);
        }
        out.push(std::mem::take(&mut self.buffer).into());
        Ok(progress)
    }
}

/// `Some` if the event is a byte of answer, with how many characters of it.
fn content_chars(kind: &EventKind) -> Option<u64> {
    match kind {
        EventKind::Text(text) | EventKind::Thinking(text) | EventKind::Refusal(text) => {
            (!text.is_empty()).then_some(text.len() as u64)
        }
        EventKind::ToolArguments { delta, .. } => Some(delta.len() as u64),
        EventKind::ToolStart { name, .. } => Some(name.len() as u64),
        EventKind::Media(_) | EventKind::RedactedThinking(_) => Some(0),
        _ => None,
    }
}

fn fault_of(error: ReadError) -> StreamFault {
    match error {
        ReadError::Upstream(error) => StreamFault::Upstream(error),
        ReadError::Truncated => StreamFault::Truncated,
        ReadError::Field(_) | ReadError::Json(_) => StreamFault::Garbage(error.to_string()),
    }
}

/// Frames as the elements of one JSON array.
#[derive(Debug, Default)]
pub struct ArrayFraming {
    is_open: bool,
}

impl ArrayFraming {
    fn element(&mut self, json: &[u8], out: &mut Output) {
        if json.is_empty() {
            return;
        }
        let separator: &[u8] = if self.is_open { b",\n" } else { b"[" };
        self.is_open = true;
        out.push([separator, json].concat().into());
    }

    fn close(&mut self, out: &mut Output) {
        let end: &[u8] = if self.is_open { b"]" } else { b"[]" };
        out.push(Bytes::copy_from_slice(end));
    }
}
