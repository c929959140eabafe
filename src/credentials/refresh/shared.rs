//! One refresh among processes and instances: who may refresh now, and what somebody else already
//! has.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, timeout_at};

use crate::credentials::durable::Lock;
use crate::credentials::refresh::tokens::is_newer;
use crate::credentials::refresh::{LiveAccount, RefreshError};
use crate::credentials::store::StoreError;
use crate::credentials::{Account, file};
use crate::state::redis::{Handover, Held};
use crate::time::Timestamp;

/// How long another process may take over its refresh of the same account.
const LOCK_PATIENCE: Duration = Duration::from_secs(35);

/// How often a taken lock is tried again.
const LOCK_RETRY: Duration = Duration::from_millis(50);

/// How long a shared state that is away is waited for before this instance refreshes alone: one
/// that is just starting, or failing over, is there by then.
const AWAY_PATIENCE: Duration = Duration::from_secs(2);

impl LiveAccount {
    /// Shares the account with other instances from now on.
    pub fn share(&self, handover: Handover) {
        // The same account stays the same in the group: the first word holds.
        let _ = self.handover.set(handover);
    }

    /// Takes over what the group has, and gives it what it lacks.
    pub async fn meet(&self, now: Timestamp) {
        if let Some(handed) = self.handed_over().await {
            self.take_over(handed, now).await;
        }
        let account = self.lock().account.clone();
        self.hand_over(&account).await;
    }

    /// The tokens that another instance handed over last, if it did and they can be opened.
    pub(super) async fn handed_over(&self) -> Option<Account> {
        let handed = self.handover.get()?.fetch().await.ok()??;
        file::account_of(&handed.text)
    }

    /// Adopts tokens of another instance if they are newer, in memory and in the file.
    pub(super) async fn take_over(&self, handed: Account, now: Timestamp) {
        if !is_newer(&handed, &self.lock().account) {
            return;
        }
        self.adopt(&handed);
        match self.write(handed, now).await {
            Ok(Some(newer)) => self.adopt(&newer),
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(credential = %self.id, "tokens of {} from another instance are not on disk: {error}", self.id);
            }
        }
    }

    /// Gives the group these tokens, unless it has newer ones; where it is away they are given when
    /// it is back.
    pub(super) async fn hand_over(&self, account: &Account) {
        if let Some(handover) = self.handover.get().filter(|group| group.hands_over())
            && account.expired_reason.is_none()
        {
            let text = file::text_of(account);
            let _ = handover.offer(account.generation, &text).await;
        }
    }

    /// What the store or the group knows that this account does not.
    pub(super) async fn newer_elsewhere(&self, known: &Account, now: Timestamp) -> Option<Account> {
        if let Some(stored) = self.read_stored().await.filter(|one| is_newer(one, known)) {
            self.adopt(&stored);
            return Some(stored);
        }
        let handed = self.handed_over().await;
        let handed = handed.filter(|one| is_newer(one, known))?;
        self.take_over(handed.clone(), now).await;
        Some(handed)
    }

    /// The right to refresh among the processes of this machine.
    pub(super) async fn lock_between_processes(
        self: &Arc<Self>,
        now: Timestamp,
    ) -> Result<Option<Lock>, RefreshError> {
        let Some(store) = &self.store else {
            return Ok(None);
        };
        let deadline = Instant::now() + LOCK_PATIENCE;
        let taken = async {
            loop {
                let (store, id) = (store.clone(), self.id.clone());
                let tried = spawn_blocking(move || store.try_lock_account(&id)).await;
                match tried {
                    Ok(Ok(Some(lock))) => return Ok(Some(lock)),
                    Ok(Ok(None)) => sleep(LOCK_RETRY).await,
                    // A data directory that cannot be written has no other writers either.
                    Ok(Err(StoreError::Unwritable { .. })) | Err(_) => return Ok(None),
                    Ok(Err(error)) => {
                        return Err(RefreshError::Later {
                            message: error.to_string(),
                            until: now,
                        });
                    }
                }
            }
        };
        let taken = timeout_at(deadline, taken).await;
        taken.unwrap_or_else(|_| Err(self.taken_for_too_long("process", now)))
    }

    /// The right to refresh among instances; without it where the group stays away.
    pub(super) async fn lock_among_instances(
        &self,
        now: Timestamp,
    ) -> Result<Option<Held>, RefreshError> {
        let Some(handover) = self.handover.get() else {
            return Ok(None);
        };
        let began = Instant::now();
        while began.elapsed() < LOCK_PATIENCE {
            match handover.lock().await {
                Ok(Some(held)) => return Ok(Some(held)),
                Err(_) if began.elapsed() > AWAY_PATIENCE => return Ok(None),
                Ok(None) | Err(_) => sleep(LOCK_RETRY).await,
            }
        }
        Err(self.taken_for_too_long("instance", now))
    }

    fn taken_for_too_long(&self, whom: &str, now: Timestamp) -> RefreshError {
        RefreshError::Later {
            message: format!("another {whom} is refreshing {} for too long", self.id),
            until: now,
        }
    }
}
