//! `llmproxy doctor` in good and in bad surroundings.

use serde_json::Value;

use crate::fake::script::Script;
use crate::fake::upstream::Upstream;
use crate::harness::{Finished, Home, keys, provider};

/// The findings of `doctor --json` about one matter, as (level, message).
fn findings(finished: &Finished, check: &str) -> Vec<(String, String)> {
    let all: Value = serde_json::from_str(&finished.stdout).expect("JSON on stdout");
    let text = |one: &Value, key: &str| one[key].as_str().unwrap_or_default().to_owned();
    let rows = all.as_array().expect("a list").iter();
    for one in rows.clone() {
        assert_eq!(one["fix"].is_null(), one["level"] == "ok", "{one}");
    }
    rows.filter(|one| one["check"] == check)
        .map(|one| (text(one, "level"), text(one, "message")))
        .collect()
}

#[tokio::test]
async fn a_provider_that_answers_is_fine_and_is_sent_no_key() {
    let upstream = Upstream::start(Script::new()).await;
    let config = provider("fake", &upstream, &keys(1));
    let home = Home::with_config(&format!("[server]\nport = 0\n{config}"));
    let finished = home.run_beside(&["doctor", "--json"], "").await;
    assert_eq!(finished.code, 0, "{}", finished.stdout);
    let reached = findings(&finished, "reachability");
    assert_eq!(reached, [("ok".to_owned(), "fake answers".to_owned())]);
    for request in upstream.requests() {
        assert_eq!(request.header("authorization"), None);
    }
}

#[test]
fn a_provider_that_cannot_be_reached_is_an_error() {
    // Nobody listens on port 1 of this machine.
    let home = Home::with_config(
        "[providers.gone]\nkind = \"openai\"\nbase_url = \"http://127.0.0.1:1/v1\"\napi_keys = [\"none\"]\n",
    );
    let finished = home.run(&["doctor", "--json"]);
    assert_eq!(finished.code, 1, "{}", finished.stdout);
    let reached = findings(&finished, "reachability");
    assert_eq!(reached[0].0, "error", "{reached:?}");
    assert!(reached[0].1.contains("gone"), "{reached:?}");
}

#[test]
fn a_broken_config_is_one_finding_among_others() {
    let home = Home::with_config("[server]\nprot = 1\n");
    let finished = home.run(&["doctor", "--json"]);
    assert_eq!(finished.code, 1, "{}", finished.stderr);
    let config = findings(&finished, "config");
    assert!(
        config[0].0 == "error" && config[0].1.contains("`prot`"),
        "{config:?}"
    );
    assert!(!findings(&finished, "locks").is_empty());
}

#[cfg(unix)]
#[test]
fn credentials_that_others_can_read_are_an_error() {
    use std::os::unix::fs::PermissionsExt;

    let home = Home::new();
    std::fs::create_dir_all(home.data_dir()).expect("a directory");
    let open = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(home.data_dir(), open).expect("changed");
    let finished = home.run(&["doctor", "--json"]);
    assert_eq!(finished.code, 1);
    let files = findings(&finished, "files");
    assert!(
        files[0].0 == "error" && files[0].1.contains("755"),
        "{files:?}"
    );
}

#[test]
fn for_people_each_finding_is_a_line_with_its_fix_below() {
    let finished = Home::with_config("[server]\nport = 0\n").run(&["doctor"]);
    assert_eq!(finished.code, 0, "{}", finished.stdout);
    let warned = "warning credentials: there is no credential\n        fix: add one with";
    assert!(finished.stdout.contains(warned), "{}", finished.stdout);
    assert_eq!(finished.stderr, "");
}
