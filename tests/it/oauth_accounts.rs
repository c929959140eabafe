//! What the vendor says of accounts: tiers, projects, refusals, in the built binary.

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::client::Request;
use crate::commands::json as printed;
use crate::fake::CANARY;
use crate::fake::google::{Google, client_secret};
use crate::fake::reply::Reply;
use crate::fake::upstream::Recorded;
use crate::harness::{Gateway, Home};
use crate::oauth_refresh::{CHAT, account, until};

/// Imports an account as LLM-API-Key-Proxy keeps it, with a project and this tier.
fn import_with_tier(google: &Google, home: &Home, user: &str, tier: &str) {
    let mut file: Value = serde_json::from_str(&google.file_of(user)).expect("JSON");
    file["_proxy_metadata"] = json!({"email": user, "project_id": "proj-1", "tier": tier});
    let path = home.path("gemini_cli_oauth_1.json");
    std::fs::write(&path, file.to_string()).expect("writable");
    let path = path.display().to_string();
    let imported = home.run(&["creds", "import", &path, "--from", "llm-api-key-proxy"]);
    assert_eq!(imported.code, 0, "{imported:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_better_tier_serves_first_unless_the_user_says_otherwise() {
    let google = Google::start("me@example.com").await;
    let home = google.home();
    import_with_tier(&google, &home, "a@example.com", "free-tier");
    import_with_tier(&google, &home, "b@example.com", "g1-ultra-tier");
    let list = printed(&home.run(&["creds", "list", "--json"]));
    let places: Vec<_> = list
        .as_array()
        .expect("rows")
        .iter()
        .map(|row| (row["tier"].as_str(), row["priority"].as_u64()))
        .collect();
    assert_eq!(
        places,
        [
            (Some("free-tier"), Some(3)),
            (Some("g1-ultra-tier"), Some(1))
        ]
    );
    let gateway = Gateway::start_in(home, &[]).await;
    for _ in 0..3 {
        let served = gateway.chat(CHAT).await;
        let by = served.header("x-llmproxy-credential");
        assert_eq!(by, Some("gemini_cli/b@example.com"), "{}", served.text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whose_an_account_is_that_came_without_an_address_is_found_out() {
    let google = Google::start("me@example.com").await;
    let home = google.home();
    let mut file: Value = serde_json::from_str(&google.file_of("me@example.com")).expect("JSON");
    file.as_object_mut().expect("members").remove("id_token");
    let path = home.path("oauth_creds.json");
    std::fs::write(&path, file.to_string()).expect("writable");
    let path = path.display().to_string();
    let imported = home.run(&["creds", "import", &path, "--from", "gemini-cli"]);
    assert_eq!(imported.code, 0, "{imported:?}");
    let gateway = Gateway::start_in(home, &[]).await;
    let row = until(gateway.home(), "the address", |row| !row["email"].is_null()).await;
    assert_eq!(
        (&row["id"], &row["email"]),
        (&json!("gemini_cli/1"), &json!("me@example.com"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_the_log_in_server_quotes_are_shown_nowhere() {
    let (google, home) = account().await;
    let token = format!("1//{CANARY}-r-1");
    assert!(google.file_of("x").contains(&format!("1//{CANARY}-r-2")));
    let quoting = json!({
        "error": "invalid_grant",
        "error_description": format!("Token {token} of {} was revoked.", client_secret()),
    });
    google.refuse(Reply::json(400, quoting.to_string()));
    // Dropping the gateway searches all it wrote for the mark, the log of requests too.
    let gateway = Gateway::start_in(home, &["-vv", "--log-requests"]).await;
    let refused = gateway.chat(CHAT).await;
    assert_eq!(refused.status, 503, "{}", refused.text());
    let row = until(gateway.home(), "the state", |row| row["state"] == "expired").await;
    let reason = row["state_reason"].as_str().unwrap_or_default();
    assert!(reason.contains("was revoked"), "{row}");
    let refreshed = gateway
        .home()
        .run_beside(&["-vv", "creds", "refresh"], "")
        .await;
    assert_eq!(refreshed.code, 1, "{refreshed:?}");
}

/// The project in a request for the account's tier and project.
fn asked_project(request: &Recorded) -> Option<String> {
    let body: Value = serde_json::from_slice(&request.body).ok()?;
    Some(body["cloudaicompanionProject"].as_str()?.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_licence_without_a_project_works_in_one_of_the_accounts_own() {
    let (google, home) = account().await;
    google.on(":loadCodeAssist", |_| {
        Reply::json(
            200,
            json!({"currentTier": {"id": "standard-tier"}}).to_string(),
        )
    });
    google.on("/v1/projects", |_| {
        let projects = json!({"projects": [
            {"projectId": "empty", "lifecycleState": "ACTIVE"},
            {"projectId": "mine", "lifecycleState": "ACTIVE"},
        ]});
        Reply::json(200, projects.to_string())
    });
    for (project, state) in [("empty", "DISABLED"), ("mine", "ENABLED")] {
        let path = format!("/v1/projects/{project}/services/cloudaicompanion.googleapis.com");
        google.on(&path, move |_| {
            Reply::json(200, json!({"state": state}).to_string())
        });
    }
    let gateway = Gateway::start_in(home, &[]).await;
    let served = gateway.chat(CHAT).await;
    assert_eq!(served.status, 200, "{}", served.text());
    let asked = google.upstream().requests();
    let prompt = asked
        .iter()
        .find(|request| request.target.ends_with(":generateContent"))
        .expect("a prompt");
    let body: Value = serde_json::from_slice(&prompt.body).expect("JSON");
    assert_eq!(body["project"], "mine");
    assert!(
        asked
            .iter()
            .any(|one| asked_project(one).as_deref() == Some("mine"))
    );
    let row = until(gateway.home(), "the tier", |row| !row["tier"].is_null()).await;
    assert_eq!(
        (&row["tier"], &row["priority"]),
        (&json!("standard-tier"), &json!(2))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_is_not_served_is_asked_about_once_by_however_many() {
    let (google, home) = account().await;
    google.on(":loadCodeAssist", |_| {
        let refused = json!({"allowedTiers": [], "ineligibleTiers": [{
            "reasonCode": "UNSUPPORTED_CLIENT", "tierId": "free-tier",
            "reasonMessage": "This client is no longer supported for individuals.",
        }]});
        Reply::json(200, refused.to_string())
    });
    let gateway = Gateway::start_in(home, &[]).await;
    let request = Request::chat(CHAT);
    let all = join_all((0..50).map(|_| gateway.send(&request))).await;
    for refused in all {
        assert_eq!(refused.status, 503, "{}", refused.text());
        assert_eq!(refused.error().1, "credentials_refused");
    }
    let row = until(gateway.home(), "the state", |row| row["state"] == "dead").await;
    let reason = row["state_reason"].as_str().unwrap_or_default();
    assert!(reason.contains("no longer supported"), "{row}");
    let asked = google.upstream().requests();
    let loads = asked
        .iter()
        .filter(|request| request.target.ends_with(":loadCodeAssist"));
    assert_eq!(loads.count(), 1);
    assert!(
        !asked
            .iter()
            .any(|request| request.target.contains("onboard"))
    );
}
