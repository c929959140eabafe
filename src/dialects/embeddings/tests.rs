//! Claims about embeddings; numbers refer to the cases of the wire-format notes.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::*;
use crate::dialects::error::{ErrorReply, ReadError};
use crate::dialects::loss::Losses;
use crate::dialects::{Dialect, RequestHint, Target};

fn gemini() -> Target<'static> {
    Target::new("gemini", "gemini-embedding-001")
}

fn openai(body: &serde_json::Value) -> Result<EmbeddingsRequest, ErrorReply> {
    let body = serde_json::to_vec(body).expect("JSON");
    EmbeddingsRequest::read(Dialect::OpenAiChat, &body, RequestHint::default())
}

fn parsed(body: &[u8]) -> serde_json::Value {
    serde_json::from_slice(body).expect("JSON")
}

#[test]
fn case_98_base64_holds_the_same_floats() {
    let request =
        openai(&json!({"model": "m", "input": "hi", "encoding_format": "base64"})).expect("fine");
    let upstream = br#"{"embeddings":[{"values":[0.25,-1.5,0.1]}]}"#;
    let reply = EmbeddingsReply::read(Dialect::Gemini, upstream, 1).expect("a vector");
    let answer = parsed(&request.write_reply(Dialect::OpenAiChat, &reply, "m"));
    let bytes = STANDARD
        .decode(answer["data"][0]["embedding"].as_str().expect("text"))
        .expect("base64");
    let mut expected = Vec::new();
    for x in [0.25_f32, -1.5, 0.1] {
        expected.extend(x.to_le_bytes());
    }
    assert_eq!(bytes, expected);
    assert_eq!(
        answer["usage"],
        json!({"prompt_tokens": 1, "total_tokens": 1})
    );
}

#[test]
fn case_99_many_inputs_go_in_batches_of_a_hundred_and_keep_their_order() {
    let inputs: Vec<_> = (0..250).map(|i| format!("t{i}")).collect();
    let request = openai(&json!({"model": "m", "input": inputs, "dimensions": 768})).expect("fine");
    let batches = request.batches(Dialect::Gemini);
    assert_eq!(batches, [0..100, 100..200, 200..250]);
    let mut losses = Losses::default();
    let mut whole = EmbeddingsReply::default();
    for batch in batches {
        let body = parsed(&request.write(Dialect::Gemini, &gemini(), batch.clone(), &mut losses));
        let sent = body["requests"].as_array().expect("a list");
        assert_eq!(sent[0]["model"], "models/gemini-embedding-001");
        assert_eq!(sent[0]["outputDimensionality"], 768);
        let vectors: Vec<_> = batch.clone().map(|i| json!({"values": [3.0, i]})).collect();
        let answer = serde_json::to_vec(&json!({"embeddings": vectors,
            "usageMetadata": {"promptTokenCount": 7}}))
        .expect("JSON");
        whole
            .append(EmbeddingsReply::read(Dialect::Gemini, &answer, batch.len()).expect("vectors"));
    }
    assert!(losses.is_empty());
    assert!(needs_normalising(
        "gemini-embedding-001",
        request.dimensions
    ));
    whole.normalise();
    let answer = parsed(&request.write_reply(Dialect::OpenAiChat, &whole, "smart"));
    assert_eq!(answer["model"], "smart");
    assert_eq!(answer["usage"]["prompt_tokens"], 21);
    let data = answer["data"].as_array().expect("a list");
    assert_eq!(data.len(), 250);
    for (i, entry) in data.iter().enumerate() {
        assert_eq!(entry["index"], i);
        let x = entry["embedding"][0].as_f64().expect("a number");
        let y = entry["embedding"][1].as_f64().expect("a number");
        assert!((x.hypot(y) - 1.0).abs() < 1e-6);
        #[expect(clippy::cast_precision_loss, reason = "small numbers")]
        let expected = i as f64 / 3.0;
        assert!((y / x - expected).abs() < 1e-3, "order is lost at {i}");
    }
}

