//! Media that a client names by URL, fetched for upstreams that need the bytes
//! (`fetch_remote_media`).
//!
//! A client must not reach through the gateway what it cannot reach itself: names are resolved
//! once, every address must be public, the connection goes to those addresses only and past any
//! proxy, redirects are not followed, nothing of the client's request goes along, and size, time
//! and type are bounded.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use tokio::time::{Instant, timeout_at};

use crate::dialects::chat::{ChatRequest, Media, MediaKind, MediaSource};
use crate::dialects::error::ErrorReply;
use crate::dialects::{Dialect, media};
use crate::gateway::public_address::is_public;
use crate::gateway::upstream::{self, Address, Limits, Outbound, Url};
use crate::providers::verdict::Fault;

/// For all media of a request together.
const MAX_BYTES: usize = 20 << 20;

/// Addresses fetched for one request.
const MAX_URLS: usize = 16;

/// For all media of a request together; an inference call is waiting.
const TOTAL: Duration = Duration::from_secs(20);

const CONNECT: Duration = Duration::from_secs(5);

/// Fetches media.
#[derive(Clone, Copy, Debug)]
pub struct Fetcher {
    /// Which addresses may be dialled.
    may_dial: fn(IpAddr) -> bool,
}

impl Default for Fetcher {
    /// Dials public addresses.
    fn default() -> Self {
        Self {
            may_dial: is_public,
        }
    }
}

/// The 400 for a request whose media would have to be fetched while that is switched off.
pub fn refusal(provider: &str) -> ErrorReply {
    ErrorReply::invalid(format!(
        "{provider} needs the bytes of this request's media, and this server fetches none: send \
         them inline as base64, or set `fetch_remote_media = true` under `[server]`"
    ))
    .with_param("messages")
}

impl Fetcher {
    /// The request with the bytes of all media that the upstream's dialect cannot take by URL. An
    /// error is a 400 that says which address is at fault and why.
    pub async fn fetched(
        self,
        request: &ChatRequest,
        upstream: Dialect,
    ) -> Result<ChatRequest, ErrorReply> {
        let by = Instant::now() + TOTAL;
        let mut request = request.clone();
        let mut known: HashMap<String, MediaSource> = HashMap::new();
        let mut left = MAX_BYTES;
        for media in media::to_fetch(&mut request, upstream) {
            let MediaSource::Url { url, .. } = &media.source else {
                continue;
            };
            let source = match known.get(url) {
                Some(source) => source.clone(),
                None if known.len() == MAX_URLS => {
                    return Err(refused(
                        url,
                        &format!("only {MAX_URLS} addresses a request are fetched"),
                    ));
                }
                None => {
                    let fetched = timeout_at(by, self.fetch(media, url, left)).await;
                    let fetched = fetched
                        .unwrap_or_else(|_| Err("it did not arrive in time".to_owned()))
                        .map_err(|reason| refused(url, &reason))?;
                    left = left.saturating_sub(fetched.bytes);
                    known.insert(url.clone(), fetched.source.clone());
                    fetched.source
                }
            };
            media.source = source;
        }
        Ok(request)
    }

