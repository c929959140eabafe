//! The line of the log that each request gets.
//!
//! It is an event of `tracing`, like all lines. A busy server writes twenty thousand a second, though,
//! and an event of eleven fields that is looked at character by character takes three times as long as
//! putting the line together: whoever writes the log for people may take the request instead
//! ([`take_lines`]) and write the same line.

use std::sync::OnceLock;

use crate::ids::{CredentialId, RequestId};
use crate::telemetry::{Finished, millis};

/// Whoever writes the lines in `tracing`'s place; `false` for one that is to be an event after all.
type Take = Box<dyn Fn(&RequestLine<'_>) -> bool + Send + Sync>;

static TAKE: OnceLock<Take> = OnceLock::new();

/// The module that these lines are said to come from.
pub const TARGET: &str = "llmproxy::telemetry";

/// From now on, for the whole process, `take` gets what [`RequestLine::event`] would say, and says
/// whether it has written that. Only the first call counts.
pub fn take_lines(take: impl Fn(&RequestLine<'_>) -> bool + Send + Sync + 'static) {
    let _ = TAKE.set(Box::new(take));
}

/// Writes the line of a request.
pub(super) fn log(request: &Finished) {
    let line = RequestLine::of(request);
    if TAKE.get().is_none_or(|take| !take(&line)) {
        line.event();
    }
}

/// What the line of a request says.
#[derive(Clone, Copy, Debug)]
pub struct RequestLine<'a> {
    pub id: RequestId,
    pub client: &'a str,
    pub provider: &'a str,
    pub model: &'a str,
    /// `-` where none served.
    pub credential: &'a str,
    /// The status the client got.
    pub status: u16,
    pub ending: &'static str,
    pub attempts: usize,
    pub duration_ms: u64,
    /// All of the request, and all of the answer.
    pub tokens: u64,
}

impl<'a> RequestLine<'a> {
    /// What there is to say of a request.
    pub fn of(request: &'a Finished) -> Self {
        let credential = request.credential.as_ref();
        Self {
            id: request.id,
            client: &request.client,
            provider: &request.provider,
            model: &request.model,
            credential: credential.map_or("-", CredentialId::as_str),
            status: request.status,
            ending: request.ending.as_str(),
            attempts: request.attempts,
            duration_ms: millis(request.duration),
            tokens: request.usage.map_or(0, |usage| usage.total()),
        }
    }

    /// The line as an event of `tracing`.
    pub fn event(&self) {
        let Self {
            provider,
            model,
            credential,
            status,
            attempts,
            duration_ms,
            ..
        } = *self;
        tracing::info!(
            target: TARGET,
            message = %format_args!("{status} {provider}/{model} by {credential} in {duration_ms} ms, attempt {attempts}"),
            request = self.id.to_string().as_str(),
            client = self.client,
            provider,
            model,
            credential,
            status,
            ending = self.ending,
            attempts,
            duration_ms,
            tokens = self.tokens,
        );
    }
}
