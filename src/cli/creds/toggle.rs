//! `llmproxy creds enable` and `llmproxy creds disable`.

use clap::Args;

use crate::cli::Context;
use crate::cli::boot::Boot;
use crate::cli::creds;
use crate::cli::exit::Failure;
use crate::credentials::store::StoreError;
use crate::credentials::{Credential, Source};
use crate::time::Timestamp;

/// Use a credential again that was disabled, refused or parked
#[derive(Args)]
#[command(after_help = "Example:
  llmproxy creds enable gemini/1")]
pub(super) struct EnableArgs {
    /// Id as `llmproxy creds list` shows it
    #[arg(value_name = "ID")]
    id: String,
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
    set_disabled(&boot, credential, false).map_err(|error| creds::stored(&error))?;
    creds::forgive(context, &credential.id)?;
    context.printer.line(&format!("enabled {}", credential.id))
}

/// Runs `disable`.
pub(super) fn disable(args: &DisableArgs, context: &Context) -> Result<(), Failure> {
    let boot = creds::boot(context)?;
    let credential = creds::find(&boot, &args.id)?;
    set_disabled(&boot, credential, true).map_err(|error| creds::stored(&error))?;
    context.printer.line(&format!("disabled {}", credential.id))
}

/// Writes it where it is remembered: in the credential's file, or in the overrides for what the
/// config file and the environment give.
fn set_disabled(boot: &Boot, credential: &Credential, disabled: bool) -> Result<(), StoreError> {
    let change = boot.store.change()?;
    if credential.source != Source::Store {
        let fingerprint = credential.fingerprint(&boot.fingerprint_key);
        return change.set_disabled(&credential.id, fingerprint, disabled);
    }
    // Read again under the lock: a refresh may have written new tokens since.
    let Some(mut stored) = boot.store.get(&credential.id)? else {
        return Ok(());
    };
    stored.disabled = disabled;
    stored.updated = Some(Timestamp::now());
    change.put(&stored)
}
