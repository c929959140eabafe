//! The ways in which a Redis is set up: a cluster whose keys move between its nodes, sentinels that
//! put another server in charge, and TLS.

use std::time::Duration;

use futures_util::future::join_all;

use crate::client::CHAT;
use crate::cluster::{PATIENT, joined, load, metric, served};
use crate::fake::openai::completion;
use crate::fake::reply::Gate;
use crate::fake::script::Script;
use crate::fake::upstream::Upstream;
use crate::harness::{Gateway, Home, keys, patiently, provider};
use crate::valkey::{Server, free_port};

const SLOTS: i64 = 16_384;

fn config(url: &str, upstream: &Upstream, lines: &str) -> String {
    let provider = provider("fake", upstream, &keys(1));
    format!("[state]\nbackend = \"redis\"\nurl = \"{url}\"\n{PATIENT}{provider}{lines}\n")
}

/// Two nodes with half of the keys each.
async fn cluster() -> Option<[Server; 2]> {
    let options = ["--cluster-enabled", "yes", "--cluster-node-timeout", "5000"];
    let mut nodes = Vec::new();
    for _ in 0..2 {
        let bus = free_port().to_string();
        let mut options = options.to_vec();
        options.extend(["--cluster-port", &bus]);
        nodes.push((Server::start_with(&options).await?, bus));
    }
    let [(one, _), (two, bus)] = nodes.try_into().ok()?;
    one.ask(&["CLUSTER", "ADDSLOTSRANGE", "0", "8191"]).await;
    two.ask(&["CLUSTER", "ADDSLOTSRANGE", "8192", "16383"])
        .await;
    let port = two.port().to_string();
    one.ask(&["CLUSTER", "MEET", "127.0.0.1", &port, &bus])
        .await;
    for node in [&one, &two] {
        says(node, &["CLUSTER", "INFO"], "cluster_state:ok").await;
    }
    Some([one, two])
}

