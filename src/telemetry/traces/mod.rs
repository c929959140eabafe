//! Finished requests as OpenTelemetry traces: who is traced, the spans, and their form on the wire.
//! Sending them is the gateway's (`gateway::otlp`). Cargo feature `otlp`.

pub mod parent;
pub mod settings;
pub mod wire;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use tokio::sync::mpsc;

use crate::ids::RequestId;
use crate::telemetry::journal::Story;
use crate::telemetry::traces::parent::Parent;
use crate::telemetry::traces::settings::{Sampler, Settings};

/// The spans of one request, the request's own first.
#[derive(Clone, Debug, PartialEq)]
pub struct Trace {
    pub id: u128,
    pub spans: Vec<Span>,
}

/// Something that took time.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    pub id: u64,
    pub parent: Option<u64>,
    pub kind: Kind,
    pub name: String,
    /// Nanoseconds since the Unix epoch.
    pub began: u64,
    /// Nanoseconds since the Unix epoch.
    pub ended: u64,
    pub attributes: Vec<(&'static str, Value)>,
    /// Whether it ended in an error of the server's, not the caller's.
    pub failed: bool,
}

/// Whose work a span is; the numbers are OTLP's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Client = 3,
    Server = 2,
}

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Bool(bool),
    Float(f64),
    Int(u64),
    Text(String),
}

/// Finished requests on their way to an exporter. Takes none until it is started.
#[derive(Debug, Default)]
pub struct Traces {
    on: OnceLock<On>,
    exported: AtomicU64,
    dropped: AtomicU64,
}

#[derive(Debug)]
struct On {
    queue: mpsc::Sender<Arc<dyn Story>>,
    sampler: Sampler,
}

impl Traces {
    /// Takes finished requests from now on. Returns where they come out, `None` if it was started
    /// before.
    pub fn start(&self, settings: &Settings) -> Option<mpsc::Receiver<Arc<dyn Story>>> {
        let (queue, stories) = mpsc::channel(settings.max_queue);
        let sampler = settings.sampler;
        self.on
            .set(On { queue, sampler })
            .is_ok()
            .then_some(stories)
    }

    /// Takes a finished request, if it is one to be traced. Never waits: what finds the queue full
    /// is counted as dropped.
    pub fn take(&self, id: RequestId, story: &Arc<dyn Story>) {
        let Some(on) = self.on.get() else { return };
        let parent = story.traceparent().and_then(Parent::read);
        if on.sampler.admits(id.0, parent.as_ref()) && on.queue.try_send(Arc::clone(story)).is_err()
        {
            self.note_dropped(1);
        }
    }

    /// Counts requests whose traces the collector has.
    pub fn note_exported(&self, requests: usize) {
        self.exported.fetch_add(requests as u64, Ordering::Relaxed);
    }

    /// Counts requests whose traces are lost.
    pub fn note_dropped(&self, requests: usize) {
        self.dropped.fetch_add(requests as u64, Ordering::Relaxed);
    }

    /// How many requests were exported and how many dropped; `None` where nothing is traced.
    pub fn tally(&self) -> Option<(u64, u64)> {
        self.on.get()?;
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Some((read(&self.exported), read(&self.dropped)))
    }
}
