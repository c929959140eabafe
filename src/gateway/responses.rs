//! Responses kept for `previous_response_id`, where the upstream keeps none: what a client was
//! answered through a translation can be gone on from, on any target.
//!
//! Kept in memory only and within [`Limits`]; the least recently used goes first. Each client sees
//! its own. An id that is not kept is left in the body: an upstream that speaks the dialect may
//! know it ([`crate::gateway::exchange`] refuses it for all others).

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use crate::dialects::error::ErrorReply;
use crate::dialects::event::Event;
use crate::dialects::fields::Raw;
use crate::dialects::loss::Losses;
use crate::dialects::openai_responses::store;
use crate::dialects::sse::Splitter;
use crate::dialects::{Dialect, StreamWriter};
use crate::gateway::inbound::{Inbound, Scanned, unreadable};
use crate::time::Timestamp;

/// How much is kept, and how long.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub responses: usize,
    /// Of all conversations together; one that is larger by itself is not kept.
    pub bytes: usize,
    /// Since a response was last gone on from.
    pub idle: Duration,
}

impl Default for Limits {
    /// A day is far longer than a client pauses within a conversation, and 64 MiB hold some
    /// hundred long ones.
    fn default() -> Self {
        Self {
            responses: 1000,
            bytes: 64 << 20,
            idle: Duration::from_hours(24),
        }
    }
}

/// The responses kept. Cheap to clone; clones share them.
#[derive(Clone, Debug, Default)]
pub struct Responses {
    shelf: Arc<Mutex<Shelf>>,
}

impl Responses {
    /// An empty store.
    pub fn new(limits: Limits) -> Self {
        let shelf = Shelf {
            limits,
            ..Shelf::default()
        };
        Self {
            shelf: Arc::new(Mutex::new(shelf)),
        }
    }

    /// The body with the conversation in it that it goes on from; `None` if it names no response
    /// or one that is not kept. The error is a body without a readable `input`.
    pub fn resumed(
        &self,
        scanned: &Scanned<'_>,
        now: Timestamp,
    ) -> Result<Option<Bytes>, ErrorReply> {
        let inbound = scanned.inbound;
        let Some(id) = &scanned.head.previous_response else {
            return Ok(None);
        };
        let Some(items) = self.get(&inbound.client, id, now) else {
            return Ok(None);
        };
        let body = store::expand(&items, &inbound.body).map_err(|error| unreadable(&error))?;
        Ok(Some(body.into()))
    }

    /// Who keeps the answer to a request; `None` for another dialect, and for a request that goes
    /// on from what only the upstream knows.
    pub fn keeper(&self, scanned: &Scanned<'_>) -> Option<Keeper> {
        let Inbound {
            client,
            dialect,
            body,
            ..
        } = scanned.inbound;
        let is_known = scanned.head.previous_response.is_none();
        (*dialect == Dialect::OpenAiResponses && is_known).then(|| Keeper {
            responses: self.clone(),
            client: Arc::clone(client),
            request: body.clone(),
        })
    }

    /// Keeps a client's conversation under the id of its last response.
    pub fn put(&self, client: &Arc<str>, id: &str, items: Vec<Raw>, now: Timestamp) {
        self.with(|shelf| shelf.put(key(client, id), items, now));
    }

    /// A client's conversation up to a response, which counts as used.
    pub fn get(&self, client: &Arc<str>, id: &str, now: Timestamp) -> Option<Arc<[Raw]>> {
        self.with(|shelf| shelf.get(&key(client, id), now))
    }

