//! What a window tells beside its counts against limits: what its requests came to, and the most
//! it ever held. For reports only; no decision hangs on it.

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

use super::class::Totals;

/// Kept with each window of a credential. Times are milliseconds since the epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Record {
    /// The window that `base` belongs to, by when its counts began.
    began_ms: Option<i64>,
    /// The lifetime counts as they were before it.
    base: Totals,
    /// The most requests that were ever counted at once.
    most: u64,
    most_at_ms: Option<i64>,
}

/// The most requests a window ever held, and when it held them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Most {
    pub requests: u64,
    pub at: Timestamp,
}

impl Record {
    /// Takes note of a request that made the window's count `requests`; `totals` do not hold it
    /// yet.
    pub(super) fn note(
        &mut self,
        requests: u64,
        began: Option<Timestamp>,
        totals: &Totals,
        now: Timestamp,
    ) {
        let began = began.map(Timestamp::as_millis);
        if self.began_ms != began {
            (self.began_ms, self.base) = (began, *totals);
        }
        if requests > self.most {
            (self.most, self.most_at_ms) = (requests, Some(now.as_millis()));
        }
    }

    /// What was counted since the window `began`; nothing if no request opened it.
    pub(super) fn counts(&self, began: Option<Timestamp>, totals: &Totals) -> Totals {
        match began.map(Timestamp::as_millis) {
            Some(began) if self.began_ms == Some(began) => totals.since(&self.base, began),
            _ => Totals::default(),
        }
    }

    pub(super) fn most(&self) -> Option<Most> {
        Some(Most {
            requests: self.most,
            at: Timestamp::from_millis(self.most_at_ms?),
        })
    }

    /// The one of two processes' records that has seen more.
    pub(super) fn catch_up(&mut self, other: &Self) {
        let (most, at) = (self.most, self.most_at_ms);
        if other.began_ms > self.began_ms {
            *self = *other;
        }
        if most > self.most {
            (self.most, self.most_at_ms) = (most, at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(requests: u64) -> Totals {
        Totals {
            requests,
            output_tokens: requests * 10,
            last_used_ms: Some(7_000),
            ..Totals::default()
        }
    }

    #[test]
    fn a_window_counts_from_its_own_beginning() {
        let mut record = Record::default();
        let (first, second) = (Timestamp::from_secs(1), Timestamp::from_secs(5));
        record.note(1, Some(first), &after(0), first);
        record.note(2, Some(first), &after(1), first);
        record.note(1, Some(second), &after(2), second);
        let counts = record.counts(Some(second), &after(3));
        assert_eq!((counts.requests, counts.output_tokens), (1, 10));
        assert_eq!(counts.first_used_ms, Some(5_000));
        assert_eq!(record.counts(Some(first), &after(3)), Totals::default());
    }

    #[test]
    fn the_most_outlives_its_window() {
        let mut record = Record::default();
        let (first, second) = (Timestamp::from_secs(1), Timestamp::from_secs(5));
        record.note(9, Some(first), &after(8), first);
        record.note(1, Some(second), &after(9), second);
        let most = Most {
            requests: 9,
            at: first,
        };
        assert_eq!(record.most(), Some(most));
        let mut other = Record::default();
        other.catch_up(&record);
        assert_eq!(other.most(), Some(most));
    }
}
