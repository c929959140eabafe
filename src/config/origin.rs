//! Where each value of the loaded config comes from, and what there is to say about it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// An environment variable.
    Env {
        /// The variable.
        name: String,
        /// The line of a `.env` file it was read from; `None`: the real environment.
        line: Option<(PathBuf, usize)>,
    },
    /// The config file.
    File {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
    },
    /// A command-line option.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Env { name, line: None } => write!(f, "environment {name}"),
            Self::Env {
                name,
                line: Some((path, line)),
            } => write!(f, "{name} in {}:{line}", path.display()),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Flag(flag) => f.write_str(flag),
        }
    }
}

/// Origins by path: `server.port`, `providers.gemini.caps[0].limit`.
#[derive(Clone, Debug, Default)]
pub struct Origins(BTreeMap<String, Origin>);

impl Origins {
    /// Notes where a value comes from; what was known before is replaced.
    pub fn set(&mut self, path: impl Into<String>, origin: Origin) {
        self.0.insert(path.into(), origin);
    }

    /// The origin of the value at `path`: its own, or that of the list or table around it that was
    /// set as a whole.
    pub fn get(&self, path: &str) -> &Origin {
        let mut path = path;
        loop {
            if let Some(origin) = self.0.get(path) {
                return origin;
            }
            // To the element around a key, to the list around an element. A section of the file
            // says nothing about the keys it does not hold.
            path = match (path.rfind('['), path.rfind(']')) {
                (Some(_), Some(end)) if end + 1 < path.len() => &path[..=end],
                (Some(start), _) => &path[..start],
                (None, _) => return &Origin::Default,
            };
        }
    }
}

/// Something the user should know about what was loaded: a line on stderr, never a failure. It
/// holds no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// How much it matters.
    pub level: Level,
    /// The variable, key or provider it is about.
    pub subject: String,
    /// What is so, and what to use instead: a fragment to read behind the subject.
    pub text: String,
}

/// How much a [`Note`] matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Nothing is lost.
    Info,
    /// A variable that most likely is not for us: for `serve` and `config check` to say.
    Stray,
    /// Something the user asked for does not happen.
    Warning,
}

impl Note {
    /// A note that nothing is lost by.
    pub fn info(subject: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            level: Level::Info,
            subject: subject.into(),
            text: text.into(),
        }
    }

    /// A note on a variable that most likely is another program's.
    pub fn stray(subject: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            level: Level::Stray,
            ..Self::info(subject, text)
        }
    }

    /// A note that something asked for does not happen.
    pub fn warning(subject: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            level: Level::Warning,
            ..Self::info(subject, text)
        }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.subject, self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_element_has_the_origin_of_its_list() {
        let mut origins = Origins::default();
        origins.set("a.keys", Origin::Flag("--keys"));
        origins.set("a.keys[1]", Origin::Flag("--more"));
        assert_eq!(origins.get("a.keys[0].key"), &Origin::Flag("--keys"));
        assert_eq!(origins.get("a.keys[1].key"), &Origin::Flag("--more"));
        assert_eq!(origins.get("a.other"), &Origin::Default);
    }
}
