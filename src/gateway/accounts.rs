//! Credentials in use: the key to send, or an account's token kept fresh, with what its adapter
//! may know of it.
//!
//! An account is made ready before each attempt: its token is renewed if it has ended, and its
//! first steps are taken if they have not been. What fails here is told to the pool as the state
//! it means: a new log-in, a page its owner must open, or a rest.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::time::Instant;

use crate::credentials::refresh::{LiveAccount, RefreshError, Token};
use crate::credentials::{Account, Credential, Material, Source};
use crate::gateway::failure::Lost;
use crate::gateway::probe;
use crate::gateway::runtime::ProviderRuntime;
use crate::ids::CredentialId;
use crate::pool::{Rule, UserState};
use crate::providers::account::{AccountView, Step};
use crate::providers::verdict::{Failure, Fault, Verdict};
use crate::secret::Secret;
use crate::time::Timestamp;

/// How long the first steps with an account may take; onboarding is a long-running operation of
/// the vendor's that mostly ends within seconds.
const FIRST_STEPS_PATIENCE: Duration = Duration::from_mins(5);

/// Calls of one run of first steps: a machine that goes round in circles ends here.
const MAX_STEPS: usize = 200;

/// Who was given the account before it was refused asks within this.
const JUST_NOW: Duration = Duration::from_secs(1);

/// How long one of them may take.
const STEP_TIMEOUT: Duration = Duration::from_secs(30);

/// An account whose OAuth client is refused rests so long: only a new configuration helps.
const CLIENT_REST: Duration = Duration::from_mins(5);

/// A credential as attempts know it. Made anew with each snapshot; what lives on is in its proof.
pub struct Holder {
    pub id: CredentialId,
    pub source: Source,
    pub proof: Proof,
    pub email: Option<String>,
    /// The user's word; the vendor's is among the account's facts.
    tier: Option<String>,
    /// The user's word; else the tier decides.
    priority: Option<u32>,
    /// The project that the configuration names, for accounts that know of none.
    project: Option<String>,
    /// What is known of a key; an account has its facts with it.
    facts: Arc<Map<String, Value>>,
    /// Why its vendor serves it no longer: then nobody is called for it.
    pub closed: Option<String>,
}

/// What a credential proves itself with.
pub enum Proof {
    Account(Arc<AccountInUse>),
    Key(Secret),
}

/// An account while it is in use. Survives reloads.
pub struct AccountInUse {
    pub live: Arc<LiveAccount>,
    /// What an account of the environment began with: another token is another account.
    given: Option<Secret>,
    /// Held while the first steps are taken, so that many requests take them once.
    first_steps: tokio::sync::Mutex<Ended>,
    /// How many times the first steps came to an end.
    ended: AtomicU64,
    /// When its quota was last asked for, milliseconds since the epoch; 0 is never.
    quota_read_ms: AtomicI64,
}

/// How the first steps ended last, for those who waited for them or came a moment too late: the
/// failure, if it was one, and when.
type Ended = Option<(Failure, Instant)>;

/// All that one attempt needs of a credential.
pub struct Pass {
    pub id: CredentialId,
    pub secret: Secret,
    /// Whether its token had ended and was renewed for this.
    pub is_renewed: bool,
    generation: u64,
    account: Option<Box<Account>>,
    email: Option<String>,
    tier: Option<String>,
    facts: Arc<Map<String, Value>>,
}

impl AccountInUse {
    /// An account that begins to be used.
    pub fn new(live: Arc<LiveAccount>) -> Arc<Self> {
        Arc::new(Self {
            given: live.account().refresh_token,
            live,
            first_steps: tokio::sync::Mutex::default(),
            ended: AtomicU64::new(0),
            quota_read_ms: AtomicI64::new(0),
        })
    }

    /// Whether its quota was last asked for longer ago than this.
    pub fn is_quota_due(&self, now: Timestamp, interval: Duration) -> bool {
        let last = Timestamp::from_millis(self.quota_read_ms.load(Ordering::Relaxed));
        last + interval <= now
    }

    /// Notes that its quota is being asked for.
    pub fn quota_read(&self, now: Timestamp) {
        self.quota_read_ms.store(now.as_millis(), Ordering::Relaxed);
    }

