//! Puts changed config and credentials in force while a gateway runs: what another process adds,
//! imports, disables or removes counts within a second.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::cli::Globals;
use crate::cli::boot::{self, Boot};
use crate::cli::exit::Failure;
use crate::cli::serve::settings;
use crate::cli::signals::Hangups;
use crate::credentials::store::{Stamp, Store};
use crate::server::Shared;

/// How often files are looked at for changes that count "within a second".
const WATCH_INTERVAL: Duration = Duration::from_millis(500);

/// How long a changed file must stay as it is before it is read: editors and scripts empty a file
/// before they write it anew, and what is read between would count.
const QUIET: Duration = Duration::from_millis(200);

/// How often [`QUIET`] is waited for in one go.
const MAX_QUIET_LOOKS: usize = 10;

/// What tells that something changed on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stamps {
    files: Vec<(PathBuf, FileStamp)>,
    store: Stamp,
}

/// When a file changed last and its length; `None` if there is none.
type FileStamp = Option<(SystemTime, u64)>;

impl Stamps {
    /// The state of the disk that `boot` was read from.
    pub(super) fn of(boot: &Boot) -> Self {
        let files = boot
            .loaded
            .files
            .iter()
            .map(|file| (file.clone(), stamp(file)))
            .collect();
        Self {
            files,
            store: boot.store.stamp(),
        }
    }

    /// As the disk is once nobody writes to the files; `None` if somebody goes on writing.
    fn settled(self, store: &Store) -> Option<Self> {
        let mut seen = self;
        for _ in 0..MAX_QUIET_LOOKS {
            std::thread::sleep(QUIET);
            let now = seen.now(store);
            if now.files == seen.files {
                return Some(now);
            }
            seen = now;
        }
        None
    }

    /// These, for files that were not looked at before; what changed since it was looked at is to
    /// be read again.
    fn not_newer_than(mut self, seen: &Self) -> Self {
        for (file, stamp) in &mut self.files {
            if let Some((_, before)) = seen.files.iter().find(|(known, _)| known == file) {
                *stamp = *before;
            }
        }
        self.store = seen.store;
        self
    }

    fn now(&self, store: &Store) -> Self {
        let files = self
            .files
            .iter()
            .map(|(file, _)| (file.clone(), stamp(file)))
            .collect();
        Self {
            files,
            store: store.stamp(),
        }
    }
}

fn stamp(file: &Path) -> FileStamp {
    let meta = std::fs::metadata(file).ok()?;
    Some((meta.modified().ok()?, meta.len()))
}

/// Reads again what changed, and replaces what is in force.
pub(super) struct Reloader {
    pub(super) globals: Globals,
    /// Whether a changed file counts, and not only SIGHUP and the credential store.
    pub(super) watches_files: bool,
    /// Reads config and credentials, with what the command adds to them.
    pub(super) read: Box<dyn Fn() -> Result<Boot, Failure> + Send + Sync>,
    pub(super) shared: Arc<Shared>,
}

impl Reloader {
    /// Looks for changes until the runtime ends.
    pub(super) async fn run(self, mut stamps: Stamps, mut hangups: Hangups) {
        let this = Arc::new(self);
        loop {
            let asked = tokio::select! {
                () = hangups.next() => true,
                () = tokio::time::sleep(WATCH_INTERVAL) => false,
            };
            let (reloader, before) = (Arc::clone(&this), stamps.clone());
            // Reading files blocks: not on the runtime's own threads.
            let done = tokio::task::spawn_blocking(move || reloader.check(before, asked)).await;
            if let Ok(after) = done {
                stamps = after;
            }
        }
    }

    fn check(&self, before: Stamps, asked: bool) -> Stamps {
        let Ok(paths) = boot::paths(&self.globals) else {
            return before;
        };
        let store = Store::new(&paths.data_dir);
        let now = before.now(&store);
        let files_changed = now.files != before.files && self.watches_files;
        if !asked && !files_changed && now.store == before.store {
            return before;
        }
        let now = if files_changed {
            let Some(settled) = now.settled(&store) else {
                return before;
            };
            settled
        } else {
            now
        };
        let read = (self.read)();
        if self.watches_files && now.now(&store).files != now.files {
            // Somebody has begun to write meanwhile: what was read may be half of it.
            return before;
        }
        match read.and_then(|boot| self.put_in_force(&boot)) {
            Ok(stamps) => {
                tracing::info!("reloaded");
                stamps.not_newer_than(&now)
            }
            Err(failure) => {
                tracing::error!(
                    "reload failed, the old configuration stays: {}",
                    failure.sentence()
                );
                now
            }
        }
    }

    fn put_in_force(&self, boot: &Boot) -> Result<Stamps, Failure> {
        let stamps = Stamps::of(boot);
        let previous = self.shared.gateway.snapshot();
        let settings = settings(boot)?;
        self.shared.gateway.replace(boot.snapshot(Some(&previous))?);
        boot.switch_logs(&self.shared.gateway);
        self.shared.settings.store(Arc::new(settings));
        Ok(stamps)
    }
}
