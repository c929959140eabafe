//! The file of what is kept for clients: opening, writing, reading, and letting go of what is old
//! or too much.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

use crate::state::kept::{Change, Key, Kind, Row};
use crate::state::sqlite::file::{self, Fault, Identity};
use crate::state::{Notice, StateError};
use crate::time::Timestamp;

/// The format of the file.
const VERSION: i64 = 1;

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS kept (
    id INTEGER PRIMARY KEY, kind TEXT NOT NULL, owner TEXT NOT NULL, name TEXT NOT NULL,
    until_ms INTEGER NOT NULL, bytes INTEGER NOT NULL, value BLOB NOT NULL,
    UNIQUE (kind, owner, name)
);
CREATE INDEX IF NOT EXISTS kept_until ON kept (kind, until_ms, bytes);
";

/// What a row takes besides its value, about.
const ROW_BYTES: usize = 128;

/// Changes between two looks at whether there is too much.
const SWEEP_AFTER: usize = 256;

/// Free pages given back at once: 16 MiB.
const PAGES: u32 = 4096;

/// A connection to the file.
pub(in crate::state) struct File {
    connection: Connection,
    path: PathBuf,
    opened: Identity,
    /// Changes since the last sweep.
    unswept: usize,
    /// Kinds that were written, whose limits are to hold.
    kinds: HashSet<Kind>,
}

impl File {
    /// Opens the file; a damaged one is moved aside. `None` if there can be none: the notice says why.
    pub(in crate::state) fn open(path: &Path, now: Timestamp) -> (Option<Self>, Option<Notice>) {
        let _lock = file::opening_lock(path);
        let fault = match Self::try_open(path, now) {
            Ok(opened) => return (Some(opened), None),
            Err(fault) => fault,
        };
        let shown = path.display();
        let reason = match fault {
            Fault::Corrupt(reason) => match file::move_aside(path, now) {
                Ok(aside) => {
                    let text = format!(
                        "{shown} was damaged ({reason}) and was moved to {}; no conversation of \
                         before can be gone on from by its response's id",
                        aside.display()
                    );
                    let hint =
                        "nothing else is lost; delete the moved file when you do not need it";
                    if let Ok(opened) = Self::try_open(path, now) {
                        return (Some(opened), Some(file::notice(text, hint)));
                    }
                    reason
                }
                Err(error) => format!("{reason}, and it cannot be moved aside: {error}"),
            },
            Fault::Newer(version) => format!("a newer llmproxy wrote it in format {version}"),
            Fault::Unusable(reason) => reason,
        };
        let text = format!("cannot use {shown} ({reason}); responses are kept in memory only");
        let hint = "check the owner, mode and free space of its directory";
        (None, Some(file::notice(text, hint)))
    }

    fn try_open(path: &Path, now: Timestamp) -> Result<Self, Fault> {
        let connection = file::open(path)?;
        // What is deleted is somebody's conversation: its pages are overwritten.
        connection.pragma_update(None, "secure_delete", "ON")?;
        let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        if version > VERSION {
            return Err(Fault::Newer(version));
        }
        if version < VERSION {
            connection.execute_batch(SCHEMA)?;
            connection.pragma_update(None, "user_version", VERSION)?;
        }
        let mut opened = Self {
            connection,
            path: path.to_owned(),
            opened: file::identity(path),
            unswept: 0,
            kinds: HashSet::new(),
        };
        opened.sweep(now)?;
        opened.empty_log();
        Ok(opened)
    }

    /// Writes changes as one transaction. A file that was deleted or turned out damaged is begun
    /// anew.
    pub(in crate::state) fn write(
        &mut self,
        changes: &HashMap<Key, Change>,
        now: Timestamp,
    ) -> Result<(), StateError> {
        if file::identity(&self.path) != self.opened {
            self.reopen(now)?;
        }
        match self.commit(changes) {
            Err(error) if file::is_corrupt(&error) => {
                self.reopen(now)?;
                self.commit(changes)
            }
            written => written,
        }
        .map_err(|error| file::failed(&error))?;
        self.kinds.extend(changes.keys().map(|key| key.kind));
        self.unswept += changes.len();
        if self.unswept >= SWEEP_AFTER {
            self.tidy(now);
        } else if changes
            .values()
            .any(|change| matches!(change, Change::Delete))
        {
            self.empty_log();
        }
        Ok(())
    }

    /// Lets go of what is over and of what is too much; what cannot go now can go next time.
    pub(in crate::state) fn tidy(&mut self, now: Timestamp) {
        self.unswept = 0;
        if let Err(error) = self.sweep(now) {
            tracing::debug!("{} cannot be swept: {error}", self.path.display());
        }
        self.empty_log();
    }

    /// Moves the write-ahead log into the file and empties it: what was deleted stands there still.
    /// While another process reads, that waits for the next time.
    fn empty_log(&self) {
        let emptied = self
            .connection
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        if let Err(error) = emptied {
            tracing::debug!("the log of {} stays: {error}", self.path.display());
        }
    }

