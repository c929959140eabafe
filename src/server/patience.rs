//! How long a peer may keep a connection without doing its part: say its first words, take what is
//! sent to it. hyper's own limits begin later (it counts a head from its first bytes) or not at all
//! (a client that stops reading).

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// Bytes after which hyper knows the protocol and minds the time itself: HTTP/2's preface.
const OPENING_BYTES: usize = 24;

/// The longest a peer may take nothing of what waits for it.
const WRITE_STALL: Duration = Duration::from_mins(1);

/// A connection that ends with [`io::ErrorKind::TimedOut`] when its peer dawdles.
pub(super) struct Patient<S> {
    stream: S,
    /// Set until the peer has said enough.
    opening: Option<Opening>,
    /// Set while the peer takes nothing.
    stalled: Option<Pin<Box<Sleep>>>,
}

struct Opening {
    bytes: usize,
    limit: Pin<Box<Sleep>>,
}

impl<S> Patient<S> {
    /// A new connection, whose first words must have come within `opening`.
    pub(super) fn new(stream: S, opening: Duration) -> Self {
        let opening = Opening {
            bytes: 0,
            limit: Box::pin(sleep(opening)),
        };
        Self {
            stream,
            opening: Some(opening),
            stalled: None,
        }
    }

    /// Passes on how a write went, and minds how long none has gone.
    fn mind<T>(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let limit = self
            .stalled
            .get_or_insert_with(|| Box::pin(sleep(WRITE_STALL)));
        match limit.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(context, buffer);
        let Some(opening) = this.opening.as_mut() else {
            return read;
        };
        if read.is_pending() {
            return opening
                .limit
                .as_mut()
                .poll(context)
                .map(|()| Err(io::ErrorKind::TimedOut.into()));
        }
        opening.bytes += buffer.filled().len().saturating_sub(before);
        if opening.bytes >= OPENING_BYTES {
            this.opening = None;
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write(context, bytes);
        this.mind(context, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write_vectored(context, pieces);
        this.mind(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = Pin::new(&mut this.stream).poll_flush(context);
        this.mind(context, flushed)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let closed = Pin::new(&mut this.stream).poll_shutdown(context);
        this.mind(context, closed)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::time::Instant;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_says_too_little_is_left_after_the_limit() {
        for said in [&b""[..], b"P", b"PRI * HTTP/2.0\r\n"] {
            let (mut peer, ours) = tokio::io::duplex(64);
            let mut connection = Patient::new(ours, LIMIT);
            peer.write_all(said).await.expect("room for it");
            let began = Instant::now();
            let mut read = Vec::new();
            let ended = connection.read_to_end(&mut read).await;
            let kind = ended.expect_err("the limit").kind();
            assert_eq!((kind, &read[..]), (io::ErrorKind::TimedOut, said));
            assert_eq!(began.elapsed(), LIMIT);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_said_enough_may_be_silent() {
        let (mut peer, ours) = tokio::io::duplex(64);
        let mut connection = Patient::new(ours, LIMIT);
        let said = [b'x'; OPENING_BYTES];
        peer.write_all(&said).await.expect("room for it");
        let mut read = [0; OPENING_BYTES];
        connection.read_exact(&mut read).await.expect("it is there");
        let silence = tokio::time::timeout(LIMIT * 100, connection.read_u8()).await;
        assert!(silence.is_err(), "the connection ended: {silence:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_takes_nothing_is_left_and_one_that_is_slow_is_not() {
        let (mut peer, ours) = tokio::io::duplex(16);
        let mut connection = Patient::new(ours, LIMIT);
        let sending = tokio::spawn(async move {
            let result = connection.write_all(&[b'x'; 80]).await;
            (result, Instant::now())
        });
        let mut taken = [0; 16];
        for _ in 0..3 {
            sleep(WRITE_STALL.saturating_sub(Duration::from_secs(1))).await;
            peer.read_exact(&mut taken).await.expect("bytes");
        }
        let last_taken = Instant::now();
        let (result, ended) = sending.await.expect("no panic");
        let kind = result.expect_err("two buffers are left untaken").kind();
        assert_eq!(kind, io::ErrorKind::TimedOut);
        assert_eq!(ended - last_taken, WRITE_STALL);
    }
}
