//! `llmproxy status`: from the running server where there is one, and as a full screen.

use crate::client::{Request, STREAM};
use crate::commands::json;
use crate::fake::openai;
use crate::fake::reply::Gate;
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
async fn a_request_under_way_is_shown_for_as_long_as_it_is() {
    let gate = Gate::new();
    let reply = openai::stream(&["a", "b"]).gated(&gate);
    let client = |name: &str| {
        format!("[[server.clients]]\nname = \"{name}\"\nkey = \"{name}-key\"\nrpm = 60\n")
    };
    let clients = client("laptop") + &client("desk");
    let settings = format!("[server]\napi_keys = [\"client-key\"]\n{clients}");
    let (_upstream, gateway) = pair(Script::always(reply), 1, &settings).await;
    let mut screen = watch(&gateway, &[]);
    screen.shows("1 of 1 ready").await;
    let mut connection = gateway.connect().await;
    let request = Request::chat(STREAM).header("authorization", "Bearer laptop-key");
    connection.send(&request).await;
    screen.shows("laptop       fake/m1").await;
    screen.shows("fake/1         asking").await;
    // The role and the first word.
    gate.open(2);
    screen.shows("fake/1         streaming").await;
    let listed = |key: &str| {
        let key = format!("Bearer {key}");
        Request::get("/v1/requests").header("authorization", &key)
    };
    for (key, total) in [("client-key", 1), ("laptop-key", 1), ("desk-key", 0)] {
        let list = gateway.send(&listed(key)).await.json();
        assert_eq!(list["total"], total, "{key}: {list}");
    }
    gate.open(100);
    let answer = connection.response().await;
    assert!(answer.complete, "{answer:?}");
    screen.hides("laptop").await;
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
