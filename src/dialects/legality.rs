//! State machines that check streams in tests: what a client's SDK would choke on fails here.

use std::collections::BTreeMap;

use serde_json::Value;

/// What a legal stream said, put together the way a client does.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Said {
    pub(super) text: String,
    pub(super) thinking: String,
    /// Name and arguments of each call, in order.
    pub(super) calls: Vec<(String, String)>,
    /// The dialect's own word.
    pub(super) stop: Option<String>,
    /// The error that ended it.
    pub(super) error: Option<String>,
    /// The usage object, as written.
    pub(super) usage: Value,
}

/// The events of a stream: name and data. Panics on frames that are no proper events.
fn frames(stream: &[u8]) -> Vec<(String, String)> {
    let text = std::str::from_utf8(stream).expect("UTF-8");
    assert!(
        text.is_empty() || text.ends_with("\n\n"),
        "a frame is not closed: {text}"
    );
    text.split("\n\n")
        .filter(|frame| !frame.is_empty())
        .map(|frame| {
            let (mut name, mut data) = (String::new(), None);
            for line in frame.split('\n') {
                if let Some(value) = line.strip_prefix("event: ") {
                    name = value.to_owned();
                } else if let Some(value) = line.strip_prefix("data: ") {
                    assert!(data.is_none(), "two data lines: {frame}");
                    data = Some(value.to_owned());
                } else {
                    panic!("an odd line: {line}");
                }
            }
            (name, data.expect("a data line"))
        })
        .collect()
}

fn parse(data: &str) -> Value {
    serde_json::from_str(data).expect("JSON")
}

fn str_of<'v>(value: &'v Value, path: &str) -> &'v str {
    value
        .pointer(path)
        .and_then(Value::as_str)
        .unwrap_or_else(|| panic!("no {path} in {value}"))
}

/// Checks an Anthropic stream: `message_start`, blocks that follow each other with rising indexes
/// and deltas of their own kind, `message_delta`, `message_stop`; or an error as the last event.
pub(super) fn anthropic(stream: &[u8]) -> Said {
    let mut said = Said::default();
    let mut place = "before";
    let mut open: Option<(u64, String)> = None;
    let mut next = 0;
    for (name, data) in frames(stream) {
        let event = parse(&data);
        assert_eq!(name, str_of(&event, "/type"));
        assert!(said.error.is_none(), "something follows an error: {event}");
        match name.as_str() {
            "error" => {
                assert_ne!(place, "over", "an error after the end");
                said.error = Some(str_of(&event, "/error/message").to_owned());
                str_of(&event, "/error/type");
            }
            "ping" => assert_ne!(place, "before"),
            "message_start" => {
                assert_eq!(place, "before");
                place = "content";
                assert_eq!(
                    event.pointer("/message/content"),
                    Some(&Value::Array(Vec::new()))
                );
                assert!(str_of(&event, "/message/id").starts_with("msg_"));
                assert!(event.pointer("/message/usage/input_tokens").is_some());
            }
            "content_block_start" => {
                assert_eq!((place, &open), ("content", &None));
                assert_eq!(event["index"], next);
                let kind = str_of(&event, "/content_block/type").to_owned();
                if kind == "tool_use" {
                    assert_eq!(
                        event.pointer("/content_block/input"),
                        Some(&Value::Object(serde_json::Map::new()))
                    );
                    let id = str_of(&event, "/content_block/id");
                    assert!(
                        !id.is_empty()
                            && id
                                .bytes()
                                .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-'),
                        "{id}"
                    );
                    said.calls.push((
                        str_of(&event, "/content_block/name").to_owned(),
                        String::new(),
                    ));
                }
                open = Some((next, kind));
                next += 1;
            }
            "content_block_delta" => {
                let (index, kind) = open.as_ref().expect("a delta outside a block");
                assert_eq!(event["index"], *index);
                match (kind.as_str(), str_of(&event, "/delta/type")) {
                    ("text", "text_delta") => said.text += str_of(&event, "/delta/text"),
                    ("text", "citations_delta") => {}
                    ("thinking", "thinking_delta") => {
                        said.thinking += str_of(&event, "/delta/thinking");
                    }
                    ("thinking", "signature_delta") => {
                        str_of(&event, "/delta/signature");
                    }
                    ("tool_use", "input_json_delta") => {
                        said.calls.last_mut().expect("a call").1 +=
                            str_of(&event, "/delta/partial_json");
                    }
                    (kind, delta) => panic!("{delta} in a {kind} block"),
                }
            }
            "content_block_stop" => {
                let (index, _) = open.take().expect("a stop outside a block");
                assert_eq!(event["index"], index);
            }
            "message_delta" => {
                assert_eq!((place, &open), ("content", &None));
                place = "stopped";
                said.stop = Some(str_of(&event, "/delta/stop_reason").to_owned());
                said.usage = event["usage"].clone();
            }
            "message_stop" => {
                assert_eq!(place, "stopped");
                place = "over";
            }
            other => panic!("unknown event {other}"),
        }
    }
    assert!(
        said.error.is_some() || place == "over",
        "the stream just ends"
    );
    said
}

