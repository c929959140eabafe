//! Keeping an account's access token fresh: one refresh at a time, in this process and across
//! processes, and never a token used that is not on disk yet.
//!
//! Many vendors replace the refresh token with each use and drop the account when an old one is
//! used again. So: one flight an account in this process (it survives the caller that asked), the
//! account's file lock across processes, the file read again once the lock is held, and the new
//! tokens durable before anybody sees them. A refused token is never deleted.

mod shared;
mod tokens;
mod whose;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use serde_json::{Map, Value};
use thiserror::Error;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use crate::credentials::oauth::exchange::{self, Tokens};
use crate::credentials::oauth::{Client, Http, OAuthError, userinfo};
use crate::credentials::refresh::tokens::{USABLE_MARGIN, merge};
use crate::credentials::store::{Store, StoreError};
use crate::credentials::{Account, Credential, Material};
use crate::ids::CredentialId;
use crate::secret::Secret;
use crate::state::redis::Handover;
use crate::time::Timestamp;

pub(crate) use tokens::is_newer;
pub use tokens::with_tokens;

/// How long the end of a process waits for its refreshes.
const LANDING_PATIENCE: Duration = Duration::from_secs(5);

/// Between two refreshes ahead of the end.
const LEAST_GAP: Duration = Duration::from_secs(30);

/// Longest pause after refreshes that failed for the moment.
const MAX_PAUSE: Duration = Duration::from_mins(1);

/// All refreshes under way in this process.
static FLIGHTS: LazyLock<TaskTracker> = LazyLock::new(TaskTracker::new);

/// Waits for the refreshes that are under way, for some seconds at most. Whoever ends the process
/// before may lose an account whose provider has replaced the refresh token already.
pub async fn landed() {
    FLIGHTS.close();
    // A provider that has not answered by then may never do.
    let _ = timeout(LANDING_PATIENCE, FLIGHTS.wait()).await;
}

/// Why there is no fresh token.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum RefreshError {
    /// The configured OAuth client is refused; the account is not to blame.
    #[error("{0}")]
    Client(String),
    /// The account needs a new log-in; the text is the provider's reason.
    #[error("the account needs a new log-in: {0}")]
    NeedsLogin(String),
    /// It may work later, at the time given at the soonest.
    #[error("{message}")]
    Later { message: String, until: Timestamp },
}

impl RefreshError {
    /// The same, with another try no sooner than this.
    fn not_before(self, pause: Timestamp) -> Self {
        match self {
            Self::Later { message, until } => Self::Later {
                message,
                until: until.max(pause),
            },
            other => other,
        }
    }
}

/// An access token and which one it is.
#[derive(Clone, Debug)]
pub struct Token {
    pub secret: Secret,
    /// Grows with each refresh: what [`LiveAccount::renew`] wants to know after a 401.
    pub generation: u64,
}

/// One account while it is in use. Shared by all requests of its credential.
#[derive(Debug)]
pub struct LiveAccount {
    id: CredentialId,
    client: Client,
    /// `None` for an account of the environment: refreshed in memory only.
    store: Option<Store>,
    /// The same account in other instances; unset where there are none.
    handover: OnceLock<Handover>,
    state: Mutex<LiveState>,
    renewed: AtomicU64,
    failed: AtomicU64,
}

/// How many refreshes an account has had since the process began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub renewed: u64,
    pub failed: u64,
}

#[derive(Debug)]
struct LiveState {
    account: Account,
    /// The address that was learned.
    email: Option<String>,
    http: Http,
    flight: Option<watch::Receiver<Option<Landed>>>,
    /// When this process last renewed the token.
    renewed_at: Option<Timestamp>,
    /// Refreshes that failed for the moment, in a row.
    failures: u32,
    /// No refresh before this after a failure, and why.
    pause: Option<(Timestamp, RefreshError)>,
}

/// How a flight ended.
type Landed = Result<Token, RefreshError>;

impl LiveAccount {
    /// An account as it was read. `store` is where its tokens are kept.
    ///
    /// `None` for a credential that is no account.
    pub fn new(
        credential: &Credential,
        client: Client,
        http: Http,
        store: Option<Store>,
    ) -> Option<Arc<Self>> {
        let account = credential.account()?.clone();
        Some(Arc::new(Self {
            id: credential.id.clone(),
            client,
            store,
            handover: OnceLock::new(),
            renewed: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            state: Mutex::new(LiveState {
                account,
                email: None,
                http,
                flight: None,
                renewed_at: None,
                failures: 0,
                pause: None,
            }),
        }))
    }

