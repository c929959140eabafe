//! Below HTTP: names, certificates, connections that were closed meanwhile, answers that come too
//! early, lines without an end. Nobody's key is to blame for any of it.

use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::client::{CHAT, Request, STREAM};
use crate::fake::openai;
use crate::fake::reply::{Ending, Gate, Reply};
use crate::fake::script::Script;
use crate::fake::upstream::Upstream;
use crate::harness::{Gateway, Home, keys, pair, patiently};

/// Gives up at once, so that a hopeless upstream is told within a test's patience.
const ONCE: &str = "[routing]\nmax_attempts = 1\ndeadline = \"5s\"\n[timeouts]\nconnect = \"2s\"\n";

/// A provider at any address.
fn at(base: &str) -> String {
    format!(
        "[providers.fake]\nkind = \"openai\"\nbase_url = \"{base}\"\napi_keys = {:?}\n{ONCE}",
        keys(2)
    )
}

/// Asks once: it must be the gateway's own 502 or 504, with no key blamed.
async fn assert_unreachable(what: &str, gateway: &Gateway) {
    let answer = gateway.chat(CHAT).await;
    let text = answer.text();
    assert!([502, 504].contains(&answer.status), "{what}: {text}");
    assert_eq!(answer.error().0, "provider_error", "{what}");
    assert_eq!(gateway.provider("fake").await["ready"], 2, "{what}: {text}");
    gateway.idle().await;
}

#[tokio::test]
async fn u03_a_name_nobody_knows_is_the_providers_trouble() {
    let gateway = Gateway::start(&at("http://nowhere.invalid/v1")).await;
    assert_unreachable("an unknown name", &gateway).await;
}

/// A port on which a connection is never made: the line before it is full, and nobody is let in.
async fn black_hole() -> (
    std::net::SocketAddr,
    Vec<tokio::net::TcpStream>,
    TcpListener,
) {
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    let any = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    socket.bind(any).expect("a free port");
    let listener = socket.listen(1).expect("it listens");
    let address = listener.local_addr().expect("an address");
    let mut line = Vec::new();
    let patience = Duration::from_millis(300);
    while let Ok(Ok(stream)) =
        tokio::time::timeout(patience, tokio::net::TcpStream::connect(address)).await
    {
        line.push(stream);
    }
    (address, line, listener)
}

#[tokio::test]
async fn u02_a_connection_that_is_never_made_is_given_up_and_the_next_address_serves() {
    let (hole, _line, _listener) = black_hole().await;
    let gateway = Gateway::start(&at(&format!("http://{hole}/v1"))).await;
    assert_unreachable("a black hole", &gateway).await;

    let upstream = Upstream::start(Script::always(openai::completion("hi"))).await;
    let gateway = Gateway::start(&format!(
        "[providers.fake]\nkind = \"openai\"\nbase_url = [\"http://{hole}/v1\", \"{}\"]\napi_keys = {:?}\n\
         [timeouts]\nconnect = \"300ms\"\n",
        upstream.base_url(),
        keys(1)
    ))
    .await;
    let answer = gateway.chat(CHAT).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(gateway.provider("fake").await["ready"], 1);
}

#[tokio::test]
async fn u69_what_comes_after_the_end_of_a_stream_reaches_nobody() {
    let done = openai::DONE.to_owned();
    let late = openai::content("late");
    let frames = [
        openai::role(),
        openai::content("hi"),
        openai::stop(),
        openai::stop(),
    ];
    let frames: Vec<_> = frames
        .into_iter()
        .chain([done.clone(), late, done])
        .collect();
    // As frames, and as one piece that the gateway has whole before it begins to answer.
    let replies = [Reply::sse(frames.clone()), Reply::sse([frames.concat()])];
    for (number, reply) in replies.into_iter().enumerate() {
        let (_upstream, gateway) = pair(Script::always(reply), 1, "").await;
        let text = gateway.chat(STREAM).await.text();
        assert!(text.contains("hi") && !text.contains("late"), "{text}");
        assert_eq!(text.matches("[DONE]").count(), 1, "{number}: {text}");
        gateway.idle().await;
        let metrics = gateway.get("/metrics").await.text();
        let counted = "llmproxy_frames_after_end_total{provider=\"fake\"} 2";
        assert!(metrics.contains(counted), "{number}: {metrics}");
        let body = STREAM.replacen('{', "{\"max_tokens\":9,", 1);
        let asked = Request::post("/v1/messages", body);
        let text = gateway.send(&asked).await.text();
        assert!(text.contains("hi") && !text.contains("late"), "{text}");
        let ends = "\"type\":\"message_stop\"";
        assert_eq!(text.matches(ends).count(), 1, "{number}: {text}");
    }
}

