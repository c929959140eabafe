//! Request heads as they come off the wire, before hyper sees them. hyper refuses a head that is too
//! large or malformed with an empty answer, and takes two equal `Content-Length` lines for one; here
//! each gets its status and sentence.
//!
//! Only HTTP/1 is watched, and only while its framing can be followed: behind a body that makes no
//! sense hyper closes the connection.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use http::StatusCode;
use memchr::memchr;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::dialects::codec;
use crate::dialects::error::{ErrorKind, ErrorReply};
use crate::gateway::chunked::{Chunks, Fed};
use crate::ids::RequestId;
use crate::server::router;

/// The request line and all headers together, in bytes.
const MAX_BYTES: usize = 64 << 10;

/// Header lines of one request.
const MAX_HEADERS: usize = 100;

/// How HTTP/2 connections begin.
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n";

/// How long a refused client may take to hear why.
const GOODBYE: Duration = Duration::from_secs(2);

/// How much of what a refused client still sends is read, so that the answer is not lost to a reset.
const GOODBYE_BYTES: u64 = 4 << 20;

/// A connection whose request heads are looked at. Reads end where a head is refused, and the
/// connection is handed back when hyper drops it.
pub(super) struct Watched<S> {
    stream: Option<S>,
    watch: Watch,
    refusal: Option<Refusal>,
    hand_back: Option<oneshot::Sender<Refused<S>>>,
}

/// A connection that hyper is done with, and why.
pub(super) struct Refused<S> {
    stream: S,
    refusal: Refusal,
}

/// Why a head is refused.
#[derive(Debug, PartialEq, Eq)]
struct Refusal {
    status: StatusCode,
    /// The path if it came so far; it decides the error's shape.
    path: String,
    message: String,
}

/// Where in the byte stream the connection is.
#[derive(Debug, PartialEq, Eq)]
enum Watch {
    /// In a head, of which these bytes have come.
    Head(BytesMut),
    /// In a body with this much to come.
    Body(u64),
    /// In a chunked body.
    Chunked(Chunks),
    /// No longer looked at.
    Off,
}

impl<S> Watched<S> {
    /// Watches a new connection. The receiver gets the connection if a head on it was refused.
    pub(super) fn new(stream: S) -> (Self, oneshot::Receiver<Refused<S>>) {
        let (hand_back, handed) = oneshot::channel();
        let watched = Self {
            stream: Some(stream),
            watch: Watch::Head(BytesMut::new()),
            refusal: None,
            hand_back: Some(hand_back),
        };
        (watched, handed)
    }
}

