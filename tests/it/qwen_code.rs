//! Qwen Code end to end: log-in at a device, rotation of the refresh token, requests as the portal
//! wants them, keys of the Coding Plan, and what is said of the end of the free log-in.

use std::fs;
use std::sync::Mutex;

use serde_json::{Value, json};

use crate::client::STREAM;
use crate::fake::openai;
use crate::fake::reply::Reply;
use crate::fake::script::Script;
use crate::fake::upstream::{Recorded, Upstream};
use crate::harness::{Gateway, Home};
use crate::turns::{self, DIALECTS};

fn config(upstream: &Upstream) -> String {
    let origin = upstream.origin();
    format!(
        "[providers.qwen_code]\nbase_url = \"{origin}/v1\"\n[providers.qwen_code.oauth]\n\
         device_url = \"{origin}/device\"\ntoken_url = \"{origin}/token\"\n"
    )
}

/// An account as the vendor's tool keeps it.
fn import(home: &Home, expires: i64) {
    let file = home.path("oauth_creds.json");
    let account = json!({
        "access_token": "at1", "refresh_token": "rt1", "token_type": "Bearer",
        "resource_url": "portal.qwen.ai", "expiry_date": expires,
    });
    fs::write(&file, account.to_string()).expect("written");
    let file = file.display().to_string();
    let imported = home.run(&["creds", "import", &file, "--from", "qwen-code"]);
    assert_eq!(imported.code, 0, "{imported:?}");
}

/// The end of 2099, in milliseconds.
const FAR: i64 = 4_102_444_799_000;

fn form(request: &Recorded) -> Vec<String> {
    request.text().split('&').map(str::to_owned).collect()
}

/// What the fake's log-in and refresh say; everything else is `answer`'s.
fn with_log_in(answer: impl Fn(&Recorded) -> Reply + Send + Sync + 'static) -> Script {
    let refresh_token = Mutex::new("rt1".to_owned());
    Script::new().answer(move |request| match request.target.as_str() {
        "/device" => {
            let form = form(request);
            for wanted in [
                "client_id=f0304373b74a44d2b584a3fb70ca9e56",
                "scope=openid+profile+email+model.completion",
                "code_challenge_method=S256",
            ] {
                assert!(form.iter().any(|field| field == wanted), "{form:?}");
            }
            assert!(request.header("x-request-id").is_some());
            let page = "http://127.0.0.1:9/authorize";
            let code = json!({
                "device_code": "dc", "user_code": "ABCD-EFGH", "verification_uri": page,
                "verification_uri_complete": format!("{page}?user_code=ABCD-EFGH&client=qwen-code"),
                "expires_in": 900,
            });
            Reply::json(200, code.to_string())
        }
        "/token" => {
            let form = form(request);
            let has = |field: &str| form.iter().any(|one| one == field);
            if has("device_code=dc") {
                assert!(
                    form.iter().any(|one| one.starts_with("code_verifier=")),
                    "{form:?}"
                );
                let tokens = json!({
                    "access_token": "at1", "refresh_token": "rt1", "token_type": "Bearer",
                    "expires_in": 21_600, "resource_url": "portal.qwen.ai",
                });
                return Reply::json(200, tokens.to_string());
            }
            let mut known = refresh_token.lock().expect("ours");
            if !has(&format!("refresh_token={known}")) {
                let refused = json!({
                    "error": "invalid_request", "error_description": "Invalid refresh token",
                });
                return Reply::json(400, refused.to_string());
            }
            "rt2".clone_into(&mut known);
            let tokens =
                json!({"access_token": "at2", "refresh_token": "rt2", "expires_in": 21_600});
            Reply::json(200, tokens.to_string())
        }
        _ => answer(request),
    })
}

#[tokio::test]
async fn a_device_log_in_serves_and_its_refresh_token_rotates() {
    let upstream = Upstream::start(with_log_in(|request| {
        let bearer = request.header("authorization").unwrap_or_default();
        let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        if bearer != "Bearer at2" && body["stream"] == true {
            return openai::error(
                401,
                "invalid_request_error",
                "invalid_api_key",
                "invalid access token or token expired",
            );
        }
        openai::stream(&["<thi", "nk>why</think>that"])
    }))
    .await;
    let home = Home::with_config(&config(&upstream));
    let arguments = [
        "creds",
        "add",
        "qwen_code",
        "--label",
        "me",
        "--open-cmd",
        "true",
    ];
    let added = home.run_beside(&arguments, "").await;
    assert_eq!(added.code, 0, "{added:?}");
    assert!(added.stderr.contains("ABCD-EFGH"), "{added:?}");
    let gateway = Gateway::start_in(home, &[]).await;
    let stream = STREAM.replace("fake/m1", "qwen_code/coder-model");
    let answer = gateway.chat(&stream).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(
        answer.text().contains("\"reasoning_content\":\"why\""),
        "{}",
        answer.text()
    );
    let served = upstream.requests().pop().expect("served");
    assert_eq!(served.header("x-dashscope-authtype"), Some("qwen-oauth"));
    assert_eq!(served.header("x-dashscope-cachecontrol"), Some("enable"));
    let body: Value = serde_json::from_slice(&served.body).expect("JSON");
    assert_eq!(
        body["messages"][0]["content"][0]["cache_control"]["type"],
        "ephemeral"
    );
    assert_eq!(body["tools"][0]["function"]["name"], "do_not_call_me");
    assert_eq!(body["stream_options"]["include_usage"], true);
    let kept = fs::read_dir(gateway.home().data_dir().join("credentials/qwen_code"));
    let kept = kept.into_iter().flatten().flatten();
    let kept: String = kept
        .filter_map(|entry| fs::read_to_string(entry.path()).ok())
        .collect();
    assert!(kept.contains("rt2") && !kept.contains("rt1"), "{kept}");
    assert!(kept.contains("portal.qwen.ai"), "{kept}");
}

