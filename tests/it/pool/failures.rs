//! What a failure means: the user's rules, the provider's own trouble, doors half open.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;

use super::{IMPATIENT, assert_cooling, credential, serve, served_by};
use crate::client::CHAT;
use crate::fake::openai;
use crate::fake::reply::Reply;
use crate::fake::script::Script;
use crate::harness::{Gateway, keys, pair, patiently, size};

/// A rule of the user's for 418s, and a provider whose first key answers with one.
async fn ruled(
    rule: &str,
    first: impl IntoIterator<Item = Reply>,
) -> (crate::fake::upstream::Upstream, Gateway) {
    let script = Script::new()
        .cycle(&keys(1)[0], first)
        .others([openai::completion("hi")]);
    pair(script, 2, &format!("[[routing.errors]]\n{rule}\n")).await
}

fn teapot() -> Reply {
    openai::error(418, "teapot", "short_and_stout", "I am a teapot today")
}

#[tokio::test]
async fn a_rule_that_fails_answers_at_once_and_blames_nobody() {
    // Without the rule this would be a rate limit, and the second key would serve.
    let limited = openai::rate_limited();
    let (upstream, gateway) = ruled("status = 429\naction = \"fail\"", [limited]).await;
    let answer = gateway.chat(CHAT).await;
    assert_eq!(answer.status, 429, "{}", answer.text());
    assert!(
        answer.message().contains("Rate limit reached"),
        "{}",
        answer.text()
    );
    assert_eq!(upstream.requests().len(), 1);
    assert_eq!(gateway.provider("fake").await["ready"], 2);
}

#[tokio::test]
async fn a_rule_that_rotates_takes_the_next_key_and_blames_nobody() {
    // Without the rule this would be a bad request, answered at once.
    let rule = "provider = \"fake\"\nbody_contains = \"teapot today\"\naction = \"rotate\"";
    let (_upstream, gateway) = ruled(rule, [teapot()]).await;
    assert_eq!(serve(&gateway).await, "2");
    assert_eq!(gateway.provider("fake").await["ready"], 2);
}

#[tokio::test]
async fn a_rule_that_retries_asks_the_same_key_again() {
    let replies = [teapot(), openai::completion("hi")];
    let (upstream, gateway) = ruled("status = 418\naction = \"retry\"", replies).await;
    assert_eq!(serve(&gateway).await, "1");
    assert_eq!(upstream.calls(&keys(1)[0]), 2);
    assert_eq!(gateway.provider("fake").await["ready"], 2);
}

#[tokio::test]
async fn a_rule_that_cools_rests_the_key_for_so_long() {
    let (upstream, gateway) = ruled("status = 418\naction = \"cool:90s\"", [teapot()]).await;
    assert_eq!(serve(&gateway).await, "2");
    let rest = credential(&gateway, "1").await["cooldowns"]["m1"].clone();
    assert_eq!(
        (&rest["reason"], &rest["source"]),
        (&"rule".into(), &"rule".into())
    );
    let left = rest["remaining_seconds"].as_f64().unwrap_or_default();
    assert!((30.0..=90.0).contains(&left), "{left}");
    assert_eq!(serve(&gateway).await, "2");
    assert_eq!(upstream.calls(&keys(1)[0]), 1);
}

#[tokio::test]
async fn a_rule_that_kills_takes_the_key_out_for_good() {
    let (upstream, gateway) = ruled("status = 418\naction = \"dead\"", [teapot()]).await;
    assert_eq!(serve(&gateway).await, "2");
    let dead = credential(&gateway, "1").await;
    assert_eq!(dead["state"], "dead");
    let reason = dead["state_reason"].as_str().unwrap_or_default();
    assert!(reason.contains("teapot"), "{reason}");
    assert_eq!(upstream.calls(&keys(1)[0]), 1);
}

#[tokio::test]
async fn rules_for_others_do_not_count_and_the_first_that_fits_does() {
    let other = "provider = \"openai\"\nstatus = 418\naction = \"rotate\"";
    let (_upstream, gateway) = ruled(other, [teapot()]).await;
    assert_eq!(gateway.chat(CHAT).await.status, 418);
    let two = "status = 418\nbody_contains = \"stout\"\naction = \"rotate\"\n\
               [[routing.errors]]\nstatus = 418\naction = \"dead\"";
    let (_upstream, gateway) = ruled(two, [teapot()]).await;
    assert_eq!(serve(&gateway).await, "2");
    assert_eq!(credential(&gateway, "1").await["state"], "ready");
}

