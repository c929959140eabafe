//! Streams: exact bytes whatever the cuts, honest ends, silence filled, and nobody left working for
//! a client that is gone.

use crate::client::{CHAT, Request, Response, STREAM};
use crate::fake::openai;
use crate::fake::reply::{Ending, Framing, Gate, Reply};
use crate::fake::script::Script;
use crate::harness::{pair, patiently};

/// One answer of a gateway of its own.
async fn streamed(reply: Reply) -> Response {
    let brisk = "[timeouts]\nstream_idle = \"300ms\"\n";
    let (_upstream, gateway) = pair(Script::always(reply), 1, brisk).await;
    gateway.chat(STREAM).await
}

#[tokio::test]
async fn cuts_anywhere_change_no_byte() {
    let frames = || {
        let mut frames = openai::frames(&["h", "é", "🦀", " \r\n ", "漢字"]);
        frames.insert(1, ": ping\n\n".to_owned());
        frames.insert(
            3,
            "event: extra\nid: 7\nretry: 10\ndata: {\"x_vendor\":1.50}\n\n".to_owned(),
        );
        frames
    };
    for size in [1, 2, 3, 5, 7, 11, 64, 100_000] {
        let answer = streamed(Reply::sse(frames()).sliced(size)).await;
        assert_eq!(answer.text(), frames().concat(), "slices of {size}");
        assert!(answer.complete, "slices of {size}");
    }
}

#[tokio::test]
async fn every_style_of_line_end_passes() {
    for end in ["\r\n", "\r", "\n"] {
        let frames = openai::frames(&["a", "b"]).concat().replace('\n', end);
        for size in [1, 4, 10_000] {
            let answer = streamed(Reply::sse([frames.clone()]).sliced(size)).await;
            assert_eq!(answer.text(), frames, "{end:?} in slices of {size}");
        }
    }
}

#[tokio::test]
async fn one_byte_a_write_passes() {
    let answer = streamed(openai::stream(&["h", "é", "🦀"]).trickled()).await;
    assert_eq!(answer.text(), openai::frames(&["h", "é", "🦀"]).concat());
}

#[tokio::test]
async fn a_line_of_a_megabyte_passes() {
    let long = "x".repeat(1 << 20);
    for size in [1400, 1 << 22] {
        let answer = streamed(openai::stream(&[&long, "end"]).sliced(size)).await;
        let same = answer.text() == openai::frames(&[&long, "end"]).concat();
        assert!(same, "slices of {size}: {} bytes came", answer.body.len());
    }
}

#[tokio::test]
async fn a_stream_that_ends_by_closing_passes() {
    let answer = streamed(openai::stream(&["hi"]).framed(Framing::Close)).await;
    assert_eq!(answer.text(), openai::frames(&["hi"]).concat());
    assert!(answer.complete);
}

#[tokio::test]
async fn a_missing_done_is_no_error() {
    let frames = [openai::role(), openai::content("hi"), openai::stop()];
    let answer = streamed(Reply::sse(frames.clone())).await;
    assert_eq!(answer.text(), frames.concat());
    assert!(answer.complete);
}

#[tokio::test]
async fn a_whole_answer_that_breaks_off_before_its_done_gets_one() {
    let frames = || [openai::role(), openai::content("hi"), openai::stop()];
    for (what, ending) in [
        ("a close", Ending::Close),
        ("a reset", Ending::Reset),
        ("silence", Ending::Stall),
    ] {
        let answer = streamed(Reply::sse(frames()).ending(ending)).await;
        let whole = [frames().concat().as_str(), "data: [DONE]\n\n"].concat();
        assert_eq!(answer.text(), whole, "{what}");
        assert!(answer.complete, "{what}");
    }
}

/// After content the client must learn that the answer is not whole.
fn assert_broken_after(sent: &str, what: &str, answer: &Response) {
    let text = answer.text();
    assert_eq!(answer.status, 200, "{what}");
    assert!(text.starts_with(sent), "{what}: {text}");
    let tail = &text[sent.len()..];
    assert_eq!(tail.matches("\"error\"").count(), 1, "{what}: {tail}");
    assert!(
        tail.contains("data: {") && tail.ends_with("\n\n"),
        "{what}: {tail}"
    );
    assert!(!text.contains("[DONE]"), "{what}: {tail}");
}

#[tokio::test]
async fn a_stream_cut_after_content_ends_with_an_error_and_no_done() {
    let sent = || [openai::role(), openai::content("hel")];
    let limit = openai::error_body("rate_limit_error", "rate_limit_exceeded", "Slow down");
    let error = format!("data: {limit}\n\n");
    let half = "data: {\"choices\":[{\"delta\":{\"content\":\"lo".to_owned();
    for (what, reply) in [
        ("a close", Reply::sse(sent()).ending(Ending::Close)),
        ("a reset", Reply::sse(sent()).ending(Ending::Reset)),
        ("silence", Reply::sse(sent()).ending(Ending::Stall)),
        ("an end without a stop reason", Reply::sse(sent())),
        ("an error", Reply::sse(sent().into_iter().chain([error]))),
        (
            "half a frame",
            Reply::sse(sent().into_iter().chain([half])).ending(Ending::Close),
        ),
    ] {
        let answer = streamed(reply).await;
        assert_broken_after(&sent().concat(), what, &answer);
    }
}