    async fn fetch(self, media: &Media, url: &str, limit: usize) -> Result<Fetched, String> {
        let url = Url::parse(url).map_err(|_| "it is not a valid URL".to_owned())?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err("only http and https are fetched".to_owned());
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("it holds a user name or password".to_owned());
        }
        let addresses = self.addresses(&url).await?;
        let host = url.host_str().unwrap_or_default();
        let client =
            upstream::pinned(host, &addresses, CONNECT).map_err(|error| error.to_string())?;
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_static(accept(media.kind)));
        let limits = Limits {
            first_byte: TOTAL,
            idle: TOTAL,
            total: TOTAL,
        };
        let outbound = Outbound {
            method: Method::GET,
            url: Address::of(url).map_err(|error| error.to_string())?,
            headers,
            body: bytes::Bytes::new(),
        };
        let mut reply = upstream::send(&client, outbound, limits)
            .await
            .map_err(|error| error.to_string())?;
        if reply.status.is_redirection() {
            return Err("it redirects, and redirects are not followed".to_owned());
        }
        if reply.status != StatusCode::OK {
            return Err(format!("it answers {}", reply.status.as_u16()));
        }
        let declared = reply.headers.get(header::CONTENT_TYPE);
        let declared = declared.and_then(|value| value.to_str().ok());
        let declared = declared.unwrap_or_default().to_owned();
        if reply.headers.contains_key(header::CONTENT_ENCODING) {
            return Err("it is compressed though nobody asked for that".to_owned());
        }
        let bytes = reply.body.read_all(limit).await;
        let bytes = bytes.map_err(|error| match error.fault {
            Fault::Garbage => format!(
                "all media together must not be larger than {} MiB",
                MAX_BYTES >> 20
            ),
            _ => error.to_string(),
        })?;
        let data = media::encode(&bytes);
        let mime = mime_of(&declared, &data, media.kind)?;
        Ok(Fetched {
            bytes: bytes.len(),
            source: MediaSource::Base64 { mime, data },
        })
    }

    /// Where the URL leads, each address one that may be dialled.
    async fn addresses(self, url: &Url) -> Result<Vec<SocketAddr>, String> {
        let port = url.port_or_known_default().unwrap_or(443);
        let host = url.host_str().unwrap_or_default();
        let addresses: Vec<SocketAddr> = match literal(url) {
            Some(address) => vec![SocketAddr::new(address, port)],
            None => tokio::net::lookup_host((host, port))
                .await
                .map_err(|_| "its host is not known".to_owned())?
                .collect(),
        };
        if addresses.is_empty() {
            return Err("its host is not known".to_owned());
        }
        // A name with one foot in a private network is not to be trusted with the other.
        if !addresses
            .iter()
            .all(|address| (self.may_dial)(address.ip()))
        {
            return Err("it does not lead to the public internet".to_owned());
        }
        Ok(addresses)
    }
}

/// The address that a URL names by itself, in whatever spelling; `None` for a name.
pub fn literal(url: &Url) -> Option<IpAddr> {
    let host = url.host_str()?;
    host.trim_matches(['[', ']']).parse().ok()
}

struct Fetched {
    bytes: usize,
    source: MediaSource,
}

const fn accept(kind: MediaKind) -> &'static str {
    match kind {
        MediaKind::Audio => "audio/*",
        MediaKind::Document => "application/pdf, text/*",
        MediaKind::Image => "image/*",
        MediaKind::Video => "video/*",
    }
}

/// The type of what came, if it is of the kind that the client said it is: by its first bytes, else
/// by what the server says of it.
fn mime_of(declared: &str, data: &str, kind: MediaKind) -> Result<String, String> {
    let declared = declared.split(';').next().unwrap_or_default().trim();
    let declared = declared.to_ascii_lowercase();
    let mime = media::sniff(data).map_or(declared, str::to_owned);
    let fits = match kind {
        MediaKind::Document => mime == "application/pdf" || mime.starts_with("text/"),
        MediaKind::Audio | MediaKind::Image | MediaKind::Video => {
            mime.contains('/') && media::kind(&mime) == kind
        }
    };
    if fits {
        Ok(mime)
    } else {
        let shown: String = mime.chars().take(60).collect();
        Err(format!("its type is `{shown}`, not {}", accept(kind)))
    }
}