    fn with<T>(&self, act: impl FnOnce(&mut Shelf) -> T) -> T {
        act(&mut self.shelf.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The client and the response's id.
type Key = (Arc<str>, Arc<str>);

fn key(client: &Arc<str>, id: &str) -> Key {
    (Arc::clone(client), Arc::from(id))
}

#[derive(Debug, Default)]
struct Shelf {
    limits: Limits,
    held: HashMap<Key, Held>,
    /// By when they were last used, the oldest first.
    order: BTreeMap<u64, Key>,
    bytes: usize,
    /// Goes up with each use.
    uses: u64,
}

#[derive(Debug)]
struct Held {
    items: Arc<[Raw]>,
    bytes: usize,
    used: Timestamp,
    /// Its place in [`Shelf::order`].
    place: u64,
}

impl Shelf {
    fn put(&mut self, key: Key, items: Vec<Raw>, now: Timestamp) {
        let bytes = cost(&key, &items);
        self.remove(&key);
        if bytes > self.limits.bytes {
            return;
        }
        let held = Held {
            items: items.into(),
            bytes,
            used: now,
            place: self.uses,
        };
        self.bytes += bytes;
        self.order.insert(self.uses, key.clone());
        self.held.insert(key, held);
        self.uses += 1;
        self.trim(now);
    }

    fn get(&mut self, key: &Key, now: Timestamp) -> Option<Arc<[Raw]>> {
        self.trim(now);
        let held = self.held.get_mut(key)?;
        if let Some(key) = self.order.remove(&held.place) {
            self.order.insert(self.uses, key);
        }
        (held.used, held.place) = (now, self.uses);
        self.uses += 1;
        Some(Arc::clone(&held.items))
    }

    /// Lets the longest unused go until the limits hold.
    fn trim(&mut self, now: Timestamp) {
        while let Some((_, oldest)) = self.order.first_key_value() {
            let is_stale = self
                .held
                .get(oldest)
                .is_none_or(|held| now.since(held.used) >= self.limits.idle);
            let is_full = self.held.len() > self.limits.responses || self.bytes > self.limits.bytes;
            if !is_stale && !is_full {
                return;
            }
            let oldest = oldest.clone();
            self.remove(&oldest);
        }
    }

    fn remove(&mut self, key: &Key) {
        if let Some(held) = self.held.remove(key) {
            self.bytes -= held.bytes;
            self.order.remove(&held.place);
        }
    }
}

/// Bytes that a conversation takes, its bookkeeping roughly included.
fn cost(key: &Key, items: &[Raw]) -> usize {
    let texts: usize = items.iter().map(|item| item.get().len()).sum();
    texts + size_of_val(items) + 2 * (size_of::<Key>() + key.1.len()) + size_of::<Held>()
}

/// Keeps the answer to one request, once it is whole.
#[derive(Debug)]
pub struct Keeper {
    responses: Responses,
    client: Arc<str>,
    request: Bytes,
}

impl Keeper {
    /// Keeps the conversation with this answer: a response object, or the event that ends a
    /// stream. Does nothing if the client asked not to store.
    pub fn keep(&self, answer: &[u8], now: Timestamp) {
        if !store::wants_store(&self.request) {
            return;
        }
        let Some(id) = store::response_id(answer) else {
            return;
        };
        // Both were read before: a request that was served, an answer that was written here.
        if let Ok(items) = store::conversation(&self.request, answer) {
            self.responses.put(&self.client, &id, items, now);
        }
    }

    /// A client's stream that keeps its answer when it ends.
    pub fn keep_stream(self, writer: Box<dyn StreamWriter>) -> Box<dyn StreamWriter> {
        Box::new(Kept {
            writer,
            keeper: self,
        })
    }
}

/// See [`Keeper::keep_stream`].
struct Kept {
    writer: Box<dyn StreamWriter>,
    keeper: Keeper,
}

impl StreamWriter for Kept {
    fn write(&mut self, event: &Event, out: &mut Vec<u8>) {
        self.writer.write(event, out);
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        let start = out.len();
        self.writer.finish(out);
        let mut splitter = Splitter::default();
        splitter.push(Bytes::copy_from_slice(out.get(start..).unwrap_or_default()));
        while let Some(Ok(frame)) = splitter.next() {
            // Nobody goes on from `response.failed`.
            if matches!(frame.event(), "response.completed" | "response.incomplete") {
                self.keeper.keep(&frame.data(), Timestamp::now());
            }
        }
    }

    fn fail(&mut self, error: &ErrorReply, out: &mut Vec<u8>) {
        self.writer.fail(error, out);
    }

    fn losses(&self) -> &Losses {
        self.writer.losses()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_764_000_000);

    fn client(name: &str) -> Arc<str> {
        Arc::from(name)
    }

    fn items(text: &str) -> Vec<Raw> {
        vec![serde_json::value::to_raw_value(text).expect("JSON")]
    }

    fn holds(responses: &Responses, id: &str, now: Timestamp) -> bool {
        responses.get(&client("a"), id, now).is_some()
    }

    fn small(limits: Limits, ids: &[&str]) -> Responses {
        let responses = Responses::new(limits);
        for id in ids {
            responses.put(&client("a"), id, items("hello"), NOW);
        }
        responses
    }

    #[test]
    fn a_response_is_its_own_clients_only() {
        let responses = small(Limits::default(), &["r"]);
        let held = responses.get(&client("a"), "r", NOW).expect("kept");
        assert_eq!(held.first().map(|item| item.get()), Some("\"hello\""));
        assert!(responses.get(&client("b"), "r", NOW).is_none());
    }

    #[test]
    fn the_longest_unused_goes_when_there_are_too_many() {
        let limits = Limits {
            responses: 2,
            ..Limits::default()
        };
        let responses = small(limits, &["1", "2"]);
        assert!(holds(&responses, "1", NOW));
        responses.put(&client("a"), "3", items("hello"), NOW);
        assert!(holds(&responses, "1", NOW) && holds(&responses, "3", NOW));
        assert!(!holds(&responses, "2", NOW));
    }

    #[test]
    fn the_longest_unused_goes_when_the_bytes_are_too_many() {
        let limits = Limits {
            bytes: 2 * cost(&key(&client("a"), "1"), &items("hello")),
            ..Limits::default()
        };
        let responses = small(limits, &["1", "2", "3"]);
        assert!(!holds(&responses, "1", NOW));
        assert!(holds(&responses, "2", NOW) && holds(&responses, "3", NOW));
    }

    #[test]
    fn one_that_is_larger_than_all_room_is_not_kept_and_pushes_nobody_out() {
        let limits = Limits {
            bytes: 1000,
            ..Limits::default()
        };
        let responses = small(limits, &["1"]);
        responses.put(&client("a"), "2", items(&"x".repeat(1000)), NOW);
        assert!(holds(&responses, "1", NOW) && !holds(&responses, "2", NOW));
    }

    #[test]
    fn a_response_goes_a_day_after_its_last_use() {
        let responses = small(Limits::default(), &["1"]);
        let day = Limits::default().idle;
        let almost = NOW + day - Duration::from_secs(1);
        assert!(holds(&responses, "1", almost));
        assert!(holds(
            &responses,
            "1",
            almost + day - Duration::from_secs(1)
        ));
        assert!(!holds(&responses, "1", almost + day + day));
    }

    #[test]
    fn one_that_is_kept_again_is_counted_once() {
        let responses = small(Limits::default(), &["1", "1", "1"]);
        responses.with(|shelf| {
            assert_eq!((shelf.held.len(), shelf.order.len()), (1, 1));
            assert_eq!(shelf.bytes, cost(&key(&client("a"), "1"), &items("hello")));
        });
    }

    fn keeper(responses: &Responses, request: &'static str) -> Keeper {
        Keeper {
            responses: responses.clone(),
            client: client("a"),
            request: Bytes::from_static(request.as_bytes()),
        }
    }

    #[test]
    fn what_is_not_to_be_stored_is_not() {
        let responses = Responses::default();
        let answer = br#"{"id":"r","output":[]}"#;
        keeper(&responses, r#"{"input":"hi","store":false}"#).keep(answer, NOW);
        assert!(!holds(&responses, "r", NOW));
        keeper(&responses, r#"{"input":"hi"}"#).keep(answer, NOW);
        assert!(holds(&responses, "r", NOW));
    }

    #[test]
    fn an_answer_without_an_id_is_not_kept() {
        let responses = Responses::default();
        keeper(&responses, r#"{"input":"hi"}"#).keep(b"{}", NOW);
        responses.with(|shelf| assert!(shelf.held.is_empty()));
    }
}
