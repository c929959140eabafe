//! When one credential fails, another answers, and the client never notices.

use std::time::{Duration, SystemTime};

use crate::client::{CHAT, Connection, Request, STREAM};
use crate::fake::openai;
use crate::fake::reply::{Ending, Reply};
use crate::fake::script::Script;
use crate::fake::upstream::Upstream;
use crate::harness::{keys, pair, patiently};

/// Short limits, so that silence is noticed within a test's patience.
const BRISK: &str = "[timeouts]\nfirst_byte = \"300ms\"\nstream_idle = \"300ms\"\n";

/// Faults before any content: the first attempt meets it, a later one answers.
async fn assert_hidden(what: &str, fault: Reply, body: &str, good: Reply, expected: &str) {
    let script = Script::new().others_once([fault, good]);
    let (upstream, gateway) = pair(script, 2, BRISK).await;
    let answer = gateway.chat(body).await;
    assert_eq!(answer.status, 200, "{what}: {}", answer.text());
    assert_eq!(answer.text(), expected, "{what}");
    assert!(answer.complete, "{what}");
    assert_eq!(answer.header("x-llmproxy-attempts"), Some("2"), "{what}");
    assert_eq!(upstream.requests().len(), 2, "{what}");
}

#[tokio::test]
async fn a_failing_first_attempt_is_hidden() {
    let body = openai::completion_body("hi");
    let quota = || {
        openai::error(
            429,
            "insufficient_quota",
            "insufficient_quota",
            "You exceeded your current quota, please check your plan and billing details.",
        )
    };
    for (what, fault) in [
        ("429", openai::rate_limited()),
        (
            "429 with a hint",
            openai::rate_limited().header("retry-after", "30"),
        ),
        ("429 without a body", Reply::json(429, "")),
        (
            "429 in HTML",
            Reply::text(429, "text/html", "<h1>slow down</h1>"),
        ),
        ("401", openai::bad_key()),
        ("402", openai::no_money()),
        (
            "403",
            openai::error(
                403,
                "permission_error",
                "invalid_api_key",
                "Your API key is revoked",
            ),
        ),
        ("no quota", quota()),
        ("500", openai::broken()),
        (
            "502 in HTML",
            Reply::text(502, "text/html", "<h1>Bad gateway</h1>"),
        ),
        (
            "503",
            openai::error(
                503,
                "server_error",
                "overloaded",
                "Overloaded, please retry",
            ),
        ),
        (
            "529",
            openai::error(529, "overloaded_error", "overloaded", "Overloaded"),
        ),
        ("a reset", Reply::reset()),
        ("a close", Reply::raw("", Ending::Close)),
        ("junk", Reply::raw("SSH-2.0-OpenSSH_9.2\r\n", Ending::Close)),
        (
            "half a head",
            Reply::raw("HTTP/1.1 200 OK\r\ncontent-", Ending::Close),
        ),
        ("silence", Reply::silence()),
        ("an empty 200", Reply::json(200, "")),
        ("an empty object", Reply::json(200, "{}")),
        (
            "HTML in a 200",
            Reply::text(200, "text/html", "<html>log in</html>"),
        ),
        ("cut JSON", openai::completion("hi").cut(40, Ending::Close)),
        (
            "reset JSON",
            openai::completion("hi").cut(40, Ending::Reset),
        ),
        (
            "stalled JSON",
            openai::completion("hi").cut(40, Ending::Stall),
        ),
        ("broken JSON", Reply::json(200, r#"{"id":"x","choices":[{"#)),
        (
            "an error in a 200",
            Reply::json(
                200,
                openai::error_body("rate_limit_error", "rate_limit_exceeded", "slow"),
            ),
        ),
    ] {
        assert_hidden(what, fault, CHAT, openai::completion("hi"), &body).await;
    }
}

#[tokio::test]
async fn a_stream_that_fails_before_content_is_hidden() {
    let expected = openai::frames(&["hi"]).concat();
    let error = format!(
        "data: {}\n\n",
        openai::error_body("server_error", "overloaded", "Overloaded")
    );
    let role = openai::role;
    for (what, fault) in [
        ("429", openai::rate_limited()),
        ("a reset", Reply::reset()),
        ("silence", Reply::silence()),
        ("no frame", Reply::sse::<String>([])),
        ("an error first", Reply::sse([error.clone()])),
        (
            "an error after the role",
            Reply::sse([role(), error.clone()]),
        ),
        (
            "a comment, then an error",
            Reply::sse([": ping\n\n".to_owned(), role(), error]),
        ),
        (
            "the role, then a close",
            Reply::sse([role()]).ending(Ending::Close),
        ),
        (
            "the role, then a reset",
            Reply::sse([role()]).ending(Ending::Reset),
        ),
        (
            "the role, then silence",
            Reply::sse([role()]).ending(Ending::Stall),
        ),
        ("the role, then an end", Reply::sse([role()])),
        (
            "half a frame",
            Reply::sse(["data: {\"choices\":[{\"del"]).ending(Ending::Close),
        ),
        ("HTML", Reply::text(200, "text/html", "<html>log in</html>")),
    ] {
        assert_hidden(what, fault, STREAM, openai::stream(&["hi"]), &expected).await;
    }
}

#[tokio::test]
async fn a_refused_key_is_left_alone() {
    let all = keys(2);
    for fault in [openai::bad_key(), openai::no_money()] {
        let script = Script::new()
            .once(&all[0], [fault])
            .cycle(&all[1], [openai::completion("hi")]);
        let (_upstream, gateway) = pair(script, 2, "").await;
        for _ in 0..5 {
            assert_eq!(gateway.chat(CHAT).await.status, 200);
        }
        assert_eq!(gateway.provider("fake").await["ready"], 1);
    }
}

#[tokio::test]
async fn of_two_keys_with_one_rate_limited_the_client_sees_only_successes() {
    let all = keys(2);
    let limited = openai::rate_limited().header("retry-after", "60");
    for bad in 0..2 {
        let script = Script::new()
            .cycle(&all[bad], [limited.clone()])
            .cycle(&all[1 - bad], [openai::completion("hi")]);
        let (upstream, gateway) = pair(script, 2, "").await;
        for _ in 0..20 {
            assert_eq!(gateway.chat(CHAT).await.status, 200);
        }
        assert!(
            upstream.calls(&all[bad]) <= 1,
            "a cooling key was asked again"
        );
    }
}

#[tokio::test]
async fn a_short_wait_inside_the_deadline_is_waited_out() {
    let soon = openai::rate_limited().header("retry-after-ms", "300");
    let script = Script::new().others_once([soon, openai::completion("hi")]);
    let (upstream, gateway) = pair(script, 1, "").await;
    let answer = gateway.chat(CHAT).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(upstream.requests().len(), 2);
}

/// With one key and no patience the client is told the wait: it must be the one the vendor named.
async fn assert_wait(what: &str, seconds: i64, reply: Reply) {
    let settings = "[routing]\ndeadline = \"200ms\"\n";
    let (_upstream, gateway) = pair(Script::new().others_once([reply]), 1, settings).await;
    let answer = gateway.chat(CHAT).await;
    assert_eq!(answer.status, 429, "{what}: {}", answer.text());
    let wait = answer.header("retry-after").expect(what).parse::<i64>();
    let wait = wait.expect("whole seconds");
    let slack = 3 + seconds / 10;
    assert!(
        (wait - seconds).abs() <= slack,
        "{what}: {wait} instead of {seconds}"
    );
}

#[tokio::test]
async fn every_hint_in_a_header_is_understood() {
    let limited = openai::rate_limited;
    let now = SystemTime::now();
    let date = httpdate::fmt_http_date(now + Duration::from_secs(41));
    let epoch = now
        .duration_since(SystemTime::UNIX_EPOCH)
        .expect("after 1970");
    let epoch = epoch.as_secs() + 40;
    let reset = |kind: &str, value: &str| {
        limited()
            .header(&format!("x-ratelimit-remaining{kind}"), "0")
            .header(&format!("x-ratelimit-reset{kind}"), value)
    };
    for (what, seconds, reply) in [
        ("whole seconds", 40, limited().header("retry-after", "40")),
        ("a fraction", 40, limited().header("retry-after", "39.5")),
        ("a date", 40, limited().header("retry-after", &date)),
        (
            "milliseconds",
            40,
            limited().header("retry-after-ms", "40000"),
        ),
        (
            "ms before s",
            40,
            limited()
                .header("retry-after", "90")
                .header("retry-after-ms", "40000"),
        ),
        ("epoch seconds", 40, reset("", &epoch.to_string())),
        ("epoch milliseconds", 40, reset("", &format!("{epoch}000"))),
        ("requests", 40, reset("-requests", "40s")),
        ("tokens", 360, reset("-tokens", "6m0s")),
    ] {
        assert_wait(what, seconds, reply).await;
    }
}

#[tokio::test]
async fn every_hint_in_a_body_is_understood() {
    let says =
        |message: &str| openai::error(429, "rate_limit_error", "rate_limit_exceeded", message);
    let info = |delay: &str| {
        let body = serde_json::json!({"error": {
            "code": 429, "status": "RESOURCE_EXHAUSTED", "message": "Quota exceeded",
            "details": [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay}],
        }});
        Reply::json(429, body.to_string())
    };
    for (what, seconds, reply) in [
        ("RetryInfo", 40, info("40s")),
        ("RetryInfo with a fraction", 40, info("39.6s")),
        (
            "seconds",
            40,
            says("Rate limit reached. Please try again in 40s. Visit us."),
        ),
        ("minutes", 360, says("Please try again in 6m0s.")),
        ("milliseconds", 40, says("Please try again in 40000ms.")),
        (
            "hours",
            12130,
            says("Your quota will reset after 3h22m10s."),
        ),
    ] {
        assert_wait(what, seconds, reply).await;
    }
}

#[tokio::test]
async fn absurd_hints_are_ignored() {
    for absurd in [
        "-5",
        "1e309",
        "NaN",
        "99999999999999999999",
        "soon",
        "",
        "315360000",
    ] {
        // What remains is `rate_limit_default`.
        let reply = openai::rate_limited().header("retry-after", absurd);
        assert_wait(absurd, 60, reply).await;
    }
}

#[tokio::test]
async fn a_limit_for_one_model_leaves_the_others() {
    let script = Script::new().answer(|request| {
        if request.text().contains(r#""model":"m1""#) {
            openai::rate_limited().header("retry-after", "60")
        } else {
            openai::completion("hi")
        }
    });
    let (_upstream, gateway) = pair(script, 1, "[routing]\ndeadline = \"200ms\"\n").await;
    assert_eq!(gateway.chat(CHAT).await.status, 429);
    assert_eq!(gateway.chat(&CHAT.replace("m1", "m2")).await.status, 200);
}

#[tokio::test]
async fn a_redirect_takes_no_key_anywhere() {
    let trap = Upstream::start(Script::new()).await;
    for status in [301, 302, 303, 307, 308] {
        let away = Reply::json(status, "").header(
            "location",
            &format!("{}/v1/chat/completions", trap.origin()),
        );
        let script = Script::new().others_once([away, openai::completion("hi")]);
        let (_upstream, gateway) = pair(script, 2, "").await;
        assert_eq!(gateway.chat(CHAT).await.status, 200, "{status}");
        assert_eq!(trap.connections(), 0, "{status} was followed");
    }
}

#[tokio::test]
async fn a_compressed_answer_nobody_asked_for_is_not_mangled() {
    let reply = openai::completion("hi").gzipped();
    let script = Script::new().others([reply]);
    let (upstream, gateway) = pair(script, 1, "").await;
    let answer = gateway.chat(CHAT).await;
    let asked = upstream.requests()[0]
        .header("accept-encoding")
        .map(str::to_owned);
    assert!(
        asked.is_none_or(|value| value == "identity"),
        "compression was asked for"
    );
    if answer.status == 200 {
        assert_eq!(answer.header("content-encoding"), Some("gzip"));
        assert_eq!(answer.body[..2], [0x1f, 0x8b]);
    } else {
        assert_eq!(answer.status, 502, "{}", answer.text());
    }
}

#[tokio::test]
async fn a_balanced_pool_uses_its_keys_alike() {
    let script = Script::always(openai::completion("hi"));
    let (upstream, gateway) = pair(
        script,
        4,
        concat!(
            "rotation = \"balanced\"\nrotation_tolerance = 0.0\n",
            "[routing]\naffinity = false\n"
        ),
    )
    .await;
    for _ in 0..40 {
        assert_eq!(gateway.chat(CHAT).await.status, 200);
    }
    for key in keys(4) {
        assert_eq!(upstream.calls(&key), 10);
    }
}

#[tokio::test]
async fn a_sequential_pool_stays_on_its_key() {
    let (upstream, gateway) = pair(Script::always(openai::completion("hi")), 3, "").await;
    for _ in 0..10 {
        assert_eq!(gateway.chat(CHAT).await.status, 200);
    }
    assert_eq!(upstream.calls(&keys(1)[0]), 10);
}

#[tokio::test]
async fn a_dead_upstream_is_not_hammered() {
    let (upstream, gateway) = pair(Script::always(openai::broken()), 20, "").await;
    for _ in 0..3 {
        assert_eq!(gateway.send(&Request::chat(CHAT)).await.status, 502);
    }
    let attempts = upstream.requests().len();
    assert!(attempts <= 24, "{attempts} attempts for three requests");
}

#[tokio::test]
async fn while_one_key_is_healthy_nobody_notices_the_others() {
    let all = keys(6);
    let limited = openai::rate_limited;
    let script = Script::new()
        .cycle(&all[0], [limited()])
        .cycle(&all[1], [openai::bad_key()])
        .cycle(&all[2], [openai::no_money()])
        .cycle(
            &all[3],
            [
                limited().header("retry-after-ms", "50"),
                openai::completion("hi"),
            ],
        )
        .cycle(
            &all[4],
            [
                openai::completion("hi"),
                limited().header("retry-after", "1"),
            ],
        )
        .cycle(&all[5], [openai::completion("hi")]);
    let (_upstream, gateway) = pair(script, 6, "rotation = \"balanced\"\n").await;
    let address = gateway.address();
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..16 {
        clients.spawn(async move {
            let mut connection = Connection::open(address).await;
            for _ in 0..15 {
                connection.send(&Request::chat(CHAT)).await;
                let answer = connection.response().await;
                assert_eq!(answer.status, 200, "{}", answer.text());
            }
        });
    }
    patiently("sixteen clients", clients.join_all()).await;
}
