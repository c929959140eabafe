//! `llmproxy creds reset`.

use clap::Args;

use crate::cli::Context;
use crate::cli::creds;
use crate::cli::exit::Failure;

/// End a cooldown by hand
#[derive(Args)]
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
    let class = args.model.as_deref().map(|model| {
        // `provider/model` is how clients write it.
        let prefix = format!("{}/", credential.id.provider());
        model.strip_prefix(&prefix).unwrap_or(model)
    });
    let cleared = creds::clear_state(&boot, context, credential, class)?;
    let of = class.map_or_else(String::new, |class| format!(" for {class}"));
    context.printer.line(&if cleared == 0 {
        format!("{} had no cooldown{of}", credential.id)
    } else {
        format!("reset {}{of}", credential.id)
    })
}
