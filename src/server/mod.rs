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
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, lookup_host};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use crate::server::connection::speak;
pub use crate::server::handlers::{Settings, Shared};

/// Connections that may wait to be accepted, where the kernel allows as many (`net.core.somaxconn`).
/// The usual 128 are few: of a rush beyond, each tries again after a second, or has been promised a
/// connection that is not there.
const BACKLOG: u32 = 4096;

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

/// Binds the address, with `SO_REUSEADDR` as tokio sets it and room for a rush of connections.
///
/// Fails as the last of the host's addresses does, if none can be bound.
pub async fn bind(host: &str, port: u16) -> io::Result<TcpListener> {
    let mut last = None;
    for address in lookup_host((host.trim_matches(['[', ']']), port)).await? {
        match listen(address) {
            Ok(listener) => return Ok(listener),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the host has no address")))
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // On Windows it would let others take the port as well.
    if cfg!(not(windows)) {
        socket.set_reuseaddr(true)?;
    }
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpStream;
    use tokio::task::JoinSet;
    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn a_rush_of_connections_waits_to_be_accepted() {
        let listener = bind("127.0.0.1", 0).await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        // The kernel lets no more wait than this.
        let most = std::fs::read_to_string("/proc/sys/net/core/somaxconn").ok();
        let most = most.and_then(|text| text.trim().parse().ok());
        let mut connecting = JoinSet::new();
        for _ in 0..most.unwrap_or(128).min(1000) {
            connecting.spawn(TcpStream::connect(address));
        }
        // Nobody accepts; one for which there is no room would try for minutes.
        let connected = timeout(Duration::from_secs(30), connecting.join_all()).await;
        let connected = connected.expect("all have room");
        assert!(connected.iter().all(Result::is_ok));
    }
}
