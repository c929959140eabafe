//! The request log (`[log]`): a directory for each request, with what the client sent, what went
//! upstream and came back, what the client got, when, and why.
//!
//! Recording takes handles to bytes that are there anyway; one thread of its own cleans them of
//! secrets and writes them down when the request is over. Memory and the thread's share of time are
//! bounded: what does not fit is not logged, and counted. Switched off, all of this is one question
//! a request.

mod queue;
pub mod read;
mod record;
mod redaction;
mod retention;
mod writer;

use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};

pub use crate::providers::redact::Known;
use crate::telemetry::request_log::queue::Queue;
pub use crate::telemetry::request_log::record::{Asked, Recording, Sent, Tap};
pub use crate::telemetry::request_log::redaction::is_secret_header;
use crate::telemetry::request_log::writer::Writer;

/// Where requests are logged, and how long they are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    pub dir: PathBuf,
    /// `[log] retention`.
    pub retention: Duration,
    /// `[log] max_size`, in bytes.
    pub max_bytes: u64,
}

/// The request log of a process; logs nothing until it is switched on.
#[derive(Default)]
pub struct RequestLog {
    running: ArcSwapOption<Running>,
    dropped: Arc<queue::Dropped>,
}

struct Running {
    settings: Settings,
    queue: Arc<Queue>,
    /// The secrets that must not be in it.
    known: Arc<ArcSwap<Known>>,
}

impl RequestLog {
    /// Switches it on, off (`None`) or over. Requests under way meanwhile are not logged.
    pub fn switch(&self, wanted: Option<(Settings, Known)>) {
        let Some((settings, known)) = wanted else {
            self.running.store(None);
            return;
        };
        if let Some(running) = self.running.load_full()
            && running.settings == settings
        {
            running.known.store(Arc::new(known));
            return;
        }
        let running = Running {
            settings,
            queue: Arc::new(Queue::new(Arc::clone(&self.dropped))),
            known: Arc::new(ArcSwap::from_pointee(known)),
        };
        self.running.store(Some(Arc::new(running)));
    }

    /// Begins the record of a request; `None` if requests are not logged, or too many are waiting
    /// to be written already.
    pub fn begin(&self, asked: impl FnOnce() -> Asked) -> Option<Recording> {
        let guard = self.running.load();
        let running = guard.as_ref()?;
        running.ensure_writer();
        if !running.queue.admits() {
            return None;
        }
        Some(Recording::new(Arc::clone(&running.queue), asked()))
    }

    /// Waits until everything that is over is written, at most this long.
    pub fn flush(&self, patience: Duration) {
        if let Some(running) = self.running.load_full() {
            running.queue.flush(patience);
        }
    }

    /// Requests, or parts of them, that were not logged for want of time or memory or disk.
    pub fn dropped(&self) -> u64 {
        self.dropped.count()
    }
}

impl Running {
    /// The thread begins with the first request: most commands send none.
    fn ensure_writer(&self) {
        if !self.queue.take_writer() {
            return;
        }
        let queue = Arc::clone(&self.queue);
        let writer = Writer::new(self.settings.clone(), Arc::clone(&self.known));
        let started = thread::Builder::new()
            .name("request-log".to_owned())
            .spawn(move || queue.serve(writer));
        if let Err(error) = started {
            tracing::warn!("cannot start the writer of the request log: {error}");
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.queue.stop();
    }
}
