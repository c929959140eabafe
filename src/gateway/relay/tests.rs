//! Tests of the relay.

use std::convert::Infallible;
use std::future::poll_fn;

use futures_util::stream;

use super::*;
use crate::dialects::error::ErrorKind;
use crate::dialects::{Dialect, Operation, ReplyContext, codec, observe};

#[test]
fn pieces_of_one_chunk_stay_one_piece() {
    let chunk = Bytes::from_static(b"data: 1\n\ndata: 2\n\n");
    let mut out = Output::default();
    out.read_from(&chunk);
    out.push(chunk.slice(..9));
    out.push(chunk.slice(9..));
    assert_eq!(out.len(), chunk.len());
    let taken = out.take().expect("bytes wait");
    assert_eq!(taken.as_ptr(), chunk.as_ptr(), "nothing was copied");
    assert_eq!(taken, chunk);
    assert!(out.is_empty() && out.take().is_none());
}

#[test]
fn gaps_and_foreign_pieces_keep_their_order() {
    let chunk = Bytes::from_static(b"abcdef");
    let mut out = Output::default();
    out.push(Bytes::from_static(b"0"));
    out.read_from(&chunk);
    out.push(chunk.slice(..2));
    out.push(Bytes::from(b"-".to_vec()));
    out.push(chunk.slice(2..3));
    out.push(chunk.slice(4..));
    out.push(chunk.slice(..1));
    out.read_from(&Bytes::from_static(b"next"));
    out.push(Bytes::from_static(b"!"));
    assert_eq!(out.take().as_deref(), Some(&b"0ab-cefa!"[..]));
}

/// What an upstream sends, each piece after a pause.
type Pieces = Vec<(Duration, &'static str)>;

const AT_ONCE: Duration = Duration::ZERO;

/// The idle limit that the streams below are read with.
const IDLE: Duration = Duration::from_mins(3);

/// A body that comes piece by piece, and then stays open unless it `ends`.
fn body(pieces: Pieces, ends: bool) -> ReplyBody {
    let stream = stream::unfold(pieces.into_iter(), move |mut pieces| async move {
        let Some((pause, piece)) = pieces.next() else {
            if !ends {
                std::future::pending::<()>().await;
            }
            return None;
        };
        tokio::time::sleep(pause).await;
        Some((Ok::<_, Infallible>(Bytes::from(piece)), pieces))
    });
    ReplyBody::of_stream(stream, IDLE)
}

fn verbatim(dialect: Dialect) -> Sink {
    let observer = observe::observer(dialect, Operation::Chat);
    Sink::verbatim(observer, codec(dialect), None)
}

async fn opened(sink: Sink, body: ReplyBody) -> Relay {
    let context = RelayContext {
        keepalive: Duration::ZERO,
        envelope: None,
        judge: Box::new(|error| {
            Failure::new(Verdict::Transient(Fault::Garbage), error.message.clone())
        }),
        explain: Box::new(|failure| {
            ErrorReply::new(
                502,
                ErrorKind::Provider,
                "upstream",
                failure.message.clone(),
            )
        }),
    };
    let first_byte = Instant::now() + IDLE;
    let relay = open(body, Frames::default(), sink, context, first_byte).await;
    relay.unwrap_or_else(|failure| panic!("it has content: {failure:?}"))
}

/// All that a client gets, and how long that takes.
async fn relayed(sink: Sink, pieces: Pieces, ends: bool) -> (String, Duration) {
    let begun = Instant::now();
    let mut relay = opened(sink, body(pieces, ends)).await;
    let text = rest(&mut relay).await;
    (text, begun.elapsed())
}

async fn rest(relay: &mut Relay) -> String {
    let mut all = Vec::new();
    while let Some(piece) = poll_fn(|context| relay.poll_piece(context)).await {
        all.extend_from_slice(&piece);
    }
    String::from_utf8(all).expect("UTF-8")
}

const CHAT: [&str; 2] = [
    "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hi\"}}]}\n\n",
    "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n",
];
const CHAT_USAGE: &str =
    "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2}}\n\n";
const CHAT_LAST: &str = "data: [DONE]\n\n";

const ANTHROPIC: [&str; 2] = [
    "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\
     \"delta\":{\"type\":\"text_delta\",\"text\":\"hi\"}}\n\n",
    "event: message_delta\ndata: {\"type\":\"message_delta\",\
     \"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":2}}\n\n",
];
const ANTHROPIC_LAST: &str = "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";

const GEMINI: [&str; 2] = [
    "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"hi\"}]}}]}\n\n",
    "data: {\"candidates\":[{\"finishReason\":\"STOP\"}]}\n\n",
];

