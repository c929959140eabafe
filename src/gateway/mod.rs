//! The trip of a request: plan, attempt, relay, failure; the model catalogue. Used by `server` and
//! by the commands that need no server alike. Prints nothing and knows nothing of hyper's server.

pub mod answer;
pub mod attempt;
pub mod build;
pub mod catalog;
pub mod exchange;
pub mod failure;
pub mod first_token;
pub mod headers;
pub mod inbound;
pub mod plan;
pub mod probe;
pub mod relay;
pub mod runtime;
pub mod settle;
pub mod sink;
pub mod snapshot;
pub mod trail;
pub mod upstream;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

use crate::gateway::snapshot::Snapshot;
use crate::telemetry::Telemetry;

/// The core that all fronts share. Cheap to clone behind its `Arc`.
pub struct Gateway {
    snapshot: ArcSwap<Snapshot>,
    pub telemetry: Telemetry,
}

impl Gateway {
    /// A gateway over a first snapshot.
    pub fn new(snapshot: Snapshot) -> Arc<Self> {
        Arc::new(Self {
            snapshot: ArcSwap::from_pointee(snapshot),
            telemetry: Telemetry::default(),
        })
    }

    /// What is in force now; a request keeps the one it began with.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// Puts a new configuration in force. Requests under way keep theirs.
    pub fn replace(&self, snapshot: Snapshot) {
        self.snapshot.store(Arc::new(snapshot));
    }

    /// Silence in a stream after which a comment is sent; zero is never.
    pub fn keepalive(&self) -> Duration {
        self.snapshot.load().keepalive
    }
}
