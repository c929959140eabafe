//! Files that change or vanish under a running server.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::client::{CHAT, Request, STREAM};
use crate::fake::openai;
use crate::fake::reply::Gate;
use crate::fake::script::Script;
use crate::fake::upstream::Upstream;
use crate::harness::{Gateway, keys, pair, patiently, provider, size};

/// Edits, forty if nobody wants more, of which each bad one is put right; the last text is in force at
/// the end.
fn rewrite(file: &Path, texts: &[String], process: &str) {
    let pause = |milliseconds| std::thread::sleep(Duration::from_millis(milliseconds));
    let write = |text: &str| fs::write(file, text).expect("the config is written");
    for number in 0..size("LLMPROXY_EDITS", 40) {
        let text = &texts[number % texts.len()];
        match number % 5 {
            // Emptied first and filled a moment later, as editors and scripts do.
            0 | 1 => {
                write("");
                pause(20);
                write(&text[..text.len() / 2]);
                pause(20);
                write(text);
            }
            2 => write("[providers.fake\nkind = "),
            3 => {
                let beside = file.with_extension("new");
                fs::write(&beside, text).expect("a file");
                fs::rename(beside, file).expect("renamed");
                for _ in 0..5 {
                    let kill = Command::new("kill").args(["-HUP", process]).status();
                    assert!(kill.expect("kill runs").success());
                }
            }
            _ => write("[server]\nport = \"none\"\n"),
        }
        pause(60);
    }
    write(&texts[2]);
}

/// How many requests were served, one after the other, until it was over.
async fn asked_until(gateway: &Gateway, over: &AtomicBool) -> usize {
    let mut connection = gateway.connect().await;
    let mut count = 0;
    while !over.load(Ordering::Relaxed) {
        connection.send(&Request::chat(CHAT)).await;
        let answer = connection.response().await;
        assert_eq!(answer.status, 200, "request {count}: {}", answer.text());
        count += 1;
    }
    count
}

/// Waits for a config with so many keys.
async fn reloaded(gateway: &Gateway, keys: usize) {
    let counted = async {
        while gateway.provider("fake").await["credentials"] != keys {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    patiently("the last config", counted).await;
}

#[tokio::test]
async fn l12_l13_l14_l26_a_config_rewritten_in_every_bad_way_fails_no_request() {
    let upstream = Upstream::start(Script::always(openai::completion("hi"))).await;
    let good = |number: usize| provider("fake", &upstream, &keys(1 + number % 3));
    let gateway = Gateway::start(&good(0)).await;
    let over = AtomicBool::new(false);
    let asking = asked_until(&gateway, &over);
    let texts: Vec<String> = (0..3).map(good).collect();
    let (file, process) = (gateway.home().config_file(), gateway.pid().to_string());
    let rewriting = async {
        tokio::task::spawn_blocking(move || rewrite(&file, &texts, &process))
            .await
            .expect("no panic");
        reloaded(&gateway, 3).await;
        over.store(true, Ordering::Relaxed);
    };
    let (count, ()) = tokio::join!(asking, rewriting);
    assert!(count > 50, "{count}");
    gateway.idle().await;
}

#[tokio::test]
async fn d3_a_reload_every_tenth_of_a_second_fails_no_request() {
    let (upstream, gateway) = pair(Script::always(openai::completion("hi")), 2, "").await;
    let over = AtomicBool::new(false);
    let asking = asked_until(&gateway, &over);
    let signalling = async {
        // LLMPROXY_SIGNALS=100 is ten seconds of it.
        for number in 0..size("LLMPROXY_SIGNALS", 10) {
            let config = provider("fake", &upstream, &keys(1 + number % 3));
            gateway.home().write_config(&config);
            gateway.signal("HUP");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        gateway
            .home()
            .write_config(&provider("fake", &upstream, &keys(4)));
        gateway.signal("HUP");
        reloaded(&gateway, 4).await;
        over.store(true, Ordering::Relaxed);
    };
    let (count, ()) = tokio::join!(asking, signalling);
    assert!(count > 10, "{count}");
    gateway.idle().await;
}

#[tokio::test]
async fn c35_a_client_that_is_removed_gets_nothing_more_and_its_stream_ends_well() {
    let gate = Gate::new();
    let script = Script::always(openai::stream(&["one", "two"]).gated(&gate));
    let clients = |names: &[&str]| -> String {
        let client = |name: &&str| {
            format!("[[server.clients]]\nname = \"{name}\"\nkey = \"{name}-key-0123456789\"\n")
        };
        names.iter().map(client).collect()
    };
    let (upstream, mut gateway) = pair(script, 1, &clients(&["ann", "bob"])).await;
    let ask =
        |name: &str| Request::chat(STREAM).header("x-api-key", &format!("{name}-key-0123456789"));
    let mut running = gateway.connect().await;
    running.send(&ask("ann")).await;
    upstream.asked(1).await;
    let config = provider("fake", &upstream, &keys(1)) + &clients(&["bob"]);
    gateway.home().write_config(&config);
    gateway.line_with("reloaded").await;
    assert_eq!(gateway.send(&ask("ann")).await.status, 401);
    gate.open(100);
    assert_eq!(gateway.send(&ask("bob")).await.status, 200);
    let answer = running.response().await;
    assert_eq!(answer.text(), openai::frames(&["one", "two"]).concat());
}

#[tokio::test]
async fn l37_a_state_directory_that_vanishes_harms_no_request() {
    let (_upstream, gateway) = pair(Script::always(openai::completion("hi")), 2, "").await;
    assert_eq!(gateway.chat(CHAT).await.status, 200);
    for below in ["state", "cache", "data"] {
        let _ = fs::remove_dir_all(gateway.home().path(below));
    }
    for _ in 0..20 {
        assert_eq!(gateway.chat(CHAT).await.status, 200);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(gateway.provider("fake").await["ready"], 2);
}
