//! Who waits for whom: silent clients, a log nobody reads, the end of the process with hundreds of
//! streams under way, sockets that outlive it.

use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;

use crate::client::{CHAT, Connection, Request, STREAM};
use crate::fake::openai;
use crate::fake::reply::{Gate, Reply};
use crate::fake::script::Script;
use crate::fake::upstream::Upstream;
use crate::harness::{Home, keys, pair, patiently, provider, size};

/// Streams under way when the end comes.
const STREAMS: usize = 500;

#[tokio::test]
async fn c07_c08_silence_in_any_phase_of_a_request_has_an_end() {
    let (upstream, gateway) = pair(Script::always(openai::completion("hi")), 1, "").await;
    let whole = Request::chat(CHAT).bytes(gateway.address());
    let body_begins = whole.len() - CHAT.len();
    let phases = [
        ("nothing", &b""[..], 10, ""),
        ("a letter", b"P", 10, ""),
        (
            "half of what HTTP/2 begins with",
            b"PRI * HTTP/2.0\r\n",
            10,
            "",
        ),
        ("a line", b"POST /v1/chat/completions HTTP/1.1\r\n", 10, ""),
        (
            "half a body",
            &whole[..body_begins + 9],
            30,
            "HTTP/1.1 408 ",
        ),
    ];
    let silent = async |(what, said, seconds, told): (&str, &[u8], u64, &str)| {
        let mut connection = gateway.connect().await;
        assert!(connection.send_bytes(said).await);
        let began = Instant::now();
        let rest = connection.rest().await;
        let waited = began.elapsed().as_secs();
        assert!(
            (seconds - 1..seconds + 12).contains(&waited),
            "{what}: {waited} s"
        );
        let rest = String::from_utf8_lossy(&rest).into_owned();
        assert!(
            rest.starts_with(told) && (!told.is_empty() || rest.is_empty()),
            "{what}: {rest}"
        );
    };
    join_all(phases.map(silent)).await;
    assert_eq!(upstream.requests().len(), 0);
    assert_eq!(gateway.chat(CHAT).await.status, 200);
}

#[tokio::test]
async fn l30_a_log_that_nobody_reads_holds_up_no_request() {
    let upstream = Upstream::start(Script::always(openai::completion("hi"))).await;
    let home = Home::with_config(&provider("fake", &upstream, &keys(1)));
    let mut child = home
        .command(&["-vv", "serve", "--port", "0"])
        .stdout(Stdio::null())
        .spawn()
        .expect("the binary runs");
    let mut log = BufReader::new(child.stderr.take().expect("a pipe"));
    let mut line = String::new();
    while !line.contains("listening on http://") {
        line.clear();
        assert!(log.read_line(&mut line).expect("a pipe") > 0, "it ended");
    }
    let (_, address) = line.trim().split_once("http://").expect("an address");
    let mut connection = Connection::open(address.parse().expect("an address")).await;
    // Far more lines than a pipe and a queue hold; not one of them is read.
    for _ in 0..1500 {
        connection.send(&Request::chat(CHAT)).await;
        assert_eq!(connection.response().await.status, 200);
    }
    child.kill().expect("it runs");
    child.wait().expect("it ends");
}

#[tokio::test]
async fn l24_dr1_on_sigterm_five_hundred_streams_are_finished_and_none_is_cut() {
    for _ in 0..size("LLMPROXY_RESTARTS", 1) {
        drained_with_streams().await;
    }
}

async fn drained_with_streams() {
    let gate = Gate::new();
    let reply = openai::stream(&["one", "two"]).gated(&gate);
    let (upstream, mut gateway) = pair(Script::always(reply), 1, "").await;
    let under_way = (0..STREAMS).map(async |_| {
        let mut connection = gateway.connect().await;
        connection.send(&Request::chat(STREAM)).await;
        connection
    });
    let mut streams = join_all(under_way).await;
    // Nobody is answered before the gate opens, unless with why it does not come to the upstream.
    let mut answers: FuturesUnordered<_> = streams.iter_mut().map(Connection::response).collect();
    tokio::select! {
        () = upstream.asked(STREAMS) => {}
        answer = answers.next() => {
            let answer = answer.expect("there are streams");
            panic!("answered with {}: {}", answer.status, answer.text());
        }
    }
    drop(answers);
    gateway.signal("TERM");
    gateway.line_with("drain").await;
    gate.open(STREAMS * 10);
    let answers = join_all(streams.iter_mut().map(Connection::response));
    let expected = openai::frames(&["one", "two"]).concat();
    for answer in patiently("all streams", answers).await {
        assert!(
            answer.complete && answer.text() == expected,
            "{}",
            answer.text()
        );
    }
    assert_eq!(gateway.exited().await.code(), Some(0));
}

#[tokio::test]
async fn l25_a_second_signal_ends_whole_answers_and_stuck_readers_too() {
    let endless = Reply::sse(vec!["x".repeat(1 << 16); 400]);
    let script = Script::new().answer(move |request| {
        if request.text().contains("\"stream\":true") {
            let mut reply = openai::stream(&["one"]);
            reply.pieces.truncate(2);
            reply.pieces.extend(endless.pieces.clone());
            reply
        } else {
            Reply::silence()
        }
    });
    let (upstream, mut gateway) = pair(script, 1, "").await;
    let mut waiting = gateway.connect().await;
    waiting.send(&Request::chat(CHAT)).await;
    let mut stuck = gateway.connect().await;
    stuck.send(&Request::chat(STREAM)).await;
    stuck.head().await;
    upstream.asked(2).await;
    gateway.signal("TERM");
    gateway.line_with("drain").await;
    let began = Instant::now();
    gateway.signal("TERM");
    let answer = waiting.response().await;
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert_eq!(answer.error().1, "server_shutting_down");
    gateway.exited().await;
    assert!(
        began.elapsed() < Duration::from_secs(15),
        "{:?}",
        began.elapsed()
    );
}

