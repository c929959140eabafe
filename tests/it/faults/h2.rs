//! What HTTP/2 upstreams may do to a stream or a connection. The upstream writes its frames by hand,
//! since no proper server would send them.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::client::{CHAT, Request, STREAM};
use crate::fake::openai;
use crate::harness::{Gateway, Home, keys, patiently};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;

const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;

const MAX_CONCURRENT_STREAMS: u16 = 3;

const NO_ERROR: u32 = 0;
const INTERNAL_ERROR: u32 = 2;
const REFUSED_STREAM: u32 = 7;
const CANCEL: u32 = 8;
const ENHANCE_YOUR_CALM: u32 = 11;

/// What becomes of a request.
#[derive(Clone, Copy, Debug)]
enum Act {
    /// A streamed answer has its first words and goes on for ever.
    Begin,
    /// The connection is given up below this stream.
    GoAway,
    /// The stream is reset before there is an answer.
    Reset(u32),
    /// A streamed answer is reset after its first words.
    Cut(u32),
}

/// An HTTP/2 upstream over TLS: what it does with the next requests (all later ones are answered
/// well), and when it has seen each.
struct Fake {
    port: u16,
    authority: String,
    acts: Arc<Mutex<VecDeque<Act>>>,
    seen: Arc<Mutex<Vec<Instant>>>,
    connections: Arc<AtomicUsize>,
}

impl Fake {
    async fn start() -> Self {
        Self::saying(&[]).await
    }

    /// One that takes so many calls at once over one connection.
    async fn taking(calls: u32) -> Self {
        let number = MAX_CONCURRENT_STREAMS.to_be_bytes();
        Self::saying(&[&number[..], &calls.to_be_bytes()].concat()).await
    }

    async fn saying(settings: &[u8]) -> Self {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(signing_key.serialize_der()));
        let ring = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(ring)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)
            .expect("a certificate and its key");
        config.alpn_protocols = vec![b"h2".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let fake = Self {
            port: listener.local_addr().expect("an address").port(),
            authority: cert.pem(),
            acts: Arc::default(),
            seen: Arc::default(),
            connections: Arc::default(),
        };
        let (acts, seen) = (Arc::clone(&fake.acts), Arc::clone(&fake.seen));
        let connections = Arc::clone(&fake.connections);
        let settings = Arc::<[u8]>::from(settings);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                let (acts, seen) = (Arc::clone(&acts), Arc::clone(&seen));
                let (connections, settings) = (Arc::clone(&connections), Arc::clone(&settings));
                tokio::spawn(async move {
                    if let Ok(mut stream) = acceptor.accept(stream).await {
                        // A connection ends as it is scripted, or as the gateway wants it.
                        if greet(&mut stream, &settings).await.is_ok() {
                            connections.fetch_add(1, Ordering::Relaxed);
                            let _ = serve(stream, &acts, &seen).await;
                        }
                    }
                });
            }
        });
        fake
    }

    /// A gateway with two keys for it.
    async fn gateway(&self) -> Gateway {
        let home = Home::with_config(&format!(
            "[providers.fake]\nkind = \"openai\"\nbase_url = \"https://localhost:{}/v1\"\napi_keys = {:?}\n",
            self.port,
            keys(2)
        ));
        let roots = home.path("roots.pem");
        std::fs::write(&roots, &self.authority).expect("a file");
        let home = home.env("SSL_CERT_FILE", &roots.display().to_string());
        Gateway::start_in(home, &[]).await
    }

    fn next(&self, acts: &[Act]) {
        let mut waiting = self.acts.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.extend(acts);
    }

    fn seen(&self) -> usize {
        self.times().len()
    }

    fn times(&self) -> Vec<Instant> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.clone()
    }
}

