//! Answers that are mended before anybody reads them: frames stay JSON, and text is neither lost nor
//! made up.

use std::collections::VecDeque;

use bytes::Bytes;
use llmproxy::dialects::mend::{Mender, Mending};
use llmproxy::dialects::sse::{Frame, Splitter};
use serde::de::IgnoredAny;

/// The low bits of the first byte say what is mended, the rest is a stream, or a whole answer.
pub(crate) fn check(data: &[u8]) {
    let Some((first, answer)) = data.split_first() else {
        return;
    };
    let is_on = |bit: u8| first & 1 << bit != 0;
    let mending = Mending {
        think_tags: is_on(0),
        hidden_tool: is_on(1).then_some("hidden"),
        tidies: is_on(2),
        joins_usage: is_on(3),
        keeps_thoughts: is_on(4),
    };
    let answer = Bytes::copy_from_slice(answer);
    let whole = Mender::new(mending).whole(answer.clone());
    assert!(!is_json(&answer) || is_json(&whole));
    let frames = frames(answer);
    let mut mender = Mender::new(mending);
    let mut out = VecDeque::new();
    let were_json = frames.iter().all(is_sound);
    for frame in frames {
        mender.frame(frame, &mut out);
    }
    mender.finish(&mut out);
    let _ = mender.thoughts();
    assert!(!were_json || out.iter().all(is_sound));
}

fn frames(stream: Bytes) -> Vec<Frame> {
    let mut splitter = Splitter::new();
    splitter.push(stream);
    let mut frames = Vec::new();
    while let Some(frame) = splitter.next() {
        frames.push(frame.expect("far below the limit"));
    }
    frames.extend(splitter.finish());
    frames
}

/// A comment, the end, or JSON.
fn is_sound(frame: &Frame) -> bool {
    let data = frame.data();
    frame.is_comment_only() || data.starts_with(b"[DONE]") || is_json(&data)
}

fn is_json(bytes: &[u8]) -> bool {
    serde_json::from_slice::<IgnoredAny>(bytes).is_ok()
}
