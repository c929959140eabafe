//! The request log as its reader meets it, and `replay`.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::client::{CHAT, Request, STREAM};
use crate::commands::{assert_refused, json};
use crate::fake::openai;
use crate::fake::reply::Gate;
use crate::fake::script::Script;
use crate::fake::upstream::Upstream;
use crate::harness::{Gateway, Home, keys, pair, patiently, provider};

/// Stands in secrets that the vendor repeats; the harness looks for the other mark in answers, too.
const MARK: &str = "marked-9d2c";

const ON: &str = "[log]\nrequests = true\n";

fn requests(home: &Home) -> PathBuf {
    home.path("state/llmproxy/requests")
}

/// The directory of a request, once it is there.
async fn logged(dir: &Path, id: &str) -> PathBuf {
    let looking = async {
        loop {
            let entries = fs::read_dir(dir).into_iter().flatten().flatten();
            let mut paths = entries.map(|entry| entry.path());
            let found = paths.find(|path| {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                name.ends_with(id) && !name.starts_with('.')
            });
            if let Some(path) = found {
                return path;
            }
            // The writer is another process's thread: nothing tells when it is done.
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    patiently("a logged request", looking).await
}

fn id_of(answer: &crate::client::Response) -> String {
    answer.header("x-request-id").unwrap_or_default().to_owned()
}

fn read(directory: &Path, name: &str) -> Value {
    let text = fs::read_to_string(directory.join(name));
    let text = text.unwrap_or_else(|error| panic!("{name}: {error}"));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}: {text}"))
}

fn events(directory: &Path, name: &str) -> Vec<(u64, String)> {
    let text = fs::read_to_string(directory.join(name)).expect("events");
    let lines = text.lines().map(|line| {
        let line: Value = serde_json::from_str(line).expect("JSON");
        let event = line["event"].as_str().expect("a text").to_owned();
        (line["after_ms"].as_u64().expect("a time"), event)
    });
    lines.collect()
}

#[tokio::test]
async fn a_logged_request_tells_all_of_its_story() {
    let script = Script::new()
        .cycle(&keys(2)[0], [openai::rate_limited()])
        .others([openai::completion("hi")]);
    let (_upstream, gateway) = pair(script, 2, ON).await;
    let request = Request::chat(CHAT)
        .header("authorization", "Bearer the-clients-key-1")
        .header("cookie", "session=of-the-client-1");
    let answer = gateway.send(&request).await;
    assert_eq!(answer.status, 200);
    let id = id_of(&answer);
    let directory = logged(&requests(gateway.home()), &id).await;

    let asked = read(&directory, "request.json");
    assert_eq!(asked["body"]["model"], "fake/m1");
    assert_eq!(asked["headers"]["authorization"], "[redacted]");
    assert_eq!(asked["headers"]["cookie"], "[redacted]");
    let first = read(&directory, "attempt-1-request.json");
    assert_eq!(first["credential"], "fake/1");
    assert_eq!(first["headers"]["authorization"], "[redacted]");
    assert_eq!(first["body"]["model"], "m1");
    let refused = read(&directory, "attempt-1-response.json");
    assert_eq!(refused["status"], 429);
    let second = read(&directory, "attempt-2-response.json");
    assert_eq!(second["status"], 200);
    let told = read(&directory, "response.json");
    assert_eq!(told["body"], second["body"]);
    let meta = read(&directory, "meta.json");
    assert_eq!(meta["id"], id.as_str());
    assert_eq!(meta["trail"]["attempts"][0]["verdict"], "rate_limit");
    assert_eq!(meta["trail"]["ending"], "served");

    assert_eq!(
        gateway
            .send(&Request::post("/v1/quota-stats", "{}"))
            .await
            .status,
        200
    );
    let explained = gateway.home().run_beside(&["explain", &id], "").await;
    let path = directory.display().to_string();
    assert!(explained.stdout.contains(&path), "{explained:?}");
}

#[cfg(unix)]
#[tokio::test]
async fn what_is_logged_is_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let script = Script::always(openai::completion("hi"));
    let (_upstream, gateway) = pair(script, 1, ON).await;
    let id = id_of(&gateway.chat(CHAT).await);
    let dir = requests(gateway.home());
    let directory = logged(&dir, &id).await;
    let mode = |path: &Path| {
        let seen = fs::metadata(path).expect("it is there");
        seen.permissions().mode() & 0o777
    };
    assert_eq!((mode(&dir), mode(&directory)), (0o700, 0o700));
    for file in fs::read_dir(&directory).expect("files").flatten() {
        assert_eq!(mode(&file.path()), 0o600, "{file:?}");
    }
}

#[tokio::test]
async fn events_of_a_stream_are_logged_with_their_times() {
    let script = Script::always(openai::stream(&["one ", "two"]));
    let (_upstream, gateway) = pair(script, 1, ON).await;
    let answer = gateway.chat(STREAM).await;
    assert_eq!(answer.status, 200);
    let directory = logged(&requests(gateway.home()), &id_of(&answer)).await;
    for name in ["attempt-1-response-events.jsonl", "response-events.jsonl"] {
        let events = events(&directory, name);
        assert!(events.is_sorted_by_key(|(after, _)| *after), "{events:?}");
        let stream: Vec<String> = events.into_iter().map(|(_, event)| event).collect();
        let stream = stream.join("\n\n") + "\n\n";
        assert_eq!(stream, answer.text(), "{name}");
    }
}

