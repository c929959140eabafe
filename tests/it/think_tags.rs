//! `think_tags = true`: reasoning that a server leaves in the text reaches every client as reasoning.

use serde_json::{Value, json};

use crate::client::{CHAT, Request, STREAM};
use crate::fake::openai;
use crate::fake::reply::Reply;
use crate::fake::script::Script;
use crate::fake::upstream::Upstream;
use crate::harness::{Gateway, keys, provider};

/// A tag in a code block stays; the last one never ends.
const TEXT: &str = "<think>plan `</b`</THINK>a < b:\n```\n<think>stays</think>\n```\n<think>open";
const SAID: &str = "a < b:\n```\n<think>stays</think>\n```\n";
const THOUGHT: &str = "plan `</b`open";

async fn pair(script: Script) -> (Upstream, Gateway) {
    let upstream = Upstream::start(script).await;
    let config = provider("fake", &upstream, &keys(1)) + "think_tags = true\n";
    let gateway = Gateway::start(&config).await;
    assert!(!gateway.stderr().contains("think_tags"), "it has an effect");
    (upstream, gateway)
}

/// All texts under a member anywhere in a stream's events, joined.
fn joined(stream: &str, pointer: &str) -> String {
    let data = stream
        .lines()
        .filter_map(|line| line.strip_prefix("data: "));
    data.filter_map(|data| serde_json::from_str::<Value>(data).ok())
        .filter_map(|event| Some(event.pointer(pointer)?.as_str()?.to_owned()))
        .collect()
}

#[tokio::test]
async fn every_cut_of_a_stream_gives_an_openai_client_the_same() {
    let cuts: Vec<Reply> = (1..TEXT.len())
        .map(|at| openai::stream(&[&TEXT[..at], &TEXT[at..]]))
        .collect();
    let count = cuts.len();
    let (_upstream, gateway) = pair(Script::new().others_once(cuts)).await;
    for at in 0..count {
        let answer = gateway.chat(STREAM).await;
        let text = answer.text();
        let content = joined(&text, "/choices/0/delta/content");
        let reasoning = joined(&text, "/choices/0/delta/reasoning_content");
        assert_eq!(
            (content.as_str(), reasoning.as_str()),
            (SAID, THOUGHT),
            "{at}: {text}"
        );
        assert!(text.ends_with(openai::DONE) && answer.complete, "{text}");
    }
}

#[tokio::test]
async fn frames_without_a_tag_pass_byte_for_byte() {
    let frames = openai::frames(&["h", "`é", "🦀 < ", "a"]);
    let (_upstream, gateway) = pair(Script::always(Reply::sse(frames.clone()))).await;
    assert_eq!(gateway.chat(STREAM).await.text(), frames.concat());
}

#[tokio::test]
async fn whole_answers_keep_all_but_the_tags() {
    let (_upstream, gateway) = pair(Script::always(openai::completion(TEXT))).await;
    let answer = gateway.chat(CHAT).await.text();
    let message: Value = serde_json::from_str(&answer).expect("JSON");
    let message = &message["choices"][0]["message"];
    assert_eq!(message["content"], SAID);
    assert_eq!(message["reasoning_content"], THOUGHT);
    for kept in ["\"x_vendor\":[1.50,1e3]", "123456789012345678901234567890"] {
        assert!(answer.contains(kept), "{answer}");
    }
}

#[tokio::test]
async fn other_dialects_get_it_as_their_own_reasoning() {
    let (_upstream, gateway) = pair(Script::new().others([
        openai::stream(&["<thi", "nk>why</think>that"]),
        openai::completion("<think>why</think>that"),
    ]))
    .await;
    let user = json!([{"role": "user", "content": "hi"}]);
    let ask = |stream: bool| {
        json!({"model": "fake/m1", "max_tokens": 99, "messages": user, "stream": stream})
            .to_string()
    };
    let anthropic = Request::post("/v1/messages", ask(true));
    let stream = gateway.send(&anthropic).await.text();
    assert_eq!(joined(&stream, "/delta/thinking"), "why", "{stream}");
    assert_eq!(joined(&stream, "/delta/text"), "that", "{stream}");
    let answer = gateway
        .send(&Request::post("/v1/messages", ask(false)))
        .await;
    let content = &answer.json()["content"];
    assert_eq!(content[0]["thinking"], "why", "{content}");
    assert_eq!(content[1]["text"], "that", "{content}");

    let body = json!({"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}).to_string();
    let target = "/v1beta/models/fake/m1:streamGenerateContent?alt=sse";
    let stream = gateway
        .send(&Request::post(target, body.clone()))
        .await
        .text();
    let said = joined(&stream, "/candidates/0/content/parts/0/text");
    assert!(said.contains("why") && said.contains("that"), "{stream}");
    assert!(stream.contains("\"thought\":true"), "{stream}");
    gateway.send(&Request::post(target, body.clone())).await;

    let body = json!({"model": "fake/m1", "input": "hi", "stream": true}).to_string();
    let stream = gateway
        .send(&Request::post("/v1/responses", body))
        .await
        .text();
    assert!(
        stream.contains("response.reasoning") && !stream.contains("think>"),
        "{stream}"
    );
}

#[tokio::test]
async fn an_answer_in_the_other_form_is_split_too() {
    let (_upstream, gateway) = pair(Script::new().others([
        openai::stream(&["<think>why</th", "ink>that"]),
        openai::completion("<think>why</think>that"),
    ]))
    .await;
    let whole = gateway.chat(CHAT).await.json();
    let message = &whole["choices"][0]["message"];
    assert_eq!(message["content"], "that", "{whole}");
    assert_eq!(message["reasoning_content"], "why", "{whole}");
    let stream = gateway.chat(STREAM).await.text();
    assert_eq!(
        joined(&stream, "/choices/0/delta/content"),
        "that",
        "{stream}"
    );
    assert_eq!(joined(&stream, "/choices/0/delta/reasoning_content"), "why");
}
