//! The end of a request that was served: lease settled, usage counted, the finished request told
//! to telemetry, once, whichever way it ended.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::dialects::usage::Usage;
use crate::gateway::Gateway;
use crate::gateway::answer::{Answered, AnsweredBody, Ready, ReadyBody};
use crate::gateway::cost;
use crate::gateway::exchange::Exchange;
use crate::gateway::plan::Target;
use crate::gateway::relay::{End, RelayOutcome};
use crate::gateway::trail::{self, Told, Trail};
use crate::gateway::under_way::Errand;
use crate::ids::CredentialId;
use crate::pool::{Lease, Outcome, Report};
use crate::providers::hints;
use crate::secret::Fingerprint;
use crate::telemetry::journal::Story;
use crate::telemetry::request_log::Recording;
use crate::telemetry::{Ending, Finished};
use crate::time::Timestamp;

/// A good answer with all that hangs on it.
pub struct Served<'a> {
    pub gateway: &'a Arc<Gateway>,
    pub target: &'a Target,
    pub exchange: Exchange,
    pub ready: Ready,
    pub lease: Lease,
    pub trail: Trail,
    pub errand: Arc<Errand>,
    /// When the request came in.
    pub arrived: Instant,
    /// Where it is logged.
    pub recording: Option<Recording>,
}

impl Served<'_> {
    /// Hands the answer over to the client. A stream keeps the lease until it ends.
    pub fn commit(self) -> Answered {
        self.errand.streams();
        let credential = self.lease.credential().clone();
        let first_token = self.arrived.elapsed();
        self.target
            .runtime
            .first_token
            .record(&self.target.model, first_token);
        self.note_limits(Timestamp::now());
        let attempts = self.trail.attempts.len();
        let metrics = &self.gateway.telemetry.metrics;
        metrics.attempt(credential.provider(), "ok");
        let upstream = self.exchange.dialect.as_str();
        let client = self.trail.request.as_ref();
        let client = client.map_or(upstream, |request| request.dialect.as_str());
        metrics.losses(client, upstream, self.exchange.losses.len());
        metrics.losses(upstream, client, self.ready.losses.len());
        let request_bytes = self.exchange.body().len();
        if let Some(recording) = &self.recording {
            recording.answer(self.ready.status, &self.ready.headers);
        }
        let mut losses = self.exchange.losses;
        losses.extend(&self.ready.losses);
        let closing = Closing {
            gateway: Arc::clone(self.gateway),
            credential: credential.clone(),
            fingerprint: self.lease.fingerprint(),
            model: self.target.model.clone(),
            status: self.ready.status.as_u16(),
            trail: self.trail,
            _errand: self.errand,
            first_token,
            arrived: self.arrived,
            request_bytes,
            crossing: (upstream, client),
            recording: self.recording.clone(),
        };
        let body = match self.ready.body {
            ReadyBody::Whole {
                body,
                usage,
                output_chars,
            } => {
                let usage = usage.unwrap_or_else(|| estimate(output_chars, closing.request_bytes));
                self.lease
                    .finish(Outcome::Success { usage: Some(usage) }, Timestamp::now());
                if let Some(recording) = &self.recording {
                    recording.piece(&body);
                }
                closing.finish(Ending::Served, usage, None);
                AnsweredBody::Whole(body)
            }
            ReadyBody::Stream(mut relay) => {
                if let Some(recording) = self.recording {
                    relay.note_on(recording);
                }
                let lease = self.lease;
                lease.note_content(Timestamp::now());
                relay.on_end(Box::new(move |end| {
                    closing.stream_ended(lease, &end);
                }));
                AnsweredBody::Stream(relay)
            }
        };
        Answered {
            status: self.ready.status,
            headers: self.ready.headers,
            body,
            losses,
            credential: Some(credential),
            attempts,
        }
    }
}

