//! An HTTP/1.1 client that sends what it is told and keeps what it gets, byte for byte.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::{assert_no_canary, patiently};

/// A chat request for `fake/m1`.
pub(crate) const CHAT: &str = r#"{"model":"fake/m1","messages":[{"role":"user","content":"hi"}]}"#;

/// The same, streamed.
pub(crate) const STREAM: &str =
    r#"{"model":"fake/m1","stream":true,"messages":[{"role":"user","content":"hi"}]}"#;

/// A well-formed request to send; others go out through [`Connection::send_bytes`].
#[derive(Clone, Debug)]
pub(crate) struct Request {
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: Option<Bytes>,
}

impl Request {
    pub(crate) fn new(method: &str, target: &str) -> Self {
        Self {
            method: method.to_owned(),
            target: target.to_owned(),
            headers: Vec::new(),
            body: None,
        }
    }

    pub(crate) fn get(target: &str) -> Self {
        Self::new("GET", target)
    }

    /// A POST of a JSON body.
    pub(crate) fn post(target: &str, body: impl Into<Bytes>) -> Self {
        let mut request = Self::new("POST", target).header("content-type", "application/json");
        request.body = Some(body.into());
        request
    }

    /// An OpenAI chat request.
    pub(crate) fn chat(body: &str) -> Self {
        Self::post("/v1/chat/completions", body.to_owned())
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The same request for another model than `fake/m1`, which stands in the path or in the body.
    pub(crate) fn for_model(mut self, model: &str) -> Self {
        self.target = self.target.replace("fake/m1", model);
        let body = self.body.take().unwrap_or_default();
        let body = String::from_utf8_lossy(&body).replace("fake/m1", model);
        self.body = Some(body.into());
        self
    }

    /// The bytes on the wire. A `host` and the length are added unless headers give them.
    pub(crate) fn bytes(&self, host: SocketAddr) -> Vec<u8> {
        let given = |name: &str| {
            self.headers
                .iter()
                .any(|(have, _)| have.eq_ignore_ascii_case(name))
        };
        let mut lines = vec![format!("{} {} HTTP/1.1", self.method, self.target)];
        if !given("host") {
            lines.push(format!("host: {host}"));
        }
        lines.extend(
            self.headers
                .iter()
                .map(|(name, value)| format!("{name}: {value}")),
        );
        if let Some(body) = self.body.as_ref().filter(|_| !given("content-length")) {
            lines.push(format!("content-length: {}", body.len()));
        }
        let mut bytes = (lines.join("\r\n") + "\r\n\r\n").into_bytes();
        bytes.extend_from_slice(self.body.as_deref().unwrap_or_default());
        bytes
    }
}

/// A whole answer, or as much of it as came.
#[derive(Clone, Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// The body came to the end its framing promised.
    pub(crate) complete: bool,
}

impl Response {
    /// The first value of a header, by name in any case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let same = |(have, _): &&(String, String)| have.eq_ignore_ascii_case(name);
        self.headers
            .iter()
            .find(same)
            .map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error} in {}: {}", self.status, self.text()))
    }

    /// `error.type` and `error.code` of an OpenAI error.
    pub(crate) fn error(&self) -> (String, String) {
        let json = self.json();
        let part = |name: &str| json["error"][name].as_str().unwrap_or_default().to_owned();
        (part("type"), part("code"))
    }

    /// `error.message`.
    pub(crate) fn message(&self) -> String {
        self.json()["error"]["message"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }
}

/// One connection to the gateway.
pub(crate) struct Connection {
    stream: TcpStream,
    address: SocketAddr,
    unread: Vec<u8>,
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> Self {
        let stream = patiently("a connection", TcpStream::connect(address)).await;
        let stream = stream.expect("the gateway accepts");
        stream.set_nodelay(true).expect("a socket takes options");
        Self {
            stream,
            address,
            unread: Vec::new(),
        }
    }

    pub(crate) async fn send(&mut self, request: &Request) {
        let bytes = request.bytes(self.address);
        assert!(
            self.send_bytes(&bytes).await,
            "the gateway closed before it read the request"
        );
    }

    /// Sends any bytes; `false` if the gateway has closed.
    pub(crate) async fn send_bytes(&mut self, bytes: &[u8]) -> bool {
        patiently("the request to be taken", self.stream.write_all(bytes))
            .await
            .is_ok()
    }

