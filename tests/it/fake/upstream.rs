//! The listener: reads requests byte for byte, answers by script, notices who leaves.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::fake::reply::{Ending, Framing, Pace, Reply};
use crate::fake::script::Script;
use crate::harness::patiently;

/// A running fake upstream. Dropping it stops it, and fails the test if the script was not
/// followed: a counted answer not asked for, or a request that no plan answers.
pub(crate) struct Upstream {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: tokio::task::JoinHandle<()>,
}

struct Shared {
    script: Mutex<Script>,
    log: Mutex<Log>,
    /// Counts changes of the log, for those who wait for one.
    changes: watch::Sender<u64>,
}

#[derive(Default)]
struct Log {
    requests: Vec<Recorded>,
    lists: usize,
    connections: usize,
    departures: usize,
    unscripted: Vec<String>,
}

/// One request as it came in.
#[derive(Clone, Debug)]
pub(crate) struct Recorded {
    pub(crate) method: String,
    /// Path and query as sent.
    pub(crate) target: String,
    /// Names in the case they came in, in order.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Bytes,
    /// The key, wherever it stood.
    pub(crate) key: Option<String>,
}

impl Recorded {
    /// The first value of a header, by name in any case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let same = |(have, _): &&(String, String)| have.eq_ignore_ascii_case(name);
        self.headers
            .iter()
            .find(same)
            .map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl Upstream {
    /// Starts on a free loopback port.
    #[expect(
        clippy::unused_async,
        reason = "hundreds of tests await it, and it needs their runtime"
    )]
    pub(crate) async fn start(script: Script) -> Self {
        // The usual room for 128 that wait to be accepted is too little for some tests.
        let socket = TcpSocket::new_v4().expect("a socket");
        socket
            .bind(([127, 0, 0, 1], 0).into())
            .expect("a free port");
        let listener = socket.listen(4096).expect("a listener");
        let address = listener
            .local_addr()
            .expect("a bound listener has an address");
        let shared = Arc::new(Shared {
            script: Mutex::new(script),
            log: Mutex::default(),
            changes: watch::Sender::new(0),
        });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Self {
            address,
            shared,
            accepting,
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address alone, `http://127.0.0.1:PORT`.
    pub(crate) fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What an OpenAI-compatible `base_url` says: the origin with `/v1`.
    pub(crate) fn base_url(&self) -> String {
        format!("{}/v1", self.origin())
    }

    /// The requests so far, without those for the model list.
    pub(crate) fn requests(&self) -> Vec<Recorded> {
        self.log().requests.clone()
    }

    /// The only request so far.
    pub(crate) fn request(&self) -> Recorded {
        let mut requests = self.requests();
        assert_eq!(requests.len(), 1, "one request was expected: {requests:#?}");
        requests.remove(0)
    }

    /// How many requests this key brought.
    pub(crate) fn calls(&self, key: &str) -> usize {
        let log = self.log();
        let own = |request: &&Recorded| request.key.as_deref() == Some(key);
        log.requests.iter().filter(own).count()
    }

    /// How many times the model list was asked for.
    pub(crate) fn lists(&self) -> usize {
        self.log().lists
    }

    /// How many connections came in.
    pub(crate) fn connections(&self) -> usize {
        self.log().connections
    }

    /// Waits until so many requests came in.
    pub(crate) async fn asked(&self, requests: usize) {
        self.until("requests", |log| log.requests.len() >= requests)
            .await;
    }

    /// Waits until so many requests of a kind came in.
    pub(crate) async fn seen(&self, requests: usize, kind: impl Fn(&Recorded) -> bool) {
        self.until("requests of a kind", |log| {
            log.requests.iter().filter(|request| kind(request)).count() >= requests
        })
        .await;
    }

    /// Waits until so many callers left before their answer was over.
    pub(crate) async fn left(&self, departures: usize) {
        self.until("departures", |log| log.departures >= departures)
            .await;
    }

    async fn until(&self, what: &str, reached: impl Fn(&Log) -> bool) {
        let mut changes = self.shared.changes.subscribe();
        let waiting = async {
            while !reached(&self.log()) {
                changes.changed().await.expect("the upstream runs");
            }
        };
        patiently(&format!("{what} at the upstream"), waiting).await;
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.shared.log()
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.accepting.abort();
        if std::thread::panicking() {
            return;
        }
        let unscripted = self.log().unscripted.clone();
        assert!(
            unscripted.is_empty(),
            "requests without a scripted answer: {unscripted:#?}"
        );
        let leftovers = self.shared.script().leftovers();
        assert!(
            leftovers.is_empty(),
            "scripted answers nobody asked for: {leftovers:?}"
        );
    }
}

impl Shared {
    fn script(&self) -> MutexGuard<'_, Script> {
        self.script
            .lock()
            .expect("no test thread panics with the script")
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().expect("no test thread panics with the log")
    }

    fn note(&self, change: impl FnOnce(&mut Log)) {
        change(&mut self.log());
        self.changes.send_modify(|count| *count += 1);
    }

    /// Records a request and finds its answer.
    fn answer(&self, request: Recorded) -> Reply {
        if request.method == "GET" && request.target.contains("/models") {
            self.note(|log| log.lists += 1);
            return self.script().list();
        }
        let reply = self.script().reply(&request);
        let unscripted = reply.is_none().then(|| {
            format!(
                "{} {} with {:?}",
                request.method, request.target, request.key
            )
        });
        self.note(|log| {
            log.requests.push(request);
            log.unscripted.extend(unscripted);
        });
        reply.unwrap_or_else(|| Reply::json(418, r#"{"error":{"message":"unscripted"}}"#))
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        shared.note(|log| log.connections += 1);
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            // An error means that the caller left, which `serve` has recorded.
            let _ = serve(stream, &shared).await;
        });
    }
}

