//! The end of a stream whose usage comes late, in a chunk without choices: finish and usage become
//! one last chunk.
//!
//! The gateway asks such vendors for usage whether the client wants it or not; clients that did
//! not ask would trip over a chunk without choices.

use std::collections::VecDeque;

use serde_json::value::RawValue;

use crate::dialects::edit::Members;
use crate::dialects::sse::Frame;

/// Holds the chunk that ends the answer until its usage is there.
#[derive(Debug, Default)]
pub(super) struct Tail {
    held: Option<Frame>,
}

impl Tail {
    /// Takes the next frame and gives out what may go.
    pub(super) fn push(&mut self, frame: Frame, out: &mut VecDeque<Frame>) {
        let data = frame.data();
        let data = data.trim_ascii();
        if data.is_empty() {
            // A comment overtakes: it says only that somebody is there.
            out.push_back(frame);
            return;
        }
        let Some(chunk) = Members::parse(data) else {
            self.finish(out);
            out.push_back(frame);
            return;
        };
        let choices = chunk.raw("choices").unwrap_or("[]");
        let choices: Vec<&RawValue> = serde_json::from_str(choices).unwrap_or_default();
        let usage = chunk.raw("usage");
        if let Some(usage) = usage.filter(|_| choices.is_empty())
            && let Some(held) = self.held.take()
        {
            out.push_back(with_usage(&held, usage));
            return;
        }
        self.finish(out);
        if usage.is_some() || !choices.iter().any(|choice| ends(choice)) {
            out.push_back(frame);
            return;
        }
        let says_more = choices.iter().any(|choice| says(choice));
        if !says_more {
            self.held = Some(frame);
            return;
        }
        let with = |change: fn(&mut Members<'_>)| {
            let choices: Vec<String> = choices
                .iter()
                .map(|choice| changed(choice, change))
                .collect();
            let mut chunk = chunk.clone();
            chunk.set("choices", format!("[{}]", choices.join(",")));
            Frame::of_data(chunk.to_json().as_bytes())
        };
        out.push_back(with(|choice| {
            choice.set("finish_reason", "null".to_owned());
        }));
        self.held = Some(with(|choice| {
            choice.set("delta", "{}".to_owned());
            choice.remove("logprobs");
        }));
    }

    /// No usage is coming: gives out what is held.
    pub(super) fn finish(&mut self, out: &mut VecDeque<Frame>) {
        out.extend(self.held.take());
    }
}

fn with_usage(held: &Frame, usage: &str) -> Frame {
    let data = held.data();
    match Members::parse(data.trim_ascii()) {
        Some(mut chunk) => {
            chunk.set("usage", usage.to_owned());
            Frame::of_data(chunk.to_json().as_bytes())
        }
        None => held.clone(),
    }
}

fn ends(choice: &RawValue) -> bool {
    Members::parse(choice.get().as_bytes())
        .is_some_and(|choice| choice.text("finish_reason").is_some())
}

/// `true` if the choice says something besides its end.
fn says(choice: &RawValue) -> bool {
    let Some(choice) = Members::parse(choice.get().as_bytes()) else {
        return false;
    };
    let delta = choice.raw("delta").unwrap_or("{}");
    let Some(delta) = Members::parse(delta.as_bytes()) else {
        return false;
    };
    let is_empty = |name: &str| matches!(delta.raw(name), None | Some("\"\"" | "[]" | "{}"));
    delta.names().any(|name| name != "role" && !is_empty(name))
}

fn changed(choice: &RawValue, change: fn(&mut Members<'_>)) -> String {
    match Members::parse(choice.get().as_bytes()) {
        Some(mut choice) => {
            change(&mut choice);
            choice.to_json()
        }
        None => choice.get().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(frames: &[&str]) -> String {
        let mut tail = Tail::default();
        let mut out = VecDeque::new();
        for frame in frames {
            tail.push(Frame::of_data(frame.as_bytes()), &mut out);
        }
        tail.finish(&mut out);
        let lines = out.iter().map(|frame| {
            let data = frame.data().into_owned();
            String::from_utf8(data).expect("UTF-8")
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    const TEXT: &str =
        r#"{"id":"c","choices":[{"index":0,"delta":{"content":"lo"},"finish_reason":"stop"}]}"#;
    const END: &str = r#"{"id":"c","choices":[{"index":0,"delta":{"content":""},"finish_reason":"stop"}],"x":1e2}"#;
    const USAGE: &str = r#"{"id":"c","choices":[],"usage":{"total_tokens":13}}"#;

    #[test]
    fn late_usage_joins_the_finish() {
        assert_eq!(
            joined(&[END, USAGE, "[DONE]"]),
            concat!(
                r#"{"id":"c","choices":[{"index":0,"delta":{"content":""},"finish_reason":"stop"}],"x":1e2,"usage":{"total_tokens":13}}"#,
                "\n[DONE]"
            )
        );
    }

    #[test]
    fn last_words_do_not_wait_with_the_finish() {
        let mut tail = Tail::default();
        let mut out = VecDeque::new();
        tail.push(Frame::of_data(TEXT.as_bytes()), &mut out);
        let now = String::from_utf8(out[0].data().into_owned()).expect("UTF-8");
        assert_eq!(
            now,
            r#"{"id":"c","choices":[{"index":0,"delta":{"content":"lo"},"finish_reason":null}]}"#
        );
        out.clear();
        tail.push(Frame::of_data(USAGE.as_bytes()), &mut out);
        let then = String::from_utf8(out[0].data().into_owned()).expect("UTF-8");
        assert_eq!(
            then,
            r#"{"id":"c","choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":{"total_tokens":13}}"#
        );
    }

    #[test]
    fn without_late_usage_the_finish_goes_as_it_came() {
        let with_usage =
            r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":{"n":1}}"#;
        for stream in [
            &[END, "[DONE]"][..],
            &[END],
            &[END, "{\"error\":{}}"],
            &[END, END, "[DONE]"],
            &[with_usage, "[DONE]"],
            &[USAGE],
            &["nonsense", "{}"],
        ] {
            assert_eq!(joined(stream), stream.join("\n"));
        }
    }
}
