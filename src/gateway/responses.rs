//! Responses kept for `previous_response_id`, where the upstream keeps none: what a client was
//! answered through a translation can be gone on from, on any target.
//!
//! In memory and in the file of what is kept, within the limits of [`Kind::Response`]; the least
//! recently used goes first. Each client sees its own. An id that is not kept is left in the body: an
//! upstream that speaks the dialect may know it ([`crate::gateway::exchange`] refuses it for all
//! others).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use crate::dialects::error::ErrorReply;
use crate::dialects::event::Event;
use crate::dialects::loss::Losses;
use crate::dialects::openai_responses::store::{self, Stored};
use crate::dialects::sse::Splitter;
use crate::dialects::{Dialect, StreamWriter};
use crate::gateway::inbound::{Inbound, Scanned, unreadable};
use crate::gateway::shelf::Shelf;
use crate::state::kept::{self, Kept, Kind};
use crate::time::Timestamp;

/// A client that deleted a response waits no longer than this to hear of it.
const DELETE_PATIENCE: Duration = Duration::from_secs(1);

/// The responses kept. Cheap to clone; clones share them.
#[derive(Clone, Debug)]
pub struct Responses {
    shelf: Arc<Mutex<Shelf<Key, Arc<Stored>>>>,
    kept: Option<Kept>,
}

/// The owner and the response's id.
type Key = (Arc<str>, Arc<str>);

fn key(owner: &Arc<str>, id: &str) -> Key {
    (Arc::clone(owner), Arc::from(id))
}

impl Default for Responses {
    fn default() -> Self {
        Self {
            shelf: Arc::new(Mutex::new(Shelf::new(Kind::Response.limits()))),
            kept: None,
        }
    }
}

fn key_in_file(owner: &Arc<str>, id: &str) -> kept::Key {
    kept::Key {
        kind: Kind::Response,
        owner: owner.to_string(),
        name: id.to_owned(),
    }
}

impl Responses {
    /// With what is kept of before, and to be kept from now on.
    pub fn kept_in(kept: Option<Kept>) -> Self {
        Self {
            kept,
            ..Self::default()
        }
    }

    /// The body with the conversation in it that it goes on from; `None` if it names no response
    /// or one that is not kept. The error is a body without a readable `input`.
    pub async fn resumed(
        &self,
        scanned: &Scanned<'_>,
        now: Timestamp,
    ) -> Result<Option<Bytes>, ErrorReply> {
        let inbound = scanned.inbound;
        let Some(id) = &scanned.head.previous_response else {
            return Ok(None);
        };
        let Some(kept) = self.find(&inbound.owner, id, now).await else {
            return Ok(None);
        };
        let body = store::expand(&kept.items, &inbound.body).map_err(|error| unreadable(&error))?;
        Ok(Some(body.into()))
    }

    /// Who keeps the answer to a request; `None` for another dialect, and for a request that goes
    /// on from what only the upstream knows.
    pub fn keeper(&self, scanned: &Scanned<'_>) -> Option<Keeper> {
        let Inbound {
            owner,
            dialect,
            body,
            ..
        } = scanned.inbound;
        let is_known = scanned.head.previous_response.is_none();
        (*dialect == Dialect::OpenAiResponses && is_known).then(|| Keeper {
            responses: self.clone(),
            owner: Arc::clone(owner),
            request: body.clone(),
        })
    }

    /// Keeps a response for its owner.
    pub fn put(&self, owner: &Arc<str>, stored: Stored, now: Timestamp) {
        if let Some(kept) = &self.kept {
            kept.put(key_in_file(owner, &stored.id), stored.to_json(), now);
        }
        self.shelve(owner, stored, now);
    }

    fn shelve(&self, owner: &Arc<str>, stored: Stored, now: Timestamp) {
        let key = key(owner, &stored.id);
        let texts: usize = stored.items.iter().map(|item| item.get().len()).sum();
        let bytes = texts
            + size_of_val(stored.items.as_slice())
            + stored.object.get().len()
            + 3 * stored.id.len()
            + size_of::<Stored>();
        self.with(|shelf| shelf.put(key, Arc::new(stored), bytes, now));
    }

