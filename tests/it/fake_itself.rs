//! The fake upstream says what it is told to: a test double that lies proves nothing.

use std::net::SocketAddr;

use crate::client::{Connection, Request, Response};
use crate::fake::reply::{Ending, Framing, Gate, Reply};
use crate::fake::script::Script;
use crate::fake::upstream::Upstream;
use crate::fake::{key, openai};

const BODY: &str = r#"{"model":"m1"}"#;

fn request(key: &str) -> Request {
    Request::chat(BODY).header("authorization", &format!("Bearer {key}"))
}

async fn ask(address: SocketAddr, key: &str) -> Response {
    let mut connection = Connection::open(address).await;
    connection.send(&request(key)).await;
    connection.response().await
}

#[tokio::test]
async fn each_key_gets_its_own_answers_in_order() {
    let script = Script::new()
        .once(
            "a",
            [
                openai::rate_limited().header("retry-after", "7"),
                openai::completion("1"),
            ],
        )
        .cycle(
            "b",
            [openai::bad_key(), openai::no_money(), openai::broken()],
        );
    let upstream = Upstream::start(script).await;
    let mut seen = Vec::new();
    for key in ["a", "b", "a", "b", "b", "b"] {
        seen.push(ask(upstream.address(), key).await.status);
    }
    assert_eq!(seen, [429, 401, 200, 402, 500, 401]);
    assert_eq!((upstream.calls("a"), upstream.calls("b")), (2, 4));
    assert_eq!(upstream.connections(), 6);
}

#[tokio::test]
async fn requests_are_kept_byte_for_byte() {
    let upstream = Upstream::start(Script::always(openai::completion("hi"))).await;
    let odd = "{ \"model\" :\"m1\",\n \"big\":123456789012345678901234567890 }";
    let mut connection = Connection::open(upstream.address()).await;
    connection
        .send(&Request::chat(odd).header("X-Odd-Case", "yes"))
        .await;
    connection.response().await;
    let recorded = upstream.request();
    assert_eq!(recorded.text(), odd);
    assert_eq!(recorded.target, "/v1/chat/completions");
    assert!(
        recorded
            .headers
            .contains(&("X-Odd-Case".to_owned(), "yes".to_owned()))
    );
}

#[tokio::test]
async fn a_reset_comes_before_any_byte() {
    let upstream = Upstream::start(Script::always(Reply::reset())).await;
    let mut connection = Connection::open(upstream.address()).await;
    connection.send(&request("a")).await;
    assert!(connection.rest().await.is_empty());
}

#[tokio::test]
async fn cut_bodies_keep_their_declared_length() {
    for ending in [Ending::Close, Ending::Reset] {
        let reply = openai::completion("hello").cut(20, ending);
        let upstream = Upstream::start(Script::always(reply)).await;
        let answer = ask(upstream.address(), "a").await;
        assert!(
            !answer.complete && answer.body.len() <= 20,
            "{ending:?}: {answer:?}"
        );
    }
}

#[tokio::test]
async fn slices_and_trickles_carry_the_same_bytes() {
    let whole = openai::frames(&["a ", "ü", "🦀"]).concat();
    for reply in [
        openai::stream(&["a ", "ü", "🦀"]),
        openai::stream(&["a ", "ü", "🦀"]).sliced(3),
        openai::stream(&["a ", "ü", "🦀"]).sliced(1).trickled(),
        openai::stream(&["a ", "ü", "🦀"]).framed(Framing::Close),
    ] {
        let upstream = Upstream::start(Script::always(reply)).await;
        let answer = ask(upstream.address(), "a").await;
        assert_eq!((answer.text(), answer.complete), (whole.clone(), true));
    }
}

#[tokio::test]
async fn a_gate_lets_frames_out_one_by_one() {
    let gate = Gate::new();
    let reply = Reply::sse(["one", "two"]).gated(&gate);
    let upstream = Upstream::start(Script::always(reply)).await;
    let mut connection = Connection::open(upstream.address()).await;
    connection.send(&request("a")).await;
    let mut answer = connection.head().await;
    gate.open(1);
    assert_eq!(connection.piece(&mut answer).await, Some(b"one".to_vec()));
    gate.open(1);
    assert_eq!(connection.piece(&mut answer).await, Some(b"two".to_vec()));
    assert_eq!(connection.piece(&mut answer).await, None);
    assert!(answer.complete);
}

#[tokio::test]
async fn who_leaves_during_a_stall_is_noticed() {
    let upstream = Upstream::start(Script::always(Reply::silence())).await;
    let mut connection = Connection::open(upstream.address()).await;
    connection.send(&request("a")).await;
    upstream.asked(1).await;
    drop(connection);
    upstream.left(1).await;
}

#[tokio::test]
async fn the_model_list_takes_no_scripted_answer() {
    let script = Script::new()
        .models(["x", "y"])
        .once("a", [openai::completion("hi")]);
    let upstream = Upstream::start(script).await;
    let mut connection = Connection::open(upstream.address()).await;
    connection.send(&Request::get("/v1/models")).await;
    let list = connection.response().await.json();
    assert_eq!(list["data"][1]["id"], "y");
    assert_eq!(upstream.lists(), 1);
    ask(upstream.address(), "a").await;
}

#[tokio::test]
async fn a_gzip_body_is_one_that_gunzip_reads() {
    let reply = Reply::text(200, "text/plain", "123456789").gzipped();
    let upstream = Upstream::start(Script::always(reply)).await;
    let body = ask(upstream.address(), "a").await.body;
    // The check value of CRC-32 (ISO-HDLC) for "123456789", then the length.
    assert_eq!(body[..3], [0x1f, 0x8b, 8]);
    assert_eq!(body[body.len() - 8..], [0x26, 0x39, 0xf4, 0xcb, 9, 0, 0, 0]);
}

#[tokio::test]
async fn an_unscripted_request_and_an_unused_answer_fail_the_test() {
    let panics = |upstream: Upstream| {
        let dropped = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(upstream)));
        dropped.is_err()
    };
    let unasked = Upstream::start(Script::new().once("a", [openai::completion("hi")])).await;
    assert!(panics(unasked));
    let surprised = Upstream::start(Script::new()).await;
    assert_eq!(ask(surprised.address(), &key("a")).await.status, 418);
    assert!(panics(surprised));
}
