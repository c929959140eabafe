//! Fake outbound proxies, HTTP and SOCKS5: they note who asks for what and bring everybody to one
//! address, whatever was asked for.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

/// A running proxy. Dropping it stops it.
pub(crate) struct Proxy {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    accepting: tokio::task::JoinHandle<()>,
}

/// What a proxy speaks, and what it does.
#[derive(Clone, Copy)]
enum Kind {
    Http,
    /// Answers 407 to everybody.
    Locked,
    Socks,
}

impl Proxy {
    /// An HTTP proxy: absolute-form requests, and CONNECT, which it notes and refuses (502).
    pub(crate) async fn http(to: SocketAddr) -> Self {
        Self::start(Kind::Http, to).await
    }

    /// An HTTP proxy that wants another password than it is given.
    pub(crate) async fn locked() -> Self {
        Self::start(Kind::Locked, SocketAddr::from(([127, 0, 0, 1], 9))).await
    }

    /// A SOCKS5 proxy, with a user name and password if the caller offers them.
    pub(crate) async fn socks(to: SocketAddr) -> Self {
        Self::start(Kind::Socks, to).await
    }

    async fn start(kind: Kind, to: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound listener");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let notes = Arc::clone(&asked);
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let notes = Arc::clone(&notes);
                tokio::spawn(async move {
                    // Whoever leaves early is no failure of the proxy.
                    let _ = match kind {
                        Kind::Http => http(stream, to, &notes).await,
                        Kind::Locked => locked(stream, &notes).await,
                        Kind::Socks => socks(stream, to, &notes).await,
                    };
                });
            }
        });
        Self {
            address,
            asked,
            accepting,
        }
    }

    /// `127.0.0.1:PORT`.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// One line a connection: for HTTP the first request's line and its `proxy-authorization`, for
    /// SOCKS5 `user:password host:port`.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("nobody panics with it").clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

fn note(notes: &Mutex<Vec<String>>, line: String) {
    notes.lock().expect("nobody panics with it").push(line);
}

/// Reads up to the blank line after a request's head.
async fn head(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    Ok(head)
}

/// The request's line, and what it brought to prove itself.
fn summary(head: &[u8]) -> String {
    let text = String::from_utf8_lossy(head).into_owned();
    let line = text.lines().next().unwrap_or_default().to_owned();
    let proof = text
        .lines()
        .find_map(|line| line.strip_prefix("proxy-authorization: "));
    proof.map_or(line.clone(), |proof| format!("{line} {proof}"))
}

async fn http(mut stream: TcpStream, to: SocketAddr, notes: &Mutex<Vec<String>>) -> io::Result<()> {
    let head = head(&mut stream).await?;
    note(notes, summary(&head));
    if head.starts_with(b"CONNECT ") {
        return stream
            .write_all(b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n")
            .await;
    }
    let mut upstream = TcpStream::connect(to).await?;
    upstream.write_all(&head).await?;
    copy_bidirectional(&mut stream, &mut upstream).await?;
    Ok(())
}

async fn locked(mut stream: TcpStream, notes: &Mutex<Vec<String>>) -> io::Result<()> {
    let head = head(&mut stream).await?;
    note(notes, summary(&head));
    stream
        .write_all(
            b"HTTP/1.1 407 Proxy Authentication Required\r\nproxy-authenticate: Basic\r\n\
              content-length: 0\r\nconnection: close\r\n\r\n",
        )
        .await
}

/// RFC 1928, with the user names and passwords of RFC 1929.
async fn socks(
    mut stream: TcpStream,
    to: SocketAddr,
    notes: &Mutex<Vec<String>>,
) -> io::Result<()> {
    const NO_AUTHENTICATION: u8 = 0;
    const USER_AND_PASSWORD: u8 = 2;
    let greeting = counted_after(&mut stream, 1).await?;
    let mut who = String::new();
    if greeting.contains(&USER_AND_PASSWORD) {
        stream.write_all(&[5, USER_AND_PASSWORD]).await?;
        let user = counted_after(&mut stream, 1).await?;
        let password = counted_after(&mut stream, 0).await?;
        who = format!(
            "{}:{} ",
            String::from_utf8_lossy(&user),
            String::from_utf8_lossy(&password)
        );
        stream.write_all(&[1, 0]).await?;
    } else {
        stream.write_all(&[5, NO_AUTHENTICATION]).await?;
    }
    let mut request = [0; 4];
    stream.read_exact(&mut request).await?;
    let host = match request[3] {
        1 => {
            let mut ip = [0; 4];
            stream.read_exact(&mut ip).await?;
            std::net::Ipv4Addr::from(ip).to_string()
        }
        3 => String::from_utf8_lossy(&counted_after(&mut stream, 0).await?).into_owned(),
        other => panic!("an address of kind {other}"),
    };
    let port = stream.read_u16().await?;
    note(notes, format!("{who}{host}:{port}"));
    let mut upstream = TcpStream::connect(to).await?;
    stream.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).await?;
    copy_bidirectional(&mut stream, &mut upstream).await?;
    Ok(())
}

/// So many bytes, then a length, then so many bytes as it says, which are returned.
async fn counted_after(stream: &mut TcpStream, skipped: usize) -> io::Result<Vec<u8>> {
    for _ in 0..skipped {
        stream.read_u8().await?;
    }
    let mut counted = vec![0; usize::from(stream.read_u8().await?)];
    stream.read_exact(&mut counted).await?;
    Ok(counted)
}
