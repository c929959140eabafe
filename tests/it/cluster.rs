//! Several gateways that share one pool over a real Redis: limits hold for all of them together, what
//! one learns the others know, and none needs the server to go on serving.

use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use serde_json::Value;

use crate::client::{CHAT, Connection, Request, Response};
use crate::fake::google::Google;
use crate::fake::openai::{broken, completion, rate_limited};
use crate::fake::reply::Gate;
use crate::fake::script::Script;
use crate::fake::upstream::Upstream;
use crate::fake::{self, CANARY};
use crate::harness::{Gateway, keys, patiently, provider};
use crate::oauth_refresh::{all_at_once, import, row};
use crate::valkey::Server;

pub(crate) const PATIENT: &str = "[routing]\ndeadline = \"60s\"\n";

/// A group of gateways on one upstream whose provider `fake` has so many keys; `lines` go into its
/// section. All have joined when it returns.
pub(crate) async fn group(
    server: &Server,
    upstream: &Upstream,
    instances: usize,
    count: usize,
    lines: &str,
) -> Vec<Gateway> {
    let section = server.section();
    let config = format!(
        "{section}{PATIENT}{}{lines}\n",
        provider("fake", upstream, &keys(count))
    );
    let started = join_all((0..instances).map(|_| Gateway::start(&config))).await;
    joined(&started, instances).await;
    started
}

/// A [`group`] with a server of its own, on an upstream that serves everybody; `None` where there is
/// no Redis.
pub(crate) async fn serving(
    instances: usize,
    count: usize,
    lines: &str,
) -> Option<(Server, Upstream, Vec<Gateway>)> {
    let server = Server::start().await?;
    let upstream = Upstream::start(Script::always(completion("hi"))).await;
    let gateways = group(&server, &upstream, instances, count, lines).await;
    Some((server, upstream, gateways))
}

/// Waits until each knows of all.
pub(crate) async fn joined(gateways: &[Gateway], instances: usize) {
    let line = format!("llmproxy_group_instances {instances}\n");
    for gateway in gateways {
        metric(gateway, &line).await;
    }
}

