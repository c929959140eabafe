//! Outages rehearsed: the script language of the demo, and `simulate`.

use serde_json::Value;

use super::retry_after;
use crate::client::Response;
use crate::commands::json;
use crate::harness::{Finished, Gateway, Home};

const ECHO: &str = r#"{"model":"demo/echo","messages":[{"role":"user","content":"hello"}]}"#;

/// A demo that misbehaves so, whose callers want to know soon.
async fn demo(script: &str, deadline: &str) -> Gateway {
    let config = format!(
        "[providers.demo]\nscript = \"\"\"{script}\"\"\"\n\
         [routing]\ndeadline = \"{deadline}\"\n[timeouts]\nfirst_byte = \"300ms\"\nstream_idle = \"300ms\"\n"
    );
    Gateway::start_in(Home::with_config(&config), &["--demo"]).await
}

async fn ask(script: &str) -> Response {
    demo(script, "500ms").await.chat(ECHO).await
}

#[tokio::test]
async fn every_failure_class_can_be_rehearsed_for_all_keys() {
    for (script, status, code) in [
        ("all: rate-limit 60s", 429, "all_credentials_cooling"),
        ("all: quota 3h", 429, "all_credentials_cooling"),
        ("all: unauthorized", 503, "credentials_refused"),
        ("all: no-money", 503, "credentials_refused"),
        ("all: banned", 503, "credentials_refused"),
        ("all: forbidden", 404, "model_not_found"),
        ("all: action-needed", 503, "credentials_refused"),
        ("all: garbage", 502, "upstream_error"),
        ("all: context-length", 400, "context_length_exceeded"),
        ("all: bad-request", 400, "invalid_value"),
        ("all: not-found", 404, "model_not_found"),
        ("all: overloaded", 502, "upstream_error"),
        ("all: error", 502, "upstream_error"),
        ("all: empty", 502, "upstream_error"),
        ("all: stall", 504, "upstream_timeout"),
    ] {
        let answer = ask(script).await;
        assert_eq!(answer.status, status, "{script}: {}", answer.text());
        assert_eq!(answer.error().1, code, "{script}");
    }
}

#[tokio::test]
async fn the_waits_of_a_script_are_the_waits_told() {
    let rate = ask("all: rate-limit 60s").await;
    super::assert_about(retry_after(&rate), 60.0);
    let quota = ask("all: quota 3h").await;
    super::assert_about(retry_after(&quota), 3.0 * 3600.0);
}