    /// The credential's id.
    pub fn id(&self) -> &CredentialId {
        &self.id
    }

    /// The account with its present tokens and the vendor's data.
    pub fn account(&self) -> Account {
        self.lock().account.clone()
    }

    /// A fact of the vendor's that is text.
    pub fn fact(&self, name: &str) -> Option<String> {
        let text = self.lock().account.extra.get(name)?.as_str()?.to_owned();
        Some(text)
    }

    /// Whether the account is refreshed through this client.
    pub fn uses(&self, client: &Client) -> bool {
        self.client.is_same(client)
    }

    /// Whether its tokens are kept in the store.
    pub const fn is_stored(&self) -> bool {
        self.store.is_some()
    }

    /// Sends through another HTTP client from now on.
    pub fn reconnect(&self, http: Http) {
        self.lock().http = http;
    }

    /// The address that was learned of the account, if any was.
    pub fn email(&self) -> Option<String> {
        self.lock().email.clone()
    }

    /// The refreshes so far.
    pub fn tally(&self) -> Tally {
        Tally {
            renewed: self.renewed.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
        }
    }

    /// Takes over what another process, an import or a log-in wrote, if it is newer. Of the same
    /// tokens the facts are taken over, and that they are refused.
    pub fn adopt(&self, account: &Account) {
        let mut state = self.lock();
        let known = &mut state.account;
        if is_newer(account, known) {
            *known = account.clone();
            state.failures = 0;
            state.pause = None;
        } else if account.generation == known.generation {
            known.extra.extend(account.extra.clone());
            if known.expired_reason.is_none() {
                known.expired_reason.clone_from(&account.expired_reason);
            }
        }
    }

    /// Keeps what was learned of the account: in memory at once, then in its file. A member that
    /// is `null` is taken away.
    pub async fn learn(self: &Arc<Self>, facts: Map<String, Value>, email: Option<String>) {
        {
            let mut state = self.lock();
            merge(&mut state.account.extra, &facts);
            state.email = email.clone().or(state.email.take());
        }
        let Some(store) = self.store.clone() else {
            return;
        };
        let id = self.id.clone();
        let written = spawn_blocking(move || {
            let change = store.change()?;
            let Some(mut credential) = store.get(&id)? else {
                return Ok(());
            };
            if let Material::OAuth(account) = &mut credential.material {
                merge(&mut account.extra, &facts);
            }
            credential.email = credential.email.or(email);
            change.put(&credential)
        });
        let written: Result<Result<(), StoreError>, _> = written.await;
        if let Ok(Err(error)) = written {
            tracing::warn!(credential = %self.id, "what was learned of {} is not on disk: {error}", self.id);
        }
    }

    /// When the next refresh is due: the lead time before the token ends, spread by up to half of
    /// it so that many accounts do not refresh in one second. `None` if that is not known or no
    /// refresh is possible.
    pub fn due(&self) -> Option<Timestamp> {
        let state = self.lock();
        state.account.refresh_token.as_ref()?;
        if state.account.expired_reason.is_some() {
            return None;
        }
        let mut lead = Duration::from_secs(self.client.spec.refresh_lead_secs);
        let (expires, mut least) = (state.account.expires?, Timestamp::default());
        if let Some(renewed) = state.renewed_at {
            // A token that lives for less than the lead is not renewed without end.
            lead = lead.min(renewed.until(expires) / 2);
            least = renewed + LEAST_GAP;
        }
        let due = expires - lead.mul_f64(1.0 - self.spread() / 2.0);
        let pause = state.pause.as_ref().map_or(due, |(until, _)| *until);
        Some(due.max(pause).max(least))
    }

    /// Whether the present token is good for a request.
    pub fn is_usable(&self, now: Timestamp) -> bool {
        self.usable(now).is_some()
    }

    /// A token good for a request now, refreshed first where the present one has ended.
    pub async fn token(self: &Arc<Self>, now: Timestamp) -> Result<Token, RefreshError> {
        if let Some(token) = self.usable(now) {
            return Ok(token);
        }
        let generation = self.lock().account.generation;
        self.renew(generation, now).await
    }

