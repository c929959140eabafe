//! The one place that dials vendors: connections of our own, and reqwest's where the way leads through
//! a proxy. It follows no redirect and puts a deadline on every await. It retries
//! nothing that a vendor may have seen: only what never left, or what an HTTP/2 server says that it
//! has not touched, is sent again. All other retries are the attempt loop's.

mod client;
mod connections;
mod direct;
mod http1;
mod settings;

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use http_body::{Body as _, Frame};
pub use reqwest::Url;
use thiserror::Error;
use tokio::time::{Instant, timeout_at};

use crate::ids::ProviderId;
use crate::providers::verdict::{Failure, Fault, Verdict};
use crate::telemetry::request_log::Tap;

pub use crate::gateway::upstream::client::{Client, ClientError, Way, client, pinned};

/// Answers read as a whole are refused beyond this size, as a vendor's mistake.
pub const MAX_ANSWER_BYTES: usize = 64 << 20;

/// Time limits of one call.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Until the answer's head.
    pub first_byte: Duration,
    /// Between two pieces of the body.
    pub idle: Duration,
    /// For the whole call.
    pub total: Duration,
}

/// A request ready to send.
#[derive(Clone, Debug)]
pub struct Outbound {
    pub method: Method,
    pub url: Address,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// An answer whose body is still to come.
#[derive(Debug)]
pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: ReplyBody,
}

/// Where a call goes, parsed.
#[derive(Clone, Debug)]
pub struct Address(Arc<Parsed>);

#[derive(Debug)]
struct Parsed {
    url: Url,
    /// The same in hyper's form.
    uri: Uri,
    /// Host and port, where the port is not the scheme's own.
    host: String,
    /// Scheme, host and port: what connections are kept by.
    origin: Arc<str>,
}

impl Address {
    /// Parses an absolute URL.
    pub fn parse(address: &str) -> Result<Self, SendError> {
        Self::of(Url::parse(address).map_err(|_| SendError::url())?)
    }

    /// The address that a URL names.
    pub fn of(url: Url) -> Result<Self, SendError> {
        let uri = Uri::try_from(url.as_str()).map_err(|_| SendError::url())?;
        let host = match (uri.host(), uri.port_u16()) {
            (Some(host), Some(port)) => format!("{host}:{port}"),
            (host, _) => host.unwrap_or_default().to_owned(),
        };
        let origin = format!("{}://{host}", url.scheme()).into();
        Ok(Self(Arc::new(Parsed {
            url,
            uri,
            host,
            origin,
        })))
    }

    /// The host's name, for people.
    pub fn host(&self) -> &str {
        self.0.url.host_str().unwrap_or_default()
    }

    /// The URL, whole.
    pub fn as_str(&self) -> &str {
        self.0.url.as_str()
    }
}

/// Parsed addresses: parsing one costs as much as all the rest of building a request.
#[derive(Debug, Default)]
pub struct Addresses(Mutex<HashMap<String, Address>>);

/// Addresses kept of one provider; Gemini has one for each model and verb.
const MAX_ADDRESSES: usize = 256;

impl Addresses {
    /// The parsed form of an address.
    pub fn parse(&self, address: &str) -> Result<Address, SendError> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(parsed) = known.get(address) {
            return Ok(parsed.clone());
        }
        let parsed = Address::parse(address)?;
        if known.len() < MAX_ADDRESSES {
            known.insert(address.to_owned(), parsed.clone());
        }
        Ok(parsed)
    }
}

/// Sends a request and waits for the answer's head.
pub async fn send(client: &Client, request: Outbound, limits: Limits) -> Result<Reply, SendError> {
    let started = Instant::now();
    let head_by = started + limits.first_byte.min(limits.total);
    let answered = timeout_at(head_by, answer(client, request)).await;
    let answered = answered.unwrap_or_else(|_| {
        let waited = crate::time::humanize(limits.first_byte);
        let message = format!("no answer within {waited}");
        Err(SendError::new(Fault::Timeout, message))
    })?;
    let (status, headers, body) = answered;
    Ok(Reply {
        status,
        headers,
        body: ReplyBody {
            body,
            idle: limits.idle,
            total: started + limits.total,
            tap: None,
        },
    })
}

