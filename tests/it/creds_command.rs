//! `llmproxy creds` as a user meets it.

use crate::client::CHAT;
use crate::commands::{assert_refused, json};
use crate::fake::script::Script;
use crate::fake::upstream::Upstream;
use crate::fake::{self, openai};
use crate::harness::{Gateway, Home};

#[tokio::test]
async fn a_key_is_added_listed_switched_and_removed() {
    let upstream = Upstream::start(Script::always(openai::completion("hi"))).await;
    let home = Home::with_config(&format!(
        "[providers.groq]\nbase_url = \"{}\"\n",
        upstream.base_url()
    ));
    let key = fake::key("stored");
    let added = home
        .run_beside(
            &["creds", "add", "groq", "--label", "work", "--tier", "paid"],
            &format!("{key}\n"),
        )
        .await;
    assert_eq!(added.code, 0, "{added:?}");
    let list = json(&home.run(&["creds", "list", "--json"]));
    let row = &list[0];
    assert_eq!(
        (&row["id"], &row["kind"]),
        (&"groq/work".into(), &"api_key".into()),
        "{list}"
    );
    assert_eq!(
        (&row["source"], &row["tier"]),
        (&"store".into(), &"paid".into()),
        "{list}"
    );
    assert_eq!(
        (&row["state"], &row["cooling_until"]),
        (&"ready".into(), &serde_json::Value::Null)
    );
    let table = home.run(&["creds", "list"]);
    assert!(
        table.stdout.contains("groq/work") && table.stdout.contains("…e1f0"),
        "{table:?}"
    );
    let again = home
        .run_beside(&["creds", "add", "groq", "--label", "work"], &key)
        .await;
    assert_eq!(again.code, 0, "{again:?}");
    assert!((again.stdout + &again.stderr).contains("updated"));
    assert_eq!(
        json(&home.run(&["creds", "list", "--json"]))
            .as_array()
            .map(Vec::len),
        Some(1)
    );
    assert_eq!(home.run(&["creds", "disable", "groq/work"]).code, 0);
    assert_eq!(
        json(&home.run(&["creds", "list", "--json"]))[0]["state"],
        "disabled"
    );
    assert_eq!(home.run(&["creds", "enable", "groq/work"]).code, 0);
    assert_eq!(
        json(&home.run(&["creds", "list", "--json"]))[0]["state"],
        "ready"
    );
    let unasked = home.run(&["creds", "remove", "groq/work"]);
    assert_eq!(unasked.code, 2, "{unasked:?}");
    let typo = home.run(&["creds", "remove", "groq/wrok", "--yes"]);
    assert_refused(&typo, 1, "groq/work");
    assert_eq!(home.run(&["creds", "remove", "groq/work", "--yes"]).code, 0);
    assert_eq!(
        json(&home.run(&["creds", "list", "--json"])),
        serde_json::json!([])
    );
}

#[tokio::test]
async fn a_refused_key_is_not_stored() {
    let script = Script::always(openai::bad_key()).model_list(openai::bad_key());
    let upstream = Upstream::start(script).await;
    let home = Home::with_config(&format!(
        "[providers.groq]\nbase_url = \"{}\"\n",
        upstream.base_url()
    ));
    let refused = home
        .run_beside(&["creds", "add", "groq"], &fake::key("bad"))
        .await;
    assert_eq!(refused.code, 1, "{refused:?}");
    assert_eq!(
        json(&home.run(&["creds", "list", "--json"])),
        serde_json::json!([])
    );
    let forced = home
        .run_beside(&["creds", "add", "groq", "--no-verify"], &fake::key("bad"))
        .await;
    assert_eq!(forced.code, 0, "{forced:?}");
    assert_eq!(
        json(&home.run(&["creds", "list", "--json"]))[0]["id"],
        "groq/1"
    );
}

#[test]
fn no_key_and_no_provider_are_refused_with_a_hint() {
    let empty = Home::new().run(&["creds", "add", "groq", "--no-verify"]);
    assert!([1, 2].contains(&empty.code), "{empty:?}");
    let unknown = Home::new().run_with_input(&["creds", "add", "gorq", "--no-verify"], "sk-x\n");
    assert_refused(&unknown, 1, "groq");
}

#[cfg(unix)]
#[test]
fn the_store_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let home = Home::new();
    let added = home.run_with_input(&["creds", "add", "groq", "--no-verify"], &fake::key("1"));
    assert_eq!(added.code, 0, "{added:?}");
    let mode =
        |path: &std::path::Path| path.metadata().expect("it is there").permissions().mode() & 0o777;
    assert_eq!(mode(&home.data_dir()), 0o700);
    let mut files = 0;
    for entry in std::fs::read_dir(home.data_dir())
        .expect("a folder")
        .flatten()
    {
        let expected = if entry.path().is_dir() { 0o700 } else { 0o600 };
        assert_eq!(mode(&entry.path()), expected, "{}", entry.path().display());
        files += 1;
    }
    assert!(files > 0);
}

#[tokio::test]
async fn what_another_process_adds_or_removes_counts_soon() {
    let upstream = Upstream::start(Script::always(openai::completion("hi"))).await;
    let home = Home::with_config(&format!(
        "[providers.groq]\nbase_url = \"{}\"\n",
        upstream.base_url()
    ));
    let gateway = Gateway::start_in(home, &[]).await;
    let body = CHAT.replace("fake/", "groq/");
    assert_eq!(gateway.chat(&body).await.status, 503);
    let added = gateway
        .home()
        .run_beside(&["creds", "add", "groq"], &fake::key("new"))
        .await;
    assert_eq!(added.code, 0, "{added:?}");
    until_status(&gateway, &body, 200).await;
    let removed = gateway
        .home()
        .run_beside(&["creds", "remove", "groq/1", "--yes"], "")
        .await;
    assert_eq!(removed.code, 0, "{removed:?}");
    until_status(&gateway, &body, 503).await;
}

/// Asks until the answer is this one; the contract says within a second, the machine may be busy.
async fn until_status(gateway: &Gateway, body: &str, status: u16) {
    let asking = async {
        while gateway.chat(body).await.status != status {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    crate::harness::patiently(&format!("a {status}"), asking).await;
}
