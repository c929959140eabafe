//! The credential store: one file a credential below the data directory.
//!
//! ```text
//! DATA/.lock                            the lock between processes, held for each change
//! DATA/fingerprint.key                  32 random bytes, see `Secret::fingerprint`
//! DATA/overrides.json                   what the user switched off but cannot edit (env, config)
//! DATA/credentials/PROVIDER/NAME.json   see `file`
//! DATA/locks/PROVIDER/NAME.lock         held while an account's token is refreshed
//! ```
//!
//! A file that cannot be used is named and passed over; nothing here deletes one that it does not
//! understand. Reading takes no lock: files are replaced whole.

use std::collections::BTreeMap;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};

use crate::credentials::durable::{self, Lock};
use crate::credentials::{Credential, Source, file};
use crate::ids::CredentialId;
use crate::secret::{Fingerprint, FingerprintKey};
use crate::time::Timestamp;

pub use crate::credentials::durable::StoreError;

/// The credentials on disk. Cheap to make: nothing is touched until it is asked.
#[derive(Clone, Debug)]
pub struct Store {
    directory: PathBuf,
}

/// What [`Store::load`] found.
#[derive(Debug, Default)]
pub struct Loaded {
    /// By provider, then by name (numbers in their order).
    pub credentials: Vec<Credential>,
    pub overrides: Overrides,
    /// Files that were passed over.
    pub problems: Vec<StoreError>,
}

/// What the user switched off although it is kept in the config file or the environment. It hangs
/// on the secret: a new key in the old one's place is on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// By fingerprint in hex; the id is for people who read the file.
    disabled: BTreeMap<String, String>,
}

/// The store's content at one moment; two that are equal saw the same files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp(u64);

#[derive(Serialize, Deserialize)]
struct OverridesFile {
    version: u32,
    #[serde(default)]
    disabled: BTreeMap<String, String>,
}

impl Overrides {
    /// `true` if the user switched this secret off.
    pub fn is_disabled(&self, fingerprint: Fingerprint) -> bool {
        self.disabled.contains_key(&fingerprint.to_string())
    }
}

