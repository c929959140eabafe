//! What accounts need while nobody asks for them: their tokens renewed ahead of the end, also of
//! those that rest, and their quotas read now and then.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;

use crate::credentials::refresh::RefreshError;
use crate::gateway::Gateway;
use crate::gateway::accounts::{self, AccountInUse, Unready};
use crate::gateway::probe;
use crate::gateway::runtime::ProviderRuntime;
use crate::ids::CredentialId;
use crate::pool::{CredentialState, Report};
use crate::providers::account::QuotaReading;
use crate::providers::verdict::Failure;
use crate::time::Timestamp;

/// How often it is looked what is due.
const TICK: Duration = Duration::from_secs(1);

/// How often an account's quota is read.
const QUOTA_INTERVAL: Duration = Duration::from_mins(5);

/// How long one answer about a quota may take.
const QUOTA_TIMEOUT: Duration = Duration::from_secs(20);

/// Accounts read or renewed at once: a hundred accounts are no reason for a hundred connections.
const AT_ONCE: usize = 8;

/// States of accounts that serve, now or in a while: only their quotas mean anything.
const SERVING: [CredentialState; 3] = [
    CredentialState::Cooling,
    CredentialState::Exhausted,
    CredentialState::Ready,
];

/// States of accounts whose log-in must not run out meanwhile.
const ALIVE: [CredentialState; 4] = [
    CredentialState::ActionNeeded,
    CredentialState::Cooling,
    CredentialState::Exhausted,
    CredentialState::Ready,
];

/// The shares that a quota without a number is counted in. The pool takes one away for each
/// request until the vendor is asked again, so they are far more than there are requests.
const SHARES: u64 = 1_000_000;

/// Keeps all accounts fresh for as long as the gateway serves.
pub async fn run(gateway: Arc<Gateway>) {
    let quotas = async {
        loop {
            let due =
                |account: &AccountInUse| account.is_quota_due(Timestamp::now(), QUOTA_INTERVAL);
            for (runtime, id, account) in accounts_of(&gateway, &SERVING, due) {
                account.quota_read(Timestamp::now());
                // The reason was logged; what was known stays.
                let _ = read_quota(&runtime, &id).await;
            }
            tokio::time::sleep(TICK).await;
        }
    };
    let tokens = async {
        loop {
            let is_due = |account: &AccountInUse| {
                let due = account.live.due();
                due.is_some_and(|due| due <= Timestamp::now())
            };
            let due = accounts_of(&gateway, &ALIVE, is_due);
            stream::iter(due)
                .for_each_concurrent(AT_ONCE, |(runtime, id, account)| async move {
                    renew(&runtime, &id, &account).await;
                })
                .await;
            tokio::time::sleep(TICK).await;
        }
    };
    tokio::join!(quotas, tokens);
}

/// The accounts in one of these states that something is due for.
fn accounts_of(
    gateway: &Gateway,
    states: &[CredentialState],
    is_due: impl Fn(&AccountInUse) -> bool,
) -> Vec<(Arc<ProviderRuntime>, CredentialId, Arc<AccountInUse>)> {
    let mut found = Vec::new();
    for runtime in gateway.snapshot().providers.values() {
        let accounts = runtime.holders.values().filter_map(|holder| {
            let account = holder.account()?;
            is_due(account).then(|| (holder.id.clone(), Arc::clone(account)))
        });
        let accounts: Vec<_> = accounts.collect();
        if accounts.is_empty() {
            continue;
        }
        let members = runtime.pool.snapshot(Timestamp::now()).members;
        for (id, account) in accounts {
            let member = members.iter().find(|member| member.id == id);
            if member.is_some_and(|member| states.contains(&member.state)) {
                found.push((Arc::clone(runtime), id, account));
            }
        }
    }
    found
}

