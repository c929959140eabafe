//! What waits to be written. Not a queue: rows of one key are merged as they come, so that a slow
//! disk costs neither memory nor the latest word.

use std::collections::{HashMap, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::state::rows::{
    CredentialKey, CredentialRow, JournalRow, SessionRow, UsageKey, UsageSums,
};
use crate::state::{Health, StateError};

/// States are promised on disk within 100 ms; half of that is left for the disk.
const STATE_DELAY: Duration = Duration::from_millis(50);

/// Counts are promised within a second.
const COUNT_DELAY: Duration = Duration::from_millis(500);

/// A disk that stays full is tried again this often at least.
const MAX_RETRY: Duration = Duration::from_secs(30);

/// Entries of the journal that may wait; the disk must be in trouble for a while to get there.
const MAX_WAITING_JOURNAL: usize = 10_000;

/// The waiting rows and those who wait for them.
#[derive(Default)]
pub(super) struct Mailbox {
    inner: Mutex<Inner>,
    /// Tells the writer that something came.
    came: Condvar,
    /// Tells [`Mailbox::flush`] that something was written.
    went: Condvar,
}

#[derive(Default)]
struct Inner {
    batch: Batch,
    due: Option<Instant>,
    /// Counts recordings; `written` follows it.
    recorded: u64,
    written: u64,
    stopping: bool,
    health: Health,
}

/// Rows to write in one transaction.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) credentials: HashMap<CredentialKey, CredentialRow>,
    pub(super) usage: HashMap<UsageKey, UsageSums>,
    pub(super) journal: VecDeque<JournalRow>,
    pub(super) sessions: HashMap<(String, u64), SessionRow>,
}

impl Batch {
    fn is_empty(&self) -> bool {
        self.credentials.is_empty()
            && self.usage.is_empty()
            && self.journal.is_empty()
            && self.sessions.is_empty()
    }

    /// Puts what came later on top of this.
    fn merge(&mut self, later: Self) {
        self.credentials.extend(later.credentials);
        self.sessions.extend(later.sessions);
        self.journal.extend(later.journal);
        for (key, sums) in later.usage {
            *self.usage.entry(key).or_default() += &sums;
        }
    }
}

impl Mailbox {
    pub(super) fn credential(&self, row: CredentialRow) {
        self.record(STATE_DELAY, |inner| {
            inner.batch.credentials.insert(row.key.clone(), row);
        });
    }

    pub(super) fn usage(&self, key: UsageKey, sums: &UsageSums) {
        self.record(COUNT_DELAY, |inner| {
            *inner.batch.usage.entry(key).or_default() += sums;
        });
    }

    pub(super) fn journal(&self, row: JournalRow) {
        self.record(COUNT_DELAY, |inner| {
            inner.batch.journal.push_back(row);
            inner.trim_journal();
        });
    }

    pub(super) fn session(&self, row: SessionRow) {
        self.record(COUNT_DELAY, |inner| {
            let key = (row.provider.clone(), row.session);
            inner.batch.sessions.insert(key, row);
        });
    }

    /// Asks for everything to be written now; `false` if it is not before `patience` ends.
    pub(super) fn flush(&self, patience: Duration) -> bool {
        let mut inner = self.lock();
        let wanted = inner.recorded;
        if !inner.batch.is_empty() {
            inner.due = Some(Instant::now());
            self.came.notify_one();
        }
        let (_guard, waited) = self
            .went
            .wait_timeout_while(inner, patience, |inner| inner.written < wanted)
            .unwrap_or_else(PoisonError::into_inner);
        !waited.timed_out()
    }

    pub(super) fn health(&self) -> Health {
        self.lock().health.clone()
    }

    /// Ends [`Mailbox::serve`] after a last write.
    pub(super) fn stop(&self) {
        self.lock().stopping = true;
        self.came.notify_one();
    }

    /// The writer's loop: hands what is due to `write` until stopped. A batch that cannot be
    /// written is kept and tried again with growing pauses.
    pub(super) fn serve(&self, mut write: impl FnMut(&Batch) -> Result<(), StateError>) {
        let mut pause = STATE_DELAY;
        while let Some((batch, recorded)) = self.next() {
            match write(&batch) {
                Ok(()) => {
                    pause = STATE_DELAY;
                    let mut inner = self.lock();
                    inner.written = recorded;
                    inner.health.failing = None;
                    self.went.notify_all();
                }
                Err(error) => {
                    pause = (pause * 2).min(MAX_RETRY);
                    if self.keep(batch, &error, pause) {
                        return;
                    }
                }
            }
        }
    }

