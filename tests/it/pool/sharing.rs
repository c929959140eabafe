//! One state for several processes, and what happens when it is damaged.

use std::fs;

use super::{IMPATIENT, assert_cooling, credential, serve, served_by};
use crate::client::{CHAT, Request};
use crate::fake::openai;
use crate::fake::script::Script;
use crate::fake::upstream::Upstream;
use crate::harness::{Gateway, Home, keys, patiently, provider};

/// Makes a gateway write down what it knows.
async fn write_down(gateway: &Gateway) {
    let answer = gateway.send(&Request::post("/v1/quota-stats", "")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

#[tokio::test]
async fn what_the_server_learned_a_chat_beside_it_knows() {
    let all = keys(2);
    let script = Script::new()
        .once(
            &all[0],
            [openai::rate_limited().header("retry-after", "600")],
        )
        .cycle(&all[1], [openai::completion("hi")]);
    let upstream = Upstream::start(script).await;
    let gateway = Gateway::start(&provider("fake", &upstream, &all)).await;
    assert_eq!(serve(&gateway).await, "2");
    write_down(&gateway).await;
    let chat = ["chat", "-m", "fake/m1", "--no-stream", "hello"];
    let chat = gateway.home().run_beside(&chat, "").await;
    assert_eq!(chat.code, 0, "{chat:?}");
    assert_eq!(upstream.calls(&all[0]), 1, "the chat asked a resting key");
    assert_eq!(upstream.calls(&all[1]), 2);
}

#[tokio::test]
async fn what_a_chat_learned_the_server_beside_it_knows() {
    let all = keys(1);
    let limited = openai::rate_limited().header("retry-after", "600");
    let script = Script::new().once(&all[0], [limited]);
    let upstream = Upstream::start(script).await;
    let gateway = Gateway::start(&(provider("fake", &upstream, &all) + IMPATIENT)).await;
    let chat = ["chat", "-m", "fake/m1", "--no-stream", "hello"];
    let chat = gateway.home().run_beside(&chat, "").await;
    assert_ne!(chat.code, 0, "{chat:?}");
    super::until_state(&gateway, "1", "cooling").await;
    assert_cooling(&gateway.chat(CHAT).await, 600.0);
    assert_eq!(upstream.requests().len(), 1);
}

#[tokio::test]
async fn windows_and_rests_outlive_a_restart() {
    let all = keys(2);
    let upstream = Upstream::start(Script::always(openai::completion("hi"))).await;
    let window = "windows = [{ requests = 2, every = \"1h\" }]\n";
    let config = provider("fake", &upstream, &all) + window;
    let mut gateway = Gateway::start(&config).await;
    for _ in 0..3 {
        assert_eq!(gateway.chat(CHAT).await.status, 200);
    }
    gateway.signal("TERM");
    assert!(gateway.exited().await.success());
    let home = gateway.take_home();
    let gateway = Gateway::start_in(home, &[]).await;
    assert_eq!(credential(&gateway, "1").await["state"], "exhausted");
    let second = credential(&gateway, "2").await;
    assert_eq!(
        second["model_usage"]["m1"]["windows"]["1h"]["request_count"], 1,
        "{second}"
    );
    assert_eq!(serve(&gateway).await, "2");
    assert_eq!(gateway.chat(CHAT).await.status, 429);
}

#[tokio::test]
async fn conversations_find_their_key_after_a_restart() {
    let upstream = Upstream::start(Script::always(openai::completion("hi"))).await;
    let balanced = "rotation = \"balanced\"\nrotation_tolerance = 0.0\n";
    let config = provider("fake", &upstream, &keys(6)) + balanced;
    let mut gateway = Gateway::start(&config).await;
    let sessions = ["a", "b", "c", "d", "e", "f"];
    let mut homes = Vec::new();
    for session in sessions {
        homes.push(super::serve_session(&gateway, session).await);
    }
    gateway.signal("TERM");
    assert!(gateway.exited().await.success());
    let gateway = Gateway::start_in(gateway.take_home(), &[]).await;
    // In another order: by use alone each would get the next key.
    for (session, home) in sessions.iter().zip(&homes).rev() {
        assert_eq!(
            super::serve_session(&gateway, session).await,
            *home,
            "{session}"
        );
    }
}

#[tokio::test]
async fn a_damaged_state_is_moved_aside_and_serving_goes_on() {
    let upstream = Upstream::start(Script::always(openai::completion("hi"))).await;
    for damage in [
        &b"not a database, and never was"[..],
        &[0_u8; 4096][..],
        b"",
    ] {
        let home = Home::with_config(&provider("fake", &upstream, &keys(1)));
        let state = home.path("state/llmproxy");
        fs::create_dir_all(&state).expect("a directory");
        fs::write(state.join("state.db"), damage).expect("a file");
        let gateway = Gateway::start_in(home, &[]).await;
        assert_eq!(serve(&gateway).await, "1");
        if damage.is_empty() {
            // An empty file is a new database.
            continue;
        }
        gateway.said("state.db").await;
        let aside = fs::read_dir(&state).expect("a directory").flatten();
        let aside = aside.map(|entry| entry.path()).filter(|path| {
            path.to_string_lossy().contains("corrupt")
                && fs::read(path).is_ok_and(|bytes| bytes == damage)
        });
        assert_eq!(aside.count(), 1, "the damaged file is kept");
        write_down(&gateway).await;
        let usage = gateway.home().run_beside(&["usage", "--json"], "").await;
        assert_eq!(usage.code, 0, "{usage:?}");
    }
}

#[tokio::test]
async fn a_database_damaged_in_the_middle_loses_no_credential() {
    let upstream = Upstream::start(Script::always(openai::completion("hi"))).await;
    let config = format!("[providers.groq]\nbase_url = \"{}\"\n", upstream.base_url());
    let home = Home::with_config(&config);
    let add = ["creds", "add", "groq", "--label", "kept", "--no-verify"];
    let added = home.run_with_input(&add, &format!("{}\n", keys(1)[0]));
    assert_eq!(added.code, 0, "{added:?}");
    let body = CHAT.replace("fake/m1", "groq/m1");
    let mut gateway = Gateway::start_in(home, &[]).await;
    assert_eq!(gateway.chat(&body).await.status, 200);
    gateway.signal("TERM");
    assert!(gateway.exited().await.success());
    let home = gateway.take_home();
    let file = home.path("state/llmproxy/state.db");
    let mut bytes = fs::read(&file).expect("a database");
    let half = bytes.len() / 2;
    bytes[100..half].fill(0xa5);
    fs::write(&file, bytes).expect("a damaged database");
    for extra in ["state.db-wal", "state.db-shm"] {
        let _ = fs::remove_file(home.path(&format!("state/llmproxy/{extra}")));
    }
    let gateway = Gateway::start_in(home, &[]).await;
    let answer = gateway.chat(&body).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let list = gateway
        .home()
        .run_beside(&["creds", "list", "--json"], "")
        .await;
    assert!(list.stdout.contains("groq/kept"), "{list:?}");
}

#[tokio::test]
async fn a_state_that_cannot_be_written_is_said_and_memory_serves() {
    let all = keys(2);
    let script = Script::new()
        .once(
            &all[0],
            [openai::rate_limited().header("retry-after", "600")],
        )
        .cycle(&all[1], [openai::completion("hi")]);
    let upstream = Upstream::start(script).await;
    let home = Home::with_config(&provider("fake", &upstream, &all));
    // A file where the directory should be: nobody can write there, not even root.
    fs::create_dir_all(home.path("state")).expect("a directory");
    fs::write(home.path("state/llmproxy"), "in the way").expect("a file");
    let gateway = Gateway::start_in(home, &[]).await;
    for _ in 0..3 {
        assert_eq!(served_by(&gateway.chat(CHAT).await), "2");
    }
    gateway.said("memory").await;
}

#[tokio::test]
async fn two_servers_on_one_state_agree_on_who_rests() {
    let all = keys(2);
    let script = Script::new()
        .once(
            &all[0],
            [openai::rate_limited().header("retry-after", "600")],
        )
        .cycle(&all[1], [openai::completion("hi")]);
    let upstream = Upstream::start(script).await;
    let first = Gateway::start(&provider("fake", &upstream, &all)).await;
    let mut second = first.home().command(&["serve", "--port", "0"]);
    let mut second = second.spawn().expect("a second server");
    let stderr = second.stderr.take().expect("a pipe");
    let address = tokio::task::spawn_blocking(move || {
        let mut lines = std::io::BufRead::lines(std::io::BufReader::new(stderr));
        let found = lines.find_map(|line| {
            line.ok()?
                .strip_prefix("listening on http://")
                .map(str::to_owned)
        });
        std::thread::spawn(move || lines.for_each(drop));
        found
    });
    let address = patiently("the second server", address).await;
    let address = address.expect("a thread").expect("an address");
    assert_eq!(serve(&first).await, "2");
    let knows = async {
        loop {
            let mut connection =
                crate::client::Connection::open(address.parse().expect("an address")).await;
            connection.send(&Request::get("/v1/quota-stats")).await;
            let document = connection.response().await.json();
            let one = &document["providers"]["fake"]["credentials"]["fake/1"];
            if one["state"] == "cooling" {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    patiently("what the first learned", knows).await;
    let mut connection =
        crate::client::Connection::open(address.parse().expect("an address")).await;
    connection.send(&Request::chat(CHAT)).await;
    assert_eq!(served_by(&connection.response().await), "2");
    second.kill().expect("it runs");
    second.wait().expect("it ends");
    assert_eq!(upstream.calls(&all[0]), 1);
}
