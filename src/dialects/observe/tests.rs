//! Tests of the observers, a file a dialect.

mod anthropic;
mod chat;
mod gemini;
mod responses;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::dialects::sse::Splitter;

/// What a row expects of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Is {
    Content,
    End,
    Error(&'static str),
    Preamble,
}

/// Shows the frames to an observer, each with a blank line, and checks each sign.
fn watch(dialect: Dialect, operation: Operation, rows: &[(&str, Is)]) -> Box<dyn Observer> {
    let mut watch = observer(dialect, operation);
    let mut splitter = Splitter::new();
    for (text, expected) in rows {
        splitter.push(Bytes::from(format!("{text}\n\n")));
        let frame = splitter.next().expect("a frame").expect("a short one");
        let is = match watch.frame(&frame) {
            Sign::Content => Is::Content,
            Sign::End => Is::End,
            Sign::Preamble => Is::Preamble,
            Sign::Error(error) => {
                let Is::Error(message) = expected else {
                    panic!("{text}: unexpected {error:?}");
                };
                assert_eq!(&error.message, message, "{text}");
                *expected
            }
        };
        assert_eq!(is, *expected, "{text}");
    }
    watch
}

const fn usage(
    input: u64,
    cache_read: u64,
    cache_write: u64,
    output: u64,
    reasoning: u64,
) -> Usage {
    Usage {
        input,
        cache_read,
        cache_write,
        output,
        reasoning,
        estimated: false,
    }
}

/// A chat chunk whose content is written as given.
fn chunk(content: &str) -> String {
    format!(r#"data: {{"id":"1","choices":[{{"delta":{{"content":"{content}"}}}}]}}"#)
}

#[test]
fn a_frame_like_the_last_but_for_its_text_counts_its_text() {
    let texts = [
        "one",
        "two",
        r#"\"finish_reason\":\"stop\""#,
        "zwölf",
        r"\\",
    ];
    let frames: Vec<_> = texts.iter().map(|text| chunk(text)).collect();
    let rows: Vec<_> = frames
        .iter()
        .map(|frame| (frame.as_str(), Is::Content))
        .collect();
    let watch = watch(Dialect::OpenAiChat, Operation::Chat, &rows);
    let chars: usize = texts.iter().map(|text| text.chars().count()).sum();
    assert_eq!(watch.output_chars(), chars as u64);
    assert!(!watch.ended());
}

#[test]
fn a_frame_that_only_begins_and_ends_like_the_last_is_read() {
    let (first, plain) = (chunk("a"), chunk("b"));
    // The string ends early; what follows up to the same end is no text.
    let sly = chunk(r#"c"},"finish_reason":"stop","x":{"y":""#);
    let rows = [
        (&*first, Is::Content),
        (&*plain, Is::Content),
        (&*sly, Is::Content),
    ];
    let watch = watch(Dialect::OpenAiChat, Operation::Chat, &rows);
    assert!(watch.ended(), "its finish reason is seen");
}

proptest! {
    #[test]
    fn nothing_a_stream_says_makes_an_observer_panic(
        pieces in prop::collection::vec(
            prop_oneof![
                "[\\x00-\\x7f]{0,20}",
                "data: \\{\"(choices|usage|error|type|delta|response|candidates)\": ?(null|1|\\[\\]|\\{\\}|\"x\"|\\[\\{\"delta\":7\\}\\])\\}\n\n",
            ],
            0..6,
        )
    ) {
        let stream = Bytes::from(pieces.concat());
        for dialect in Dialect::ALL {
            let mut watch = observer(dialect, Operation::Chat);
            let mut splitter = Splitter::new();
            splitter.push(stream.clone());
            while let Some(Ok(frame)) = splitter.next() {
                watch.frame(&frame);
            }
            if let Some(frame) = splitter.finish() {
                watch.frame(&frame);
            }
            watch.usage();
            inspect(dialect, Operation::Chat, &stream);
        }
    }
}

/// A piece of a stream: mostly frames that differ in their text only.
fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => "[a-z\" \\\\\n\r]{1,6}".prop_map(|text| {
            let text = serde_json::Value::from(text).to_string();
            format!("{}\n\n", chunk(text.trim_matches('"')))
        }),
        2 => "[a-z]{1,6}".prop_map(|text| format!("{}\r\n\r\n", chunk(&text))),
        1 => Just("data: {\"choices\":[],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2}}\n\n".to_owned()),
        1 => Just("data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n".to_owned()),
        4 => "[a-z]{1,6}".prop_map(|text| format!(
            "data: {{\"choices\":[{{\"delta\":{{\"content\":\"{text}\"}}}}],\"usage\":null}}\n\n"
        )),
        1 => Just(": ping\n\n".to_owned()),
        1 => Just("\n".to_owned()),
        1 => Just("data: [DONE]\n\n".to_owned()),
    ]
}

proptest! {
    #[test]
    fn frames_taken_by_sight_are_the_frames_there_are(
        pieces in prop::collection::vec(piece(), 0..12),
        cuts in prop::collection::vec(1_usize..200, 0..8),
    ) {
        let stream = Bytes::from(pieces.concat());
        let mut one_by_one = observer(Dialect::OpenAiChat, Operation::Chat);
        let mut whole = Splitter::new();
        whole.push(stream.clone());
        let mut last = Bytes::new();
        while let Some(Ok(frame)) = whole.next() {
            one_by_one.frame(&frame);
            last = frame.raw;
        }

        let mut by_sight = observer(Dialect::OpenAiChat, Operation::Chat);
        let mut splitter = Splitter::new();
        let (mut rest, mut taken, mut seen) = (stream.clone(), Vec::new(), Bytes::new());
        let sizes = cuts.into_iter().chain(std::iter::once(usize::MAX));
        for size in sizes {
            splitter.push(rest.split_to(size.min(rest.len())));
            loop {
                if let Some(ahead) = splitter.ahead() {
                    let skimmed = by_sight.skim(ahead);
                    let run = splitter.advance(skimmed.length);
                    if skimmed.length > 0 {
                        seen = run.slice(skimmed.last..);
                    }
                    taken.extend_from_slice(&run);
                }
                let Some(Ok(frame)) = splitter.next() else { break };
                by_sight.frame(&frame);
                taken.extend_from_slice(&frame.raw);
                seen = frame.raw;
            }
        }
        prop_assert!(stream.starts_with(&taken));
        // The LF of a CRLF that was cut may stand in the next frame.
        prop_assert_eq!(seen.trim_ascii(), last.trim_ascii());
        prop_assert_eq!(by_sight.output_chars(), one_by_one.output_chars());
        prop_assert_eq!(by_sight.ended(), one_by_one.ended());
        prop_assert_eq!(by_sight.usage(), one_by_one.usage());
    }
}