/// Checks an OpenAI stream: a role chunk first, one reason per choice and nothing after it, usage
/// only where asked for, `[DONE]` last; or an error as the last frame and no `[DONE]`.
pub(super) fn openai(stream: &[u8], wants_usage: bool) -> Said {
    let mut said = Said::default();
    let mut calls: BTreeMap<u64, (String, String)> = BTreeMap::new();
    let (mut has_role, mut is_done) = (false, false);
    let mut identity: Option<(Value, Value, Value)> = None;
    for (name, data) in frames(stream) {
        assert_eq!(name, "", "this dialect names no events");
        assert!(
            !is_done && said.error.is_none(),
            "something follows the end: {data}"
        );
        if data == "[DONE]" {
            is_done = true;
            continue;
        }
        let chunk = parse(&data);
        if chunk.get("error").is_some() {
            said.error = Some(str_of(&chunk, "/error/message").to_owned());
            continue;
        }
        assert_eq!(chunk["object"], "chat.completion.chunk");
        let same = (
            chunk["id"].clone(),
            chunk["created"].clone(),
            chunk["model"].clone(),
        );
        assert_eq!(identity.get_or_insert_with(|| same.clone()), &same);
        assert_eq!(chunk.get("usage").is_some(), wants_usage, "{chunk}");
        let choices = chunk["choices"].as_array().expect("choices");
        if choices.is_empty() {
            assert!(
                wants_usage && said.stop.is_some(),
                "usage comes after the reason"
            );
            said.usage = chunk["usage"].clone();
            continue;
        }
        let delta = &choices[0]["delta"];
        assert!(said.stop.is_none(), "a delta after the reason: {chunk}");
        if !std::mem::replace(&mut has_role, true) {
            assert_eq!(delta["role"], "assistant");
        }
        said.text += delta["content"].as_str().unwrap_or_default();
        said.thinking += delta["reasoning_content"].as_str().unwrap_or_default();
        for call in delta["tool_calls"].as_array().into_iter().flatten() {
            let index = call["index"].as_u64().expect("an index");
            let is_head = call.get("id").is_some();
            assert_eq!(
                is_head,
                !calls.contains_key(&index),
                "one head a call: {chunk}"
            );
            let entry = calls.entry(index).or_default();
            if is_head {
                assert_ne!(call["id"], "");
                entry.0 = str_of(call, "/function/name").to_owned();
            }
            entry.1 += call
                .pointer("/function/arguments")
                .and_then(Value::as_str)
                .unwrap_or_default();
        }
        if let Some(reason) = choices[0]["finish_reason"].as_str() {
            said.stop = Some(reason.to_owned());
        }
    }
    assert!(
        calls.keys().copied().eq(0..calls.len() as u64),
        "indexes count from 0"
    );
    said.calls = calls.into_values().collect();
    if said.error.is_none() {
        assert!(is_done && said.stop.is_some(), "the stream just ends");
        assert_eq!(said.usage.is_object(), wants_usage);
    } else {
        assert!(!is_done, "an error must not look like success");
    }
    said
}
