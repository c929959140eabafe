//! Accounts while they serve: tokens renewed once, never lost, never shown; quotas read.

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::client::Request;
use crate::commands::json as printed;
use crate::fake::CANARY;
use crate::fake::google::{Google, quota};
use crate::fake::reply::Reply;
use crate::harness::{Gateway, Home, patiently};

const ID: &str = "gemini_cli/me@example.com";

const CHAT: &str =
    r#"{"model":"gemini_cli/gemini-2.5-pro","messages":[{"role":"user","content":"hi"}]}"#;

/// Imports an account whose token has ended.
fn import(google: &Google, home: &Home) {
    let file = home.path("oauth_creds.json");
    std::fs::write(&file, google.file_of("me@example.com")).expect("writable");
    let path = file.display().to_string();
    let imported = home.run(&["creds", "import", &path, "--from", "gemini-cli"]);
    assert_eq!(imported.code, 0, "{imported:?}");
}

async fn account() -> (Google, Home) {
    let google = Google::start("me@example.com").await;
    let home = google.home();
    import(&google, &home);
    (google, home)
}

fn row(home: &Home) -> Value {
    printed(&home.run(&["creds", "list", "--json"]))[0].clone()
}

/// Waits until the credential list says so.
async fn until(home: &Home, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    let polling = async {
        loop {
            let row = tokio::task::block_in_place(|| row(home));
            if is_so(&row) {
                return row;
            }
            // Other processes are only ever seen to have changed something by looking.
            tokio::task::yield_now().await;
        }
    };
    patiently(what, polling).await
}

/// Sends so many chats at once; all must be answered.
async fn all_at_once(gateway: &Gateway, requests: usize) {
    let request = Request::chat(CHAT);
    let all = join_all((0..requests).map(|_| gateway.send(&request))).await;
    for response in all {
        assert_eq!(response.status, 200, "{}", response.text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_share_one_refresh() {
    let (google, home) = account().await;
    google.rotate();
    let chat = ["chat", "-m", "gemini_cli/gemini-2.5-pro", "hi"];
    let all = join_all((0..6).map(|_| home.run_beside(&chat, ""))).await;
    for answer in all {
        assert_eq!(
            (answer.code, answer.stdout.trim()),
            (0, "Hello!"),
            "{answer:?}"
        );
    }
    assert_eq!(google.refreshes(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_renewed_ahead_and_while_the_account_rests() {
    let (google, home) = account().await;
    let limited = json!({"error": {
        "code": 429, "status": "RESOURCE_EXHAUSTED", "message": "slow down",
        "details": [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "600s"}],
    }});
    google.on(":generateContent", move |_| {
        Reply::json(429, limited.to_string())
    });
    let gateway = Gateway::start_in(home, &[]).await;
    // Nobody asked: the token had ended.
    until(gateway.home(), "the renewal", |row| {
        row["expires_at"] != "1970-01-01T00:00:01Z"
    })
    .await;
    assert_eq!(google.refreshes(), 1);
    assert_ne!(gateway.chat(CHAT).await.status, 200);
    let refreshed = gateway
        .home()
        .run_beside(&["creds", "refresh", ID], "")
        .await;
    assert_eq!(refreshed.code, 0, "{refreshed:?}");
    assert_eq!(google.refreshes(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn quotas_are_read_and_shown() {
    let (google, home) = account().await;
    google.on(":retrieveUserQuota", |_| {
        Reply::json(200, quota(0.25).to_string())
    });
    let gateway = Gateway::start_in(home, &[]).await;
    let body = r#"{"action":"force_refresh","scope":"all"}"#;
    let answer = gateway
        .send(&Request::post("/v1/quota-stats", body))
        .await
        .json();
    assert_eq!(answer["refresh_result"]["success_count"], 1, "{answer}");
    let credential = &answer["providers"]["gemini_cli"]["credentials"][ID];
    let text = credential.to_string();
    assert!(text.contains("\"remaining\":250000"), "{credential}");

    google.on(":retrieveUserQuota", |_| {
        Reply::json(200, quota(0.0).to_string())
    });
    gateway.send(&Request::post("/v1/quota-stats", body)).await;
    let spent = gateway.chat(CHAT).await;
    assert_eq!(spent.status, 429, "{}", spent.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_of_the_environment_serves_and_is_refreshed_in_memory() {
    let google = Google::start("me@example.com").await;
    let file: Value = serde_json::from_str(&google.file_of("me@example.com")).expect("JSON");
    let text = |name: &str| file[name].as_str().expect("text").to_owned();
    let home = google
        .home()
        .env("GEMINI_CLI_1_ACCESS_TOKEN", &text("access_token"))
        .env("GEMINI_CLI_1_REFRESH_TOKEN", &text("refresh_token"))
        .env("GEMINI_CLI_1_EXPIRY_DATE", "1000")
        .env("GEMINI_CLI_1_EMAIL", "me@example.com");
    let gateway = Gateway::start_in(home, &[]).await;
    all_at_once(&gateway, 5).await;
    assert_eq!(google.refreshes(), 1);
    let row = row(gateway.home());
    assert_eq!(
        (&row["id"], &row["source"]),
        (&ID.into(), &"env".into()),
        "{row}"
    );
    let stored = gateway.home().data_dir().join("credentials");
    assert!(!stored.exists(), "nothing is written: {stored:?}");
    assert!(text("refresh_token").contains(CANARY));
}