    /// Whether the other side keeps it open and silent for so long.
    pub(crate) async fn is_open_for(&mut self, time: Duration) -> bool {
        let mut piece = [0; 64];
        let reading = self.stream.read(&mut piece);
        tokio::time::timeout(time, reading).await.is_err()
    }

    /// Says that nothing more will be sent.
    pub(crate) async fn half_close(&mut self) {
        // Fails only where the other side has closed already, which the reader will see.
        let _ = self.stream.shutdown().await;
    }

    /// Reads a whole answer.
    pub(crate) async fn response(&mut self) -> Response {
        let mut response = self.head().await;
        while self.piece(&mut response).await.is_some() {}
        assert_no_canary("an answer's body", &response.body);
        response
    }

    /// Reads the status of an interim answer (1xx), which has no body.
    pub(crate) async fn interim(&mut self) -> u16 {
        let head = self.line_end(b"\r\n\r\n").await.unwrap_or_default();
        let head = String::from_utf8_lossy(&head).into_owned();
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
        status.expect("a status line")
    }

    /// Reads an answer's head; the body is left to [`Connection::piece`].
    pub(crate) async fn head(&mut self) -> Response {
        loop {
            let Some(head) = self.line_end(b"\r\n\r\n").await else {
                panic!(
                    "no answer, only {:?}",
                    String::from_utf8_lossy(&self.unread)
                );
            };
            assert_no_canary("an answer's head", &head);
            let head = String::from_utf8_lossy(&head).into_owned();
            let mut lines = head.lines();
            let status = lines.next().and_then(|line| line.split(' ').nth(1));
            let response = Response {
                status: status
                    .and_then(|code| code.parse().ok())
                    .expect("a status line"),
                headers: lines
                    .filter_map(|line| line.split_once(':'))
                    .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
                    .collect(),
                body: Vec::new(),
                complete: false,
            };
            if response.status != 100 {
                return response;
            }
        }
    }

    /// Reads the next piece of the body (a chunk, where it is chunked) and appends it to
    /// `response.body`; `None` at its end, and `response.complete` tells whether that was proper.
    pub(crate) async fn piece(&mut self, response: &mut Response) -> Option<Vec<u8>> {
        if response.complete {
            return None;
        }
        let chunked = |value: &str| value.contains("chunked");
        let piece = if response.header("transfer-encoding").is_some_and(chunked) {
            self.chunk(response).await
        } else if let Some(length) = response.header("content-length") {
            let length: usize = length.parse().expect("a number");
            let left = length.saturating_sub(response.body.len());
            response.complete = left == 0;
            if left == 0 {
                None
            } else {
                self.some(left).await
            }
        } else {
            let piece = self.some(usize::MAX).await;
            response.complete = piece.is_none();
            piece
        };
        response
            .body
            .extend_from_slice(piece.as_deref().unwrap_or_default());
        piece
    }

    async fn chunk(&mut self, response: &mut Response) -> Option<Vec<u8>> {
        let line = self.line_end(b"\r\n").await?;
        let size = String::from_utf8_lossy(&line).trim().to_owned();
        let size = usize::from_str_radix(&size, 16).expect("a chunk size");
        let mut chunk = self.exactly(size + 2).await?;
        chunk.truncate(size);
        response.complete = size == 0;
        (size > 0).then_some(chunk)
    }

    /// Reads until the gateway closes; empty if it closed at once.
    pub(crate) async fn rest(&mut self) -> Vec<u8> {
        while self.fill().await {}
        std::mem::take(&mut self.unread)
    }

    async fn line_end(&mut self, end: &[u8]) -> Option<Vec<u8>> {
        loop {
            if let Some(at) = memchr::memmem::find(&self.unread, end) {
                return Some(self.unread.drain(..at + end.len()).collect());
            }
            if !self.fill().await {
                return None;
            }
        }
    }

    async fn exactly(&mut self, bytes: usize) -> Option<Vec<u8>> {
        while self.unread.len() < bytes {
            if !self.fill().await {
                return None;
            }
        }
        Some(self.unread.drain(..bytes).collect())
    }

    async fn some(&mut self, most: usize) -> Option<Vec<u8>> {
        if self.unread.is_empty() && !self.fill().await {
            return None;
        }
        let here = self.unread.len().min(most);
        Some(self.unread.drain(..here).collect())
    }

    /// Reads more; `false` at the end of the connection, orderly or not.
    async fn fill(&mut self) -> bool {
        let reading = self.stream.read_buf(&mut self.unread);
        matches!(patiently("bytes from the gateway", reading).await, Ok(read) if read > 0)
    }
}
