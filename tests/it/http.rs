//! HTTP itself: HTTP/2 without TLS, expectations, pipelines, cross-origin pages.

use crate::client::{CHAT, Request, STREAM};
use crate::fake::openai;
use crate::fake::script::Script;
use crate::harness::{Gateway, pair, patiently};

fn http2() -> reqwest::Client {
    // An error only says that another test of this process was first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder()
        .http2_prior_knowledge()
        .no_proxy();
    client.build().expect("a client")
}

fn url(gateway: &Gateway, path: &str) -> String {
    format!("http://{}{path}", gateway.address())
}

#[tokio::test]
async fn http2_is_served_without_an_upgrade() {
    let script = Script::new().answer(|request| {
        if request.text().contains("\"stream\":true") {
            openai::stream(&["h", "é", "🦀"])
        } else {
            openai::completion("hi")
        }
    });
    let (_upstream, gateway) = pair(script, 1, "").await;
    let client = http2();
    let mut calls = tokio::task::JoinSet::new();
    for number in 0..20 {
        let body = if number % 2 == 0 { CHAT } else { STREAM };
        let call = client
            .post(url(&gateway, "/v1/chat/completions"))
            .body(body);
        calls.spawn(async move {
            let answer = call.send().await.expect("an answer");
            assert_eq!(
                (answer.status(), answer.version()),
                (http::StatusCode::OK, http::Version::HTTP_2)
            );
            let text = answer.text().await.expect("a whole body");
            let expected = if body == CHAT {
                openai::completion_body("hi")
            } else {
                openai::frames(&["h", "é", "🦀"]).concat()
            };
            assert_eq!(text, expected);
        });
    }
    patiently("twenty streams", calls.join_all()).await;
}

#[tokio::test]
async fn http2_has_the_same_limits_and_checks() {
    let settings = "[server]\napi_keys = [\"client-key-0123456789\"]\nmax_body = \"1KiB\"\n";
    let (upstream, gateway) = pair(Script::new(), 1, settings).await;
    let client = http2();
    let locked = client
        .post(url(&gateway, "/v1/chat/completions"))
        .body(CHAT);
    assert_eq!(locked.send().await.expect("an answer").status(), 401);
    let big = client
        .post(url(&gateway, "/v1/chat/completions"))
        .bearer_auth("client-key-0123456789")
        .body(" ".repeat(4096));
    assert_eq!(big.send().await.expect("an answer").status(), 413);
    let elsewhere = client
        .get(url(&gateway, "/v1/models"))
        .header("host", "evil.example");
    // The host of an HTTP/2 request is its `:authority`; a `host` beside it must not overrule.
    let status = elsewhere.send().await.expect("an answer").status();
    assert!([400, 401, 421].contains(&status.as_u16()), "{status}");
    assert_eq!(upstream.requests().len(), 0);
}

#[tokio::test]
async fn who_expects_100_continue_gets_it_before_the_body() {
    let (_upstream, gateway) = pair(Script::always(openai::completion("hi")), 1, "").await;
    let mut connection = gateway.connect().await;
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: {}\r\nexpect: 100-continue\r\ncontent-length: {}\r\n\r\n",
        gateway.address(),
        CHAT.len()
    );
    assert!(connection.send_bytes(head.as_bytes()).await);
    let interim = connection.interim().await;
    assert_eq!(interim, 100);
    assert!(connection.send_bytes(CHAT.as_bytes()).await);
    assert_eq!(connection.response().await.status, 200);
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let script = Script::new().answer(|request| openai::completion(&request.text()));
    let (_upstream, gateway) = pair(script, 1, "").await;
    let mut connection = gateway.connect().await;
    let numbered = |number: usize| CHAT.replace("hi", &format!("number {number}"));
    let all: Vec<u8> = (0..10)
        .flat_map(|number| Request::chat(&numbered(number)).bytes(gateway.address()))
        .collect();
    assert!(connection.send_bytes(&all).await);
    for number in 0..10 {
        let answer = connection.response().await;
        assert!(
            answer.text().contains(&format!("number {number}")),
            "{}",
            answer.text()
        );
    }
}

#[tokio::test]
async fn no_page_of_another_origin_is_let_in() {
    let (_upstream, gateway) = pair(Script::always(openai::completion("hi")), 1, "").await;
    let preflight = Request::new("OPTIONS", "/v1/chat/completions")
        .header("origin", "https://evil.example")
        .header("access-control-request-method", "POST");
    let answer = gateway.send(&preflight).await;
    assert_eq!(
        answer.header("access-control-allow-origin"),
        None,
        "{answer:?}"
    );
    let allowed = "[server]\ncors_origins = [\"https://app.example\"]\n";
    let (_upstream, gateway) = pair(Script::always(openai::completion("hi")), 1, allowed).await;
    for (origin, expected) in [
        ("https://app.example", Some("https://app.example")),
        ("https://evil.example", None),
        ("null", None),
    ] {
        let answer = gateway
            .send(&Request::chat(CHAT).header("origin", origin))
            .await;
        assert_eq!(
            answer.header("access-control-allow-origin"),
            expected,
            "{origin}"
        );
    }
}

#[tokio::test]
async fn head_requests_have_no_body() {
    let (_upstream, gateway) = pair(Script::new(), 1, "").await;
    let mut connection = gateway.connect().await;
    connection.send(&Request::new("HEAD", "/")).await;
    let answer = connection.head().await;
    assert!([200, 405].contains(&answer.status), "{answer:?}");
    connection.send(&Request::get("/")).await;
    assert_eq!(connection.response().await.json()["name"], "llmproxy");
}
