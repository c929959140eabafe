//! `llmproxy chat` as a conversation on a terminal.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::commands::home;
use crate::fake::openai;
use crate::fake::reply::{Gate, Reply};
use crate::fake::script::Script;
use crate::harness::Home;
use crate::terminal::Terminal;

const CTRL_C: &str = "\u{3}";
const CTRL_D: &str = "\u{4}";
const UP: &str = "\u{1b}[A";

#[tokio::test]
async fn turns_are_remembered_within_and_between_conversations() {
    let (upstream, home) = home(Script::new().answer(|_| openai::stream(&["fine"])), 1).await;
    let arguments = ["chat", "-m", "fake/m1"];
    let mut chat = Terminal::start(&home, &arguments);
    chat.answer("> ", "first\\\rsecond line\r").await;
    chat.answer("fine\n> ", "and more\r").await;
    chat.answer("and more\nfine\n> ", CTRL_D).await;
    assert_eq!(chat.ended().await, 0);
    let bodies: Vec<serde_json::Value> = upstream
        .requests()
        .iter()
        .map(|request| serde_json::from_slice(&request.body).expect("JSON"))
        .collect();
    assert_eq!(bodies[0]["messages"][0]["content"], "first\nsecond line");
    let turns = bodies[1]["messages"].as_array().expect("turns");
    assert_eq!((turns.len(), &turns[1]["content"]), (3, &"fine".into()));

    let history = home.path("state/llmproxy/chat_history");
    let mode = fs::metadata(&history).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let mut again = Terminal::start(&home, &arguments);
    again.answer("> ", UP).await;
    again.answer("> and more", CTRL_C).await;
    again.answer("leaves)\n> ", CTRL_D).await;
    assert_eq!(again.ended().await, 0);
}

#[tokio::test]
async fn ctrl_c_stops_the_answer_and_not_the_program() {
    let gate = Gate::new();
    let frames = openai::frames(&["begun", " and ", "ended"]);
    let slow = Reply::sse(frames).gated(&gate);
    let script = Script::new().others_once([slow, openai::stream(&["another"])]);
    let (_upstream, home) = home(script, 1).await;
    let mut chat = Terminal::start(&home, &["chat", "-m", "fake/m1"]);
    chat.answer("> ", "hello\r").await;
    gate.open(2);
    chat.answer("begun", CTRL_C).await;
    chat.answer("stopped\n> ", "again\r").await;
    chat.answer("another\n> ", "/exit\r").await;
    assert_eq!(chat.ended().await, 0);
}

#[tokio::test]
async fn commands_change_what_is_sent() {
    let script = Script::new()
        .answer(|_| openai::stream(&["fine"]))
        .models(["m1", "m2"]);
    let (upstream, home) = home(script, 1).await;
    let mut chat = Terminal::start(&home, &["chat", "-m", "fake/m1"]);
    chat.answer("> ", "/model fke/m2\r").await;
    chat.shows("did you mean `fake`?").await;
    chat.press("/model fake/m2\r");
    chat.shows("the next answer comes from fake/m2").await;
    chat.press("/system Be brief\r");
    chat.shows("the system prompt is set").await;
    chat.press("hello\r");
    chat.shows("fine").await;
    let saved = home.path("saved.json");
    chat.press(&format!("/save {}\r", saved.display()));
    chat.shows("saved to").await;
    chat.press("/clear\r");
    chat.shows("all turns are forgotten").await;
    chat.press("/exit\r");
    assert_eq!(chat.ended().await, 0);
    let body: serde_json::Value = serde_json::from_slice(&upstream.request().body).expect("JSON");
    assert_eq!(body["model"], "m2");
    assert_eq!(body["messages"][0]["content"], "Be brief");
    let saved: serde_json::Value =
        serde_json::from_slice(&fs::read(saved).expect("saved")).expect("JSON");
    assert_eq!(saved["messages"][2]["content"], "fine");
}

#[tokio::test]
async fn a_newcomer_talks_to_the_demo_on_forty_columns() {
    let home = Home::new();
    let mut chat = Terminal::sized(&home, &["chat", "-m", "demo/echo"], 24, 40);
    chat.answer("> ", "/help\r").await;
    chat.answer("stops an answer.\n> ", "well met\r").await;
    chat.answer("> well met\nwell met\n> ", CTRL_D).await;
    assert_eq!(chat.ended().await, 0);
}

#[tokio::test]
async fn a_long_wait_shows_a_sign_of_life_that_leaves_no_trace() {
    let gate = Gate::new();
    let slow = openai::stream(&["fine"]).gated(&gate);
    let (_upstream, home) = home(Script::always(slow), 1).await;
    let mut chat = Terminal::start(&home, &["chat", "-m", "fake/m1", "hello"]);
    chat.shows("waiting for fake/m1").await;
    gate.open(100);
    chat.shows("fine").await;
    assert_eq!(chat.ended().await, 0);
    assert_eq!(chat.text().trim(), "fine");
    let piped = home.run_beside(&["chat", "-m", "fake/m1", "hello"], "");
    gate.open(100);
    assert_eq!(piped.await.stderr, "", "a pipe gets none");
}
