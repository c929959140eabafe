//! Requests that two programs in a row could read in two ways: refused, the connection closed, and
//! nobody upstream called. The payloads are those of the reliability table (§7, 52 in number) and
//! some that came later.

use crate::client::CHAT;
use crate::fake::openai;
use crate::fake::script::Script;
use crate::harness::{Gateway, pair};

const POST: &str = "POST /v1/chat/completions HTTP/1.1";

/// A request of these lines, with `CHAT` in one chunk.
fn chunked(lines: &str) -> String {
    let length = CHAT.len();
    format!("{POST}\r\nhost: HOST\r\n{lines}\r\n\r\n{length:x}\r\n{CHAT}\r\n0\r\n\r\n")
}

/// A request of these lines, with `CHAT` as it is.
fn plain(lines: &str) -> String {
    format!("{POST}\r\nhost: HOST\r\n{lines}\r\n\r\n{CHAT}")
}

/// A chunked request whose body is written out.
fn body(body: &str) -> String {
    format!("{POST}\r\nhost: HOST\r\ntransfer-encoding: chunked\r\n\r\n{body}")
}

/// A request with a body and everything before it written out.
fn whole(head: &str) -> String {
    format!("{head}\r\n\r\n{CHAT}")
}

pub(super) fn refused() -> Vec<String> {
    let (length, long) = (CHAT.len(), "a".repeat(70 << 10));
    let length_line = format!("content-length: {length}");
    let te = "transfer-encoding: chunked";
    let mut all: Vec<String> = [
        // Lengths.
        format!("{length_line}\r\ncontent-length: 3"),
        format!("{length_line}\r\n{length_line}"),
        format!("content-length: {length}, {length}"),
        format!("content-length: +{length}"),
        "content-length: -1".to_owned(),
        "content-length: 0x2".to_owned(),
        "content-length: 99999999999999999999999".to_owned(),
        "content-length:".to_owned(),
        "content-length: 1_0".to_owned(),
        "content-length: 1 0".to_owned(),
        "content-length: ٣".to_owned(),
        // Headers that are none.
        format!("{length_line}\r\nx: a\r\n folded"),
        format!("{length_line}\r\nx: a\rb"),
        format!("{length_line}\r\nx: a\0b"),
        format!("{length_line}\r\n: a"),
        format!("{length_line}\r\nnocolon"),
        format!("{length_line}\r\nx y: a"),
        format!("content-length : {length}"),
        format!("{length_line}{}", "\r\nx: a".repeat(101)),
        format!("{length_line}\r\nx: {long}"),
        // One host.
        format!("{length_line}\r\nhost: HOST"),
        format!("{length_line}\r\nhost: localhost"),
    ]
    .iter()
    .map(|lines| plain(lines))
    .collect();
    all.extend(
        [
            // Both, in either order.
            format!("{length_line}\r\n{te}"),
            format!("{te}\r\n{length_line}"),
            format!("content-length: 0\r\n{te}"),
            "Content-Length: 4\r\nTRANSFER-ENCODING: chunked".to_owned(),
            // Codings.
            format!("{te}\r\n{te}"),
            format!("{te}\r\ntransfer-encoding: identity"),
            "transfer-encoding: chunked, chunked".to_owned(),
            "transfer-encoding: gzip, chunked".to_owned(),
            "transfer-encoding: chunked, identity".to_owned(),
            "transfer-encoding: xchunked".to_owned(),
            "transfer-encoding: identity".to_owned(),
            "transfer-encoding: \"chunked\"".to_owned(),
            "transfer-encoding : chunked".to_owned(),
            "transfer-encoding:\u{b}chunked".to_owned(),
            "transfer-encoding: chunked\u{b}".to_owned(),
            "transfer-encoding:\r\n chunked".to_owned(),
            "x: y\rtransfer-encoding: chunked".to_owned(),
        ]
        .iter()
        .map(|lines| chunked(lines)),
    );
    all.extend(
        [
            // Chunks.
            format!("0x{length:x}\r\n{CHAT}\r\n0\r\n\r\n"),
            format!("fffffffffffffffff\r\n{CHAT}\r\n0\r\n\r\n"),
            format!("-{length:x}\r\n{CHAT}\r\n0\r\n\r\n"),
            format!("{length:x}\n{CHAT}\n0\n\n"),
            format!("{length:x};a\nb\r\n{CHAT}\r\n0\r\n\r\n"),
            format!("{length:x};{long}\r\n{CHAT}\r\n0\r\n\r\n"),
            format!("{length:x}\r\n{CHAT}0\r\n\r\n"),
            format!("{length:x}\r\n{CHAT}xx0\r\n\r\n"),
            format!("\r\n{length:x}\r\n{CHAT}\r\n0\r\n\r\n"),
        ]
        .iter()
        .map(|text| body(text)),
    );
    all.extend(
        [
            // Targets and versions.
            format!("POST  /v1/chat/completions HTTP/1.1\r\nhost: HOST\r\n{length_line}"),
            format!("POST /v1/chat/completions HTTP/1.2\r\nhost: HOST\r\n{length_line}"),
            format!("POST /v1/chat/completions\r\nhost: HOST\r\n{length_line}"),
            format!("{POST}\r\n{length_line}"),
            format!("{POST}\r\nhost: \r\n{length_line}"),
            format!("{POST}\r\nhost: a/../v1?\r\n{length_line}"),
            format!("{POST}\r\nhost: a@HOST\r\n{length_line}"),
            format!("POST http://evil.example/v1/chat/completions HTTP/1.1\r\nhost: HOST\r\n{length_line}"),
            format!("POST /{long} HTTP/1.1\r\nhost: HOST\r\n{length_line}"),
            format!("POST /v1/../v1/chat/completions HTTP/1.1\r\nhost: HOST\r\n{length_line}"),
            format!("CONNECT HOST HTTP/1.1\r\nhost: HOST\r\n{length_line}"),
            format!("TRACE /v1/chat/completions HTTP/1.1\r\nhost: HOST\r\n{length_line}"),
            format!("GET /v1/chat/completions HTTP/1.1\r\nhost: HOST\r\n{length_line}"),
        ]
        .iter()
        .map(|head| whole(head)),
    );
    all.push(chunked(te).replace("HTTP/1.1", "HTTP/1.0"));
    all
}

