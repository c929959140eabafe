//! Several gateways as one pool: this instance's side of it.
//!
//! Requests ask the group only where a limit holds for all instances together (`admit`); of
//! everything else they are told as it happens (`words`). While the server is away each goes on with
//! its own memory and with its share of the limits; what it used meanwhile is told when the server
//! is back (`ledger`).

mod admit;
mod clients;
mod ledger;
pub mod names;
mod outbox;
mod session;
#[cfg(test)]
mod simulate;
pub mod usage;
mod words;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use crate::gateway::Gateway;
use crate::gateway::group::ledger::Ledger;
use crate::gateway::group::outbox::{Heard, Outbox};
use crate::gateway::quota_stats::document::{Instance as InstanceView, Instances, Today};
use crate::gateway::snapshot::Snapshot;
use crate::pool::Change;
use crate::state::redis::{Handover, Instance, Redis};

pub use clients::ClientAdmission;
pub use ledger::GroupLease;
pub use session::run;

/// The group this instance belongs to.
#[derive(Debug)]
pub struct Group {
    redis: Arc<Redis>,
    ledger: Arc<Ledger>,
    /// Whether the server's time is known and the others are listened to.
    is_joined: AtomicBool,
    instances: AtomicU32,
    outbox: Mutex<Outbox>,
    heard: Mutex<Heard>,
    /// Tells that the outbox has something.
    posted: Notify,
    /// Tells that the first try to join has ended, either way.
    settled: Notify,
    outages: AtomicU64,
    alone: AtomicU64,
    /// What all have served today, and when that was read.
    today: tokio::sync::Mutex<Option<(Instant, Today)>>,
}

/// What an instance says of itself.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Said {
    version: String,
    /// Tells whether it names credentials alike.
    names: String,
    /// How many leases it holds under limits that hold for all, by credential.
    leases: BTreeMap<String, u32>,
}

/// How the group does, for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wellbeing {
    pub is_up: bool,
    /// Instances that are there, this one included.
    pub instances: u32,
    /// Times the server was lost.
    pub outages: u64,
    /// Requests that were decided without it.
    pub alone: u64,
    /// Requests that the group never heard of.
    pub untold: u64,
}

impl Group {
    /// A group that meets at this server.
    pub fn new(redis: Arc<Redis>) -> Self {
        Self {
            redis,
            ledger: Arc::default(),
            is_joined: AtomicBool::new(false),
            instances: AtomicU32::new(1),
            outbox: Mutex::default(),
            heard: Mutex::default(),
            posted: Notify::new(),
            settled: Notify::new(),
            outages: AtomicU64::new(0),
            alone: AtomicU64::new(0),
            today: tokio::sync::Mutex::default(),
        }
    }

    /// Waits until this instance has joined, or has found that it cannot now; for one listener, and
    /// no longer than `patience`. Whoever serves before decides without the others.
    pub async fn settled(&self, patience: Duration) {
        // Late is as good as away.
        let _ = timeout(patience, self.settled.notified()).await;
    }

    /// The server they meet at.
    pub const fn redis(&self) -> &Arc<Redis> {
        &self.redis
    }

    /// Has the accounts of a snapshot refreshed by one instance at a time.
    pub fn share_accounts(&self, snapshot: &Snapshot) {
        for runtime in snapshot.providers.values() {
            for holder in runtime.holders.values() {
                if let (Some(account), Some(name)) =
                    (holder.account(), runtime.names.of(&holder.id))
                {
                    let handover = Handover::new(Arc::clone(&self.redis), name);
                    account.live.share(handover);
                }
            }
        }
    }

    /// The instances that are there and what they hold, for reports.
    pub async fn instances_now(&self) -> Instances {
        let heard = self.redis.instances().await;
        let of = |one: &Instance| {
            let said: Said = serde_json::from_str(&one.words).unwrap_or_default();
            InstanceView {
                id: one.id.clone(),
                is_this: one.id == self.redis.instance(),
                version: said.version,
                is_named_alike: said.names == self.redis.mark(),
                leases: said.leases,
            }
        };
        Instances {
            is_up: heard.is_ok(),
            trouble: self.redis.trouble(),
            instances: heard.unwrap_or_default().iter().map(of).collect(),
            today: None,
        }
    }

    /// The same, with what all of them have served today.
    pub async fn report(&self, gateway: &Arc<Gateway>) -> Instances {
        let mut instances = self.instances_now().await;
        if instances.is_up {
            instances.today = self.today(gateway).await;
        }
        instances
    }

    /// How the group does.
    pub fn wellbeing(&self) -> Wellbeing {
        Wellbeing {
            is_up: self.redis.is_up(),
            instances: self.instances(),
            outages: self.outages.load(Ordering::Relaxed),
            alone: self.alone.load(Ordering::Relaxed),
            untold: self.ledger.given_up(),
        }
    }

    /// Instances that are there, as far as is known.
    fn instances(&self) -> u32 {
        self.instances.load(Ordering::Relaxed).max(1)
    }

    /// Tells the others of a change, soon. What changes while the server is away is told as a
    /// whole when it is back.
    pub fn tell(&self, provider: &str, change: &Change) {
        if !self.is_joined.load(Ordering::Acquire) {
            return;
        }
        let mut outbox = self.outbox();
        if outbox.post(provider, change) {
            drop(outbox);
            self.posted.notify_one();
        }
    }

    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn outbox(&self) -> MutexGuard<'_, Outbox> {
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
