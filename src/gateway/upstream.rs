//! The one place that dials vendors: a thin layer over reqwest that follows no redirect, retries
//! nothing by itself and puts a deadline on every await.

use std::collections::HashMap;
use std::error::Error as _;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use http_body::{Body, Frame};
pub use reqwest::Url;
use thiserror::Error;
use tokio::time::{Instant, timeout_at};

use crate::config::provider::{DIRECT, is_proxy};
use crate::ids::ProviderId;
use crate::providers::verdict::Fault;
use crate::telemetry::request_log::Tap;

/// Connections kept open to one upstream while idle; closed after 90 s without use.
const IDLE_CONNECTIONS: usize = 256;

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

/// An HTTP client that always takes the same way out. Clones share its connections.
#[derive(Clone, Debug)]
pub struct Client {
    inner: reqwest::Client,
    /// The configured proxy, without user name and password.
    proxy: Option<Arc<str>>,
}

impl Client {
    /// What is underneath, for log-ins, which read answers of their own.
    pub fn into_inner(self) -> reqwest::Client {
        self.inner
    }
}

/// A request ready to send.
#[derive(Clone, Debug)]
pub struct Outbound {
    pub method: Method,
    pub url: Url,
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

/// How calls leave this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way<'a> {
    /// Straight to the provider.
    Direct,
    /// Through the environment's proxy, if it names one (`HTTPS_PROXY`, `ALL_PROXY`, `NO_PROXY`).
    Environment,
    /// Through this one, whatever the environment says.
    Proxy(&'a str),
}

impl<'a> Way<'a> {
    /// The way that a `proxy` of the config names; none is the environment's.
    pub fn of(proxy: Option<&'a str>) -> Self {
        match proxy {
            None => Self::Environment,
            Some(DIRECT) => Self::Direct,
            Some(address) => Self::Proxy(address),
        }
    }
}

/// An HTTP client that takes this way. Connections are pooled among requests of the same client
/// only.
pub fn client(way: Way<'_>, connect: Duration) -> Result<Client, ClientError> {
    let mut builder = builder(connect);
    match way {
        // reqwest takes any scheme, and dials nobody.
        Way::Proxy(address) if !is_proxy(address) => return Err(ClientError::Proxy),
        Way::Proxy(address) => {
            let proxy = reqwest::Proxy::all(address).map_err(|_| ClientError::Proxy)?;
            builder = builder.proxy(proxy);
        }
        // Looking for one costs each request.
        Way::Environment if environment_names_a_proxy() => {}
        Way::Direct | Way::Environment => builder = builder.no_proxy(),
    }
    let inner = builder
        .build()
        .map_err(|error| ClientError::Build(plain(&error)))?;
    let proxy = match way {
        Way::Proxy(address) => Some(Arc::from(without_password(address))),
        Way::Direct | Way::Environment => None,
    };
    Ok(Client { inner, proxy })
}

/// A client that reaches this host at these addresses only, and no other host for good: past any
/// proxy, and without another look at the name server's answers.
pub fn pinned(
    host: &str,
    addresses: &[SocketAddr],
    connect: Duration,
) -> Result<Client, ClientError> {
    let inner = builder(connect)
        .no_proxy()
        .resolve_to_addrs(host, addresses)
        .build()
        .map_err(|error| ClientError::Build(plain(&error)))?;
    Ok(Client { inner, proxy: None })
}

/// What all clients have in common.
fn builder(connect: Duration) -> reqwest::ClientBuilder {
    // Without a provider reqwest panics; a second installation is an error nobody needs to see.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        // A redirect would carry `x-api-key` and the body to a host nobody configured.
        .redirect(reqwest::redirect::Policy::none())
        // The attempt loop counts retries; hidden ones would break its budget.
        .retry(reqwest::retry::never())
        .connect_timeout(connect)
        .pool_max_idle_per_host(IDLE_CONNECTIONS)
        .pool_idle_timeout(Duration::from_secs(90))
        .http2_keep_alive_interval(Duration::from_secs(30))
        .http2_keep_alive_timeout(Duration::from_secs(20))
        .http2_adaptive_window(true)
        .tcp_nodelay(true)
}

/// `socks5://127.0.0.1:1080`, whoever logs in there.
fn without_password(address: &str) -> String {
    match address.split_once("://") {
        Some((scheme, rest)) => {
            let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
            format!("{scheme}://{host}")
        }
        None => String::new(),
    }
}

fn environment_names_a_proxy() -> bool {
    std::env::vars_os().any(|(name, value)| {
        let name = name.to_string_lossy().to_ascii_lowercase();
        !value.is_empty() && matches!(name.as_str(), "all_proxy" | "http_proxy" | "https_proxy")
    })
}

/// Parsed addresses: parsing one costs as much as all the rest of building a request.
#[derive(Debug, Default)]
pub struct Addresses(Mutex<HashMap<String, Url>>);

/// Addresses kept of one provider; Gemini has one for each model and verb.
const MAX_ADDRESSES: usize = 256;

impl Addresses {
    /// The parsed form of an address.
    pub fn parse(&self, address: &str) -> Result<Url, SendError> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(url) = known.get(address) {
            return Ok(url.clone());
        }
        let url = Url::parse(address).map_err(|_| SendError::url())?;
        if known.len() < MAX_ADDRESSES {
            known.insert(address.to_owned(), url.clone());
        }
        Ok(url)
    }
}

