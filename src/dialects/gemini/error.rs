//! Errors in Google's shape (`google.rpc.Status`), whole and inside a stream.

use crate::dialects::error::{ErrorReply, UpstreamError};
use crate::dialects::json::object;

/// The domain of errors that the gateway words itself.
const DOMAIN: &str = "llmproxy";

/// Writes an error body.
pub(super) fn write(error: &ErrorReply) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    object(&mut out, |o| {
        o.object("error", |o| {
            o.put("code", &error.status);
            o.put("message", &error.message);
            o.put("status", &status_name(error.status));
            if error.code.is_none() && error.param.is_none() && error.retry_after.is_none() {
                return;
            }
            o.array("details", |details| {
                if let Some(code) = error.code.as_deref().filter(|code| !code.is_empty()) {
                    details.object(|o| {
                        o.put("@type", "type.googleapis.com/google.rpc.ErrorInfo");
                        o.put("reason", &code.to_ascii_uppercase());
                        o.put("domain", &DOMAIN);
                    });
                }
                if let Some(param) = &error.param {
                    details.object(|o| {
                        o.put("@type", "type.googleapis.com/google.rpc.BadRequest");
                        o.array("fieldViolations", |list| {
                            list.object(|o| {
                                o.put("field", param);
                                o.put("description", &error.message);
                            });
                        });
                    });
                }
                if let Some(seconds) = error.retry_after {
                    details.object(|o| {
                        o.put("@type", "type.googleapis.com/google.rpc.RetryInfo");
                        o.put("retryDelay", &format!("{seconds}s"));
                    });
                }
            });
        });
    });
    out
}

/// Writes an error as the last event of a stream.
pub(super) fn write_event(error: &ErrorReply, out: &mut Vec<u8>) {
    out.extend_from_slice(b"data: ");
    out.extend_from_slice(&write(error));
    out.extend_from_slice(b"\r\n\r\n");
}

/// Google's word for an HTTP status (google.rpc.Code, read 2026-11-22).
fn status_name(status: u16) -> &'static str {
    match status {
        401 => "UNAUTHENTICATED",
        403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        409 => "ABORTED",
        429 => "RESOURCE_EXHAUSTED",
        499 => "CANCELLED",
        400..=499 => "INVALID_ARGUMENT",
        501 => "UNIMPLEMENTED",
        502 | 503 | 529 => "UNAVAILABLE",
        504 => "DEADLINE_EXCEEDED",
        _ => "INTERNAL",
    }
}

/// An answer that says nothing, which is worth another try and never a success.
pub(super) fn empty(message: &str) -> UpstreamError {
    UpstreamError {
        kind: Some("EMPTY_RESPONSE".to_owned()),
        code: Some("empty_response".to_owned()),
        message: message.to_owned(),
        ..UpstreamError::default()
    }
}

/// An answer that broke off for a reason of the model's.
pub(super) fn broken(reason: &str, message: Option<&str>) -> UpstreamError {
    UpstreamError {
        kind: Some(reason.to_owned()),
        code: Some(reason.to_ascii_lowercase()),
        message: message.map_or_else(
            || format!("the model broke off: {reason}"),
            ToOwned::to_owned,
        ),
        ..UpstreamError::default()
    }
}
