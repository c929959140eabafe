//! Anthropic streams.

use super::*;

#[test]
fn an_anthropic_stream_begins_with_its_first_text() {
    let watch = watch(
        Dialect::Anthropic,
        Operation::Chat,
        &[
            (
                "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"content\":[],\"usage\":{\"input_tokens\":10,\"cache_read_input_tokens\":90,\"cache_creation_input_tokens\":5,\"output_tokens\":1}}}",
                Is::Preamble,
            ),
            ("event: ping\ndata: {\"type\": \"ping\"}", Is::Preamble),
            (
                "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}",
                Is::Preamble,
            ),
            (
                "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"Hi\"}}",
                Is::Content,
            ),
            (
                "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}",
                Is::Content,
            ),
            (
                "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\",\"stop_sequence\":null},\"usage\":{\"input_tokens\":0,\"output_tokens\":7,\"output_tokens_details\":{\"thinking_tokens\":3}}}",
                Is::Content,
            ),
            (
                "event: message_stop\ndata: {\"type\":\"message_stop\"}",
                Is::End,
            ),
        ],
    );
    assert_eq!(watch.usage(), Some(usage(105, 90, 5, 7, 3)));
    assert!(watch.ended());
    assert_eq!(watch.output_chars(), 2);
}

#[test]
fn anthropic_blocks_begin_as_their_sort_does() {
    for (data, expected) in [
        (
            r#"{"type":"content_block_start","content_block":{"type":"thinking","thinking":"","signature":""}}"#,
            Is::Preamble,
        ),
        (
            r#"{"type":"content_block_start","content_block":{"type":"tool_use","id":"t","name":"f","input":{}}}"#,
            Is::Content,
        ),
        (
            r#"{"type":"content_block_start","content_block":{"type":"redacted_thinking","data":"x"}}"#,
            Is::Content,
        ),
        (
            r#"{"type":"content_block_delta","delta":{"type":"thinking_delta","thinking":"h"}}"#,
            Is::Content,
        ),
        (
            r#"{"type":"content_block_delta","delta":{"type":"signature_delta","signature":"s"}}"#,
            Is::Preamble,
        ),
        (
            r#"{"type":"content_block_delta","delta":{"type":"input_json_delta","partial_json":""}}"#,
            Is::Preamble,
        ),
        (
            r#"{"type":"message_delta","delta":{"stop_reason":"max_tokens"}}"#,
            Is::Content,
        ),
        (
            r#"{"type":"message_delta","delta":{"stop_reason":"refusal"}}"#,
            Is::Content,
        ),
        (
            r#"{"type":"message_delta","delta":{"stop_reason":null}}"#,
            Is::Preamble,
        ),
        (r#"{"type":"new_event","x":1}"#, Is::Preamble),
        (
            r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#,
            Is::Error("Overloaded"),
        ),
    ] {
        watch(
            Dialect::Anthropic,
            Operation::Chat,
            &[(&format!("data: {data}"), expected)],
        );
    }
    watch(
        Dialect::Anthropic,
        Operation::Chat,
        &[
            (
                "data: {\"type\":\"content_block_delta\",\"delta\":{\"type\":\"text_delta\",\"text\":\"a\"}}",
                Is::Content,
            ),
            (
                "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"api_error\",\"message\":\"gone\"}}",
                Is::Error("gone"),
            ),
        ],
    );
}