#[tokio::test]
async fn trouble_with_one_key_is_never_noticed() {
    for fault in [
        "rate-limit 60s",
        "quota 3h",
        "unauthorized",
        "no-money",
        "banned",
        "action-needed",
        "garbage",
        "forbidden",
        "overloaded",
        "error",
        "empty",
        "stall",
        "stream-error",
        "slow 50ms",
    ] {
        let gateway = demo(&format!("key 1: {fault}"), "10s").await;
        for stream in ["false", "true"] {
            let body = ECHO.replace(
                r#""demo/echo","#,
                &format!(r#""demo/echo","stream":{stream},"#),
            );
            let answer = gateway.chat(&body).await;
            assert_eq!(answer.status, 200, "{fault}: {}", answer.text());
            assert!(
                answer.text().contains("hello"),
                "{fault}: {}",
                answer.text()
            );
        }
    }
}

#[tokio::test]
async fn a_cut_stream_ends_with_an_error_and_no_done() {
    let gateway = demo("all: cut 3", "1s").await;
    let body = ECHO
        .replace(r#""demo/echo","#, r#""demo/echo","stream":true,"#)
        .replace("hello", "one two three four five");
    let answer = gateway.chat(&body).await;
    let text = answer.text();
    assert!(text.contains("one") && !text.contains("five"), "{text}");
    assert!(
        text.contains("\"error\"") && !text.contains("[DONE]"),
        "{text}"
    );
}

#[tokio::test]
async fn a_script_knows_when() {
    let first = demo("all: bad-request first 2", "1s").await;
    // Each of the three keys counts for itself; their turns are drawn, so the last one may be late.
    let mut refused = 0;
    for _ in 0..100 {
        refused += usize::from(first.chat(ECHO).await.status == 400);
    }
    assert_eq!(refused, 6);
    let every = demo("all: bad-request every 1", "1s").await;
    assert_eq!(every.chat(ECHO).await.status, 400);
    let until = demo("all: bad-request until 1h", "1s").await;
    assert_eq!(until.chat(ECHO).await.status, 400);
    let after = demo("all: bad-request after 1h; # all well before", "1s").await;
    assert_eq!(after.chat(ECHO).await.status, 200);
    let lines = demo("all: bad-request until 1h # a comment\nkey 1: error", "1s").await;
    assert_eq!(lines.chat(ECHO).await.status, 400);
    let between = demo("keys 1 2 3: bad-request between 0s 1h", "1s").await;
    assert_eq!(between.chat(ECHO).await.status, 400);
}

#[test]
fn a_script_that_cannot_be_read_is_refused_with_the_rule() {
    for script in [
        "key 9: error",
        "all: explode",
        "all: rate-limit",
        "everybody: error",
        "all",
    ] {
        let config = format!("[providers.demo]\nscript = \"{script}\"\n");
        let home = Home::with_config(&config);
        let refused = home.run(&["serve", "--demo", "--port", "0"]);
        assert_eq!(refused.code, 2, "{script}: {refused:?}");
        assert!(refused.stderr.contains(script), "{script}: {refused:?}");
        assert!(refused.stderr.contains("hint:"), "{script}: {refused:?}");
    }
}

/// Two keys with fifty requests a day each, for a model they share with a group.
fn limited() -> Home {
    Home::with_config(
        "[providers.fake]\nkind = \"openai\"\nbase_url = \"http://127.0.0.1:9/v1\"\n\
         api_keys = [{ key = \"k1\", label = \"a\" }, { key = \"k2\", label = \"b\" }]\n\
         quota_groups = { pro = [\"m1\", \"m2\"] }\n\
         windows = [{ models = [\"pro\"], requests = 50, every = \"24h\", anchor = \"utc_midnight\" }]\n",
    )
}

fn simulate(home: &Home, arguments: &[&str]) -> Finished {
    let mut all = vec!["simulate"];
    all.extend_from_slice(arguments);
    home.run(&all)
}

#[test]
fn a_simulation_shows_when_each_credential_runs_dry_and_what_is_refused() {
    let home = limited();
    // About 240 requests a day meet 100 places.
    let run = simulate(
        &home,
        &["--for", "2d", "--rpm", "0.1666", "--seed", "5", "--json"],
    );
    assert_eq!(run.code, 0, "{run:?}");
    let reports = json(&run);
    let report = &reports[0];
    assert_eq!(report["provider"], "fake");
    let number = |value: &Value| value.as_u64().unwrap_or_default();
    let (served, refused) = (number(&report["served"]), number(&report["refused"]));
    assert_eq!(number(&report["requests"]), served + refused);
    assert_eq!(served, 200, "{report}");
    assert_eq!(
        number(&report["refusals"]["all_credentials_cooling"]),
        refused
    );
    let share = report["refused_share"].as_f64().unwrap_or_default();
    assert!((0.4..0.75).contains(&share), "{share}");
    for credential in report["credentials"].as_array().expect("credentials") {
        assert_eq!(credential["requests"], 100, "{credential}");
        assert_eq!(credential["dry_spells"], 2, "{credential}");
        let spell = &credential["spells"][0];
        assert_eq!(spell["class"], "pro", "{credential}");
        let until = spell["until"].as_str().unwrap_or_default();
        assert!(until.contains("T00:00:00"), "{spell}");
    }
}

#[test]
fn the_same_seed_gives_the_same_simulation_and_another_does_not() {
    let home = limited();
    let run = |seed: &str| {
        let run = simulate(
            &home,
            &["--for", "1d", "--rpm", "0.1", "--seed", seed, "--json"],
        );
        assert_eq!(run.code, 0, "{run:?}");
        run.stdout
    };
    assert_eq!(run("3"), run("3"));
    assert_ne!(run("3"), run("4"));
}

#[test]
fn a_simulation_reads_well() {
    let run = simulate(&limited(), &["--for", "1d", "--rpm", "0.1666"]);
    assert_eq!(run.code, 0, "{run:?}");
    for text in ["fake", "refused", "%", "fake/a", "fake/b", "DRY"] {
        assert!(run.stdout.contains(text), "{text}: {}", run.stdout);
    }
    assert!(run.stderr.is_empty(), "{}", run.stderr);
}

#[test]
fn a_simulation_that_cannot_be_played_says_why() {
    let home = limited();
    for arguments in [
        &["--rpm", "0"][..],
        &["--rpm", "-3"],
        &["--rpm", "nan"],
        &["--rpm", "1000000", "--for", "365d"],
        &["--for", "soon"],
    ] {
        let refused = simulate(&home, arguments);
        assert_eq!(refused.code, 2, "{arguments:?}: {refused:?}");
    }
    let nobody = simulate(&Home::new(), &[]);
    assert_eq!(nobody.code, 3, "{nobody:?}");
    assert!(nobody.stderr.contains("hint:"), "{nobody:?}");
}
