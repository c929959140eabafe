//! The straight way to a provider: connections of our own, HTTP/2 over hyper's client and HTTP/1.1
//! read by whoever waits for the answer. Proxies are reqwest's.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode, Uri};
use http_body::Body as _;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::connect::{Connection as _, HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ClientConfig;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tower_service::Service;

use crate::gateway::upstream::client::{PING_INTERVAL, PING_TIMEOUT};
use crate::gateway::upstream::connections::Connections;
use crate::gateway::upstream::http1::{self, CallError, Request};
use crate::gateway::upstream::settings::{OnLimit, Overheard};
use crate::gateway::upstream::{Address, Outbound, SendError, innermost, plain};
use crate::providers::verdict::Fault;

/// As reqwest has it: a peer that vanished is noticed within a minute, whether it was silent before or
/// has something to acknowledge.
const KEEPALIVE: Duration = Duration::from_secs(15);
const KEEPALIVE_RETRIES: u32 = 3;
#[cfg(any(target_os = "android", target_os = "fuchsia", target_os = "linux"))]
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_secs(30);

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Calls at once over one HTTP/2 connection, where its server takes no fewer: what servers should allow
/// at the least (RFC 9113 §6.5.2), and most of them at the most. One more would wait in line for as long
/// as a stream takes.
const CALLS_A_CONNECTION: usize = 100;

/// How often a request that its server has not touched is sent again, as reqwest has it.
const MAX_REPEATS: u32 = 2;

/// Bytes to and from a provider, TLS taken off.
pub(super) type Wire = Box<TokioIo<MaybeHttpsStream<TokioIo<TcpStream>>>>;

/// A client that dials providers itself.
pub(super) struct Direct {
    connector: Connector,
    connections: Arc<Connections>,
}

type Connector = Patient<HttpsConnector<HttpConnector>>;

/// An HTTP/2 connection, which takes many calls at once.
pub(super) struct Lane {
    sender: http2::SendRequest<Full<Bytes>>,
    /// Calls under way, answers being read included.
    calls: AtomicUsize,
    /// How many the server takes at once; 0 until it has said.
    limit: Arc<AtomicUsize>,
    /// The server has said that it takes no more; hyper learns it a moment later.
    is_leaving: AtomicBool,
}

/// A call's place on an HTTP/2 connection, until it is dropped.
pub(super) struct Place(Arc<Lane>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.calls.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The way that one call takes.
enum Road {
    /// Over a connection of its own.
    Http1 {
        connection: http1::Connection<Wire>,
        /// Whether other calls went over it before.
        is_used: bool,
    },
    Http2(Place),
}

/// An answer's body on its way.
pub(super) enum Body {
    Http1 {
        body: http1::Body<Wire>,
        origin: Arc<str>,
        connections: Arc<Connections>,
    },
    Http2 {
        incoming: Incoming,
        _place: Place,
    },
}

impl Body {
    /// The next piece, which may be empty; `None` at the proper end.
    pub(super) fn poll_data(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, SendError>>> {
        match self {
            Self::Http1 {
                body,
                origin,
                connections,
            } => {
                let polled = body.poll_data(context);
                if matches!(polled, Poll::Ready(None))
                    && let Some(connection) = body.spare()
                {
                    connections.keep(origin, connection);
                }
                polled.map_err(|error| SendError::new(Fault::Truncated, error.to_string()))
            }
            Self::Http2 { incoming, .. } => {
                let polled = Pin::new(incoming).poll_frame(context);
                // A copy: what is held of a stream must not hold the buffer of its whole connection.
                let polled = polled.map_ok(|frame| {
                    frame
                        .data_ref()
                        .map_or_else(Bytes::new, |data| Bytes::copy_from_slice(data))
                });
                polled.map_err(|error| SendError {
                    is_plea: is_plea(&error),
                    ..SendError::new(Fault::Truncated, plain(&error))
                })
            }
        }
    }
}

impl fmt::Debug for Direct {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Direct").finish_non_exhaustive()
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body").finish_non_exhaustive()
    }
}

impl Direct {
    /// A client that waits at most `connect` for a connection, TLS included.
    pub(super) fn new(connect: Duration, tls: ClientConfig) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(KEEPALIVE));
        tcp.set_keepalive_interval(Some(KEEPALIVE));
        tcp.set_keepalive_retries(Some(KEEPALIVE_RETRIES));
        // Divided among the addresses of a host: one that does not answer leaves time for the next.
        tcp.set_connect_timeout(Some(connect));
        #[cfg(any(target_os = "android", target_os = "fuchsia", target_os = "linux"))]
        tcp.set_tcp_user_timeout(Some(ACKNOWLEDGED_WITHIN));
        let https = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_all_versions()
            .wrap_connector(tcp);
        let connector = Patient {
            inner: https,
            limit: connect,
        };
        Self {
            connector,
            connections: Arc::default(),
        }
    }

    /// Sends a request and waits for the answer's head.
    pub(super) async fn send(
        &self,
        request: &Outbound,
    ) -> Result<(StatusCode, HeaderMap, Body), SendError> {
        let mut repeats = 0;
        loop {
            let (error, is_untouched) = match self.road(&request.url).await? {
                Road::Http1 {
                    connection,
                    is_used,
                } => match connection.call(Request::new(request)).await {
                    Ok((head, body)) => {
                        let body = Body::Http1 {
                            body,
                            origin: Arc::clone(&request.url.0.origin),
                            connections: Arc::clone(&self.connections),
                        };
                        return Ok((head.status, head.headers, body));
                    }
                    Err(error) => {
                        let is_untouched = is_used && matches!(error, CallError::Unsent(_));
                        (
                            SendError::new(Fault::Reset, error.to_string()),
                            is_untouched,
                        )
                    }
                },
                Road::Http2(place) => match Box::pin(place.call(request)).await {
                    Ok((head, incoming)) => {
                        let body = Body::Http2 {
                            incoming,
                            _place: place,
                        };
                        return Ok((head.status, head.headers, body));
                    }
                    Err(error) => {
                        let is_untouched = is_untouched(&error);
                        let error = SendError {
                            is_plea: is_plea(&error),
                            ..SendError::new(Fault::Reset, plain(&error))
                        };
                        (error, is_untouched)
                    }
                },
            };
            if !is_untouched || repeats == MAX_REPEATS {
                return Err(error);
            }
            repeats += 1;
        }
    }

    /// The first way that is open, or a new one. A call that is dialling takes what opens meanwhile: a
    /// connection that others made, or need no more.
    async fn road(&self, to: &Address) -> Result<Road, SendError> {
        let origin = &to.0.origin;
        if let Some(road) = self.open_road(origin) {
            return Ok(road);
        }
        // Apart: what a handshake takes must not be carried by every call.
        let mut dialling = Box::pin(self.dial(to));
        loop {
            let opened = self.connections.opened();
            // It may have opened before anybody listened.
            if let Some(road) = self.open_road(origin) {
                return Ok(road);
            }
            tokio::select! {
                biased;
                dialled = &mut dialling => return dialled,
                () = opened => {}
            }
        }
    }

    /// A way that is open: few connections that are warm are better than many.
    fn open_road(&self, origin: &str) -> Option<Road> {
        if let Some(place) = self.connections.place(origin) {
            return Some(Road::Http2(place));
        }
        let connection = self.connections.take(origin)?;
        Some(Road::Http1 {
            connection,
            is_used: true,
        })
    }

    async fn dial(&self, to: &Address) -> Result<Road, SendError> {
        let origin = &to.0.origin;
        let dialled = self.connector.clone().call(to.0.uri.clone()).await;
        let unreachable = |error: &(dyn std::error::Error + 'static)| {
            SendError::new(Fault::Connect, innermost(error))
        };
        let stream = dialled.map_err(|error| unreachable(&*error))?;
        if !stream.connected().is_negotiated_h2() {
            return Ok(Road::Http1 {
                connection: http1::Connection::new(Box::new(TokioIo::new(stream))),
                is_used: false,
            });
        }
        // Of calls that came together the first to get here makes the connection for all of them that
        // it takes.
        if let Some(place) = self.connections.expected_place(origin).await {
            return Ok(Road::Http2(place));
        }
        let limit = Arc::default();
        let stream = Overheard::new(TokioIo::new(stream), self.on_limit(&limit));
        let shaken = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .adaptive_window(true)
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT)
            .handshake(TokioIo::new(stream))
            .await;
        let (sender, connection) = shaken.map_err(|error| unreachable(&error))?;
        tokio::spawn(connection);
        let lane = Arc::new(Lane {
            sender,
            calls: AtomicUsize::new(0),
            limit,
            is_leaving: AtomicBool::new(false),
        });
        let place = Place::on(&lane);
        self.connections.share(origin, lane);
        Ok(Road::Http2(place))
    }

    /// Keeps how many calls a server takes, and has those look that wait for it.
    fn on_limit(&self, limit: &Arc<AtomicUsize>) -> OnLimit {
        let limit = Arc::clone(limit);
        // The connection must not keep those alive that are to end it.
        let connections = Arc::downgrade(&self.connections);
        Box::new(move |said| {
            let said = said.and_then(|said| usize::try_from(said).ok());
            let calls = said.unwrap_or(CALLS_A_CONNECTION);
            // A server that takes none just now has the call that the connection was made for.
            limit.store(calls.clamp(1, CALLS_A_CONNECTION), Ordering::Relaxed);
            if let Some(connections) = connections.upgrade() {
                connections.grown();
            }
        })
    }
}

