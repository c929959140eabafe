//! Fixtures of the two chat dialects × targets, compared with snapshots beside the fixtures.
//! `INSTA_UPDATE=always` rewrites them; look at the difference before you commit it.

use std::path::{Path, PathBuf};

use insta::{assert_snapshot, with_settings};
use llmproxy::dialects::loss::Losses;
use llmproxy::dialects::sse::Splitter;
use llmproxy::dialects::{Dialect, Operation, ReplyContext, RequestHint, Target, codec};
use llmproxy::providers::{self, Outgoing};
use serde_json::Value;

/// Each target once with what makes it different: model generation or vendor.
const TARGETS: [(Dialect, &str, &str); 6] = [
    (Dialect::Anthropic, "anthropic", "claude-haiku-4-5"),
    (Dialect::Anthropic, "anthropic", "claude-opus-5-5"),
    (Dialect::OpenAiChat, "deepseek", "deepseek-chat"),
    (Dialect::OpenAiChat, "mistral", "mistral-large"),
    (Dialect::OpenAiChat, "openai", "gpt-5.1"),
    (
        Dialect::OpenAiChat,
        "openrouter",
        "anthropic/claude-sonnet-4.5",
    ),
];

fn folder(dialect: Dialect) -> PathBuf {
    let name = match dialect {
        Dialect::Anthropic => "anthropic",
        Dialect::Gemini => "gemini",
        Dialect::OpenAiChat => "openai_chat",
        Dialect::OpenAiResponses => "openai_responses",
    };
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(name)
}

fn read(dialect: Dialect, name: &str) -> Vec<u8> {
    std::fs::read(folder(dialect).join(name)).expect("the fixture is there")
}

fn compare(dialect: Dialect, name: &str, text: &str) {
    with_settings!({
        snapshot_path => folder(dialect).join("snapshots"),
        prepend_module_to_snapshot => false,
        omit_expression => true,
    }, {
        assert_snapshot!(name, text);
    });
}

fn pretty(json: &[u8]) -> String {
    let value: Value = serde_json::from_slice(json).expect("JSON");
    serde_json::to_string_pretty(&value).expect("a value can be written")
}

fn context() -> ReplyContext {
    ReplyContext {
        model: "provider/model".to_owned(),
        created: 1,
        id_seed: 1,
        include_usage: true,
        request: None,
    }
}

fn other(dialect: Dialect) -> Dialect {
    match dialect {
        Dialect::Anthropic => Dialect::OpenAiChat,
        _ => Dialect::Anthropic,
    }
}

#[test]
fn requests_reach_every_target_as_before() {
    for (from, fixture) in [
        (Dialect::Anthropic, "claude_code"),
        (Dialect::OpenAiChat, "agent"),
    ] {
        let body = read(from, &format!("{fixture}.request.json"));
        let request = codec(from)
            .read_request(&body, RequestHint::default())
            .expect("the fixture is a request");
        for (to, provider, model) in TARGETS {
            let mut losses = Losses::default();
            let sent = codec(to)
                .write_request(&request, &Target::new(provider, model), &mut losses)
                .expect("the request can be sent");
            let outgoing = Outgoing::new(Operation::Chat, to, model);
            let vendor = providers::find(provider).expect("a vendor");
            let sent = vendor.adapt(sent.into(), &outgoing);
            let plain = model.replace(['/', '.'], "-");
            let text = format!("lost: {losses}\n{}", pretty(&sent));
            compare(from, &format!("{fixture}.{provider}.{plain}"), &text);
        }
    }
}

#[test]
fn replies_reach_the_other_dialect_as_before() {
    for (from, fixture) in [
        (Dialect::Anthropic, "thinking"),
        (Dialect::OpenAiChat, "tools"),
    ] {
        let body = read(from, &format!("{fixture}.reply.json"));
        let reply = codec(from)
            .read_reply(&body)
            .expect("the fixture is an answer");
        let mut losses = Losses::default();
        let written = codec(other(from)).write_reply(&reply, &context(), &mut losses);
        let text = format!("lost: {losses}\n{}", pretty(&written));
        compare(from, &format!("{fixture}.reply"), &text);
    }
}

#[test]
fn streams_reach_the_other_dialect_as_before_however_they_are_cut() {
    for (from, fixture) in [
        (Dialect::Anthropic, "thinking"),
        (Dialect::OpenAiChat, "side_by_side"),
    ] {
        let body = read(from, &format!("{fixture}.sse"));
        let whole = translate(from, &[&body]);
        compare(from, &format!("{fixture}.stream"), &whole);
        for at in (0..body.len()).step_by(7) {
            let (head, tail) = body.split_at(at);
            assert_eq!(translate(from, &[head, tail]), whole, "cut at {at}");
        }
    }
}

/// The stream in the other dialect, read from these pieces.
fn translate(from: Dialect, pieces: &[&[u8]]) -> String {
    let mut splitter = Splitter::default();
    let mut reader = codec(from).stream_reader();
    let mut writer = codec(other(from)).stream_writer(context());
    let (mut events, mut out) = (Vec::new(), Vec::new());
    for piece in pieces {
        splitter.push(piece.to_vec().into());
        while let Some(frame) = splitter.next() {
            let frame = frame.expect("a frame of usual size");
            if !frame.is_comment_only() {
                reader
                    .read(frame.event(), &frame.data(), &mut events)
                    .expect("the fixture is a stream");
            }
        }
    }
    reader.finish(&mut events).expect("the fixture is whole");
    for event in &events {
        writer.write(event, &mut out);
    }
    writer.finish(&mut out);
    String::from_utf8(out).expect("streams are UTF-8")
}
