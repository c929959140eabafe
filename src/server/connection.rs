//! One connection: TLS if it is on, then HTTP of the version the client speaks, until it ends or the
//! server drains.

use std::convert::Infallible;
use std::fmt::Display;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulConnection;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use crate::server::body::RelayBody;
use crate::server::patience::Patient;
use crate::server::raw_head::{Refused, Watched};
use crate::server::respond::Answer;
use crate::server::stalls::Streams;
use crate::server::{Shared, Shutdown, handlers, tls};

/// The whole header phase of a request, and of a connection before it has said anything; an idle
/// timer alone cannot stop a dripping client.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// hyper's buffer for reads and writes. Above what [`raw_head`] lets a head be, so that no head is
/// refused without a word.
const MAX_BUFFER: usize = 128 << 10;

/// Streams a client may have open on one HTTP/2 connection.
const MAX_H2_STREAMS: u32 = 256;

/// How long a connection is still listened to when a drain begins: what the client has sent already
/// is a request, and no idle connection to be closed.
const LAST_WORDS: Duration = Duration::from_millis(50);

/// The same for a connection that has said nothing yet: it has just been opened, and its client knows
/// of no reason why it should be closed.
const FIRST_WORDS: Duration = Duration::from_secs(1);

/// What begins HTTP/2 in the clear, and no request that HTTP/1 has a method for.
const HTTP2_BEGINS: [u8; 3] = *b"PRI";

/// Serves a new connection. `permit` is its place among all connections.
pub(super) async fn serve(
    stream: TcpStream,
    peer: SocketAddr,
    shared: Arc<Shared>,
    shutdown: Shutdown,
    permit: OwnedSemaphorePermit,
) {
    // Without it every small stream event waits for the acknowledgement of the one before.
    let _ = stream.set_nodelay(true);
    let tls = shared.settings.load().tls.clone();
    // Each in a box of its own: a future is as large as the largest that it may wait for.
    match tls {
        Some(acceptor) => {
            Box::pin(serve_tls(&acceptor, stream, peer, shared, shutdown)).await;
        }
        None => match Box::pin(begins_as_http1(&stream, &shutdown)).await {
            Some(true) => Box::pin(speak_http1(stream, peer, shared, shutdown)).await,
            Some(false) => Box::pin(speak(stream, peer, shared, shutdown)).await,
            None => {}
        },
    }
    drop(permit);
}

async fn serve_tls(
    acceptor: &TlsAcceptor,
    stream: TcpStream,
    peer: SocketAddr,
    shared: Arc<Shared>,
    shutdown: Shutdown,
) {
    if let Some(stream) = tls::accept(acceptor, stream).await {
        Box::pin(speak(stream, peer, shared, shutdown)).await;
    }
}

/// Whether what comes first can only be HTTP/1: then nothing need be read ahead to find out. `None`
/// if nothing comes in time.
async fn begins_as_http1(stream: &TcpStream, shutdown: &Shutdown) -> Option<bool> {
    let mut first = [0; HTTP2_BEGINS.len()];
    let drained = async {
        shutdown.drain.cancelled().await;
        sleep(FIRST_WORDS).await;
    };
    let length = tokio::select! {
        biased;
        peeked = timeout(HEADER_TIMEOUT, stream.peek(&mut first)) => peeked.ok()?.ok()?,
        () = drained => return None,
    };
    Some(length == first.len() && first != HTTP2_BEGINS)
}

/// HTTP/1 on one connection.
async fn speak_http1(stream: TcpStream, peer: SocketAddr, shared: Arc<Shared>, shutdown: Shutdown) {
    let (stream, refused) = Watched::new(Patient::new(stream, HEADER_TIMEOUT));
    let streams = Arc::default();
    let service = service(peer, shared, shutdown.clone(), Arc::clone(&streams));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(MAX_BUFFER)
        .serve_connection(TokioIo::new(stream), service);
    until_over(Box::pin(connection), &streams, &shutdown, peer, refused).await;
}

/// HTTP of any version on one connection. TLS, if any, is over it already.
pub async fn speak<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    peer: SocketAddr,
    shared: Arc<Shared>,
    shutdown: Shutdown,
) {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(MAX_BUFFER);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_H2_STREAMS)
        .max_header_list_size(64 << 10)
        .keep_alive_interval(Duration::from_mins(1))
        .keep_alive_timeout(Duration::from_secs(20));
    let (stream, refused) = Watched::new(Patient::new(stream, HEADER_TIMEOUT));
    let streams = Arc::default();
    let service = service(peer, shared, shutdown.clone(), Arc::clone(&streams));
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    until_over(Box::pin(connection), &streams, &shutdown, peer, refused).await;
}

/// What answers the requests of one connection.
fn service(
    peer: SocketAddr,
    shared: Arc<Shared>,
    ending: Shutdown,
    streams: Arc<Streams<RelayBody>>,
) -> impl Service<Request<Incoming>, Response = Answer, Error = Infallible, Future: Send + 'static>
{
    let with = handlers::Connection {
        peer,
        ending,
        streams,
    };
    service_fn(move |request| {
        let (shared, with) = (Arc::clone(&shared), with.clone());
        // hyper keeps room for a whole future as long as the connection lives.
        Box::pin(handlers::handle(shared, request, with))
    })
}

/// Lets a connection run until it ends; when the server drains, until it has said its last.
async fn until_over<C, S>(
    mut connection: Pin<Box<C>>,
    streams: &Streams<RelayBody>,
    shutdown: &Shutdown,
    peer: SocketAddr,
    mut refused: oneshot::Receiver<Refused<S>>,
) where
    C: GracefulConnection<Error: Display>,
    S: AsyncRead + AsyncWrite + Unpin,
{
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = streams.mind() => Ok(()),
        () = shutdown.drain.cancelled() => {
            let said = timeout(LAST_WORDS, connection.as_mut()).await;
            if let Ok(result) = said {
                result
            } else {
                connection.as_mut().graceful_shutdown();
                connection.as_mut().await
            }
        }
    };
    drop(connection);
    if let Ok(refused) = refused.try_recv() {
        refused.answer().await;
    } else if let Err(error) = result {
        tracing::debug!(%peer, "connection from {peer} ended: {error}");
    }
}