impl Lane {
    /// `true` while it has room for another call: for the one that it was made for until the server
    /// says how many it takes.
    pub(super) fn has_room(&self) -> bool {
        self.calls.load(Ordering::Relaxed) < self.limit.load(Ordering::Relaxed).max(1)
    }

    /// `true` until the server has said how many calls it takes.
    pub(super) fn is_new(&self) -> bool {
        self.limit.load(Ordering::Relaxed) == 0
    }

    /// `true` while no call is under way.
    pub(super) fn is_idle(&self) -> bool {
        self.calls.load(Ordering::Relaxed) == 0
    }

    /// `true` once it takes no more calls.
    pub(super) fn is_closed(&self) -> bool {
        self.sender.is_closed() || self.is_leaving.load(Ordering::Relaxed)
    }
}

impl Place {
    /// A place, whether there is room or not.
    pub(super) fn on(lane: &Arc<Lane>) -> Self {
        lane.calls.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(lane))
    }

    async fn call(
        &self,
        request: &Outbound,
    ) -> Result<(http::response::Parts, Incoming), hyper::Error> {
        let mut outbound = http::Request::new(Full::new(request.body.clone()));
        *outbound.method_mut() = request.method.clone();
        *outbound.uri_mut() = request.url.0.uri.clone();
        *outbound.headers_mut() = request.headers.clone();
        let mut sender = self.0.sender.clone();
        let answered = async {
            sender.ready().await?;
            sender.send_request(outbound).await
        };
        let answered = answered.await;
        if let Err(error) = &answered
            && is_farewell(error)
        {
            self.0.is_leaving.store(true, Ordering::Relaxed);
        }
        answered.map(http::Response::into_parts)
    }
}