/// The answer as it comes, over the way that the client takes.
async fn answer(
    client: &Client,
    mut request: Outbound,
) -> Result<(StatusCode, HeaderMap, Pieces), SendError> {
    if let Some(direct) = &client.direct {
        let any = HeaderValue::from_static("*/*");
        request.headers.entry(header::ACCEPT).or_insert(any);
        let (status, headers, body) = direct.send(&request).await?;
        return Ok((status, headers, Pieces::Direct(body)));
    }
    let mut outbound = reqwest::Request::new(request.method, request.url.0.url.clone());
    *outbound.headers_mut() = request.headers;
    *outbound.body_mut() = Some(request.body.into());
    let answer = client.any.execute(outbound).await;
    let answer = answer.map_err(|error| SendError::from_reqwest(&error, client))?;
    if answer.status() == StatusCode::PROXY_AUTHENTICATION_REQUIRED {
        return Err(SendError::refused_by_proxy(client));
    }
    let (head, body) = http::Response::from(answer).into_parts();
    Ok((head.status, head.headers, Pieces::Proxied(body)))
}

/// A body as the client in use gives it.
#[derive(Debug)]
enum Pieces {
    Direct(direct::Body),
    Proxied(reqwest::Body),
}

impl Pieces {
    /// The next piece, which may be empty.
    fn poll_data(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, SendError>>> {
        match self {
            Self::Direct(body) => body.poll_data(context),
            Self::Proxied(body) => Pin::new(body)
                .poll_frame(context)
                .map_ok(|frame| Frame::into_data(frame).unwrap_or_default())
                .map_err(|error| SendError::from_body(&error)),
        }
    }
}

/// An answer's body, with its time limits.
#[derive(Debug)]
pub struct ReplyBody {
    body: Pieces,
    /// The longest wait for one piece.
    pub idle: Duration,
    /// When the whole call must be over.
    pub total: Instant,
    /// Where all of it is noted as it comes; `None` if requests are not logged.
    tap: Option<Tap>,
}

impl Reply {
    /// Notes the answer, what is still to come of it included.
    pub fn note_on(&mut self, tap: Tap) {
        tap.head(self.status, &self.headers);
        self.body.tap = Some(tap);
    }
}

impl ReplyBody {
    /// The next piece, `None` at the proper end. Empty pieces are passed over.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, SendError> {
        let by = (Instant::now() + self.idle).min(self.total);
        match timeout_at(by, std::future::poll_fn(|context| self.poll_chunk(context))).await {
            Ok(piece) => piece.transpose(),
            Err(_) => Err(SendError::idle(self.idle)),
        }
    }

