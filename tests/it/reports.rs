//! `status`, `usage` and `explain` as a user meets them, and `creds reset` beside a running server.

use crate::client::{CHAT, Request};
use crate::commands::{assert_refused, json};
use crate::fake::openai;
use crate::fake::script::Script;
use crate::fake::upstream::Upstream;
use crate::harness::{Gateway, Home, keys, pair, patiently, provider};

/// Waits until all that the gateway knows is where another process can read it.
async fn write_down(gateway: &Gateway) {
    let reload = Request::post("/v1/quota-stats", "{}");
    assert_eq!(gateway.send(&reload).await.status, 200);
}

/// Two keys, of which the first is rate-limited, after one request.
async fn after_a_request() -> (Upstream, Gateway, String) {
    let script = Script::new()
        .cycle(&keys(2)[0], [openai::rate_limited()])
        .others([openai::completion("hi")]);
    let (upstream, gateway) = pair(script, 2, "").await;
    let answer = gateway.chat(CHAT).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let id = answer.header("x-request-id").unwrap_or_default().to_owned();
    write_down(&gateway).await;
    (upstream, gateway, id)
}

#[tokio::test]
async fn status_tells_what_quota_stats_tell() {
    let (_upstream, gateway, _) = after_a_request().await;
    let url = format!("http://{}", gateway.address());
    for arguments in [
        &["status", "--json"][..],
        &["status", "--json", "--url", &url],
    ] {
        let status = json(&gateway.home().run_beside(arguments, "").await);
        let served = gateway.get("/v1/quota-stats").await.json();
        for document in [&status, &served] {
            let fake = &document["providers"]["fake"];
            let first = &fake["credentials"]["fake/1"];
            assert_eq!(first["state"], "cooling", "{arguments:?} {document}");
            let second = &fake["credentials"]["fake/2"];
            assert_eq!(second["totals"]["output_tokens"], 7, "{document}");
            assert_eq!(second["full_path"], "fake/2", "{document}");
        }
        let names = |document: &serde_json::Value| {
            let members = document["providers"]["fake"].as_object().cloned();
            members
                .unwrap_or_default()
                .keys()
                .cloned()
                .collect::<Vec<_>>()
        };
        assert_eq!(names(&status), names(&served));
    }
    let table = gateway.home().run_beside(&["status"], "").await;
    for text in ["sequential, 1 of 2 ready", "fake/1  cooling", "…e1f0"] {
        assert!(table.stdout.contains(text), "{text} in {table:?}");
    }
}

#[tokio::test]
async fn status_of_a_gateway_that_is_not_there_says_what_to_do() {
    let home = Home::new();
    let arguments = ["status", "--url", "http://127.0.0.1:9"];
    let refused = home.run_beside(&arguments, "").await;
    assert_refused(&refused, 1, "127.0.0.1:9");
}

#[tokio::test]
async fn usage_sums_by_what_was_asked() {
    let (_upstream, gateway, _) = after_a_request().await;
    let home = gateway.home();
    for (by, name) in [
        ("provider", "fake"),
        ("model", "fake/m1"),
        ("credential", "fake/2"),
        ("client", "anyone"),
    ] {
        let document = json(&home.run_beside(&["usage", "--by", by, "--json"], "").await);
        assert_eq!(document["by"], by);
        let row = &document["rows"][0];
        assert_eq!(row[by], name, "{document}");
        assert_eq!(
            (&row["requests"], &row["failures"], &row["total_tokens"]),
            (&1.into(), &0.into(), &18.into()),
            "{document}"
        );
    }
    let csv = home.run_beside(&["usage", "--csv"], "").await.stdout;
    assert!(csv.starts_with("day,requests,failures,"), "{csv}");
    assert_eq!(csv.lines().count(), 2, "{csv}");
    let table = home.run_beside(&["usage"], "").await.stdout;
    assert!(table.starts_with("DAY"), "{table}");
    let wrong = home
        .run_beside(&["usage", "--since", "yesterday"], "")
        .await;
    assert_eq!(wrong.code, 2, "{wrong:?}");
}

#[tokio::test]
async fn what_was_just_served_is_told_at_once() {
    let script = Script::new().others([openai::completion("hi")]);
    let (_upstream, gateway) = pair(script, 1, "").await;
    // A machine that is busy may keep the writer from its turn: it gets some more.
    for served in 1..=5 {
        let answer = gateway.chat(CHAT).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let used = gateway.home().run_beside(&["usage", "--json"], "").await;
        if json(&used)["rows"][0]["requests"] != served {
            continue;
        }
        let last = ["explain", "last", "--json"];
        let trail = json(&gateway.home().run_beside(&last, "").await);
        assert_eq!(
            trail["request"]["id"],
            answer.header("x-request-id").unwrap_or_default()
        );
        return;
    }
    panic!("no request was told of right after it was served");
}

