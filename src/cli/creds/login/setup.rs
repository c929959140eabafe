//! The first steps with an account that has just been logged in to, before it is stored: an
//! account that its vendor will not serve is not worth storing.

use std::time::Duration;

use crate::cli::boot::Boot;
use crate::cli::creds::Named;
use crate::cli::exit::Failure;
use crate::credentials::{Credential, Material};
use crate::gateway::{accounts, probe};
use crate::providers::account::AccountView;
use crate::providers::verdict::{self, Verdict};

/// How long the vendor may take to say whether it serves an account.
const PATIENCE: Duration = Duration::from_secs(30);

/// Takes the first steps. Returns the account with what was learned, and what keeps it from
/// serving for now, if anything does.
///
/// Fails where the vendor refuses the account for good.
pub(super) async fn take(
    boot: &Boot,
    named: &Named,
    mut draft: Credential,
) -> Result<(Credential, Option<verdict::Failure>), Failure> {
    let snapshot = boot.trial_of(&draft)?;
    let runtime = snapshot.providers.get(named.id.as_str());
    let holder = runtime.and_then(|runtime| runtime.holders.get(&draft.id));
    let (Some(runtime), Some(account)) = (runtime, holder.and_then(|holder| holder.account()))
    else {
        // Switched off in the config: it will be set up when it is first used.
        return Ok((draft, None));
    };
    let facts = account.live.account().extra;
    let has_steps = named
        .adapter
        .bootstrap(&AccountView::of_facts(&facts))
        .is_some();
    let taken = if has_steps {
        let ready = accounts::ready(runtime, &draft.id).await;
        ready.map(drop).map_err(accounts::Unready::into_failure)
    } else {
        probe::test_key(runtime, &draft.id, PATIENCE).await
    };
    draft.email = draft.email.or(account.live.email());
    draft.material = Material::OAuth(Box::new(account.live.account()));
    match taken {
        Ok(()) => Ok((draft, None)),
        Err(failure) => match failure.verdict {
            Verdict::Auth | Verdict::Banned | Verdict::Dead => Err(refused(named, &failure)),
            _ => Ok((draft, Some(failure))),
        },
    }
}

fn refused(named: &Named, failure: &verdict::Failure) -> Failure {
    let (title, message) = (named.adapter.spec().title, &failure.message);
    let hint = match &failure.link {
        Some(link) => format!("the provider says more at {link}"),
        None => "nothing was stored; another account may be served".to_owned(),
    };
    Failure::failed(
        format!(
            "{title} does not serve this account: {}",
            message.trim_end_matches('.')
        ),
        hint,
    )
}
