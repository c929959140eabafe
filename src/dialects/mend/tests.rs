//! Streams and whole answers of made-up vendors, before and after.

use serde_json::{Value, json};

use super::*;
use crate::dialects::sse::Splitter;

const THINK: Mending = Mending {
    think_tags: true,
    hidden_tool: None,
    tidies: false,
    joins_usage: false,
    keeps_thoughts: false,
};

const ALL: Mending = Mending {
    think_tags: true,
    hidden_tool: Some("do_not_call_me"),
    tidies: true,
    joins_usage: false,
    keeps_thoughts: true,
};

fn mended(mending: Mending, stream: &str) -> String {
    let mut mender = Mender::new(mending);
    let mut splitter = Splitter::new();
    splitter.push(Bytes::copy_from_slice(stream.as_bytes()));
    let mut out = VecDeque::new();
    while let Some(frame) = splitter.next() {
        mender.frame(frame.expect("short"), &mut out);
    }
    if let Some(frame) = splitter.finish() {
        mender.frame(frame, &mut out);
    }
    mender.finish(&mut out);
    let bytes: Vec<u8> = out.iter().flat_map(|frame| frame.raw.to_vec()).collect();
    String::from_utf8(bytes).expect("UTF-8")
}

fn deltas(stream: &str) -> Vec<Value> {
    let mut found = Vec::new();
    for line in stream.lines() {
        let Some(data) = line.strip_prefix("data:") else {
            continue;
        };
        if let Ok(chunk) = serde_json::from_str::<Value>(data) {
            found.push(chunk["choices"][0].clone());
        }
    }
    found
}

fn joined(stream: &str, member: &str) -> String {
    let deltas = deltas(stream);
    let texts = deltas.iter().map(|choice| &choice["delta"][member]);
    texts.filter_map(Value::as_str).collect()
}

fn chunk(delta: &str) -> String {
    format!("data: {{\"id\":\"c\",\"x\":1e2,\"choices\":[{{\"index\":0,\"delta\":{delta}}}]}}\n\n")
}

fn whole(mending: Mending, body: &Value) -> Value {
    let mut mender = Mender::new(mending);
    let body = mender.whole(Bytes::from(body.to_string()));
    serde_json::from_slice(&body).expect("JSON")
}

#[test]
fn an_answer_in_order_passes_byte_for_byte() {
    // Late usage, as Qwen's portal sends it.
    let stream = concat!(
        ": hello\n\n",
        "data: {\"id\":\"c1\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"Hel\"},\"finish_reason\":null}]}\n\n",
        "data:{ \"id\":\"c1\", \"choices\":[{\"index\":0,\"delta\":{\"content\":\"l\\u006f\"},\"finish_reason\":\"stop\"}]}\r\n\r\n",
        "data: {\"id\":\"c1\",\"choices\":[],\"usage\":{\"prompt_tokens\":11}}\n\n",
        "data: nonsense\n\n",
        "data: [DONE]\n\n",
    );
    assert_eq!(mended(ALL, stream), stream);
    let joins = Mending {
        joins_usage: true,
        ..ALL
    };
    let joined = mended(joins, stream);
    let end = concat!(
        "data: {\"id\":\"c1\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"l\\u006f\"},\"finish_reason\":null}]}\n\n",
        "data: {\"id\":\"c1\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":11}}\n\n",
        "data: nonsense\n\n",
        "data: [DONE]\n\n",
    );
    assert!(joined.ends_with(end), "{joined}");
}

#[test]
fn a_tag_across_chunks_becomes_reasoning_and_the_call_stays() {
    let mut stream = String::new();
    for text in [
        "<thi",
        "nk>I should l",
        "ook.</th",
        "ink>Let me check",
        " 1 < 2.",
    ] {
        stream.push_str(&chunk(&json!({ "content": text }).to_string()));
    }
    let call = concat!(
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"call_a\",\"type\":\"function\",\"function\":{\"name\":\"ls\",\"arguments\":\"\"}}]}}]}\n\n",
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"{\\\"p\\\":\\\".\\\"}\"}}]},\"finish_reason\":\"tool_calls\"}]}\n\n",
    );
    stream.push_str(call);
    let mended = mended(ALL, &stream);
    assert_eq!(joined(&mended, "reasoning_content"), "I should look.");
    assert_eq!(joined(&mended, "content"), "Let me check 1 < 2.");
    assert!(mended.ends_with(call), "{mended}");
    assert!(mended.contains("\"x\":1e2"), "{mended}");
}

