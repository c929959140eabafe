//! What happened, counted: metrics, and the record of each finished request that usage and
//! journal are made of. Knows no routes and takes no decisions.

pub mod journal;
pub mod metrics;
pub mod minutes;
pub mod request_line;
pub mod request_log;
pub mod spending;
#[cfg(feature = "otlp")]
pub mod traces;

use std::cmp::Reverse;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::dialects::usage::Usage;
use crate::ids::{CredentialId, RequestId};
use crate::secret::Fingerprint;
use crate::state::rows::{JournalRow, UsageKey, UsageSums};
use crate::state::{State, StateError};
use crate::telemetry::journal::{Entry, Journal, Story};
use crate::telemetry::metrics::Metrics;
use crate::telemetry::minutes::{Minute, Minutes};
use crate::telemetry::request_log::RequestLog;
use crate::telemetry::spending::Spending;
#[cfg(feature = "otlp")]
use crate::telemetry::traces::Traces;
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
    /// What there is to tell of it, for the journal.
    pub story: Arc<dyn Story>,
}

/// Trails that are read to know what the last hour was like: the state keeps no more.
const MAX_RESTORED: u32 = 10_000;

/// The process's counters, and what of them is kept. One for all fronts.
#[derive(Default)]
pub struct Telemetry {
    pub metrics: Metrics,
    pub minutes: Minutes,
    pub spending: Spending,
    pub request_log: RequestLog,
    #[cfg(feature = "otlp")]
    pub traces: Traces,
    journal: Journal,
    state: Option<State>,
}

impl Telemetry {
    /// Counters whose sums and trails are kept in a state; `None` keeps them in memory only.
    pub fn new(state: Option<State>) -> Self {
        let telemetry = Self {
            metrics: Metrics::default(),
            minutes: Minutes::default(),
            spending: Spending::default(),
            request_log: RequestLog::default(),
            #[cfg(feature = "otlp")]
            traces: Traces::default(),
            journal: Journal::default(),
            state,
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
                        .restore(&Arc::from(key.client), sums.cost_usd, now);
                }
            }
            Err(error) => tracing::warn!("cannot read what clients have spent today: {error}"),
        }
    }

    /// What the last hour was like before this process began, from the trails in the state: charts
    /// go on after a restart. Reads up to 10,000 of them: not for a runtime's own threads.
    #[expect(
        clippy::indexing_slicing,
        reason = "a document is null where it lacks something"
    )]
    pub fn restore_minutes(&self, began: Timestamp) {
        let Some(state) = &self.state else { return };
        let rows = match state.journal(MAX_RESTORED, false) {
            Ok(rows) => rows,
            Err(error) => return tracing::warn!("cannot read the last hour's requests: {error}"),
        };
        let earlier = rows.into_iter().filter(|row| row.time < began);
        let is_recent = |row: &JournalRow| began.since(row.time) < Duration::from_hours(1);
        for row in earlier.take_while(is_recent) {
            let trail: Value = serde_json::from_str(&row.value).unwrap_or_default();
            let tokens = |kind: &str| trail["usage"][kind].as_u64().unwrap_or(0);
            let seen = Minute {
                requests: 1,
                failures: u64::from(row.failed),
                input_tokens: tokens("prompt_tokens"),
                output_tokens: tokens("completion_tokens"),
                cost_usd: trail["cost_usd"].as_f64().unwrap_or(0.0),
            };
            self.minutes.add_seen(row.time, seen, Timestamp::now());
        }
    }

    /// The trail of a request by its id or the beginning of it: from memory, else from the state,
    /// which is asked for the whole id.
    pub fn request(&self, id: &str) -> Result<Option<JournalRow>, StateError> {
        if let Some(entry) = self.journal.find(id) {
            return Ok(Some(entry.row()));
        }
        match &self.state {
            Some(state) => state.journal_entry(id),
            None => Ok(None),
        }
    }

    /// The latest requests, newest first: our own, and those of other processes that share the
    /// state.
    pub fn latest_requests(&self, most: usize) -> Result<Vec<JournalRow>, StateError> {
        let ours = self.journal.latest(most);
        let written = match &self.state {
            Some(state) => state.journal(u32::try_from(most).unwrap_or(u32::MAX), false)?,
            None => Vec::new(),
        };
        let mut rows: Vec<JournalRow> = ours.iter().map(Entry::row).collect();
        let known: HashSet<String> = rows.iter().map(|row| row.id.clone()).collect();
        rows.extend(written.into_iter().filter(|row| !known.contains(&row.id)));
        rows.sort_by_key(|row| Reverse(row.time));
        rows.truncate(most);
        Ok(rows)
    }

    /// Counts a finished request, keeps its usage and trail, and logs its one line.
    pub fn finished(&self, request: Finished) {
        self.metrics.finished(&request);
        request_line::log(&request);
        let now = Timestamp::now();
        self.minutes.add(&request, now);
        if let Some(dollars) = request.cost_usd {
            self.spending.add(&request.client, dollars, now);
        }
        let entry = Entry {
            id: request.id,
            time: now,
            failed: request.ending == Ending::Failed,
            story: Arc::clone(&request.story),
        };
        #[cfg(feature = "otlp")]
        self.traces.take(entry.id, &entry.story);
        let is_written = self.journal.note(entry.clone());
        let Some(state) = &self.state else { return };
        if is_written {
            state.record_journal(entry.row());
        }
        let sums = sums(&request, now);
        if let (Some(credential), Some(fingerprint)) = (request.credential, request.fingerprint) {
            let key = UsageKey {
                hour: UsageKey::hour_of(now),
                provider: request.provider,
                model: request.model,
                credential: credential.to_string(),
                fingerprint: fingerprint.to_string(),
                client: request.client.to_string(),
            };
            state.record_usage(key, &sums);
        }
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
