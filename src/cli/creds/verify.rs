//! Asking a provider whether a key works, before it is stored.

use std::time::Duration;

use crate::cli::Context;
use crate::cli::boot::Boot;
use crate::cli::creds::Named;
use crate::cli::exit::Failure;
use crate::credentials::Credential;
use crate::gateway::probe;
use crate::providers::verdict::{self, Verdict};
use crate::secret::Secret;

/// How long a provider may take to say whether it knows a key.
const PATIENCE: Duration = Duration::from_secs(20);

/// Succeeds if the key works, or would but for a limit or money, which is said.
pub(super) fn check(
    boot: &Boot,
    named: &Named,
    candidate: &Credential,
    context: &Context,
) -> Result<(), Failure> {
    let unverified = |sentence: String| {
        Failure::failed(
            sentence,
            "--no-verify stores it without asking the provider",
        )
    };
    let Some(secret) = candidate.secret() else {
        return Ok(());
    };
    let snapshot = boot.trial_of(candidate)?;
    let Some(runtime) = snapshot.providers.get(named.id.as_str()) else {
        return Err(unverified(format!(
            "{} is switched off in the config",
            named.id
        )));
    };
    let waiting = context.printer.waiting(&format!("asking {}", named.id));
    let asked =
        context.block_on(async { Ok(probe::test_key(runtime, &candidate.id, PATIENCE).await) });
    drop(waiting);
    match asked? {
        Ok(()) => Ok(()),
        Err(failure) => judged(named, secret, &failure, context),
    }
}

fn judged(
    named: &Named,
    secret: &Secret,
    failure: &verdict::Failure,
    context: &Context,
) -> Result<(), Failure> {
    let (provider, last4) = (&named.id, secret.last4());
    let reason = match failure.message.trim().trim_end_matches('.') {
        "" => failure.verdict.as_str(),
        message => message,
    };
    let warning = match failure.verdict {
        Verdict::Auth | Verdict::Banned | Verdict::Dead => {
            let hint = match named.adapter.spec().key_url {
                Some(url) => format!("check that it was copied whole; keys are made at {url}"),
                None => "check that it was copied whole".to_owned(),
            };
            return Err(Failure::failed(
                format!("{provider} refuses the key {last4}: {reason}"),
                hint,
            ));
        }
        Verdict::BadRequest | Verdict::ContextLength | Verdict::Transient(_) => {
            return Err(Failure::failed(
                format!("{provider} could not be asked about the key {last4}: {reason}"),
                "try again, or store it unchecked with --no-verify",
            ));
        }
        Verdict::ActionNeeded => "works once its owner has done something",
        Verdict::NoMoney => "works, but its account has no money",
        Verdict::NotAllowed => "is known, but may not do everything",
        Verdict::Capacity | Verdict::Quota | Verdict::RateLimit => "works, but is limited just now",
    };
    let link = failure
        .link
        .as_ref()
        .map_or_else(String::new, |link| format!(" ({link})"));
    context
        .printer
        .warn(&format!("the key {last4} {warning}: {reason}{link}"));
    Ok(())
}
