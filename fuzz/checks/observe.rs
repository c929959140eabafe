//! Observers and the look at a whole body: no panic, and no sign that hangs on how it was cut.

use bytes::Bytes;
use llmproxy::dialects::error::UpstreamError;
use llmproxy::dialects::observe::{Sign, inspect, observer};
use llmproxy::dialects::sse::{Frame, Splitter};
use llmproxy::dialects::{Dialect, Operation};

/// The first byte chooses dialect and operation, the second the length of the pieces it comes in, the
/// rest is what the upstream sent.
pub(crate) fn check(data: &[u8]) {
    let [first, second, answer @ ..] = data else {
        return;
    };
    let dialect = Dialect::ALL[usize::from(*first) % Dialect::ALL.len()];
    let operation = match *first / 4 % 4 {
        0 => Operation::Chat,
        1 => Operation::Completions,
        2 => Operation::CountTokens,
        _ => Operation::Embeddings,
    };
    let _ = inspect(dialect, operation, answer);
    let _ = UpstreamError::parse(Some(500), answer);
    let whole = signs(dialect, operation, answer, answer.len().max(1));
    let size = usize::from(*second) + 1;
    if size < answer.len() {
        assert_eq!(signs(dialect, operation, answer, size), whole);
    }
}

fn signs(dialect: Dialect, operation: Operation, stream: &[u8], size: usize) -> Vec<Sign> {
    let mut watch = observer(dialect, operation);
    let mut splitter = Splitter::new();
    let mut signs = Vec::new();
    let mut show = |frame: Frame| {
        // The LF of a CRLF that was cut may make a last frame of its own.
        let sign = watch.frame(&frame);
        if !frame.is_comment_only() {
            signs.push(sign);
        }
    };
    for piece in stream.chunks(size) {
        splitter.push(Bytes::copy_from_slice(piece));
        while let Some(frame) = splitter.next() {
            show(frame.expect("far below the limit"));
        }
    }
    if let Some(frame) = splitter.finish() {
        show(frame);
    }
    let _ = (watch.usage(), watch.ended(), watch.output_chars());
    signs
}
