//! Answers as servers send them, whole, cut and broken.

use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::*;
use crate::gateway::upstream::Address;

/// What became of a call: the status and the body, and whether the connection goes on.
type Outcome = Result<(u16, String, bool), String>;

fn outbound(body: &'static str) -> Outbound {
    let mut headers = HeaderMap::new();
    headers.insert("x-api-key", HeaderValue::from_static("k"));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("999"));
    Outbound {
        method: Method::POST,
        url: Address::parse("http://vendor.example:8080/v1/chat?a=b").expect("an address"),
        headers,
        body: Bytes::from_static(body.as_bytes()),
    }
}

async fn finish(call: Result<(Head, Body<DuplexStream>), CallError>) -> Outcome {
    let (head, mut body) = call.map_err(|error| error.to_string())?;
    let mut whole = Vec::new();
    while let Some(data) = poll_fn(|context| body.poll_data(context)).await {
        whole.extend_from_slice(&data.map_err(|error| error.to_string())?);
    }
    let whole = String::from_utf8_lossy(&whole).into_owned();
    Ok((head.status.as_u16(), whole, body.spare().is_some()))
}

/// Plays a server that reads the request, says this in pieces of this size, and closes.
async fn answered(answer: &[u8], size: usize) -> Outcome {
    let (ours, mut theirs) = duplex(64);
    let request = outbound("{}");
    let call = async { finish(Connection::new(ours).call(Request::new(&request)).await).await };
    let serve = async {
        let mut seen = Vec::new();
        while !seen.ends_with(b"{}") {
            theirs.read_buf(&mut seen).await.expect("a request");
        }
        for piece in answer.chunks(size) {
            // A client that has heard enough closes.
            if theirs.write_all(piece).await.is_err() {
                break;
            }
        }
        drop(theirs);
    };
    tokio::join!(call, serve).0
}

#[expect(clippy::unnecessary_wraps, reason = "an outcome as any other")]
fn ok(status: u16, body: &str, goes_on: bool) -> Outcome {
    Ok((status, body.to_owned(), goes_on))
}

fn cases() -> Vec<(&'static str, Outcome)> {
    let closed = || Err("connection closed before message completed".to_owned());
    let garbage = |why: &str| Err(format!("the answer is not HTTP: {why}"));
    vec![
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi",
            ok(200, "hi", true),
        ),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
            ok(200, "", true),
        ),
        ("HTTP/1.1 204 No Content\r\n\r\n", ok(204, "", true)),
        (
            "HTTP/1.1 429 \r\nContent-Length: 2, 2\r\nCONTENT-LENGTH: 2\r\n\r\nno",
            ok(429, "no", true),
        ),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, Chunked\r\n\r\n1\r\nh\r\n1;x\r\ni\r\n0\r\nt: v\r\n\r\n",
            ok(200, "hi", true),
        ),
        // The coding counts, the length does not (RFC 9112 §6.3).
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 9\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
            ok(200, "hi", true),
        ),
        (
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi",
            ok(200, "hi", true),
        ),
        (
            "HTTP/1.1 200 OK\r\nconnection: Close\r\ncontent-length: 2\r\n\r\nhi",
            ok(200, "hi", false),
        ),
        (
            "HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nhi",
            ok(200, "hi", false),
        ),
        (
            "HTTP/1.1 200 OK\r\n\r\nup to the end",
            ok(200, "up to the end", false),
        ),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\nhi",
            ok(200, "hi", false),
        ),
        // Breaks off.
        ("", closed()),
        ("HTTP/1.1 200 OK\r\ncontent-", closed()),
        ("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nhi", closed()),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n",
            closed(),
        ),
        // Makes no sense.
        (
            "SSH-2.0-OpenSSH_9.9\r\n\r\n",
            garbage("its head is malformed"),
        ),
        ("HTTP/1.1 099 ?\r\n\r\n", garbage("its status is malformed")),
        (
            "HTTP/1.1 101 Switching Protocols\r\n\r\n",
            garbage("a switch of protocols"),
        ),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nhi",
            garbage("its length is malformed"),
        ),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: +2\r\n\r\nhi",
            garbage("its length is malformed"),
        ),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: \r\n\r\nhi",
            garbage("its length is malformed"),
        ),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999\r\n\r\nhi",
            garbage("its length is malformed"),
        ),
        (
            "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            garbage("a transfer coding in HTTP/1.0"),
        ),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
            garbage("its chunks are malformed"),
        ),
    ]
}

#[tokio::test]
async fn answers_end_where_rfc_9112_says_however_they_are_cut() {
    for (answer, expected) in cases() {
        for size in [1, 2, 7, answer.len().max(1)] {
            let outcome = answered(answer.as_bytes(), size).await;
            assert_eq!(outcome, expected, "{answer:?} in pieces of {size}");
        }
    }
}

#[tokio::test]
async fn a_connection_with_more_on_it_than_the_answer_is_not_used_again() {
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi and more",
        "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\nx",
        "HTTP/1.1 204 -\r\n\r\nHTTP/1.1 200 OK\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\nHTTP/1.1",
    ] {
        let outcome = answered(answer.as_bytes(), answer.len()).await;
        let goes_on = outcome.map(|(_, _, goes_on)| goes_on);
        assert_eq!(goes_on, Ok(false), "{answer:?}");
    }
}

