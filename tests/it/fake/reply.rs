//! One scripted answer: head, body in pieces, pace, framing and how it ends.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::Semaphore;

/// What the fake upstream sends for one request. Built from a constructor and adjusted by the
/// methods; sent as the bytes these say, whether or not they make sense.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(crate) pieces: Vec<Bytes>,
    pub(super) framing: Framing,
    pub(super) pace: Pace,
    pub(super) ending: Ending,
}

/// How the body's end is marked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// `transfer-encoding: chunked`, a chunk a piece.
    Chunked,
    /// By closing the connection.
    Close,
    /// `content-length` with this number, true or not.
    Length(usize),
    /// Pieces are the whole answer, head included: sent as they are.
    Raw,
}

/// When the pieces go out.
#[derive(Clone, Debug)]
pub(crate) enum Pace {
    /// As fast as the socket takes them, a write a piece.
    AtOnce,
    /// Each piece after a step of the gate.
    Gated(Gate),
    /// One byte a write.
    Trickle,
}

/// What happens after the last piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The connection is closed in order, with nothing that ends the body (for
    /// [`Framing::Close`] that is its proper end).
    Close,
    /// The body ends as its framing says and the connection stays open.
    Complete,
    /// The connection is reset.
    Reset,
    /// Nothing more comes until the client leaves.
    Stall,
}

/// Lets a test decide when a reply goes on. Clones are the same gate.
#[derive(Clone, Debug)]
pub(crate) struct Gate(Arc<Semaphore>);

impl Gate {
    /// A closed gate.
    pub(crate) fn new() -> Self {
        Self(Arc::new(Semaphore::new(0)))
    }

    /// Lets the next `steps` pieces through.
    pub(crate) fn open(&self, steps: usize) {
        self.0.add_permits(steps);
    }

    pub(super) async fn pass(&self) {
        if let Ok(permit) = self.0.acquire().await {
            permit.forget();
        }
    }
}

impl Reply {
    /// A JSON answer with its right length.
    pub(crate) fn json(status: u16, body: impl Into<Bytes>) -> Self {
        Self::text(status, "application/json", body)
    }

    /// An answer of any content type with its right length.
    pub(crate) fn text(status: u16, content_type: &str, body: impl Into<Bytes>) -> Self {
        let body = body.into();
        Self {
            status,
            headers: vec![("content-type".to_owned(), content_type.to_owned())],
            framing: Framing::Length(body.len()),
            pieces: vec![body],
            pace: Pace::AtOnce,
            ending: Ending::Complete,
        }
    }

    /// A 200 event stream, a chunk a frame.
    pub(crate) fn sse<B: Into<Bytes>>(frames: impl IntoIterator<Item = B>) -> Self {
        Self {
            status: 200,
            headers: vec![("content-type".to_owned(), "text/event-stream".to_owned())],
            pieces: frames.into_iter().map(Into::into).collect(),
            framing: Framing::Chunked,
            pace: Pace::AtOnce,
            ending: Ending::Complete,
        }
    }

    /// These bytes, head included, then the ending.
    pub(crate) fn raw(bytes: impl Into<Bytes>, ending: Ending) -> Self {
        Self {
            status: 0,
            headers: Vec::new(),
            pieces: vec![bytes.into()],
            framing: Framing::Raw,
            pace: Pace::AtOnce,
            ending,
        }
    }

    /// A reset before the first byte of an answer.
    pub(crate) fn reset() -> Self {
        Self::raw(Bytes::new(), Ending::Reset)
    }

    /// No answer at all until the client leaves.
    pub(crate) fn silence() -> Self {
        Self::raw(Bytes::new(), Ending::Stall)
    }

    /// Adds a header line.
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Changes how the body's end is marked.
    pub(crate) fn framed(mut self, framing: Framing) -> Self {
        self.framing = framing;
        self
    }

    /// Changes what happens after the last piece.
    pub(crate) fn ending(mut self, ending: Ending) -> Self {
        self.ending = ending;
        self
    }

    /// Keeps only the first `bytes` of the body (a declared length stays) and then ends so.
    pub(crate) fn cut(mut self, bytes: usize, ending: Ending) -> Self {
        let mut left = bytes;
        for piece in &mut self.pieces {
            piece.truncate(left);
            left -= piece.len();
        }
        self.pieces.retain(|piece| !piece.is_empty());
        self.ending(ending)
    }

    /// Cuts the body anew into pieces of `bytes`, whatever they fall upon.
    pub(crate) fn sliced(mut self, bytes: usize) -> Self {
        let whole = Bytes::from(self.pieces.concat());
        self.pieces = (0..whole.len())
            .step_by(bytes)
            .map(|at| whole.slice(at..whole.len().min(at + bytes)))
            .collect();
        self
    }

    /// One byte a write.
    pub(crate) fn trickled(mut self) -> Self {
        self.pace = Pace::Trickle;
        self
    }

    /// Each piece waits for a step of the gate.
    pub(crate) fn gated(mut self, gate: &Gate) -> Self {
        self.pace = Pace::Gated(gate.clone());
        self
    }

    /// The same body, gzip-encoded (stored blocks) and labelled so.
    pub(crate) fn gzipped(mut self) -> Self {
        let body = gzip(&self.pieces.concat());
        self.framing = Framing::Length(body.len());
        self.pieces = vec![body.into()];
        self.header("content-encoding", "gzip")
    }

    /// The head as it is sent; empty for [`Framing::Raw`].
    pub(super) fn head(&self) -> Vec<u8> {
        if self.framing == Framing::Raw {
            return Vec::new();
        }
        let mut lines = vec![format!("HTTP/1.1 {} Scripted", self.status)];
        lines.extend(
            self.headers
                .iter()
                .map(|(name, value)| format!("{name}: {value}")),
        );
        match self.framing {
            Framing::Chunked => lines.push("transfer-encoding: chunked".to_owned()),
            Framing::Close => lines.push("connection: close".to_owned()),
            Framing::Length(bytes) => lines.push(format!("content-length: {bytes}")),
            Framing::Raw => {}
        }
        (lines.join("\r\n") + "\r\n\r\n").into_bytes()
    }

    /// One piece as it goes on the wire.
    pub(super) fn encoded(&self, piece: &Bytes) -> Bytes {
        if self.framing != Framing::Chunked {
            return piece.clone();
        }
        let mut chunk = format!("{:x}\r\n", piece.len()).into_bytes();
        chunk.extend_from_slice(piece);
        chunk.extend_from_slice(b"\r\n");
        chunk.into()
    }
}

/// A gzip file of stored blocks: no compressor needed, and each gunzip reads it.
fn gzip(data: &[u8]) -> Vec<u8> {
    let mut out = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    let blocks = data.chunks(usize::from(u16::MAX));
    let last = blocks.len().saturating_sub(1);
    for (index, block) in blocks.enumerate() {
        let length = u16::try_from(block.len()).expect("chunks are at most u16::MAX");
        out.push(u8::from(index == last));
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&(!length).to_le_bytes());
        out.extend_from_slice(block);
    }
    out.extend_from_slice(&crc32(data).to_le_bytes());
    let size = u32::try_from(data.len()).expect("test bodies are small");
    out.extend_from_slice(&size.to_le_bytes());
    out
}

/// CRC-32 as gzip wants it (RFC 1952, reflected polynomial 0xEDB88320).
fn crc32(data: &[u8]) -> u32 {
    let step = |crc: u32, _| (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg());
    !data
        .iter()
        .fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}
