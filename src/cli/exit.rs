//! How the program ends: exit codes, and errors of one sentence with one hint.

use std::fmt;
use std::io;
use std::process::ExitCode;

/// Why a command did not end well.
///
/// Shown as `error: SENTENCE`, an optional excerpt (the line of a config file), and `hint: …`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    kind: Kind,
    sentence: String,
    excerpt: Option<String>,
    hint: String,
}

/// What an exit code stands for.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub enum Kind {
    /// The code of the program that was run for the user (`llmproxy run`), passed through.
    Child(u8),
    /// The reader of our output went away (`| head`): a quiet exit 0.
    ClosedPipe,
    /// The operation failed: 1.
    Failed,
    /// Ctrl-C: 130.
    Interrupted,
    /// No usable credential for what was asked: 3.
    NoCredential,
    /// Wrong usage, or a config file that does not parse or validate: 2.
    Usage,
}

impl Kind {
    /// The process's exit code.
    pub const fn code(self) -> u8 {
        match self {
            Self::Child(code) => code,
            Self::ClosedPipe => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::NoCredential => 3,
            Self::Interrupted => 130,
        }
    }
}

impl Failure {
    /// The operation failed: a provider refused, a key is dead, nothing matched.
    pub fn failed(sentence: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(Kind::Failed, sentence, hint)
    }

    /// Wrong usage or a bad config file.
    pub fn usage(sentence: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(Kind::Usage, sentence, hint)
    }

    /// No usable credential for what was asked.
    pub fn no_credential(sentence: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(Kind::NoCredential, sentence, hint)
    }

    /// The user pressed Ctrl-C. Nothing is printed: the user knows.
    pub fn interrupted() -> Self {
        Self::reported(Kind::Interrupted)
    }

    /// Ends with the kind's code and prints nothing: the output already told the story.
    pub fn reported(kind: Kind) -> Self {
        Self::new(kind, "", "")
    }

    /// Adds lines to show between the sentence and the hint. They must hold no secret.
    #[must_use]
    pub fn with_excerpt(mut self, excerpt: impl Into<String>) -> Self {
        self.excerpt = Some(excerpt.into());
        self
    }

    /// What the exit code says.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The exit code for the shell.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.kind.code())
    }

    /// `true` if there is nothing to print.
    pub fn is_silent(&self) -> bool {
        self.sentence.is_empty()
    }

    /// The sentence, without `error:` in front.
    pub fn sentence(&self) -> &str {
        &self.sentence
    }

    /// The lines to show below the sentence.
    pub fn excerpt(&self) -> Option<&str> {
        self.excerpt.as_deref()
    }

    /// What to do about it, without `hint:` in front.
    pub fn hint(&self) -> &str {
        &self.hint
    }

    /// What a failed write to stdout means.
    pub(super) fn from_write(error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::reported(Kind::ClosedPipe);
        }
        Self::failed(
            format!("cannot write to stdout: {error}"),
            "check the file or program that stdout goes to",
        )
    }

    fn new(kind: Kind, sentence: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            kind,
            sentence: sentence.into(),
            excerpt: None,
            hint: hint.into(),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence)
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_the_code_of_the_contract() {
        for (kind, code) in [
            (Kind::Child(42), 42),
            (Kind::ClosedPipe, 0),
            (Kind::Failed, 1),
            (Kind::Usage, 2),
            (Kind::NoCredential, 3),
            (Kind::Interrupted, 130),
        ] {
            assert_eq!(kind.code(), code, "{kind:?}");
        }
    }

    #[test]
    fn a_reader_that_left_is_no_error() {
        let gone = io::Error::from(io::ErrorKind::BrokenPipe);
        assert_eq!(Failure::from_write(&gone).kind(), Kind::ClosedPipe);
        let full = io::Error::from(io::ErrorKind::StorageFull);
        assert_eq!(Failure::from_write(&full).kind(), Kind::Failed);
    }
}
