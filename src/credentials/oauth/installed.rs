//! The secret of an OAuth client, looked for in the vendor's own tool where that is installed on
//! this machine. Reads only, and only so much.
//!
//! Such secrets are no secrets: "the client secret is obviously not treated as a secret" in
//! installed applications
//! (<https://developers.google.com/identity/protocols/oauth2>, read 2026-11-22). They are the
//! vendor's all the same, so none is shipped with this program.

use std::collections::{HashMap, VecDeque};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use memchr::memmem::Finder;

use crate::providers::oauth::Tool;
use crate::secret::Secret;

/// Bounds of one search: a package is some thousand files, an application some hundred MiB.
const MAX_FILES: usize = 5_000;
const MAX_BYTES: u64 = 768 << 20;
const MAX_DEPTH: usize = 8;

/// How much of a file is looked at together.
const WINDOW_BYTES: usize = 4 << 20;

/// Where to look: what the process's environment says of this machine.
#[derive(Clone, Debug, Default)]
pub struct Places {
    /// The directories of `PATH`.
    pub path: Vec<PathBuf>,
    pub home: Option<PathBuf>,
    /// `NPM_CONFIG_PREFIX`.
    pub npm_prefix: Option<PathBuf>,
}

impl Places {
    /// The places of this process.
    pub fn of_process() -> Self {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let directory = |name: &str| {
            let value = std::env::var_os(name).filter(|value| !value.is_empty());
            value.map(PathBuf::from)
        };
        Self {
            path: std::env::split_paths(&path).collect(),
            home: directory("HOME").or_else(|| directory("USERPROFILE")),
            npm_prefix: directory("NPM_CONFIG_PREFIX"),
        }
    }
}

/// [`secret_of`] in the places of this process, looked for once.
pub fn secret_here(tool: &Tool) -> Option<Secret> {
    static FOUND: Mutex<Option<HashMap<&'static str, Option<Secret>>>> = Mutex::new(None);
    let mut found = FOUND.lock().unwrap_or_else(PoisonError::into_inner);
    let found = found.get_or_insert_default();
    found
        .entry(tool.client_id)
        .or_insert_with(|| secret_of(tool, &Places::of_process()))
        .clone()
}

/// The secret that stands beside the tool's client id in its files; `None` if the tool is not
/// installed, or if its files hold no such thing.
pub fn secret_of(tool: &Tool, places: &Places) -> Option<Secret> {
    let mut budget = Budget {
        files: MAX_FILES,
        bytes: MAX_BYTES,
    };
    let search = Search::new(tool);
    roots(tool, places)
        .iter()
        .find_map(|root| search.below(root, &mut budget))
}

/// Where the tool may be, likeliest first.
fn roots(tool: &Tool, places: &Places) -> Vec<PathBuf> {
    let mut roots = Vec::new();
    let commands = tool.commands.iter().flat_map(|command| {
        let files = places
            .path
            .iter()
            .map(move |directory| directory.join(command));
        files.filter_map(|file| fs::canonicalize(file).ok())
    });
    roots.extend(commands.map(|file| package_of(&file).unwrap_or(file)));
    for directory in node_modules(places) {
        roots.extend(tool.packages.iter().map(|package| directory.join(package)));
    }
    let home = places.home.as_deref();
    roots.extend(tool.applications.iter().filter_map(|application| {
        match application.strip_prefix("~/") {
            Some(below) => Some(home?.join(below)),
            None => Some(PathBuf::from(application)),
        }
    }));
    let mut seen = Vec::new();
    roots.retain(|root| {
        root.exists() && !seen.contains(root) && {
            seen.push(root.clone());
            true
        }
    });
    roots
}

/// The directory of the package that a script belongs to.
fn package_of(file: &Path) -> Option<PathBuf> {
    let above = file.ancestors().skip(1).take(4);
    above
        .filter(|directory| directory.join("package.json").is_file())
        .last()
        .map(Path::to_owned)
}