    /// Whether a credential, read again, is this account: then its tokens are taken over if they
    /// are newer.
    pub fn goes_on_as(&self, credential: &Credential) -> bool {
        let Some(account) = credential.account() else {
            return false;
        };
        let text = |secret: &Option<Secret>| secret.as_ref().map(|s| s.expose().to_owned());
        if !self.live.is_stored() && text(&self.given) != text(&account.refresh_token) {
            return false;
        }
        self.live.adopt(account);
        true
    }
}

impl Holder {
    /// A credential; `account` is the live one where it is an account, without which it cannot
    /// serve. `facts` are a key's, `closed` says why its vendor serves it no longer.
    pub fn new(
        credential: &Credential,
        account: Option<Arc<AccountInUse>>,
        project: Option<&str>,
        facts: Map<String, Value>,
        closed: Option<String>,
    ) -> Option<Self> {
        let proof = match &credential.material {
            Material::ApiKey(secret) => Proof::Key(secret.clone()),
            Material::OAuth(_) => Proof::Account(account?),
        };
        Some(Self {
            id: credential.id.clone(),
            source: credential.source,
            proof,
            email: credential.email.clone(),
            tier: credential.tier.clone(),
            priority: credential.priority,
            project: project.map(str::to_owned),
            facts: Arc::new(facts),
            closed,
        })
    }

    /// The account behind it.
    pub const fn account(&self) -> Option<&Arc<AccountInUse>> {
        match &self.proof {
            Proof::Account(account) => Some(account),
            Proof::Key(_) => None,
        }
    }

    /// The user's word on its tier, else what the vendor said of the account so far.
    pub fn tier(&self) -> Option<String> {
        let said = || self.account()?.live.fact("tier");
        self.tier.clone().or_else(said)
    }

    /// `…abcd` for a key, nothing for an account.
    pub fn last4(&self) -> Option<String> {
        match &self.proof {
            Proof::Account(_) => None,
            Proof::Key(secret) => Some(secret.last4()),
        }
    }

    fn pass(&self, token: Option<Token>) -> Option<Pass> {
        let (secret, generation, account) = match &self.proof {
            Proof::Key(secret) => (secret.clone(), 0, None),
            Proof::Account(account) => {
                let token = token?;
                let mut account = Box::new(account.live.account());
                if let Some(project) = &self.project {
                    let facts = account.extra.entry("project_id");
                    facts.or_insert_with(|| project.as_str().into());
                }
                (token.secret, token.generation, Some(account))
            }
        };
        Some(Pass {
            id: self.id.clone(),
            secret,
            is_renewed: false,
            generation,
            account,
            email: self.email.clone(),
            tier: self.tier.clone(),
            facts: Arc::clone(&self.facts),
        })
    }
}

impl Pass {
    /// `true` for an account, whose token can be renewed.
    pub const fn is_account(&self) -> bool {
        self.account.is_some()
    }

    /// What the adapter may know.
    pub fn view(&self) -> AccountView<'_> {
        let facts = self
            .account
            .as_ref()
            .map_or(&*self.facts, |account| &account.extra);
        let said = || facts.get("tier").and_then(Value::as_str);
        AccountView {
            facts,
            email: self.email.as_deref(),
            tier: self.tier.as_deref().or_else(said),
            generation: self.generation,
            kind_is_account: self.account.is_some(),
        }
    }
}

/// Why a credential could not even be made ready.
#[derive(Debug)]
pub enum Unready {
    /// The first steps ended so; settled like an answer of the vendor's.
    Refused(Failure),
    /// There is no token.
    Token(RefreshError),
}

impl Unready {
    /// Tells the pool what it means, where no lease does.
    pub fn tell(&self, runtime: &ProviderRuntime, credential: &CredentialId, now: Timestamp) {
        let pool = &runtime.pool;
        match self {
            Self::Refused(failure) => {
                pool.condemn(credential, failure, now);
            }
            Self::Token(RefreshError::NeedsLogin(_)) => {
                pool.set_state(credential, &UserState::Expired, now);
            }
            Self::Token(error) => {
                pool.rest(credential, &error.to_string(), again_at(error, now), now);
            }
        }
    }

