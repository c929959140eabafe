//! What translation costs: a conversation of about 100 KB and one stream chunk, from each dialect to
//! each other; what passes verbatim is measured by `head` and `sse`.
//!
//! Budgets: a body under 1 ms, a chunk under 10 µs on one core of a small server.

use std::fmt::{self, Write as _};

use divan::{Bencher, black_box};
use llmproxy::dialects::loss::Losses;
use llmproxy::dialects::{Dialect, ReplyContext, RequestHint, Target, codec};

fn main() {
    divan::main();
}

/// From one dialect to another.
#[derive(Clone, Copy)]
struct Pair {
    from: Dialect,
    to: Dialect,
}

impl fmt::Display for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-to-{}", self.from.as_str(), self.to.as_str())
    }
}

fn pairs() -> Vec<Pair> {
    let all = Dialect::ALL.into_iter();
    let pairs = all.flat_map(|from| Dialect::ALL.into_iter().map(move |to| Pair { from, to }));
    pairs.filter(|pair| pair.from != pair.to).collect()
}

/// A conversation of an agent: system prompt, tools, calls and results, about 100 KB.
fn openai_body() -> Vec<u8> {
    let filler = "The quick brown fox jumps over \\\"the\\\" lazy dog.\\n".repeat(20);
    let mut body = String::from(r#"{"model":"m","max_tokens":1000,"tools":["#);
    for at in 0..20 {
        let comma = if at == 0 { "" } else { "," };
        let _ = write!(
            body,
            r#"{comma}{{"type":"function","function":{{"name":"tool_{at}","description":"{filler}","parameters":{{"type":"object","properties":{{"path":{{"type":"string"}},"lines":{{"type":"array","items":{{"type":"integer"}}}}}},"required":["path"]}}}}}}"#
        );
    }
    let _ = write!(
        body,
        r#"],"messages":[{{"role":"system","content":"{filler}"}}"#
    );
    for at in 0..25 {
        let _ = write!(
            body,
            r#",{{"role":"user","content":[{{"type":"text","text":"{filler}"}}]}},{{"role":"assistant","content":"{filler}","tool_calls":[{{"id":"call_{at}","type":"function","function":{{"name":"tool_1","arguments":"{{\"path\":\"{at}\"}}"}}}}]}},{{"role":"tool","tool_call_id":"call_{at}","content":"{filler}"}}"#
        );
    }
    body.push_str("]}");
    body.into_bytes()
}

/// The same conversation as a client of that dialect says it.
fn body_of(dialect: Dialect) -> Vec<u8> {
    let openai = openai_body();
    if dialect == Dialect::OpenAiChat {
        return openai;
    }
    translate(&openai, Dialect::OpenAiChat, dialect)
}

fn translate(body: &[u8], from: Dialect, to: Dialect) -> Vec<u8> {
    let model = match to {
        Dialect::Anthropic => "claude-sonnet-4-5",
        Dialect::Gemini => "gemini-2.5-flash",
        Dialect::OpenAiChat | Dialect::OpenAiResponses => "some-model",
    };
    let hint = RequestHint {
        model: (from == Dialect::Gemini).then_some("m"),
        stream: None,
    };
    let request = codec(from)
        .read_request(body, hint)
        .expect("the body is well formed");
    codec(to)
        .write_request(
            &request,
            &Target::new("custom", model),
            &mut Losses::default(),
        )
        .expect("the request can be sent")
}

#[divan::bench(args = pairs())]
fn body(bencher: Bencher<'_, '_>, pair: Pair) {
    let body = body_of(pair.from);
    bencher.bench_local(|| translate(black_box(&body), pair.from, pair.to));
}

/// The first chunks of a stream, and one of its texts.
fn stream_of(dialect: Dialect) -> (&'static [&'static str], &'static str) {
    match dialect {
        Dialect::Anthropic => (
            &[
                r#"{"type":"message_start","message":{"id":"msg_1","model":"m","usage":{"input_tokens":3}}}"#,
                r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#,
            ],
            r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":" and so the story goes on"}}"#,
        ),
        Dialect::Gemini => (
            &[],
            r#"{"candidates":[{"content":{"role":"model","parts":[{"text":" and so the story goes on"}]},"index":0}],"usageMetadata":{"promptTokenCount":100,"totalTokenCount":100},"modelVersion":"m","responseId":"r"}"#,
        ),
        Dialect::OpenAiChat => (
            &[
                r#"{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}"#,
            ],
            r#"{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"content":" and so the story goes on"},"finish_reason":null}]}"#,
        ),
        Dialect::OpenAiResponses => (
            &[
                r#"{"type":"response.created","sequence_number":0,"response":{"id":"resp_1","object":"response","status":"in_progress","model":"m","output":[]}}"#,
                r#"{"type":"response.output_item.added","sequence_number":1,"output_index":0,"item":{"id":"msg_1","type":"message","role":"assistant","status":"in_progress","content":[]}}"#,
                r#"{"type":"response.content_part.added","sequence_number":2,"item_id":"msg_1","output_index":0,"content_index":0,"part":{"type":"output_text","text":"","annotations":[]}}"#,
            ],
            r#"{"type":"response.output_text.delta","sequence_number":3,"item_id":"msg_1","output_index":0,"content_index":0,"delta":" and so the story goes on","logprobs":[]}"#,
        ),
    }
}

/// A thousand chunks of a stream under way, so that what a writer gathers for the end counts too;
/// the time is for all of them: 1 ms is 1 µs a chunk.
#[divan::bench(args = pairs())]
fn thousand_chunks(bencher: Bencher<'_, '_>, pair: Pair) {
    let (start, next) = stream_of(pair.from);
    bencher.bench_local(|| {
        let mut reader = codec(pair.from).stream_reader();
        let mut writer = codec(pair.to).stream_writer(ReplyContext {
            model: "p/m".to_owned(),
            created: 0,
            id_seed: 1,
            include_usage: true,
            request: None,
        });
        let (mut events, mut out) = (Vec::new(), Vec::new());
        let mut bytes = 0;
        let chunks = start.iter().copied().chain(std::iter::repeat_n(next, 1000));
        for chunk in chunks {
            events.clear();
            out.clear();
            reader
                .read("", black_box(chunk.as_bytes()), &mut events)
                .expect("a chunk");
            for event in &events {
                writer.write(event, &mut out);
            }
            bytes += out.len();
        }
        bytes
    });
}
