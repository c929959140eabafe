//! Windows, caps, concurrency and quota groups.

use std::time::Duration;

use jiff::{ToSpan, Zoned, tz::TimeZone};

use super::{
    IMPATIENT, assert_about, assert_cooling, chat_with, credential, retry_after, serve, served_by,
};
use crate::client::{CHAT, Request};
use crate::fake::openai;
use crate::fake::reply::Gate;
use crate::fake::script::Script;
use crate::fake::upstream::Upstream;
use crate::harness::{Gateway, keys, pair};

const HOUR: f64 = 3600.0;

fn fine() -> Script {
    Script::always(openai::completion("hi"))
}

/// Two keys of the tiers `free` (priority 2) and `paid` (priority 3), and what else the provider has.
async fn tiered(settings: &str, rest: &str) -> (Upstream, Gateway) {
    let upstream = Upstream::start(fine()).await;
    let all = keys(2);
    let config = format!(
        "[providers.fake]\nkind = \"openai\"\nbase_url = \"{}\"\napi_keys = [\n\
         {{ key = \"{}\", label = \"free\", tier = \"free\", priority = 2 }},\n\
         {{ key = \"{}\", label = \"paid\", tier = \"paid\", priority = 3 }},\n]\n{settings}\n{rest}",
        upstream.base_url(),
        all[0],
        all[1],
    );
    let gateway = Gateway::start(&config).await;
    (upstream, gateway)
}

/// Seconds until midnight somewhere, so many days after the next.
fn until_midnight(zone: &str, days: i64) -> f64 {
    let now = Zoned::now().with_time_zone(TimeZone::get(zone).expect("a zone"));
    let today = now.start_of_day().expect("a day has a start");
    let midnight = today.checked_add((1 + days).days()).expect("a day to come");
    midnight.duration_since(&now).as_secs_f64()
}

/// Seconds until the next Monday, midnight UTC.
fn until_monday() -> f64 {
    let today = Zoned::now().with_time_zone(TimeZone::UTC).weekday();
    until_midnight("UTC", 6 - i64::from(today.to_monday_zero_offset()))
}

#[tokio::test]
async fn a_full_window_ends_where_its_anchor_says_before_the_provider_refuses() {
    for (window, seconds) in [
        ("every = \"1h\", anchor = \"first_use\"", HOUR),
        ("every = \"1h\", anchor = \"rolling\"", HOUR + HOUR / 24.0),
        (
            "every = \"24h\", anchor = \"utc_midnight\"",
            until_midnight("UTC", 0),
        ),
        (
            "every = \"24h\", anchor = \"pacific_midnight\"",
            until_midnight("America/Los_Angeles", 0),
        ),
        ("every = \"7d\", anchor = \"utc_midnight\"", until_monday()),
        ("every = \"7d\", anchor = \"weekly\"", until_monday()),
    ] {
        let settings = format!("windows = [{{ requests = 2, {window} }}]\n{IMPATIENT}");
        let (upstream, gateway) = pair(fine(), 1, &settings).await;
        assert_eq!(gateway.chat(CHAT).await.status, 200, "{window}");
        assert_eq!(gateway.chat(CHAT).await.status, 200, "{window}");
        let refused = gateway.chat(CHAT).await;
        assert_eq!(refused.status, 429, "{window}: {}", refused.text());
        let wait = retry_after(&refused);
        // A rolling window forgets in twenty-fourths.
        let slack = if window.contains("rolling") {
            HOUR / 12.0
        } else {
            30.0
        };
        assert!(
            (wait - seconds).abs() <= slack,
            "{window}: {wait} instead of {seconds}"
        );
        assert_eq!(upstream.requests().len(), 2, "{window}");
        assert_eq!(
            credential(&gateway, "1").await["state"],
            "exhausted",
            "{window}"
        );
        // Another model is another class.
        assert_eq!(gateway.chat(&chat_with("m2")).await.status, 200, "{window}");
    }
}

#[tokio::test]
async fn a_request_waits_for_the_window_that_opens_in_time() {
    for anchor in ["first_use", "rolling"] {
        let window =
            format!("windows = [{{ requests = 1, every = \"1s\", anchor = \"{anchor}\" }}]\n");
        let (upstream, gateway) = pair(fine(), 1, &window).await;
        let began = std::time::Instant::now();
        assert_eq!(gateway.chat(CHAT).await.status, 200, "{anchor}");
        assert_eq!(gateway.chat(CHAT).await.status, 200, "{anchor}");
        assert!(
            began.elapsed() >= Duration::from_millis(900),
            "{anchor}: it did not wait"
        );
        assert_eq!(upstream.requests().len(), 2);
    }
}

