//! Many requests over failing keys, and processes that die in the middle of them.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::time::Duration;

use crate::client::{CHAT, Connection, Request};
use crate::fake::openai;
use crate::fake::reply::Reply;
use crate::fake::script::Script;
use crate::fake::upstream::Upstream;
use crate::harness::{Home, keys, pair, patiently, provider, size};

#[tokio::test]
async fn two_thousand_requests_over_fifty_keys_of_which_twenty_fail_all_succeed() {
    let all = keys(50);
    let faults: [fn() -> Reply; 5] = [
        openai::rate_limited,
        openai::bad_key,
        openai::no_money,
        openai::broken,
        Reply::reset,
    ];
    let mut script = Script::new().others([openai::completion("fine")]);
    for (key, fault) in all.iter().take(20).zip(faults.iter().cycle()) {
        script = script.cycle(key, [fault()]);
    }
    let settings = "rotation = \"balanced\"\n";
    let (upstream, gateway) = pair(script, 50, settings).await;
    let gateway = &gateway;
    // 2,000 requests, all under way at once, over connections of their own.
    let requests = (0..2000).map(|_| gateway.chat(CHAT));
    let answers = patiently("2,000 answers", futures_util::future::join_all(requests)).await;
    let failed: Vec<_> = answers
        .iter()
        .filter(|answer| answer.status != 200)
        .map(crate::client::Response::text)
        .collect();
    assert!(
        failed.is_empty(),
        "{} failed, such as {}",
        failed.len(),
        failed[0]
    );
    assert!(upstream.requests().len() >= 2000);
}

/// `serve` in a home, and its address.
fn start(home: &Home) -> (Child, String) {
    let mut child = home
        .command(&["serve", "--port", "0"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let stderr = child.stderr.take().expect("a pipe");
    let mut lines = BufReader::new(stderr).lines();
    let address = lines
        .find_map(|line| {
            line.ok()?
                .strip_prefix("listening on http://")
                .map(str::to_owned)
        })
        .expect("it says where it listens");
    // Whatever else it writes must not fill the pipe.
    std::thread::spawn(move || lines.for_each(drop));
    (child, address)
}

fn usage_requests(home: &Home) -> u64 {
    let output = home.run(&["usage", "--json"]);
    let usage: serde_json::Value = serde_json::from_str(&output.stdout).expect("JSON");
    let rows = usage["rows"].as_array().expect("rows");
    rows.iter().filter_map(|row| row["requests"].as_u64()).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_loses_no_credential_and_at_most_a_second_of_counts() {
    let upstream = Upstream::start(Script::always(openai::completion("fine"))).await;
    let home = Home::with_config(&provider("fake", &upstream, &keys(3)));
    let stored = home.run_with_input(
        &[
            "creds",
            "add",
            "openai",
            "--label",
            "kept",
            "--no-verify",
            "--yes",
        ],
        "sk-kept-0123456789abcdefghijklmnop\n",
    );
    assert_eq!(stored.code, 0, "{}", stored.stderr);
    for round in 0..size("LLMPROXY_KILLS", 10) {
        let (mut child, address) = start(&home);
        let load = (0..20).map(|_| async {
            let address = address.parse().expect("an address");
            let mut connection = Connection::open(address).await;
            connection.send(&Request::chat(CHAT)).await;
            connection.rest().await
        });
        let load = futures_util::future::join_all(load);
        let pause = Duration::from_millis(u64::try_from(round % 10).unwrap_or(0) * 7);
        let _ = tokio::time::timeout(pause + Duration::from_millis(1), load).await;
        child.kill().expect("it runs");
        child.wait().expect("it ends");
        let listed = home.run(&["creds", "list", "openai", "--json"]);
        assert!(
            listed.stdout.contains("openai/kept"),
            "round {round}: {}{}",
            listed.stdout,
            listed.stderr
        );
        let damaged = std::fs::read_dir(home.path("state/llmproxy"))
            .expect("the state directory")
            .filter_map(Result::ok)
            .find(|entry| entry.file_name().to_string_lossy().contains("corrupt"));
        assert!(damaged.is_none(), "round {round}: {damaged:?}");
    }
    let before = usage_requests(&home);
    let (mut child, address) = start(&home);
    for _ in 0..25 {
        let mut connection = Connection::open(address.parse().expect("an address")).await;
        connection.send(&Request::chat(CHAT)).await;
        assert_eq!(connection.response().await.status, 200);
    }
    patiently("the counts on disk", async {
        while usage_requests(&home) < before + 25 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    child.kill().expect("it runs");
    child.wait().expect("it ends");
    assert_eq!(usage_requests(&home), before + 25);
}
