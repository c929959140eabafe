//! hyper in: listener, connections, drain. Dials nobody; what goes upstream is the gateway's.

pub mod auth;
pub mod body;
pub mod clients;
mod connection;
pub mod dashboard;
pub mod demo;
pub mod guard;
pub mod guesses;
mod handlers;
pub mod limits;
mod patience;
pub mod pressure;
mod raw_head;
mod respond;
pub mod router;
mod stalls;
pub mod tls;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use crate::server::connection::speak;
pub use crate::server::handlers::{Settings, Shared};

/// Pause after a failed accept (no file descriptors left): trying at once would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

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
                connections.spawn(connection::serve(
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
