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
    let stored = store::stored(first.as_bytes(), response.as_bytes());
    let stored = stored.expect("read").expect("an id");
    assert_eq!((stored.id.as_str(), stored.inputs), ("resp_1", 1));
    let held = stored.items;
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

#[test]
fn a_list_of_items_gives_each_an_id_and_its_text_as_parts() {
    let items = [
        raw(r#"{"role":"user","content":"hi"}"#),
        raw(r#"{"type":"function_call_output","id":"fco_1","call_id":"c","output":"7"}"#),
    ];
    let page = store::Page {
        ascending: true,
        ..store::Page::default()
    };
    let listed = parsed(&store::item_list("resp_1", &items, &page));
    assert_eq!(
        listed,
        json!({"object": "list", "has_more": false, "first_id": "item_resp_1_0", "last_id": "fco_1",
            "data": [
                {"id": "item_resp_1_0", "type": "message", "role": "user",
                    "content": [{"type": "input_text", "text": "hi"}]},
                {"id": "fco_1", "type": "function_call_output", "call_id": "c", "output": "7"}]})
    );
    let nothing = parsed(&store::item_list("resp_1", &[], &page));
    assert_eq!(nothing["first_id"], json!(null));
}
