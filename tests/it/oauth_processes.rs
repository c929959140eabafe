//! Several processes with one account, and processes that end in the middle of a refresh.

use crate::client::Request;
use crate::fake::google::Google;
use crate::fake::reply::Gate;
use crate::harness::Gateway;
use crate::oauth_refresh::{CHAT, account, all_at_once, import, row, until};

#[tokio::test(flavor = "multi_thread")]
async fn two_gateways_under_load_share_one_refresh() {
    let (google, home) = account().await;
    google.rotate();
    let gate = Gate::new();
    google.hold_refreshes(&gate);
    let (one, other) = tokio::join!(
        Gateway::start_in(home.again(), &[]),
        Gateway::start_in(home, &[])
    );
    let load = async { tokio::join!(all_at_once(&one, 500), all_at_once(&other, 500)) };
    let opening = async {
        let is_refresh = |request: &crate::fake::upstream::Recorded| request.target == "/token";
        google.upstream().seen(1, is_refresh).await;
        gate.open(100);
    };
    tokio::join!(load, opening);
    assert_eq!(google.refreshes(), 1);

    // Refused in the middle of its life, in both.
    google.revoke_access();
    tokio::join!(all_at_once(&one, 100), all_at_once(&other, 100));
    assert_eq!(google.refreshes(), 2);
    assert_eq!(row(one.home())["state"], "ready");
}

/// An account whose refresh token has been replaced by an answer that is still under way; the
/// gateway that waits for it.
async fn in_the_middle() -> (Google, Gate, Gateway) {
    let (google, home) = account().await;
    google.rotate();
    let gate = Gate::new();
    google.hold_refreshes(&gate);
    let gateway = Gateway::start_in(home, &[]).await;
    let is_refresh = |request: &crate::fake::upstream::Recorded| request.target == "/token";
    google.upstream().seen(1, is_refresh).await;
    (google, gate, gateway)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_ends_in_the_middle_of_a_refresh_takes_the_new_tokens_along() {
    let (google, gate, mut gateway) = in_the_middle().await;
    gateway.signal("TERM");
    gateway.line_with("drain").await;
    gate.open(100);
    assert_eq!(gateway.exited().await.code(), Some(0));
    let home = gateway.take_home();
    // The old refresh token would cost the account now.
    let refreshed = home.run_beside(&["creds", "refresh"], "").await;
    assert_eq!(refreshed.code, 0, "{refreshed:?}");
    assert_eq!(google.refreshes(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_in_the_middle_of_a_refresh_costs_nothing() {
    let (google, gate, gateway) = in_the_middle().await;
    let mut connection = gateway.connect().await;
    connection.send(&Request::chat(CHAT)).await;
    drop(connection);
    gate.open(100);
    until(gateway.home(), "the renewal", |row| {
        row["expires_at"] != "1970-01-01T00:00:01Z"
    })
    .await;
    all_at_once(&gateway, 5).await;
    assert_eq!(google.refreshes(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_in_use_keeps_its_connections_when_the_store_changes() {
    let (google, home) = account().await;
    let gateway = Gateway::start_in(home, &[]).await;
    all_at_once(&gateway, 1).await;
    // Its quota is read beside the first request.
    let is_quota =
        |request: &crate::fake::upstream::Recorded| request.target.ends_with(":retrieveUserQuota");
    google.upstream().seen(1, is_quota).await;
    let before = google.upstream().connections();
    let add = ["creds", "add", "openai", "--no-verify"];
    let added = gateway.home().run_beside(&add, "sk-other-0123456789").await;
    assert_eq!(added.code, 0, "{added:?}");
    let reloaded = async {
        while !gateway.get("/v1/providers").await.text().contains("openai") {
            tokio::task::yield_now().await;
        }
    };
    crate::harness::patiently("the new key", reloaded).await;
    all_at_once(&gateway, 1).await;
    assert_eq!(google.upstream().connections(), before);
    import(&google, gateway.home());
}
