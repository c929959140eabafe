//! Failed answers, in no dialect yet, and bodies that could not be read.

mod in_stream;
mod parse;

use std::borrow::Cow;

use thiserror::Error;

use crate::dialects::fields::FieldError;

/// What kind of failure an answer reports. Each dialect has its own word for each.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub enum ErrorKind {
    /// The client's key is missing or wrong: OpenAI `authentication_error`.
    Authentication,
    /// The request itself is at fault: `invalid_request_error`.
    InvalidRequest,
    /// The client may not do this: `permission_error`.
    Permission,
    /// Provider or gateway at fault: `provider_error` (Anthropic `api_error`).
    Provider,
    /// Too many requests: `rate_limit_error`.
    RateLimit,
    /// The provider has no capacity now: Anthropic `overloaded_error`.
    Overloaded,
    /// The provider took too long: Anthropic `timeout_error`.
    Timeout,
}

/// A failed answer for a client; a codec gives it its dialect's shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorReply {
    /// HTTP status.
    pub status: u16,
    pub kind: ErrorKind,
    /// Machine-readable reason: `model_not_found`, or the upstream's own code.
    pub code: Option<Cow<'static, str>>,
    /// One sentence. Never holds a secret.
    pub message: String,
    /// The request field at fault, where known.
    pub param: Option<String>,
    /// Whole seconds after which a new try makes sense: the `retry-after` header.
    pub retry_after: Option<u64>,
}

impl ErrorReply {
    /// A failed answer without field or wait.
    pub fn new(
        status: u16,
        kind: ErrorKind,
        code: &'static str,
        message: impl Into<String>,
    ) -> Self {
        Self {
            status,
            kind,
            code: Some(Cow::Borrowed(code)),
            message: message.into(),
            param: None,
            retry_after: None,
        }
    }

    /// A 400 that blames the request.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self {
            code: None,
            ..Self::new(400, ErrorKind::InvalidRequest, "", message)
        }
    }

    /// Names the request field at fault.
    #[must_use]
    pub fn with_param(mut self, param: impl Into<String>) -> Self {
        self.param = Some(param.into());
        self
    }
}

/// Why a body could not be read as its dialect.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ReadError {
    /// A member has the wrong type or a value nobody could act on.
    #[error("{0}")]
    Field(#[from] FieldError),
    /// Not JSON, or not the JSON type expected.
    #[error("{0}")]
    Json(String),
    /// An error object where an answer was expected (an error inside a 200).
    #[error("{}", .0.message)]
    Upstream(Box<UpstreamError>),
    /// The stream or body ended before its proper end.
    #[error("the answer ended before it was complete")]
    Truncated,
}

impl From<serde_json::Error> for ReadError {
    fn from(error: serde_json::Error) -> Self {
        Self::Json(error.to_string())
    }
}

/// An error body or in-stream error of an upstream, whatever its shape was.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UpstreamError {
    /// The status inside the body, where it has one (Gemini, OpenRouter).
    pub status: Option<u16>,
    /// OpenAI/Anthropic `type`, Gemini `status` (`RESOURCE_EXHAUSTED`).
    pub kind: Option<String>,
    /// `code`, as text even where the vendor sends a number.
    pub code: Option<String>,
    pub param: Option<String>,
    /// The vendor's sentence, at most 4 KiB, keys not yet redacted.
    pub message: String,
    /// The body or event as it came, at most 64 KiB, for hints and details.
    pub raw: String,
}
