//! What only a network of the test's own can have: few ports, a name server that is slow or changes
//! its mind. Each test runs itself once more in namespaces of its own; where those are not to be had,
//! it says so and passes.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpStream, UdpSocket};

use crate::client::{CHAT, STREAM};
use crate::fake::openai;
use crate::fake::reply::{Ending, Framing, Gate};
use crate::fake::script::Script;
use crate::fake::upstream::Upstream;
use crate::harness::{Gateway, keys, pair, patiently, provider};

/// Set for the run inside.
const INSIDE: &str = "LLMPROXY_TEST_INSIDE";

/// What the run inside says first.
const ARRIVED: &str = "inside namespaces of its own";

/// Whether this is the run inside. Outside, the test runs there, after a few lines of shell, and fails
/// with it.
fn is_inside(test: &str, setup: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let program = std::env::current_exe().expect("this program");
    let script = format!("set -e; ip link set lo up; {setup}; echo {ARRIVED}; exec \"$0\" \"$@\"");
    let run = Command::new("unshare")
        .args(["--map-root-user", "--mount", "--net", "/bin/sh", "-c"])
        .arg(script)
        .arg(program)
        .args(["--exact", "--nocapture", test])
        .env(INSIDE, "1")
        .output();
    let (stdout, stderr) = match &run {
        Ok(run) => (
            String::from_utf8_lossy(&run.stdout),
            String::from_utf8_lossy(&run.stderr),
        ),
        Err(error) => (String::new().into(), error.to_string().into()),
    };
    if !stdout.contains(ARRIVED) {
        let _ = writeln!(std::io::stdout(), "skipped: no namespaces here: {stderr}");
        return false;
    }
    let is_passed = stdout.contains("test result: ok. 1 passed");
    assert!(is_passed, "{stdout}\n{stderr}");
    false
}

type Requests = hyper::client::conn::http2::SendRequest<Full<Bytes>>;

/// One connection for any number of requests at once: it takes one port only.
async fn http2(gateway: &Gateway) -> Requests {
    let stream = TcpStream::connect(gateway.address()).await;
    let io = TokioIo::new(stream.expect("a connection"));
    let shaken = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await;
    let (requests, connection) = shaken.expect("HTTP/2");
    tokio::spawn(connection);
    requests
}

/// The status of an answer, and the rest of it when that is wanted.
async fn ask(
    requests: &mut Requests,
    gateway: &Gateway,
    body: &'static str,
) -> (u16, impl Future<Output = String> + use<>) {
    let uri = format!("http://{}/v1/chat/completions", gateway.address());
    let request = http::Request::post(uri).body(Full::from(body));
    let sent = requests.send_request(request.expect("a request"));
    let answer = patiently("an answer", sent).await.expect("an answer");
    let (head, body) = answer.into_parts();
    let rest = async {
        let whole = patiently("the rest", body.collect()).await;
        let whole = whole.expect("it is whole").to_bytes();
        String::from_utf8_lossy(&whole).into_owned()
    };
    (head.status.as_u16(), rest)
}

#[tokio::test]
async fn l17_without_a_free_port_nobody_is_blamed_and_open_connections_serve_on() {
    let few = "echo 40000 40007 > /proc/sys/net/ipv4/ip_local_port_range";
    let test = "faults::namespaces::l17_without_a_free_port_nobody_is_blamed_and_open_connections_serve_on";
    if !is_inside(test, few) {
        return;
    }
    let gates: Arc<Mutex<Vec<Gate>>> = Arc::default();
    let made = Arc::clone(&gates);
    let script = Script::new().answer(move |request| {
        if !request.text().contains("\"stream\":true") {
            return openai::completion("hi");
        }
        let gate = Gate::new();
        // As far as its first word.
        gate.open(2);
        let reply = openai::stream(&["one", "two"]).gated(&gate);
        made.lock().expect("no panic").push(gate);
        reply
    });
    let (_upstream, gateway) = pair(script, 2, "").await;
    let mut requests = http2(&gateway).await;
    // Each takes one of the ports towards the upstream, until there is none.
    let mut streams = Vec::new();
    let refused = loop {
        assert!(streams.len() < 8, "the ports do not run out");
        match ask(&mut requests, &gateway, STREAM).await {
            (200, rest) => streams.push(rest),
            (_, rest) => break rest.await,
        }
    };
    assert!(refused.contains("provider_error"), "{refused}");
    for gate in gates.lock().expect("no panic").iter() {
        gate.open(100);
    }
    for stream in streams {
        assert!(stream.await.contains("[DONE]"));
    }
    // Their connections are used again, by keys that nobody holds anything against.
    for _ in 0..20 {
        let (status, rest) = ask(&mut requests, &gateway, CHAT).await;
        assert_eq!(status, 200, "{}", rest.await);
    }
    drop(requests);
    let pool = gateway.provider("fake").await;
    assert_eq!(pool["ready"], 2, "{pool}");
}

