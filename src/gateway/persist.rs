//! The pools' shadow on disk: what changes is written down, what was written is taken back at the
//! start, and what another process wrote is taken over while running.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::select_all;

use crate::gateway::Gateway;
use crate::gateway::group::Group;
use crate::gateway::runtime::ProviderRuntime;
use crate::gateway::snapshot::Snapshot;
use crate::pool::{Change, Pool, SavedSession, Standing};
use crate::state::State;
use crate::state::rows::{CredentialKey, CredentialRow, SessionRow, Version};
use crate::time::Timestamp;

/// How often counts are written and other processes' changes looked for. Cooldowns and states do
/// not wait for it.
const INTERVAL: Duration = Duration::from_millis(500);

/// Conversations taken back at the start, the latest ones.
const MAX_SESSIONS: u32 = 100_000;

/// Conversations older than this are forgotten by the pool as well.
const SESSION_LIFE: Duration = Duration::from_hours(1);

/// The state, and what of it this process knows.
pub struct Persistence {
    state: State,
    /// Who is told of changes besides.
    group: Option<Arc<Group>>,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// Up to where other processes' changes have been read.
    version: Version,
    /// A hash of each row as this process wrote or read it last: what differs is another's.
    rows: HashMap<CredentialKey, u64>,
}

impl Persistence {
    /// Persistence over an opened state.
    pub fn new(state: State, group: Option<Arc<Group>>) -> Self {
        Self {
            state,
            group,
            known: Mutex::default(),
        }
    }

    /// The state itself, for usage and journal.
    pub const fn state(&self) -> &State {
        &self.state
    }

    /// Takes back everything for the pools of a snapshot. A state that cannot be read is a warning:
    /// the pools start fresh.
    pub fn restore(&self, snapshot: &Snapshot, now: Timestamp) {
        let changes = match self.state.credentials() {
            Ok(changes) => changes,
            Err(error) => {
                tracing::warn!("cannot read the state, starting fresh: {error}");
                return;
            }
        };
        self.known().version = changes.version;
        let mut by_provider: HashMap<String, Vec<Change>> = HashMap::new();
        for row in changes.rows {
            if let Some(mut change) = self.read(&row) {
                if let Some(runtime) = snapshot.providers.get(&row.key.provider) {
                    heed_log_in(runtime, &mut change);
                }
                by_provider
                    .entry(row.key.provider)
                    .or_default()
                    .push(change);
            }
        }
        for row in self
            .state
            .sessions(now - SESSION_LIFE, MAX_SESSIONS)
            .unwrap_or_default()
        {
            let saved = SavedSession {
                key: row.session,
                credential: row.credential,
                used_ms: row.used.as_millis(),
            };
            by_provider
                .entry(row.provider)
                .or_default()
                .push(Change::Session(saved));
        }
        for (provider, saved) in by_provider {
            if let Some(runtime) = snapshot.providers.get(&provider) {
                runtime.pool.restore(saved, now);
            }
        }
    }

    /// Writes down what has changed in the pools.
    pub fn record(&self, snapshot: &Snapshot, now: Timestamp) {
        for (provider, runtime) in &snapshot.providers {
            for change in runtime.pool.drain_changes() {
                if let Some(group) = &self.group {
                    group.tell(provider, &change);
                }
                match row_of(provider, &change, now) {
                    Row::None => {}
                    Row::Credential(row) => {
                        let hash = hash_of(row.value.as_deref());
                        self.known().rows.insert(row.key.clone(), hash);
                        self.state.record_credential(row);
                    }
                    Row::Session(row) => self.state.record_session(row),
                }
            }
        }
    }

    /// Writes down what has changed here, and takes over what has changed elsewhere. Blocks on the
    /// database.
    pub fn catch_up(&self, snapshot: &Snapshot, now: Timestamp) {
        self.record(snapshot, now);
        self.follow(snapshot, now);
    }