    /// Waits until something is due; `None` when stopped and empty.
    fn next(&self) -> Option<(Batch, u64)> {
        let mut inner = self.lock();
        loop {
            let now = Instant::now();
            match inner.due {
                _ if inner.stopping && inner.batch.is_empty() => return None,
                Some(due) if !inner.stopping && due > now => {
                    inner = self
                        .came
                        .wait_timeout(inner, due - now)
                        .unwrap_or_else(PoisonError::into_inner)
                        .0;
                }
                None if !inner.stopping => {
                    inner = self
                        .came
                        .wait(inner)
                        .unwrap_or_else(PoisonError::into_inner);
                }
                _ => {
                    inner.due = None;
                    return Some((std::mem::take(&mut inner.batch), inner.recorded));
                }
            }
        }
    }

    /// Keeps an unwritten batch below what came meanwhile. `true` if it is time to give up.
    fn keep(&self, batch: Batch, error: &StateError, pause: Duration) -> bool {
        let mut inner = self.lock();
        let later = std::mem::replace(&mut inner.batch, batch);
        inner.batch.merge(later);
        inner.trim_journal();
        inner.due = Some(Instant::now() + pause);
        inner.health.failing = Some(error.to_string());
        inner.stopping
    }

    fn record(&self, delay: Duration, change: impl FnOnce(&mut Inner)) {
        let mut inner = self.lock();
        change(&mut inner);
        inner.recorded += 1;
        // While writing fails, `due` is when it is tried again.
        let due = Instant::now() + delay;
        let is_sooner = inner.due.is_none_or(|set| due < set);
        if is_sooner && (inner.health.failing.is_none() || inner.due.is_none()) {
            inner.due = Some(due);
            self.came.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn trim_journal(&mut self) {
        while self.batch.journal.len() > MAX_WAITING_JOURNAL {
            self.batch.journal.pop_front();
            self.health.journal_dropped += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use super::*;
    use crate::time::Timestamp;

    const PATIENCE: Duration = Duration::from_secs(20);

    fn key() -> UsageKey {
        UsageKey {
            hour: 1,
            provider: "openai".to_owned(),
            model: "m".to_owned(),
            credential: "openai/1".to_owned(),
            fingerprint: "f".to_owned(),
            client: String::new(),
        }
    }

    fn one_request() -> UsageSums {
        UsageSums {
            requests: 1,
            ..UsageSums::default()
        }
    }

    fn journal(at: usize) -> JournalRow {
        JournalRow {
            id: at.to_string(),
            time: Timestamp::default(),
            failed: false,
            value: "{}".to_owned(),
        }
    }

    #[test]
    fn counts_of_one_key_add_up_before_they_are_written() {
        let mailbox = Mailbox::default();
        for _ in 0..1000 {
            mailbox.usage(key(), &one_request());
        }
        let (batch, recorded) = mailbox.next().expect("something is due");
        assert_eq!(recorded, 1000);
        assert_eq!(batch.usage[&key()].requests, 1000);
    }

    #[test]
    fn a_batch_that_fails_is_written_later_with_what_came_meanwhile() {
        let mailbox = Mailbox::default();
        let (told, failed) = mpsc::channel();
        let mut written = 0;
        thread::scope(|scope| {
            let mailbox = &mailbox;
            let writer = scope.spawn(|| {
                let mut tries = 0;
                mailbox.serve(|batch| {
                    tries += 1;
                    if tries <= 2 {
                        told.send(()).expect("the test listens");
                        return Err(StateError::Database("disk full".to_owned()));
                    }
                    written += batch.usage[&key()].requests;
                    Ok(())
                });
            });
            mailbox.usage(key(), &one_request());
            failed.recv().expect("a first try");
            mailbox.usage(key(), &one_request());
            assert!(mailbox.flush(PATIENCE));
            assert_eq!(mailbox.health().failing, None);
            mailbox.stop();
            writer.join().expect("no panic");
        });
        assert_eq!(written, 2);
    }

    #[test]
    fn the_waiting_journal_is_bounded_and_drops_the_oldest() {
        let mailbox = Mailbox::default();
        for at in 0..MAX_WAITING_JOURNAL + 5 {
            mailbox.journal(journal(at));
        }
        assert_eq!(mailbox.health().journal_dropped, 5);
        let (batch, _) = mailbox.next().expect("something is due");
        assert_eq!(batch.journal.front().map(|row| row.id.as_str()), Some("5"));
    }

    #[test]
    fn stopping_writes_what_is_left_and_ends() {
        let mailbox = Mailbox::default();
        mailbox.usage(key(), &one_request());
        mailbox.stop();
        let mut batches = 0;
        mailbox.serve(|_| {
            batches += 1;
            Ok(())
        });
        assert_eq!(batches, 1);
    }

    #[test]
    fn stopping_on_a_broken_disk_ends_all_the_same() {
        let mailbox = Mailbox::default();
        mailbox.usage(key(), &one_request());
        mailbox.stop();
        mailbox.serve(|_| Err(StateError::Database("disk full".to_owned())));
        assert!(mailbox.health().failing.is_some());
    }
}
