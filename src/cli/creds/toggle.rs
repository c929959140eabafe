//! `llmproxy creds enable` and `llmproxy creds disable`.

use clap::Args;

use crate::cli::Context;
use crate::cli::boot::Boot;
use crate::cli::creds::{self, Named, way};
use crate::cli::exit::Failure;
use crate::credentials::store::StoreError;
use crate::credentials::{Credential, Source};
use crate::providers::spec::Closed;
use crate::time::Timestamp;

/// Use a credential again that was disabled, refused or parked
#[derive(Args)]
#[command(after_help = "Example:
  llmproxy creds enable gemini/1")]
pub(super) struct EnableArgs {
    /// Id as `llmproxy creds list` shows it
    #[arg(value_name = "ID")]
    id: String,

    /// Have it tried although its provider has closed
    #[arg(long)]
    yes: bool,
}

/// Keep a credential without using it
#[derive(Args)]
#[command(after_help = "Example:
  llmproxy creds disable gemini/1")]
pub(super) struct DisableArgs {
    /// Id as `llmproxy creds list` shows it
    #[arg(value_name = "ID")]
    id: String,
}

/// Runs `enable`.
pub(super) fn enable(args: &EnableArgs, context: &Context) -> Result<(), Failure> {
    let boot = creds::boot(context)?;
    let credential = creds::find(&boot, &args.id)?;
    let named = creds::provider(&boot, credential.id.provider())?;
    let closed = way::closed(&boot, &named, credential.account().is_some())
        .filter(|_| !credential.defies_closing());
    let defy = args.yes && closed.is_some();
    set_disabled(&boot, credential, false).map_err(|error| creds::stored(&error))?;
    if defy {
        defy_closing(&boot, credential).map_err(|error| creds::stored(&error))?;
    }
    creds::forgive(context, &credential.id)?;
    context
        .printer
        .line(&format!("enabled {}", credential.id))?;
    if let Some(closed) = closed {
        warn_closed(&named, closed, credential, defy, context);
    }
    Ok(())
}

/// Says that its provider has closed, and what would have it tried.
fn warn_closed(
    named: &Named,
    closed: &Closed,
    credential: &Credential,
    defy: bool,
    context: &Context,
) {
    let sentence = closed.sentence(named.adapter.spec().title);
    let (id, provider) = (&credential.id, &named.id);
    let next = match (defy, credential.source) {
        (true, Source::Store) => return context.printer.warn(&sentence),
        (_, Source::Store) => {
            format!("`llmproxy creds enable {id} --yes` has it tried all the same")
        }
        (_, Source::Config | Source::Env) => {
            format!("it is tried where [providers.{provider}] has a base_url of yours")
        }
    };
    context
        .printer
        .warn(&format!("{sentence}: {id} stays out; {next}"));
}

/// Runs `disable`.
pub(super) fn disable(args: &DisableArgs, context: &Context) -> Result<(), Failure> {
    let boot = creds::boot(context)?;
    let credential = creds::find(&boot, &args.id)?;
    set_disabled(&boot, credential, true).map_err(|error| creds::stored(&error))?;
    context.printer.line(&format!("disabled {}", credential.id))
}

/// Writes it where it is remembered.
fn set_disabled(boot: &Boot, credential: &Credential, disabled: bool) -> Result<(), StoreError> {
    let fingerprint = credential.fingerprint(&boot.fingerprint_key);
    let named = (&credential.id, credential.source);
    boot.store.switch(named, fingerprint, disabled)
}

/// Has it tried although its provider has closed. What the config file and the environment give
/// has no file to say so in.
fn defy_closing(boot: &Boot, credential: &Credential) -> Result<(), StoreError> {
    if credential.source != Source::Store {
        return Ok(());
    }
    let change = boot.store.change()?;
    let Some(mut stored) = boot.store.get(&credential.id)? else {
        return Ok(());
    };
    stored.defy_closing();
    stored.updated = Some(Timestamp::now());
    change.put(&stored)
}
