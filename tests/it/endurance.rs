//! Many requests over failing keys, and processes that die in the middle of them.

use std::io::{self, BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::client::{CHAT, Connection, Request};
use crate::fake::google::Google;
use crate::fake::openai;
use crate::fake::reply::Reply;
use crate::fake::script::Script;
use crate::fake::upstream::Upstream;
use crate::harness::{Home, keys, pair, patiently, provider, size};
use crate::oauth_refresh;

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

#[test]
fn k6_two_processes_that_write_at_once_are_never_both_at_it() {
    let home = Home::new();
    // LLMPROXY_ROUNDS=500 is what the table asks for.
    let rounds = size("LLMPROXY_ROUNDS", 3);
    for round in 0..rounds {
        // Both also make or read the same key file, and bring the list up to date.
        let adding = ["a", "b"].map(|name| {
            let label = format!("{name}{}", round % 20);
            let add = [
                "creds",
                "add",
                "openai",
                "--label",
                &label,
                "--no-verify",
                "--yes",
            ];
            let mut child = home
                .command(&add)
                .stdin(Stdio::piped())
                .spawn()
                .expect("the binary runs");
            let key = format!("sk-{name}{round}-0123456789abcdefghijklmnop\n");
            let mut stdin = child.stdin.take().expect("a pipe");
            stdin.write_all(key.as_bytes()).expect("it reads");
            drop(stdin);
            (label, child)
        });
        let labels = adding.map(|(label, child)| {
            let ended = child.wait_with_output().expect("it ends");
            assert!(ended.status.success(), "round {round}: {ended:?}");
            label
        });
        let listed = home.run(&["creds", "list", "openai", "--json"]);
        assert_eq!(listed.code, 0, "{listed:?}");
        let rows: serde_json::Value = serde_json::from_str(&listed.stdout).expect("JSON");
        assert_eq!(
            rows.as_array().map(Vec::len),
            Some(2 * (round + 1).min(20)),
            "{rows}"
        );
        for label in labels {
            assert!(
                listed.stdout.contains(&format!("openai/{label}\"")),
                "round {round}: {rows}"
            );
        }
    }
}

/// What `creds list` says of the account.
fn account(home: &Home) -> serde_json::Value {
    let listed = home.run(&["creds", "list", "--json"]);
    let rows: Vec<serde_json::Value> = serde_json::from_str(&listed.stdout).expect("JSON");
    let mut rows = rows.into_iter();
    let row = rows.find(|row| row["id"] == oauth_refresh::ID);
    row.unwrap_or_else(|| panic!("it is lost: {listed:?}"))
}

/// Two hundred requests a second, a quarter of them for the account, until it is dropped.
fn load(address: SocketAddr, answered: &Arc<AtomicUsize>) -> JoinSet<()> {
    let mut load = JoinSet::new();
    let answered = Arc::clone(answered);
    load.spawn(async move {
        let mut ticks = tokio::time::interval(Duration::from_millis(5));
        let mut asking = JoinSet::new();
        for number in 0_u64.. {
            ticks.tick().await;
            let body = if number % 4 == 0 {
                oauth_refresh::CHAT
            } else {
                CHAT
            };
            let request = Request::chat(body)
                .header("connection", "close")
                .bytes(address);
            let answered = Arc::clone(&answered);
            asking.spawn(async move {
                // The server dies under it.
                let Ok(mut stream) = TcpStream::connect(address).await else {
                    return;
                };
                let mut answer = Vec::new();
                if stream.write_all(&request).await.is_err()
                    || stream.read_to_end(&mut answer).await.is_err()
                    || answer.is_empty()
                {
                    return;
                }
                let answer = String::from_utf8_lossy(&answer);
                assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
                answered.fetch_add(1, Ordering::Relaxed);
            });
            while let Some(ended) = asking.try_join_next() {
                ended.expect("no answer was an error");
            }
        }
    });
    load
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k2_kills_under_load_lose_no_account_refresh_nothing_twice_and_never_count_back() {
    let upstream = Upstream::start(Script::always(openai::completion("fine"))).await;
    let google = Google::start("me@example.com").await;
    google.rotate_once_used();
    let home = google.home();
    home.write_config(&(provider("fake", &upstream, &keys(3)) + &google.config("gemini_cli")));
    oauth_refresh::import(&google, &home);
    let (answered, mut longest, mut counted) = (Arc::default(), Duration::ZERO, 0);
    let (mut renewed, mut cut_short, rounds) = (0, 0, size("LLMPROXY_KILLS", 10));
    for round in 0..rounds {
        // Every second time it finds its token refused.
        if round % 2 == 1 {
            google.revoke_access();
        }
        let (settled, before) = (google.is_settled(), google.refreshes());
        let began = Instant::now();
        let (mut child, address) = start(&home);
        longest = longest.max(began.elapsed());
        let mut load = load(address.parse().expect("an address"), &answered);
        // Most die soon; some live for long enough to write their counts down.
        let life = if round % 10 == 9 {
            1500
        } else {
            fastrand::u64(0..400)
        };
        let dies = tokio::time::sleep(Duration::from_millis(life));
        tokio::select! {
            () = dies => {}
            ended = load.join_next() => panic!("round {round}: {ended:?}"),
        }
        child.kill().expect("it runs");
        child.wait().expect("it ends");
        load.shutdown().await;
        let refreshes = google.refreshes() - before;
        let wanted = usize::from(!settled);
        assert!(
            refreshes <= wanted,
            "round {round}: {refreshes} refreshes for {wanted}"
        );
        assert_eq!(google.thefts(), 0, "round {round}");
        renewed += refreshes;
        cut_short += usize::from(refreshes == 1 && !google.is_settled());
        let row = tokio::task::block_in_place(|| account(&home));
        assert_eq!(
            (&row["id"], &row["state"]),
            (&oauth_refresh::ID.into(), &"ready".into())
        );
        let count = tokio::task::block_in_place(|| usage_requests(&home));
        assert!(
            count >= counted,
            "round {round}: {counted} requests, then {count}"
        );
        counted = count;
        if round % 100 == 99 {
            let _ = writeln!(io::stdout(), "{} kills", round + 1);
        }
    }
    let _ = writeln!(
        io::stdout(),
        "{rounds} kills, {} requests answered, {counted} counted, {renewed} refreshes of which {cut_short} died before \
         the new token was used, longest start {longest:?}",
        answered.load(Ordering::Relaxed)
    );
    assert!(renewed > 0 && counted > 0, "{renewed} {counted}");
}