#[tokio::test]
async fn a_window_of_tokens_fills_with_what_answers_used() {
    // An answer uses 18 tokens.
    let settings = format!("windows = [{{ tokens = 30, every = \"1h\" }}]\n{IMPATIENT}");
    let (_upstream, gateway) = pair(fine(), 1, &settings).await;
    assert_eq!(gateway.chat(CHAT).await.status, 200);
    assert_eq!(gateway.chat(CHAT).await.status, 200);
    assert_cooling(&gateway.chat(CHAT).await, HOUR);
    let window = &credential(&gateway, "1").await["model_usage"]["m1"]["windows"]["1h"];
    assert_eq!(
        (&window["total_tokens"], &window["token_limit"]),
        (&36.into(), &30.into())
    );
}

#[tokio::test]
async fn a_full_window_hands_over_to_the_next_key() {
    let settings = "windows = [{ models = [\"m1\"], requests = 3, every = \"1h\" }]\n";
    let (upstream, gateway) = pair(fine(), 2, settings).await;
    for _ in 0..6 {
        assert_eq!(gateway.chat(CHAT).await.status, 200);
    }
    for key in keys(2) {
        assert_eq!(upstream.calls(&key), 3);
    }
}

#[tokio::test]
async fn a_quota_group_counts_and_rests_as_one() {
    let groups = "quota_groups = { pro = [\"m1\", \"m2\"] }\n";
    let window = "windows = [{ models = [\"pro\"], requests = 2, every = \"1h\" }]\n";
    let settings = format!("{groups}{window}{IMPATIENT}");
    let (_upstream, gateway) = pair(fine(), 1, &settings).await;
    assert_eq!(gateway.chat(CHAT).await.status, 200);
    assert_eq!(gateway.chat(&chat_with("m2")).await.status, 200);
    assert_cooling(&gateway.chat(CHAT).await, HOUR);
    assert_cooling(&gateway.chat(&chat_with("m2")).await, HOUR);
    assert_eq!(gateway.chat(&chat_with("m3")).await.status, 200);
    let usage = &credential(&gateway, "1").await["group_usage"]["pro"];
    assert_eq!(usage["windows"]["1h"]["request_count"], 2, "{usage}");

    let limited = openai::rate_limited().header("retry-after", "60");
    let settings = format!("{groups}{IMPATIENT}");
    let script = Script::new().answer(move |request| {
        if request.text().contains("\"m1\"") {
            limited.clone()
        } else {
            openai::completion("hi")
        }
    });
    let (upstream, gateway) = pair(script, 1, &settings).await;
    assert_eq!(gateway.chat(CHAT).await.status, 429);
    assert_cooling(&gateway.chat(&chat_with("m2")).await, 60.0);
    assert_eq!(gateway.chat(&chat_with("m3")).await.status, 200);
    assert_eq!(upstream.requests().len(), 2, "a resting class was asked");
}

#[tokio::test]
async fn caps_of_every_form_hold_for_their_tier_and_rest_as_they_say() {
    let window = "windows = [{ requests = 10, every = \"1h\" }]\n";
    for (cap, served, seconds) in [
        ("tier = [\"free\"], limit = 2", 2, HOUR),
        ("tier = [\"free\"], limit = \"30%\"", 3, HOUR),
        ("tier = [\"free\"], limit = \"-8\"", 2, HOUR),
        ("tier = [\"2\"], limit = 2", 2, HOUR),
        (
            "tier = [\"free\", \"other\"], models = [\"m1\"], limit = 2",
            2,
            HOUR,
        ),
        ("limit = 2", 2, HOUR),
        (
            "tier = [\"free\"], limit = 2, cooldown = \"quota_reset\"",
            2,
            HOUR,
        ),
        (
            "tier = [\"free\"], limit = 2, cooldown = \"offset:30m\"",
            2,
            HOUR * 1.5,
        ),
        (
            "tier = [\"free\"], limit = 2, cooldown = \"fixed:10m\"",
            2,
            600.0,
        ),
        // Above the window's own limit a cap changes nothing.
        ("tier = [\"free\"], limit = 50", 10, HOUR),
    ] {
        let settings = format!("{window}caps = [{{ {cap} }}]\n");
        let (_upstream, gateway) = tiered(&settings, "").await;
        for _ in 0..served {
            assert_eq!(serve(&gateway).await, "free", "{cap}");
        }
        assert_eq!(serve(&gateway).await, "paid", "{cap}");
        let free = credential(&gateway, "free").await;
        let used = &free["model_usage"]["m1"];
        assert_eq!(used["custom_cap"]["limit"], served, "{cap}: {used}");
        if served < 10 {
            let rest = &free["cooldowns"]["m1"];
            assert_eq!(
                (&rest["reason"], &rest["source"]),
                (&"cap".into(), &"custom_cap".into())
            );
            let left = rest["remaining_seconds"].as_f64().unwrap_or_default();
            assert_about(left, seconds);
        }
    }
}