/// Waits until the metrics hold a line.
pub(crate) async fn metric(gateway: &Gateway, line: &str) {
    let polling = async {
        while !gateway.get("/metrics").await.text().contains(line) {
            // Nothing tells when an instance hears of another.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    patiently(line, polling).await;
}

/// Sends so many chats at once, to one gateway after the other.
pub(crate) async fn load(gateways: &[Gateway], requests: usize) -> Vec<Response> {
    let request = Request::chat(CHAT);
    let sending = gateways.iter().cycle().take(requests);
    join_all(sending.map(|gateway| gateway.send(&request))).await
}

pub(crate) fn served(responses: &[Response]) -> usize {
    let served = responses.iter().filter(|one| one.status == 200);
    served.count()
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_never_exceed_a_keys_concurrency_together() {
    let Some(server) = Server::start().await else {
        return;
    };
    let gate = Gate::new();
    let upstream = Upstream::start(Script::always(completion("hi").gated(&gate))).await;
    let gateways = group(&server, &upstream, 3, 1, "max_concurrent_per_key = 3").await;
    let all = 15;
    let opening = async {
        for answered in 0..all {
            upstream.asked((answered + 3).min(all)).await;
            let under_way = upstream.requests().len() - answered;
            assert!(under_way <= 3, "{under_way} at once");
            gate.open(1);
        }
    };
    let (responses, ()) = tokio::join!(load(&gateways, all), opening);
    assert_eq!(served(&responses), all);
    server.assert_no_canary().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_never_exceed_a_window_together() {
    let Some(server) = Server::start().await else {
        return;
    };
    for anchor in ["first_use", "rolling", "utc_midnight"] {
        let upstream = Upstream::start(Script::always(completion("hi"))).await;
        let lines = format!(
            "windows = [{{ requests = 10, every = \"24h\", anchor = \"{anchor}\" }}]\n[providers.fake.headers]\nx-a = \"b\""
        );
        let gateways = group(&server, &upstream, 3, 1, &lines).await;
        let responses = load(&gateways, 30).await;
        assert_eq!((served(&responses), upstream.requests().len()), (10, 10));
        let refused = responses.iter().find(|one| one.status != 200);
        let refused = refused.expect("twenty were too many");
        assert_eq!(refused.error().1, "all_credentials_cooling");
        server.assert_no_canary().await;
        drop(gateways);
        server.ask(&["FLUSHALL"]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_a_lease_is_told_at_once_that_the_window_has_filled_meanwhile() {
    let Some(server) = Server::start().await else {
        return;
    };
    let gate = Gate::new();
    let upstream = Upstream::start(Script::always(completion("hi").gated(&gate))).await;
    let lines = "max_concurrent_per_key = 1\nwindows = [{ requests = 2, every = \"24h\" }]";
    let gateways = group(&server, &upstream, 3, 1, lines).await;
    let ask = async |gateway: &Gateway| {
        let mut connection = gateway.connect().await;
        connection.send(&Request::chat(CHAT)).await;
        connection
    };
    let mut first = ask(&gateways[0]).await;
    upstream.asked(1).await;
    // Each of them may be the one that gets the last request of the window, and holds the lease.
    let began = Instant::now();
    let mut waiting = Vec::new();
    for gateway in [&gateways[1], &gateways[1], &gateways[2]] {
        waiting.push(ask(gateway).await);
    }
    gate.open(1);
    assert_eq!(first.response().await.status, 200);
    upstream.asked(2).await;
    let mut answers: FuturesUnordered<_> = waiting.iter_mut().map(Connection::response).collect();
    for _ in 0..2 {
        let refused = answers.next().await.expect("three were asked");
        assert_eq!(refused.error().1, "all_credentials_cooling");
    }
    assert!(
        began.elapsed() < Duration::from_secs(30),
        "half the deadline"
    );
    gate.open(1);
    assert_eq!(answers.next().await.expect("the third").status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clients_limits_hold_for_all_instances_together() {
    let Some(server) = Server::start().await else {
        return;
    };
    let upstream = Upstream::start(Script::always(completion("hi"))).await;
    let client =
        "[[server.clients]]\nname = \"laptop\"\nkey = \"laptop-key-0123456789\"\nrpm = 6\n";
    let config = format!(
        "{}{client}{}",
        server.section(),
        provider("fake", &upstream, &keys(1))
    );
    // Each has joined, or found that it cannot, before it accepts.
    let gateways = join_all((0..3).map(|_| Gateway::start(&config))).await;
    let request = Request::chat(CHAT).header("authorization", "Bearer laptop-key-0123456789");
    let sending = gateways.iter().cycle().take(12);
    let responses = join_all(sending.map(|gateway| gateway.send(&request))).await;
    assert_eq!(served(&responses), 6);
    let refused = responses.iter().find(|one| one.status != 200);
    let refused = refused.expect("six were too many");
    assert_eq!(refused.error().1, "client_rate_limited");
    assert!(!server.dump().await.contains("laptop"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cooldown_seen_by_one_is_respected_by_the_others_within_a_tenth_of_a_second() {
    let Some(server) = Server::start().await else {
        return;
    };
    // Each round the key in use is limited and the next one serves.
    let limited = || rate_limited().header("retry-after", "600");
    let script = Script::new()
        .once(&fake::key("1"), [limited()])
        .once(&fake::key("2"), [completion("hi"), limited()])
        .once(&fake::key("3"), [completion("hi"), limited()])
        .once(&fake::key("4"), [completion("hi"), limited()])
        .once(&fake::key("5"), [completion("hi"), limited()])
        .once(&fake::key("6"), [completion("hi"), completion("hi")]);
    let upstream = Upstream::start(script).await;
    let gateways = group(&server, &upstream, 2, 6, "").await;
    let mut waits = Vec::new();
    for round in 1..=5 {
        assert_eq!(gateways[0].chat(CHAT).await.status, 200);
        let answered = Instant::now();
        let seen = async {
            while gateways[1].provider("fake").await["cooling"] != round {
                tokio::task::yield_now().await;
            }
        };
        patiently("the other instance to know", seen).await;
        waits.push(answered.elapsed());
    }
    waits.sort_unstable();
    // A busy machine may be late once or twice.
    assert!(waits[2] < Duration::from_millis(100), "{waits:?}");
    let other = gateways[1].chat(CHAT).await;
    assert_eq!(other.header("x-llmproxy-credential"), Some("fake/6"));
    server.assert_no_canary().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_is_killed_frees_its_leases() {
    let Some(server) = Server::start().await else {
        return;
    };
    let never = Gate::new();
    let held = completion("hi").gated(&never);
    let script = Script::new().others_once([held.clone(), held, completion("hi")]);
    let upstream = Upstream::start(script).await;
    let mut gateways = group(&server, &upstream, 2, 1, "max_concurrent_per_key = 2").await;
    let survivor = gateways.pop().expect("two were started");
    let doomed = gateways.pop().expect("two were started");
    let mut connections = Vec::new();
    for _ in 0..2 {
        let mut connection = doomed.connect().await;
        connection.send(&Request::chat(CHAT)).await;
        connections.push(connection);
    }
    upstream.asked(2).await;
    doomed.signal("KILL");
    // It waits for a slot, which is free once nobody renews the leases: within fifteen seconds.
    assert_eq!(survivor.chat(CHAT).await.status, 200);
    joined(&[survivor], 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn three_instances_refresh_an_account_once_and_hand_the_tokens_over() {
    let Some(server) = Server::start().await else {
        return;
    };
    let google = Google::start("me@example.com").await;
    google.rotate();
    let config = google.config("gemini_cli")
        + &server.section()
        + "token_key = \"a-secret-of-all-instances-0123456789\"\n";
    let homes = [(); 3].map(|()| google.home());
    for home in &homes {
        home.write_config(&config);
        import(&google, home);
    }
    let gateways = join_all(homes.map(|home| Gateway::start_in(home, &[]))).await;
    let load = || join_all(gateways.iter().map(|gateway| all_at_once(gateway, 50)));
    load().await;
    assert_eq!(google.refreshes(), 1);
    // Refused in the middle of its life, in all of them.
    google.revoke_access();
    load().await;
    assert_eq!(google.refreshes(), 2);
    for gateway in &gateways {
        assert_eq!(row(gateway.home())["state"], "ready");
    }
    let dump = server.dump().await;
    assert!(dump.contains("sealed"), "{dump}");
    let latest = google.latest().expect("a token was given");
    assert!(!dump.contains(&latest) && !dump.contains(CANARY) && !dump.contains("me@example.com"));
}

/// What Redis may be told to refuse by: the word it does that with, the command, and the way back.
const REFUSALS: [(&str, &[&str], &[&str]); 2] = [
    (
        "OOM",
        &["CONFIG", "SET", "maxmemory", "1"],
        &["CONFIG", "SET", "maxmemory", "0"],
    ),
    (
        "replica",
        &["REPLICAOF", "127.0.0.1", "1"],
        &["REPLICAOF", "NO", "ONE"],
    ),
];

/// A script that lasts for seconds: everybody else is told BUSY meanwhile.
const BUSY: &str = "for i = 1, 200000000 do end return 1";

#[tokio::test(flavor = "multi_thread")]
async fn s03_s07_a_redis_that_refuses_or_is_slow_fails_no_request() {
    let lines = "max_concurrent_per_key = 40\nwindows = [{ requests = 100000, every = \"24h\" }]";
    let Some((server, _upstream, gateways)) = serving(2, 2, lines).await else {
        return;
    };
    let all_served = async |during: &str| {
        let responses = load(&gateways, 30).await;
        let failed = responses.iter().find(|one| one.status != 200);
        assert!(
            failed.is_none(),
            "{during}: {:?}",
            failed.map(Response::text)
        );
    };
    for (word, refuse, relent) in REFUSALS {
        let answer = server.ask(refuse).await;
        assert!(answer.starts_with("+OK"), "{word}: {answer}");
        all_served(word).await;
        for gateway in &gateways {
            metric(gateway, "llmproxy_state_backend_up 0\n").await;
        }
        server.ask(relent).await;
        joined(&gateways, 2).await;
        for gateway in &gateways {
            metric(gateway, "llmproxy_state_backend_up 1\n").await;
        }
    }
    // In the server's own words; the same trouble again is not told again at once.
    for gateway in &gateways {
        let said = gateway.said("the shared state is away (").await;
        assert!(said.contains("OOM"), "{said}");
    }
    server.ask(&["CONFIG", "SET", "lua-time-limit", "10"]).await;
    tokio::join!(server.ask(&["EVAL", BUSY, "0"]), all_served("BUSY"));
    for gateway in &gateways {
        metric(gateway, "llmproxy_state_backend_up 1\n").await;
    }
    // Nothing is answered for two seconds; who must ask waits a quarter of one, once.
    server.ask(&["CLIENT", "PAUSE", "2000", "ALL"]).await;
    let began = Instant::now();
    all_served("a pause").await;
    let took = began.elapsed();
    assert!(took < Duration::from_millis(1500), "{took:?}");
    joined(&gateways, 2).await;
    server.assert_no_canary().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_forgot_everything_is_told_again() {
    let Some(server) = Server::start().await else {
        return;
    };
    let limited = rate_limited().header("retry-after", "600");
    let script = Script::new()
        .once(&fake::key("1"), [limited])
        .others([completion("hi")]);
    let upstream = Upstream::start(script).await;
    let mut gateways = group(&server, &upstream, 1, 2, "").await;
    assert_eq!(gateways[0].chat(CHAT).await.status, 200);
    let states = "llmproxy:v1:{fake}:states";
    let told = async {
        while server.number(&["HLEN", states]).await < 2 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    patiently("the cooldown to be told", told).await;
    server.ask(&["FLUSHALL"]).await;
    let told = async {
        while server.number(&["HLEN", states]).await < 2 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    patiently("the cooldown to be told again", told).await;
    // An instance that begins now knows it from the start.
    let config = format!(
        "{}{}",
        server.section(),
        provider("fake", &upstream, &keys(2))
    );
    gateways.push(Gateway::start(&config).await);
    joined(&gateways, 2).await;
    assert_eq!(gateways[1].provider("fake").await["cooling"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn status_and_doctor_tell_of_the_group() {
    let Some(mut server) = Server::start().await else {
        return;
    };
    let gate = Gate::new();
    let upstream = Upstream::start(Script::always(completion("hi").gated(&gate))).await;
    let gateways = group(&server, &upstream, 2, 1, "max_concurrent_per_key = 2").await;
    let mut connection = gateways[0].connect().await;
    connection.send(&Request::chat(CHAT)).await;
    upstream.asked(1).await;
    let held = async {
        loop {
            let document = gateways[1].get("/v1/quota-stats").await.json();
            let instances = document["group"]["instances"].as_array().cloned();
            let holds = |one: &Value| one["leases"]["fake/1"] == 1 && one["is_this"] == false;
            if instances.unwrap_or_default().iter().any(holds) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    patiently("the other instance's lease", held).await;
    let status = gateways[1].home().run_beside(&["status"], "").await;
    assert!(
        status.stdout.contains("2 instances share this"),
        "{status:?}"
    );
    assert!(status.stdout.contains("holds fake/1 1"), "{status:?}");
    let doctor = gateways[1].home().run_beside(&["doctor"], "").await;
    assert!(doctor.stdout.contains("instances: 2"), "{doctor:?}");
    gate.open(1);
    assert_eq!(connection.response().await.status, 200);
    server.kill();
    let doctor = gateways[1].home().run_beside(&["doctor"], "").await;
    assert_eq!(doctor.code, 1, "{doctor:?}");
    assert!(doctor.stdout.contains("it is away"), "{doctor:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_starts_without_redis_and_joins_when_it_comes() {
    let Some(mut server) = Server::start().await else {
        return;
    };
    server.kill();
    let upstream = Upstream::start(Script::always(completion("hi"))).await;
    let config = format!(
        "{}{}max_concurrent_per_key = 1\n",
        server.section(),
        provider("fake", &upstream, &keys(1))
    );
    let gateway = Gateway::start(&config).await;
    assert_eq!(gateway.chat(CHAT).await.status, 200);
    gateway.said("the shared state is away").await;
    metric(&gateway, "llmproxy_state_backend_up 0\n").await;
    server.restart().await;
    metric(&gateway, "llmproxy_state_backend_up 1\n").await;
    assert_eq!(gateway.chat(CHAT).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_that_redis_forgot_is_not_opened_again() {
    let lines = "windows = [{ requests = 6, every = \"24h\", anchor = \"first_use\" }]";
    let Some((server, _upstream, gateways)) = serving(2, 1, lines).await else {
        return;
    };
    // One after the other, so that each knows of the other's.
    for number in 0..4 {
        assert_eq!(gateways[number % 2].chat(CHAT).await.status, 200);
    }
    server.ask(&["FLUSHALL"]).await;
    let after = load(&gateways, 8).await;
    // The one that knew of three of the four may let one more through.
    assert!((2..=3).contains(&served(&after)), "{}", served(&after));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_stays_on_its_credential_whichever_instance_it_comes_to() {
    let lines = "rotation = \"balanced\"\nrotation_tolerance = 50";
    let Some((server, _upstream, gateways)) = serving(2, 8, lines).await else {
        return;
    };
    let on = |response: &Response| {
        let credential = response.header("x-llmproxy-credential");
        credential.map(str::to_owned)
    };
    let talks = (0..6).map(|number| format!("talk {number}"));
    let talks: Vec<Request> = talks
        .map(|talk| Request::chat(CHAT).header("x-session-id", &talk))
        .collect();
    let (mut moved, mut last) = (0, Vec::new());
    for talk in &talks {
        let first = on(&gateways[0].send(talk).await);
        // Conversations are told twice a second; nothing says when one was heard.
        tokio::time::sleep(Duration::from_secs(1)).await;
        last.push(on(&gateways[1].send(talk).await));
        moved += usize::from(last.last() != Some(&first));
    }
    // By chance nearly all of them would be on another of eight. A message may be late once.
    assert!(moved <= 1, "{moved} of 6 moved");
    assert!(!server.dump().await.contains("talk"));
    // An instance that comes later knows them as well.
    let config = std::fs::read_to_string(gateways[0].home().config_file());
    let late = [Gateway::start(&config.expect("it has a config")).await];
    joined(&late, 3).await;
    let mut moved = 0;
    for (talk, last) in talks.iter().zip(last) {
        moved += usize::from(on(&late[0].send(talk).await) != last);
    }
    assert!(moved <= 1, "{moved} of 6 moved");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_one_finds_down_pauses_for_all() {
    let Some(server) = Server::start().await else {
        return;
    };
    let upstream = Upstream::start(Script::always(broken())).await;
    let gateways = group(&server, &upstream, 2, 4, "").await;
    let failing = async {
        loop {
            drop(gateways[0].chat(CHAT).await);
        }
    };
    let told = async {
        loop {
            let stats = gateways[1].get("/v1/quota-stats").await.json();
            if !stats["providers"]["fake"]["backoff_until"].is_null() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        () = failing => {}
        () = patiently("the other instance to pause", told) => {}
    }
}
