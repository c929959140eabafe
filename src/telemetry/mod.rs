//! What happened, counted: metrics, and the record of each finished request that usage and
//! journal are made of. Knows no routes and takes no decisions.

pub mod metrics;

use std::sync::Arc;
use std::time::Duration;

use crate::dialects::usage::Usage;
use crate::ids::{CredentialId, RequestId};
use crate::telemetry::metrics::Metrics;

/// How a request ended.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub enum Ending {
    /// The client left before the end.
    Cancelled,
    /// The client was told of a failure: a status, or an error inside its stream.
    Failed,
    Served,
}

/// A finished request.
#[derive(Clone, Debug)]
pub struct Finished {
    pub id: RequestId,
    pub client: Arc<str>,
    /// The last target: what served, or what failed last. Empty where none was found.
    pub provider: String,
    pub model: String,
    pub credential: Option<CredentialId>,
    /// The status the client got.
    pub status: u16,
    pub ending: Ending,
    pub attempts: usize,
    pub usage: Option<Usage>,
    /// From the request's arrival to the first content byte.
    pub first_token: Option<Duration>,
    pub duration: Duration,
}

/// The process's counters. One for all fronts.
#[derive(Debug, Default)]
pub struct Telemetry {
    pub metrics: Metrics,
}

impl Telemetry {
    /// Counts a finished request and logs its one line.
    pub fn finished(&self, request: &Finished) {
        self.metrics.finished(request);
        let (id, provider, model) = (request.id, &request.provider, &request.model);
        let credential = request
            .credential
            .as_ref()
            .map_or("-", CredentialId::as_str);
        let duration_ms = u64::try_from(request.duration.as_millis()).unwrap_or(u64::MAX);
        let tokens = request.usage.map_or(0, |usage| usage.total());
        tracing::info!(
            request = %id,
            client = %request.client,
            provider,
            model,
            credential,
            status = request.status,
            attempts = request.attempts,
            duration_ms,
            tokens,
            "{} {provider}/{model} by {credential} in {duration_ms} ms, attempt {}",
            request.status,
            request.attempts,
        );
    }
}