#[tokio::test]
async fn a_refused_refresh_token_needs_a_log_in() {
    let upstream = Upstream::start(with_log_in(|_| openai::bad_key())).await;
    let home = Home::with_config(&config(&upstream));
    let text = json!({"access_token": "at1", "refresh_token": "old", "resource_url": "portal.qwen.ai",
        "expiry_date": FAR});
    fs::write(home.path("q.json"), text.to_string()).expect("written");
    let path = home.path("q.json").display().to_string();
    assert_eq!(home.run(&["creds", "import", &path]).code, 0);
    let gateway = Gateway::start_in(home, &[]).await;
    let answer = gateway
        .chat(&STREAM.replace("fake/m1", "qwen_code/coder-model"))
        .await;
    assert_eq!(answer.status, 503, "{}", answer.text());
    let list = gateway.home().run(&["creds", "list", "--json"]);
    let list: Value = serde_json::from_str(&list.stdout).expect("JSON");
    assert_eq!(list[0]["state"], "expired", "{list}");
}

#[tokio::test]
async fn a_spent_day_is_a_429_with_its_end() {
    let quota = openai::error(
        403,
        "insufficient_quota",
        "insufficient_quota",
        "Free allocated quota exceeded.",
    );
    let upstream = Upstream::start(Script::always(quota)).await;
    let home = Home::with_config(&config(&upstream));
    import(&home, FAR);
    let gateway = Gateway::start_in(home, &[]).await;
    let answer = gateway
        .chat(&STREAM.replace("fake/m1", "qwen_code/coder-model"))
        .await;
    assert_eq!(answer.status, 429, "{}", answer.text());
    let list = gateway.home().run(&["creds", "list", "--json"]);
    let list: Value = serde_json::from_str(&list.stdout).expect("JSON");
    assert_eq!(list[0]["state"], "exhausted", "{list}");
    let end = list[0]["cooling_until"].as_str().unwrap_or_default();
    assert!(end.contains("T16:00:00"), "{list}");
}

#[tokio::test]
async fn ten_turns_with_a_tool_run_in_every_dialect() {
    let upstream = Upstream::start(Script::new().answer(turns::answer)).await;
    let home = Home::with_config(&config(&upstream));
    import(&home, FAR);
    let gateway = Gateway::start_in(home, &[]).await;
    for dialect in DIALECTS {
        turns::converse(&gateway, dialect, "qwen_code/coder-model").await;
    }
}

#[test]
fn the_end_of_the_log_in_is_said_and_nobody_is_called() {
    let home = Home::new();
    let added = home.run(&["creds", "add", "qwen_code"]);
    assert_eq!(added.code, 1, "{added:?}");
    assert!(
        added
            .stderr
            .contains("closed the log-in of its free accounts on 2026-04-15"),
        "{added:?}"
    );
    import(&home, FAR);
    let tested = home.run(&["test-keys", "--json"]);
    assert!(tested.stdout.contains("2026-04-15"), "{tested:?}");
    let doctor = home.run(&["doctor", "--json"]);
    assert!(doctor.stdout.contains("2026-04-15"), "{doctor:?}");
    assert!(!doctor.stdout.contains("qwen_code answers"), "{doctor:?}");
    let list = home.run(&["creds", "list", "--json"]);
    let list: Value = serde_json::from_str(&list.stdout).expect("JSON");
    assert_eq!(list[0]["state"], "dead", "{list}");
}

#[tokio::test]
async fn a_key_of_the_plan_is_sent_plainly() {
    let upstream = Upstream::start(Script::new().answer(turns::answer)).await;
    let home = Home::with_config(&format!(
        "[providers.qwen_code]\nbase_url = \"{}\"\n",
        upstream.base_url()
    ));
    let arguments = ["creds", "add", "qwen_code", "--no-verify"];
    let key = crate::harness::keys(1).remove(0);
    let added = home.run_beside(&arguments, &format!("{key}\n")).await;
    assert_eq!(added.code, 0, "{added:?}");
    let gateway = Gateway::start_in(home, &[]).await;
    turns::converse(&gateway, "openai", "qwen_code/qwen3-coder-plus").await;
    let sent = upstream.requests().remove(0);
    assert_eq!(sent.header("x-dashscope-authtype"), None);
    assert!(!sent.text().contains("cache_control"), "{}", sent.text());
}
