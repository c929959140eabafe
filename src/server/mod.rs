//! hyper in: listener, connections, drain. Dials nobody; what goes upstream is the gateway's.

pub mod auth;
pub mod body;
pub mod clients;
pub mod dashboard;
pub mod demo;
pub mod guard;
mod handlers;
pub mod limits;
mod patience;
mod raw_chunks;
mod raw_head;
mod respond;
pub mod router;
pub mod tls;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use crate::server::handlers::{Settings, Shared};
use crate::server::patience::Patient;
use crate::server::raw_head::Watched;

/// The whole header phase of a request, and of a connection before it has said anything; an idle
/// timer alone cannot stop a dripping client.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// hyper's buffer for reads and writes. Above what [`raw_head`] lets a head be, so that no head is
/// refused without a word.
const MAX_BUFFER: usize = 128 << 10;

/// Streams a client may have open on one HTTP/2 connection.
const MAX_H2_STREAMS: u32 = 256;

/// Pause after a failed accept (no file descriptors left): trying at once would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How long a connection is still listened to when a drain begins: what the client has sent already
/// is a request, and no idle connection to be closed.
const LAST_WORDS: Duration = Duration::from_millis(50);

/// The two steps of ending: first no new work, then no work at all.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    /// Stop accepting; let what runs finish.
    pub drain: CancellationToken,
    /// End what still runs, each with its dialect's error event.
    pub abort: CancellationToken,
}

/// Serves until told to drain; returns when the last connection has ended or `drain_timeout` and a
/// moment for the goodbyes have passed.
pub async fn run(
    listener: TcpListener,
    shared: Arc<Shared>,
    max_connections: usize,
    drain_timeout: Duration,
    shutdown: Shutdown,
) {
    let connections = TaskTracker::new();
    let permits = Arc::new(Semaphore::new(max_connections.min(Semaphore::MAX_PERMITS)));
    loop {
        let permit = tokio::select! {
            permit = Arc::clone(&permits).acquire_owned() => permit,
            () = shutdown.drain.cancelled() => break,
        };
        let Ok(permit) = permit else { break };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.drain.cancelled() => break,
        };
        match accepted {
            Ok((stream, peer)) => {
                connections.spawn(connection(
                    stream,
                    peer,
                    Arc::clone(&shared),
                    shutdown.clone(),
                    permit,
                ));
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    connections.close();
    let is_done = tokio::select! {
        () = connections.wait() => true,
        () = tokio::time::sleep(drain_timeout) => false,
        () = shutdown.abort.cancelled() => false,
    };
    if !is_done {
        shutdown.abort.cancel();
        // Long enough to hand every stream its last event, short enough not to hang on a dead peer.
        let _ = tokio::time::timeout(Duration::from_secs(2), connections.wait()).await;
    }
}

/// Binds the address, with `SO_REUSEADDR` as tokio sets it.
pub async fn bind(host: &str, port: u16) -> io::Result<TcpListener> {
    TcpListener::bind((host.trim_matches(['[', ']']), port)).await
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    shared: Arc<Shared>,
    shutdown: Shutdown,
    permit: OwnedSemaphorePermit,
) {
    // Without it every small stream event waits for the acknowledgement of the one before.
    let _ = stream.set_nodelay(true);
    let tls = shared.settings.load().tls.clone();
    match tls {
        None => speak(stream, peer, shared, shutdown).await,
        Some(acceptor) => {
            if let Some(stream) = tls::accept(&acceptor, stream).await {
                speak(stream, peer, shared, shutdown).await;
            }
        }
    }
    drop(permit);
}

/// HTTP on one connection, until it ends or the server drains. TLS, if any, is over it already.
pub async fn speak<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    peer: SocketAddr,
    shared: Arc<Shared>,
    shutdown: Shutdown,
) {
    let ending = shutdown.clone();
    let service = service_fn(move |request| {
        let (shared, ending) = (Arc::clone(&shared), ending.clone());
        async move { handlers::handle(&shared, request, peer, ending).await }
    });
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
    let (stream, mut refused) = Watched::new(Patient::new(stream, HEADER_TIMEOUT));
    let mut connection = Box::pin(builder.serve_connection(TokioIo::new(stream), service));
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = shutdown.drain.cancelled() => {
            let said = tokio::time::timeout(LAST_WORDS, connection.as_mut()).await;
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
