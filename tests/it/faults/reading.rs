//! Clients that read slowly or not at all: back-pressure reaches the upstream, memory does not
//! grow, nothing is lost. (Who takes nothing for a minute is left: `server::patience`.)

use std::fs;

use crate::client::{Request, STREAM};
use crate::fake::openai;
use crate::fake::script::Script;
use crate::harness::{Gateway, pair};

/// Streams at once, each of [`MEGABYTES`].
const STREAMS: usize = 20;
const MEGABYTES: usize = 12;

/// Memory of a gateway's process now, in MiB; 0 where the platform does not say.
fn resident(gateway: &Gateway) -> usize {
    let pages = fs::read_to_string(format!("/proc/{}/statm", gateway.pid())).unwrap_or_default();
    let pages = pages
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse::<usize>().ok());
    pages.unwrap_or(0) / 256
}

#[tokio::test]
async fn c05_slow_readers_hold_the_upstream_back_and_get_everything() {
    let word = "x".repeat(16 << 10);
    let words = vec![word.as_str(); MEGABYTES << 6];
    let expected = openai::frames(&words).concat();
    let (_upstream, gateway) = pair(Script::always(openai::stream(&words)), 1, "").await;
    let before = resident(&gateway);
    let mut readers = Vec::new();
    for _ in 0..STREAMS {
        let mut connection = gateway.connect().await;
        connection.send(&Request::chat(STREAM)).await;
        let answer = connection.head().await;
        readers.push((connection, answer));
    }
    // The others wait unread meanwhile, as long as it takes.
    for (connection, answer) in readers.iter_mut().take(2) {
        while connection.piece(answer).await.is_some() {}
        assert!(
            answer.complete && answer.text() == expected,
            "{} bytes",
            answer.body.len()
        );
        let grown = resident(&gateway).saturating_sub(before);
        assert!(
            grown < 60,
            "{grown} MiB for {STREAMS} streams of {MEGABYTES} MiB"
        );
    }
    drop(readers);
    gateway.idle().await;
}
