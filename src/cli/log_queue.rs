//! The log of a server on its way to stderr, by a thread of its own: whoever stops reading it (a
//! pager, a full pipe, a hanging terminal) loses lines, and no request waits.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

/// Lines that may wait to be written; at most a few MiB.
const MAX_LINES: usize = 4096;

/// Lines that are written in one go.
const BATCH: usize = 256;

/// How long a line waits for others: a busy server's must not cost a wake-up and a write each.
const GATHERING: Duration = Duration::from_millis(10);

/// How long the last lines may take to be written when the program ends.
const FLUSH_PATIENCE: Duration = Duration::from_millis(500);

/// The queue of this process's log, for [`flush`].
static QUEUE: OnceLock<Queue> = OnceLock::new();

/// Where log lines go in. Clones are the same queue.
#[derive(Clone, Debug)]
pub(super) struct Queue {
    lines: SyncSender<Entry>,
    lost: Arc<AtomicU64>,
}

#[derive(Debug)]
enum Entry {
    /// Asks for a word when all before it is written.
    Flush(SyncSender<()>),
    Line(Vec<u8>),
}

impl Queue {
    /// Starts the thread that writes to `target`.
    pub(super) fn start(target: impl Write + Send + 'static) -> Self {
        let (lines, waiting) = sync_channel(MAX_LINES);
        let lost = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&lost);
        thread::spawn(move || write_all(&waiting, target, &counter));
        let queue = Self { lines, lost };
        // A second queue of one process is a test's.
        let _ = QUEUE.set(queue.clone());
        queue
    }

    fn flush(&self, patience: Duration) {
        let (done, written) = sync_channel(1);
        // Of a queue that is full nobody reads.
        if self.lines.try_send(Entry::Flush(done)).is_ok() {
            let _ = written.recv_timeout(patience);
        }
    }
}

/// Waits a moment for the lines that are still to be written.
pub(super) fn flush() {
    if let Some(queue) = QUEUE.get() {
        queue.flush(FLUSH_PATIENCE);
    }
}

fn write_all(waiting: &Receiver<Entry>, mut target: impl Write, lost: &AtomicU64) {
    while let Ok(first) = waiting.recv() {
        thread::sleep(GATHERING);
        let (mut lines, mut flushed) = (Vec::new(), Vec::new());
        let others = waiting.try_iter().take(BATCH - 1);
        for entry in std::iter::once(first).chain(others) {
            match entry {
                Entry::Line(line) => lines.extend_from_slice(&line),
                Entry::Flush(done) => flushed.push(done),
            }
        }
        // A stderr that is gone ends the log, not the server.
        let _ = target.write_all(&lines);
        for done in flushed {
            let _ = done.try_send(());
        }
        let lines = lost.swap(0, Ordering::Relaxed);
        if lines > 0 {
            tracing::warn!(
                lines,
                "{lines} log lines are lost: nobody read them in time"
            );
        }
    }
}

impl Write for &Queue {
    /// Takes a whole line, as `tracing_subscriber` writes them; never fails and never waits.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.lines.try_send(Entry::Line(line.to_vec())).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Queue {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> Self::Writer {
        self
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// A reader that takes nothing before it is told to.
    #[derive(Clone, Default)]
    struct Stopped(Arc<Mutex<Vec<u8>>>);

    impl Write for Stopped {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut taken = self.0.lock().expect("no panic");
            taken.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_for_a_reader_that_stopped_are_counted_and_nobody_waits() {
        let reader = Stopped::default();
        let queue = Queue::start(reader.clone());
        let _stopped = reader.0.lock().expect("no panic");
        for _ in 0..MAX_LINES * 2 {
            (&queue).write_all(b"line\n").expect("never fails");
        }
        // Some may be in the writer's hands.
        let lost = queue.lost.load(Ordering::Relaxed);
        assert!(lost >= (MAX_LINES - BATCH) as u64, "{lost}");
    }

    #[test]
    fn a_flush_waits_for_what_was_logged_before() {
        let reader = Stopped::default();
        let queue = Queue::start(reader.clone());
        (&queue).write_all(b"last words\n").expect("never fails");
        queue.flush(Duration::from_mins(1));
        assert_eq!(&reader.0.lock().expect("no panic")[..], b"last words\n");
    }
}
