//! The requests under way: who waits for what, and for how long already.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use serde::{Deserialize, Serialize};

use crate::gateway::inbound::Scanned;
use crate::ids::{CredentialId, RequestId};
use crate::time::Timestamp;

/// Requests in one list: the oldest, which are those somebody wonders about.
const LISTED: usize = 100;

/// All requests of a process that have come and are not over.
#[derive(Debug, Default)]
pub struct UnderWay(Mutex<HashMap<RequestId, Weak<Errand>>>);

/// A request under way, for as long as anybody holds it.
#[derive(Debug)]
pub struct Errand {
    id: RequestId,
    client: Arc<str>,
    model: String,
    stream: bool,
    since: Timestamp,
    now: Mutex<Now>,
    registry: Arc<UnderWay>,
}

/// Where a request is.
#[derive(Clone, Debug)]
struct Now {
    stage: Stage,
    /// The credential it is with, or was with last.
    credential: Option<CredentialId>,
    calls: u32,
}

/// What a request is at.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// A vendor has it, and has said nothing that counts yet.
    Asking,
    /// The answer goes to the client.
    Streaming,
    /// No credential is free.
    Waiting,
}

/// The list that `GET /v1/requests` answers with.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Listing {
    pub object: String,
    pub data: Vec<Listed>,
    /// How many there are; `data` has the oldest 100 at most.
    pub total: usize,
}

/// A request under way, as others see it.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Listed {
    pub id: String,
    pub client: String,
    pub model: String,
    pub stream: bool,
    pub state: Stage,
    pub credential: Option<String>,
    /// Upstream calls so far.
    pub attempts: u32,
    pub age_ms: u64,
}

impl Stage {
    /// The word for people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Asking => "asking",
            Self::Streaming => "streaming",
            Self::Waiting => "waiting",
        }
    }
}

impl UnderWay {
    /// Notes a request; it counts until the last who holds the answer is gone.
    pub fn enter(self: &Arc<Self>, scanned: &Scanned<'_>) -> Arc<Errand> {
        let inbound = scanned.inbound;
        let errand = Arc::new(Errand {
            id: inbound.id,
            client: Arc::clone(&inbound.client),
            model: scanned.model.clone(),
            stream: scanned.stream,
            since: Timestamp::now(),
            now: Mutex::new(Now {
                stage: Stage::Waiting,
                credential: None,
                calls: 0,
            }),
            registry: Arc::clone(self),
        });
        self.lock().insert(errand.id, Arc::downgrade(&errand));
        errand
    }

    /// The requests under way, oldest first: those of one client, or of all.
    pub fn list(&self, sender: Option<&str>, now: Timestamp) -> Listing {
        let all: Vec<Arc<Errand>> = self.lock().values().filter_map(Weak::upgrade).collect();
        let mut shown: Vec<&Arc<Errand>> = all
            .iter()
            .filter(|one| sender.is_none_or(|sender| *one.client == *sender))
            .collect();
        shown.sort_by_key(|one| (one.since, one.id.0));
        Listing {
            object: "list".to_owned(),
            total: shown.len(),
            data: shown
                .into_iter()
                .take(LISTED)
                .map(|one| one.listed(now))
                .collect(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<RequestId, Weak<Errand>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Errand {
    /// It is sent with a credential.
    pub fn asks(&self, credential: &CredentialId) {
        let mut now = self.lock();
        now.stage = Stage::Asking;
        now.credential = Some(credential.clone());
        now.calls = now.calls.saturating_add(1);
    }

    /// Its answer is good, and goes to the client.
    pub fn streams(&self) {
        self.lock().stage = Stage::Streaming;
    }

    /// Nobody can serve it now.
    pub fn waits(&self) {
        self.lock().stage = Stage::Waiting;
    }

    fn listed(&self, now: Timestamp) -> Listed {
        let at = self.lock().clone();
        Listed {
            id: self.id.to_string(),
            client: self.client.to_string(),
            model: self.model.clone(),
            stream: self.stream,
            state: at.stage,
            credential: at.credential.map(|credential| credential.to_string()),
            attempts: at.calls,
            age_ms: u64::try_from(now.since(self.since).as_millis()).unwrap_or(u64::MAX),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Errand {
    fn drop(&mut self) {
        self.registry.lock().remove(&self.id);
    }
}
