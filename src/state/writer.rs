//! One thread that writes, and what waits for it. Not a queue: changes are merged as they come, so
//! that a slow disk costs neither memory nor the latest word. Recording never waits and never fails.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::state::StateError;
use crate::state::pace::Pace;

/// After a failed write the next one waits for twice this, and twice as long each time, …
const FIRST_RETRY: Duration = Duration::from_millis(50);

/// … but a disk that stays full is tried again this often at least.
const MAX_RETRY: Duration = Duration::from_secs(30);

/// A writer that has nothing to write for so long is told that it is idle.
const IDLE: Duration = Duration::from_mins(10);

/// Changes that are written together.
pub(super) trait Batch: Clone + Default + Send + Sync + 'static {
    /// Whether there is nothing to write.
    fn is_empty(&self) -> bool;

    /// Puts what came later on top of this.
    fn merge(&mut self, later: Self);
}

/// How soon a change is to be written.
#[derive(Clone, Copy, Debug)]
pub(super) enum Haste {
    /// At once after a quiet while, under load together with others: see [`Pace`].
    Paced,
    /// After this time, or sooner if something else is written.
    Within(Duration),
}

/// A writer's handle. Dropping it waits until what is left is written, or could not be.
#[derive(Debug)]
pub(super) struct Writer<B> {
    shared: Arc<Shared<B>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared<B> {
    inner: Mutex<Inner<B>>,
    /// Tells the thread that something came.
    came: Condvar,
    /// Tells [`Writer::flush`] that something was written.
    went: Condvar,
}

#[derive(Debug, Default)]
struct Inner<B> {
    waiting: B,
    /// What is being written.
    in_hand: Arc<B>,
    due: Option<Instant>,
    pace: Pace,
    /// Counts recordings; `written` follows it.
    recorded: u64,
    written: u64,
    is_stopping: bool,
    /// Why the last write failed.
    failing: Option<String>,
}

impl<B: Batch> Writer<B> {
    /// Starts the thread. It hands to `write` what is due, and calls `idle` now and then while
    /// nothing is. A batch that cannot be written is kept and tried again with growing pauses.
    pub(super) fn spawn(
        name: &str,
        write: impl FnMut(&B) -> Result<(), StateError> + Send + 'static,
        idle: impl FnMut() + Send + 'static,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let work = {
            let shared = Arc::clone(&shared);
            move || shared.serve(write, idle)
        };
        let thread = thread::Builder::new().name(name.to_owned()).spawn(work)?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Records a change, to be written with this haste unless writing fails just now.
    pub(super) fn record(&self, haste: Haste, change: impl FnOnce(&mut B)) {
        let mut inner = self.shared.lock();
        change(&mut inner.waiting);
        inner.recorded += 1;
        // While writing fails, `due` is when it is tried again.
        let now = Instant::now();
        let due = match haste {
            Haste::Paced => inner.pace.due(now),
            Haste::Within(delay) => now + delay,
        };
        let is_sooner = inner.due.is_none_or(|set| due < set);
        if is_sooner && (inner.failing.is_none() || inner.due.is_none()) {
            inner.due = Some(due);
            self.shared.came.notify_one();
        }
    }

    /// Looks for something that is not written yet: the latest word on it first.
    pub(super) fn find<T>(&self, look: impl Fn(&B) -> Option<T>) -> Option<T> {
        let inner = self.shared.lock();
        look(&inner.waiting).or_else(|| look(&inner.in_hand))
    }

    /// Asks for everything to be written now; `false` if it is not before `patience` ends.
    pub(super) fn flush(&self, patience: Duration) -> bool {
        let mut inner = self.shared.lock();
        let wanted = inner.recorded;
        if !inner.waiting.is_empty() {
            inner.due = Some(Instant::now());
            self.shared.came.notify_one();
        }
        let (_guard, waited) = self
            .shared
            .went
            .wait_timeout_while(inner, patience, |inner| inner.written < wanted)
            .unwrap_or_else(PoisonError::into_inner);
        !waited.timed_out()
    }

    /// Why the last write failed; `None` when all is well.
    pub(super) fn failing(&self) -> Option<String> {
        self.shared.lock().failing.clone()
    }
}

impl<B> Drop for Writer<B> {
    fn drop(&mut self) {
        self.shared.lock().is_stopping = true;
        self.shared.came.notify_one();
        if let Some(thread) = self.thread.take() {
            // A writer that panicked has said so; there is nothing left to write.
            let _ = thread.join();
        }
    }
}

impl<B> Shared<B> {
    fn lock(&self) -> MutexGuard<'_, Inner<B>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<B: Batch> Shared<B> {
    /// The thread's loop, until it is to stop and has nothing left, or cannot write that.
    fn serve(&self, mut write: impl FnMut(&B) -> Result<(), StateError>, mut idle: impl FnMut()) {
        let mut pause = FIRST_RETRY;
        while let Some((batch, recorded)) = self.next(&mut idle) {
            let written = write(&batch);
            drop(batch);
            let mut inner = self.lock();
            let in_hand = std::mem::take(&mut inner.in_hand);
            match written {
                Ok(()) => {
                    pause = FIRST_RETRY;
                    inner.written = recorded;
                    inner.failing = None;
                    self.went.notify_all();
                }
                Err(error) => {
                    pause = (pause * 2).min(MAX_RETRY);
                    let later =
                        std::mem::replace(&mut inner.waiting, Arc::unwrap_or_clone(in_hand));
                    inner.waiting.merge(later);
                    inner.due = Some(Instant::now() + pause);
                    inner.failing = Some(error.to_string());
                    if inner.is_stopping {
                        return;
                    }
                }
            }
        }
    }