#[test]
fn one_chunk_may_become_several_in_order() {
    let stream = "data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"a<think>b</think>c\"},\"logprobs\":{},\"finish_reason\":\"stop\"}],\"usage\":{\"n\":1}}\n\n";
    let mended = mended(THINK, stream);
    let expected = concat!(
        "data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"a\"},\"logprobs\":{},\"finish_reason\":null}]}\n\n",
        "data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{\"reasoning_content\":\"b\"},\"finish_reason\":null}]}\n\n",
        "data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"c\"},\"finish_reason\":\"stop\"}],\"usage\":{\"n\":1}}\n\n",
    );
    assert_eq!(mended, expected);
}

#[test]
fn held_text_comes_out_at_the_finish_and_at_the_end() {
    let held = chunk(r#"{"content":"a <thi"}"#);
    let finish = "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
    for end in [finish, "data: [DONE]\n\n", ""] {
        let mended = mended(THINK, &format!("{held}{end}"));
        assert_eq!(joined(&mended, "content"), "a <thi", "{mended}");
    }
    let ended = mended(THINK, &format!("{held}data: [DONE]\n\n"));
    assert!(ended.ends_with("data: [DONE]\n\n"), "{ended}");
}

#[test]
fn choices_are_kept_apart() {
    let stream = concat!(
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"<think>\"}},{\"index\":1,\"delta\":{\"content\":\"b\"}}]}\n\n",
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"}},{\"index\":1,\"delta\":{\"content\":\"b\"}}]}\n\n",
    );
    let mended = mended(THINK, stream);
    let expected = concat!(
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"\"}},{\"index\":1,\"delta\":{\"content\":\"b\"}}]}\n\n",
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"reasoning_content\":\"a\"}},{\"index\":1,\"delta\":{\"content\":\"b\"}}]}\n\n",
    );
    assert_eq!(mended, expected);
}

#[test]
fn a_finish_of_stop_after_calls_becomes_tool_calls_and_the_thoughts_are_kept() {
    let stream = concat!(
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"reasoning_content\":\"need time\"}}]}\n\n",
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"t1\",\"type\":\"function\",\"function\":{\"name\":\"now\",\"arguments\":\"{}\"}}]}}]}\n\n",
        "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":20}}\n\n",
    );
    let mut mender = Mender::new(ALL);
    let mut splitter = Splitter::new();
    splitter.push(Bytes::from_static(stream.as_bytes()));
    let mut out = VecDeque::new();
    while let Some(frame) = splitter.next() {
        mender.frame(frame.expect("short"), &mut out);
    }
    let last = out.back().expect("a frame").data().into_owned();
    let last: Value = serde_json::from_slice(&last).expect("JSON");
    assert_eq!(last["choices"][0]["finish_reason"], "tool_calls");
    assert_eq!(last["usage"]["prompt_tokens"], 20);
    let thoughts = Thoughts {
        calls: vec!["t1".to_owned()],
        reasoning: "need time".to_owned(),
    };
    assert_eq!(mender.thoughts(), [thoughts]);
    assert_eq!(mender.thoughts(), [], "given out once");
}

#[test]
fn calls_of_the_hidden_tool_are_taken_out() {
    let stream = concat!(
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"h\",\"function\":{\"name\":\"do_not_call_me\",\"arguments\":\"\"}}]}}]}\n\n",
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"{}\"}}]}}]}\n\n",
        "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"tool_calls\"}]}\n\n",
    );
    let hidden = mended(ALL, stream);
    assert!(!hidden.contains("tool_calls"), "{hidden}");
    assert!(hidden.contains("\"finish_reason\":\"stop\""), "{hidden}");
    let beside = stream.replace(
        "\"delta\":{},",
        "\"delta\":{\"tool_calls\":[{\"index\":1,\"id\":\"c\",\"function\":{\"name\":\"ls\",\"arguments\":\"{}\"}}]},",
    );
    let beside = mended(ALL, &beside);
    assert!(!beside.contains("do_not_call_me"), "{beside}");
    assert!(
        beside.contains("\"finish_reason\":\"tool_calls\""),
        "{beside}"
    );
}

