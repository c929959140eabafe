//! Finished requests on their way to the disk: bounded in number and bytes, written by one thread
//! that leaves the processor to the requests.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::telemetry::request_log::record::Record;
use crate::telemetry::request_log::writer::Writer;

/// Requests that may wait.
const MAX_WAITING: usize = 1024;

/// Bytes of requests that wait: hundreds of ordinary ones. A server whose load begins all at once fills
/// this within a second, and the writer is minutes behind then.
const MAX_WAITING_BYTES: usize = 8 << 20;

/// Bytes held for requests under way. Most are the bodies that the gateway holds meanwhile anyway.
const MAX_HELD_BYTES: usize = 32 << 20;

/// What a request costs beside its bodies: four heads, a trail, lists.
const RECORD_BYTES: usize = 8 << 10;

/// The writer rests so many times as long as it works: a busy server loses a sixtieth of one core to
/// it at most. Fifty small requests a second go through all the same.
const REST: u32 = 59;

/// How often old requests are looked for while there is nothing to write.
const TIDY_EVERY: Duration = Duration::from_mins(10);

/// What was not logged.
#[derive(Debug, Default)]
pub(super) struct Dropped {
    count: AtomicU64,
    is_said: AtomicBool,
}

impl Dropped {
    pub(super) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Counts one, and says so the first time.
    pub(super) fn one_more(&self) {
        self.silently();
        if !self.is_said.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "more requests than the request log can write: they are served, but not all are \
                 logged (llmproxy_request_log_dropped_total counts those that are not)"
            );
        }
    }

    /// Counts one whose reason was said.
    pub(super) fn silently(&self) {
        self.count.fetch_add(1, Ordering::Relaxed);
    }
}

/// The queue between requests and the writer.
pub(super) struct Queue {
    inner: Mutex<Inner>,
    /// Something came, or somebody waits for the end.
    came: Condvar,
    /// All is written.
    went: Condvar,
    /// Bytes of requests under way.
    held: AtomicUsize,
    waiting: AtomicUsize,
    /// Bytes of requests that wait, and of the one that is being written.
    waiting_bytes: AtomicUsize,
    has_writer: AtomicBool,
    dropped: Arc<Dropped>,
}

#[derive(Default)]
struct Inner {
    records: VecDeque<Record>,
    /// One is being written.
    is_busy: bool,
    /// How many wait for the end: nobody rests meanwhile.
    flushing: usize,
    is_stopping: bool,
}

/// What the writer is to do next.
enum Work {
    Stop,
    Tidy,
    Write(Box<Record>),
}

impl Queue {
    pub(super) fn new(dropped: Arc<Dropped>) -> Self {
        Self {
            inner: Mutex::default(),
            came: Condvar::new(),
            went: Condvar::new(),
            held: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            waiting_bytes: AtomicUsize::new(0),
            has_writer: AtomicBool::new(false),
            dropped,
        }
    }

    /// Whether another request may be recorded; one that may not is counted.
    pub(super) fn admits(&self) -> bool {
        let admitted = self.waiting.load(Ordering::Relaxed) < MAX_WAITING
            && self.waiting_bytes.load(Ordering::Relaxed) < MAX_WAITING_BYTES
            && self.held.load(Ordering::Relaxed) < MAX_HELD_BYTES;
        if !admitted {
            self.dropped.one_more();
        }
        admitted
    }

    /// Reserves memory for a part of a request; `false` if there is none left.
    pub(super) fn hold(&self, bytes: usize) -> bool {
        if self.held.fetch_add(bytes, Ordering::Relaxed) + bytes <= MAX_HELD_BYTES {
            return true;
        }
        self.held.fetch_sub(bytes, Ordering::Relaxed);
        self.dropped.one_more();
        false
    }

    /// Takes a request that is over; one for which there is no room is counted. One that is larger
    /// than all that may wait has room where nothing waits.
    pub(super) fn push(&self, record: Record) {
        self.held.fetch_sub(record.held, Ordering::Relaxed);
        let mut inner = self.lock();
        if inner.is_stopping {
            self.dropped.silently();
            return;
        }
        let bytes = bytes_of(&record);
        let waiting = self.waiting_bytes.load(Ordering::Relaxed);
        let is_full = waiting + bytes > MAX_WAITING_BYTES || inner.records.len() >= MAX_WAITING;
        if is_full && !inner.records.is_empty() {
            drop(inner);
            self.dropped.one_more();
            return;
        }
        self.waiting.fetch_add(1, Ordering::Relaxed);
        self.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
        inner.records.push_back(record);
        self.came.notify_all();
    }

    /// `true` for the first who asks: the writer is to be started by them.
    pub(super) fn take_writer(&self) -> bool {
        !self.has_writer.load(Ordering::Relaxed) && !self.has_writer.swap(true, Ordering::Relaxed)
    }

    /// Ends the writer once it has written what is there.
    pub(super) fn stop(&self) {
        self.lock().is_stopping = true;
        self.came.notify_all();
    }

