//! The pool as users of the built program meet it: who serves, what limits do, what a failure means.

mod config;
mod failures;
mod limits;
mod order;
mod patience;
mod rehearsal;
mod sharing;

use serde_json::Value;

use crate::client::{CHAT, Request, Response};
use crate::harness::{Gateway, patiently};

/// Whoever cannot be served at once is told so.
const IMPATIENT: &str = "[routing]\ndeadline = \"200ms\"\n";

/// `quota-stats` of a credential of the provider `fake`.
async fn credential(gateway: &Gateway, name: &str) -> Value {
    let document = gateway.get("/v1/quota-stats").await.json();
    document["providers"]["fake"]["credentials"][format!("fake/{name}")].clone()
}

/// Who served an answer: the part of the id behind the slash.
fn served_by(answer: &Response) -> String {
    assert_eq!(answer.status, 200, "{}", answer.text());
    let id = answer.header("x-llmproxy-credential").unwrap_or_default();
    id.strip_prefix("fake/").unwrap_or(id).to_owned()
}

/// Who serves one request.
async fn serve(gateway: &Gateway) -> String {
    served_by(&gateway.chat(CHAT).await)
}

/// Who serves one request of a conversation.
async fn serve_session(gateway: &Gateway, session: &str) -> String {
    let request = Request::chat(CHAT).header("x-session-id", session);
    served_by(&gateway.send(&request).await)
}

/// A chat request for another model.
fn chat_with(model: &str) -> String {
    CHAT.replace("fake/m1", &format!("fake/{model}"))
}

/// The seconds of an answer's `retry-after`.
fn retry_after(answer: &Response) -> f64 {
    let header = answer.header("retry-after");
    let header = header.unwrap_or_else(|| panic!("no retry-after: {:?}", answer.headers));
    header.parse().expect("seconds")
}

/// Fails unless an answer is 429 `all_credentials_cooling` for about so long.
fn assert_cooling(answer: &Response, seconds: f64) {
    assert_eq!(answer.status, 429, "{}", answer.text());
    assert_eq!(answer.error().1, "all_credentials_cooling");
    assert_about(retry_after(answer), seconds);
}

/// Fails unless a number of seconds is the one expected, as seen on a busy machine.
fn assert_about(seconds: f64, expected: f64) {
    let slack = 30.0 + expected / 100.0;
    assert!(
        (expected - slack..=expected + 2.0).contains(&seconds),
        "{seconds} s instead of {expected} s"
    );
}

/// Waits until a credential is in a state.
async fn until_state(gateway: &Gateway, name: &str, state: &str) {
    let asking = async {
        while credential(gateway, name).await["state"] != state {
            // The clock alone changes it: nothing tells when.
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    patiently(&format!("{name} {state}"), asking).await;
}