#[tokio::test]
async fn no_secret_is_logged_wherever_it_stands() {
    // None of them looks like a key: they are known, that is all. The vendor repeats one, and the
    // client gets what the vendor said.
    let key = format!("plain+{MARK}/one");
    let other = format!("{MARK}-of-another-provider");
    let client = format!("{MARK}-client");
    let echo = format!("you sent {key} for plain%2B{MARK}%2Fone");
    let upstream = Upstream::start(Script::always(openai::completion(&echo))).await;
    let config = provider("fake", &upstream, std::slice::from_ref(&key))
        + &provider("idle", &upstream, std::slice::from_ref(&other))
        + &format!("[server]\napi_keys = [{client:?}]\n{ON}");
    let gateway = Gateway::start(&config).await;
    let chat = CHAT.replace("\"hi\"", &format!("\"keys: {key} {other} {client}\""));
    let request = Request::chat(&chat).header("x-api-key", &client);
    let answer = gateway.send(&request).await;
    assert!(answer.text().contains(&echo), "{}", answer.text());
    let directory = logged(&requests(gateway.home()), &id_of(&answer)).await;
    for file in fs::read_dir(&directory).expect("files").flatten() {
        let text = fs::read_to_string(file.path()).expect("a file");
        assert!(!text.contains(MARK), "{file:?}: {text}");
    }
    let asked = read(&directory, "request.json");
    let content = asked["body"]["messages"][0]["content"].as_str();
    assert!(
        content == Some("keys: [redacted] [redacted] [redacted]"),
        "{asked}"
    );
}

#[tokio::test]
async fn nothing_is_logged_until_it_is_switched_on() {
    let script = Script::always(openai::completion("hi"));
    let (upstream, mut gateway) = pair(script, 1, "").await;
    assert_eq!(gateway.chat(CHAT).await.status, 200);
    assert!(!requests(gateway.home()).exists());
    let config = provider("fake", &upstream, &keys(1)) + "[log]\nrequests = true\ndir = \"here\"\n";
    gateway.home().write_config(&config);
    gateway.line_with("reloaded").await;
    let id = id_of(&gateway.chat(CHAT).await);
    logged(&gateway.home().path("config/llmproxy/here"), &id).await;
    assert!(!requests(gateway.home()).exists());
}

#[tokio::test]
async fn a_log_that_cannot_be_written_says_so_once_and_serving_goes_on() {
    let script = Script::always(openai::completion("hi"));
    let settings = "[log]\nrequests = true\ndir = \"config.toml/here\"\n";
    let (_upstream, mut gateway) = pair(script, 1, settings).await;
    for _ in 0..5 {
        assert_eq!(gateway.chat(CHAT).await.status, 200);
    }
    gateway.line_with("cannot write the request log in ").await;
    let counting = async {
        while !gateway
            .get("/metrics")
            .await
            .text()
            .contains("llmproxy_request_log_dropped_total 5\n")
        {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    patiently("five dropped requests", counting).await;
    let sentence = "cannot write the request log";
    let stderr = gateway.said(sentence).await;
    assert_eq!(stderr.matches(sentence).count(), 1, "{stderr}");
}

#[tokio::test]
async fn a_client_that_leaves_before_the_answer_is_on_record() {
    let gate = Gate::new();
    let script = Script::always(openai::completion("late").gated(&gate));
    let (upstream, gateway) = pair(script, 1, ON).await;
    let mut connection = gateway.connect().await;
    connection.send(&Request::chat(CHAT)).await;
    upstream.asked(1).await;
    drop(connection);
    upstream.left(1).await;
    let directory = logged(&requests(gateway.home()), "").await;
    let meta = read(&directory, "meta.json");
    assert_eq!(meta["trail"]["ending"], "cancelled", "{meta}");
    assert_eq!(
        meta["trail"]["attempts"][0]["effect"], "the client left",
        "{meta}"
    );
    let metrics = gateway.get("/metrics").await.text();
    assert!(metrics.contains("status=\"cancelled\"} 1\n"), "{metrics}");
}

#[tokio::test]
async fn a_replay_shows_what_is_different_now() {
    let texts = ["one\ntwo", "one\ntwo", "one\nthree"];
    let script = Script::new().others(texts.map(openai::completion));
    let (_upstream, gateway) = pair(script, 1, ON).await;
    let id = id_of(&gateway.chat(CHAT).await);
    logged(&requests(gateway.home()), &id).await;
    let home = gateway.home();
    let again = json(&home.run_beside(&["replay", &id, "--json"], "").await);
    assert_eq!(again["same_text"], true, "{again}");
    assert_eq!(again["before"]["text"], "one\ntwo");
    assert_eq!(again["now"]["credential"], "fake/1");
    let beginning = id.get(..10).unwrap_or(&id);
    let other = home
        .run_beside(&["replay", beginning, "--model", "fake/m2"], "")
        .await;
    assert_eq!(other.code, 0, "{other:?}");
    for text in ["fake/m2", "  one\n- two\n+ three\n"] {
        assert!(other.stdout.contains(text), "{text} in {other:?}");
    }
}

#[tokio::test]
async fn a_replay_of_what_is_not_logged_says_so() {
    let script = Script::always(openai::completion("hi"));
    let (_upstream, gateway) = pair(script, 1, "").await;
    let id = id_of(&gateway.chat(CHAT).await);
    let refused = gateway.home().run_beside(&["replay", &id], "").await;
    assert_refused(&refused, 1, "is not in the request log");
    assert!(refused.stderr.contains("--log-requests"), "{refused:?}");
}
