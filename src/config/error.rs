//! What is wrong with a config: one sentence, the place, the line itself (secrets masked), a hint.

use std::fmt;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::config::mask;

/// A config that does not load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    message: String,
    place: Option<Box<Place>>,
    hint: String,
    others: Vec<Self>,
}

/// Where in a file something is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub file: PathBuf,
    /// From 1.
    pub line: usize,
    /// In characters, from 1; `None` where only the line is known.
    pub column: Option<usize>,
    /// The line with secrets masked; empty where it must not be shown.
    text: String,
    /// How many characters are at fault.
    width: usize,
}

impl Place {
    /// The place of a byte range in a file's text.
    pub fn new(file: &Path, source: &str, span: &Range<usize>) -> Self {
        let start = floor(source, span.start);
        let line_start = source[..start].rfind('\n').map_or(0, |at| at + 1);
        let text = source[line_start..].lines().next().unwrap_or_default();
        let column = source[line_start..start].chars().count() + 1;
        let end = floor(source, span.end).clamp(start, start.max(line_start + text.len()));
        Self {
            file: file.to_owned(),
            line: source[..line_start].matches('\n').count() + 1,
            column: Some(column),
            text: text.to_owned(),
            width: source[start..end].chars().count().max(1),
        }
        .masked()
    }

    /// A line that is not shown.
    pub fn line_only(file: &Path, line: usize) -> Self {
        Self {
            file: file.to_owned(),
            line,
            column: None,
            text: String::new(),
            width: 0,
        }
    }

    fn masked(mut self) -> Self {
        let masked = mask::line(&self.text);
        if masked != self.text {
            // The columns of the masked line are others: point at the line only.
            self.width = 0;
        }
        self.text = masked;
        self
    }
}

/// The nearest character boundary at or before `at`.
fn floor(source: &str, at: usize) -> usize {
    let mut at = at.min(source.len());
    while !source.is_char_boundary(at) {
        at -= 1;
    }
    at
}

impl ConfigError {
    /// An error without a place. Both texts must hold no secret.
    pub fn new(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            place: None,
            hint: hint.into(),
            others: Vec::new(),
        }
    }

    /// Adds the place.
    #[must_use]
    pub fn at(mut self, place: Place) -> Self {
        self.place = Some(Box::new(place));
        self
    }

    /// A file that cannot be read.
    pub fn unreadable(path: &Path, error: &io::Error) -> Self {
        let hint = if error.kind() == io::ErrorKind::NotFound {
            "check the path, or create the file with `llmproxy config init`"
        } else {
            "check the file's owner and mode"
        };
        Self::new(format!("cannot read {}: {error}", path.display()), hint)
    }

    /// A file that is not UTF-8.
    pub fn not_text(path: &Path) -> Self {
        Self::new(
            format!("{} is not UTF-8 text", path.display()),
            "save it as UTF-8",
        )
    }

    /// Makes one error of many; `None` of none.
    pub fn all(errors: impl IntoIterator<Item = Self>) -> Option<Self> {
        let mut errors = errors.into_iter();
        let mut first = errors.next()?;
        first.others.extend(errors);
        Some(first)
    }

    /// Everything that is wrong, one by one.
    pub fn each(&self) -> impl Iterator<Item = Self> + '_ {
        let alone = |error: &Self| Self {
            others: Vec::new(),
            ..error.clone()
        };
        std::iter::once(self).chain(&self.others).map(alone)
    }

    /// What else is wrong, found in the same reading.
    pub fn others(&self) -> &[Self] {
        &self.others
    }

    /// Where it is wrong, if the file is at fault.
    pub fn place(&self) -> Option<&Place> {
        self.place.as_deref()
    }

    /// The offending line, its number in front and a mark below; `None` without a place.
    pub fn excerpt(&self) -> Option<String> {
        let place = self.place.as_ref().filter(|place| !place.text.is_empty())?;
        let number = place.line.to_string();
        let margin = " ".repeat(number.len());
        let mut excerpt = format!("{margin} |\n{number} | {}", place.text);
        if let Some(column) = place.column.filter(|_| place.width > 0) {
            let blanks: String = place
                .text
                .chars()
                .take(column - 1)
                .map(|c| if c == '\t' { '\t' } else { ' ' })
                .collect();
            let marks = "^".repeat(place.width);
            excerpt.extend(["\n", &margin, " | ", &blanks, &marks]);
        }
        Some(excerpt)
    }

    /// What to do about it.
    pub fn hint(&self) -> &str {
        &self.hint
    }
}

/// `FILE:LINE:COLUMN: what is wrong`.
impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{}:{}:", place.file.display(), place.line)?;
            if let Some(column) = place.column {
                write!(f, "{column}:")?;
            }
            f.write_str(" ")?;
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for ConfigError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_points_at_its_place() {
        let source = "[server]\nprot = 80\n";
        let place = Place::new(Path::new("c.toml"), source, &(9..13));
        let error = ConfigError::new("unknown key `prot`", "did you mean `port`?").at(place);
        assert_eq!(error.to_string(), "c.toml:2:1: unknown key `prot`");
        assert_eq!(
            error.excerpt().as_deref(),
            Some("  |\n2 | prot = 80\n  | ^^^^")
        );
    }

    #[test]
    fn odd_spans_do_no_harm() {
        for source in ["", "é", "a = \"é\"\r\nb", "\n\n"] {
            for start in 0..8 {
                for end in 0..8 {
                    let place = Place::new(Path::new("c"), source, &(start..end));
                    let _ = ConfigError::new("x", "y").at(place).excerpt();
                }
            }
        }
    }

    #[test]
    fn a_secret_in_the_line_is_masked() {
        let source = "api_keys = [\"sk-canary-0123456789\" 5]";
        let place = Place::new(Path::new("c.toml"), source, &(35..36));
        let error = ConfigError::new("bad", "fix").at(place);
        assert!(!format!("{error:?}").contains("canary"), "{error:?}");
        assert!(
            error
                .excerpt()
                .is_some_and(|text| text.contains("api_keys"))
        );
    }
}
