//! The environment as the config sees it: the process's own variables, and `.env` files below.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::config::dotenv;
use crate::config::error::{ConfigError, Place};

/// Variables by name, each with the place it comes from. Values may be secrets: no `Debug`.
#[derive(Clone, Default)]
pub struct Variables(BTreeMap<String, Variable>);

/// One variable.
#[derive(Clone)]
pub struct Variable {
    /// Its value.
    pub value: String,
    /// The `.env` file and line it was read from; `None`: the process's own environment.
    pub line: Option<(PathBuf, usize)>,
}

impl Variables {
    /// The process's environment, or a test's stand-in for it.
    pub fn new(environment: impl IntoIterator<Item = (String, String)>) -> Self {
        let real = |(name, value)| (name, Variable { value, line: None });
        Self(environment.into_iter().map(real).collect())
    }

    /// Adds the variables of a `.env` file. Those of the process always stay; those of files read
    /// before are replaced.
    pub fn read_file(&mut self, path: &Path) -> Result<(), ConfigError> {
        let text = std::fs::read(path).map_err(|error| ConfigError::unreadable(path, &error))?;
        let text = String::from_utf8(text).map_err(|_| ConfigError::not_text(path))?;
        let lookup = |name: &str| self.get(name).map(str::to_owned);
        let assignments = dotenv::parse(&text, &lookup).map_err(|error| {
            // The line itself is not shown: it most likely holds a key.
            let place = Place::line_only(path, error.line);
            ConfigError::new(
                error.to_string(),
                "write NAME=value, with quotes around values that hold spaces or #",
            )
            .at(place)
        })?;
        for one in assignments {
            if self
                .0
                .get(&one.name)
                .is_some_and(|known| known.line.is_none())
            {
                continue;
            }
            let line = Some((path.to_owned(), one.line));
            let value = one.value;
            self.0.insert(one.name, Variable { value, line });
        }
        Ok(())
    }

    /// The value of a variable; `None` if it is not set at all.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|variable| variable.value.as_str())
    }

    /// A variable with its place.
    pub fn variable(&self, name: &str) -> Option<&Variable> {
        self.0.get(name)
    }

    /// All variables in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Variable)> {
        self.0
            .iter()
            .map(|(name, variable)| (name.as_str(), variable))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_real_environment_wins_and_later_files_win_over_earlier_ones() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (first, second) = (dir.path().join("a.env"), dir.path().join("b.env"));
        std::fs::write(&first, "A=1\nB=1\nC=1\n").expect("a written file");
        std::fs::write(&second, "B=2\nC=${B}2\n").expect("a written file");
        let mut variables = Variables::new([("A".to_owned(), "real".to_owned())]);
        variables.read_file(&first).expect("a valid file");
        variables.read_file(&second).expect("a valid file");
        assert_eq!(variables.get("A"), Some("real"));
        assert_eq!(variables.get("B"), Some("2"));
        assert_eq!(variables.get("C"), Some("22"));
        let line = variables.variable("C").and_then(|one| one.line.clone());
        assert_eq!(line, Some((second, 2)));
    }

    #[test]
    fn a_bad_line_is_named_but_not_shown() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join(".env");
        std::fs::write(&path, "A=1\nK=\"sk-canary-0123456789\n").expect("a written file");
        let error = Variables::default()
            .read_file(&path)
            .expect_err("a bad line");
        let shown = format!("{error} {:?}", error.excerpt());
        assert!(shown.contains(".env:2:"), "{shown}");
        assert!(!shown.contains("canary"), "{shown}");
    }
}