#[tokio::test(start_paused = true)]
async fn last_words_that_are_long_in_coming_pass_as_they_are() {
    let late = Duration::from_secs(20);
    for (dialect, [content, stop], last) in [
        (Dialect::OpenAiChat, CHAT, vec![CHAT_USAGE, CHAT_LAST]),
        (Dialect::Anthropic, ANTHROPIC, vec![ANTHROPIC_LAST]),
        (Dialect::Gemini, GEMINI, vec![GEMINI[1]]),
    ] {
        let mut pieces = vec![(AT_ONCE, content), (AT_ONCE, stop)];
        pieces.extend(last.iter().map(|piece| (late, *piece)));
        let sent: String = pieces.iter().map(|(_, piece)| *piece).collect();
        let (text, _) = relayed(verbatim(dialect), pieces, true).await;
        assert_eq!(text, sent, "{dialect}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_last_frame_that_never_comes_is_written_for_the_client() {
    for (dialect, [content, stop], last) in [
        (Dialect::OpenAiChat, CHAT, CHAT_LAST),
        (Dialect::Anthropic, ANTHROPIC, ANTHROPIC_LAST),
        (Dialect::Gemini, GEMINI, ""),
    ] {
        for half in ["", "data: {\"choi"] {
            let pieces = vec![(AT_ONCE, content), (AT_ONCE, stop), (AT_ONCE, half)];
            let (text, waited) = relayed(verbatim(dialect), pieces, false).await;
            assert_eq!(text, [content, stop, last].concat(), "{dialect} {half}");
            assert_eq!(waited.as_secs(), LAST_WORDS.as_secs(), "{dialect} {half}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_clean_end_without_a_last_frame_passes_as_it_is() {
    for (dialect, [content, stop]) in [(Dialect::OpenAiChat, CHAT), (Dialect::Anthropic, ANTHROPIC)]
    {
        let pieces = vec![(AT_ONCE, content), (AT_ONCE, stop)];
        let (text, _) = relayed(verbatim(dialect), pieces, true).await;
        assert_eq!(text, [content, stop].concat(), "{dialect}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_choice_that_goes_on_while_another_has_ended_is_not_cut() {
    let other = "data: {\"choices\":[{\"index\":1,\"delta\":{\"content\":\"ho\"}}]}\n\n";
    let mut pieces = vec![(AT_ONCE, CHAT[0]), (AT_ONCE, CHAT[1])];
    pieces.extend([(Duration::from_secs(20), other); 6]);
    pieces.extend([(AT_ONCE, CHAT[1]), (AT_ONCE, CHAT_LAST)]);
    let sent: String = pieces.iter().map(|(_, piece)| *piece).collect();
    let (text, _) = relayed(verbatim(Dialect::OpenAiChat), pieces, true).await;
    assert_eq!(text, sent);
}

#[tokio::test(start_paused = true)]
async fn who_has_said_its_last_and_stays_open_keeps_nobody() {
    let pieces = vec![
        (AT_ONCE, CHAT[0]),
        (AT_ONCE, CHAT[1]),
        (Duration::from_secs(20), CHAT_LAST),
    ];
    let translated = || {
        let writer = codec(Dialect::Anthropic).stream_writer(ReplyContext {
            model: "p/m".to_owned(),
            created: 7,
            id_seed: 1,
            include_usage: false,
            request: None,
        });
        Sink::translated(codec(Dialect::OpenAiChat).stream_reader(), writer, false)
    };
    for (sink, last) in [
        (verbatim(Dialect::OpenAiChat), CHAT_LAST),
        (translated(), ANTHROPIC_LAST),
    ] {
        let (text, waited) = relayed(sink, pieces.clone(), false).await;
        assert!(text.ends_with(last), "{text}");
        assert_eq!(waited.as_secs(), 20, "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_whole_answer_is_ended_properly_when_the_gateway_goes() {
    let error = ErrorReply::new(503, ErrorKind::Overloaded, "shutdown", "going");
    let whole = vec![(AT_ONCE, CHAT[0]), (AT_ONCE, CHAT[1])];
    let half = vec![(AT_ONCE, CHAT[0])];
    for (pieces, is_whole) in [(whole, true), (half, false)] {
        let mut relay = opened(verbatim(Dialect::OpenAiChat), body(pieces, false)).await;
        let mut text = String::new();
        while relay.sink.has_ended() != is_whole || text.is_empty() {
            let piece = poll_fn(|context| relay.poll_piece(context)).await;
            text += std::str::from_utf8(&piece.expect("it goes on")).expect("UTF-8");
        }
        relay.abort(&error);
        text += &rest(&mut relay).await;
        assert_eq!(text.ends_with(CHAT_LAST), is_whole, "{text}");
        assert_eq!(text.contains("\"error\""), !is_whole, "{text}");
    }
}
