//! What clients may go on from after a restart: responses, thinking, its signatures.
//!
//! It is conversation text, so it has a file of its own (`conversations.db`): mode 0600, bounded, each
//! row with an end, and overwritten when it is deleted. The memory of the running process comes
//! first; recording never waits and never fails, a writer thread follows within [`DELAY`]. Nothing
//! in which the screen ([`Kept::screen`]) finds a secret is written.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::state::sqlite::kept::File;
use crate::state::{Notice, StateError};
use crate::time::Timestamp;

/// How long changes gather before they are written together.
pub const DELAY: Duration = Duration::from_millis(10);

/// What is over is deleted this often even when nothing is written.
const SWEEP_EVERY: Duration = Duration::from_mins(10);

/// A disk that stays full is tried again this often at least.
const MAX_RETRY: Duration = Duration::from_secs(30);

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
    mailbox: Arc<Mailbox>,
    file: Arc<Mutex<File>>,
    writer: Option<JoinHandle<()>>,
}

/// Tells whether a value may be written.
type Screen = Arc<dyn Fn(&[u8]) -> bool + Send + Sync>;

#[derive(Default)]
struct Mailbox {
    inner: Mutex<Inner>,
    /// Tells the writer that something came.
    came: Condvar,
    /// Tells [`Kept::flush`] that something was written.
    went: Condvar,
}

#[derive(Default)]
struct Inner {
    waiting: HashMap<Key, Change>,
    /// What the writer has in hand: still to be found until it is in the file.
    in_hand: Arc<HashMap<Key, Change>>,
    waiting_bytes: usize,
    due: Option<Instant>,
    /// Counts recordings; `written` follows it.
    recorded: u64,
    written: u64,
    is_stopping: bool,
    is_failing: bool,
    screen: Option<Screen>,
}

impl Kept {
    /// Opens the file. A damaged one is moved aside; `None` if there can be none. The notice tells.
    pub fn open(path: &Path, now: Timestamp) -> (Option<Self>, Option<Notice>) {
        let (file, notice) = File::open(path, now);
        let Some(file) = file else {
            return (None, notice);
        };
        let file = Arc::new(Mutex::new(file));
        let mailbox = Arc::new(Mailbox::default());
        let spawned = {
            let (mailbox, file) = (Arc::clone(&mailbox), Arc::clone(&file));
            let work = move || mailbox.serve(&file);
            thread::Builder::new().name("kept".to_owned()).spawn(work)
        };
        let writer = match spawned {
            Ok(writer) => Some(writer),
            Err(error) => {
                let notice = Notice {
                    text: format!("cannot start the writer of {} ({error})", path.display()),
                    hint: "check the limit on threads (ulimit -u)".to_owned(),
                };
                return (None, Some(notice));
            }
        };
        let shared = Shared {
            mailbox,
            file,
            writer,
        };
        let kept = Self {
            shared: Arc::new(shared),
        };
        (Some(kept), notice)
    }

    /// Has only values written for which this holds; it runs on the writer's thread.
    pub fn screen(&self, may_be_written: impl Fn(&[u8]) -> bool + Send + Sync + 'static) {
        self.shared.mailbox.lock().screen = Some(Arc::new(may_be_written));
    }

    /// Keeps a value in the place of what was there; in the file within 100 ms.
    pub fn put(&self, key: Key, value: Vec<u8>, now: Timestamp) {
        let limits = key.kind.limits();
        if value.len() > limits.bytes {
            return;
        }
        let until = now + limits.idle;
        let value = Arc::from(value);
        self.shared
            .mailbox
            .record(key, Change::Put { value, until });
    }

    /// Something kept was used: it lives on from now.
    pub fn used(&self, key: Key, now: Timestamp) {
        let until = now + key.kind.limits().idle;
        self.shared.mailbox.record(key, Change::Prolong { until });
    }

    /// Lets something go.
    pub fn delete(&self, key: Key) {
        self.shared.mailbox.record(key, Change::Delete);
    }

