//! OpenAI Chat and Completions streams.

use super::*;

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
fn after_content_began_only_marked_frames_are_parsed() {
    let error = r#"data: {"status":"434","msg":"Invalid apiKey"}"#;
    watch(
        Dialect::OpenAiChat,
        Operation::Chat,
        &[(error, Is::Error("Invalid apiKey"))],
    );
    let text = r#"data: {"choices":[{"delta":{"content":"a"},"finish_reason":null}]}"#;
    watch(
        Dialect::OpenAiChat,
        Operation::Chat,
        &[(text, Is::Content), (error, Is::Content)],
    );
}
