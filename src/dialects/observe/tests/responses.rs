//! OpenAI Responses streams.

use super::*;

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