#[tokio::test]
async fn nothing_is_repeated_after_content() {
    let cut = Reply::sse([openai::role(), openai::content("hel")]).ending(Ending::Reset);
    let script = Script::new().others_once([cut, openai::stream(&["hi"])]);
    let (upstream, gateway) = pair(script, 2, "").await;
    let answer = gateway.chat(STREAM).await;
    assert!(answer.text().contains("\"error\""), "{}", answer.text());
    assert_eq!(upstream.requests().len(), 1);
    assert_eq!(gateway.chat(STREAM).await.status, 200);
}

#[tokio::test]
async fn frames_arrive_as_they_are_sent() {
    let gate = Gate::new();
    let script = Script::always(openai::stream(&["one", "two"]).gated(&gate));
    let (_upstream, gateway) = pair(script, 1, "").await;
    let mut connection = gateway.connect().await;
    connection.send(&Request::chat(STREAM)).await;
    gate.open(2);
    let mut answer = connection.head().await;
    while !answer.text().contains("one") {
        connection.piece(&mut answer).await.expect("the first word");
    }
    assert!(!answer.text().contains("two"));
    gate.open(1);
    while !answer.text().contains("two") {
        connection
            .piece(&mut answer)
            .await
            .expect("the second word");
    }
    gate.open(3);
    while connection.piece(&mut answer).await.is_some() {}
    assert_eq!(answer.text(), openai::frames(&["one", "two"]).concat());
}

#[tokio::test]
async fn silence_is_filled_with_comments() {
    let gate = Gate::new();
    let script = Script::always(openai::stream(&["one", "two"]).gated(&gate));
    let (_upstream, gateway) = pair(script, 1, "[server]\nkeepalive = \"100ms\"\n").await;
    let mut connection = gateway.connect().await;
    connection.send(&Request::chat(STREAM)).await;
    gate.open(2);
    let mut answer = connection.head().await;
    let comments = |text: &str| text.lines().filter(|line| line.starts_with(':')).count();
    while comments(&answer.text()) < 3 {
        connection.piece(&mut answer).await.expect("a comment");
    }
    gate.open(4);
    while connection.piece(&mut answer).await.is_some() {}
    let without: String = answer
        .text()
        .split_inclusive("\n\n")
        .filter(|frame| !frame.starts_with(':'))
        .collect();
    assert_eq!(without, openai::frames(&["one", "two"]).concat());
}

#[tokio::test]
async fn a_client_that_leaves_takes_its_upstream_call_along() {
    let words = openai::stream(&["one", "two"]);
    for (what, body, reply, read) in [
        ("before the head", CHAT, Reply::silence(), false),
        ("before the stream", STREAM, Reply::silence(), false),
        ("in the stream", STREAM, words.cut(400, Ending::Stall), true),
    ] {
        let (upstream, gateway) = pair(Script::always(reply), 1, "").await;
        let mut connection = gateway.connect().await;
        connection.send(&Request::chat(body)).await;
        upstream.asked(1).await;
        if read {
            let mut answer = connection.head().await;
            while !answer.text().contains("one") {
                connection.piece(&mut answer).await.expect(what);
            }
        }
        drop(connection);
        upstream.left(1).await;
        let row = gateway.provider("fake").await;
        assert_eq!(
            (&row["ready"], &row["cooling"]),
            (&1.into(), &0.into()),
            "{what}: blamed"
        );
    }
}

#[tokio::test]
async fn a_client_that_left_gives_its_slot_back() {
    let script = Script::new().others_once([Reply::silence(), openai::completion("hi")]);
    let (upstream, gateway) = pair(script, 1, "max_concurrent_per_key = 1\n").await;
    let mut connection = gateway.connect().await;
    connection.send(&Request::chat(CHAT)).await;
    upstream.asked(1).await;
    drop(connection);
    assert_eq!(gateway.chat(CHAT).await.status, 200);
}

#[tokio::test]
async fn a_slow_stream_outlives_the_idle_limit_while_it_speaks() {
    let gate = Gate::new();
    let words = ["a"; 8];
    let script = Script::always(openai::stream(&words).gated(&gate));
    let (_upstream, gateway) = pair(script, 1, "[timeouts]\nstream_idle = \"400ms\"\n").await;
    let mut connection = gateway.connect().await;
    connection.send(&Request::chat(STREAM)).await;
    let frames = openai::frames(&words);
    let speaking = async {
        for _ in &frames {
            // Well inside the limit each, well beyond it in sum: the pace is what is tested.
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            gate.open(1);
        }
    };
    let reading = connection.response();
    let (answer, ()) = patiently("a slow stream", async { tokio::join!(reading, speaking) }).await;
    assert_eq!(answer.text(), frames.concat());
}
