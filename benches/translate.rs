//! What translation costs beside the verbatim path: a 100 KB conversation, and one stream chunk.
//!
//! Budgets: a body under 1 ms, a chunk under 10 µs on one core of a small server.

use std::fmt::Write as _;

use divan::{Bencher, black_box};
use llmproxy::dialects::loss::Losses;
use llmproxy::dialects::{Dialect, ReplyContext, RequestHint, Target, codec};

fn main() {
    divan::main();
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

fn translate(body: &[u8], from: Dialect, to: Dialect) -> Vec<u8> {
    let model = match to {
        Dialect::Anthropic => "claude-sonnet-4-5",
        Dialect::Gemini => "gemini-2.5-flash",
        Dialect::OpenAiChat | Dialect::OpenAiResponses => "some-model",
    };
    let request = codec(from)
        .read_request(body, RequestHint::default())
        .expect("the body is well formed");
    codec(to)
        .write_request(
            &request,
            &Target::new("custom", model),
            &mut Losses::default(),
        )
        .expect("the request can be sent")
}

#[divan::bench]
fn body_openai_to_anthropic(bencher: Bencher<'_, '_>) {
    let body = openai_body();
    bencher.bench_local(|| translate(black_box(&body), Dialect::OpenAiChat, Dialect::Anthropic));
}

#[divan::bench]
fn body_anthropic_to_openai(bencher: Bencher<'_, '_>) {
    let body = translate(&openai_body(), Dialect::OpenAiChat, Dialect::Anthropic);
    bencher.bench_local(|| translate(black_box(&body), Dialect::Anthropic, Dialect::OpenAiChat));
}

fn context() -> ReplyContext {
    ReplyContext {
        model: "p/m".to_owned(),
        created: 0,
        id_seed: 1,
        include_usage: true,
        request: None,
    }
}

/// One chunk through a stream that is under way.
fn chunk(bencher: Bencher<'_, '_>, from: Dialect, to: Dialect, first: &[u8], next: &[u8]) {
    let mut reader = codec(from).stream_reader();
    let mut writer = codec(to).stream_writer(context());
    let (mut events, mut out) = (Vec::new(), Vec::new());
    reader.read("", first, &mut events).expect("a chunk");
    bencher.bench_local(|| {
        events.clear();
        out.clear();
        reader
            .read("", black_box(next), &mut events)
            .expect("a chunk");
        for event in &events {
            writer.write(event, &mut out);
        }
        out.len()
    });
}

#[divan::bench]
fn chunk_openai_to_anthropic(bencher: Bencher<'_, '_>) {
    let chunk_of = |text: &str| {
        format!(
            r#"{{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{{"index":0,"delta":{{"content":"{text}"}},"finish_reason":null}}]}}"#
        )
    };
    let (first, next) = (chunk_of("a"), chunk_of(" and so the story goes on"));
    let (from, to) = (Dialect::OpenAiChat, Dialect::Anthropic);
    chunk(bencher, from, to, first.as_bytes(), next.as_bytes());
}

#[divan::bench]
fn chunk_anthropic_to_openai(bencher: Bencher<'_, '_>) {
    let first = br#"{"type":"message_start","message":{"id":"msg_1","model":"m","usage":{"input_tokens":3}}}"#;
    let next = br#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":" and so the story goes on"}}"#;
    chunk(
        bencher,
        Dialect::Anthropic,
        Dialect::OpenAiChat,
        first,
        next,
    );
}