    /// A token newer than the one of `generation`, which the provider refused or which is about
    /// to end. Refreshes unless somebody already has.
    pub async fn renew(
        self: &Arc<Self>,
        generation: u64,
        now: Timestamp,
    ) -> Result<Token, RefreshError> {
        let mut flight = {
            let mut state = self.lock();
            if state.account.generation > generation
                && let Some(token) = self.usable_of(&state.account, now)
            {
                return Ok(token);
            }
            if let Some(reason) = &state.account.expired_reason {
                return Err(RefreshError::NeedsLogin(reason.clone()));
            }
            if let Some((until, error)) = &state.pause
                && now < *until
            {
                return Err(error.clone().not_before(*until));
            }
            let running = state.flight.clone();
            running.unwrap_or_else(|| self.take_off(&mut state, generation, now))
        };
        let landed = flight.wait_for(Option::is_some).await;
        match landed.as_deref() {
            Ok(Some(landed)) => landed.clone(),
            // The task died; nobody else will land.
            _ => Err(RefreshError::Later {
                message: "the refresh broke off".to_owned(),
                until: now,
            }),
        }
    }

    /// Starts the one refresh as a task of its own: it ends even if everybody who waits for it
    /// goes away, because the provider may already have replaced the refresh token.
    fn take_off(
        self: &Arc<Self>,
        state: &mut LiveState,
        generation: u64,
        now: Timestamp,
    ) -> watch::Receiver<Option<Landed>> {
        let (landing, flight) = watch::channel(None);
        state.flight = Some(flight.clone());
        let account = Arc::clone(self);
        FLIGHTS.spawn(async move {
            let landed = account.refresh(generation, now).await;
            let pause = account.land(&landed, now);
            let landed = landed.map_err(|error| match pause {
                Some(until) => error.not_before(until),
                None => error,
            });
            landing.send_replace(Some(landed));
        });
        flight
    }

    /// Notes how a flight ended. Returns when the next may begin, if not at once.
    fn land(&self, landed: &Landed, now: Timestamp) -> Option<Timestamp> {
        let mut state = self.lock();
        state.flight = None;
        let tally = match landed {
            Ok(_) => &self.renewed,
            Err(_) => &self.failed,
        };
        tally.fetch_add(1, Ordering::Relaxed);
        match landed {
            Ok(_) => {
                state.renewed_at = Some(now);
                state.failures = 0;
                state.pause = None;
            }
            Err(error) => {
                state.failures = state.failures.saturating_add(1);
                let until = match error {
                    RefreshError::Later { until, .. } => *until,
                    _ => now,
                };
                let until = until.max(now + self.pause(state.failures));
                state.pause = Some((until, error.clone()));
            }
        }
        state.pause.as_ref().map(|(until, _)| *until)
    }

    async fn refresh(self: &Arc<Self>, generation: u64, now: Timestamp) -> Landed {
        let _lock = self.lock_between_processes(now).await?;
        let _turn = self.lock_among_instances(now).await?;
        // Another process may have done it while we waited for the lock; and what it wrote may have
        // been taken over meanwhile.
        let known = self.lock().account.clone();
        let mut is_done = known.generation > generation;
        if let Some(stored) = self.read_stored().await {
            is_done |= is_newer(&stored, &known);
            self.adopt(&stored);
        }
        if let Some(handed) = self.handed_over().await {
            is_done |= is_newer(&handed, &known);
            self.take_over(handed, now).await;
        }
        let account = self.lock().account.clone();
        if is_done && let Some(token) = self.usable_of(&account, now) {
            return Ok(token);
        }
        if let Some(reason) = &account.expired_reason {
            return Err(RefreshError::NeedsLogin(reason.clone()));
        }
        let Some(refresh_token) = &account.refresh_token else {
            return Err(RefreshError::NeedsLogin(
                "the access token has ended and there is no refresh token".to_owned(),
            ));
        };
        let http = self.lock().http.clone();
        match exchange::refresh(&self.client, refresh_token, &http).await {
            Ok(tokens) => self.keep(account, tokens, now).await,
            Err(error) => self.refused(&account, error, now).await,
        }
    }

    /// Makes new tokens durable, then known.
    async fn keep(self: &Arc<Self>, account: Account, tokens: Tokens, now: Timestamp) -> Landed {
        let mut renewed = with_tokens(account, tokens, now);
        match self.write(renewed.clone(), now).await {
            Ok(None) => {}
            // Somebody logged in meanwhile: theirs are the tokens to use.
            Ok(Some(newer)) => renewed = newer,
            // A full disk must not cost the account: the tokens stay good in memory, and the next
            // write takes them along.
            Err(error) => {
                tracing::error!(credential = %self.id, "new tokens of {} are not on disk: {error}", self.id);
            }
        }
        let token = self.token_of(&renewed);
        // Known before it is handed over: what is taken over meanwhile is newer.
        self.lock().account = renewed.clone();
        self.hand_over(&renewed).await;
        token.ok_or_else(|| RefreshError::NeedsLogin("the provider gave no token".to_owned()))
    }

