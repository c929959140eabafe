//! A config file and the `.env` beside it: read or refused, with the line at fault, never a panic.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, OnceLock};

use llmproxy::cli::boot::known_providers;
use llmproxy::config::edit::ConfigFile;
use llmproxy::config::env::KnownProvider;
use llmproxy::config::error::ConfigError;
use llmproxy::config::exposure::exposure;
use llmproxy::config::load::{Flags, Inputs, load};
use llmproxy::config::paths::Paths;
use llmproxy::config::variables::Variables;
use llmproxy::credentials::store::passing_fingerprint_key;
use llmproxy::gateway::build;
use tempfile::TempDir;

static HOME: OnceLock<TempDir> = OnceLock::new();

static KNOWN: LazyLock<Vec<KnownProvider>> = LazyLock::new(known_providers);

/// The config file up to the first NUL, then the `.env`.
pub(crate) fn check(data: &[u8]) {
    let mut parts = data.splitn(2, |byte| *byte == 0);
    let (config, env) = (
        parts.next().unwrap_or_default(),
        parts.next().unwrap_or_default(),
    );
    // What a reference names is read, and on this machine that may be anything.
    if data.windows(5).any(|five| five == b"file:") {
        return;
    }
    let home = HOME
        .get_or_init(|| tempfile::tempdir().expect("a temporary directory"))
        .path()
        .to_str()
        .expect("a temporary directory with a plain name");
    let file = Path::new(home).join("config.toml");
    let variable = |name: &str| (name == "HOME").then(|| home.to_owned());
    let paths = Paths::find(Some(&file), &variable).expect("a home");
    fs::write(&file, config).expect("room for it");
    fs::write(paths.env_file(), env).expect("room for it");
    let loaded = load(Inputs {
        paths: &paths,
        environment: Variables::default(),
        env_files: &[],
        flags: Flags::default(),
        known: &KNOWN,
    });
    match loaded {
        Ok(loaded) => {
            let _ = exposure(&loaded.config.server);
            for name in loaded.config.models.keys() {
                let _ = loaded.config.targets(name);
            }
            let _ = build::pools(&loaded.config, &[], &passing_fingerprint_key());
        }
        Err(error) => {
            let texts: BTreeMap<_, _> = [(file.clone(), config), (paths.env_file(), env)].into();
            for error in error.each() {
                is_of_use(&error, &texts);
            }
        }
    }
    if let Ok(text) = std::str::from_utf8(config) {
        edit(&file, text);
    }
}

/// A sentence, what to do, and a line that there is.
fn is_of_use(error: &ConfigError, texts: &BTreeMap<PathBuf, &[u8]>) {
    let (sentence, excerpt) = (error.to_string(), error.excerpt());
    assert!(
        !sentence.is_empty() && !error.hint().is_empty(),
        "{sentence}"
    );
    let Some(place) = error.place() else {
        // A file that is no text has no lines; what only the environment says has no file.
        let is_of_env = sentence.contains(".env");
        assert!(is_of_env || sentence.contains("is not UTF-8"), "{sentence}");
        return;
    };
    let text = texts.get(&place.file).expect("one of ours");
    let lines = text.split(|byte| *byte == b'\n').count();
    assert!((1..=lines).contains(&place.line), "{sentence}: {excerpt:?}");
}

/// What is not touched stays byte for byte, and a change leaves what can be read again.
fn edit(file: &Path, text: &str) {
    let Ok(mut document) = ConfigFile::parse(file, text) else {
        return;
    };
    if document.set(&["server", "port"], 8000).is_ok() {
        ConfigFile::parse(file, &document.text()).expect("what was written can be read");
    }
}
