//! What happened, counted: metrics, and the record of each finished request that usage and
//! journal are made of. Knows no routes and takes no decisions.

pub mod metrics;
pub mod minutes;
pub mod request_log;
pub mod spending;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use crate::dialects::usage::Usage;
use crate::ids::{CredentialId, RequestId};
use crate::secret::Fingerprint;
use crate::state::State;
use crate::state::rows::{JournalRow, UsageKey, UsageSums};
use crate::telemetry::metrics::Metrics;
use crate::telemetry::minutes::Minutes;
use crate::telemetry::request_log::RequestLog;
use crate::telemetry::spending::Spending;
use crate::time::Timestamp;

/// How a request ended.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub enum Ending {
    /// The client left before the end.
    Cancelled,
    /// The client was told of a failure: a status, or an error inside its stream.
    Failed,
    Served,
}

impl Ending {
    /// The name in journal and reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
            Self::Served => "served",
        }
    }
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
    /// Which secret served: its usage is counted apart from that of a key in its place before.
    pub fingerprint: Option<Fingerprint>,
    /// What it cost at list prices, where they are known.
    pub cost_usd: Option<f64>,
    /// The decision trail as JSON, for the journal; empty where [`Telemetry::wants_trail`] says no.
    pub trail: String,
}

/// The process's counters, and what of them is kept. One for all fronts.
#[derive(Default)]
pub struct Telemetry {
    pub metrics: Metrics,
    pub minutes: Minutes,
    pub spending: Spending,
    pub request_log: RequestLog,
    state: Option<State>,
    journal: JournalRate,
}

impl Telemetry {
    /// Counters whose sums and trails are kept in a state; `None` keeps them in memory only.
    pub fn new(state: Option<State>) -> Self {
        let telemetry = Self {
            metrics: Metrics::default(),
            minutes: Minutes::default(),
            spending: Spending::default(),
            request_log: RequestLog::default(),
            state,
            journal: JournalRate::default(),
        };
        telemetry.restore_spending(Timestamp::now());
        telemetry
    }

    /// What was spent today before this process began counts as well.
    fn restore_spending(&self, now: Timestamp) {
        let Some(state) = &self.state else { return };
        let until = now + Duration::from_hours(1);
        match state.usage(spending::midnight(now), until) {
            Ok(rows) => {
                for (key, sums) in rows {
                    self.spending
                        .add(&Arc::from(key.client), sums.cost_usd, now);
                }
            }
            Err(error) => tracing::warn!("cannot read what clients have spent today: {error}"),
        }
    }

    /// Whether the journal takes a request's trail. Failed ones always; of the others no more a
    /// second than a disk and a reader can use, so that making trails never slows a busy server.
    pub fn wants_trail(&self, ending: Ending) -> bool {
        self.state.is_some() && (ending == Ending::Failed || self.journal.admits(Timestamp::now()))
    }

    /// Counts a finished request, keeps its usage and trail, and logs its one line.
    pub fn finished(&self, request: Finished) {
        self.metrics.finished(&request);
        Self::log(&request);
        let now = Timestamp::now();
        self.minutes.add(&request, now);
        if let Some(dollars) = request.cost_usd {
            self.spending.add(&request.client, dollars, now);
        }
        let Some(state) = &self.state else { return };
        if let (Some(credential), Some(fingerprint)) = (&request.credential, request.fingerprint) {
            let key = UsageKey {
                hour: UsageKey::hour_of(now),
                provider: request.provider.clone(),
                model: request.model.clone(),
                credential: credential.to_string(),
                fingerprint: fingerprint.to_string(),
                client: request.client.to_string(),
            };
            state.record_usage(key, &sums(&request, now));
        }
        if request.trail.is_empty() {
            return;
        }
        let failed = request.ending == Ending::Failed;
        let row = JournalRow {
            id: request.id.to_string(),
            time: now,
            failed,
            value: request.trail,
        };
        state.record_journal(row);
    }

    fn log(request: &Finished) {
        let (id, provider, model) = (request.id, &request.provider, &request.model);
        let credential = request
            .credential
            .as_ref()
            .map_or("-", CredentialId::as_str);
        let duration_ms = millis(request.duration);
        let tokens = request.usage.map_or(0, |usage| usage.total());
        tracing::info!(
            request = %id,
            client = %request.client,
            provider,
            model,
            credential,
            status = request.status,
            ending = request.ending.as_str(),
            attempts = request.attempts,
            duration_ms,
            tokens,
            "{} {provider}/{model} by {credential} in {duration_ms} ms, attempt {}",
            request.status,
            request.attempts,
        );
    }
}

/// Trails of served requests kept a second. The journal holds the latest 10,000 anyway.
const MAX_TRAILS_A_SECOND: u64 = 200;

/// How many trails the current second has taken.
#[derive(Default)]
struct JournalRate {
    second: AtomicI64,
    taken: AtomicU64,
}

impl JournalRate {
    fn admits(&self, now: Timestamp) -> bool {
        let second = now.as_millis() / 1000;
        if self.second.swap(second, Ordering::Relaxed) != second {
            self.taken.store(0, Ordering::Relaxed);
        }
        self.taken.fetch_add(1, Ordering::Relaxed) < MAX_TRAILS_A_SECOND
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn sums(request: &Finished, now: Timestamp) -> UsageSums {
    let usage = request.usage.unwrap_or_default();
    UsageSums {
        requests: 1,
        failures: u64::from(request.ending == Ending::Failed),
        prompt_tokens: usage.input,
        cached_tokens: usage.cache_read,
        cache_write_tokens: usage.cache_write,
        completion_tokens: usage.output,
        reasoning_tokens: usage.reasoning,
        cost_usd: request.cost_usd.unwrap_or(0.0),
        estimated: u64::from(usage.estimated),
        timed: 1,
        duration_ms: millis(request.duration),
        first_tokens: u64::from(request.first_token.is_some()),
        first_token_ms: request.first_token.map_or(0, millis),
        last_used: now,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_second_fills_the_journal_only_so_far() {
        let rate = JournalRate::default();
        let now = Timestamp::from_secs(100);
        let taken = (0..1000).filter(|_| rate.admits(now)).count();
        assert_eq!(taken, 200);
        assert!(rate.admits(Timestamp::from_secs(101)));
    }
}
