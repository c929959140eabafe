//! The log of a server on its way to stderr, by a thread of its own: whoever stops reading it (a
//! pager, a full pipe, a hanging terminal) loses lines, and no request waits.

use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

/// What may wait to be written.
const MAX_BYTES: usize = 1 << 20;

/// How long a line waits for others: a busy server's must not cost a wake-up and a write each. Of
/// twenty thousand lines a second what comes together is half of what a pipe holds, so that the writer
/// does not sleep and wake again for each piece that the reader takes.
const GATHERING: Duration = Duration::from_millis(5);

/// How long the last lines may take to be written when the program ends.
const FLUSH_PATIENCE: Duration = Duration::from_millis(500);

/// The queue of this process's log, for [`flush`].
static QUEUE: OnceLock<Queue> = OnceLock::new();

/// Where log lines go in. Clones are the same queue.
#[derive(Clone, Debug)]
pub(super) struct Queue {
    waiting: Arc<Mutex<Waiting>>,
    /// Wakes the writer.
    bell: SyncSender<()>,
}

/// What the writer takes next.
#[derive(Debug, Default)]
struct Waiting {
    lines: Vec<u8>,
    /// Lines for which there was no room.
    lost: u64,
    /// Who wants to know when all this is written.
    flushed: Vec<SyncSender<()>>,
    /// Whether the writer knows that there is something.
    is_told: bool,
}

impl Queue {
    /// Starts the thread that writes to `target`.
    pub(super) fn start(target: impl Write + Send + 'static) -> Self {
        let (bell, rung) = sync_channel(1);
        let waiting = Arc::new(Mutex::default());
        let taken = Arc::clone(&waiting);
        thread::spawn(move || write_all(&rung, &taken, target));
        let queue = Self { waiting, bell };
        // A second queue of one process is a test's.
        let _ = QUEUE.set(queue.clone());
        queue
    }

    /// Takes a whole line; never waits for its reader.
    pub(super) fn take(&self, line: &[u8]) {
        self.put(|waiting| {
            if waiting.lines.len() + line.len() > MAX_BYTES {
                waiting.lost += 1;
            } else {
                waiting.lines.extend_from_slice(line);
            }
        });
    }

    /// Changes what waits, and sees that the writer comes for it.
    fn put(&self, change: impl FnOnce(&mut Waiting)) {
        let mut waiting = lock(&self.waiting);
        change(&mut waiting);
        let was_told = std::mem::replace(&mut waiting.is_told, true);
        drop(waiting);
        if !was_told {
            // The bell is rung already, or the writer is gone with its process.
            let _ = self.bell.try_send(());
        }
    }

    fn flush(&self, patience: Duration) {
        let (done, written) = sync_channel(1);
        self.put(|waiting| waiting.flushed.push(done));
        let _ = written.recv_timeout(patience);
    }
}

/// Waits a moment for the lines that are still to be written.
pub(super) fn flush() {
    if let Some(queue) = QUEUE.get() {
        queue.flush(FLUSH_PATIENCE);
    }
}

fn lock(waiting: &Mutex<Waiting>) -> MutexGuard<'_, Waiting> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

fn write_all(rung: &Receiver<()>, waiting: &Mutex<Waiting>, mut target: impl Write) {
    let mut spare = Vec::new();
    while rung.recv().is_ok() {
        thread::sleep(GATHERING);
        let fresh = Waiting {
            lines: spare,
            ..Waiting::default()
        };
        let mut taken = std::mem::replace(&mut *lock(waiting), fresh);
        // A stderr that is gone ends the log, not the server.
        let _ = target.write_all(&taken.lines);
        taken.lines.clear();
        spare = taken.lines;
        let lines = taken.lost;
        if lines > 0 {
            tracing::warn!(
                lines,
                "{lines} log lines are lost: nobody read them in time"
            );
            // Whoever waits for all that was said waits for this, too.
            lock(waiting).flushed.append(&mut taken.flushed);
        }
        for done in taken.flushed {
            let _ = done.try_send(());
        }
    }
}

impl Write for &Queue {
    /// Takes a whole line, as `tracing_subscriber` writes them; never fails.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.take(line);
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
        let line = [b'x'; 1024];
        for _ in 0..MAX_BYTES / line.len() * 3 {
            (&queue).write_all(&line).expect("never fails");
        }
        let waiting = lock(&queue.waiting);
        assert!(waiting.lines.len() <= MAX_BYTES);
        // The writer may have taken one load before it was stopped.
        let lost = waiting.lost;
        assert!(lost >= (MAX_BYTES / line.len()) as u64, "{lost}");
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
