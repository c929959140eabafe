//! `llmproxy creds remove`.

use clap::Args;

use crate::cli::creds;
use crate::cli::exit::Failure;
use crate::cli::{Context, prompt};
use crate::credentials::Source;

/// Remove a credential from the store
#[derive(Args)]
#[command(after_help = "Example:
  llmproxy creds remove gemini/2")]
pub(super) struct RemoveArgs {
    /// Id as `llmproxy creds list` shows it
    #[arg(value_name = "ID")]
    id: String,

    /// Do not ask
    #[arg(long)]
    yes: bool,
}

/// Runs the command.
pub(super) fn run(args: &RemoveArgs, context: &Context) -> Result<(), Failure> {
    let boot = creds::boot(context)?;
    let credential = creds::find(&boot, &args.id)?;
    let id = &credential.id;
    let elsewhere = match credential.source {
        Source::Store => None,
        Source::Config => Some(("config file", "take it out there")),
        Source::Env => Some(("environment", "take its variable away")),
    };
    if let Some((place, how)) = elsewhere {
        return Err(Failure::failed(
            format!("{id} is not in the store: it comes from the {place}"),
            format!("{how}, or `llmproxy creds disable {id}`"),
        ));
    }
    if !prompt::confirm(&format!("Remove {id}?"), args.yes)? {
        return Err(Failure::failed(
            format!("{id} was not removed"),
            format!("`llmproxy creds disable {id}` keeps it without using it"),
        ));
    }
    let change = boot.store.change().map_err(|error| creds::stored(&error))?;
    let was_there = change.remove(id).map_err(|error| creds::stored(&error))?;
    if !was_there {
        return Err(Failure::failed(
            format!("{id} was removed meanwhile"),
            "`llmproxy creds list` shows what is left",
        ));
    }
    context.printer.line(&format!("removed {id}"))
}
