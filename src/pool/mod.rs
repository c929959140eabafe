//! Which credential serves, and what a failure means.
//!
//! A pool stands for one provider. All rules are in `state::State`, which is told the time and
//! its random seed and does no I/O; what is here is a mutex around it, leases that give themselves
//! back, and the waking of those who wait. The lock is held for microseconds, never over an await.
//!
//! The trip of a request through a pool:
//!
//! ```text
//! let mut ask = Ask::new(model, session, deadline);
//! loop {
//!     match pool.acquire(&mut ask, now()) {
//!         Acquire::Lease(lease) => {
//!             // OAuth and refused with Verdict::Auth for the first time: refresh the token and
//!             // send again with the same lease, if lease.may_refresh(); settle only what then comes.
//!             match lease.settle(&mut ask, outcome, now()) {
//!                 Next::Again { after, .. } => sleep(after).await,
//!                 Next::Answer(stop) => break,
//!             }
//!         }
//!         Acquire::Wait(waiting) => waiting.woken().await, // or until waiting.until(), then ask again
//!         Acquire::Refused(refusal) => break,
//!     }
//! }
//! ```
//!
//! A served answer keeps its lease until the body ends: [`Lease::note_content`] at the first
//! content, [`Lease::finish`] at the end; dropping it counts as a client that left.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, oneshot};

use crate::dialects::usage::Usage;
use crate::ids::{CredentialId, ProviderId};
use crate::providers::verdict::Failure;
use crate::secret::Fingerprint;
use crate::time::Timestamp;

mod affinity;
mod alike;
mod ask;
mod blame;
mod blast;
mod budget;
mod caps;
mod class;
mod clock;
mod cooldown;
mod eligible;
mod elsewhere;
mod excerpt;
mod fair_cycle;
mod lane;
mod members;
mod passed_over;
mod record;
mod routes;
mod saved;
mod select;
mod settings;
mod settle;
pub mod simulate;
mod slot;
mod snapshot;
mod state;
mod summary;
mod waiters;
mod windows;

pub use ask::{Ask, Next, Outcome, Refusal, Rule, Stop};
pub use blast::Family;
pub use class::Totals;
pub use cooldown::Reason;
pub use elsewhere::{Beyond, Count, Declined, Terms, WindowTerm};
pub use excerpt::{Choice, Excerpt, Quota};
pub use members::UserState;
pub use passed_over::PassedOver;
pub use record::Most;
pub use saved::{
    Change, SavedClass, SavedCooldown, SavedCredential, SavedPause, SavedProbe, SavedReport,
    SavedSession, SavedSuspects, SavedWindow,
};
pub use settings::{
    Anchor, CapCooldown, CapLimit, CapSpec, Concurrency, CooldownSettings, FairCycle, Member,
    QuotaGroup, RetrySettings, Rotation, Settings, TierRule, Tracking, WindowSpec,
};
pub use slot::Standing;
pub use snapshot::{
    ClassSnapshot, CooldownSnapshot, CredentialState, MemberSnapshot, PoolSnapshot, WindowSnapshot,
};
pub use summary::PoolSummary;
pub use windows::Report;

use settle::Party;
use state::{Answer, Grant, Request, State};
use waiters::Ticket;

/// The credentials of one provider.
#[derive(Debug)]
pub struct Pool {
    inner: Mutex<Inner>,
    urgent: Notify,
}

#[derive(Debug)]
struct Inner {
    state: State,
    /// Who waits for which ticket.
    wakers: HashMap<Ticket, oneshot::Sender<()>>,
}

/// An answer to [`Pool::acquire`].
#[derive(Debug)]
pub enum Acquire {
    /// The right to send one request.
    Lease(Lease),
    /// Nobody is there who could serve.
    Refused(Refusal),
    /// Somebody will be, in time.
    Wait(Waiting),
}