async fn greet<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    settings: &[u8],
) -> std::io::Result<()> {
    let mut preface = [0; 24];
    stream.read_exact(&mut preface).await?;
    frame(stream, SETTINGS, 0, 0, settings).await
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    acts: &Mutex<VecDeque<Act>>,
    seen: &Mutex<Vec<Instant>>,
) -> std::io::Result<()> {
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let (kind, flags) = (head[3], head[4]);
        let id = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        let mut payload = vec![0; length.try_into().expect("a small frame")];
        stream.read_exact(&mut payload).await?;
        match kind {
            SETTINGS if flags & ACK == 0 => frame(&mut stream, SETTINGS, ACK, 0, &[]).await?,
            PING if flags & ACK == 0 => frame(&mut stream, PING, ACK, 0, &payload).await?,
            // Requests without a body ask for the models.
            HEADERS if flags & END_STREAM != 0 => {
                answer(&mut stream, id, "application/json", "{\"data\":[]}").await?;
            }
            DATA if flags & END_STREAM != 0 => {
                seen.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(Instant::now());
                let act = acts
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .pop_front();
                obey(&mut stream, id, act).await?;
            }
            _ => {}
        }
    }
}

async fn obey<S: AsyncWrite + Unpin>(
    stream: &mut S,
    id: u32,
    act: Option<Act>,
) -> std::io::Result<()> {
    match act {
        None => {
            answer(
                stream,
                id,
                "application/json",
                &openai::completion_body("hi"),
            )
            .await
        }
        Some(Act::Begin) => begin(stream, id).await,
        Some(Act::GoAway) => {
            let last_and_code = [0_u32.to_be_bytes(), NO_ERROR.to_be_bytes()].concat();
            frame(stream, GOAWAY, 0, 0, &last_and_code).await
        }
        Some(Act::Reset(code)) => frame(stream, RST_STREAM, 0, id, &code.to_be_bytes()).await,
        Some(Act::Cut(code)) => {
            begin(stream, id).await?;
            frame(stream, RST_STREAM, 0, id, &code.to_be_bytes()).await
        }
    }
}

async fn begin<S: AsyncWrite + Unpin>(stream: &mut S, id: u32) -> std::io::Result<()> {
    head(stream, id, "text/event-stream").await?;
    let begun = openai::role() + &openai::content("hel");
    frame(stream, DATA, 0, id, begun.as_bytes()).await
}

async fn answer<S: AsyncWrite + Unpin>(
    stream: &mut S,
    id: u32,
    content_type: &str,
    body: &str,
) -> std::io::Result<()> {
    head(stream, id, content_type).await?;
    frame(stream, DATA, END_STREAM, id, body.as_bytes()).await
}

/// `:status: 200` by its number in the table, the content type as a literal (RFC 7541 §6).
async fn head<S: AsyncWrite + Unpin>(stream: &mut S, id: u32, kind: &str) -> std::io::Result<()> {
    let mut block = vec![0x88];
    for text in ["content-type", kind] {
        block.extend((text == "content-type").then_some(0));
        block.push(u8::try_from(text.len()).expect("a short text"));
        block.extend_from_slice(text.as_bytes());
    }
    frame(stream, HEADERS, END_HEADERS, id, &block).await
}

async fn frame<S: AsyncWrite + Unpin>(
    stream: &mut S,
    kind: u8,
    flags: u8,
    id: u32,
    payload: &[u8],
) -> std::io::Result<()> {
    let length = u32::try_from(payload.len()).expect("a small frame");
    let mut bytes = length.to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(id.to_be_bytes());
    bytes.extend_from_slice(payload);
    stream.write_all(&bytes).await?;
    stream.flush().await
}

