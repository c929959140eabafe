//! States, counts and entries of the journal that wait to be written.

use std::collections::{HashMap, VecDeque};

use crate::state::rows::{
    CredentialKey, CredentialRow, JournalRow, SessionRow, UsageKey, UsageSums,
};
use crate::state::writer::Batch;

/// Entries of the journal that may wait; the disk must be in trouble for a while to get there.
const MAX_WAITING_JOURNAL: usize = 10_000;

/// Rows to write in one transaction.
#[derive(Clone, Debug, Default)]
pub(super) struct Unwritten {
    pub(super) credentials: HashMap<CredentialKey, CredentialRow>,
    pub(super) usage: HashMap<UsageKey, UsageSums>,
    pub(super) journal: VecDeque<JournalRow>,
    pub(super) sessions: HashMap<(String, u64), SessionRow>,
}

impl Unwritten {
    /// Puts a state in the place of what was there.
    pub(super) fn credential(&mut self, row: CredentialRow) {
        self.credentials.insert(row.key.clone(), row);
    }

    /// Adds to the counts of one key.
    pub(super) fn usage(&mut self, key: UsageKey, sums: &UsageSums) {
        *self.usage.entry(key).or_default() += sums;
    }

    /// Appends to the journal, and returns how many of the oldest entries had to go for it.
    pub(super) fn journal(&mut self, row: JournalRow) -> usize {
        self.journal.push_back(row);
        let excess = self.journal.len().saturating_sub(MAX_WAITING_JOURNAL);
        self.journal.drain(..excess).count()
    }

    /// Puts a session in the place of what was there.
    pub(super) fn session(&mut self, row: SessionRow) {
        let key = (row.provider.clone(), row.session);
        self.sessions.insert(key, row);
    }
}

impl Batch for Unwritten {
    fn is_empty(&self) -> bool {
        self.credentials.is_empty()
            && self.usage.is_empty()
            && self.journal.is_empty()
            && self.sessions.is_empty()
    }

    fn merge(&mut self, later: Self) {
        self.credentials.extend(later.credentials);
        self.sessions.extend(later.sessions);
        self.journal.extend(later.journal);
        for (key, sums) in later.usage {
            self.usage(key, &sums);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Timestamp;

    fn journal(at: usize) -> JournalRow {
        JournalRow {
            id: at.to_string(),
            time: Timestamp::default(),
            failed: false,
            value: "{}".to_owned(),
        }
    }

    #[test]
    fn counts_of_one_key_add_up_whether_they_failed_to_be_written_or_not() {
        let key = UsageKey {
            hour: 1,
            provider: "openai".to_owned(),
            model: "m".to_owned(),
            credential: "openai/1".to_owned(),
            fingerprint: "f".to_owned(),
            client: String::new(),
        };
        let one_request = UsageSums {
            requests: 1,
            ..UsageSums::default()
        };
        let mut failed = Unwritten::default();
        failed.usage(key.clone(), &one_request);
        failed.usage(key.clone(), &one_request);
        let mut later = Unwritten::default();
        later.usage(key.clone(), &one_request);
        failed.merge(later);
        assert_eq!(failed.usage[&key].requests, 3);
    }

    #[test]
    fn the_waiting_journal_is_bounded_and_drops_the_oldest() {
        let mut waiting = Unwritten::default();
        let dropped = (0..MAX_WAITING_JOURNAL + 5).map(|at| waiting.journal(journal(at)));
        assert_eq!(dropped.sum::<usize>(), 5);
        assert_eq!(
            waiting.journal.front().map(|row| row.id.as_str()),
            Some("5")
        );
    }
}
