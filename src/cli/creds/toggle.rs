//! `llmproxy creds enable` and `llmproxy creds disable`.

use clap::Args;

use crate::cli::Context;
use crate::cli::boot::Boot;
use crate::cli::creds;
use crate::cli::exit::Failure;
use crate::credentials::Credential;
use crate::credentials::store::StoreError;

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

/// Writes it where it is remembered.
fn set_disabled(boot: &Boot, credential: &Credential, disabled: bool) -> Result<(), StoreError> {
    let fingerprint = credential.fingerprint(&boot.fingerprint_key);
    let named = (&credential.id, credential.source);
    boot.store.switch(named, fingerprint, disabled)
}
