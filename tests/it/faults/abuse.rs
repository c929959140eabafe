//! Clients that guess, lie, rush and hoard.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;

use crate::client::{CHAT, Connection, Request, Response, STREAM};
use crate::fake::openai;
use crate::fake::reply::{Gate, Reply};
use crate::fake::script::Script;
use crate::fake::upstream::Upstream;
use crate::harness::{Gateway, Home, pair, patiently, size};

const LOCKED: &str = "[server]\napi_keys = [\"client-key-0123456789\"]\n";
const KEY: &str = "client-key-0123456789";

/// An answer without what differs from one request to the next.
fn comparable(answer: &Response) -> (u16, Vec<(String, String)>, String) {
    let differs = |name: &str| ["date", "x-request-id"].contains(&name);
    let headers = answer.headers.iter().filter(|(name, _)| !differs(name));
    (answer.status, headers.cloned().collect(), answer.text())
}

#[tokio::test]
async fn a1_unless_told_otherwise_only_this_machine_is_served() {
    let gateway = Gateway::start_in(Home::new(), &[]).await;
    assert!(gateway.address().ip().is_loopback());
    let listened = std::fs::read_to_string(format!("/proc/{}/net/tcp", gateway.pid()));
    // The platform's list of sockets: all addresses are 00000000 there.
    let public = format!("00000000:{:04X} 00000000:0000 0A", gateway.address().port());
    assert!(!listened.is_ok_and(|list| list.contains(&public)));
}

#[tokio::test]
async fn a6_every_wrong_key_gets_the_same_401() {
    let (upstream, gateway) = pair(Script::new(), 1, LOCKED).await;
    let missing = gateway.chat(CHAT).await;
    assert_eq!(missing.status, 401, "{}", missing.text());
    for (header, value) in [
        ("authorization", "Bearer wrong"),
        ("authorization", "Bearer client-key-012345678"),
        ("authorization", "Bearer client-key-01234567890"),
        ("authorization", "Basic Y2xpZW50LWtleTo="),
        ("authorization", "Bearer"),
        ("x-api-key", "CLIENT-KEY-0123456789"),
        ("x-api-key", ""),
    ] {
        let answer = gateway
            .send(&Request::chat(CHAT).header(header, value))
            .await;
        assert_eq!(
            comparable(&answer),
            comparable(&missing),
            "{header}: {value}"
        );
    }
    assert_eq!(upstream.requests().len(), 0);
}

#[tokio::test]
async fn a5_a_wrong_key_is_refused_before_any_of_the_body_is_read() {
    let (upstream, gateway) = pair(Script::new(), 1, LOCKED).await;
    for key in ["wrong", KEY] {
        let mut connection = gateway.connect().await;
        let head = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nx-api-key: {key}\r\n\
             content-length: 10737418240\r\n\r\n"
        );
        assert!(connection.send_bytes(head.as_bytes()).await);
        let status = connection.response().await.status;
        assert_eq!(status, if key == KEY { 413 } else { 401 });
    }
    assert_eq!(upstream.requests().len(), 0);
}

#[tokio::test]
async fn c20_guesses_are_slowed_down_and_change_nothing_for_who_has_the_key() {
    let script = Script::always(openai::completion("hi"));
    let (upstream, gateway) = pair(script, 1, LOCKED).await;
    let ask = |key: &str| Request::chat(CHAT).header("x-api-key", key);
    let known = gateway.send(&ask("wrong")).await;
    let guess = async |number: usize| {
        let answer = gateway.send(&ask(&format!("client-key-{number}"))).await;
        assert_eq!(comparable(&answer), comparable(&known), "{number}");
    };
    // A program that somebody is still setting up is told at once.
    for number in 0..10 {
        guess(number).await;
    }
    let mut guesses: futures_util::stream::FuturesUnordered<_> = (0..200).map(guess).collect();
    let served = async {
        // Guesses have come, and wait.
        gateway.said("many wrong client keys").await;
        for _ in 0..5 {
            assert_eq!(gateway.send(&ask(KEY)).await.status, 200);
        }
    };
    tokio::pin!(served);
    let mut answered = 0;
    loop {
        tokio::select! {
            () = &mut served => break,
            Some(()) = guesses.next() => answered += 1,
        }
    }
    // Who has the key was served while guesses waited, from the same address.
    assert!(answered < 200);
    while guesses.next().await.is_some() {}
    assert_eq!(upstream.requests().len(), 5);
}

