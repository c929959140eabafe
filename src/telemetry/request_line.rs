//! The line of the log that each request gets.
//!
//! It is an event of `tracing`, like all lines. A busy server writes twenty thousand a second, though,
//! and what `tracing` does for an event of eleven fields takes longer than writing them down: whoever
//! writes the log for people takes the request instead ([`take_lines`]) and writes the same line.

use std::sync::OnceLock;

use crate::ids::{CredentialId, RequestId};
use crate::telemetry::{Finished, millis};

/// Whoever writes the lines in `tracing`'s place.
type Take = Box<dyn Fn(&RequestLine<'_>) + Send + Sync>;

static TAKE: OnceLock<Take> = OnceLock::new();

/// The module that these lines are said to come from.
pub const TARGET: &str = "llmproxy::telemetry";

/// From now on, for the whole process, `take` gets what [`RequestLine::event`] would say. Only the
/// first call counts.
pub fn take_lines(take: impl Fn(&RequestLine<'_>) + Send + Sync + 'static) {
    let _ = TAKE.set(Box::new(take));
}

/// Writes the line of a request.
pub(super) fn log(request: &Finished) {
    match TAKE.get() {
        Some(take) => take(&RequestLine::of(request)),
        None if tracing::enabled!(target: TARGET, tracing::Level::INFO) => {
            RequestLine::of(request).event();
        }
        None => {}
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

    /// `200 groq/llama by groq/1 in 312 ms, attempt 2`, piece by piece.
    pub fn sentence(&self, mut push: impl FnMut(&str)) {
        let mut number = itoa::Buffer::new();
        push(number.format(self.status));
        for piece in [" ", self.provider, "/", self.model, " by ", self.credential] {
            push(piece);
        }
        push(" in ");
        push(number.format(self.duration_ms));
        push(" ms, attempt ");
        push(number.format(self.attempts));
    }

    /// The line as an event of `tracing`.
    pub fn event(&self) {
        let mut message = String::with_capacity(128);
        self.sentence(|piece| message.push_str(piece));
        tracing::info!(
            target: TARGET,
            message = message.as_str(),
            request = self.id.to_string().as_str(),
            client = self.client,
            provider = self.provider,
            model = self.model,
            credential = self.credential,
            status = self.status,
            ending = self.ending,
            attempts = self.attempts,
            duration_ms = self.duration_ms,
            tokens = self.tokens,
        );
    }
}
