//! The house rules that no compiler checks: floors, crates kept in their rooms, file names and
//! lengths. They read the sources as text, so they hold for code of every platform and feature.

use std::fs;
use std::path::{Path, PathBuf};

/// Each module's floor (`ARCHITECTURE.md`). Imports go to lower floors only.
const FLOORS: &[(&str, u8)] = &[
    ("ids", 0),
    ("near", 0),
    ("secret", 0),
    ("time", 0),
    ("dialects", 1),
    ("config", 2),
    ("providers", 2),
    ("state", 2),
    ("credentials", 3),
    ("pool", 3),
    ("telemetry", 3),
    ("gateway", 4),
    ("server", 5),
    ("cli", 6),
    ("lib", 7),
    ("main", 7),
];

/// What neighbours on one floor may use of each other all the same.
const SHARED: &[&str] = &["crate::ids::write_hex", "crate::telemetry::event"];

/// Crates that stay in their rooms: the crate, and the beginnings of the paths that may use it.
const ROOMS: &[(&str, &[&str])] = &[
    ("clap", &["cli/"]),
    ("clap_complete", &["cli/"]),
    ("clap_mangen", &["cli/"]),
    ("console", &["cli/"]),
    ("directories", &["config/paths.rs"]),
    ("foldhash", &["telemetry/metrics.rs"]),
    ("h2", &["gateway/upstream/direct.rs"]),
    ("httparse", &["gateway/upstream/http1.rs", "server/"]),
    ("hyper", &["gateway/upstream", "server/"]),
    ("hyper_rustls", &["gateway/upstream/"]),
    ("hyper_util", &["gateway/upstream", "server/"]),
    ("indicatif", &["cli/"]),
    (
        "itoa",
        &[
            "cli/log_line.rs",
            "gateway/upstream/http1.rs",
            "telemetry/mod.rs",
        ],
    ),
    ("listenfd", &["cli/activation.rs"]),
    ("oauth2", &["credentials/oauth/"]),
    ("ratatui", &["cli/"]),
    ("redis", &["state/redis"]),
    ("reqwest", &["gateway/upstream", "credentials/oauth/"]),
    ("rusqlite", &["state/sqlite"]),
    ("rustyline", &["cli/chat/"]),
    ("rustix", &["cli/core_dumps.rs", "cli/signals.rs"]),
    ("rustls_platform_verifier", &["gateway/upstream/"]),
    ("tokio_rustls", &["server/"]),
    ("toml", &["config/"]),
    ("toml_edit", &["config/edit"]),
    ("tower_service", &["gateway/upstream/"]),
];

/// What a module must not know at all.
const FORBIDDEN: &[(&str, &[&str])] = &[
    (
        "dialects/",
        &[
            "tokio::",
            "http::",
            "tracing::",
            "std::fs",
            "std::net",
            "SystemTime",
            "Instant::now",
        ],
    ),
    (
        "providers/",
        &[
            "tokio::",
            "tracing::",
            "std::fs",
            "std::net",
            "SystemTime::now",
            "Instant::now",
        ],
    ),
    (
        "pool/",
        &["std::fs", "std::net", "SystemTime::now", "Instant::now"],
    ),
];

/// Names that say nothing about what is inside.
const VAGUE: &[&str] = &[
    "common", "helper", "helpers", "manager", "misc", "types", "util", "utils",
];

const MAX_LINES: usize = 600;

/// Flat data that may be longer than [`MAX_LINES`]: the path, and what the list is.
const LONG_LISTS: &[(&str, &str)] = &[("src/config/keys/table.rs", "every key of config.toml")];

struct Source {
    /// Below `src/` or the package root, with `/`.
    path: String,
    text: String,
}

impl Source {
    /// The lines that are code, numbered from 1: comments and doc links import nothing.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let numbered = self
            .text
            .lines()
            .enumerate()
            .map(|(index, line)| (index + 1, line));
        numbered.filter(|(_, line)| !line.trim_start().starts_with("//"))
    }

    /// The lines of code that are no test: those may measure time.
    fn production(&self) -> impl Iterator<Item = (usize, &str)> {
        let is_test = self.path.ends_with("tests.rs") || self.path.contains("/tests/");
        self.code()
            .take_while(|(_, line)| !line.starts_with("mod tests {"))
            .filter(move |_| !is_test)
    }

    fn module(&self) -> &str {
        let first = self.path.split('/').next().unwrap_or_default();
        first.strip_suffix(".rs").unwrap_or(first)
    }
}

fn sources(below: &str) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(below);
    let mut paths = Vec::new();
    collect(&root, &mut paths);
    paths.sort();
    let read = |path: PathBuf| Source {
        path: path
            .strip_prefix(&root)
            .expect("it was found below the root")
            .to_string_lossy()
            .replace('\\', "/"),
        text: fs::read_to_string(&path).expect("a source file is text"),
    };
    paths.into_iter().map(read).collect()
}

fn collect(directory: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
}

fn floor(module: &str) -> Option<u8> {
    FLOORS
        .iter()
        .find(|(name, _)| *name == module)
        .map(|(_, floor)| *floor)
}

/// The modules a line of code names: `crate::a::b` and `crate::{a::b, c}` (which rustfmt may
/// break over lines: [`no_import_list_hides_modules`] refuses that form).
fn imported(line: &str) -> Vec<&str> {
    let modules = line.match_indices("crate::").map(|(at, prefix)| {
        let rest = &line[at + prefix.len()..];
        let end = rest
            .find(|c: char| !c.is_alphanumeric() && c != '_')
            .unwrap_or(rest.len());
        (at, &rest[..end])
    });
    modules
        .filter(|(at, _)| !SHARED.iter().any(|shared| line[*at..].starts_with(shared)))
        .map(|(_, module)| module)
        .collect()
}

