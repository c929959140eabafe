//! `llmproxy setup`: a wizard for the first start, and a menu from then on. Each choice runs the
//! command that does the same, or changes the config file; Esc leaves every screen, and what was
//! not confirmed is not written.

mod ask;
mod change;
mod keys;
mod models;
mod providers;
mod serving;

use clap::Args;

use crate::cli::boot::Boot;
use crate::cli::exit::{Failure, Kind};
use crate::cli::{Context, prompt};
use crate::config::load::Flags;

/// Set everything up, step by step
///
/// A wizard on the first start, a menu afterwards: providers and keys, log-ins, import, rotation and
/// filters, model names, client keys, the server's address, a final check. Esc leaves every screen.
/// All of it can be done without: `llmproxy creds`, `llmproxy config`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:
  llmproxy setup
  llmproxy creds add gemini < key.txt     the same from a script")]
pub(super) struct SetupArgs {}

/// Runs the command.
pub(super) fn run(_args: &SetupArgs, context: &Context) -> Result<(), Failure> {
    if !prompt::can_ask() {
        return Err(Failure::usage(
            "setup asks questions, and there is no terminal to answer on",
            "run it on a terminal; scripts use `llmproxy creds add PROVIDER` and `llmproxy config init`",
        ));
    }
    let boot = Boot::read(context, Flags::default())?;
    context.printer.note(
        "llmproxy setup: arrows and Enter choose, Esc goes back, Ctrl-C leaves; nothing is written \
         before you say so.\n",
    );
    if boot.has_nothing() {
        first_steps(context)?;
    }
    menu(context)
}

/// What a newcomer needs: a key that works, and a model to use it with.
fn first_steps(context: &Context) -> Result<(), Failure> {
    context.printer.note(
        "There is no credential yet. First a key (or an account) of a provider; a second one of the \
         same provider takes over when the first is rate-limited.",
    );
    tried(context, keys::first(context))?;
    let boot = read(context)?;
    if boot.has_nothing() {
        return Ok(());
    }
    if boot.loaded.config.chat.model.is_none() {
        tried(context, models::default_model(context))?;
    }
    serving::how_to_start(context)
}

/// One line of the menu.
#[derive(Clone, Copy)]
enum Entry {
    Key,
    Account,
    Import,
    Providers,
    Aliases,
    Model,
    Clients,
    Address,
    Check,
    Done,
}

const ENTRIES: &[Entry] = &[
    Entry::Key,
    Entry::Account,
    Entry::Import,
    Entry::Providers,
    Entry::Aliases,
    Entry::Model,
    Entry::Clients,
    Entry::Address,
    Entry::Check,
    Entry::Done,
];

impl Entry {
    /// The line, with what stands there now.
    fn title(self, boot: &Boot) -> String {
        let config = &boot.loaded.config;
        let server = &config.server;
        match self {
            Self::Key => "Add an API key".to_owned(),
            Self::Account => "Log in to an account".to_owned(),
            Self::Import => "Import what other tools left on this machine".to_owned(),
            Self::Providers => "Rotation, concurrency and filters of a provider".to_owned(),
            Self::Aliases => format!("Model names of your own ({})", config.models.len()),
            Self::Model => {
                let model = config.chat.model.as_deref().unwrap_or("none");
                format!("Default model for chat and run ({model})")
            }
            Self::Clients => format!("Client keys ({})", server.all_clients().count()),
            Self::Address => format!("Server address ({}:{})", server.host, server.port),
            Self::Check => "Check everything".to_owned(),
            Self::Done => "Done".to_owned(),
        }
    }

    fn run(self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::Key => keys::add(context),
            Self::Account => keys::log_in(context),
            Self::Import => keys::import(context),
            Self::Providers => providers::settings(context),
            Self::Aliases => models::aliases(context),
            Self::Model => models::default_model(context),
            Self::Clients => serving::clients(context),
            Self::Address => serving::address(context),
            Self::Check => serving::check(context),
            Self::Done => Ok(()),
        }
    }
}

fn menu(context: &Context) -> Result<(), Failure> {
    let mut at = 0;
    loop {
        let boot = read(context)?;
        let providers = boot.credentials.iter().map(|one| one.id.provider());
        let providers: std::collections::BTreeSet<_> = providers.collect();
        context.printer.note(&format!(
            "\n{}: {} credentials of {} providers",
            boot.paths.config_file.display(),
            boot.credentials.len(),
            providers.len()
        ));
        let titles: Vec<String> = ENTRIES.iter().map(|entry| entry.title(&boot)).collect();
        let chosen = ask::choose_at("What next?", &titles, at)?;
        let entry = chosen.and_then(|chosen| ENTRIES.get(chosen));
        match entry {
            None | Some(Entry::Done) => return serving::how_to_start(context),
            Some(entry) => tried(context, entry.run(context))?,
        }
        at = chosen.unwrap_or(0);
    }
}

/// What went wrong in one choice is told, and the menu goes on; Ctrl-C ends it.
fn tried(context: &Context, done: Result<(), Failure>) -> Result<(), Failure> {
    match done {
        Err(failure) if matches!(failure.kind(), Kind::Interrupted | Kind::ClosedPipe) => {
            Err(failure)
        }
        Err(failure) => {
            context.printer.failure(&failure);
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}

/// Config and credentials as they are now; remarks were made at the start.
fn read(context: &Context) -> Result<Boot, Failure> {
    Boot::read_quietly(&context.globals, Flags::default())
}
