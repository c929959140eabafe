//! Where things are: the config file, credentials, state and caches.
//!
//! `LLMPROXY_…` wins over `XDG_…`, which wins over the platform's own directories.

use std::path::{Path, PathBuf};

use directories::{BaseDirs, ProjectDirs};

use crate::config::error::ConfigError;
use crate::config::secret_ref::absolute;
use crate::config::storage::Log;

const APP: &str = "llmproxy";

/// The places of this installation. None of them needs to exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    /// `config.toml`.
    pub config_file: PathBuf,
    /// `true` where the user named the file: then it must exist.
    pub is_explicit: bool,
    /// Credentials; the directory is 0700, its files 0600.
    pub data_dir: PathBuf,
    /// Usage, cooldowns, the journal, request logs.
    pub state_dir: PathBuf,
    /// Model lists, prices.
    pub cache_dir: PathBuf,
    /// The user's home, for `~/` in the config; `None` for a user without one.
    pub home: Option<PathBuf>,
}

impl Paths {
    /// Finds the places. `config_flag` is `--config`, `variable` looks up the environment; empty
    /// variables count as unset.
    pub fn find(
        config_flag: Option<&Path>,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, ConfigError> {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let home = set("HOME")
            .map(PathBuf::from)
            .or_else(|| BaseDirs::new().map(|dirs| dirs.home_dir().to_owned()));
        let place = |own: Option<&str>, base: Base| {
            let named = own.and_then(&set).map(PathBuf::from);
            named
                .or_else(|| base.directory(&set, home.as_deref()))
                .ok_or_else(homeless)
        };
        let named = config_flag
            .map(Path::to_owned)
            .or_else(|| set("LLMPROXY_CONFIG").map(PathBuf::from));
        Ok(Self {
            is_explicit: named.is_some(),
            config_file: match named {
                Some(file) => file,
                None => place(None, Base::Config)?.join("config.toml"),
            },
            data_dir: place(Some("LLMPROXY_DATA_DIR"), Base::Data)?,
            state_dir: place(Some("LLMPROXY_STATE_DIR"), Base::State)?,
            cache_dir: place(Some("LLMPROXY_CACHE_DIR"), Base::Cache)?,
            home,
        })
    }

    /// The database of usage, cooldowns and the journal.
    pub fn state_file(&self) -> PathBuf {
        self.state_dir.join("state.db")
    }

    /// The database of what clients may go on from: their conversations.
    pub fn conversations_file(&self) -> PathBuf {
        self.state_dir.join("conversations.db")
    }

    /// Where request logs go: `[log] dir`, or `requests/` in the state directory.
    pub fn requests_dir(&self, log: &Log) -> PathBuf {
        log.dir
            .clone()
            .unwrap_or_else(|| self.state_dir.join("requests"))
    }

    /// The `.env` file that is read on start if it exists.
    pub fn env_file(&self) -> PathBuf {
        self.config_dir().join(".env")
    }

    /// A path of the config: relative ones start beside the config file, `~/` at home.
    pub fn resolve(&self, path: &Path) -> PathBuf {
        absolute(path, self.config_dir(), self.home.as_deref())
    }

    /// The directory of the config file.
    pub fn config_dir(&self) -> &Path {
        self.config_file.parent().unwrap_or(Path::new(""))
    }
}

fn homeless() -> ConfigError {
    ConfigError::new(
        "this user has no home directory to keep files in",
        "set HOME, or name the places with LLMPROXY_CONFIG, LLMPROXY_DATA_DIR, \
         LLMPROXY_STATE_DIR and LLMPROXY_CACHE_DIR",
    )
}

/// A base directory of the XDG specification
/// (<https://specifications.freedesktop.org/basedir-spec/latest/>, read 2026-11-22).
#[derive(Clone, Copy)]
enum Base {
    Cache,
    Config,
    Data,
    State,
}

impl Base {
    fn directory(
        self,
        set: &dyn Fn(&str) -> Option<String>,
        home: Option<&Path>,
    ) -> Option<PathBuf> {
        let (name, below_home) = match self {
            Self::Cache => ("XDG_CACHE_HOME", ".cache"),
            Self::Config => ("XDG_CONFIG_HOME", ".config"),
            Self::Data => ("XDG_DATA_HOME", ".local/share"),
            Self::State => ("XDG_STATE_HOME", ".local/state"),
        };
        // The specification has relative values ignored.
        let named = set(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute());
        if let Some(base) = named {
            return Some(base.join(APP));
        }
        if cfg!(any(windows, target_os = "macos")) {
            return self.platform_directory();
        }
        home.map(|home| home.join(below_home).join(APP))
    }

    fn platform_directory(self) -> Option<PathBuf> {
        let dirs = ProjectDirs::from("", "", APP)?;
        let directory = match self {
            Self::Cache => dirs.cache_dir(),
            Self::Config => dirs.config_dir(),
            Self::Data => dirs.data_dir(),
            // Neither macOS nor Windows tells state from data.
            Self::State => dirs.state_dir().unwrap_or_else(|| dirs.data_local_dir()),
        };
        Some(directory.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(flag: Option<&str>, set: &[(&str, &str)]) -> Paths {
        let variable = |name: &str| {
            let found = set.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        Paths::find(flag.map(Path::new), &variable).expect("places")
    }

    #[cfg(all(unix, not(target_os = "macos")))]
    #[test]
    fn without_overrides_everything_is_below_home() {
        let paths = find(None, &[("HOME", "/h"), ("XDG_CACHE_HOME", "relative")]);
        assert_eq!(
            paths.config_file,
            Path::new("/h/.config/llmproxy/config.toml")
        );
        assert_eq!(paths.data_dir, Path::new("/h/.local/share/llmproxy"));
        assert_eq!(
            paths.state_file(),
            Path::new("/h/.local/state/llmproxy/state.db")
        );
        assert_eq!(paths.cache_dir, Path::new("/h/.cache/llmproxy"));
        assert!(!paths.is_explicit);
    }

    #[test]
    fn the_flag_wins_over_the_environment_and_ours_over_xdg() {
        let set = [
            ("HOME", "/h"),
            ("LLMPROXY_CONFIG", "/env/c.toml"),
            ("LLMPROXY_DATA_DIR", "/data"),
            ("XDG_DATA_HOME", "/xdg"),
            ("XDG_STATE_HOME", "/xdg"),
            ("LLMPROXY_CACHE_DIR", ""),
            ("XDG_CACHE_HOME", "/xdg"),
        ];
        let paths = find(None, &set);
        assert_eq!(paths.config_file, Path::new("/env/c.toml"));
        assert_eq!(paths.data_dir, Path::new("/data"));
        assert_eq!(paths.state_dir, Path::new("/xdg/llmproxy"));
        assert_eq!(paths.cache_dir, Path::new("/xdg/llmproxy"));
        let flagged = find(Some("/flag/c.toml"), &set);
        assert_eq!(flagged.config_file, Path::new("/flag/c.toml"));
        assert_eq!(flagged.env_file(), Path::new("/flag/.env"));
        assert!(flagged.is_explicit);
    }

    #[test]
    fn paths_of_the_config_start_beside_it() {
        let paths = find(Some("/etc/llmproxy/c.toml"), &[("HOME", "/h")]);
        for (written, path) in [
            ("logs", "/etc/llmproxy/logs"),
            ("/var/logs", "/var/logs"),
            ("~/logs", "/h/logs"),
        ] {
            assert_eq!(paths.resolve(Path::new(written)), Path::new(path));
        }
    }
}
