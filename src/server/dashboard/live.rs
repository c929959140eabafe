//! Who watches the page: one picture a second is taken for all of them, none while nobody does.
//!
//! A watcher is told what has changed since it was told last. One that reads slowly misses pictures
//! in between, never the latest, and holds no more memory than one of them.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use serde_json::json;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use crate::gateway::Gateway;
use crate::server::Shared;
use crate::server::clients::Client;
use crate::server::dashboard::picture::{Picture, Recent};
use crate::time::Timestamp;

/// How often a picture is taken.
const TICK: Duration = Duration::from_secs(1);

/// Pages that may watch at once.
const SEATS: usize = 32;

/// A stream that has nothing to tell says so after this long; proxies end silent ones.
const SILENCE: Duration = Duration::from_secs(10);

/// How long a watcher may take nothing of what is sent before it is given up.
const PATIENCE: Duration = Duration::from_secs(30);

type Pictures = watch::Sender<Option<Arc<Picture>>>;

/// The watchers of a server.
#[derive(Debug)]
pub struct Live {
    /// Where the pictures go; `None` while nobody watches.
    pictures: Mutex<Option<Arc<Pictures>>>,
    seats: Arc<Semaphore>,
    nudged: Notify,
    /// Held while the providers are asked for their quotas.
    pub(in crate::server) refreshing: tokio::sync::Mutex<()>,
}

impl Default for Live {
    fn default() -> Self {
        Self {
            pictures: Mutex::default(),
            seats: Arc::new(Semaphore::new(SEATS)),
            nudged: Notify::new(),
            refreshing: tokio::sync::Mutex::default(),
        }
    }
}

impl Live {
    /// Has the next picture taken at once: something was done.
    pub(in crate::server) fn nudge(&self) {
        self.nudged.notify_one();
    }

    /// A view of the pictures; the first to have one sets the taking in motion.
    fn pictures(self: &Arc<Self>, gateway: &Arc<Gateway>) -> watch::Receiver<Option<Arc<Picture>>> {
        let mut pictures = self.pictures.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pictures) = &*pictures {
            return pictures.subscribe();
        }
        let (sender, receiver) = watch::channel(None);
        let sender = Arc::new(sender);
        *pictures = Some(Arc::clone(&sender));
        tokio::spawn(take(Arc::clone(self), Arc::clone(gateway), sender));
        receiver
    }

    /// Ends the taking if nobody watches any more.
    fn is_over(&self, sender: &Pictures) -> bool {
        let mut pictures = self.pictures.lock().unwrap_or_else(PoisonError::into_inner);
        let is_over = sender.receiver_count() == 0;
        if is_over {
            *pictures = None;
        }
        is_over
    }
}

/// Takes pictures until the last watcher has left.
async fn take(live: Arc<Live>, gateway: Arc<Gateway>, sender: Arc<Pictures>) {
    let mut recent = Recent::default();
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = live.nudged.notified() => {}
        }
        if live.is_over(&sender) {
            return;
        }
        let gateway = Arc::clone(&gateway);
        // The journal is in a database, and the pools may be large: not on the runtime's threads.
        let taken = tokio::task::spawn_blocking(move || {
            let picture = Picture::take(&gateway, &mut recent, Timestamp::now());
            (picture, recent)
        });
        let Ok((picture, after)) = taken.await else {
            // It panicked, which is a defect and was logged; the others serve on.
            live.pictures
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take();
            return;
        };
        recent = after;
        sender.send_replace(Some(Arc::new(picture)));
    }
}

/// Who watches, and what ends it.
pub(in crate::server) struct Viewer {
    pub(in crate::server) shared: Arc<Shared>,
    pub(in crate::server) client: Arc<Client>,
    /// The server drains.
    pub(in crate::server) closing: CancellationToken,
}

/// Begins to watch: the events as they come. `None` if too many do already.
pub(in crate::server) fn watch(viewer: Viewer) -> Option<mpsc::Receiver<Bytes>> {
    let live = &viewer.shared.live;
    let seat = Arc::clone(&live.seats).try_acquire_owned().ok()?;
    let pictures = live.pictures(&viewer.shared.gateway);
    // One is on its way while the next is made; more would only grow old.
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(tell(viewer, pictures, sender, seat));
    Some(receiver)
}

/// Tells one watcher, until it leaves, its key is no longer good, or the server goes down.
async fn tell(
    viewer: Viewer,
    mut pictures: watch::Receiver<Option<Arc<Picture>>>,
    sender: mpsc::Sender<Bytes>,
    _seat: OwnedSemaphorePermit,
) {
    let mut told = Told::default();
    let mut last = Instant::now();
    let mut next = Some(greeting(&viewer.client));
    loop {
        if let Some(text) = next.take() {
            last = Instant::now();
            match timeout(PATIENCE, sender.send(Bytes::from(text))).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => return,
            }
        }
        tokio::select! {
            changed = pictures.changed() => {
                if changed.is_err() {
                    return;
                }
            }
            () = viewer.closing.cancelled() => return,
            () = sender.closed() => return,
        }
        let Some(client) = still_welcome(&viewer) else {
            return;
        };
        let picture = pictures.borrow_and_update().clone();
        next = picture.and_then(|picture| told.news(&picture, &client));
        if next.is_none() && last.elapsed() >= SILENCE {
            next = Some(": nothing new\n\n".to_owned());
        }
    }
}