/// Waits until a server's answer to a command holds these words.
async fn says(server: &Server, command: &[&str], words: &str) {
    patiently(words, async {
        while !server.ask(command).await.contains(words) {
            // Nothing tells when a server has come to another mind.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

async fn id_of(node: &Server) -> String {
    let answer = node.ask(&["CLUSTER", "MYID"]).await;
    answer.lines().last().unwrap_or_default().trim().to_owned()
}

/// The key of the window that one of these nodes keeps.
async fn window_in(nodes: &[Server]) -> String {
    for node in nodes {
        let names = node.ask(&["KEYS", "*:window:*"]).await;
        if let Some(name) = names.lines().find(|line| line.contains(":window:")) {
            return name.trim().to_owned();
        }
    }
    panic!("no node keeps a window");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_is_one_shared_state_and_keys_are_followed_where_they_move() {
    let Some(nodes) = cluster().await else {
        return;
    };
    let gate = Gate::new();
    let upstream = Upstream::start(Script::always(completion("hi").gated(&gate))).await;
    let lines = "max_concurrent_per_key = 3\n\
        windows = [{ requests = 40, every = \"24h\", anchor = \"first_use\" }]";
    let plain = format!("redis://127.0.0.1:{}", nodes[0].port());
    let named = format!(
        "redis+cluster://127.0.0.1:{},127.0.0.1:{}",
        nodes[1].port(),
        nodes[0].port()
    );
    let configs = [&plain, &named].map(|url| config(url, &upstream, lines));
    let gateways = join_all(configs.iter().map(|config| Gateway::start(config))).await;
    joined(&gateways, 2).await;
    let mut answered = 0;
    let opening = |requests: usize, answered: usize| {
        let (gate, upstream) = (&gate, &upstream);
        async move {
            for number in answered..answered + requests {
                upstream.asked((number + 3).min(answered + requests)).await;
                assert!(
                    upstream.requests().len() - number <= 3,
                    "more than three at once, from {answered} on"
                );
                gate.open(1);
            }
        }
    };
    let (responses, ()) = tokio::join!(load(&gateways, 12), opening(12, answered));
    answered += 12;
    assert_eq!(served(&responses), 12);
    // Somebody moves all that belongs to the credential to the other node, as resharding does.
    let window = window_in(&nodes).await;
    let slot = nodes[0].number(&["CLUSTER", "KEYSLOT", &window]).await;
    assert!((0..SLOTS).contains(&slot));
    let (from, to) = if slot < SLOTS / 2 {
        (&nodes[0], &nodes[1])
    } else {
        (&nodes[1], &nodes[0])
    };
    let (from_id, to_id) = (id_of(from).await, id_of(to).await);
    let slot = slot.to_string();
    to.ask(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &from_id])
        .await;
    from.ask(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &to_id])
        .await;
    let port = to.port().to_string();
    let names = from.ask(&["CLUSTER", "GETKEYSINSLOT", &slot, "100"]).await;
    for name in names
        .lines()
        .map(str::trim)
        .filter(|line| line.starts_with("llmproxy:"))
    {
        from.ask(&["MIGRATE", "127.0.0.1", &port, name, "0", "5000"])
            .await;
    }
    // Half moved, the old node says ASK, and the new one that not all keys are there yet: then each
    // instance decides by its share, and nobody takes the cluster for away.
    let opened = async {
        for number in answered..answered + 6 {
            upstream.asked(number + 1).await;
            gate.open(1);
        }
    };
    let (responses, ()) = tokio::join!(load(&gateways, 6), opened);
    answered += 6;
    assert_eq!(served(&responses), 6);
    for gateway in &gateways {
        assert!(
            !gateway.stderr().contains("is away"),
            "{}",
            gateway.stderr()
        );
    }
    for node in [to, from] {
        node.ask(&["CLUSTER", "SETSLOT", &slot, "NODE", &to_id])
            .await;
    }
    // Moved, it says MOVED.
    let (responses, ()) = tokio::join!(load(&gateways, 6), opening(6, answered));
    answered += 6;
    assert_eq!(served(&responses), 6);
    let counted = to.number(&["EXISTS", &window]).await;
    assert_eq!(counted, 1, "the window is at its new node");
    for gateway in &gateways {
        let metrics = gateway.get("/metrics").await.text();
        assert!(
            metrics.contains("llmproxy_group_outages_total 0\n"),
            "{}",
            gateway.stderr()
        );
    }
    // The window counts on: sixteen are left of forty.
    gate.open(100);
    let mut left = 0;
    while gateways[left % 2].chat(CHAT).await.status == 200 {
        left += 1;
    }
    assert_eq!(left, 40 - answered);
    for node in &nodes {
        node.assert_no_canary().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failover_by_sentinels_is_followed_and_no_client_notices() {
    let Some(mut first) = Server::start().await else {
        return;
    };
    let port = first.port().to_string();
    let Some(second) = Server::start_with(&["--replicaof", "127.0.0.1", &port]).await else {
        return;
    };
    says(&second, &["INFO", "replication"], "master_link_status:up").await;
    let directory = tempfile::tempdir().expect("a temporary directory");
    let settings = format!(
        "sentinel monitor main 127.0.0.1 {port} 1\nsentinel down-after-milliseconds main 500\n\
         sentinel failover-timeout main 5000\n"
    );
    let file = directory.path().join("sentinel.conf");
    std::fs::write(&file, settings).expect("writable");
    let file = file.display().to_string();
    let sentinel = Server::start_sentinel(directory, &file).await;
    let knows = async {
        while !sentinel
            .ask(&["SENTINEL", "REPLICAS", "main"])
            .await
            .contains("slave")
        {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    patiently("the sentinel to know the replica", knows).await;
    let upstream = Upstream::start(Script::always(completion("hi"))).await;
    let lines = "windows = [{ requests = 400, every = \"24h\", anchor = \"first_use\" }]";
    let url = format!("redis+sentinel://127.0.0.1:{}/main", sentinel.port());
    let config = config(&url, &upstream, lines);
    let gateways = join_all((0..2).map(|_| Gateway::start(&config))).await;
    joined(&gateways, 2).await;
    assert_eq!(served(&load(&gateways, 20).await), 20);
    // What is not at the replica yet would be lost.
    let offset = async |server: &Server| {
        let said = server.ask(&["INFO", "replication"]).await;
        let mut lines = said.lines().map(str::to_owned);
        lines.find(|line| line.starts_with("master_repl_offset:"))
    };
    let replicated = async {
        while offset(&first).await != offset(&second).await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    patiently("the replica to have all of it", replicated).await;
    first.kill();
    let mut answered = 20;
    let promoted = async {
        loop {
            assert_eq!(served(&load(&gateways, 10).await), 10);
            answered += 10;
            if second.ask(&["ROLE"]).await.contains("master") {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    patiently("the replica to be promoted", promoted).await;
    for gateway in &gateways {
        metric(gateway, "llmproxy_state_backend_up 1\n").await;
    }
    joined(&gateways, 2).await;
    assert_eq!(served(&load(&gateways, 10).await), 10);
    answered += 10;
    // All of it is in the window, what was decided without a server as well.
    let names = second.ask(&["KEYS", "*:window:*"]).await;
    let window = names.lines().find(|line| line.contains(":window:"));
    let window = window.expect("the window was replicated").trim().to_owned();
    let mut told = None;
    for _ in 0..200 {
        let count = second.ask(&["HGET", &window, "r"]).await;
        told = count
            .lines()
            .last()
            .and_then(|line| line.trim().parse().ok());
        if told >= Some(answered) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(told, Some(answered), "the use is told");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_tls_is_joined_if_its_certificate_is_trusted() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let certified = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]);
    let certified = certified.expect("a certificate");
    let at = |name: &str| directory.path().join(name).display().to_string();
    let (certificate, key) = (at("cert.pem"), at("key.pem"));
    std::fs::write(&certificate, certified.cert.pem()).expect("writable");
    std::fs::write(&key, certified.signing_key.serialize_pem()).expect("writable");
    let tls = free_port().to_string();
    let options = [
        "--tls-port",
        &tls,
        "--tls-cert-file",
        &certificate,
        "--tls-key-file",
        &key,
        "--tls-ca-cert-file",
        &certificate,
        "--tls-auth-clients",
        "no",
    ];
    let Some(server) = Server::start_with(&options).await else {
        return;
    };
    let upstream = Upstream::start(Script::always(completion("hi"))).await;
    let url = format!("rediss://localhost:{tls}/0");
    let config = config(&url, &upstream, "max_concurrent_per_key = 1");
    let trusting = Home::with_config(&config).env("SSL_CERT_FILE", &certificate);
    let gateway = Gateway::start_in(trusting, &[]).await;
    metric(&gateway, "llmproxy_state_backend_up 1\n").await;
    assert_eq!(gateway.chat(CHAT).await.status, 200);
    assert_eq!(
        server
            .number(&["ZCARD", "llmproxy:v1:{group}:instances"])
            .await,
        1
    );
    let other = Gateway::start(&config).await;
    other.said("the shared state is away").await;
    assert_eq!(other.chat(CHAT).await.status, 200);
}
