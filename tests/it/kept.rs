//! What clients go on from outlives a restart and a kill, in a file of its own: responses, the
//! signatures and the reasoning of those that cannot hold them. Whose it is, how it ends, and what
//! becomes of it when the file cannot be used.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use crate::client::Request;
use crate::fake::upstream::Upstream;
use crate::harness::{Gateway, Home, keys, patiently, provider};
use crate::responses_store::{CLIENTS, ask, by, chat, id_of};

const STATE: &str = "state/llmproxy";

async fn upstream() -> Upstream {
    Upstream::start(chat()).await
}

fn config(upstream: &Upstream) -> String {
    CLIENTS.to_owned() + &provider("fake", upstream, &keys(1))
}

fn first(stream: bool) -> Value {
    json!({"model": "fake/m1", "stream": stream, "input": "what is up?"})
}

fn next(previous: &str) -> Value {
    json!({"model": "fake/m1", "previous_response_id": previous, "input": "and down?"})
}

async fn status(gateway: &Gateway, client: &str, method: &str, target: &str) -> u16 {
    let request = by(client, Request::new(method, target));
    gateway.send(&request).await.status
}

fn files(home: &Home) -> Vec<PathBuf> {
    let entries = fs::read_dir(home.path(STATE))
        .into_iter()
        .flatten()
        .flatten();
    entries
        .map(|entry| entry.path())
        .filter(|path| path.to_string_lossy().contains("conversations.db"))
        .collect()
}

fn holds(home: &Home, text: &str) -> bool {
    files(home).iter().any(|file| {
        let bytes = fs::read(file).unwrap_or_default();
        bytes.windows(text.len()).any(|at| at == text.as_bytes())
    })
}