/// Sends a request and waits for the answer's head.
pub async fn send(client: &Client, request: Outbound, limits: Limits) -> Result<Reply, SendError> {
    let mut outbound = reqwest::Request::new(request.method, request.url);
    *outbound.headers_mut() = request.headers;
    *outbound.body_mut() = Some(request.body.into());
    let started = Instant::now();
    let head_by = started + limits.first_byte.min(limits.total);
    let response = match timeout_at(head_by, client.inner.execute(outbound)).await {
        Ok(Ok(response)) if response.status() == StatusCode::PROXY_AUTHENTICATION_REQUIRED => {
            return Err(SendError::refused_by_proxy(client));
        }
        Ok(Ok(response)) => response,
        Ok(Err(error)) => return Err(SendError::from_reqwest(&error, client)),
        Err(_) => {
            return Err(SendError {
                fault: Fault::Timeout,
                message: format!(
                    "no answer within {}",
                    crate::time::humanize(limits.first_byte)
                ),
            });
        }
    };
    let (head, body) = http::Response::from(response).into_parts();
    let body = ReplyBody {
        body,
        idle: limits.idle,
        total: started + limits.total,
        tap: None,
    };
    Ok(Reply {
        status: head.status,
        headers: head.headers,
        body,
    })
}

/// An answer's body, with its time limits.
#[derive(Debug)]
pub struct ReplyBody {
    body: reqwest::Body,
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
            let frame = match Pin::new(&mut self.body).poll_frame(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(frame) => frame,
            };
            match frame {
                None => return Poll::Ready(None),
                Some(Err(error)) => {
                    let error = SendError::from_body(&error);
                    if let Some(tap) = &self.tap {
                        tap.failed(&error.message);
                    }
                    return Poll::Ready(Some(Err(error)));
                }
                Some(Ok(frame)) => match Frame::into_data(frame) {
                    Ok(data) if !data.is_empty() => {
                        if let Some(tap) = &self.tap {
                            tap.piece(&data);
                        }
                        return Poll::Ready(Some(Ok(data)));
                    }
                    Ok(_) | Err(_) => {}
                },
            }
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
                return Err(SendError {
                    fault: Fault::Garbage,
                    message: format!("the answer is larger than {} MiB", limit >> 20),
                });
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

/// A call that got no answer, or an answer that broke off.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{message}")]
pub struct SendError {
    pub fault: Fault,
    /// One fragment without the URL, whose query may hold a key.
    pub message: String,
}

impl SendError {
    /// Silence in the middle of a body.
    pub fn idle(limit: Duration) -> Self {
        Self {
            fault: Fault::Timeout,
            message: format!("silent for {}", crate::time::humanize(limit)),
        }
    }

    /// A provider without any address.
    pub fn unconfigured(provider: &ProviderId) -> Self {
        Self {
            fault: Fault::Connect,
            message: format!("the provider {provider} has no base_url"),
        }
    }

    fn url() -> Self {
        Self {
            fault: Fault::Connect,
            message: "the address is not a valid URL".to_owned(),
        }
    }

    /// 407, which no vendor sends.
    fn refused_by_proxy(client: &Client) -> Self {
        let proxy = client.proxy.as_deref().unwrap_or("of the environment");
        Self {
            fault: Fault::Connect,
            message: format!("the proxy {proxy} wants another user name or password (HTTP 407)"),
        }
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
        Self { fault, message }
    }

    fn from_body(error: &reqwest::Error) -> Self {
        let fault = if error.is_timeout() {
            Fault::Timeout
        } else {
            Fault::Truncated
        };
        Self {
            fault,
            message: plain(error),
        }
    }
}

/// Why no HTTP client could be made.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ClientError {
    #[error("cannot make an HTTP client: {0}")]
    Build(String),
    #[error("`proxy` is not a proxy address (http://, https:// or socks5://HOST:PORT)")]
    Proxy,
}

/// The innermost cause in words: reqwest's own text repeats the URL.
fn plain(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    if error.source().is_none() {
        return if error.is_timeout() {
            "timed out".to_owned()
        } else {
            "the request failed".to_owned()
        };
    }
    cause.to_string()
}