/// Answers queries for `flips.test` with an address where nobody listens and with one where somebody
/// does, in turns, and all others never.
async fn name_server() {
    let socket = UdpSocket::bind("127.0.0.1:53").await.expect("the port");
    let mut turns = 0_u8;
    let mut query = [0; 512];
    while let Ok((length, peer)) = socket.recv_from(&mut query).await {
        let query = &query[..length];
        // Header (12 bytes), name, type and class (RFC 1035 §4.1).
        let Some(end) = query.iter().skip(12).position(|byte| *byte == 0) else {
            continue;
        };
        let question = &query[12..(12 + end + 5).min(length)];
        if !question.starts_with(b"\x05flips\x04test\0") {
            continue;
        }
        let is_v4 = question.ends_with(&[0, 1, 0, 1]);
        let mut answer = query[..2].to_vec();
        answer.extend([0x81, 0x80, 0, 1, 0, u8::from(is_v4), 0, 0, 0, 0]);
        answer.extend_from_slice(question);
        if is_v4 {
            turns += 1;
            // The name above, A, IN, no time to live, four bytes.
            answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
            answer.extend([127, 0, 0, 1 + turns % 2]);
        }
        let _ = socket.send_to(&answer, peer).await;
    }
}

#[tokio::test]
async fn u04_a_name_server_that_is_slow_or_changes_its_mind_costs_little() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        fs::write(&path, text).expect("room for it");
        path
    };
    let shown = |path: &Path| path.display().to_string();
    let servers = shown(&file("resolv.conf", "nameserver 127.0.0.1\n"));
    let sources = shown(&file("nsswitch.conf", "hosts: dns\n"));
    let setup = format!(
        "mount --bind {servers} /etc/resolv.conf; mount --bind {sources} /etc/nsswitch.conf"
    );
    let test =
        "faults::namespaces::u04_a_name_server_that_is_slow_or_changes_its_mind_costs_little";
    if !is_inside(test, &setup) {
        return;
    }
    tokio::spawn(name_server());
    // A new connection for each request, so that each asks for the address.
    let reply = openai::completion("hi")
        .framed(Framing::Close)
        .ending(Ending::Close);
    let upstream = Upstream::start(Script::always(reply)).await;
    let at = |name: &str| {
        let section = provider(name, &upstream, &keys(2));
        section.replace("127.0.0.1", &format!("{name}.test"))
    };
    let gateway = Gateway::start(&format!(
        "{}{}[timeouts]\nconnect = \"300ms\"\n",
        at("slow"),
        at("flips")
    ))
    .await;
    let slow = async {
        let began = Instant::now();
        let asked = (0..30).map(async |_| {
            let answer = gateway.chat(&CHAT.replace("fake/", "slow/")).await;
            assert!(
                [502, 503, 504].contains(&answer.status),
                "{}",
                answer.text()
            );
        });
        futures_util::future::join_all(asked).await;
        began.elapsed()
    };
    let flipping = async {
        for _ in 0..6 {
            let answer = gateway.chat(&CHAT.replace("fake/", "flips/")).await;
            assert_eq!(answer.status, 200, "{}", answer.text());
        }
    };
    let (took, ()) = tokio::join!(slow, flipping);
    // The system's resolver alone takes ten seconds to give up.
    assert!(took < Duration::from_secs(8), "{took:?}");
    let pool = gateway.provider("flips").await;
    assert_eq!(pool["ready"], 2, "{pool}");
}