impl Served<'_> {
    /// What the answer's headers say of limits: a count corrects ours, and "that was the last one
    /// for now" keeps the credential out until then, before the provider has to refuse.
    fn note_limits(&self, now: Timestamp) {
        let (headers, pool) = (&self.ready.headers, &self.target.runtime.pool);
        let heed = |report: &Report| {
            pool.heed(self.lease.credential(), &self.target.model, report, now);
        };
        for counted in hints::counted(headers) {
            heed(&Report {
                limit: Some(counted.limit),
                remaining: Some(counted.remaining),
                ..Report::default()
            });
        }
        if let Some(hint) = hints::exhausted(headers, now) {
            heed(&Report {
                remaining: Some(0),
                resets: Some(hint.end(now)),
                ..Report::default()
            });
        }
    }
}

/// What is said of a request when it is over.
struct Closing {
    gateway: Arc<Gateway>,
    credential: CredentialId,
    fingerprint: Fingerprint,
    model: String,
    status: u16,
    trail: Trail,
    /// Until it is over.
    _errand: Arc<Errand>,
    first_token: Duration,
    arrived: Instant,
    request_bytes: usize,
    /// From whose dialect into whose the answer goes.
    crossing: (&'static str, &'static str),
    recording: Option<Recording>,
}

impl Closing {
    fn stream_ended(self, lease: Lease, end: &End) {
        let usage = end
            .usage
            .unwrap_or_else(|| estimate(end.output_chars, self.request_bytes));
        let (outcome, ending) = match &end.outcome {
            RelayOutcome::Cancelled => {
                (Outcome::Cancelled { usage: Some(usage) }, Ending::Cancelled)
            }
            RelayOutcome::Complete => (Outcome::Success { usage: Some(usage) }, Ending::Served),
            RelayOutcome::Failed(failure) => {
                self.gateway
                    .telemetry
                    .metrics
                    .attempt(self.credential.provider(), failure.verdict.as_str());
                (
                    Outcome::Failed {
                        failure,
                        after_content: true,
                    },
                    Ending::Failed,
                )
            }
        };
        lease.finish(outcome, Timestamp::now());
        let (from, to) = self.crossing;
        let metrics = &self.gateway.telemetry.metrics;
        metrics.losses(from, to, end.losses);
        metrics.surplus(self.credential.provider(), end.surplus);
        let error = match &end.outcome {
            RelayOutcome::Failed(failure) => Some(failure.message.as_str()),
            RelayOutcome::Cancelled | RelayOutcome::Complete => None,
        };
        self.finish(ending, usage, error);
    }

    fn finish(self, ending: Ending, usage: Usage, error: Option<&str>) {
        let Some(request) = &self.trail.request else {
            return;
        };
        let (id, client) = (request.id, Arc::clone(&request.client));
        let duration = self.arrived.elapsed();
        let snapshot = self.gateway.snapshot();
        let provider = self.credential.provider().to_owned();
        let cost_usd = cost::of_request(&snapshot.facts, &provider, &self.model, &usage);
        let attempts = self.trail.attempts.len();
        let outcome = trail::Outcome {
            ending,
            status: self.status,
            error: error.map(str::to_owned),
            duration,
            first_token: Some(self.first_token),
            usage: Some(usage),
            cost_usd,
        };
        let story = Arc::new(Told::new(self.trail, outcome));
        if let Some(recording) = &self.recording {
            recording.finish(&story.to_json());
        }
        self.gateway.telemetry.finished(Finished {
            id,
            client,
            provider,
            model: self.model,
            credential: Some(self.credential),
            status: self.status,
            ending,
            attempts,
            usage: Some(usage),
            first_token: Some(self.first_token),
            duration,
            fingerprint: Some(self.fingerprint),
            cost_usd,
            story,
        });
    }
}

/// Four characters a token: what is charged where a provider reports nothing.
fn estimate(output_chars: u64, request_bytes: usize) -> Usage {
    Usage {
        input: (request_bytes as u64).div_ceil(4),
        output: output_chars.div_ceil(4),
        estimated: true,
        ..Usage::default()
    }
}
