//! Credential files: our own in the store, and those of other programs. Taken or refused, never a
//! panic; what was taken survives being written and read again.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use llmproxy::config::dotenv;
use llmproxy::credentials::Credential;
use llmproxy::credentials::export;
use llmproxy::credentials::import::{self, Layout, merge};
use llmproxy::credentials::store::Store;
use llmproxy::time::Timestamp;
use tempfile::TempDir;

/// What the user may say that a file is; nothing has it recognised.
const LAYOUTS: [Option<Layout>; 8] = [
    None,
    Some(Layout::Antigravity),
    Some(Layout::CliProxyApi),
    Some(Layout::GeminiCli),
    Some(Layout::IFlow),
    Some(Layout::LlmApiKeyProxy),
    Some(Layout::Own),
    Some(Layout::QwenCode),
];

/// Names that say something of the content.
const NAMES: [&str; 4] = [
    "oauth_creds.json",
    "iflow_oauth_1.json",
    "settings.json",
    "antigravity-oauth-token",
];

/// The store, and its one file.
struct Place {
    store: Store,
    stored: PathBuf,
    _data: TempDir,
}

static PLACE: OnceLock<Place> = OnceLock::new();

/// The low five bits of the first byte choose the file's name and what it is said to be; all others
/// set have it lie in our store as well. The rest is its content.
pub(crate) fn check(data: &[u8]) {
    let Some((first, content)) = data.split_first() else {
        return;
    };
    let name = NAMES[usize::from(*first) % NAMES.len()];
    let layout = LAYOUTS[usize::from(*first) / NAMES.len() % LAYOUTS.len()];
    let found = import::read_content(Path::new(name), content, layout);
    for unusable in &found.unusable {
        assert!(!unusable.why.is_empty());
    }
    let stored = if first >> 5 == 7 {
        stored(content)
    } else {
        Vec::new()
    };
    let now = Timestamp::from_secs(1_764_000_000);
    for finding in merge(found.candidates, &stored, now) {
        if let Some(credential) = finding.credential {
            survives(&credential);
        }
    }
    for credential in &stored {
        survives(credential);
    }
}

/// What the store makes of a file.
fn stored(content: &[u8]) -> Vec<Credential> {
    let place = PLACE.get_or_init(|| {
        let data = tempfile::tempdir().expect("a temporary directory");
        let provider = data.path().join("credentials/gemini");
        fs::create_dir_all(&provider).expect("room for it");
        Place {
            store: Store::new(data.path()),
            stored: provider.join("one.json"),
            _data: data,
        }
    });
    write(&place.stored, content);
    let stored = place.store.load();
    // One file: a credential or a problem.
    assert_eq!(stored.credentials.len() + stored.problems.len(), 1);
    stored.credentials
}

/// An export is read as what was exported, in both of its forms.
fn survives(credential: &Credential) {
    let written = export::json(credential);
    let read = import::read_content(Path::new("export.json"), &written, Some(Layout::Own));
    let [candidate] = &read.candidates[..] else {
        panic!(
            "an export of {} is not taken: {:?}",
            credential.id, read.unusable
        );
    };
    assert_eq!(*export::json(&candidate.credential), *written);
    let lines = export::env(credential, "GEMINI_API_KEY");
    dotenv::parse(&lines, &|_| None).expect("an export is a sound .env");
}

/// Only for its owner, as the store wants it.
fn write(path: &Path, content: &[u8]) {
    let mut options = fs::OpenOptions::new();
    options.create(true).write(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path).expect("a file of ours");
    file.write_all(content).expect("room for it");
}
