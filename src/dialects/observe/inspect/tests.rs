//! Whole bodies, a table of what is found in each.

use super::*;

const fn tokens(
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

/// A whole body and what is found in it: empty, usage.
type Row = (Dialect, Operation, &'static str, bool, Option<Usage>);

const WHOLE: &[Row] = &[
    (
        Dialect::OpenAiChat,
        Operation::Chat,
        r#"{"choices":[{"message":{"content":"hi","refusal":null},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":2},"error":null}"#,
        false,
        Some(tokens(1, 0, 0, 2, 0)),
    ),
    (
        Dialect::OpenAiChat,
        Operation::Chat,
        r#"{"choices":[{"message":{"content":""},"finish_reason":"stop"}]}"#,
        true,
        None,
    ),
    (
        Dialect::OpenAiChat,
        Operation::Chat,
        r#"{"choices":[{"message":{"content":""},"finish_reason":"length"}]}"#,
        false,
        None,
    ),
    (
        Dialect::OpenAiChat,
        Operation::Chat,
        r#"{"choices":[]}"#,
        true,
        None,
    ),
    (
        Dialect::OpenAiChat,
        Operation::Completions,
        r#"{"choices":[{"text":"x"}]}"#,
        false,
        None,
    ),
    (
        Dialect::OpenAiChat,
        Operation::Embeddings,
        r#"{"data":[{"embedding":[0.5]}],"usage":{"prompt_tokens":4,"total_tokens":4}}"#,
        false,
        Some(tokens(4, 0, 0, 0, 0)),
    ),
    (
        Dialect::OpenAiChat,
        Operation::Embeddings,
        r#"{"data":[]}"#,
        true,
        None,
    ),
    (
        Dialect::Gemini,
        Operation::Embeddings,
        r#"{"embeddings":[{"values":[1]}],"usageMetadata":{"promptTokenCount":4}}"#,
        false,
        Some(tokens(4, 0, 0, 0, 0)),
    ),
    (
        Dialect::Anthropic,
        Operation::Chat,
        r#"{"content":[{"type":"text","text":"x"}],"stop_reason":"end_turn","usage":{"input_tokens":2,"cache_read_input_tokens":3,"output_tokens":4}}"#,
        false,
        Some(tokens(5, 3, 0, 4, 0)),
    ),
    (
        Dialect::Anthropic,
        Operation::Chat,
        r#"{"content":[],"stop_reason":"end_turn"}"#,
        true,
        None,
    ),
    (
        Dialect::Anthropic,
        Operation::CountTokens,
        r#"{"input_tokens":0}"#,
        false,
        None,
    ),
    (
        Dialect::OpenAiResponses,
        Operation::Chat,
        r#"{"status":"completed","error":null,"output":[{"type":"reasoning","summary":[]},{"type":"message","content":[{"type":"output_text","text":"x"}]}],"usage":{"input_tokens":1,"output_tokens":2}}"#,
        false,
        Some(tokens(1, 0, 0, 2, 0)),
    ),
    (
        Dialect::OpenAiResponses,
        Operation::Chat,
        r#"{"status":"completed","output":[]}"#,
        true,
        None,
    ),
    (
        Dialect::OpenAiResponses,
        Operation::Chat,
        r#"{"status":"queued","output":[]}"#,
        false,
        None,
    ),
    (
        Dialect::Gemini,
        Operation::Chat,
        r#"{"candidates":[{"content":{"parts":[{"text":"x"}]},"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":1,"candidatesTokenCount":1}}"#,
        false,
        Some(tokens(1, 0, 0, 1, 0)),
    ),
    (
        Dialect::Gemini,
        Operation::Chat,
        r#"[{"candidates":[{"content":{"parts":[{"text":"x"}]}}]},{"usageMetadata":{"promptTokenCount":9}}]"#,
        false,
        Some(tokens(9, 0, 0, 0, 0)),
    ),
    (
        Dialect::Gemini,
        Operation::Chat,
        r#"{"candidates":[{"finishReason":"STOP"}]}"#,
        true,
        None,
    ),
];

#[test]
fn whole_answers_are_looked_into() {
    for (dialect, operation, body, empty, usage) in WHOLE {
        let found = inspect(*dialect, *operation, body.as_bytes());
        let expected = Inspection {
            complete: true,
            error: None,
            empty: *empty,
            usage: *usage,
        };
        assert_eq!(found, expected, "{body}");
    }
}

#[test]
fn errors_in_whole_bodies_are_found_and_cut_ones_told() {
    for (dialect, body, message) in [
        (Dialect::OpenAiChat, r#"{"error":{"message":"m"}}"#, "m"),
        (
            Dialect::OpenAiChat,
            r#"{"base_resp":{"status_code":1008,"status_msg":"balance"}}"#,
            "balance",
        ),
        (
            Dialect::OpenAiChat,
            r#"{"choices":[{"message":{"content":"a"},"finish_reason":"error"}]}"#,
            "the answer broke off with the finish reason \"error\"",
        ),
        (
            Dialect::Anthropic,
            r#"{"type":"error","error":{"type":"api_error","message":"m"}}"#,
            "m",
        ),
        (
            Dialect::OpenAiResponses,
            r#"{"object":"response","status":"failed","error":{"code":"x","message":"m"}}"#,
            "m",
        ),
        (
            Dialect::Gemini,
            r#"[{"error":{"code":500,"message":"m"}}]"#,
            "m",
        ),
    ] {
        let found = inspect(dialect, Operation::Chat, body.as_bytes());
        assert!(found.complete);
        assert_eq!(found.error.expect("an error").message, message, "{body}");
    }
    for body in [
        r#"{"choices":[{"message":{"content":"cut"#,
        "<html></html>",
        "",
    ] {
        for dialect in Dialect::ALL {
            let found = inspect(dialect, Operation::Chat, body.as_bytes());
            assert_eq!(
                (found.complete, found.empty, found.error),
                (false, true, None),
                "{body}"
            );
        }
    }
}
