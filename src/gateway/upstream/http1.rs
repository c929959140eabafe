//! One HTTP/1.1 connection to a provider, call after call (RFC 9112).
//!
//! hyper gives every connection a task, which hands each piece to the task of the request. Here the
//! request reads its connection itself: half the wake-ups, and no buffer while a stream is silent.

use std::cell::RefCell;
use std::future::{Future as _, poll_fn};
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker, ready};

use bytes::buf::Chain;
use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use httparse::{ParserConfig, Status};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::unconstrained;

use crate::gateway::chunked::{Chunks, Fed};
use crate::gateway::upstream::Outbound;

/// The status line and all headers of an answer together.
const MAX_HEAD_BYTES: usize = 256 << 10;

/// Header lines of one answer.
const MAX_HEADERS: usize = 100;

/// What one read takes at most.
const READ_BYTES: usize = 16 << 10;

thread_local! {
    /// Where reads go; what came is copied out, so that nothing is held while nothing comes.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES].into());
}

/// Why a call has no answer, or not a whole one.
#[derive(Debug, Error)]
pub(super) enum CallError {
    #[error("connection closed before message completed")]
    Closed,
    #[error("the answer is not HTTP: {0}")]
    Garbage(&'static str),
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The connection did not take the request, not even its head.
    #[error("{0}")]
    Unsent(#[source] Box<Self>),
}

/// A connection on which nothing is under way.
#[derive(Debug)]
pub(super) struct Connection<S>(S);

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Takes a new connection.
    pub(super) const fn new(stream: S) -> Self {
        Self(stream)
    }

    /// `false` once the server has closed it, or has said something without being asked.
    pub(super) fn is_alive(&mut self) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        // A task that has used up its turn would be told to wait, whatever there is.
        let look = poll_fn(|context| read(&mut self.0, context, |_| ()));
        pin!(unconstrained(look)).poll(&mut context).is_pending()
    }

    /// Sends a request and waits for the answer's head. Dropping this, or the body, closes the
    /// connection.
    pub(super) async fn call(self, request: Request) -> Result<(Head, Body<S>), CallError> {
        let mut body = Body {
            stream: Some(self.0),
            request: Some(request),
            unread: Bytes::new(),
            framing: Framing::ToTheEnd,
            is_kept: false,
        };
        let answered = poll_fn(|context| body.poll_head(context)).await;
        match answered {
            Ok(head) => Ok((head, body)),
            Err(error) if body.request.is_some_and(|request| request.is_whole()) => {
                Err(CallError::Unsent(Box::new(error)))
            }
            Err(error) => Err(error),
        }
    }
}

/// A request on its way.
#[derive(Debug)]
pub(super) struct Request {
    bytes: Chain<Bytes, Bytes>,
    whole: usize,
}

impl Request {
    /// The bytes of a request.
    pub(super) fn new(request: &Outbound) -> Self {
        let to = &request.url.0;
        let body = request.body.clone();
        let mut head = Vec::with_capacity(1024);
        let target = to
            .uri
            .path_and_query()
            .map_or("/", |target| target.as_str());
        for piece in [request.method.as_str(), " ", target, " HTTP/1.1\r\nhost: "] {
            head.extend_from_slice(piece.as_bytes());
        }
        head.extend_from_slice(to.host.as_bytes());
        head.extend_from_slice(b"\r\n");
        for (name, value) in &request.headers {
            let is_ours = [
                header::CONTENT_LENGTH,
                header::HOST,
                header::TRANSFER_ENCODING,
            ];
            if !is_ours.contains(name) {
                line(&mut head, name.as_str(), value.as_bytes());
            }
        }
        // A method that means a body says so where there is none.
        if !body.is_empty() || request.method == Method::POST {
            let mut digits = itoa::Buffer::new();
            line(
                &mut head,
                "content-length",
                digits.format(body.len()).as_bytes(),
            );
        }
        head.extend_from_slice(b"\r\n");
        let bytes = Bytes::from(head).chain(body);
        let whole = bytes.remaining();
        Self { bytes, whole }
    }

    /// `true` while no byte of it was taken.
    fn is_whole(&self) -> bool {
        self.bytes.remaining() == self.whole
    }

    fn poll_send(
        &mut self,
        stream: &mut (impl AsyncWrite + Unpin),
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while self.bytes.has_remaining() {
            let mut slices = [IoSlice::new(&[]); 2];
            let used = self.bytes.chunks_vectored(&mut slices);
            let slices = slices.get(..used).unwrap_or_default();
            let sent = ready!(Pin::new(&mut *stream).poll_write_vectored(context, slices))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.bytes.advance(sent);
        }
        Pin::new(stream).poll_flush(context)
    }
}

fn line(head: &mut Vec<u8>, name: &str, value: &[u8]) {
    for piece in [name.as_bytes(), b": ", value, b"\r\n"] {
        head.extend_from_slice(piece);
    }
}

