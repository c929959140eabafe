//! `llmproxy creds`: what there is to serve with, and the user's hand on it.

mod add;
mod export;
mod import;
mod list;
mod login;
mod refresh;
mod remove;
mod reset;
mod toggle;
mod verify;
mod way;

use std::time::Duration;

use clap::{Args, Subcommand};

use crate::cli::Context;
use crate::cli::boot::Boot;
use crate::cli::exit::Failure;
use crate::config::load::Flags;
use crate::credentials::Credential;
use crate::credentials::store::StoreError;
use crate::ids::{CredentialId, ProviderId};
use crate::near::did_you_mean;
use crate::pool::{Pool, UserState};
use crate::providers::{self, Provider, verdict};
use crate::time::Timestamp;

/// How long the state may take to be written before the command ends.
const WRITE_PATIENCE: Duration = Duration::from_secs(5);

/// Add, list and steer API keys and accounts
#[derive(Args)]
#[command(after_help = "Examples:
  llmproxy creds add gemini
  llmproxy creds list")]
pub(super) struct CredsArgs {
    #[command(subcommand)]
    command: CredsCommand,
}

#[derive(Subcommand)]
enum CredsCommand {
    Add(add::AddArgs),
    List(list::ListArgs),
    Remove(remove::RemoveArgs),
    Enable(toggle::EnableArgs),
    Disable(toggle::DisableArgs),
    Refresh(refresh::RefreshArgs),
    Reset(reset::ResetArgs),
    Import(import::ImportArgs),
    Export(export::ExportArgs),
}

/// Runs the command.
pub(super) fn run(args: &CredsArgs, context: &Context) -> Result<(), Failure> {
    match &args.command {
        CredsCommand::Add(args) => add::run(args, context),
        CredsCommand::List(args) => list::run(args, context),
        CredsCommand::Remove(args) => remove::run(args, context),
        CredsCommand::Enable(args) => toggle::enable(args, context),
        CredsCommand::Disable(args) => toggle::disable(args, context),
        CredsCommand::Refresh(args) => refresh::run(args, context),
        CredsCommand::Reset(args) => reset::run(args, context),
        CredsCommand::Import(args) => import::run(args, context),
        CredsCommand::Export(args) => export::run(args, context),
    }
}

/// Config and credentials, with remarks on stderr.
fn boot(context: &Context) -> Result<Boot, Failure> {
    Boot::read(context, Flags::default())
}

/// A provider that the user named: built in, or of the config.
struct Named {
    id: ProviderId,
    adapter: &'static dyn Provider,
}

/// Finds a provider by its id or alias; an unknown one is a failure with near matches.
fn provider(boot: &Boot, name: &str) -> Result<Named, Failure> {
    let configured = boot.loaded.config.providers.keys();
    if let Some(built_in) = providers::find(name) {
        // A `[providers.NAME]` with a dialect of its own takes the name over.
        let own = ProviderId::parse(name)
            .ok()
            .filter(|id| is_custom(boot, id));
        let id = own.map_or_else(|| ProviderId::parse(built_in.spec().id), Ok);
        return id
            .map(|id| Named {
                adapter: adapter(boot, &id).unwrap_or(built_in),
                id,
            })
            .map_err(|error| Failure::failed(error.to_string(), "report this"));
    }
    if let Ok(id) = ProviderId::parse(name)
        && let Some(adapter) = adapter(boot, &id)
    {
        return Ok(Named { id, adapter });
    }
    let known = providers::all().map(|provider| provider.spec().id);
    let known = known.chain(configured.map(ProviderId::as_str));
    let hint = did_you_mean(name, known).unwrap_or_else(|| {
        "for a server of your own, describe it in the config as [providers.NAME] with `kind` and \
         `base_url`"
            .to_owned()
    });
    Err(Failure::failed(
        format!("there is no provider `{name}`"),
        hint,
    ))
}

fn is_custom(boot: &Boot, id: &ProviderId) -> bool {
    let settings = boot.loaded.config.providers.get(id);
    settings.is_some_and(|settings| settings.kind.is_some())
}

/// The adapter of a provider of the config.
fn adapter(boot: &Boot, id: &ProviderId) -> Option<&'static dyn Provider> {
    use crate::config::provider::Kind;
    use crate::dialects::Dialect;

    let settings = boot.loaded.config.providers.get(id)?;
    let dialect = match settings.kind {
        None => return providers::find(id.as_str()),
        Some(Kind::Anthropic) => Dialect::Anthropic,
        Some(Kind::Gemini) => Dialect::Gemini,
        Some(Kind::OpenAi) => Dialect::OpenAiChat,
        Some(Kind::OpenAiResponses) => Dialect::OpenAiResponses,
    };
    Some(providers::custom(dialect))
}

/// Finds a credential by its id; an unknown one is a failure with near matches.
fn find<'a>(boot: &'a Boot, id: &str) -> Result<&'a Credential, Failure> {
    let known = || boot.credentials.iter();
    if let Some(found) = known().find(|credential| credential.id.as_str() == id) {
        return Ok(found);
    }
    let hint = did_you_mean(id, known().map(|credential| credential.id.as_str()))
        .unwrap_or_else(|| "`llmproxy creds list` shows all ids".to_owned());
    Err(Failure::failed(
        format!("there is no credential `{id}`"),
        hint,
    ))
}

/// A problem with the store as a failure.
fn stored(error: &StoreError) -> Failure {
    let mut sentence = error.to_string();
    if let Some(cause) = std::error::Error::source(error) {
        sentence.push_str(": ");
        sentence.push_str(&cause.to_string());
    }
    Failure::failed(sentence, error.hint())
}

/// Does something to a credential in its pool, as the state knows it, and writes down what came
/// of it: a running server takes it over within a second. Nothing is done to a credential whose
/// provider is switched off or unknown.
fn in_pool(
    boot: &Boot,
    credential: &Credential,
    act: impl FnOnce(&Pool, Timestamp),
) -> Result<(), Failure> {
    let gateway = boot.gateway()?;
    if let Some(runtime) = gateway.snapshot().providers.get(credential.id.provider()) {
        act(&runtime.pool, Timestamp::now());
        gateway.flush(WRITE_PATIENCE);
    }
    Ok(())
}

/// Notes a judgement of a credential: a page its owner must open.
fn condemn(
    context: &Context,
    id: &CredentialId,
    failure: &verdict::Failure,
) -> Result<(), Failure> {
    let boot = Boot::read_quietly(&context.globals, Flags::default())?;
    let credential = find(&boot, id.as_str())?;
    in_pool(&boot, credential, |pool, now| {
        pool.condemn(id, failure, now);
    })
}

/// Forgets what is held against a credential: refusals, log-ins that ended, cooldowns.
fn forgive(context: &Context, id: &CredentialId) -> Result<(), Failure> {
    // Read again: the credential was written a moment ago.
    let boot = Boot::read_quietly(&context.globals, Flags::default())?;
    let credential = find(&boot, id.as_str())?;
    in_pool(&boot, credential, |pool, now| {
        pool.set_state(id, &UserState::Enabled, now);
    })
}