impl Store {
    /// The store below the given data directory, which need not exist yet.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
        }
    }

    /// The data directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Reads all credentials. A directory that is missing holds none.
    pub fn load(&self) -> Loaded {
        let mut loaded = Loaded::default();
        match self.read_overrides() {
            Ok(overrides) => loaded.overrides = overrides,
            Err(problem) => loaded.problems.push(problem),
        }
        for path in self.files() {
            match read(&path) {
                Ok(credential) => loaded.credentials.push(credential),
                // Removed since it was listed.
                Err(problem) if problem.is_missing() => {}
                Err(problem) => loaded.problems.push(problem),
            }
        }
        loaded.credentials.sort_by(|a, b| order(&a.id, &b.id));
        loaded
    }

    /// Reads one credential; `None` if there is no such file.
    pub fn get(&self, id: &CredentialId) -> Result<Option<Credential>, StoreError> {
        match read(&self.path(id)) {
            Ok(credential) => Ok(Some(credential)),
            Err(error) if error.is_missing() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Looks at names, sizes and times of all files, without reading them: cheap enough to ask
    /// every second whether another process changed something.
    pub fn stamp(&self) -> Stamp {
        let mut hasher = DefaultHasher::new();
        let mut files = self.files();
        files.push(self.overrides_path());
        files.sort();
        for path in files {
            let Ok(seen) = fs::symlink_metadata(&path) else {
                continue;
            };
            path.hash(&mut hasher);
            seen.len().hash(&mut hasher);
            let changed = seen.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            changed.hash(&mut hasher);
            mode_and_inode(&seen).hash(&mut hasher);
        }
        Stamp(hasher.finish())
    }

    /// The key that stored state is bound to secrets with; made on first use.
    ///
    /// A damaged key file is moved aside: the state bound to it is lost, credentials are not.
    pub fn fingerprint_key(&self) -> Result<FingerprintKey, StoreError> {
        let path = self.directory.join("fingerprint.key");
        match read_key(&path) {
            Ok(key) => return Ok(key),
            Err(StoreError::Damaged { .. }) => {}
            Err(error) if error.is_missing() => {}
            Err(error) => return Err(error),
        }
        let change = self.change()?;
        // Another process may have made it meanwhile.
        match read_key(&path) {
            Ok(key) => return Ok(key),
            Err(error) if error.is_missing() => {}
            Err(_) => {
                let aside = path.with_extension("key.damaged");
                fs::rename(&path, &aside)
                    .map_err(|source| StoreError::unwritable(&path, source))?;
            }
        }
        let bytes = random_key();
        durable::write(&path, &bytes)?;
        drop(change);
        Ok(FingerprintKey::new(&bytes))
    }

    /// Takes the store's lock, to read and write as one step.
    ///
    /// Creates the data directory. Fails where that is not possible, or where another process
    /// holds the lock for ten seconds.
    pub fn change(&self) -> Result<Change<'_>, StoreError> {
        durable::directory(&self.directory)?;
        let lock = durable::lock(&self.directory.join(".lock"))?;
        durable::sweep(&self.directory);
        Ok(Change {
            store: self,
            _lock: lock,
        })
    }

    /// Remembers that the user switched a credential on or off: in its file if it is kept here, in
    /// the overrides if the config file or the environment gives it. One that is no longer kept
    /// here is none to switch.
    pub fn switch(
        &self,
        (id, source): (&CredentialId, Source),
        fingerprint: Fingerprint,
        disabled: bool,
    ) -> Result<(), StoreError> {
        let change = self.change()?;
        if source != Source::Store {
            return change.set_disabled(id, fingerprint, disabled);
        }
        // Read again under the lock: a refresh may have written new tokens since.
        let Some(mut stored) = self.get(id)? else {
            return Ok(());
        };
        stored.disabled = disabled;
        stored.updated = Some(Timestamp::now());
        change.put(&stored)
    }

    /// Takes the lock of one account, held while its token is refreshed or its log-in replaced, so
    /// that two processes never spend one refresh token. `None` if it is taken.
    pub fn try_lock_account(&self, id: &CredentialId) -> Result<Option<Lock>, StoreError> {
        durable::directory(&self.directory)?;
        let directory = self.directory.join("locks").join(id.provider());
        durable::directory(&directory)?;
        let name = file::file_name(id.name());
        durable::try_lock(&directory.join(name).with_extension("lock"))
    }

    fn credentials_directory(&self) -> PathBuf {
        self.directory.join("credentials")
    }

    fn overrides_path(&self) -> PathBuf {
        self.directory.join("overrides.json")
    }

    fn path(&self, id: &CredentialId) -> PathBuf {
        self.credentials_directory()
            .join(id.provider())
            .join(file::file_name(id.name()))
    }

    /// All credential files; directories that cannot be listed have none.
    fn files(&self) -> Vec<PathBuf> {
        let providers = children(&self.credentials_directory());
        let files = providers.iter().flat_map(|provider| children(provider));
        files
            .filter(|path| path.extension().is_some_and(|end| end == "json"))
            .collect()
    }

    fn read_overrides(&self) -> Result<Overrides, StoreError> {
        let path = self.overrides_path();
        let bytes = match durable::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.is_missing() => return Ok(Overrides::default()),
            Err(error) => return Err(error),
        };
        let file: OverridesFile = serde_json::from_slice(&bytes)
            .map_err(|error| StoreError::damaged(&path, error.to_string()))?;
        Ok(Overrides {
            disabled: file.disabled,
        })
    }
}

/// The store while it is locked; dropping it frees the lock.
#[derive(Debug)]
pub struct Change<'a> {
    store: &'a Store,
    _lock: Lock,
}

