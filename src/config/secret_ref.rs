//! Secrets as the config names them: a literal, `env:NAME` or `file:PATH`.
//!
//! Parsing keeps the reference; loading resolves it. The reference stays beside the secret, so
//! that `config show` can say where a secret comes from without saying what it is.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

use crate::config::text;
use crate::secret::Secret;

/// A secret of the config with the place it comes from.
#[derive(Clone, Debug)]
pub struct SecretRef {
    source: Source,
    secret: Secret,
}

/// Where a secret comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// An environment variable (or a line of a `.env` file).
    Env(String),
    /// The contents of a file, without surrounding white space.
    File(PathBuf),
    /// Written out in the config itself.
    Literal,
}

impl SecretRef {
    /// Reads `env:NAME`, `file:PATH` or a literal. References hold no secret until
    /// [`SecretRef::resolve`]d.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let source = if let Some(name) = text.strip_prefix("env:") {
            let name = name.trim();
            if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c == '=') {
                return Err("`env:` needs the name of an environment variable behind it".to_owned());
            }
            Source::Env(name.to_owned())
        } else if let Some(path) = text.strip_prefix("file:") {
            if path.trim().is_empty() {
                return Err("`file:` needs a path behind it".to_owned());
            }
            Source::File(PathBuf::from(path.trim()))
        } else {
            return Ok(Self::literal(text));
        };
        let secret = Secret::new("");
        Ok(Self { source, secret })
    }

    /// A secret written out.
    pub fn literal(text: &str) -> Self {
        Self {
            source: Source::Literal,
            secret: Secret::new(text),
        }
    }

    /// The value that the environment variable `name` holds.
    pub fn from_env(name: &str, value: &str) -> Self {
        Self {
            source: Source::Env(name.to_owned()),
            secret: Secret::new(value),
        }
    }

    /// The secret; empty in a config that was parsed but not loaded.
    pub fn secret(&self) -> &Secret {
        &self.secret
    }

    /// Where it comes from.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// Fetches the secret. `environment` looks a variable up; relative paths start at `base`, and
    /// `~/` at `home`. An empty result is an error too.
    pub fn resolve(
        &mut self,
        environment: &dyn Fn(&str) -> Option<String>,
        base: &Path,
        home: Option<&Path>,
    ) -> Result<(), ResolveError> {
        let value = match &self.source {
            Source::Env(name) => {
                environment(name).ok_or_else(|| ResolveError::EnvUnset(name.clone()))?
            }
            Source::File(path) => {
                let path = absolute(path, base, home);
                std::fs::read_to_string(&path)
                    .map_err(|source| ResolveError::File { path, source })?
            }
            Source::Literal => self.secret.expose().to_owned(),
        };
        self.secret = Secret::new(&value);
        if self.secret.is_empty() {
            return Err(ResolveError::Empty(self.source.clone()));
        }
        Ok(())
    }
}

/// `path` itself if absolute; else below `home` for `~/…`, or below `base`.
pub(super) fn absolute(path: &Path, base: &Path, home: Option<&Path>) -> PathBuf {
    match (path.strip_prefix("~"), home) {
        (Ok(rest), Some(home)) => home.join(rest),
        _ => base.join(path),
    }
}

/// `env:NAME`, `file:PATH`, the last characters of a literal, or a URL without user and query: safe
/// to print.
impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            Source::Literal => f.write_str(&masked(&self.secret)),
            source => source.fmt(f),
        }
    }
}

fn masked(secret: &Secret) -> String {
    let Some((scheme, rest)) = secret.expose().split_once("://") else {
        return secret.last4();
    };
    let (place, query) = match rest.split_once('?') {
        Some((place, _)) => (place, "?…"),
        None => (rest, ""),
    };
    match place.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://…@{host}{query}"),
        None => format!("{scheme}://{place}{query}"),
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(f, "env:{name}"),
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Literal => f.write_str("a literal"),
        }
    }
}

impl<'de> Deserialize<'de> for SecretRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text::parsed(
            deserializer,
            "a secret: text, \"env:NAME\" or \"file:PATH\"",
            Self::parse,
        )
    }
}

/// Writes what `Display` shows, never the secret.
impl Serialize for SecretRef {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Why a reference leads to no secret.
#[derive(Debug, Error)]
pub enum ResolveError {
    /// The reference was found, but what it holds is empty.
    #[error("{0} is empty")]
    Empty(Source),
    /// No such variable.
    #[error("the environment variable {0} is not set")]
    EnvUnset(String),
    /// The file cannot be read.
    #[error("{} cannot be read", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(name: &str) -> Option<String> {
        match name {
            "KEY" => Some(" sk-from-env\n".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        }
    }

    fn resolve(text: &str, base: &Path) -> Result<SecretRef, ResolveError> {
        let mut secret = SecretRef::parse(text).expect("a well-formed reference");
        secret.resolve(&environment, base, Some(base))?;
        Ok(secret)
    }

    #[test]
    fn a_secret_comes_from_the_text_the_environment_or_a_file() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        std::fs::write(dir.path().join("key"), "sk-from-file\n").expect("a written file");
        for (text, secret) in [
            ("sk-literal", "sk-literal"),
            ("env:KEY", "sk-from-env"),
            ("file:key", "sk-from-file"),
            ("file:~/key", "sk-from-file"),
        ] {
            let resolved = resolve(text, dir.path()).expect("a secret");
            assert_eq!(resolved.secret().expose(), secret, "{text}");
        }
    }

    #[test]
    fn a_reference_that_leads_nowhere_is_an_error() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        for (text, message) in [
            ("env:GONE", "the environment variable GONE is not set"),
            ("env:EMPTY", "env:EMPTY is empty"),
        ] {
            let error = resolve(text, dir.path()).expect_err("no secret");
            assert_eq!(error.to_string(), message);
        }
        assert!(matches!(
            resolve("file:gone", dir.path()),
            Err(ResolveError::File { .. })
        ));
    }

    #[test]
    fn malformed_references_are_refused() {
        for text in ["env:", "env: ", "env:A B", "file:", "file: "] {
            assert!(SecretRef::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_printed_secret_shows_its_source_only() {
        for (text, shown) in [
            ("sk-canary-0123456789", "…6789"),
            ("env:KEY", "env:KEY"),
            ("file:/run/k", "file:/run/k"),
            ("redis://127.0.0.1:6379/0", "redis://127.0.0.1:6379/0"),
            ("redis://u:canary@host/0?p=canary", "redis://…@host/0?…"),
        ] {
            let secret = SecretRef::parse(text).expect("a well-formed reference");
            assert_eq!(secret.to_string(), shown);
            assert!(!format!("{secret:?}").contains("canary"));
        }
    }
}