    /// What is kept under a key and not over. Reads the file: not for the runtime's threads.
    pub fn get(&self, key: &Key, now: Timestamp) -> Option<Row> {
        let row = match self.shared.mailbox.find(key) {
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
        if self.shared.mailbox.flush(patience) {
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

impl Drop for Shared {
    fn drop(&mut self) {
        self.mailbox.lock().is_stopping = true;
        self.mailbox.came.notify_one();
        if let Some(writer) = self.writer.take() {
            // A writer that panicked has said so; there is nothing left to write.
            let _ = writer.join();
        }
    }
}

impl Mailbox {
    fn record(&self, key: Key, change: Change) {
        let mut inner = self.lock();
        let bytes = change.bytes();
        if inner.waiting_bytes.saturating_add(bytes) > MAX_WAITING_BYTES {
            return;
        }
        inner.add(key, change);
        inner.recorded += 1;
        if inner.due.is_none() {
            inner.due = Some(Instant::now() + DELAY);
            self.came.notify_one();
        }
    }

    /// What is to become of a row that is not in the file yet.
    fn find(&self, key: &Key) -> Option<Change> {
        let inner = self.lock();
        let found = inner.waiting.get(key).or_else(|| inner.in_hand.get(key));
        found.cloned()
    }

    fn flush(&self, patience: Duration) -> bool {
        let mut inner = self.lock();
        let wanted = inner.recorded;
        if !inner.waiting.is_empty() && !inner.is_failing {
            inner.due = Some(Instant::now());
            self.came.notify_one();
        }
        let (_guard, waited) = self
            .went
            .wait_timeout_while(inner, patience, |inner| inner.written < wanted)
            .unwrap_or_else(PoisonError::into_inner);
        !waited.timed_out()
    }

    /// The writer's loop, until stopped. What cannot be written is tried again with growing pauses.
    fn serve(&self, file: &Mutex<File>) {
        let mut pause = DELAY;
        loop {
            let Some((changes, recorded, screen)) = self.next(file) else {
                return;
            };
            let mut screened = HashMap::clone(&changes);
            if let Some(may_be_written) = screen {
                screened.retain(|_, change| match change {
                    Change::Put { value, .. } => may_be_written(value),
                    Change::Delete | Change::Prolong { .. } => true,
                });
            }
            let written = lock(file).write(&screened, Timestamp::now());
            let mut inner = self.lock();
            let in_hand = std::mem::take(&mut inner.in_hand);
            match written {
                Ok(()) => {
                    pause = DELAY;
                    inner.written = recorded;
                    inner.is_failing = false;
                    self.went.notify_all();
                }
                Err(error) => {
                    pause = (pause * 2).min(MAX_RETRY);
                    if !inner.is_failing {
                        tracing::warn!("responses are kept in memory only for now: {error}");
                    }
                    inner.is_failing = true;
                    inner.put_back(in_hand);
                    inner.due = Some(Instant::now() + pause);
                    if inner.is_stopping {
                        return;
                    }
                }
            }
        }
    }

    /// Waits until something is due; `None` when stopped and nothing is left.
    #[expect(clippy::type_complexity, reason = "one caller takes it apart at once")]
    fn next(&self, file: &Mutex<File>) -> Option<(Arc<HashMap<Key, Change>>, u64, Option<Screen>)> {
        let mut inner = self.lock();
        let mut swept = Instant::now();
        loop {
            let now = Instant::now();
            match inner.due {
                _ if inner.is_stopping && inner.waiting.is_empty() => return None,
                Some(due) if !inner.is_stopping && due > now => {
                    inner = self.wait(inner, due - now);
                }
                None if !inner.is_stopping => {
                    if now - swept >= SWEEP_EVERY {
                        drop(inner);
                        lock(file).tidy(Timestamp::now());
                        inner = self.lock();
                        swept = now;
                        continue;
                    }
                    inner = self.wait(inner, SWEEP_EVERY);
                }
                _ => {
                    inner.due = None;
                    inner.waiting_bytes = 0;
                    inner.in_hand = Arc::new(std::mem::take(&mut inner.waiting));
                    let in_hand = Arc::clone(&inner.in_hand);
                    return Some((in_hand, inner.recorded, inner.screen.clone()));
                }
            }
        }
    }

    fn wait<'m>(
        &'m self,
        inner: MutexGuard<'m, Inner>,
        patience: Duration,
    ) -> MutexGuard<'m, Inner> {
        let waited = self.came.wait_timeout(inner, patience);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn add(&mut self, key: Key, change: Change) {
        let bytes = change.bytes();
        match (self.waiting.get_mut(&key), change) {
            (Some(Change::Delete), Change::Prolong { .. }) => {}
            (
                Some(Change::Put { until, .. } | Change::Prolong { until }),
                Change::Prolong { until: later },
            ) => *until = later.max(*until),
            (_, change) => {
                let before = self.waiting.insert(key, change);
                let freed = before.map_or(0, |before| before.bytes());
                self.waiting_bytes = self.waiting_bytes.saturating_sub(freed) + bytes;
            }
        }
    }

    /// Puts what could not be written below what came meanwhile.
    fn put_back(&mut self, in_hand: Arc<HashMap<Key, Change>>) {
        let later = std::mem::take(&mut self.waiting);
        self.waiting = Arc::unwrap_or_clone(in_hand);
        self.waiting_bytes = self.waiting.values().map(Change::bytes).sum();
        for (key, change) in later {
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

fn lock(file: &Mutex<File>) -> MutexGuard<'_, File> {
    file.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
