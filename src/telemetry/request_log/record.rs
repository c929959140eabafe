//! What is kept of a request while it is under way: handles to its bytes, and when they came.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use crate::dialects::{Dialect, Operation};
use crate::ids::{CredentialId, RequestId};
use crate::secret::Secret;
use crate::telemetry::request_log::queue::Queue;
use crate::time::Timestamp;

/// Of each body, and of each stream, no more is kept.
const MAX_BODY_BYTES: usize = 8 << 20;

/// What a piece of a stream costs beside its bytes.
const PIECE_BYTES: usize = 64;

/// What the client asked for, as it is needed to ask again.
#[derive(Clone, Debug)]
pub struct Asked {
    pub id: RequestId,
    pub client: Arc<str>,
    pub dialect: Dialect,
    pub operation: Operation,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub path_model: Option<String>,
    pub path_stream: Option<bool>,
    pub batch: bool,
    pub array_stream: bool,
    pub strict: bool,
}

/// One upstream call as it goes out.
#[derive(Clone, Copy, Debug)]
pub struct Sent<'a> {
    pub credential: &'a CredentialId,
    pub secret: &'a Secret,
    pub url: &'a str,
    pub headers: &'a HeaderMap,
    pub body: &'a Bytes,
}

/// All that is known of a request.
pub(super) struct Record {
    pub(super) asked: Asked,
    /// The client's body was too large to keep.
    pub(super) is_cut: bool,
    pub(super) at: Timestamp,
    pub(super) since: Instant,
    pub(super) attempts: Vec<Attempt>,
    pub(super) answer: Answer,
    /// The decision trail as JSON; `None` if the client left before there was an answer.
    pub(super) trail: Option<String>,
    /// Secrets that were used for it: they may be newer than those that are known.
    pub(super) secrets: Vec<Secret>,
    /// Bytes reserved for it.
    pub(super) held: usize,
}

/// An upstream call and what came of it. Times count from the request's arrival.
pub(super) struct Attempt {
    pub(super) after: Duration,
    pub(super) credential: CredentialId,
    pub(super) url: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Pieces,
    pub(super) answer: Answer,
    /// Why there was no answer.
    pub(super) fault: Option<String>,
}

/// An answer, the upstream's or the client's.
#[derive(Default)]
pub(super) struct Answer {
    pub(super) head: Option<(StatusCode, HeaderMap)>,
    pub(super) after: Duration,
    pub(super) body: Pieces,
}

/// A body as it came.
#[derive(Default)]
pub(super) struct Pieces {
    pub(super) list: Vec<(Duration, Bytes)>,
    bytes: usize,
    /// Not all of it is there.
    pub(super) is_cut: bool,
}

impl Pieces {
    fn add(&mut self, after: Duration, piece: &Bytes, queue: &Queue) -> usize {
        let cost = piece.len() + PIECE_BYTES;
        if self.is_cut || self.bytes + piece.len() > MAX_BODY_BYTES || !queue.hold(cost) {
            self.is_cut = true;
            return 0;
        }
        self.bytes += piece.len();
        self.list.push((after, piece.clone()));
        cost
    }

    /// All of it in one.
    pub(super) fn joined(&self) -> Bytes {
        match self.list.as_slice() {
            [] => Bytes::new(),
            [(_, only)] => only.clone(),
            more => {
                let mut joined = Vec::with_capacity(self.bytes);
                for (_, piece) in more {
                    joined.extend_from_slice(piece);
                }
                joined.into()
            }
        }
    }
}

/// A handle to the record of a request under way. When the last one goes the record is complete.
#[derive(Clone)]
pub struct Recording(Arc<Open>);

struct Open {
    queue: Arc<Queue>,
    /// `None` once it is on its way to the disk.
    record: Mutex<Option<Record>>,
}

impl Recording {
    pub(super) fn new(queue: Arc<Queue>, mut asked: Asked) -> Self {
        let mut record = Record {
            at: Timestamp::now(),
            since: Instant::now(),
            attempts: Vec::new(),
            answer: Answer::default(),
            trail: None,
            secrets: Vec::new(),
            held: 0,
            is_cut: false,
            asked: Asked {
                body: Bytes::new(),
                ..asked.clone()
            },
        };
        let body = std::mem::take(&mut asked.body);
        if body.len() <= MAX_BODY_BYTES && queue.hold(body.len()) {
            record.held = body.len();
            record.asked.body = body;
        } else {
            record.is_cut = true;
        }
        Self(Arc::new(Open {
            queue,
            record: Mutex::new(Some(record)),
        }))
    }

    /// Notes an upstream call that begins.
    pub fn attempt(&self, sent: Sent<'_>) -> Tap {
        let mut number = 0;
        self.note(|record, queue| {
            let after = record.since.elapsed();
            let mut body = Pieces::default();
            record.held += body.add(after, sent.body, queue);
            if !record.secrets.iter().any(|one| same(one, sent.secret)) {
                record.secrets.push(sent.secret.clone());
            }
            number = record.attempts.len();
            record.attempts.push(Attempt {
                after,
                credential: sent.credential.clone(),
                url: sent.url.to_owned(),
                headers: sent.headers.clone(),
                body,
                answer: Answer::default(),
                fault: None,
            });
        });
        Tap {
            recording: self.clone(),
            number,
        }
    }

    /// Notes the head of what the client gets.
    pub fn answer(&self, status: StatusCode, headers: &HeaderMap) {
        self.note(|record, _| {
            record.answer.after = record.since.elapsed();
            record.answer.head = Some((status, headers.clone()));
        });
    }

    /// Notes a piece of what the client gets.
    pub fn piece(&self, piece: &Bytes) {
        self.note(|record, queue| {
            let after = record.since.elapsed();
            record.held += record.answer.body.add(after, piece, queue);
        });
    }

    /// Notes how it all came out.
    pub fn finish(&self, trail: &str) {
        self.note(|record, _| record.trail = Some(trail.to_owned()));
    }

    fn note(&self, change: impl FnOnce(&mut Record, &Queue)) {
        if let Some(record) = self.0.record().as_mut() {
            change(record, &self.0.queue);
        }
    }
}

fn same(one: &Secret, other: &Secret) -> bool {
    one.expose() == other.expose()
}

impl Open {
    fn record(&self) -> MutexGuard<'_, Option<Record>> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let record = self.record().take();
        if let Some(record) = record {
            self.queue.push(record);
        }
    }
}

/// Notes what an upstream answers to one call.
pub struct Tap {
    recording: Recording,
    number: usize,
}

impl Tap {
    /// The answer's head.
    pub fn head(&self, status: StatusCode, headers: &HeaderMap) {
        self.note(|attempt, after, _| {
            attempt.answer.after = after;
            attempt.answer.head = Some((status, headers.clone()));
            0
        });
    }

    /// A piece of its body.
    pub fn piece(&self, piece: &Bytes) {
        self.note(|attempt, after, queue| attempt.answer.body.add(after, piece, queue));
    }

    /// There is no answer, or no more of it.
    pub fn failed(&self, why: &str) {
        self.note(|attempt, after, _| {
            attempt.answer.after = after;
            attempt.fault = Some(why.to_owned());
            0
        });
    }

    fn note(&self, change: impl FnOnce(&mut Attempt, Duration, &Queue) -> usize) {
        let number = self.number;
        self.recording.note(|record, queue| {
            let after = record.since.elapsed();
            if let Some(attempt) = record.attempts.get_mut(number) {
                record.held += change(attempt, after, queue);
            }
        });
    }
}

impl std::fmt::Debug for Tap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tap").finish_non_exhaustive()
    }
}
