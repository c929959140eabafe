//! Who serves: rotation, priorities, conversations, the fair cycle.

use super::{credential, serve, serve_session, until_state};
use crate::client::{CHAT, Request};
use crate::fake::openai;
use crate::fake::reply::Gate;
use crate::fake::script::Script;
use crate::fake::upstream::Upstream;
use crate::harness::{Gateway, keys, pair};

fn fine() -> Script {
    Script::always(openai::completion("hi"))
}

/// A 429 for so many seconds.
fn limited(seconds: u32) -> crate::fake::reply::Reply {
    openai::rate_limited().header("retry-after", &seconds.to_string())
}

#[tokio::test]
async fn the_lowest_priority_number_serves_while_it_can() {
    let all = keys(3);
    let script = Script::new()
        .cycle(&all[1], [openai::completion("hi"), limited(60)])
        .others([openai::completion("hi")]);
    let upstream = Upstream::start(script).await;
    let entries: Vec<_> = [3, 1, 2]
        .iter()
        .zip(&all)
        .map(|(priority, key)| format!("{{ key = \"{key}\", priority = {priority} }}"))
        .collect();
    let gateway = Gateway::start(&format!(
        "[providers.fake]\nkind = \"openai\"\nbase_url = \"{}\"\nrotation = \"balanced\"\napi_keys = [{}]\n",
        upstream.base_url(),
        entries.join(", "),
    ))
    .await;
    assert_eq!(serve(&gateway).await, "2");
    // It is limited now; the next priority takes over and stays.
    for _ in 0..3 {
        assert_eq!(serve(&gateway).await, "3");
    }
    assert_eq!(upstream.calls(&all[0]), 0);
}

#[tokio::test]
async fn expiring_finishes_the_window_that_is_open() {
    let window = "windows = [{ requests = 3, every = \"1h\", anchor = \"first_use\" }]\n";
    let settings = format!("rotation = \"expiring\"\n{window}[routing]\naffinity = false\n");
    let (_upstream, gateway) = pair(fine(), 3, &settings).await;
    let document = gateway.get("/v1/quota-stats").await.json();
    assert_eq!(document["providers"]["fake"]["rotation_mode"], "expiring");
    let mut served = Vec::new();
    for _ in 0..9 {
        served.push(serve(&gateway).await);
    }
    for three in served.chunks(3) {
        assert!(three.iter().all(|by| *by == three[0]), "{served:?}");
    }
}

#[tokio::test]
async fn balanced_with_tolerance_spreads_use() {
    let settings =
        "rotation = \"balanced\"\nrotation_tolerance = 3.0\n[routing]\naffinity = false\n";
    let (upstream, gateway) = pair(fine(), 3, settings).await;
    for _ in 0..60 {
        assert_eq!(gateway.chat(CHAT).await.status, 200);
    }
    for key in keys(3) {
        let calls = upstream.calls(&key);
        assert!((12..=28).contains(&calls), "{calls} of 60");
    }
}

#[tokio::test]
async fn concurrent_requests_spread_in_sequential_order_too() {
    let gate = Gate::new();
    let script = Script::always(openai::completion("hi").gated(&gate));
    let (upstream, gateway) = pair(script, 3, "[routing]\naffinity = false\n").await;
    let mut connections = Vec::new();
    for number in 1..=3 {
        let mut connection = gateway.connect().await;
        connection.send(&Request::chat(CHAT)).await;
        upstream.asked(number).await;
        connections.push(connection);
    }
    assert!(keys(3).iter().all(|key| upstream.calls(key) == 1));
    gate.open(3);
    for mut connection in connections {
        assert_eq!(connection.response().await.status, 200);
    }
}

#[tokio::test]
async fn a_conversation_stays_with_its_key_and_leaves_one_that_is_limited() {
    let all = keys(4);
    let gate = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let is_limited = std::sync::Arc::clone(&gate);
    let first = all[0].clone();
    let script = Script::new().answer(move |request| {
        let is_first = request.key.as_deref() == Some(first.as_str());
        if is_first && is_limited.load(std::sync::atomic::Ordering::Relaxed) {
            limited(60)
        } else {
            openai::completion("hi")
        }
    });
    let settings = "rotation = \"balanced\"\nrotation_tolerance = 0.0\n";
    let (_upstream, gateway) = pair(script, 4, settings).await;
    let mut homes = Vec::new();
    for session in ["a", "b", "c", "d"] {
        homes.push(serve_session(&gateway, session).await);
    }
    let different: std::collections::BTreeSet<_> = homes.iter().collect();
    assert_eq!(different.len(), 4, "sessions spread: {homes:?}");
    for _ in 0..3 {
        for (session, home) in ["a", "b", "c", "d"].iter().zip(&homes) {
            assert_eq!(serve_session(&gateway, session).await, *home);
        }
    }
    gate.store(true, std::sync::atomic::Ordering::Relaxed);
    let moved = homes
        .iter()
        .position(|home| home == "1")
        .expect("somebody is on key 1");
    let session = ["a", "b", "c", "d"][moved];
    let new_home = serve_session(&gateway, session).await;
    assert_ne!(new_home, "1");
    for _ in 0..3 {
        assert_eq!(
            serve_session(&gateway, session).await,
            new_home,
            "it moved once"
        );
    }
}

#[tokio::test]
async fn without_affinity_a_conversation_rotates() {
    let settings =
        "rotation = \"balanced\"\nrotation_tolerance = 0.0\n[routing]\naffinity = false\n";
    let (_upstream, gateway) = pair(fine(), 2, settings).await;
    assert_ne!(
        serve_session(&gateway, "a").await,
        serve_session(&gateway, "a").await
    );
}

#[tokio::test]
async fn in_a_fair_cycle_an_exhausted_key_waits_for_the_others_to_have_their_turn() {
    for (is_fair, third) in [(true, "3"), (false, "1")] {
        let all = keys(3);
        let script = Script::new()
            .cycle(
                &all[0],
                [
                    openai::completion("hi"),
                    limited(2),
                    openai::completion("hi"),
                ],
            )
            .cycle(&all[1], [openai::completion("hi"), limited(60)])
            .cycle(&all[2], [openai::completion("hi")]);
        let settings = format!(
            "fair_cycle = {{ enabled = {is_fair}, exhaustion_threshold = \"1s\" }}\n\
             [routing]\naffinity = false\n"
        );
        let (_upstream, gateway) = pair(script, 3, &settings).await;
        assert_eq!(serve(&gateway).await, "1");
        assert_eq!(serve(&gateway).await, "2", "the first is limited");
        let turn = credential(&gateway, "1").await["fair_cycle"]["m1"].clone();
        assert_eq!(turn["exhausted"], is_fair, "{turn}");
        until_state(&gateway, "1", "ready").await;
        // The second is limited as well: the first could serve, and was used most.
        assert_eq!(serve(&gateway).await, third, "fair: {is_fair}");
    }
}

#[tokio::test]
async fn a_fair_cycle_never_refuses() {
    let all = keys(2);
    let script = Script::new()
        .cycle(&all[0], [limited(2), openai::completion("hi")])
        .cycle(&all[1], [limited(600)]);
    let settings = "fair_cycle = { enabled = true, exhaustion_threshold = \"1s\" }\n";
    let (_upstream, gateway) = pair(script, 2, settings).await;
    // Both are exhausted; the request waits for the first to come back.
    assert_eq!(serve(&gateway).await, "1");
    assert_eq!(serve(&gateway).await, "1");
}
