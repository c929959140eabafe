//! What survives a restart: credential states, usage, the journal of requests, sessions.
//!
//! Rows are generic; pool and telemetry decide what is in them. The memory of the running process
//! is the truth, this is its shadow on disk: recording never waits and never fails, a writer
//! thread follows within 100 ms for states and within a second for counts, at once for the first
//! counts after a quiet while. Several processes (a server and a `chat`) share one file and see each
//! other's changes.

pub mod kept;
mod pace;
pub mod redis;
pub mod rows;
mod sqlite;
mod unwritten;
mod writer;

use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use thiserror::Error;

use crate::state::rows::{
    Changes, CredentialRow, JournalRow, SessionRow, UsageKey, UsageSums, Version,
};
use crate::state::sqlite::Database;
use crate::state::unwritten::Unwritten;
use crate::state::writer::{Haste, Writer};
use crate::time::Timestamp;

/// States are promised on disk within 100 ms; half of that is left for the disk.
const STATE_DELAY: Duration = Duration::from_millis(50);

/// Where state is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Backend {
    /// In this process only.
    Memory,
    /// In an SQLite file, created with its directory where missing.
    Sqlite(PathBuf),
}

/// Something the user should know about the state file; the program goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// What happened, one sentence naming the file.
    pub text: String,
    /// What to do about it.
    pub hint: String,
}

/// How writing goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Why the last write failed; `None` when all is well. What was not written is kept and tried
    /// again.
    pub failing: Option<String>,
    /// Journal entries given up because too many were waiting.
    pub journal_dropped: u64,
}

/// Why something could not be read or written.
#[derive(Debug, Error)]
pub enum StateError {
    #[error("the state database failed: {0}")]
    Database(String),
    #[error("the state could not be written in time")]
    Late,
}

/// A handle to the state; cloning shares it. The last one to go writes what is left.
#[derive(Clone)]
pub struct State {
    shared: Arc<Shared>,
}

struct Shared {
    /// `None` where no thread could be started: nothing is kept then.
    writer: Option<Writer<Unwritten>>,
    database: Arc<Mutex<Database>>,
    journal_dropped: AtomicU64,
}

impl State {
    /// Opens the state.
    ///
    /// Never fails: a damaged file is moved aside (`state.db.corrupt-<time>`), and where no file
    /// can be used at all the state lives in memory. The notice says so.
    pub fn open(backend: &Backend, now: Timestamp) -> (Self, Option<Notice>) {
        let (database, notice) = Database::open(backend, now);
        let database = Arc::new(Mutex::new(database));
        let writing = Arc::clone(&database);
        let write = move |rows: &Unwritten| lock(&writing).write(rows);
        let writer = Writer::spawn("state", write, || {});
        let (writer, notice) = match writer {
            Ok(writer) => (Some(writer), notice),
            Err(error) => {
                let notice = Notice {
                    text: format!("cannot start the state writer ({error}); nothing is kept"),
                    hint: "check the limit on threads (ulimit -u)".to_owned(),
                };
                (None, Some(notice))
            }
        };
        let shared = Shared {
            writer,
            database,
            journal_dropped: AtomicU64::new(0),
        };
        (
            Self {
                shared: Arc::new(shared),
            },
            notice,
        )
    }

    /// Records a credential's state, in the place of what was there; on disk within 100 ms.
    pub fn record_credential(&self, row: CredentialRow) {
        self.record(Haste::Within(STATE_DELAY), |rows| rows.credential(row));
    }

    /// Adds to the counts of one hour; on disk within a second, and at once after a quiet while.
    pub fn record_usage(&self, key: UsageKey, sums: &UsageSums) {
        self.record(Haste::Paced, |rows| rows.usage(key, sums));
    }

    /// Appends to the journal of requests, which keeps the latest 10,000; on disk when counts are.
    pub fn record_journal(&self, row: JournalRow) {
        self.record(Haste::Paced, |rows| {
            let dropped = u64::try_from(rows.journal(row)).unwrap_or(u64::MAX);
            let all = &self.shared.journal_dropped;
            all.fetch_add(dropped, Ordering::Relaxed);
        });
    }

    /// Records which credential a session used last.
    pub fn record_session(&self, row: SessionRow) {
        self.record(Haste::Within(pace::PERIOD), |rows| rows.session(row));
    }

    fn record(&self, haste: Haste, change: impl FnOnce(&mut Unwritten)) {
        if let Some(writer) = &self.shared.writer {
            writer.record(haste, change);
        }
    }

    /// Waits until all that was recorded before is written.
    ///
    /// Fails with [`StateError::Late`] when `patience` ends first; nothing is lost by that.
    pub fn flush(&self, patience: Duration) -> Result<(), StateError> {
        let writer = self.shared.writer.as_ref();
        if writer.is_some_and(|writer| writer.flush(patience)) {
            return Ok(());
        }
        Err(StateError::Late)
    }

    /// How writing goes.
    pub fn health(&self) -> Health {
        Health {
            failing: self.shared.writer.as_ref().and_then(Writer::failing),
            journal_dropped: self.shared.journal_dropped.load(Ordering::Relaxed),
        }
    }

    /// All credential states that hold, whoever wrote them, and the version they stand at.
    pub fn credentials(&self) -> Result<Changes, StateError> {
        self.database().credentials()
    }

    /// Credential states that other processes wrote or cleared after `version`. Cheap when there
    /// are none: fit for asking several times a second.
    pub fn changes_since(&self, version: Version) -> Result<Changes, StateError> {
        self.database().changes_since(version)
    }

    /// Usage of all hours that lie in `since..until`, each hour's rows apart.
    pub fn usage(
        &self,
        since: Timestamp,
        until: Timestamp,
    ) -> Result<Vec<(UsageKey, UsageSums)>, StateError> {
        self.database().usage(since, until)
    }

    /// What this state's usage is called among those of others: 16 hex digits, the same as long as
    /// the counts go on.
    pub fn book(&self) -> Result<String, StateError> {
        Ok(format!("{:016x}", self.database().book()?))
    }

    /// One entry of the journal.
    pub fn journal_entry(&self, id: &str) -> Result<Option<JournalRow>, StateError> {
        self.database().journal_entry(id)
    }

    /// The latest entries of the journal, newest first; only failed ones on demand.
    pub fn journal(&self, limit: u32, only_failed: bool) -> Result<Vec<JournalRow>, StateError> {
        self.database().journal(limit, only_failed)
    }

    /// Sessions used since the given time, latest first, at most `limit`.
    pub fn sessions(&self, since: Timestamp, limit: u32) -> Result<Vec<SessionRow>, StateError> {
        self.database().sessions(since, limit)
    }

    fn database(&self) -> std::sync::MutexGuard<'_, Database> {
        lock(&self.shared.database)
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").finish_non_exhaustive()
    }
}

fn lock(database: &Mutex<Database>) -> std::sync::MutexGuard<'_, Database> {
    database.lock().unwrap_or_else(PoisonError::into_inner)
}
