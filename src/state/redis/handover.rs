//! One refresh in the whole group: a lock an account, and the new tokens, sealed, for the others.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use zeroize::Zeroizing;

use crate::secret::Fingerprint;
use crate::state::redis::call::Call;
use crate::state::redis::keys::Keys;
use crate::state::redis::link::Away;
use crate::state::redis::scripts::Function;
use crate::state::redis::{BACKGROUND_PATIENCE, Redis, millis};

/// A lock whose holder died is free again after this; longer than a vendor takes to answer.
pub(super) const LOCK: Duration = Duration::from_secs(30);

/// Tokens nobody has renewed for so long are forgotten; every instance has its own copy.
const TOKENS_LAST: Duration = Duration::from_hours(45 * 24);

/// One account, as the group sees it.
#[derive(Clone)]
pub struct Handover {
    redis: Arc<Redis>,
    account: Fingerprint,
}

/// Tokens as another instance handed them over.
pub struct Handed {
    /// Counts refreshes: the higher is the later.
    pub generation: u64,
    pub text: Zeroizing<Vec<u8>>,
}

/// The right to refresh; given back when dropped.
pub struct Held {
    handover: Handover,
    holder: String,
}

impl Handover {
    /// The account of this name.
    pub const fn new(redis: Arc<Redis>, account: Fingerprint) -> Self {
        Self { redis, account }
    }

    /// Whether tokens are handed over, and not only refreshes kept apart.
    pub fn hands_over(&self) -> bool {
        self.redis.hands_over()
    }

    /// Takes the lock; `None` if another instance has it.
    pub async fn lock(&self) -> Result<Option<Held>, Away> {
        let holder = self.redis.next_id();
        let mut pipe = redis::pipe();
        pipe.cmd("SET")
            .arg(self.redis.keys.lock(self.account))
            .arg(&holder)
            .arg("NX")
            .arg("PX")
            .arg(millis(LOCK));
        let (taken,): (Option<String>,) = self.redis.ask(&pipe).await?;
        Ok(taken.map(|_| Held {
            handover: self.clone(),
            holder,
        }))
    }

    /// The tokens that were handed over last, if they can be opened.
    pub async fn fetch(&self) -> Result<Option<Handed>, Away> {
        let Some(seal) = &self.redis.seal else {
            return Ok(None);
        };
        let mut pipe = redis::pipe();
        pipe.cmd("HMGET")
            .arg(self.redis.keys.tokens(self.account))
            .arg("generation")
            .arg("sealed");
        let ((generation, sealed),): ((Option<u64>, Option<Vec<u8>>),) =
            self.redis.ask(&pipe).await?;
        let opened = generation.zip(sealed).and_then(|(generation, sealed)| {
            let text = seal.open(&sealed, &self.about(generation))?;
            Some(Handed { generation, text })
        });
        Ok(opened)
    }

    /// Hands tokens over, unless later ones are there already. Returns whether they were taken.
    pub async fn offer(&self, generation: u64, text: &[u8]) -> Result<bool, Away> {
        let seal = self.redis.seal.as_ref();
        let Some(sealed) = seal.and_then(|seal| seal.close(text, &self.about(generation))) else {
            return Ok(false);
        };
        let call = offer(self.account, generation, &sealed, &self.redis.keys);
        let taken: u8 = self.redis.call(BACKGROUND_PATIENCE, &call).await?;
        Ok(taken == 1)
    }

    /// What a seal is bound to: tokens cannot be put in another account's place, nor an old set in
    /// a new one's.
    fn about(&self, generation: u64) -> String {
        format!("{} {generation}", self.account)
    }
}

/// Hands sealed tokens over.
pub(super) fn offer(account: Fingerprint, generation: u64, sealed: &[u8], keys: &Keys) -> Call {
    let mut call = Call::new(Function::Offer);
    call.key(keys.tokens(account));
    call.arg(generation).arg(sealed).arg(millis(TOKENS_LAST));
    call
}

/// Gives a lock back.
pub(super) fn unlock(account: Fingerprint, holder: &str, keys: &Keys) -> Call {
    let mut call = Call::new(Function::Unlock);
    call.key(keys.lock(account)).arg(holder);
    call
}

impl Held {
    async fn give_back(handover: Handover, holder: String) {
        let redis = &handover.redis;
        let call = unlock(handover.account, &holder, &redis.keys);
        // Where it cannot be given back it ends by itself.
        let _ = redis.call::<u8>(BACKGROUND_PATIENCE, &call).await;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let give_back = Self::give_back(self.handover.clone(), std::mem::take(&mut self.holder));
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(give_back);
        }
    }
}

impl fmt::Debug for Handover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handover")
            .field("account", &self.account)
            .finish_non_exhaustive()
    }
}
