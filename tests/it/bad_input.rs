//! What clients may do wrong: each gets its documented status and sentence, no credential is
//! blamed, nothing reaches an upstream, and the process stays up.

use crate::client::{CHAT, Request};
use crate::fake::openai;
use crate::fake::script::Script;
use crate::fake::upstream::Upstream;
use crate::harness::{Gateway, pair};

/// One more byte than the default `max_body`, and then some.
const FORTY_MIB: usize = 40 << 20;

async fn start() -> (Upstream, Gateway) {
    pair(Script::always(openai::completion("hi")), 1, "").await
}

/// After whatever happened: nobody was called, nobody is blamed, and a good request is served.
async fn assert_unharmed(upstream: &Upstream, gateway: &Gateway) {
    assert_eq!(
        upstream.requests().len(),
        0,
        "bad input reached the upstream"
    );
    assert_eq!(gateway.provider("fake").await["ready"], 1);
    let answer = gateway.chat(CHAT).await;
    assert_eq!(
        (answer.status, answer.header("x-llmproxy-attempts")),
        (200, Some("1"))
    );
}

#[tokio::test]
async fn bodies_that_are_no_chat_request_are_400() {
    let (upstream, gateway) = start().await;
    let deep = format!(r#"{{"model":"fake/m1","x":{}"#, "[".repeat(100_000));
    for (what, body) in [
        ("nothing", ""),
        ("not JSON", "hello"),
        ("half a JSON", r#"{"model":"fake/m1","messages":["#),
        ("two JSONs", r#"{"model":"fake/m1"}{"model":"fake/m1"}"#),
        ("an array", r#"[{"model":"fake/m1"}]"#),
        ("a text", r#""fake/m1""#),
        ("null", "null"),
        ("no model", r#"{"messages":[]}"#),
        ("a number for a model", r#"{"model":7,"messages":[]}"#),
        ("null for a model", r#"{"model":null,"messages":[]}"#),
        ("an empty model", r#"{"model":"","messages":[]}"#),
        (
            "two models",
            r#"{"model":"fake/m1","model":"fake/m2","messages":[]}"#,
        ),
        (
            "two models, one escaped",
            r#"{"model":"fake/m1","m\u006fdel":"fake/m2"}"#,
        ),
        (
            "a text for stream",
            r#"{"model":"fake/m1","stream":"yes","messages":[]}"#,
        ),
        ("a hundred thousand brackets", deep.as_str()),
    ] {
        let answer = gateway.chat(body).await;
        assert_eq!(answer.status, 400, "{what}: {}", answer.text());
        assert_eq!(answer.error().0, "invalid_request_error", "{what}");
        assert!(!answer.message().is_empty(), "{what}");
    }
    assert_unharmed(&upstream, &gateway).await;
}

#[tokio::test]
async fn an_unknown_provider_or_model_is_404_with_near_names() {
    let (upstream, gateway) = start().await;
    assert_eq!(gateway.get("/v1/models").await.status, 200);
    for (model, near) in [("fkae/m1", "fake"), ("nosuchthing", ""), ("", "")] {
        let answer = gateway.chat(&CHAT.replace("fake/m1", model)).await;
        let expected = if model.is_empty() { 400 } else { 404 };
        assert_eq!(answer.status, expected, "{model}: {}", answer.text());
        assert!(
            answer.message().contains(near),
            "{model}: {}",
            answer.message()
        );
    }
    let answer = gateway.chat(&CHAT.replace("fake/m1", "nosuch/m1")).await;
    let expected = (
        "invalid_request_error".to_owned(),
        "model_not_found".to_owned(),
    );
    assert_eq!(answer.error(), expected);
    assert_unharmed(&upstream, &gateway).await;
}

#[tokio::test]
async fn a_body_of_40_mib_is_413_before_it_is_read() {
    let (upstream, gateway) = start().await;
    let mut connection = gateway.connect().await;
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: {}\r\ncontent-length: {FORTY_MIB}\r\n\r\n{{",
        gateway.address()
    );
    assert!(connection.send_bytes(head.as_bytes()).await);
    let answer = connection.response().await;
    assert_eq!(answer.status, 413, "{}", answer.text());
    assert_eq!(answer.error().0, "invalid_request_error");
    assert_unharmed(&upstream, &gateway).await;
}

#[tokio::test]
async fn an_endless_chunked_body_is_413_at_the_limit() {
    let settings = "[server]\nmax_body = \"1MiB\"\n";
    let (upstream, gateway) = pair(Script::always(openai::completion("hi")), 1, settings).await;
    let mut connection = gateway.connect().await;
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: {}\r\ntransfer-encoding: chunked\r\n\r\n",
        gateway.address()
    );
    assert!(connection.send_bytes(head.as_bytes()).await);
    let mut chunk = b"10000\r\n".to_vec();
    chunk.resize(chunk.len() + 0x10000, b' ');
    chunk.extend_from_slice(b"\r\n");
    for _ in 0..17 {
        // The gateway may close as soon as it has seen enough.
        connection.send_bytes(&chunk).await;
    }
    assert_eq!(connection.response().await.status, 413);
    assert_unharmed(&upstream, &gateway).await;
}

#[tokio::test]
async fn a_body_that_stops_half_way_harms_nobody() {
    let (upstream, gateway) = start().await;
    for framing in ["content-length: 1000", "transfer-encoding: chunked"] {
        let mut connection = gateway.connect().await;
        let head = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: {}\r\n{framing}\r\n\r\n10\r\n{{\"model\"",
            gateway.address()
        );
        assert!(connection.send_bytes(head.as_bytes()).await);
        connection.half_close().await;
        let rest = connection.rest().await;
        let rest = String::from_utf8_lossy(&rest);
        assert!(rest.starts_with("HTTP/1.1 400"), "{framing}: {rest}");
    }
    assert_unharmed(&upstream, &gateway).await;
}

#[tokio::test]
async fn a_header_bomb_is_431() {
    let (upstream, gateway) = start().await;
    let many: Vec<_> = (0..200)
        .map(|number| format!("x-{number}: 1\r\n"))
        .collect();
    let many = many.concat();
    let long = format!("x-long: {}\r\n", "a".repeat(1 << 20));
    for (bomb, sentence) in [
        (many, "the request has more than 100 headers"),
        (long, "the request's headers are larger than 64 KiB"),
    ] {
        let mut connection = gateway.connect().await;
        let head = format!(
            "GET /health HTTP/1.1\r\nhost: {}\r\n{bomb}\r\n",
            gateway.address()
        );
        connection.send_bytes(head.as_bytes()).await;
        let rest = connection.rest().await;
        let rest = String::from_utf8_lossy(&rest);
        assert!(rest.starts_with("HTTP/1.1 431"), "{rest}");
        assert!(rest.contains(sentence), "{rest}");
        assert!(rest.contains("\r\nx-request-id: "), "{rest}");
    }
    assert_unharmed(&upstream, &gateway).await;
}

#[tokio::test]
async fn a_wrong_method_is_405_with_the_right_ones() {
    let (upstream, gateway) = start().await;
    for (method, target, allowed) in [
        ("GET", "/v1/chat/completions", "POST"),
        ("DELETE", "/v1/models", "GET"),
        ("PUT", "/v1/embeddings", "POST"),
        ("POST", "/health", "GET"),
    ] {
        let answer = gateway.send(&Request::new(method, target)).await;
        assert_eq!(answer.status, 405, "{method} {target}: {}", answer.text());
        let allow = answer.header("allow").unwrap_or_default();
        assert!(allow.contains(allowed), "{method} {target}: allow {allow}");
    }
    assert_unharmed(&upstream, &gateway).await;
}

#[tokio::test]
async fn unknown_and_crooked_paths_are_404() {
    let (upstream, gateway) = start().await;
    for target in [
        "/v2/chat/completions",
        "/v1/../health",
        "//health",
        "/v1/chat%2fcompletions",
        "/V1/models",
    ] {
        let answer = gateway.get(target).await;
        assert_eq!(answer.status, 404, "{target}: {}", answer.text());
    }
    assert_unharmed(&upstream, &gateway).await;
}

#[tokio::test]
async fn ambiguous_framing_is_400_and_the_connection_closes() {
    let (upstream, gateway) = start().await;
    let length = CHAT.len();
    for lines in [
        format!("content-length: {length}\r\ncontent-length: 3"),
        format!("content-length: {length}\r\ncontent-length: {length}"),
        format!("content-length: {length}\r\ntransfer-encoding: chunked"),
        "content-length: -1".to_owned(),
        "content-length: 1e3".to_owned(),
        "transfer-encoding: gzip, chunked".to_owned(),
        "transfer-encoding: chunked\r\ntransfer-encoding: chunked".to_owned(),
    ] {
        let mut connection = gateway.connect().await;
        let request = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: {}\r\n{lines}\r\n\r\n{CHAT}",
            gateway.address()
        );
        connection.send_bytes(request.as_bytes()).await;
        let rest = connection.rest().await;
        let rest = String::from_utf8_lossy(&rest);
        assert!(rest.starts_with("HTTP/1.1 400"), "{lines}: {rest}");
        assert_eq!(rest.matches("HTTP/1.1").count(), 1, "{lines}: {rest}");
        assert!(rest.contains("invalid_request_error"), "{lines}: {rest}");
        assert!(rest.contains("\r\nx-request-id: "), "{lines}: {rest}");
    }
    assert_unharmed(&upstream, &gateway).await;
}

#[tokio::test]
async fn bad_chunk_framing_is_no_short_body() {
    let (upstream, gateway) = start().await;
    let mut connection = gateway.connect().await;
    let request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: {}\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{CHAT}\r\nzz\r\n",
        gateway.address(),
        CHAT.len()
    );
    connection.send_bytes(request.as_bytes()).await;
    let rest = connection.rest().await;
    let rest = String::from_utf8_lossy(&rest);
    assert!(rest.starts_with("HTTP/1.1 400"), "{rest}");
    assert_unharmed(&upstream, &gateway).await;
}

#[tokio::test]
async fn a_foreign_host_is_421() {
    let (upstream, gateway) = start().await;
    for host in [
        "evil.example",
        "evil.example:8000",
        "127.0.0.1.evil.example",
        "localhost@evil",
    ] {
        let answer = gateway
            .send(&Request::get("/v1/models").header("host", host))
            .await;
        assert!(
            [400, 421].contains(&answer.status),
            "{host}: {}",
            answer.status
        );
    }
    for host in ["localhost", "LOCALHOST:1", "127.0.0.1:99", "[::1]:8000"] {
        let answer = gateway
            .send(&Request::get("/v1/models").header("host", host))
            .await;
        assert_eq!(answer.status, 200, "{host}: {}", answer.text());
    }
    assert_unharmed(&upstream, &gateway).await;
}

#[tokio::test]
async fn no_host_or_two_are_400() {
    let (upstream, gateway) = start().await;
    for hosts in ["", "host: localhost\r\nhost: localhost\r\n"] {
        let mut connection = gateway.connect().await;
        connection
            .send_bytes(format!("GET /v1/models HTTP/1.1\r\n{hosts}\r\n").as_bytes())
            .await;
        let answer = connection.response().await;
        assert!(
            [400, 421].contains(&answer.status),
            "{hosts:?}: {}",
            answer.status
        );
    }
    assert_unharmed(&upstream, &gateway).await;
}

#[tokio::test]
async fn random_bytes_close_the_connection_and_nothing_else() {
    let (upstream, gateway) = start().await;
    for junk in [
        &b"\x00\x01\x02\x03\r\n\r\n"[..],
        b"GET\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01",
    ] {
        let mut connection = gateway.connect().await;
        connection.send_bytes(junk).await;
        connection.half_close().await;
        connection.rest().await;
    }
    assert_unharmed(&upstream, &gateway).await;
}