    /// An owner's response, which counts as used.
    pub async fn find(&self, owner: &Arc<str>, id: &str, now: Timestamp) -> Option<Arc<Stored>> {
        let held = self.get(owner, id, now);
        let Some(kept) = &self.kept else {
            return held;
        };
        let key = key_in_file(owner, id);
        if held.is_some() {
            kept.used(key, now);
            return held;
        }
        let reader = kept.clone();
        let read = tokio::task::spawn_blocking(move || {
            let row = reader.get(&key, now)?;
            let stored = Stored::from_json(&key.name, &row.value)?;
            reader.used(key, now);
            Some(stored)
        });
        let stored = read.await.ok().flatten()?;
        self.shelve(owner, stored, now);
        self.get(owner, id, now)
    }

    /// Lets an owner's response go, in the file as well before it returns; `false` if there was none.
    pub async fn delete(&self, owner: &Arc<str>, id: &str, now: Timestamp) -> bool {
        let was_held = self.with(|shelf| shelf.remove(&key(owner, id)).is_some());
        let (Some(kept), key) = (self.kept.clone(), key_in_file(owner, id)) else {
            return was_held;
        };
        let done = tokio::task::spawn_blocking(move || {
            let was_there = was_held || kept.get(&key, now).is_some();
            if was_there {
                kept.delete(key);
                if let Err(error) = kept.flush(DELETE_PATIENCE) {
                    tracing::warn!("a deleted response may come back after a restart: {error}");
                }
            }
            was_there
        });
        done.await.unwrap_or(was_held)
    }

    fn get(&self, owner: &Arc<str>, id: &str, now: Timestamp) -> Option<Arc<Stored>> {
        self.with(|shelf| shelf.get(&key(owner, id), now))
    }

    fn with<T>(&self, act: impl FnOnce(&mut Shelf<Key, Arc<Stored>>) -> T) -> T {
        act(&mut self.shelf.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Keeps the answer to one request, once it is whole.
#[derive(Debug)]
pub struct Keeper {
    responses: Responses,
    owner: Arc<str>,
    request: Bytes,
}

impl Keeper {
    /// Keeps the conversation with this answer: a response object, or the event that ends a
    /// stream. Does nothing if the client asked not to store.
    pub fn keep(&self, answer: &[u8], now: Timestamp) {
        if !store::wants_store(&self.request) {
            return;
        }
        // Both were read before: a request that was served, an answer that was written here.
        if let Ok(Some(stored)) = store::stored(&self.request, answer) {
            self.responses.put(&self.owner, stored, now);
        }
    }

    /// A client's stream that keeps its answer when it ends.
    pub fn keep_stream(self, writer: Box<dyn StreamWriter>) -> Box<dyn StreamWriter> {
        Box::new(Storing {
            writer,
            keeper: self,
        })
    }
}

/// See [`Keeper::keep_stream`].
struct Storing {
    writer: Box<dyn StreamWriter>,
    keeper: Keeper,
}

impl StreamWriter for Storing {
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
    const ANSWER: &[u8] = br#"{"id":"r","output":[{"type":"message"}]}"#;

    fn owner(name: &str) -> Arc<str> {
        Arc::from(name)
    }

    fn keeper(responses: &Responses, request: &'static str) -> Keeper {
        Keeper {
            responses: responses.clone(),
            owner: owner("a"),
            request: Bytes::from_static(request.as_bytes()),
        }
    }

    #[tokio::test]
    async fn a_response_is_its_own_clients_only() {
        let responses = Responses::default();
        keeper(&responses, r#"{"input":"hi"}"#).keep(ANSWER, NOW);
        let kept = responses.find(&owner("a"), "r", NOW).await.expect("kept");
        assert_eq!((kept.items.len(), kept.inputs), (2, 1));
        assert!(responses.find(&owner("b"), "r", NOW).await.is_none());
        assert!(!responses.delete(&owner("b"), "r", NOW).await);
        assert!(responses.delete(&owner("a"), "r", NOW).await);
        assert!(responses.find(&owner("a"), "r", NOW).await.is_none());
    }

    #[test]
    fn what_is_not_to_be_stored_is_not() {
        let responses = Responses::default();
        keeper(&responses, r#"{"input":"hi","store":false}"#).keep(ANSWER, NOW);
        assert!(responses.get(&owner("a"), "r", NOW).is_none());
    }

    #[test]
    fn an_answer_without_an_id_is_not_kept() {
        let responses = Responses::default();
        keeper(&responses, r#"{"input":"hi"}"#).keep(b"{}", NOW);
        responses.with(|shelf| assert!(shelf.is_empty()));
    }
}
