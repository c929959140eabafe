//! Tests of the observers and of the look at a whole body, a table a dialect.

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::dialects::sse::Splitter;

/// What a row expects of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Is {
    Content,
    End,
    Error(&'static str),
    Preamble,
}

/// Shows the frames to an observer, each with a blank line, and checks each sign.
fn watch(dialect: Dialect, operation: Operation, rows: &[(&str, Is)]) -> Box<dyn Observer> {
    let mut watch = observer(dialect, operation);
    let mut splitter = Splitter::new();
    for (text, expected) in rows {
        splitter.push(Bytes::from(format!("{text}\n\n")));
        let frame = splitter.next().expect("a frame").expect("a short one");
        let is = match watch.frame(&frame) {
            Sign::Content => Is::Content,
            Sign::End => Is::End,
            Sign::Preamble => Is::Preamble,
            Sign::Error(error) => {
                let Is::Error(message) = expected else {
                    panic!("{text}: unexpected {error:?}");
                };
                assert_eq!(&error.message, message, "{text}");
                *expected
            }
        };
        assert_eq!(is, *expected, "{text}");
    }
    watch
}

const fn usage(
    input: u64,
    cache_read: u64,
    cache_write: u64,
    output: u64,
    reasoning: u64,
) -> Usage {
    Usage {
        input,
        cache_read,
        cache_write,
        output,
        reasoning,
        estimated: false,
    }
}

#[test]
fn a_chat_stream_begins_with_its_first_text() {
    let watch = watch(
        Dialect::OpenAiChat,
        Operation::Chat,
        &[
            (": OPENROUTER PROCESSING", Is::Preamble),
            (
                r#"data: {"choices":[],"prompt_filter_results":[{"index":0}]}"#,
                Is::Preamble,
            ),
            (
                r#"data: {"choices":[{"index":0,"delta":{"role":"assistant","content":"","refusal":null,"tool_calls":[]},"finish_reason":null}],"usage":null}"#,
                Is::Preamble,
            ),
            (
                r#"data:{"choices":[{"index":0,"delta":{"content":"Héllo"},"finish_reason":null}],"usage":null}"#,
                Is::Content,
            ),
            (
                r#"data: {"choices":[{"index":0,"delta":{"content":" \"usage\": 1"},"finish_reason":null}]}"#,
                Is::Content,
            ),
            (": keep-alive", Is::Content),
            (
                r#"data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#,
                Is::Content,
            ),
            (
                r#"data: {"choices":[],"usage":{"prompt_tokens":100,"completion_tokens":50,"total_tokens":150,"prompt_tokens_details":{"cached_tokens":60,"cache_write_tokens":5},"completion_tokens_details":{"reasoning_tokens":30}}}"#,
                Is::Content,
            ),
            ("data: [DONE]", Is::End),
        ],
    );
    assert_eq!(watch.usage(), Some(usage(100, 60, 5, 50, 30)));
    assert!(watch.ended());
    assert_eq!(watch.output_chars(), 5 + 13);
}

