//! Time: deadlines that answer early, attempts given up or raced before the first token.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::{assert_cooling, credential, served_by};
use crate::client::{CHAT, Request, Response, STREAM};
use crate::fake::openai;
use crate::fake::reply::{Ending, Gate, Reply};
use crate::fake::script::Script;
use crate::harness::{Gateway, keys, pair};

#[tokio::test]
async fn a_wait_past_the_deadline_is_told_at_once() {
    let limited = openai::rate_limited().header("retry-after", "100");
    let settings = "[routing]\ndeadline = \"60s\"\n";
    let (_upstream, gateway) = pair(Script::always(limited), 1, settings).await;
    let began = Instant::now();
    assert_cooling(&gateway.chat(CHAT).await, 100.0);
    assert_cooling(&gateway.chat(CHAT).await, 100.0);
    assert!(
        began.elapsed() < Duration::from_secs(50),
        "it waited for the deadline"
    );
}

#[tokio::test]
async fn nobody_waits_on_one_key_while_another_is_idle() {
    let all = keys(2);
    let script = Script::new()
        .once(&all[0], [openai::rate_limited().header("retry-after", "8")])
        .cycle(&all[1], [openai::completion("hi")]);
    let (_upstream, gateway) = pair(script, 2, "").await;
    let began = Instant::now();
    assert_eq!(served_by(&gateway.chat(CHAT).await), "2");
    assert!(began.elapsed() < Duration::from_secs(8), "it waited");
}

#[tokio::test]
async fn a_key_that_is_silent_for_too_long_is_left_for_the_next() {
    let role_then_nothing = Reply::sse([openai::role()]).ending(Ending::Stall);
    for (body, mute, good) in [
        (CHAT, Reply::silence(), openai::completion("hi")),
        (STREAM, Reply::silence(), openai::stream(&["hi"])),
        (STREAM, role_then_nothing, openai::stream(&["hi"])),
    ] {
        let all = keys(2);
        let script = Script::new().once(&all[0], [mute]).cycle(&all[1], [good]);
        let settings = "[routing]\nfirst_token_timeout = \"200ms\"\n";
        let (_upstream, gateway) = pair(script, 2, settings).await;
        let answer = gateway.chat(body).await;
        assert_eq!(served_by(&answer), "2");
        assert_eq!(answer.header("x-llmproxy-attempts"), Some("2"));
        assert_eq!(
            gateway.provider("fake").await["ready"],
            2,
            "once is no blame"
        );
    }
}

#[tokio::test]
async fn keys_that_are_all_silent_are_504() {
    let settings = "[routing]\nfirst_token_timeout = \"50ms\"\nmax_attempts = 3\n";
    let (_upstream, gateway) = pair(Script::always(Reply::silence()), 2, settings).await;
    let answer = gateway.chat(CHAT).await;
    assert_eq!(
        (answer.status, answer.error().1.as_str()),
        (504, "upstream_timeout")
    );
    // Of these some may have been given up before they came to a busy upstream.
    let attempts = answer.header("x-llmproxy-attempts");
    assert!(matches!(attempts, Some("2" | "3")), "{attempts:?}");
}

#[tokio::test]
async fn a_hedge_serves_when_the_first_key_is_slow() {
    for (body, good) in [
        (CHAT, openai::completion("hi")),
        (STREAM, openai::stream(&["hi"])),
    ] {
        let all = keys(2);
        let script = Script::new()
            .once(&all[0], [Reply::silence()])
            .once(&all[1], [good]);
        let (upstream, gateway) = pair(script, 2, "[routing]\nhedge_after = \"100ms\"\n").await;
        let answer = gateway.chat(body).await;
        assert_eq!(served_by(&answer), "2");
        // The other call is given up and its key is not blamed.
        upstream.left(1).await;
        let first = credential(&gateway, "1").await;
        assert_eq!(
            (&first["state"], &first["active_requests"]),
            (&"ready".into(), &0.into())
        );
        assert_eq!(gateway.provider("fake").await["ready"], 2);
    }
}

#[tokio::test]
async fn the_first_key_serves_if_it_is_faster_after_all() {
    let all = keys(2);
    let gate = Gate::new();
    let script = Script::new()
        .once(&all[0], [openai::completion("hi").gated(&gate)])
        .once(&all[1], [Reply::silence()]);
    let (upstream, gateway) = pair(script, 2, "[routing]\nhedge_after = \"50ms\"\n").await;
    let mut connection = gateway.connect().await;
    connection.send(&Request::chat(CHAT)).await;
    upstream.asked(2).await;
    gate.open(1);
    assert_eq!(served_by(&connection.response().await), "1");
    assert_eq!(gateway.provider("fake").await["ready"], 2);
}