/// Renews a token ahead of its end. A failure counts only if the present one has ended.
async fn renew(runtime: &ProviderRuntime, id: &CredentialId, account: &AccountInUse) {
    let (live, now) = (&account.live, Timestamp::now());
    let generation = live.account().generation;
    match live.renew(generation, now).await {
        Ok(_) => tracing::debug!(credential = %id, "renewed the token of {id}"),
        Err(error) => {
            let is_final = matches!(error, RefreshError::NeedsLogin(_));
            if is_final || !live.is_usable(Timestamp::now()) {
                tracing::warn!(credential = %id, "{id} has no fresh token: {error}");
                Unready::Token(error).tell(runtime, id, Timestamp::now());
            } else {
                tracing::debug!(credential = %id, "the token of {id} is not renewed yet: {error}");
            }
        }
    }
}

/// Asks the vendor for an account's quota and tells the pool. Returns how many windows it knows of;
/// 0 where the vendor has no such question.
pub async fn read_quota(runtime: &ProviderRuntime, id: &CredentialId) -> Result<usize, Failure> {
    let read = ask_for_quota(runtime, id).await;
    if let Err(failure) = &read {
        tracing::debug!(credential = %id, "the quota of {id} is not known: {}", failure.message);
    }
    read
}

async fn ask_for_quota(runtime: &ProviderRuntime, id: &CredentialId) -> Result<usize, Failure> {
    let ready = accounts::ready(runtime, id).await;
    let Some(mut pass) = ready.map_err(Unready::into_failure)? else {
        return Ok(0);
    };
    let calls = runtime.adapter.quota_calls(&pass.view());
    let (mut known, mut failed) = (0, None);
    for (which, call) in calls.iter().enumerate() {
        let reply = match probe::ask(runtime, &mut pass, call, QUOTA_TIMEOUT).await {
            Ok(reply) if reply.is_success() => reply,
            Ok(reply) => {
                let failure = runtime.adapter.judge(&reply.as_answer());
                failed = Some(probe::shown(runtime, failure, &pass.secret));
                continue;
            }
            Err(error) => {
                failed = Some(error.failure());
                continue;
            }
        };
        let now = Timestamp::now();
        for reading in runtime.adapter.read_quota(which, &reply.body, now) {
            known += usize::from(report(runtime, id, &reading, now));
        }
    }
    // Not every account may ask every question; what one answer says is enough.
    match failed {
        Some(failure) if known == 0 => Err(failure),
        _ => Ok(known),
    }
}

/// Takes a reading over. One without a number is counted in the requests of the window that is
/// configured for it, else in millionths.
fn report(
    runtime: &ProviderRuntime,
    id: &CredentialId,
    reading: &QuotaReading,
    now: Timestamp,
) -> bool {
    let class = runtime.pool.class_of(&reading.group);
    let configured = || {
        let members = runtime.pool.snapshot(now).members;
        let member = members.into_iter().find(|member| member.id == *id)?;
        let class = member.classes.into_iter().find(|one| one.class == class)?;
        class.windows.iter().find_map(|window| window.limit)
    };
    let limit = reading.limit.or_else(configured).unwrap_or(SHARES);
    let report = Report {
        limit: Some(limit),
        remaining: Some(share(limit, reading.remaining)),
        resets: reading.resets,
        every: reading.every,
        ..Report::default()
    };
    runtime.pool.report(id, &reading.group, &report, now)
}

/// So much of a limit, rounded up: only an empty quota is empty.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "limits are far below 2^53, and the product lies between 0 and the limit"
)]
fn share(limit: u64, fraction: f64) -> u64 {
    let left = (limit as f64 * fraction.clamp(0.0, 1.0)).ceil();
    (left as u64).min(limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_empty_quota_is_empty() {
        for (fraction, left) in [
            (0.0, 0),
            (0.000_1, 1),
            (0.5, 50),
            (1.0, 100),
            (7.0, 100),
            (-1.0, 0),
            (f64::NAN, 0),
        ] {
            assert_eq!(share(100, fraction), left, "{fraction}");
        }
    }
}
