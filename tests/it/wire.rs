//! A wire to a server on this machine that can be cut, go silent or become slow.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What it does to all connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Ends them, and each new one at once.
    Cut,
    /// Holds everything back, as a network does that drops packets.
    Silent,
    /// Holds each piece back for so long.
    Slow(Duration),
    Through,
}

/// A wire; it ends with its owner.
pub(crate) struct Wire {
    address: SocketAddr,
    mode: watch::Sender<Mode>,
}

impl Wire {
    /// A wire to this port.
    pub(crate) async fn to(port: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.expect("a free port");
        let address = listener.local_addr().expect("its address");
        let (mode, seen) = watch::channel(Mode::Through);
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                if seen.has_changed().is_err() {
                    return;
                }
                let mode = seen.clone();
                if *mode.borrow() == Mode::Cut {
                    continue;
                }
                tokio::spawn(carry(near, port, mode));
            }
        });
        Self { address, mode }
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }
}

async fn carry(near: TcpStream, port: u16, mut mode: watch::Receiver<Mode>) {
    let Ok(far) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await else {
        return;
    };
    let (mut near, mut far) = (near.into_split(), far.into_split());
    let (to, from) = (mode.clone(), mode.clone());
    // Whichever ends first ends the connection, both ways.
    tokio::select! {
        () = pass(&mut near.0, &mut far.1, to) => {}
        () = pass(&mut far.0, &mut near.1, from) => {}
        _ = mode.wait_for(|mode| *mode == Mode::Cut) => {}
    }
}

async fn pass(
    from: &mut (impl AsyncReadExt + Unpin),
    to: &mut (impl AsyncWriteExt + Unpin),
    mut mode: watch::Receiver<Mode>,
) {
    let mut piece = [0; 16_384];
    while let Ok(length @ 1..) = from.read(&mut piece).await {
        let Ok(now) = mode
            .wait_for(|mode| *mode != Mode::Silent)
            .await
            .map(|now| *now)
        else {
            return;
        };
        if let Mode::Slow(delay) = now {
            // Being late is what it is for.
            tokio::time::sleep(delay).await;
        }
        if to.write_all(&piece[..length]).await.is_err() {
            return;
        }
    }
}
