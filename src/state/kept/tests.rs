//! What is kept as its users see it, on real files.

use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;

use super::*;

/// Long after any run of these tests: the writer sweeps by the clock of the machine.
const NOW: Timestamp = Timestamp::from_secs(4_102_444_800);
const PATIENCE: Duration = Duration::from_secs(20);

fn temporary() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("state").join("conversations.db");
    (dir, path)
}

/// Opened without anything to tell.
fn sound(path: &Path) -> Kept {
    let (kept, notice) = Kept::open(path, NOW);
    assert_eq!(notice, None);
    kept.expect("opened")
}

fn key(owner: &str, name: &str) -> Key {
    Key {
        kind: Kind::Response,
        owner: owner.to_owned(),
        name: name.to_owned(),
    }
}

fn value(kept: &Kept, owner: &str, name: &str, now: Timestamp) -> Option<String> {
    let row = kept.get(&key(owner, name), now)?;
    Some(String::from_utf8(row.value).expect("text"))
}

/// One that holds `r` of client `a`.
fn holding(path: &Path) -> Kept {
    let kept = sound(path);
    kept.put(key("a", "r"), b"said".to_vec(), NOW);
    kept
}

#[test]
fn what_is_kept_is_there_at_once_and_after_a_restart_for_its_owner_only() {
    let (_dir, path) = temporary();
    let kept = holding(&path);
    for kept in [kept.clone(), {
        kept.flush(PATIENCE).expect("written");
        drop(kept);
        sound(&path)
    }] {
        assert_eq!(value(&kept, "a", "r", NOW).as_deref(), Some("said"));
        assert_eq!(value(&kept, "b", "r", NOW), None);
        assert_eq!(kept.all(Kind::Turn, NOW), []);
    }
}

#[test]
fn what_lay_unused_for_a_day_is_over_and_gone_at_the_next_look() {
    let (_dir, path) = temporary();
    let kept = holding(&path);
    kept.flush(PATIENCE).expect("written");
    let idle = Kind::Response.limits().idle;
    let almost = NOW + idle - Duration::from_secs(1);
    assert!(value(&kept, "a", "r", almost).is_some());
    assert_eq!(value(&kept, "a", "r", NOW + idle), None);
    kept.used(key("a", "r"), almost);
    kept.flush(PATIENCE).expect("written");
    assert!(value(&kept, "a", "r", NOW + idle).is_some());
    drop(kept);
    let (kept, _) = Kept::open(&path, almost + idle);
    let kept = kept.expect("opened");
    assert_eq!(value(&kept, "a", "r", NOW), None, "the row itself is gone");
}

#[test]
fn what_is_deleted_is_not_in_the_file_any_more() {
    let (_dir, path) = temporary();
    let kept = holding(&path);
    kept.flush(PATIENCE).expect("written");
    kept.delete(key("a", "r"));
    assert_eq!(value(&kept, "a", "r", NOW), None, "before it is written");
    kept.flush(PATIENCE).expect("written");
    // Nobody has closed it: a process may be killed now.
    for entry in fs::read_dir(path.parent().expect("has one")).expect("readable") {
        let path = entry.expect("an entry").path();
        let bytes = fs::read(&path).expect("readable");
        let found = bytes.windows(4).any(|window| window == b"said");
        assert!(!found, "{}", path.display());
    }
    drop(kept);
    assert_eq!(value(&sound(&path), "a", "r", NOW), None);
}

#[test]
fn the_oldest_go_when_there_are_too_many() {
    let (_dir, path) = temporary();
    let kept = sound(&path);
    let most = Kind::Response.limits().entries;
    for at in 0..most + 300 {
        let now = NOW + Duration::from_secs(at as u64);
        kept.put(key("a", &at.to_string()), b"{}".to_vec(), now);
    }
    kept.flush(PATIENCE).expect("written");
    lock(&kept.shared.file).tidy(NOW);
    let rows = kept.all(Kind::Response, NOW);
    assert_eq!(rows.len(), most);
    assert_eq!(rows.last().expect("some").name, (most + 299).to_string());
}

#[test]
fn what_the_screen_refuses_is_never_written() {
    let (_dir, path) = temporary();
    let kept = sound(&path);
    kept.screen(|value| value != b"sk-secret");
    kept.put(key("a", "1"), b"sk-secret".to_vec(), NOW);
    kept.put(key("a", "2"), b"said".to_vec(), NOW);
    kept.flush(PATIENCE).expect("written");
    assert_eq!(value(&kept, "a", "1", NOW), None);
    assert_eq!(value(&kept, "a", "2", NOW).as_deref(), Some("said"));
}