#[tokio::test]
async fn three_keys_failing_alike_are_the_providers_fault() {
    let limited = openai::rate_limited;
    let script =
        Script::new().others_once([limited(), limited(), limited(), openai::completion("hi")]);
    let (upstream, mut gateway) = pair(script, 5, "").await;
    // The provider backs off for a second, and nobody rests: the same request is served after it.
    let answer = gateway.chat(CHAT).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(upstream.requests().len(), 4);
    assert_eq!(gateway.provider("fake").await["ready"], 5);
    gateway.line_with("failed alike").await;
}

#[tokio::test]
async fn waits_the_provider_named_are_believed_of_each_key() {
    let limited = openai::rate_limited().header("retry-after", "60");
    let (_upstream, gateway) = pair(Script::always(limited), 4, IMPATIENT).await;
    let answer = gateway.chat(CHAT).await;
    assert_eq!(answer.status, 429, "{}", answer.text());
    let row = gateway.provider("fake").await;
    assert!(row["cooling"].as_u64() >= Some(3), "{row}");
}

#[tokio::test]
async fn provider_wide_zero_switches_that_off() {
    let settings = format!("[cooldown]\nprovider_wide_after = 0\n{IMPATIENT}");
    let (upstream, gateway) = pair(Script::always(openai::rate_limited()), 4, &settings).await;
    assert_cooling(&gateway.chat(CHAT).await, 60.0);
    assert_eq!(upstream.requests().len(), 4);
    assert_eq!(gateway.provider("fake").await["cooling"], 4);
}

#[tokio::test]
async fn a_long_rest_lets_one_real_request_through_and_success_reopens() {
    let far = openai::rate_limited().header("retry-after", "7200");
    let script = Script::new().once(
        &keys(1)[0],
        [far, openai::completion("hi"), openai::completion("hi")],
    );
    let (_upstream, gateway) = pair(script, 1, "[cooldown]\nprobe_after = \"1s\"\n").await;
    assert_eq!(served_by(&gateway.chat(CHAT).await), "1");
    assert_eq!(credential(&gateway, "1").await["state"], "ready");
    assert_eq!(serve(&gateway).await, "1");
}

#[tokio::test]
async fn a_failed_probe_doubles_the_wait_and_the_answer_names_the_real_end() {
    let far = openai::rate_limited().header("retry-after", "7200");
    let script = Script::new().once(&keys(1)[0], [far.clone(), far]);
    let settings = "[cooldown]\nprobe_after = \"1s\"\n[routing]\ndeadline = \"2500ms\"\n";
    let (_upstream, gateway) = pair(script, 1, settings).await;
    // The probe at one second fails; the next would be two seconds later.
    assert_cooling(&gateway.chat(CHAT).await, 7200.0);
    assert_eq!(credential(&gateway, "1").await["state"], "exhausted");
}