/// The client as the configuration in force knows it; `None` if it may watch no more.
fn still_welcome(viewer: &Viewer) -> Option<Arc<Client>> {
    let settings = viewer.shared.settings.load();
    let client = settings.clients.of_owner(&viewer.client.owner)?;
    settings.dashboard.then(|| Arc::clone(client))
}

/// The first event: who watches what, and when it is here.
fn greeting(client: &Client) -> String {
    let hello = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "client": &*client.name,
        "may_act": client.is_owner,
        "now": Timestamp::now().as_millis(),
    });
    event("hello", &hello.to_string())
}

fn event(name: &str, data: &str) -> String {
    format!("event: {name}\ndata: {data}\n\n")
}

/// What a watcher knows already.
#[derive(Default)]
struct Told {
    pools: String,
    traffic: String,
    /// The newest request it has been told of.
    serial: u64,
}

impl Told {
    /// The events that bring a watcher up to date; `None` if it is.
    fn news(&mut self, picture: &Picture, client: &Client) -> Option<String> {
        let mut news = String::new();
        for (name, known, data) in [
            ("pools", &mut self.pools, &picture.pools),
            ("traffic", &mut self.traffic, &picture.traffic),
        ] {
            if known != data {
                news += &event(name, data);
                known.clone_from(data);
            }
        }
        let is_for = |sender: &str| client.is_owner || sender == &*client.name;
        let rows = picture
            .requests
            .iter()
            .filter(|row| row.serial > self.serial && is_for(&row.client));
        let mut list = String::new();
        for row in rows {
            // Writing into a string cannot fail.
            let _ = write!(
                list,
                "{}{}",
                if list.is_empty() { "" } else { "," },
                row.json
            );
        }
        if !list.is_empty() {
            news += &event("requests", &format!("[{list}]"));
        }
        let newest = picture.requests.iter().map(|row| row.serial).max();
        self.serial = newest.unwrap_or(0).max(self.serial);
        (!news.is_empty()).then_some(news)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::gateway::snapshot::Snapshot;
    use crate::secret::FingerprintKey;
    use crate::server::clients::Clients;
    use crate::server::dashboard::picture::Row;

    fn picture(pools: &str, senders: &[&str]) -> Picture {
        let row = |(serial, sender): (u64, &&str)| {
            Arc::new(Row {
                serial,
                id: serial.to_string(),
                client: (*sender).to_owned(),
                json: format!("\"{serial} {sender}\""),
            })
        };
        let mut requests: Vec<_> = (1..).zip(senders).map(row).collect();
        requests.reverse();
        Picture {
            pools: pools.to_owned(),
            traffic: "t".to_owned(),
            requests,
        }
    }

    fn key_of_owners() -> FingerprintKey {
        FingerprintKey::new(&[7; 32])
    }

    fn anyone() -> Arc<Client> {
        Clients::new(&config::server::Server::default(), &key_of_owners()).anyone()
    }

    #[test]
    fn a_watcher_is_told_what_changed_and_no_more() {
        let (mut told, owner) = (Told::default(), anyone());
        let first = picture("p", &["a", "b"]);
        let news = told.news(&first, &owner).expect("everything is new");
        assert_eq!(
            news,
            "event: pools\ndata: p\n\nevent: traffic\ndata: t\n\nevent: requests\ndata: [\"2 b\",\"1 a\"]\n\n"
        );
        assert_eq!(told.news(&first, &owner), None);
        let news = told.news(&picture("q", &["a", "b", "c"]), &owner);
        let expected = "event: pools\ndata: q\n\nevent: requests\ndata: [\"3 c\"]\n\n";
        assert_eq!(news.as_deref(), Some(expected));
    }

    #[tokio::test(start_paused = true)]
    async fn pictures_are_taken_once_for_all_and_only_while_somebody_watches() {
        let live = Arc::new(Live::default());
        let gateway = Gateway::new(Snapshot::default(), None);
        let (mut one, two) = (live.pictures(&gateway), live.pictures(&gateway));
        assert!(one.same_channel(&two), "one picture for both");
        one.changed().await.expect("a first picture");
        assert!(one.borrow_and_update().is_some());
        one.changed().await.expect("and a second");
        drop((one, two));
        let is_idle = || live.pictures.lock().expect("nobody panics").is_none();
        assert!(!is_idle(), "the next tick finds out");
        tokio::time::sleep(2 * TICK).await;
        assert!(is_idle());
    }

    #[test]
    fn a_guest_is_told_of_its_own_requests_only() {
        let mut server = config::server::Server::default();
        let key = config::secret_ref::SecretRef::literal("k");
        server
            .clients
            .push(config::server::Client::unlimited("b", key));
        let guest = Clients::new(&server, &key_of_owners())
            .find("k")
            .expect("its key is known");
        let mut told = Told::default();
        let news = told.news(&picture("p", &["a", "b", "a"]), &guest);
        let news = news.expect("everything is new");
        assert!(
            news.ends_with("event: requests\ndata: [\"2 b\"]\n\n"),
            "{news}"
        );
        assert_eq!(
            told.news(&picture("p", &["a", "b", "a", "a"]), &guest),
            None
        );
    }
}
