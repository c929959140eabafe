//! The loopback listener that a log-in's browser comes back to (RFC 8252), and what a user may
//! paste in its place.

use std::io;
use std::net::Ipv4Addr;
use std::time::Duration;

use oauth2::url::Url;
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::credentials::oauth::OAuthError;
use crate::secret::Secret;

/// A request head of a browser is a kilobyte or two, cookies for localhost included.
const MAX_HEAD_BYTES: usize = 32 * 1024;

/// Browsers open connections ahead and may never use them.
const CONNECTION_PATIENCE: Duration = Duration::from_secs(10);

/// What the browser brought back.
#[derive(Clone, Debug)]
pub struct Callback {
    /// The code, or why there is none.
    pub code: Result<Secret, OAuthError>,
    /// `None` where a code was pasted alone.
    pub state: Option<String>,
}

/// Waits on 127.0.0.1 for one browser to come back.
#[derive(Debug)]
pub struct Loopback {
    listener: TcpListener,
    path: &'static str,
    port: u16,
}

/// Why there is no listener.
#[derive(Debug, Error)]
#[error("cannot listen on 127.0.0.1:{port}")]
pub struct BindError {
    pub port: u16,
    #[source]
    pub source: io::Error,
}

impl Loopback {
    /// Listens on a port of 127.0.0.1; 0 takes a free one. The port is held alone: what else may
    /// listen there would get the code.
    pub async fn bind(port: u16, path: &'static str) -> Result<Self, BindError> {
        let failed = |source| BindError { port, source };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
            .await
            .map_err(failed)?;
        let port = listener.local_addr().map_err(failed)?.port();
        Ok(Self {
            listener,
            path,
            port,
        })
    }

    /// The port that is listened on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Waits for the one callback; other requests get a 404. The listener closes with it.
    ///
    /// Waits for ever; callers put a time-out around it.
    pub async fn wait(self) -> Result<Callback, OAuthError> {
        let (found, mut callback) = mpsc::channel(1);
        loop {
            tokio::select! {
                connection = self.listener.accept() => {
                    // A connection that failed before it was accepted is the browser's to repeat.
                    let Ok((stream, _)) = connection else { continue };
                    let (path, found) = (self.path, found.clone());
                    tokio::spawn(async move {
                        let served = timeout(CONNECTION_PATIENCE, serve(stream, path)).await;
                        if let Ok(Ok(Some(callback))) = served {
                            // The first one counts.
                            let _ = found.try_send(callback);
                        }
                    });
                }
                Some(callback) = callback.recv() => return Ok(callback),
            }
        }
    }
}

/// Reads what a user pasted: the whole address the browser went to, its query, or the code alone
/// (`CODE#STATE` as well). `None` for an empty text.
pub fn pasted(text: &str) -> Option<Callback> {
    let text = text.trim();
    if text.is_empty() {
        return None;
    }
    if let Ok(url) = Url::parse(text)
        && url.query().is_some()
    {
        return from_query(url.query().unwrap_or_default());
    }
    if text.contains("code=") || text.contains("error=") {
        return from_query(text.trim_start_matches('?'));
    }
    let (code, state) = match text.split_once('#') {
        Some((code, state)) => (code, Some(state.to_owned())),
        None => (text, None),
    };
    Some(Callback {
        code: Ok(Secret::new(code)),
        state,
    })
}

/// Answers one request; the callback if it was the one.
async fn serve(mut stream: TcpStream, path: &str) -> io::Result<Option<Callback>> {
    let head = read_head(&mut stream).await?;
    let callback = target(&head)
        .and_then(|target| target.strip_prefix(path))
        .and_then(|rest| rest.strip_prefix('?'))
        .and_then(from_query);
    let (status, text) = match &callback {
        None => ("404 Not Found", "There is nothing here."),
        Some(callback) if callback.code.is_ok() => (
            "200 OK",
            "llmproxy has received the answer. You can close this page.",
        ),
        Some(_) => (
            "200 OK",
            "The log-in was not completed. You can close this page; the terminal says more.",
        ),
    };
    // The script takes the code out of the address bar and the history.
    let body = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>llmproxy</title>\
         <body style=\"font-family:sans-serif;margin:4em\"><p>{text}</p>\
         <script>history.replaceState(null,\"\",\"/\")</script></body></html>"
    );
    let reply = format!(
        "HTTP/1.1 {status}\r\ncontent-type: text/html; charset=utf-8\r\ncontent-length: {}\r\n\
         cache-control: no-store\r\nreferrer-policy: no-referrer\r\n\
         content-security-policy: default-src 'none'; style-src 'unsafe-inline'; \
         script-src 'unsafe-inline'\r\nx-content-type-options: nosniff\r\n\
         connection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(reply.as_bytes()).await?;
    stream.shutdown().await?;
    Ok(callback)
}

