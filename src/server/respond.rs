//! Answers the gateway makes itself: errors in the caller's dialect, JSON documents.

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Response, StatusCode};

use crate::dialects::error::{ErrorKind, ErrorReply};
use crate::dialects::{Dialect, codec};
use crate::server::body::AnswerBody;

/// Names the request in every answer, log line and journal entry.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The same where Anthropic's SDKs look for it.
pub(super) const ANTHROPIC_REQUEST_ID: HeaderName = HeaderName::from_static("request-id");

/// Official SDKs obey it: no use in trying again.
const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

/// An answer of the gateway.
pub(super) type Answer = Response<AnswerBody>;

/// A JSON document.
pub(super) fn json(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    with_type(status, "application/json", body.into())
}

/// Any document.
pub(super) fn with_type(status: StatusCode, content_type: &'static str, body: Bytes) -> Answer {
    let mut answer = Response::new(AnswerBody::from(body));
    *answer.status_mut() = status;
    answer
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}

/// An error in the shape of the route's dialect.
pub(super) fn error(dialect: Dialect, error: &ErrorReply) -> Answer {
    let status = StatusCode::from_u16(error.status).unwrap_or(StatusCode::BAD_GATEWAY);
    let mut answer = json(status, codec(dialect).write_error(error));
    error_headers(error, answer.headers_mut());
    answer
}

/// `retry-after` where waiting helps, `x-should-retry: false` where nothing does.
pub(super) fn error_headers(error: &ErrorReply, headers: &mut HeaderMap) {
    if let Some(seconds) = error.retry_after {
        headers.insert(header::RETRY_AFTER, seconds.into());
    } else if error.status >= 400 && is_hopeless(error) {
        headers.insert(SHOULD_RETRY, HeaderValue::from_static("false"));
    }
}

fn is_hopeless(error: &ErrorReply) -> bool {
    match error.kind {
        ErrorKind::Authentication | ErrorKind::InvalidRequest | ErrorKind::Permission => true,
        ErrorKind::Provider => {
            matches!(
                error.code.as_deref(),
                Some("credentials_refused" | "no_credentials")
            )
        }
        ErrorKind::Overloaded | ErrorKind::RateLimit | ErrorKind::Timeout => false,
    }
}