#[tokio::test]
async fn u07_plain_http_where_tls_is_due_is_refused_and_nothing_is_sent() {
    let upstream = Upstream::start(Script::new()).await;
    let base = format!("https://{}/v1", upstream.address());
    let gateway = Gateway::start(&at(&base)).await;
    assert_unreachable("HTTP on the TLS port", &gateway).await;
    assert_eq!(upstream.requests().len(), 0);
}

/// An HTTPS server with this certificate, which answers every request well; its port.
async fn https(cert: rcgen::Certificate, key: &KeyPair) -> u16 {
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let ring = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(ring)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .expect("a certificate and its key");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    return;
                };
                let mut request = [0; 4096];
                let _ = stream.read(&mut request).await;
                let body = openai::completion_body("over TLS");
                let head = format!(
                    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\
                     content-length: {}\r\n\r\n",
                    body.len()
                );
                let _ = stream.write_all((head + &body).as_bytes()).await;
                let _ = stream.shutdown().await;
            });
        }
    });
    port
}

#[tokio::test]
async fn u06_only_a_valid_certificate_of_the_right_name_gets_the_key() {
    let key = || KeyPair::generate().expect("a key");
    let authority = |name: &str| {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, name);
        CertifiedIssuer::self_signed(params, key()).expect("an authority")
    };
    let (known, stranger) = (authority("known"), authority("stranger"));
    for (what, issuer, name, expired, is_good) in [
        ("a good one", &known, "localhost", false, true),
        ("another name's", &known, "elsewhere.example", false, false),
        ("an old one", &known, "localhost", true, false),
        (
            "an unknown authority's",
            &stranger,
            "localhost",
            false,
            false,
        ),
    ] {
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        if expired {
            params.not_before = rcgen::date_time_ymd(2020, 1, 1);
            params.not_after = rcgen::date_time_ymd(2020, 2, 1);
        }
        let own = key();
        let cert = params.signed_by(&own, issuer).expect("a certificate");
        let port = https(cert, &own).await;
        let home = Home::with_config(&at(&format!("https://localhost:{port}/v1")));
        let roots = home.path("roots.pem");
        std::fs::write(&roots, known.pem()).expect("a file");
        let home = home.env("SSL_CERT_FILE", &roots.display().to_string());
        let gateway = Gateway::start_in(home, &[]).await;
        if is_good {
            let answer = gateway.chat(CHAT).await;
            assert_eq!(answer.status, 200, "{what}: {}", answer.text());
        } else {
            assert_unreachable(what, &gateway).await;
        }
    }
}

#[tokio::test]
async fn u08_a_connection_that_was_closed_while_idle_costs_nobody_anything() {
    // The answer promises to stay and the connection is closed behind it: the next request may
    // find it closed at any point of its way.
    let reply = openai::completion("hi").ending(Ending::Close);
    let (upstream, gateway) = pair(Script::always(reply), 1, "").await;
    let mut connection = gateway.connect().await;
    for round in 0..300 {
        connection.send(&Request::chat(CHAT)).await;
        let answer = connection.response().await;
        assert_eq!(answer.status, 200, "round {round}: {}", answer.text());
    }
    assert!(upstream.connections() >= 300);
    assert_eq!(gateway.provider("fake").await["ready"], 1);
}

