//! What clients may go on from after a restart: responses, thinking, its signatures.
//!
//! It is conversation text, so it has a file of its own (`conversations.db`): mode 0600, bounded, each
//! row with an end, and overwritten when it is deleted. The memory of the running process comes
//! first; recording never waits and never fails, a writer thread follows within [`DELAY`]. Nothing
//! in which the screen ([`Kept::screen`]) finds a secret is written.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::state::sqlite::kept::File;
use crate::state::writer::{Batch, Haste, Writer};
use crate::state::{Notice, StateError};
use crate::time::Timestamp;

/// How long changes gather before they are written together.
pub const DELAY: Duration = Duration::from_millis(10);

/// Values that may wait while the disk is in trouble; what comes beyond is not written.
const MAX_WAITING_BYTES: usize = 64 << 20;

/// How much is kept, and how long.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub entries: usize,
    /// Of all values together; one that is larger by itself is not kept.
    pub bytes: usize,
    /// Since a value was last used.
    pub idle: Duration,
}

/// What sort of thing is kept.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub enum Kind {
    /// Plain reasoning before a tool call, by the call's id.
    Reasoning,
    /// A signature that a vendor refused, by its name.
    Refusal,
    /// A response that can be gone on from, by its id.
    Response,
    /// The signed thinking of a turn, by the turn's first name.
    Turn,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 4] = [Self::Reasoning, Self::Refusal, Self::Response, Self::Turn];

    /// The word for it in the file.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Reasoning => "reasoning",
            Self::Refusal => "refusal",
            Self::Response => "response",
            Self::Turn => "turn",
        }
    }

    /// The same in memory and in the file. A day is far longer than a client pauses within a
    /// conversation.
    pub const fn limits(self) -> Limits {
        let (entries, bytes) = match self {
            Self::Reasoning | Self::Turn => (20_000, 32 << 20),
            Self::Refusal => (50_000, 16 << 20),
            // Some hundred long conversations.
            Self::Response => (1000, 64 << 20),
        };
        Limits {
            entries,
            bytes,
            idle: Duration::from_hours(24),
        }
    }
}

/// Under what something is kept.
#[derive(Clone, Debug, Hash, PartialEq, Eq)]
pub struct Key {
    pub kind: Kind,
    /// The client whose it is, never by its key; empty for what is nobody's.
    pub owner: String,
    pub name: String,
}

/// Something kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub owner: String,
    pub name: String,
    pub value: Vec<u8>,
    /// When it is over.
    pub until: Timestamp,
}

/// What is to become of a row.
#[derive(Clone, Debug)]
pub(super) enum Change {
    Delete,
    /// It was used.
    Prolong {
        until: Timestamp,
    },
    Put {
        value: Arc<[u8]>,
        until: Timestamp,
    },
}

/// A handle to what is kept; cloning shares it. The last one to go writes what is left.
#[derive(Clone)]
pub struct Kept {
    shared: Arc<Shared>,
}

struct Shared {
    writer: Writer<Changes>,
    file: Arc<Mutex<File>>,
    screen: Arc<Mutex<Option<Screen>>>,
}

/// Tells whether a value may be written.
type Screen = Box<dyn Fn(&[u8]) -> bool + Send>;

/// What is to become of rows, and how many bytes of values wait with that.
#[derive(Clone, Debug, Default)]
struct Changes {
    rows: HashMap<Key, Change>,
    bytes: usize,
}

impl Kept {
    /// Opens the file. A damaged one is moved aside; `None` if there can be none. The notice tells.
    pub fn open(path: &Path, now: Timestamp) -> (Option<Self>, Option<Notice>) {
        let (file, notice) = File::open(path, now);
        let Some(file) = file else {
            return (None, notice);
        };
        let file = Arc::new(Mutex::new(file));
        let screen = Arc::new(Mutex::new(None));
        let spawned = {
            let (written, idle, screen) =
                (Arc::clone(&file), Arc::clone(&file), Arc::clone(&screen));
            let mut is_failing = false;
            let write = move |changes: &Changes| {
                let screened = screened(&changes.rows, lock(&screen).as_ref());
                let result = lock(&written).write(&screened, Timestamp::now());
                if let Some(error) = result.as_ref().err().filter(|_| !is_failing) {
                    tracing::warn!("responses are kept in memory only for now: {error}");
                }
                is_failing = result.is_err();
                result
            };
            // What is over is deleted even when nothing is written.
            Writer::spawn("kept", write, move || lock(&idle).tidy(Timestamp::now()))
        };
        let writer = match spawned {
            Ok(writer) => writer,
            Err(error) => {
                let notice = Notice {
                    text: format!("cannot start the writer of {} ({error})", path.display()),
                    hint: "check the limit on threads (ulimit -u)".to_owned(),
                };
                return (None, Some(notice));
            }
        };
        let shared = Shared {
            writer,
            file,
            screen,
        };
        let kept = Self {
            shared: Arc::new(shared),
        };
        (Some(kept), notice)
    }

