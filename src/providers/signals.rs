//! Words and codes by which vendors say what went wrong, as data.
//!
//! Facts read 2026-11-22 in the vendors' documentation and SDKs; a row a fact. They are held
//! against `error.message`, `code` and `type` only, never against echoed request text.

use crate::providers::verdict::Verdict;

/// One sign and what it means. The first that matches counts.
#[derive(Clone, Copy, Debug)]
pub struct Signal {
    /// Only with this HTTP status; `None`: with any.
    pub status: Option<u16>,
    pub sign: Sign,
    pub verdict: Verdict,
    pub reset: Reset,
}

/// What to look at.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub enum Sign {
    /// The error's code, type or status word is this, whatever the case.
    Code(&'static str),
    /// The error's message, in lower case, holds this.
    Says(&'static str),
}

/// When a limit ends.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub enum Reset {
    /// When the answer says, else at midnight in China (UTC+8).
    ChinaMidnight,
    /// On the first of next month, 00:00 UTC, whatever the answer says.
    NextMonth,
    /// At midnight in California, whatever the answer says: Google sends a short wait beside a
    /// spent daily quota.
    PacificMidnight,
    /// When the answer says, if it does.
    Stated,
    /// When the answer says, else at 00:00 UTC.
    UtcMidnight,
}

impl Signal {
    /// A code, type or status word, with any HTTP status.
    pub const fn code(code: &'static str, verdict: Verdict) -> Self {
        Self {
            status: None,
            sign: Sign::Code(code),
            verdict,
            reset: Reset::Stated,
        }
    }

    /// Words of the message in lower case, with this HTTP status.
    pub const fn says(status: u16, words: &'static str, verdict: Verdict) -> Self {
        Self {
            status: Some(status),
            sign: Sign::Says(words),
            verdict,
            reset: Reset::Stated,
        }
    }

    /// This HTTP status, whatever the error says.
    pub const fn status(status: u16, verdict: Verdict) -> Self {
        Self::says(status, "", verdict)
    }

    /// Only with this HTTP status.
    #[must_use]
    pub const fn on(mut self, status: u16) -> Self {
        self.status = Some(status);
        self
    }

    /// Ends then.
    #[must_use]
    pub const fn until(mut self, reset: Reset) -> Self {
        self.reset = reset;
        self
    }

    /// `true` if an error with this status, these codes and this lower-case message shows the sign.
    pub(super) fn matches(&self, status: u16, codes: &[&str], message: &str) -> bool {
        if self.status.is_some_and(|wanted| wanted != status) {
            return false;
        }
        match self.sign {
            Sign::Code(code) => codes.iter().any(|seen| seen.eq_ignore_ascii_case(code)),
            Sign::Says(words) => message.contains(words),
        }
    }
}