    /// What is kept under a key, whether or not it is over.
    pub(in crate::state) fn get(&self, key: &Key) -> Result<Option<Row>, StateError> {
        let read = || {
            let mut select = self.connection.prepare_cached(
                "SELECT owner, name, value, until_ms FROM kept
                 WHERE kind = ?1 AND owner = ?2 AND name = ?3",
            )?;
            select
                .query_row(params![key.kind.name(), key.owner, key.name], read_row)
                .optional()
        };
        read().map_err(|error| file::failed(&error))
    }

    /// All rows of a kind, the soonest over first.
    pub(in crate::state) fn all(&self, kind: Kind) -> Result<Vec<Row>, StateError> {
        let read = || -> rusqlite::Result<Vec<Row>> {
            let mut select = self.connection.prepare(
                "SELECT owner, name, value, until_ms FROM kept WHERE kind = ?1 ORDER BY until_ms",
            )?;
            select.query_map([kind.name()], read_row)?.collect()
        };
        read().map_err(|error| file::failed(&error))
    }

    fn reopen(&mut self, now: Timestamp) -> Result<(), StateError> {
        let (fresh, notice) = Self::open(&self.path, now);
        if let Some(notice) = notice {
            tracing::warn!("{} ({})", notice.text, notice.hint);
        }
        let Some(fresh) = fresh else {
            return Err(StateError::Database("the file cannot be used".to_owned()));
        };
        *self = fresh;
        Ok(())
    }

    fn commit(&mut self, changes: &HashMap<Key, Change>) -> rusqlite::Result<()> {
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        write(&transaction, changes)?;
        transaction.commit()
    }

    fn sweep(&mut self, now: Timestamp) -> rusqlite::Result<()> {
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute("DELETE FROM kept WHERE until_ms <= ?1", [now.as_millis()])?;
        for kind in &self.kinds {
            trim(&transaction, *kind)?;
        }
        transaction.commit()?;
        let mut vacuum = self
            .connection
            .prepare_cached(&format!("PRAGMA incremental_vacuum({PAGES})"))?;
        let mut steps = vacuum.query([])?;
        while steps.next()?.is_some() {}
        Ok(())
    }
}

fn write(transaction: &Transaction<'_>, changes: &HashMap<Key, Change>) -> rusqlite::Result<()> {
    let mut put = transaction.prepare_cached(
        "INSERT INTO kept (kind, owner, name, until_ms, bytes, value)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO UPDATE SET
             until_ms = excluded.until_ms, bytes = excluded.bytes, value = excluded.value",
    )?;
    let mut prolong = transaction.prepare_cached(
        "UPDATE kept SET until_ms = MAX(until_ms, ?4)
         WHERE kind = ?1 AND owner = ?2 AND name = ?3",
    )?;
    let mut delete = transaction
        .prepare_cached("DELETE FROM kept WHERE kind = ?1 AND owner = ?2 AND name = ?3")?;
    for (key, change) in changes {
        let kind = key.kind.name();
        match change {
            Change::Delete => delete.execute(params![kind, key.owner, key.name])?,
            Change::Prolong { until } => {
                prolong.execute(params![kind, key.owner, key.name, until.as_millis()])?
            }
            Change::Put { value, until } => {
                let bytes = value.len() + key.owner.len() + key.name.len() + ROW_BYTES;
                let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
                let until = until.as_millis();
                put.execute(params![kind, key.owner, key.name, until, bytes, &**value])?
            }
        };
    }
    Ok(())
}

/// Lets go of a kind's rows beyond its limits, the soonest over first.
fn trim(transaction: &Transaction<'_>, kind: Kind) -> rusqlite::Result<()> {
    let limits = kind.limits();
    let mut select = transaction.prepare_cached(
        "SELECT until_ms, bytes FROM kept WHERE kind = ?1 ORDER BY until_ms DESC, bytes",
    )?;
    let mut rows = select.query([kind.name()])?;
    let (mut entries, mut bytes) = (0_usize, 0_usize);
    while let Some(row) = rows.next()? {
        entries += 1;
        bytes = bytes.saturating_add(usize::try_from(row.get::<_, i64>(1)?).unwrap_or(0));
        if entries > limits.entries || bytes > limits.bytes {
            let until: i64 = row.get(0)?;
            transaction.execute(
                "DELETE FROM kept WHERE kind = ?1 AND until_ms <= ?2",
                params![kind.name(), until],
            )?;
            break;
        }
    }
    Ok(())
}

fn read_row(row: &rusqlite::Row<'_>) -> rusqlite::Result<Row> {
    Ok(Row {
        owner: row.get(0)?,
        name: row.get(1)?,
        value: row.get(2)?,
        until: Timestamp::from_millis(row.get(3)?),
    })
}
