//! An attempt that need not be waited for: `first_token_timeout` gives it up, `hedge_after` starts a
//! second one beside it and keeps the faster. Both only before any byte went out.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, timeout};

use crate::gateway::answer::Ready;
use crate::gateway::attempt::Trip;
use crate::gateway::call::Caller;
use crate::gateway::exchange::Exchange;
use crate::gateway::failure::Lost;
use crate::gateway::plan::Target;
use crate::gateway::trail::{Attempt, Renewal};
use crate::gateway::upstream::SendError;
use crate::ids::CredentialId;
use crate::pool::{Ask, Lease};
use crate::providers::verdict::Fault;
use crate::time::{Timestamp, humanize};

/// The attempt that counts: the only one, or the faster of two.
pub(super) struct Raced {
    pub(super) lease: Lease,
    pub(super) started: Instant,
    pub(super) outcome: Result<Ready, Lost>,
}

impl Trip<'_> {
    /// Sends with a lease; beside it, if it is slow and the pool agrees, with a second one.
    pub(super) async fn race(
        &mut self,
        target: &Target,
        exchange: &Exchange,
        ask: &mut Ask,
        lease: Lease,
    ) -> Raced {
        let renewals = Mutex::default();
        let raced = self.race_noting(target, exchange, ask, lease, &renewals);
        let raced = raced.await;
        let renewals = renewals.into_inner();
        let renewals = renewals.unwrap_or_else(PoisonError::into_inner);
        self.trail.renewals.extend(renewals);
        raced
    }

    async fn race_noting(
        &mut self,
        target: &Target,
        exchange: &Exchange,
        ask: &mut Ask,
        mut lease: Lease,
        renewals: &Mutex<Vec<Renewal>>,
    ) -> Raced {
        let caller = Caller {
            gateway: self.gateway,
            scanned: self.scanned,
            target,
            exchange,
            renewals,
        };
        let patience = self.snapshot.first_token_timeout;
        let started = Instant::now();
        let who = (lease.credential().clone(), lease.fingerprint());
        self.under_way = Some((who, target.model.clone(), started));
        let may_renew = lease.may_refresh();
        let mut first = Box::pin(attempt(
            caller,
            lease.credential().clone(),
            may_renew,
            patience,
        ));
        let Some(hedge_after) = self.snapshot.hedge_after else {
            let outcome = first.await;
            return Raced {
                lease,
                started,
                outcome,
            };
        };
        if let Ok(outcome) = timeout(hedge_after, &mut first).await {
            return Raced {
                lease,
                started,
                outcome,
            };
        }
        let beside = target.runtime.pool.hedge(ask, &lease, Timestamp::now());
        let beside = match beside {
            Some(beside) => self.confirm(target, beside).await,
            None => None,
        };
        let Some(mut beside) = beside else {
            let outcome = first.await;
            return Raced {
                lease,
                started,
                outcome,
            };
        };
        let beside_started = Instant::now();
        let may_renew = beside.may_refresh();
        let mut second = Box::pin(attempt(
            caller,
            beside.credential().clone(),
            may_renew,
            patience,
        ));
        let (lost, failed, left) = tokio::select! {
            outcome = &mut first => match outcome {
                // Dropping the other lease gives it back and blames nobody.
                Ok(ready) => return Raced { lease, started, outcome: Ok(ready) },
                Err(lost) => (lost, (lease, started), (beside, beside_started, second)),
            },
            outcome = &mut second => match outcome {
                Ok(ready) => return Raced { lease: beside, started: beside_started, outcome: Ok(ready) },
                Err(lost) => (lost, (beside, beside_started), (lease, started, first)),
            },
        };
        let (failed, since) = failed;
        let who = (failed.credential().clone(), failed.fingerprint());
        let next = self.settle(target, failed, ask, &lost);
        self.trail
            .attempts
            .push(Attempt::lost(who, &target.model, &lost, next, since));
        let (lease, started, rest) = left;
        let outcome = rest.await;
        Raced {
            lease,
            started,
            outcome,
        }
    }
}

async fn attempt(
    caller: Caller<'_>,
    credential: CredentialId,
    may_renew: bool,
    patience: Option<Duration>,
) -> Result<Ready, Lost> {
    let Some(patience) = patience else {
        return caller.call(&credential, may_renew).await;
    };
    timeout(patience, caller.call(&credential, may_renew))
        .await
        .unwrap_or_else(|_| {
            let message = format!("no content within {}", humanize(patience));
            Err(Lost::unsent(SendError::new(Fault::Timeout, message)))
        })
}