/// Whether the server has done nothing of the request: it never left, or the server says so with
/// `REFUSED_STREAM`, or with a `GOAWAY` without an error, which leaves out streams it has begun
/// (RFC 9113 §8.7).
fn is_untouched(error: &hyper::Error) -> bool {
    error.is_canceled()
        || error.is_closed()
        || http2_cause(error).is_some_and(|cause| {
            let reason = cause.reason();
            cause.is_remote()
                && ((cause.is_reset() && reason == Some(h2::Reason::REFUSED_STREAM))
                    || (cause.is_go_away() && reason == Some(h2::Reason::NO_ERROR)))
        })
}

/// Whether the connection takes no more calls.
fn is_farewell(error: &hyper::Error) -> bool {
    error.is_canceled()
        || error.is_closed()
        || http2_cause(error).is_some_and(h2::Error::is_go_away)
}

/// Whether the server says that it is asked too much: `ENHANCE_YOUR_CALM` (RFC 9113 §7).
fn is_plea(error: &hyper::Error) -> bool {
    http2_cause(error).is_some_and(|cause| {
        cause.is_remote() && cause.reason() == Some(h2::Reason::ENHANCE_YOUR_CALM)
    })
}

fn http2_cause(error: &hyper::Error) -> Option<&h2::Error> {
    let first: &(dyn std::error::Error + 'static) = error;
    let mut chain = std::iter::successors(Some(first), |error| error.source());
    chain.find_map(|cause| cause.downcast_ref())
}

/// A connector that gives up after a time.
#[derive(Clone, Debug)]
struct Patient<C> {
    inner: C,
    limit: Duration,
}

impl<C: Service<Uri, Error = BoxError>> Patient<C> {
    async fn call(mut self, to: Uri) -> Result<C::Response, BoxError> {
        timeout(self.limit, self.inner.call(to))
            .await
            .unwrap_or_else(|_| {
                let limit = crate::time::humanize(self.limit);
                Err(format!("no connection within {limit}").into())
            })
    }
}
