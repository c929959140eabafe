//! Errors as Anthropic clients expect them.

use crate::dialects::error::{ErrorKind, ErrorReply};
use crate::dialects::json;

/// How Claude Code knows that it must compact the conversation.
const TOO_LONG: &str = "prompt is too long";

/// The body of a failed answer.
pub(super) fn body(error: &ErrorReply) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    json::object(&mut out, |o| {
        o.put("type", "error");
        o.object("error", |o| {
            o.put("type", kind(error));
            let is_too_long = error.code.as_deref() == Some("context_length_exceeded");
            if is_too_long && !error.message.starts_with(TOO_LONG) {
                o.put("message", &format!("{TOO_LONG}: {}", error.message));
            } else {
                o.put("message", &error.message);
            }
            if let Some(code) = &error.code {
                o.object("details", |o| o.put("error_code", code));
            }
        });
    });
    out
}

/// The error inside a stream; no `message_stop` follows it.
pub(super) fn frame(error: &ErrorReply) -> Vec<u8> {
    let mut out = b"event: error\ndata: ".to_vec();
    out.extend_from_slice(&body(error));
    out.extend_from_slice(b"\n\n");
    out
}

fn kind(error: &ErrorReply) -> &'static str {
    match (error.kind, error.status) {
        (ErrorKind::Authentication, _) => "authentication_error",
        (ErrorKind::InvalidRequest, 404) => "not_found_error",
        (ErrorKind::InvalidRequest, 413) => "request_too_large",
        (ErrorKind::InvalidRequest, _) => "invalid_request_error",
        (ErrorKind::Permission, _) => "permission_error",
        (ErrorKind::Provider, _) => "api_error",
        (ErrorKind::RateLimit, _) => "rate_limit_error",
        (ErrorKind::Overloaded, _) => "overloaded_error",
        (ErrorKind::Timeout, _) => "timeout_error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(error: &ErrorReply) -> String {
        String::from_utf8(body(error)).expect("UTF-8")
    }

    #[test]
    fn case_77_a_full_context_is_said_the_way_claude_code_reads_it() {
        let error = ErrorReply::new(
            400,
            ErrorKind::InvalidRequest,
            "context_length_exceeded",
            "This model's maximum context length is 8192 tokens",
        );
        assert!(text(&error).contains(
            r#""type":"invalid_request_error","message":"prompt is too long: This model's"#
        ));
    }

    #[test]
    fn case_77_each_kind_has_its_word() {
        for (kind, status, expected) in [
            (ErrorKind::RateLimit, 429, "rate_limit_error"),
            (ErrorKind::InvalidRequest, 404, "not_found_error"),
            (ErrorKind::InvalidRequest, 413, "request_too_large"),
            (ErrorKind::Provider, 502, "api_error"),
            (ErrorKind::Overloaded, 503, "overloaded_error"),
        ] {
            let error = ErrorReply::new(status, kind, "x", "m");
            let start = format!(r#"{{"type":"error","error":{{"type":"{expected}""#);
            assert!(text(&error).starts_with(&start), "{}", text(&error));
        }
        assert!(frame(&ErrorReply::invalid("m")).starts_with(b"event: error\ndata: {"));
    }
}