#[test]
fn every_sort_of_delta_is_content() {
    for delta in [
        r#""content":"x""#,
        r#""reasoning_content":"x""#,
        r#""reasoning":"x""#,
        r#""refusal":"x""#,
        r#""tool_calls":[{"index":0,"id":"c","function":{"name":"f","arguments":""}}]"#,
        r#""function_call":{"name":"f"}"#,
        r#""audio":{"id":"a"}"#,
        r#""images":[{"type":"image_url"}]"#,
        r#""content":null,"reasoning_details":[{"type":"reasoning.text","text":"x"}]"#,
    ] {
        let row = format!(r#"data: {{"choices":[{{"delta":{{"role":"assistant",{delta}}}}}]}}"#);
        watch(Dialect::OpenAiChat, Operation::Chat, &[(&row, Is::Content)]);
    }
    watch(
        Dialect::OpenAiChat,
        Operation::Completions,
        &[
            (
                r#"data: {"choices":[{"text":"","finish_reason":null}]}"#,
                Is::Preamble,
            ),
            (
                r#"data: {"choices":[{"text":"x","finish_reason":null}]}"#,
                Is::Content,
            ),
        ],
    );
}

#[test]
fn a_finish_counts_as_content_only_if_it_says_why() {
    for (reason, expected) in [
        ("stop", Is::Preamble),
        ("tool_calls", Is::Preamble),
        ("length", Is::Content),
        ("content_filter", Is::Content),
    ] {
        let row = format!(r#"data: {{"choices":[{{"delta":{{}},"finish_reason":"{reason}"}}]}}"#);
        let watch = watch(Dialect::OpenAiChat, Operation::Chat, &[(&row, expected)]);
        assert!(watch.ended(), "{reason}");
    }
    let row = r#"data: {"choices":[{"delta":{"content":"all"},"finish_reason":"stop"}]}"#;
    assert!(watch(Dialect::OpenAiChat, Operation::Chat, &[(row, Is::Content)]).ended());
}

#[test]
fn a_chat_stream_cut_short_has_not_ended() {
    let watch = watch(
        Dialect::OpenAiChat,
        Operation::Chat,
        &[
            (
                r#"data: {"choices":[{"delta":{"content":"a"},"finish_reason":""}]}"#,
                Is::Content,
            ),
            (
                r#"data: {"choices":[{"delta":{"content":"b"},"finish_reason":null}]}"#,
                Is::Content,
            ),
        ],
    );
    assert!(!watch.ended());
    assert_eq!(watch.usage(), None);
    assert_eq!(watch.output_chars(), 2);
}

#[test]
fn errors_inside_a_chat_stream_are_found_before_and_after_content() {
    let errors = [
        (
            r#"data: {"error":{"message":"slow down","type":"rate_limit_error"}}"#,
            Is::Error("slow down"),
        ),
        (
            r#"data: {"id":"gen","error":{"code":502,"message":"provider gone"},"choices":[{"delta":{"content":""},"finish_reason":"error"}]}"#,
            Is::Error("provider gone"),
        ),
        (
            r#"data: {"choices":[{"delta":{},"finish_reason":"error"}]}"#,
            Is::Error("the answer broke off with the finish reason \"error\""),
        ),
        (
            "event: error\ndata: \"overloaded\"",
            Is::Error("overloaded"),
        ),
        (r#"{"error":{"message":"bare"}}"#, Is::Error("bare")),
        (
            r#"{"status":"434","msg":"Invalid apiKey","body":null}"#,
            Is::Error("Invalid apiKey"),
        ),
    ];
    let text = (
        r#"data: {"error":null,"choices":[{"delta":{"content":"a"},"finish_reason":null}]}"#,
        Is::Content,
    );
    for error in errors {
        watch(Dialect::OpenAiChat, Operation::Chat, &[error]);
    }
    for error in &errors[..4] {
        watch(Dialect::OpenAiChat, Operation::Chat, &[text, *error]);
    }
}

#[test]
fn the_last_usage_that_counts_wins() {
    let chunk = |usage: &str| {
        format!(
            r#"data: {{"choices":[{{"delta":{{"content":"a"}},"finish_reason":null}}],"usage":{usage}}}"#
        )
    };
    let rows = [
        chunk(r#"{"prompt_tokens":5,"completion_tokens":1}"#),
        chunk("null"),
        chunk(r#"{"prompt_tokens":5,"completion_tokens":2,"prompt_cache_hit_tokens":3}"#),
    ];
    let rows: Vec<_> = rows.iter().map(|row| (row.as_str(), Is::Content)).collect();
    let seen = watch(Dialect::OpenAiChat, Operation::Chat, &rows).usage();
    assert_eq!(seen, Some(usage(5, 3, 0, 2, 0)));

    for (last, expected) in [
        (r#""usage":{}"#, None),
        (
            r#""x_groq":{"id":"r","usage":{"prompt_tokens":7,"completion_tokens":9}}"#,
            Some(usage(7, 0, 0, 9, 0)),
        ),
        (
            r#""usage":{"prompt_tokens":-4,"completion_tokens":18446744073709551615}"#,
            Some(usage(0, 0, 0, u64::MAX, 0)),
        ),
    ] {
        let row =
            format!(r#"data: {{"choices":[{{"delta":{{}},"finish_reason":"stop"}}],{last}}}"#);
        let seen = watch(
            Dialect::OpenAiChat,
            Operation::Chat,
            &[(&row, Is::Preamble)],
        )
        .usage();
        assert_eq!(seen, expected, "{last}");
    }
}

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

#[test]
fn a_responses_stream_begins_with_its_first_delta() {
    let watch = watch(
        Dialect::OpenAiResponses,
        Operation::Chat,
        &[
            (
                "event: response.created\ndata: {\"type\":\"response.created\",\"response\":{\"status\":\"in_progress\",\"error\":null,\"usage\":null,\"output\":[]}}",
                Is::Preamble,
            ),
            (
                "event: response.output_item.added\ndata: {\"type\":\"response.output_item.added\",\"item\":{\"type\":\"message\",\"content\":[]}}",
                Is::Preamble,
            ),
            (
                "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"delta\":\"Hey\"}",
                Is::Content,
            ),
            (
                "event: response.output_text.done\ndata: {\"type\":\"response.output_text.done\",\"text\":\"Hey\"}",
                Is::Content,
            ),
            (
                "event: response.completed\ndata: {\"type\":\"response.completed\",\"response\":{\"status\":\"completed\",\"error\":null,\"output\":[{\"type\":\"message\",\"content\":[{\"type\":\"output_text\",\"text\":\"Hey\"}]}],\"usage\":{\"input_tokens\":8,\"input_tokens_details\":{\"cached_tokens\":2},\"output_tokens\":4,\"output_tokens_details\":{\"reasoning_tokens\":1},\"total_tokens\":12}}}",
                Is::End,
            ),
        ],
    );
    assert_eq!(watch.usage(), Some(usage(8, 2, 0, 4, 1)));
    assert!(watch.ended());
    assert_eq!(watch.output_chars(), 3);
}

#[test]
fn responses_events_mean_what_they_say() {
    for (data, expected, ended) in [
        (
            r#"{"type":"response.output_item.added","item":{"type":"reasoning","summary":[]}}"#,
            Is::Preamble,
            false,
        ),
        (
            r#"{"type":"response.output_item.added","item":{"type":"function_call","name":"f"}}"#,
            Is::Content,
            false,
        ),
        (
            r#"{"type":"response.reasoning_summary_text.delta","delta":"x"}"#,
            Is::Content,
            false,
        ),
        (
            r#"{"type":"response.output_text.delta","delta":""}"#,
            Is::Preamble,
            false,
        ),
        (
            r#"{"type":"response.completed","response":{"output":[]}}"#,
            Is::End,
            true,
        ),
        (
            r#"{"type":"response.completed","response":{"output":[{"type":"function_call"}]}}"#,
            Is::Content,
            true,
        ),
        (
            r#"{"type":"response.incomplete","response":{"output":[]}}"#,
            Is::Content,
            true,
        ),
        (
            r#"{"type":"response.failed","response":{"error":{"code":"server_error","message":"m"}}}"#,
            Is::Error("m"),
            false,
        ),
        (
            r#"{"type":"error","code":"rate_limit_exceeded","message":"n","param":null}"#,
            Is::Error("n"),
            false,
        ),
        (r#"{"error":{"message":"o"}}"#, Is::Error("o"), false),
        (r#"{"type":"keepalive"}"#, Is::Preamble, false),
    ] {
        let row = format!("data: {data}");
        let watch = watch(
            Dialect::OpenAiResponses,
            Operation::Chat,
            &[(&row, expected)],
        );
        assert_eq!(watch.ended(), ended, "{data}");
    }
}

#[test]
fn a_gemini_stream_keeps_its_last_usage() {
    let watch = watch(
        Dialect::Gemini,
        Operation::Chat,
        &[
            (
                "data: {\"candidates\":[{\"content\":{\"role\":\"model\",\"parts\":[{\"text\":\"\",\"thoughtSignature\":\"s\"}]}}]}\r",
                Is::Preamble,
            ),
            (
                r#"data: {"candidates":[{"content":{"parts":[{"text":"Hi","thought":true}]}}],"usageMetadata":{"promptTokenCount":100,"totalTokenCount":100}}"#,
                Is::Content,
            ),
            (
                r#"data: {"candidates":[{"content":{"parts":[{"text":" you"}]}}],"usageMetadata":{"promptTokenCount":100,"candidatesTokenCount":9}}"#,
                Is::Content,
            ),
            (
                r#"data: {"candidates":[{"content":{"parts":[{"text":"."}]},"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":100,"cachedContentTokenCount":60,"candidatesTokenCount":20,"thoughtsTokenCount":30,"totalTokenCount":150}}"#,
                Is::Content,
            ),
        ],
    );
    assert_eq!(watch.usage(), Some(usage(100, 60, 0, 50, 30)));
    assert!(watch.ended());
    assert_eq!(watch.output_chars(), 7);
}

#[test]
fn gemini_chunks_mean_what_they_say() {
    for (data, expected, ended) in [
        (
            r#"{"candidates":[{"finishReason":"STOP"}]}"#,
            Is::Preamble,
            true,
        ),
        (
            r#"{"candidates":[{"content":{},"finishReason":"MAX_TOKENS"}]}"#,
            Is::Content,
            true,
        ),
        (
            r#"{"candidates":[{"finishReason":"MALFORMED_FUNCTION_CALL"}]}"#,
            Is::Preamble,
            true,
        ),
        (
            r#"{"promptFeedback":{"blockReason":"SAFETY"}}"#,
            Is::Content,
            true,
        ),
        (
            r#"{"candidates":[{"content":{"parts":[{"functionCall":{"name":"f"}}]}}]}"#,
            Is::Content,
            false,
        ),
        (
            r#"{"response":{"candidates":[{"content":{"parts":[{"text":"x"}]},"finishReason":"STOP"}]},"traceId":"t"}"#,
            Is::Content,
            true,
        ),
        (
            r#"{"error":{"code":503,"message":"overloaded","status":"UNAVAILABLE"}}"#,
            Is::Error("overloaded"),
            false,
        ),
        (
            r#"[{"error":{"code":503,"message":"in a list"}}]"#,
            Is::Error("in a list"),
            false,
        ),
    ] {
        let row = format!("data: {data}");
        let watch = watch(Dialect::Gemini, Operation::Chat, &[(&row, expected)]);
        assert_eq!(watch.ended(), ended, "{data}");
    }
}

#[test]
fn a_kept_usage_is_read_out_of_the_envelope() {
    let watch = watch(
        Dialect::Gemini,
        Operation::Chat,
        &[(
            r#"data: {"response":{"candidates":[{"content":{"parts":[{"text":"x"}]}}],"usageMetadata":{"promptTokenCount":3,"candidatesTokenCount":1}}}"#,
            Is::Content,
        )],
    );
    assert_eq!(watch.usage(), Some(usage(3, 0, 0, 1, 0)));
}

proptest! {
    #[test]
    fn nothing_a_stream_says_makes_an_observer_panic(
        pieces in prop::collection::vec(
            prop_oneof![
                "[\\x00-\\x7f]{0,20}",
                "data: \\{\"(choices|usage|error|type|delta|response|candidates)\": ?(null|1|\\[\\]|\\{\\}|\"x\"|\\[\\{\"delta\":7\\}\\])\\}\n\n",
            ],
            0..6,
        )
    ) {
        let stream = Bytes::from(pieces.concat());
        for dialect in Dialect::ALL {
            let mut watch = observer(dialect, Operation::Chat);
            let mut splitter = Splitter::new();
            splitter.push(stream.clone());
            while let Some(Ok(frame)) = splitter.next() {
                watch.frame(&frame);
            }
            if let Some(frame) = splitter.finish() {
                watch.frame(&frame);
            }
            watch.usage();
            inspect(dialect, Operation::Chat, &stream);
        }
    }
}