    /// Waits until something is due; `None` when it is to stop and nothing is left.
    fn next(&self, idle: &mut impl FnMut()) -> Option<(Arc<B>, u64)> {
        let mut inner = self.lock();
        let mut busy = Instant::now();
        loop {
            let now = Instant::now();
            let pause = match inner.due {
                _ if inner.is_stopping && inner.waiting.is_empty() => return None,
                Some(due) if !inner.is_stopping && due > now => due - now,
                None if !inner.is_stopping && now - busy < IDLE => IDLE,
                None if !inner.is_stopping => {
                    drop(inner);
                    idle();
                    inner = self.lock();
                    busy = now;
                    continue;
                }
                _ => {
                    inner.due = None;
                    inner.pace.wrote(now);
                    inner.in_hand = Arc::new(std::mem::take(&mut inner.waiting));
                    return Some((Arc::clone(&inner.in_hand), inner.recorded));
                }
            };
            let waited = self.came.wait_timeout(inner, pause);
            inner = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    const LATE: Haste = Haste::Within(PATIENCE);

    const NOW: Haste = Haste::Within(Duration::ZERO);

    /// A sum of what was recorded.
    #[derive(Clone, Debug, Default)]
    struct Sum(u64);

    impl Batch for Sum {
        fn is_empty(&self) -> bool {
            self.0 == 0
        }

        fn merge(&mut self, later: Self) {
            self.0 += later.0;
        }
    }

    fn full() -> StateError {
        StateError::Database("disk full".to_owned())
    }

    /// A writer that tells of each batch and is told how it went, and both ends of that.
    fn told() -> (
        Writer<Sum>,
        mpsc::Receiver<u64>,
        mpsc::Sender<Result<(), StateError>>,
    ) {
        let (tell, batches) = mpsc::channel();
        let (answer, answers) = mpsc::channel();
        let write = move |sum: &Sum| {
            tell.send(sum.0).expect("the test listens");
            answers.recv().expect("the test answers")
        };
        let writer = Writer::spawn("test", write, || {}).expect("a thread");
        (writer, batches, answer)
    }

    #[test]
    fn what_is_recorded_before_it_is_due_is_written_together() {
        let (writer, batches, answer) = told();
        for _ in 0..1000 {
            writer.record(LATE, |sum| sum.0 += 1);
        }
        answer.send(Ok(())).expect("it listens");
        assert!(writer.flush(PATIENCE));
        assert_eq!(batches.recv(), Ok(1000));
    }

    #[test]
    fn a_paced_change_takes_what_waits_longer_along_and_is_not_kept_waiting_by_it() {
        let (writer, batches, answer) = told();
        writer.record(LATE, |sum| sum.0 += 1);
        writer.record(Haste::Paced, |sum| sum.0 += 1);
        answer.send(Ok(())).expect("it listens");
        assert_eq!(batches.recv_timeout(PATIENCE / 2), Ok(2));
    }

    #[test]
    fn a_batch_that_fails_is_written_later_with_what_came_meanwhile() {
        let (writer, batches, answer) = told();
        writer.record(NOW, |sum| sum.0 += 1);
        assert_eq!(batches.recv(), Ok(1));
        writer.record(NOW, |sum| sum.0 += 1);
        answer.send(Err(full())).expect("it listens");
        answer.send(Ok(())).expect("it listens");
        assert!(writer.flush(PATIENCE));
        assert_eq!(batches.recv(), Ok(2));
        assert_eq!(writer.failing(), None);
    }

    #[test]
    fn what_is_being_written_is_found_beneath_what_came_later() {
        let (writer, batches, answer) = told();
        let look = |sum: &Sum| Some(sum.0).filter(|sum| *sum > 0);
        writer.record(NOW, |sum| sum.0 += 1);
        assert_eq!(batches.recv(), Ok(1));
        assert_eq!(writer.find(look), Some(1));
        writer.record(LATE, |sum| sum.0 += 5);
        assert_eq!(writer.find(look), Some(5));
        answer.send(Ok(())).expect("it listens");
        answer.send(Ok(())).expect("it listens");
        assert!(writer.flush(PATIENCE));
        assert_eq!(writer.find(look), None);
    }

    #[test]
    fn stopping_writes_what_is_left_and_ends() {
        let (writer, batches, answer) = told();
        writer.record(LATE, |sum| sum.0 += 1);
        answer.send(Ok(())).expect("it listens");
        drop(writer);
        assert_eq!(batches.iter().collect::<Vec<_>>(), [1]);
    }

    #[test]
    fn stopping_on_a_broken_disk_ends_all_the_same() {
        let (writer, batches, answer) = told();
        writer.record(LATE, |sum| sum.0 += 1);
        answer.send(Err(full())).expect("it listens");
        drop(writer);
        assert_eq!(batches.iter().collect::<Vec<_>>(), [1]);
    }
}