#[tokio::test]
async fn c21_two_keys_that_differ_are_400_and_c33_connection_removes_no_key() {
    let script = Script::always(openai::completion("hi"));
    let (upstream, gateway) = pair(script, 1, LOCKED).await;
    let two = Request::chat(CHAT)
        .header("authorization", &format!("Bearer {KEY}"))
        .header("x-api-key", "another-key-0123456789");
    assert_eq!(gateway.send(&two).await.status, 400);
    assert_eq!(upstream.requests().len(), 0);
    let named = Request::chat(CHAT)
        .header("x-api-key", KEY)
        .header("connection", "x-api-key, authorization, content-length");
    assert_eq!(gateway.send(&named).await.status, 200);
    for method in ["CONNECT", "TRACE"] {
        let target = if method == "CONNECT" {
            "127.0.0.1:22"
        } else {
            "/v1/chat/completions"
        };
        let asked = Request::new(method, target).header("x-api-key", KEY);
        let status = gateway.send(&asked).await.status;
        assert!([400, 404, 405, 421].contains(&status), "{method}: {status}");
    }
    assert_eq!(upstream.requests().len(), 1);
}

#[tokio::test]
async fn c25_e1_no_client_can_say_where_its_request_goes() {
    let trap = Upstream::start(Script::new()).await;
    let script = Script::always(openai::completion("hi"));
    let (upstream, gateway) = pair(script, 1, "").await;
    let (to, host) = (trap.base_url(), trap.address().to_string());
    for name in ["api_base", "base_url", "api_url", "endpoint", "proxy"] {
        let body = CHAT.replacen('{', &format!("{{\"{name}\":\"{to}\","), 1);
        let request = Request::chat(&body)
            .header("x-forwarded-host", &host)
            .header("forwarded", &format!("host={host}"))
            .header("x-original-url", &to)
            .header("x-base-url", &to);
        assert_eq!(gateway.send(&request).await.status, 200, "{name}");
    }
    let absolute = format!("{}/chat/completions", trap.base_url());
    let _ = gateway.send(&Request::post(&absolute, CHAT)).await;
    assert_eq!(trap.connections(), 0);
    for request in upstream.requests() {
        let leaked = request
            .headers
            .iter()
            .any(|(_, value)| value.contains(&host));
        assert!(!leaked, "{:?}", request.headers);
    }
}

#[tokio::test]
async fn c29_beyond_max_connections_newcomers_wait_and_streams_go_on() {
    let gate = Gate::new();
    let script = Script::always(openai::stream(&["one"]).gated(&gate));
    let settings = "[server]\nmax_connections = 3\n";
    let (upstream, gateway) = pair(script, 1, settings).await;
    let mut inside = Vec::new();
    for _ in 0..3 {
        let mut connection = gateway.connect().await;
        connection.send(&Request::chat(STREAM)).await;
        inside.push(connection);
    }
    upstream.asked(3).await;
    let mut outside = gateway.connect().await;
    outside.send(&Request::get("/")).await;
    let early = tokio::time::timeout(Duration::from_millis(300), outside.head()).await;
    assert!(early.is_err(), "a fourth connection was served");
    gate.open(30);
    let first = inside.remove(0).response().await;
    assert_eq!(first.text(), openai::frames(&["one"]).concat());
    assert_eq!(outside.response().await.status, 200);
}

