//! What several gateways that share their state have served: one sum, wherever it is asked for, that
//! nothing doubles and no flush loses.

use std::time::Duration;

use serde_json::Value;

use crate::client::{CHAT, Request};
use crate::cluster::{load, served, serving};
use crate::commands::json;
use crate::fake::openai::completion;
use crate::fake::script::Script;
use crate::fake::upstream::Upstream;
use crate::harness::{Gateway, keys, patiently, provider};
use crate::valkey::Server;

const CLIENT: &str = "[[server.clients]]\nname = \"laptop\"\nkey = \"laptop-key-0123456789\"\n";

/// What `llmproxy usage --json` prints beside a gateway.
async fn usage(gateway: &Gateway, arguments: &[&str]) -> Value {
    let mut all = vec!["usage", "--json"];
    all.extend_from_slice(arguments);
    json(&gateway.home().run_beside(&all, "").await)
}

/// Waits until what all served is so much, as one of them tells it.
async fn told(gateway: &Gateway, requests: u64) {
    let polling = async {
        while usage(gateway, &["--by", "provider"]).await["rows"][0]["requests"] != requests {
            // It is told every five seconds; nothing says when.
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    patiently("the sum to be told", polling).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn usage_and_status_tell_what_all_instances_served_together() {
    let Some((mut server, _upstream, gateways)) = serving(2, 2, "").await else {
        return;
    };
    assert_eq!(served(&load(&gateways, 6).await), 6);
    assert_eq!(gateways[0].chat(CHAT).await.status, 200);
    for gateway in &gateways {
        told(gateway, 7).await;
    }
    let sum = usage(&gateways[0], &["--by", "provider"]).await;
    assert_eq!(sum["scope"], "group", "{sum}");
    assert_eq!(sum["rows"][0]["provider"], "fake");
    let own = usage(&gateways[0], &["--own"]).await;
    assert_eq!(
        (&own["scope"], &own["rows"][0]["requests"]),
        (&"instance".into(), &4.into())
    );
    let beside = gateways[0].home().run_beside(&["usage"], "").await;
    assert!(
        beside.stderr.contains("all instances together (2"),
        "{beside:?}"
    );
    // A Redis that forgot it is told again, and nothing is counted twice.
    server.ask(&["FLUSHALL"]).await;
    let lost = usage(&gateways[0], &[]).await;
    let known = lost["rows"][0]["requests"].as_u64();
    assert!(known >= Some(4), "its own is known: {lost}");
    told(&gateways[0], 7).await;
    let today = async {
        loop {
            let document = gateways[1].get("/v1/quota-stats").await.json();
            let today = document["group"]["today"].clone();
            if today["requests"] == 7 {
                return today;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let today = patiently("the sum of today", today).await;
    assert_eq!(today["instances"], 2);
    let credentials = today["providers"]["fake"]["credentials"].as_object();
    let requests = credentials.into_iter().flatten();
    let requests: Option<u64> = requests.map(|(_, one)| one["requests"].as_u64()).sum();
    assert_eq!(requests, Some(7), "{today}");
    let status = gateways[1].home().run_beside(&["status"], "").await;
    assert!(
        status
            .stdout
            .contains("together since midnight UTC: 7 requests"),
        "{status:?}"
    );
    server.assert_no_canary().await;
    // Without it each knows its own, and says so.
    server.kill();
    let alone = gateways[0]
        .home()
        .run_beside(&["usage", "--json"], "")
        .await;
    assert!(alone.stderr.contains("this instance alone"), "{alone:?}");
    let alone = json(&alone);
    assert_eq!(
        (&alone["scope"], &alone["rows"][0]["requests"]),
        (&"instance".into(), &4.into())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_instance_served_that_has_ended_still_counts() {
    let Some(server) = Server::start().await else {
        return;
    };
    let upstream = Upstream::start(Script::always(completion("hi"))).await;
    let config = format!(
        "{}{CLIENT}{}",
        server.section(),
        provider("fake", &upstream, &keys(1))
    );
    let mut first = Gateway::start(&config).await;
    let request = Request::chat(CHAT).header("authorization", "Bearer laptop-key-0123456789");
    for _ in 0..3 {
        assert_eq!(first.send(&request).await.status, 200);
    }
    // What it has not told yet it tells when it leaves.
    first.signal("TERM");
    assert!(first.exited().await.success());
    let home = first.take_home();
    let second = Gateway::start(&config).await;
    assert_eq!(second.send(&request).await.status, 200);
    told(&second, 4).await;
    let sum = usage(&second, &["--by", "client"]).await;
    assert_eq!(sum["rows"][0]["client"], "laptop", "{sum}");
    assert_eq!(sum["rows"][0]["requests"], 4, "{sum}");
    assert!(!server.dump().await.contains("laptop"));
    // The same one again goes on where it was.
    let again = Gateway::start_in(home, &[]).await;
    assert_eq!(again.send(&request).await.status, 200);
    told(&again, 5).await;
    told(&second, 5).await;
}