/// What a service manager does: opens the socket, starts the server with it, and again whenever
/// told so on stdin; at the end of stdin it ends the server and itself.
const MANAGER: &str = r#"
import os, signal, socket, sys
listener = socket.socket()
listener.bind(("127.0.0.1", 0))
listener.listen(512)
if listener.fileno() != 3:
    os.dup2(listener.fileno(), 3)
print(listener.getsockname()[1], flush=True)
def start():
    child = os.fork()
    if child == 0:
        os.set_inheritable(3, True)
        os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))
        os.execv(sys.argv[1], [sys.argv[1], "serve"])
    return child
def stop(child):
    os.kill(child, signal.SIGTERM)
    assert os.waitpid(child, 0)[1] == 0
child = None
for line in sys.stdin:
    if child:
        stop(child)
    child = start()
stop(child)
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l27_dr2_a_socket_handed_over_loses_no_connection_between_two_servers() {
    let upstream = Upstream::start(Script::always(openai::completion("hi"))).await;
    let home = Home::with_config(&provider("fake", &upstream, &keys(1)));
    let mut manager = std::process::Command::new("python3");
    manager.args(["-c", MANAGER, env!("CARGO_BIN_EXE_llmproxy")]);
    let mut manager = home
        .dressed(manager)
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("python3 runs");
    let mut orders = manager.stdin.take().expect("a pipe");
    let mut said = BufReader::new(manager.stdout.take().expect("a pipe")).lines();
    let port = said.next().expect("a line").expect("a pipe");
    let address = format!("127.0.0.1:{port}").parse().expect("an address");
    let (over, answered) = (&AtomicBool::new(false), &AtomicUsize::new(0));
    // The first come before any server runs. A connection a request: none waits on one that a
    // server that ends has kept.
    let asking = (0..4).map(async |client| {
        while !over.load(Ordering::Relaxed) {
            let mut connection = Connection::open(address).await;
            connection.send(&Request::chat(CHAT)).await;
            let answer = connection.response().await;
            assert_eq!(answer.status, 200, "{client}: {}", answer.text());
            answered.fetch_add(1, Ordering::Relaxed);
        }
    });
    let restarting = async {
        for _ in 0..size("LLMPROXY_RESTARTS", 5) {
            let before = answered.load(Ordering::Relaxed);
            orders.write_all(b"start\n").expect("a pipe");
            while answered.load(Ordering::Relaxed) < before + 20 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        over.store(true, Ordering::Relaxed);
    };
    let all = async { tokio::join!(restarting, join_all(asking)) };
    patiently("restarts", all).await;
    drop(orders);
    let status = tokio::task::spawn_blocking(move || manager.wait());
    let status = patiently("the manager", status).await.expect("no panic");
    assert!(status.expect("a child").success());
}

#[tokio::test]
async fn c30_no_request_waits_beyond_what_its_sdk_does() {
    let limited = openai::rate_limited().header("retry-after", "3");
    let script = Script::new().once(&keys(1)[0], [limited, openai::completion("hi")]);
    let (upstream, gateway) = pair(script, 1, "").await;
    // The key rests for three seconds; who waits for two is told at once.
    let hasty = Request::chat(CHAT).header("x-stainless-read-timeout", "2");
    for _ in 0..2 {
        let told = gateway.send(&hasty).await;
        assert_eq!(told.status, 429, "{}", told.text());
        assert_eq!(told.error().1, "all_credentials_cooling");
    }
    assert_eq!(upstream.requests().len(), 1);
    let patient = Request::chat(CHAT).header("x-stainless-read-timeout", "600");
    assert_eq!(gateway.send(&patient).await.status, 200);
    assert_eq!(upstream.requests().len(), 2);
}

#[tokio::test]
async fn l32_who_waited_while_the_server_was_stopped_is_served_when_it_goes_on() {
    let gate = Gate::new();
    let held = openai::stream(&["one", "two"]).gated(&gate);
    let script = Script::new().answer(move |request| {
        if request.text().contains("\"stream\":true") {
            held.clone()
        } else {
            openai::completion("hi")
        }
    });
    let (upstream, gateway) = pair(script, 2, "").await;
    assert_eq!(gateway.chat(CHAT).await.status, 200);
    let mut stream = gateway.connect().await;
    stream.send(&Request::chat(STREAM)).await;
    upstream.asked(2).await;
    gateway.signal("STOP");
    // The upstream goes on meanwhile, and newcomers come.
    gate.open(100);
    let mut waiting = Vec::new();
    for _ in 0..20 {
        let mut connection = gateway.connect().await;
        connection.send(&Request::chat(CHAT)).await;
        waiting.push(connection);
    }
    let early = tokio::time::timeout(Duration::from_secs(1), waiting[0].head()).await;
    assert!(early.is_err(), "it is not stopped");
    gateway.signal("CONT");
    let whole = stream.response().await;
    assert_eq!(whole.text(), openai::frames(&["one", "two"]).concat());
    // The first has been asked for its head before: the rest of it is its answer.
    let answered = waiting.iter_mut().skip(1).map(Connection::response);
    let statuses: Vec<u16> = join_all(answered)
        .await
        .iter()
        .map(|one| one.status)
        .collect();
    assert_eq!(statuses, [200; 19]);
    assert_eq!(gateway.provider("fake").await["ready"], 2);
    gateway.idle().await;
}
