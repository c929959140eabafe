//! What an HTTP/2 server says first: how many calls it takes at once over one connection. Hyper keeps
//! to that, but calls beyond it wait inside of it, and nothing tells when the number has come. So the
//! server's first frame is read along on its way to hyper, which it reaches as it is.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A frame's head (RFC 9113 §4.1): length, type, flags, stream.
const HEAD_BYTES: usize = 9;

/// The type of a `SETTINGS` frame (RFC 9113 §6.5).
const SETTINGS: u8 = 4;

/// One setting: its number and its value.
const SETTING_BYTES: usize = 6;

/// `SETTINGS_MAX_CONCURRENT_STREAMS` (RFC 9113 §6.5.2).
const MAX_CONCURRENT_STREAMS: u16 = 3;

/// A first frame that is longer is not waited for: servers have a dozen settings at the most.
const MAX_FRAME_BYTES: usize = 1024;

/// Told once of the calls at once that the server takes; `None` if it does not say.
pub(super) type OnLimit = Box<dyn FnOnce(Option<u32>) + Send>;

/// A connection whose first frame is read along.
pub(super) struct Overheard<S> {
    inner: S,
    /// What has come of the frame, and whom to tell; `None` once it is known.
    listening: Option<(Vec<u8>, OnLimit)>,
}

impl<S> Overheard<S> {
    pub(super) fn new(inner: S, on_limit: OnLimit) -> Self {
        Self {
            inner,
            listening: Some((Vec::new(), on_limit)),
        }
    }

    fn hear(&mut self, bytes: &[u8]) {
        let Some((mut frame, on_limit)) = self.listening.take() else {
            return;
        };
        let room = MAX_FRAME_BYTES.saturating_sub(frame.len());
        frame.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
        match limit(&frame) {
            Heard::Limit(limit) => on_limit(limit),
            Heard::More => self.listening = Some((frame, on_limit)),
        }
    }
}

/// What the bytes so far say.
#[derive(Debug, PartialEq, Eq)]
enum Heard {
    Limit(Option<u32>),
    More,
}

fn limit(bytes: &[u8]) -> Heard {
    let Some((head, rest)) = bytes.split_first_chunk::<HEAD_BYTES>() else {
        return Heard::More;
    };
    let [high, middle, low, kind, ..] = *head;
    let length = u32::from_be_bytes([0, high, middle, low]);
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if kind != SETTINGS || length > MAX_FRAME_BYTES - HEAD_BYTES {
        return Heard::Limit(None);
    }
    let Some(settings) = rest.get(..length) else {
        return Heard::More;
    };
    let (settings, _) = settings.as_chunks::<SETTING_BYTES>();
    // The last one counts, should a server say it twice.
    let said = settings.iter().rev().find_map(|setting| {
        let [number @ .., a, b, c, d] = *setting;
        (u16::from_be_bytes(number) == MAX_CONCURRENT_STREAMS)
            .then(|| u32::from_be_bytes([a, b, c, d]))
    });
    Heard::Limit(said)
}

impl<S: AsyncRead + Unpin> AsyncRead for Overheard<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        let polled = Pin::new(&mut self.inner).poll_read(context, into);
        if self.listening.is_some()
            && let Some(came) = into.filled().get(before..)
            && !came.is_empty()
        {
            self.hear(came);
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Overheard<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use tokio::io::AsyncReadExt as _;

    use super::*;

    /// A `SETTINGS` frame.
    fn frame(settings: &[(u16, u32)]) -> Vec<u8> {
        let length = u8::try_from(settings.len() * SETTING_BYTES).expect("a small frame");
        let mut bytes = vec![0, 0, length, SETTINGS, 0, 0, 0, 0, 0];
        for (number, value) in settings {
            bytes.extend(number.to_be_bytes());
            bytes.extend(value.to_be_bytes());
        }
        bytes
    }

    #[test]
    fn the_limit_is_found_among_other_settings() {
        for (bytes, heard) in [
            (frame(&[]), Heard::Limit(None)),
            (frame(&[(1, 4096), (4, 65_535)]), Heard::Limit(None)),
            (
                frame(&[(1, 4096), (3, 5), (4, 65_535)]),
                Heard::Limit(Some(5)),
            ),
            (frame(&[(3, 5), (3, 7)]), Heard::Limit(Some(7))),
            (frame(&[(3, u32::MAX)]), Heard::Limit(Some(u32::MAX))),
            (b"HTTP/1.1 400 Bad Request\r\n".to_vec(), Heard::Limit(None)),
            (
                [255, 255, 255, SETTINGS, 0, 0, 0, 0, 0, 0].to_vec(),
                Heard::Limit(None),
            ),
            (vec![], Heard::More),
        ] {
            assert_eq!(limit(&bytes), heard, "{bytes:?}");
        }
    }

    #[tokio::test]
    async fn all_bytes_pass_and_the_limit_is_told_once_however_they_are_cut() {
        let mut sent = frame(&[(4, 1), (3, 5)]);
        sent.extend(frame(&[(3, 9)]));
        for size in 1..=sent.len() {
            let (tell, told) = mpsc::channel();
            let (near, mut far) = tokio::io::duplex(size);
            let on_limit = Box::new(move |limit| tell.send(limit).expect("the test listens"));
            let mut overheard = Overheard::new(near, on_limit);
            let writing = async {
                tokio::io::AsyncWriteExt::write_all(&mut far, &sent)
                    .await
                    .expect("the test reads");
                drop(far);
            };
            let mut got = Vec::new();
            let ((), read) = tokio::join!(writing, overheard.read_to_end(&mut got));
            read.expect("read");
            assert_eq!(got, sent, "pieces of {size}");
            assert_eq!(
                told.iter().collect::<Vec<_>>(),
                [Some(5)],
                "pieces of {size}"
            );
        }
    }
}