#[tokio::test]
async fn a_hedge_that_fails_leaves_the_first_in_the_race() {
    let all = keys(2);
    let gate = Gate::new();
    let script = Script::new()
        .once(&all[0], [openai::completion("hi").gated(&gate)])
        .once(&all[1], [openai::rate_limited()]);
    let (upstream, gateway) = pair(script, 2, "[routing]\nhedge_after = \"50ms\"\n").await;
    let mut connection = gateway.connect().await;
    connection.send(&Request::chat(CHAT)).await;
    upstream.asked(2).await;
    super::until_state(&gateway, "2", "cooling").await;
    gate.open(1);
    assert_eq!(served_by(&connection.response().await), "1");
}

#[tokio::test]
async fn a_first_call_that_fails_leaves_the_hedge_in_the_race() {
    let all = keys(2);
    let (failing, good) = (Gate::new(), Gate::new());
    let script = Script::new()
        .once(&all[0], [openai::rate_limited().gated(&failing)])
        .once(&all[1], [openai::completion("hi").gated(&good)]);
    let (upstream, gateway) = pair(script, 2, "[routing]\nhedge_after = \"50ms\"\n").await;
    let mut connection = gateway.connect().await;
    connection.send(&Request::chat(CHAT)).await;
    upstream.asked(2).await;
    failing.open(1);
    super::until_state(&gateway, "1", "cooling").await;
    good.open(1);
    let answer = connection.response().await;
    assert_eq!(served_by(&answer), "2");
    assert_eq!(answer.header("x-llmproxy-attempts"), Some("2"));
}

#[tokio::test]
async fn with_one_key_there_is_nothing_to_hedge_with() {
    let gate = Gate::new();
    let script = Script::new().once(&keys(1)[0], [openai::completion("hi").gated(&gate)]);
    let (upstream, gateway) = pair(script, 1, "[routing]\nhedge_after = \"20ms\"\n").await;
    let mut connection = gateway.connect().await;
    connection.send(&Request::chat(CHAT)).await;
    upstream.asked(1).await;
    gate.open(1);
    assert_eq!(served_by(&connection.response().await), "1");
}

/// What a request took beside its calls, in milliseconds (each of them rounded down).
async fn beyond_its_calls(gateway: &Gateway, answer: &Response) -> u64 {
    let id = answer.header("x-request-id").expect("an id");
    let trail = gateway.get(&format!("/v1/requests/{id}")).await.json();
    let ms = |part: &Value| part["ms"].as_u64().expect("a time");
    let calls = trail["attempts"].as_array().expect("a list");
    ms(&trail).saturating_sub(calls.iter().map(ms).sum())
}

#[tokio::test]
async fn r6_a_limit_costs_one_call_and_a_key_is_used_again_when_its_rest_ends() {
    // Each key serves once and is then limited: every request but the first takes two calls.
    let all = keys(41);
    let limit = |wait: &str| openai::rate_limited().header("retry-after-ms", wait);
    let script = all.iter().fold(Script::new(), |script, key| {
        script.cycle(key, [openai::completion("hi"), limit("900000")])
    });
    let (_upstream, gateway) = pair(script, 41, "[routing]\naffinity = false\n").await;
    let mut connection = gateway.connect().await;
    let mut least = u64::MAX;
    for number in 0..41 {
        connection.send(&Request::chat(CHAT)).await;
        let answer = connection.response().await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let attempts = if number == 0 { "1" } else { "2" };
        assert_eq!(answer.header("x-llmproxy-attempts"), Some(attempts));
        if number > 0 {
            least = least.min(beyond_its_calls(&gateway, &answer).await);
        }
    }
    // The least of forty: a busy machine adds to all others.
    assert!(least <= 5, "{least} ms");

    let script = Script::new().cycle(&all[0], [limit("400"), openai::completion("hi")]);
    let (_upstream, gateway) = pair(script, 1, "").await;
    let rest = Duration::from_millis(400);
    let mut shortest = Duration::MAX;
    for _ in 0..10 {
        let began = Instant::now();
        assert_eq!(gateway.chat(CHAT).await.status, 200);
        shortest = shortest.min(began.elapsed());
        assert!(shortest >= rest, "{shortest:?}");
        if shortest < rest + Duration::from_millis(250) {
            return;
        }
    }
    panic!("at the best {shortest:?} after a rest of {rest:?}");
}
