//! Small files that hold secrets: written whole or not at all, readable by their owner only.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use thiserror::Error;
use zeroize::Zeroizing;

/// Begins the names of files that are being written; what is left of them is swept away.
const TEMPORARY_PREFIX: &str = ".tmp-";

/// No credential file is larger; a bound so that a wrong file cannot fill the memory.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// How long another process may hold a lock: its writes take milliseconds, so this is a hang.
const LOCK_PATIENCE: Duration = Duration::from_secs(10);

/// How often a taken lock is tried again.
const LOCK_RETRY: Duration = Duration::from_millis(10);

/// Why a file of the store cannot be used. Every text names the file.
#[derive(Debug, Error)]
pub enum StoreError {
    #[error("{} is damaged: {reason}", path.display())]
    Damaged { path: PathBuf, reason: String },
    #[error("{} can be read or changed by other users (mode {mode:04o})", path.display())]
    Exposed { path: PathBuf, mode: u32 },
    #[error("another llmproxy holds {} for longer than 10 s", path.display())]
    Locked { path: PathBuf },
    #[error("{} was written by a newer llmproxy (format {version})", path.display())]
    Newer { path: PathBuf, version: u64 },
    #[error("{} is not a regular file or directory of its own (a link?)", path.display())]
    NotRegular { path: PathBuf },
    #[error("cannot read {}", path.display())]
    Unreadable {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot write {}", path.display())]
    Unwritable {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

impl StoreError {
    /// What the user can do about it: one line.
    pub fn hint(&self) -> String {
        match self {
            Self::Damaged { path, .. } => format!(
                "the file was left as it is; move {} away and add the credential again",
                path.display()
            ),
            Self::Exposed { path, .. } => {
                let mode = if path.is_dir() { "700" } else { "600" };
                format!("chmod {mode} '{}'", path.display())
            }
            Self::Locked { .. } => "end the process that hangs; the lock goes with it".to_owned(),
            Self::Newer { .. } => "update llmproxy".to_owned(),
            Self::NotRegular { path } => format!(
                "put the file itself in the place of the link {}",
                path.display()
            ),
            Self::Unreadable { path, .. } | Self::Unwritable { path, .. } => format!(
                "check the owner, mode and free space of {}",
                path.parent().unwrap_or(path).display()
            ),
        }
    }

    /// `true` if it says that there is no such file.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Unreadable { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }

    fn unreadable(path: &Path, source: io::Error) -> Self {
        Self::Unreadable {
            path: path.to_owned(),
            source,
        }
    }

    pub(super) fn unwritable(path: &Path, source: io::Error) -> Self {
        Self::Unwritable {
            path: path.to_owned(),
            source,
        }
    }

    pub(super) fn damaged(path: &Path, reason: impl Into<String>) -> Self {
        Self::Damaged {
            path: path.to_owned(),
            reason: reason.into(),
        }
    }
}

/// Replaces `path` with `bytes`: after a return with `Ok` they survive a power cut, and whatever
/// happens there is either the old file or the new one. The directory must exist.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    replace(path, bytes).map_err(|source| StoreError::unwritable(path, source))
}

fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    // Created with O_EXCL and 0600, removed when dropped before `persist`.
    let mut temporary = tempfile::Builder::new()
        .prefix(TEMPORARY_PREFIX)
        .tempfile_in(directory)?;
    // A strange umask may have taken our own bits away.
    restrict(temporary.as_file(), 0o600)?;
    temporary.write_all(bytes)?;
    temporary.as_file().sync_all()?;
    temporary.persist(path).map_err(|error| error.error)?;
    sync_directory(directory)
}

/// Removes a file for good; `false` if there was none.
pub(super) fn remove(path: &Path) -> Result<bool, StoreError> {
    match fs::remove_file(path) {
        Ok(()) => {
            sync_directory(path.parent().unwrap_or(Path::new(".")))
                .map_err(|source| StoreError::unwritable(path, source))?;
            Ok(true)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(StoreError::unwritable(path, source)),
    }
}

/// Reads a file that holds secrets. Refuses links, what is no regular file, what is larger than
/// 1 MiB, and what others can read or write.
pub(super) fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, StoreError> {
    let seen = fs::symlink_metadata(path).map_err(|error| StoreError::unreadable(path, error))?;
    if !seen.is_file() {
        return Err(StoreError::NotRegular {
            path: path.to_owned(),
        });
    }
    let file = File::open(path).map_err(|error| StoreError::unreadable(path, error))?;
    let opened = file
        .metadata()
        .map_err(|error| StoreError::unreadable(path, error))?;
    // What was opened may be another file than what was looked at.
    if !opened.is_file() || opened.len() > MAX_FILE_BYTES {
        return Err(StoreError::damaged(path, "it is larger than 1 MiB"));
    }
    check_mode(path, &opened, 0o077)?;
    let mut bytes = Zeroizing::new(Vec::new());
    file.take(MAX_FILE_BYTES)
        .read_to_end(&mut bytes)
        .map_err(|error| StoreError::unreadable(path, error))?;
    Ok(bytes)
}

/// Makes sure that `path` is a directory of mode 0700, creating it and its parents.
///
/// A directory of ours that others may list is tightened; one that others may write to is refused,
/// since what lies in it may be theirs.
pub(super) fn directory(path: &Path) -> Result<(), StoreError> {
    let unwritable = |source| StoreError::unwritable(path, source);
    match fs::symlink_metadata(path) {
        Ok(seen) if seen.is_dir() => {
            check_mode(path, &seen, 0o022)?;
            tighten(path, &seen).map_err(unwritable)
        }
        // The user may have put the data elsewhere; what counts is where the link leads.
        Ok(seen) if seen.is_symlink() && path.is_dir() => {
            let target = fs::metadata(path).map_err(unwritable)?;
            check_mode(path, &target, 0o022)?;
            tighten(path, &target).map_err(unwritable)
        }
        Ok(_) => Err(StoreError::NotRegular {
            path: path.to_owned(),
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            create_directory(path).map_err(unwritable)
        }
        Err(error) => Err(unwritable(error)),
    }
}

/// Removes files that a killed process left half-written. Only to be called under the lock.
pub(super) fn sweep(directory: &Path) {
    let Ok(entries) = fs::read_dir(directory) else {
        return;
    };
    for entry in entries.flatten() {
        if entry
            .file_name()
            .to_string_lossy()
            .starts_with(TEMPORARY_PREFIX)
        {
            // Whoever cannot remove it can leave it: nothing reads it.
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// An exclusive lock between processes; the kernel frees it when its holder ends, however it ends.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// Takes the lock that `path` stands for. The file is kept for ever: removing it would let two
/// processes lock two files of one name.
///
/// Fails with [`StoreError::Locked`] after ten seconds.
pub(super) fn lock(path: &Path) -> Result<Lock, StoreError> {
    let deadline = Instant::now() + LOCK_PATIENCE;
    loop {
        if let Some(lock) = try_lock(path)? {
            return Ok(lock);
        }
        if Instant::now() >= deadline {
            return Err(StoreError::Locked {
                path: path.to_owned(),
            });
        }
        thread::sleep(LOCK_RETRY);
    }
}

/// Takes the lock if it is free.
pub(super) fn try_lock(path: &Path) -> Result<Option<Lock>, StoreError> {
    let unwritable = |source| StoreError::unwritable(path, source);
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(path).map_err(unwritable)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(Lock { _file: file })),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(unwritable(error)),
    }
}

#[cfg(unix)]
fn check_mode(path: &Path, seen: &fs::Metadata, forbidden: u32) -> Result<(), StoreError> {
    use std::os::unix::fs::MetadataExt;
    let mode = seen.mode() & 0o7777;
    if mode & forbidden != 0 {
        return Err(StoreError::Exposed {
            path: path.to_owned(),
            mode,
        });
    }
    Ok(())
}

#[cfg(not(unix))]
#[expect(clippy::unnecessary_wraps, reason = "the signature of the Unix form")]
fn check_mode(_: &Path, _: &fs::Metadata, _: u32) -> Result<(), StoreError> {
    Ok(())
}

#[cfg(unix)]
fn tighten(path: &Path, seen: &fs::Metadata) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    if check_mode(path, seen, 0o077).is_ok() {
        return Ok(());
    }
    fs::set_permissions(path, fs::Permissions::from_mode(0o700))
}

#[cfg(not(unix))]
#[expect(clippy::unnecessary_wraps, reason = "the signature of the Unix form")]
fn tighten(_: &Path, _: &fs::Metadata) -> io::Result<()> {
    Ok(())
}

#[cfg(unix)]
fn restrict(file: &File, mode: u32) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    file.set_permissions(fs::Permissions::from_mode(mode))
}

#[cfg(not(unix))]
#[expect(clippy::unnecessary_wraps, reason = "the signature of the Unix form")]
fn restrict(_: &File, _: u32) -> io::Result<()> {
    Ok(())
}

#[cfg(unix)]
fn create_directory(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
    let above = path.parent().filter(|above| *above != Path::new(""));
    if let Some(above) = above.filter(|above| !above.is_dir()) {
        create_directory(above)?;
    }
    match fs::DirBuilder::new().mode(0o700).create(path) {
        // Another process was quicker.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
        created => created?,
    }
    fs::set_permissions(path, fs::Permissions::from_mode(0o700))?;
    // Its name stands in the directory above it: without this what is in it may not be found again.
    match above.map_or(Ok(()), sync_directory) {
        // One that we may not read is not ours to sync.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        synced => synced,
    }
}

#[cfg(not(unix))]
fn create_directory(path: &Path) -> io::Result<()> {
    fs::create_dir_all(path)
}

#[cfg(unix)]
fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

#[cfg(not(unix))]
#[expect(clippy::unnecessary_wraps, reason = "the signature of the Unix form")]
fn sync_directory(_: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    fn chmod(path: &Path, mode: u32) {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("our own file");
    }

    #[test]
    fn what_was_written_is_read_back_and_leaves_nothing_else() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("a.json");
        write(&path, b"one").expect("writable");
        write(&path, b"two").expect("writable");
        assert_eq!(&**read(&path).expect("readable"), b"two");
        assert_eq!(fs::read_dir(dir.path()).expect("readable").count(), 1);
    }

    #[test]
    fn a_failed_write_keeps_the_old_file() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("a.json");
        fs::create_dir(&path).expect("writable");
        assert!(write(&path, b"one").is_err());
        assert_eq!(fs::read_dir(dir.path()).expect("readable").count(), 1);
    }