    /// Takes over what another process has written since the last call. Blocks on the database.
    pub fn follow(&self, snapshot: &Snapshot, now: Timestamp) {
        let since = self.known().version;
        let Ok(changes) = self.state.changes_since(since) else {
            return;
        };
        self.known().version = changes.version;
        for row in changes.rows {
            let own = self.known().rows.get(&row.key).copied();
            if own == Some(hash_of(row.value.as_deref())) {
                continue;
            }
            if let Some(runtime) = snapshot.providers.get(&row.key.provider)
                && let Some(mut change) = self.read(&row)
            {
                heed_log_in(runtime, &mut change);
                runtime.pool.restore(vec![change], now);
            }
        }
    }

    fn read(&self, row: &CredentialRow) -> Option<Change> {
        self.known()
            .rows
            .insert(row.key.clone(), hash_of(row.value.as_deref()));
        // A record of a newer version may have a shape unknown here: passed over, not lost.
        serde_json::from_str(row.value.as_deref()?).ok()
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether an account needs a log-in is written in its file: what the state remembers of that is
/// old once somebody has logged in.
pub(super) fn heed_log_in(runtime: &ProviderRuntime, change: &mut Change) {
    let Change::Credential(saved) = change else {
        return;
    };
    let holders = runtime.holders.values();
    let account = holders
        .filter(|holder| holder.id.as_str() == saved.credential.as_str())
        .find_map(|holder| holder.account());
    if saved.standing == Standing::Expired
        && account.is_some_and(|account| account.live.account().expired_reason.is_none())
    {
        saved.standing = Standing::Usable;
    }
}

/// Keeps the state up to date for as long as the gateway serves.
pub async fn run(gateway: Arc<Gateway>) {
    let Some(persistence) = gateway.persistence.clone() else {
        return;
    };
    loop {
        let snapshot = gateway.snapshot();
        let pools = snapshot
            .providers
            .values()
            .map(|runtime| Box::pin(urgent(&runtime.pool)));
        let pools: Vec<_> = pools.collect();
        if pools.is_empty() {
            tokio::time::sleep(INTERVAL).await;
        } else {
            // Which pool it was does not matter: all are drained.
            let _ = tokio::time::timeout(INTERVAL, select_all(pools)).await;
        }
        let now = Timestamp::now();
        persistence.record(&snapshot, now);
        let (persistence, snapshot) = (Arc::clone(&persistence), Arc::clone(&snapshot));
        // Reading the database blocks: not on the runtime's own threads.
        let _ = tokio::task::spawn_blocking(move || persistence.follow(&snapshot, now)).await;
    }
}

async fn urgent(pool: &Arc<Pool>) {
    pool.urgent_changes().await;
}

enum Row {
    Credential(CredentialRow),
    None,
    Session(SessionRow),
}

fn row_of(provider: &str, change: &Change, now: Timestamp) -> Row {
    let (credential, fingerprint, class, kind) = match change {
        Change::Class(saved) => {
            let kind = if saved.is_group { "group" } else { "model" };
            (
                &saved.credential,
                &saved.fingerprint,
                saved.class.clone(),
                kind,
            )
        }
        Change::Credential(saved) => (
            &saved.credential,
            &saved.fingerprint,
            String::new(),
            "credential",
        ),
        Change::Pause(_) | Change::Suspects(_) => return Row::None,
        Change::Session(saved) => {
            return Row::Session(SessionRow {
                provider: provider.to_owned(),
                session: saved.key,
                credential: saved.credential.clone(),
                used: Timestamp::from_millis(saved.used_ms),
            });
        }
    };
    Row::Credential(CredentialRow {
        key: CredentialKey {
            provider: provider.to_owned(),
            fingerprint: fingerprint.clone(),
            class,
            kind: kind.to_owned(),
        },
        credential: credential.clone(),
        value: serde_json::to_string(change).ok(),
        updated: now,
    })
}

fn hash_of(value: Option<&str>) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}
