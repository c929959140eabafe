//! State files in which bytes were flipped, overwritten or cut off: each is opened, or moved aside and
//! begun anew, and nothing but the files of the state is touched.

use std::fs;
use std::path::Path;
use std::sync::LazyLock;
use std::time::Duration;

use llmproxy::state::kept::{Kept, Key, Kind};
use llmproxy::state::rows::{
    CredentialKey, CredentialRow, JournalRow, SessionRow, UsageKey, UsageSums, Version,
};
use llmproxy::state::{Backend, State};
use llmproxy::time::Timestamp;
use tempfile::TempDir;

const NOW: Timestamp = Timestamp::from_secs(1_795_600_000);

/// Far longer than it takes to write a few rows.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a neighbour of the state holds.
const NEIGHBOUR: &[u8] = b"not of the state";

/// A database and its write-ahead log.
type Files = [Vec<u8>; 2];

static STATE: LazyLock<Files> = LazyLock::new(|| {
    image("state.db", |path| {
        let (state, _) = State::open(&Backend::Sqlite(path.to_owned()), NOW);
        for number in 0..40 {
            record(&state, number);
        }
        state.flush(PATIENCE).expect("written");
        state
    })
});

static KEPT: LazyLock<Files> = LazyLock::new(|| {
    image("conversations.db", |path| {
        let (kept, _) = Kept::open(path, NOW);
        let kept = kept.expect("a file");
        for number in 0..20 {
            kept.put(key(number), vec![b'x'; 300], NOW);
        }
        kept.flush(PATIENCE).expect("written");
        kept
    })
});

/// The first byte chooses the file and whether there is a log beside it, then what is done to them:
/// five bytes each, of which the first says to which and what, two the place, two how much.
pub(crate) fn check(data: &[u8]) {
    let Some((first, edits)) = data.split_first() else {
        return;
    };
    let (name, whole) = if first & 1 == 0 {
        ("state.db", &*STATE)
    } else {
        ("conversations.db", &*KEPT)
    };
    let mut files = whole.clone();
    if first & 2 == 0 {
        files[1].clear();
    }
    for edit in edits.chunks_exact(5).take(32) {
        damage(&mut files, edit);
    }
    let folder = tempfile::tempdir().expect("a temporary directory");
    let path = folder.path().join(name);
    fs::write(folder.path().join("neighbour"), NEIGHBOUR).expect("room for it");
    fs::write(&path, &files[0]).expect("room for it");
    if !files[1].is_empty() {
        fs::write(folder.path().join(format!("{name}-wal")), &files[1]).expect("room for it");
    }
    if first & 1 == 0 {
        use_state(&path);
    } else {
        use_kept(&path);
    }
    nothing_else_is_touched(&folder, name);
}

/// Both files as they are while the state is open, so that the log is there as well.
fn image<T>(name: &str, open: impl FnOnce(&Path) -> T) -> Files {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let path = folder.path().join(name);
    let opened = open(&path);
    let read = |end: &str| fs::read(folder.path().join(format!("{name}{end}"))).unwrap_or_default();
    let files = [read(""), read("-wal")];
    drop(opened);
    files
}

fn damage(files: &mut Files, edit: &[u8]) {
    let [how, high, low, much, more] = *edit else {
        return;
    };
    let file = &mut files[usize::from(how & 1)];
    if file.is_empty() {
        return;
    }
    let at = usize::from(u16::from_be_bytes([high, low])) % file.len();
    match how >> 1 & 3 {
        0 => file[at] ^= much | 1,
        1 => {
            let end = file.len().min(at + usize::from(more) + 1);
            file[at..end].fill(much);
        }
        2 => file.truncate(at),
        _ => {
            let length = usize::from(u16::from_be_bytes([much, more]));
            let end = file.len().min(at + length);
            let moved = file[at..end].to_vec();
            file.splice(..0, moved);
        }
    }
}

/// Everything is asked of it, and what is recorded in a file begun anew is there afterwards.
fn use_state(path: &Path) {
    let backend = Backend::Sqlite(path.to_owned());
    let (state, notice) = State::open(&backend, NOW);
    let is_anew = notice.is_some_and(|notice| notice.text.contains("was moved to"));
    let _ = (state.credentials(), state.changes_since(Version::default()));
    let (since, until) = (Timestamp::from_secs(0), NOW + Duration::from_hours(24));
    let _ = (state.usage(since, until), state.sessions(since, 100));
    let _ = (state.book(), state.journal(100, false));
    let _ = (state.journal(100, true), state.journal_entry("id-1"));
    record(&state, 1);
    let written = state.flush(PATIENCE);
    let is_written = written.is_ok() && state.health().failing.is_none();
    drop(state);
    let (state, notice) = State::open(&backend, NOW);
    if is_anew {
        assert!(is_written && notice.is_none(), "{notice:?}");
        assert_eq!(state.credentials().expect("sound").rows.len(), 1);
    }
}

fn use_kept(path: &Path) {
    let (kept, notice) = Kept::open(path, NOW);
    let is_anew = notice.is_some_and(|notice| notice.text.contains("was moved to"));
    if let Some(kept) = kept {
        for kind in Kind::ALL {
            let _ = kept.all(kind, NOW);
        }
        let _ = kept.get(&key(1), NOW);
        kept.put(key(2), b"new".to_vec(), NOW);
        let _ = kept.flush(PATIENCE);
    }
    let (kept, notice) = Kept::open(path, NOW);
    if is_anew {
        assert!(notice.is_none(), "{notice:?}");
        let row = kept.expect("a file").get(&key(2), NOW);
        assert_eq!(row.expect("what was kept").value, b"new");
    }
}

fn nothing_else_is_touched(folder: &TempDir, name: &str) {
    let entries = fs::read_dir(folder.path()).expect("the folder is there");
    for entry in entries {
        let entry = entry.expect("it can be read").file_name();
        let entry = entry.to_string_lossy();
        let is_ours = entry.starts_with(name) || entry == "state.lock";
        assert!(is_ours || entry == "neighbour", "{entry}");
    }
    let neighbour = fs::read(folder.path().join("neighbour")).expect("it is there");
    assert_eq!(neighbour, NEIGHBOUR);
}

/// A row of each sort.
fn record(state: &State, number: u32) {
    let credential = format!("acme/{number}");
    state.record_credential(CredentialRow {
        key: CredentialKey {
            provider: "acme".to_owned(),
            fingerprint: format!("{number:032x}"),
            class: "m".to_owned(),
            kind: "cooldown".to_owned(),
        },
        credential: credential.clone(),
        value: Some("{\"until\":1}".to_owned()),
        updated: NOW,
    });
    let key = UsageKey {
        hour: UsageKey::hour_of(NOW),
        provider: "acme".to_owned(),
        model: "m".to_owned(),
        credential: credential.clone(),
        fingerprint: format!("{number:032x}"),
        client: String::new(),
    };
    let sums = UsageSums {
        requests: 1,
        last_used: NOW,
        ..UsageSums::default()
    };
    state.record_usage(key, &sums);
    state.record_journal(JournalRow {
        id: format!("id-{number}"),
        time: NOW,
        failed: number.is_multiple_of(2),
        value: "{}".to_owned(),
    });
    state.record_session(SessionRow {
        provider: "acme".to_owned(),
        session: u64::from(number),
        credential,
        used: NOW,
    });
}

fn key(number: u32) -> Key {
    Key {
        kind: Kind::Response,
        owner: "laptop".to_owned(),
        name: format!("resp_{number}"),
    }
}