async fn serve(mut stream: TcpStream, shared: &Shared) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = Vec::new();
    while let Some(request) = read_request(&mut stream, &mut buffer).await? {
        let reply = shared.answer(request);
        match send(&mut stream, &mut buffer, &reply).await {
            Ok(true) => {}
            Ok(false) => return Ok(()),
            Err(error) => {
                shared.note(|log| log.departures += 1);
                return Err(error);
            }
        }
    }
    Ok(())
}

/// Sends one reply; `true` if the connection goes on, an error if the caller left before the end.
async fn send(stream: &mut TcpStream, unread: &mut Vec<u8>, reply: &Reply) -> io::Result<bool> {
    let head = reply.head();
    if matches!(reply.pace, Pace::Trickle) {
        trickle(stream, &head).await?;
    } else {
        stream.write_all(&head).await?;
    }
    for piece in &reply.pieces {
        let piece = reply.encoded(piece);
        match &reply.pace {
            Pace::AtOnce => stream.write_all(&piece).await?,
            Pace::Gated(gate) => {
                tokio::select! {
                    () = gate.pass() => stream.write_all(&piece).await?,
                    error = departure(stream, unread) => return Err(error),
                }
            }
            Pace::Trickle => trickle(stream, &piece).await?,
        }
    }
    match reply.ending {
        Ending::Close => {
            stream.shutdown().await?;
            Ok(false)
        }
        Ending::Complete => {
            if reply.framing == Framing::Chunked {
                stream.write_all(b"0\r\n\r\n").await?;
            }
            Ok(reply.framing != Framing::Close)
        }
        Ending::Reset => {
            stream.set_zero_linger()?;
            Ok(false)
        }
        Ending::Stall => Err(departure(stream, unread).await),
    }
}

async fn trickle(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<()> {
    for byte in bytes.chunks(1) {
        stream.write_all(byte).await?;
        tokio::task::yield_now().await;
    }
    Ok(())
}

/// Returns when the caller closes or resets; what it sends meanwhile is kept.
async fn departure(stream: &mut TcpStream, unread: &mut Vec<u8>) -> io::Error {
    loop {
        match stream.read_buf(unread).await {
            Ok(0) => return io::ErrorKind::UnexpectedEof.into(),
            Ok(_) => {}
            Err(error) => return error,
        }
    }
}

/// Reads one request; `None` when the caller closed between requests.
async fn read_request(
    stream: &mut TcpStream,
    buffer: &mut Vec<u8>,
) -> io::Result<Option<Recorded>> {
    let end = loop {
        if let Some(at) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
        if stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    };
    let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
    buffer.drain(..end);
    let mut lines = head.lines();
    let mut first = lines
        .next()
        .unwrap_or_default()
        .split(' ')
        .map(str::to_owned);
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .collect();
    let mut request = Recorded {
        method: first.next().unwrap_or_default(),
        target: first.next().unwrap_or_default(),
        headers,
        body: Bytes::new(),
        key: None,
    };
    request.key = find_key(&request);
    request.body = read_body(stream, buffer, &request).await?;
    Ok(Some(request))
}

async fn read_body(
    stream: &mut TcpStream,
    buffer: &mut Vec<u8>,
    request: &Recorded,
) -> io::Result<Bytes> {
    let length = request.header("content-length").map_or(Ok(0), str::parse);
    let length: usize = length.map_err(|_| io::ErrorKind::InvalidData)?;
    if request.header("transfer-encoding").is_none() {
        return take(stream, buffer, length).await;
    }
    let mut body = Vec::new();
    loop {
        let line = loop {
            if let Some(at) = buffer.windows(2).position(|two| two == b"\r\n") {
                break take(stream, buffer, at + 2).await?;
            }
            if stream.read_buf(buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        };
        let size = String::from_utf8_lossy(&line);
        let size =
            usize::from_str_radix(size.trim(), 16).map_err(|_| io::ErrorKind::InvalidData)?;
        let chunk = take(stream, buffer, size + 2).await?;
        if size == 0 {
            return Ok(body.into());
        }
        body.extend_from_slice(&chunk[..size]);
    }
}

async fn take(stream: &mut TcpStream, buffer: &mut Vec<u8>, bytes: usize) -> io::Result<Bytes> {
    while buffer.len() < bytes {
        if stream.read_buf(buffer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(buffer.drain(..bytes).collect())
}

fn find_key(request: &Recorded) -> Option<String> {
    let bearer = request.header("authorization");
    let bearer = bearer.and_then(|value| value.strip_prefix("Bearer "));
    let query = request.target.split_once("key=").map(|(_, rest)| rest);
    let query = query.and_then(|rest| rest.split('&').next());
    bearer
        .or_else(|| request.header("x-api-key"))
        .or_else(|| request.header("x-goog-api-key"))
        .or_else(|| request.header("api-key"))
        .or(query)
        .map(str::to_owned)
}
