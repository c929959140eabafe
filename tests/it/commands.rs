//! The commands as a user meets them: what they print, where, and how they exit.

use std::io::Read;

use crate::fake::openai;
use crate::fake::script::Script;
use crate::fake::upstream::Upstream;
use crate::harness::{Finished, Home, keys, provider};

/// A home whose provider `fake` has so many keys for an upstream with this script.
pub(crate) async fn home(script: Script, count: usize) -> (Upstream, Home) {
    let upstream = Upstream::start(script).await;
    let home = Home::with_config(&provider("fake", &upstream, &keys(count)));
    (upstream, home)
}

pub(crate) fn json(finished: &Finished) -> serde_json::Value {
    serde_json::from_str(&finished.stdout).unwrap_or_else(|error| panic!("{error}: {finished:?}"))
}

/// Failed with this code: nothing on stdout, a sentence and a hint on stderr.
#[track_caller]
pub(crate) fn assert_refused(finished: &Finished, code: i32, says: &str) {
    assert_eq!(finished.code, code, "{finished:?}");
    assert!(finished.stderr.starts_with("error: "), "{finished:?}");
    assert!(finished.stderr.contains("\nhint: "), "{finished:?}");
    assert!(
        finished.stderr.contains(says),
        "no {says:?} in {finished:?}"
    );
    assert_eq!(finished.stdout, "", "{finished:?}");
}

#[tokio::test]
async fn models_prints_one_id_a_line() {
    let script = Script::new().models(["m1", "m2", "other"]);
    let (_upstream, home) = home(script, 1).await;
    let all = home.run_beside(&["models", "--provider", "fake"], "").await;
    assert_eq!(
        (all.code, all.stdout.as_str()),
        (0, "fake/m1\nfake/m2\nfake/other\n"),
        "{all:?}"
    );
    let some = home.run_beside(&["models", "oth"], "").await;
    assert_eq!(some.stdout, "fake/other\n", "{some:?}");
    let list = json(
        &home
            .run_beside(&["models", "--provider", "fake", "--json"], "")
            .await,
    );
    assert_eq!(
        (&list["object"], &list["data"][0]["id"]),
        (&"list".into(), &"fake/m1".into())
    );
    let none = home.run_beside(&["models", "nothing-like-it"], "").await;
    assert_eq!((none.code, none.stdout.as_str()), (1, ""), "{none:?}");
}

#[test]
fn a_closed_pipe_ends_it_quietly() {
    let home = Home::new();
    let mut child = home
        .command(&["models"])
        .spawn()
        .expect("the binary starts");
    // Closing our end before a byte was read: what `| head -0` does.
    drop(child.stdout.take());
    let mut stderr = String::new();
    let mut pipe = child.stderr.take().expect("stderr is piped");
    pipe.read_to_string(&mut stderr).expect("text");
    let code = child.wait().expect("it ends").code();
    assert!(
        !stderr.contains("panicked") && !stderr.contains("roken pipe"),
        "{code:?} {stderr}"
    );
}

#[tokio::test]
async fn test_keys_judges_each_key() {
    let (_upstream, good) = home(Script::new().models(["m1", "m2"]), 2).await;
    let finished = good.run_beside(&["test-keys", "fake", "--json"], "").await;
    assert_eq!(finished.code, 0, "{finished:?}");
    let rows = json(&finished);
    assert_eq!(rows.as_array().map(Vec::len), Some(2), "{rows}");
    assert_eq!(
        (&rows[0]["id"], &rows[0]["provider"]),
        (&"fake/1".into(), &"fake".into())
    );
    assert_eq!(
        (&rows[0]["status"], &rows[0]["models"]),
        (&"ok".into(), &2.into())
    );
    assert!(rows[0]["latency_ms"].is_number(), "{rows}");
    for (reply, status, code) in [
        (openai::bad_key(), "invalid", 1),
        (openai::no_money(), "no_quota", 1),
        (openai::rate_limited(), "rate_limited", 0),
        (
            openai::error(
                403,
                "permission_error",
                "forbidden",
                "No access from your country",
            ),
            "forbidden",
            1,
        ),
        (openai::broken(), "error", 1),
    ] {
        let script = Script::always(reply.clone()).model_list(reply);
        let (_upstream, home) = home(script, 1).await;
        let finished = home.run_beside(&["test-keys", "fake", "--json"], "").await;
        assert_eq!(json(&finished)[0]["status"], status, "{finished:?}");
        assert_eq!(finished.code, code, "{finished:?}");
    }
}

#[test]
fn test_keys_with_nothing_to_test_is_exit_3() {
    let finished = Home::new().run(&["test-keys", "groq"]);
    assert_eq!(finished.code, 3, "{finished:?}");
}

#[test]
fn usage_errors_are_exit_2() {
    for arguments in [
        &["nonsense"][..],
        &["serve", "--port", "99999999"],
        &["chat", "--nonsense"],
    ] {
        let finished = Home::new().run(arguments);
        assert_eq!(
            (finished.code, finished.stdout.as_str()),
            (2, ""),
            "{finished:?}"
        );
    }
    let version = Home::new().run(&["--version"]);
    assert!(
        version.stdout.contains(env!("CARGO_PKG_VERSION")),
        "{version:?}"
    );
}

#[tokio::test]
async fn an_unreachable_key_says_so() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    drop(listener);
    let home = Home::with_config(&format!(
        "[providers.fake]\nkind = \"openai\"\nbase_url = \"http://{address}/v1\"\napi_keys = [\"none\"]\n"
    ));
    let finished = home.run_beside(&["test-keys", "--json"], "").await;
    assert_eq!(
        (finished.code, &json(&finished)[0]["status"]),
        (1, &"unreachable".into())
    );
}
