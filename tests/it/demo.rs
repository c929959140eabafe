//! `serve --demo`: no config, no key, no network, and no 429 for the client.

use std::sync::Arc;

use crate::client::{Connection, Request};
use crate::harness::{Gateway, Home};

const REQUESTS: usize = 1000;
const CONNECTIONS: usize = 32;

#[tokio::test]
async fn the_demo_answers_streams_and_shows_who_served() {
    let mut gateway = Gateway::start_in(Home::new(), &["--demo"]).await;
    gateway.line_with("curl").await;
    let body = r#"{"model":"demo/echo","messages":[{"role":"user","content":"hello there"}]}"#;
    let answer = gateway.chat(body).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let text = answer.json()["choices"][0]["message"]["content"].to_string();
    assert!(text.contains("hello there"), "{text}");
    assert_eq!(answer.header("x-llmproxy-provider"), Some("demo"));
    let credential = answer.header("x-llmproxy-credential").unwrap_or_default();
    assert!(credential.starts_with("demo/"), "{credential}");
    let body =
        r#"{"model":"demo/story","stream":true,"messages":[{"role":"user","content":"a crab"}]}"#;
    let answer = gateway.chat(body).await;
    assert!(
        answer.text().ends_with("data: [DONE]\n\n"),
        "{}",
        answer.text()
    );
    assert!(
        answer.text().matches("data: ").count() > 5,
        "{}",
        answer.text()
    );
}

#[tokio::test]
async fn the_demo_lists_its_models_and_its_keys() {
    let gateway = Gateway::start_in(Home::new(), &["--demo"]).await;
    let list = gateway.get("/v1/models").await.json().to_string();
    for model in ["demo/echo", "demo/story", "demo/tools"] {
        assert!(list.contains(model), "{model} in {list}");
    }
    assert_eq!(gateway.provider("demo").await["credentials"], 3);
    assert_eq!(gateway.get("/health").await.status, 200);
}

#[tokio::test]
async fn a_thousand_requests_at_32_connections_never_fail() {
    let gateway = Arc::new(Gateway::start_in(Home::new(), &["--demo"]).await);
    let address = gateway.address();
    let mut workers = tokio::task::JoinSet::new();
    for worker in 0..CONNECTIONS {
        workers.spawn(async move {
            let mut connection = Connection::open(address).await;
            let mut served = Vec::new();
            for number in (worker..REQUESTS).step_by(CONNECTIONS) {
                let stream = number % 4 == 0;
                let body = format!(
                    r#"{{"model":"demo/echo","stream":{stream},"messages":[{{"role":"user","content":"number {number}"}}]}}"#
                );
                connection.send(&Request::chat(&body)).await;
                let answer = connection.response().await;
                assert_eq!(answer.status, 200, "{number}: {}", answer.text());
                assert!(answer.complete, "{number}");
                if stream {
                    assert!(answer.text().ends_with("data: [DONE]\n\n"), "{number}");
                }
                let by = answer.header("x-llmproxy-credential").unwrap_or_default().to_owned();
                let attempts = answer.header("x-llmproxy-attempts").unwrap_or_default().to_owned();
                served.push((by, attempts));
            }
            served
        });
    }
    let served: Vec<_> = workers.join_all().await.into_iter().flatten().collect();
    assert_eq!(served.len(), REQUESTS);
    let used: std::collections::BTreeSet<_> = served.iter().map(|(by, _)| by).collect();
    assert!(used.len() >= 2, "no rotation: {used:?}");
    assert!(
        served.iter().any(|(_, attempts)| attempts != "1"),
        "no attempt was ever repeated"
    );
}