impl<S> Drop for Watched<S> {
    fn drop(&mut self) {
        let parts = (
            self.stream.take(),
            self.refusal.take(),
            self.hand_back.take(),
        );
        if let (Some(stream), Some(refusal), Some(hand_back)) = parts {
            // Nobody waits for it when the server goes down.
            let _ = hand_back.send(Refused { stream, refusal });
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let Some(stream) = this.stream.as_mut().filter(|_| this.refusal.is_none()) else {
            return Poll::Ready(Ok(()));
        };
        let before = buffer.filled().len();
        std::task::ready!(Pin::new(stream).poll_read(context, buffer))?;
        let fresh = buffer.filled().get(before..).unwrap_or_default();
        if let Err((passed, refusal)) = this.watch.feed(fresh) {
            buffer.set_filled(before + passed);
            this.refusal = Some(refusal);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().stream {
            Some(stream) => Pin::new(stream).poll_write(context, bytes),
            None => Poll::Ready(Ok(bytes.len())),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().stream {
            Some(stream) => Pin::new(stream).poll_write_vectored(context, pieces),
            None => Poll::Ready(Ok(pieces.iter().map(|piece| piece.len()).sum())),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.as_ref().is_some_and(S::is_write_vectored)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Some(stream) => Pin::new(stream).poll_flush(context),
            None => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match &mut this.stream {
            // The refusal is still to be written.
            Some(stream) if this.refusal.is_none() => Pin::new(stream).poll_shutdown(context),
            _ => Poll::Ready(Ok(())),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Refused<S> {
    /// Says why, and closes.
    pub(super) async fn answer(mut self) {
        let id = RequestId::random();
        let Refusal {
            status,
            path,
            message,
        } = self.refusal;
        tracing::debug!(request = %id, "request {id} refused with {status}: {message}");
        let error = ErrorReply::new(
            status.as_u16(),
            ErrorKind::InvalidRequest,
            "malformed_request",
            message,
        );
        let body = codec(router::dialect_of_path(&path)).write_error(&error);
        let head = format!(
            "HTTP/1.1 {} {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
             x-request-id: {id}\r\nx-should-retry: false\r\nconnection: close\r\n\r\n",
            status.as_u16(),
            status.canonical_reason().unwrap_or_default(),
            body.len(),
        );
        let goodbye = async {
            self.stream.write_all(head.as_bytes()).await?;
            self.stream.write_all(&body).await?;
            self.stream.shutdown().await?;
            let mut rest = (&mut self.stream).take(GOODBYE_BYTES);
            tokio::io::copy(&mut rest, &mut tokio::io::sink()).await
        };
        // A client that went away or dawdles misses its answer, nothing else.
        let _ = timeout(GOODBYE, goodbye).await;
    }
}

impl Watch {
    /// Looks at what was just read. The error says how many of the bytes came before the refused
    /// head.
    fn feed(&mut self, bytes: &[u8]) -> Result<(), (usize, Refusal)> {
        let mut rest = bytes;
        while !rest.is_empty() {
            match self {
                Self::Off => return Ok(()),
                Self::Body(left) => {
                    let skip = usize::try_from(*left).unwrap_or(usize::MAX).min(rest.len());
                    *left -= skip as u64;
                    rest = rest.get(skip..).unwrap_or_default();
                    if *left == 0 {
                        *self = Self::Head(BytesMut::new());
                    }
                }
                Self::Chunked(chunks) => match chunks.feed(rest, |_| {}) {
                    Fed::Ended(at) => {
                        rest = rest.get(at..).unwrap_or_default();
                        *self = Self::Head(BytesMut::new());
                    }
                    Fed::Malformed => *self = Self::Off,
                    Fed::More => return Ok(()),
                },
                Self::Head(begun) => {
                    let passed = bytes.len() - rest.len();
                    let known = begun.len();
                    let next = if known == 0 {
                        step(rest)
                    } else {
                        begun.extend_from_slice(rest);
                        step(begun)
                    };
                    match next.map_err(|refusal| (passed, refusal))? {
                        None if known == 0 => {
                            begun.extend_from_slice(rest);
                            return Ok(());
                        }
                        None => return Ok(()),
                        Some((length, next)) => {
                            rest = rest.get(length.saturating_sub(known)..).unwrap_or_default();
                            *self = next;
                        }
                    }
                }
            }
        }
        Ok(())
    }
}

/// Reads one head: its length and what follows it, or `None` while it is incomplete.
fn step(bytes: &[u8]) -> Result<Option<(usize, Watch)>, Refusal> {
    let shared = bytes.len().min(HTTP2_PREFACE.len());
    if bytes.get(..shared) == HTTP2_PREFACE.get(..shared) {
        return Ok((shared == HTTP2_PREFACE.len()).then_some((bytes.len(), Watch::Off)));
    }
    let length = head_length(bytes);
    if length.unwrap_or(bytes.len()) > MAX_BYTES {
        return Err(too_large(bytes));
    }
    let Some(length) = length else {
        return Ok(None);
    };
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(bytes.get(..length).unwrap_or(bytes)) {
        Ok(httparse::Status::Complete(_)) => {}
        // The blank line was an empty one before the request line.
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => {
            let message = format!("the request has more than {MAX_HEADERS} headers");
            return Err(refusal(
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                bytes,
                message,
            ));
        }
        Err(error) => {
            let message = format!("the request is not proper HTTP: {error}");
            return Err(refusal(StatusCode::BAD_REQUEST, bytes, message));
        }
    }
    let named = |name: &'static str| {
        let headers = request.headers.iter();
        headers.filter(move |header| header.name.eq_ignore_ascii_case(name))
    };
    let bad = |message: &str| Err(refusal(StatusCode::BAD_REQUEST, bytes, message.to_owned()));
    let mut lengths = named("content-length");
    let (first, second) = (lengths.next(), lengths.next());
    let mut codings = named("transfer-encoding");
    // hyper lets `chunked` win over a length, of which the guard then sees nothing.
    let next = match (first, codings.next()) {
        (Some(_), Some(_)) => {
            return bad("the request has Content-Length beside Transfer-Encoding");
        }
        (Some(_), None) if second.is_some() => {
            return bad("the request has two Content-Length headers");
        }
        (Some(header), None) => match decimal(header.value) {
            Some(0) => Watch::Head(BytesMut::new()),
            Some(length) => Watch::Body(length),
            None => return bad("the Content-Length of the request is no number"),
        },
        (None, Some(coding)) => {
            let is_plain = coding.value.trim_ascii().eq_ignore_ascii_case(b"chunked");
            if codings.next().is_some() || !is_plain {
                return bad("the request has a Transfer-Encoding other than chunked");
            }
            Watch::Chunked(Chunks::default())
        }
        (None, None) => Watch::Head(BytesMut::new()),
    };
    Ok(Some((length, next)))
}

/// Up to and with the first blank line after the request line; `None` if it has not come.
fn head_length(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    let mut begun = false;
    loop {
        let line = bytes.get(at..)?;
        let length = memchr(b'\n', line)?;
        at += length + 1;
        match line.get(..length) {
            Some(b"" | b"\r") if begun => return Some(at),
            Some(b"" | b"\r") => {}
            _ => begun = true,
        }
    }
}

/// Plain digits and nothing else.
fn decimal(value: &[u8]) -> Option<u64> {
    let plain = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(value).ok().filter(|_| plain)?;
    text.parse().ok()
}

fn too_large(bytes: &[u8]) -> Refusal {
    let kib = MAX_BYTES >> 10;
    if memchr(b'\n', bytes.get(..MAX_BYTES).unwrap_or(bytes)).is_none() {
        let message = format!("the request's address is larger than {kib} KiB");
        return refusal(StatusCode::URI_TOO_LONG, bytes, message);
    }
    let message = format!("the request's headers are larger than {kib} KiB");
    refusal(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, bytes, message)
}

fn refusal(status: StatusCode, bytes: &[u8], message: String) -> Refusal {
    let target = bytes.split(|&byte| byte == b' ').nth(1).unwrap_or_default();
    let path = target
        .split(|&byte| byte == b'?')
        .next()
        .unwrap_or_default();
    let path = String::from_utf8_lossy(path.get(..path.len().min(256)).unwrap_or(path));
    Refusal {
        status,
        path: path.into_owned(),
        message,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The status of the refusal and what passed before it, fed in pieces of `size`.
    fn fed(bytes: &[u8], size: usize) -> Result<Watch, (usize, u16)> {
        let mut watch = Watch::Head(BytesMut::new());
        let mut passed = 0;
        for piece in bytes.chunks(size) {
            watch
                .feed(piece)
                .map_err(|(before, refusal)| (passed + before, refusal.status.as_u16()))?;
            passed += piece.len();
        }
        Ok(watch)
    }

    #[test]
    fn each_bad_head_has_its_status() {
        let get = "GET / HTTP/1.1\r\nhost: a\r\n";
        for (head, status) in [
            (format!("{get}{}\r\n", "x: 1\r\n".repeat(100)), 431),
            (format!("{get}x: {}", "a".repeat(MAX_BYTES)), 431),
            (format!("GET /{}", "a".repeat(MAX_BYTES)), 414),
            (
                format!("{get}content-length: 1\r\nContent-Length: 1\r\n\r\n"),
                400,
            ),
            (
                format!("{get}content-length: 1\r\ntransfer-encoding: chunked\r\n\r\n"),
                400,
            ),
            (
                format!("{get}transfer-encoding: gzip, chunked\r\n\r\n"),
                400,
            ),
            (format!("{get}content-length: +1\r\n\r\n"), 400),
            (format!("{get}content-length: 1, 1\r\n\r\n"), 400),
            (format!("{get} folded\r\n\r\n"), 400),
            (format!("{get}no colon\r\n\r\n"), 400),
            ("GET / HTTP/3.0\r\n\r\n".to_owned(), 400),
        ] {
            assert_eq!(fed(head.as_bytes(), usize::MAX), Err((0, status)), "{head}");
        }
    }

    #[test]
    fn what_is_in_order_passes() {
        let get = "GET / HTTP/1.1\r\nhost: a\r\n";
        let begin = || Watch::Head(BytesMut::new());
        for (head, after) in [
            (format!("{get}\r\n"), begin()),
            (format!("\r\n\r\n{get}\r\n{get}\r\n"), begin()),
            (format!("{get}content-length: 3\r\n\r\nab"), Watch::Body(1)),
            (format!("{get}content-length: 3\r\n\r\nabc"), begin()),
            (
                format!("{get}transfer-encoding: Chunked\r\n\r\n"),
                Watch::Chunked(Chunks::default()),
            ),
            (
                format!("{get}transfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n"),
                begin(),
            ),
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(), Watch::Off),
        ] {
            assert_eq!(fed(head.as_bytes(), usize::MAX), Ok(after), "{head}");
        }
    }

    #[test]
    fn the_second_request_of_a_connection_is_watched_too() {
        let first = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\n\r\n\r\n";
        let second = "GET / HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 1\r\n\r\n";
        let both = format!("{first}{second}");
        assert_eq!(
            fed(both.as_bytes(), usize::MAX),
            Err((first.len(), 400)),
            "and the first one passes whole"
        );
    }

    #[test]
    fn what_follows_a_chunked_body_is_watched_too() {
        let first = "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n";
        let second = "POST / HTTP/1.1\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n";
        let both = format!("{first}{second}");
        assert_eq!(
            fed(both.as_bytes(), usize::MAX),
            Err((first.len(), 400)),
            "and the first one passes whole"
        );
    }

    proptest! {
        #[test]
        fn cuts_change_nothing(
            lengths in proptest::collection::vec(0..40_usize, 1..5),
            bad in any::<bool>(),
            size in 1..60_usize,
        ) {
            let mut bytes = Vec::new();
            for length in lengths {
                let head = format!("POST /v1/messages HTTP/1.1\r\ncontent-length: {length}\r\n\r\n");
                bytes.extend_from_slice(head.as_bytes());
                bytes.extend(std::iter::repeat_n(b'\n', length));
            }
            if bad {
                bytes.extend_from_slice(b"POST / HTTP/1.1\r\ncontent-length: x\r\n\r\n");
            }
            let whole = fed(&bytes, usize::MAX).map_err(|(_, status)| status);
            let cut = fed(&bytes, size).map_err(|(_, status)| status);
            prop_assert_eq!(whole.is_err(), bad);
            prop_assert_eq!(whole, cut);
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), size in 1..20_usize) {
            let _ = fed(&bytes, size);
        }
    }
}
