//! The state in SQLite: opening, repairing by moving aside, and the writer's transaction.
//!
//! WAL with `synchronous = NORMAL`: a commit survives the death of the process, and a power cut may
//! take the last moments but never the file.

mod file;
pub(super) mod kept;
mod queries;
mod schema;

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, TransactionBehavior};

use crate::state::rows::{Changes, JournalRow, SessionRow, UsageKey, UsageSums, Version};
use crate::state::sqlite::file::{
    Fault, Identity, failed, identity, is_corrupt, move_aside, notice, opening_lock,
};
use crate::state::sqlite::schema::Schema;
use crate::state::unwritten::Unwritten;
use crate::state::{Backend, Notice, StateError};
use crate::time::Timestamp;

/// How often what is old is cleared away; opening does so as well.
const CLEAR_EVERY: Duration = Duration::from_hours(6);

/// One connection, in a file or in memory.
pub(super) struct Database {
    connection: Connection,
    /// The file and which one it was when opened; `None` in memory.
    file: Option<(PathBuf, Identity)>,
    /// Tells our own changes from those of other processes.
    writer: i64,
    /// When what is old was last cleared away.
    cleared: Timestamp,
}

impl Database {
    /// Opens what the backend names; whatever is wrong with it, there is a database afterwards.
    pub(super) fn open(backend: &Backend, now: Timestamp) -> (Self, Option<Notice>) {
        let Backend::Sqlite(path) = backend else {
            return (Self::in_memory(now), None);
        };
        let _lock = opening_lock(path);
        match Self::open_file(path, now) {
            Ok(database) => (database, None),
            Err(Fault::Corrupt(reason)) => Self::start_anew(path, &reason, now),
            Err(Fault::Newer(version)) => {
                let text = format!(
                    "{} was written by a newer llmproxy (format {version}); state is kept in memory only",
                    path.display()
                );
                (Self::in_memory(now), Some(notice(text, "update llmproxy")))
            }
            Err(Fault::Unusable(reason)) => (Self::in_memory(now), Some(unusable(path, &reason))),
        }
    }

    /// Writes a batch as one transaction.
    pub(super) fn write(&mut self, batch: &Unwritten) -> Result<(), StateError> {
        if self.is_file_gone() {
            self.reopen()?;
        }
        match self.commit(batch) {
            Ok(()) => {
                self.clear_away(Timestamp::now());
                Ok(())
            }
            Err(error) if is_corrupt(&error) => {
                self.reopen()?;
                self.commit(batch).map_err(|error| failed(&error))
            }
            Err(error) => Err(failed(&error)),
        }
    }

    pub(super) fn credentials(&self) -> Result<Changes, StateError> {
        queries::credentials(&self.connection).map_err(|error| failed(&error))
    }

    pub(super) fn changes_since(&self, version: Version) -> Result<Changes, StateError> {
        queries::changes_since(&self.connection, version, self.writer)
            .map_err(|error| failed(&error))
    }

    pub(super) fn usage(
        &self,
        since: Timestamp,
        until: Timestamp,
    ) -> Result<Vec<(UsageKey, UsageSums)>, StateError> {
        queries::usage(&self.connection, since, until).map_err(|error| failed(&error))
    }

    pub(super) fn book(&self) -> Result<i64, StateError> {
        queries::book(&self.connection).map_err(|error| failed(&error))
    }

    pub(super) fn journal_entry(&self, id: &str) -> Result<Option<JournalRow>, StateError> {
        queries::journal_entry(&self.connection, id).map_err(|error| failed(&error))
    }

    pub(super) fn journal(
        &self,
        limit: u32,
        only_failed: bool,
    ) -> Result<Vec<JournalRow>, StateError> {
        queries::journal(&self.connection, limit, only_failed).map_err(|error| failed(&error))
    }

    pub(super) fn sessions(
        &self,
        since: Timestamp,
        limit: u32,
    ) -> Result<Vec<SessionRow>, StateError> {
        queries::sessions(&self.connection, since, limit).map_err(|error| failed(&error))
    }

    /// What cannot be cleared away now can be next time.
    fn clear_away(&mut self, now: Timestamp) {
        if now.since(self.cleared) < CLEAR_EVERY {
            return;
        }
        self.cleared = now;
        if let Err(error) = schema::clear_away(&mut self.connection, now) {
            tracing::debug!("the state cannot be cleared of what is old: {error}");
        }
    }

    fn commit(&mut self, batch: &Unwritten) -> rusqlite::Result<()> {
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        queries::write(&transaction, batch, self.writer)?;
        transaction.commit()
    }

    fn open_file(path: &Path, now: Timestamp) -> Result<Self, Fault> {
        let mut connection = file::open(path)?;
        match schema::migrate(&mut connection, now).map_err(Fault::from)? {
            Schema::Current => {}
            Schema::Newer(version) => return Err(Fault::Newer(version)),
        }
        Ok(Self {
            connection,
            file: Some((path.to_owned(), identity(path))),
            writer: fastrand::i64(1..),
            cleared: Timestamp::now(),
        })
    }

    /// Moves a damaged file aside and begins a new one in its place.
    fn start_anew(path: &Path, reason: &str, now: Timestamp) -> (Self, Option<Notice>) {
        let aside = match move_aside(path, now) {
            Ok(aside) => aside,
            Err(error) => {
                let reason = format!("{reason}, and it cannot be moved aside: {error}");
                return (Self::in_memory(now), Some(unusable(path, &reason)));
            }
        };
        match Self::open_file(path, now) {
            Ok(database) => {
                let text = format!(
                    "{} was damaged ({reason}) and was moved to {}; counts and cooldowns start anew",
                    path.display(),
                    aside.display()
                );
                let hint = "no credential is lost; delete the moved file when you do not need it";
                (database, Some(notice(text, hint)))
            }
            Err(_) => (Self::in_memory(now), Some(unusable(path, reason))),
        }
    }

    #[expect(clippy::expect_used, reason = "nothing of it comes from outside")]
    fn in_memory(now: Timestamp) -> Self {
        let mut connection =
            Connection::open_in_memory().expect("a database in memory needs nothing but memory");
        schema::migrate(&mut connection, now)
            .expect("our own schema is valid on an empty database");
        Self {
            connection,
            file: None,
            writer: fastrand::i64(1..),
            cleared: Timestamp::now(),
        }
    }

    /// `true` if the file was deleted, or replaced by another process that found it damaged.
    fn is_file_gone(&self) -> bool {
        self.file
            .as_ref()
            .is_some_and(|(path, opened)| opened.is_some() && identity(path) != *opened)
    }

    /// Opens the file again, moving it aside where it turned out damaged.
    fn reopen(&mut self) -> Result<(), StateError> {
        let Some((path, _)) = self.file.clone() else {
            return Ok(());
        };
        let (fresh, notice) = Self::open(&Backend::Sqlite(path), Timestamp::now());
        if let Some(notice) = notice {
            tracing::warn!("{}", notice.text);
        }
        if fresh.file.is_none() {
            return Err(StateError::Database("the file cannot be used".to_owned()));
        }
        let writer = self.writer;
        *self = fresh;
        self.writer = writer;
        Ok(())
    }
}

fn unusable(path: &Path, reason: &str) -> Notice {
    notice(
        format!(
            "cannot use {} ({reason}); state is kept in memory only",
            path.display()
        ),
        "check the owner, mode and free space of its directory, or set LLMPROXY_STATE_DIR",
    )
}

#[cfg(test)]
mod tests;
