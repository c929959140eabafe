//! The state as its users see it, on real files.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use crate::state::rows::{
    CredentialKey, CredentialRow, JournalRow, SessionRow, UsageKey, UsageSums,
};
use crate::state::sqlite::schema;
use crate::state::{Backend, Notice, State};
use crate::time::Timestamp;

const NOW: Timestamp = Timestamp::from_secs(1_795_600_000);
const PATIENCE: Duration = Duration::from_secs(20);

fn temporary() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("state").join("state.db");
    (dir, path)
}

fn open(path: &Path) -> (State, Option<Notice>) {
    State::open(&Backend::Sqlite(path.to_owned()), NOW)
}

/// A state without a notice.
fn sound(path: &Path) -> State {
    let (state, notice) = open(path);
    assert_eq!(notice, None);
    state
}

fn cooldown(fingerprint: &str, value: Option<&str>) -> CredentialRow {
    CredentialRow {
        key: CredentialKey {
            provider: "openai".to_owned(),
            fingerprint: fingerprint.to_owned(),
            class: "gpt-5".to_owned(),
            kind: "cooldown".to_owned(),
        },
        credential: "openai/1".to_owned(),
        value: value.map(str::to_owned),
        updated: NOW,
    }
}

fn usage_key(hour: i64) -> UsageKey {
    UsageKey {
        hour,
        provider: "openai".to_owned(),
        model: "gpt-5".to_owned(),
        credential: "openai/1".to_owned(),
        fingerprint: "f1".to_owned(),
        client: "laptop".to_owned(),
    }
}

fn sums(requests: u64) -> UsageSums {
    UsageSums {
        requests,
        prompt_tokens: 10 * requests,
        cost_usd: 0.25,
        last_used: NOW,
        ..UsageSums::default()
    }
}

fn values(state: &State) -> Vec<Option<String>> {
    let changes = state.credentials().expect("readable");
    changes.rows.into_iter().map(|row| row.value).collect()
}

#[test]
fn what_was_recorded_is_there_after_a_restart() {
    let (_dir, path) = temporary();
    let state = sound(&path);
    state.record_credential(cooldown("f1", Some("1")));
    state.record_credential(cooldown("f1", Some("2")));
    state.record_usage(usage_key(UsageKey::hour_of(NOW)), &sums(3));
    state.record_session(SessionRow {
        provider: "openai".to_owned(),
        session: u64::MAX,
        credential: "openai/1".to_owned(),
        used: NOW,
    });
    drop(state);
    let state = sound(&path);
    assert_eq!(values(&state), [Some("2".to_owned())]);
    let usage = state
        .usage(NOW, NOW + Duration::from_secs(1))
        .expect("readable");
    assert_eq!(usage, [(usage_key(UsageKey::hour_of(NOW)), sums(3))]);
    let sessions = state.sessions(NOW, 10).expect("readable");
    assert_eq!(sessions[0].session, u64::MAX);
}

#[test]
fn a_state_of_an_older_version_gains_what_is_new() {
    let (_dir, path) = temporary();
    fs::create_dir_all(path.parent().expect("a directory")).expect("created");
    let older = rusqlite::Connection::open(&path).expect("a database");
    older.execute_batch(schema::STEPS[0]).expect("its tables");
    let hour = UsageKey::hour_of(NOW);
    older
        .execute_batch(&format!(
            "INSERT INTO usage VALUES ({hour},'openai','gpt-5','openai/1','f1','laptop',
                 2,0,20,0,0,0,0,0.5,0,0);
             PRAGMA user_version = 1"
        ))
        .expect("its rows");
    drop(older);
    let state = sound(&path);
    let timed = UsageSums {
        timed: 1,
        duration_ms: 300,
        first_tokens: 1,
        first_token_ms: 100,
        ..sums(1)
    };
    state.record_usage(usage_key(hour), &timed);
    state.flush(PATIENCE).expect("written");
    let (_, added) = &state
        .usage(Timestamp::from_millis(0), NOW)
        .expect("readable")[0];
    assert_eq!(
        (added.requests, added.timed, added.duration_ms),
        (3, 1, 300)
    );
    assert_eq!((added.first_tokens, added.first_token_ms), (1, 100));
}