#[tokio::test]
async fn a_cap_is_found_by_any_spelling_of_its_model() {
    for name in ["m-1.5", "m_1_5", "M-1-5"] {
        let settings = format!("caps = [{{ models = [\"{name}\"], limit = 1 }}]\n{IMPATIENT}");
        let (_upstream, gateway) = pair(fine(), 1, &settings).await;
        assert_eq!(
            gateway.chat(&chat_with("m-1.5")).await.status,
            200,
            "{name}"
        );
        assert_eq!(
            gateway.chat(&chat_with("m-1.5")).await.status,
            429,
            "{name}"
        );
        assert_eq!(gateway.chat(CHAT).await.status, 200, "{name}");
    }
}

#[tokio::test]
async fn a_key_takes_its_optimum_first_then_its_most_and_then_nothing() {
    let gate = Gate::new();
    let script = Script::always(openai::completion("hi").gated(&gate));
    let limits = "optimal_concurrent_per_key = 1\nmax_concurrent_per_key = 2\n";
    let (upstream, gateway) = pair(script, 2, &format!("{limits}{IMPATIENT}")).await;
    let mut under_way = Vec::new();
    for number in 1..=4 {
        let mut connection = gateway.connect().await;
        connection.send(&Request::chat(CHAT)).await;
        upstream.asked(number).await;
        under_way.push(connection);
        let calls: Vec<_> = keys(2).iter().map(|key| upstream.calls(key)).collect();
        // Number two goes to the idle key; the others fill both.
        match number {
            2 => assert_eq!(calls, [1, 1]),
            4 => assert_eq!(calls, [2, 2]),
            _ => {}
        }
    }
    let busy = gateway.chat(CHAT).await;
    assert_eq!(
        (busy.status, busy.error().1.as_str()),
        (429, "all_credentials_busy")
    );
    gate.open(4);
    for mut connection in under_way {
        assert_eq!(connection.response().await.status, 200);
    }
}

#[tokio::test]
async fn a_priority_multiplies_how_much_a_key_takes() {
    let gate = Gate::new();
    let script = Script::always(openai::completion("hi").gated(&gate));
    let settings =
        format!("max_concurrent_per_key = 1\npriority_multipliers = {{ \"1\" = 3 }}\n{IMPATIENT}");
    let (upstream, gateway) = pair(script, 1, &settings).await;
    let mut under_way = Vec::new();
    for number in 1..=3 {
        let mut connection = gateway.connect().await;
        connection.send(&Request::chat(CHAT)).await;
        upstream.asked(number).await;
        under_way.push(connection);
    }
    assert_eq!(gateway.chat(CHAT).await.status, 429);
    gate.open(3);
    for mut connection in under_way {
        assert_eq!(served_by(&connection.response().await), "1");
    }
}

#[tokio::test]
async fn waiters_are_served_first_come_first_served() {
    let gate = Gate::new();
    let script = Script::always(openai::completion("hi").gated(&gate));
    let (upstream, gateway) = pair(script, 1, "max_concurrent_per_key = 1\n").await;
    let mut connections = Vec::new();
    for number in 0..4_u64 {
        let mut connection = gateway.connect().await;
        let body = CHAT.replace("\"hi\"", &format!("\"number {number}\""));
        connection.send(&Request::chat(&body)).await;
        // The first holds the slot, the others stand in the line before the next comes.
        let standing = async {
            let waiting = |document: serde_json::Value| {
                document["providers"]["fake"]["waiting_requests"].as_u64()
            };
            while waiting(gateway.get("/v1/quota-stats").await.json()) != Some(number) {
                tokio::task::yield_now().await;
            }
        };
        crate::harness::patiently("a place in the line", standing).await;
        connections.push(connection);
    }
    gate.open(4);
    for mut connection in connections {
        assert_eq!(connection.response().await.status, 200);
    }
    let order = upstream.requests();
    for (number, request) in order.iter().enumerate() {
        assert!(
            request.text().contains(&format!("number {number}")),
            "{number}"
        );
    }
}

