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
