//! Going on from an earlier response.

use serde_json::json;

use super::*;
use crate::dialects::openai_responses::store;

#[test]
fn case_92_an_unknown_response_is_named_and_nothing_is_stored_unasked() {
    let error = store::not_found("resp_x");
    assert_eq!(error.status, 400);
    assert_eq!(error.code.as_deref(), Some("previous_response_not_found"));
    assert_eq!(error.param.as_deref(), Some("previous_response_id"));
    assert!(store::wants_store(b"{}"));
    assert!(store::wants_store(br#"{"store":true}"#));
    assert!(!store::wants_store(br#"{"store":false}"#));
}

#[test]
fn a_conversation_goes_on_with_its_items_and_without_its_instructions() {
    let first = json!({"model": "m", "input": "hi", "instructions": "S"}).to_string();
    let response = json!({"type": "response.completed", "response": {"id": "resp_1", "output": [
        {"type": "message", "id": "msg_1", "role": "assistant", "content": [{"type": "output_text", "text": "yes"}]}]}})
    .to_string();
    assert_eq!(
        store::response_id(response.as_bytes()).as_deref(),
        Some("resp_1")
    );
    let held = store::conversation(first.as_bytes(), response.as_bytes()).expect("items");
    assert_eq!(held.len(), 2);
    let second = r#"{"model":"m","previous_response_id":"resp_1","temperature":1.50,"input":[{"type":"item_reference","id":"msg_1"},{"role":"user","content":"more"}]}"#;
    assert_eq!(
        store::previous_response_id(second.as_bytes()).as_deref(),
        Some("resp_1")
    );
    let expanded = store::expand(&held, second.as_bytes()).expect("a body");
    let text = String::from_utf8(expanded.clone()).expect("text");
    assert!(
        text.contains("1.50") && !text.contains("previous_response_id"),
        "{text}"
    );
    let body = parsed(&expanded);
    assert_eq!(
        body["input"][0],
        json!({"type": "message", "role": "user", "content": "hi"})
    );
    assert_eq!(body["input"][1]["id"], "msg_1");
    assert_eq!(body["input"][2]["id"], "msg_1");
    assert_eq!(body["input"][3]["content"], "more");
    assert!(body.get("instructions").is_none());
}

#[test]
fn a_request_without_input_goes_on_from_the_stored_items_alone() {
    let held = [raw(r#"{"role":"user","content":"hi"}"#)];
    let expanded =
        store::expand(&held, br#"{"previous_response_id":"r","model":"m"}"#).expect("a body");
    assert_eq!(
        parsed(&expanded)["input"],
        json!([{"role": "user", "content": "hi"}])
    );
}
