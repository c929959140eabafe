//! Threads: conversations that Anthropic keeps, of which a client then sends only what is new.

use crate::dialects::chat::ChatRequest;
use crate::dialects::error::{ErrorKind, ErrorReply};

/// Refuses a request on a thread, for upstreams of other dialects: they keep none, and without
/// it each turn but the first would lose what came before.
///
/// The code is the one on which the vendor's SDK goes on without a thread and sends the whole
/// history (anthropic Python SDK 2.14, read 2026-11-25).
///
/// # Errors
///
/// The 400, if the request has a `thread`.
pub fn refuse_thread(request: &ChatRequest) -> Result<(), ErrorReply> {
    if request.extra.get("thread").is_none() {
        return Ok(());
    }
    let error = ErrorReply::new(
        400,
        ErrorKind::InvalidRequest,
        "thread_unsupported_request",
        "this model's provider keeps no threads; send the whole history without `thread`",
    );
    Err(error.with_param("thread"))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::dialects::anthropic::Anthropic;
    use crate::dialects::{Codec, RequestHint};

    fn refused(members: &str) -> Option<ErrorReply> {
        let body = format!(r#"{{"model":"m","max_tokens":1,"messages":[]{members}}}"#);
        let request = Anthropic.read_request(body.as_bytes(), RequestHint::default());
        refuse_thread(&request.expect("a request")).err()
    }

    #[test]
    fn a_thread_is_refused_with_the_code_that_sdks_fall_back_on() {
        let error = refused(r#","thread":{"type":"create"}"#).expect("a refusal");
        let body: Value = serde_json::from_slice(&Anthropic.write_error(&error)).expect("JSON");
        assert_eq!(body["error"]["type"], "invalid_request_error");
        assert_eq!(
            body["error"]["details"]["error_code"],
            "thread_unsupported_request"
        );
    }

    #[test]
    fn no_thread_is_no_reason_to_refuse() {
        assert_eq!(refused(""), None);
        assert_eq!(refused(r#","thread":null"#), None);
    }
}
