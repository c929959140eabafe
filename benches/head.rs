//! The head scan, the session keys and the splice on a request of about 100 KB, beside what any
//! parse of the same body costs. `cargo bench --bench head`.

use bytes::Bytes;
use divan::Bencher;
use divan::counter::BytesCount;
use llmproxy::dialects::Dialect;
use llmproxy::dialects::head::{scan, splice};
use serde_json::{Value, json};

fn main() {
    divan::main();
}

/// A conversation of 24 turns about code: many escapes, one long system prompt, a few tools.
fn body() -> Bytes {
    let code =
        "fn main() {\n\tprintln!(\"a \\\"quoted\\\" word, ünïcode, and a path: C:\\\\x\");\n}\n";
    let prose = "The quick brown fox jumps over the lazy dog and goes on and on without an end. ";
    let mut messages = vec![json!({"role": "system", "content": prose.repeat(150)})];
    for turn in 0..12 {
        messages.push(json!({"role": "user", "content": format!("{turn}: {}", prose.repeat(8))}));
        messages.push(json!({"role": "assistant", "content": code.repeat(70)}));
    }
    messages.push(json!({"role": "user", "content": "go on"}));
    let tools: Vec<Value> = (0..20)
        .map(|at| {
            json!({"type": "function", "function": {
                "name": format!("tool_{at}"),
                "description": prose,
                "parameters": {"type": "object", "properties": {"path": {"type": "string"}}},
            }})
        })
        .collect();
    let body = json!({
        "messages": messages,
        "model": "openai/gpt-5.1",
        "stream": true,
        "stream_options": {"include_usage": true},
        "temperature": 0.7,
        "tools": tools,
    });
    Bytes::from(serde_json::to_vec(&body).expect("a value"))
}

#[divan::bench]
fn scan_only(bencher: Bencher<'_, '_>) {
    let body = body();
    bencher
        .counter(BytesCount::of_slice(&body))
        .bench(|| scan(&body, Dialect::OpenAiChat).map(|head| head.stream));
}

#[divan::bench]
fn scan_and_splice(bencher: Bencher<'_, '_>) {
    let body = body();
    bencher.counter(BytesCount::of_slice(&body)).bench(|| {
        let head = scan(&body, Dialect::OpenAiChat).expect("a sound body");
        splice(&body, &head, "gpt-5.1", &[])
    });
}

#[divan::bench]
fn session_keys(bencher: Bencher<'_, '_>) {
    let body = body();
    let head = scan(&body, Dialect::OpenAiChat).expect("a sound body");
    bencher
        .counter(BytesCount::of_slice(&body))
        .bench(|| head.session_keys("client"));
}

#[divan::bench]
fn serde_checks_only(bencher: Bencher<'_, '_>) {
    let body = body();
    bencher
        .counter(BytesCount::of_slice(&body))
        .bench(|| serde_json::from_slice::<serde::de::IgnoredAny>(&body).is_ok());
}

#[divan::bench]
fn serde_parses_and_writes(bencher: Bencher<'_, '_>) {
    let body = body();
    bencher.counter(BytesCount::of_slice(&body)).bench(|| {
        let mut value: Value = serde_json::from_slice(&body).expect("a sound body");
        value["model"] = Value::from("gpt-5.1");
        serde_json::to_vec(&value)
    });
}
