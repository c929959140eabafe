//! Power cuts and disks that fail, at every step of a save. What a command does to the disk is
//! recorded with `strace`; where that is not to be had, the tests say so and pass.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use fastrand::Rng;

use crate::harness::{Finished, Home, size};

/// What is recorded: everything that changes a disk, or makes it keep a change.
const CALLS: [&str; 11] = [
    "openat",
    "mkdir",
    "fchmod",
    "chmod",
    "write",
    "fsync",
    "fdatasync",
    "rename",
    "renameat",
    "renameat2",
    "unlink",
];

/// Runs a command under `strace` and returns its record; `None` where there is no `strace`.
fn recorded(
    home: &Home,
    inject: &[String],
    arguments: &[&str],
    input: &str,
) -> Option<(Finished, String)> {
    let record = home.path("strace");
    let mut command = Command::new("strace");
    command
        .args(["-f", "-y", "-s", "0", "-o"])
        .arg(&record)
        .args(["-e", &format!("trace={}", CALLS.join(","))])
        .args(inject)
        .arg(env!("CARGO_BIN_EXE_llmproxy"))
        .args(arguments);
    let finished = home.finish(command, input).ok();
    let text = std::fs::read_to_string(&record).unwrap_or_default();
    if !text.contains("openat(") {
        let _ = writeln!(std::io::stdout(), "skipped: strace records nothing here");
        return None;
    }
    finished.map(|finished| (finished, text))
}

/// One call of a record: its name, its arguments, and whether it worked.
struct Call<'a> {
    name: &'a str,
    arguments: &'a str,
    worked: bool,
}

fn calls(record: &str) -> impl Iterator<Item = Call<'_>> {
    record.lines().filter_map(|line| {
        let (_, call) = line.split_once(' ')?;
        let (name, rest) = call.trim_start().split_once('(')?;
        let (arguments, result) = rest.rsplit_once(" = ")?;
        Some(Call {
            name,
            arguments,
            worked: !result.starts_with('-'),
        })
    })
}

/// The paths in quotes or, of descriptors, in angle brackets; the working directory is none.
fn paths(arguments: &str) -> Vec<PathBuf> {
    let quoted = arguments
        .split('"')
        .skip(1)
        .step_by(2)
        .filter(|path| !path.is_empty());
    let mut found: Vec<PathBuf> = quoted.map(PathBuf::from).collect();
    if found.is_empty() {
        let opened = arguments
            .split_once('<')
            .and_then(|(_, rest)| rest.split_once('>'));
        found.extend(opened.map(|(path, _)| PathBuf::from(path)));
    }
    found
}

/// A change of the disk.
#[derive(Clone, Debug)]
enum Step {
    Create(PathBuf),
    MakeDirectory(PathBuf),
    Remove(PathBuf),
    Rename(PathBuf, PathBuf),
    Sync(PathBuf),
    Write(PathBuf),
}

/// The changes below a directory.
fn steps(record: &str, below: &Path) -> Vec<Step> {
    let mut steps = Vec::new();
    for call in calls(record).filter(|call| call.worked) {
        let mut paths = paths(call.arguments)
            .into_iter()
            .filter(|path| path.starts_with(below));
        let Some(path) = paths.next() else { continue };
        steps.push(match call.name {
            "openat" if call.arguments.contains("O_EXCL") => Step::Create(path),
            "mkdir" => Step::MakeDirectory(path),
            "write" => Step::Write(path),
            "fsync" | "fdatasync" => Step::Sync(path),
            "unlink" => Step::Remove(path),
            "rename" | "renameat" | "renameat2" => {
                Step::Rename(path, paths.next().expect("two paths"))
            }
            _ => continue,
        });
    }
    steps
}

/// A file or directory, whatever it is called.
#[derive(Clone, Debug)]
enum Node {
    Directory {
        /// What is on the disk for good.
        kept: BTreeMap<PathBuf, usize>,
        /// What may or may not be: each change on its own.
        pending: Vec<Entry>,
    },
    File {
        is_new: bool,
        is_synced: bool,
    },
}

/// A change of a directory.
#[derive(Clone, Debug)]
enum Entry {
    Add(PathBuf, usize),
    Drop(PathBuf),
    Move(PathBuf, PathBuf, usize),
}

/// A disk on which nothing is certain that was not synced.
struct Disk {
    nodes: Vec<Node>,
    /// As the running process sees them.
    names: BTreeMap<PathBuf, usize>,
}

/// What is found after a power cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    New,
    Nothing,
    Old,
    Torn,
}

impl Disk {
    /// A disk with these directories, and with these files in them.
    fn new(directories: &[PathBuf], files: &[PathBuf]) -> Self {
        let mut disk = Self {
            nodes: Vec::new(),
            names: BTreeMap::new(),
        };
        for path in directories {
            disk.add(
                path,
                Node::Directory {
                    kept: BTreeMap::new(),
                    pending: Vec::new(),
                },
            );
        }
        for path in files {
            disk.add(
                path,
                Node::File {
                    is_new: false,
                    is_synced: true,
                },
            );
        }
        for number in 0..disk.nodes.len() {
            disk.sync(number);
        }
        disk
    }