#[tokio::test]
async fn u22_comments_for_ever_end_with_the_total_limit() {
    let gate = Gate::new();
    let pings = Reply::sse([": ping\n\n"; 500])
        .gated(&gate)
        .ending(Ending::Stall);
    let settings = "[routing]\nmax_attempts = 1\n[timeouts]\ntotal = \"900ms\"\nfirst_byte = \"800ms\"\nstream_idle = \"800ms\"\n";
    let (_upstream, gateway) = pair(Script::always(pings), 1, settings).await;
    let pinging = async {
        loop {
            gate.open(1);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let answer = tokio::select! {
        answer = gateway.chat(STREAM) => answer,
        () = pinging => unreachable!("it pings for ever"),
    };
    assert_eq!(answer.status, 504, "{}", answer.text());
    gateway.idle().await;
}

#[tokio::test]
async fn u57_an_answer_in_the_other_form_is_turned_into_the_one_asked_for() {
    let script = Script::new().answer(|request| {
        if request.text().contains("\"stream\":true") {
            openai::completion("turned")
        } else {
            openai::stream(&["tur", "ned"])
        }
    });
    let (_upstream, gateway) = pair(script, 1, "").await;
    let streamed = gateway.chat(STREAM).await;
    let kind = streamed.header("content-type").unwrap_or_default();
    assert!(kind.starts_with("text/event-stream"), "{kind}");
    let text = streamed.text();
    assert!(
        text.contains("turned") && text.ends_with(openai::DONE),
        "{text}"
    );
    let whole = gateway.chat(CHAT).await.json();
    assert_eq!(
        whole["choices"][0]["message"]["content"], "turned",
        "{whole}"
    );
}

#[tokio::test]
async fn u60_a_line_of_sixteen_megabytes_passes_and_u61_one_without_end_is_cut() {
    let image = "x".repeat(16 << 20);
    let (_upstream, gateway) = pair(Script::always(openai::stream(&[&image])), 1, "").await;
    let answer = gateway.chat(STREAM).await;
    assert!(
        answer.text() == openai::frames(&[&image]).concat(),
        "{} bytes",
        answer.body.len()
    );

    let before = resident(&gateway);
    let begun = [openai::role(), openai::content("hel"), "data: ".to_owned()];
    let endless = begun.into_iter().chain(std::iter::repeat_n(image, 6));
    let (_upstream, gateway) = pair(Script::always(Reply::sse(endless)), 1, "").await;
    let answer = gateway.chat(STREAM).await;
    let text = answer.text();
    assert!(text.contains("\"error\""), "{} bytes, no error", text.len());
    assert!(!text.contains("[DONE]"));
    let grown = resident(&gateway).saturating_sub(before);
    assert!(grown < 200 << 20, "{} MiB more for one line", grown >> 20);
}

/// The most memory a gateway's process ever had, in bytes; 0 where the platform does not say.
fn resident(gateway: &Gateway) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", gateway.pid()));
    let status = status.unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.unwrap_or(0) << 10
}

#[tokio::test]
async fn u79_a_flapping_key_is_never_noticed() {
    let [steady, flapping] = [0, 1].map(|index| keys(2)[index].clone());
    let fine = || openai::completion("hi");
    let script = Script::new()
        .cycle(&flapping, [fine(), fine(), openai::broken()])
        .cycle(&steady, [fine()]);
    let settings = "rotation = \"balanced\"\n[routing]\naffinity = false\n";
    let (upstream, gateway) = pair(script, 2, settings).await;
    for _ in 0..90 {
        let answer = gateway.chat(CHAT).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    let extra = upstream.requests().len() - 90;
    // Each failure costs one call more, and every third call of one key of two fails.
    assert!(extra <= 30, "{extra} calls more than requests");
}

#[tokio::test]
async fn u80_an_error_that_comes_before_the_upload_is_over_is_relayed() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let base = format!("http://{}/v1", listener.local_addr().expect("an address"));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = [0; 1024];
            let _ = stream.read(&mut head).await;
            let body = openai::error_body("invalid_request_error", "too_long", "That is too much");
            let head = format!(
                "HTTP/1.1 413 Scripted\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
                body.len()
            );
            let _ = stream.write_all((head + &body).as_bytes()).await;
            // It takes no more of the upload and stays until the gateway has had enough.
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_mins(1)).await;
                drop(stream);
            });
        }
    });
    let gateway = Gateway::start(&at(&base)).await;
    let long = CHAT.replace("hi", &"x".repeat(20 << 20));
    let answer = patiently("the refusal", gateway.chat(&long)).await;
    assert_eq!(answer.status, 413, "{}", answer.text());
    assert_eq!(answer.message(), "That is too much");
    gateway.idle().await;
}