impl Pool {
    /// An empty pool. `seed` drives all its randomness.
    pub fn new(provider: ProviderId, settings: Settings, seed: u64) -> Arc<Self> {
        Arc::new(Self {
            inner: Mutex::new(Inner {
                state: State::new(provider, settings, seed),
                wakers: HashMap::new(),
            }),
            urgent: Notify::new(),
        })
    }

    /// Loads or reloads settings and members. State stays with a credential as long as its secret
    /// (the fingerprint) is the same; a new secret starts fresh. Leases in flight stay valid.
    pub fn configure(&self, settings: Settings, members: Vec<Member>, now: Timestamp) {
        self.with(|state| state.configure(settings, members, now));
    }

    /// Asks for a credential. A request that was told to wait calls again with the same [`Ask`]
    /// and keeps its place in the queue.
    pub fn acquire(self: &Arc<Self>, ask: &mut Ask, now: Timestamp) -> Acquire {
        let own_place = ask
            .place
            .take_if(|place| place.is_in(self))
            .map(Place::into_ticket);
        // A place in another pool's queue is given up here, outside of our lock.
        ask.place = None;
        let mut inner = self.lock();
        let was_urgent = inner.state.dirt.is_urgent;
        if !ask.memory.counted {
            ask.passed_over = Some(inner.state.passed_over(&ask.model, now));
        }
        let answer = inner.state.acquire(
            &mut Request {
                model: &ask.model,
                session: ask.session,
                deadline: ask.deadline,
                memory: &mut ask.memory,
                client: ask.client,
                ticket: own_place,
            },
            now,
        );
        let acquired = match answer {
            Answer::Granted(grant) => Acquire::Lease(self.lease(&inner.state, grant)),
            Answer::Refused(refusal) => Acquire::Refused(refusal),
            Answer::Queued { ticket, until } => {
                let (waker, woken) = oneshot::channel();
                inner.wakers.insert(ticket, waker);
                ask.place = Some(Place {
                    pool: Some(Arc::clone(self)),
                    ticket,
                });
                Acquire::Wait(Waiting { until, woken })
            }
        };
        if let Some(ticket) = own_place.filter(|_| ask.place.is_none()) {
            inner.wakers.remove(&ticket);
        }
        inner.wake();
        let is_urgent = inner.state.dirt.is_urgent && !was_urgent;
        drop(inner);
        if is_urgent {
            self.urgent.notify_one();
        }
        acquired
    }

    /// Tells that a conversation goes on: `keys` are the names it may be known by, newest first. If
    /// an older one is known, its credential serves the newest as well. To be called before the
    /// first [`Pool::acquire`] of a request that may continue an earlier one.
    pub fn continue_session(&self, model: &str, keys: impl Iterator<Item = u64>, now: Timestamp) {
        self.with(|state| state.continue_session(model, keys, now));
    }

    /// A second credential beside a lease whose answer is slow to begin: another one, at once, and
    /// within the retry budget, or none.
    pub fn hedge(self: &Arc<Self>, ask: &mut Ask, lease: &Lease, now: Timestamp) -> Option<Lease> {
        let busy = lease.grant?.slot;
        let mut inner = self.lock();
        let request = Request {
            model: &ask.model,
            session: None,
            deadline: ask.deadline,
            memory: &mut ask.memory,
            client: ask.client,
            ticket: None,
        };
        let grant = inner.state.hedge(&request, busy, now)?;
        Some(self.lease(&inner.state, grant))
    }

    /// Everything reports need: credentials, cooldowns, windows, waiters.
    pub fn snapshot(&self, now: Timestamp) -> PoolSnapshot {
        self.lock().state.snapshot(now)
    }

    /// Sums over all credentials, and a page of those that are looked for: what stays small
    /// however large the pool is.
    pub fn excerpt(&self, choice: &Choice<'_>, now: Timestamp) -> Excerpt {
        self.lock().state.excerpt(choice, now)
    }