#[tokio::test]
async fn an_answers_headers_correct_the_count_of_the_window_they_mean() {
    let says = |limit: &str, left: &str, reset: &str| {
        openai::completion("hi")
            .header("x-ratelimit-limit-requests", limit)
            .header("x-ratelimit-remaining-requests", left)
            .header("x-ratelimit-reset-requests", reset)
    };
    let settings = format!("windows = [{{ requests = 100, every = \"1h\" }}]\n{IMPATIENT}");
    // Somebody else has used this key: one request is left in the hour.
    let script = Script::new().others_once([says("100", "1", "50m"), says("100", "0", "50m")]);
    let (_upstream, gateway) = pair(script, 1, &settings).await;
    assert_eq!(gateway.chat(CHAT).await.status, 200);
    let window = &credential(&gateway, "1").await["model_usage"]["m1"]["windows"]["1h"];
    assert_eq!(
        (&window["request_count"], &window["remaining"]),
        (&99.into(), &1.into())
    );
    assert_eq!(gateway.chat(CHAT).await.status, 200);
    assert_eq!(gateway.chat(CHAT).await.status, 429, "and it is used up");
}

#[tokio::test]
async fn a_limit_a_second_that_is_used_up_is_not_the_hours() {
    let spent = openai::completion("hi")
        .header("x-ratelimit-limit-requests", "2")
        .header("x-ratelimit-remaining-requests", "0")
        .header("x-ratelimit-reset-requests", "300ms");
    let settings = "windows = [{ requests = 100, every = \"1h\" }]\n";
    let (upstream, gateway) = pair(Script::always(spent), 1, settings).await;
    for _ in 0..4 {
        assert_eq!(gateway.chat(CHAT).await.status, 200);
    }
    assert_eq!(upstream.requests().len(), 4);
    let window = &credential(&gateway, "1").await["model_usage"]["m1"]["windows"]["1h"];
    assert_eq!(
        (&window["request_count"], &window["limit"]),
        (&4.into(), &100.into())
    );
}

#[tokio::test]
async fn c34_r10_clients_that_wait_are_served_in_turn() {
    let gate = Gate::new();
    let script = Script::always(openai::completion("hi").gated(&gate));
    let clients = "max_concurrent_per_key = 1\n[server]\napi_keys = [\
        { name = \"big\", key = \"key-of-the-big-one\" }, { name = \"small\", key = \"key-of-the-small-one\" }]\n";
    let (upstream, gateway) = pair(script, 1, clients).await;
    let mut connections = Vec::new();
    for (number, client) in (0_u64..).zip(["big", "big", "big", "big", "small", "big"]) {
        let key = format!("key-of-the-{client}-one");
        let body = CHAT.replace("\"hi\"", &format!("\"number {number}\""));
        let mut connection = gateway.connect().await;
        let request = Request::chat(&body).header("x-api-key", &key);
        connection.send(&request).await;
        let standing = async {
            loop {
                let request = Request::get("/v1/quota-stats").header("x-api-key", &key);
                let document = gateway.send(&request).await.json();
                let waiting = &document["providers"]["fake"]["waiting_requests"];
                // The first is served: nothing in the line says that it has come.
                if waiting.as_u64() == Some(number) && !upstream.requests().is_empty() {
                    return;
                }
            }
        };
        crate::harness::patiently("a place in the line", standing).await;
        connections.push(connection);
    }
    gate.open(6);
    for mut connection in connections {
        assert_eq!(connection.response().await.status, 200);
    }
    let order: Vec<String> = upstream
        .requests()
        .iter()
        .map(|request| {
            let text = request.text();
            let (_, rest) = text.split_once("number ").expect("it is one of ours");
            rest[..1].to_owned()
        })
        .collect();
    // The first holds the credential; of the rest each client's first comes before any second.
    assert_eq!(order, ["0", "1", "4", "2", "3", "5"]);
}