/// An answer's status and headers.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
}

/// An answer's body on its connection.
#[derive(Debug)]
pub(super) struct Body<S> {
    /// `None` once the answer is over.
    stream: Option<S>,
    /// What is still to be sent of the request: a server may answer before it has read all.
    request: Option<Request>,
    /// What came and was not looked at yet.
    unread: Bytes,
    framing: Framing,
    /// Whether both sides let the connection be used again.
    is_kept: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Body<S> {
    /// The next piece, all that is there at once; `None` at the proper end.
    pub(super) fn poll_data(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, CallError>>> {
        let Some(stream) = self.stream.as_mut() else {
            return Poll::Ready(None);
        };
        if let Some(request) = &mut self.request
            && let Poll::Ready(sent) = request.poll_send(stream, context)
        {
            // Where the server takes no more, its answer says why.
            self.is_kept &= sent.is_ok();
            self.request = None;
        }
        while self.framing != Framing::Over {
            let framing = &mut self.framing;
            let taken = if self.unread.is_empty() {
                ready!(read(stream, context, |fresh| framing.take(fresh)))?
            } else {
                framing.take(&std::mem::take(&mut self.unread))
            };
            match taken? {
                Taken {
                    is_surplus: true,
                    data,
                } => {
                    self.is_kept = false;
                    if !data.is_empty() {
                        return Poll::Ready(Some(Ok(data)));
                    }
                }
                Taken { data, .. } if !data.is_empty() => return Poll::Ready(Some(Ok(data))),
                Taken { .. } => {}
            }
        }
        Poll::Ready(None)
    }

    /// The connection, once the answer is over, if it can be used again.
    pub(super) fn spare(&mut self) -> Option<Connection<S>> {
        let is_free = self.framing == Framing::Over
            && self.is_kept
            && self.request.is_none()
            && self.unread.is_empty();
        self.stream.take().filter(|_| is_free).map(Connection)
    }

    fn poll_head(&mut self, context: &mut Context<'_>) -> Poll<Result<Head, CallError>> {
        let Some(stream) = self.stream.as_mut() else {
            return Poll::Ready(Err(CallError::Closed));
        };
        let mut refused = None;
        if let Some(request) = &mut self.request {
            match request.poll_send(stream, context) {
                Poll::Ready(Ok(())) => self.request = None,
                Poll::Ready(Err(error)) => refused = Some(error),
                Poll::Pending => {}
            }
        }
        loop {
            let before = std::mem::take(&mut self.unread);
            let Poll::Ready(all) = read(stream, context, |fresh| joined(&before, fresh)) else {
                self.unread = before;
                // What the server said before it closed the connection would have come by now.
                return refused.map_or(Poll::Pending, |error| Poll::Ready(Err(error.into())));
            };
            let mut all = all?.ok_or(CallError::Closed)?;
            while let Some(answer) = Answer::parse(&mut all)? {
                if answer.head.status == StatusCode::SWITCHING_PROTOCOLS {
                    return Poll::Ready(Err(CallError::Garbage("a switch of protocols")));
                }
                if answer.head.status.is_informational() {
                    continue;
                }
                (self.framing, self.is_kept) = (answer.framing, answer.is_kept);
                self.unread = all;
                return Poll::Ready(Ok(answer.head));
            }
            if all.len() > MAX_HEAD_BYTES {
                return Poll::Ready(Err(CallError::Garbage("its head is too large")));
            }
            self.unread = all;
        }
    }
}

/// What was there and what came; `None` if that is the end.
fn joined(before: &[u8], fresh: &[u8]) -> Option<Bytes> {
    if fresh.is_empty() {
        None
    } else if before.is_empty() {
        Some(Bytes::copy_from_slice(fresh))
    } else {
        Some([before, fresh].concat().into())
    }
}

/// Reads once. Nothing is the end.
fn read<T>(
    stream: &mut (impl AsyncRead + Unpin),
    context: &mut Context<'_>,
    take: impl FnOnce(&[u8]) -> T,
) -> Poll<io::Result<T>> {
    SCRATCH.with_borrow_mut(|scratch| {
        let mut buffer = ReadBuf::new(scratch);
        ready!(Pin::new(stream).poll_read(context, &mut buffer))?;
        Poll::Ready(Ok(take(buffer.filled())))
    })
}

/// An answer's head, and what it says of what follows.
#[derive(Debug)]
struct Answer {
    head: Head,
    framing: Framing,
    is_kept: bool,
}

impl Answer {
    /// Cuts a head off what came; `None` if it is not whole yet.
    fn parse(unread: &mut Bytes) -> Result<Option<Self>, CallError> {
        let mut lines = [const { MaybeUninit::uninit() }; MAX_HEADERS];
        let mut answer = httparse::Response::new(&mut []);
        let parsed = ParserConfig::default().parse_response_with_uninit_headers(
            &mut answer,
            unread,
            &mut lines,
        );
        let length = match parsed {
            Ok(Status::Complete(length)) => length,
            Ok(Status::Partial) => return Ok(None),
            Err(httparse::Error::TooManyHeaders) => {
                return Err(CallError::Garbage("it has too many headers"));
            }
            Err(_) => return Err(CallError::Garbage("its head is malformed")),
        };
        let status = answer.code.and_then(|code| StatusCode::from_u16(code).ok());
        let status = status.ok_or(CallError::Garbage("its status is malformed"))?;
        let is_modern = answer.version == Some(1);
        let mut headers = HeaderMap::with_capacity(answer.headers.len());
        for line in &*answer.headers {
            let name = HeaderName::from_bytes(line.name.as_bytes());
            let value = HeaderValue::from_maybe_shared(unread.slice_ref(line.value));
            let (Ok(name), Ok(value)) = (name, value) else {
                return Err(CallError::Garbage("a header is malformed"));
            };
            if headers.try_append(name, value).is_err() {
                return Err(CallError::Garbage("it has too many headers"));
            }
        }
        let framing = Framing::of(status, is_modern, &headers)?;
        let is_kept = is_modern
            && framing != Framing::ToTheEnd
            && !words(&headers, &header::CONNECTION).any(|word| word == "close");
        unread.advance(length);
        Ok(Some(Self {
            head: Head { status, headers },
            framing,
            is_kept,
        }))
    }
}

/// The members of a header's list, in lower case.
fn words(headers: &HeaderMap, name: &HeaderName) -> impl Iterator<Item = String> {
    let lines = headers.get_all(name).into_iter();
    let lines = lines.filter_map(|line| line.to_str().ok());
    let words = lines.flat_map(|line| line.split(','));
    words.map(|word| word.trim().to_ascii_lowercase())
}

/// Where a body ends (RFC 9112 §6.3).
#[derive(Debug, PartialEq, Eq)]
enum Framing {
    Chunked(Chunks),
    /// With so much to come.
    Length(u64),
    Over,
    /// Where the server closes the connection.
    ToTheEnd,
}

/// What a read brought of a body.
struct Taken {
    data: Bytes,
    /// More came than belongs to it.
    is_surplus: bool,
}

impl Framing {
    fn of(status: StatusCode, is_modern: bool, headers: &HeaderMap) -> Result<Self, CallError> {
        if matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
            return Ok(Self::Over);
        }
        if headers.contains_key(header::TRANSFER_ENCODING) {
            if !is_modern {
                return Err(CallError::Garbage("a transfer coding in HTTP/1.0"));
            }
            return Ok(match words(headers, &header::TRANSFER_ENCODING).last() {
                Some(coding) if coding == "chunked" => Self::Chunked(Chunks::default()),
                _ => Self::ToTheEnd,
            });
        }
        let mut lengths = words(headers, &header::CONTENT_LENGTH);
        let Some(length) = lengths.next() else {
            if headers.contains_key(header::CONTENT_LENGTH) {
                return Err(CallError::Garbage("its length is malformed"));
            }
            return Ok(Self::ToTheEnd);
        };
        let is_number = length.bytes().all(|byte| byte.is_ascii_digit());
        match length.parse() {
            Ok(number) if is_number && lengths.all(|other| other == length) => {
                Ok(Self::Length(number).or_over())
            }
            _ => Err(CallError::Garbage("its length is malformed")),
        }
    }

    fn or_over(self) -> Self {
        match self {
            Self::Length(0) => Self::Over,
            other => other,
        }
    }

    /// Takes what came. Nothing is the connection's end.
    fn take(&mut self, fresh: &[u8]) -> Result<Taken, CallError> {
        let whole = |data: &[u8]| Taken {
            data: Bytes::copy_from_slice(data),
            is_surplus: data.len() < fresh.len(),
        };
        match self {
            Self::ToTheEnd if fresh.is_empty() => {
                *self = Self::Over;
                Ok(whole(fresh))
            }
            Self::ToTheEnd => Ok(whole(fresh)),
            Self::Over => Ok(whole(&[])),
            _ if fresh.is_empty() => Err(CallError::Closed),
            Self::Length(left) => {
                let here = usize::try_from(*left).map_or(fresh.len(), |left| left.min(fresh.len()));
                *self = Self::Length(*left - here as u64).or_over();
                Ok(whole(fresh.get(..here).unwrap_or_default()))
            }
            Self::Chunked(chunks) => {
                let mut data = BytesMut::with_capacity(fresh.len());
                let fed = chunks.feed(fresh, |piece| data.extend_from_slice(piece));
                let is_surplus = match fed {
                    Fed::More => false,
                    Fed::Ended(at) => {
                        *self = Self::Over;
                        at < fresh.len()
                    }
                    Fed::Malformed => return Err(CallError::Garbage("its chunks are malformed")),
                };
                let data = data.freeze();
                Ok(Taken { data, is_surplus })
            }
        }
    }
}

#[cfg(test)]
mod tests;