    /// Has only values written for which this holds; it runs on the writer's thread.
    pub fn screen(&self, may_be_written: impl Fn(&[u8]) -> bool + Send + 'static) {
        *lock(&self.shared.screen) = Some(Box::new(may_be_written));
    }

    /// Keeps a value in the place of what was there; in the file within 100 ms.
    pub fn put(&self, key: Key, value: Vec<u8>, now: Timestamp) {
        let limits = key.kind.limits();
        if value.len() > limits.bytes {
            return;
        }
        let until = now + limits.idle;
        let value = Arc::from(value);
        self.record(key, Change::Put { value, until });
    }

    /// Something kept was used: it lives on from now.
    pub fn used(&self, key: Key, now: Timestamp) {
        let until = now + key.kind.limits().idle;
        self.record(key, Change::Prolong { until });
    }

    /// Lets something go.
    pub fn delete(&self, key: Key) {
        self.record(key, Change::Delete);
    }

    fn record(&self, key: Key, change: Change) {
        let writer = &self.shared.writer;
        writer.record(Haste::Within(DELAY), |changes| changes.record(key, change));
    }

    /// What is kept under a key and not over. Reads the file: not for the runtime's threads.
    pub fn get(&self, key: &Key, now: Timestamp) -> Option<Row> {
        let unwritten = |changes: &Changes| changes.rows.get(key).cloned();
        let row = match self.shared.writer.find(unwritten) {
            Some(Change::Delete) => None,
            Some(Change::Put { value, until }) => Some(Row {
                owner: key.owner.clone(),
                name: key.name.clone(),
                value: value.to_vec(),
                until,
            }),
            Some(Change::Prolong { .. }) | None => self.read(|file| file.get(key)),
        };
        row.filter(|row| row.until > now)
    }

    /// Everything of a kind that is in the file and not over, the soonest over first.
    pub fn all(&self, kind: Kind, now: Timestamp) -> Vec<Row> {
        let mut rows = self.read(|file| file.all(kind));
        rows.retain(|row| row.until > now);
        rows
    }

    /// Waits until all that was recorded before is written, at most `patience`.
    ///
    /// Fails with [`StateError::Late`] when that ends first; nothing is lost by that.
    pub fn flush(&self, patience: Duration) -> Result<(), StateError> {
        if self.shared.writer.flush(patience) {
            return Ok(());
        }
        Err(StateError::Late)
    }

    /// What cannot be read is not there: going on without it is better than not at all.
    fn read<T: Default>(&self, read: impl FnOnce(&File) -> Result<T, StateError>) -> T {
        read(&lock(&self.shared.file)).unwrap_or_else(|error| {
            tracing::debug!("what is kept cannot be read: {error}");
            T::default()
        })
    }
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept").finish_non_exhaustive()
    }
}

impl Changes {
    /// Takes a change up, unless too much waits while the disk is in trouble.
    fn record(&mut self, key: Key, change: Change) {
        if self.bytes.saturating_add(change.bytes()) <= MAX_WAITING_BYTES {
            self.add(key, change);
        }
    }

    fn add(&mut self, key: Key, change: Change) {
        let bytes = change.bytes();
        match (self.rows.get_mut(&key), change) {
            (Some(Change::Delete), Change::Prolong { .. }) => {}
            (
                Some(Change::Put { until, .. } | Change::Prolong { until }),
                Change::Prolong { until: later },
            ) => *until = later.max(*until),
            (_, change) => {
                let before = self.rows.insert(key, change);
                let freed = before.map_or(0, |before| before.bytes());
                self.bytes = self.bytes.saturating_sub(freed) + bytes;
            }
        }
    }
}

impl Batch for Changes {
    fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    fn merge(&mut self, later: Self) {
        for (key, change) in later.rows {
            self.add(key, change);
        }
    }
}

impl Change {
    fn bytes(&self) -> usize {
        match self {
            Self::Delete | Self::Prolong { .. } => 0,
            Self::Put { value, .. } => value.len(),
        }
    }
}

/// The changes without values that may not be written.
fn screened(rows: &HashMap<Key, Change>, may_be_written: Option<&Screen>) -> HashMap<Key, Change> {
    let mut rows = rows.clone();
    if let Some(may_be_written) = may_be_written {
        rows.retain(|_, change| match change {
            Change::Put { value, .. } => may_be_written(value),
            Change::Delete | Change::Prolong { .. } => true,
        });
    }
    rows
}

/// Deletes the file and what belongs to it; none is none.
pub fn delete(path: &Path) -> std::io::Result<()> {
    for end in ["", "-wal", "-shm"] {
        let mut name = path.as_os_str().to_owned();
        name.push(end);
        match std::fs::remove_file(&name) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
