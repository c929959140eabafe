//! The trip of a request: plan, attempt, relay, failure; the model catalogue. Used by `server` and
//! by the commands that need no server alike. Prints nothing and knows nothing of hyper's server.

pub mod accounts;
pub mod answer;
pub mod attempt;
pub mod build;
mod call;
pub mod catalog;
pub mod chunked;
pub mod clients;
#[expect(
    clippy::indexing_slicing,
    reason = "a document is null where it lacks something"
)]
pub mod conformance;
pub mod cost;
pub mod count;
pub mod enriched;
pub mod exchange;
pub mod facts;
pub mod failure;
pub mod first_token;
pub mod frames;
pub mod grades;
pub mod group;
pub mod headers;
pub mod inbound;
#[cfg(feature = "otlp")]
pub mod otlp;
mod overrides;
pub mod persist;
pub mod plan;
pub mod probe;
pub mod public_address;
pub mod quota_stats;
mod race;
pub mod readings;
pub mod reasoning;
pub mod relay;
pub mod remote_media;
pub mod reshape;
pub mod responses;
pub mod runtime;
pub mod settle;
pub mod shelf;
pub mod sink;
pub mod snapshot;
#[cfg(feature = "otlp")]
pub mod spans;
pub mod steer;
pub mod thoughts;
pub mod trail;
mod turns;
pub mod under_way;
pub mod upkeep;
pub mod upstream;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

use crate::gateway::group::Group;
use crate::gateway::persist::Persistence;
use crate::gateway::reasoning::Reasoning;
use crate::gateway::responses::Responses;
use crate::gateway::snapshot::Snapshot;
use crate::gateway::thoughts::Thoughts;
use crate::gateway::under_way::UnderWay;
use crate::state::State;
use crate::state::kept::Kept;
use crate::telemetry::Telemetry;
use crate::time::Timestamp;

/// The core that all fronts share. Cheap to clone behind its `Arc`.
pub struct Gateway {
    snapshot: ArcSwap<Snapshot>,
    pub telemetry: Telemetry,
    /// What clients may go on from by `previous_response_id`.
    pub responses: Responses,
    /// Signatures of thinking, for clients that cannot hold them.
    pub thoughts: Thoughts,
    /// Reasoning before tool calls, for models that want it back.
    pub reasoning: Reasoning,
    /// The file that keeps those three; `None` keeps them in memory only.
    pub kept: Option<Kept>,
    /// Requests that are not over.
    pub under_way: Arc<UnderWay>,
    /// `None` keeps everything in memory.
    pub persistence: Option<Arc<Persistence>>,
    /// The instances it shares its pools with; `None` where it is alone.
    pub group: Option<Arc<Group>>,
}

impl Gateway {
    /// A gateway over a first snapshot, its pools as the state knows them.
    pub fn new(snapshot: Snapshot, state: Option<State>) -> Arc<Self> {
        Self::in_group(snapshot, state, None, None)
    }

    /// The same, as one instance of a group, and with what is kept for clients.
    pub fn in_group(
        snapshot: Snapshot,
        state: Option<State>,
        group: Option<Arc<Group>>,
        kept: Option<Kept>,
    ) -> Arc<Self> {
        let now = Timestamp::now();
        let telemetry = Telemetry::new(state.clone());
        let persistence = state.map(|state| Persistence::new(state, group.clone()));
        let persistence = persistence.map(Arc::new);
        if let Some(persistence) = &persistence {
            persistence.restore(&snapshot, now);
        }
        if let Some(group) = &group {
            group.share_accounts(&snapshot);
        }
        Arc::new(Self {
            snapshot: ArcSwap::from_pointee(snapshot),
            telemetry,
            responses: Responses::kept_in(kept.clone()),
            thoughts: Thoughts::kept_in(kept.clone(), now),
            reasoning: Reasoning::kept_in(kept.clone(), now),
            kept,
            under_way: Arc::default(),
            persistence,
            group,
        })
    }

    /// What is in force now; a request keeps the one it began with.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// Puts a new configuration in force. Requests under way keep theirs.
    pub fn replace(&self, snapshot: Snapshot) {
        if let Some(persistence) = &self.persistence {
            // Credentials that are new here may have a past.
            persistence.record(&self.snapshot(), Timestamp::now());
            persistence.restore(&snapshot, Timestamp::now());
        }
        if let Some(group) = &self.group {
            group.share_accounts(&snapshot);
        }
        self.snapshot.store(Arc::new(snapshot));
    }

    /// Writes down what is not on disk yet; waits at most `patience`.
    pub fn flush(&self, patience: Duration) {
        self.telemetry.request_log.flush(patience);
        if let Some(Err(error)) = self.kept.as_ref().map(|kept| kept.flush(patience)) {
            tracing::warn!("{error}");
        }
        let Some(persistence) = &self.persistence else {
            return;
        };
        persistence.record(&self.snapshot(), Timestamp::now());
        if let Err(error) = persistence.state().flush(patience) {
            tracing::warn!("{error}");
        }
    }

    /// Silence in a stream after which a comment is sent; zero is never.
    pub fn keepalive(&self) -> Duration {
        self.snapshot.load().keepalive
    }
}
