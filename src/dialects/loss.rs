//! What a translation could not carry across: counted, logged at debug, named to the client.

use std::fmt;

use serde_json::value::RawValue;

use crate::dialects::fields::Fields;

/// Paths named in one answer's `x-llmproxy-dropped` header; the rest is only counted.
const MAX_NAMED: usize = 32;

/// The field paths one translation lost, each once: `top_k`, `messages[3].audio`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    paths: Vec<String>,
    unnamed: usize,
}

impl Losses {
    /// Records that the value at `path` did not cross.
    pub fn drop_field(&mut self, path: impl Into<String>) {
        let path = path.into();
        if self.paths.contains(&path) {
            return;
        }
        if self.paths.len() < MAX_NAMED {
            self.paths.push(path);
        } else {
            self.unnamed += 1;
        }
    }

    /// Records that a member of the top level did not cross: of Gemini's `generationConfig`, most of
    /// which does, what is left.
    pub fn drop_member(&mut self, name: &str, value: &RawValue) {
        let inner = (name == "generationConfig").then(|| Fields::parse_raw(value));
        let Some(Ok(inner)) = inner else {
            self.drop_field(name);
            return;
        };
        for (member, _) in inner.iter() {
            self.drop_field(format!("{name}.{member}"));
        }
    }

    /// Adds another translation's losses: the answer's to the request's.
    pub fn extend(&mut self, other: &Self) {
        for path in &other.paths {
            self.drop_field(path.clone());
        }
        self.unnamed += other.unnamed;
    }

    /// `true` if everything crossed.
    pub fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }

    /// How many fields were lost.
    pub fn len(&self) -> usize {
        self.paths.len() + self.unnamed
    }

    /// The paths named, at most 32.
    pub fn paths(&self) -> &[String] {
        &self.paths
    }
}

/// Writes `top_k, messages[3].audio`, the value of `x-llmproxy-dropped`.
impl fmt::Display for Losses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.paths.join(", "))?;
        if self.unnamed > 0 {
            write!(f, ", and {} more", self.unnamed)?;
        }
        Ok(())
    }
}
