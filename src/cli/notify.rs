//! Tells a service manager how the server stands: `Type=notify` of systemd
//! (<https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html>, read 2026-11-25).
//! Nothing happens where none asked for it.

/// The server accepts connections.
pub(super) const READY: &str = "READY=1";

/// The server lets running streams finish and takes no new ones.
pub(super) const STOPPING: &str = "STOPPING=1";

/// Sends a state to the socket that `NOTIFY_SOCKET` names.
#[cfg(unix)]
pub(super) fn tell(state: &str) {
    if let Some(socket) = std::env::var_os("NOTIFY_SOCKET")
        && let Err(error) = send(&socket, state)
    {
        tracing::debug!("cannot tell the service manager `{state}`: {error}");
    }
}

/// There is no such manager here.
#[cfg(not(unix))]
pub(super) fn tell(_state: &str) {}

#[cfg(unix)]
fn send(socket: &std::ffi::OsStr, state: &str) -> std::io::Result<()> {
    use std::os::unix::net::UnixDatagram;

    let own = UnixDatagram::unbound()?;
    // The manager may be slow, the server must not be.
    own.set_nonblocking(true)?;
    #[cfg(target_os = "linux")]
    {
        use std::os::linux::net::SocketAddrExt;
        use std::os::unix::ffi::OsStrExt;
        use std::os::unix::net::SocketAddr;

        // `@` stands for the zero byte of a name outside the file system.
        if let Some(name) = socket.as_bytes().strip_prefix(b"@") {
            let address = SocketAddr::from_abstract_name(name)?;
            return own.send_to_addr(state.as_bytes(), &address).map(drop);
        }
    }
    own.send_to(state.as_bytes(), socket).map(drop)
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use super::*;

    #[test]
    fn the_state_arrives_at_a_socket_in_the_file_system() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("notify");
        let manager = UnixDatagram::bind(&path).expect("a socket");
        send(path.as_os_str(), READY).expect("sent");
        let mut bytes = [0; 64];
        let count = manager.recv(&mut bytes).expect("received");
        assert_eq!(&bytes[..count], b"READY=1");
    }
}
