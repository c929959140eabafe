//! Tests of the splitter: WHATWG's vectors, every cut, limits, linear time.

use std::time::Instant;

use proptest::prelude::*;

use super::*;

/// What a stream says, frame by frame.
type Seen = Vec<(String, Vec<u8>)>;

/// Feeds the pieces and returns the events with data, checking that no byte was lost or moved.
fn feed<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Seen {
    let mut splitter = Splitter::new();
    let (mut whole, mut relayed, mut seen) = (Vec::new(), Vec::new(), Vec::new());
    let mut take = |frame: Frame| {
        relayed.extend_from_slice(&frame.raw);
        if !frame.is_comment_only() {
            seen.push((frame.event().to_owned(), frame.data().into_owned()));
        }
    };
    for piece in pieces {
        whole.extend_from_slice(piece);
        splitter.push(Bytes::copy_from_slice(piece));
        while let Some(frame) = splitter.next() {
            take(frame.expect("a short frame"));
        }
    }
    if let Some(frame) = splitter.finish() {
        assert!(!frame.is_terminated());
        take(frame);
    }
    assert_eq!(relayed, whole, "relaying the frames is relaying the stream");
    seen
}

/// Feeds a stream whole, byte by byte, and cut once everywhere; all must say the same.
fn events(stream: &[u8]) -> Seen {
    let whole = feed([stream]);
    assert_eq!(feed(stream.chunks(1)), whole, "byte by byte");
    for cut in 0..=stream.len() {
        let (head, tail) = stream.split_at(cut);
        assert_eq!(feed([head, tail]), whole, "cut at {cut}");
    }
    whole
}

fn check(stream: &str, expected: &[(&str, &str)]) {
    let seen = events(stream.as_bytes());
    let seen: Vec<_> = seen
        .iter()
        .map(|(event, data)| (event.as_str(), String::from_utf8_lossy(data)))
        .collect();
    let seen: Vec<_> = seen
        .iter()
        .map(|(event, data)| (*event, data.as_ref()))
        .collect();
    assert_eq!(seen, expected, "{stream:?}");
}

/// The format tests of <https://github.com/web-platform-tests/wpt/tree/master/eventsource>, read
/// 2026-11-22, with the one difference that the last event needs no blank line.
#[test]
fn an_event_made_here_reads_back_as_its_data() {
    for data in ["{}", "one\ntwo", "{\"a\":\n1}"] {
        let mut splitter = Splitter::new();
        splitter.push(Frame::of_data(data.as_bytes()).raw);
        let frame = splitter.next().expect("one").expect("short");
        assert_eq!(frame.data(), data.as_bytes());
        assert!(splitter.finish().is_none());
    }
}

#[test]
fn whatwg_streams_are_read_as_the_standard_says() {
    let long = "x".repeat(2048);
    let comments =
        format!("data:1\r:\0\n:\r\ndata:2\n:{long}\rdata:3\n:data:fail\r:{long}\ndata:4\n\n");
    for (stream, expected) in [
        (
            "\u{feff}data:1\n\n\u{feff}data:2\n\ndata:3\n\n",
            &[("", "1"), ("", "3")][..],
        ),
        ("\u{feff}\u{feff}data:1\n\ndata:2\n\n", &[("", "2")]),
        ("\u{feff}\ndata:1\n\n", &[("", "1")]),
        (&comments, &[("", "1\n2\n3\n4")]),
        (
            "retry:1000\ndata:test1\n\nid:test\ndata:test2",
            &[("", "test1"), ("", "test2")],
        ),
        (
            "data:\n\ndata\ndata\n\ndata:test\n\n",
            &[("", ""), ("", "\n"), ("", "test")],
        ),
        ("event: \ndata:data\n\n", &[("", "data")]),
        (
            "event:test\ndata:x\n\ndata:x\n\n",
            &[("test", "x"), ("", "x")],
        ),
        ("event:a\nevent:b\ndata:x\n\n", &[("b", "x")]),
        ("event:lost\n\ndata:x\n\n", &[("", "x")]),
        ("id: 1\0\nretry: 3x\ndata:x\n\n", &[("", "x")]),
        (
            "data:\0\ndata:  2\rData:1\ndata\0:2\ndata:1\r\0data:4\nda-ta:3\rdata_5\ndata:3\rdata:\r\n data:32\ndata:4\n\n",
            &[("", "\0\n 2\n1\n3\n\n4")],
        ),
        (
            "data:test\n data\ndata\nfoobar:xxx\njustsometext\n:thisisacommentyay\ndata:test\n\n",
            &[("", "test\n\ntest")],
        ),
        (
            "data:\ttest\rdata: \ndata:test\n\n",
            &[("", "\ttest\n\ntest")],
        ),
        (
            "data:test\r\ndata\ndata:test\r\n\r\n",
            &[("", "test\n\ntest")],
        ),
        (
            "data:test\r\ndata\ndata:test\r\n\r",
            &[("", "test\n\ntest")],
        ),
        ("data:a\r\rdata:b\r\r", &[("", "a"), ("", "b")]),
        (
            "data:a\n\r\ndata:b\r\n\ndata:c\r\n\r\n",
            &[("", "a"), ("", "b"), ("", "c")],
        ),
        ("data:\0\n\n\n\n", &[("", "\0")]),
        ("data:ok…\n\n", &[("", "ok…")]),
        ("data:a:b: c\n\n", &[("", "a:b: c")]),
        (
            "data: {\"a\":1}\r\n\r\n: keep-alive\r\n\r\ndata:[DONE]",
            &[("", "{\"a\":1}"), ("", "[DONE]")],
        ),
        ("\n\n\r\r\r\n", &[]),
        ("", &[]),
        (": only a comment\n\n", &[]),
        (
            "data: a\u{2028}b\u{85}c\u{b}d\n\n",
            &[("", "a\u{2028}b\u{85}c\u{b}d")],
        ),
    ] {
        check(stream, expected);
    }
}