#[tokio::test]
async fn a_client_over_its_requests_at_once_is_told_and_its_place_comes_free() {
    let gate = Gate::new();
    let script = Script::always(openai::stream(&["one"]).gated(&gate));
    let settings = format!(
        "[[server.clients]]\nname = \"one\"\nkey = \"{KEY}\"\nmax_concurrent = 1\n\
         [[server.clients]]\nname = \"two\"\nkey = \"other-key-0123456789\"\n"
    );
    let (upstream, gateway) = pair(script, 1, &settings).await;
    let ask = |key: &str| Request::chat(STREAM).header("x-api-key", key);
    let mut running = gateway.connect().await;
    running.send(&ask(KEY)).await;
    upstream.asked(1).await;
    let refused = gateway.send(&ask(KEY)).await;
    assert_eq!(refused.status, 429, "{}", refused.text());
    assert_eq!(refused.error().1, "client_rate_limited");
    gate.open(100);
    assert_eq!(gateway.send(&ask("other-key-0123456789")).await.status, 200);
    // Leaving in the middle frees it as well as the end does.
    drop(running);
    patiently("the place", async {
        while gateway.send(&ask(KEY)).await.status != 200 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn c03_a_thousand_clients_that_leave_leave_nothing_behind() {
    let reply = openai::stream(&["one", "two"]).cut(400, crate::fake::reply::Ending::Stall);
    let (upstream, gateway) = pair(Script::always(reply), 2, "").await;
    for _ in 0..10 {
        let leaving = (0..100).map(async |number| {
            let mut connection = gateway.connect().await;
            connection.send(&Request::chat(STREAM)).await;
            if number % 2 == 0 {
                connection.head().await;
            }
        });
        futures_util::future::join_all(leaving).await;
    }
    gateway.idle().await;
    assert_eq!(
        gateway.provider("fake").await["ready"],
        2,
        "somebody was blamed"
    );
    assert!(upstream.requests().len() <= 1000);
}

/// Resident memory of a process in MiB; 0 where the platform does not tell.
fn memory(process: u32) -> u64 {
    let pages = std::fs::read_to_string(format!("/proc/{process}/statm")).unwrap_or_default();
    let pages = pages.split(' ').nth(1).and_then(|pages| pages.parse().ok());
    pages.unwrap_or(0_u64) / 256
}

/// Processor time of a process in hundredths of a second; 0 where the platform does not tell.
fn cpu(process: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let numbers = stat.rsplit(')').next().unwrap_or_default().split(' ');
    let times = numbers.skip(12).take(2);
    times.filter_map(|time| time.parse::<u64>().ok()).sum()
}

/// Opens streams on one HTTP/2 connection and resets each at once; returns how many were before the
/// gateway had enough of it.
async fn reset_in_a_rush(gateway: &Gateway, most: usize) -> usize {
    let stream = tokio::net::TcpStream::connect(gateway.address()).await;
    let io = hyper_util::rt::TokioIo::new(stream.expect("a connection"));
    let executor = hyper_util::rt::TokioExecutor::new();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake::<_, _, http_body_util::Full<bytes::Bytes>>(
            executor, io,
        )
        .await
        .expect("HTTP/2");
    tokio::spawn(connection);
    for sent in 0..most {
        // GOAWAY is as good an answer to this as any.
        if sender.ready().await.is_err() {
            return sent.max(1);
        }
        let request =
            http::Request::post(format!("http://{}/v1/chat/completions", gateway.address()))
                .body(STREAM.into())
                .expect("a request");
        let sending = sender.send_request(request);
        // Dropped before any answer: RST_STREAM.
        let _ = tokio::time::timeout(Duration::ZERO, sending).await;
    }
    most
}

#[tokio::test]
async fn c16_streams_reset_in_a_rush_leave_nothing_behind() {
    let script = Script::new().answer(|request| {
        if request.text().contains("\"stream\":true") {
            Reply::silence()
        } else {
            openai::completion("hi")
        }
    });
    let (_upstream, gateway) = pair(script, 1, "").await;
    let (before, began) = (
        memory(gateway.pid()),
        [gateway.pid(), std::process::id()].map(cpu),
    );
    // LLMPROXY_RESETS=100000 is a flood.
    let (mut sent, mut connections) = (0, 0);
    let resets = size("LLMPROXY_RESETS", 2000);
    while sent < resets {
        sent += reset_in_a_rush(&gateway, resets - sent).await;
        connections += 1;
    }
    gateway.idle().await;
    let grown = memory(gateway.pid()).saturating_sub(before);
    let [gateways, ours] = [gateway.pid(), std::process::id()].map(cpu);
    let _ = writeln!(
        std::io::stdout(),
        "{sent} resets over {connections} connections: {grown} MiB more, {} ticks of processor time to our {}",
        gateways - began[0],
        ours - began[1]
    );
    assert!(grown <= 64, "{grown} MiB");
    let mut connection = Connection::open(gateway.address()).await;
    connection.send(&Request::chat(CHAT)).await;
    assert_eq!(connection.response().await.status, 200);
}

/// How long each of so many requests took, one after the other.
async fn latencies(gateway: &Gateway, requests: usize) -> Vec<Duration> {
    let mut connection = gateway.connect().await;
    let mut latencies = Vec::new();
    for _ in 0..requests {
        let began = Instant::now();
        connection.send(&Request::chat(CHAT)).await;
        assert_eq!(connection.response().await.status, 200);
        latencies.push(began.elapsed());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    latencies.sort_unstable();
    latencies
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ab1_connections_that_drip_a_head_or_a_body_end_in_time_and_hold_up_nobody() {
    let (_upstream, gateway) = pair(Script::always(openai::completion("hi")), 1, "").await;
    let before = latencies(&gateway, 300).await;
    let address = gateway.address();
    let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n";
    let begun = format!("{head}content-type: application/json\r\ncontent-length: 9999\r\n\r\n{{");
    let mut dripping = tokio::task::JoinSet::new();
    // LLMPROXY_CONNECTIONS=3000 is a slow attack.
    let connections = size("LLMPROXY_CONNECTIONS", 100);
    let opened = Arc::new(AtomicUsize::new(0));
    for number in 0..connections {
        let opened = Arc::clone(&opened);
        let in_head = number % 2 == 0;
        let said = if in_head {
            head.to_owned()
        } else {
            begun.clone()
        };
        dripping.spawn(async move {
            let mut connection = Connection::open(address).await;
            let began = Instant::now();
            assert!(connection.send_bytes(said.as_bytes()).await);
            opened.fetch_add(1, Ordering::Relaxed);
            // A byte a second, whether or not anybody reads.
            while connection.is_open_for(Duration::from_secs(1)).await {
                if !connection.send_bytes(b"x").await {
                    break;
                }
            }
            (in_head, began.elapsed())
        });
    }
    // That many handshakes take this machine's time whoever makes them.
    while opened.load(Ordering::Relaxed) < connections {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let during = latencies(&gateway, 300).await;
    let mut longest = [Duration::ZERO; 2];
    while let Some(ended) = dripping.join_next().await {
        let (in_head, took) = ended.expect("no panic");
        let longest = &mut longest[usize::from(!in_head)];
        *longest = took.max(*longest);
    }
    let p99 = |latencies: &[Duration]| latencies[latencies.len() * 99 / 100];
    let (before, during) = (p99(&before), p99(&during));
    let _ = writeln!(
        std::io::stdout(),
        "a head ends after {:?}, a body after {:?} at most; p99 of others {before:?} before, {during:?} meanwhile",
        longest[0],
        longest[1]
    );
    // Ten and thirty seconds, and what a busy machine needs on top.
    assert!(longest[0] < Duration::from_secs(20), "{longest:?}");
    assert!(longest[1] < Duration::from_secs(45), "{longest:?}");
    // A passing load of the machine is not the gateway's.
    assert!(
        during < before * 4 + Duration::from_millis(250),
        "{before:?}, {during:?}"
    );
    assert_eq!(gateway.chat(CHAT).await.status, 200);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn b3_the_server_leaves_no_core_dump() {
    let gateway = Gateway::start_in(Home::new(), &[]).await;
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", gateway.pid()));
    let limits = limits.expect("the platform lists them");
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"));
    let numbers = core.map(|line| line.split_whitespace().skip(4).take(2).collect::<Vec<_>>());
    assert_eq!(numbers, Some(vec!["0", "0"]), "{limits}");
}