/// Waits until a text is on disk.
pub(crate) async fn written(home: &Home, text: &str) {
    patiently(&format!("{text} on disk"), async {
        while !holds(home, text) {
            // Nothing tells when another process has written.
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// Ends a gateway by a signal and starts another one in its home.
pub(crate) async fn restarted(mut gateway: Gateway, signal: &str) -> Gateway {
    gateway.signal(signal);
    gateway.exited().await;
    Gateway::start_in(gateway.take_home(), &[]).await
}

#[tokio::test]
async fn a_conversation_goes_on_after_a_restart_and_a_kill_for_its_own_client_only() {
    let upstream = upstream().await;
    let home = Home::with_config(&config(&upstream));
    let mut gateway = Gateway::start_in(home, &[]).await;
    for (signal, stream) in [("TERM", false), ("KILL", true), ("KILL", false)] {
        let id = id_of(&gateway.send(&ask("one", &first(stream))).await);
        if signal == "KILL" {
            written(gateway.home(), &id).await;
        }
        gateway = restarted(gateway, signal).await;

        let at = format!("/v1/responses/{id}");
        let refused = gateway.send(&ask("two", &next(&id))).await;
        assert_eq!(refused.status, 400, "{}", refused.text());
        assert_eq!(
            refused.json()["error"]["code"],
            "previous_response_not_found"
        );
        for method in ["GET", "DELETE"] {
            assert_eq!(status(&gateway, "two", method, &at).await, 404);
        }

        let second = gateway.send(&ask("one", &next(&id))).await;
        assert_eq!(second.status, 200, "{}", second.text());
        let sent = upstream.requests().pop().expect("a request").text();
        let sent: Value = serde_json::from_str(&sent).expect("JSON");
        let roles = sent["messages"].as_array().expect("messages").iter();
        let roles: Vec<_> = roles.map(|message| message["role"].clone()).collect();
        assert_eq!(roles, ["user", "assistant", "user"], "{sent}");
        assert_eq!(status(&gateway, "one", "GET", &at).await, 200);
        let items = format!("{at}/input_items");
        assert_eq!(status(&gateway, "one", "GET", &items).await, 200);
    }
}

#[tokio::test]
async fn a_deleted_response_stays_deleted_whatever_ends_the_process() {
    let upstream = upstream().await;
    let home = Home::with_config(&config(&upstream));
    let gateway = Gateway::start_in(home, &[]).await;
    let id = id_of(&gateway.send(&ask("one", &first(false))).await);
    written(gateway.home(), &id).await;
    let gateway = restarted(gateway, "KILL").await;
    let at = format!("/v1/responses/{id}");
    assert_eq!(status(&gateway, "one", "DELETE", &at).await, 200);
    let gateway = restarted(gateway, "KILL").await;
    assert_eq!(status(&gateway, "one", "GET", &at).await, 404);
    // Nor is its text left in the file.
    let gateway = restarted(gateway, "TERM").await;
    assert!(!holds(gateway.home(), "what is up?"));
}

#[tokio::test]
async fn what_is_not_to_be_stored_is_on_no_disk_and_what_is_has_no_secret() {
    let upstream = upstream().await;
    let home = Home::with_config(&config(&upstream));
    let gateway = Gateway::start_in(home, &[]).await;
    let mut unstored = first(false);
    unstored["store"] = false.into();
    unstored["input"] = "not for the file".into();
    assert_eq!(gateway.send(&ask("one", &unstored)).await.status, 200);
    // A key of ours in a conversation keeps that conversation off the disk.
    let mut secret = first(false);
    secret["input"] = format!("my key is {}", keys(1)[0]).into();
    let told = id_of(&gateway.send(&ask("one", &secret)).await);
    let id = id_of(&gateway.send(&ask("one", &first(false))).await);
    written(gateway.home(), &id).await;
    for file in files(gateway.home()) {
        let mode = fs::metadata(&file).expect("there").mode();
        assert_eq!(mode & 0o077, 0, "{}: {mode:o}", file.display());
    }
    assert_eq!(gateway.send(&ask("one", &next(&told))).await.status, 200);
    let gateway = restarted(gateway, "TERM").await;
    for text in ["not for the file", "my key is", "client-one"] {
        assert!(!holds(gateway.home(), text), "{text}");
    }
    assert!(holds(gateway.home(), "what is up?"));
}

#[tokio::test]
async fn where_conversations_are_not_to_be_kept_the_file_goes() {
    let upstream = upstream().await;
    let home = Home::with_config(&config(&upstream));
    let mut gateway = Gateway::start_in(home, &[]).await;
    let id = id_of(&gateway.send(&ask("one", &first(false))).await);
    gateway.signal("TERM");
    gateway.exited().await;
    let home = gateway.take_home();
    assert!(holds(&home, &id));
    let off = "[state]\nkeep_conversations = false\n".to_owned() + &config(&upstream);
    home.write_config(&off);
    let gateway = Gateway::start_in(home, &[]).await;
    assert_eq!(files(gateway.home()), Vec::<PathBuf>::new());
    assert_eq!(gateway.send(&ask("one", &next(&id))).await.status, 400);
    // In memory they go on.
    let id = id_of(&gateway.send(&ask("one", &first(false))).await);
    assert_eq!(gateway.send(&ask("one", &next(&id))).await.status, 200);
    assert_eq!(files(gateway.home()), Vec::<PathBuf>::new());
}

#[tokio::test]
async fn a_damaged_file_is_moved_aside_and_conversations_go_on() {
    let upstream = upstream().await;
    for damage in [&b"not a database, and never was"[..], &[0_u8; 4096][..]] {
        let home = Home::with_config(&config(&upstream));
        fs::create_dir_all(home.path(STATE)).expect("a directory");
        let file = home.path(STATE).join("conversations.db");
        fs::write(&file, damage).expect("a file");
        let gateway = Gateway::start_in(home, &[]).await;
        gateway.said("conversations.db was damaged").await;
        let aside = files(gateway.home());
        let aside = aside.iter().filter(|path| {
            path.to_string_lossy().contains("corrupt")
                && fs::read(path).is_ok_and(|bytes| bytes == damage)
        });
        assert_eq!(aside.count(), 1, "the damaged file is kept");
        let id = id_of(&gateway.send(&ask("one", &first(false))).await);
        let gateway = restarted(gateway, "TERM").await;
        assert_eq!(gateway.send(&ask("one", &next(&id))).await.status, 200);
    }
}

#[tokio::test]
async fn a_file_damaged_while_it_is_in_use_costs_no_request() {
    let upstream = upstream().await;
    let home = Home::with_config(&config(&upstream));
    let gateway = Gateway::start_in(home, &[]).await;
    let id = id_of(&gateway.send(&ask("one", &first(false))).await);
    written(gateway.home(), &id).await;
    // In place, and not the part that the gateway has mapped: a hole in that is no damage of the disk.
    let files = files(gateway.home()).into_iter();
    for file in files.filter(|file| !file.to_string_lossy().ends_with("-shm")) {
        let length = fs::metadata(&file).expect("there").len();
        let junk = vec![0xa5; usize::try_from(length).expect("small")];
        let opened = fs::OpenOptions::new().write(true).open(&file);
        opened
            .and_then(|mut file| file.write_all(&junk))
            .expect("damaged");
    }
    for _ in 0..3 {
        let id = id_of(&gateway.send(&ask("one", &first(false))).await);
        assert_eq!(gateway.send(&ask("one", &next(&id))).await.status, 200);
    }
    let gateway = restarted(gateway, "TERM").await;
    let id = id_of(&gateway.send(&ask("one", &first(false))).await);
    assert_eq!(gateway.send(&ask("one", &next(&id))).await.status, 200);
}