impl Change<'_> {
    /// Writes a credential, in the place of the one with its id if there is one. On return it
    /// survives a power cut.
    pub fn put(&self, credential: &Credential) -> Result<(), StoreError> {
        let path = self.store.path(&credential.id);
        durable::directory(&self.store.credentials_directory())?;
        if let Some(directory) = path.parent() {
            durable::directory(directory)?;
            durable::sweep(directory);
        }
        durable::write(&path, &file::write(credential))
    }

    /// Removes a credential; `false` if it is not in the store.
    pub fn remove(&self, id: &CredentialId) -> Result<bool, StoreError> {
        durable::remove(&self.store.path(id))
    }

    /// Remembers whether a credential of the environment or config file is switched off.
    pub fn set_disabled(
        &self,
        id: &CredentialId,
        fingerprint: Fingerprint,
        disabled: bool,
    ) -> Result<(), StoreError> {
        let mut overrides = self.store.read_overrides()?;
        let fingerprint = fingerprint.to_string();
        if disabled {
            overrides.disabled.insert(fingerprint, id.to_string());
        } else if overrides.disabled.remove(&fingerprint).is_none() {
            return Ok(());
        }
        let path = self.store.overrides_path();
        let file = OverridesFile {
            version: 1,
            disabled: overrides.disabled,
        };
        let text = serde_json::to_vec_pretty(&file)
            .map_err(|error| StoreError::unwritable(&path, error.into()))?;
        durable::write(&path, &text)
    }
}

fn read(path: &Path) -> Result<Credential, StoreError> {
    file::read(path, &durable::read(path)?)
}

fn read_key(path: &Path) -> Result<FingerprintKey, StoreError> {
    let bytes = durable::read(path)?;
    <&[u8; 32]>::try_from(bytes.as_slice())
        .map(FingerprintKey::new)
        .map_err(|_| StoreError::damaged(path, "it does not hold 32 bytes"))
}

/// 32 bytes from the system's generator.
fn random_key() -> [u8; 32] {
    let mut bytes = [0; 32];
    if SystemRandom::new().fill(&mut bytes).is_err() {
        // The key only keeps stored fingerprints from being checked against guessed secrets, so a
        // weaker one is better than no start. It does not happen on any system we build for.
        bytes.fill_with(|| fastrand::u8(..));
    }
    bytes
}

/// A key for a process whose data directory cannot be written: its fingerprints mean nothing to
/// any other.
pub fn passing_fingerprint_key() -> FingerprintKey {
    FingerprintKey::new(&random_key())
}

fn children(directory: &Path) -> Vec<PathBuf> {
    fs::read_dir(directory)
        .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
        .unwrap_or_default()
}

/// `gemini/2` before `gemini/10` before `gemini/work`.
fn order(a: &CredentialId, b: &CredentialId) -> std::cmp::Ordering {
    let number = |id: &CredentialId| id.name().parse::<u64>().unwrap_or(u64::MAX);
    (a.provider(), number(a), a.name()).cmp(&(b.provider(), number(b), b.name()))
}

#[cfg(unix)]
fn mode_and_inode(seen: &fs::Metadata) -> (u32, u64) {
    use std::os::unix::fs::MetadataExt;
    (seen.mode(), seen.ino())
}