#[tokio::test]
async fn u17_what_an_upstream_has_not_touched_is_sent_again_and_nobody_notices() {
    let fake = Fake::start().await;
    let gateway = fake.gateway().await;
    let refused = Act::Reset(REFUSED_STREAM);
    for (number, acts) in [
        &[][..],
        &[refused],
        &[refused, refused],
        &[Act::GoAway],
        &[Act::GoAway, refused],
    ]
    .into_iter()
    .enumerate()
    {
        let before = fake.seen();
        fake.next(acts);
        let answer = gateway.chat(CHAT).await;
        assert_eq!(answer.status, 200, "{number}: {}", answer.text());
        // The attempts are those that an upstream has worked on.
        let attempts = answer.header("x-llmproxy-attempts");
        assert_eq!(attempts, Some("1"), "{number}");
        assert_eq!(fake.seen() - before, acts.len() + 1, "{number}");
    }
    assert_eq!(gateway.provider("fake").await["ready"], 2);
    gateway.idle().await;
}

#[tokio::test]
async fn u18_a_stream_that_is_reset_is_a_lost_call_before_content_and_an_error_after_it() {
    let fake = Fake::start().await;
    let gateway = fake.gateway().await;
    for code in [INTERNAL_ERROR, CANCEL, ENHANCE_YOUR_CALM] {
        fake.next(&[Act::Reset(code)]);
        let answer = gateway.chat(CHAT).await;
        assert_eq!(answer.status, 200, "{code}: {}", answer.text());
        assert_eq!(answer.header("x-llmproxy-attempts"), Some("2"), "{code}");
    }
    // A code that says there was no error makes half an answer no whole one.
    for code in [NO_ERROR, INTERNAL_ERROR, CANCEL, REFUSED_STREAM] {
        fake.next(&[Act::Cut(code)]);
        let text = gateway.chat(STREAM).await.text();
        assert!(text.contains("hel"), "{code}: {text}");
        assert!(text.contains("\"error\""), "{code}: {text}");
        assert!(!text.contains("[DONE]"), "{code}: {text}");
    }
    gateway.idle().await;
}

#[tokio::test]
async fn u18_a_plea_for_calm_is_heeded_by_everybody_and_blames_nobody() {
    let fake = Fake::start().await;
    let gateway = fake.gateway().await;
    fake.next(&[Act::Reset(ENHANCE_YOUR_CALM)]);
    let first = async {
        let answer = gateway.chat(CHAT).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    };
    let counted = "llmproxy_attempts_total{provider=\"fake\",verdict=\"capacity\"} 1";
    let others = async {
        // The gateway has heard it.
        patiently("the plea", async {
            while !gateway.get("/metrics").await.text().contains(counted) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
        let asked = (0..5).map(async |_| gateway.chat(CHAT).await.status);
        let statuses = futures_util::future::join_all(asked).await;
        assert_eq!(statuses, [200; 5]);
    };
    tokio::join!(first, others);
    let times = fake.times();
    assert_eq!(times.len(), 7);
    // Nobody asks for a second, those who had not asked before included.
    let pause = times[1].duration_since(times[0]);
    assert!(pause > Duration::from_millis(900), "{pause:?}");
    assert_eq!(gateway.provider("fake").await["ready"], 2);
    gateway.idle().await;
}

#[tokio::test]
async fn calls_beyond_what_a_server_takes_at_once_go_over_further_connections() {
    let calls = 20;
    for taken in [1, 5] {
        let fake = Fake::taking(taken).await;
        let gateway = fake.gateway().await;
        fake.next(&vec![Act::Begin; calls]);
        let mut clients = Vec::new();
        for _ in 0..calls {
            let mut client = gateway.connect().await;
            client.send(&Request::chat(STREAM)).await;
            clients.push(client);
        }
        let beginning = clients.iter_mut().map(async |client| {
            let mut answer = client.head().await;
            while !answer.text().contains("hel") {
                client.piece(&mut answer).await.expect("the first words");
            }
        });
        patiently("all calls", futures_util::future::join_all(beginning)).await;
        assert_eq!(fake.seen(), calls);
        let connections = fake.connections.load(Ordering::Relaxed);
        let fewest = calls / usize::try_from(taken).expect("few");
        // One more may be left of the question for the models.
        assert!((fewest..=calls + 1).contains(&connections), "{connections}");
    }
}
