//! The socket that a service manager has opened for us and hands over: `LISTEN_FDS` of systemd
//! (<https://www.freedesktop.org/software/systemd/man/latest/sd_listen_fds.html>, read 2026-11-26).
//! Connections that come while no server runs, or between two, wait there and are not refused.

use std::net::TcpListener;

use crate::cli::exit::Failure;

/// The socket handed over; `None` if there is none.
#[cfg(unix)]
pub(super) fn listener() -> Result<Option<TcpListener>, Failure> {
    let mut handed = listenfd::ListenFd::from_env();
    if handed.len() > 1 {
        return Err(unusable(&format!("{} sockets", handed.len())));
    }
    let taken = handed.take_tcp_listener(0).and_then(|listener| {
        if let Some(listener) = &listener {
            listener.set_nonblocking(true)?;
        }
        Ok(listener)
    });
    taken.map_err(|error| unusable(&error.to_string()))
}

/// There is no such manager here.
#[cfg(not(unix))]
pub(super) fn listener() -> Result<Option<TcpListener>, Failure> {
    Ok(None)
}

#[cfg(unix)]
fn unusable(what: &str) -> Failure {
    Failure::usage(
        format!("LISTEN_FDS hands over no single TCP socket: {what}"),
        "give the socket unit one `ListenStream=HOST:PORT`",
    )
}