#[test]
fn what_is_cleared_away_gives_its_room_back() {
    let (_dir, path) = temporary();
    drop(sound(&path));
    let mut connection = rusqlite::Connection::open(&path).expect("a database");
    let pages = |connection: &rusqlite::Connection| -> i64 {
        connection
            .query_row("PRAGMA page_count", [], |row| row.get(0))
            .expect("a count")
    };
    let hour = UsageKey::hour_of(NOW) - 800 * 24;
    connection
        .execute_batch(&format!(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000)
             INSERT INTO usage SELECT {hour}, 'p', 'model-' || i, 'p/1', 'f', 'laptop',
                 1,0,0,0,0,0,0,0,0,0,0,0,0,0 FROM n"
        ))
        .expect("rows");
    let before = pages(&connection);
    schema::clear_away(&mut connection, NOW).expect("cleared");
    let after = pages(&connection);
    assert!(after < before / 2, "{before} pages, then {after}");
}

#[test]
fn two_processes_add_up_and_see_each_others_states() {
    let (_dir, path) = temporary();
    let (one, two) = (sound(&path), sound(&path));
    let seen = two.credentials().expect("readable").version;
    for state in [&one, &two] {
        state.record_usage(usage_key(1), &sums(2));
        state.flush(PATIENCE).expect("written");
    }
    one.record_credential(cooldown("f1", Some("x")));
    two.record_credential(cooldown("f2", Some("y")));
    one.flush(PATIENCE).expect("written");
    two.flush(PATIENCE).expect("written");
    let (_, added) = &one.usage(Timestamp::from_millis(0), NOW).expect("readable")[0];
    assert_eq!((added.requests, added.prompt_tokens), (4, 40));
    let changes = two.changes_since(seen).expect("readable");
    assert_eq!(changes.rows, [cooldown("f1", Some("x"))], "not its own");
    let later = two.changes_since(changes.version).expect("readable");
    assert!(later.rows.is_empty());
}

#[test]
fn a_cleared_state_is_told_to_others_and_gone_for_newcomers() {
    let (_dir, path) = temporary();
    let (one, two) = (sound(&path), sound(&path));
    one.record_credential(cooldown("f1", Some("x")));
    one.flush(PATIENCE).expect("written");
    let seen = two.credentials().expect("readable").version;
    one.record_credential(cooldown("f1", None));
    one.flush(PATIENCE).expect("written");
    let changes = two.changes_since(seen).expect("readable");
    assert_eq!(changes.rows, [cooldown("f1", None)]);
    assert!(values(&two).is_empty());
}

#[test]
fn memory_keeps_state_for_the_life_of_the_process() {
    let (state, notice) = State::open(&Backend::Memory, NOW);
    assert_eq!(notice, None);
    state.record_credential(cooldown("f1", Some("x")));
    state.flush(PATIENCE).expect("written");
    assert_eq!(values(&state), [Some("x".to_owned())]);
}

#[test]
fn a_damaged_file_is_moved_aside_and_a_new_one_begun() {
    let (_dir, path) = temporary();
    fs::create_dir_all(path.parent().expect("has one")).expect("writable");
    fs::write(
        &path,
        "this is no database, but long enough to be taken for a header".repeat(9),
    )
    .expect("writable");
    let (state, notice) = open(&path);
    let notice = notice.expect("said so");
    assert!(
        notice.text.contains("state.db.corrupt-2026"),
        "{}",
        notice.text
    );
    state.record_credential(cooldown("f1", Some("x")));
    drop(state);
    assert_eq!(values(&sound(&path)), [Some("x".to_owned())]);
}

#[test]
fn a_directory_in_the_files_place_is_moved_aside_too() {
    let (_dir, path) = temporary();
    fs::create_dir_all(&path).expect("writable");
    let (_state, notice) = open(&path);
    assert!(notice.is_some());
    assert!(path.is_file());
}