/// The status a payload gets, and what else is heard before the connection ends.
async fn said(gateway: &Gateway, payload: &str) -> (u16, String) {
    let mut connection = gateway.connect().await;
    let bytes = payload.replace("HOST", &gateway.address().to_string());
    connection.send_bytes(bytes.as_bytes()).await;
    let status = connection.response().await.status;
    connection.half_close().await;
    let rest = connection.rest().await;
    (status, String::from_utf8_lossy(&rest).into_owned())
}

#[tokio::test]
async fn c17_ab6_no_ambiguous_request_is_served() {
    let (upstream, gateway) = pair(Script::always(openai::completion("hi")), 1, "").await;
    let payloads = refused();
    assert!(payloads.len() >= 52, "{}", payloads.len());
    let mut wrong = Vec::new();
    for payload in &payloads {
        let (status, rest) = said(&gateway, payload).await;
        if ![400, 404, 405, 414, 421, 431].contains(&status) || !rest.is_empty() {
            let start: String = payload.chars().take(200).collect();
            wrong.push(format!("{start:?}: {status} {rest}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(upstream.requests().len(), 0);
}

#[tokio::test]
async fn c17_what_has_one_reading_is_served_once() {
    let (upstream, gateway) = pair(Script::always(openai::completion("hi")), 1, "").await;
    let length = CHAT.len();
    let (before, after) = CHAT.split_at(length / 2);
    let (first, second) = (before.len(), after.len());
    for (at, payload) in [
        plain(&format!("content-length: {length}")),
        plain(&format!("CONTENT-LENGTH:  {length} ")),
        chunked("transfer-encoding: chunked"),
        chunked("Transfer-Encoding:\tCHUNKED"),
        chunked("upgrade: h2c\r\ntransfer-encoding: chunked"),
        body(&format!(
            "{first:X};x=\"y\"\r\n{before}\r\n{second:x} \r\n{after}\r\n00\r\nx: y\r\n\r\n"
        )),
        whole(&format!(
            "POST http://HOST/v1/chat/completions HTTP/1.1\r\nhost: HOST\r\ncontent-length: {length}"
        )),
    ]
    .iter()
    .enumerate()
    {
        let mut connection = gateway.connect().await;
        let bytes = payload.replace("HOST", &gateway.address().to_string());
        assert!(connection.send_bytes(bytes.as_bytes()).await);
        let answer = connection.response().await;
        assert_eq!(answer.status, 200, "{payload:?}: {}", answer.text());
        assert_eq!(upstream.requests().len(), at + 1, "{payload:?}");
    }
}

#[tokio::test]
async fn c17_a_request_hidden_behind_a_chunked_one_is_refused() {
    let (upstream, gateway) = pair(Script::always(openai::completion("hi")), 1, "").await;
    let hidden = chunked("content-length: 5\r\ntransfer-encoding: chunked");
    let both = chunked("transfer-encoding: chunked") + &hidden;
    let mut connection = gateway.connect().await;
    let bytes = both.replace("HOST", &gateway.address().to_string());
    connection.send_bytes(bytes.as_bytes()).await;
    let rest = connection.rest().await;
    let heard = String::from_utf8_lossy(&rest);
    assert_eq!(heard.matches("HTTP/1.1 400").count(), 1, "{heard}");
    assert!(upstream.requests().len() <= 1, "{heard}");
}
