//! Accounts while they serve: tokens renewed once, never lost, never shown; quotas read.

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::client::Request;
use crate::commands::json as printed;
use crate::fake::CANARY;
use crate::fake::google::{Google, quota, revoked};
use crate::fake::reply::{Gate, Reply};
use crate::harness::{Gateway, Home, patiently};

pub(crate) const ID: &str = "gemini_cli/me@example.com";

pub(crate) const CHAT: &str =
    r#"{"model":"gemini_cli/gemini-2.5-pro","messages":[{"role":"user","content":"hi"}]}"#;

/// Imports an account whose token has ended.
pub(crate) fn import(google: &Google, home: &Home) {
    let file = home.path("oauth_creds.json");
    std::fs::write(&file, google.file_of("me@example.com")).expect("writable");
    let path = file.display().to_string();
    let imported = home.run(&["creds", "import", &path, "--from", "gemini-cli"]);
    assert_eq!(imported.code, 0, "{imported:?}");
}

pub(crate) async fn account() -> (Google, Home) {
    let google = Google::start("me@example.com").await;
    let home = google.home();
    import(&google, &home);
    (google, home)
}

pub(crate) fn row(home: &Home) -> Value {
    printed(&home.run(&["creds", "list", "--json"]))[0].clone()
}

/// Waits until the credential list says so.
pub(crate) async fn until(home: &Home, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
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
pub(crate) async fn all_at_once(gateway: &Gateway, requests: usize) {
    let request = Request::chat(CHAT);
    let all = join_all((0..requests).map(|_| gateway.send(&request))).await;
    for response in all {
        assert_eq!(response.status, 200, "{}", response.text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_requests_on_an_ended_token_cause_one_refresh() {
    let (google, home) = account().await;
    google.rotate();
    let gateway = Gateway::start_in(home, &[]).await;
    all_at_once(&gateway, 1_000).await;
    assert_eq!(google.refreshes(), 1);
    // Refused in the middle of its life: the same.
    google.revoke_access();
    all_at_once(&gateway, 200).await;
    assert_eq!(google.refreshes(), 2);
    let metrics = gateway.get("/metrics").await.text();
    let line = "llmproxy_token_refreshes_total{provider=\"gemini_cli\",result=\"ok\"} 2";
    assert!(metrics.contains(line), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_is_not_set_up_yet_is_renewed_where_its_token_is_refused_before_its_time() {
    let google = Google::start("me@example.com").await;
    let home = google.home();
    // Good until 2099, its file says; the vendor has forgotten it.
    let file = google.file_of("me@example.com");
    let file = file.replace("\"expiry_date\":1000", "\"expiry_date\":4102444799000");
    let path = home.path("oauth_creds.json");
    std::fs::write(&path, file).expect("writable");
    let path = path.display().to_string();
    let imported = home.run(&["creds", "import", &path, "--from", "gemini-cli"]);
    assert_eq!(imported.code, 0, "{imported:?}");
    let gateway = Gateway::start_in(home, &[]).await;
    all_at_once(&gateway, 5).await;
    assert_eq!(google.refreshes(), 1);
    assert_eq!(row(gateway.home())["state"], "ready");
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_tells_of_a_token_that_was_renewed_on_the_way() {
    let (google, home) = account().await;
    let gateway = Gateway::start_in(home, &[]).await;
    all_at_once(&gateway, 1).await;
    google.revoke_access();
    let served = gateway.chat(CHAT).await;
    assert_eq!(served.status, 200, "{}", served.text());
    let id = served.header("x-request-id").expect("an id").to_owned();
    let explained = async {
        loop {
            let told = gateway.home().run_beside(&["explain", &id], "").await;
            // The journal is written a moment after the answer.
            if told.code == 0 {
                return told.stdout;
            }
        }
    };
    let told = patiently("the journal", explained).await;
    assert!(
        told.contains(&format!("renewed the token of {ID}")) && told.contains("refused it"),
        "{told}"
    );
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
async fn a_kill_after_a_rotation_loses_nothing() {
    let (google, home) = account().await;
    google.rotate();
    for round in 0..5 {
        google.revoke_access();
        let before = google.refreshes();
        let gate = Gate::new();
        let held = gate.clone();
        google.on(":generateContent", move |_| {
            let body = crate::fake::google::enveloped("Hello!").to_string();
            Reply::json(200, body).gated(&held)
        });
        let mut child = home
            .command(&[
                "chat",
                "--no-stream",
                "-m",
                "gemini_cli/gemini-2.5-pro",
                "hi",
            ])
            .spawn()
            .expect("the binary starts");
        // The new token is in use: so it must be on disk.
        let fresh = |request: &crate::fake::upstream::Recorded| {
            google.refreshes() > before
                && request.target.contains(":generateContent")
                && request.key == google.latest()
        };
        google.upstream().seen(1, fresh).await;
        child.kill().expect("a child of ours");
        child.wait().expect("it ends");
        gate.open(100);
        assert!(google.refreshes() > before, "round {round}");
    }
    google.revoke_access();
    let refreshed = home.run_beside(&["creds", "refresh"], "").await;
    assert_eq!(refreshed.code, 0, "{refreshed:?}");
    assert_eq!(row(&home)["state"], "ready");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_refresh_token_needs_a_new_log_in_and_others_serve() {
    let (google, home) = account().await;
    google.refuse(revoked());
    let gateway = Gateway::start_in(home, &[]).await;
    let refused = gateway.chat(CHAT).await;
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert_eq!(refused.error().1, "credentials_refused");
    let row = until(gateway.home(), "the state", |row| row["state"] == "expired").await;
    let reason = row["state_reason"].as_str().unwrap_or_default();
    assert!(reason.contains("expired or revoked"), "{row}");
    assert_eq!(google.refreshes(), 1, "a refused token is not shown again");

    // A newer log-in of another process counts within a second.
    import(&google, gateway.home());
    until(gateway.home(), "the new log-in", |row| {
        row["state"] == "ready"
    })
    .await;
    let served = async {
        while gateway.chat(CHAT).await.status != 200 {
            tokio::task::yield_now().await;
        }
    };
    patiently("an answer", served).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_log_in_server_rests_the_account_and_costs_it_nothing() {
    let (google, home) = account().await;
    for _ in 0..2 {
        google.refuse(Reply::json(503, r#"{"error":"unavailable"}"#));
    }
    let gateway = Gateway::start_in(home, &[]).await;
    let answered = gateway.chat(CHAT).await;
    assert_eq!(answered.status, 200, "{}", answered.text());
    assert!(google.refreshes() >= 3, "{}", google.refreshes());
    let metrics = gateway.get("/metrics").await.text();
    assert!(metrics.contains("result=\"failed\"} 2"), "{metrics}");
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
    let shown = async {
        loop {
            let list = gateway.home().run_beside(&["creds", "list"], "").await;
            if list.stdout.contains("pro 0%") {
                return;
            }
        }
    };
    // Written down for other processes within a second.
    patiently("the quota in the list", shown).await;
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

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn l11_killed_between_a_rotation_and_its_save_the_account_wants_a_new_log_in() {
    let (google, home) = account().await;
    google.rotate();
    let add = ["creds", "add", "openai", "--no-verify", "--yes"];
    let beside = home.run_with_input(&add, "sk-beside-0123456789abcdefghijklmnop\n");
    assert_eq!(beside.code, 0, "{beside:?}");
    let mut command = std::process::Command::new("strace");
    command
        .args([
            "-f",
            "-o",
            "record",
            "-e",
            "trace=rename,renameat,renameat2",
        ])
        .args(["-e", "inject=rename,renameat,renameat2:signal=KILL"])
        .arg(env!("CARGO_BIN_EXE_llmproxy"))
        .args(["creds", "refresh"]);
    let killed = tokio::task::block_in_place(|| home.finish(command, ""));
    let record = std::fs::read_to_string(home.path("record")).unwrap_or_default();
    if !record.contains("SIGKILL") {
        let words = "skipped: strace is not installed, or may not trace";
        std::io::Write::write_all(&mut std::io::stdout(), words.as_bytes()).expect("written");
        return;
    }
    drop(killed);
    assert_eq!(google.refreshes(), 1, "the vendor has given out new tokens");
    // The old ones are still there, and refused: their owner is told what to do.
    google.refuse(revoked());
    let refreshed = home.run_beside(&["creds", "refresh"], "").await;
    assert_eq!(refreshed.code, 1, "{refreshed:?}");
    assert!(
        refreshed.stderr.contains("creds add gemini_cli"),
        "{refreshed:?}"
    );
    let listed = home.run_beside(&["creds", "list", "--json"], "").await;
    let listed = printed(&listed);
    assert_eq!(listed[0]["state"], "expired", "{listed}");
    assert_eq!(
        listed[1]["state"], "ready",
        "no other is concerned: {listed}"
    );
}