    /// The failed attempt that it is.
    pub fn lost(self, now: Timestamp) -> Lost {
        match self {
            Self::Refused(failure) => Lost::judged(failure),
            Self::Token(error) => {
                let rule = match &error {
                    RefreshError::NeedsLogin(_) => Rule::Rotate,
                    RefreshError::Client(_) | RefreshError::Later { .. } => {
                        Rule::Rest(now.until(again_at(&error, now)))
                    }
                };
                let failure = Failure::new(Verdict::Auth, error.to_string());
                Lost::ruled(failure, rule)
            }
        }
    }

    /// The failure in words, for reports.
    pub fn into_failure(self) -> Failure {
        match self {
            Self::Refused(failure) => failure,
            Self::Token(error @ RefreshError::Later { .. }) => {
                Failure::new(Verdict::Transient(Fault::Server), error.to_string())
            }
            Self::Token(error) => Failure::new(Verdict::Auth, error.to_string()),
        }
    }
}

/// When another refresh makes sense.
fn again_at(error: &RefreshError, now: Timestamp) -> Timestamp {
    match error {
        RefreshError::Client(_) | RefreshError::NeedsLogin(_) => now + CLIENT_REST,
        RefreshError::Later { until, .. } => *until,
    }
}

/// Makes a credential ready for one attempt: a token that is good now, and the first steps taken.
pub async fn ready(runtime: &ProviderRuntime, id: &CredentialId) -> Result<Option<Pass>, Unready> {
    let Some(holder) = runtime.holders.get(id) else {
        return Ok(None);
    };
    if let Some(closed) = &holder.closed {
        let failure = Failure::new(Verdict::Dead, closed.clone());
        return Err(Unready::Refused(failure));
    }
    let Some(account) = holder.account() else {
        return Ok(holder.pass(None));
    };
    let is_renewed = !account.live.is_usable(Timestamp::now());
    let token = account.live.token(Timestamp::now()).await;
    let token = token.map_err(|error| unready(runtime, id, error))?;
    let mut pass = holder.pass(Some(token));
    let view = pass.as_ref().map(Pass::view);
    if view.is_some_and(|view| runtime.adapter.bootstrap(&view).is_some()) {
        let taken = first_steps(runtime, holder, account).await;
        if let Err(refused @ Unready::Refused(_)) = &taken {
            refused.tell(runtime, id, Timestamp::now());
        }
        pass = taken?;
    }
    Ok(pass.map(|pass| Pass { is_renewed, ..pass }))
}

/// A newer token after the vendor refused the one of `pass`; `None` for keys.
pub async fn renewed(
    runtime: &ProviderRuntime,
    id: &CredentialId,
    pass: &Pass,
) -> Result<Option<Pass>, Unready> {
    let Some(holder) = runtime.holders.get(id) else {
        return Ok(None);
    };
    let Some(account) = holder.account() else {
        return Ok(None);
    };
    let token = account.live.renew(pass.generation, Timestamp::now()).await;
    let token = token.map_err(|error| unready(runtime, id, error))?;
    Ok(holder.pass(Some(token)))
}

/// What it means that the vendor refused a token that was just renewed, where that is final: the
/// account needs a new log-in. `None` where another time may do.
pub async fn refused_anew(
    runtime: &ProviderRuntime,
    id: &CredentialId,
    failure: &Failure,
) -> Option<Unready> {
    let holder = runtime.holders.get(id)?;
    let live = &holder.account()?.live;
    if !runtime.adapter.spec().oauth?.fresh_refusal_is_final {
        return None;
    }
    let reason = failure.message.clone();
    let error = live.refuse(live.account(), reason, Timestamp::now()).await;
    Some(unready(runtime, id, error))
}

/// The account anew after the vendor proved what is known of it wrong: the fact is forgotten and
/// the first steps are taken again. `None` for keys, and where it was not known at all.
pub async fn without_fact(
    runtime: &ProviderRuntime,
    id: &CredentialId,
    fact: &str,
) -> Result<Option<Pass>, Unready> {
    let Some(account) = runtime.holders.get(id).and_then(|holder| holder.account()) else {
        return Ok(None);
    };
    if !account.live.account().extra.contains_key(fact) {
        return Ok(None);
    }
    let forgotten = [(fact.to_owned(), Value::Null)].into_iter().collect();
    account.live.learn(forgotten, None).await;
    ready(runtime, id).await
}