#[test]
fn every_cut_of_the_file_leads_to_a_working_state() {
    let (_dir, path) = temporary();
    let state = sound(&path);
    for at in 0..200 {
        state.record_credential(cooldown(&format!("f{at}"), Some(&"x".repeat(200))));
    }
    drop(state);
    let whole = fs::read(&path).expect("readable");
    assert!(whole.len() > 16 * 4096, "several pages are wanted");
    for length in (0..whole.len()).step_by(3001) {
        let (_dir, path) = temporary();
        fs::create_dir_all(path.parent().expect("has one")).expect("writable");
        fs::write(&path, &whole[..length]).expect("writable");
        let (state, _notice) = open(&path);
        state.record_credential(cooldown("new", Some("y")));
        state.flush(PATIENCE).expect("written");
        assert!(
            values(&state).contains(&Some("y".to_owned())),
            "cut at {length}"
        );
    }
}

#[test]
fn a_file_of_a_later_version_is_left_alone() {
    let (_dir, path) = temporary();
    drop(sound(&path));
    let newer = rusqlite::Connection::open(&path).expect("a database");
    newer
        .pragma_update(None, "user_version", 999)
        .expect("writable");
    drop(newer);
    let before = fs::read(&path).expect("readable");
    let (state, notice) = open(&path);
    assert!(notice.expect("said so").text.contains("newer"));
    state.record_credential(cooldown("f1", Some("x")));
    drop(state);
    assert_eq!(fs::read(&path).expect("readable"), before);
}

#[test]
fn a_place_that_cannot_be_written_leaves_the_state_in_memory() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("file");
    fs::write(&file, "").expect("writable");
    let (state, notice) = open(&file.join("state.db"));
    assert!(notice.expect("said so").text.contains("memory"));
    state.record_credential(cooldown("f1", Some("x")));
    state.flush(PATIENCE).expect("written");
    assert_eq!(values(&state).len(), 1);
}

#[cfg(unix)]
#[test]
fn a_file_deleted_under_a_running_process_is_made_again() {
    let (_dir, path) = temporary();
    let state = sound(&path);
    state.record_credential(cooldown("f1", Some("x")));
    state.flush(PATIENCE).expect("written");
    fs::remove_dir_all(path.parent().expect("has one")).expect("removable");
    state.record_credential(cooldown("f2", Some("y")));
    drop(state);
    assert_eq!(values(&sound(&path)), [Some("y".to_owned())]);
}

#[cfg(unix)]
#[test]
fn the_file_is_for_its_owner_only() {
    use std::os::unix::fs::MetadataExt;
    let (_dir, path) = temporary();
    drop(sound(&path));
    assert_eq!(fs::metadata(&path).expect("there").mode() & 0o077, 0);
}

#[test]
fn the_journal_keeps_the_latest_and_finds_the_failed() {
    let (_dir, path) = temporary();
    let state = sound(&path);
    let entry = |id: usize, failed: bool| JournalRow {
        id: id.to_string(),
        time: NOW,
        failed,
        value: "{}".to_owned(),
    };
    for batch in 0..3 {
        for at in 0..4000 {
            let id = batch * 4000 + at;
            state.record_journal(entry(id, id == 11_000));
        }
        state.flush(PATIENCE).expect("written");
    }
    assert_eq!(
        state.journal(20_000, false).expect("readable").len(),
        10_000
    );
    assert_eq!(state.journal(1, false).expect("readable")[0].id, "11999");
    assert_eq!(
        state.journal(9, true).expect("readable"),
        [entry(11_000, true)]
    );
    assert_eq!(state.journal_entry("0").expect("readable"), None);
    assert_eq!(
        state.journal_entry("5000").expect("readable"),
        Some(entry(5000, false))
    );
}

#[test]
fn old_usage_is_kept_by_the_day_without_losing_any() {
    let (_dir, path) = temporary();
    let state = sound(&path);
    let old = UsageKey::hour_of(NOW) / 24 * 24 - 50 * 24;
    for hour in [old, old + 1, old + 23, old + 24] {
        state.record_usage(usage_key(hour), &sums(1));
    }
    drop(state);
    let rows = sound(&path)
        .usage(Timestamp::from_millis(0), NOW)
        .expect("readable");
    let counts: Vec<(i64, u64)> = rows
        .iter()
        .map(|(key, sums)| (key.hour, sums.requests))
        .collect();
    assert_eq!(counts, [(old, 3), (old + 24, 1)]);
}