    fn add(&mut self, path: &Path, node: Node) {
        self.nodes.push(node);
        let number = self.nodes.len() - 1;
        self.names.insert(path.to_owned(), number);
        self.note(path, Entry::Add(path.to_owned(), number));
    }

    fn note(&mut self, path: &Path, entry: Entry) {
        let above = path.parent().and_then(|above| self.names.get(above));
        if let Some(Node::Directory { pending, .. }) = above.map(|above| &mut self.nodes[*above]) {
            pending.push(entry);
        }
    }

    fn sync(&mut self, number: usize) {
        match &mut self.nodes[number] {
            Node::Directory { kept, pending } => {
                for entry in std::mem::take(pending) {
                    apply(kept, &entry);
                }
            }
            Node::File { is_synced, .. } => *is_synced = true,
        }
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Create(path) => {
                self.add(
                    path,
                    Node::File {
                        is_new: true,
                        is_synced: false,
                    },
                );
            }
            Step::MakeDirectory(path) => {
                self.add(
                    path,
                    Node::Directory {
                        kept: BTreeMap::new(),
                        pending: Vec::new(),
                    },
                );
            }
            Step::Remove(path) => {
                self.names.remove(path);
                self.note(path, Entry::Drop(path.clone()));
            }
            Step::Rename(from, to) => {
                if let Some(number) = self.names.remove(from) {
                    self.names.insert(to.clone(), number);
                    self.note(to, Entry::Move(from.clone(), to.clone(), number));
                }
            }
            Step::Sync(path) => {
                if let Some(number) = self.names.get(path) {
                    self.sync(*number);
                }
            }
            Step::Write(path) => {
                let number = self.names.get(path);
                if let Some(Node::File { is_synced, .. }) = number.map(|at| &mut self.nodes[*at]) {
                    *is_synced = false;
                }
            }
        }
    }

    /// What may be at a path after the power went: of everything that was not synced any part.
    fn after_a_cut(&self, path: &Path, rng: &mut Rng) -> Found {
        let mut at = self.nodes.first().map(|_| 0);
        let root = self.names.iter().find(|(_, number)| **number == 0);
        let root = root.map_or(Path::new(""), |(root, _)| root);
        let below: Vec<&Path> = path
            .ancestors()
            .take_while(|above| *above != root)
            .collect();
        for name in below.into_iter().rev() {
            let Some(Node::Directory { kept, pending }) = at.map(|at| &self.nodes[at]) else {
                return Found::Nothing;
            };
            let mut entries = kept.clone();
            for entry in pending {
                if rng.bool() {
                    apply(&mut entries, entry);
                }
            }
            at = entries.get(name).copied();
        }
        match at.map(|at| &self.nodes[at]) {
            Some(Node::File {
                is_synced: false, ..
            }) if rng.bool() => Found::Torn,
            Some(Node::File { is_new: true, .. }) => Found::New,
            Some(Node::File { is_new: false, .. }) => Found::Old,
            Some(Node::Directory { .. }) | None => Found::Nothing,
        }
    }
}

fn apply(entries: &mut BTreeMap<PathBuf, usize>, entry: &Entry) {
    match entry {
        Entry::Add(path, number) => {
            entries.insert(path.clone(), *number);
        }
        Entry::Drop(path) => {
            entries.remove(path);
        }
        Entry::Move(from, to, number) => {
            entries.remove(from);
            entries.insert(to.clone(), *number);
        }
    }
}

const ADD: [&str; 7] = [
    "creds",
    "add",
    "gemini",
    "--label",
    "one",
    "--no-verify",
    "--yes",
];
const KEY: &str = "AIzaSyFake0123456789abcdefghijklmnopqrs\n";

/// Cuts the power after each step of a save, so many times each, with another fate for whatever was
/// not synced: the file must be the old or the new one, and the new one once the command has said so.
/// What was found instead is the error.
fn cut_everywhere(steps: &[Step], before: &Disk, file: &Path) -> Result<(), String> {
    let saves = |step: &Step| matches!(step, Step::Rename(_, to) if to == file);
    assert!(steps.iter().any(saves), "no save in {steps:#?}");
    let old = if before.names.contains_key(file) {
        Found::Old
    } else {
        Found::Nothing
    };
    let mut rng = Rng::with_seed(1);
    let images = size("LLMPROXY_IMAGES", 5000);
    for cut in 0..=steps.len() {
        let mut disk = Disk {
            nodes: before.nodes.clone(),
            names: before.names.clone(),
        };
        steps[..cut].iter().for_each(|step| disk.take(step));
        for _ in 0..images {
            let found = disk.after_a_cut(file, &mut rng);
            let is_fine = found == Found::New || (found == old && cut < steps.len());
            if !is_fine {
                return Err(format!("{found:?} after {cut} of {steps:#?}"));
            }
        }
    }
    Ok(())
}

