//! What a client is told of an error that came inside a stream.

use std::borrow::Cow;

use crate::dialects::error::{ErrorKind, ErrorReply, UpstreamError};

impl UpstreamError {
    /// The answer for the client. The status counts only if no byte went out yet.
    pub fn to_reply(&self) -> ErrorReply {
        let (status, kind) = self.class();
        let message = if self.message.is_empty() {
            "the provider broke off its answer".to_owned()
        } else {
            self.message.clone()
        };
        ErrorReply {
            status,
            kind,
            code: Some(match &self.code {
                Some(code) => Cow::Owned(code.clone()),
                None => Cow::Borrowed("upstream_error"),
            }),
            message,
            param: self.param.clone(),
            retry_after: None,
        }
    }

    /// Status and kind, from the status inside the error or the vendor's words for it.
    fn class(&self) -> (u16, ErrorKind) {
        let says = |words: &[&str]| {
            [&self.kind, &self.code].into_iter().flatten().any(|word| {
                let word = word.to_ascii_lowercase();
                words.iter().any(|known| word.contains(known))
            })
        };
        match self.status {
            Some(429) => return (429, ErrorKind::RateLimit),
            Some(503 | 529) => return (503, ErrorKind::Overloaded),
            Some(408 | 504 | 524) => return (504, ErrorKind::Timeout),
            _ => {}
        }
        if says(&["overloaded", "unavailable"]) {
            (503, ErrorKind::Overloaded)
        } else if says(&["rate_limit", "resource_exhausted", "insufficient_quota"]) {
            (429, ErrorKind::RateLimit)
        } else if says(&["timeout", "deadline_exceeded"]) {
            (504, ErrorKind::Timeout)
        } else if matches!(self.status, Some(400 | 404 | 413 | 422))
            || says(&["invalid_request", "invalid_argument", "context_length"])
        {
            (self.status.unwrap_or(400), ErrorKind::InvalidRequest)
        } else {
            (502, ErrorKind::Provider)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vendors_word_decides_the_kind() {
        for (kind, status, expected) in [
            (Some("overloaded_error"), None, ErrorKind::Overloaded),
            (Some("RESOURCE_EXHAUSTED"), None, ErrorKind::RateLimit),
            (
                Some("invalid_request_error"),
                None,
                ErrorKind::InvalidRequest,
            ),
            (Some("api_error"), None, ErrorKind::Provider),
            (None, Some(504), ErrorKind::Timeout),
            (None, None, ErrorKind::Provider),
        ] {
            let error = UpstreamError {
                kind: kind.map(str::to_owned),
                status,
                ..UpstreamError::default()
            };
            assert_eq!(error.to_reply().kind, expected, "{kind:?} {status:?}");
            assert!(!error.to_reply().message.is_empty());
        }
    }
}
