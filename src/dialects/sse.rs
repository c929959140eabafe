//! Server-sent events: cuts a byte stream into frames without changing a byte.
//!
//! Line rules are WHATWG's (<https://html.spec.whatwg.org/multipage/server-sent-events.html>, read
//! 2026-11-22): LF, CR and CRLF end lines, wherever the chunks are cut; one byte order mark may
//! lead. It is kinder than the standard at the end, where a last event without its blank line
//! counts, as vendors leave it out. Every byte pushed comes out again in some frame's
//! [`raw`](Frame::raw), so relaying the frames is relaying the stream. Time is linear in the
//! bytes, whatever the chunks; memory is bounded by the longest frame allowed.

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use memchr::memchr2;
use thiserror::Error;

/// Longest frame taken unless told otherwise: a picture of 24 MiB in base64 fits.
pub const MAX_FRAME_BYTES: usize = 32 * 1024 * 1024;

/// The byte order mark in UTF-8, which may lead a stream and means nothing.
const MARK: &[u8] = b"\xef\xbb\xbf";

/// Cuts a stream into frames, each up to and including its blank line.
///
/// Push chunks as they come and take frames until there is none; at the end of the stream,
/// [`finish`](Self::finish) gives what is left.
#[derive(Debug)]
pub struct Splitter {
    /// Chunks not yet looked at.
    chunks: VecDeque<Bytes>,
    /// The beginning of a frame whose end has not come; looked at already.
    carry: BytesMut,
    line: Line,
    /// No frame has been cut: the byte order mark may still come.
    is_start: bool,
    /// A frame was too long; nothing more comes out.
    is_broken: bool,
    max_frame_bytes: usize,
}

/// How much has come of the current line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    /// Nothing.
    Empty,
    /// Nothing, and the byte before was a CR: an LF now belongs to the same line end.
    EmptyAfterCr,
    /// Some bytes.
    Started,
}

impl Default for Splitter {
    fn default() -> Self {
        Self::with_limit(MAX_FRAME_BYTES)
    }
}

impl Splitter {
    /// A splitter that refuses frames of more than [`MAX_FRAME_BYTES`].
    pub fn new() -> Self {
        Self::default()
    }

    /// A splitter that refuses frames of more than `max_frame_bytes`.
    pub fn with_limit(max_frame_bytes: usize) -> Self {
        Self {
            chunks: VecDeque::new(),
            carry: BytesMut::new(),
            line: Line::Empty,
            is_start: true,
            is_broken: false,
            max_frame_bytes,
        }
    }

    /// Takes the next bytes of the stream.
    pub fn push(&mut self, chunk: Bytes) {
        if !chunk.is_empty() && !self.is_broken {
            self.chunks.push_back(chunk);
        }
    }

    /// The next whole frame; `None` until more is pushed.
    ///
    /// A frame that lies in one chunk is a slice of it. An error is the last thing to come out.
    #[expect(
        clippy::should_implement_trait,
        reason = "not an iterator: `None` means wait, not over"
    )]
    pub fn next(&mut self) -> Option<Result<Frame, FrameTooLong>> {
        while let Some(mut chunk) = self.chunks.pop_front() {
            let end = self.frame_end(&chunk);
            let length = self.carry.len() + end.unwrap_or(chunk.len());
            if length > self.max_frame_bytes {
                self.is_broken = true;
                self.chunks = VecDeque::new();
                self.carry = BytesMut::new();
                return Some(Err(FrameTooLong {
                    limit: self.max_frame_bytes,
                }));
            }
            let Some(end) = end else {
                self.carry.extend_from_slice(&chunk);
                continue;
            };
            let mut raw = chunk.split_to(end);
            if !chunk.is_empty() {
                self.chunks.push_front(chunk);
            }
            if !self.carry.is_empty() {
                self.carry.extend_from_slice(&raw);
                // Not `split`: the buffer of a huge frame is to go with the frame.
                raw = std::mem::take(&mut self.carry).freeze();
            }
            return Some(Ok(self.frame(raw, true)));
        }
        None
    }

    /// The next bytes, if they begin a frame and none has been begun: for whoever knows whole frames
    /// by sight and takes them with [`advance`](Self::advance).
    pub fn ahead(&self) -> Option<&[u8]> {
        let is_between = self.carry.is_empty() && self.line == Line::Empty && !self.is_start;
        self.chunks
            .front()
            .filter(|_| is_between)
            .map(|chunk| &chunk[..])
    }

    /// Takes bytes from [`ahead`](Self::ahead): one or more whole frames, each ended by an LF.
    pub fn advance(&mut self, bytes: usize) -> Bytes {
        let Some(chunk) = self.chunks.front_mut() else {
            return Bytes::new();
        };
        if bytes < chunk.len() {
            return chunk.split_to(bytes);
        }
        self.chunks.pop_front().unwrap_or_default()
    }

    /// What is left when the stream is over: a last frame without its blank line, if any.
    ///
    /// Call it after [`next`](Self::next) has given `None`.
    pub fn finish(&mut self) -> Option<Frame> {
        if self.carry.is_empty() {
            return None;
        }
        let raw = std::mem::take(&mut self.carry).freeze();
        Some(self.frame(raw, false))
    }

    /// Looks at bytes never seen before; returns where the frame ends, if it does.
    fn frame_end(&mut self, bytes: &[u8]) -> Option<usize> {
        // The LF of a CRLF that was cut in two ends no second line.
        let is_rest = self.line == Line::EmptyAfterCr && bytes.first() == Some(&b'\n');
        let mut at = usize::from(is_rest);
        if self.line == Line::EmptyAfterCr {
            self.line = Line::Empty;
        }
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            let Some(length) = memchr2(b'\n', b'\r', rest) else {
                self.line = Line::Started;
                return None;
            };
            let is_blank = self.line == Line::Empty && length == 0;
            self.line = Line::Empty;
            at += length + 1;
            if rest.get(length) == Some(&b'\r') {
                match bytes.get(at) {
                    Some(b'\n') => at += 1,
                    Some(_) => {}
                    None => self.line = Line::EmptyAfterCr,
                }
            }
            if is_blank {
                return Some(at);
            }
        }
        None
    }

    fn frame(&mut self, raw: Bytes, is_terminated: bool) -> Frame {
        let may_have_mark = std::mem::take(&mut self.is_start);
        let body_at = if may_have_mark && raw.starts_with(MARK) {
            MARK.len()
        } else {
            0
        };
        Frame {
            raw,
            body_at,
            is_terminated,
        }
    }
}

