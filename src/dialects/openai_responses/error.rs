//! Errors as Responses clients expect them: OpenAI's body, and events inside a stream.

use std::borrow::Cow;

use crate::dialects::error::{ErrorKind, ErrorReply};
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