    /// Waits until nothing is left to write.
    pub(super) fn flush(&self, patience: Duration) {
        let mut inner = self.lock();
        inner.flushing += 1;
        self.came.notify_all();
        let (mut inner, _) = self
            .went
            .wait_timeout_while(inner, patience, |inner| {
                inner.is_busy || !inner.records.is_empty()
            })
            .unwrap_or_else(PoisonError::into_inner);
        inner.flushing -= 1;
    }

    /// The writer's loop.
    pub(super) fn serve(&self, mut writer: Writer) {
        writer.tidy();
        let mut rest_until = Instant::now();
        loop {
            let record = match self.next(rest_until) {
                Work::Stop => return,
                Work::Tidy => {
                    writer.tidy();
                    continue;
                }
                Work::Write(record) => record,
            };
            let begun = Instant::now();
            if !writer.write(&record) {
                self.dropped.silently();
            }
            let bytes = bytes_of(&record);
            drop(record);
            self.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
            let done = Instant::now();
            rest_until = done + (done - begun) * REST;
            self.lock().is_busy = false;
            self.went.notify_all();
        }
    }

    fn next(&self, rest_until: Instant) -> Work {
        let mut inner = self.lock();
        loop {
            let rest = rest_until.saturating_duration_since(Instant::now());
            let may_rest = inner.flushing == 0 && !inner.is_stopping && !rest.is_zero();
            if inner.records.is_empty() && inner.is_stopping {
                return Work::Stop;
            }
            let wait = match (inner.records.is_empty(), may_rest) {
                (false, false) => break,
                (false, true) => rest,
                (true, _) => TIDY_EVERY,
            };
            let is_idle = inner.records.is_empty();
            let (again, waited) = self
                .came
                .wait_timeout(inner, wait)
                .unwrap_or_else(PoisonError::into_inner);
            inner = again;
            if is_idle && waited.timed_out() {
                return Work::Tidy;
            }
        }
        inner.is_busy = true;
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        match inner.records.pop_front() {
            Some(record) => Work::Write(Box::new(record)),
            None => Work::Tidy,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn bytes_of(record: &Record) -> usize {
    RECORD_BYTES + record.held + record.trail.as_ref().map_or(0, String::len)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::HeaderMap;

    use super::*;
    use crate::dialects::{Dialect, Operation};
    use crate::ids::RequestId;
    use crate::telemetry::request_log::record::{Asked, Recording};

    /// A queue that nobody writes.
    fn queue() -> (Arc<Queue>, Arc<Dropped>) {
        let dropped = Arc::new(Dropped::default());
        (Arc::new(Queue::new(Arc::clone(&dropped))), dropped)
    }

    fn asked(bytes: usize) -> Asked {
        Asked {
            id: RequestId::random(),
            client: "anyone".into(),
            dialect: Dialect::OpenAiChat,
            operation: Operation::Chat,
            headers: HeaderMap::new(),
            body: Bytes::from(vec![b'x'; bytes]),
            path_model: None,
            path_stream: None,
            batch: false,
            array_stream: false,
            strict: false,
        }
    }

    fn waiting(queue: &Queue) -> usize {
        let inner = queue.lock();
        inner.records.iter().map(bytes_of).sum()
    }

    #[test]
    fn what_waits_is_bounded_in_bytes_and_the_rest_is_counted() {
        let (queue, dropped) = queue();
        let body = 100 << 10;
        // All begin before the first is over, as when a load begins.
        let all = 200;
        let under_way: Vec<_> = (0..all)
            .map(|_| Recording::new(Arc::clone(&queue), asked(body)))
            .collect();
        assert_eq!(dropped.count(), 0, "there is room for them under way");
        drop(under_way);
        assert!(waiting(&queue) <= MAX_WAITING_BYTES);
        let kept = queue.lock().records.len();
        assert!(
            kept * (body + RECORD_BYTES) > MAX_WAITING_BYTES - 2 * body,
            "{kept}"
        );
        assert_eq!(kept as u64 + dropped.count(), all);
        assert_eq!(queue.held.load(Ordering::Relaxed), 0);
        drop(Recording::new(
            Arc::clone(&queue),
            asked(MAX_WAITING_BYTES / 2),
        ));
        assert_eq!(queue.lock().records.len(), kept);
    }

    #[test]
    fn small_requests_are_bounded_too() {
        let (queue, dropped) = queue();
        for _ in 0..2 * MAX_WAITING {
            if queue.admits() {
                drop(Recording::new(Arc::clone(&queue), asked(10)));
            }
        }
        assert!(waiting(&queue) <= MAX_WAITING_BYTES);
        let kept = queue.lock().records.len();
        assert!(kept <= MAX_WAITING && kept > MAX_WAITING / 2, "{kept}");
        assert_eq!(kept as u64 + dropped.count(), 2 * MAX_WAITING as u64);
    }

    #[test]
    fn one_that_is_larger_than_all_that_may_wait_has_room_where_nothing_waits() {
        let (queue, dropped) = queue();
        drop(Recording::new(Arc::clone(&queue), asked(MAX_WAITING_BYTES)));
        assert_eq!((queue.lock().records.len(), dropped.count()), (1, 0));
        assert!(!queue.admits());
    }
}
