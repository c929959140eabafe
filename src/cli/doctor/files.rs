//! Modes of files that hold secrets, directories that must be writable, locks that are held.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::cli::doctor::Finding;
use crate::config::paths::Paths;

/// Changes to the store take milliseconds; who holds a lock longer hangs.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);

const LOCK_RETRY: Duration = Duration::from_millis(50);

pub(super) fn check(paths: &Paths) -> Vec<Finding> {
    let mut findings = modes(paths);
    for (name, directory) in [
        ("credentials", &paths.data_dir),
        ("state", &paths.state_dir),
        ("caches", &paths.cache_dir),
    ] {
        findings.push(writable(name, directory));
    }
    findings.extend(locks(&paths.data_dir));
    findings
}

/// Whatever others may read below the credentials, exposed conversations, config or `.env` file.
#[cfg(unix)]
fn modes(paths: &Paths) -> Vec<Finding> {
    use std::os::unix::fs::PermissionsExt;

    let mode = |path: &Path| {
        let meta = fs::metadata(path).ok()?;
        Some(meta.permissions().mode() & 0o777)
    };
    let fix = |path: &Path| {
        let private = if path.is_dir() { "700" } else { "600" };
        format!("chmod {private} '{}'", path.display())
    };
    let exposed =
        |path: &PathBuf| Some((path.clone(), mode(path).filter(|mode| mode & 0o077 != 0)?));
    let mut findings = Vec::new();
    let mut private = below(&paths.data_dir);
    private.push(paths.conversations_file());
    for (path, mode) in private.iter().filter_map(exposed) {
        let message = format!("{} is open to others (mode {mode:03o})", path.display());
        findings.push(Finding::error("files", message, fix(&path)));
    }
    let texts = [paths.config_file.clone(), paths.env_file()];
    for (path, mode) in texts.iter().filter_map(exposed) {
        let may_hold = fs::read_to_string(&path).is_ok_and(|text| holds_keys(&text));
        if may_hold {
            let message = format!(
                "{} seems to hold keys and is open to others (mode {mode:03o})",
                path.display()
            );
            findings.push(Finding::warning("files", message, fix(&path)));
        }
    }
    if findings.is_empty() {
        findings.push(Finding::ok(
            "files",
            "nobody else may read credentials and conversations",
        ));
    }
    findings
}

#[cfg(not(unix))]
fn modes(_: &Paths) -> Vec<Finding> {
    Vec::new()
}

/// Whether a line of a config or `.env` file sets a key to more than a reference.
fn holds_keys(text: &str) -> bool {
    let lines = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.starts_with('#'));
    let mut assignments = lines.filter_map(|line| line.split_once('='));
    assignments.any(|(name, value)| {
        let name = name.to_ascii_lowercase();
        let is_secret = ["key", "secret", "token", "proxy"]
            .iter()
            .any(|word| name.contains(word));
        let is_reference = value.contains("env:") || value.contains("file:");
        let is_set = value.chars().filter(char::is_ascii_alphanumeric).count() > 8;
        is_secret && is_set && !is_reference
    })
}

/// A directory and all that is in it; nothing if it is not there.
fn below(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut waiting = vec![directory.to_owned()];
    while let Some(path) = waiting.pop() {
        let Ok(meta) = fs::symlink_metadata(&path) else {
            continue;
        };
        if meta.is_dir() {
            let entries = fs::read_dir(&path).into_iter().flatten().flatten();
            waiting.extend(entries.map(|entry| entry.path()));
        }
        if !meta.is_symlink() {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Tries to make a file in the directory, or in the nearest one above it that exists.
fn writable(name: &'static str, directory: &Path) -> Finding {
    let fine = || Finding::ok("files", format!("{} can hold {name}", directory.display()));
    let mut above = directory.ancestors();
    let Some(there) = above.find(|path| path.is_dir()) else {
        return fine();
    };
    match tempfile::tempfile_in(there) {
        Ok(_) => fine(),
        Err(error) => Finding::error(
            "files",
            format!("cannot write {name} to {}: {error}", directory.display()),
            "change the directory's owner or mode, or name another one in the environment",
        ),
    }
}

/// Locks that some process does not give back. The kernel frees those of processes that ended.
fn locks(data_dir: &Path) -> Vec<Finding> {
    let all = below(data_dir);
    let files = all.iter().filter(|path| {
        path.extension()
            .is_some_and(|extension| extension == "lock")
            || path.file_name().is_some_and(|name| name == ".lock")
    });
    let held = files.filter(|path| is_stuck(path));
    let mut findings: Vec<Finding> = held
        .map(|path| {
            let message = format!("{} has been held for some time", path.display());
            let fix = format!(
                "find the llmproxy that hangs (`fuser '{}'`) and end it",
                path.display()
            );
            Finding::error("locks", message, fix)
        })
        .collect();
    if findings.is_empty() {
        findings.push(Finding::ok("locks", "no lock is stuck"));
    }
    findings
}

fn is_stuck(path: &Path) -> bool {
    let Ok(file) = File::open(path) else {
        return false;
    };
    let began = Instant::now();
    while matches!(file.try_lock(), Err(TryLockError::WouldBlock)) {
        if began.elapsed() > LOCK_PATIENCE {
            return true;
        }
        thread::sleep(LOCK_RETRY);
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::Level;

    #[test]
    fn only_written_out_keys_count_as_keys() {
        for (text, holds) in [
            ("api_keys = [\"sk-0123456789\"]", true),
            ("GEMINI_API_KEY=abcdefghijk", true),
            ("api_keys = [\"env:GEMINI_API_KEY\"]", false),
            ("key = \"file:/run/secrets/key\"", false),
            ("# api_keys = [\"sk-0123456789\"]", false),
            ("GEMINI_API_KEY=", false),
            ("host = \"example.example.com\"", false),
        ] {
            assert_eq!(holds_keys(text), holds, "{text}");
        }
    }

    #[test]
    fn a_held_lock_is_stuck_and_a_free_one_is_not() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join(".lock");
        let holder = File::create(&path).expect("a lock file");
        assert_eq!(locks(dir.path())[0].level, Level::Ok);
        holder.lock().expect("locked");
        assert_eq!(locks(dir.path())[0].level, Level::Error);
    }
}