#[tokio::test]
async fn a_refused_key_is_dead_only_once_it_is_confirmed() {
    let all = keys(2);
    let script = Script::new()
        .once(&all[0], [openai::bad_key(), openai::bad_key()])
        .cycle(&all[1], [openai::completion("hi")]);
    let settings = "[cooldown]\nauth_error = \"300ms\"\n[routing]\naffinity = false\n";
    let upstream = crate::fake::upstream::Upstream::start(script).await;
    let config = crate::harness::provider("fake", &upstream, &all) + settings;
    let gateway = Gateway::start(&config).await;
    assert_eq!(serve(&gateway).await, "2");
    let first = credential(&gateway, "1").await["state"].clone();
    assert!(first == "cooling" || first == "ready", "{first}");
    super::until_state(&gateway, "1", "ready").await;
    // The second is in use; the first is asked again only when it is picked.
    let home = gateway.home();
    let off = home.run_beside(&["creds", "disable", "fake/2"], "").await;
    assert_eq!(off.code, 0, "{off:?}");
    let refused = async {
        while gateway.chat(CHAT).await.status == 200 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    patiently("the first key's second refusal", refused).await;
    assert_eq!(credential(&gateway, "1").await["state"], "dead");
}

#[tokio::test]
async fn a_reset_of_one_model_leaves_the_others_resting() {
    let limited = openai::rate_limited().header("retry-after", "600");
    let script = Script::new().others_once([limited.clone(), limited, openai::completion("hi")]);
    let (_upstream, gateway) = pair(script, 1, IMPATIENT).await;
    assert_cooling(&gateway.chat(CHAT).await, 600.0);
    assert_cooling(&gateway.chat(&super::chat_with("m2")).await, 600.0);
    let write = crate::client::Request::post("/v1/quota-stats", "");
    assert_eq!(gateway.send(&write).await.status, 200);
    let reset = ["creds", "reset", "fake/1", "--model", "m1"];
    let reset = gateway.home().run_beside(&reset, "").await;
    assert_eq!(reset.code, 0, "{reset:?}");
    assert_eq!(gateway.send(&write).await.status, 200);
    assert_eq!(serve(&gateway).await, "1");
    let second = gateway.chat(&super::chat_with("m2")).await;
    assert_cooling(&second, 600.0);
    let nobody = ["creds", "reset", "fake/9"];
    let nobody = gateway.home().run_beside(&nobody, "").await;
    crate::commands::assert_refused(&nobody, 1, "fake/9");
}

#[tokio::test]
async fn a_broken_provider_is_not_hammered_by_many_requests() {
    let (upstream, gateway) = pair(Script::always(openai::broken()), 10, IMPATIENT).await;
    let requests = (0..300).map(|_| gateway.chat(CHAT));
    let answers = futures_util::future::join_all(requests).await;
    assert!(answers.iter().all(|answer| answer.status >= 429));
    let attempts = upstream.requests().len();
    // A fifth more than there were requests, and what is free while few calls are made.
    assert!(
        attempts <= 300 + 60 + 80,
        "{attempts} attempts for 300 requests"
    );
}

#[tokio::test]
async fn r5_an_outage_costs_few_calls_and_is_over_when_it_is_over() {
    let is_down = Arc::new(AtomicBool::new(true));
    let down = Arc::clone(&is_down);
    let script = Script::new().answer(move |_| {
        if down.load(Ordering::Relaxed) {
            openai::broken()
        } else {
            openai::completion("hi")
        }
    });
    let (upstream, gateway) = pair(script, 20, IMPATIENT).await;
    // A hundred requests a second; LLMPROXY_SECONDS=60 is an outage.
    let seconds = u64::try_from(size("LLMPROXY_SECONDS", 3)).unwrap_or(3);
    let over = Instant::now() + Duration::from_secs(seconds);
    let mut ticks = tokio::time::interval(Duration::from_millis(10));
    let (mut asking, mut requests) = (FuturesUnordered::new(), 0);
    while Instant::now() < over {
        tokio::select! {
            _ = ticks.tick() => {
                asking.push(gateway.chat(CHAT));
                requests += 1;
            }
            Some(answer) = asking.next() => assert!(answer.status >= 429, "{}", answer.text()),
        }
    }
    while let Some(answer) = asking.next().await {
        assert!(answer.status >= 429, "{}", answer.text());
    }
    let calls = upstream.requests().len();
    is_down.store(false, Ordering::Relaxed);
    let ended = Instant::now();
    let served = async {
        while gateway.chat(CHAT).await.status != 200 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    patiently("the first answer", served).await;
    let healed = ended.elapsed();
    let cooling = gateway.provider("fake").await["cooling"].clone();
    let _ = writeln!(
        std::io::stdout(),
        "{requests} requests in {seconds} s: {calls} calls, served {healed:?} after the end, {cooling} keys cooling"
    );
    assert!(
        calls <= 100.max(requests / 10),
        "{calls} calls for {requests} requests"
    );
    assert!(healed < Duration::from_secs(5), "{healed:?}");
    assert_eq!(cooling, 0);
}

#[tokio::test]
async fn r7_a_limit_of_all_keys_is_no_sweep_over_a_hundred() {
    let (upstream, gateway) = pair(Script::always(openai::rate_limited()), 100, IMPATIENT).await;
    let (mut most, requests) = (0, size("LLMPROXY_REQUESTS", 100));
    let mut asking = FuturesUnordered::new();
    for _ in 0..requests {
        asking.push(gateway.chat(CHAT));
        if asking.len() < 10 {
            continue;
        }
        let answer = asking.next().await.expect("ten are under way");
        let attempts = answer
            .header("x-llmproxy-attempts")
            .and_then(|text| text.parse().ok());
        most = most.max(attempts.unwrap_or(0_usize));
        assert!([429, 503].contains(&answer.status), "{}", answer.text());
    }
    while asking.next().await.is_some() {}
    let calls = upstream.requests().len();
    let _ = writeln!(
        std::io::stdout(),
        "{requests} requests: {calls} calls, at most {most} for one"
    );
    assert!(most <= 4, "{most} calls for one request");
    assert!(
        calls * 10 <= requests * 13,
        "{calls} calls for {requests} requests"
    );
}