/// Where npm and its like keep what is installed for all projects.
fn node_modules(places: &Places) -> Vec<PathBuf> {
    let mut directories: Vec<PathBuf> = Vec::new();
    let below = |prefix: &Path| prefix.join("lib/node_modules");
    directories.extend(places.npm_prefix.as_deref().map(below));
    if let Some(home) = &places.home {
        for prefix in [".npm-global", ".local", ".npm-packages", "n"] {
            directories.push(below(&home.join(prefix)));
        }
        directories.push(home.join(".bun/install/global/node_modules"));
        directories.push(home.join("AppData/Roaming/npm/node_modules"));
        for versions in [".nvm/versions/node", ".local/share/fnm/node-versions"] {
            for version in children(&home.join(versions)) {
                directories.push(below(&version));
                directories.push(below(&version.join("installation")));
            }
        }
        for version in children(&home.join(".local/share/pnpm/global")) {
            directories.push(version.join("node_modules"));
        }
    }
    for prefix in ["/usr/local", "/usr", "/opt/homebrew"] {
        directories.push(below(Path::new(prefix)));
    }
    directories
}

fn children(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut children: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    children.sort();
    // The latest version first.
    children.reverse();
    children
}

struct Budget {
    files: usize,
    bytes: u64,
}

struct Search<'t> {
    tool: &'t Tool,
    client_id: Finder<'t>,
    prefix: Finder<'t>,
}

impl<'t> Search<'t> {
    fn new(tool: &'t Tool) -> Self {
        Self {
            tool,
            client_id: Finder::new(tool.client_id),
            prefix: Finder::new(tool.secret_prefix),
        }
    }

    /// The secret in a file, or in the files below a directory.
    fn below(&self, root: &Path, budget: &mut Budget) -> Option<Secret> {
        let mut queue = VecDeque::from([(root.to_owned(), 0)]);
        while let Some((path, depth)) = queue.pop_front() {
            let Ok(seen) = fs::symlink_metadata(&path) else {
                continue;
            };
            if seen.is_dir() && depth < MAX_DEPTH {
                queue.extend(children(&path).into_iter().map(|child| (child, depth + 1)));
            } else if seen.is_file() {
                if budget.files == 0 || budget.bytes < seen.len() {
                    return None;
                }
                if !is_code(&path) {
                    continue;
                }
                budget.files -= 1;
                budget.bytes -= seen.len();
                // A file that cannot be read holds nothing for us.
                if let Ok(Some(secret)) = self.in_file(&path) {
                    return Some(secret);
                }
            }
        }
        None
    }

    /// The secret nearest to the client id; `None` if the file does not hold both.
    fn in_file(&self, path: &Path) -> io::Result<Option<Secret>> {
        let overlap = self.tool.client_id.len().max(self.tool.secret_chars) + 1;
        let mut file = File::open(path)?;
        let (mut window, mut at) = (Vec::new(), 0_u64);
        let (mut ids, mut secrets) = (Vec::new(), Vec::new());
        loop {
            let kept = window.len().min(overlap);
            window.drain(..window.len() - kept);
            let start = at - kept as u64;
            let read = file
                .by_ref()
                .take(WINDOW_BYTES as u64)
                .read_to_end(&mut window)?;
            at += read as u64;
            ids.extend(
                self.client_id
                    .find_iter(&window)
                    .map(|id| start + id as u64),
            );
            let found = self.prefix.find_iter(&window).filter_map(|place| {
                let secret = self.secret_at(window.get(place..)?)?;
                Some((start + place as u64, secret))
            });
            secrets.extend(found);
            if read == 0 {
                break;
            }
        }
        let (id_chars, chars) = (self.tool.client_id.len(), self.tool.secret_chars);
        let gap = |id: u64, place: u64| {
            let (first, length) = if id < place {
                (id, id_chars)
            } else {
                (place, chars)
            };
            id.abs_diff(place) - (length as u64).min(id.max(place) - first)
        };
        let distance = |place: u64| ids.iter().map(|id| gap(*id, place)).min();
        let near = secrets
            .into_iter()
            .filter_map(|(place, secret)| Some((distance(place)?, secret)));
        Ok(near
            .min_by_key(|(distance, _)| *distance)
            .map(|near| near.1))
    }