fn refused(url: &str, reason: &str) -> ErrorReply {
    // The query may be a signature.
    let plain = url.split(['?', '#']).next().unwrap_or(url);
    let shown: String = plain.chars().take(120).collect();
    ErrorReply::invalid(format!("cannot fetch {shown}: {reason}")).with_param("messages")
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use crate::dialects::chat::{Message, Part, Role};
    use crate::dialects::fields::Extra;

    const PNG: &[u8] = b"\x89PNG\r\n\x1a\n0123456789";

    /// As the real one, but for machines of the test's own.
    const LOCAL: Fetcher = Fetcher {
        may_dial: |address| address.is_loopback(),
    };

    fn request(urls: &[String]) -> ChatRequest {
        let mut request = ChatRequest::new(Dialect::OpenAiChat, "m");
        let image = |url: &String| {
            Part::Media(Media {
                kind: MediaKind::Image,
                source: MediaSource::Url {
                    url: url.clone(),
                    mime: None,
                },
                detail: None,
                filename: None,
                cache_control: None,
                extra: Extra::default(),
            })
        };
        request.messages.push(Message {
            role: Role::User,
            parts: urls.iter().map(image).collect(),
            extra: Extra::default(),
        });
        request
    }

    /// A server that gives every connection these bytes; its address, and the requests it saw.
    async fn serve(answer: Vec<u8>) -> (String, tokio::task::JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let task = tokio::spawn(async move {
            let mut seen = Vec::new();
            let idle = Duration::from_millis(200);
            while let Ok(Ok((mut stream, _))) = tokio::time::timeout(idle, listener.accept()).await
            {
                let mut head = vec![0; 4096];
                let count = stream.read(&mut head).await.unwrap_or_default();
                seen.push(String::from_utf8_lossy(&head[..count]).into_owned());
                let _ = stream.write_all(&answer).await;
                let _ = stream.shutdown().await;
            }
            seen
        });
        (format!("http://{address}/a.png?token=secret"), task)
    }

    fn http(status: &str, kind: &str, body: &[u8]) -> Vec<u8> {
        let length = body.len();
        let head = format!(
            "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\nlocation: http://127.0.0.1:1/\r\n\
             content-length: {length}\r\nconnection: close\r\n\r\n"
        );
        [head.as_bytes(), body].concat()
    }

    async fn message(answer: Vec<u8>) -> String {
        let (url, _) = serve(answer).await;
        let fetched = LOCAL.fetched(&request(&[url]), Dialect::Gemini).await;
        let error = fetched.expect_err("refused");
        assert_eq!(
            (error.status, error.param.as_deref()),
            (400, Some("messages"))
        );
        assert!(!error.message.contains("secret"), "{}", error.message);
        error.message
    }

    #[tokio::test]
    async fn media_is_fetched_once_and_its_bytes_tell_its_type() {
        let (url, seen) = serve(http("200 OK", "application/octet-stream", PNG)).await;
        let fetched = LOCAL
            .fetched(&request(&[url.clone(), url]), Dialect::Gemini)
            .await
            .expect("fetched");
        for part in &fetched.messages[0].parts {
            let Part::Media(media) = part else {
                panic!("{part:?}")
            };
            let expected = MediaSource::Base64 {
                mime: "image/png".into(),
                data: media::encode(PNG),
            };
            assert_eq!(media.source, expected);
        }
        let seen = seen.await.expect("a server");
        assert_eq!(seen.len(), 1, "{seen:?}");
        assert!(!seen[0].contains("authorization"), "{seen:?}");
    }

    #[tokio::test]
    async fn what_is_not_the_media_it_is_said_to_be_is_refused() {
        let page = message(http("200 OK", "text/html", b"<html>")).await;
        assert!(page.contains("text/html"), "{page}");
        let absent = message(http("404 Not Found", "image/png", PNG)).await;
        assert!(absent.contains("404"), "{absent}");
        let moved = message(http("302 Found", "image/png", PNG)).await;
        assert!(moved.contains("redirect"), "{moved}");
    }

    #[tokio::test]
    async fn more_than_the_limit_is_not_taken() {
        let large = [PNG, &vec![0; MAX_BYTES]].concat();
        let said = message(http("200 OK", "image/png", &large)).await;
        assert!(said.contains("20 MiB"), "{said}");
    }

    #[tokio::test]
    async fn nothing_but_the_public_internet_is_dialled() {
        let (url, seen) = serve(http("200 OK", "image/png", PNG)).await;
        let port = url.split([':', '/']).nth(4).expect("a port").to_owned();
        for url in [
            url,
            format!("http://localhost:{port}/a.png"),
            format!("http://[::1]:{port}/a.png"),
            format!("http://[::ffff:127.0.0.1]:{port}/a.png"),
            format!("http://2130706433:{port}/a.png"),
            format!("http://0x7f.1:{port}/a.png"),
            "http://169.254.169.254/latest/meta-data/".to_owned(),
        ] {
            let fetched = Fetcher::default()
                .fetched(&request(std::slice::from_ref(&url)), Dialect::Gemini)
                .await;
            let message = fetched.expect_err("refused").message;
            assert!(message.contains("public internet"), "{url}: {message}");
        }
        assert_eq!(seen.await.expect("a server"), Vec::<String>::new());
    }

    /// Ways to write an address that is not the public internet's, or no address of media at all.
    const NOT_PUBLIC: &str = "
        http://127.0.0.1/ http://127.1/ http://127.0.1/ http://0177.0.0.1/ http://0x7f.0.0.1/
        http://0x7f000001/ http://2130706433/ http://017700000001/ http://127.0.0.1./ http://127.000.000.001/
        http://0/ http://0.0.0.0/ http://0x0/ http://localhost/ http://LOCALHOST/ http://localhost./
        http://[::1]/ http://[0:0:0:0:0:0:0:1]/ http://[::]/ http://[::ffff:127.0.0.1]/
        http://[::ffff:7f00:1]/ http://[::127.0.0.1]/ http://[64:ff9b::127.0.0.1]/ http://[64:ff9b::7f00:1]/
        http://[2002:7f00:1::]/ http://[fe80::1]/ http://[fe80::1%25eth0]/ http://[fc00::1]/ http://[fd00:ec2::254]/
        http://[ff02::1]/ http://[2001:db8::1]/ http://[fec0::1]/ http://10.0.0.1/ http://10.1/ http://0xa.0.0.1/
        http://012.0.0.1/ http://167772161/ http://172.16.0.1/ http://172.31.255.254/ http://192.168.0.1/
        http://0xc0a80001/ http://3232235521/ http://169.254.169.254/latest/meta-data/ http://0xa9fea9fe/
        http://2852039166/ http://[::ffff:169.254.169.254]/ http://100.64.0.1/ http://100.127.255.254/
        http://192.0.0.1/ http://198.18.0.1/ http://224.0.0.1/ http://255.255.255.255/ http://240.0.0.1/
        http://\u{ff11}\u{ff12}\u{ff17}.0.0.1/ http://127\u{3002}0\u{3002}0\u{3002}1/ http://\u{2460}27.0.0.1/
        http://a@127.0.0.1/ http://example.com@127.0.0.1/ http://127.0.0.1#@example.com/ http://127.0.0.1?@example.com/
        http:\\\\127.0.0.1/ http:127.0.0.1/ http:///127.0.0.1/ file:///etc/passwd ftp://127.0.0.1/
        gopher://127.0.0.1/ data:text/plain,a jar:http://127.0.0.1!/ //127.0.0.1/ 127.0.0.1
    ";

    #[tokio::test]
    async fn ab7_no_way_to_write_an_inner_address_leads_there() {
        let urls: Vec<&str> = NOT_PUBLIC.split_whitespace().collect();
        assert!(urls.len() >= 60, "{}", urls.len());
        for url in urls {
            let asked = request(&[url.to_owned()]);
            let fetched = Fetcher::default().fetched(&asked, Dialect::Gemini).await;
            let error = match fetched {
                Err(error) => error,
                // Some vendors know other schemes: theirs to read, and nothing that is fetched here.
                Ok(left) => {
                    assert!(!url.starts_with("http"), "{url} was fetched");
                    assert_eq!(format!("{left:?}"), format!("{asked:?}"), "{url}");
                    continue;
                }
            };
            let message = error.message;
            let refusals = [
                "public internet",
                "not a valid URL",
                "only http",
                "user name",
                "not known",
            ];
            assert!(
                refusals.iter().any(|why| message.contains(why)),
                "{url}: {message}"
            );
        }
    }

    #[tokio::test]
    async fn names_passwords_and_other_schemes_are_refused() {
        for (url, expected) in [
            ("http://user:pw@example.com/a.png", "user name"),
            ("http://no-such-host.invalid/a.png", "not known"),
        ] {
            let fetched = LOCAL
                .fetched(&request(&[url.to_owned()]), Dialect::Gemini)
                .await;
            let message = fetched.expect_err("refused").message;
            assert!(message.contains(expected), "{url}: {message}");
        }
    }
}