#[test]
fn a_damaged_file_is_moved_aside_and_one_takes_its_place() {
    let (_dir, path) = temporary();
    fs::create_dir_all(path.parent().expect("has one")).expect("made");
    fs::write(
        &path,
        "not a database, and longer than a header of one would be",
    )
    .expect("written");
    let (kept, notice) = Kept::open(&path, NOW);
    let text = notice.expect("it is told").text;
    assert!(text.contains("was damaged"), "{text}");
    let kept = kept.expect("a new one");
    kept.put(key("a", "r"), b"said".to_vec(), NOW);
    kept.flush(PATIENCE).expect("written");
    let names = fs::read_dir(path.parent().expect("has one")).expect("readable");
    let names: Vec<_> = names
        .map(|entry| entry.expect("an entry").file_name())
        .filter(|name| name.to_string_lossy().contains(".corrupt-"))
        .collect();
    assert_eq!(names.len(), 1, "{names:?}");
}

#[test]
fn where_there_can_be_no_file_nothing_is_opened_and_it_is_said() {
    let (dir, _) = temporary();
    let place = dir.path().join("file");
    fs::write(&place, "").expect("written");
    let (kept, notice) = Kept::open(&place.join("conversations.db"), NOW);
    assert!(kept.is_none());
    let text = notice.expect("it is told").text;
    assert!(text.contains("in memory only"), "{text}");
}

#[test]
fn a_file_of_a_newer_version_is_left_alone() {
    let (_dir, path) = temporary();
    drop(sound(&path));
    // The user's version in the header of the file (SQLite's file format, 1.3).
    let mut bytes = fs::read(&path).expect("readable");
    bytes[60..64].copy_from_slice(&99_u32.to_be_bytes());
    fs::write(&path, bytes).expect("written");
    let (kept, notice) = Kept::open(&path, NOW);
    assert!(kept.is_none());
    assert!(notice.expect("it is told").text.contains("newer"));
}

#[cfg(unix)]
#[test]
fn a_file_deleted_under_a_running_process_is_made_again_for_its_owner_only() {
    use std::os::unix::fs::MetadataExt;
    let (_dir, path) = temporary();
    let kept = holding(&path);
    kept.flush(PATIENCE).expect("written");
    delete(&path).expect("deleted");
    kept.put(key("a", "s"), b"more".to_vec(), NOW);
    kept.flush(PATIENCE).expect("written");
    let mode = fs::metadata(&path).expect("there").mode();
    assert_eq!(mode & 0o077, 0, "{mode:o}");
    drop(kept);
    assert_eq!(value(&sound(&path), "a", "s", NOW).as_deref(), Some("more"));
}

#[test]
fn of_several_words_on_one_row_the_last_counts() {
    let mut changes = Changes::default();
    let put = |text: &str| Change::Put {
        value: Arc::from(text.as_bytes()),
        until: NOW,
    };
    let prolong = Change::Prolong {
        until: NOW + Duration::from_secs(1),
    };
    changes.add(key("a", "r"), put("long"));
    changes.add(key("a", "r"), put("er"));
    changes.add(key("a", "r"), prolong.clone());
    assert_eq!(changes.bytes, 2);
    let waiting = changes.rows.get(&key("a", "r"));
    assert!(
        matches!(waiting, Some(Change::Put { until, .. }) if *until > NOW),
        "{waiting:?}"
    );
    changes.add(key("a", "r"), Change::Delete);
    changes.add(key("a", "r"), prolong);
    let waiting = changes.rows.get(&key("a", "r"));
    assert!(matches!(waiting, Some(Change::Delete)), "{waiting:?}");
    assert_eq!(changes.bytes, 0);
}

#[test]
fn what_could_not_be_written_is_under_what_came_meanwhile() {
    let mut changes = Changes::default();
    let put = |text: &str| Change::Put {
        value: Arc::from(text.as_bytes()),
        until: NOW,
    };
    changes.add(key("a", "1"), put("old"));
    changes.add(key("a", "2"), put("two"));
    let mut later = Changes::default();
    later.add(key("a", "1"), put("new!"));
    changes.merge(later);
    assert_eq!(changes.bytes, 7);
    let waiting = changes.rows.get(&key("a", "1"));
    assert!(
        matches!(waiting, Some(Change::Put { value, .. }) if &**value == b"new!"),
        "{waiting:?}"
    );
}