fn refuse(offences: &[String]) {
    assert!(offences.is_empty(), "\n{}\n", offences.join("\n"));
}

#[test]
fn imports_only_go_down() {
    let mut offences = Vec::new();
    for source in sources("src") {
        let own = floor(source.module());
        for (number, line) in source.code() {
            for module in imported(line) {
                let Some(theirs) = floor(module) else {
                    continue;
                };
                if module != source.module() && own.is_none_or(|own| theirs >= own) {
                    offences.push(format!(
                        "src/{}:{number}: imports {module}: {line}",
                        source.path
                    ));
                }
            }
        }
    }
    refuse(&offences);
}

#[test]
fn every_module_has_a_floor() {
    let unknown = sources("src")
        .iter()
        .filter(|source| floor(source.module()).is_none())
        .map(|source| format!("src/{} is on no floor", source.path))
        .collect::<Vec<_>>();
    refuse(&unknown);
}

#[test]
fn no_import_list_hides_modules() {
    let mut offences = Vec::new();
    for source in sources("src") {
        for (number, line) in source.code().filter(|(_, line)| line.contains("crate::{")) {
            offences.push(format!(
                "src/{}:{number}: one `use` a module: {line}",
                source.path
            ));
        }
    }
    refuse(&offences);
}

#[test]
fn crates_stay_in_their_rooms() {
    let mut offences = Vec::new();
    for source in sources("src") {
        let strangers = ROOMS
            .iter()
            .filter(|(_, rooms)| !rooms.iter().any(|room| source.path.starts_with(room)));
        for (name, rooms) in strangers {
            let path = format!("{name}::");
            for (number, line) in source.production().filter(|(_, line)| names(line, &path)) {
                offences.push(format!(
                    "src/{}:{number}: {name} is for {rooms:?}: {line}",
                    source.path
                ));
            }
        }
    }
    refuse(&offences);
}

#[test]
fn pure_floors_know_no_time_and_no_sockets() {
    let mut offences = Vec::new();
    for source in sources("src") {
        for (_, words) in FORBIDDEN
            .iter()
            .filter(|(room, _)| source.path.starts_with(room))
        {
            for (number, line) in source.production() {
                for word in words.iter().filter(|word| names(line, word)) {
                    offences.push(format!("src/{}:{number}: {word}: {line}", source.path));
                }
            }
        }
    }
    refuse(&offences);
}

/// `true` if a line names the path, not merely something that ends alike (`prost_toml::`) or a
/// text that begins so (the target of a log filter).
fn names(line: &str, path: &str) -> bool {
    line.match_indices(path).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        before.is_none_or(|c| !c.is_alphanumeric() && !"_:\"".contains(c))
    })
}

#[test]
fn file_names_say_what_is_inside() {
    let mut offences = Vec::new();
    for below in ["src", "tests", "benches"] {
        for source in sources(below) {
            let vague = |part: &str| VAGUE.contains(&part.trim_end_matches(".rs"));
            if source.path.split('/').any(vague) {
                offences.push(format!("{below}/{}: name the idea", source.path));
            }
        }
    }
    refuse(&offences);
}

#[test]
fn files_stay_short_and_say_what_they_are_for() {
    let mut offences = Vec::new();
    for below in ["src", "tests", "benches"] {
        for source in sources(below) {
            let path = format!("{below}/{}", source.path);
            let lines = source.text.lines().count();
            let listed = LONG_LISTS.iter().any(|(long, _)| *long == path);
            if lines > MAX_LINES && !listed {
                offences.push(format!("{path}: {lines} lines, {MAX_LINES} are allowed"));
            }
            if !source.text.starts_with("//!") {
                offences.push(format!("{path}: begin with //! and what the file is for"));
            }
        }
    }
    refuse(&offences);
}

#[test]
fn no_lint_and_no_test_is_switched_off() {
    let switches = ["#[allow", "#![allow", "#[ignore", "#[should_panic"];
    let mut offences = Vec::new();
    for below in ["src", "tests", "benches"] {
        for source in sources(below) {
            for (number, line) in source.code() {
                if switches
                    .iter()
                    .any(|switch| line.trim_start().starts_with(switch))
                {
                    offences.push(format!("{below}/{}:{number}: {line}", source.path));
                }
            }
        }
    }
    refuse(&offences);
}

#[test]
fn no_file_is_forgotten() {
    let mut offences = Vec::new();
    for below in ["src", "tests/it"] {
        let all = sources(below);
        for source in &all {
            let path = Path::new(&source.path);
            let stem = path
                .file_stem()
                .map(|stem| stem.to_string_lossy().into_owned());
            let (folder, name) = match stem.as_deref() {
                Some("lib" | "main") | None => continue,
                Some("mod") => {
                    let folder = path.parent().unwrap_or(Path::new(""));
                    let name = folder
                        .file_name()
                        .map(|name| name.to_string_lossy().into_owned());
                    (folder.parent(), name.unwrap_or_default())
                }
                Some(stem) => (path.parent(), stem.to_owned()),
            };
            let folder = folder.map(|folder| folder.to_string_lossy().into_owned());
            let folder = folder.unwrap_or_default();
            let parents = if folder.is_empty() {
                vec!["lib.rs".to_owned(), "main.rs".to_owned()]
            } else {
                vec![format!("{folder}/mod.rs"), format!("{folder}.rs")]
            };
            let declared = all
                .iter()
                .filter(|parent| parents.contains(&parent.path))
                .any(|parent| {
                    parent
                        .code()
                        .any(|(_, line)| line.contains(&format!("mod {name};")))
                });
            if !declared {
                offences.push(format!("{below}/{} is declared nowhere", source.path));
            }
        }
    }
    refuse(&offences);
}
