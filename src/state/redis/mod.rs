//! Several gateways, one pool: what they tell each other through a Redis or Valkey.
//!
//! The memory of each process stays the truth of its own requests; this is how the others hear of
//! it. Nothing here decides about credentials: limits are counted where all see them (`limits`),
//! words are passed on (`bulletin`), locks and sealed tokens are kept (`handover`), and it is known
//! who is there (`roster`). No call waits for longer than [`COMMAND_PATIENCE`], and none is made
//! while the server is away: the caller goes on with what it knows itself.
//!
//! What is kept there: keyed hashes of secrets, never a secret; times of the server's clock; counts.
//! Each script touches the keys of one hash slot, and every key ends by itself.

mod bulletin;
mod call;
mod clock;
mod connection;
mod handover;
mod keys;
mod limits;
mod link;
#[cfg(test)]
pub(crate) mod model;
mod pace;
mod roster;
mod scripts;
mod seal;
mod target;
mod usage;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ring::hmac;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::secret::{FingerprintKey, Secret};
use crate::state::redis::keys::Keys;
use crate::state::redis::link::Link;
use crate::state::redis::scripts::Scripts;
use crate::state::redis::seal::Seal;

pub use bulletin::{Message, News, Notice, Snapshot};
pub use clock::ServerClock;
pub use handover::{Handed, Handover, Held};
pub use keys::client_mark;
pub use limits::{Admission, Ended, Ends, Known, LEASE, Limits, Ticket, Window};
pub use link::Away;
pub use pace::Pace;
pub use roster::Instance;
pub use usage::{Page, Served, USAGE_LASTS};

/// No request waits for longer than this for the server's word, and most for far less ([`Pace`]). One
/// that is so late once is taken for away until it has answered in the background.
pub const COMMAND_PATIENCE: Duration = Duration::from_millis(250);

/// How long whatever no request waits for may take.
pub const BACKGROUND_PATIENCE: Duration = Duration::from_millis(500);

/// What `[state]` says of the shared state.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The server's address; it may hold a password.
    pub url: Secret,
    /// The prefix of all keys.
    pub namespace: String,
    /// What tokens are sealed with; without it none are handed over.
    pub token_key: Option<Secret>,
}

impl Settings {
    /// What secrets are named with in the group: the same in all instances with the same
    /// `token_key` (or, without one, the same namespace).
    pub fn names(&self) -> FingerprintKey {
        FingerprintKey::new(&derived(&self.root(), "names"))
    }

    fn root(&self) -> hmac::Key {
        let text = match &self.token_key {
            Some(key) => key.expose(),
            None => self.namespace.as_str(),
        };
        hmac::Key::new(hmac::HMAC_SHA256, text.as_bytes())
    }
}

/// The shared state as one instance sees it.
#[derive(Debug)]
pub struct Redis {
    link: Link,
    keys: Keys,
    scripts: Scripts,
    seal: Option<Seal>,
    mark: String,
    instance: String,
    clock: ServerClock,
    pace: Pace,
    /// Numbers what this instance holds.
    next: AtomicU64,
}

impl Redis {
    /// The shared state at an address; nothing is sent yet. The error says what is wrong with the
    /// address, without it.
    pub fn new(settings: &Settings) -> Result<Self, String> {
        let root = settings.root();
        let [a, b, c, d, ..] = derived(&root, "mark");
        Ok(Self {
            link: Link::new(settings.url.expose())?,
            keys: Keys::new(&settings.namespace),
            scripts: Scripts::new(),
            seal: settings
                .token_key
                .as_ref()
                .map(|_| Seal::new(&derived(&root, "tokens"))),
            mark: format!("{:08x}", u32::from_be_bytes([a, b, c, d])),
            instance: format!("{:016x}", fastrand::u64(..)),
            clock: ServerClock::default(),
            pace: Pace::default(),
            next: AtomicU64::new(0),
        })
    }

    /// Tells whether two instances name secrets alike, and nothing about how.
    pub fn mark(&self) -> &str {
        &self.mark
    }

    /// This instance's own name, new with each process.
    pub fn instance(&self) -> &str {
        &self.instance
    }

    /// Whether tokens can be handed over.
    pub const fn hands_over(&self) -> bool {
        self.seal.is_some()
    }

    /// How quickly the server answers those who wait.
    pub const fn pace(&self) -> &Pace {
        &self.pace
    }

    /// Whether the server is there, as far as is known.
    pub fn is_up(&self) -> bool {
        self.link.is_up()
    }

    /// Why the server is away, in words without secrets; `None` while it is there.
    pub fn trouble(&self) -> Option<String> {
        self.link.trouble()
    }

    /// Takes whoever is at the other end of a stream for the server, instead of
    /// [joining](Self::join) the one at the address: for tests of what a server may answer. It hears
    /// no news.
    pub async fn attach<S>(&self, stream: S) -> Result<(), Away>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        self.link.attach(stream).await
    }

    /// Resolves when the server has been lost. For one listener.
    pub async fn lost(&self) {
        self.link.lost().await;
    }

    /// The server's clock as this instance reckons it.
    pub const fn clock(&self) -> &ServerClock {
        &self.clock
    }

    /// A name for something this instance holds: `instance:number`.
    fn next_id(&self) -> String {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        format!("{}:{number}", self.instance)
    }
}

/// A key for one purpose, of the one the configuration gives.
fn derived(root: &hmac::Key, purpose: &str) -> [u8; 32] {
    let tag = hmac::sign(root, format!("llmproxy group v1 {purpose}").as_bytes());
    let mut key = [0; 32];
    key.copy_from_slice(tag.as_ref());
    key
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(namespace: &str, token_key: Option<&str>) -> Settings {
        Settings {
            url: Secret::new("redis://127.0.0.1:1/0"),
            namespace: namespace.to_owned(),
            token_key: token_key.map(Secret::new),
        }
    }

    #[test]
    fn instances_of_one_group_name_secrets_alike_and_others_do_not() {
        let secret = Secret::new("sk-0123456789abcdef");
        let name = |one: &Settings| secret.fingerprint(&one.names());
        let mark = |one: &Settings| Redis::new(one).expect("an address").mark().to_owned();
        let (one, two) = (settings("a", Some("k")), settings("a", Some("k")));
        assert_eq!((name(&one), mark(&one)), (name(&two), mark(&two)));
        for other in [settings("a", Some("l")), settings("a", None)] {
            assert_ne!(name(&one), name(&other));
            assert_ne!(mark(&one), mark(&other));
        }
        assert_ne!(name(&settings("a", None)), name(&settings("b", None)));
    }
}