    /// Which secret of a credential the pool means; `None` if it has no such credential.
    pub fn fingerprint(&self, credential: &CredentialId) -> Option<Fingerprint> {
        let inner = self.lock();
        let at = inner.state.slot_of(credential)?;
        let slot = inner.state.slots.get(at as usize)?;
        Some(slot.member.fingerprint)
    }

    /// How many credentials are in which state: cheaper than [`Pool::snapshot`], and all that
    /// metrics need.
    pub fn summary(&self, now: Timestamp) -> PoolSummary {
        self.lock().state.summary(now)
    }

    /// Whether a credential is ready: a look at one or a few, unless none is.
    pub fn has_ready(&self, now: Timestamp) -> bool {
        self.lock().state.has_ready(now)
    }

    /// At most `most` credentials that are not known to be refused, ready ones first, for calls
    /// outside the pool.
    pub fn usable(&self, most: usize, now: Timestamp) -> Vec<CredentialId> {
        self.lock().state.usable(most, now)
    }

    /// The quota group a model is counted in, or its own name.
    pub fn class_of(&self, model: &str) -> String {
        let inner = self.lock();
        class::class_of(model, &inner.state.settings).0.to_owned()
    }

    /// Ends cooldowns by hand: of one model (or quota group), or of the whole credential. Returns
    /// whether the pool has the credential.
    pub fn reset(&self, credential: &CredentialId, model: Option<&str>, now: Timestamp) -> bool {
        self.with(|state| state.reset(credential, model, now))
    }

    /// Switches a credential on or off, or notes that its log-in has ended. Returns whether the
    /// pool has the credential.
    pub fn set_state(&self, credential: &CredentialId, state: &UserState, now: Timestamp) -> bool {
        self.with(|pool| pool.set_state(credential, state, now))
    }

    /// Changes the tier of a credential, and the priority and concurrency that hang on it; nothing
    /// else of it. Returns whether it is known.
    pub fn regrade(&self, credential: &CredentialId, change: impl FnOnce(&mut Member)) -> bool {
        self.with(|state| state.regrade(credential, change))
    }

    /// Takes a judgement of a credential that came without a lease, as from the first steps with an
    /// account: dead, or to be verified. Other verdicts change nothing. Returns whether the pool
    /// has the credential.
    pub fn condemn(&self, credential: &CredentialId, failure: &Failure, now: Timestamp) -> bool {
        self.with(|state| state.condemn(credential, failure, now))
    }

    /// Lets a credential rest as a whole until its access token can be renewed. Returns whether the
    /// pool has the credential.
    pub fn rest(
        &self,
        credential: &CredentialId,
        message: &str,
        until: Timestamp,
        now: Timestamp,
    ) -> bool {
        self.with(|state| state.rest_until(credential, message, until, now))
    }

    /// Takes a provider's word about a limit of a model (or quota group): rate-limit headers,
    /// quota endpoints. It wins over our own count. Returns whether the pool has the credential.
    pub fn report(
        &self,
        credential: &CredentialId,
        model: &str,
        report: &Report,
        now: Timestamp,
    ) -> bool {
        self.with(|state| state.report(credential, model, report, now))
    }

    /// Takes note of what an answer's headers say of a request limit: one with a number corrects the
    /// window that has the same; one without, which is used up, counts for itself. Returns whether
    /// the pool has the credential.
    pub fn heed(
        &self,
        credential: &CredentialId,
        model: &str,
        report: &Report,
        now: Timestamp,
    ) -> bool {
        self.with(|state| state.heed(credential, model, report, now))
    }

    /// What is to be written down since the last call. Counts may wait a second;
    /// [`Pool::urgent_changes`] tells when something may not.
    pub fn drain_changes(&self) -> Vec<Change> {
        self.lock().state.drain_changes()
    }

    /// Resolves when a cooldown or state has changed that must be durable within 100 ms. For one
    /// listener: the writer.
    pub async fn urgent_changes(&self) {
        self.urgent.notified().await;
    }

