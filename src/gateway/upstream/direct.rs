//! The straight way to a provider: hyper's own client, without the layers that a general one puts
//! around it. Proxies are reqwest's.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::Uri;
use http::uri::Scheme;
use http_body::{Body as _, Frame};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::ClientConfig;
use tokio::time::timeout;
use tower_service::Service;

use crate::gateway::upstream::client::{IDLE_CONNECTIONS, IDLE_TIME, PING_INTERVAL, PING_TIMEOUT};

/// As reqwest has it: a peer that vanished is noticed within a minute.
const KEEPALIVE: Duration = Duration::from_secs(15);
const KEEPALIVE_RETRIES: u32 = 3;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Calls at once over one HTTP/2 connection: what servers allow at the least (RFC 9113 §6.5.2), and
/// most of them at the most. One more would wait in line for as long as a stream takes.
const CALLS_A_CONNECTION: usize = 100;

/// How often a request that its server has not touched is sent again, as reqwest has it.
const MAX_REPEATS: u32 = 2;

/// Connections to one HTTP/2 server; calls beyond them all share the last.
const MAX_LANES: usize = 256;

/// A client that dials providers itself.
///
/// hyper's client has one connection to an HTTP/2 server, whatever comes. So there is a row of
/// clients, each for so many calls as fit on one connection.
pub(super) struct Direct {
    connector: Connector,
    lanes: Mutex<Vec<Arc<Lane>>>,
}

type Connector = Patient<HttpsConnector<HttpConnector>>;

/// One of hyper's clients.
struct Lane {
    client: legacy::Client<Connector, Full<Bytes>>,
    /// Calls under way, answers being read included.
    calls: AtomicUsize,
}

/// A call's place on its lane, until it is dropped.
pub(super) struct Place(Arc<Lane>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.calls.fetch_sub(1, Ordering::Relaxed);
    }
}

/// An answer's body with the place of its call.
pub(super) struct Body {
    incoming: Incoming,
    _place: Place,
}

impl Body {
    pub(super) fn poll_frame(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        Pin::new(&mut self.incoming).poll_frame(context)
    }
}

impl fmt::Debug for Direct {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Direct").finish_non_exhaustive()
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.incoming.fmt(f)
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
            lanes: Mutex::default(),
        }
    }

    /// Sends a request and waits for the answer's head.
    pub(super) async fn send(
        &self,
        request: http::Request<Full<Bytes>>,
    ) -> Result<http::Response<Body>, legacy::Error> {
        let place = self.place();
        let (mut request, mut times) = (request, 0);
        loop {
            // HTTP/2 comes with TLS only.
            let may_repeat = times < MAX_REPEATS && request.uri().scheme() == Some(&Scheme::HTTPS);
            let again = may_repeat.then(|| request.clone());
            let error = match place.0.client.request(request).await {
                Ok(answer) => {
                    return Ok(answer.map(|incoming| Body {
                        incoming,
                        _place: place,
                    }));
                }
                Err(error) => error,
            };
            let Some(again) = again.filter(|_| is_untouched(&error)) else {
                return Err(error);
            };
            (request, times) = (again, times + 1);
        }
    }

    /// A place on the first lane that has one: few lanes with warm connections are better than many.
    fn place(&self) -> Place {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        let has_room = |lane: &&Arc<Lane>| lane.calls.load(Ordering::Relaxed) < CALLS_A_CONNECTION;
        let free = lanes.iter().find(has_room);
        let lane = free.or_else(|| lanes.get(MAX_LANES - 1)).map(Arc::clone);
        let lane = lane.unwrap_or_else(|| {
            let lane = Arc::new(Lane::new(self.connector.clone()));
            lanes.push(Arc::clone(&lane));
            lane
        });
        lane.calls.fetch_add(1, Ordering::Relaxed);
        Place(lane)
    }
}

/// Whether the server says that it has done nothing of the request: `REFUSED_STREAM`, or a `GOAWAY`
/// without an error, which leaves out streams it has begun (RFC 9113 §8.7).
fn is_untouched(error: &legacy::Error) -> bool {
    http2_cause(error).is_some_and(|cause| {
        let reason = cause.reason();
        cause.is_remote()
            && ((cause.is_reset() && reason == Some(h2::Reason::REFUSED_STREAM))
                || (cause.is_go_away() && reason == Some(h2::Reason::NO_ERROR)))
    })
}

/// Whether the server says that it is asked too much: `ENHANCE_YOUR_CALM` (RFC 9113 §7).
pub(super) fn is_plea(error: &(dyn std::error::Error + 'static)) -> bool {
    http2_cause(error).is_some_and(|cause| {
        cause.is_remote() && cause.reason() == Some(h2::Reason::ENHANCE_YOUR_CALM)
    })
}

fn http2_cause<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a h2::Error> {
    let mut chain = std::iter::successors(Some(error), |error| error.source());
    chain.find_map(|cause| cause.downcast_ref())
}

impl Lane {
    fn new(connector: Connector) -> Self {
        let client = legacy::Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIME)
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            .http2_adaptive_window(true)
            .http2_keep_alive_interval(PING_INTERVAL)
            .http2_keep_alive_timeout(PING_TIMEOUT)
            .build(connector);
        Self {
            client,
            calls: AtomicUsize::new(0),
        }
    }
}

/// A connector that gives up after a time.
#[derive(Clone, Debug)]
struct Patient<C> {
    inner: C,
    limit: Duration,
}

impl<C> Service<Uri> for Patient<C>
where
    C: Service<Uri, Error = BoxError>,
    C::Future: Send + 'static,
    C::Response: 'static,
{
    type Response = C::Response;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<C::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let (connecting, limit) = (self.inner.call(to), self.limit);
        Box::pin(async move {
            timeout(limit, connecting).await.unwrap_or_else(|_| {
                let limit = crate::time::humanize(limit);
                Err(format!("no connection within {limit}").into())
            })
        })
    }
}