#[tokio::test]
async fn the_request_is_written_as_it_is_with_its_own_length() {
    let (ours, mut theirs) = duplex(4096);
    let request = outbound("{\"a\":1}");
    let call = Connection::new(ours).call(Request::new(&request));
    let serve = async {
        let mut seen = Vec::new();
        while !seen.ends_with(b"}") {
            theirs.read_buf(&mut seen).await.expect("a request");
        }
        theirs
            .write_all(b"HTTP/1.1 204 -\r\n\r\n")
            .await
            .expect("taken");
        String::from_utf8(seen).expect("ASCII")
    };
    let (answer, seen) = tokio::join!(call, serve);
    assert!(answer.is_ok());
    let expected = "POST /v1/chat?a=b HTTP/1.1\r\nhost: vendor.example:8080\r\nx-api-key: k\r\n\
        content-length: 7\r\n\r\n{\"a\":1}";
    assert_eq!(seen, expected);
}

/// A server that refuses a body says so before it has read it.
#[tokio::test]
async fn an_answer_that_comes_before_the_body_was_read_is_heard() {
    let (ours, mut theirs) = duplex(64);
    let request = outbound(concat!(
        "{\"text\":\"far more than fits into the pipe at once, ",
        "so that the request cannot be sent to its end before somebody reads it\"}"
    ));
    theirs
        .write_all(b"HTTP/1.1 413 -\r\ncontent-length: 2\r\n\r\nno")
        .await
        .expect("fits");
    let call = Connection::new(ours).call(Request::new(&request)).await;
    assert_eq!(finish(call).await, ok(413, "no", false));
}

#[tokio::test]
async fn a_request_goes_on_beside_its_answer() {
    let (ours, mut theirs) = duplex(64);
    let request = outbound(concat!(
        "{\"text\":\"far more than fits into the pipe at once, ",
        "so that the request cannot be sent to its end before somebody reads it\"}"
    ));
    let call = async { finish(Connection::new(ours).call(Request::new(&request)).await).await };
    let serve = async {
        let head = b"HTTP/1.1 200 -\r\ncontent-length: 2\r\n\r\n";
        theirs.write_all(head).await.expect("fits");
        let mut seen = Vec::new();
        while !seen.ends_with(b"}") {
            theirs.read_buf(&mut seen).await.expect("a request");
        }
        theirs.write_all(b"hi").await.expect("fits");
        theirs
    };
    let (outcome, _open) = tokio::join!(call, serve);
    assert_eq!(outcome, ok(200, "hi", true));
}

#[tokio::test]
async fn a_request_of_which_nothing_was_taken_says_so() {
    let (ours, theirs) = duplex(64);
    drop(theirs);
    let call = Connection::new(ours)
        .call(Request::new(&outbound("{}")))
        .await;
    assert!(matches!(call, Err(CallError::Unsent(_))), "{call:?}");
}

#[tokio::test]
async fn a_connection_that_speaks_unasked_or_closes_is_dead() {
    let (ours, mut theirs) = duplex(64);
    let mut connection = Connection::new(ours);
    assert!(connection.is_alive());
    theirs.write_all(b"HTTP/1.1 408 -\r\n").await.expect("fits");
    assert!(!connection.is_alive());
    let (ours, theirs) = duplex(64);
    drop(theirs);
    assert!(!Connection::new(ours).is_alive());
}

#[tokio::test]
async fn a_head_without_end_is_refused() {
    let mut answer = b"HTTP/1.1 200 OK\r\nx: ".to_vec();
    answer.resize(MAX_HEAD_BYTES * 2, b'a');
    let outcome = answered(&answer, READ_BYTES).await;
    let expected = "the answer is not HTTP: its head is too large";
    assert_eq!(outcome, Err(expected.to_owned()));
    let lines = "a: b\r\n".repeat(MAX_HEADERS + 1);
    let answer = format!("HTTP/1.1 200 OK\r\n{lines}\r\n");
    let outcome = answered(answer.as_bytes(), answer.len()).await;
    let expected = "the answer is not HTTP: it has too many headers";
    assert_eq!(outcome, Err(expected.to_owned()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever a server says, in whatever pieces, the call has one outcome.
    #[test]
    fn any_bytes_have_one_outcome(
        case in 0..cases().len(),
        at in any::<prop::sample::Index>(),
        junk in prop::collection::vec(any::<u8>(), 0..8),
        size in 1_usize..40,
    ) {
        let mut answer = cases()[case].0.as_bytes().to_vec();
        let at = at.index(answer.len() + 1);
        answer.splice(at..at, junk);
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_time().build().expect("a runtime");
        let patience = std::time::Duration::from_secs(10);
        let played = |size| {
            runtime.block_on(async { tokio::time::timeout(patience, answered(&answer, size)).await })
        };
        // Not `is_kept`: only a surplus that comes with the answer's end is seen.
        let whole = |size| played(size).map(|outcome| outcome.map(|(status, body, _)| (status, body)));
        prop_assert_eq!(whole(size).expect("an end"), whole(answer.len().max(1)).expect("an end"));
    }
}