/// A save is safe as it is, and would be noticed not to be without its syncs of directories, or of
/// files.
fn assert_safe(steps: &[Step], before: &Disk, file: &Path) {
    assert_eq!(cut_everywhere(steps, before, file), Ok(()));
    for of_directories in [true, false] {
        let is_left_out =
            |step: &Step| matches!(step, Step::Sync(path) if path.is_dir() == of_directories);
        let fewer: Vec<Step> = steps
            .iter()
            .filter(|step| !is_left_out(step))
            .cloned()
            .collect();
        assert!(fewer.len() < steps.len(), "no such sync in {steps:#?}");
        let lost = cut_everywhere(&fewer, before, file);
        assert!(lost.is_err(), "nothing is lost without {steps:#?}");
    }
}

#[test]
fn l10_k4_whenever_the_power_goes_a_credential_is_there_old_or_new() {
    let home = Home::new();
    let (root, data) = (home.path("data"), home.data_dir());
    std::fs::create_dir(&root).expect("room for it");
    let file = data.join("credentials/gemini/one.json");
    let empty = Disk::new(std::slice::from_ref(&root), &[]);
    let Some((added, record)) = recorded(&home, &[], &ADD, KEY) else {
        return;
    };
    assert_eq!(added.code, 0, "{added:?}");
    let saved = steps(&record, &root);
    assert_safe(&saved, &empty, &file);
    assert_safe(&saved, &empty, &data.join("fingerprint.key"));

    let directories = ["", "credentials", "credentials/gemini"].map(|below| data.join(below));
    let directories = [&[root.clone()][..], &directories].concat();
    let filled = Disk::new(&directories, std::slice::from_ref(&file));
    let disable = ["creds", "disable", "gemini/one"];
    let (disabled, record) = recorded(&home, &[], &disable, "").expect("it worked before");
    assert_eq!(disabled.code, 0, "{disabled:?}");
    assert_safe(&steps(&record, &root), &filled, &file);
}

/// How a call fails, and whether all later ones of its kind do.
const FAILURES: [(&str, &str); 7] = [
    ("error=ENOSPC", ""),
    ("error=ENOSPC", "+"),
    ("error=EIO", ""),
    ("error=EIO", "+"),
    ("error=EINTR", ""),
    ("signal=KILL", ""),
    ("error=EROFS", "+"),
];

#[test]
fn k3_l04_whichever_call_of_a_save_fails_or_kills_nothing_is_lost() {
    let home = Home::new();
    let added = home.run_with_input(&ADD, KEY);
    assert_eq!(added.code, 0, "{added:?}");
    let disable = ["creds", "disable", "gemini/one"];
    let Some((_, record)) = recorded(&home, &[], &disable, "") else {
        return;
    };
    // Which calls of each kind have to do with the store.
    let mut count: BTreeMap<&str, usize> = BTreeMap::new();
    let mut of_the_store = Vec::new();
    for call in calls(&record) {
        let number = count.entry(call.name).or_default();
        *number += 1;
        let reads = call.name == "openat" && !call.arguments.contains("O_CREAT");
        let is_ours = paths(call.arguments)
            .iter()
            .any(|path| path.starts_with(home.data_dir()));
        if is_ours && !reads {
            of_the_store.push((call.name, *number));
        }
    }
    assert!(of_the_store.len() >= 6, "{of_the_store:?}");
    let mut failed = 0;
    for (name, number) in of_the_store {
        for (how, on) in FAILURES {
            let enabled = home.run(&["creds", "enable", "gemini/one"]);
            assert_eq!(enabled.code, 0, "{name} {number} {how}{on}: {enabled:?}");
            let inject = [
                "-e".to_owned(),
                format!("inject={name}:{how}:when={number}{on}"),
            ];
            let (ended, record) = recorded(&home, &inject, &disable, "").expect("as before");
            let what = format!("{name} {number} {how}{on}: {}", ended.stderr);
            failed += usize::from(ended.code != 0);
            if how.starts_with("error") {
                assert!(record.contains("(INJECTED)"), "{what}");
                // Where no write works any longer, none of the message does.
                let is_mute = (name, on) == ("write", "+");
                let is_told = ended.stderr.contains("error: ") && ended.stderr.contains("\nhint: ");
                let is_refused = ended.code == 1 && (is_told || is_mute);
                assert!(ended.code == 0 || is_refused, "{what}");
            }
            let listed = home.run(&["creds", "list", "--json"]);
            let rows: serde_json::Value = serde_json::from_str(&listed.stdout).expect("JSON");
            let states = [Some("ready"), Some("disabled")];
            assert!(
                states.contains(&rows[0]["state"].as_str()),
                "{what}: {listed:?}"
            );
            // Whoever was told that it is done finds it done.
            assert!(
                ended.code != 0 || rows[0]["state"] == "disabled",
                "{what}: {listed:?}"
            );
        }
    }
    assert!(failed > 20, "{failed} failures told");
}
