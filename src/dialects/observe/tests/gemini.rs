//! Gemini streams.

use super::*;

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
