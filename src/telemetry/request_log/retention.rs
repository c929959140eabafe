//! Which logged requests go: the old ones, and the oldest while there are too many or they take too
//! much room.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use crate::telemetry::request_log::Settings;
use crate::time::Timestamp;

/// Requests kept at most, as in the journal.
const MAX_REQUESTS: usize = 10_000;

/// How a directory begins that is still being written.
pub(super) const PARTIAL: &str = ".partial-";

/// What the logged requests are and take. Other processes may log into the same directory.
#[derive(Default)]
pub(super) struct Shelf {
    /// Bytes by name, so that each is measured once.
    sizes: HashMap<String, u64>,
}

impl Shelf {
    /// Notes a request that was written.
    pub(super) fn add(&mut self, name: String, bytes: u64) {
        self.sizes.insert(name, bytes);
    }

    /// Whether it is time to look: there is too much of what is known.
    pub(super) fn is_full(&self, settings: &Settings) -> bool {
        self.sizes.len() > MAX_REQUESTS || self.bytes() > settings.max_bytes
    }

    fn bytes(&self) -> u64 {
        self.sizes.values().sum()
    }

    /// Removes what is not to be kept. What cannot be removed is tried again next time.
    pub(super) fn tidy(&mut self, settings: &Settings, now: Timestamp) {
        let mut names = Vec::new();
        for entry in fs::read_dir(&settings.dir).into_iter().flatten().flatten() {
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            match name.strip_prefix(PARTIAL) {
                // Left behind by a process that was killed: nobody writes one for an hour.
                Some(inner) if is_ours(inner) => {
                    if *inner < *stamp(now - std::time::Duration::from_hours(1)) {
                        remove(&settings.dir, &name);
                    }
                }
                None if is_ours(&name) => names.push(name),
                Some(_) | None => {}
            }
        }
        names.sort_unstable();
        self.sizes
            .retain(|name, _| names.binary_search(name).is_ok());
        for name in &names {
            if !self.sizes.contains_key(name) {
                let bytes = size(&settings.dir.join(name));
                self.sizes.insert(name.clone(), bytes);
            }
        }
        let oldest = stamp(now - settings.retention);
        let (mut count, mut bytes) = (names.len(), self.bytes());
        for name in names {
            let is_old = *name < *oldest;
            if !is_old && count <= MAX_REQUESTS && bytes <= settings.max_bytes {
                break;
            }
            remove(&settings.dir, &name);
            count -= 1;
            bytes = bytes.saturating_sub(self.sizes.remove(&name).unwrap_or(0));
        }
    }
}

/// A time as directories are named by it: sorted by name is sorted by time.
pub(super) fn stamp(time: Timestamp) -> String {
    time.to_rfc3339().replace(['-', ':'], "")
}

/// Whether a name is one that [`stamp`] and an id make: nothing else in the directory is ours.
pub(super) fn is_ours(name: &str) -> bool {
    let Some((time, id)) = name.split_once('-') else {
        return false;
    };
    let digits = time.bytes().filter(u8::is_ascii_digit).count();
    digits == 17
        && time.len() == 20
        && time.ends_with('Z')
        && id.len() == 32
        && id.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn remove(dir: &Path, name: &str) {
    if let Err(error) = fs::remove_dir_all(dir.join(name)) {
        tracing::debug!("cannot remove the logged request {name}: {error}");
    }
}

fn size(directory: &Path) -> u64 {
    let files = fs::read_dir(directory).into_iter().flatten().flatten();
    files
        .filter_map(|file| file.metadata().ok())
        .map(|file| file.len())
        .sum()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::time::Duration;

    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn log(dir: &Path, secs_ago: u64, bytes: usize) -> String {
        let time = Timestamp::from_secs(NOW) - Duration::from_secs(secs_ago);
        let name = format!("{}-{secs_ago:032x}", stamp(time));
        fs::create_dir(dir.join(&name)).expect("a directory");
        fs::write(dir.join(&name).join("meta.json"), vec![b' '; bytes]).expect("a file");
        name
    }

    fn left(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).expect("it is there").flatten();
        let mut names: Vec<_> = entries
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    fn settings(dir: PathBuf, max_bytes: u64) -> Settings {
        Settings {
            dir,
            retention: Duration::from_secs(100),
            max_bytes,
        }
    }

    #[test]
    fn old_requests_go_and_nothing_else() {
        let home = tempfile::tempdir().expect("a directory");
        let dir = home.path();
        log(dir, 101, 1);
        let young = log(dir, 99, 1);
        for other in ["notes", "20260101-x", ".partial-x"] {
            fs::create_dir(dir.join(other)).expect("a directory");
        }
        let mut shelf = Shelf::default();
        shelf.tidy(
            &settings(dir.to_owned(), 1 << 20),
            Timestamp::from_secs(NOW),
        );
        assert_eq!(left(dir), [".partial-x", "20260101-x", &young, "notes"]);
    }

    #[test]
    fn the_oldest_make_room_for_the_others() {
        let home = tempfile::tempdir().expect("a directory");
        let dir = home.path();
        log(dir, 30, 1000);
        let (second, third) = (log(dir, 20, 1000), log(dir, 10, 1000));
        let mut shelf = Shelf::default();
        let settings = settings(dir.to_owned(), 2500);
        shelf.tidy(&settings, Timestamp::from_secs(NOW));
        assert_eq!(left(dir), [second, third]);
        assert!(!shelf.is_full(&settings));
    }

    #[test]
    fn what_a_killed_process_left_half_written_goes() {
        let home = tempfile::tempdir().expect("a directory");
        let dir = home.path();
        for (secs_ago, stays) in [(7200, false), (60, true)] {
            let name = format!("{PARTIAL}{}", log(dir, secs_ago, 1));
            fs::create_dir(dir.join(&name)).expect("a directory");
            let mut shelf = Shelf::default();
            shelf.tidy(
                &settings(dir.to_owned(), 1 << 20),
                Timestamp::from_secs(NOW),
            );
            assert_eq!(left(dir).contains(&name), stays, "{secs_ago}");
        }
    }
}
