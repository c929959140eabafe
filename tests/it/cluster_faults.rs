//! What may happen to the state that instances share, one fault after the other: none of it reaches
//! a client, limits are exceeded by what the documentation says, and it heals by itself.

use std::io::Write as _;
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use crate::client::{CHAT, Request, Response};
use crate::cluster::{PATIENT, group, joined, load, metric, served, serving};
use crate::fake::google::Google;
use crate::fake::openai::completion;
use crate::fake::reply::Gate;
use crate::fake::script::Script;
use crate::fake::upstream::Upstream;
use crate::harness::{Gateway, keys, patiently, provider, size};
use crate::oauth_refresh::{all_at_once, import};
use crate::valkey::Server;
use crate::wire::{Mode, Wire};

/// Commands for one connection.
type Commands = &'static [&'static [&'static str]];

const UP: &str = "llmproxy_state_backend_up 1\n";
const DOWN: &str = "llmproxy_state_backend_up 0\n";

/// A gateway that reaches the shared state over this wire.
async fn over(wire: &Wire, upstream: &Upstream, lines: &str) -> Gateway {
    let section = format!(
        "[state]\nbackend = \"redis\"\nurl = \"redis://{}/0\"\n",
        wire.address()
    );
    let provider = provider("fake", upstream, &keys(1));
    Gateway::start(&format!("{section}{PATIENT}{provider}{lines}\n")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn no_client_notices_that_redis_was_killed_frozen_and_flushed() {
    let lines = "max_concurrent_per_key = 6\nwindows = [{ requests = 100000, every = \"24h\" }]";
    let Some((mut server, upstream, gateways)) = serving(3, 2, lines).await else {
        return;
    };
    // LLMPROXY_OUTAGES=34 is a hundred of them.
    let rounds = size("LLMPROXY_OUTAGES", 1);
    let mut responses = load(&gateways, 30).await;
    let mut calm = latencies(&gateways, 100).await;
    let (mut troubled, mut more) = (Vec::new(), 100);
    for _ in 0..rounds {
        for trouble in ["kill", "restart", "STOP", "CONT", "flush"] {
            match trouble {
                "kill" => server.kill(),
                "restart" => server.restart().await,
                "STOP" | "CONT" => server.signal(trouble),
                "flush" => drop(server.ask(&["FLUSHALL"]).await),
                _ => {}
            }
            troubled.extend(latencies(&gateways, 30).await);
            more += 30;
            responses.extend(load(&gateways, 30).await);
        }
    }
    let failed = responses.iter().find(|one| one.status != 200);
    assert!(failed.is_none(), "{:?}", failed.map(Response::text));
    joined(&gateways, 3).await;
    let quantiles = |times: &mut Vec<Duration>| {
        times.sort_unstable();
        [50, 99, 100].map(|share| times[(times.len() * share / 100).min(times.len() - 1)])
    };
    let _ = writeln!(
        std::io::stdout(),
        "half, 99 of 100 and all within {:?} in calm, {:?} in trouble",
        quantiles(&mut calm),
        quantiles(&mut troubled)
    );
    // What was decided without the server is told when it is back, and what it forgot as well.
    let names = server.ask(&["KEYS", "*window*"]).await;
    let names: Vec<&str> = names
        .lines()
        .filter(|line| line.contains("window"))
        .map(str::trim)
        .collect();
    assert!(!names.is_empty());
    for gateway in &gateways {
        let said = gateway.stderr().matches("the shared state is away").count();
        assert!((1..=rounds).contains(&said), "{said}: {}", gateway.stderr());
    }
    let made = responses.len() + more;
    assert_eq!(upstream.requests().len(), made);
    let counted = counted(&server, &names, made).await;
    let _ = writeln!(
        std::io::stdout(),
        "{made} requests, {counted} in the windows"
    );
    server.assert_no_canary().await;
}

/// How many requests these windows hold, once they hold all that were made; or after a minute.
async fn counted(server: &Server, names: &[&str], made: usize) -> usize {
    let mut counted = 0;
    for _ in 0..200 {
        counted = 0;
        for name in names {
            let count = server.ask(&["HGET", name, "r"]).await;
            let count = count.lines().last().and_then(|count| count.parse().ok());
            counted += count.unwrap_or(0_usize);
        }
        if counted >= made {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    counted
}

/// How long each of so many requests takes, one after the other, to one gateway after the other.
async fn latencies(gateways: &[Gateway], requests: usize) -> Vec<Duration> {
    let mut times = Vec::new();
    for gateway in gateways.iter().cycle().take(requests) {
        let began = Instant::now();
        assert_eq!(gateway.chat(CHAT).await.status, 200);
        times.push(began.elapsed());
    }
    times
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_is_cut_off_keeps_to_what_it_knew_and_returns() {
    let Some(server) = Server::start().await else {
        return;
    };
    let upstream = Upstream::start(Script::always(completion("hi"))).await;
    let lines = "windows = [{ requests = 20, every = \"24h\", anchor = \"first_use\" }]";
    let wires = [Wire::to(server.port()).await, Wire::to(server.port()).await];
    let gateways = [
        over(&wires[0], &upstream, lines).await,
        over(&wires[1], &upstream, lines).await,
    ];
    joined(&gateways, 2).await;
    // One after the other, so that each knows of the other's.
    for number in 0..10 {
        assert_eq!(gateways[number % 2].chat(CHAT).await.status, 200);
    }
    wires[0].set(Mode::Silent);
    let apart = load(&gateways, 60).await;
    let odd = apart.iter().find(|one| ![200, 429].contains(&one.status));
    assert!(odd.is_none(), "{:?}", odd.map(Response::text));
    // Ten were left; the one that was cut off knew of nine of those that were gone.
    let served_apart = served(&apart);
    assert!((10..=21).contains(&served_apart), "{served_apart}");
    wires[0].set(Mode::Cut);
    metric(&gateways[0], DOWN).await;
    wires[0].set(Mode::Through);
    metric(&gateways[0], UP).await;
    joined(&gateways, 2).await;
    for gateway in &gateways {
        assert_eq!(gateway.chat(CHAT).await.status, 429);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_used_while_redis_was_away_is_told_when_it_is_back() {
    let lines = "windows = [{ requests = 100, every = \"24h\", anchor = \"first_use\" }]";
    let Some((mut server, _upstream, gateways)) = serving(1, 1, lines).await else {
        return;
    };
    for _ in 0..3 {
        assert_eq!(gateways[0].chat(CHAT).await.status, 200);
    }
    server.kill();
    for _ in 0..5 {
        assert_eq!(gateways[0].chat(CHAT).await.status, 200);
    }
    // What it forgot itself is known as well.
    server.restart().await;
    let told = async {
        loop {
            let names = server.ask(&["KEYS", "*:window:*"]).await;
            let window = names.lines().find(|line| line.contains(":window:"));
            if let Some(window) = window {
                let count = server.ask(&["HGET", window.trim(), "r"]).await;
                let count = count.lines().last().and_then(|count| count.parse().ok());
                // On a busy machine an answer may come too late to count, and be told again.
                if count.is_some_and(|count: u32| count >= 8) {
                    return;
                }
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    patiently("all eight to be told", told).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_server_delays_a_request_once_and_is_taken_for_away() {
    let Some(server) = Server::start().await else {
        return;
    };
    let upstream = Upstream::start(Script::always(completion("hi"))).await;
    let wire = Wire::to(server.port()).await;
    let gateway = over(&wire, &upstream, "max_concurrent_per_key = 2").await;
    assert_eq!(gateway.chat(CHAT).await.status, 200);
    wire.set(Mode::Slow(Duration::from_millis(800)));
    let began = Instant::now();
    for _ in 0..20 {
        assert_eq!(gateway.chat(CHAT).await.status, 200);
    }
    // Twenty times 800 ms would be sixteen seconds.
    assert!(
        began.elapsed() < Duration::from_secs(8),
        "{:?}",
        began.elapsed()
    );
    gateway.said("the shared state is away").await;
    wire.set(Mode::Through);
    metric(&gateway, UP).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_refuses_what_it_is_told_counts_as_away_until_it_does_not() {
    let Some((server, _upstream, gateways)) = serving(2, 1, "max_concurrent_per_key = 4").await
    else {
        return;
    };
    // What is done to it, how it is undone, and a word of what it says.
    let faults: [(Commands, Commands, &str); 4] = [
        (
            &[&["REPLICAOF", "127.0.0.1", "1"]],
            &[&["REPLICAOF", "NO", "ONE"]],
            "replica",
        ),
        (
            &[&["CONFIG", "SET", "maxmemory", "1"]],
            &[&["CONFIG", "SET", "maxmemory", "0"]],
            "OOM",
        ),
        (
            &[
                &["CONFIG", "SET", "requirepass", "a-password"],
                &["CLIENT", "KILL", "TYPE", "pubsub"],
                &["CLIENT", "KILL", "TYPE", "normal"],
            ],
            &[
                &["AUTH", "a-password"],
                &["CONFIG", "SET", "requirepass", ""],
            ],
            "NOAUTH",
        ),
        (
            &[
                &["DEL", "llmproxy:v1:{group}:instances"],
                &["SET", "llmproxy:v1:{group}:instances", "another's"],
            ],
            &[&["DEL", "llmproxy:v1:{group}:instances"]],
            "WRONGTYPE",
        ),
    ];
    for (done, undone, word) in faults {
        server.ask_all(done).await;
        let said = async {
            loop {
                let stats = gateways[0].get("/v1/quota-stats").await.json();
                let trouble = stats["group"]["trouble"].as_str().unwrap_or_default();
                if trouble.contains(word) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let (responses, ()) = tokio::join!(load(&gateways, 40), patiently(word, said));
        assert_eq!(served(&responses), 40, "{word}");
        server.ask_all(undone).await;
        for gateway in &gateways {
            metric(gateway, UP).await;
        }
        joined(&gateways, 2).await;
        assert_eq!(served(&load(&gateways, 10).await), 10, "{word}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_loading_is_not_waited_for() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("its address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = stream.split();
                let mut piece = [0; 4096];
                while let Ok(1..) = tokio::io::AsyncReadExt::read(&mut read, &mut piece).await {
                    // One for each of the few commands that a client begins with.
                    let commands = piece.split(|byte| *byte == b'*').count();
                    let answer = "-LOADING Redis is loading the dataset in memory\r\n";
                    let answers = answer.repeat(commands.max(1));
                    if write.write_all(answers.as_bytes()).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    let upstream = Upstream::start(Script::always(completion("hi"))).await;
    let section = format!("[state]\nbackend = \"redis\"\nurl = \"redis://{address}/0\"\n");
    let provider = provider("fake", &upstream, &keys(1));
    let gateway = Gateway::start(&format!("{section}{provider}max_concurrent_per_key = 1\n")).await;
    assert_eq!(gateway.chat(CHAT).await.status, 200);
    let said = gateway.said("the shared state is away").await;
    assert!(said.contains("LOADING"), "{said}");
}

/// Two instances with one account whose token has ended, and the vendor's answer to the first
/// refresh held back by the gate.
async fn refreshing(server: &Server, google: &Google, gate: &Gate) -> (Gateway, Gateway) {
    google.hold_refreshes(gate);
    let config = google.config("gemini_cli")
        + &server.section()
        + "token_key = \"a-secret-of-all-instances-0123456789\"\n";
    let homes = [(); 2].map(|()| google.home());
    let mut gateways = Vec::new();
    for home in homes {
        home.write_config(&config);
        import(google, &home);
        gateways.push(Gateway::start_in(home, &[]).await);
    }
    joined(&gateways, 2).await;
    let other = gateways.pop().expect("two were started");
    let holder = gateways.pop().expect("two were started");
    (holder, other)
}

/// Waits until somebody holds an account's lock, and returns its key.
async fn lock_of(server: &Server) -> String {
    let taken = async {
        loop {
            let names = server.ask(&["KEYS", "*:lock"]).await;
            let name = names
                .lines()
                .map(str::trim)
                .find(|name| name.ends_with(":lock"));
            if let Some(name) = name {
                return name.to_owned();
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    patiently("the lock", taken).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_account_of_a_holder_that_dies_is_refreshed_once_its_lock_has_ended() {
    let Some(server) = Server::start().await else {
        return;
    };
    let google = Google::start("me@example.com").await;
    let gate = Gate::new();
    let (holder, other) = refreshing(&server, &google, &gate).await;
    let asking = async {
        // Its client goes with it.
        let mut connection = holder.connect().await;
        let request = Request::chat(crate::oauth_refresh::CHAT);
        connection.send(&request).await;
        let lock = lock_of(&server).await;
        holder.signal("KILL");
        assert!(server.number(&["PTTL", &lock]).await > 20_000);
        // As if its half minute were over.
        server.ask(&["PEXPIRE", &lock, "300"]).await;
        gate.open(2);
    };
    asking.await;
    all_at_once(&other, 5).await;
    assert_eq!(google.refreshes(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_holder_that_slept_through_its_lock_replaces_nothing_newer() {
    let Some(server) = Server::start().await else {
        return;
    };
    let google = Google::start("me@example.com").await;
    let gate = Gate::new();
    let (holder, other) = refreshing(&server, &google, &gate).await;
    let mut connection = holder.connect().await;
    let request = Request::chat(crate::oauth_refresh::CHAT);
    connection.send(&request).await;
    let lock = lock_of(&server).await;
    holder.signal("STOP");
    server.ask(&["PEXPIRE", &lock, "1"]).await;
    // The answer for the one that sleeps waits in its socket.
    gate.open(2);
    all_at_once(&other, 5).await;
    let tokens = lock.replace(":lock", ":tokens");
    let newer = server.ask(&["HGET", &tokens, "sealed"]).await;
    assert!(newer.len() > 50, "{newer}");
    holder.signal("CONT");
    assert_eq!(connection.response().await.status, 200);
    all_at_once(&holder, 5).await;
    assert_eq!(server.ask(&["HGET", &tokens, "sealed"]).await, newer);
    assert_eq!(google.refreshes(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_version_says_is_passed_over_and_stays() {
    let Some(server) = Server::start().await else {
        return;
    };
    let upstream = Upstream::start(Script::always(completion("hi"))).await;
    let states = "llmproxy:v1:{fake}:states";
    let record = r#"5 {"record":"of_the_future","fingerprint":"00","changed_ms":5}"#;
    server
        .ask(&["HSET", states, "00:of_the_future", record, "version", "1"])
        .await;
    let about = "llmproxy:v1:{group}:about";
    server
        .ask(&[
            "HSET",
            about,
            "future",
            r#"{"version":"99.0.0","more":[1]}"#,
        ])
        .await;
    let gateways = group(&server, &upstream, 2, 1, "").await;
    let message = r#"{"version":9,"from":"future","provider":"fake","records":[{"record":"of_the_future"},{}],"more":1}"#;
    for message in [message, "{\"version\":\"a word\"}", "nonsense"] {
        server.ask(&["PUBLISH", "llmproxy:v1:news", message]).await;
    }
    assert_eq!(served(&load(&gateways, 10).await), 10);
    joined(&gateways, 2).await;
    let kept = server.ask(&["HGET", states, "00:of_the_future"]).await;
    assert!(kept.contains("of_the_future"), "{kept}");
    for gateway in &gateways {
        let metrics = gateway.get("/metrics").await.text();
        assert!(
            metrics.contains("llmproxy_group_outages_total 0\n"),
            "{metrics}"
        );
    }
}