#[test]
fn bytes_that_are_not_text_pass_unchanged() {
    let seen = events(b"event: \xff\ndata: \xf0\x9f\x98\n\n");
    assert_eq!(seen, [(String::new(), b"\xf0\x9f\x98".to_vec())]);
}

/// A piece of each kind: two dialects, every line end, a comment, a multi-byte character.
const SAMPLE: &str = "\u{feff}: hi\r\n\r\nevent: message_start\ndata: {\"type\":\"message_start\"}\n\n\
    data:{\"choices\":[{\"delta\":{\"content\":\"\u{1f600}é\"}}]}\r\n\r\n\
    data: a\rdata: b\r\rretry: 1\n\nid: 7\ndata\n\ndata: {\"usage\":{\"total_tokens\":3}}\n\n\
    event: x\r\ndata: 1\r\ndata: 2\r\n\r\ndata: [DONE]";

#[test]
fn two_cuts_anywhere_change_nothing() {
    let stream = SAMPLE.as_bytes();
    let whole = events(stream);
    assert_eq!(whole.len(), 7);
    for first in 0..=stream.len() {
        for second in first..=stream.len() {
            let pieces = [&stream[..first], &stream[first..second], &stream[second..]];
            assert_eq!(feed(pieces), whole, "cut at {first} and {second}");
        }
    }
}

#[test]
fn a_frame_within_one_chunk_is_a_slice_of_it() {
    let chunk = Bytes::from_static(b"data: 1\n\ndata: 2\n\nda");
    let mut splitter = Splitter::new();
    splitter.push(chunk.clone());
    for offset in [0, 9] {
        let frame = splitter.next().expect("a frame").expect("a short one");
        assert_eq!(frame.raw.as_ptr(), chunk[offset..].as_ptr());
        assert!(frame.is_terminated());
    }
    assert_eq!(splitter.next(), None);
}

#[test]
fn a_frame_ends_with_its_cr_though_an_lf_may_follow() {
    let mut splitter = Splitter::new();
    splitter.push(Bytes::from_static(b"data: 1\r\n\r"));
    let frame = splitter.next().expect("a frame").expect("a short one");
    assert_eq!(frame.raw, "data: 1\r\n\r");
    splitter.push(Bytes::from_static(b"\ndata: 2\n\n"));
    let frame = splitter.next().expect("a frame").expect("a short one");
    assert_eq!(
        (frame.raw.as_ref(), frame.data().as_ref()),
        (&b"\ndata: 2\n\n"[..], &b"2"[..])
    );
}

#[test]
fn chunks_may_be_pushed_ahead() {
    let mut splitter = Splitter::new();
    for byte in SAMPLE.as_bytes().chunks(1) {
        splitter.push(Bytes::copy_from_slice(byte));
    }
    let mut relayed = Vec::new();
    while let Some(frame) = splitter.next() {
        relayed.extend_from_slice(&frame.expect("a short frame").raw);
    }
    relayed.extend_from_slice(&splitter.finish().expect("the last frame").raw);
    assert_eq!(relayed, SAMPLE.as_bytes());
}

#[test]
fn a_frame_over_the_limit_ends_the_stream() {
    for chunk_bytes in [1, 7, 64] {
        let mut splitter = Splitter::with_limit(16);
        for piece in b"data: 12345678\n\n".chunks(chunk_bytes) {
            splitter.push(Bytes::copy_from_slice(piece));
        }
        let fits = splitter.next().expect("a frame").expect("16 bytes fit");
        assert_eq!(fits.raw.len(), 16);
        for piece in b"data: 123456789\n\ndata: 1\n\n".chunks(chunk_bytes) {
            splitter.push(Bytes::copy_from_slice(piece));
        }
        assert_eq!(splitter.next(), Some(Err(FrameTooLong { limit: 16 })));
        splitter.push(Bytes::from_static(b"data: 1\n\n"));
        assert_eq!(splitter.next(), None);
        assert_eq!(splitter.finish(), None);
    }
}

#[test]
fn a_long_line_takes_linear_time() {
    // Quadratic readers take minutes for this; the bound only tells the two apart.
    let chunk = Bytes::from(vec![b'x'; 1400]);
    let begun = Instant::now();
    let mut splitter = Splitter::new();
    splitter.push(Bytes::from_static(b"data: "));
    for _ in 0..16 * 1024 * 1024 / chunk.len() {
        splitter.push(chunk.clone());
        assert_eq!(splitter.next(), None);
    }
    splitter.push(Bytes::from_static(b"\n\n"));
    let frame = splitter.next().expect("a frame").expect("within the limit");
    assert!(frame.data().len() > 15 * 1024 * 1024);
    assert!(begun.elapsed().as_secs() < 20);
}

proptest! {
    #[test]
    fn any_stream_in_any_pieces_says_the_same(
        lines in prop::collection::vec("(data|event|id|x|)[:]? ?[a-c\u{e9}]{0,3}(\n|\r|\r\n){1,2}", 0..12),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let stream = lines.concat().into_bytes();
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
        cuts.extend([0, stream.len()]);
        cuts.sort_unstable();
        let pieces = cuts.windows(2).map(|pair| &stream[pair[0]..pair[1]]);
        prop_assert_eq!(feed(pieces), feed([stream.as_slice()]));
    }
}
