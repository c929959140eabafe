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

/// Bytes held by requests under way and waiting ones.
const MAX_HELD_BYTES: usize = 64 << 20;

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
    held: AtomicUsize,
    waiting: AtomicUsize,
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
            has_writer: AtomicBool::new(false),
            dropped,
        }
    }

    /// Whether another request may be recorded; one that may not is counted.
    pub(super) fn admits(&self) -> bool {
        let admitted = self.waiting.load(Ordering::Relaxed) < MAX_WAITING
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

    /// Takes a request that is over.
    pub(super) fn push(&self, record: Record) {
        let mut inner = self.lock();
        if inner.is_stopping {
            self.dropped.silently();
            return;
        }
        self.waiting.fetch_add(1, Ordering::Relaxed);
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
            self.held.fetch_sub(record.held, Ordering::Relaxed);
            drop(record);
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
