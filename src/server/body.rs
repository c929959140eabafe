//! Bodies: reading a client's within its limits, and the one type that answers are sent as.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::dialects::error::{ErrorKind, ErrorReply};
use crate::gateway::relay::Relay;
use crate::server::limits::Permit;
use crate::server::stalls::{Endable, Held, Streams};

/// How long a client may take for the next [`LEAST_PIECE`] of its body.
const BODY_IDLE: Duration = Duration::from_secs(30);

/// What must come within [`BODY_IDLE`], in bytes: no line is so slow, and who drips a byte now and then
/// to hold a connection is as silent as who sends nothing.
const LEAST_PIECE: usize = 1 << 10;

/// A body of known length up to this size gets its buffer at once; beyond, memory follows bytes
/// that really came.
const TRUSTED_LENGTH: usize = 64 << 10;

/// An answer's body.
pub enum AnswerBody {
    /// All of it at once; `None` when sent.
    Whole(Option<Bytes>),
    /// Pieces as they come; their sender ends it.
    Pieces(mpsc::Receiver<Bytes>),
    /// A stream from upstream.
    Relay(RelayBody),
    /// One among others on its connection.
    Shared(SharedBody),
}

/// A stream from upstream, ended early when the server goes down.
pub struct RelayBody {
    relay: Box<Relay>,
    abort: Pin<Box<WaitForCancellationFutureOwned>>,
    /// The client's place, held until the stream has ended.
    permit: Option<Permit>,
}

/// A stream from upstream that is given up if its client takes nothing of it.
pub struct SharedBody(Arc<Held<RelayBody>>);

/// Why a client's body could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyError {
    /// It broke off, or its framing is broken: 400.
    Broken,
    /// It stopped coming: 408.
    Slow,
    /// It is larger than `max_body`: 413.
    TooLarge,
}

/// Reads a client's body, at most `limit` bytes.
pub async fn read(mut body: Incoming, limit: u64) -> Result<Bytes, BodyError> {
    let hint = body.size_hint();
    if hint.lower() > limit {
        return Err(BodyError::TooLarge);
    }
    let mut gathered: Option<Bytes> = None;
    let mut whole = BytesMut::new();
    let (mut idle, mut piece) = (Instant::now() + BODY_IDLE, 0);
    // A whole body may drip within its own bound: 2 minutes and a second for each MiB allowed.
    let total = Instant::now() + Duration::from_mins(2) + Duration::from_secs(limit >> 20);
    loop {
        let frame = match timeout_at(idle.min(total), body.frame()).await {
            Err(_) => return Err(BodyError::Slow),
            Ok(None) => break,
            Ok(Some(Err(_))) => return Err(BodyError::Broken),
            Ok(Some(Ok(frame))) => frame,
        };
        let Ok(data) = frame.into_data() else {
            continue;
        };
        piece += data.len();
        if piece >= LEAST_PIECE {
            (idle, piece) = (Instant::now() + BODY_IDLE, 0);
        }
        let so_far = gathered.as_ref().map_or(whole.len(), Bytes::len);
        if (so_far + data.len()) as u64 > limit {
            return Err(BodyError::TooLarge);
        }
        // The common case, a body that came in one piece, is not copied.
        match gathered.take() {
            None if whole.is_empty() => gathered = Some(data),
            first => {
                if let Some(first) = first {
                    let expected = usize::try_from(hint.lower())
                        .unwrap_or(0)
                        .min(TRUSTED_LENGTH);
                    whole.reserve(expected.max(first.len() + data.len()));
                    whole.extend_from_slice(&first);
                }
                whole.extend_from_slice(&data);
            }
        }
    }
    Ok(gathered.unwrap_or_else(|| whole.freeze()))
}

/// What a client is told of a body that could not be read.
pub fn refusal(error: BodyError, limit: u64) -> ErrorReply {
    let new = |status, code, message: String| {
        ErrorReply::new(status, ErrorKind::InvalidRequest, code, message)
    };
    match error {
        BodyError::Broken => new(
            400,
            "incomplete_body",
            "the body broke off or is badly framed".to_owned(),
        ),
        BodyError::Slow => new(408, "body_timeout", "the body stopped coming".to_owned()),
        BodyError::TooLarge => {
            let message = format!(
                "the body is larger than {} MiB (`[server] max_body`)",
                limit >> 20
            );
            new(413, "body_too_large", message)
        }
    }
}

/// What a client is told whose request cannot be finished.
pub fn shutting_down() -> ErrorReply {
    let message = "the gateway is shutting down";
    ErrorReply::new(503, ErrorKind::Provider, "server_shutting_down", message)
}

impl AnswerBody {
    /// A stream that holds the client's place, and that `abort` ends with an error event.
    pub fn relay(relay: Box<Relay>, permit: Permit, abort: CancellationToken) -> Self {
        Self::Relay(RelayBody {
            relay,
            abort: Box::pin(abort.cancelled_owned()),
            permit: Some(permit),
        })
    }

    /// The same as one of several streams on a connection.
    pub(super) fn shared(self, streams: &Streams<RelayBody>) -> Self {
        match self {
            Self::Relay(relay) => Self::Shared(SharedBody(streams.hold(relay))),
            other => other,
        }
    }
}

impl Endable for RelayBody {
    fn end(&mut self) {
        let message = "the client takes nothing of its answer";
        let error = ErrorReply::new(408, ErrorKind::InvalidRequest, "client_stalled", message);
        self.relay.abort(&error);
        self.permit = None;
    }
}

impl RelayBody {
    fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let piece = self.relay.poll_piece(context);
        if piece.is_pending() && self.abort.as_mut().poll(context).is_ready() {
            self.relay.abort(&shutting_down());
            return self.relay.poll_piece(context);
        }
        piece
    }
}

impl From<Bytes> for AnswerBody {
    fn from(bytes: Bytes) -> Self {
        Self::Whole(Some(bytes))
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Pieces(pieces) => pieces
                .poll_recv(context)
                .map(|piece| Some(Ok(Frame::data(piece?)))),
            Self::Relay(relay) => relay
                .poll_piece(context)
                .map(|piece| Some(Ok(Frame::data(piece?)))),
            Self::Shared(SharedBody(held)) => held
                .poll(|relay| relay.poll_piece(context))
                .map(|piece| Some(Ok(Frame::data(piece?)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.as_ref().is_none_or(Bytes::is_empty),
            Self::Pieces(_) | Self::Relay(_) | Self::Shared(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            Self::Pieces(_) | Self::Relay(_) | Self::Shared(_) => SizeHint::default(),
        }
    }
}
