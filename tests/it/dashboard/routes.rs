//! The routes below `/dashboard`, without a browser.

use serde_json::Value;

use super::{Events, GUEST, LOCKED, OWNER, deed, limited};
use crate::client::{CHAT, Request, Response};
use crate::fake::openai;
use crate::fake::script::Script;
use crate::harness::{Gateway, keys, pair};

async fn as_owner(gateway: &Gateway, request: Request) -> Response {
    gateway.send(&request.header("x-api-key", OWNER)).await
}

fn id(answer: &Response) -> String {
    let id = answer.header("x-request-id");
    id.expect("every answer has one").to_owned()
}

/// A chart's sum over the hour.
fn total(traffic: &Value, name: &str) -> u64 {
    let minutes = traffic[name].as_array().expect("minutes");
    minutes.iter().filter_map(Value::as_u64).sum()
}

#[tokio::test]
async fn the_page_is_open_to_all_and_sealed_against_everything_else() {
    let (_upstream, gateway) = pair(Script::new(), 2, LOCKED).await;
    for path in ["/dashboard", "/dashboard/"] {
        let page = gateway.get(path).await;
        assert_eq!(page.status, 200);
        assert_eq!(
            page.header("content-type"),
            Some("text/html; charset=utf-8")
        );
        let policy = page.header("content-security-policy").expect("a policy");
        for part in [
            "default-src 'none'",
            "script-src 'sha256-",
            "style-src 'sha256-",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
        ] {
            assert!(policy.contains(part), "{part} in {policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        let text = page.text();
        assert!(text.contains("data-auth=\"key\""), "it asks for a key");
        assert!(!text.contains("fake"), "the bare page holds no data");
    }
    let request = Request::get("/dashboard/api/live");
    for answer in [
        gateway.get("/dashboard").await,
        gateway.send(&request).await,
    ] {
        for (name, value) in [
            ("cache-control", "no-store"),
            ("cross-origin-resource-policy", "same-origin"),
            ("referrer-policy", "no-referrer"),
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{name}");
        }
        let policy = answer.header("content-security-policy").expect("a policy");
        assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
    }
}

#[tokio::test]
async fn data_and_deeds_want_the_key() {
    let (_upstream, gateway) = pair(Script::new(), 2, LOCKED).await;
    let body = r#"{"credential":"fake/1"}"#;
    for request in [
        Request::get("/dashboard/api/live"),
        Request::get("/dashboard/api/credentials?provider=fake"),
        Request::get("/dashboard/api/requests/1"),
        deed("disable", body),
        deed("enable", body),
        deed("refresh", "{}"),
        deed("reset", body),
    ] {
        assert_eq!(gateway.send(&request).await.status, 401, "{request:?}");
        let wrong = request.clone().header("authorization", "Bearer wrong");
        assert_eq!(gateway.send(&wrong).await.status, 401, "{wrong:?}");
    }
    let document = as_owner(&gateway, Request::get("/v1/quota-stats")).await;
    let states = document.json()["providers"]["fake"]["credentials"].clone();
    assert_eq!(states["fake/1"]["state"], "ready", "nothing was done");
}

#[tokio::test]
async fn what_acts_wants_json_a_mark_and_its_own_origin() {
    // The worst case: a server that asks for no key, and any page may call its API.
    let settings = "[server]\ncors_origins = [\"*\"]\n";
    let (_upstream, gateway) = pair(Script::new(), 2, settings).await;
    let body = r#"{"credential":"fake/1"}"#;
    let path = "/dashboard/api/disable";
    let own = format!("http://{}", gateway.address());
    let plain = Request::new("POST", path).header("content-length", "0");
    for (request, why) in [
        (plain.clone(), "no body"),
        (plain.header("content-type", "text/plain"), "a form's type"),
        (Request::post(path, body), "no mark"),
        (
            deed("disable", body).header("origin", "http://evil.example"),
            "another origin",
        ),
        (
            deed("disable", body).header("origin", "null"),
            "a sandboxed frame",
        ),
        (
            deed("disable", body).header("origin", "http://127.0.0.1:1"),
            "another port",
        ),
        (
            deed("disable", body).header("sec-fetch-site", "cross-site"),
            "another site",
        ),
        (
            Request::get("/dashboard/api/live").header("origin", "http://evil.example"),
            "a look from another origin",
        ),
        (
            Request::get("/dashboard/api/live").header("sec-fetch-site", "same-site"),
            "a look from a neighbour",
        ),
    ] {
        let answer = gateway.send(&request).await;
        assert_eq!(answer.status, 403, "{why}: {}", answer.text());
        assert_eq!(answer.error().0, "permission_error", "{why}");
        assert_eq!(answer.header("access-control-allow-origin"), None, "{why}");
    }
    let foreign = deed("disable", body).header("host", "evil.example");
    assert_eq!(gateway.send(&foreign).await.status, 421);
    let preflight = Request::new("OPTIONS", path)
        .header("origin", "http://evil.example")
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "x-llmproxy-dashboard");
    let answer = gateway.send(&preflight).await;
    assert_eq!(answer.status, 405);
    assert_eq!(answer.header("access-control-allow-headers"), None);
    let right = deed("disable", body)
        .header("origin", &own)
        .header("sec-fetch-site", "same-origin");
    assert_eq!(gateway.send(&right).await.status, 200);
}

#[tokio::test]
async fn deeds_do_what_the_commands_do() {
    let (_upstream, gateway) = pair(limited(), 2, LOCKED).await;
    assert_eq!(as_owner(&gateway, Request::chat(CHAT)).await.status, 200);
    let listed = async |first: &str, second: &str| {
        gateway.listed("fake/1", first).await;
        gateway.listed("fake/2", second).await;
    };
    let act = async |what: &str, id: &str| {
        let body = format!("{{\"credential\":\"{id}\"}}");
        let answer = as_owner(&gateway, deed(what, &body)).await;
        assert_eq!(answer.status, 200, "{what}: {}", answer.text());
        answer.json()["message"].as_str().map(str::to_owned)
    };
    listed("cooling", "ready").await;
    assert_eq!(
        act("reset", "fake/1").await.as_deref(),
        Some("reset fake/1")
    );
    listed("ready", "ready").await;
    act("disable", "fake/2").await;
    listed("ready", "disabled").await;
    // At once, and not only for other processes.
    let answer = as_owner(&gateway, Request::chat(CHAT)).await;
    assert_eq!(answer.status, 429, "{}", answer.text());
    act("enable", "fake/2").await;
    act("enable", "fake/1").await;
    listed("ready", "ready").await;
    assert_eq!(as_owner(&gateway, Request::chat(CHAT)).await.status, 200);
    for (body, status) in [
        (r#"{"credential":"fake/9"}"#, 404),
        (r#"{"credential":"elsewhere/1"}"#, 404),
        (r#"{"credential":"<b>"}"#, 404),
        (r#"{"credential":7}"#, 400),
        (r#"{"credential":"fake/1","model":"m"}"#, 400),
        ("{", 400),
    ] {
        let answer = as_owner(&gateway, deed("reset", body)).await;
        assert_eq!(answer.status, status, "{body}: {}", answer.text());
    }
    let long = format!("{{\"credential\":\"{}\"}}", "x".repeat(8000));
    assert_eq!(
        as_owner(&gateway, deed("reset", &long)).await.status,
        413,
        "a long body"
    );
}

#[tokio::test]
async fn quotas_are_asked_for_with_the_same_words_as_by_quota_stats() {
    let (_upstream, gateway) = pair(Script::new(), 1, LOCKED).await;
    for body in ["{}", r#"{"provider":"fake"}"#, r#"{"credential":"fake/1"}"#] {
        let answer = as_owner(&gateway, deed("refresh", body)).await;
        assert_eq!(answer.status, 200, "{body}: {}", answer.text());
        let message = answer.json()["message"].to_string();
        assert!(message.contains("no endpoint for quotas"), "{message}");
    }
    for body in [
        r#"{"provider":"nobody"}"#,
        r#"{"credential":"fake/9"}"#,
        r#"{"scope":"all"}"#,
    ] {
        let answer = as_owner(&gateway, deed("refresh", body)).await;
        assert_eq!(answer.status, 400, "{body}: {}", answer.text());
    }
}

#[tokio::test]
async fn a_watcher_sees_a_request_with_its_trail() {
    let (_upstream, gateway) = pair(limited(), 2, LOCKED).await;
    let mut events = Events::watch(&gateway, OWNER).await;
    let told = events.until("event: traffic").await;
    assert!(told.starts_with("event: hello\n"), "{told}");
    assert_eq!(events.last("hello")["may_act"], true);
    assert_eq!(events.last("pools")[0]["states"]["ready"], 2);
    let answer = as_owner(&gateway, Request::chat(CHAT)).await;
    let sent = id(&answer);
    events.until(&sent).await;
    let row = &events.last("requests")[0];
    assert_eq!((&row["id"], &row["status"]), (&sent.into(), &200.into()));
    assert_eq!(
        (&row["credential"], &row["attempts"]),
        (&"fake/2".into(), &2.into())
    );
    events.until("\"cooling\":1").await;
    let pool = &events.last("pools")[0];
    assert_eq!(pool["page"][0]["state"], "cooling", "{pool}");
    assert!(pool["page"][0]["until"].is_i64(), "{pool}");
    let traffic = events.last("traffic");
    let total = |name: &str| total(&traffic, name);
    assert_eq!((total("requests"), total("failures")), (1, 0));
    assert_eq!((total("input"), total("output")), (11, 7));
    let path = format!("/dashboard/api/requests/{}", id(&answer));
    let trail = as_owner(&gateway, Request::get(&path)).await.json();
    assert_eq!(trail["attempts"][0]["verdict"], "rate_limit", "{trail}");
}

#[tokio::test]
async fn charts_go_on_after_a_restart() {
    let (_upstream, mut gateway) = pair(limited(), 2, "").await;
    assert_eq!(gateway.chat(CHAT).await.status, 200);
    gateway.signal("TERM");
    assert!(gateway.exited().await.success());
    let gateway = Gateway::start_in(gateway.take_home(), &[]).await;
    let mut events = Events::watch(&gateway, "").await;
    // The last hour is read beside the first pictures.
    let traffic = loop {
        events.until("event: traffic").await;
        let traffic = events.last("traffic");
        if total(&traffic, "requests") > 0 {
            break traffic;
        }
        events.forget();
    };
    let tokens = (total(&traffic, "input"), total(&traffic, "output"));
    assert_eq!((total(&traffic, "requests"), tokens), (1, (11, 7)));
}

#[tokio::test]
async fn a_guest_sees_its_own_requests_and_changes_nothing() {
    let script = Script::always(openai::completion("hi"));
    let (_upstream, gateway) = pair(script, 1, LOCKED).await;
    let as_guest = async |request: Request| gateway.send(&request.header("x-api-key", GUEST)).await;
    let owners = id(&as_owner(&gateway, Request::chat(CHAT)).await);
    let own = id(&as_guest(Request::chat(CHAT)).await);
    let mut events = Events::watch(&gateway, GUEST).await;
    let told = events.until(&own).await;
    assert_eq!(events.last("hello")["may_act"], false);
    assert!(!told.contains(&owners), "{told}");
    let path = |id: &str| format!("/dashboard/api/requests/{id}");
    assert_eq!(as_guest(Request::get(&path(&owners))).await.status, 404);
    assert_eq!(as_guest(Request::get(&path(&own))).await.status, 200);
    let looked = as_owner(&gateway, Request::get(&path(&own))).await;
    assert_eq!(looked.status, 200, "the owner sees all");
    for what in ["disable", "enable", "reset", "refresh"] {
        let answer = as_guest(deed(what, r#"{"credential":"fake/1"}"#)).await;
        assert_eq!(answer.status, 403, "{what}");
        assert_eq!(answer.error().1, "not_the_owner", "{what}");
    }
}

#[tokio::test]
async fn a_large_pool_is_told_of_in_pages() {
    let (_upstream, gateway) = pair(Script::new(), 500, "").await;
    let mut events = Events::watch(&gateway, "any").await;
    let told = events.until("event: traffic").await;
    assert!(told.len() < 16 << 10, "{} bytes", told.len());
    let pool = &events.last("pools")[0];
    assert_eq!(
        (&pool["credentials"], &pool["matching"]),
        (&500.into(), &500.into())
    );
    assert_eq!(pool["page"].as_array().map(Vec::len), Some(20));
    let page = async |query: &str| {
        let path = format!("/dashboard/api/credentials?{query}");
        gateway.send(&Request::get(&path)).await
    };
    let second = page("provider=fake&skip=20").await.json();
    assert_eq!(second["page"][0]["id"], "fake/21");
    let found = page("provider=fake&query=fake%2F49").await.json();
    assert_eq!(
        (&found["matching"], &found["page"][0]["id"]),
        (&11.into(), &"fake/49".into())
    );
    let none = page("provider=fake&state=dead").await.json();
    assert_eq!(none["matching"], 0);
    assert_eq!(page("provider=fake&state=odd").await.status, 400);
    assert_eq!(page("provider=nobody").await.status, 404);
    assert_eq!(page("").await.status, 404);
}

#[tokio::test]
async fn a_page_that_watches_does_not_hold_up_the_end() {
    let (_upstream, mut gateway) = pair(Script::new(), 1, "").await;
    let mut events = Events::watch(&gateway, "any").await;
    events.until("event: pools").await;
    gateway.signal("TERM");
    events.end().await;
    assert!(gateway.exited().await.success());
}

#[tokio::test]
async fn a_key_that_is_taken_away_watches_no_longer() {
    let script = Script::always(openai::completion("hi"));
    let (upstream, gateway) = pair(script, 1, LOCKED).await;
    let mut events = Events::watch(&gateway, GUEST).await;
    events.until("event: pools").await;
    let (start, _) = LOCKED.split_once("[[").expect("a named client");
    let config = crate::harness::provider("fake", &upstream, &keys(1)) + start;
    gateway.home().write_config(&config);
    events.end().await;
    assert_eq!(
        as_owner(&gateway, Request::get("/v1/models")).await.status,
        200
    );
}

#[tokio::test]
async fn only_so_many_pages_watch_at_once() {
    let (_upstream, gateway) = pair(Script::new(), 1, "").await;
    let mut watching = Vec::new();
    for _ in 0..32 {
        watching.push(Events::watch(&gateway, "any").await);
    }
    let live = Request::get("/dashboard/api/live");
    let answer = gateway.send(&live).await;
    assert_eq!(answer.status, 429, "{}", answer.text());
    assert_eq!(answer.header("retry-after"), Some("10"));
    assert_eq!(answer.error().1, "too_many_watchers");
}

#[tokio::test]
async fn the_page_can_be_switched_off() {
    let settings = "[server]\ndashboard = false\n";
    let (_upstream, gateway) = pair(Script::new(), 1, settings).await;
    for path in ["/dashboard", "/dashboard/api/live"] {
        assert_eq!(gateway.get(path).await.status, 404, "{path}");
    }
    assert!(
        !gateway.stderr().contains("dashboard"),
        "it names no address"
    );
}
