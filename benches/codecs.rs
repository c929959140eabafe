//! A 100 KB conversation through each pair of dialects, and one chunk of a stream.
//! `cargo bench --bench codecs`. Budget: a body under 1 ms, a chunk under 10 µs.

use divan::Bencher;
use divan::counter::BytesCount;
use llmproxy::dialects::loss::Losses;
use llmproxy::dialects::{Dialect, ReplyContext, RequestHint, Target, codec};
use serde_json::json;

fn main() {
    divan::main();
}

/// A conversation of 40 turns with tools, as a Responses client sends it.
fn body() -> String {
    let prose = "The quick brown fox jumps over the \"lazy\" dog and goes on.\n".repeat(30);
    let mut input = Vec::new();
    for turn in 0..40 {
        let id = format!("call_{turn}");
        input.push(json!({"role": "user", "content": prose}));
        input.push(
            json!({"type": "function_call", "call_id": id, "name": "shell",
            "arguments": "{\"command\":[\"cat\",\"a.txt\"]}"}),
        );
        input.push(json!({"type": "function_call_output", "call_id": id, "output": &prose[..600]}));
    }
    json!({"model": "m", "instructions": prose, "input": input}).to_string()
}

const TARGETS: [(Dialect, &str); 4] = [
    (Dialect::Anthropic, "claude-sonnet-4-5"),
    (Dialect::Gemini, "gemini-3-flash-preview"),
    (Dialect::OpenAiChat, "gpt-4.1"),
    (Dialect::OpenAiResponses, "gpt-5.1"),
];

#[divan::bench(args = TARGETS.map(|(dialect, _)| dialect))]
fn request(bencher: Bencher, target: Dialect) {
    let body = body();
    let model = TARGETS
        .iter()
        .find(|(dialect, _)| *dialect == target)
        .map_or("m", |(_, model)| model);
    bencher.counter(BytesCount::of_str(&body)).bench(|| {
        let request = codec(Dialect::OpenAiResponses)
            .read_request(body.as_bytes(), RequestHint::default())
            .expect("a request");
        codec(target)
            .write_request(&request, &Target::new("p", model), &mut Losses::default())
            .expect("a body")
    });
}

#[divan::bench(args = Dialect::ALL)]
fn chunk(bencher: Bencher, client: Dialect) {
    let chunk = br#"{"candidates":[{"content":{"role":"model","parts":[{"text":"hello there"}]},"index":0}],"usageMetadata":{"promptTokenCount":100,"totalTokenCount":100},"modelVersion":"m","responseId":"r"}"#;
    let mut reader = codec(Dialect::Gemini).stream_reader();
    let mut writer = codec(client).stream_writer(ReplyContext {
        model: "m".to_owned(),
        created: 1,
        id_seed: 7,
        include_usage: true,
        request: None,
    });
    let (mut events, mut out) = (Vec::new(), Vec::new());
    bencher.bench_local(|| {
        events.clear();
        out.clear();
        reader.read("", chunk, &mut events).expect("a chunk");
        for event in &events {
            writer.write(event, &mut out);
        }
        out.len()
    });
}
