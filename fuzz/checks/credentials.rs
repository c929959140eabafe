//! Credential files: our own in the store, and those of other programs. Taken or refused, never a
//! panic; what was taken survives being written and read again.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use llmproxy::config::dotenv;
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

struct Place {
    data: TempDir,
    stored: PathBuf,
}

static PLACE: OnceLock<Place> = OnceLock::new();

/// The first byte chooses the file's name and what it is said to be, the rest is its content.
pub(crate) fn check(data: &[u8]) {
    let Some((first, content)) = data.split_first() else {
        return;
    };
    let place = PLACE.get_or_init(|| {
        let data = tempfile::tempdir().expect("a temporary directory");
        let provider = data.path().join("credentials/gemini");
        fs::create_dir_all(&provider).expect("room for it");
        let stored = provider.join("one.json");
        Place { data, stored }
    });
    write(&place.stored, content);
    let stored = Store::new(place.data.path()).load();
    // One file: a credential or a problem.
    assert_eq!(stored.credentials.len() + stored.problems.len(), 1);
    let file = place
        .data
        .path()
        .join(NAMES[usize::from(*first) % NAMES.len()]);
    write(&file, content);
    let layout = LAYOUTS[usize::from(*first) / NAMES.len() % LAYOUTS.len()];
    let found = import::read(&file, layout);
    for unusable in &found.unusable {
        assert!(!unusable.why.is_empty());
    }
    let now = Timestamp::from_secs(1_764_000_000);
    for finding in merge(found.candidates, &stored.credentials, now) {
        if let Some(credential) = finding.credential {
            survives(&place.data.path().join("export.json"), &credential);
        }
    }
    for credential in &stored.credentials {
        survives(&place.data.path().join("export.json"), credential);
    }
}

/// An export is read as what was exported, in both of its forms.
fn survives(file: &Path, credential: &llmproxy::credentials::Credential) {
    let written = export::json(credential);
    write(file, &written);
    let read = import::read(file, Some(Layout::Own));
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
