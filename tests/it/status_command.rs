//! `llmproxy status`: from the running server where there is one, and as a full screen.

use crate::commands::json;
use crate::fake::openai;
use crate::fake::script::Script;
use crate::harness::{Gateway, Home, keys, pair, provider};
use crate::terminal::Terminal;

const CTRL_C: &str = "\u{3}";

/// The binary on a terminal in a running server's home.
fn watch(gateway: &Gateway, arguments: &[&str]) -> Terminal {
    Terminal::start(
        gateway.home(),
        &[&["status", "--watch"], arguments].concat(),
    )
}

#[tokio::test]
async fn the_running_server_is_asked_whatever_its_port() {
    let settings = "[server]\napi_keys = [\"client-key\"]\n";
    let (_upstream, gateway) = pair(Script::always(openai::completion("hi")), 1, settings).await;
    let mut screen = watch(&gateway, &[]);
    screen
        .shows(&format!("llmproxy http://{}", gateway.address()))
        .await;
    screen.shows("1 of 1 ready").await;
    screen.press("q");
    assert_eq!(screen.ended().await, 0);
    // What was there before is there again.
    assert!(screen.all().contains("\u{1b}[?1049l"), "{:?}", screen.all());
}

#[tokio::test]
async fn without_a_server_the_state_file_is_read() {
    let upstream = crate::fake::upstream::Upstream::start(Script::new()).await;
    let home = Home::with_config(&provider("fake", &upstream, &keys(2)));
    let mut screen = Terminal::start(&home, &["status", "--watch"]);
    screen.shows("state file (no server runs)").await;
    screen.shows("> fake/1").await;
    screen.answer("fake/2", CTRL_C).await;
    assert_eq!(screen.ended().await, 130);
}

#[tokio::test]
async fn keys_filter_and_disable_after_asking() {
    let (_upstream, gateway) = pair(Script::always(openai::completion("hi")), 2, "").await;
    let mut screen = watch(&gateway, &[]);
    screen.shows("2 of 2 ready").await;
    screen.press("/");
    screen.answer("filter: _", "fake/2").await;
    screen.hides("  fake/1").await;
    screen.answer("> fake/2", "\r").await;
    screen.hides("Enter keeps it").await;
    screen.press("d");
    screen.answer("disable fake/2? y/n", "n").await;
    screen.answer("left as it is", "d").await;
    screen.answer("disable fake/2? y/n", "y").await;
    screen.shows("disabled fake/2").await;
    // The server takes it over within a second, and the screen with it.
    screen.shows("1 of 2 ready").await;
    screen.press("e");
    screen.shows("2 of 2 ready").await;
    screen.press("\u{1b}");
    screen.answer("  fake/1", "q").await;
    assert_eq!(screen.ended().await, 0);
}

#[tokio::test]
async fn a_cooldown_is_counted_down_and_reset() {
    let script = Script::new()
        .once(&crate::fake::key("1"), [openai::rate_limited()])
        .others([openai::completion("hi")]);
    let (_upstream, gateway) = pair(script, 2, "").await;
    let answer = gateway.chat(crate::client::CHAT).await;
    assert_eq!(answer.status, 200);
    let mut screen = watch(&gateway, &[]);
    screen.shows("next back in").await;
    screen.answer("> fake/1", "r").await;
    screen.shows("2 of 2 ready").await;
    screen.press("q");
    assert_eq!(screen.ended().await, 0);
}

#[tokio::test]
async fn a_pipe_gets_the_tables_of_the_server() {
    let (_upstream, gateway) = pair(Script::always(openai::completion("hi")), 1, "").await;
    gateway.chat(crate::client::CHAT).await;
    let shown = gateway.home().run_beside(&["status", "--json"], "").await;
    assert_eq!(
        json(&shown)["providers"]["fake"]["total_requests"],
        1,
        "{shown:?}"
    );
    let stopped = gateway.home().path("state/llmproxy/server.url");
    assert!(stopped.exists());
}
