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
mod session;
pub mod usage;
mod words;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use crate::gateway::Gateway;
use crate::gateway::group::ledger::Ledger;
use crate::gateway::group::names::Names;
use crate::gateway::group::words::{changed_ms, field};
use crate::gateway::quota_stats::document::{Instance as InstanceView, Instances, Today};
use crate::gateway::snapshot::Snapshot;
use crate::pool::Change;
use crate::state::redis::{Handover, Instance, Redis};

pub use clients::ClientAdmission;
pub use ledger::GroupLease;
pub use session::run;

/// Conversations told at once; where more begin, some are not told, and only cost a cache.
const MOST_SESSIONS: usize = 500;

/// Things on which the last word is remembered; then all are forgotten, and told once more.
const MOST_REMEMBERED: usize = 200_000;

/// The group this instance belongs to.
#[derive(Debug)]
pub struct Group {
    redis: Arc<Redis>,
    ledger: Arc<Ledger>,
    /// Whether the server's time is known and the others are listened to.
    is_joined: AtomicBool,
    instances: AtomicU32,
    outbox: Mutex<Outbox>,
    /// The version of what is kept of each provider, as last heard or read.
    heard: Mutex<HashMap<String, u64>>,
    /// Tells that the outbox has something.
    posted: Notify,
    /// Tells that the first try to join has ended, either way.
    settled: Notify,
    outages: AtomicU64,
    alone: AtomicU64,
    /// What all have served today, and when that was read.
    today: tokio::sync::Mutex<Option<(Instant, Today)>>,
}

#[derive(Debug, Default)]
struct Outbox {
    /// The latest word on each thing, by provider.
    words: HashMap<String, HashMap<String, Change>>,
    /// Conversations, by provider.
    sessions: HashMap<String, VecDeque<Change>>,
    /// Who may not be at fault, by provider: the latest word only.
    suspects: HashMap<String, Change>,
    /// When each thing last changed (by our clock), as it was told or heard.
    known: HashMap<(String, String), i64>,
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

    fn heard(&self) -> MutexGuard<'_, HashMap<String, u64>> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn outbox(&self) -> MutexGuard<'_, Outbox> {
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Outbox {
    /// Takes in a change, unless the others know it. Returns whether there is something to tell.
    fn post(&mut self, provider: &str, change: &Change) -> bool {
        if matches!(change, Change::Suspects(_)) {
            self.suspects.insert(provider.to_owned(), change.clone());
            return true;
        }
        let Some(field) = field(change) else {
            let sessions = self.sessions.entry(provider.to_owned()).or_default();
            if sessions.len() < MOST_SESSIONS {
                sessions.push_back(change.clone());
            }
            return true;
        };
        if !self.is_news(provider, change) {
            return false;
        }
        let words = self.words.entry(provider.to_owned()).or_default();
        words.insert(field, change.clone());
        true
    }

    /// Notes when a thing last changed. Returns whether that is news.
    fn note(&mut self, provider: &str, field: &str, changed_ms: i64) -> bool {
        if self.known.len() >= MOST_REMEMBERED {
            self.known.clear();
        }
        let key = (provider.to_owned(), field.to_owned());
        self.known.insert(key, changed_ms) != Some(changed_ms)
    }

    /// Forgets what is known to the others of a provider.
    fn forget(&mut self, provider: &str) {
        self.known.retain(|(known, _), _| known != provider);
    }

    /// Whether the others do not know of this; they are taken to know it from now on.
    fn is_news(&mut self, provider: &str, change: &Change) -> bool {
        let (Some(field), Some(changed)) = (field(change), changed_ms(change)) else {
            return false;
        };
        changed != 0 && self.note(provider, &field, changed)
    }

    fn has_words(&self) -> bool {
        !self.words.is_empty() || !self.suspects.is_empty()
    }
}

/// A provider's name with what is to be told of its credentials: words that are kept, and passing
/// ones.
type Letter = (String, Vec<Change>, Vec<Change>);

impl Group {
    /// Empties the outbox.
    fn letters(&self) -> Vec<Letter> {
        let mut outbox = self.outbox();
        let mut words = std::mem::take(&mut outbox.words);
        let mut sessions = std::mem::take(&mut outbox.sessions);
        let mut suspects = std::mem::take(&mut outbox.suspects);
        drop(outbox);
        let providers = words.keys().chain(sessions.keys()).chain(suspects.keys());
        let mut providers: Vec<String> = providers.cloned().collect();
        providers.sort_unstable();
        providers.dedup();
        let letters = providers.into_iter().map(|provider| {
            let kept = words.remove(&provider).unwrap_or_default();
            let mut passing = sessions.remove(&provider).unwrap_or_default();
            passing.extend(suspects.remove(&provider));
            (provider, kept.into_values().collect(), passing.into())
        });
        letters.collect()
    }
}

/// All that a letter says, in the group's terms.
fn addressed(changes: Vec<Change>, names: &Names, offset_ms: i64) -> Vec<Change> {
    let changes = changes.into_iter();
    changes
        .filter_map(|change| words::outgoing(change, names, offset_ms))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::{SavedCredential, SavedSession, Standing};

    fn word(changed_ms: i64) -> Change {
        Change::Credential(SavedCredential {
            credential: "acme/1".to_owned(),
            fingerprint: "f".to_owned(),
            standing: Standing::Usable,
            cooldown: None,
            strikes: 0,
            benched_ms: None,
            changed_ms,
        })
    }

    #[test]
    fn what_the_others_know_is_not_told_again() {
        let mut outbox = Outbox::default();
        assert!(outbox.post("acme", &word(5)));
        assert!(!outbox.post("acme", &word(5)), "told already");
        assert!(!outbox.post("acme", &word(0)), "nothing ever happened");
        assert!(outbox.post("acme", &word(6)));
        assert_eq!(outbox.words["acme"].len(), 1, "only the latest");
        assert!(outbox.note("acme", "f:credential", 7), "heard");
        assert!(!outbox.post("acme", &word(7)), "others said so");
    }

    #[test]
    fn conversations_that_wait_are_bounded() {
        let mut outbox = Outbox::default();
        for key in 0..2 * MOST_SESSIONS as u64 {
            let session = SavedSession {
                key,
                credential: "acme/1".to_owned(),
                used_ms: 1,
            };
            assert!(outbox.post("acme", &Change::Session(session)));
        }
        assert_eq!(outbox.sessions["acme"].len(), MOST_SESSIONS);
    }
}
