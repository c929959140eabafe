//! `llmproxy creds reset`.

use clap::Args;

use crate::cli::Context;
use crate::cli::creds;
use crate::cli::exit::Failure;

/// End a cooldown by hand
#[derive(Args)]
#[command(after_help = "Example:
  llmproxy creds reset gemini/1 --model gemini-2.5-pro")]
pub(super) struct ResetArgs {
    /// Id as `llmproxy creds list` shows it
    #[arg(value_name = "ID")]
    id: String,

    /// Only for this model or quota group
    #[arg(long)]
    model: Option<String>,
}

/// Runs the command.
pub(super) fn run(args: &ResetArgs, context: &Context) -> Result<(), Failure> {
    let boot = creds::boot(context)?;
    let credential = creds::find(&boot, &args.id)?;
    let model = args.model.as_deref().map(|model| {
        // `provider/model` is how clients write it.
        let prefix = format!("{}/", credential.id.provider());
        model.strip_prefix(&prefix).unwrap_or(model)
    });
    creds::in_pool(&boot, credential, |pool, now| {
        pool.reset(&credential.id, model, now);
    })?;
    let of = model.map_or_else(String::new, |model| format!(" for {model}"));
    context
        .printer
        .line(&format!("reset {}{of}", credential.id))
}