    /// [`ReplyBody::chunk`] without its time limits, for callers that keep their own timer.
    pub fn poll_chunk(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, SendError>>> {
        loop {
            let piece = match self.body.poll_data(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(piece) => piece,
            };
            match &piece {
                Some(Err(error)) => {
                    if let Some(tap) = &self.tap {
                        tap.failed(&error.message);
                    }
                }
                Some(Ok(data)) if data.is_empty() => continue,
                Some(Ok(data)) => {
                    if let Some(tap) = &self.tap {
                        tap.piece(data);
                    }
                }
                None => {}
            }
            return Poll::Ready(piece);
        }
    }

    /// The rest of the body, at most `limit` bytes; more is an error.
    pub async fn read_all(&mut self, limit: usize) -> Result<Bytes, SendError> {
        let Some(first) = self.chunk().await? else {
            return Ok(Bytes::new());
        };
        let Some(second) = self.chunk().await? else {
            return Ok(first);
        };
        let mut whole = Vec::with_capacity((first.len() + second.len()) * 2);
        whole.extend_from_slice(&first);
        whole.extend_from_slice(&second);
        while let Some(piece) = self.chunk().await? {
            if whole.len() + piece.len() > limit {
                let message = format!("the answer is larger than {} MiB", limit >> 20);
                return Err(SendError::new(Fault::Garbage, message));
            }
            whole.extend_from_slice(&piece);
        }
        Ok(whole.into())
    }

    /// As much of the body as helps to judge a failure, and no error if it breaks off.
    pub async fn read_prefix(&mut self, limit: usize) -> Bytes {
        let mut prefix = Vec::new();
        while prefix.len() < limit {
            match self.chunk().await {
                Ok(Some(piece)) => prefix.extend_from_slice(&piece),
                Ok(None) | Err(_) => break,
            }
        }
        prefix.truncate(limit);
        prefix.into()
    }
}

#[cfg(test)]
impl ReplyBody {
    /// A body that a test makes up, without a limit for all of it.
    pub fn of_stream<S>(stream: S, idle: Duration) -> Self
    where
        S: futures_util::TryStream<Ok = Bytes, Error = std::convert::Infallible> + Send + 'static,
    {
        Self {
            body: Pieces::Proxied(reqwest::Body::wrap_stream(stream)),
            idle,
            total: Instant::now() + Duration::from_hours(24),
            tap: None,
        }
    }
}

/// A call that got no answer, or an answer that broke off.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{message}")]
pub struct SendError {
    pub fault: Fault,
    /// One fragment without the URL, whose query may hold a key.
    pub message: String,
    /// Whether the server asks for fewer calls at once (HTTP/2's `ENHANCE_YOUR_CALM`).
    pub is_plea: bool,
}

impl SendError {
    /// A call that went wrong this way.
    pub const fn new(fault: Fault, message: String) -> Self {
        Self {
            fault,
            message,
            is_plea: false,
        }
    }

    /// The failure that it is: a server that asks for fewer calls has no room for more just now,
    /// whatever else it may be.
    pub fn failure(self) -> Failure {
        let verdict = if self.is_plea {
            Verdict::Capacity
        } else {
            Verdict::Transient(self.fault)
        };
        Failure::new(verdict, self.message)
    }

    /// Silence in the middle of a body.
    pub fn idle(limit: Duration) -> Self {
        let message = format!("silent for {}", crate::time::humanize(limit));
        Self::new(Fault::Timeout, message)
    }

    /// A provider without any address.
    pub fn unconfigured(provider: &ProviderId) -> Self {
        let message = format!("the provider {provider} has no base_url");
        Self::new(Fault::Connect, message)
    }

    fn url() -> Self {
        let message = "the address is not a valid URL";
        Self::new(Fault::Connect, message.to_owned())
    }

    /// 407, which no vendor sends.
    fn refused_by_proxy(client: &Client) -> Self {
        let proxy = client.proxy.as_deref().unwrap_or("of the environment");
        let message = format!("the proxy {proxy} wants another user name or password (HTTP 407)");
        Self::new(Fault::Connect, message)
    }

    fn from_reqwest(error: &reqwest::Error, client: &Client) -> Self {
        let fault = if error.is_connect() {
            Fault::Connect
        } else if error.is_timeout() {
            Fault::Timeout
        } else {
            Fault::Reset
        };
        let message = match &client.proxy {
            Some(proxy) if fault == Fault::Connect => {
                format!("through the proxy {proxy}: {}", plain(error))
            }
            _ => plain(error),
        };
        Self::new(fault, message)
    }

    fn from_body(error: &reqwest::Error) -> Self {
        let fault = if error.is_timeout() {
            Fault::Timeout
        } else {
            Fault::Truncated
        };
        Self::new(fault, plain(error))
    }
}

/// The innermost cause in words: reqwest's own text repeats the URL.
fn plain(error: &dyn std::error::Error) -> String {
    let cause = error.source();
    cause.map_or_else(|| "the request failed".to_owned(), innermost)
}

/// An error's first cause, which may be itself.
fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let chain = std::iter::successors(Some(error), |error| error.source());
    chain.last().unwrap_or(error).to_string()
}