/// The calls as a client joins them: id, name and arguments under each index.
fn calls(stream: &str) -> Vec<(u64, String, String, String)> {
    let mut calls: Vec<(u64, String, String, String)> = Vec::new();
    for choice in deltas(stream) {
        for piece in choice["delta"]["tool_calls"]
            .as_array()
            .into_iter()
            .flatten()
        {
            let index = piece["index"].as_u64().expect("an index");
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            if !calls.iter().any(|call| call.0 == index) {
                calls.push((index, String::new(), String::new(), String::new()));
            }
            let call = calls
                .iter_mut()
                .find(|call| call.0 == index)
                .expect("there");
            call.1.push_str(&text(&piece["id"]));
            call.2.push_str(&text(&piece["function"]["name"]));
            call.3.push_str(&text(&piece["function"]["arguments"]));
        }
    }
    calls
}

#[test]
fn calls_become_what_clients_can_read() {
    let stream = |pieces: &[Value], finish: &str| {
        let mut stream = String::new();
        for piece in pieces {
            stream.push_str(&chunk(&json!({ "tool_calls": [piece] }).to_string()));
        }
        let end = json!({"choices": [{"index": 0, "delta": {}, "finish_reason": finish}]});
        format!("{stream}data: {end}\n\n")
    };
    let piece = |index: u64, id: &str, name: &str, arguments: &str| {
        let function = json!({"name": name, "arguments": arguments});
        json!({"index": index, "id": id, "type": "function", "function": function})
    };
    let more = |arguments: &str| json!({"index": 0, "function": {"arguments": arguments}});
    for (about, pieces, expected) in [
        (
            "two calls under one index",
            vec![
                piece(0, "a", "ls", "{\"p\":1}"),
                piece(0, "b", "cat", "{\"q\""),
                more(":2}"),
            ],
            vec![("a", "ls", "{\"p\":1}"), ("b", "cat", "{\"q\":2}")],
        ),
        (
            "two calls in turns under one index",
            vec![
                piece(0, "a", "ls", ""),
                piece(0, "b", "cat", ""),
                piece(0, "a", "", "{}"),
                piece(0, "b", "", "{\"q\":2}"),
            ],
            vec![("a", "ls", "{}"), ("b", "cat", "{\"q\":2}")],
        ),
        (
            "id and name in every chunk",
            vec![piece(0, "a", "ls", "{\"p\""), piece(0, "a", "ls", ":1}")],
            vec![("a", "ls", "{\"p\":1}")],
        ),
        (
            "an id of its own in every chunk",
            vec![piece(0, "a", "ls", "{\"p\""), piece(0, "b", "", ":1}")],
            vec![("a", "ls", "{\"p\":1}")],
        ),
        (
            "arguments twice",
            vec![piece(0, "a", "ls", "{\"p\":1}"), more("{\"p\":1}")],
            vec![("a", "ls", "{\"p\":1}")],
        ),
        (
            "no arguments",
            vec![piece(0, "a", "ls", ""), piece(1, "b", "ls", " ")],
            vec![("a", "ls", "{}"), ("b", "ls", " {}")],
        ),
        (
            "arguments left open",
            vec![piece(0, "a", "ls", "{\"p\":[\"x")],
            vec![("a", "ls", "{\"p\":[\"x\"]}")],
        ),
        (
            "an index that does not begin at the beginning",
            vec![piece(3, "a", "ls", "{}")],
            vec![("a", "ls", "{}")],
        ),
    ] {
        let mended = mended(ALL, &stream(&pieces, "tool_calls"));
        let expected: Vec<_> = (0..)
            .zip(expected)
            .map(|(at, (id, name, arguments))| {
                (at, id.to_owned(), name.to_owned(), arguments.to_owned())
            })
            .collect();
        assert_eq!(calls(&mended), expected, "{about}: {mended}");
    }
    let cut = mended(
        ALL,
        &stream(&[piece(0, "a", "ls", "{\"p\":[\"x")], "length"),
    );
    assert_eq!(calls(&cut)[0].3, "{\"p\":[\"x", "a cut answer looks cut");
}

#[test]
fn a_call_without_an_id_gets_one() {
    let piece = r#"{"tool_calls":[{"index":0,"function":{"name":"ls","arguments":"{}"}}]}"#;
    let first = calls(&mended(ALL, &chunk(piece)));
    let second = calls(&mended(ALL, &chunk(piece)));
    assert!(first[0].1.starts_with("call_"), "{first:?}");
    assert_ne!(first, second, "unlike those of other answers");
    let call = json!({"function": {"name": "ls", "arguments": ""}});
    let body = json!({"choices": [{"message": {"tool_calls": [call]}, "finish_reason": "stop"}]});
    let mended = whole(ALL, &body);
    let call = &mended["choices"][0]["message"]["tool_calls"][0];
    assert!(
        call["id"]
            .as_str()
            .is_some_and(|id| id.starts_with("call_")),
        "{mended}"
    );
    assert_eq!(call["function"]["arguments"], "{}");
}

