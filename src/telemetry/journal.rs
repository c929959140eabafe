//! The latest requests with their decision trails. All of them stay in memory for as long as they are
//! among the latest; the state on disk gets as many as a disk can use.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::ids::RequestId;
use crate::state::rows::JournalRow;
#[cfg(feature = "otlp")]
use crate::telemetry::traces::Trace;
use crate::time::Timestamp;

/// Requests that are remembered.
const KEPT: usize = 10_000;

/// Trails of served requests that are written to the state a second. Making text of each would
/// slow a busy server, and the state holds the latest 10,000 anyway.
const MAX_WRITTEN_A_SECOND: u64 = 200;

/// What there is to tell of a finished request. It is put into words when somebody asks.
pub trait Story: fmt::Debug + Send + Sync {
    /// The decision trail as JSON, without secrets.
    fn to_json(&self) -> String;

    /// The `traceparent` header that the request came with.
    #[cfg(feature = "otlp")]
    fn traceparent(&self) -> Option<&str>;

    /// The request as spans.
    #[cfg(feature = "otlp")]
    fn trace(&self) -> Trace;
}

/// The memory of the latest requests.
#[derive(Debug, Default)]
pub struct Journal {
    /// Oldest first.
    latest: Mutex<VecDeque<Entry>>,
    written: Rate,
}

/// A finished request.
#[derive(Clone, Debug)]
pub struct Entry {
    pub id: RequestId,
    pub time: Timestamp,
    pub failed: bool,
    pub story: Arc<dyn Story>,
}

impl Entry {
    /// The request as the state keeps it.
    pub fn row(&self) -> JournalRow {
        JournalRow {
            id: self.id.to_string(),
            time: self.time,
            failed: self.failed,
            value: self.story.to_json(),
        }
    }
}

impl Journal {
    /// Remembers a request. Returns whether it is one to be written down: failed ones always are.
    pub fn note(&self, entry: Entry) -> bool {
        let is_written = entry.failed || self.written.admits(entry.time);
        let mut latest = self.lock();
        let oldest = if latest.len() < KEPT {
            None
        } else {
            latest.pop_front()
        };
        latest.push_back(entry);
        drop(latest);
        // Freeing it is nothing that others should wait for.
        drop(oldest);
        is_written
    }

    /// The request with an id, or the latest whose id begins so.
    pub fn find(&self, id: &str) -> Option<Entry> {
        let digits = u32::try_from(id.len())
            .ok()
            .filter(|digits| (1..=32).contains(digits))?;
        let wanted = u128::from_str_radix(id, 16).ok()?;
        let rest = 128 - 4 * digits;
        let latest = self.lock();
        let found = latest
            .iter()
            .rev()
            .find(|entry| entry.id.0 >> rest == wanted);
        found.cloned()
    }

    /// So many of the latest, newest first.
    pub fn latest(&self, most: usize) -> Vec<Entry> {
        self.lock().iter().rev().take(most).cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Entry>> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many the current second has taken.
#[derive(Debug, Default)]
struct Rate {
    second: AtomicI64,
    taken: AtomicU64,
}

impl Rate {
    fn admits(&self, now: Timestamp) -> bool {
        let second = now.as_millis() / 1000;
        if self.second.swap(second, Ordering::Relaxed) != second {
            self.taken.store(0, Ordering::Relaxed);
        }
        self.taken.fetch_add(1, Ordering::Relaxed) < MAX_WRITTEN_A_SECOND
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    #[derive(Debug)]
    pub(in crate::telemetry) struct Untold;

    impl Story for Untold {
        fn to_json(&self) -> String {
            "{}".to_owned()
        }

        #[cfg(feature = "otlp")]
        fn traceparent(&self) -> Option<&str> {
            None
        }

        #[cfg(feature = "otlp")]
        fn trace(&self) -> Trace {
            Trace {
                id: 1,
                spans: Vec::new(),
            }
        }
    }

    fn entry(id: u128, failed: bool) -> Entry {
        Entry {
            id: RequestId(id),
            time: Timestamp::from_secs(100),
            failed,
            story: Arc::new(Untold),
        }
    }

    #[test]
    fn a_busy_second_is_written_only_so_far_but_every_failure_is() {
        let journal = Journal::default();
        let written = (0..1000).filter(|id| journal.note(entry(*id, false)));
        assert_eq!(written.count(), 200);
        assert!(journal.note(entry(1000, true)));
        let later = Entry {
            time: Timestamp::from_secs(101),
            ..entry(1001, false)
        };
        assert!(journal.note(later));
    }

    #[test]
    fn every_one_of_the_latest_is_remembered_and_no_older_one() {
        let journal = Journal::default();
        for id in 0..=KEPT as u128 {
            journal.note(entry(id, false));
        }
        assert!(journal.find(&RequestId(0).to_string()).is_none());
        for id in [1, 5_000, KEPT as u128] {
            let found = journal.find(&RequestId(id).to_string());
            assert_eq!(found.map(|entry| entry.id), Some(RequestId(id)));
        }
        let latest = journal.latest(2);
        let ids: Vec<u128> = latest.iter().map(|entry| entry.id.0).collect();
        assert_eq!(ids, [KEPT as u128, KEPT as u128 - 1]);
    }

    #[test]
    fn the_beginning_of_an_id_finds_the_latest_that_has_it() {
        let journal = Journal::default();
        for id in [0xabc, 0xabd, 0xfff] {
            journal.note(entry(id << 116, false));
        }
        let found = |id: &str| journal.find(id).map(|entry| entry.id.0 >> 116);
        assert_eq!(found("ab"), Some(0xabd));
        assert_eq!(found("abc"), Some(0xabc));
        assert_eq!(found(&format!("{:032x}", 0xabc_u128 << 116)), Some(0xabc));
        for none in ["", "b", "xyz", "-1", &"0".repeat(33)] {
            assert_eq!(found(none), None, "{none}");
        }
    }
}