#[test]
fn case_100_token_ids_and_empty_inputs_are_refused_by_name() {
    for input in [
        json!([1, 2]),
        json!([[1]]),
        json!([]),
        json!(""),
        json!(["a", ""]),
        json!({"a": 1}),
    ] {
        let refused = openai(&json!({"model": "m", "input": input})).expect_err("refused");
        assert_eq!(
            (refused.status, refused.param.as_deref()),
            (400, Some("input")),
            "{input}"
        );
    }
}

#[test]
fn a_gemini_client_gets_its_own_form_from_an_openai_upstream() {
    let body = br#"{"model":"models/x","content":{"parts":[{"text":"a"},{"text":"b"}]},
        "taskType":"CLUSTERING","outputDimensionality":2}"#;
    let hint = RequestHint {
        model: Some("openai/e3"),
        stream: None,
    };
    let request = EmbeddingsRequest::read(Dialect::Gemini, body, hint).expect("fine");
    let target = Target::new("openai", "e3");
    let mut losses = Losses::default();
    let sent = parsed(&request.write(Dialect::OpenAiChat, &target, 0..1, &mut losses));
    assert_eq!(
        sent,
        json!({"model": "e3", "input": ["ab"], "dimensions": 2, "encoding_format": "float"})
    );
    assert_eq!(losses.paths(), ["taskType"]);
    let answer =
        br#"{"data":[{"index":0,"embedding":"AACAPwAAAEA="}],"usage":{"prompt_tokens":3}}"#;
    let reply = EmbeddingsReply::read(Dialect::OpenAiChat, answer, 1).expect("a vector");
    assert_eq!(
        parsed(&request.write_reply(Dialect::Gemini, &reply, "m")),
        json!({"embedding": {"values": [1.0, 2.0]}, "usageMetadata": {"promptTokenCount": 3}})
    );
}

#[test]
fn a_gemini_batch_answers_with_a_batch() {
    let body = br#"{"requests":[{"content":{"parts":[{"text":"a"}]}},{"content":{"parts":[{"text":"b"}]}}]}"#;
    let request =
        EmbeddingsRequest::read(Dialect::Gemini, body, RequestHint::default()).expect("fine");
    assert_eq!(request.inputs, ["a", "b"]);
    let reply = EmbeddingsReply {
        vectors: vec![vec![0.5], vec![0.25]],
        usage: None,
    };
    assert_eq!(
        parsed(&request.write_reply(Dialect::Gemini, &reply, "m"))["embeddings"],
        json!([{"values": [0.5]}, {"values": [0.25]}])
    );
}

#[test]
fn answers_with_missing_vectors_are_no_success() {
    for body in [
        &b"{}"[..],
        br#"{"embeddings":[]}"#,
        br#"{"embeddings":[{"values":[]}]}"#,
    ] {
        assert_eq!(
            EmbeddingsReply::read(Dialect::Gemini, body, 1),
            Err(ReadError::Truncated)
        );
    }
    assert!(EmbeddingsReply::read(Dialect::Gemini, br#"{"error":{"code":400}}"#, 1).is_err());
}

#[test]
fn a_vendor_that_ignores_the_encoding_is_corrected() {
    let floats = br#"{"object":"list","data":[{"index":0,"embedding":[1.0,2.0]}],"x":1}"#;
    let coded = recode(floats, Encoding::Base64).expect("changed");
    assert_eq!(parsed(&coded)["data"][0]["embedding"], "AACAPwAAAEA=");
    assert_eq!(parsed(&coded)["x"], 1);
    assert_eq!(recode(&coded, Encoding::Base64), None);
    let back = recode(&coded, Encoding::Float).expect("changed");
    assert_eq!(parsed(&back)["data"][0]["embedding"], json!([1.0, 2.0]));
}

#[test]
fn words_for_the_task_become_geminis() {
    let request = openai(&json!({"input": "q", "input_type": "query", "title": "T", "user": "u"}))
        .expect("fine");
    assert_eq!(request.task.as_deref(), Some("RETRIEVAL_QUERY"));
    let mut losses = Losses::default();
    let sent = parsed(&request.write(Dialect::Gemini, &gemini(), 0..1, &mut losses));
    assert_eq!(sent["requests"][0]["title"], "T");
    assert_eq!(losses.paths(), ["user"]);
}