#[tokio::test]
async fn explain_tells_a_request_by_its_id_and_the_last_failed_one_without() {
    let (_upstream, gateway, id) = after_a_request().await;
    let home = gateway.home();
    let quiet = home.run_beside(&["explain"], "").await;
    assert_eq!((quiet.code, quiet.stdout.as_str()), (0, ""), "{quiet:?}");
    let beginning = id.get(..12).unwrap_or(&id);
    let told = home.run_beside(&["explain", beginning], "").await;
    for text in [
        id.as_str(),
        "rate_limit",
        "passed to the next credential",
        "served with 200",
    ] {
        assert!(told.stdout.contains(text), "{text} in {told:?}");
    }
    let unknown = gateway.chat(r#"{"model":"nowhere/m","messages":[]}"#).await;
    let id = unknown
        .header("x-request-id")
        .unwrap_or_default()
        .to_owned();
    write_down(&gateway).await;
    let trail = json(&home.run_beside(&["explain", "--json"], "").await);
    assert_eq!(trail["request"]["id"], id.as_str());
    assert_eq!(
        (&trail["status"], &trail["ending"]),
        (&404.into(), &"failed".into())
    );
    let refused = home.run_beside(&["explain", "ffffffffffff"], "").await;
    assert_refused(&refused, 1, "ffffffffffff");
}

#[tokio::test]
async fn each_of_many_requests_is_explained_however_busy_the_server() {
    let (_upstream, gateway) = pair(Script::always(openai::completion("hi")), 2, "").await;
    // More than are written to the state in a second.
    let sent = (0..500).map(|_| gateway.chat(CHAT));
    let answers = patiently("500 answers", futures_util::future::join_all(sent)).await;
    let ids: Vec<&str> = answers
        .iter()
        .filter_map(|answer| answer.header("x-request-id"))
        .collect();
    assert_eq!(ids.len(), 500);
    let gateway = &gateway;
    let asked = ids.iter().map(|id| async move {
        let trail = gateway.get(&format!("/v1/requests/{id}")).await.json();
        assert_eq!(trail["request"]["id"], *id, "{trail}");
    });
    patiently("500 trails", futures_util::future::join_all(asked)).await;
    let home = gateway.home();
    for id in ids.iter().rev().take(3) {
        let told = home.run_beside(&["explain", &id[..16]], "").await;
        assert!(told.stdout.contains(id), "{told:?}");
        assert!(told.stdout.contains("served with 200"), "{told:?}");
    }
}

/// Sends until the gateway serves; the test fails if that takes a minute.
async fn served_again(gateway: &Gateway) {
    let asking = async {
        while gateway.chat(CHAT).await.status != 200 {
            // The gateway looks for others' changes twice a second; nothing tells when it has.
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    patiently("an answer", asking).await;
}

#[tokio::test]
async fn a_reset_counts_for_a_running_server() {
    let key = &keys(1)[0];
    let script = Script::new().once(key, [openai::rate_limited(), openai::completion("hi")]);
    let upstream = Upstream::start(script).await;
    let config = provider("fake", &upstream, &keys(1)) + "[routing]\ndeadline = \"1s\"\n";
    let gateway = Gateway::start(&config).await;
    assert_eq!(gateway.chat(CHAT).await.status, 429);
    let unread = gateway.get("/v1/quota-stats").await.json();
    assert_eq!(
        unread["providers"]["fake"]["credentials"]["fake/1"]["state"],
        "cooling"
    );
    write_down(&gateway).await;
    let home = gateway.home();
    let other = ["creds", "reset", "fake/1", "--model", "other"];
    assert_eq!(home.run_beside(&other, "").await.code, 0);
    let reset = ["creds", "reset", "fake/1", "--model", "fake/m1"];
    let reset = home.run_beside(&reset, "").await;
    assert_eq!(reset.code, 0, "{reset:?}");
    served_again(&gateway).await;
}

#[tokio::test]
async fn a_dead_key_that_is_enabled_serves_again() {
    let key = &keys(1)[0];
    let banned = openai::error(
        403,
        "permission_error",
        "account_deactivated",
        "Your account is deactivated",
    );
    let script = Script::new().once(key, [banned, openai::completion("hi")]);
    let upstream = Upstream::start(script).await;
    let config = provider("fake", &upstream, &keys(1)) + "[routing]\ndeadline = \"1s\"\n";
    let gateway = Gateway::start(&config).await;
    assert_eq!(gateway.chat(CHAT).await.status, 503);
    write_down(&gateway).await;
    let enabled = gateway
        .home()
        .run_beside(&["creds", "enable", "fake/1"], "")
        .await;
    assert_eq!(enabled.code, 0, "{enabled:?}");
    served_again(&gateway).await;
}