    /// `true` if a cooldown or state has changed since the last [`Pool::drain_changes`].
    pub fn has_urgent_changes(&self) -> bool {
        self.lock().state.dirt.is_urgent
    }

    /// Takes back what was written down, after [`Pool::configure`] has named the members. Records
    /// of unknown credentials or of other secrets are passed over.
    pub fn restore(&self, saved: Vec<Change>, now: Timestamp) {
        self.with(|state| state.restore(saved, now));
    }

    /// Takes over what others who share the pool say of credentials, as [`Pool::restore`] does, and
    /// has it written down here as well.
    pub fn adopt(&self, changes: Vec<Change>, now: Timestamp) {
        self.with(|state| state.adopt_words(changes, now));
    }

    /// Every standing, rest and pause that holds, for others who share the pool and know nothing.
    pub fn standings(&self) -> Vec<Change> {
        self.lock().state.standings()
    }

    fn lease(self: &Arc<Self>, state: &State, grant: Grant) -> Lease {
        let member = &state.slots[grant.slot as usize].member;
        Lease {
            pool: Arc::clone(self),
            credential: member.id.clone(),
            fingerprint: member.fingerprint,
            grant: Some(grant),
            usage: None,
            may_refresh: true,
            beyond: None,
        }
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        let mut inner = self.lock();
        let was_urgent = inner.state.dirt.is_urgent;
        let result = act(&mut inner.state);
        inner.wake();
        let is_urgent = inner.state.dirt.is_urgent;
        drop(inner);
        if is_urgent && !was_urgent {
            self.urgent.notify_one();
        }
        result
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic elsewhere must not stop every request: the state is consistent between calls.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn wake(&mut self) {
        self.state.tell_hopeless();
        for ticket in self.state.woken.drain(..) {
            if let Some(waker) = self.wakers.remove(&ticket) {
                // Whoever no longer listens gives its grant on when its `Ask` is dropped.
                let _ = waker.send(());
            }
        }
    }
}

/// A place in a pool's queue, left when dropped.
#[derive(Debug)]
struct Place {
    pool: Option<Arc<Pool>>,
    ticket: Ticket,
}

impl Place {
    fn is_in(&self, pool: &Arc<Pool>) -> bool {
        self.pool.as_ref().is_some_and(|own| Arc::ptr_eq(own, pool))
    }

    /// The ticket, without leaving the queue.
    fn into_ticket(mut self) -> Ticket {
        self.pool = None;
        self.ticket
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(pool) = self.pool.take() else {
            return;
        };
        let mut inner = pool.lock();
        inner.wakers.remove(&self.ticket);
        inner.state.leave(self.ticket);
        inner.wake();
    }
}

/// A wait for a credential. Its place in the queue belongs to the [`Ask`].
#[derive(Debug)]
pub struct Waiting {
    until: Timestamp,
    woken: oneshot::Receiver<()>,
}

impl Waiting {
    /// When to ask again at the latest: at the soonest end of a rest, or at the deadline.
    pub const fn until(&self) -> Timestamp {
        self.until
    }

    /// Resolves when a credential has been set aside for this request, or when none can serve it in
    /// time any longer: asking again tells which. Losing it to a timer or a `select!` loses nothing.
    pub async fn woken(self) {
        // A sender that is gone means that the queue was left: asking again tells why.
        let _ = self.woken.await;
    }
}

/// The right to send one request with one credential. Dropping it counts as a client that left:
/// the slot is free again, nobody is blamed, the tokens seen so far are counted.
#[derive(Debug)]
pub struct Lease {
    pool: Arc<Pool>,
    credential: CredentialId,
    fingerprint: Fingerprint,
    grant: Option<Grant>,
    usage: Option<Usage>,
    may_refresh: bool,
    /// What it holds outside of this pool.
    beyond: Option<Box<dyn Beyond>>,
}

impl Lease {
    /// The credential to send with.
    pub const fn credential(&self) -> &CredentialId {
        &self.credential
    }

