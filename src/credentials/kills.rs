//! Writers of the store that are killed at any moment: what they said was saved is there, and no file
//! is half of anything.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use crate::credentials::store::Store;
use crate::credentials::{Credential, Source};
use crate::ids::CredentialId;
use crate::secret::Secret;

/// Kills of a plain `cargo test`; `LLMPROXY_KILLS=10000` is the full size.
const KILLS: u64 = 20;

/// Tells this program that it is the writer, and where it writes.
const DIRECTORY: &str = "LLMPROXY_TEST_WRITER";

/// The first number the writer counts from.
const FIRST: &str = "LLMPROXY_TEST_WRITER_FIRST";

/// Begins what the writer says of each save that is done.
const SAVED: &str = "saved ";

/// Credentials that take turns: some new, most in the place of an older one.
const CREDENTIALS: u64 = 8;

/// Makes each file as long as a page or two.
const PADDING: usize = 6000;

/// Saves one credential after the other, as fast as the disk lets it, until it is killed.
fn write_for_ever(directory: &Path, first: u64) {
    let store = Store::new(directory);
    for number in first.. {
        let credential = credential(number);
        let change = store.change().expect("free");
        change.put(&credential).expect("writable");
        drop(change);
        let said = writeln!(std::io::stdout(), "{SAVED}{} {number}", credential.id);
        said.expect("somebody listens");
    }
}

fn credential(number: u64) -> Credential {
    let id = format!("openai/key-{}", number % CREDENTIALS);
    let id = CredentialId::parse(&id).expect("a valid id");
    let secret = Secret::new(&format!("{number}-{}", "x".repeat(PADDING)));
    Credential::api_key(id, Source::Store, secret)
}

/// The number that a credential was saved with; a file that is not whole has none.
fn number(credential: &Credential) -> u64 {
    let secret = credential.secret().expect("a key").expose().to_owned();
    let (number, padding) = secret.split_once('-').expect("its own form");
    assert_eq!(padding.len(), PADDING, "{}", credential.id);
    number.parse().expect("a number")
}

#[test]
fn k1_whenever_a_writer_is_killed_what_it_said_was_saved_is_there_and_nothing_is_torn() {
    if let Some(directory) = std::env::var_os(DIRECTORY) {
        let first = std::env::var(FIRST).ok().and_then(|text| text.parse().ok());
        write_for_ever(Path::new(&directory), first.expect("a number"));
        return;
    }
    let kills = std::env::var("LLMPROXY_KILLS").ok();
    let kills = kills.and_then(|text| text.parse().ok()).unwrap_or(KILLS);
    let directory = tempfile::tempdir().expect("a temporary directory");
    let store = Store::new(directory.path());
    let mut rng = fastrand::Rng::with_seed(kills);
    let mut saved: BTreeMap<String, u64> = BTreeMap::new();
    let mut first = 0;
    for kill in 0..kills {
        for line in killed_writer(directory.path(), first, &mut rng) {
            let (id, number) = line.split_once(' ').expect("an id and a number");
            let number = number.parse().expect("a number");
            saved.insert(id.to_owned(), number);
            first = number + 1;
        }
        let loaded = store.load();
        assert!(
            loaded.problems.is_empty(),
            "kill {kill}: {:?}",
            loaded.problems
        );
        let kept = loaded.credentials.iter();
        let kept: BTreeMap<String, u64> =
            kept.map(|one| (one.id.to_string(), number(one))).collect();
        for (id, number) in &saved {
            // What was saved and not said any more is as good.
            assert!(kept.get(id) >= Some(number), "kill {kill}: {id} {kept:?}");
            first = first.max(kept[id] + 1);
        }
    }
    assert!(first > kills, "the writers got nothing done");
    assert!(!saved.is_empty());
}

/// Runs a writer, kills it at some moment of one of its saves, and returns what it said.
fn killed_writer(directory: &Path, first: u64, rng: &mut fastrand::Rng) -> Vec<String> {
    let name = "k1_whenever_a_writer_is_killed_what_it_said_was_saved_is_there_and_nothing_is_torn";
    let mut writer = Command::new(std::env::current_exe().expect("this program"))
        .args([
            "--exact",
            &format!("credentials::kills::{name}"),
            "--nocapture",
        ])
        .env(DIRECTORY, directory)
        .env(FIRST, first.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("this program runs");
    let mut said = BufReader::new(writer.stdout.take().expect("a pipe"))
        .lines()
        .map_while(Result::ok)
        .filter_map(|line| line.strip_prefix(SAVED).map(str::to_owned));
    let mut heard: Vec<String> = said.by_ref().take(rng.usize(1..4)).collect();
    // A save takes some milliseconds.
    thread::sleep(Duration::from_micros(rng.u64(0..6000)));
    writer.kill().expect("it runs");
    heard.extend(said);
    writer.wait().expect("it ends");
    heard
}
