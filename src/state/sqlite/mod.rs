//! The state in SQLite: opening, repairing by moving aside, and the writer's transaction.
//!
//! WAL with `synchronous = NORMAL`: a commit survives the death of the process, and a power cut may
//! take the last moments but never the file.

mod queries;
mod schema;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, MAIN_DB, OpenFlags, TransactionBehavior};

use crate::state::mailbox::Batch;
use crate::state::rows::{Changes, JournalRow, SessionRow, UsageKey, UsageSums, Version};
use crate::state::sqlite::schema::Schema;
use crate::state::{Backend, Notice, StateError};
use crate::time::Timestamp;

/// How long another process may keep the database busy: its transactions take milliseconds.
const BUSY_PATIENCE: Duration = Duration::from_secs(5);

/// Databases up to this size are checked whole when opened; it takes about 10 ms for each 16 MiB.
const MAX_CHECKED_BYTES: u64 = 64 * 1024 * 1024;

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

/// Which file a path leads to, to notice when another one lies there.
type Identity = Option<(u64, u64)>;

/// Why a file cannot be used as it is.
enum Fault {
    /// Not ours, torn or flipped: to be moved aside.
    Corrupt(String),
    /// Written by a later version: to be left alone.
    Newer(i64),
    /// Not readable or writable just now: to be left alone.
    Unusable(String),
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
    pub(super) fn write(&mut self, batch: &Batch) -> Result<(), StateError> {
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

    fn commit(&mut self, batch: &Batch) -> rusqlite::Result<()> {
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        queries::write(&transaction, batch, self.writer)?;
        transaction.commit()
    }

    fn open_file(path: &Path, now: Timestamp) -> Result<Self, Fault> {
        match fs::symlink_metadata(path) {
            Ok(seen) if seen.is_dir() => {
                return Err(Fault::Corrupt("it is a directory".to_owned()));
            }
            Ok(_) => {}
            Err(_) => create(path).map_err(|error| Fault::Unusable(error.to_string()))?,
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = Connection::open_with_flags(path, flags).map_err(Fault::from)?;
        // SQLite opens what it may only read without a word.
        if connection.is_readonly(MAIN_DB).map_err(Fault::from)? {
            return Err(Fault::Unusable("it may only be read".to_owned()));
        }
        connection
            .busy_timeout(BUSY_PATIENCE)
            .map_err(Fault::from)?;
        if fs::metadata(path).is_ok_and(|seen| seen.len() <= MAX_CHECKED_BYTES) {
            check(&connection)?;
        }
        if fs::metadata(path).is_ok_and(|seen| seen.len() == 0) {
            // It has to be said before there is anything in the file.
            connection
                .pragma_update(None, "auto_vacuum", "INCREMENTAL")
                .map_err(Fault::from)?;
        }
        connection
            .pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))
            .map_err(Fault::from)?;
        connection
            .pragma_update(None, "synchronous", "NORMAL")
            .map_err(Fault::from)?;
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

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        if is_corrupt(&error) {
            Self::Corrupt(error.to_string())
        } else {
            Self::Unusable(error.to_string())
        }
    }
}

fn is_corrupt(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
    )
}

fn failed(error: &rusqlite::Error) -> StateError {
    StateError::Database(error.to_string())
}

fn notice(text: String, hint: &str) -> Notice {
    Notice {
        text,
        hint: hint.to_owned(),
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

fn check(connection: &Connection) -> Result<(), Fault> {
    let verdict: String = connection
        .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
        .map_err(Fault::from)?;
    if verdict != "ok" {
        return Err(Fault::Corrupt(verdict));
    }
    Ok(())
}

/// Creates an empty file for the owner only, and its directory.
fn create(path: &Path) -> std::io::Result<()> {
    let mut directory = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut directory, 0o700);
    if let Some(parent) = path.parent() {
        directory.recursive(true).create(parent)?;
    }
    open_or_create(path).map(drop)
}

fn open_or_create(path: &Path) -> std::io::Result<fs::File> {
    let mut options = fs::OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.create(true).truncate(false).write(true).open(path)
}

/// Renames the database with what belongs to it; returns where it went.
fn move_aside(path: &Path, now: Timestamp) -> std::io::Result<PathBuf> {
    let time: String = now
        .to_rfc3339()
        .chars()
        .take_while(|c| *c != '.')
        .filter(char::is_ascii_alphanumeric)
        .collect();
    let with = |end: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(end);
        PathBuf::from(name)
    };
    let aside = with(&format!(".corrupt-{time}Z"));
    fs::rename(path, &aside)?;
    for part in ["-wal", "-shm"] {
        // The log of a damaged database must not be played into the new one.
        let moved = fs::rename(with(part), with(&format!(".corrupt-{time}Z{part}")));
        match moved {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(aside)
}

/// Held while a file is opened, so that two processes do not both find it damaged and move the
/// other's new one aside. Best effort: without it opening goes on.
fn opening_lock(path: &Path) -> Option<fs::File> {
    let parent = path.parent()?;
    if !parent.is_dir() {
        create(path).ok()?;
    }
    let file = open_or_create(&parent.join("state.lock")).ok()?;
    file.lock().ok()?;
    Some(file)
}

#[cfg(unix)]
fn identity(path: &Path) -> Identity {
    use std::os::unix::fs::MetadataExt;
    fs::metadata(path).ok().map(|seen| (seen.dev(), seen.ino()))
}

#[cfg(not(unix))]
fn identity(path: &Path) -> Identity {
    // An open file cannot be removed there.
    fs::metadata(path).ok().map(|_| (0, 0))
}

#[cfg(test)]
mod tests;