    async fn refused(
        self: &Arc<Self>,
        account: &Account,
        error: OAuthError,
        now: Timestamp,
    ) -> Landed {
        match error {
            OAuthError::Transient {
                message,
                retry_after,
            } => Err(RefreshError::Later {
                message,
                until: now + retry_after.unwrap_or_default(),
            }),
            OAuthError::Unexpected(message) => Err(RefreshError::Later {
                message,
                until: now,
            }),
            OAuthError::ClientRefused(_) => Err(RefreshError::Client(error.to_string())),
            OAuthError::Denied
            | OAuthError::Expired
            | OAuthError::GrantRefused(_)
            | OAuthError::StateMismatch => self.grant_refused(account, &error, now).await,
        }
    }

    /// The last word on a refresh token: first look whether somebody else has a newer one.
    async fn grant_refused(
        self: &Arc<Self>,
        account: &Account,
        error: &OAuthError,
        now: Timestamp,
    ) -> Landed {
        if let Some(newer) = self.newer_elsewhere(account, now).await
            && let Some(token) = self.usable_of(&newer, now)
        {
            return Ok(token);
        }
        let reason = match error {
            OAuthError::GrantRefused(reason) => reason.clone(),
            other => other.to_string(),
        };
        Err(self.refuse(account.clone(), reason, now).await)
    }

    /// Notes that the account needs a new log-in, and why.
    pub async fn refuse(
        self: &Arc<Self>,
        mut account: Account,
        reason: String,
        now: Timestamp,
    ) -> RefreshError {
        account.expired_reason = Some(reason.clone());
        if let Err(error) = self.write(account.clone(), now).await {
            tracing::warn!(credential = %self.id, "cannot note that {} needs a log-in: {error}", self.id);
        }
        self.lock().account = account;
        RefreshError::NeedsLogin(reason)
    }

    async fn read_stored(&self) -> Option<Account> {
        let (store, id) = (self.store.clone()?, self.id.clone());
        let read = spawn_blocking(move || store.get(&id)).await;
        let credential = read.ok()?.ok()??;
        credential.account().cloned()
    }

    /// Writes the account into its file, keeping what else the file holds. An account that was
    /// removed meanwhile stays removed; one that somebody logged in to anew is returned instead.
    async fn write(&self, account: Account, now: Timestamp) -> Result<Option<Account>, StoreError> {
        let Some(store) = self.store.clone() else {
            return Ok(None);
        };
        let id = self.id.clone();
        let written = spawn_blocking(move || {
            let change = store.change()?;
            let Some(mut credential) = store.get(&id)? else {
                return Ok(None);
            };
            if let Some(stored) = credential.account()
                && is_newer(stored, &account)
            {
                return Ok(Some(stored.clone()));
            }
            let mut account = account;
            if let Some(stored) = credential.account() {
                // What another process learned meanwhile.
                for (name, value) in &stored.extra {
                    account.extra.entry(name).or_insert_with(|| value.clone());
                }
            }
            credential.material = Material::OAuth(Box::new(account));
            credential.updated = Some(now);
            change.put(&credential)?;
            Ok(None)
        });
        // A panic in there has been reported; the tokens are still in memory.
        written.await.unwrap_or(Ok(None))
    }

    /// What an account's requests are sent with, if it lives for a while yet.
    fn usable_of(&self, account: &Account, now: Timestamp) -> Option<Token> {
        let lives = account.expires.is_none_or(|end| now + USABLE_MARGIN < end);
        self.token_of(account).filter(|_| lives)
    }

    fn token_of(&self, account: &Account) -> Option<Token> {
        Some(Token {
            secret: userinfo::bearer(&self.client, account)?,
            generation: account.generation,
        })
    }

    fn usable(&self, now: Timestamp) -> Option<Token> {
        self.usable_of(&self.lock().account, now)
    }

    /// 1, 2, 4 … 60 s, each at random between half and whole.
    fn pause(&self, failures: u32) -> Duration {
        let longest = Duration::from_secs(1 << failures.saturating_sub(1).min(6)).min(MAX_PAUSE);
        longest.mul_f64(0.5 + self.spread() / 2.0)
    }

    /// A number from 0 to 1 of this account's own.
    fn spread(&self) -> f64 {
        let hash = self.id.as_str().bytes().fold(7_u32, |hash, byte| {
            hash.wrapping_mul(31).wrapping_add(byte.into())
        });
        f64::from(hash % 1000) / 1000.0
    }

    fn lock(&self) -> MutexGuard<'_, LiveState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
