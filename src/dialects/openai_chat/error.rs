//! Errors as OpenAI clients expect them.

use crate::dialects::error::{ErrorKind, ErrorReply};
use crate::dialects::json;

/// The body of a failed answer.
pub(super) fn body(error: &ErrorReply) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    json::object(&mut out, |o| {
        o.object("error", |o| {
            o.put("message", &error.message);
            o.put("type", kind(error.kind));
            o.put("param", &error.param);
            o.put("code", &error.code);
        });
    });
    out
}

/// The error inside a stream: SDKs raise on a truthy `error`. No `[DONE]` follows, which would
/// tell other clients that all is well.
pub(super) fn frame(error: &ErrorReply) -> Vec<u8> {
    let mut out = b"data: ".to_vec();
    out.extend_from_slice(&body(error));
    out.extend_from_slice(b"\n\n");
    out
}

const fn kind(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Authentication => "authentication_error",
        ErrorKind::InvalidRequest => "invalid_request_error",
        ErrorKind::Permission => "permission_error",
        ErrorKind::RateLimit => "rate_limit_error",
        ErrorKind::Overloaded | ErrorKind::Provider | ErrorKind::Timeout => "provider_error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_four_members_are_always_there() {
        let error = ErrorReply::invalid("no").with_param("messages");
        assert_eq!(
            String::from_utf8(body(&error)).expect("UTF-8"),
            r#"{"error":{"message":"no","type":"invalid_request_error","param":"messages","code":null}}"#
        );
        assert!(frame(&error).ends_with(b"}}\n\n"));
    }
}
