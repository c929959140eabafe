//! The codecs: whatever a client or an upstream sends is read or refused, and what is written from
//! it is JSON.

use bytes::Bytes;
use llmproxy::dialects::anthropic::Anthropic;
use llmproxy::dialects::completions::Completions;
use llmproxy::dialects::gemini::Gemini;
use llmproxy::dialects::loss::Losses;
use llmproxy::dialects::openai_chat::OpenAiChat;
use llmproxy::dialects::openai_responses::OpenAiResponses;
use llmproxy::dialects::sse::Splitter;
use llmproxy::dialects::{Codec, ReplyContext, RequestHint, Target};
use serde::de::IgnoredAny;

const CODECS: [&dyn Codec; 5] = [
    &Gemini,
    &OpenAiChat,
    &Anthropic,
    &OpenAiResponses,
    &Completions,
];

const MODELS: [&str; 3] = ["gpt-5.1", "gemini-2.5-flash", "claude-sonnet-4-5"];

/// The first byte chooses: its low half the dialect and the model, its high half what the rest is (a
/// request, an answer or a stream) and the dialect it is written in.
pub(crate) fn check(data: &[u8]) {
    let Some((first, input)) = data.split_first() else {
        return;
    };
    let (low, high) = (usize::from(*first % 16), usize::from(*first / 16));
    let reader = CODECS[low % CODECS.len()];
    let writer = CODECS[high / 3 % CODECS.len()];
    match high % 3 {
        0 => request(reader, writer, MODELS[low / 5 % MODELS.len()], input),
        1 => reply(reader, writer, input),
        _ => stream(reader, writer, input),
    }
}

fn request(reader: &dyn Codec, writer: &dyn Codec, model: &str, input: &[u8]) {
    let hint = RequestHint {
        model: Some("m"),
        stream: Some(true),
    };
    let Ok(request) = reader.read_request(input, hint) else {
        return;
    };
    let target = Target::new("openai", model);
    // A request that cannot be sent at all is refused, which is no fault.
    if let Ok(body) = writer.write_request(&request, &target, &mut Losses::default()) {
        assert!(is_json(&body));
    }
}

fn reply(reader: &dyn Codec, writer: &dyn Codec, input: &[u8]) {
    if let Ok(reply) = reader.read_reply(input) {
        assert!(is_json(&writer.write_reply(
            &reply,
            &context(),
            &mut Losses::default()
        )));
    }
}

fn stream(reader: &dyn Codec, writer: &dyn Codec, input: &[u8]) {
    let mut splitter = Splitter::new();
    splitter.push(Bytes::copy_from_slice(input));
    let mut frames = Vec::new();
    while let Some(frame) = splitter.next() {
        frames.push(frame.expect("far below the limit"));
    }
    frames.extend(splitter.finish());
    let (mut reader, mut writer) = (reader.stream_reader(), writer.stream_writer(context()));
    let (mut events, mut out) = (Vec::new(), Vec::new());
    for frame in frames.iter().filter(|frame| !frame.is_comment_only()) {
        if reader
            .read(frame.event(), &frame.data(), &mut events)
            .is_err()
        {
            break;
        }
    }
    let _ = reader.finish(&mut events);
    for event in &events {
        writer.write(event, &mut out);
    }
    writer.finish(&mut out);
    let mut splitter = Splitter::new();
    splitter.push(Bytes::from(out));
    while let Some(frame) = splitter.next() {
        let frame = frame.expect("far below the limit");
        let data = frame.data();
        assert!(frame.is_comment_only() || data.starts_with(b"[DONE]") || is_json(&data));
    }
}

fn is_json(bytes: &[u8]) -> bool {
    serde_json::from_slice::<IgnoredAny>(bytes).is_ok()
}

fn context() -> ReplyContext {
    ReplyContext {
        model: "m".into(),
        created: 1_764_000_000,
        id_seed: 7,
        include_usage: true,
        request: None,
    }
}