/// A frame longer than the splitter was told to take.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("an event of the stream is longer than {limit} bytes")]
pub struct FrameTooLong {
    /// The limit, in bytes.
    pub limit: usize,
}

/// One event, or a comment, or a stray blank line: the bytes up to and including a blank line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The exact bytes, line ends and comments included.
    ///
    /// If a CRLF that ends a frame is cut between two chunks, its LF leads the next frame.
    pub raw: Bytes,
    /// Where the first line starts, behind a byte order mark.
    body_at: usize,
    is_terminated: bool,
}

impl Frame {
    /// The same in memory of its own: a slice keeps the whole chunk it lies in.
    #[must_use]
    pub fn detached(&self) -> Self {
        Self {
            raw: Bytes::copy_from_slice(&self.raw),
            ..*self
        }
    }

    /// A frame cut elsewhere, with the blank line that ends it and no byte order mark.
    pub const fn of_raw(raw: Bytes) -> Self {
        Self {
            raw,
            body_at: 0,
            is_terminated: true,
        }
    }

    /// An event made here, of the given data.
    pub fn of_data(data: &[u8]) -> Self {
        let mut raw = BytesMut::with_capacity(data.len() + 8);
        for line in Lines(data) {
            raw.extend_from_slice(b"data: ");
            raw.extend_from_slice(line);
            raw.extend_from_slice(b"\n");
        }
        raw.extend_from_slice(b"\n");
        Self {
            raw: raw.freeze(),
            body_at: 0,
            is_terminated: true,
        }
    }

    /// The event's name: the last `event:` field. Empty if there is none, or if it is not UTF-8.
    pub fn event(&self) -> &str {
        let name = self.fields().filter(|(name, _)| *name == b"event").last();
        name.and_then(|(_, value)| std::str::from_utf8(value).ok())
            .unwrap_or("")
    }

    /// The event's data: its `data:` lines joined with LF. Borrows if there is one line.
    pub fn data(&self) -> Cow<'_, [u8]> {
        let mut lines = self
            .fields()
            .filter(|(name, _)| *name == b"data")
            .map(|(_, value)| value);
        let first = lines.next().unwrap_or_default();
        let Some(second) = lines.next() else {
            return Cow::Borrowed(first);
        };
        let mut joined = first.to_vec();
        for line in std::iter::once(second).chain(lines) {
            joined.push(b'\n');
            joined.extend_from_slice(line);
        }
        Cow::Owned(joined)
    }

    /// `true` if there is no `data:` field: comments, a lone `retry:` or `event:`, a blank line.
    /// Browsers show no event for it.
    pub fn is_comment_only(&self) -> bool {
        !self.fields().any(|(name, _)| name == b"data")
    }

    /// `false` for a last frame whose blank line never came: a frame of ours appended to it would
    /// become part of it, unless a blank line goes between.
    pub const fn is_terminated(&self) -> bool {
        self.is_terminated
    }

    /// The fields, in order; comments and blank lines left out.
    fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let lines = Lines(self.raw.get(self.body_at..).unwrap_or_default());
        lines.filter(|line| !line.is_empty()).filter_map(|line| {
            // A line without colon is a field without value. JSON is full of colons, but the
            // first one comes early.
            let colon = memchr::memchr(b':', line).unwrap_or(line.len());
            let (name, value) = line.split_at_checked(colon)?;
            let value = value.strip_prefix(b":").unwrap_or(value);
            let value = value.strip_prefix(b" ").unwrap_or(value);
            (colon > 0).then_some((name, value))
        })
    }
}

/// Lines ended by LF, CR or CRLF; the ends left out.
struct Lines<'a>(&'a [u8]);

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.0.is_empty() {
            return None;
        }
        let Some(end) = memchr2(b'\n', b'\r', self.0) else {
            return Some(std::mem::take(&mut self.0));
        };
        let (line, rest) = self.0.split_at_checked(end)?;
        self.0 = rest
            .strip_prefix(b"\r\n")
            .or_else(|| rest.get(1..))
            .unwrap_or_default();
        Some(line)
    }
}