    #[cfg(unix)]
    #[test]
    fn files_are_for_their_owner_only_whatever_was_there() {
        use std::os::unix::fs::MetadataExt;
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("a.json");
        fs::write(&path, "old").expect("writable");
        chmod(&path, 0o644);
        write(&path, b"new").expect("writable");
        let mode = fs::metadata(&path).expect("there").mode() & 0o777;
        assert_eq!(mode, 0o600);
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_others_can_read_is_refused_with_the_command_that_mends_it() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("a.json");
        write(&path, b"secret").expect("writable");
        for mode in [0o644, 0o640, 0o604, 0o660, 0o602] {
            chmod(&path, mode);
            let error = read(&path).expect_err("exposed");
            assert!(matches!(error, StoreError::Exposed { .. }), "{mode:o}");
            assert!(error.hint().starts_with("chmod 600 "), "{}", error.hint());
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_link_is_refused() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (real, link) = (dir.path().join("real"), dir.path().join("link"));
        write(&real, b"secret").expect("writable");
        std::os::unix::fs::symlink(&real, &link).expect("links work here");
        assert!(matches!(read(&link), Err(StoreError::NotRegular { .. })));
    }

    #[cfg(unix)]
    #[test]
    fn a_directory_that_others_can_write_to_is_refused_and_one_they_can_list_tightened() {
        use std::os::unix::fs::MetadataExt;
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("data");
        directory(&path).expect("creatable");
        chmod(&path, 0o777);
        assert!(matches!(directory(&path), Err(StoreError::Exposed { .. })));
        chmod(&path, 0o755);
        directory(&path).expect("ours");
        assert_eq!(fs::metadata(&path).expect("there").mode() & 0o777, 0o700);
    }

    #[test]
    fn a_lock_has_one_holder_at_a_time() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join(".lock");
        let held = lock(&path).expect("free");
        assert!(try_lock(&path).expect("usable").is_none());
        drop(held);
        assert!(try_lock(&path).expect("usable").is_some());
    }

    #[test]
    fn leftovers_of_killed_writers_are_swept_away() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        for at in 0..20 {
            fs::write(dir.path().join(format!("{TEMPORARY_PREFIX}{at}")), "x").expect("writable");
        }
        fs::write(dir.path().join("kept.json"), "x").expect("writable");
        sweep(dir.path());
        assert_eq!(fs::read_dir(dir.path()).expect("readable").count(), 1);
    }
}
