//! Errors as Responses clients expect them: OpenAI's body, and events inside a stream.

use std::borrow::Cow;

use crate::dialects::error::{ErrorKind, ErrorReply};
use crate::dialects::fields::Fields;
use crate::dialects::json::object;

/// The event that ends a stream whose state is not known: it carries no sequence number, since
/// any might be wrong.
pub(super) fn event(error: &ErrorReply) -> Vec<u8> {
    let mut out = b"event: error\ndata: ".to_vec();
    object(&mut out, |o| {
        o.put("type", "error");
        o.put("code", code_of(error));
        o.put("message", &message(error));
        o.put("param", &error.param);
    });
    out.extend_from_slice(b"\n\n");
    out
}

/// `response.failed` for a stream that was relayed as it came and broke off: the response of its
/// first event, failed, numbered after its last. `None` if those are not the dialect's events.
pub(super) fn failed(error: &ErrorReply, first: &[u8], last: &[u8]) -> Option<Vec<u8>> {
    let mut first = Fields::parse(first).ok()?;
    let response = Fields::parse_raw(first.take("response")?).ok()?;
    let mut last = Fields::parse(last).ok()?;
    let sequence = last.take_count("sequence_number").ok()??;
    let mut out = b"event: response.failed\ndata: ".to_vec();
    object(&mut out, |o| {
        o.put("type", "response.failed");
        o.put("sequence_number", &sequence.saturating_add(1));
        o.object("response", |o| {
            for (name, value) in response.iter() {
                match name {
                    "error" => {}
                    "status" => o.put("status", "failed"),
                    _ => o.raw(name, value),
                }
            }
            o.object("error", |o| {
                o.put("code", code_of(error));
                o.put("message", &message(error));
            });
        });
    });
    out.extend_from_slice(b"\n\n");
    Some(out)
}

/// The dialect's word for what failed. Codex compacts, waits or gives up by it (its sources, read
/// 2026-11-22); `server_is_overloaded` would make it give up, so that one is not used.
pub(super) fn code_of(error: &ErrorReply) -> &str {
    match error.code.as_deref() {
        Some(
            code @ ("context_length_exceeded"
            | "insufficient_quota"
            | "invalid_prompt"
            | "rate_limit_exceeded"
            | "server_error"),
        ) => code,
        _ => match error.kind {
            ErrorKind::RateLimit => "rate_limit_exceeded",
            ErrorKind::InvalidRequest => "invalid_prompt",
            ErrorKind::Authentication
            | ErrorKind::Overloaded
            | ErrorKind::Permission
            | ErrorKind::Provider
            | ErrorKind::Timeout => "server_error",
        },
    }
}

/// The message; with the wait in the words that Codex looks for.
pub(super) fn message(error: &ErrorReply) -> Cow<'_, str> {
    match error.retry_after {
        Some(seconds) if !error.message.contains("try again in") => {
            let sentence = error.message.trim_end_matches('.');
            Cow::Owned(format!("{sentence}. Please try again in {seconds}s."))
        }
        _ => Cow::Borrowed(&error.message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relayed_stream_that_breaks_fails_its_own_response_in_sequence() {
        let error = ErrorReply::new(502, ErrorKind::Provider, "upstream_error", "it broke");
        let first = br#"{"type":"response.created","sequence_number":0,"response":{"id":"resp_1","status":"in_progress","error":null,"x":1.50}}"#;
        let last = br#"{"type":"response.output_text.delta","sequence_number":7,"delta":"a"}"#;
        let written = failed(&error, first, last).expect("events of the dialect");
        assert_eq!(
            String::from_utf8(written).expect("text"),
            "event: response.failed\ndata: {\"type\":\"response.failed\",\"sequence_number\":8,\
             \"response\":{\"id\":\"resp_1\",\"status\":\"failed\",\"x\":1.50,\
             \"error\":{\"code\":\"server_error\",\"message\":\"it broke\"}}}\n\n"
        );
        assert_eq!(failed(&error, b"{}", last), None);
    }
}
