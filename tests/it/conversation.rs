//! `llmproxy chat` as a conversation on a terminal.

use std::fs;

use crate::commands::home;
use crate::fake::openai;
use crate::fake::reply::{Gate, Reply};
use crate::fake::script::Script;
use crate::terminal::Terminal;

const CTRL_C: &str = "\u{3}";

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
    chat.shows("stopped").await;
    chat.press("again\r");
    chat.shows("another").await;
    chat.press("/exit\r");
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