async fn read_head(stream: &mut TcpStream) -> io::Result<String> {
    let mut head = Vec::new();
    let mut chunk = [0; 4096];
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        let read = stream.read(&mut chunk).await?;
        if read == 0 || head.len() > MAX_HEAD_BYTES {
            break;
        }
        head.extend_from_slice(chunk.get(..read).unwrap_or_default());
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

/// The target of a GET; nothing else is answered.
fn target(head: &str) -> Option<&str> {
    let mut words = head.lines().next()?.split(' ');
    (words.next()? == "GET").then_some(())?;
    words.next()
}

/// `None` where the query holds neither a code nor an error.
fn from_query(query: &str) -> Option<Callback> {
    let query = query.split('#').next().unwrap_or_default();
    let (mut code, mut state, mut error, mut description) = (None, None, None, None);
    for (name, value) in oauth2::url::form_urlencoded::parse(query.as_bytes()) {
        let place = match &*name {
            "code" => &mut code,
            "state" => &mut state,
            "error" => &mut error,
            "error_description" => &mut description,
            _ => continue,
        };
        *place = Some(value.into_owned());
    }
    let code = match (code, error) {
        (_, Some(error)) if error == "access_denied" => Err(OAuthError::Denied),
        (_, Some(error)) => Err(OAuthError::GrantRefused(super::exchange::reason(
            &error,
            description.as_ref(),
        ))),
        (Some(code), None) if !code.is_empty() => Ok(Secret::new(&code)),
        _ => return None,
    };
    Some(Callback { code, state })
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn get(port: u16, line: &str) -> String {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))
            .await
            .expect("listening");
        let request = format!("{line}\r\nhost: localhost\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("open");
        let mut reply = String::new();
        stream.read_to_string(&mut reply).await.expect("an answer");
        reply
    }

    fn code(callback: &Callback) -> &str {
        callback.code.as_ref().expect("a code").expose()
    }

    #[tokio::test]
    async fn only_the_callback_ends_the_wait_and_it_closes_the_port() {
        let loopback = Loopback::bind(0, "/cb").await.expect("a free port");
        let port = loopback.port();
        let waiting = tokio::spawn(loopback.wait());
        for line in [
            "GET /favicon.ico HTTP/1.1",
            "POST /cb?code=x&state=y HTTP/1.1",
            "GET /cb HTTP/1.1",
            "GET /cbx?code=x HTTP/1.1",
            "\u{0}",
        ] {
            assert!(get(port, line).await.starts_with("HTTP/1.1 404"), "{line}");
        }
        let page = get(port, "GET /cb?state=s%201&code=4%2Fabc HTTP/1.1").await;
        assert!(page.starts_with("HTTP/1.1 200"));
        assert!(page.contains("no-store") && page.contains("close this page"));
        assert!(!page.contains("abc"), "the code is not repeated");
        let callback = waiting.await.expect("no panic").expect("a callback");
        assert_eq!(code(&callback), "4/abc");
        assert_eq!(callback.state.as_deref(), Some("s 1"));
        assert!(
            TcpStream::connect((Ipv4Addr::LOCALHOST, port))
                .await
                .is_err()
        );
    }

    #[tokio::test]
    async fn a_connection_that_says_nothing_holds_up_nobody() {
        let loopback = Loopback::bind(0, "/cb").await.expect("a free port");
        let port = loopback.port();
        let waiting = tokio::spawn(loopback.wait());
        let _silent = TcpStream::connect((Ipv4Addr::LOCALHOST, port))
            .await
            .expect("open");
        get(port, "GET /cb?error=access_denied&state=s HTTP/1.1").await;
        let callback = waiting.await.expect("no panic").expect("a callback");
        assert_eq!(callback.code.expect_err("refused"), OAuthError::Denied);
    }

    #[tokio::test]
    async fn a_port_that_is_taken_is_an_error() {
        let first = Loopback::bind(0, "/cb").await.expect("a free port");
        let error = Loopback::bind(first.port(), "/cb")
            .await
            .expect_err("taken");
        assert_eq!(error.port, first.port());
    }

    #[test]
    fn a_pasted_address_query_or_code_is_understood() {
        for (text, expected, state) in [
            ("http://localhost:1/cb?code=a%2Fb&state=s", "a/b", Some("s")),
            (" code=a&state=s \n", "a", Some("s")),
            ("?state=s&code=a", "a", Some("s")),
            ("4/0AbCd", "4/0AbCd", None),
            ("code1#state1", "code1", Some("state1")),
        ] {
            let callback = pasted(text).expect(text);
            assert_eq!(code(&callback), expected, "{text}");
            assert_eq!(callback.state.as_deref(), state, "{text}");
        }
        assert!(pasted("  ").is_none());
        let refused = pasted("http://localhost/cb?error=access_denied").expect("understood");
        assert_eq!(refused.code.expect_err("refused"), OAuthError::Denied);
    }
}
