//! Connections that are open to providers, for the next call: HTTP/1.1 ones that rest, and HTTP/2
//! ones that have room.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use tokio::time::{Instant, timeout_at};

use crate::gateway::upstream::client::{IDLE_CONNECTIONS, IDLE_TIME};
use crate::gateway::upstream::direct::{Lane, Place, Wire};
use crate::gateway::upstream::http1::Connection;

/// Connections to one HTTP/2 server; calls beyond them all share the last.
const MAX_LANES: usize = 256;

/// How long calls wait for what a server says of calls at once before they make a connection of their
/// own. It comes with the server's first bytes.
const PATIENCE: Duration = Duration::from_secs(1);

/// How often connections are looked at while some rest: as a share of how long they may.
const LOOKS: u32 = 3;

/// The open connections of one client, by origin.
#[derive(Default)]
pub(super) struct Connections {
    origins: Mutex<HashMap<Arc<str>, Open>>,
    is_watched: AtomicBool,
    /// Rung when there is one more, or one that takes more calls.
    came: Notify,
}

/// Those to one origin.
#[derive(Default)]
struct Open {
    /// The one that rests for the shortest time last.
    resting: Vec<Resting>,
    lanes: Vec<Used>,
}

struct Resting {
    connection: Connection<Wire>,
    since: Instant,
}

struct Used {
    lane: Arc<Lane>,
    /// When a call last began on it, or was seen under way.
    at: Instant,
}

impl Connections {
    /// A place on the first HTTP/2 connection that has one.
    pub(super) fn place(&self, origin: &str) -> Option<Place> {
        let mut origins = self.lock();
        let lanes = &mut origins.get_mut(origin)?.lanes;
        lanes.retain(|used| !used.lane.is_closed());
        let with_room = lanes.iter().position(|used| used.lane.has_room());
        let used = lanes.get_mut(with_room.unwrap_or(MAX_LANES - 1))?;
        used.at = Instant::now();
        Some(Place::on(&used.lane))
    }

    /// [`Self::place`], on a connection that has just been made as well, once its server has said how
    /// many calls it takes; `None` if one more connection is needed.
    pub(super) async fn expected_place(&self, origin: &str) -> Option<Place> {
        let by = Instant::now() + PATIENCE;
        loop {
            let grown = self.opened();
            if let Some(place) = self.place(origin) {
                return Some(place);
            }
            if !self.has_new_lane(origin) || timeout_at(by, grown).await.is_err() {
                return None;
            }
        }
    }

    fn has_new_lane(&self, origin: &str) -> bool {
        let origins = self.lock();
        let mut lanes = origins.get(origin).into_iter().flat_map(|open| &open.lanes);
        lanes.any(|used| used.lane.is_new())
    }

    /// A connection is found to take more calls than was known.
    pub(super) fn grown(&self) {
        self.came.notify_waiters();
    }

    /// Waits until there is one more, or one that takes more calls, from this call on.
    pub(super) fn opened(&self) -> Notified<'_> {
        self.came.notified()
    }

    /// Lets others use an HTTP/2 connection.
    pub(super) fn share(self: &Arc<Self>, origin: &Arc<str>, lane: Arc<Lane>) {
        let at = Instant::now();
        let used = Used { lane, at };
        let mut origins = self.lock();
        origins
            .entry(Arc::clone(origin))
            .or_default()
            .lanes
            .push(used);
        drop(origins);
        self.came.notify_waiters();
        self.watch();
    }

    /// A connection that rests: the warmest, since the others may be closed soon.
    pub(super) fn take(&self, origin: &str) -> Option<Connection<Wire>> {
        let mut origins = self.lock();
        let resting = &mut origins.get_mut(origin)?.resting;
        while let Some(mut warmest) = resting.pop() {
            if warmest.since.elapsed() < IDLE_TIME && warmest.connection.is_alive() {
                return Some(warmest.connection);
            }
        }
        None
    }

    /// Keeps a connection that is free again.
    pub(super) fn keep(self: &Arc<Self>, origin: &Arc<str>, connection: Connection<Wire>) {
        let mut origins = self.lock();
        let open = match origins.get_mut(origin) {
            Some(open) => open,
            None => origins.entry(Arc::clone(origin)).or_default(),
        };
        if open.resting.len() < IDLE_CONNECTIONS {
            let since = Instant::now();
            open.resting.push(Resting { connection, since });
        }
        drop(origins);
        self.came.notify_waiters();
        self.watch();
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, Open>> {
        self.origins.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has connections closed that rest for too long, while there are any.
    fn watch(self: &Arc<Self>) {
        if self.is_watched.load(Ordering::Relaxed) || self.is_watched.swap(true, Ordering::AcqRel) {
            return;
        }
        let connections = Arc::downgrade(self);
        tokio::spawn(async move {
            while connections
                .upgrade()
                .is_some_and(|connections| connections.tend())
            {
                tokio::time::sleep(IDLE_TIME / LOOKS).await;
            }
        });
    }

    /// Closes what is of no more use; `false` if nothing is left to look after.
    fn tend(&self) -> bool {
        let mut origins = self.lock();
        let now = Instant::now();
        for open in origins.values_mut() {
            open.resting.retain_mut(|resting| {
                now - resting.since < IDLE_TIME && resting.connection.is_alive()
            });
            open.lanes.retain_mut(|used| {
                if !used.lane.is_idle() {
                    used.at = now;
                }
                !used.lane.is_closed() && now - used.at < IDLE_TIME
            });
        }
        origins.retain(|_, open| !open.resting.is_empty() || !open.lanes.is_empty());
        if origins.is_empty() {
            self.is_watched.store(false, Ordering::Release);
        }
        !origins.is_empty()
    }
}