#[cfg(not(unix))]
fn mode_and_inode(_: &fs::Metadata) -> (u32, u64) {
    (0, 0)
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::thread;

    use super::*;
    use crate::secret::Secret;

    fn key(id: &str, secret: &str) -> Credential {
        let id = CredentialId::parse(id).expect("a valid id");
        Credential::api_key(id, Source::Store, Secret::new(secret))
    }

    fn put(store: &Store, id: &str, secret: &str) {
        let change = store.change().expect("free");
        change.put(&key(id, secret)).expect("writable");
    }

    fn ids(store: &Store) -> Vec<String> {
        let loaded = store.load();
        assert!(loaded.problems.is_empty(), "{:?}", loaded.problems);
        loaded
            .credentials
            .iter()
            .map(|c| c.id.to_string())
            .collect()
    }

    #[test]
    fn a_missing_directory_holds_nothing_and_is_not_created_by_looking() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let store = Store::new(dir.path().join("none"));
        assert!(ids(&store).is_empty());
        let _ = store.stamp();
        assert!(!store.directory().exists());
    }

    #[test]
    fn credentials_are_kept_in_order_until_removed() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let store = Store::new(dir.path().join("data"));
        for id in [
            "openai/10",
            "openai/2",
            "openai/work",
            "gemini/me@example.com",
        ] {
            put(&store, id, "k");
        }
        assert_eq!(
            ids(&store),
            [
                "gemini/me@example.com",
                "openai/2",
                "openai/10",
                "openai/work"
            ]
        );
        let id = CredentialId::parse("openai/2").expect("a valid id");
        assert!(
            store
                .change()
                .expect("free")
                .remove(&id)
                .expect("removable")
        );
        assert!(
            !store
                .change()
                .expect("free")
                .remove(&id)
                .expect("removable")
        );
        assert!(store.get(&id).expect("readable").is_none());
    }

    #[test]
    fn a_damaged_file_is_named_and_kept_and_the_rest_loads() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let store = Store::new(dir.path());
        put(&store, "openai/1", "sk-canary-1");
        put(&store, "openai/2", "sk-canary-2");
        let path = store.path(&CredentialId::parse("openai/1").expect("a valid id"));
        let torn = fs::read(&path).expect("readable");
        durable::write(&path, &torn[..torn.len() / 2]).expect("writable");
        let loaded = store.load();
        assert_eq!(loaded.credentials.len(), 1);
        let [problem] = &loaded.problems[..] else {
            panic!("one problem expected: {:?}", loaded.problems);
        };
        assert!(problem.to_string().contains("1.json"), "{problem}");
        assert!(!format!("{problem:?}").contains("canary"));
        assert!(path.exists());
    }

    #[test]
    fn every_change_alters_the_stamp() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let store = Store::new(dir.path());
        let mut seen = vec![store.stamp()];
        let mut changed = || {
            let stamp = store.stamp();
            assert!(!seen.contains(&stamp));
            seen.push(stamp);
        };
        put(&store, "openai/1", "a");
        changed();
        put(&store, "openai/1", "b");
        changed();
        put(&store, "openai/2", "b");
        changed();
        let id = CredentialId::parse("openai/3").expect("a valid id");
        let change = store.change().expect("free");
        change
            .set_disabled(&id, Fingerprint([1; 16]), true)
            .expect("writable");
        changed();
        assert_eq!(store.stamp(), store.stamp());
    }

    #[test]
    fn what_is_switched_off_stays_so_until_switched_on() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let store = Store::new(dir.path());
        let id = CredentialId::parse("openai/1").expect("a valid id");
        let fingerprint = Fingerprint([7; 16]);
        for disabled in [true, true, false, false] {
            let change = store.change().expect("free");
            change
                .set_disabled(&id, fingerprint, disabled)
                .expect("writable");
            assert_eq!(store.load().overrides.is_disabled(fingerprint), disabled);
        }
    }

    #[test]
    fn the_fingerprint_key_is_made_once_and_replaced_when_damaged() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let store = Store::new(dir.path());
        let secret = Secret::new("sk-0123456789");
        let fingerprint = || secret.fingerprint(&store.fingerprint_key().expect("usable"));
        let first = fingerprint();
        assert_eq!(first, fingerprint());
        durable::write(&dir.path().join("fingerprint.key"), b"short").expect("writable");
        assert_ne!(first, fingerprint());
        assert!(dir.path().join("fingerprint.key.damaged").exists());
    }

    #[test]
    fn many_writers_lose_nothing() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (store, start) = (Store::new(dir.path()), Barrier::new(8));
        thread::scope(|scope| {
            for writer in 0..8 {
                let (store, start) = (&store, &start);
                scope.spawn(move || {
                    start.wait();
                    for at in 0..5 {
                        put(store, &format!("openai/w{writer}-{at}"), "k");
                    }
                });
            }
        });
        assert_eq!(ids(&store).len(), 40);
    }

    #[test]
    fn an_account_is_locked_apart_from_the_store_and_from_other_accounts() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let store = Store::new(dir.path());
        let id = |text: &str| CredentialId::parse(text).expect("a valid id");
        let held = store.try_lock_account(&id("qwen_code/a")).expect("usable");
        assert!(held.is_some());
        assert!(
            store
                .try_lock_account(&id("qwen_code/a"))
                .expect("usable")
                .is_none()
        );
        assert!(
            store
                .try_lock_account(&id("qwen_code/b"))
                .expect("usable")
                .is_some()
        );
        assert!(store.change().is_ok());
    }
}