    /// Which secret of it the pool meant, should it have been replaced meanwhile.
    pub const fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// `true` for the one request through the half-open door of a resting credential.
    pub fn is_probe(&self) -> bool {
        self.grant.is_some_and(|grant| grant.is_probe)
    }

    /// `true` the first time it is asked: an OAuth token that was refused is refreshed once and the
    /// request repeated on the same lease, before anyone is blamed.
    pub const fn may_refresh(&mut self) -> bool {
        std::mem::replace(&mut self.may_refresh, false)
    }

    /// The limits that must hold for all who share the pool, by the clock they share; `None` if
    /// there are none: then nobody needs to be asked.
    pub fn terms(&self, now: Timestamp) -> Option<Terms> {
        self.pool.lock().state.terms(self.grant?, now)
    }

    /// Gives the lease back unused, because the others do not allow it.
    pub fn decline(mut self, declined: Declined, now: Timestamp) {
        if let Some(grant) = self.grant.take() {
            self.pool.with(|state| state.decline(grant, declined, now));
        }
    }

    /// Goes on with what the others have granted, and takes over what they have counted.
    pub fn hold(&mut self, beyond: Box<dyn Beyond>, terms: &Terms, counts: &[Count]) {
        self.beyond = Some(beyond);
        if let Some(grant) = self.grant.filter(|_| !counts.is_empty()) {
            self.pool
                .with(|state| state.heed_counts(grant, terms, counts));
        }
    }

    /// Notes the tokens seen so far; they count even if the client leaves.
    pub fn note_usage(&mut self, usage: Usage) {
        match &mut self.usage {
            Some(known) => known.update(&usage),
            None => self.usage = Some(usage),
        }
    }

    /// Notes that the first content has come: the credential works, whatever becomes of the rest.
    pub fn note_content(&self, now: Timestamp) {
        if let Some(grant) = self.grant {
            self.pool.with(|state| {
                state.observe(now);
                state.note_success(grant, false);
                state.serve();
            });
        }
    }

    /// Settles an attempt before any content reached the client, and says what comes next.
    pub fn settle(mut self, ask: &mut Ask, outcome: Outcome<'_>, now: Timestamp) -> Next {
        let party = Party {
            memory: &mut ask.memory,
            deadline: ask.deadline,
        };
        self.end(outcome, Some(party), now)
    }

    /// Settles an attempt whose answer has reached the client, whole or broken.
    pub fn finish(mut self, outcome: Outcome<'_>, now: Timestamp) {
        self.end(outcome, None, now);
    }

    fn end(&mut self, outcome: Outcome<'_>, party: Option<Party<'_>>, now: Timestamp) -> Next {
        let Some(grant) = self.grant.take() else {
            return Next::Answer(Stop::Done);
        };
        let noted = self.usage;
        let outcome = match outcome {
            Outcome::Cancelled { usage } => Outcome::Cancelled {
                usage: usage.or(noted),
            },
            Outcome::Success { usage } => Outcome::Success {
                usage: usage.or(noted),
            },
            failed => failed,
        };
        if let Some(beyond) = self.beyond.take() {
            let (is_taken_back, tokens) = elsewhere::counted(&outcome, noted);
            beyond.ended(is_taken_back, tokens);
        }
        let is_failed = matches!(outcome, Outcome::Failed { .. } | Outcome::Ruled { .. });
        self.pool.with(|state| {
            if is_failed {
                state.add_usage(grant, noted);
            }
            state.settle(grant, outcome, party, now)
        })
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.grant.is_some() {
            let now = self.pool.lock().state.now;
            self.end(Outcome::Cancelled { usage: None }, None, now);
        }
    }
}

#[cfg(test)]
mod tests;