fn unready(runtime: &ProviderRuntime, id: &CredentialId, error: RefreshError) -> Unready {
    tracing::warn!(credential = %id, "{id} has no fresh token: {error}");
    let unready = Unready::Token(error);
    if matches!(unready, Unready::Token(RefreshError::NeedsLogin(_))) {
        unready.tell(runtime, id, Timestamp::now());
    }
    unready
}

/// Takes the first steps, once for all who wait for them.
async fn first_steps(
    runtime: &ProviderRuntime,
    holder: &Holder,
    account: &AccountInUse,
) -> Result<Option<Pass>, Unready> {
    let seen = account.ended.load(Ordering::Acquire);
    let mut last = account.first_steps.lock().await;
    let has_waited = account.ended.load(Ordering::Acquire) != seen;
    if let Some((failure, at)) = &*last
        && (has_waited || at.elapsed() < JUST_NOW)
    {
        return Err(Unready::Refused(failure.clone()));
    }
    let taken = take_first_steps(runtime, holder, account).await;
    *last = match &taken {
        Err(Unready::Refused(failure)) => Some((failure.clone(), Instant::now())),
        Err(Unready::Token(_)) | Ok(_) => None,
    };
    account.ended.fetch_add(1, Ordering::Release);
    taken
}

async fn take_first_steps(
    runtime: &ProviderRuntime,
    holder: &Holder,
    account: &AccountInUse,
) -> Result<Option<Pass>, Unready> {
    let deadline = Instant::now() + FIRST_STEPS_PATIENCE;
    let token = account.live.token(Timestamp::now()).await;
    let token = token.map_err(|error| unready(runtime, &holder.id, error))?;
    let Some(mut pass) = holder.pass(Some(token)) else {
        return Ok(None);
    };
    let Some(mut machine) = runtime.adapter.bootstrap(&pass.view()) else {
        return Ok(Some(pass));
    };
    let (mut reply, mut is_renewed) = (None, false);
    for _ in 0..MAX_STEPS {
        let answer = reply.as_ref().map(probe::ProbeReply::as_answer);
        match machine.next(answer.as_ref(), Timestamp::now()) {
            Step::Call(call) => {
                let called = probe::call(runtime, Some(&pass), &call, STEP_TIMEOUT).await;
                reply = called.ok();
            }
            Step::Pause(wait) if Instant::now() + wait < deadline => {
                tokio::time::sleep(wait).await;
                reply = None;
            }
            Step::Pause(_) => break,
            Step::Done(facts) => {
                let mut extra = facts.extra;
                if let Some(tier) = facts.tier {
                    extra.insert("tier".to_owned(), tier.into());
                }
                let mut email = facts.email;
                if email.is_none() && holder.email.is_none() && account.live.email().is_none() {
                    email = account.live.whose().await;
                }
                account.live.learn(extra, email).await;
                runtime.pool.regrade(&holder.id, |member| {
                    let tier = holder.tier();
                    let grades = &runtime.grades;
                    grades.place(member, tier.as_deref(), holder.priority);
                });
                let token = account.live.token(Timestamp::now()).await;
                let token = token.map_err(|error| unready(runtime, &holder.id, error))?;
                return Ok(holder.pass(Some(token)));
            }
            // Not ended by the clock, and refused all the same: as in a request, a newer token may do.
            Step::Refused(failure) if failure.verdict == Verdict::Auth && !is_renewed => {
                let token = account.live.renew(pass.generation, Timestamp::now()).await;
                let token = token.map_err(|error| unready(runtime, &holder.id, error))?;
                let Some(newer) = holder.pass(Some(token)) else {
                    return Ok(None);
                };
                let Some(again) = runtime.adapter.bootstrap(&newer.view()) else {
                    return Ok(Some(newer));
                };
                (pass, machine) = (newer, again);
                (reply, is_renewed) = (None, true);
            }
            Step::Refused(mut failure) => {
                failure.message = runtime.redact(&failure.message, Some(&pass.secret));
                return Err(Unready::Refused(failure));
            }
        }
    }
    let verdict = Verdict::Transient(Fault::Timeout);
    let message = "the account could not be set up in time";
    Err(Unready::Refused(Failure::new(verdict, message)))
}

/// The holders of a provider, by id.
pub type Holders = HashMap<CredentialId, Arc<Holder>>;