#[test]
fn usage_without_counts_and_repeated_reasoning_go() {
    let stream = concat!(
        "data:{\"id\":\"x\",\"choices\":[{\"index\":0,\"delta\":{\"reasoning_content\":\"greet\",\"reasoning_details\":[{\"text\":\"greet\"}]}}]}\n\n",
        "data: {\"id\":\"x\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}],\"usage\":{ }}\n\n",
        "data:[DONE]\n\n",
    );
    let expected = concat!(
        "data: {\"id\":\"x\",\"choices\":[{\"index\":0,\"delta\":{\"reasoning_content\":\"greet\"}}]}\n\n",
        "data: {\"id\":\"x\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n",
        "data:[DONE]\n\n",
    );
    assert_eq!(mended(ALL, stream), expected);
    assert_eq!(mended(THINK, stream), stream);
}

#[test]
fn whole_answers_are_mended_alike() {
    let body = json!({
        "id": "c",
        "choices": [{
            "index": 0,
            "message": {
                "role": "assistant",
                "reasoning_content": "native, ",
                "content": "<think>why</think>\nthat",
                "tool_calls": [
                    {"id": "h", "function": {"name": "do_not_call_me", "arguments": "{}"}},
                    {"id": "t", "function": {"name": "ls", "arguments": "{}"}},
                ],
            },
            "finish_reason": "stop",
        }],
        "usage": {},
    });
    let expected = json!({
        "id": "c",
        "choices": [{
            "index": 0,
            "message": {
                "role": "assistant",
                "reasoning_content": "native, why",
                "content": "\nthat",
                "tool_calls": [{"id": "t", "function": {"name": "ls", "arguments": "{}"}}],
            },
            "finish_reason": "tool_calls",
        }],
    });
    assert_eq!(whole(ALL, &body), expected);
    let lone = json!({"choices": [{"message": {"content": "why</think>that"}}]});
    let mended = whole(THINK, &lone);
    assert_eq!(mended["choices"][0]["message"]["content"], "that");
    assert_eq!(mended["choices"][0]["message"]["reasoning_content"], "why");
}

#[test]
fn a_whole_answer_without_anything_to_do_is_not_copied() {
    let mut mender = Mender::new(ALL);
    for body in [
        r#"{ "choices":[{"message":{"content":"a < b"},"finish_reason":"stop"}],"usage":{"n":1e3}}"#,
        "no JSON",
        "{}",
    ] {
        let body = Bytes::from_static(body.as_bytes());
        let same = mender.whole(body.clone());
        assert_eq!((same.as_ptr(), same.len()), (body.as_ptr(), body.len()));
    }
}

#[test]
fn however_the_text_is_cut_into_chunks_the_sums_are_the_same() {
    let text = "<think>a`b</think>\n```\n<think>c</think>\n``` d <think>e";
    for at in 0..=text.len() {
        let (left, right) = text.split_at(at);
        let stream: String = [left, right]
            .iter()
            .map(|part| chunk(&json!({ "content": part }).to_string()))
            .collect();
        let mended = mended(THINK, &stream);
        let content = joined(&mended, "content");
        assert_eq!(content, "\n```\n<think>c</think>\n``` d ", "{at}");
        assert_eq!(joined(&mended, "reasoning_content"), "a`be", "{at}");
    }
}

#[test]
fn nothing_from_outside_panics() {
    for stream in [
        "data: {\"choices\":7}\n\n",
        "data: {\"choices\":[7,{\"index\":-1,\"delta\":[]},{\"index\":4000000000,\"delta\":{\"content\":\"<think>\"}}]}\n\n",
        "data: {\"choices\":[{\"delta\":{\"content\":[{\"text\":\"<think>\"}],\"tool_calls\":{}}}]}\n\n",
        "data: {\"choices\":[{\"delta\":{\"tool_calls\":[null,{\"function\":7}]},\"finish_reason\":3}],\"usage\":[]}\n\n",
    ] {
        assert_eq!(mended(ALL, stream), stream);
    }
}
