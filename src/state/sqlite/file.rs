//! An SQLite file of ours: made for its owner only, checked, opened, moved aside when it is damaged.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, MAIN_DB, OpenFlags};

use crate::state::{Notice, StateError};
use crate::time::Timestamp;

/// How long another process may keep the database busy: its transactions take milliseconds.
const BUSY_PATIENCE: Duration = Duration::from_secs(5);

/// Databases up to this size are checked whole when opened; it takes about 10 ms for each 16 MiB.
const MAX_CHECKED_BYTES: u64 = 64 * 1024 * 1024;

/// Which file a path leads to, to notice when another one lies there.
pub(super) type Identity = Option<(u64, u64)>;

/// Why a file cannot be used as it is.
pub(super) enum Fault {
    /// Not ours, torn or flipped: to be moved aside.
    Corrupt(String),
    /// Written by a later version: to be left alone.
    Newer(i64),
    /// Not readable or writable just now: to be left alone.
    Unusable(String),
}

/// Opens a file, made with its directory where missing; its tables are the caller's.
pub(super) fn open(path: &Path) -> Result<Connection, Fault> {
    match fs::symlink_metadata(path) {
        Ok(seen) if seen.is_dir() => {
            return Err(Fault::Corrupt("it is a directory".to_owned()));
        }
        Ok(_) => {}
        Err(_) => create(path).map_err(|error| Fault::Unusable(error.to_string()))?,
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(Fault::from)?;
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
    Ok(connection)
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

/// Whether a file is damaged, rather than busy, full or out of reach.
pub(super) fn is_corrupt(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
    )
}

/// The error as others see it.
pub(super) fn failed(error: &rusqlite::Error) -> StateError {
    StateError::Database(error.to_string())
}

/// What to tell the user, and what to do about it.
pub(super) fn notice(text: String, hint: &str) -> Notice {
    Notice {
        text,
        hint: hint.to_owned(),
    }
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
pub(super) fn move_aside(path: &Path, now: Timestamp) -> std::io::Result<PathBuf> {
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
pub(super) fn opening_lock(path: &Path) -> Option<fs::File> {
    let parent = path.parent()?;
    if !parent.is_dir() {
        create(path).ok()?;
    }
    let file = open_or_create(&parent.join("state.lock")).ok()?;
    file.lock().ok()?;
    Some(file)
}

/// Which file a path leads to now.
#[cfg(unix)]
pub(super) fn identity(path: &Path) -> Identity {
    use std::os::unix::fs::MetadataExt;
    fs::metadata(path).ok().map(|seen| (seen.dev(), seen.ino()))
}

#[cfg(not(unix))]
pub(super) fn identity(path: &Path) -> Identity {
    // An open file cannot be removed there.
    fs::metadata(path).ok().map(|_| (0, 0))
}