    /// The secret that the bytes begin with, if it has the length of one.
    fn secret_at(&self, bytes: &[u8]) -> Option<Secret> {
        let text = bytes.get(..self.tool.secret_chars)?;
        let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_".contains(byte);
        let goes_on = bytes.get(self.tool.secret_chars).is_some_and(is_part);
        if goes_on || !text.iter().all(is_part) {
            return None;
        }
        std::str::from_utf8(text).ok().map(Secret::new)
    }
}

/// Whether a file may hold code: a script, an archive of scripts, or a program.
fn is_code(path: &Path) -> bool {
    match path.extension().and_then(|end| end.to_str()) {
        None => true,
        Some(end) => matches!(end, "asar" | "cjs" | "exe" | "js" | "mjs" | "node"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOOL: Tool = Tool {
        client_id: "123-abc.apps.example.com",
        title: "Some CLI",
        commands: &["some"],
        packages: &["@some/cli"],
        applications: &["~/Some.app"],
        secret_prefix: "GOCSPX-",
        secret_chars: 12,
    };

    fn installed(files: &[(&str, &str)]) -> (tempfile::TempDir, Places) {
        let dir = tempfile::tempdir().expect("a temporary directory");
        for (name, text) in files {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().expect("has one")).expect("writable");
            fs::write(path, text).expect("writable");
        }
        let places = Places {
            path: vec![dir.path().join("bin")],
            home: Some(dir.path().to_owned()),
            npm_prefix: None,
        };
        (dir, places)
    }

    fn found(files: &[(&str, &str)]) -> Option<String> {
        let (_dir, places) = installed(files);
        secret_of(&TOOL, &places).map(|secret| secret.expose().to_owned())
    }

    #[test]
    fn the_secret_beside_the_client_id_is_found() {
        let code = "x='GOCSPX-other';const i='123-abc.apps.example.com',s='GOCSPX-right';";
        for place in [
            ".npm-global/lib/node_modules/@some/cli/dist/src/oauth2.js",
            ".nvm/versions/node/v22.1.0/lib/node_modules/@some/cli/bundle/some.js",
            "Some.app/Contents/Resources/app.asar",
        ] {
            assert_eq!(
                found(&[(place, code)]).as_deref(),
                Some("GOCSPX-right"),
                "{place}"
            );
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_command_leads_to_its_package() {
        let code = "'123-abc.apps.example.com','GOCSPX-right'";
        let package = "somewhere/node_modules/@some/cli";
        let (dir, places) = installed(&[
            (&format!("{package}/package.json"), "{}"),
            (&format!("{package}/dist/index.js"), ""),
            (&format!("{package}/node_modules/@some/core/o.js"), code),
            ("bin/other", ""),
        ]);
        let script = dir.path().join(package).join("dist/index.js");
        std::os::unix::fs::symlink(script, dir.path().join("bin/some")).expect("links work here");
        let secret = secret_of(&TOOL, &places).expect("found");
        assert_eq!(secret.expose(), "GOCSPX-right");
    }

    #[test]
    fn what_is_no_such_file_gives_nothing() {
        let place = ".local/lib/node_modules/@some/cli/a.js";
        for code in [
            "",
            "123-abc.apps.example.com",
            "GOCSPX-right",
            "123-abc.apps.example.com GOCSPX-longer-than-it",
            "123-abc.apps.example.com GOCSPX-sh",
        ] {
            assert_eq!(found(&[(place, code)]), None, "{code}");
        }
        let code = "123-abc.apps.example.com GOCSPX-right";
        assert_eq!(found(&[("elsewhere/a.js", code)]), None);
        assert_eq!(
            found(&[(".local/lib/node_modules/@some/cli/README.md", code)]),
            None
        );
    }

    #[test]
    fn what_lies_across_two_windows_is_found() {
        let place = ".local/lib/node_modules/@some/cli/a.js";
        let id = "123-abc.apps.example.com";
        let code = format!(
            "{}{id} GOCSPX-right",
            "x".repeat(WINDOW_BYTES - id.len() - 5)
        );
        assert_eq!(found(&[(place, &code)]).as_deref(), Some("GOCSPX-right"));
    }
}
