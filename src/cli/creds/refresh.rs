//! `llmproxy creds refresh`.

use clap::Args;

use crate::cli::Context;
use crate::cli::boot::Boot;
use crate::cli::creds::{self, login, way};
use crate::cli::exit::{Failure, Kind};
use crate::credentials::oauth::Client;
use crate::credentials::refresh::{LiveAccount, RefreshError};
use crate::credentials::{Credential, Source};
use crate::time::{Timestamp, humanize};

/// Renew the access tokens of accounts now, also of those that are cooling
#[derive(Args)]
#[command(after_help = "Example:
  llmproxy creds refresh")]
pub(super) struct RefreshArgs {
    /// Only this account; all by default
    #[arg(value_name = "ID")]
    id: Option<String>,
}

/// Runs the command.
pub(super) fn run(args: &RefreshArgs, context: &Context) -> Result<(), Failure> {
    let boot = creds::boot(context)?;
    let only = args
        .id
        .as_deref()
        .map(|id| creds::find(&boot, id))
        .transpose()?;
    if let Some(key) = only.filter(|one| one.account().is_none()) {
        return Err(Failure::failed(
            format!("{} is an API key: there is nothing to refresh", key.id),
            format!("`llmproxy test-keys {}` checks it", key.id),
        ));
    }
    let all = boot
        .credentials
        .iter()
        .filter(|one| one.account().is_some());
    let accounts: Vec<&Credential> = match only {
        Some(one) => vec![one],
        None => all.collect(),
    };
    if accounts.is_empty() {
        return Err(Failure::no_credential(
            "there is no account to refresh",
            "`llmproxy creds add PROVIDER` logs in to one",
        ));
    }
    let mut refused = 0;
    for credential in accounts {
        match refresh(&boot, credential, context) {
            Ok(line) => context.printer.line(&line)?,
            Err(failure) if failure.kind() == Kind::Interrupted => return Err(failure),
            Err(failure) => {
                refused += 1;
                context.printer.failure(&failure);
            }
        }
    }
    if refused > 0 {
        return Err(Failure::reported(Kind::Failed));
    }
    Ok(())
}

fn refresh(boot: &Boot, credential: &Credential, context: &Context) -> Result<String, Failure> {
    let id = &credential.id;
    let named = creds::provider(boot, id.provider())?;
    let Some(spec) = named.adapter.spec().oauth else {
        return Err(Failure::failed(
            format!("{id}: {} has no log-in", named.id),
            format!("`llmproxy creds remove {id}`"),
        ));
    };
    if let Some(closed) = way::closed(boot, &named, true)
        && !credential.defies_closing()
    {
        return Err(Failure::failed(
            closed.sentence(named.adapter.spec().title),
            format!(
                "{}; `llmproxy creds enable {id} --yes` has it tried",
                closed.instead
            ),
        ));
    }
    let settings = boot.loaded.config.providers.get(&named.id);
    let overrides = settings
        .map(|settings| settings.oauth.clone())
        .unwrap_or_default();
    let account = credential.account().cloned().unwrap_or_default();
    let siblings = boot.credentials.iter();
    let siblings = siblings.filter(|one| one.id.provider() == id.provider());
    let client = Client::for_account(*spec, &overrides, &account, siblings);
    let store = (credential.source == Source::Store).then(|| boot.store.clone());
    let http = login::http(boot, &named, credential.proxy.as_deref())?;
    let live = LiveAccount::new(credential, client, http, store);
    let now = Timestamp::now();
    let Some(live) = live else {
        return Ok(format!("{id} is an API key"));
    };
    let waiting = context.printer.waiting(&format!("refreshing {id}"));
    let renewed = context.block_on(async { Ok(live.renew(account.generation, now).await) })?;
    drop(waiting);
    renewed.map_err(|error| failed(credential, &error))?;
    let left = live.account().expires.map(|end| humanize(now.until(end)));
    Ok(match left {
        Some(left) => format!("refreshed {id}: good for {left}"),
        None => format!("refreshed {id}"),
    })
}

fn failed(credential: &Credential, error: &RefreshError) -> Failure {
    let (id, provider) = (&credential.id, credential.id.provider());
    let hint = match error {
        RefreshError::Client(_) => {
            format!("check client_id and client_secret in [providers.{provider}.oauth]")
        }
        RefreshError::Later { .. } => "try again in a minute".to_owned(),
        RefreshError::NeedsLogin(_) => format!("`llmproxy creds add {provider}` logs in again"),
    };
    Failure::failed(format!("{id}: {error}"), hint)
}
